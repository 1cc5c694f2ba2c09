//! Packets in a stream: u32 LE length before each; a client says [`OPENING`] first of all.

use super::server;

/// What a client says first.
pub const OPENING: [u8; 4] = [0xee; 4];
/// The longest packet that a client believes.
const MAX_PACKET: usize = 64 * 1024;

/// What cannot be a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no packets of a reflector")]
pub struct Broken;

/// Cuts a stream into packets.
#[derive(Debug, Default)]
pub struct Framing {
    kept: Vec<u8>,
    taken: usize,
    /// The opening is still to come.
    is_opening: bool,
    max: usize,
}

impl Framing {
    /// What a client reads.
    #[must_use]
    pub fn of_client() -> Self {
        Self {
            max: MAX_PACKET,
            ..Self::default()
        }
    }

    /// What a server reads, which passes no longer packets than [`MAX_PACKET`](super::MAX_PACKET).
    #[must_use]
    pub fn of_server() -> Self {
        Self {
            is_opening: true,
            max: server::MAX_PACKET,
            ..Self::default()
        }
    }

    /// Takes a piece of the stream; all packets in it are to be taken by [`next`](Self::next) before the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.kept.drain(..self.taken);
        self.taken = 0;
        self.kept.extend_from_slice(piece);
    }

    /// The next whole packet.
    ///
    /// # Errors
    /// [`Broken`]: the stream is over.
    #[allow(clippy::should_implement_trait)] // it lends
    pub fn next(&mut self) -> Result<Option<&[u8]>, Broken> {
        if self.is_opening {
            let Some(opening) = self.kept.get(..OPENING.len()) else {
                return if OPENING.starts_with(&self.kept) {
                    Ok(None)
                } else {
                    Err(Broken)
                };
            };
            if opening != OPENING {
                return Err(Broken);
            }
            (self.is_opening, self.taken) = (false, OPENING.len());
        }
        let rest = &self.kept[self.taken..];
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.max {
            return Err(Broken);
        }
        if rest.len() < length {
            return Ok(None);
        }
        let begin = self.taken + 4;
        self.taken = begin + length;
        Ok(Some(&self.kept[begin..self.taken]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(framing: &mut Framing) -> Result<Vec<Vec<u8>>, Broken> {
        let mut all = Vec::new();
        while let Some(packet) = framing.next()? {
            all.push(packet.to_vec());
        }
        Ok(all)
    }

    #[test]
    fn packets_survive_every_cut() {
        let wanted: Vec<Vec<u8>> = [0, 1, 40, 1_200].map(|length| vec![7; length]).into();
        let mut stream = OPENING.to_vec();
        for packet in &wanted {
            stream.extend((packet.len() as u32).to_le_bytes());
            stream.extend(packet);
        }
        for cut in 1..50 {
            let mut framing = Framing::of_server();
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                framing.push(piece);
                got.extend(packets(&mut framing).unwrap());
            }
            assert_eq!(got, wanted, "cut {cut}");
        }
        let mut framing = Framing::of_client();
        framing.push(&stream[4..]);
        assert_eq!(packets(&mut framing).unwrap(), wanted);
    }

    #[test]
    fn what_is_no_stream_of_packets_ends_it() {
        for first in [&b"GET"[..], b"\xee\xee\xef", b"\x16\x03\x01\x02"] {
            let mut framing = Framing::of_server();
            framing.push(first);
            assert_eq!(framing.next(), Err(Broken));
        }
        let mut framing = Framing::of_server();
        framing.push(&[0xee, 0xee, 0xee, 0xee, 0xdd, 0x05, 0, 0]);
        assert_eq!(framing.next(), Err(Broken), "1,501 bytes");
        let mut framing = Framing::of_client();
        framing.push(&[1, 0, 1, 0]);
        assert_eq!(framing.next(), Err(Broken), "64 KiB and a byte");
    }
}
