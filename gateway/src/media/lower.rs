//! What is under a leg's session: its sockets, and relays over them. To the session all of them are paths.
//!
//! A relay is a path plugin over one socket or one connection. Its server's datagrams are its own; what it unwraps rises to the
//! session, and what the session sends by its path goes through it first, in place.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use tracing::debug;

use super::{
    leg::{MediaIo, Slot},
    outgoing::MAX_PACKET,
    paths::{BoundSocket, Paths, Place, SocketKey, StreamKey, gone_line, host_line},
    relay::{Way, Ways},
};
use crate::plugins::{About, Outcome, Output, Packet, PacketKind, Transport, TransportEvent};

/// Most relays of one leg.
const MAX_RELAYS: usize = 16;
/// Room round a datagram for what relays add.
const ROOM: usize = 128;
/// A relay that makes more by itself in one go is taken for broken.
const MAX_OUTPUTS: usize = 1_000;

/// What a relay stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    /// One of the leg's sockets.
    Socket(SocketKey),
    /// A connection of its own.
    Stream(StreamKey),
}

/// A relay that is to be added.
#[derive(Debug)]
pub(crate) struct NewRelay {
    /// Its machine.
    pub(crate) machine: Transport,
    /// What reaches it.
    pub(crate) way: Way,
    /// What it stands on.
    pub(crate) below: Below,
    /// Our address below it.
    pub(crate) local: SocketAddr,
    /// The server.
    pub(crate) server: SocketAddr,
}

/// One relay.
struct Relay {
    /// `None` once it has failed.
    machine: Option<Transport>,
    way: Way,
    below: Below,
    server: SocketAddr,
    /// The path that the session knows it by, once it has an address.
    path: Option<u32>,
    due_ns: Option<u64>,
    /// It may have something to say.
    is_stirred: bool,
}

/// Sockets and relays of one leg.
pub(crate) struct Lower {
    slot: Slot,
    paths: Paths,
    relays: Vec<Relay>,
    /// Nothing but relays is told to the session.
    relay_only: bool,
    /// For what is copied: datagrams that a session or a relay made by itself. Made with the first relay.
    room: Option<Box<Packet>>,
    /// Where the last RTP packet went.
    last: Option<Place>,
    ways: Ways,
}

/// What rises to the session.
pub(crate) enum Risen {
    /// A datagram, its path and source set. To be given back.
    Datagram(Box<Packet>),
    /// Lines about paths.
    Lines(String),
}

impl Lower {
    /// Its leg has another place, with the same sockets.
    pub(crate) fn move_to(&mut self, slot: Slot) {
        self.slot = slot;
    }

    pub(crate) fn new(slot: Slot, relay_only: bool) -> Self {
        Self {
            slot,
            paths: Paths::default(),
            relays: Vec::new(),
            relay_only,
            room: None,
            last: None,
            ways: Ways::default(),
        }
    }

    /// Takes sockets in and gives the lines that tell the session of them.
    pub(crate) fn add_sockets(&mut self, sockets: &[BoundSocket]) -> String {
        let mut lines = String::new();
        for socket in sockets {
            let line = self.paths.add(socket);
            if !self.relay_only {
                lines.push_str(&line);
                self.ways.note_ready(Way::Direct);
            }
        }
        lines
    }

    /// Forgets sockets, and the relays over them, and gives the lines that tell the session of it.
    pub(crate) fn remove_sockets(&mut self, now_ns: u64, sockets: &[SocketKey], io: &mut impl MediaIo) -> String {
        let mut lines = String::new();
        for key in sockets {
            let line = self.paths.remove_socket(*key).filter(|_| !self.relay_only);
            lines.extend(line);
            lines.push_str(&self.lose(now_ns, Below::Socket(*key), io));
        }
        lines
    }

    /// A server is looked for.
    pub(crate) fn note_asked(&mut self, way: Way) {
        // What a STUN server says only helps the straight way.
        if way != Way::Direct {
            self.ways.note_asked(way);
        }
    }

    /// The ways that were tried.
    pub(crate) fn ways(&self) -> Ways {
        self.ways
    }

    /// Whether there is such a relay.
    pub(crate) fn has_relay(&self, way: Way, server: SocketAddr) -> bool {
        let is_it = |relay: &Relay| relay.machine.is_some() && (relay.way, relay.server) == (way, server);
        self.relays.iter().any(is_it)
    }

    /// Takes a relay in; [`poll`](Self::poll) has what comes of it.
    pub(crate) fn add_relay(&mut self, now_ns: u64, new: NewRelay) {
        let vacant = self.relays.iter().position(|relay| relay.machine.is_none());
        if vacant.is_none() && self.relays.len() >= MAX_RELAYS {
            debug!("a leg has relays enough");
            return;
        }
        let NewRelay {
            mut machine,
            way,
            below,
            local,
            server,
        } = new;
        let line = host_line(1, 1, local, None);
        if let Err(error) = machine.tell(now_ns, About::Paths, &line) {
            debug!(%server, %error, "a relay that is none");
            return;
        }
        self.room
            .get_or_insert_with(|| Box::new(Packet::new(ROOM + MAX_PACKET + ROOM, ROOM)));
        let relay = Relay {
            machine: Some(machine),
            way,
            below,
            server,
            path: None,
            due_ns: None,
            is_stirred: true,
        };
        match vacant {
            Some(at) => self.relays[at] = relay,
            None => self.relays.push(relay),
        }
    }

    /// Takes a datagram of a socket. True if it is the session's: its path is set then.
    pub(crate) fn receive(&mut self, now_ns: u64, socket: SocketKey, packet: &mut Packet) -> bool {
        let Some(path) = self.paths.id(socket) else {
            return false;
        };
        let source = packet.src;
        let of_server = |relay: &&mut Relay| relay.below == Below::Socket(socket) && relay.server == source;
        let mut is_server = false;
        for relay in self.relays.iter_mut().filter(of_server) {
            is_server = true;
            packet.path = 1;
            if relay.receive(now_ns, packet) {
                let Some(path) = relay.path else { return false };
                packet.path = path;
                return true;
            }
        }
        packet.path = path;
        !is_server && !self.relay_only
    }

    /// Takes a piece of a connection.
    pub(crate) fn receive_stream(&mut self, now_ns: u64, stream: StreamKey, piece: &mut Packet) {
        let mut over = self.relays.iter_mut();
        if let Some(relay) = over.find(|relay| relay.below == Below::Stream(stream)) {
            (piece.path, piece.src) = (1, relay.server);
            // Datagrams in it are polled.
            let _ = relay.receive(now_ns, piece);
        }
    }

    /// A connection has ended; gives the lines that tell the session of its relay.
    pub(crate) fn stream_gone(&mut self, now_ns: u64, stream: StreamKey, io: &mut impl MediaIo) -> String {
        self.lose(now_ns, Below::Stream(stream), io)
    }

    /// What relays stand on is no more.
    fn lose(&mut self, now_ns: u64, below: Below, io: &mut impl MediaIo) -> String {
        let mut lines = String::new();
        for at in 0..self.relays.len() {
            let relay = &mut self.relays[at];
            if relay.below == below && relay.machine.is_some() {
                relay.tell(now_ns, About::Paths, &gone_line(1));
                self.ways.note_failed(relay.way, "closed");
                lines.extend(self.remove(at, io));
            }
        }
        lines
    }

    /// Sends a datagram, which the caller keeps, by one of the paths; false if it is lost.
    pub(crate) fn transmit(
        &mut self,
        now_ns: u64,
        (path, dst): (u32, SocketAddr),
        bytes: &[u8],
        io: &mut impl MediaIo,
    ) -> bool {
        if let Some(Place::Socket(socket)) = self.paths.place(path) {
            return io.transmit(self.slot, socket, dst, bytes);
        }
        // A relay works in place.
        let Some(mut room) = self.room.take() else { return false };
        let fits = room.fill(bytes);
        (room.path, room.dst) = (path, dst);
        let taken = fits && self.hand_down(now_ns, &mut room, io);
        self.room = Some(room);
        taken
    }

    /// Sends a packet's datagram by its path, in place; false if it is lost.
    pub(crate) fn hand_down(&mut self, now_ns: u64, packet: &mut Packet, io: &mut impl MediaIo) -> bool {
        match self.paths.place(packet.path) {
            Some(Place::Socket(socket)) => io.transmit(self.slot, socket, packet.dst, packet.bytes()),
            Some(Place::Relay(at)) => match self.relays.get_mut(at) {
                Some(relay) => relay.send(now_ns, self.slot, packet, io),
                None => false,
            },
            None => false,
        }
    }

    /// Remembers by which path media goes; true for the first.
    pub(crate) fn note_media(&mut self, path: u32) -> bool {
        std::mem::replace(&mut self.last, self.paths.place(path)).is_none() && self.last.is_some()
    }

    /// By which way the last RTP packet went.
    pub(crate) fn way(&self) -> Option<Way> {
        match self.last? {
            Place::Socket(_) => Some(Way::Direct),
            Place::Relay(at) => self.relays.get(at).map(|relay| relay.way),
        }
    }

    /// The next thing that rises to the session; sends what relays have for their servers. A datagram comes back by
    /// [`give_back`](Self::give_back).
    pub(crate) fn poll(&mut self, io: &mut impl MediaIo) -> Option<Risen> {
        for at in 0..self.relays.len() {
            if self.relays[at].is_stirred
                && let Some(risen) = self.poll_relay(at, io)
            {
                return Some(risen);
            }
        }
        None
    }

    pub(crate) fn give_back(&mut self, room: Box<Packet>) {
        self.room = Some(room);
    }

    /// True if [`poll`](Self::poll) may have something.
    pub(crate) fn is_stirred(&self) -> bool {
        self.relays.iter().any(|relay| relay.is_stirred)
    }

    /// When [`timeout`](Self::timeout) is wanted.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.relays.iter().filter_map(|relay| relay.due_ns).min()
    }

    /// Lets relays act whose time has come.
    pub(crate) fn timeout(&mut self, now_ns: u64) {
        for relay in &mut self.relays {
            if relay.due_ns.is_some_and(|due| due <= now_ns)
                && let Some(machine) = &mut relay.machine
            {
                let acted = machine.timeout(now_ns);
                relay.is_stirred = true;
                if acted.is_err() {
                    relay.due_ns = None;
                }
            }
        }
    }

    /// Gives back what relays have of their servers.
    pub(crate) fn close(&mut self, now_ns: u64, io: &mut impl MediaIo) {
        for relay in &mut self.relays {
            relay.tell(now_ns, About::Control, "close\n");
        }
        while let Some(risen) = self.poll(io) {
            if let Risen::Datagram(room) = risen {
                self.give_back(room);
            }
        }
    }

    fn poll_relay(&mut self, at: usize, io: &mut impl MediaIo) -> Option<Risen> {
        let Self {
            slot,
            paths,
            relays,
            relay_only,
            ..
        } = self;
        let Relay {
            machine,
            below,
            server,
            path,
            due_ns,
            is_stirred,
            ..
        } = &mut relays[at];
        let Some(polled) = machine else {
            *is_stirred = false;
            return None;
        };
        for _ in 0..MAX_OUTPUTS {
            match polled.poll() {
                Output::None { deadline_ns } => {
                    (*due_ns, *is_stirred) = (deadline_ns, false);
                    return None;
                }
                Output::Transmit { data, .. } => _ = write(*slot, *below, *server, data, io),
                Output::Datagram { src, data } => {
                    let (Some(path), Some(mut room)) = (*path, self.room.take()) else {
                        continue;
                    };
                    if !room.fill(data) {
                        self.room = Some(room);
                        continue;
                    }
                    (room.path, room.src) = (path, src);
                    return Some(Risen::Datagram(room));
                }
                Output::Event {
                    event: TransportEvent::Address(text),
                } => match address(&text) {
                    Some(("relay", relayed)) if path.is_none() => {
                        debug!(%server, "relay");
                        return Some(Risen::Lines(self.announce(at, relayed)));
                    }
                    Some(("outer", outer)) => {
                        if let (Below::Socket(key), false) = (*below, *relay_only)
                            && let Some(line) = paths.seen_as(key, outer)
                        {
                            return Some(Risen::Lines(line));
                        }
                    }
                    Some(_) | None => {}
                },
                Output::Event {
                    event: TransportEvent::Failed(why),
                } => {
                    debug!(%server, why, "no relay");
                    let way = relays[at].way;
                    self.ways.note_failed(way, &why);
                    return self.remove(at, io).map(Risen::Lines);
                }
                Output::Event { .. } | Output::Rtp(_) | Output::Rtcp(_) | Output::Data { .. } => {}
            }
        }
        debug!(%server, "a relay that does not stop");
        self.remove(at, io).map(Risen::Lines)
    }

    /// The line of a relay that has an address now.
    fn announce(&mut self, at: usize, relayed: SocketAddr) -> String {
        let is_stream = matches!(self.relays[at].below, Below::Stream(_));
        let (id, line) = self.paths.add_relay(at, relayed, is_stream);
        self.relays[at].path = Some(id);
        self.ways.note_ready(self.relays[at].way);
        line
    }

    /// Takes a relay away and gives the line that tells the session of it.
    fn remove(&mut self, at: usize, io: &mut impl MediaIo) -> Option<String> {
        let relay = &mut self.relays[at];
        (relay.machine, relay.due_ns, relay.is_stirred) = (None, None, false);
        if let Below::Stream(stream) = relay.below {
            io.hang_up(self.slot, stream);
        }
        let id = relay.path.take()?;
        self.paths.remove(id);
        Some(gone_line(id))
    }
}

impl Relay {
    fn tell(&mut self, now_ns: u64, about: About, lines: &str) {
        if let Some(machine) = &mut self.machine {
            // What it has to say about that is polled.
            let _ = machine.tell(now_ns, about, lines);
            self.is_stirred = true;
        }
    }

    /// True if the packet is a peer's datagram now.
    fn receive(&mut self, now_ns: u64, packet: &mut Packet) -> bool {
        let Some(machine) = &mut self.machine else { return false };
        self.is_stirred = true;
        matches!(machine.receive(now_ns, packet), Ok(Outcome::Datagram))
    }

    fn send(&mut self, now_ns: u64, slot: Slot, packet: &mut Packet, io: &mut impl MediaIo) -> bool {
        let Some(machine) = &mut self.machine else { return false };
        self.is_stirred = true;
        packet.kind = Some(PacketKind::Datagram);
        match machine.send(now_ns, packet) {
            Ok(Outcome::Transmit) => write(slot, self.below, self.server, packet.bytes(), io),
            Ok(_) => true,
            Err(_) => false,
        }
    }
}

fn write(slot: Slot, below: Below, server: SocketAddr, bytes: &[u8], io: &mut impl MediaIo) -> bool {
    match below {
        Below::Socket(socket) => io.transmit(slot, socket, server, bytes),
        Below::Stream(stream) => io.write(slot, stream, bytes),
    }
}

/// Reads `relay 192.0.2.7 40000`.
fn address(text: &str) -> Option<(&str, SocketAddr)> {
    let mut words = text.split_ascii_whitespace();
    let kind = words.next()?;
    let ip: IpAddr = words.next()?.parse().ok()?;
    Some((kind, SocketAddr::new(ip, words.next()?.parse().ok()?)))
}
