//! What carries a call's messages between its ends, in the version that was chosen: sealed packets in and out, JSON within.

use std::time::{Duration, Instant};

use tracing::debug;

use super::cipher::Cipher;
use super::framing::{Framing, FramingError, Message, PacketError};
use super::stream::Stream;
use crate::e2ee::{Role, SharedKey, Version};
use crate::rate::{Rate, RateLimiter};

/// Packets of one call in a second, and four seconds' worth at once. A call takes some thirty; a peer that draws more, by asking for
/// answers, must not use up what the hub lets us send in all calls. Those over it are lost, as a network would lose them.
const MAX_PACKETS_PER_SECOND: u32 = 24;

/// The signalling of one end of a call. `now` must not go backwards; drain `poll_transmit` after each call.
pub struct Link {
    cipher: Cipher,
    kind: Kind,
    /// As of the last call.
    now: Instant,
    pace: RateLimiter,
}

enum Kind {
    /// Versions 8 and 9: each packet is sealed, messages are acknowledged, and come in any order.
    Framing(Box<Framing>),
    /// Versions 12 and 13: each message is sealed, SCTP brings them in order.
    Stream(Box<Stream>),
}

/// What was in a packet.
#[derive(Debug, Default)]
pub struct Received {
    /// The messages that are new.
    pub messages: Vec<Message>,
    /// Sealed pieces that opened.
    pub opened: u32,
    /// Sealed pieces that did not open.
    pub forged: u32,
    /// Those that opened and have no effect: malformed, or seen before.
    pub dropped: u32,
}

impl Received {
    pub(super) fn dropped(&mut self, why: PacketError) {
        debug!(%why, "packet dropped");
        self.dropped += 1;
    }
}

impl Link {
    /// Makes the signalling of a new call.
    pub fn new(now: Instant, role: Role, version: Version, key: SharedKey) -> Self {
        let kind = match version {
            Version::V8 | Version::V9 => Kind::Framing(Box::new(Framing::new())),
            Version::V12 | Version::V13 => Kind::Stream(Box::new(Stream::new(now))),
        };
        Self {
            cipher: Cipher::new(key, role),
            kind,
            now,
            pace: RateLimiter::default(),
        }
    }

    /// Sends a message, to be repeated until it has arrived. Returns its counter.
    ///
    /// A `vital` one counts in [`Link::waiting_since`]; where messages are acknowledged the others are given up after 30 s.
    ///
    /// # Errors
    /// [`FramingError`]; nothing was sent.
    pub fn send(&mut self, now: Instant, json: Vec<u8>, vital: bool) -> Result<u32, FramingError> {
        self.now = now;
        match &mut self.kind {
            Kind::Framing(framing) => framing.send(now, json, vital),
            Kind::Stream(stream) => stream.send(now, &self.cipher, &json),
        }
    }

    /// Stops repeating one of our messages: it has been overtaken. What SCTP was given stays with it.
    pub fn forget(&mut self, counter: u32) {
        match &mut self.kind {
            Kind::Framing(framing) => framing.forget(counter),
            Kind::Stream(_) => {}
        }
    }

    /// Takes a packet of the peer's.
    pub fn handle_input(&mut self, now: Instant, packet: &[u8]) -> Received {
        self.now = now;
        let framing = match &mut self.kind {
            Kind::Framing(framing) => framing,
            Kind::Stream(stream) => return stream.handle_input(now, &self.cipher, packet),
        };
        let mut received = Received::default();
        match self.cipher.open(packet) {
            Err(_) => received.forged = 1,
            Ok(plain) => {
                received.opened = 1;
                match framing.handle_input(&plain) {
                    Ok(messages) => received.messages = messages,
                    Err(why) => received.dropped(why),
                }
            }
        }
        received
    }

    /// Repeats what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        match &mut self.kind {
            Kind::Framing(framing) => framing.handle_timeout(now),
            Kind::Stream(stream) => stream.handle_timeout(now),
        }
    }

    /// Returns when [`Link::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Framing(framing) => framing.poll_timeout(),
            Kind::Stream(stream) => stream.poll_timeout(),
        }
    }

    /// Returns the next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let rate = Rate::new(4 * MAX_PACKETS_PER_SECOND, Duration::from_secs(4));
        loop {
            let packet = match &mut self.kind {
                Kind::Framing(framing) => framing.poll_transmit().map(|plain| self.cipher.seal(&plain)),
                Kind::Stream(stream) => stream.poll_transmit(),
            }?;
            if self.pace.take(self.now, rate, 1).is_ok() {
                return Some(packet);
            }
        }
    }

    /// Returns when the oldest vital message was sent that is still unacknowledged. `None` over SCTP, which does not say.
    pub fn waiting_since(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Framing(framing) => framing.waiting_since(),
            Kind::Stream(_) => None,
        }
    }

    /// Whether the peer's end may keep a message back until one of ours comes, so that asking for one helps.
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.kind, Kind::Framing(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen: a peer drew so many answers that the hub closed the connection, and with it all calls.
    #[test]
    fn a_peer_draws_no_more_packets_than_a_call_takes() {
        #[allow(clippy::disallowed_methods, reason = "the base of a virtual clock")]
        let start = Instant::now();
        for version in [Version::V9, Version::V13] {
            let key = || SharedKey::new(&[7; 256]);
            let mut ends = [Role::Caller, Role::Callee].map(|role| Link::new(start, role, version, key()));
            let mut drawn = 0;
            // A message of the peer's draws an answer each time it comes.
            for n in 0..10_000_u32 {
                let now = start + Duration::from_millis(n.into());
                let _ = ends[0].send(now, b"{}".to_vec(), false);
                let packet = ends[0].poll_transmit().unwrap_or_default();
                ends[1].handle_input(now, &packet);
                ends[1].handle_timeout(now);
                while ends[1].poll_transmit().is_some() {
                    drawn += 1;
                }
            }
            assert!(drawn <= 14 * MAX_PACKETS_PER_SECOND + 1, "{drawn}");
        }
    }
}
