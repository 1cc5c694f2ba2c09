//! One gateway for one state file: a second would record the calls of the first as crashed.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::StoreError;
use crate::permissions::resolved;

/// The right to write a state file, until it is dropped or the process dies, however it dies.
///
/// It is a file beside the state file: to open the state file itself a second time, and to close it, would drop SQLite's
/// own locks (fcntl locks belong to the process).
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the state file at `path`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it, [`StoreError::Create`] if the file cannot be made.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        // Not beside a link to it: others may have another one.
        let mut beside = resolved(path).into_os_string();
        beside.push(".lock");
        let create = |error| StoreError::Create {
            path: Path::new(&beside).to_owned(),
            error,
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&beside).map_err(create)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(create(error)),
        }
    }
}
