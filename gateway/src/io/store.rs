//! The store thread: the only one that writes what outlives the process, but for invitations.
//!
//! The signalling task never waits for it. Changes lie in a map behind a lock that is held for as long as it takes to put one
//! in or to take the map away, never while the disk works. A map and not a channel: it holds the latest state of each
//! account and call, so whatever the disk does it neither fills up nor has to be healed afterwards by a snapshot.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::Context as _;
use tracing::error;

use crate::cdr::RecordFile;
use crate::store::{Change, Changes, Lock, Store, Writer};

/// A handle to the thread; dropped, it waits until everything is written.
#[derive(Debug)]
pub struct StoreThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    overflows: bool,
    _lock: Lock,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    changes: Changes,
    stop: bool,
}

impl Shared {
    /// What is behind the lock; a panic elsewhere leaves it as good as it was.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreThread {
    /// Opens both files, making them if need be, writes the records of calls that a crash has ended, and starts the thread.
    ///
    /// # Errors
    /// If a file cannot be opened, or another gateway writes the state file.
    pub fn start(store: &Path, records: &Path) -> anyhow::Result<Self> {
        let lock = Lock::take(store)?;
        let file = RecordFile::open(records)
            .with_context(|| format!("cannot open the call records {} of [cdr] path", records.display()))?;
        let mut writer = Writer::new(Instant::now(), Store::open(store)?, file)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("store".into())
            .spawn(move || write_all(&mut writer, &theirs))?;
        Ok(Self {
            shared,
            thread: Some(thread),
            overflows: false,
            _lock: lock,
        })
    }

    /// Hands a change over; never waits for the disk.
    pub fn write(&mut self, change: Change) {
        let is_record = matches!(change, Change::Ended(_));
        let added = self.shared.state().changes.add(change);
        self.shared.wake.notify_one();
        if !added && !self.overflows {
            error!("call records wait for the disk, and new ones are lost");
        }
        if is_record {
            self.overflows = !added;
        }
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

fn write_all(writer: &mut Writer, shared: &Shared) {
    loop {
        let mut state = shared.state();
        while state.changes.is_empty() && !state.stop {
            let left = writer
                .poll_timeout()
                .map(|at| at.saturating_duration_since(Instant::now()));
            match left {
                Some(left) if left.is_zero() => break,
                Some(left) => {
                    state = shared
                        .wake
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        let (changes, stop) = (state.changes.take(), state.stop);
        drop(state);
        writer.handle_changes(Instant::now(), changes);
        if stop {
            return writer.finish(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use rusqlite::Connection;

    use super::*;
    use crate::cdr::{self, Record};

    /// A folder of its own for one test, gone at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("quartet-store-thread-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn start(&self) -> anyhow::Result<StoreThread> {
            StoreThread::start(&self.0.join("quartet.db"), &self.0.join("cdr.jsonl"))
        }

        fn calls(&self) -> Vec<Record> {
            Store::open(&self.0.join("quartet.db")).unwrap().calls().unwrap()
        }

        fn lines(&self) -> usize {
            fs::read_to_string(self.0.join("cdr.jsonl")).unwrap().lines().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn record(n: usize) -> Record {
        Record {
            call: format!("q1-{n}"),
            ..cdr::tests::record()
        }
    }

    #[test]
    fn whoever_hands_a_change_over_does_not_wait_and_nothing_is_lost() {
        let folder = Folder::new("waits");
        let mut thread = folder.start().unwrap();
        let other = Connection::open(folder.0.join("quartet.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        thread.write(Change::Running(record(0)));
        // The thread now waits for the other process, two seconds each time.
        let start = Instant::now();
        for n in 1..=500 {
            thread.write(Change::Running(record(n)));
            thread.write(Change::Ended(record(n)));
        }
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        other.execute_batch("COMMIT").unwrap();
        drop(thread);
        assert_eq!(folder.lines(), 500);
        assert_eq!(
            folder.calls().iter().map(|record| &*record.call).collect::<Vec<_>>(),
            ["q1-0"]
        );
    }

    #[test]
    fn a_second_gateway_on_the_same_store_does_not_start_and_crashes_no_call() {
        let folder = Folder::new("second");
        let mut thread = folder.start().unwrap();
        thread.write(Change::Running(record(1)));
        let error = folder.start().unwrap_err();
        assert!(error.to_string().contains("second gateway"), "{error}");
        assert_eq!(folder.lines(), 0);
        drop(thread);
        drop(folder.start().unwrap());
        assert_eq!(
            (folder.lines(), folder.calls().len()),
            (1, 0),
            "the next one finds the call as it was left"
        );
    }

    #[test]
    fn files_that_cannot_be_made_are_named() {
        let folder = Folder::new("named");
        let records = Path::new("/proc/no/such/file");
        let error = StoreThread::start(&folder.0.join("quartet.db"), records).unwrap_err();
        assert!(
            format!("{error:#}").contains("/proc/no/such/file of [cdr] path"),
            "{error:#}"
        );
        let error = StoreThread::start(&folder.0.join("none/quartet.db"), &folder.0.join("cdr.jsonl")).unwrap_err();
        assert!(error.to_string().contains("none/quartet.db"), "{error}");
    }
}
