//! Signalling over SCTP, as in versions 12.0.0 and 13.0.0: messages in order, each sealed by itself.
//!
//! SCTP itself is in clear, ports 5000: whoever carries it can hold a call up, but neither read nor write in it. A message's
//! plain text is a counter from 1 (u32, big-endian) and the JSON, compressed with gzip or not. Either end sends INIT at once, as
//! official clients do: theirs is repeated after 1, 3 and 7 s only, which a network that loses a third of it would not live to see.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::cipher::{Cipher, MAX_PACKET};
use super::framing::{FramingError, MAX_SENT_JSON, Message, PacketError};
use super::link::Received;
use super::replay::Window;
use crate::rate::{Rate, RateLimiter};
use crate::sctp::{Association, Ppid, SctpConfig, SctpError};

/// A network that loses a third of what it carries must not make the pauses longer than a call waits.
const MAX_RTO: Duration = Duration::from_millis(800);
/// The one stream.
const STREAM: u16 = 0;
/// Of our messages, those that may wait to be sent.
const MAX_WAITING: usize = 128;
/// The longest JSON that is taken, decompressed. Official clients send 6 KiB; gzip makes a thousand times its length, and reading a MiB
/// that a peer has chosen for it takes a second.
const MAX_JSON: usize = 64 * 1024;
/// What of the peer is decompressed: so much in a second, and sixteen seconds' worth at once.
const MAX_JSON_PER_SECOND: u32 = 64 * 1024;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const COUNTER: usize = 4;

/// One end of a call's signalling over SCTP. `now` must not go backwards; drain `poll_transmit` after each call.
pub(super) struct Stream {
    association: Association,
    last_counter: u32,
    seen: Window,
    decompressed: RateLimiter,
    /// Sealed, until the association takes them.
    waiting: VecDeque<Vec<u8>>,
}

impl Stream {
    pub(super) fn new(now: Instant) -> Self {
        let config = SctpConfig {
            max_packet: 1150,
            max_message: MAX_PACKET as u32,
            receive_buffer: 2 * MAX_PACKET as u32,
            max_rto: MAX_RTO,
            begin_after: Some(Duration::ZERO),
        };
        Self {
            association: Association::new(now, config),
            last_counter: 0,
            seen: Window::default(),
            decompressed: RateLimiter::default(),
            waiting: VecDeque::new(),
        }
    }

    /// Sends a message, as soon as the association takes it. Returns its counter.
    ///
    /// # Errors
    /// [`FramingError`]; nothing was sent.
    pub(super) fn send(&mut self, now: Instant, cipher: &Cipher, json: &[u8]) -> Result<u32, FramingError> {
        if json.len() > MAX_SENT_JSON {
            return Err(FramingError::TooLong);
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(FramingError::QueueFull);
        }
        let counter = self.last_counter.checked_add(1).ok_or(FramingError::CounterUsedUp)?;
        self.last_counter = counter;
        let mut plain = GzEncoder::new(counter.to_be_bytes().to_vec(), Compression::default());
        plain.write_all(json).expect("a vector takes all bytes");
        let plain = plain.finish().expect("a vector takes all bytes");
        self.waiting.push_back(cipher.seal(&plain));
        self.flush(now);
        Ok(counter)
    }

    pub(super) fn handle_input(&mut self, now: Instant, cipher: &Cipher, packet: &[u8]) -> Received {
        self.association.receive(now, packet);
        self.flush(now);
        let mut received = Received::default();
        while let Some(message) = self.association.poll_message() {
            let Ok(plain) = cipher.open(&message.bytes) else {
                received.forged += 1;
                continue;
            };
            received.opened += 1;
            match self.read(now, &plain) {
                Ok(message) => received.messages.push(message),
                Err(why) => received.dropped(why),
            }
        }
        received
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.association.handle_timeout(now);
        self.flush(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.association.poll_timeout()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.association.poll_transmit()
    }

    /// Hands over what waits, as far as there is room.
    fn flush(&mut self, now: Instant) {
        while let Some(sealed) = self.waiting.front() {
            match self.association.send(now, STREAM, Ppid::Binary, sealed) {
                Ok(()) | Err(SctpError::TooLarge) => _ = self.waiting.pop_front(),
                Err(SctpError::NotOpen | SctpError::Full) => return,
            }
        }
    }

    fn read(&mut self, now: Instant, plain: &[u8]) -> Result<Message, PacketError> {
        let (counter, body) = plain.split_first_chunk::<COUNTER>().ok_or(PacketError::Malformed)?;
        let counter = u32::from_be_bytes(*counter);
        if counter == 0 {
            return Err(PacketError::Malformed);
        }
        if !self.seen.accept(counter) {
            return Err(PacketError::Replayed);
        }
        let rate = Rate::new(MAX_JSON_PER_SECOND.saturating_mul(16), Duration::from_secs(16));
        if !self.decompressed.wait(now, rate).is_zero() {
            return Err(PacketError::Malformed);
        }
        let json = if body.starts_with(&GZIP) {
            decompress(body).ok_or(PacketError::Malformed)?
        } else {
            body.to_vec()
        };
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
        if length as usize > MAX_JSON || self.decompressed.take(now, rate, length).is_err() {
            return Err(PacketError::Malformed);
        }
        Ok(Message { counter, json })
    }
}

/// Decompresses gzip; `None` if it is none, or makes more than 64 KiB.
pub fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut json = Vec::new();
    let read = MultiGzDecoder::new(bytes)
        .take(MAX_JSON as u64 + 1)
        .read_to_end(&mut json);
    (read.is_ok() && json.len() <= MAX_JSON).then_some(json)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::e2ee::key_exchange::tests::hex;
    use crate::e2ee::{Role, SharedKey};

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn recorded_messages_are_read() {
        for (text, role) in [
            (
                include_str!("../../../../tests/vectors/signalling-12.0.0-callee.json"),
                Role::Callee,
            ),
            (
                include_str!("../../../../tests/vectors/signalling-12.0.0-caller.json"),
                Role::Caller,
            ),
        ] {
            let document: Value = serde_json::from_str(text).unwrap();
            let key = SharedKey::new(&hex(document["key"].as_str().unwrap()).try_into().unwrap());
            let steps = document["steps"].as_array().unwrap();
            for (direction, role) in [("in", role), ("out", role.peer())] {
                let (cipher, mut stream) = (Cipher::new(key.clone(), role), Stream::new(origin()));
                let steps = steps.iter().filter(|step| step["dir"] == direction);
                let mut last = 0;
                for step in steps.filter(|step| step.get("sctp_payload").is_some()) {
                    let plain = cipher.open(&hex(step["sctp_payload"].as_str().unwrap())).unwrap();
                    let message = stream.read(origin(), &plain).unwrap();
                    assert!(message.counter > last);
                    last = message.counter;
                    let json: Value = serde_json::from_slice(&message.json).unwrap();
                    assert_eq!(json, step["message"]);
                    assert!(matches!(stream.read(origin(), &plain), Err(PacketError::Replayed)));
                }
                assert!(last >= 4);
            }
        }
    }

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_decompressed_of_a_peer_is_bounded_in_a_second() {
        let now = origin();
        let mut stream = Stream::new(now);
        let mut read = |now, counter: u32| {
            let body = compressed(&vec![b' '; MAX_JSON]);
            stream.read(now, &[&counter.to_be_bytes()[..], &body].concat()).is_ok()
        };
        assert_eq!((1..=50).filter(|counter| read(now, *counter)).count(), 16);
        let later = now + Duration::from_secs(4);
        assert_eq!((51..=80).filter(|counter| read(later, *counter)).count(), 4);
    }

    #[test]
    fn a_bomb_makes_sixty_four_kibibytes_and_no_more() {
        assert_eq!(decompress(&compressed(b"{}")).as_deref(), Some(&b"{}"[..]));
        assert_eq!(
            decompress(&compressed(&vec![b' '; MAX_JSON])).map(|json| json.len()),
            Some(MAX_JSON)
        );
        assert!(decompress(&compressed(&vec![b' '; MAX_JSON + 1])).is_none());
        // 2 GiB of zeros, as many members of 1 MiB as it takes: only as much is made as is allowed.
        let member = compressed(&vec![0; 1024 * 1024]);
        assert!(decompress(&member.repeat(2048)).is_none());
        for length in 0..member.len() {
            decompress(&member[..length]);
        }
        assert_eq!(decompress(b"\x1f\x8bnonsense"), None);
    }
}
