//! Which source of media is accepted, and where ours goes: symmetric RTP without RTP bleed.
//!
//! A phone behind a NAT signals an address that it does not send from, so another source heard may be taken instead: one at
//! the address that the signalling comes from, where that is known. Whoever else sends a packet to our port must never take
//! a call over.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use super::stream::MIN_SILENT_NS;

/// A NAT that forgets a mapping does so after this long without a packet, at the earliest that is usual.
const NAT_MAPPING_NS: u64 = 30_000_000_000;

/// A stream that has been silent for so long while another came from its source is over.
const GONE_NS: u64 = 60_000_000_000;
/// So long after a call has begun or gone on, the place that signalling names takes the word from whoever was first.
const EARLY_NS: u64 = 3_000_000_000;

/// Remembers the one source of a component (RTP, or RTCP without rtcp-mux).
///
/// Nothing is accepted before signalling has named an address. Then the first valid source that may be the phone is latched.
/// The signalled address itself, once heard, replaces a source that was only guessed: in the first three seconds at once, later when that
/// has been silent for 200 ms; and the stream that it replaced goes on in its place if it is silent for as long. Else it is final until
/// signalling speaks again: then the phone's NAT may have given it another port, which is latched in its turn if the same stream comes from there.
/// Another stream must wait until the latched source has been silent: for 200 ms if signalling names a new place, for 30 s if
/// it resumes a call at the old one; if it says what it said before, no other stream is taken. A stream that was latched
/// before such a change takes its place back whenever it goes on. So a neighbour behind the same NAT who sends all the time gains
/// nothing by a new port, a hold or a refresh of a phone that is muted.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    signalled: Option<SocketAddr>,
    home: Option<IpAddr>,
    latched: Option<SocketAddr>,
    /// The SSRC that the latched source last sent, and when.
    heard: Option<(u32, u64)>,
    /// The one under which it was latched, and when that was heard last: whose stream moves with it.
    owner: Option<(u32, u64)>,
    /// What signalling had named when that source was latched.
    named: Option<SocketAddr>,
    /// Signalling named another address, and nothing has come from there.
    moved: bool,
    /// When something first came after signalling had named a place or resumed a call.
    begun: Option<u64>,
    /// What else than the latched source is taken, until something comes that shows where the phone is.
    open: Open,
    /// What was latched before signalling opened: whoever sends this stream is the phone.
    known: Option<Known>,
    /// Another stream than the known one is latched.
    guessed: bool,
    /// It was taken from where signalling names the phone, and soon.
    is_early: bool,
}

/// Which other source may take the place of the one that is latched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Open {
    /// None.
    #[default]
    Closed,
    /// One that sends the same stream.
    SameStream,
    /// Any, once the old one has been silent as long as a NAT remembers.
    Expired,
    /// Any, once the old one has been silent.
    Silent,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    ssrc: u32,
    source: SocketAddr,
    /// What signalling had named then. While it names another place, what still comes from the source is late.
    named: Option<SocketAddr>,
}

impl Latch {
    /// A latch that accepts nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the address that signalling names (a REMOTE), the one that the signalling itself comes from, if known, and whether
    /// the far side sends from now on and has not before.
    ///
    /// When the address changes, the old source stays accepted until the new one is heard, and ours goes to the new one at
    /// once.
    pub fn signal(&mut self, address: SocketAddr, home: Option<IpAddr>, resumes: bool) {
        let is_new = self.signalled.replace(address) != Some(address);
        // A place that is named again is where it was all the time.
        self.moved = self.latched.is_some() && self.named != Some(address);
        if !self.guessed {
            let latched = self.latched.zip(self.owner);
            self.known = latched.map(|(source, (ssrc, _))| Known {
                ssrc,
                source,
                named: self.named,
            });
        }
        if is_new || resumes {
            self.begun = None;
        }
        self.home = home;
        self.open = match (is_new, resumes) {
            (true, _) => Open::Silent,
            (false, true) => self.open.max(Open::Expired),
            (false, false) => self.open.max(Open::SameStream),
        };
    }

    /// True if a packet of this SSRC from `source` is to be accepted; latches the source where the rules allow. `now_ns` must not
    /// go backwards.
    ///
    /// Call it for valid packets only: the first one decides.
    pub fn accept(&mut self, now_ns: u64, source: SocketAddr, ssrc: u32) -> bool {
        let before = self.latched;
        if !self.may_take(now_ns, source, ssrc) {
            return false;
        }
        if before != self.latched {
            (self.owner, self.heard) = (Some((ssrc, now_ns)), Some((ssrc, now_ns)));
            return true;
        }
        // Another SSRC from where a stream comes that is alive is forged, and the filter behind this refuses it: whoever knows that
        // one is not the phone. In the silence of that stream it may be heard, and becomes the phone's only if that never comes again.
        let of_owner = self.owner.is_some_and(|(of, _)| of == ssrc);
        if of_owner || !self.is_alive(now_ns, ssrc) {
            self.heard = Some((ssrc, now_ns));
        }
        if of_owner || self.owner.is_none_or(|(_, at)| now_ns.saturating_sub(at) >= GONE_NS) {
            self.owner = Some((ssrc, now_ns));
        }
        true
    }

    /// Whether another stream than this one is heard, and has not fallen silent.
    fn is_alive(&self, now_ns: u64, ssrc: u32) -> bool {
        let is_alive = |(of, at): (u32, u64)| of != ssrc && now_ns.saturating_sub(at) < MIN_SILENT_NS;
        self.heard.is_some_and(is_alive)
    }

    fn may_take(&mut self, now_ns: u64, source: SocketAddr, ssrc: u32) -> bool {
        let Some(signalled) = self.signalled else {
            return false;
        };
        let begun = *self.begun.get_or_insert(now_ns);
        if self.latched == Some(source) {
            if source == signalled {
                (self.moved, self.named) = (false, Some(signalled));
            }
            if !self.moved {
                self.open = Open::Closed;
            }
            return true;
        }
        let ip = source.ip();
        let may_be_the_phone = self.home.is_none_or(|home| ip == home || ip == signalled.ip())
            && self
                .latched
                .is_none_or(|latched| ip == latched.ip() || self.home == Some(ip));
        let silent_ns = self.heard.map(|(_, at)| now_ns.saturating_sub(at));
        let is_occupied = self.latched.is_some() && !self.moved && silent_ns.is_some_and(|ns| ns < MIN_SILENT_NS);
        let is_late = |known: Known| known.source == source && known.named != Some(signalled);
        let goes_on = |known: Known| known.ssrc == ssrc && !is_late(known);
        // Who was early where signalling names the phone keeps its place while he speaks: others may have been there by chance.
        let is_held = self.is_early && self.latched == Some(signalled) && is_occupied;
        let is_known = self.guessed && self.known.is_some_and(goes_on) && !is_held;
        if source == signalled {
            // Who knows our port and what the phone has named, which behind a NAT is not where it sends from, could write that on a
            // packet of his.
            let is_early = now_ns.saturating_sub(begun) < EARLY_NS;
            if is_occupied && self.home.is_some() && !is_early && !is_known {
                return false;
            }
            if let Some(((ssrc, _), source)) = self.owner.zip(self.latched)
                && !self.moved
                && !is_known
                && self.home.is_some()
            {
                let named = self.named;
                self.known = Some(Known { ssrc, source, named });
                (self.guessed, self.is_early) = (true, is_early);
            } else {
                self.guessed = false;
            }
        } else if may_be_the_phone && (is_known || self.is_open(now_ns, ssrc)) {
            self.guessed = self.known.is_some_and(|known| known.ssrc != ssrc);
        } else {
            return false;
        }
        (self.latched, self.named) = (Some(source), Some(signalled));
        (self.moved, self.open) = (false, Open::Closed);
        true
    }

    fn is_open(&self, now_ns: u64, ssrc: u32) -> bool {
        let Some((_, at)) = self.heard else {
            return self.open != Open::Closed;
        };
        let is_same = self.owner.is_some_and(|(of, _)| of == ssrc);
        let silent_ns = now_ns.saturating_sub(at);
        match self.open {
            Open::Closed => false,
            _ if is_same => true,
            Open::SameStream => false,
            Open::Expired => silent_ns >= NAT_MAPPING_NS,
            Open::Silent => silent_ns >= MIN_SILENT_NS,
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

    /// The stream that is heard, once one is.
    #[must_use]
    pub fn ssrc(&self) -> Option<u32> {
        self.heard.map(|(ssrc, _)| ssrc)
    }

    /// Whether this is the source that is latched, or the place that signalling has named.
    #[must_use]
    pub fn is_settled(&self, source: SocketAddr) -> bool {
        self.latched == Some(source) || self.signalled == Some(source)
    }

    /// Whether the source that is latched is another than signalling names.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.latched.is_some() && self.latched != self.signalled && !self.moved
    }

    /// The source that is latched.
    #[must_use]
    pub fn latched(&self) -> Option<SocketAddr> {
        self.latched
    }
}
