//! All timers of the endpoint: their names, their lengths, and one ordered set of what is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::DialogKey;

/// Estimate of a round trip, RFC 3261 §17.1.1.1.
pub(in crate::sip) const T1: Duration = Duration::from_millis(500);
/// Longest time between retransmissions, RFC 3261 §17.1.2.2.
pub(in crate::sip) const T2: Duration = Duration::from_secs(4);
/// How long a message may stay in the network, RFC 3261 §17.1.2.2.
pub(in crate::sip) const T4: Duration = Duration::from_secs(5);
/// When a transaction gives up: 64 times T1 (timers B, F, H, J).
pub(in crate::sip) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(32);
/// When an OPTIONS gives up that asks whether the peer of a dialog is still there; no RFC says how long.
pub(in crate::sip) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an ended transaction stays, to absorb what is retransmitted: not at all over a reliable transport (timers D, I, J
/// and K, RFC 3261 table 4).
pub(in crate::sip) fn absorb_time(is_reliable: bool, unreliable: Duration) -> Duration {
    if is_reliable { Duration::ZERO } else { unreliable }
}

/// What may be due. The letters are RFC 3261's (table 4) and RFC 6026's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sip) enum Timer {
    /// INVITE client retransmits its request.
    A,
    /// INVITE client gives up.
    B,
    /// INVITE client stops absorbing final responses.
    D,
    /// Client retransmits its request.
    E,
    /// Client gives up.
    F,
    /// INVITE server retransmits its final response.
    G,
    /// INVITE server gives up waiting for the ACK.
    H,
    /// INVITE server stops absorbing ACKs.
    I,
    /// Server stops absorbing requests.
    J,
    /// Client stops absorbing responses.
    K,
    /// INVITE server stops absorbing requests after its 2xx.
    L,
    /// INVITE client stops passing on 2xx.
    M,
    /// A dialog retransmits its 2xx, RFC 3261 §13.3.1.4.
    Retransmit2xx,
    /// A dialog gives up waiting for the ACK of its 2xx.
    AckTimeout,
    /// A client gives up: there is no way to its peer, RFC 3261 §17.1.4.
    Unreachable,
    /// A caller goes to the next place: nothing came back from this one.
    Failover,
    /// A session is refreshed, RFC 4028.
    SessionRefresh,
    /// A session is over: nobody has refreshed it.
    SessionExpired,
    /// A subscription is over: nobody has asked again.
    Expired,
    /// A caller gives up waiting for the response to its cancelled INVITE, RFC 3261 §9.1.
    Cancel,
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sip) enum Owner {
    /// A server transaction.
    Server(u64),
    /// A client transaction.
    Client(u64),
    /// A dialog.
    Dialog(DialogKey),
    /// A subscription.
    Subscription(DialogKey),
}

/// All running timers; each owner has at most one of a name.
#[derive(Default)]
pub(in crate::sip) struct Timers {
    due: BTreeSet<(Instant, Owner, Timer)>,
    running: BTreeMap<Owner, Vec<(Timer, Instant)>>,
}

impl Timers {
    /// Starts a timer, or moves it.
    pub(in crate::sip) fn set(&mut self, at: Instant, owner: Owner, timer: Timer) {
        self.clear(owner, timer);
        self.running.entry(owner).or_default().push((timer, at));
        self.due.insert((at, owner, timer));
    }

    /// Stops a timer.
    pub(in crate::sip) fn clear(&mut self, owner: Owner, timer: Timer) {
        let Some(running) = self.running.get_mut(&owner) else {
            return;
        };
        if let Some(found) = running.iter().position(|(name, _)| *name == timer) {
            let (_, at) = running.swap_remove(found);
            self.due.remove(&(at, owner, timer));
        }
        if running.is_empty() {
            self.running.remove(&owner);
        }
    }

    /// Stops all timers of an owner.
    pub(in crate::sip) fn clear_all(&mut self, owner: Owner) {
        for (timer, at) in self.running.remove(&owner).unwrap_or_default() {
            self.due.remove(&(at, owner, timer));
        }
    }

    /// Takes the next timer that is due.
    pub(in crate::sip) fn pop(&mut self, now: Instant) -> Option<(Owner, Timer)> {
        let (at, owner, timer) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.clear(owner, timer);
        Some((owner, timer))
    }

    /// When the next timer is due.
    pub(in crate::sip) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// How many run.
    #[cfg(test)]
    pub(in crate::sip) fn len(&self) -> usize {
        self.due.len()
    }
}

/// The timers of one owner, at one moment: what a transaction machine may touch.
pub(in crate::sip) struct TimerHandle<'a> {
    /// All timers.
    pub(in crate::sip) timers: &'a mut Timers,
    /// The transaction or dialog whose timers they are.
    pub(in crate::sip) owner: Owner,
    /// Now.
    pub(in crate::sip) now: Instant,
}

impl TimerHandle<'_> {
    /// Starts a timer of the owner.
    pub(in crate::sip) fn set(&mut self, timer: Timer, after: Duration) {
        self.timers.set(self.now + after, self.owner, timer);
    }

    /// Stops a timer of the owner.
    pub(in crate::sip) fn clear(&mut self, timer: Timer) {
        self.timers.clear(self.owner, timer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // a test needs some instant to count from
    fn timers_come_in_order_and_can_be_moved() {
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.set(now + T2, Owner::Client(1), Timer::A);
        timers.set(now + T1, Owner::Server(1), Timer::J);
        timers.set(now + T1, Owner::Client(1), Timer::A);
        assert_eq!(timers.pop(now), None);
        assert_eq!(timers.pop(now + T1), Some((Owner::Server(1), Timer::J)));
        assert_eq!(timers.pop(now + T1), Some((Owner::Client(1), Timer::A)));
        assert_eq!(timers.next(), None);
        timers.set(now, Owner::Dialog(DialogKey(1)), Timer::Retransmit2xx);
        timers.set(now, Owner::Dialog(DialogKey(1)), Timer::AckTimeout);
        timers.set(now, Owner::Dialog(DialogKey(2)), Timer::AckTimeout);
        timers.clear_all(Owner::Dialog(DialogKey(1)));
        assert_eq!(timers.len(), 1);
    }
}
