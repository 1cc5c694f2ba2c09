//! Which source of media is accepted, and where ours goes: symmetric RTP without RTP bleed.
//!
//! A phone behind a NAT signals an address that it does not send from, so the first source heard may be taken instead. But
//! whoever sends a packet to our port must never take a call over: after the first latch a stranger is dropped for good.

use std::net::SocketAddr;

/// Remembers the one source of a component (RTP, or RTCP without rtcp-mux).
///
/// Nothing is accepted before signalling has named an address. Then the first valid source is latched; the signalled address
/// itself, once heard, replaces a source that was only guessed, and is final until signalling names another.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    signalled: Option<SocketAddr>,
    latched: Option<SocketAddr>,
    moved: bool,
}

impl Latch {
    /// A latch that accepts nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the address that signalling names (a REMOTE). The same one again changes nothing.
    ///
    /// When it changes, the old source stays accepted until the new address is heard, ours goes to the new one at once, and
    /// only the new address can be latched.
    pub fn signal(&mut self, address: SocketAddr) {
        if self.signalled != Some(address) {
            self.moved = self.signalled.is_some() && self.latched.is_some();
            self.signalled = Some(address);
        }
    }

    /// True if a packet from `source` is to be accepted; latches it where the rules allow.
    ///
    /// Call it for valid packets only: the first one decides.
    pub fn accept(&mut self, source: SocketAddr) -> bool {
        let Some(signalled) = self.signalled else {
            return false;
        };
        if source == signalled {
            self.latched = Some(source);
            self.moved = false;
            return true;
        }
        match self.latched {
            Some(latched) => latched == source,
            None => {
                self.latched = Some(source);
                true
            }
        }
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
        latch.signal(at("10.0.0.5:4000"));
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
        latch.signal(at("192.0.2.5:4000"));
        assert!(latch.accept(at("203.0.113.66:9")));
        assert!(latch.accept(at("192.0.2.5:4000")));
        assert!(!latch.accept(at("203.0.113.66:9")));
        assert_eq!(latch.destination(), Some(at("192.0.2.5:4000")));
    }

    #[test]
    fn a_new_remote_moves_only_to_the_address_it_names() {
        let mut latch = Latch::new();
        latch.signal(at("192.0.2.5:4000"));
        assert!(latch.accept(at("192.0.2.5:4000")));
        latch.signal(at("192.0.2.6:5000"));
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
        latch.signal(at("10.0.0.5:4000"));
        assert!(latch.accept(at("198.51.100.1:61000")));
        latch.signal(at("10.0.0.5:4000"));
        assert_eq!(latch.destination(), Some(at("198.51.100.1:61000")));
        assert!(!latch.accept(at("198.51.100.2:61000")));
    }
}
