//! What of the peer's packets the crate gets to see.
//!
//! - Packets of at most 2 KiB with at most 64 chunks, all of kinds that a plain association needs: no RE-CONFIG, no FORWARD-TSN; of those that
//!   are no data four at most, for each may draw an answer, and one HEARTBEAT, which does.
//! - Data of the first stream, in order, not empty, and at most 256 TSNs ahead of what is acknowledged: that bounds what is held,
//!   the gaps that a SACK lists, and the work for each.
//! - Messages one after the other, as everybody sends them on one stream in order: what is acknowledged is then read, but for the
//!   parts of one message, of which there are at most 512. Each part that waits holds on to its packet. Who breaks the order is not
//!   heard any more.
//! - INIT and its ACK alone in their packets, and each once for an association: they say where the peer's numbers begin, and the
//!   crate, which ignores a second one, would not move with us.

use std::collections::VecDeque;

use super::number_at;

/// The longest packet; official clients send at most 1,200 bytes.
const MAX_PACKET: usize = 2048;
const MAX_CHUNKS: usize = 64;
/// Of these the ones that are no data.
const MAX_CONTROL_CHUNKS: usize = 4;
/// TSNs ahead of the last that is acknowledged. A message of 128 KiB has some 120.
const MAX_AHEAD: u32 = 256;
/// Parts of a message before its end.
const MAX_PARTS: u32 = 512;

const COMMON_HEADER: usize = 12;
const CHUNK_HEADER: usize = 4;

// Kinds of chunks, RFC 9260 §3.2.
const DATA: u8 = 0;
pub(super) const INIT: u8 = 1;
pub(super) const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
/// HEARTBEAT, its ACK, ABORT, SHUTDOWN, its ACK, ERROR, COOKIE ECHO, its ACK.
const HEARTBEAT: u8 = 4;
pub(super) const COOKIE_ECHO: u8 = 10;
pub(super) const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Flags of DATA: the end and the beginning of a message; not in order.
const END: u8 = 1;
const BEGINNING: u8 = 2;
const UNORDERED: u8 = 4;

#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The last TSN of the peer that is acknowledged; before any, the one before its first.
    acknowledged: Option<u32>,
    /// What came after it: number of the message and flags, by TSN.
    ahead: VecDeque<Option<(u16, u8)>>,
    /// The number of the next message, or of the one of which there are parts.
    message: u16,
    /// Parts since the last end of a message.
    parts: u32,
    /// The peer has broken the order.
    is_shut: bool,
}

/// A chunk: its kind, flags and value.
type Chunk<'a> = (u8, u8, &'a [u8]);

/// The chunks of a packet; `None` if it is malformed, or more than is taken.
fn chunks(packet: &[u8]) -> Option<Vec<Chunk<'_>>> {
    let mut rest = packet.get(COMMON_HEADER..)?;
    let mut chunks = Vec::new();
    while let Some(([kind, flags, high, low], _)) = rest.split_first_chunk::<CHUNK_HEADER>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = rest.get(CHUNK_HEADER..length)?;
        if chunks.len() == MAX_CHUNKS {
            return None;
        }
        chunks.push((*kind, *flags, value));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    (!chunks.is_empty()).then_some(chunks)
}

/// The kind of the first chunk.
pub(super) fn first_kind(packet: &[u8]) -> Option<u8> {
    packet.get(COMMON_HEADER).copied()
}

/// The kind of the only chunk.
pub(super) fn only_kind(packet: &[u8]) -> Option<u8> {
    match chunks(packet)?[..] {
        [(kind, ..)] => Some(kind),
        _ => None,
    }
}

/// Whether this is an INIT that may be answered.
pub(super) fn is_init(packet: &[u8]) -> bool {
    packet.len() <= MAX_PACKET && only_kind(packet) == Some(INIT)
}

/// The TSN before the one that an INIT or its ACK names.
fn before_first(value: &[u8]) -> Option<u32> {
    number_at(value, 12).map(|first| first.wrapping_sub(1))
}

impl Gate {
    /// The gate of an association that this INIT has begun.
    pub(super) fn after_init(init: &[u8]) -> Self {
        let chunks = chunks(init).unwrap_or_default();
        Self {
            acknowledged: chunks.first().and_then(|(_, _, value)| before_first(value)),
            ..Self::default()
        }
    }

    /// Whether the peer has said where its numbers begin.
    pub(super) fn has_begun(&self) -> bool {
        self.acknowledged.is_some()
    }

    /// Whether the crate may see a packet of the peer's.
    pub(super) fn admits(&mut self, packet: &[u8]) -> bool {
        if packet.len() > MAX_PACKET {
            return false;
        }
        let Some(chunks) = chunks(packet) else { return false };
        if let [(INIT_ACK, _, value)] = chunks[..] {
            let is_first = !self.has_begun();
            self.acknowledged = self.acknowledged.or_else(|| before_first(value));
            return is_first && self.has_begun();
        }
        let kinds = |is: fn(u8) -> bool| chunks.iter().filter(|(kind, ..)| is(*kind)).count();
        if kinds(|kind| kind != DATA) > MAX_CONTROL_CHUNKS || kinds(|kind| kind == HEARTBEAT) > 1 {
            return false;
        }
        for (kind, flags, value) in chunks {
            let admitted = match kind {
                DATA => self.admits_data(flags, value),
                SACK | HEARTBEAT..=COOKIE_ACK | SHUTDOWN_COMPLETE => true,
                _ => false,
            };
            if !admitted {
                return false;
            }
        }
        true
    }

    /// Notes what a packet of ours acknowledges.
    pub(super) fn note_sent(&mut self, packet: &[u8]) {
        for (kind, _, value) in chunks(packet).into_iter().flatten() {
            if kind == SACK
                && let Some(tsn) = number_at(value, 0)
            {
                self.note_acknowledged(tsn);
            }
        }
    }

    fn note_acknowledged(&mut self, tsn: u32) {
        let Some(before) = self.acknowledged.replace(tsn) else {
            return;
        };
        for _ in 0..tsn.wrapping_sub(before) {
            let Some(part) = self.ahead.pop_front() else { return };
            let is_next = part.is_some_and(|(message, flags)| {
                message == self.message && (flags & BEGINNING != 0) == (self.parts == 0)
            });
            let is_end = part.is_some_and(|(_, flags)| flags & END != 0);
            self.parts = if is_end { 0 } else { self.parts + 1 };
            self.message = self.message.wrapping_add(u16::from(is_end));
            self.is_shut |= !is_next || self.parts > MAX_PARTS;
        }
    }

    /// Notes a part, unless it cannot be one of what a plain sender sends.
    fn admits_data(&mut self, flags: u8, value: &[u8]) -> bool {
        let (Some(tsn), Some(acknowledged)) = (number_at(value, 0), self.acknowledged) else {
            return false;
        };
        // Stream, number of the message, identifier, and the bytes.
        let (Some([0, 0, high, low]), 13..) = (value.get(4..8), value.len()) else {
            return false;
        };
        if self.is_shut || flags & UNORDERED != 0 {
            return false;
        }
        let ahead = tsn.wrapping_sub(acknowledged);
        if ahead == 0 || ahead > u32::MAX / 2 {
            // It was seen, and is only acknowledged again.
            return true;
        }
        if ahead > MAX_AHEAD {
            return false;
        }
        let (at, part) = (
            ahead as usize - 1,
            (u16::from_be_bytes([*high, *low]), flags & (BEGINNING | END)),
        );
        if self.ahead.len() <= at {
            self.ahead.resize(at + 1, None);
        }
        // The crate goes by what has come first.
        *self.ahead[at].get_or_insert(part) == part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(chunks: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let mut packet = vec![0; COMMON_HEADER];
        for (kind, flags, value) in chunks {
            let length = u16::try_from(CHUNK_HEADER + value.len()).unwrap();
            packet.extend_from_slice(&[*kind, *flags]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(value);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet
    }

    fn data(tsn: u32, stream: u16, bytes: usize) -> Vec<u8> {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend_from_slice(&stream.to_be_bytes());
        value.resize(12 + bytes, 7);
        value
    }

    /// A gate whose peer begins with TSN 1000.
    fn gate() -> Gate {
        Gate::after_init(&packet(&[(INIT, 0, beginning(1000))]))
    }

    fn beginning(tsn: u32) -> Vec<u8> {
        let mut init = vec![0; 16];
        init[12..16].copy_from_slice(&tsn.to_be_bytes());
        init
    }

    /// Seen: with one before its data, a peer moved the window wherever it wanted.
    #[test]
    fn where_numbers_begin_is_said_once_and_alone() {
        let far = (DATA, WHOLE, data(5000, 0, 1));
        for kind in [INIT, INIT_ACK] {
            let mut gate = gate();
            let again = (kind, 0, beginning(5000));
            assert!(!gate.admits(&packet(&[again.clone(), far.clone()])));
            assert!(!gate.admits(&packet(&[(SACK, 0, vec![0; 12]), again.clone(), far.clone()])));
            assert!(!gate.admits(&packet(&[again])));
            assert!(!gate.admits(&packet(std::slice::from_ref(&far))));
        }
        let mut ours = Gate::default();
        assert!(!ours.admits(&packet(&[(INIT_ACK, 0, vec![0; 3])])) && !ours.has_begun());
        assert!(!ours.admits(&packet(&[(INIT_ACK, 0, beginning(5000)), far.clone()])));
        assert!(ours.admits(&packet(&[(INIT_ACK, 0, beginning(5000))])));
        assert!(!ours.admits(&packet(&[(INIT_ACK, 0, beginning(9000))])));
        assert!(ours.admits(&packet(&[far])));
        assert!(!is_init(&packet(&[(INIT, 0, beginning(1)), (INIT, 0, beginning(1))])));
    }

    const WHOLE: u8 = 3;

    #[test]
    fn what_a_plain_association_needs_is_admitted() {
        let mut gate = gate();
        for kind in [3, 4, 5, 6, 7, 8, 9, 10, 11, 14] {
            assert!(gate.admits(&packet(&[(kind, 0, vec![0; 8])])), "{kind}");
        }
        assert!(gate.admits(&packet(&[
            (DATA, WHOLE, data(1000, 0, 5)),
            (DATA, WHOLE, data(1255, 0, 1))
        ])));
        // Seen before.
        assert!(gate.admits(&packet(&[(DATA, WHOLE, data(990, 0, 5))])));
    }

    #[test]
    fn what_makes_the_crate_work_or_hold_for_nothing_is_not() {
        let mut gate = gate();
        // FORWARD-TSN, RE-CONFIG, I-DATA, PAD, nonsense.
        for kind in [192, 130, 64, 132, 12, 13, 15, 255] {
            assert!(!gate.admits(&packet(&[(kind, 0, vec![0; 8])])), "{kind}");
        }
        for (flags, value) in [
            (WHOLE, data(1256, 0, 1)),
            (WHOLE, data(1000, 1, 1)),
            (WHOLE, data(1000, 0, 0)),
            (WHOLE | UNORDERED, data(1000, 0, 1)),
            (WHOLE, vec![0; 3]),
        ] {
            assert!(!gate.admits(&packet(&[(DATA, flags, value)])));
        }
        for (kind, count) in [(HEARTBEAT, 2), (SACK, 5), (COOKIE_ECHO, 60)] {
            assert!(!gate.admits(&packet(&vec![(kind, 0, vec![0; 12]); count])), "{kind}");
        }
        let many: Vec<_> = (0..65).map(|n| (DATA, WHOLE, data(1000 + n, 0, 1))).collect();
        assert!(!gate.admits(&packet(&many)));
        assert!(gate.admits(&packet(&many[1..])));
        assert!(!gate.admits(&packet(&[(DATA, WHOLE, data(1000, 0, 2048))])));
        assert!(!gate.admits(&[0; 12]) && !gate.admits(&[]) && !gate.admits(&[0; 15]));
        assert!(
            !Gate::default().admits(&packet(&[(DATA, WHOLE, data(0, 0, 1))])),
            "before INIT"
        );
    }

    fn acknowledge(gate: &mut Gate, tsn: u32) {
        let mut sack = tsn.to_be_bytes().to_vec();
        sack.resize(12, 0);
        gate.note_sent(&packet(&[(SACK, 0, sack)]));
    }

    /// Part `tsn` of message `message`.
    fn part(tsn: u32, message: u16, flags: u8) -> Vec<u8> {
        let mut value = data(tsn, 0, 1);
        value[6..8].copy_from_slice(&message.to_be_bytes());
        packet(&[(DATA, flags, value)])
    }

    #[test]
    fn the_window_goes_on_with_what_we_acknowledge() {
        let mut gate = gate();
        assert!(!gate.admits(&part(1300, 300, WHOLE)));
        for n in 0..101 {
            assert!(gate.admits(&part(1000 + n, n as u16, WHOLE)));
        }
        acknowledge(&mut gate, 1100);
        assert!(gate.admits(&part(1300, 300, WHOLE)));
    }

    #[test]
    fn a_message_without_an_end_has_an_end() {
        let mut gate = gate();
        let taken = |gate: &mut Gate| {
            let take = |n: &u32| {
                let flags = if *n == 0 { BEGINNING } else { 0 };
                let is_taken = gate.admits(&part(1000 + n, 0, flags));
                acknowledge(gate, 1000 + n);
                is_taken
            };
            (0..1000).take_while(take).count()
        };
        assert_eq!(taken(&mut gate), MAX_PARTS as usize + 1);
        assert!(!gate.admits(&part(1513, 1, WHOLE)), "and nothing comes after it");
    }

    /// Seen: whole messages of far numbers between the parts, so that there was never an end and always one.
    #[test]
    fn messages_come_one_after_the_other_or_no_more() {
        let breaks: [&[(u16, u8)]; 6] = [
            // Another one within one; one without a beginning; one that begins twice; a number left out; one again; the last first.
            &[(0, BEGINNING), (1, WHOLE)],
            &[(0, END)],
            &[(0, BEGINNING), (0, BEGINNING)],
            &[(0, WHOLE), (2, WHOLE)],
            &[(0, WHOLE), (0, WHOLE)],
            &[(1, WHOLE), (0, WHOLE)],
        ];
        for parts in breaks {
            let mut gate = gate();
            for (tsn, (message, flags)) in (1000..).zip(parts) {
                assert!(gate.admits(&part(tsn, *message, *flags)));
            }
            acknowledge(&mut gate, 1000 + parts.len() as u32 - 1);
            assert!(!gate.admits(&part(1002, 1, WHOLE)), "{parts:?}");
            assert!(gate.admits(&packet(&[(SACK, 0, vec![0; 12])])), "but for the rest");
        }
        // In any order, and again, and over the end of all numbers.
        let mut gate = gate();
        for round in 0..40_000_u32 {
            let (tsn, message) = (1000 + 3 * round, (2 * round) as u16);
            let parts = [
                part(tsn, message, BEGINNING),
                part(tsn + 1, message, END),
                part(tsn + 2, message.wrapping_add(1), WHOLE),
            ];
            for at in [2, 0, 1, 1, 2] {
                assert!(gate.admits(&parts[at]));
            }
            acknowledge(&mut gate, tsn + 2);
            assert!(gate.admits(&parts[0]));
        }
        // What came first counts.
        assert!(gate.admits(&part(121_000, 14_464, WHOLE)));
        assert!(!gate.admits(&part(121_000, 14_465, WHOLE)));
    }
}
