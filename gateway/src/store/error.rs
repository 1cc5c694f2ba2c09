//! What can be wrong with the state file, and what would help.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the state file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Our surroundings: the file could not be created.
    #[error("{path}: cannot create the state file: {error}; does its folder exist, and may this user write there?", path = path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Our surroundings: another process holds the file.
    #[error("{path}: the state file is locked by another process; is a second gateway running on it?", path = path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Our surroundings: the file or its folder cannot be written.
    #[error("{path}: the state file is read-only; the gateway must be able to write it and its folder", path = path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The operator: a later version of this program wrote the file.
    #[error("{path}: the state file has schema {found}, this program knows up to {known}; run the newer version, or restore the older file", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// The operator: the file belongs to another program or is no database.
    #[error("{path}: this is not a state file of Quartet; name another file, or move this one away", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Our surroundings: the file of call records cannot be read, and which calls have a record is not known.
    #[error("{path}: the call records cannot be read: {error}", path = path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Our surroundings: the disk is full, broken or gone; or a bug of ours.
    #[error("{path}: {error}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
}

impl StoreError {
    pub(super) fn from_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::NotADatabase) => Self::Foreign { path },
            Some(_) | None => Self::Sqlite { path, error },
        }
    }
}
