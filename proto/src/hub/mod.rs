//! The messages of the hub protocol: one definition for server, adapter and demo peer.
//!
//! JSON text frames over one WebSocket. A client sends requests ([`ClientFrame`]), each with an id; the hub answers each
//! exactly once and sends events ([`ServerFrame`]). Unknown fields are ignored, unknown verbs are answered with an error,
//! every size is bounded here, and no error repeats what the other side wrote (it may be a token).
//!
//! This module knows no order of messages; the hub and each client enforce that on their own. `docs/hub-protocol.md` is
//! the text for people.

mod blob;
mod body;
mod failure;
mod message;
mod name;
#[cfg(test)]
mod schema;
mod session;

pub use blob::{CallId, Commitment, Packet, PeerTag, PublicValue, SessionId, Token};
pub use body::{
    CallAccept, CallConfirm, CallDiscard, CallLink, CallReceived, CallRejoin, CallRequest, CallSignal, CallTaken,
    DiscardReason, Hello, IceServer, IceServers, OfferedExchange, ProtocolRange, Reflector, Resume, Welcome,
    WireLimits,
};
pub use failure::{ErrorCode, Failure, MessageError, Rejected};
pub use message::{ClientFrame, Event, Later, Reply, Request, ServerFrame};
pub use name::{ClientName, ExchangeName, Name, NameError, Version};
pub use session::{ClientSession, Heard};

/// Largest text frame either side accepts, in bytes.
pub const MAX_FRAME: usize = 256 * 1024;
/// Largest signalling packet, decoded. Telegram-style calls set the same bound.
pub const MAX_SIGNAL: usize = 128 * 1024;
/// Longest account name or `extension@account`, in characters.
pub const MAX_NAME: usize = 64;
/// Most key exchanges in one request.
pub const MAX_EXCHANGES: usize = 8;
/// Most signalling versions in one request.
pub const MAX_VERSIONS: usize = 16;
/// Longest public value of a key exchange: a 2048-bit number.
pub const MAX_PUBLIC: usize = 256;
/// Largest request id: the largest integer that every JSON reader keeps exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;
/// The protocol versions this code speaks.
pub const PROTOCOL: ProtocolRange = ProtocolRange { min: 1, max: 2 };

#[cfg(test)]
mod tests;
