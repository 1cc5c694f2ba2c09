//! Where the peer's checks come from, and which of these addresses are believed.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

/// Most address pairs that are remembered as checked, and as nominated.
pub(super) const MAX_CHECKED: usize = 64;
/// Checks of the peer's that are remembered with where they came from, so that one may be repeated from there.
pub(super) const MAX_SEEN: usize = 256;
/// Older checks, remembered as such: half a megabyte. It sends one on each pair every 2 s or so; where more have come, nobody is heard
/// any more in this generation from an address that was not known before.
pub(super) const MAX_OLD: usize = 32_768;
/// Most sources in one generation that no candidate has named. A NAT makes one or two.
pub(super) const MAX_REFLEXIVE: usize = 64;

/// Where one generation's checks have come from.
#[derive(Default)]
pub(super) struct Sources {
    /// Transactions of the peer's checks, and where each came from first: whoever has seen one could send it from everywhere.
    seen: VecDeque<([u8; 12], (u32, SocketAddr))>,
    /// The checks before those.
    old: BTreeSet<u64>,
    /// Sources that no candidate has named.
    reflexive: BTreeSet<SocketAddr>,
    /// Addresses of the candidates in use.
    named: BTreeSet<SocketAddr>,
}

impl Sources {
    /// Whether a check may be the peer's: it has not come from elsewhere before, and its source is one that we know of, or one of few.
    pub(super) fn may_be_from(&self, transaction: [u8; 12], pair: (u32, SocketAddr), is_checked: bool) -> bool {
        if let Some((_, first)) = self.seen.iter().find(|(known, _)| *known == transaction) {
            return *first == pair;
        }
        let is_known = is_checked || !self.is_unknown(pair.1);
        if self.old.contains(&short(transaction)) {
            return false;
        }
        is_known || (self.reflexive.len() < MAX_REFLEXIVE && self.old.len() < MAX_OLD)
    }

    /// A candidate has this address.
    pub(super) fn name(&mut self, address: SocketAddr) {
        self.named.insert(address);
    }

    /// Whether no candidate has named this address, and no check has come from there.
    fn is_unknown(&self, source: SocketAddr) -> bool {
        !self.reflexive.contains(&source) && !self.named.contains(&source)
    }

    /// Remembers where an authentic check has come from.
    pub(super) fn note(&mut self, pair: (u32, SocketAddr), transaction: [u8; 12]) {
        if self.is_unknown(pair.1) {
            self.reflexive.insert(pair.1);
        }
        self.seen.retain(|(known, _)| *known != transaction);
        if self.seen.len() == MAX_SEEN
            && let Some((oldest, _)) = self.seen.pop_front()
            && self.old.len() < MAX_OLD
        {
            self.old.insert(short(oldest));
        }
        self.seen.push_back((transaction, pair));
    }

    /// How many are remembered: checks, older ones, sources without a candidate.
    #[cfg(test)]
    pub(super) fn counts(&self) -> [usize; 3] {
        [self.seen.len(), self.old.len(), self.reflexive.len()]
    }
}

/// What is kept of an old transaction: the peer draws them at random.
fn short(transaction: [u8; 12]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = transaction;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Adds a pair, or says that it is the latest, and forgets the oldest if there are too many; never the one in use.
pub(super) fn remember(
    pairs: &mut VecDeque<(u32, SocketAddr)>,
    pair: (u32, SocketAddr),
    in_use: Option<(u32, SocketAddr)>,
) {
    pairs.retain(|known| *known != pair);
    if pairs.len() == MAX_CHECKED
        && let Some(oldest) = pairs.iter().position(|known| Some(*known) != in_use)
    {
        pairs.remove(oldest);
    }
    pairs.push_back(pair);
}

/// The transaction of a Binding request.
pub(super) fn check_of(bytes: &[u8]) -> Option<[u8; 12]> {
    transaction_of(bytes, &[0, 1])
}

/// The transaction of a message of this kind. RFC 8489 §5.
pub(super) fn transaction_of(bytes: &[u8], kind: &[u8; 2]) -> Option<[u8; 12]> {
    bytes.get(8..20).filter(|_| bytes.starts_with(kind))?.try_into().ok()
}
