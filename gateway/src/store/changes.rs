//! What waits to be written: of everything that can change only the latest, so that it cannot grow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::StoredBinding;
use crate::cdr::Record;

/// Records that wait for the disk. A gateway ends far fewer calls while a disk stalls for seconds.
pub(super) const MAX_RECORDS: usize = 1024;

/// Something that outlives the process has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An account has these bindings now, and no others; the one registered last at the end.
    Bindings {
        /// The account.
        user: String,
        /// All of them.
        bindings: Vec<StoredBinding>,
    },
    /// A call runs; this is to be its record if the process dies.
    Running(Record),
    /// A call has ended, or was refused before it ran.
    Ended(Record),
}

/// Changes that wait.
///
/// Bounded whatever the disk does: one entry for each account, one for each call that runs, and a queue of records.
#[derive(Debug, Default)]
pub struct Changes {
    pub(super) bindings: BTreeMap<String, Vec<StoredBinding>>,
    pub(super) running: BTreeMap<String, Record>,
    pub(super) records: VecDeque<Record>,
    /// Calls that run and were taken.
    taken: BTreeSet<String>,
}

impl Changes {
    /// Adds a change to those that wait, in the place of an older one. False if it was a record and too many wait: it is
    /// lost, unless whoever takes the changes knows the call already, since it would wait for its end for ever.
    #[must_use]
    pub fn add(&mut self, change: Change) -> bool {
        match change {
            Change::Bindings { user, bindings } => _ = self.bindings.insert(user, bindings),
            Change::Running(record) => _ = self.running.insert(record.call.clone(), record),
            Change::Ended(record) => {
                self.running.remove(&record.call);
                let known = self.taken.remove(&record.call);
                if self.records.len() >= MAX_RECORDS && !known {
                    return false;
                }
                self.records.push_back(record);
            }
        }
        true
    }

    /// Takes everything that waits.
    #[must_use]
    pub fn take(&mut self) -> Self {
        self.taken.extend(self.running.keys().cloned());
        let taken = std::mem::take(&mut self.taken);
        let all = std::mem::take(self);
        self.taken = taken;
        all
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.running.is_empty() && self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr;

    fn record(call: &str) -> Record {
        Record {
            call: call.to_owned(),
            ..cdr::tests::record()
        }
    }

    #[test]
    fn the_latest_change_replaces_the_one_that_waits() {
        let mut changes = Changes::default();
        assert!(changes.is_empty());
        for user in ["100", "101", "100"] {
            let bindings = Vec::new();
            let user = user.to_owned();
            assert!(changes.add(Change::Bindings { user, bindings }));
        }
        for call in ["q1-1", "q1-2", "q1-1"] {
            assert!(changes.add(Change::Running(record(call))));
        }
        assert!(changes.add(Change::Ended(record("q1-2"))));
        let taken = changes.take();
        assert!(changes.is_empty() && !taken.is_empty());
        assert_eq!(taken.bindings.len(), 2);
        assert_eq!(taken.running.keys().collect::<Vec<_>>(), ["q1-1"]);
        assert_eq!(taken.records.len(), 1);
    }

    #[test]
    fn a_disk_that_stalls_costs_no_memory_without_bound() {
        let mut changes = Changes::default();
        assert!(changes.add(Change::Running(record("q1-0"))));
        assert_eq!(changes.take().running.len(), 1);
        let mut kept = 0;
        for n in 1..5 * MAX_RECORDS {
            let call = record(&format!("q1-{n}"));
            assert!(changes.add(Change::Running(call.clone())));
            kept += usize::from(changes.add(Change::Ended(call)));
        }
        assert_eq!(kept, MAX_RECORDS);
        assert!(
            changes.add(Change::Ended(record("q1-0"))),
            "the end of a call that was taken is never lost"
        );
        assert!(changes.running.is_empty() && changes.taken.is_empty());
    }
}
