//! The receiving buffer: puts packets of one stream in order and says when each is due. It decides no depth by itself (the
//! rule lives with the media; [`Depth`] is its simplest form) and knows no codec.
//!
//! Fixed slots: nothing is allocated for a packet, save for one larger than all before, and that a few times at most.
//! Output sequence numbers only rise, until the stream restarts.
//!
//! Size: one machine over one ring of slots; its restart rules, order and due times read each other's fields.

mod depth;
#[cfg(test)]
mod tests;

pub use depth::Depth;
use depth::WindowMinimum;

use super::packet::Packet;
use super::stream::{MAX_DROPOUT, MAX_MISORDER};
use super::ticks_to_ns;

/// Largest payload that is kept.
pub const MAX_PAYLOAD: usize = 1500;
/// Room of a slot at first: 20 ms of PCMU, or of Opus up to 70 kbit/s. With room for the largest payload, the two buffers
/// of 64 slots were most of what a call took (190 KiB).
const FIRST_ROOM: usize = 176;
/// A timestamp this far behind what was played cannot be lateness: the source has set its clock anew.
const CLOCK_SET_NS: i64 = 5_000_000_000;
/// Where extended sequence numbers begin: far enough from zero that nothing is below it.
const ORIGIN: i64 = 1 << 32;
/// Marks a slot without a packet.
const VACANT: i64 = -1;

/// What became of a packet that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits in the buffer. Its delay over the smallest of the last 2 s, for the depth rule.
    Stored {
        /// Nanoseconds over the window minimum.
        delay_ns: u64,
    },
    /// It came after its turn and was dropped; the delay says by how much the buffer is too shallow.
    Late {
        /// Nanoseconds over the window minimum.
        delay_ns: u64,
    },
    /// It is here already.
    Duplicate,
    /// The stream began, or began anew (new SSRC, or a jump of the sequence number); the buffer holds this packet alone.
    Restarted,
    /// A lone packet far from the stream, or larger than [`MAX_PAYLOAD`]; dropped.
    Refused,
}

/// A packet on its way out of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Sequence number as on the wire.
    pub sequence: u16,
    /// Timestamp as on the wire.
    pub timestamp: u32,
    /// 0..=127.
    pub payload_type: u8,
    /// Marker as on the wire.
    pub marker: bool,
    /// The first of a stream: decoders and clocks that follow it begin anew.
    pub first: bool,
    /// When it arrived.
    pub arrival_ns: u64,
    /// Its bytes, valid to the next push.
    pub payload: &'a [u8],
}

/// What the buffer has to give at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pop<'a> {
    /// The next packet, and it is due.
    Packet(Frame<'a>),
    /// The next packet is not here though later ones are, and it is due: conceal it.
    Missing {
        /// Its sequence number.
        sequence: u16,
        /// Its timestamp, estimated from its neighbours.
        timestamp: u32,
        /// The packet right after it, if that is here: its in-band FEC can restore the missing one. It stays in the buffer.
        next: Option<Frame<'a>>,
    },
    /// Packets are here, but none is due: come back at [`Buffer::due`].
    Early,
    /// No packet is here. Whether that is loss or silence the caller knows; see [`Buffer::expected`] and [`Buffer::skip`].
    Empty,
}

/// Counters since `new`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets given out.
    pub played: u64,
    /// Packets reported missing or skipped over.
    pub missing: u64,
    /// Packets that came too late.
    pub late: u64,
    /// Packets that were here already.
    pub duplicate: u64,
    /// Packets thrown out because nobody took them in time.
    pub overflow: u64,
    /// Restarts of the stream, the first beginning included.
    pub restarts: u64,
}

/// The jitter buffer of one stream.
///
/// Push packets as they arrive, pop in a loop until [`Pop::Early`] or [`Pop::Empty`], sleep until [`Buffer::due`].
#[derive(Debug)]
pub struct Buffer {
    slots: Box<[Slot]>,
    /// Bytes of the slots, `room` for each.
    payloads: Box<[u8]>,
    room: usize,
    clock: u32,
    depth_ns: u64,
    stream: Option<Stream>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    sequence: i64,
    timestamp: i64,
    arrival_ns: u64,
    length: u16,
    payload_type: u8,
    marker: bool,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    /// Largest sequence number seen, and its timestamp on the wire and unwrapped.
    highest: i64,
    wire_timestamp: u32,
    timestamp: i64,
    /// Timestamp on the wire that is zero unwrapped.
    origin: u32,
    /// Sequence number of the packet to be given out next.
    next: i64,
    /// Sequence number and timestamp of what was given out or reported missing last.
    last: Option<(i64, i64)>,
    /// Ticks of a packet, by the last two neighbours.
    step: i64,
    /// Time up to and with this timestamp was filled by the caller ([`Buffer::skip`]).
    skipped: Option<i64>,
    /// A sequence number that would make a restart believable, after a lone packet far away.
    candidate: Option<u16>,
    fastest: WindowMinimum,
}

impl Buffer {
    /// A buffer of `slots` packets (at least 2) for a stream with this RTP clock. A slot holds 1.5 kB at most.
    #[must_use]
    pub fn new(slots: usize, clock: u32) -> Self {
        let slots = slots.max(2);
        let vacant = Slot {
            sequence: VACANT,
            timestamp: 0,
            arrival_ns: 0,
            length: 0,
            payload_type: 0,
            marker: false,
        };
        Buffer {
            slots: vec![vacant; slots].into_boxed_slice(),
            payloads: vec![0; slots * FIRST_ROOM].into_boxed_slice(),
            room: FIRST_ROOM,
            clock: clock.max(1),
            depth_ns: 0,
            stream: None,
            counts: Counts::default(),
        }
    }

    /// Sets how long a packet waits beyond the fastest of the last 2 s. At 0 it is due when it arrives.
    pub fn set_depth(&mut self, depth_ns: u64) {
        self.depth_ns = depth_ns;
    }

    /// The depth in force.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.depth_ns
    }

    /// The counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many packets wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.sequence != VACANT).count()
    }

    /// True if no packet waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.sequence == VACANT)
    }

    /// How much of the stream waits behind the packet that is given out next, in nanoseconds of its own time.
    #[must_use]
    pub fn waiting_ns(&self) -> u64 {
        let Some(stream) = &self.stream else { return 0 };
        let next = self
            .upcoming(stream)
            .map_or(stream.timestamp, |(_, timestamp, _)| timestamp);
        u64::try_from(ticks_to_ns(stream.timestamp - next, self.clock)).unwrap_or(0)
    }

    /// Forgets the stream and all packets; the next one begins anew.
    pub fn reset(&mut self) {
        self.clear();
        self.stream = None;
    }

    /// Takes a packet that arrived at `arrival_ns`, which must not go backwards.
    pub fn push(&mut self, packet: &Packet<'_>, arrival_ns: u64) -> Pushed {
        if packet.payload.len() > MAX_PAYLOAD {
            return Pushed::Refused;
        }
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.ssrc == packet.ssrc) else {
            return self.restart(packet, arrival_ns);
        };
        let ahead = i64::from(packet.sequence.wrapping_sub(stream.highest as u16) as i16);
        if ahead >= MAX_DROPOUT || ahead <= -MAX_MISORDER {
            if stream.candidate == Some(packet.sequence) {
                return self.restart(packet, arrival_ns);
            }
            stream.candidate = Some(packet.sequence.wrapping_add(1));
            return Pushed::Refused;
        }
        stream.candidate = None;
        if ahead > self.slots.len() as i64 {
            // A hole longer than the buffer: nobody wants that many concealed frames at once.
            self.counts.missing += (ahead - 1) as u64;
            return self.restart(packet, arrival_ns);
        }
        let sequence = stream.highest + ahead;
        let timestamp = stream.unwrap(packet.timestamp);
        if ahead > 0 {
            stream.highest = sequence;
            stream.wire_timestamp = packet.timestamp;
            stream.timestamp = timestamp;
        }
        let delay_ns = stream
            .fastest
            .observe(arrival_ns, transit(arrival_ns, timestamp, self.clock));
        if stream.is_late(sequence, timestamp, self.clock) {
            self.counts.late += 1;
            return Pushed::Late { delay_ns };
        }
        if sequence < stream.next {
            // Nothing was given out yet: the stream simply began a little earlier.
            if stream.next - sequence >= self.slots.len() as i64 || stream.highest - sequence >= self.slots.len() as i64
            {
                self.counts.late += 1;
                return Pushed::Late { delay_ns };
            }
            stream.next = sequence;
        }
        if self.slots[self.index(sequence)].sequence == sequence {
            self.counts.duplicate += 1;
            return Pushed::Duplicate;
        }
        self.make_room(sequence);
        self.store(sequence, timestamp, packet, arrival_ns);
        Pushed::Stored { delay_ns }
    }

    /// When the next packet (here or missing) is due; `None` while no packet waits.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        let stream = self.stream.as_ref()?;
        let (_, timestamp, _) = self.upcoming(stream)?;
        Some(self.due_of(stream, timestamp))
    }

    /// When a packet that has not arrived should be given out, were it to follow the last without a pause.
    ///
    /// For the caller that knows its source does not fall silent: at this time conceal, and say so by [`Buffer::skip`].
    /// `None` before the first packet is given out.
    #[must_use]
    pub fn expected(&self) -> Option<u64> {
        let stream = self.stream.as_ref()?;
        let (_, timestamp) = stream.last?;
        let after = stream.skipped.map_or(timestamp, |skipped| skipped.max(timestamp)) + stream.step;
        Some(self.due_of(stream, after))
    }

    /// Says that the caller filled the time of one packet by itself; the packet of that time is late from now on.
    pub fn skip(&mut self) {
        if let Some(stream) = &mut self.stream
            && let Some((_, timestamp)) = stream.last
        {
            let from = stream.skipped.map_or(timestamp, |skipped| skipped.max(timestamp));
            stream.skipped = Some(from + stream.step);
            self.counts.missing += 1;
        }
    }

    /// Says that what is missing before the first packet that is here is not waited for any more, nor made up.
    pub fn skip_missing(&mut self) {
        let first = self.stream.as_ref().and_then(|stream| self.first_waiting(stream));
        if let (Some(stream), Some(first)) = (&mut self.stream, first) {
            self.counts.missing += (first - stream.next) as u64;
            stream.next = first;
        }
    }

    /// Gives out what is due at `now_ns`.
    pub fn pop(&mut self, now_ns: u64) -> Pop<'_> {
        let Some(stream) = &self.stream else {
            return Pop::Empty;
        };
        let Some((next, expected, here)) = self.upcoming(stream) else {
            return Pop::Empty;
        };
        if self.due_of(stream, expected) > now_ns {
            return Pop::Early;
        }
        let since_last = stream
            .last
            .map(|(sequence, timestamp)| (next - sequence, expected - timestamp));
        let began = stream.last.is_none();
        let wire = stream.wire(expected);
        let Some(stream) = &mut self.stream else {
            return Pop::Empty;
        };
        stream.next = next + 1;
        stream.last = Some((next, expected));
        if let Some((1, ticks)) = since_last
            && ticks > 0
            && ticks_to_ns(ticks, self.clock) <= 200_000_000
        {
            stream.step = ticks;
        }
        if here {
            self.counts.played += 1;
            let index = self.index(next);
            self.slots[index].sequence = VACANT;
            return Pop::Packet(self.frame(index, next, began));
        }
        self.counts.missing += 1;
        let after = self.index(next + 1);
        let next_frame = (self.slots[after].sequence == next + 1).then(|| self.frame(after, next + 1, false));
        Pop::Missing {
            sequence: next as u16,
            timestamp: wire,
            next: next_frame,
        }
    }

    fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.sequence = VACANT;
        }
    }

    fn restart(&mut self, packet: &Packet<'_>, arrival_ns: u64) -> Pushed {
        self.clear();
        self.counts.restarts += 1;
        let sequence = ORIGIN + i64::from(packet.sequence);
        let mut fastest = WindowMinimum::default();
        fastest.observe(arrival_ns, transit(arrival_ns, 0, self.clock));
        self.stream = Some(Stream {
            ssrc: packet.ssrc,
            highest: sequence,
            wire_timestamp: packet.timestamp,
            timestamp: 0,
            origin: packet.timestamp,
            next: sequence,
            last: None,
            step: i64::from(self.clock / 50),
            skipped: None,
            candidate: None,
            fastest,
        });
        self.store(sequence, 0, packet, arrival_ns);
        Pushed::Restarted
    }

    fn index(&self, sequence: i64) -> usize {
        sequence.rem_euclid(self.slots.len() as i64) as usize
    }

    /// Throws out the oldest packets until `sequence` fits behind `next`.
    fn make_room(&mut self, sequence: i64) {
        let slots = self.slots.len() as i64;
        let Some(stream) = &mut self.stream else { return };
        let keep_from = sequence - slots + 1;
        if stream.next >= keep_from {
            return;
        }
        let mut thrown = 0;
        for slot in &mut self.slots {
            if slot.sequence != VACANT && slot.sequence < keep_from {
                slot.sequence = VACANT;
                thrown += 1;
            }
        }
        self.counts.overflow += thrown;
        self.counts.missing += (keep_from - stream.next) as u64 - thrown;
        stream.next = keep_from;
    }

    fn store(&mut self, sequence: i64, timestamp: i64, packet: &Packet<'_>, arrival_ns: u64) {
        let index = self.index(sequence);
        let length = packet.payload.len();
        if length > self.room {
            self.widen(length);
        }
        self.payloads[index * self.room..][..length].copy_from_slice(packet.payload);
        self.slots[index] = Slot {
            sequence,
            timestamp,
            arrival_ns,
            length: length as u16,
            payload_type: packet.payload_type,
            marker: packet.marker,
        };
    }

    /// Makes room for payloads of this length, and for longer ones, so that it does not happen often.
    fn widen(&mut self, length: usize) {
        let room = length.max(2 * self.room).min(MAX_PAYLOAD);
        let mut payloads = vec![0; self.slots.len() * room].into_boxed_slice();
        for (wide, narrow) in payloads
            .chunks_exact_mut(room)
            .zip(self.payloads.chunks_exact(self.room))
        {
            wide[..self.room].copy_from_slice(narrow);
        }
        (self.payloads, self.room) = (payloads, room);
    }

    /// The smallest sequence number that waits.
    fn first_waiting(&self, stream: &Stream) -> Option<i64> {
        (stream.next..=stream.highest)
            .take(self.slots.len())
            .find(|sequence| self.slots[self.index(*sequence)].sequence == *sequence)
    }

    /// What is given out next: its sequence number, its timestamp, and whether it is here.
    fn upcoming(&self, stream: &Stream) -> Option<(i64, i64, bool)> {
        let first = self.first_waiting(stream)?;
        let timestamp = self.slots[self.index(first)].timestamp;
        // A missing one lies evenly between the last given out and the first here.
        let step = match stream.last {
            Some((sequence, before)) if timestamp > before => (timestamp - before) / (first - sequence).max(1),
            _ => 0,
        };
        let mut missing = (stream.next..first).map(|sequence| (sequence, timestamp - step * (first - sequence), false));
        // What the caller has concealed by itself is not reported a second time.
        let untold = |(_, expected, _): &(i64, i64, bool)| stream.skipped.is_none_or(|skipped| *expected > skipped);
        Some(missing.find(untold).unwrap_or((first, timestamp, true)))
    }

    fn due_of(&self, stream: &Stream, timestamp: i64) -> u64 {
        let due = stream
            .fastest
            .value()
            .saturating_add(ticks_to_ns(timestamp, self.clock));
        u64::try_from(due).unwrap_or(0).saturating_add(self.depth_ns)
    }

    fn frame(&self, index: usize, sequence: i64, first: bool) -> Frame<'_> {
        let slot = &self.slots[index];
        let origin = self.stream.as_ref().map_or(0, |stream| stream.origin);
        Frame {
            sequence: sequence as u16,
            timestamp: origin.wrapping_add(slot.timestamp as u32),
            payload_type: slot.payload_type,
            marker: slot.marker,
            first,
            arrival_ns: slot.arrival_ns,
            payload: &self.payloads[index * self.room..][..usize::from(slot.length)],
        }
    }
}

impl Stream {
    fn unwrap(&self, timestamp: u32) -> i64 {
        self.timestamp + i64::from(timestamp.wrapping_sub(self.wire_timestamp) as i32)
    }

    fn wire(&self, timestamp: i64) -> u32 {
        self.origin.wrapping_add(timestamp as u32)
    }

    /// True if the turn of a packet is over; remembers it where only the time was filled.
    fn is_late(&mut self, sequence: i64, timestamp: i64, clock: u32) -> bool {
        if sequence < self.next && self.last.is_some() {
            return true;
        }
        let Some(skipped) = self.skipped else {
            return false;
        };
        if ticks_to_ns(skipped - timestamp, clock) > CLOCK_SET_NS {
            self.skipped = None;
            return false;
        }
        if timestamp > skipped {
            return false;
        }
        // All before it are late as well; they may not come out after it.
        self.next = self.next.max(sequence + 1);
        self.last = Some((sequence, timestamp));
        true
    }
}

fn transit(arrival_ns: u64, timestamp: i64, clock: u32) -> i64 {
    i64::try_from(arrival_ns)
        .unwrap_or(i64::MAX)
        .saturating_sub(ticks_to_ns(timestamp, clock))
}
