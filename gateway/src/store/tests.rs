//! The state file: kept, refused with a sentence, private.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder of its own for one test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "quartet-store-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("quartet.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn account(user: &str, byte: u8) -> StoredAccount {
    StoredAccount {
        user: user.to_owned(),
        token_hash: [byte; 32],
        created: 1_790_000_000,
    }
}

#[test]
fn accounts_outlive_the_process() {
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap();
    store.add_account(&account("anna", 1)).unwrap();
    store.add_account(&account("anna", 2)).unwrap();
    store.add_account(&account("bob", 3)).unwrap();
    drop(store);
    let store = Store::open(&folder.file()).unwrap();
    assert_eq!(
        store.accounts().unwrap(),
        [account("anna", 1), account("anna", 2), account("bob", 3)]
    );
    assert_eq!(store.revoke_account("anna", 1_790_000_001).unwrap(), 2);
    assert_eq!(store.revoke_account("anna", 1_790_000_002).unwrap(), 0);
    assert_eq!(store.revoke_account("carl", 1_790_000_002).unwrap(), 0);
    drop(store);
    assert_eq!(
        Store::open(&folder.file()).unwrap().accounts().unwrap(),
        [account("bob", 3)]
    );
}

#[test]
fn a_token_is_stored_once() {
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap();
    store.add_account(&account("anna", 1)).unwrap();
    assert!(matches!(
        store.add_account(&account("bob", 1)),
        Err(StoreError::Sqlite { .. })
    ));
}

#[test]
fn the_file_is_for_its_owner_alone() {
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap();
    store.add_account(&account("anna", 1)).unwrap();
    for entry in std::fs::read_dir(&folder.0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            entry.file_name()
        );
    }
}

#[test]
fn a_newer_file_is_refused() {
    let folder = Folder::new();
    drop(Store::open(&folder.file()).unwrap());
    Connection::open(folder.file())
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = Store::open(&folder.file()).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 99,
                known: SCHEMA,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("quartet.db"));
}

#[test]
fn a_foreign_file_is_refused_and_left_alone() {
    let folder = Folder::new();
    Connection::open(folder.file())
        .unwrap()
        .execute_batch("CREATE TABLE other (a)")
        .unwrap();
    assert!(matches!(Store::open(&folder.file()), Err(StoreError::Foreign { .. })));
    std::fs::remove_file(folder.file()).unwrap();
    let text = "not a database at all, only a text long enough to have a header ".repeat(4);
    std::fs::write(folder.file(), &text).unwrap();
    assert!(matches!(Store::open(&folder.file()), Err(StoreError::Foreign { .. })));
    assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), text);
}

#[test]
fn a_locked_file_is_told_apart() {
    let folder = Folder::new();
    drop(Store::open(&folder.file()).unwrap());
    let other = Connection::open(folder.file()).unwrap();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;")
        .unwrap();
    let error = Store::open_waiting(&folder.file(), Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
}

#[test]
fn a_read_only_file_is_told_apart() {
    let folder = Folder::new();
    drop(Store::open(&folder.file()).unwrap());
    let connection = Connection::open_with_flags(folder.file(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let store = Store {
        connection,
        path: folder.file(),
    };
    let error = store.add_account(&account("anna", 1)).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
}

#[test]
fn a_missing_folder_is_named() {
    let folder = Folder::new();
    let error = Store::open(&folder.0.join("missing/quartet.db")).unwrap_err();
    assert!(matches!(error, StoreError::Create { .. }));
    assert!(error.to_string().contains("missing/quartet.db"));
}
