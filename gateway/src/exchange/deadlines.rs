//! Which call is due when: found by the earliest, not by looking at each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::call::CallKey;

/// The deadline of each call that has one.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: BTreeSet<(Instant, CallKey)>,
    of: BTreeMap<CallKey, Instant>,
}

impl Deadlines {
    /// Sets, moves or forgets the deadline of a call.
    pub(super) fn set(&mut self, call: CallKey, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.of.insert(call, at),
            None => self.of.remove(&call),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, call));
        }
        if let Some(at) = at {
            self.queue.insert((at, call));
        }
    }

    /// The calls that are due.
    pub(super) fn due(&self, now: Instant) -> Vec<CallKey> {
        self.queue
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, call)| *call)
            .collect()
    }

    /// The earliest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }
}
