//! Whom this program lets tell it what to do: what it obeys (conf files) or runs (plugins) may be written by nobody but
//! root, the user that it runs as, and the owner of its own program.
//!
//! A folder above counts as well: who may rename a folder may put another in its place. A sticky folder, as /tmp, lets
//! nobody rename what is another's.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The bits of a mode that matter here.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The users whose files are obeyed.
#[derive(Clone, Debug)]
pub struct Trusted(Vec<u32>);

impl Trusted {
    /// Root, the effective user, and who owns this program.
    pub fn here() -> Self {
        let owner = std::env::current_exe().and_then(std::fs::metadata).map(|m| m.uid());
        let mut users = vec![0, rustix::process::geteuid().as_raw()];
        users.extend(owner);
        Self(users)
    }

    /// Why this file or folder is not to be obeyed, as the end of a sentence that names it; `None` if it may be. What is
    /// not there is no fault here.
    pub fn fault(&self, path: &Path) -> Option<String> {
        let real = std::fs::canonicalize(path).ok()?;
        real.ancestors().find_map(|at| {
            let metadata = std::fs::metadata(at).ok()?;
            self.fault_of(at, at == real.as_path(), &metadata)
        })
    }

    fn fault_of(&self, at: &Path, itself: bool, metadata: &Metadata) -> Option<String> {
        let (mode, owner) = (metadata.mode(), metadata.uid());
        let what = if itself {
            "it".to_owned()
        } else {
            format!("the folder {} above it", at.display())
        };
        let sticky = metadata.is_dir() && mode & STICKY != 0;
        if mode & (GROUP_WRITES | OTHERS_WRITE) != 0 && !sticky {
            let who = if mode & OTHERS_WRITE != 0 {
                "everybody"
            } else {
                "its group"
            };
            return Some(format!(
                "{what} may be written by {who}, who could make this gateway do anything; run `chmod go-w {}`",
                shell_word(at)
            ));
        }
        if !self.0.contains(&owner) {
            return Some(format!(
                "{what} belongs to the user {owner}, who is neither root, nor the user that runs this, nor the owner of this \
                 program; run `chown root {}`, or use a folder of your own",
                shell_word(at)
            ));
        }
        None
    }
}

/// A path as a shell takes it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The faults of a folder and of files in it, those of the folder alone if it has one.
pub fn faults(folder: &Path, files: &[&str]) -> Vec<(PathBuf, String)> {
    let trusted = Trusted::here();
    let fault = |path: PathBuf| trusted.fault(&path).map(|fault| (path, fault));
    match fault(folder.to_owned()) {
        Some(found) => vec![found],
        None => files.iter().filter_map(|name| fault(folder.join(name))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("quartet-trust-{}-{name}", std::process::id()));
            std::fs::create_dir_all(path.join("conf")).unwrap();
            std::fs::write(path.join("conf/phones.conf"), "").unwrap();
            let folder = Self(path);
            folder.mode("", 0o700);
            folder.mode("conf", 0o755);
            folder.mode("conf/phones.conf", 0o644);
            folder
        }

        fn mode(&self, below: &str, mode: u32) {
            std::fs::set_permissions(self.0.join(below), std::fs::Permissions::from_mode(mode)).unwrap();
        }

        fn faults(&self) -> Vec<String> {
            let all = faults(&self.0.join("conf"), &["quartet.conf", "phones.conf"]);
            all.into_iter().map(|(_, fault)| fault).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_others_may_write_is_not_obeyed() {
        let folder = Folder::new("modes");
        assert_eq!(folder.faults(), Vec::<String>::new());
        for (below, mode, says) in [
            ("conf/phones.conf", 0o666, "it may be written by everybody"),
            ("conf/phones.conf", 0o664, "it may be written by its group"),
            ("conf", 0o775, "it may be written by its group"),
            ("conf", 0o757, "it may be written by everybody"),
            ("", 0o777, "above it may be written by everybody"),
            ("", 0o730, "above it may be written by its group"),
        ] {
            let before = std::fs::metadata(folder.0.join(below)).unwrap().mode() & 0o7777;
            folder.mode(below, mode);
            let faults = folder.faults();
            assert!(
                faults.len() == 1 && faults[0].contains(says),
                "{below} {mode:o}: {faults:?}"
            );
            assert!(faults[0].contains("chmod go-w /"), "{faults:?}");
            folder.mode(below, before);
        }
        folder.mode("", 0o1777);
        assert_eq!(folder.faults(), Vec::<String>::new(), "a sticky folder above");
        // A link is as good as what it leads to.
        let other = Folder::new("link");
        std::fs::remove_file(other.0.join("conf/phones.conf")).unwrap();
        symlink(folder.0.join("conf/phones.conf"), other.0.join("conf/phones.conf")).unwrap();
        assert_eq!(other.faults(), Vec::<String>::new());
        folder.mode("", 0o777);
        assert_eq!(other.faults().len(), 1);
    }

    #[test]
    fn a_strangers_folder_is_not_obeyed() {
        let folder = Folder::new("owner");
        let path = folder.0.join("conf");
        let mine = std::fs::metadata(&path).unwrap().uid();
        assert_eq!(Trusted(vec![0, mine]).fault(&path), None);
        let fault = Trusted(vec![mine.wrapping_add(1)]).fault(&path).unwrap();
        assert!(fault.contains(&format!("belongs to the user {mine}")), "{fault}");
        assert_eq!(Trusted(vec![]).fault(&path.join("missing")), None);
    }

    #[test]
    fn a_command_can_be_pasted() {
        assert_eq!(shell_word(Path::new("/a/b-c.d")), "/a/b-c.d");
        assert_eq!(shell_word(Path::new("/a b/c'd")), "'/a b/c'\\''d'");
    }
}
