//! The tables of the state file, and the numbered steps that bring an older file to them.
//!
//! A file says its schema as SQLite's `user_version`. A step is never changed once it was released: a file that went
//! through it exists somewhere. A change is a new step at the end, and in the tests a file of the schema before it.

use rusqlite::{Connection, TransactionBehavior};

/// Marks the file as ours: "Qrtt". SQLite keeps it as `application_id`.
pub(super) const APPLICATION: i64 = 0x5172_7474;

/// The schema this program writes.
pub(super) const SCHEMA: i64 = STEPS.len() as i64;

/// The n-th step makes schema n of schema n - 1.
const STEPS: [&str; 6] = [
    // Accounts of the embedded hub.
    "CREATE TABLE accounts (
         token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
         user       TEXT NOT NULL,
         created    INTEGER NOT NULL,
         revoked    INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX accounts_by_user ON accounts (user);",
    // Bindings of the registrar, in the order of their registration, and the calls that run. `expires` is in seconds since
    // 1970-01-01 UTC, a name with _ms in milliseconds.
    r#"CREATE TABLE bindings (
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
     ) STRICT, WITHOUT ROWID;"#,
    // How many seconds of a binding were left when it was written, for who starts under another wall clock; and keys that a
    // restart must not change.
    "ALTER TABLE bindings ADD COLUMN seconds_left INTEGER;
     CREATE TABLE keys (
         name  TEXT PRIMARY KEY,
         value BLOB NOT NULL CHECK (length(value) = 32)
     ) STRICT, WITHOUT ROWID;",
    // The number that the callee was shown, where it is not that of the caller's account; a verdict more, for which the table is made
    // anew; where a phone is, below proxies that are trusted.
    r#"ALTER TABLE calls RENAME TO calls_3;
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
     INSERT INTO calls SELECT call, start_ms, answer_ms, end_ms, "from", "to", NULL, direction, network, route, verdict FROM calls_3;
     DROP TABLE calls_3;
     ALTER TABLE bindings ADD COLUMN origin TEXT;"#,
    // Accounts of gateways, which have extensions.
    "ALTER TABLE accounts ADD COLUMN gateway INTEGER NOT NULL DEFAULT 0 CHECK (gateway IN (0, 1));",
    // Phones that registered over a connection, for which the table is made anew; and the proxies on the way to a phone.
    r#"ALTER TABLE bindings RENAME TO bindings_5;
     CREATE TABLE bindings (
         user         TEXT NOT NULL,
         position     INTEGER NOT NULL,
         contact      TEXT NOT NULL,
         phone        TEXT,
         destination  TEXT NOT NULL,
         local        TEXT NOT NULL,
         protocol     TEXT NOT NULL,
         source       TEXT NOT NULL,
         call_id      TEXT NOT NULL,
         cseq         INTEGER NOT NULL,
         user_agent   TEXT,
         credential   INTEGER NOT NULL,
         expires      INTEGER NOT NULL,
         seconds_left INTEGER,
         origin       TEXT,
         path         TEXT,
         PRIMARY KEY (user, position)
     ) STRICT, WITHOUT ROWID;
     INSERT INTO bindings SELECT user, position, contact, phone, destination, local, protocol, source, call_id, cseq, user_agent,
         credential, expires, seconds_left, origin, NULL FROM bindings_5;
     DROP TABLE bindings_5;"#,
];

/// Does the steps that a file of our own, or an empty one, still lacks; each in one transaction, so that a file is at one
/// schema or at the next, whenever the process dies.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    loop {
        let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Read within the transaction: another process may have done the step meanwhile.
        let found: i64 = step.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let Some(script) = usize::try_from(found).ok().and_then(|found| STEPS.get(found)) else {
            return Ok(());
        };
        step.execute_batch(script)?;
        step.pragma_update(None, "application_id", APPLICATION)?;
        step.pragma_update(None, "user_version", found + 1)?;
        step.commit()?;
    }
}
