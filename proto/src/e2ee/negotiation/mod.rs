//! Settles a call's media with the peer, in JSON messages under the key.

use std::time::Instant;

use rand_core::CryptoRng;

use crate::sdp::{Codec, TelephoneEvent};

use super::{Role, SharedKey, Version};

/// Our end of the media, as our transport and our codecs describe it.
#[derive(Clone, Debug, Default)]
pub struct LocalMedia {
    /// What our transport says of itself, one per line: `ice-ufrag:`, `ice-pwd:`, `fingerprint:sha-256 AA:..`, `setup:`,
    /// `candidate:`.
    pub lines: String,
    /// Our codecs, best first, with the numbers to offer; `telephone-event` among them.
    pub codecs: Vec<Codec>,
    /// The stream we will send.
    pub ssrc: u32,
}

/// Why a negotiation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// Not one good packet arrived in time: the peer is gone.
    #[error("the peer does not answer")]
    Silent,
    /// Packets arrived, and nearly all of them were altered on the way.
    #[error("the peer's packets are altered on the way")]
    Tampered,
    /// What we sent was not acknowledged in time.
    #[error("the peer does not acknowledge")]
    Unacknowledged,
    /// The two ends did not agree on channels in time.
    #[error("no agreement on channels in time")]
    NoAgreement,
    /// The peer speaks none of our codecs.
    #[error("no codec in common")]
    NoCommonCodec,
    /// The peer's credentials cannot be used.
    #[error("the peer's setup is unusable")]
    BadSetup,
    /// Our own transport gave no credentials: a bug on our side.
    #[error("our own setup is incomplete")]
    LocalSetup,
    /// More messages wait for acknowledgement than we hold.
    #[error("too many messages are unacknowledged")]
    Overflow,
}

/// What the peer told us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NegotiationEvent {
    /// Lines for our transport, each brought once: credentials first, then candidates and `ssrc:`.
    Remote {
        /// One attribute per line.
        lines: String,
    },
    /// Both ends know what they send. Comes again when the peer changes it.
    Channels {
        /// What to send, with the peer's number and parameters.
        send: Codec,
        /// What arrives, with the number we answered.
        receive: Codec,
        /// The numbers of events, where both speak them.
        telephone_event: Option<TelephoneEvent>,
        /// The stream the peer sends.
        remote_ssrc: u32,
    },
    /// The peer muted or unmuted itself.
    MediaState {
        /// Whether it is muted.
        muted: bool,
    },
    /// The negotiation is over; nothing more comes.
    Failed(NegotiationError),
}

/// The negotiation of one call.
pub struct Negotiation {}

impl Negotiation {
    /// Makes the machine of one call, under its key.
    pub fn new(_role: Role, _version: Version, _key: SharedKey, _rng: Box<dyn CryptoRng + Send>) -> Negotiation {
        Negotiation {}
    }
    /// Begins.
    pub fn start(&mut self, _now: Instant, _local: LocalMedia) {}
    /// Adds lines of our transport that came later.
    pub fn add_local(&mut self, _now: Instant, _lines: &str) {}
    /// Tells the peer whether we are muted.
    pub fn set_muted(&mut self, _now: Instant, _muted: bool) {}
    /// Takes one packet of the peer.
    pub fn handle_input(&mut self, _now: Instant, _packet: &[u8]) {}
    /// Takes one text of the data channel.
    pub fn handle_data(&mut self, _text: &[u8]) {}
    /// Advances the timers.
    pub fn handle_timeout(&mut self, _now: Instant) {}
    /// Returns the next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }
    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<NegotiationEvent> {
        None
    }
    /// Returns when `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    /// Returns how many packets were dropped.
    pub fn dropped(&self) -> u64 {
        0
    }
}
