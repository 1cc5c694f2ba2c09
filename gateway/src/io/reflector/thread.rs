//! The reflector's thread: everything of a packet happens here, without a lock or an allocation.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use quartet_proto::net::ConnectionId;
use quartet_proto::rate::source_of;
use quartet_proto::reflector::{MAX_PACKET, Place, Server, Verdict};

use super::connection::Connection;
use super::{Shared, State};

/// The token of its owner: the end, or another secret.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Tokens of listeners begin here; those of connections behind, and sockets have their places.
const LISTENERS: usize = 1 << 16;
const CONNECTIONS: usize = 1 << 17;
/// Events taken from the poller at once.
const EVENTS: usize = 256;
/// Packets read from one place before the next one has its turn.
const READS: usize = 32;
/// Largest packet read: one byte more than is passed, so that a longer one is seen as such.
const LARGEST: usize = MAX_PACKET + 1;
/// Connections of one source: a company behind one address.
pub(super) const MAX_OF_SOURCE: usize = 256;
/// How long a connection may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// How long it may say nothing afterwards: a client says hello every 10 s.
const IDLE: Duration = Duration::from_secs(35);
/// How often it says how it is.
const PUBLISH: Duration = Duration::from_secs(1);

pub(super) struct Thread {
    poll: Poll,
    server: Server,
    sockets: Vec<UdpSocket>,
    listeners: Vec<TcpListener>,
    connections: BTreeMap<u64, Connection>,
    sources: BTreeMap<IpAddr, usize>,
    max_connections: usize,
    next_id: u64,
    shared: Arc<Shared>,
    room: Box<[u8; LARGEST]>,
}

impl Thread {
    pub(super) fn new(
        poll: Poll,
        server: Server,
        sockets: Vec<UdpSocket>,
        mut listeners: Vec<TcpListener>,
        max_connections: usize,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        for (place, listener) in listeners.iter_mut().enumerate() {
            poll.registry()
                .register(listener, Token(LISTENERS + place), Interest::READABLE)?;
        }
        Ok(Self {
            poll,
            server,
            sockets,
            listeners,
            connections: BTreeMap::new(),
            sources: BTreeMap::new(),
            max_connections,
            next_id: 0,
            shared,
            room: Box::new([0; LARGEST]),
        })
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        // Edge-triggered: a place stays here until it has nothing more.
        let mut ready: VecDeque<Token> = VecDeque::with_capacity(EVENTS);
        let mut publish_at = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let timeout = if ready.is_empty() { PUBLISH } else { Duration::ZERO };
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the reflector's poller failed; it ends");
                return;
            }
            for event in &events {
                if event.token() == WAKE {
                    let secret = self.shared.secret.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if secret.is_some_and(|secret| self.server.set_secret(secret)) {
                        tracing::info!("the reflector has another secret");
                    }
                } else if !ready.contains(&event.token()) {
                    ready.push_back(event.token());
                }
            }
            let now = Instant::now();
            for _ in 0..ready.len() {
                let Some(token) = ready.pop_front() else { break };
                if self.serve(now, token) {
                    ready.push_back(token);
                }
            }
            self.server.handle_timeout(now);
            if now >= publish_at {
                publish_at = now + PUBLISH;
                self.close_idle(now);
                *self.shared.state.lock().unwrap_or_else(PoisonError::into_inner) = State {
                    counters: self.server.counters(),
                    parties: self.server.parties(),
                    connections: self.connections.len(),
                };
            }
        }
    }

    /// Serves a place for a while; true if there may be more.
    fn serve(&mut self, now: Instant, token: Token) -> bool {
        if let Some(id) = token.0.checked_sub(CONNECTIONS) {
            return self.read_connection(now, id as u64);
        }
        if let Some(place) = token.0.checked_sub(LISTENERS) {
            return self.accept(now, place);
        }
        self.read_socket(now, token.0)
    }

    fn read_socket(&mut self, now: Instant, place: usize) -> bool {
        for _ in 0..READS {
            match self.sockets[place].recv_from(&mut self.room[..]) {
                Ok((length, remote)) => {
                    let from = Place::Udp { socket: place, remote };
                    let packet = &self.room[..length];
                    match self.server.handle_input(now, from, packet) {
                        Verdict::Drop(_) => {}
                        Verdict::Answer(answer) => _ = self.sockets[place].send_to(&answer, remote),
                        Verdict::Pass(to) => pass(&self.sockets, &mut self.connections, to, packet),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP message about an earlier datagram: the next read goes on.
                Err(_) => {}
            }
        }
        true
    }

    fn accept(&mut self, now: Instant, place: usize) -> bool {
        for _ in 0..READS {
            let (mut stream, remote) = match self.listeners[place].accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // It was gone before it was taken, or there are no descriptors: the next event has the next.
                Err(error) => {
                    tracing::debug!(%error, "a connection to the reflector could not be taken");
                    return false;
                }
            };
            let source = source_of(remote.ip());
            let of_source = self.sources.get(&source).copied().unwrap_or(0);
            let is_full = self.connections.len() >= self.max_connections;
            if (is_full || of_source >= MAX_OF_SOURCE) && !self.make_room((!is_full).then_some(source)) {
                continue;
            }
            let of_source = self.sources.get(&source).copied().unwrap_or(0);
            let id = self.next_id;
            let token = Token(CONNECTIONS + id as usize);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, token, interest).is_err() {
                continue;
            }
            self.next_id += 1;
            // Without it small packets wait for each other; the connection works all the same.
            let _ = stream.set_nodelay(true);
            self.sources.insert(source, of_source + 1);
            let connection = Connection::new(stream, source, now + HELLO_WITHIN);
            self.connections.insert(id, connection);
        }
        true
    }

    /// Closes a connection that is no party's, of this source if one is named: the oldest of those sources that have most of them.
    fn make_room(&mut self, of: Option<IpAddr>) -> bool {
        let strangers = || {
            let of_source = self
                .connections
                .iter()
                .filter(|(_, one)| of.is_none_or(|of| of == one.source));
            of_source.filter(|(id, _)| !self.server.is_in_use(ConnectionId(**id)))
        };
        let mut counts = BTreeMap::<IpAddr, usize>::new();
        strangers().for_each(|(_, one)| *counts.entry(one.source).or_default() += 1);
        let most = counts.values().max().copied();
        let oldest = strangers().find(|(_, one)| counts.get(&one.source).copied() == most);
        let oldest = oldest.map(|(id, _)| *id);
        oldest.inspect(|id| self.close(*id)).is_some()
    }

    fn read_connection(&mut self, now: Instant, id: u64) -> bool {
        for _ in 0..READS {
            let Some(connection) = self.connections.get_mut(&id) else {
                return false;
            };
            let read = connection.flush().and_then(|()| connection.read(&mut self.room[..]));
            match read {
                Ok(true) => {}
                Ok(false) => return false,
                Err(_) => {
                    self.close(id);
                    return false;
                }
            }
            if !self.take_packets(now, id) {
                self.close(id);
                return false;
            }
        }
        true
    }

    /// Does what the packets want that a connection has brought; false if it is no reflector's.
    fn take_packets(&mut self, now: Instant, id: u64) -> bool {
        let from = Place::Stream(ConnectionId(id));
        let Some(connection) = self.connections.get_mut(&id) else {
            return true;
        };
        // Out of its connection, so that what it sends may go to another, or to itself.
        let mut framing = std::mem::take(&mut connection.framing);
        let is_good = loop {
            match framing.next() {
                Ok(None) => break true,
                Err(_) => break false,
                Ok(Some(packet)) => {
                    let verdict = self.server.handle_input(now, from, packet);
                    match verdict {
                        Verdict::Drop(_) => continue,
                        Verdict::Answer(answer) => {
                            if let Some(connection) = self.connections.get_mut(&id) {
                                connection.write(&answer);
                            }
                        }
                        Verdict::Pass(to) => pass(&self.sockets, &mut self.connections, to, packet),
                    }
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.deadline = now + IDLE;
                    }
                }
            }
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.framing = framing;
        }
        is_good
    }

    fn close(&mut self, id: u64) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        // Closing it ends the watch as well.
        let _ = self.poll.registry().deregister(&mut connection.stream);
        if let Some(count) = self.sources.get_mut(&connection.source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&connection.source);
            }
        }
        self.server.handle_closed(ConnectionId(id));
    }

    fn close_idle(&mut self, now: Instant) {
        let idle = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.deadline <= now);
        for id in idle.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(id);
        }
    }
}

fn pass(sockets: &[UdpSocket], connections: &mut BTreeMap<u64, Connection>, to: Place, packet: &[u8]) {
    match to {
        Place::Udp { socket, remote } => {
            if let Some(socket) = sockets.get(socket) {
                // A full buffer loses it, as a full link would.
                let _ = socket.send_to(packet, remote);
            }
        }
        Place::Stream(ConnectionId(id)) => {
            if let Some(connection) = connections.get_mut(&id) {
                connection.write(packet);
            }
        }
    }
}
