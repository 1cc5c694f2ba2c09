//! The gateway's program in other surroundings: variables, limits, a network of its own.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

/// A script that does something and then becomes the program; removed when dropped.
pub struct Wrapper {
    folder: PathBuf,
}

impl Wrapper {
    /// `setup` are lines of a shell; `launcher` is empty or a command that becomes the program, as `ip netns exec NAME`.
    pub fn new(setup: &str, launcher: &str, program: &str) -> Self {
        let folder = private_folder("wrapper");
        let mut script = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(folder.join("quartet"))
            .expect("a script");
        writeln!(script, "#!/bin/sh\n{setup}\nexec {launcher} \"{program}\" \"$@\"").expect("written");
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
