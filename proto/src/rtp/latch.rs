//! Which source of media is accepted, and where ours goes: symmetric RTP without RTP bleed.
//!
//! A phone behind a NAT signals an address that it does not send from, so another source heard may be taken instead: one at
//! the address that the signalling comes from, where that is known. Whoever else sends a packet to our port must never take
//! a call over.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use super::remember;
use super::stream::MIN_SILENT_NS;

/// A NAT that forgets a mapping does so after this long without a packet, at the earliest that is usual.
const NAT_MAPPING_NS: u64 = 30_000_000_000;

/// A stream that has been silent for so long while another came from its source is over.
const GONE_NS: u64 = 60_000_000_000;
/// So long after a call has begun or gone on, the place that signalling names takes the word from whoever was first.
const EARLY_NS: u64 = 3_000_000_000;

/// Streams remembered that were heard before the one that is heard; the one that was heard for the shortest time makes room.
const MAX_DISPLACED: usize = 16;
/// Who has been heard for so long is remembered before those who never were.
const PROVEN_NS: u64 = 1_000_000_000;
/// What comes from an old port so soon after the stream has moved to another was on its way.
const ON_ITS_WAY_NS: u64 = 1_000_000_000;

/// Remembers the one source of a component (RTP, or RTCP without rtcp-mux).
///
/// Nothing is accepted before signalling has named an address. Then the first valid source that may be the phone is latched.
/// It is final until signalling speaks again: then the phone's NAT may have given it another port, which is latched in its turn if the
/// same stream comes from there. Another stream must wait until the latched source has been silent: for 200 ms if signalling names a new
/// place, for 30 s if it resumes a call at the old one; if it says what it said before, no other stream is taken.
///
/// The signalled address itself, once heard, replaces any other source: in the first three seconds at once, later when that has been
/// silent for 200 ms. Who was heard there so soon keeps the place while he speaks; and is always heard there, whatever he sends, if that
/// is where the signalling comes from: an address that is only named may be anybody's.
///
/// Whatever was latched before and goes on takes its place back, and who came after it is forgotten (and who was heard for less than a
/// second, when another has been for longer); also the same stream from its old port, if it still comes from there after a second. So a
/// neighbour behind the same NAT, or whoever forges the phone's address while it is muted, gains nothing by a new port, a hold or a refresh: the phone goes on.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    signalled: Option<SocketAddr>,
    home: Option<IpAddr>,
    latched: Option<SocketAddr>,
    /// The SSRC that the latched source last sent, and when.
    heard: Option<(u32, u64)>,
    /// The one under which it was latched, and when that was heard last: whose stream moves with it.
    owner: Option<(u32, u64)>,
    /// For how long that was heard.
    owned_ns: u64,
    /// It was taken for nothing but another's silence, without a word of signalling: whoever that was, it gains no claim by it.
    intruded: bool,
    /// What signalling had named when that source was latched, or when it was heard a second after signalling had named another place.
    named: Option<SocketAddr>,
    /// Signalling named another address, and nothing has come from there.
    moved: bool,
    /// When something first came after signalling had named a place or resumed a call.
    begun: Option<u64>,
    /// What else than the latched source is taken, until something comes that shows where the phone is.
    open: Open,
    /// What was latched before, the oldest first: whoever sends the stream is more likely the phone than who came after it.
    displaced: Vec<Known>,
    /// Where signalling named the phone, if it was soon heard there.
    early: Option<SocketAddr>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    ssrc: u32,
    source: SocketAddr,
    /// For how long it was heard.
    heard_ns: u64,
    /// From when on it may take its place back.
    from_ns: u64,
    /// What signalling had named then. While it names another place, what still comes from the source is late.
    named: Option<SocketAddr>,
}

/// What speaks for a stream that is not latched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It was soon heard from where signalling names the phone.
    Early,
    /// It was latched before, as the nth of those that were.
    Before(usize),
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
        if is_new || resumes {
            self.begun = None;
        }
        self.home = home;
        // Here, and not for a packet.
        self.displaced.reserve(MAX_DISPLACED - self.displaced.len());
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
        let of_owner = self.is_owner(ssrc);
        if of_owner || !self.is_alive(now_ns, ssrc) {
            self.heard = Some((ssrc, now_ns));
        }
        if of_owner || self.owner.is_none_or(|(_, at)| now_ns.saturating_sub(at) >= GONE_NS) {
            let before_ns = self.owner.map_or(now_ns, |(_, at)| at);
            self.owner = Some((ssrc, now_ns));
            // However many come meanwhile.
            self.owned_ns += now_ns.saturating_sub(before_ns).min(MIN_SILENT_NS);
            if self.owned_ns >= PROVEN_NS && !self.displaced.is_empty() {
                self.displaced.retain(|known| known.heard_ns >= PROVEN_NS);
            }
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
        let begun = self.begun.unwrap_or(now_ns);
        if self.latched == Some(source) {
            self.begun = Some(begun);
            if source == signalled {
                (self.moved, self.named) = (false, Some(signalled));
            } else if now_ns.saturating_sub(begun) >= ON_ITS_WAY_NS {
                // It was not on its way: it is here that it sends from, whatever it names.
                self.named = Some(signalled);
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
        // Others may have been where signalling names the phone by chance, or by forgery; who was there so soon stays while he speaks.
        let is_held = is_occupied && self.early.is_some() && self.latched == self.early;
        let claim = self.claim(now_ns, source, ssrc);
        let is_early = now_ns.saturating_sub(begun) < EARLY_NS;
        let returning = match claim {
            Some(Claim::Early) => None,
            Some(Claim::Before(place)) if !is_held && (source == signalled || may_be_the_phone) => Some(place),
            Some(Claim::Before(_)) | None => {
                let may_take = if source == signalled {
                    // Who knows our port and what the phone has named, which behind a NAT is not where it sends from, could write
                    // that on a packet of his.
                    !is_occupied || self.home.is_none() || is_early
                } else {
                    claim.is_none() && may_be_the_phone && self.is_open(now_ns, ssrc)
                };
                if !may_take {
                    return false;
                }
                None
            }
        };
        self.begun = Some(begun);
        let heard_ns = match returning {
            Some(place) => self.displaced[place].heard_ns,
            None if self.is_owner(ssrc) => self.owned_ns,
            None => 0,
        };
        self.displace(now_ns, ssrc, returning);
        self.owned_ns = heard_ns;
        if source == signalled && (self.home.is_none() || is_early) {
            self.early = Some(source);
        }
        let was_free = self.latched.is_none() || self.moved || is_early || self.is_owner(ssrc);
        self.intruded = claim.is_none() && source == signalled && !was_free;
        (self.latched, self.named) = (Some(source), Some(signalled));
        (self.moved, self.open) = (false, Open::Closed);
        true
    }

    /// What was heard before that speaks for a stream.
    fn claim(&self, now_ns: u64, source: SocketAddr, ssrc: u32) -> Option<Claim> {
        if self.signalled == Some(source) && self.is_firm(source) {
            return Some(Claim::Early);
        }
        // While another place is named, what still comes from the old one is late.
        let is_late = |known: &Known| known.source == source && known.named != self.signalled;
        let goes_on = |known: &Known| known.ssrc == ssrc && known.from_ns <= now_ns && !is_late(known);
        // Of a stream that has moved it is the port that is known.
        let is_there = |known: &Known| known.from_ns == 0 || known.source == source;
        let is_it = |known: &Known| goes_on(known) && is_there(known);
        self.displaced.iter().position(is_it).map(Claim::Before)
    }

    /// Whether this source was early, at the address that the signalling comes from.
    fn is_firm(&self, source: SocketAddr) -> bool {
        self.early == Some(source) && self.home.is_none_or(|home| home == source.ip())
    }

    fn is_owner(&self, ssrc: u32) -> bool {
        self.owner.is_some_and(|(of, _)| of == ssrc)
    }

    /// Remembers what is latched, which another stream is about to replace: one of those before it that is `returning`, or a new one.
    fn displace(&mut self, now_ns: u64, by: u32, returning: Option<usize>) {
        if let Some(place) = returning {
            // Who came after the one that goes on is forgotten.
            return self.displaced.truncate(place);
        }
        // Who was early keeps that claim, while that place is named.
        let keeps_claim = |latched: SocketAddr| self.signalled == Some(latched) && self.is_firm(latched);
        let latched = self.latched.filter(|latched| !self.intruded && !keeps_claim(*latched));
        let Some((source, (ssrc, _))) = latched.zip(self.owner) else {
            return;
        };
        let left = Known {
            ssrc,
            source,
            heard_ns: self.owned_ns,
            from_ns: if ssrc == by { now_ns + ON_ITS_WAY_NS } else { 0 },
            named: self.named,
        };
        remember(&mut self.displaced, left, MAX_DISPLACED, |known| known.heard_ns);
    }

    fn is_open(&self, now_ns: u64, ssrc: u32) -> bool {
        let Some((_, at)) = self.heard else {
            return self.open != Open::Closed;
        };
        let silent_ns = now_ns.saturating_sub(at);
        match self.open {
            Open::Closed => false,
            _ if self.is_owner(ssrc) && !self.intruded => true,
            Open::SameStream => false,
            Open::Expired => silent_ns >= NAT_MAPPING_NS,
            Open::Silent => silent_ns >= MIN_SILENT_NS || self.intruded,
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
