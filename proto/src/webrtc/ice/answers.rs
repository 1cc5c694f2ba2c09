//! Which answers of the peer's belong to checks of ours: the agent itself takes each as often as it comes, and from everywhere.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::sources::transaction_of;

/// Checks that wait for their answer. They leave every 20 ms while there is much to check, and each second later.
pub(super) const MAX_WAITING: usize = 512;
/// Addresses of ours that answers may name in one generation: behind a NAT it is one for each pair at worst, and there are 100.
pub(super) const MAX_MAPPED: usize = 128;

/// Checks of ours, and what their answers have said.
#[derive(Default)]
pub(super) struct Answers {
    /// The transaction of each, from which address of ours it went, and where to.
    waiting: VecDeque<([u8; 12], SocketAddr, SocketAddr)>,
    mapped: BTreeSet<SocketAddr>,
}

impl Answers {
    /// A check leaves; what is none is passed over.
    pub(super) fn note_check(&mut self, bytes: &[u8], from: SocketAddr, to: SocketAddr) {
        let Some(transaction) = transaction_of(bytes, &[0, 1]) else {
            return;
        };
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((transaction, from, to));
    }

    /// Whether an answer may be to a check that waits: from where that went, to where it left from (RFC 8445 §7.2.5.2.1).
    pub(super) fn is_awaited(&self, transaction: [u8; 12], from: SocketAddr, to: SocketAddr) -> bool {
        self.waiting.contains(&(transaction, to, from))
    }

    /// Whether an answer may name this address as ours: it is known, or one of few.
    pub(super) fn may_map(&self, mapped: SocketAddr) -> bool {
        self.mapped.contains(&mapped) || self.mapped.len() < MAX_MAPPED
    }

    /// It was authentic: it is good once.
    pub(super) fn note(&mut self, transaction: [u8; 12], mapped: Option<SocketAddr>) {
        self.waiting.retain(|(waits, ..)| *waits != transaction);
        self.mapped.extend(mapped);
    }

    /// How many are remembered: checks, and addresses of ours.
    #[cfg(test)]
    pub(super) fn counts(&self) -> [usize; 2] {
        [self.waiting.len(), self.mapped.len()]
    }
}

/// The transaction of the answer to a Binding request, if it is one: success or error.
pub(super) fn answer_of(bytes: &[u8]) -> Option<[u8; 12]> {
    transaction_of(bytes, &[1, 1]).or_else(|| transaction_of(bytes, &[1, 0x11]))
}
