//! Who could change a file that this process believes: conf files, plugins, recordings.
//!
//! A file is as safe as its owner, its mode, and every folder and link on the way to it: who may write in a folder above puts
//! another file in its place. Believed are files that nobody can change but root, the user that runs this, and those who
//! could change the program itself, for they need no file of ours. In a folder with the sticky bit (`/tmp`) everybody may
//! make files, but only replace his own, so it is enough to look at what stands in it.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use zeroize::Zeroizing;

/// More links on the way to a file than the system itself would follow.
const MAX_LINKS: usize = 40;

/// Longest secret in a file.
const MAX_SECRET: u64 = 4 * 1024;

const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Who may write what is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
    everybody: bool,
}

/// What is wrong with a file, or with a folder or link on the way to it: the operator's to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which one.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: FaultReason,
}

/// Why a path is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultReason {
    /// It belongs to somebody else.
    Owner {
        /// Whom.
        owner: u32,
    },
    /// Others than its owner may write it.
    Writable {
        /// The group, if that may.
        group: Option<u32>,
        /// Whether everybody may.
        others: bool,
        /// Its mode.
        mode: u32,
    },
}

impl Trusted {
    /// Root, the effective user of this process, and whoever can change its program.
    pub fn by_this_process() -> &'static Self {
        static TRUSTED: OnceLock<Trusted> = OnceLock::new();
        TRUSTED.get_or_init(|| {
            let mut trusted = Self::default();
            trusted.users.extend([0, rustix::process::geteuid().as_raw()]);
            if let Ok(program) = std::env::current_exe() {
                trusted.add_writers_of(&program);
            }
            trusted
        })
    }

    /// Whether everybody can change the program of a test, so that nothing can be shown to be refused: a build under umask 0.
    #[cfg(test)]
    pub(crate) fn is_everybody() -> bool {
        let everybody = Self::by_this_process().everybody;
        if everybody {
            eprintln!("SKIPPED: everybody may write the program of this test");
        }
        everybody
    }

    /// Trusts the owner of a file, and the groups that can change it or a folder above.
    fn add_writers_of(&mut self, program: &Path) {
        for (path, meta) in steps(program) {
            let shared = !mode_is_void(&meta);
            if shared && meta.mode() & GROUP_WRITE != 0 && !has_list(&path) {
                self.groups.insert(meta.gid());
            }
            self.everybody |= shared && meta.mode() & OTHERS_WRITE != 0;
            if meta.is_file() {
                self.users.insert(meta.uid());
            }
        }
    }

    /// Everything on the way to a path, and the path itself, that somebody else could change; nothing if it does not exist.
    pub fn faults(&self, path: &Path) -> Vec<Fault> {
        let steps = steps(path);
        steps
            .into_iter()
            .filter_map(|(path, meta)| self.fault(path, &meta))
            .collect()
    }

    /// As [`Trusted::faults`], for a folder and all that is in it, `depth` folders deep.
    pub fn faults_within(&self, folder: &Path, depth: usize) -> Vec<Fault> {
        let mut faults = self.faults(folder);
        if depth > 0 {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                for fault in self.faults_within(&path, depth - 1) {
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
            }
        }
        faults
    }

    /// What is wrong with the folder of a file that is made while we run, or with that of a file that it is a link to: with the
    /// sticky bit as well somebody else could make it first.
    pub fn shared_of(&self, file: &Path) -> Vec<Fault> {
        let folders = links(file).map(|file| folder_of(&file));
        folders.filter_map(|folder| self.shared(&folder)).collect()
    }

    /// What is wrong with a folder whose files are made while we run.
    pub fn shared(&self, folder: &Path) -> Option<Fault> {
        let meta = fs::metadata(folder).ok()?;
        self.fault_of_mode(folder.to_owned(), &meta, meta.mode())
    }

    fn fault(&self, path: PathBuf, meta: &Metadata) -> Option<Fault> {
        let mode = if mode_is_void(meta) { 0 } else { meta.mode() };
        self.fault_of_mode(path, meta, mode)
    }

    fn fault_of_mode(&self, path: PathBuf, meta: &Metadata, mode: u32) -> Option<Fault> {
        let reason = if !self.users.contains(&meta.uid()) {
            FaultReason::Owner { owner: meta.uid() }
        } else {
            let group = mode & GROUP_WRITE != 0 && (!self.groups.contains(&meta.gid()) || has_list(&path));
            let others = mode & OTHERS_WRITE != 0;
            if self.everybody || (!group && !others) {
                return None;
            }
            FaultReason::Writable {
                group: group.then(|| meta.gid()),
                others,
                mode: mode & 0o7777,
            }
        };
        Some(Fault { path, reason })
    }
}

/// Whether a file has an access control list: then the mode's bits of the group are the most that any of it has, and not the group's.
fn has_list(path: &Path) -> bool {
    // One that is longer than this is one.
    let read = rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0; 512]);
    read.map_or_else(|error| error == rustix::io::Errno::RANGE, |length| length > 0)
}

/// Where a file is that may be a link, also if it is not there yet.
pub fn resolved(file: &Path) -> PathBuf {
    links(file).last().unwrap_or_else(|| file.to_owned())
}

/// A file, and what it is a link to, and so on.
fn links(file: &Path) -> impl Iterator<Item = PathBuf> {
    let next = |file: &PathBuf| {
        let (folder, target) = (folder_of(file), fs::read_link(file).ok()?);
        // What a process has open is reached whatever stands under its name by now.
        (!folder.starts_with("/proc")).then(|| folder.join(target))
    };
    std::iter::successors(Some(file.to_owned()), next).take(MAX_LINKS + 1)
}

/// The folder that a file is in.
pub fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Opens a file for reading; a pipe would keep us waiting for somebody to write.
///
/// # Errors
/// If it cannot be opened, or is no regular file: the operator's to mend.
pub fn open_regular(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }
}

/// Whether the right to write gives no power over what is there: a link's mode says nothing, and in a folder with the sticky
/// bit the owner of each entry decides.
fn mode_is_void(meta: &Metadata) -> bool {
    meta.is_symlink() || (meta.is_dir() && meta.mode() & STICKY != 0)
}

/// Everything that decides what a path leads to, from the root on: each folder, each link, and what stands at the end. Stops
/// where something is missing or cannot be looked at, and so cannot be read either.
fn steps(path: &Path) -> Vec<(PathBuf, Metadata)> {
    let Ok(path) = std::path::absolute(path) else {
        return Vec::new();
    };
    let mut ahead: VecDeque<OsString> = components(&path).collect();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut steps: Vec<(PathBuf, Metadata)> = Vec::new();
    steps.extend(fs::symlink_metadata(&at).ok().map(|meta| (at.clone(), meta)));
    while let Some(name) = ahead.pop_front() {
        if name == "/" {
            at = PathBuf::from("/");
            continue;
        }
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let Ok(meta) = fs::symlink_metadata(&next) else { break };
        if meta.is_symlink() {
            links += 1;
            let Some(target) = fs::read_link(&next).ok().filter(|_| links <= MAX_LINKS) else {
                break;
            };
            for part in components(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(part);
            }
        } else {
            at.clone_from(&next);
        }
        if steps.iter().all(|(path, _)| *path != next) {
            steps.push((next, meta));
        }
    }
    steps
}

/// The parts of a path: `/`, `..` and names.
fn components(path: &Path) -> impl Iterator<Item = OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.map(|part| part.as_os_str().to_owned())
}

impl fmt::Display for FaultReason {
    /// The rest of a sentence that begins with the path, up to the command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner { owner } => write!(
                f,
                "belongs to user {owner}, who could change what the gateway does; if it is right, make it root's"
            ),
            Self::Writable { group, others, mode } => {
                let who = match (group, others) {
                    (Some(group), true) => format!("group {group} and everybody"),
                    (Some(group), false) => format!("group {group}"),
                    (None, _) => "everybody".to_owned(),
                };
                write!(
                    f,
                    "can be written by {who} (mode {mode:04o}), who could change what the gateway does; forbid it"
                )
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = match self.reason {
            FaultReason::Owner { .. } => "chown -h root",
            FaultReason::Writable { .. } => "chmod go-w",
        };
        write!(f, "{}: {command} {}", self.reason, quoted(&self.path))
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':');
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Opens a file that this process believes.
///
/// # Errors
/// The rest of a sentence that names the file: it cannot be read, or somebody else could change it.
pub fn open_believed(path: &Path) -> Result<File, String> {
    let file = open_regular(path).map_err(unreadable)?;
    match Trusted::by_this_process().faults(path).first() {
        Some(fault) => Err(format!("and {} {fault}", fault.path.display())),
        None => Ok(file),
    }
}

fn unreadable(error: io::Error) -> String {
    format!("which cannot be read ({error})")
}

/// Opens a file that holds a secret.
///
/// # Errors
/// The rest of a sentence that names the file: it cannot be read, somebody else could change it, or everybody may read it.
pub fn open_secret(path: &Path) -> Result<File, String> {
    let file = open_believed(path)?;
    if file.metadata().map_err(unreadable)?.mode() & 0o004 != 0 {
        return Err("which everybody may read; chmod 600 it".to_owned());
    }
    Ok(file)
}

/// Reads a file that holds one secret and nothing else; white space round it does not count.
///
/// # Errors
/// The rest of a sentence that names the file: it cannot be read, somebody else could change it, everybody may read it, or it is
/// empty.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let file = open_secret(path)?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_SECRET + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let secret = Zeroizing::new(text.trim().to_owned());
    if secret.is_empty() {
        return Err("which is empty".to_owned());
    }
    if text.len() as u64 > MAX_SECRET || secret.chars().any(char::is_control) {
        return Err("which holds more than one line of at most 4 KiB".to_owned());
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};

    use super::*;

    /// A folder of this test's own, with a file in a folder in it; gone after the test.
    struct Ground {
        top: PathBuf,
        trusted: Trusted,
    }

    impl Ground {
        fn new(name: &str) -> Self {
            let top = std::env::temp_dir().join(format!("quartet-permissions-{}-{name}", std::process::id()));
            fs::DirBuilder::new().mode(0o700).create(&top).unwrap();
            let top = top.canonicalize().unwrap();
            fs::create_dir(top.join("conf")).unwrap();
            fs::write(top.join("conf/file"), "").unwrap();
            let ground = Self {
                trusted: Trusted {
                    users: [0, rustix::process::geteuid().as_raw()].into(),
                    ..Trusted::default()
                },
                top,
            };
            ground.mode("conf", 0o755);
            ground.mode("conf/file", 0o644);
            ground
        }

        fn mode(&self, path: &str, mode: u32) {
            fs::set_permissions(self.top.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }

        /// The faults of a path, with where the ground is left out.
        fn faults(&self, path: &str) -> Vec<String> {
            let within = |fault: &Fault| {
                fault
                    .path
                    .strip_prefix(&self.top)
                    .map(|path| path.display().to_string())
            };
            let faults = self.trusted.faults(&self.top.join(path));
            faults
                .iter()
                .map(|fault| within(fault).expect("all is well above"))
                .collect()
        }
    }

    impl Drop for Ground {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.top).ok();
        }
    }

    /// Seen: where the program was its group's to write, an access control list let somebody else write a conf file of that group.
    #[test]
    fn a_list_beside_the_mode_is_no_group_that_is_trusted() {
        let mut ground = Ground::new("list");
        let file = ground.top.join("conf/file");
        ground.mode("conf/file", 0o664);
        ground.trusted.groups.insert(fs::metadata(&file).unwrap().gid());
        assert!(ground.faults("conf/file").is_empty(), "the group of the program");
        // Version 2; the owner, a user, the group, the most, all others: what each is, what it may, who.
        let entries = [
            (1, 6, u32::MAX),
            (2, 6, 65_534),
            (4, 4, u32::MAX),
            (16, 6, u32::MAX),
            (32, 0, u32::MAX),
        ];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (kind, may, who) in entries {
            list.extend([u16::to_le_bytes(kind), u16::to_le_bytes(may)].concat());
            list.extend(u32::to_le_bytes(who));
        }
        let set = rustix::fs::setxattr(&file, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty());
        if let Err(error) = set {
            return eprintln!("SKIPPED: no access control lists here ({error})");
        }
        assert_eq!(ground.faults("conf/file"), ["conf/file"]);
        let mut other = Trusted::default();
        other.add_writers_of(&file);
        assert!(
            !other.groups.contains(&fs::metadata(&file).unwrap().gid()),
            "it may not write it"
        );
    }

    #[test]
    fn modes() {
        let ground = Ground::new("modes");
        for (file, folder, faults) in [
            (0o644, 0o755, &[][..]),
            (0o640, 0o750, &[]),
            (0o600, 0o700, &[]),
            (0o664, 0o755, &["conf/file"]),
            (0o646, 0o755, &["conf/file"]),
            (0o644, 0o775, &["conf"]),
            (0o666, 0o777, &["conf", "conf/file"]),
            (0o644, 0o1777, &[]),
            (0o646, 0o1777, &["conf/file"]),
            // On a file the sticky bit means nothing.
            (0o1646, 0o755, &["conf/file"]),
        ] {
            ground.mode("conf/file", file);
            ground.mode("conf", folder);
            assert_eq!(ground.faults("conf/file"), faults, "{file:o} in {folder:o}");
        }
        ground.mode("conf/file", 0o644);
        ground.mode("conf", 0o755);
        ground.mode("", 0o777);
        assert_eq!(ground.faults("conf/file"), [""], "a folder above");
        assert_eq!(ground.faults("conf/none"), [""], "what is missing has a way as well");
    }

    #[test]
    fn links_lead_no_way_around() {
        let ground = Ground::new("links");
        fs::create_dir(ground.top.join("open")).unwrap();
        symlink("../conf", ground.top.join("open/relative")).unwrap();
        symlink(ground.top.join("open/relative"), ground.top.join("absolute")).unwrap();
        ground.mode("open", 0o755);
        assert_eq!(ground.faults("absolute/file"), Vec::<String>::new());
        ground.mode("open", 0o777);
        for path in [
            "open/relative/file",
            "absolute/file",
            "absolute",
            "open/../conf/file",
            "conf/../open/./relative",
        ] {
            assert_eq!(ground.faults(path), ["open"], "{path}");
        }
        assert_eq!(ground.faults("conf/file"), Vec::<String>::new());
        symlink("circle", ground.top.join("circle")).unwrap();
        assert_eq!(
            ground.faults("circle/file"),
            Vec::<String>::new(),
            "nobody can read that"
        );
    }

    #[test]
    fn a_file_that_is_made_later_is_nobody_elses_to_make() {
        let ground = Ground::new("made");
        fs::create_dir(ground.top.join("sticky")).unwrap();
        ground.mode("sticky", 0o1777);
        symlink("../sticky/records", ground.top.join("conf/link")).unwrap();
        symlink("link", ground.top.join("conf/far")).unwrap();
        symlink("circle", ground.top.join("conf/circle")).unwrap();
        let shared = |path: &str| ground.trusted.shared_of(&ground.top.join(path)).len();
        assert_eq!(["sticky/records", "conf/link", "conf/far"].map(shared), [1, 1, 1]);
        assert_eq!(["conf/file", "conf/none", "conf/circle"].map(shared), [0, 0, 0]);
        let behind = |path: &str| resolved(&ground.top.join(path)).canonicalize().ok();
        fs::write(ground.top.join("sticky/records"), "").unwrap();
        assert_eq!(behind("conf/far"), Some(ground.top.join("sticky/records")));
        assert_eq!(behind("conf/file"), Some(ground.top.join("conf/file")));
    }

    #[test]
    fn owners() {
        let mut ground = Ground::new("owners");
        let me = fs::metadata(ground.top.join("conf")).unwrap();
        ground.trusted.users = [me.uid() + 1].into();
        assert_eq!(
            ground
                .trusted
                .faults(&ground.top.join("conf/file"))
                .last()
                .unwrap()
                .reason,
            FaultReason::Owner { owner: me.uid() }
        );
        ground.trusted.users = [0, me.uid()].into();
        assert_eq!(ground.faults("conf/file"), Vec::<String>::new());
    }

    #[test]
    fn who_can_change_the_program_is_believed() {
        let mut ground = Ground::new("program");
        let meta = fs::metadata(ground.top.join("conf")).unwrap();
        ground.mode("conf/file", 0o664);
        ground.mode("conf", 0o775);
        assert_eq!(ground.faults("conf/file"), ["conf", "conf/file"]);
        // A checkout under umask 002: the group that may write the conf folder may write the program.
        let program = ground.top.join("program");
        fs::write(&program, "").unwrap();
        ground.mode("program", 0o775);
        ground.trusted.add_writers_of(&program);
        assert_eq!(ground.trusted.groups, [meta.gid()].into());
        assert_eq!(ground.faults("conf/file"), Vec::<String>::new());
        ground.mode("conf", 0o777);
        assert_eq!(ground.faults("conf/file"), ["conf"], "others may not");
        ground.mode("program", 0o777);
        ground.trusted.add_writers_of(&program);
        assert_eq!(ground.faults("conf/file"), Vec::<String>::new(), "now they may");
    }

    #[test]
    fn all_that_is_in_a_folder() {
        let ground = Ground::new("within");
        ground.mode("conf/file", 0o666);
        let within = |depth| ground.trusted.faults_within(&ground.top, depth).len();
        assert_eq!([within(0), within(1), within(2), within(9)], [0, 0, 1, 1]);
        ground.mode("conf", 0o777);
        assert_eq!([within(1), within(2)], [1, 2], "each once");
    }

    #[test]
    fn the_sentence_says_who_and_how_to_mend_it() {
        let fault = |path: &str, reason| {
            Fault {
                path: path.into(),
                reason,
            }
            .to_string()
        };
        let writable = |group, others, mode| FaultReason::Writable { group, others, mode };
        assert_eq!(
            fault("/etc/quartet", writable(Some(50), false, 0o775)),
            "can be written by group 50 (mode 0775), who could change what the gateway does; forbid it: chmod go-w /etc/quartet"
        );
        assert_eq!(
            fault("/a b/it's", writable(Some(50), true, 0o777)),
            "can be written by group 50 and everybody (mode 0777), who could change what the gateway does; forbid it: \
             chmod go-w '/a b/it'\\''s'"
        );
        assert_eq!(
            fault("/x", FaultReason::Owner { owner: 1001 }),
            "belongs to user 1001, who could change what the gateway does; if it is right, make it root's: chown -h root /x"
        );
    }
}
