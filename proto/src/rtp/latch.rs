//! Which source of media is accepted, and where ours goes: symmetric RTP without RTP bleed.
//!
//! A phone behind a NAT signals an address that it does not send from, so another source heard may be taken instead: one at
//! the address that the signalling comes from, where that is known. Whoever else sends a packet to our port must never take
//! a call over.

use std::net::{IpAddr, SocketAddr};

/// Remembers the one source of a component (RTP, or RTCP without rtcp-mux).
///
/// Nothing is accepted before signalling has named an address. Then the first valid source that may be the phone is latched.
/// The signalled address itself, once heard, replaces a source that was only guessed, and is final until signalling speaks
/// again: then the phone's NAT may have given it another port, which is latched in its turn.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    signalled: Option<SocketAddr>,
    home: Option<IpAddr>,
    latched: Option<SocketAddr>,
    /// Signalling named another address, and nothing has come from there.
    moved: bool,
    /// Signalling has spoken, and nothing has come since that shows where the phone is.
    open: bool,
}

impl Latch {
    /// A latch that accepts nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the address that signalling names (a REMOTE), and the one that the signalling itself comes from, if known.
    ///
    /// When the address changes, the old source stays accepted until the new one is heard, and ours goes to the new one at
    /// once.
    pub fn signal(&mut self, address: SocketAddr, home: Option<IpAddr>) {
        if self.signalled != Some(address) {
            self.moved = self.signalled.is_some() && self.latched.is_some();
            self.signalled = Some(address);
        }
        self.home = home;
        self.open = true;
    }

    /// True if a packet from `source` is to be accepted; latches it where the rules allow.
    ///
    /// Call it for valid packets only: the first one decides.
    pub fn accept(&mut self, source: SocketAddr) -> bool {
        let Some(signalled) = self.signalled else {
            return false;
        };
        if self.latched == Some(source) && source != signalled {
            self.open &= self.moved;
            return true;
        }
        let ip = source.ip();
        let may_be_the_phone = self.home.is_none_or(|home| ip == home || ip == signalled.ip());
        let same_place = self
            .latched
            .is_none_or(|latched| ip == latched.ip() || self.home == Some(ip));
        if source == signalled || (self.open && may_be_the_phone && same_place) {
            self.latched = Some(source);
            (self.moved, self.open) = (false, false);
            return true;
        }
        false
    }

    /// Where our packets go: the latched source, else the signalled address.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        if self.moved {
            self.signalled
        } else {
            self.latched.or(self.signalled)
        }
    }

    /// The source that is latched.
    #[must_use]
    pub fn latched(&self) -> Option<SocketAddr> {
        self.latched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_is_accepted_before_signalling() {
        let mut latch = Latch::new();
        assert!(!latch.accept(at("192.0.2.9:1")));
        assert_eq!(latch.destination(), None);
    }

    #[test]
    fn the_first_source_is_kept_against_strangers() {
        let mut latch = Latch::new();
        latch.signal(at("10.0.0.5:4000"), None);
        assert_eq!(latch.destination(), Some(at("10.0.0.5:4000")));
        assert!(latch.accept(at("198.51.100.1:61000")));
        assert!(!latch.accept(at("198.51.100.1:61001")));
        assert!(!latch.accept(at("203.0.113.66:4000")));
        assert!(latch.accept(at("198.51.100.1:61000")));
        assert_eq!(latch.destination(), Some(at("198.51.100.1:61000")));
    }

    #[test]
    fn the_signalled_address_beats_a_guess_and_is_final() {
        let mut latch = Latch::new();
        latch.signal(at("192.0.2.5:4000"), None);
        assert!(latch.accept(at("203.0.113.66:9")));
        assert!(latch.accept(at("192.0.2.5:4000")));
        assert!(!latch.accept(at("203.0.113.66:9")));
        assert_eq!(latch.destination(), Some(at("192.0.2.5:4000")));
    }

    #[test]
    fn a_new_remote_moves_only_to_the_address_it_names() {
        let mut latch = Latch::new();
        latch.signal(at("192.0.2.5:4000"), None);
        assert!(latch.accept(at("192.0.2.5:4000")));
        latch.signal(at("192.0.2.6:5000"), None);
        assert_eq!(latch.destination(), Some(at("192.0.2.6:5000")));
        assert!(
            latch.accept(at("192.0.2.5:4000")),
            "the old source, until the new one is heard"
        );
        assert!(!latch.accept(at("203.0.113.66:9")));
        assert!(latch.accept(at("192.0.2.6:5000")));
        assert!(!latch.accept(at("192.0.2.5:4000")));
    }

    #[test]
    fn the_same_remote_again_keeps_the_latch() {
        let mut latch = Latch::new();
        latch.signal(at("10.0.0.5:4000"), None);
        assert!(latch.accept(at("198.51.100.1:61000")));
        latch.signal(at("10.0.0.5:4000"), None);
        assert_eq!(latch.destination(), Some(at("198.51.100.1:61000")));
        assert!(!latch.accept(at("198.51.100.2:61000")));
    }

    #[test]
    fn a_guess_is_only_taken_from_where_the_signalling_comes_from() {
        let home = Some("198.51.100.1".parse().unwrap());
        let mut latch = Latch::new();
        latch.signal(at("10.0.0.5:4000"), home);
        assert!(!latch.accept(at("203.0.113.66:4000")), "a stranger, before the phone");
        assert!(latch.accept(at("198.51.100.1:61000")));
        let mut other = Latch::new();
        other.signal(at("192.0.2.5:4000"), home);
        assert!(
            other.accept(at("192.0.2.5:4002")),
            "the signalled machine, another port"
        );
    }

    #[test]
    fn a_nat_may_give_another_port_after_signalling_and_only_then() {
        let home = Some("198.51.100.1".parse().unwrap());
        let mut latch = Latch::new();
        latch.signal(at("10.0.0.5:4000"), home);
        assert!(latch.accept(at("198.51.100.1:61000")));
        assert!(!latch.accept(at("198.51.100.1:62000")));
        // Resumed after a hold, the same address.
        latch.signal(at("10.0.0.5:4000"), home);
        assert!(!latch.accept(at("203.0.113.66:4000")));
        assert!(latch.accept(at("198.51.100.1:62000")));
        assert_eq!(latch.destination(), Some(at("198.51.100.1:62000")));
        assert!(!latch.accept(at("198.51.100.1:61000")));
        // Another private port.
        latch.signal(at("10.0.0.5:4002"), home);
        assert_eq!(latch.destination(), Some(at("10.0.0.5:4002")));
        assert!(latch.accept(at("198.51.100.1:62000")), "on its way still");
        assert!(latch.accept(at("198.51.100.1:63000")));
        assert_eq!(latch.destination(), Some(at("198.51.100.1:63000")));
        // Nothing changed: the next word of the known source closes the door.
        latch.signal(at("10.0.0.5:4002"), home);
        assert!(latch.accept(at("198.51.100.1:63000")));
        assert!(!latch.accept(at("198.51.100.1:64000")));
    }
}
