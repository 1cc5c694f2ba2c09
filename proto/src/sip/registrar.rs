//! The registrar.

use std::net::SocketAddr;
use std::time::Instant;

use crate::net::Protocol;

/// Where an account can be reached: one binding of the registrar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The phone's own URI: the request URI of calls to it.
    pub uri: String,
    /// Where to send: behind a NAT the address the REGISTER came from.
    pub destination: SocketAddr,
    /// Our address the phone registered at: send from here.
    pub local: SocketAddr,
    /// What it is reached over.
    pub protocol: Protocol,
    /// When the binding ends unless refreshed.
    pub expires: Instant,
    /// The phone's `User-Agent`, if it told.
    pub user_agent: Option<String>,
}
