//! Cuts the bytes of a stream into messages (RFC 3261 §18.3), and knows the keep-alives between them (RFC 5626 §4.4.1).
//!
//! A message ends where its head and its `Content-Length` say, read as [`Endpoint`](super::Endpoint) reads them: two readers that cut
//! in other places would see other messages. What cannot be cut without doubt is the last that is read of a stream.

use thiserror::Error;

use super::endpoint::MAX_MESSAGE;
use super::message::{head_end, length_of};

/// A keep-alive.
const PING: &[u8] = b"\r\n\r\n";
/// Answers it.
pub const PONG: &[u8] = b"\r\n";

/// Something whole that came over a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A message; perhaps a broken one, to which the endpoint knows an answer.
    Message(Vec<u8>),
    /// A keep-alive that wants [`PONG`].
    Ping,
}

/// Why nothing more can be read of a stream: close it, once what is on its way has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    /// Longer than [`MAX_MESSAGE`].
    #[error("a message that is too long")]
    TooLong,
    /// It does not begin as a message does.
    #[error("not SIP")]
    NotSip,
    /// The end of the message before is in doubt: its `Content-Length` is missing, is no number, or there are two.
    #[error("a message without an end")]
    NoEnd,
}

/// What came of a stream and is no whole message yet: at most [`MAX_MESSAGE`] bytes and what was read at once.
#[derive(Debug, Default)]
pub struct StreamBuffer {
    bytes: Vec<u8>,
    /// Up to here there is no end of a head.
    searched: usize,
    /// Of the message that is waited for, once its head is there.
    length: Option<usize>,
    is_broken: bool,
}

impl StreamBuffer {
    /// Takes what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a message has begun and has not ended.
    #[must_use]
    pub fn is_half(&self) -> bool {
        !self.bytes.iter().copied().all(is_line_end)
    }

    /// The next that is whole; `None` if more has to come.
    ///
    /// # Errors
    /// [`Broken`] says why the rest cannot be read; it says so from then on.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, Broken> {
        if self.is_broken {
            return Err(Broken::NoEnd);
        }
        if self.length.is_none() {
            let ends = self.bytes.iter().take_while(|byte| is_line_end(**byte)).count();
            if ends > 0 {
                let line_ends = &self.bytes[..ends];
                let ping = line_ends.windows(PING.len()).position(|window| window == PING);
                if let Some(at) = ping {
                    self.bytes.drain(..at + PING.len());
                    self.searched = 0;
                    return Ok(Some(Piece::Ping));
                }
                // The end of them may be the beginning of a keep-alive.
                let is_all = ends == self.bytes.len();
                let begun = (1..PING.len())
                    .rev()
                    .find(|length| line_ends.ends_with(&PING[..*length]));
                let kept = begun.filter(|_| is_all).unwrap_or(0);
                self.bytes.drain(..ends - kept);
                self.searched = 0;
                if is_all {
                    return Ok(None);
                }
            }
            if self.bytes.first().is_some_and(|first| !first.is_ascii_graphic()) {
                return Err(Broken::NotSip);
            }
            // An end may have begun within what was searched.
            let from = self.searched.saturating_sub(3);
            let Some(end) = head_end(&self.bytes, from) else {
                self.searched = self.bytes.len();
                return if self.bytes.len() > MAX_MESSAGE {
                    Err(Broken::TooLong)
                } else {
                    Ok(None)
                };
            };
            if end > MAX_MESSAGE {
                return Err(Broken::TooLong);
            }
            let body = match length_of(&self.bytes[..end]) {
                Some(Ok(body)) => body,
                // The endpoint says what is wrong; where the next message begins nobody knows.
                Some(Err(())) => {
                    self.is_broken = true;
                    self.bytes.truncate(end);
                    return Ok(Some(Piece::Message(std::mem::take(&mut self.bytes))));
                }
                None => return Err(Broken::NotSip),
            };
            let length = end.saturating_add(body);
            if length > MAX_MESSAGE {
                return Err(Broken::TooLong);
            }
            self.length = Some(length);
        }
        let Some(length) = self.length.filter(|length| self.bytes.len() >= *length) else {
            return Ok(None);
        };
        let rest = self.bytes.split_off(length);
        let message = std::mem::replace(&mut self.bytes, rest);
        (self.length, self.searched) = (None, 0);
        Ok(Some(Piece::Message(message)))
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: u32, body: &str) -> Vec<u8> {
        format!(
            "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bK{n}\r\nl: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// All pieces, and what ended it.
    fn pieces(buffer: &mut StreamBuffer) -> (Vec<Piece>, Option<Broken>) {
        let mut all = Vec::new();
        loop {
            match buffer.next_piece() {
                Ok(Some(piece)) => all.push(piece),
                Ok(None) => return (all, None),
                Err(why) => return (all, Some(why)),
            }
        }
    }

    fn cut(bytes: &[u8]) -> (Vec<Piece>, Option<Broken>) {
        let mut buffer = StreamBuffer::default();
        buffer.push(bytes);
        pieces(&mut buffer)
    }

    #[test]
    fn several_in_a_segment_and_one_in_many_cut_at_every_byte() {
        let [one, two, three] = [message(1, "v=0\r\n\r\n\r\n"), message(2, ""), message(3, "\r\n\r\n")];
        let bytes = [&one[..], &two, b"\r\n\r\n", &three, b"\r\n", &one].concat();
        let expected = vec![
            Piece::Message(one.clone()),
            Piece::Message(two),
            Piece::Ping,
            Piece::Message(three),
            Piece::Message(one),
        ];
        assert_eq!(cut(&bytes), (expected.clone(), None));
        for at in 0..=bytes.len() {
            let mut buffer = StreamBuffer::default();
            let mut found = Vec::new();
            for part in [&bytes[..at], &bytes[at..]] {
                buffer.push(part);
                let (pieces, broken) = pieces(&mut buffer);
                found.extend(pieces);
                assert_eq!(broken, None);
            }
            assert_eq!(found, expected, "cut at {at}");
            assert!(!buffer.is_half());
        }
        let mut buffer = StreamBuffer::default();
        let mut found = Vec::new();
        for byte in &bytes {
            buffer.push(&[*byte]);
            found.extend(pieces(&mut buffer).0);
        }
        assert_eq!(found, expected, "byte by byte");
    }

    #[test]
    fn bare_line_feeds_end_a_head_as_they_do_for_the_endpoint() {
        let bytes = b"OPTIONS sip:x SIP/2.0\nContent-Length: 2\n\nabOPTIONS sip:y SIP/2.0\r\nContent-Length: 0\n\r\n";
        let (found, broken) = cut(bytes);
        assert_eq!((found.len(), broken), (2, None));
        assert_eq!(found[0], Piece::Message(bytes[..43].to_vec()));
    }

    #[test]
    fn what_has_no_end_is_the_last_that_is_read() {
        for length in [
            "",
            "Content-Length: x\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nl: 2\r\n",
            "Content-Length: 99999999999999999999999\r\n",
        ] {
            let head = format!("INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP x\r\n{length}\r\n");
            let bytes = [head.as_bytes(), b"v=0\r\n"].concat();
            let expected = (vec![Piece::Message(head.clone().into_bytes())], Some(Broken::NoEnd));
            assert_eq!(cut(&bytes), expected, "{length}");
        }
        // Behind so many fields nobody looks for another.
        let many = format!(
            "OPTIONS sip:x SIP/2.0\r\nl: 0\r\n{}l: 1\r\n\r\n",
            "X: y\r\n".repeat(300)
        );
        let bytes = [many.as_bytes(), b"OPTIONS sip:y SIP/2.0\r\nl: 0\r\n\r\n"].concat();
        assert_eq!(
            cut(&bytes),
            (vec![Piece::Message(many.into_bytes())], Some(Broken::NoEnd))
        );
        // The same length twice is no doubt.
        let twice = b"OPTIONS sip:x SIP/2.0\r\nl: 1\r\nl: 1\r\n\r\na";
        assert_eq!(cut(twice), (vec![Piece::Message(twice.to_vec())], None));
    }

    #[test]
    fn what_is_no_sip_or_too_long_is_given_up() {
        for (bytes, why) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], Broken::NotSip),
            (b"\x16\x03\x01\x02\x00", Broken::NotSip),
            (b"\r\n\x00", Broken::NotSip),
            (&[b'a'; MAX_MESSAGE + 1], Broken::TooLong),
            (
                b"INVITE sip:x SIP/2.0\r\nContent-Length: 16384\r\n\r\n",
                Broken::TooLong,
            ),
        ] {
            assert_eq!(cut(bytes), (Vec::new(), Some(why)));
        }
        let almost = [&b"OPTIONS sip:x SIP/2.0\r\nX: "[..], &[b'a'; MAX_MESSAGE - 26]].concat();
        let mut buffer = StreamBuffer::default();
        buffer.push(&almost);
        assert_eq!((pieces(&mut buffer), buffer.is_half()), ((Vec::new(), None), true));
    }

    #[test]
    fn keep_alives_are_counted_and_their_answers_passed_over() {
        assert_eq!(cut(b"\r\n\r\n\r\n\r\n"), (vec![Piece::Ping, Piece::Ping], None));
        assert_eq!(cut(b"\r\n"), (Vec::new(), None));
        assert_eq!(cut(b"\n\n\n"), (Vec::new(), None));
        let mut buffer = StreamBuffer::default();
        // Single ones add up, as two halves of one would.
        for _ in 0..3 {
            buffer.push(b"\r\n");
            let _ = pieces(&mut buffer);
        }
        assert!(buffer.bytes.len() <= 2);
    }
}
