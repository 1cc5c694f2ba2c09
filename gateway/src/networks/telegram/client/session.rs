//! A login at rest: the data centres with the account's authorization key, and what the machine has kept, sealed in a file.
//!
//! Whoever holds the key is the account. So the file is sealed with ChaCha20-Poly1305 under a key of its own, readable by its owner
//! alone; each write makes a new file in its place.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, SocketAddrV6};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use grammers_session::types::{DcOption, PeerAuth, PeerId, PeerInfo, UpdateState, UpdatesState};
use grammers_session::{BoxFuture, Session, SessionData};
use rand_core::Rng as _;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::permissions::{FaultReason, Trusted, open_believed, read_secret};

/// Bytes of the key of a file.
const KEY: usize = 32;
/// The longest file of a login: ten thousand users that the account has met are shorter.
const MAX_LOGIN: u64 = 4 * 1024 * 1024;

/// Why a login cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The file of the key cannot be used.
    #[error("session_key_file names {path}, {why}")]
    Key {
        /// Which file.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The file of the login cannot be read or written.
    #[error("the login {path}: {why}")]
    File {
        /// Which file.
        path: String,
        /// The system's word.
        why: std::io::Error,
    },
    /// Somebody else could read it or put another in its place.
    #[error("the login {path} is not safe: {why}")]
    Shared {
        /// Which file.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// It was sealed under another key, or is broken.
    #[error(
        "the login {0} was sealed under another key, or is broken: put the key back, or log in again with `quartet login`"
    )]
    Sealed(String),
}

/// A data centre.
#[derive(Clone, Serialize, Deserialize)]
struct Centre {
    id: i32,
    ipv4: SocketAddrV4,
    ipv6: SocketAddrV6,
    /// In hexadecimal digits.
    auth_key: Option<String>,
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.auth_key.zeroize();
    }
}

/// What is in the file.
#[derive(Default, Serialize, Deserialize)]
struct Contents {
    home: i32,
    centres: Vec<Centre>,
    /// The account's own number and the key to it; 0 as long as nobody has logged in.
    me: i64,
    me_hash: i64,
    kept: String,
}

/// A login, in memory and in its file.
pub struct Login {
    path: PathBuf,
    key: Zeroizing<[u8; KEY]>,
    state: Mutex<State>,
}

struct State {
    home: i32,
    centres: BTreeMap<i32, DcOption>,
    me: Option<PeerInfo>,
    peers: BTreeMap<i64, PeerInfo>,
    updates: UpdatesState,
    kept: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.path.display())
    }
}

impl Login {
    /// Reads a login, or begins one without anybody.
    ///
    /// # Errors
    /// If the key or the file cannot be used.
    pub fn open(path: &Path, key_file: &Path) -> Result<Self, SessionError> {
        let key = key_of(key_file)?;
        let known = SessionData::default();
        let mut state = State {
            home: known.home_dc,
            centres: known.dc_options.into_iter().collect(),
            me: None,
            peers: BTreeMap::new(),
            updates: UpdatesState::default(),
            kept: String::new(),
        };
        if let Some(sealed) = read(path)? {
            let is_broken = || SessionError::Sealed(path.display().to_string());
            let plain = unseal(&key, sealed).ok_or_else(is_broken)?;
            let contents: Contents = serde_json::from_slice(&plain).map_err(|_| is_broken())?;
            state.take(contents).ok_or_else(is_broken)?;
        }
        Ok(Self {
            path: path.to_owned(),
            key,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has logged in.
    pub fn is_logged_in(&self) -> bool {
        self.state().me.is_some()
    }

    /// Somebody has: this is the account.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn logged_in(&self, id: i64, access_hash: i64) -> Result<(), SessionError> {
        self.state().me = Some(me(id, access_hash));
        self.write()
    }

    /// Nobody is any more: the authorization keys are gone.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn logged_out(&self) -> Result<(), SessionError> {
        {
            let mut state = self.state();
            state.me = None;
            state.centres.values_mut().for_each(|centre| centre.auth_key = None);
        }
        self.write()
    }

    /// A new login is made at the public test service: <https://core.telegram.org/api/auth#test-accounts>.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn go_to_test_service(&self) -> Result<(), SessionError> {
        self.set_centre(DcOption {
            id: 2,
            ipv4: SocketAddrV4::new([149, 154, 167, 40].into(), 443),
            ipv6: SocketAddrV6::new("2001:67c:4e8:f002::e".parse().expect("an address"), 443, 0, 0),
            auth_key: None,
        })
    }

    /// What the machine has kept.
    pub fn kept(&self) -> Vec<u8> {
        self.state().kept.clone().into_bytes()
    }

    /// Keeps what the machine will want to know.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&self, kept: Vec<u8>) -> Result<(), SessionError> {
        if let Ok(kept) = String::from_utf8(kept) {
            self.state().kept = kept;
        }
        self.write()
    }

    /// When the file was last written; `None` if there is none.
    pub fn modified(&self) -> Option<std::time::SystemTime> {
        std::fs::metadata(&self.path).ok()?.modified().ok()
    }

    /// The data centre that the account is at.
    pub fn home(&self) -> i32 {
        self.state().home
    }

    /// Puts a data centre in place of the one that is known.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn set_centre(&self, option: DcOption) -> Result<(), SessionError> {
        {
            let mut state = self.state();
            state.home = option.id;
            state.centres.insert(option.id, option);
        }
        self.write()
    }

    fn write(&self) -> Result<(), SessionError> {
        let plain = {
            let state = self.state();
            Zeroizing::new(serde_json::to_vec(&state.contents()).unwrap_or_default())
        };
        let sealed = seal(&self.key, &plain);
        let failed = |why| SessionError::File {
            path: self.path.display().to_string(),
            why,
        };
        let next = self.path.with_extension("next");
        let written = || -> std::io::Result<()> {
            // One that an interrupted write has left, or that somebody has put there: it is not written into.
            if next.symlink_metadata().is_ok() {
                std::fs::remove_file(&next)?;
            }
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&next)?;
            file.write_all(&sealed)?;
            file.sync_all()?;
            std::fs::rename(&next, &self.path)
        };
        written().map_err(failed)
    }
}

impl State {
    fn contents(&self) -> Contents {
        let centre = |option: &DcOption| Centre {
            id: option.id,
            ipv4: option.ipv4,
            ipv6: option.ipv6,
            auth_key: option.auth_key.as_ref().map(|key| hex(key)),
        };
        let (me, me_hash) = match &self.me {
            Some(PeerInfo::User { id, auth, .. }) => (*id, auth.map_or(0, |auth| auth.hash())),
            Some(PeerInfo::Chat { .. } | PeerInfo::Channel { .. }) | None => (0, 0),
        };
        Contents {
            home: self.home,
            centres: self.centres.values().map(centre).collect(),
            me,
            me_hash,
            kept: self.kept.clone(),
        }
    }

    fn take(&mut self, contents: Contents) -> Option<()> {
        for centre in &contents.centres {
            let auth_key = match &centre.auth_key {
                Some(digits) => Some(unhex(digits)?),
                None => None,
            };
            let option = DcOption {
                id: centre.id,
                ipv4: centre.ipv4,
                ipv6: centre.ipv6,
                auth_key,
            };
            self.centres.insert(centre.id, option);
        }
        self.home = contents.home;
        self.me = (contents.me != 0).then(|| me(contents.me, contents.me_hash));
        self.kept = contents.kept;
        Some(())
    }
}

fn me(id: i64, access_hash: i64) -> PeerInfo {
    PeerInfo::User {
        id,
        auth: Some(PeerAuth::from_hash(access_hash)),
        bot: Some(false),
        is_self: Some(true),
    }
}

/// Why a file cannot be made or believed where it is: somebody else may make files there.
fn shared_folder(path: &Path) -> Option<String> {
    let fault = Trusted::by_this_process().shared_of(path).into_iter().next()?;
    Some(match fault.reason {
        // Root would leave a file there that the gateway cannot read.
        FaultReason::Owner { owner } => format!(
            "{} belongs to user {owner}: run this command as that user",
            fault.path.display()
        ),
        FaultReason::Writable { .. } => format!("{} {fault}", fault.path.display()),
    })
}

/// What is in the file of a login, if there is one. Nobody else may read or write it, or write in its folder.
fn read(path: &Path) -> Result<Option<Vec<u8>>, SessionError> {
    let shared = |why| SessionError::Shared {
        path: path.display().to_string(),
        why,
    };
    let of_file = |why| SessionError::File {
        path: path.display().to_string(),
        why,
    };
    if let Some(why) = shared_folder(path) {
        return Err(shared(why));
    }
    match path.symlink_metadata() {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(of_file(why)),
    }
    let file = open_believed(path).map_err(shared)?;
    let meta = file.metadata().map_err(of_file)?;
    if meta.mode() & 0o077 != 0 {
        return Err(shared("others may read it; chmod 600 it".to_owned()));
    }
    let mut sealed = Vec::new();
    file.take(MAX_LOGIN).read_to_end(&mut sealed).map_err(of_file)?;
    Ok(Some(sealed))
}

/// The key of a file of 64 hexadecimal digits; one that is not there is made.
fn key_of(path: &Path) -> Result<Zeroizing<[u8; KEY]>, SessionError> {
    let fault = |why: String| SessionError::Key {
        path: path.display().to_string(),
        why,
    };
    if let Some(why) = shared_folder(path) {
        return Err(fault(format!("which is not safe: {why}")));
    }
    if !path.exists() {
        let mut key = Zeroizing::new([0; KEY]);
        rand::rng().fill_bytes(&mut *key);
        let digits = Zeroizing::new(hex(&*key));
        let made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        made.and_then(|mut file| file.write_all(digits.as_bytes()))
            .map_err(|error| fault(format!("which cannot be made: {error}")))?;
        return Ok(key);
    }
    let text = Zeroizing::new(read_secret(path).map_err(fault)?.to_string());
    let key = unhex(text.trim()).map(Zeroizing::new);
    key.ok_or_else(|| {
        fault("which does not hold 64 hexadecimal digits: restore it, or remove it and log in again".to_owned())
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn cipher(key: &[u8; KEY]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the cipher's length"))
}

fn seal(key: &[u8; KEY], plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    rand::rng().fill_bytes(&mut nonce);
    let mut sealed = plain.to_vec();
    cipher(key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
        .expect("a login is shorter than the cipher allows");
    [&nonce[..], &sealed].concat()
}

fn unseal(key: &[u8; KEY], sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let plain = cipher(key).open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut sealed);
    plain.ok().map(|plain| Zeroizing::new(plain.to_vec()))
}

impl Session for Login {
    type Error = SessionError;

    fn home_dc_id(&self) -> Result<i32, SessionError> {
        Ok(self.home())
    }

    fn set_home_dc_id(&self, dc_id: i32) -> BoxFuture<'_, Result<(), SessionError>> {
        Box::pin(async move {
            self.state().home = dc_id;
            self.write()
        })
    }

    fn dc_option(&self, dc_id: i32) -> Result<Option<DcOption>, SessionError> {
        Ok(self.state().centres.get(&dc_id).cloned())
    }

    fn set_dc_option(&self, dc_option: &DcOption) -> BoxFuture<'_, Result<(), SessionError>> {
        let option = dc_option.clone();
        Box::pin(async move {
            let before = self.state().centres.insert(option.id, option.clone());
            if before.as_ref() == Some(&option) {
                return Ok(());
            }
            self.write()
        })
    }

    fn peer(&self, peer: PeerId) -> BoxFuture<'_, Result<Option<PeerInfo>, SessionError>> {
        Box::pin(async move {
            let state = self.state();
            // The updates begin with this question.
            if peer == PeerId::self_user() {
                return Ok(state.me.clone());
            }
            Ok(state.peers.values().find(|info| info.id() == peer).cloned())
        })
    }

    fn cache_peer(&self, _peer: PeerInfo) -> BoxFuture<'_, Result<(), SessionError>> {
        // The machine remembers whom it has met.
        Box::pin(async move { Ok(()) })
    }

    fn updates_state(&self) -> BoxFuture<'_, Result<UpdatesState, SessionError>> {
        Box::pin(async move { Ok(self.state().updates.clone()) })
    }

    fn set_update_state(&self, update: UpdateState) -> BoxFuture<'_, Result<(), SessionError>> {
        Box::pin(async move {
            let updates = &mut self.state().updates;
            match update {
                UpdateState::All(all) => *updates = all,
                UpdateState::Primary { pts, date, seq } => (updates.pts, updates.date, updates.seq) = (pts, date, seq),
                UpdateState::Secondary { qts } => updates.qts = qts,
                // Calls come by no channel.
                UpdateState::Channel { .. } => {}
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("quartet-login-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_login_is_sealed_and_read_back_and_another_key_opens_nothing() {
        let folder = folder("sealed");
        let (file, key) = (folder.join("main.session"), folder.join("key"));
        let login = Login::open(&file, &key).unwrap();
        assert!(!login.is_logged_in() && login.kept().is_empty());
        let option = DcOption {
            id: 2,
            ipv4: "127.0.0.1:1".parse().unwrap(),
            ipv6: "[::1]:1".parse().unwrap(),
            auth_key: Some([7; 256]),
        };
        login.set_centre(option.clone()).unwrap();
        login.logged_in(1_003, 5).unwrap();
        login.keep(b"{}".to_vec()).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(8).any(|part| part == b"07070707" || part == [7; 8]));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let again = Login::open(&file, &key).unwrap();
        assert!(again.is_logged_in());
        assert_eq!((again.home(), again.kept()), (2, b"{}".to_vec()));
        assert_eq!(again.dc_option(2).unwrap(), Some(option));
        assert_eq!(format!("{again:?}"), format!("Login({})", file.display()));
        again.logged_out().unwrap();
        assert!(!Login::open(&file, &key).unwrap().is_logged_in());
        std::fs::remove_file(&key).unwrap();
        let other = Login::open(&file, &key).unwrap_err().to_string();
        assert!(other.contains("another key"), "{other}");
        std::fs::write(&key, "short").unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let short = Login::open(&file, &key).unwrap_err().to_string();
        assert!(short.contains("64 hexadecimal digits"), "{short}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Seen: a pipe of a stranger's in a shared folder stopped the gateway, and a link beside a login was written through.
    #[test]
    fn a_login_that_somebody_else_could_change_is_not_believed() {
        if Trusted::is_everybody() {
            return;
        }
        let folder = folder("shared");
        let (file, key) = (folder.join("main.session"), folder.join("key"));
        let mode = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        };
        let error = || Login::open(&file, &key).unwrap_err().to_string();
        for shared in [0o1777, 0o777, 0o770] {
            mode(&folder, shared);
            assert!(error().contains("can be written by"), "{}", error());
            assert!(!key.exists(), "no key is made there");
        }
        mode(&folder, 0o700);
        let login = Login::open(&file, &key).unwrap();
        // What stands where the next one is written is replaced, not followed.
        let other = folder.join("other");
        std::fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, folder.join("main.next")).unwrap();
        login.logged_in(1_003, 5).unwrap();
        assert_eq!(std::fs::read(&other).unwrap(), b"mine");
        assert!(!file.symlink_metadata().unwrap().is_symlink());
        for open in [0o644, 0o640, 0o666] {
            mode(&file, open);
            assert!(error().contains("chmod"), "{}", error());
        }
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &file,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(error().contains("no regular file"), "{}", error());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
