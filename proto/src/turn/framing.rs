//! Messages in a stream: RFC 8656 §12.5 pads ChannelData to four bytes there, and a piece of the stream may end anywhere.

/// The longest message, and what is kept of one that is not whole: both lengths are 16 bits wide.
const MAX_KEPT: usize = 4 + 65_536 + 20;

/// What cannot be a message of a TURN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither STUN nor ChannelData")]
pub(super) struct Broken;

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub(super) struct Framing {
    kept: Vec<u8>,
    /// How much of it has been taken.
    taken: usize,
}

impl Framing {
    /// Takes a piece of the stream; all messages in it are to be taken by [`next`](Self::next) before the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.kept.drain(..self.taken);
        self.taken = 0;
        self.kept.extend_from_slice(piece);
    }

    /// The next whole message, without its pad.
    ///
    /// # Errors
    /// [`Broken`]: where the next message begins is not known, the stream is over.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Broken> {
        let rest = &self.kept[self.taken..];
        let [first, _, high, low, ..] = rest else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (message, whole) = match first >> 6 {
            0 => (20 + length, 20 + length),
            1 => (4 + length, 4 + length.next_multiple_of(4)),
            _ => return Err(Broken),
        };
        if rest.len() < whole {
            return if rest.len() > MAX_KEPT { Err(Broken) } else { Ok(None) };
        }
        let begin = self.taken;
        self.taken += whole;
        Ok(Some(&self.kept[begin..begin + message]))
    }
}

/// Adds the pad that a message to be sent needs.
pub(super) fn pad(message: &mut Vec<u8>) {
    if message.first().is_some_and(|first| first >> 6 == 1) {
        message.resize(message.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel_data(length: usize) -> Vec<u8> {
        let mut message = vec![0x40, 0, (length >> 8) as u8, length as u8];
        message.extend((0..length).map(|at| at as u8));
        message
    }

    fn stun(length: usize) -> Vec<u8> {
        let mut message = vec![0, 1, (length >> 8) as u8, length as u8];
        message.resize(20 + length, 7);
        message
    }

    #[test]
    fn messages_survive_every_cut_and_lose_their_pad() {
        let messages: Vec<Vec<u8>> = (0..9)
            .map(channel_data)
            .chain([stun(0), stun(8), channel_data(201)])
            .collect();
        let mut stream = Vec::new();
        for message in &messages {
            let mut padded = message.clone();
            pad(&mut padded);
            stream.extend(padded);
        }
        for cut in [1, 2, 3, 5, 7, 64, 4_096] {
            let mut framing = Framing::default();
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                framing.push(piece);
                while let Some(message) = framing.next().unwrap() {
                    got.push(message.to_vec());
                }
            }
            assert_eq!(got, messages, "cut {cut}");
            assert!(framing.kept.len() == framing.taken);
        }
    }

    #[test]
    fn what_is_no_message_ends_the_stream() {
        for first in [0x80, 0xff] {
            let mut framing = Framing::default();
            framing.push(&[first, 0, 0, 0]);
            assert_eq!(framing.next(), Err(Broken));
        }
        let mut framing = Framing::default();
        framing.push(&[0x40, 0, 0xff]);
        assert_eq!(framing.next(), Ok(None));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut framing = Framing::default();
        framing.push(&[0x40, 0, 0xff, 0xff]);
        for _ in 0..100 {
            framing.push(&[0; 1_000]);
            while framing.next().is_ok_and(|message| message.is_some()) {}
            assert!(framing.kept.len() <= MAX_KEPT + 1_000);
        }
    }
}
