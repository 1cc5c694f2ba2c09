//! The last packets of a stream, for a peer that misses some: sent again to the letter (RFC 4585).

use std::collections::VecDeque;

use quartet_proto::rtp::{packet::HEADER, rtcp::MAX_ASKED};

/// Packets that are kept: two seconds of 20 ms, and with longer ones more.
const KEPT: usize = 100;
/// Longest packet that is kept: 60 ms of Opus, 30 ms of PCMU.
const ROOM: usize = 300;
/// How often one packet is sent again.
const MAX_RESENT: u8 = 4;
/// Packets sent again for each that is sent, and at once.
const RESENDS_PER_PACKET: u32 = 1;
const MAX_BUDGET: u32 = 50;

/// Packets that may be asked for, and those that have been.
pub(super) struct History {
    slots: Box<[Slot]>,
    bytes: Box<[u8]>,
    asked: VecDeque<u16>,
    budget: u32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    sequence: u16,
    /// 0: nothing is kept here.
    length: usize,
    resent: u8,
}

impl History {
    /// Nothing is kept yet.
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Slot::default(); KEPT].into(),
            bytes: vec![0; KEPT * ROOM].into(),
            asked: VecDeque::with_capacity(MAX_ASKED),
            budget: MAX_BUDGET,
        }
    }

    /// Keeps a packet that is being sent, in the place of the one of the same number a hundred before.
    pub(super) fn keep(&mut self, packet: &[u8]) {
        self.budget = (self.budget + RESENDS_PER_PACKET).min(MAX_BUDGET);
        if packet.len() < HEADER || packet.len() > ROOM {
            return;
        }
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let place = usize::from(sequence) % KEPT;
        self.bytes[place * ROOM..][..packet.len()].copy_from_slice(packet);
        self.slots[place] = Slot {
            sequence,
            length: packet.len(),
            resent: 0,
        };
    }

    /// The peer asks for these packets.
    pub(super) fn ask(&mut self, sequences: &[u16]) {
        for sequence in sequences {
            if self.asked.len() < MAX_ASKED && !self.asked.contains(sequence) {
                self.asked.push_back(*sequence);
            }
        }
    }

    /// Whether something waits to be sent again.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The next packet to send again, in `packet`; its length.
    pub(super) fn pop(&mut self, packet: &mut [u8]) -> Option<usize> {
        while let Some(sequence) = self.asked.pop_front() {
            let place = usize::from(sequence) % KEPT;
            let slot = &mut self.slots[place];
            let is_here = slot.length > 0 && slot.sequence == sequence;
            if !is_here || slot.resent == MAX_RESENT || self.budget == 0 || slot.length > packet.len() {
                continue;
            }
            self.budget -= 1;
            slot.resent += 1;
            packet[..slot.length].copy_from_slice(&self.bytes[place * ROOM..][..slot.length]);
            return Some(slot.length);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, length: usize) -> Vec<u8> {
        let mut packet = vec![0x80; length];
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet
    }

    fn ask(history: &mut History, sequences: &[u16]) -> Vec<Vec<u8>> {
        history.ask(sequences);
        let mut out = [0; 1_500];
        std::iter::from_fn(|| history.pop(&mut out).map(|length| out[..length].to_vec())).collect()
    }

    #[test]
    fn the_last_hundred_are_sent_again_to_the_letter() {
        let mut history = History::new();
        for sequence in 65_500..65_700u32 {
            history.keep(&packet(sequence as u16, 50 + sequence as usize % 50));
        }
        assert_eq!(ask(&mut history, &[163, 64, 64]), [packet(163, 99), packet(64, 50)]);
        assert_eq!(
            ask(&mut history, &[65_535, 63, 164]).len(),
            0,
            "older, and not sent yet"
        );
        assert!(!history.is_asked());
    }

    #[test]
    fn what_is_sent_again_is_bounded() {
        let mut history = History::new();
        history.keep(&packet(1, 50));
        history.keep(&packet(2, ROOM + 1));
        assert_eq!(ask(&mut history, &[2]).len(), 0, "too long");
        let again = (0..100).map(|_| ask(&mut history, &[1]).len()).sum::<usize>();
        assert_eq!(again, usize::from(MAX_RESENT));
        // However many are asked for, no more than are sent.
        let mut again = 0;
        for sequence in 1_000..2_000 {
            history.keep(&packet(sequence, 50));
            let all: Vec<u16> = (sequence - 60..=sequence).collect();
            again += ask(&mut history, &all).len();
        }
        assert!(again <= 1_000 + MAX_BUDGET as usize, "{again}");
        let flood: Vec<u16> = (0..=u16::MAX).collect();
        history.ask(&flood);
        assert_eq!(history.asked.len(), MAX_ASKED);
    }
}
