//! State that outlives the process: one SQLite file that an operator can open and query.
//!
//! Every function here waits for the disk. The signalling and media threads never call one; they read copies in memory,
//! and the thread of [`io::store`](crate::io::store) writes what changes.

mod changes;
mod error;
mod live;
mod lock;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand_core::CryptoRng;
use rusqlite::{Connection, OpenFlags, params};
use zeroize::Zeroizing;

pub use changes::{Change, Changes};
pub use error::StoreError;
pub use live::{Batch, StoredBinding};
pub use lock::Lock;
use schema::{APPLICATION, SCHEMA, migrate};
pub use writer::Writer;

/// How long to wait for another process to finish writing.
const BUSY: Duration = Duration::from_secs(2);

/// One token of one account of the embedded hub.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// The account's name.
    pub user: String,
    /// Whether it is a gateway's.
    pub is_gateway: bool,
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// When it was given out, in seconds since 1970-01-01 UTC.
    pub created: u64,
}

impl std::fmt::Debug for StoredAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredAccount")
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the file, creating it (readable by its owner only) and its tables if they are not there. The folder must
    /// exist.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be opened or written, is locked, is not ours or is newer than this program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_waiting(path, BUSY)
    }

    /// As [`Store::open`], waiting `busy` for another process that holds the file.
    fn open_waiting(path: &Path, busy: Duration) -> Result<Self, StoreError> {
        create_private(path)?;
        let fail = |error| StoreError::from_sqlite(path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        connection.busy_timeout(busy).map_err(fail)?;
        let mut store = Self {
            connection,
            path: path.to_owned(),
        };
        store.prepare()?;
        Ok(store)
    }

    /// All tokens that are good.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn accounts(&self) -> Result<Vec<StoredAccount>, StoreError> {
        let read = || {
            let sql =
                "SELECT user, token_hash, created, gateway FROM accounts WHERE revoked IS NULL ORDER BY user, created";
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(StoredAccount {
                    user: row.get(0)?,
                    token_hash: row.get(1)?,
                    created: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
                    is_gateway: row.get(3)?,
                })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        read().map_err(|error| self.fail(error))
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`StoreError`] if it was not written.
    pub fn add_account(&self, account: &StoredAccount) -> Result<(), StoreError> {
        let created = i64::try_from(account.created).unwrap_or(i64::MAX);
        let sql = "INSERT INTO accounts (user, token_hash, created, gateway) VALUES (?1, ?2, ?3, ?4)";
        let values = params![account.user, account.token_hash, created, account.is_gateway];
        let wrote = self.connection.execute(sql, values);
        wrote.map(|_| ()).map_err(|error| self.fail(error))
    }

    /// Marks all tokens of an account as taken back at `time`, and gives how many were good until then.
    ///
    /// # Errors
    /// [`StoreError`] if it was not written.
    pub fn revoke_account(&self, user: &str, time: u64) -> Result<usize, StoreError> {
        let time = i64::try_from(time).unwrap_or(i64::MAX);
        let sql = "UPDATE accounts SET revoked = ?2 WHERE user = ?1 AND revoked IS NULL";
        self.connection
            .execute(sql, params![user, time])
            .map_err(|error| self.fail(error))
    }

    /// The key of this name, which is drawn when it is asked for first and never changes after that.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read or written.
    pub fn key(&self, name: &str, rng: &mut dyn CryptoRng) -> Result<Zeroizing<[u8; 32]>, StoreError> {
        let mut drawn = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *drawn);
        let keep = || {
            let sql = "INSERT OR IGNORE INTO keys (name, value) VALUES (?1, ?2)";
            self.connection.execute(sql, params![name, *drawn])?;
            let sql = "SELECT value FROM keys WHERE name = ?1";
            self.connection.query_row(sql, [name], |row| row.get(0))
        };
        keep().map(Zeroizing::new).map_err(|error| self.fail(error))
    }

    /// Checks whose file it is, and brings its tables up to date.
    fn prepare(&mut self) -> Result<(), StoreError> {
        let fail = |error| StoreError::from_sqlite(&self.path, error);
        let pragma = |name: &str| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
        };
        let found = pragma("user_version").map_err(fail)?;
        let application = pragma("application_id").map_err(fail)?;
        if found > SCHEMA && application == APPLICATION {
            return Err(StoreError::Newer {
                path: self.path.clone(),
                found,
                known: SCHEMA,
            });
        }
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = self.connection.query_row(tables, [], |row| row.get(0)).map_err(fail)?;
        if found < 0 || application != APPLICATION && (tables > 0 || found != 0 || application != 0) {
            return Err(StoreError::Foreign {
                path: self.path.clone(),
            });
        }
        self.connection
            .pragma_update(None, "journal_mode", "wal")
            .map_err(fail)?;
        self.connection
            .pragma_update(None, "synchronous", "normal")
            .map_err(fail)?;
        if found == SCHEMA {
            return Ok(());
        }
        migrate(&mut self.connection).map_err(fail)
    }

    fn fail(&self, error: rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.path, error)
    }
}

/// Creates the file for its owner alone, before SQLite would create it for everybody.
fn create_private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Create {
            path: path.to_owned(),
            error,
        }),
    }
}

#[cfg(test)]
mod tests;
