//! Asks a STUN server as which address it sees us. RFC 8489 §6, without authentication.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;
use turn_client_proto::types::stun::attribute::XorMappedAddress;
use turn_client_proto::types::stun::message::{BINDING, Message, MessageClass};

/// The first request is repeated after this; each further one twice as long after the last, up to the longest.
const FIRST_RTO: Duration = Duration::from_millis(300);
const MAX_RTO: Duration = Duration::from_secs(2);
/// All in all about 12 s.
const MAX_REQUESTS: u32 = 8;
/// The two fixed words of a Binding request without attributes.
const REQUEST: [u8; 8] = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
const LENGTH: usize = 20;

/// One question to one server. Drain [`poll_transmit`](Self::poll_transmit) after every other call.
#[derive(Debug)]
pub struct Binding {
    request: [u8; LENGTH],
    sent: u32,
    due: Option<Instant>,
    is_due: bool,
}

/// What a datagram of the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No answer to this question.
    Other,
    /// An answer without an address, or a refusal: there will be none.
    Refused,
    /// As which address the server sees us.
    Outer(SocketAddr),
}

impl Binding {
    /// Asks at once.
    pub fn new<R: CryptoRng + ?Sized>(now: Instant, rng: &mut R) -> Self {
        let mut request = [0; LENGTH];
        request[..REQUEST.len()].copy_from_slice(&REQUEST);
        rng.fill_bytes(&mut request[REQUEST.len()..]);
        let mut binding = Self {
            request,
            sent: 0,
            due: Some(now),
            is_due: false,
        };
        binding.handle_timeout(now);
        binding
    }

    /// Takes a datagram of the server.
    pub fn receive(&mut self, datagram: &[u8]) -> Answer {
        if self.due.is_none() || datagram.get(8..LENGTH) != Some(&self.request[8..]) {
            return Answer::Other;
        }
        let Ok(message) = Message::from_bytes(datagram) else {
            return Answer::Other;
        };
        if !message.has_method(BINDING) || !message.is_response() {
            return Answer::Other;
        }
        (self.due, self.is_due) = (None, false);
        match message.attribute::<XorMappedAddress>() {
            Ok(mapped) if message.has_class(MessageClass::Success) => {
                Answer::Outer(mapped.addr(message.transaction_id()))
            }
            Ok(_) | Err(_) => Answer::Refused,
        }
    }

    /// Advances time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        if self.sent == MAX_REQUESTS {
            self.due = None;
            return;
        }
        self.is_due = true;
        self.due = Some(now + (FIRST_RTO * 2_u32.pow(self.sent)).min(MAX_RTO));
        self.sent += 1;
    }

    /// The request, if it is to be sent.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        std::mem::take(&mut self.is_due).then_some(self.request.as_slice())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// True once it has asked for the last time and waited, or has an answer.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.due.is_none()
    }
}
