//! The state file: kept, migrated, refused with a sentence, private.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use quartet_proto::net::{FiveTuple, Protocol};

use super::*;
use crate::cdr::{By, Direction, Record, Verdict};

/// A folder of its own for one test, gone at its end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
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

    pub(super) fn file(&self) -> PathBuf {
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
        is_gateway: false,
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
    let office = StoredAccount {
        is_gateway: true,
        ..account("office", 4)
    };
    store.add_account(&office).unwrap();
    drop(store);
    let store = Store::open(&folder.file()).unwrap();
    assert_eq!(
        store.accounts().unwrap(),
        [
            account("anna", 1),
            account("anna", 2),
            account("bob", 3),
            office.clone()
        ]
    );
    assert_eq!(store.revoke_account("anna", 1_790_000_001).unwrap(), 2);
    assert_eq!(store.revoke_account("anna", 1_790_000_002).unwrap(), 0);
    assert_eq!(store.revoke_account("carl", 1_790_000_002).unwrap(), 0);
    drop(store);
    assert_eq!(
        Store::open(&folder.file()).unwrap().accounts().unwrap(),
        [account("bob", 3), office]
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

/// A file of each older schema, as the program that knew no later one made it, with something in it.
const OLDER: [&str; 5] = [SCHEMA_1, SCHEMA_2, SCHEMA_3, SCHEMA_4, SCHEMA_5];

const SCHEMA_1: &str = "BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS accounts (
        token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
        user       TEXT NOT NULL,
        created    INTEGER NOT NULL,
        revoked    INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS accounts_by_user ON accounts (user);
    PRAGMA application_id = 1366455412;
    PRAGMA user_version = 1;
    COMMIT;
    INSERT INTO accounts (user, token_hash, created, revoked) VALUES
        ('anna', unhex('0101010101010101010101010101010101010101010101010101010101010101'), 1790000000, NULL),
        ('bob', unhex('0303030303030303030303030303030303030303030303030303030303030303'), 1790000000, NULL),
        ('carl', unhex('0404040404040404040404040404040404040404040404040404040404040404'), 1790000000, 1790000001);";

/// Also with a binding, and a call that ran.
const SCHEMA_2: &str = r#"CREATE TABLE accounts (
         token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
         user       TEXT NOT NULL,
         created    INTEGER NOT NULL,
         revoked    INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX accounts_by_user ON accounts (user);
     CREATE TABLE bindings (
         user        TEXT NOT NULL,
         position    INTEGER NOT NULL,
         contact     TEXT NOT NULL,
         phone       TEXT,
         destination TEXT NOT NULL,
         local       TEXT NOT NULL,
         protocol    TEXT NOT NULL CHECK (protocol IN ('udp')),
         source      TEXT NOT NULL,
         call_id     TEXT NOT NULL,
         cseq        INTEGER NOT NULL,
         user_agent  TEXT,
         credential  INTEGER NOT NULL,
         expires     INTEGER NOT NULL,
         PRIMARY KEY (user, position)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE calls (
         call      TEXT PRIMARY KEY,
         start_ms  INTEGER NOT NULL,
         answer_ms INTEGER,
         end_ms    INTEGER NOT NULL,
         "from"    TEXT NOT NULL,
         "to"      TEXT NOT NULL,
         direction TEXT NOT NULL CHECK (direction IN ('outgoing', 'incoming')),
         network   TEXT,
         route     TEXT,
         verdict   TEXT NOT NULL CHECK (verdict IN ('announced', 'verified', 'unverified', 'mismatch', 'off'))
     ) STRICT, WITHOUT ROWID;
    PRAGMA application_id = 1366455412;
    PRAGMA user_version = 2;
    INSERT INTO accounts (user, token_hash, created, revoked) VALUES
        ('anna', unhex('0101010101010101010101010101010101010101010101010101010101010101'), 1790000000, NULL),
        ('bob', unhex('0303030303030303030303030303030303030303030303030303030303030303'), 1790000000, NULL),
        ('carl', unhex('0404040404040404040404040404040404040404040404040404040404040404'), 1790000000, 1790000001);
    INSERT INTO bindings VALUES ('900', 0, 'sip:900@192.0.2.9', NULL, '192.0.2.9:5060', '192.0.2.1:5060', 'udp',
        '192.0.2.9:5060', 'call', 1, NULL, 7, 1790000600);
    INSERT INTO calls VALUES ('q0000001-7', 1790000000000, NULL, 1790000001000, '100', 'anna', 'outgoing', 'hub', 'people', 'off');"#;

const SCHEMA_3: &str = r#"CREATE TABLE accounts (
         token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
         user       TEXT NOT NULL,
         created    INTEGER NOT NULL,
         revoked    INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX accounts_by_user ON accounts (user);
     CREATE TABLE bindings (
         user        TEXT NOT NULL,
         position    INTEGER NOT NULL,
         contact     TEXT NOT NULL,
         phone       TEXT,
         destination TEXT NOT NULL,
         local       TEXT NOT NULL,
         protocol    TEXT NOT NULL CHECK (protocol IN ('udp')),
         source      TEXT NOT NULL,
         call_id     TEXT NOT NULL,
         cseq        INTEGER NOT NULL,
         user_agent  TEXT,
         credential  INTEGER NOT NULL,
         expires     INTEGER NOT NULL,
         PRIMARY KEY (user, position)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE calls (
         call      TEXT PRIMARY KEY,
         start_ms  INTEGER NOT NULL,
         answer_ms INTEGER,
         end_ms    INTEGER NOT NULL,
         "from"    TEXT NOT NULL,
         "to"      TEXT NOT NULL,
         direction TEXT NOT NULL CHECK (direction IN ('outgoing', 'incoming')),
         network   TEXT,
         route     TEXT,
         verdict   TEXT NOT NULL CHECK (verdict IN ('announced', 'verified', 'unverified', 'mismatch', 'off'))
     ) STRICT, WITHOUT ROWID;
     ALTER TABLE bindings ADD COLUMN seconds_left INTEGER;
     CREATE TABLE keys (
         name  TEXT PRIMARY KEY,
         value BLOB NOT NULL CHECK (length(value) = 32)
     ) STRICT, WITHOUT ROWID;
    PRAGMA application_id = 1366455412;
    PRAGMA user_version = 3;
    INSERT INTO accounts (user, token_hash, created, revoked) VALUES
        ('anna', unhex('0101010101010101010101010101010101010101010101010101010101010101'), 1790000000, NULL),
        ('bob', unhex('0303030303030303030303030303030303030303030303030303030303030303'), 1790000000, NULL),
        ('carl', unhex('0404040404040404040404040404040404040404040404040404040404040404'), 1790000000, 1790000001);
    INSERT INTO bindings VALUES ('900', 0, 'sip:900@192.0.2.9', NULL, '192.0.2.9:5060', '192.0.2.1:5060', 'udp',
        '192.0.2.9:5060', 'call', 1, NULL, 7, 1790000600, NULL);
    INSERT INTO calls VALUES ('q0000001-7', 1790000000000, NULL, 1790000001000, '100', 'anna', 'outgoing', 'hub', 'people', 'off');"#;

const SCHEMA_4: &str = r#"CREATE TABLE accounts (
         token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
         user       TEXT NOT NULL,
         created    INTEGER NOT NULL,
         revoked    INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX accounts_by_user ON accounts (user);
     CREATE TABLE bindings (
         user        TEXT NOT NULL,
         position    INTEGER NOT NULL,
         contact     TEXT NOT NULL,
         phone       TEXT,
         destination TEXT NOT NULL,
         local       TEXT NOT NULL,
         protocol    TEXT NOT NULL CHECK (protocol IN ('udp')),
         source      TEXT NOT NULL,
         call_id     TEXT NOT NULL,
         cseq        INTEGER NOT NULL,
         user_agent  TEXT,
         credential  INTEGER NOT NULL,
         expires     INTEGER NOT NULL,
         PRIMARY KEY (user, position)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE calls (
         call      TEXT PRIMARY KEY,
         start_ms  INTEGER NOT NULL,
         answer_ms INTEGER,
         end_ms    INTEGER NOT NULL,
         "from"    TEXT NOT NULL,
         "to"      TEXT NOT NULL,
         shown     TEXT,
         direction TEXT NOT NULL CHECK (direction IN ('outgoing', 'incoming')),
         network   TEXT,
         route     TEXT,
         verdict   TEXT NOT NULL
     ) STRICT, WITHOUT ROWID;
     ALTER TABLE bindings ADD COLUMN seconds_left INTEGER;
     CREATE TABLE keys (
         name  TEXT PRIMARY KEY,
         value BLOB NOT NULL CHECK (length(value) = 32)
     ) STRICT, WITHOUT ROWID;
     ALTER TABLE bindings ADD COLUMN origin TEXT;
    PRAGMA application_id = 1366455412;
    PRAGMA user_version = 4;
    INSERT INTO accounts (user, token_hash, created, revoked) VALUES
        ('anna', unhex('0101010101010101010101010101010101010101010101010101010101010101'), 1790000000, NULL),
        ('bob', unhex('0303030303030303030303030303030303030303030303030303030303030303'), 1790000000, NULL),
        ('carl', unhex('0404040404040404040404040404040404040404040404040404040404040404'), 1790000000, 1790000001);
    INSERT INTO bindings VALUES ('900', 0, 'sip:900@192.0.2.9', NULL, '192.0.2.9:5060', '192.0.2.1:5060', 'udp',
        '192.0.2.9:5060', 'call', 1, NULL, 7, 1790000600, NULL, NULL);
    INSERT INTO calls VALUES ('q0000001-7', 1790000000000, NULL, 1790000001000, '100', 'anna', NULL, 'outgoing', 'hub', 'people', 'off');"#;

const SCHEMA_5: &str = r#"CREATE TABLE accounts (
         token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
         user       TEXT NOT NULL,
         created    INTEGER NOT NULL,
         revoked    INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX accounts_by_user ON accounts (user);
     CREATE TABLE bindings (
         user        TEXT NOT NULL,
         position    INTEGER NOT NULL,
         contact     TEXT NOT NULL,
         phone       TEXT,
         destination TEXT NOT NULL,
         local       TEXT NOT NULL,
         protocol    TEXT NOT NULL CHECK (protocol IN ('udp')),
         source      TEXT NOT NULL,
         call_id     TEXT NOT NULL,
         cseq        INTEGER NOT NULL,
         user_agent  TEXT,
         credential  INTEGER NOT NULL,
         expires     INTEGER NOT NULL,
         PRIMARY KEY (user, position)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE calls (
         call      TEXT PRIMARY KEY,
         start_ms  INTEGER NOT NULL,
         answer_ms INTEGER,
         end_ms    INTEGER NOT NULL,
         "from"    TEXT NOT NULL,
         "to"      TEXT NOT NULL,
         shown     TEXT,
         direction TEXT NOT NULL CHECK (direction IN ('outgoing', 'incoming')),
         network   TEXT,
         route     TEXT,
         verdict   TEXT NOT NULL
     ) STRICT, WITHOUT ROWID;
     ALTER TABLE bindings ADD COLUMN seconds_left INTEGER;
     CREATE TABLE keys (
         name  TEXT PRIMARY KEY,
         value BLOB NOT NULL CHECK (length(value) = 32)
     ) STRICT, WITHOUT ROWID;
     ALTER TABLE bindings ADD COLUMN origin TEXT;
     ALTER TABLE accounts ADD COLUMN gateway INTEGER NOT NULL DEFAULT 0 CHECK (gateway IN (0, 1));
    PRAGMA application_id = 1366455412;
    PRAGMA user_version = 5;
    INSERT INTO accounts (user, token_hash, created, revoked) VALUES
        ('anna', unhex('0101010101010101010101010101010101010101010101010101010101010101'), 1790000000, NULL),
        ('bob', unhex('0303030303030303030303030303030303030303030303030303030303030303'), 1790000000, NULL),
        ('carl', unhex('0404040404040404040404040404040404040404040404040404040404040404'), 1790000000, 1790000001);
    INSERT INTO bindings VALUES ('900', 0, 'sip:900@192.0.2.9', NULL, '192.0.2.9:5060', '192.0.2.1:5060', 'udp',
        '192.0.2.9:5060', 'call', 1, NULL, 7, 1790000600, NULL, NULL);
    INSERT INTO calls VALUES ('q0000001-7', 1790000000000, NULL, 1790000001000, '100', 'anna', NULL, 'outgoing', 'hub', 'people', 'off');"#;

/// What SQLite knows of a file's tables, spaces aside.
fn tables(path: &Path) -> Vec<(String, String)> {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
    let words = |(name, sql): (String, String)| (name, sql.split_whitespace().collect::<Vec<_>>().join(" "));
    rows.unwrap().map(|row| words(row.unwrap())).collect()
}

#[test]
fn a_file_of_every_older_schema_is_migrated_with_what_is_in_it() {
    assert_eq!(
        OLDER.len() as i64,
        SCHEMA - 1,
        "a new schema needs a file of the one before it here"
    );
    let fresh = Folder::new();
    drop(Store::open(&fresh.file()).unwrap());
    for (older, script) in OLDER.iter().enumerate() {
        let folder = Folder::new();
        Connection::open(folder.file()).unwrap().execute_batch(script).unwrap();
        for _ in 0..2 {
            let mut store = Store::open(&folder.file()).unwrap();
            assert_eq!(
                store.accounts().unwrap(),
                [account("anna", 1), account("bob", 3)],
                "schema {older}"
            );
            // So is a call that ran.
            let ran: Vec<_> = store.calls().unwrap();
            let ran: Vec<_> = ran
                .iter()
                .map(|call| (call.call.as_str(), call.to.as_str(), call.verdict))
                .collect();
            let expected = [("q0000001-7", "anna", Verdict::Off)];
            assert_eq!(ran, expected[..older.min(1)], "schema {older}");
            // A binding of that time is as good as ever.
            let mut stored = store.bindings().unwrap();
            let early = stored.remove("900").unwrap_or_default();
            assert!(early.iter().all(|early| early.seconds_left.is_none()));
            assert_eq!(early.len(), older.min(1));
            store.write(&batch(&bindings(), &[], &BTreeSet::new())).unwrap();
            stored = store.bindings().unwrap();
            stored.remove("900");
            assert_eq!(stored, bindings());
        }
        let version = |path: &Path| {
            let connection = Connection::open(path).unwrap();
            ["user_version", "application_id"].map(|name| {
                connection
                    .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                    .unwrap()
            })
        };
        assert_eq!(version(&folder.file()), [SCHEMA, APPLICATION]);
        assert_eq!(tables(&folder.file()), tables(&fresh.file()));
        // Whoever had taken a token back has not given it out again.
        assert_eq!(
            Store::open(&folder.file())
                .unwrap()
                .revoke_account("carl", 1_790_000_002)
                .unwrap(),
            0
        );
    }
}

#[test]
fn a_key_is_drawn_once() {
    let folder = Folder::new();
    let rng = &mut crate::io::signalling::generator();
    let store = Store::open(&folder.file()).unwrap();
    let first = store.key("challenges", rng).unwrap();
    assert_ne!(first, store.key("others", rng).unwrap());
    drop(store);
    assert_eq!(
        first,
        Store::open(&folder.file()).unwrap().key("challenges", rng).unwrap()
    );
}

#[test]
fn a_step_that_fails_leaves_the_file_as_it_was() {
    let folder = Folder::new();
    let connection = Connection::open(folder.file()).unwrap();
    connection.execute_batch(OLDER[0]).unwrap();
    // The second table of the step is there already: its first must not stay.
    connection.execute_batch("CREATE TABLE calls (a)").unwrap();
    let before = tables(&folder.file());
    assert!(matches!(Store::open(&folder.file()), Err(StoreError::Sqlite { .. })));
    assert_eq!(tables(&folder.file()), before);
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 1);
    connection.execute_batch("DROP TABLE calls").unwrap();
    assert_eq!(Store::open(&folder.file()).unwrap().accounts().unwrap().len(), 2);
}

#[test]
fn a_file_with_a_schema_below_zero_is_not_ours() {
    let folder = Folder::new();
    drop(Store::open(&folder.file()).unwrap());
    Connection::open(folder.file())
        .unwrap()
        .pragma_update(None, "user_version", -1)
        .unwrap();
    assert!(matches!(Store::open(&folder.file()), Err(StoreError::Foreign { .. })));
}

#[test]
fn one_gateway_has_the_lock() {
    let folder = Folder::new();
    let lock = Lock::take(&folder.file()).unwrap();
    let error = Lock::take(&folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    drop(lock);
    Lock::take(&folder.file()).unwrap();
    assert!(matches!(
        Lock::take(&folder.0.join("missing/quartet.db")),
        Err(StoreError::Create { .. })
    ));
}

fn bindings() -> BTreeMap<String, Vec<StoredBinding>> {
    let desk = StoredBinding {
        contact: "sip:100@192.0.2.7:5062".into(),
        sip_instance: Some("\"<urn:uuid:1>\" 1".into()),
        five_tuple: FiveTuple::new(
            Protocol::Udp,
            "192.0.2.1:5060".parse().unwrap(),
            "192.0.2.7:5062".parse().unwrap(),
        ),
        source: "192.0.2.7:5062".parse().unwrap(),
        origin: Some([192, 0, 2, 7].into()),
        path: Vec::new(),
        call_id: "a'b\"c".into(),
        cseq: u32::MAX,
        user_agent: Some("Phone/1.0 ☎".into()),
        credential: u32::MAX,
        expires: 1_790_003_600,
        seconds_left: Some(3600),
    };
    let other = StoredBinding {
        contact: "sip:100@[2001:db8::1]".into(),
        sip_instance: None,
        five_tuple: FiveTuple::new(
            Protocol::Udp,
            "[2001:db8::2]:5061".parse().unwrap(),
            "[2001:db8::1]:5060".parse().unwrap(),
        ),
        user_agent: None,
        expires: 0,
        ..desk.clone()
    };
    [
        ("100".to_owned(), vec![other.clone(), desk]),
        ("101".to_owned(), vec![other]),
    ]
    .into()
}

fn batch<'a>(
    bindings: &'a BTreeMap<String, Vec<StoredBinding>>,
    calls: &'a [Record],
    ended: &'a BTreeSet<String>,
) -> Batch<'a> {
    Batch { bindings, calls, ended }
}

#[test]
fn bindings_outlive_the_process_in_their_order() {
    let folder = Folder::new();
    let (none, mut changed) = (BTreeSet::new(), bindings());
    let mut store = Store::open(&folder.file()).unwrap();
    store.write(&batch(&bindings(), &[], &none)).unwrap();
    drop(store);
    let mut store = Store::open(&folder.file()).unwrap();
    assert_eq!(store.bindings().unwrap(), bindings());
    changed.get_mut("100").unwrap().reverse();
    changed.insert("101".into(), Vec::new());
    store.write(&batch(&changed, &[], &none)).unwrap();
    changed.remove("101");
    assert_eq!(store.bindings().unwrap(), changed);
}

#[test]
fn a_binding_that_cannot_be_read_costs_no_other() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.file()).unwrap();
    store.write(&batch(&bindings(), &[], &BTreeSet::new())).unwrap();
    let sql = "UPDATE bindings SET destination = 'nowhere' WHERE user = '100' AND position = 0";
    assert_eq!(store.connection.execute(sql, []).unwrap(), 1);
    let read = store.bindings().unwrap();
    assert_eq!((read["100"].len(), read["101"].len()), (1, 1));
}

#[test]
fn running_calls_outlive_the_process_as_crashed_ones() {
    let folder = Folder::new();
    let time = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    let verdicts = [
        Verdict::Announced,
        Verdict::Verified,
        Verdict::Unverified,
        Verdict::Mismatch,
        Verdict::Off,
    ];
    let mut calls = Vec::new();
    for (number, verdict) in (1..).zip(verdicts) {
        for (direction, answer) in [
            (Direction::Outgoing, None),
            (Direction::Incoming, Some(time(number * 1_000 + 7))),
        ] {
            calls.push(Record {
                call: format!("q0000001-{number}{}", direction.word()),
                start: time(number * 1_000),
                answer,
                end: time(number * 1_000 + 999),
                from: "100".into(),
                to: "anna \"a\"\n".into(),
                shown: answer.map(|_| "237".into()),
                direction,
                network: answer.map(|_| "hub".into()),
                route: answer.map(|_| "people".into()),
                cause: "crashed",
                by: By::Gateway,
                count: 1,
                transfers: Vec::new(),
                verdict,
                legs: Vec::new(),
            });
        }
    }
    let (no_bindings, none) = (BTreeMap::new(), BTreeSet::new());
    let mut store = Store::open(&folder.file()).unwrap();
    for _ in 0..2 {
        store.write(&batch(&no_bindings, &calls, &none)).unwrap();
    }
    drop(store);
    let mut store = Store::open(&folder.file()).unwrap();
    calls.sort_by_key(|record| (record.start, record.call.clone()));
    assert_eq!(store.calls().unwrap(), calls);
    let ended = [calls[0].call.clone(), "q0000001-unknown".into()].into();
    store.write(&batch(&no_bindings, &[], &ended)).unwrap();
    assert_eq!(store.calls().unwrap(), calls[1..]);
}

#[test]
fn a_clock_before_1970_is_kept_too() {
    let folder = Folder::new();
    let start = SystemTime::UNIX_EPOCH - Duration::from_millis(1_500);
    let record = Record {
        start,
        end: start,
        answer: None,
        cause: "crashed",
        by: By::Gateway,
        legs: Vec::new(),
        ..crate::cdr::tests::record()
    };
    let mut store = Store::open(&folder.file()).unwrap();
    store
        .write(&batch(
            &BTreeMap::new(),
            std::slice::from_ref(&record),
            &BTreeSet::new(),
        ))
        .unwrap();
    assert_eq!(store.calls().unwrap(), [record]);
}

#[test]
fn a_batch_is_written_as_a_whole_or_not_at_all() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.file()).unwrap();
    store.connection.execute_batch("DROP TABLE calls").unwrap();
    let record = crate::cdr::tests::record();
    let wrote = store.write(&batch(&bindings(), &[record], &BTreeSet::new()));
    assert!(matches!(wrote, Err(StoreError::Sqlite { .. })));
    assert_eq!(store.bindings().unwrap(), BTreeMap::new());
}
