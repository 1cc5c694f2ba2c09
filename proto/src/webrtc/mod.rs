//! ICE, DTLS and SCTP as machines of their own, and the endpoint that joins them with SRTP. Used by transport-webrtc alone.
//!
//! Reading order: [`endpoint`], then [`ice`], [`dtls`], [`sctp`]; each wraps a crate of str0m's family and adds what that
//! crate leaves to its user: our random numbers, bounds, and the checks that must come before any media.

pub mod dtls;
pub mod endpoint;
pub mod ice;
pub mod sctp;

pub use endpoint::{Endpoint, Failure, Kind, Output, Received, RemoteError, Role, SendError, Sent};
