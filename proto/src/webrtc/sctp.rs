//! One data channel: SCTP inside DTLS, and the opening words of DCEP. RFC 8831, RFC 8832.
//!
//! Passive: the peer sends INIT in either role. A peer as passive as we are would leave both waiting, so the side that opens
//! the channel begins by itself after a while.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use crate::sctp::SctpError;
use crate::sctp::{Association, Ppid, SctpConfig};

/// Largest message in either direction. MediaState has some 120 bytes.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// How long the opening side waits for the peer's INIT. The peer of the proof sends it at once.
const BEGIN_AFTER: Duration = Duration::from_secs(1);
/// The stream of the one channel, in both the protocol and ntgcalls.
const CHANNEL: u16 = 0;
const DCEP_ACK: u8 = 2;
const DCEP_OPEN: u8 = 3;
/// Messages that wait to be taken.
const MAX_QUEUE: usize = 64;

/// A message of the peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The stream, which is the number of the channel.
    pub channel: u16,
    /// Text rather than bytes.
    pub text: bool,
    /// The message.
    pub bytes: Vec<u8>,
}

/// One SCTP association with one data channel. Drain [`Sctp::poll_transmit`] and [`Sctp::poll_message`] after every other call.
#[derive(Debug)]
pub struct Sctp {
    association: Association,
    opens: bool,
    open_sent: bool,
    messages: VecDeque<Message>,
}

impl Sctp {
    /// Waits for the peer; with `opens` (the caller's side) it opens the channel, and begins by itself if nobody does.
    #[must_use]
    pub fn new(now: Instant, opens: bool) -> Self {
        let config = SctpConfig {
            // Fits a DTLS record into 1200 bytes.
            max_packet: 1150,
            max_message: MAX_MESSAGE as u32,
            receive_buffer: 128 * 1024,
            max_rto: Duration::from_secs(4),
            begin_after: opens.then_some(BEGIN_AFTER),
        };
        Sctp {
            association: Association::new(now, config),
            opens,
            open_sent: false,
            messages: VecDeque::new(),
        }
    }

    /// True once the association is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.association.is_connected()
    }

    /// Takes a packet out of DTLS.
    pub fn receive(&mut self, now: Instant, packet: &[u8]) {
        self.association.receive(now, packet);
        self.follow(now);
    }

    /// Sends a message on the channel.
    ///
    /// # Errors
    /// [`SctpError`]; nothing was sent.
    pub fn send(&mut self, now: Instant, text: bool, message: &[u8]) -> Result<(), SctpError> {
        // SCTP has no empty messages; RFC 8831 §6.6 has identifiers for them, with one byte that is not read.
        let (ppid, bytes) = match (text, message.is_empty()) {
            (true, false) => (Ppid::String, message),
            (true, true) => (Ppid::StringEmpty, &[0][..]),
            (false, false) => (Ppid::Binary, message),
            (false, true) => (Ppid::BinaryEmpty, &[0][..]),
        };
        self.association.send(now, CHANNEL, ppid, bytes)
    }

    /// Advances time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.association.handle_timeout(now);
        self.follow(now);
    }

    /// When [`Sctp::handle_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.association.poll_timeout()
    }

    /// The next packet to put into DTLS.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.association.poll_transmit()
    }

    /// The next message of the peer's.
    pub fn poll_message(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    fn follow(&mut self, now: Instant) {
        if self.opens && self.is_connected() && !self.open_sent {
            self.open_sent = true;
            // The channel "data": reliable, ordered. RFC 8832 §5.1.
            let mut open = vec![DCEP_OPEN, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0];
            open.extend_from_slice(b"data");
            if let Err(error) = self.association.send(now, CHANNEL, Ppid::Dcep, &open) {
                tracing::debug!(%error, "data channel not opened");
            }
        }
        while let Some(message) = self.association.poll_message() {
            let mut bytes = message.bytes;
            let text = match message.ppid {
                Ppid::Dcep => {
                    if bytes.first() == Some(&DCEP_OPEN) {
                        // If it does not get through, the peer repeats nothing, and sends all the same (RFC 8832 §6).
                        let _ = self.association.send(now, message.stream, Ppid::Dcep, &[DCEP_ACK]);
                    }
                    continue;
                }
                Ppid::String => true,
                Ppid::Binary => false,
                Ppid::StringEmpty | Ppid::BinaryEmpty => {
                    bytes.clear();
                    message.ppid == Ppid::StringEmpty
                }
                _ => continue,
            };
            if self.messages.len() < MAX_QUEUE {
                self.messages.push_back(Message {
                    channel: message.stream,
                    text,
                    bytes,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
