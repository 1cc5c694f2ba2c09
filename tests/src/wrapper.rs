//! The gateway's program in other surroundings: variables, limits, a network of its own; and files that are nobody else's.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A script that does something and then becomes the program; removed when dropped.
pub struct Wrapper {
    folder: PathBuf,
}

impl Wrapper {
    /// `setup` are lines of a shell; `launcher` is empty or a command that becomes the program, as `ip netns exec NAME`.
    pub fn new(setup: &str, launcher: &str, program: &str) -> Self {
        let folder = private_folder("wrapper");
        let made = folder.join("script");
        private_file(
            &made,
            &format!("#!/bin/sh\n{setup}\nexec {launcher} \"{program}\" \"$@\"\n"),
        );
        copy_program(&made, &folder.join("quartet"));
        Self { folder }
    }

    /// The script, to be started instead of the program.
    pub fn path(&self) -> PathBuf {
        self.folder.join("quartet")
    }
}

impl Drop for Wrapper {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A folder of this test's own, whatever the umask.
pub fn private_folder(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("q-{name}-{}-{count}", std::process::id()));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .expect("a folder");
    folder
}

/// Writes a file that nobody else may write, whatever the umask.
pub fn private_file(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("its mode");
}

/// Copies a program so that it can be run at once: another process does it, since what this one has open for writing, a child
/// that another thread starts meanwhile has open as well, and the system runs no file that is.
pub fn copy_program(from: &Path, to: &Path) {
    let copied = std::process::Command::new("install")
        .args(["-m", "700"])
        .arg(from)
        .arg(to)
        .status();
    assert!(
        copied.expect("install is there").success(),
        "{} is not copied",
        from.display()
    );
}

/// Takes from everybody else the right to write a file and the folders above it, up to `top`, whatever the umask was.
pub fn keep_from_others(top: &Path, file: &Path) {
    for path in file.ancestors().take_while(|path| path.starts_with(top)) {
        let mode = std::fs::metadata(path).expect("it is there").permissions().mode();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & !0o022)).expect("its mode");
    }
}
