//! What goes into a negotiation and comes out of it.

use std::fmt;

use crate::sdp::{Codec, TelephoneEvent};

/// Our end of the media, as our transport and our codecs describe it.
#[derive(Clone, Default)]
pub struct LocalMedia {
    /// What our transport says of itself, one per line: `ice-ufrag:`, `ice-pwd:`, `fingerprint:sha-256 AA:..`, `setup:`,
    /// `candidate:`. What is not known yet may follow with [`Negotiation::add_local`].
    pub lines: String,
    /// Our codecs, best first, with the numbers to offer; `telephone-event` among them.
    pub codecs: Vec<Codec>,
    /// The stream we will send.
    pub ssrc: u32,
}

impl fmt::Debug for LocalMedia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The lines hold the ICE password.
        f.debug_struct("LocalMedia")
            .field("codecs", &self.codecs)
            .field("ssrc", &self.ssrc)
            .finish_non_exhaustive()
    }
}

/// What an end says of its sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaState {
    /// Nothing is to be heard of it.
    pub muted: bool,
    /// The person there is hearing the words of the emojis, in this language (`en`); an extension of ours, `x-spoken`.
    pub spoken: Option<String>,
}

impl MediaState {
    /// The text that says it to a peer over the data channel.
    #[must_use]
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&super::messages::Message::MediaState(self.clone()).write()).into_owned()
    }
}

/// Why a negotiation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// Not one packet arrived in time: the peer is gone.
    #[error("the peer does not answer")]
    Silent,
    /// Packets arrived, and none of them is authentic: somebody between alters them.
    #[error("the peer's packets are altered on the way")]
    Tampered,
    /// What we sent was not acknowledged in time.
    #[error("the peer does not acknowledge")]
    Unacknowledged,
    /// The two ends did not agree on channels and credentials in time.
    #[error("no agreement on channels in time")]
    NoAgreement,
    /// The peer speaks none of our codecs.
    #[error("no codec in common")]
    NoCommonCodec,
    /// The peer's credentials cannot be used.
    #[error("the peer's setup is unusable")]
    BadSetup,
    /// More of our messages wait for acknowledgement than we hold.
    #[error("too many messages are unacknowledged")]
    Overflow,
}

/// What the peer told us.
#[derive(Clone, PartialEq, Eq)]
pub enum NegotiationEvent {
    /// New lines for our transport: credentials first, then candidates and `ssrc:`, each brought once. Credentials come
    /// again when the peer restarts.
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
    /// What the peer says of its sound.
    MediaState(MediaState),
    /// The negotiation is over; nothing more comes.
    Failed(NegotiationError),
}

impl fmt::Debug for NegotiationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Lines hold the ICE password.
            NegotiationEvent::Remote { lines } => write!(f, "Remote({} lines)", lines.lines().count()),
            NegotiationEvent::Channels {
                send,
                receive,
                telephone_event,
                remote_ssrc,
            } => f
                .debug_struct("Channels")
                .field("send", send)
                .field("receive", receive)
                .field("telephone_event", telephone_event)
                .field("remote_ssrc", remote_ssrc)
                .finish(),
            NegotiationEvent::MediaState(state) => state.fmt(f),
            NegotiationEvent::Failed(error) => write!(f, "Failed({error:?})"),
        }
    }
}
