//! What of the peer's packets the crate gets to see.
//!
//! - Packets of at most 2 KiB with at most 64 chunks, all of kinds that a plain association needs: no RE-CONFIG, no FORWARD-TSN.
//! - Data of the first stream, in order, not empty, and at most 256 TSNs ahead of what is acknowledged: that bounds what is held,
//!   the gaps that a SACK lists, and the work for each.
//! - At most 512 parts of a message without its end: each part holds on to its packet.

/// The longest packet; official clients send at most 1,200 bytes.
const MAX_PACKET: usize = 2048;
const MAX_CHUNKS: usize = 64;
/// TSNs ahead of the last that is acknowledged. A message of 128 KiB has some 120.
const MAX_AHEAD: u32 = 256;
/// Parts of a message before its end.
const MAX_PARTS: u32 = 512;

const COMMON_HEADER: usize = 12;
const CHUNK_HEADER: usize = 4;

// Kinds of chunks, RFC 9260 §3.2.
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
/// HEARTBEAT, its ACK, ABORT, SHUTDOWN, its ACK, ERROR, COOKIE ECHO, its ACK.
const HEARTBEAT: u8 = 4;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Flags of DATA: the end of a message; not in order.
const END: u8 = 1;
const UNORDERED: u8 = 4;

#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The last TSN of the peer that is acknowledged; before any, the one before its first.
    acknowledged: Option<u32>,
    /// Parts since the last end of a message.
    parts: u32,
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

fn number(value: &[u8], at: usize) -> Option<u32> {
    let bytes = value.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

impl Gate {
    /// Whether the crate may see a packet of the peer's.
    pub(super) fn admits(&mut self, packet: &[u8]) -> bool {
        if packet.len() > MAX_PACKET {
            return false;
        }
        let Some(chunks) = chunks(packet) else { return false };
        let (mut parts, mut acknowledged) = (self.parts, self.acknowledged);
        for (kind, flags, value) in chunks {
            let admitted = match kind {
                DATA => {
                    is_admitted(flags, value, acknowledged) && {
                        parts = if flags & END != 0 { 0 } else { parts + 1 };
                        parts <= MAX_PARTS
                    }
                }
                INIT | INIT_ACK => {
                    acknowledged = number(value, 12).map(|first| first.wrapping_sub(1));
                    true
                }
                SACK | HEARTBEAT..=COOKIE_ACK | SHUTDOWN_COMPLETE => true,
                _ => false,
            };
            if !admitted {
                return false;
            }
        }
        (self.parts, self.acknowledged) = (parts, acknowledged);
        true
    }

    /// Notes what a packet of ours acknowledges.
    pub(super) fn note_sent(&mut self, packet: &[u8]) {
        for (kind, _, value) in chunks(packet).into_iter().flatten() {
            if kind == SACK
                && let Some(tsn) = number(value, 0)
            {
                self.acknowledged = Some(tsn);
            }
        }
    }
}

/// TSN, stream, number in the stream, identifier, and the bytes.
fn is_admitted(flags: u8, value: &[u8], acknowledged: Option<u32>) -> bool {
    let (Some(tsn), Some(acknowledged)) = (number(value, 0), acknowledged) else {
        return false;
    };
    let ahead = tsn.wrapping_sub(acknowledged);
    // What is behind was seen, and is only acknowledged again.
    let is_near = ahead <= MAX_AHEAD || ahead > u32::MAX / 2;
    is_near && flags & UNORDERED == 0 && value.get(4..6) == Some(&[0, 0]) && value.len() > 12
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
        let mut gate = Gate::default();
        let mut init = vec![0; 16];
        init[12..16].copy_from_slice(&1000_u32.to_be_bytes());
        assert!(gate.admits(&packet(&[(INIT, 0, init)])));
        gate
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

    #[test]
    fn the_window_goes_on_with_what_we_acknowledge() {
        let mut gate = gate();
        let far = packet(&[(DATA, WHOLE, data(1300, 0, 1))]);
        assert!(!gate.admits(&far));
        let mut sack = 1100_u32.to_be_bytes().to_vec();
        sack.resize(12, 0);
        gate.note_sent(&packet(&[(SACK, 0, sack)]));
        assert!(gate.admits(&far));
    }

    #[test]
    fn a_message_without_an_end_has_an_end() {
        let mut gate = gate();
        let part = packet(&[(DATA, 0, data(1000, 0, 1))]);
        assert_eq!((0..1000).filter(|_| gate.admits(&part)).count(), MAX_PARTS as usize);
        assert!(gate.admits(&packet(&[(DATA, END, data(1000, 0, 1))])));
        assert!(gate.admits(&part));
    }
}
