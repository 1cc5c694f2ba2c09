//! The words that all machines share with the thin shell of sockets around them.

use std::net::SocketAddr;

/// How bytes travel below a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// One datagram, one message.
    Udp,
}

/// Bytes that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Receive<'a> {
    /// What they travelled over.
    pub protocol: Protocol,
    /// Our address, as bound (never the wildcard).
    pub local: SocketAddr,
    /// Where they came from.
    pub remote: SocketAddr,
    /// One datagram.
    pub payload: &'a [u8],
}

/// Bytes to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// What they travel over.
    pub protocol: Protocol,
    /// Our address to send from.
    pub local: SocketAddr,
    /// Where they go.
    pub remote: SocketAddr,
    /// One datagram.
    pub payload: Vec<u8>,
}
