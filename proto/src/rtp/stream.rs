//! Which packets of an accepted source are heard: those of one stream at a time, in a plausible sequence.
//!
//! The latch decides by address, and whoever knows the address can forge it. What a forger does not see are the SSRC, the
//! sequence number and the timestamp of the stream that is there: so a stream that is alive keeps its place against every
//! other SSRC, and a packet far from it needs a second one behind it. Nothing here protects from somebody who reads the
//! packets on their way; SRTP does. RFC 3550 §8.2, appendix A.1.

#[cfg(test)]
mod tests;

use super::packet::Packet;
use super::{remember, ticks_to_ns};

/// A jump forward of this many packets is a restarted stream rather than loss (RFC 3550 appendix A.1).
pub(super) const MAX_DROPOUT: i64 = 3000;
/// A packet this far behind the newest is a restarted stream rather than reordering (RFC 3550 appendix A.1).
pub(super) const MAX_MISORDER: i64 = 100;
/// While packets keep coming, a jump forward is believed up to this, and by as many packets more as the time since the last
/// one can have held: with MAX_DROPOUT alone one forged packet would make the next minute of the stream late.
const MAX_BURST: i64 = 16;
/// The shortest packets that are usual last twice as long.
const MIN_PACKET_NS: u64 = 5_000_000;
/// A stream that has been silent for so many of its packets may be over ...
const SILENT_PACKETS: u64 = 5;
/// ... but not within this: a burst of loss on a radio link, and little more than what is made up for lost packets
/// (120 ms), so that a source that changes its SSRC without a word is missed for a syllable.
pub(super) const MIN_SILENT_NS: u64 = 200_000_000;
/// The same from above, for packets of any length.
const MAX_SILENT_NS: u64 = 1_000_000_000;
/// For so long after signalling another SSRC may come at once: an answer, its ACK and a PBX that then moves its media.
const SIGNALLED_NS: u64 = 1_000_000_000;
/// A timestamp that is off the clock on the wall by this much, seen from the packet before, is a clock set anew.
const CLOCK_SET_NS: u64 = 1_000_000_000;
/// Packets after a BYE that show that it was forged, or overtaken by the last ones.
const AFTER_BYE: u8 = 2;
/// Unknown SSRCs on probation at a time, each for as long as the longest usual packets are apart: a flood of forged ones must not
/// keep a real one from its second packet. At 3,000 a second one packet of five finds a place, and the next one is in sequence.
const MAX_PROBATION: usize = 64;
const PROBATION_NS: u64 = 100_000_000;
/// Whoever goes on in sequence keeps his place for as long as it may take until another stream counts as silent, and no longer: sixty-four
/// forged streams must not keep all places.
const MAX_PROBATION_NS: u64 = MAX_SILENT_NS;
/// Streams remembered that were heard before.
const MAX_DISPLACED: usize = 16;
/// SSRCs that signalling may announce; as many as SRTP takes.
const MAX_ANNOUNCED: usize = 16;

/// What a packet is to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to the stream.
    Valid,
    /// A stream begins with it, or begins anew: what waits of before is obsolete.
    Restarted,
    /// Of another stream, or alone and far from this one: nothing may be done with it.
    Refused,
}

/// Tells packets of the stream that is alive from those of another SSRC.
///
/// Another SSRC takes the place of the one that is heard
/// - at once where signalling allows it: [`StreamFilter::signalled`], [`StreamFilter::announce`], [`StreamFilter::bye`];
/// - else with its second packet in sequence (RFC 3550's probation, MIN_SEQUENTIAL = 2), when the one that is heard has been
///   silent for five of its packets and at least 200 ms;
/// - with its second packet in sequence, whoever is heard, if it was heard before and goes on: so a forger who speaks in the
///   pauses of a telephone with silence suppression is gone when the telephone speaks again.
///
/// Nothing allocates for a packet. `now_ns` must not go backwards.
#[derive(Clone, Debug)]
pub struct StreamFilter {
    clock: u32,
    current: Option<Stream>,
    /// Heard before the current one, the oldest first. Each has a probation of its own: no flood of others ends it.
    displaced: Vec<Displaced>,
    probation: Vec<Probation>,
    /// What signalling has announced and was not heard yet.
    announced: Vec<u32>,
    /// When what signalling has changed is over, and whether a new SSRC may come at once until then: one may.
    settled_ns: u64,
    open: bool,
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    ssrc: u32,
    highest: u16,
    heard_ns: u64,
    /// Timestamp and arrival of the newest packet of speech.
    newest: Option<(u32, u64)>,
    /// Duration of a packet, by the last two neighbours.
    packet_ns: u64,
    /// The number that would make a jump believable, after a lone packet far away.
    candidate: Option<u16>,
    /// It has said BYE: how many packets more show that it has not.
    over: Option<u8>,
    /// For how long it was heard.
    for_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Displaced {
    ssrc: u32,
    /// The number that would be in sequence.
    next: Option<u16>,
    /// For how long it was heard.
    for_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Probation {
    ssrc: u32,
    next: u16,
    first_ns: u64,
    heard_ns: u64,
}

impl StreamFilter {
    /// A filter that has heard nothing; `clock` is the RTP clock of the speech.
    #[must_use]
    pub fn new(clock: u32) -> Self {
        Self {
            clock: clock.max(1),
            current: None,
            displaced: Vec::with_capacity(MAX_DISPLACED),
            probation: Vec::with_capacity(MAX_PROBATION),
            announced: Vec::new(),
            settled_ns: 0,
            open: false,
            refused: 0,
        }
    }

    /// The speech has this clock from now on.
    pub fn set_clock(&mut self, clock: u32) {
        self.clock = clock.max(1);
        if let Some(stream) = &mut self.current {
            stream.newest = None;
        }
    }

    /// Signalling has told where and what the peer sends now: within a second another SSRC comes at once.
    pub fn signalled(&mut self, now_ns: u64) {
        self.settled_ns = now_ns.saturating_add(SIGNALLED_NS);
        self.open = true;
    }

    /// Signalling has named an SSRC: it comes at once, whenever it does. False if there are too many.
    pub fn announce(&mut self, ssrc: u32) -> bool {
        if self.ssrc() == Some(ssrc) || self.announced.contains(&ssrc) {
            return true;
        }
        let room = self.announced.len() < MAX_ANNOUNCED;
        if room {
            self.announced.push(ssrc);
        }
        room
    }

    /// The peer has said BYE for an SSRC: if it is the one that is heard, another comes at once.
    pub fn bye(&mut self, ssrc: u32) {
        if let Some(stream) = self.current.as_mut().filter(|stream| stream.ssrc == ssrc) {
            stream.over = Some(AFTER_BYE);
        }
    }

    /// The SSRC that is heard.
    #[must_use]
    pub fn ssrc(&self) -> Option<u32> {
        self.current.as_ref().map(|stream| stream.ssrc)
    }

    /// How many packets were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Judges a packet; only the timestamps of `speech` are looked at, for those of telephone events stand still.
    pub fn receive(&mut self, packet: &Packet<'_>, speech: bool, now_ns: u64) -> Verdict {
        let clock = self.clock;
        let verdict = match &mut self.current {
            Some(stream) if stream.ssrc == packet.ssrc => stream.follow(packet, speech, clock, now_ns),
            Some(_) | None => self.other(packet, speech, now_ns),
        };
        self.refused += u64::from(verdict == Verdict::Refused);
        verdict
    }

    /// A packet of an SSRC that is not the one that is heard.
    fn other(&mut self, packet: &Packet<'_>, speech: bool, now_ns: u64) -> Verdict {
        let displaced = self.displaced.iter().position(|other| other.ssrc == packet.ssrc);
        let in_sequence = match displaced {
            Some(place) => {
                let next = self.displaced[place].next.replace(packet.sequence.wrapping_add(1));
                next == Some(packet.sequence)
            }
            None => self.is_in_sequence(packet, now_ns),
        };
        let settled = self.settled_ns <= now_ns;
        let open = self.open && !settled;
        let announced = self.announced.contains(&packet.ssrc);
        let Some(stream) = &self.current else {
            return self.begin(packet, speech, now_ns);
        };
        let free = stream.over.is_some() || (in_sequence && stream.is_silent(now_ns));
        // Within the second after signalling the old stream is still on its way.
        let back = displaced.is_some() && in_sequence && settled;
        if !(announced || open || free || back) {
            return Verdict::Refused;
        }
        let before = Displaced {
            ssrc: stream.ssrc,
            next: None,
            for_ns: stream.for_ns,
        };
        let for_ns = displaced.map_or(0, |place| self.displaced[place].for_ns);
        match displaced {
            // Whoever came after it was not the peer.
            Some(place) => self.displaced.truncate(place),
            None if announced => self.displaced.clear(),
            // The longest stay: a forger of many SSRCs must not push them out, nor keep them out by having been there before.
            None => remember(&mut self.displaced, before, MAX_DISPLACED, |other| other.for_ns),
        }
        let verdict = self.begin(packet, speech, now_ns);
        if let Some(stream) = &mut self.current {
            stream.for_ns += for_ns;
        }
        verdict
    }

    fn begin(&mut self, packet: &Packet<'_>, speech: bool, now_ns: u64) -> Verdict {
        self.open = false;
        self.announced.retain(|ssrc| *ssrc != packet.ssrc);
        self.probation.retain(|other| other.ssrc != packet.ssrc);
        self.current = Some(Stream {
            ssrc: packet.ssrc,
            highest: packet.sequence,
            heard_ns: now_ns,
            newest: speech.then_some((packet.timestamp, now_ns)),
            packet_ns: 0,
            candidate: None,
            over: None,
            for_ns: 0,
        });
        Verdict::Restarted
    }

    /// Notes a packet of an SSRC on probation: true if it follows the last one.
    fn is_in_sequence(&mut self, packet: &Packet<'_>, now_ns: u64) -> bool {
        let seen = Probation {
            ssrc: packet.ssrc,
            next: packet.sequence.wrapping_add(1),
            first_ns: now_ns,
            heard_ns: now_ns,
        };
        let place = self.probation.iter().position(|other| other.ssrc == packet.ssrc);
        if let Some(place) = place {
            let other = &mut self.probation[place];
            let in_sequence = other.next == packet.sequence;
            // Out of sequence it begins anew, but its time goes on: nobody keeps a place by repeating himself.
            if in_sequence {
                (other.next, other.heard_ns) = (seen.next, now_ns);
                return true;
            }
            other.next = seen.next;
            return false;
        }
        if self.probation.len() < MAX_PROBATION {
            self.probation.push(seen);
        } else if let Some(over) = self.probation.iter_mut().find(|other| other.is_over(now_ns)) {
            *over = seen;
        }
        false
    }
}

impl Probation {
    fn is_over(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.heard_ns) >= PROBATION_NS || now_ns.saturating_sub(self.first_ns) >= MAX_PROBATION_NS
    }
}

impl Stream {
    fn is_silent(&self, now_ns: u64) -> bool {
        let most = (SILENT_PACKETS * self.packet_ns).clamp(MIN_SILENT_NS, MAX_SILENT_NS);
        now_ns.saturating_sub(self.heard_ns) >= most
    }

    /// A packet of this SSRC.
    fn follow(&mut self, packet: &Packet<'_>, speech: bool, clock: u32, now_ns: u64) -> Verdict {
        let ahead = i64::from(packet.sequence.wrapping_sub(self.highest) as i16);
        if !self.is_near(ahead, packet.timestamp, speech, clock, now_ns) {
            let believable = self.candidate == Some(packet.sequence);
            self.candidate = Some(packet.sequence.wrapping_add(1));
            // After silence nothing is lost by believing the first: some clocks stand still while nobody speaks.
            if !believable && !self.is_silent(now_ns) {
                return Verdict::Refused;
            }
            self.take(packet, speech, now_ns);
            return Verdict::Restarted;
        }
        self.candidate = None;
        if let (true, 1, Some((before, _))) = (speech, ahead, self.newest) {
            let ns = ticks_to_ns(i64::from(packet.timestamp.wrapping_sub(before) as i32), clock);
            self.packet_ns = u64::try_from(ns).unwrap_or(0).min(MAX_SILENT_NS);
        }
        if ahead > 0 {
            self.take(packet, speech, now_ns);
        } else {
            self.heard(now_ns);
        }
        Verdict::Valid
    }

    fn is_near(&self, ahead: i64, timestamp: u32, speech: bool, clock: u32, now_ns: u64) -> bool {
        let since = now_ns.saturating_sub(self.heard_ns) / MIN_PACKET_NS;
        let most = i64::try_from(since)
            .unwrap_or(MAX_DROPOUT)
            .saturating_add(MAX_BURST)
            .min(MAX_DROPOUT);
        if ahead <= -MAX_MISORDER || ahead > most {
            return false;
        }
        let Some((before, arrival_ns)) = self.newest.filter(|_| speech) else {
            return true;
        };
        let media = ticks_to_ns(i64::from(timestamp.wrapping_sub(before) as i32), clock);
        let wall = i64::try_from(now_ns.saturating_sub(arrival_ns)).unwrap_or(i64::MAX);
        wall.abs_diff(media) <= CLOCK_SET_NS
    }

    fn take(&mut self, packet: &Packet<'_>, speech: bool, now_ns: u64) {
        self.highest = packet.sequence;
        if speech {
            self.newest = Some((packet.timestamp, now_ns));
        }
        self.heard(now_ns);
    }

    fn heard(&mut self, now_ns: u64) {
        // However many come meanwhile.
        self.for_ns += now_ns.saturating_sub(self.heard_ns).min(MIN_SILENT_NS);
        self.heard_ns = now_ns;
        self.over = self.over.and_then(|left| left.checked_sub(1)).filter(|left| *left > 0);
    }
}
