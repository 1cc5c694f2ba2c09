//! The ways by which a leg's datagrams come and go, by number.
//!
//! A session plugin knows paths by id; a socket is the worker's. An id is never used twice in the life of a leg, so that a
//! datagram for a path that is gone goes nowhere, and a path need not be a socket: a relay is one over another path.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

/// What fits any path without fragments.
const MTU: u32 = 1_200;

/// What fits a relayed path without fragments: a Send indication is the largest wrapping.
const RELAY_MTU: u32 = 1_172;

/// A socket of a leg, by its place among those that the worker has bound for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketKey(pub(crate) usize);

/// A connection of a leg, by its place among those that the worker has dialled for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamKey(pub(crate) usize);

/// What a path is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A socket.
    Socket(SocketKey),
    /// A relay, by its place among the leg's.
    Relay(usize),
}

/// A socket that the worker has bound for a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoundSocket {
    pub(crate) key: SocketKey,
    /// 1: RTP, or everything; 2: RTCP where it has a socket of its own.
    pub(crate) component: u8,
    pub(crate) local: SocketAddr,
    /// What those outside are told, with the same port.
    pub(crate) outer: Option<IpAddr>,
}

/// The line about a path that is a socket, as a session or a relay over it is told.
pub(crate) fn host_line(id: u32, component: u8, local: SocketAddr, outer: Option<SocketAddr>) -> String {
    let (ip, port) = (local.ip(), local.port());
    let mut line = format!("path:{id} component {component} host {ip} {port} mtu {MTU}");
    if let Some(outer) = outer {
        let _ = write!(line, " outer {} {}", outer.ip(), outer.port());
    }
    line.push('\n');
    line
}

/// The line about a path that is no more.
pub(crate) fn gone_line(id: u32) -> String {
    format!("path:{id} gone\n")
}

/// The paths of one leg.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// By id.
    open: Vec<(u32, Place)>,
    sockets: Vec<BoundSocket>,
    last_id: u32,
}

impl Paths {
    /// Takes a socket in and gives the line that tells the session of it.
    pub(crate) fn add(&mut self, socket: &BoundSocket) -> String {
        self.last_id += 1;
        self.open.push((self.last_id, Place::Socket(socket.key)));
        self.sockets.push(*socket);
        let outer = socket.outer.map(|ip| SocketAddr::new(ip, socket.local.port()));
        host_line(self.last_id, socket.component, socket.local, outer)
    }

    /// Forgets a socket and gives the line that tells the session of it.
    pub(crate) fn remove_socket(&mut self, key: SocketKey) -> Option<String> {
        let id = self.id(key)?;
        self.remove(id);
        self.sockets.retain(|socket| socket.key != key);
        Some(gone_line(id))
    }

    /// The line of a socket that those outside see as this address; `None` if the session knows that, or the socket is gone.
    pub(crate) fn seen_as(&self, key: SocketKey, outer: SocketAddr) -> Option<String> {
        let socket = self.sockets.iter().find(|socket| socket.key == key)?;
        let is_new = socket.local != outer && socket.outer != Some(outer.ip());
        let id = self.id(key).filter(|_| is_new)?;
        Some(host_line(id, socket.component, socket.local, Some(outer)))
    }

    /// Takes a relay in that has this address, over a stream or not: the id of its path, and the line that tells the session of it.
    pub(crate) fn add_relay(&mut self, relay: usize, relayed: SocketAddr, is_stream: bool) -> (u32, String) {
        self.last_id += 1;
        self.open.push((self.last_id, Place::Relay(relay)));
        let (id, ip, port) = (self.last_id, relayed.ip(), relayed.port());
        let via = if is_stream { " via tcp" } else { "" };
        let line = format!("path:{id} component 1 relay {ip} {port} base {ip} {port} mtu {RELAY_MTU}{via}\n");
        (id, line)
    }

    /// Forgets a path.
    pub(crate) fn remove(&mut self, id: u32) {
        self.open.retain(|(known, _)| *known != id);
    }

    /// The path that a socket's datagrams come by.
    pub(crate) fn id(&self, socket: SocketKey) -> Option<u32> {
        let mut open = self.open.iter();
        open.find(|(_, place)| *place == Place::Socket(socket))
            .map(|(id, _)| *id)
    }

    /// What a path is made of; `None` if there is no such path.
    pub(crate) fn place(&self, id: u32) -> Option<Place> {
        let mut open = self.open.iter();
        open.find(|(known, _)| *known == id).map(|(_, place)| *place)
    }
}
