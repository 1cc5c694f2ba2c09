//! What the store thread does: lines of call records at once, everything else in at most one transaction a second.
//!
//! A machine but for the disk: time is handed in. The order of the two files makes that every call has one line, whenever
//! the process dies. A call that runs is a row of the state file. When it ends its line is written first and its row
//! removed afterwards; at the next start each row that is left becomes a line, unless its call has one already, in the file or
//! in one of the latest that were renamed from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::changes::{Changes, MAX_RECORDS};
use super::{Batch, Store, StoreError, StoredBinding};
use crate::cdr::{Record, RecordFile};

/// From one transaction, or attempt at one, to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often it is noted that the calls still run: by so much the end of a crashed call can be too early.
const ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// The two files and what waits for them.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    file: RecordFile,
    bindings: BTreeMap<String, Vec<StoredBinding>>,
    /// Calls that run: the record of each, if it had ended at this instant.
    running: BTreeMap<String, (Record, Instant)>,
    /// Those of them that are not written as they are.
    changed: BTreeSet<String>,
    records: VecDeque<Record>,
    /// Calls that have a row.
    rows: BTreeSet<String>,
    /// Those of them whose line is written.
    ended: BTreeSet<String>,
    /// When the next transaction may be.
    next: Instant,
    /// When records that could not be written are tried again.
    again: Instant,
    /// When the calls were last noted to run.
    alive: Instant,
    store_fails: bool,
    file_fails: bool,
    overflows: bool,
}

impl Writer {
    /// Takes the files, and writes the lines of the calls that ran when an earlier process died.
    ///
    /// # Errors
    /// If the files cannot be read. That they cannot be written now is logged and no error: calls go on without.
    pub fn new(now: Instant, store: Store, file: RecordFile) -> Result<Self, StoreError> {
        let left = store.calls()?;
        let rows: BTreeSet<_> = left.iter().map(|record| record.call.clone()).collect();
        let ended = file.find(&rows).map_err(|error| StoreError::Records {
            path: file.path().to_owned(),
            error,
        })?;
        let crashed = left.into_iter().filter(|record| !ended.contains(&record.call));
        let mut writer = Self {
            store,
            file,
            bindings: BTreeMap::new(),
            running: BTreeMap::new(),
            changed: BTreeSet::new(),
            records: crashed.collect(),
            rows,
            ended,
            next: now,
            again: now,
            alive: now,
            store_fails: false,
            file_fails: false,
            overflows: false,
        };
        if !writer.records.is_empty() {
            let calls = writer.records.len();
            warn!(
                calls,
                "calls stood when the gateway ended without a goodbye; their records say so"
            );
        }
        writer.handle_timeout(now);
        Ok(writer)
    }

    /// Takes changes, and writes what is due.
    pub fn handle_changes(&mut self, now: Instant, changes: Changes) {
        self.bindings.extend(changes.bindings);
        for (call, record) in changes.running {
            self.changed.insert(call.clone());
            self.running.insert(call, (record, now));
        }
        for record in changes.records {
            self.running.remove(&record.call);
            self.changed.remove(&record.call);
            if self.records.len() < MAX_RECORDS {
                self.records.push_back(record);
            } else if !self.overflows {
                self.overflows = true;
                error!("call records wait for the disk, and new ones are lost");
            }
        }
        self.handle_timeout(now);
    }

    /// Writes what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.again {
            self.write_records(now);
        }
        let note = !self.running.is_empty() && now >= self.alive + ALIVE_INTERVAL;
        if now >= self.next && (note || self.has_rows_to_write()) {
            self.write_rows(now, note);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let records = (!self.records.is_empty()).then_some(self.again);
        let rows = self.has_rows_to_write().then_some(self.next);
        let alive = (!self.running.is_empty()).then(|| (self.alive + ALIVE_INTERVAL).max(self.next));
        [records, rows, alive].into_iter().flatten().min()
    }

    /// Writes everything now, for the last time: the process ends.
    pub fn finish(&mut self, now: Instant) {
        (self.next, self.again) = (now, now);
        self.handle_timeout(now);
        let (accounts, records) = (self.bindings.len(), self.records.len());
        if self.has_rows_to_write() || records > 0 {
            error!(accounts, records, "the gateway ends, and this could not be written");
        }
    }

    fn has_rows_to_write(&self) -> bool {
        !self.bindings.is_empty() || !self.changed.is_empty() || !self.ended.is_empty()
    }

    fn write_records(&mut self, now: Instant) {
        while let Some(record) = self.records.front() {
            if let Err(error) = self.file.append(&record.to_line()) {
                self.again = now + INTERVAL;
                if !std::mem::replace(&mut self.file_fails, true) {
                    error!(file = %self.file.path().display(), %error, "call records cannot be written");
                }
                return;
            }
            if self.rows.contains(&record.call) {
                self.ended.insert(record.call.clone());
            }
            self.records.pop_front();
            if std::mem::take(&mut self.file_fails) {
                info!(file = %self.file.path().display(), "call records are written again");
            }
        }
        self.overflows = false;
    }

    /// One transaction; `note`: with all calls that run, changed or not.
    fn write_rows(&mut self, now: Instant, note: bool) {
        self.next = now + INTERVAL;
        let running = self
            .running
            .iter()
            .filter(|(call, _)| note || self.changed.contains(*call));
        let calls: Vec<_> = running
            .map(|(_, (record, at))| Record {
                end: record.end + now.saturating_duration_since(*at),
                ..record.clone()
            })
            .collect();
        let batch = Batch {
            bindings: &self.bindings,
            calls: &calls,
            ended: &self.ended,
        };
        if let Err(error) = self.store.write(&batch) {
            if !std::mem::replace(&mut self.store_fails, true) {
                error!(%error, "the state file cannot be written");
            }
            return;
        }
        self.bindings.clear();
        self.changed.clear();
        self.rows.retain(|call| !self.ended.contains(call));
        self.ended.clear();
        self.rows.extend(calls.into_iter().map(|record| record.call));
        if note {
            self.alive = now;
        }
        if std::mem::take(&mut self.store_fails) {
            info!("the state file is written again");
        }
    }
}

#[cfg(test)]
mod tests;
