//! SDP: descriptions, and offer and answer (RFC 8866, RFC 3264).
//!
//! A [`SessionDescription`] is read tolerantly and printed strictly, over `sdp-types` for the syntax. What transports need
//! stays text: the lines they speak are SDP attributes without `a=`, one per line, and pass through here unread.
//! Codecs are known by their SDP name only; a closure decides about their parameters.

mod codecs;
mod description;
mod destination;
pub mod offer_answer;
mod protect;
pub mod sdes;
mod static_types;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

pub use description::SdpError;
pub use offer_answer::{Agreed, Answered, Local, LocalCodec, OfferAnswerError};
pub use protect::Srtp;

/// A codec as SDP names it, under one payload number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// The RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// The encoding name, as written; compared without regard to case.
    pub name: String,
    /// The RTP clock in Hz (8000 for G722, whatever it samples at).
    pub clock: u32,
    /// How many channels, 1 where nothing is written.
    pub channels: u8,
    /// The format parameters, empty where none are written.
    pub fmtp: String,
}

impl Codec {
    /// Tells whether both are the same encoding, whatever their numbers and parameters.
    pub fn same_encoding(&self, name: &str, clock: u32, channels: u8) -> bool {
        // Opus is always written with two channels (RFC 7587 §7); some write none.
        let same_channels = self.channels == channels || name.eq_ignore_ascii_case("opus");
        self.name.eq_ignore_ascii_case(name) && self.clock == clock && same_channels
    }

    /// Tells whether this is speech, not events, comfort noise or redundancy around another codec.
    pub fn is_speech(&self) -> bool {
        !["telephone-event", "CN", "red"]
            .iter()
            .any(|name| self.name.eq_ignore_ascii_case(name))
    }

    /// Tells whether this is RFC 4733 events.
    pub fn is_telephone_event(&self) -> bool {
        self.name.eq_ignore_ascii_case("telephone-event")
    }
}

/// The numbers of RFC 4733 events, once both ends know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Payload type towards the peer.
    pub send_pt: u8,
    /// Payload type from the peer.
    pub receive_pt: u8,
    /// The RTP clock in Hz; that of the codec beside it.
    pub clock: u32,
}

/// Which way media flows, seen by the author of the description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// `a=sendrecv`, also where nothing is written.
    #[default]
    SendRecv,
    /// `a=sendonly`
    SendOnly,
    /// `a=recvonly`
    RecvOnly,
    /// `a=inactive`
    Inactive,
}

impl Direction {
    /// Makes a direction of its two halves.
    pub fn new(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// Tells whether the author sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Tells whether the author receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// Returns the same flow, seen from the other end.
    pub fn reversed(self) -> Direction {
        Direction::new(self.receives(), self.sends())
    }

    /// Returns what both allow.
    pub fn both(self, other: Direction) -> Direction {
        Direction::new(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// Its name in an attribute line.
    pub fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    fn from_name(name: &str) -> Option<Direction> {
        [
            Direction::SendRecv,
            Direction::SendOnly,
            Direction::RecvOnly,
            Direction::Inactive,
        ]
        .into_iter()
        .find(|direction| direction.name().eq_ignore_ascii_case(name))
    }
}

/// What an m-line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// Anything else, as written.
    Other(String),
}

impl MediaKind {
    fn name(&self) -> &str {
        match self {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
            MediaKind::Other(name) => name,
        }
    }

    fn from_name(name: &str) -> MediaKind {
        match name {
            "audio" => MediaKind::Audio,
            "video" => MediaKind::Video,
            other => MediaKind::Other(other.to_owned()),
        }
    }
}

/// Who made a description, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The user name, without spaces.
    pub user: String,
    /// Makes the origin unique; the same through a dialog.
    pub session_id: u64,
    /// Grows by one with every changed description of a session.
    pub version: u64,
    /// An address or a host name; only its author knows what for.
    pub address: String,
}

/// One m-line with its attributes; what the session level says for all of them has been applied.
#[derive(Clone, PartialEq, Eq)]
pub struct MediaDescription {
    /// What it is about.
    pub kind: MediaKind,
    /// Where media is to be sent. `None` for a host name or none at all; unspecified (0.0.0.0) means hold.
    pub address: Option<IpAddr>,
    /// The port, 0 for a refused or disabled line.
    pub port: u16,
    /// The profile, as written: `RTP/AVP`, `RTP/SAVP`, `UDP/TLS/RTP/SAVPF`...
    pub profile: String,
    /// The codecs in the author's order of preference.
    pub codecs: Vec<Codec>,
    /// The format list as written, where no codec could be read from it; else empty.
    pub format: String,
    /// The packet duration the author wants to receive.
    pub ptime_ms: Option<u32>,
    /// The longest packet the author takes.
    pub maxptime_ms: Option<u32>,
    /// Which way media flows.
    pub direction: Direction,
    /// The first stream the author announces.
    pub ssrc: Option<u32>,
    /// The author sends lost packets again, and may ask for some (generic NACK, RFC 4585 §4.2); only with a profile of feedback.
    pub nack: bool,
    /// The name of the m-line in a group, to be repeated in an answer.
    pub mid: Option<String>,
    /// The attributes that transports speak: `ice-ufrag:..`, `fingerprint:..`, `candidate:..`, `crypto:..`, `rtcp-mux`,
    /// `rtcp:..`.
    pub transport: Vec<String>,
}

/// A whole description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDescription {
    /// Who made it.
    pub origin: Origin,
    /// The session name, `-` where there is none.
    pub name: String,
    /// The m-lines, in their order: an answer keeps it.
    pub media: Vec<MediaDescription>,
}

impl fmt::Debug for MediaDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaDescription")
            .field("kind", &self.kind)
            .field("address", &self.address)
            .field("port", &self.port)
            .field("profile", &self.profile)
            .field("codecs", &self.codecs)
            .field("format", &self.format)
            .field("ptime_ms", &self.ptime_ms)
            .field("maxptime_ms", &self.maxptime_ms)
            .field("direction", &self.direction)
            .field("ssrc", &self.ssrc)
            .field("mid", &self.mid)
            .field(
                "transport",
                &self
                    .transport
                    .iter()
                    .map(|line| without_secret(line))
                    .collect::<Vec<_>>(),
            )
            .finish()
    }
}

/// A transport line as it may be logged: SRTP keys and ICE passwords are left out.
fn without_secret(line: &str) -> &str {
    match line.split_once(':') {
        Some((name @ ("crypto" | "ice-pwd"), _)) => name,
        _ => line,
    }
}
