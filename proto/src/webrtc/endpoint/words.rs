//! The words between a session and its user: what goes in, what comes out, and why something did not.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::dtls::DtlsError;
use super::super::ice::IceError;
use super::super::sctp::SctpError;
use crate::rtp::srtp::SrtpError;

/// Which side of the offer we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We offer: ICE controlling, DTLS client, opener of the data channel.
    Offer,
    /// We answer: ICE controlled, DTLS server.
    Answer,
}

/// Why the session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No pair of addresses works, or no longer.
    Ice,
    /// The handshake failed or took too long, or somebody forged a part of it.
    Dtls,
    /// The handshake was verified, with another certificate than the announced one: somebody is in between.
    Fingerprint,
    /// The peer has closed the session.
    Closed,
}

impl Failure {
    /// The cause word of the transport contract.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Failure::Ice => "ice",
            Failure::Dtls => "dtls",
            Failure::Fingerprint => "fingerprint",
            Failure::Closed => "closed",
        }
    }
}

/// Why a line of the peer's description was refused. The lines beside it were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// Its ICE part.
    #[error(transparent)]
    Ice(#[from] IceError),
    /// Its fingerprint.
    #[error(transparent)]
    Dtls(#[from] DtlsError),
}

/// What [`Endpoint::send`] is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An RTP packet.
    Rtp,
    /// An RTCP packet.
    Rtcp,
    /// A message for the data channel.
    Data {
        /// Text rather than bytes.
        text: bool,
    },
}

/// What a datagram has become, in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It was for us, or dropped.
    Nothing,
    /// An RTP packet of this length.
    Rtp(usize),
    /// An RTCP packet of this length.
    Rtcp(usize),
}

/// What a packet has become, in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Taken; what comes of it is polled.
    Kept,
    /// A datagram.
    Transmit {
        /// Its length.
        length: usize,
        /// Our path.
        path: u32,
        /// The peer's address.
        destination: SocketAddr,
    },
}

/// Why a packet was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no session (yet, or any more).
    #[error("the session is not up")]
    NotConnected,
    /// It cannot be protected.
    #[error(transparent)]
    Srtp(#[from] SrtpError),
    /// The data channel does not take it.
    #[error(transparent)]
    Sctp(#[from] SctpError),
}

/// What the machine makes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A datagram to send.
    Transmit {
        /// Our path.
        path: u32,
        /// The peer's address.
        destination: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// A message of the peer's.
    Data {
        /// The number of the channel.
        channel: u16,
        /// Text rather than bytes.
        text: bool,
        /// The message.
        bytes: Vec<u8>,
    },
    /// [`Endpoint::local_lines`] has new lines.
    Local,
    /// Media can flow both ways. Once.
    Connected,
    /// A check of the pair in use has taken so long there and back: about once a second.
    RoundTrip(Duration),
    /// The session is over. Once, and nothing but last datagrams comes after it.
    Failed(Failure),
}
