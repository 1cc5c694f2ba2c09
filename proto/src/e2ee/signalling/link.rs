//! What carries a call's messages between its ends, in the version that was chosen: sealed packets in and out, JSON within.

use std::time::Instant;

use tracing::debug;

use super::cipher::Cipher;
use super::framing::{Framing, FramingError, Message, PacketError};
use super::stream::Stream;
use crate::e2ee::{Role, SharedKey, Version};

/// The signalling of one end of a call. `now` must not go backwards; drain `poll_transmit` after each call.
pub struct Link {
    cipher: Cipher,
    kind: Kind,
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
        }
    }

    /// Sends a message, to be repeated until it has arrived. Returns its counter.
    ///
    /// A `vital` one counts in [`Link::waiting_since`]; where messages are acknowledged the others are given up after 30 s.
    ///
    /// # Errors
    /// [`FramingError`]; nothing was sent.
    pub fn send(&mut self, now: Instant, json: Vec<u8>, vital: bool) -> Result<u32, FramingError> {
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
        match &mut self.kind {
            Kind::Framing(framing) => framing.poll_transmit().map(|plain| self.cipher.seal(&plain)),
            Kind::Stream(stream) => stream.poll_transmit(),
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
