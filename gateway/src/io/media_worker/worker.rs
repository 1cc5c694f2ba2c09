//! One media thread: its poller, its sockets, its legs. Everything of a packet happens here, one after the other.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::UdpSocket};
use tracing::{debug, error, warn};

use super::{
    Counts, Dial, Notify, Order,
    sockets::{MAX_SOCKETS, Ports, describe},
    streams::{MAX_STREAMS, Stream},
};
use crate::{
    media::{
        Below, Bind, LegKey, Legs, MediaCommand, MediaEvent, MediaFault, MediaIo, Opening, Slot, SocketKey, StreamKey,
        Via,
    },
    plugins::{Packet, watch},
};

/// The token of the mailbox; sockets have `slot * PER_LEG + key`, connections `slot * PER_LEG + MAX_SOCKETS + key`.
pub(super) const MAILBOX: Token = Token(usize::MAX);
/// Tokens of a leg.
const PER_LEG: usize = MAX_SOCKETS + MAX_STREAMS;
/// Events taken from the poller at once.
const EVENTS: usize = 256;
/// Datagrams read from one socket before the next one has its turn.
const READS_PER_SOCKET: usize = 16;
/// Orders taken before the sockets have their turn again.
const COMMANDS_PER_TURN: usize = 64;
/// Largest datagram read; a longer one is cut, and no transport of ours knows longer ones.
const LARGEST: usize = 2_048;
const HEADROOM: usize = 64;

/// One media worker: its poller, its sockets, its legs.
pub(super) struct Worker {
    pub(super) poll: Poll,
    pub(super) mailbox: Receiver<Order>,
    pub(super) ports: Arc<Ports>,
    pub(super) counts: Arc<Counts>,
    pub(super) notify: Notify,
    pub(super) legs: Legs,
    pub(super) origin: Instant,
}

/// Sockets and connections of all legs by slot, and the way to the call: what the legs see of the world.
pub(super) struct WorkerIo {
    /// `None` where one was closed, or stands no more.
    pub(super) sockets: Vec<Vec<Option<UdpSocket>>>,
    pub(super) streams: Vec<Vec<Option<Stream>>>,
    notify: Notify,
}

impl MediaIo for WorkerIo {
    fn transmit(&mut self, leg: Slot, socket: SocketKey, dst: SocketAddr, bytes: &[u8]) -> bool {
        self.socket(leg, socket)
            .is_some_and(|socket| socket.send_to(bytes, dst).is_ok())
    }

    fn write(&mut self, leg: Slot, stream: StreamKey, bytes: &[u8]) -> bool {
        self.stream(leg, stream).is_some_and(|stream| stream.write(bytes))
    }

    fn hang_up(&mut self, leg: Slot, stream: StreamKey) {
        let streams = self.streams.get_mut(leg.0);
        if let Some(Some(mut stream)) = streams.and_then(|streams| streams.get_mut(stream.0)).map(Option::take) {
            stream.close();
        }
    }

    fn event(&mut self, event: MediaEvent) {
        (self.notify)(event);
    }
}

impl WorkerIo {
    fn socket(&self, leg: Slot, socket: SocketKey) -> Option<&UdpSocket> {
        self.sockets.get(leg.0)?.get(socket.0)?.as_ref()
    }

    /// A leg's sockets, and where they are bound.
    fn bound(&self, leg: Slot) -> Vec<(SocketKey, SocketAddr)> {
        let sockets = self.sockets.get(leg.0).into_iter().flatten().enumerate();
        let bound = sockets.filter_map(|(at, socket)| Some((SocketKey(at), socket.as_ref()?.local_addr().ok()?)));
        bound.collect()
    }

    /// A leg's connections, and from where they are made.
    fn dialled(&self, leg: Slot) -> Vec<(StreamKey, SocketAddr)> {
        let streams = self.streams.get(leg.0).into_iter().flatten().enumerate();
        let dialled = streams.filter_map(|(at, stream)| Some((StreamKey(at), stream.as_ref()?.local().ok()?)));
        dialled.collect()
    }

    fn stream(&mut self, leg: Slot, stream: StreamKey) -> Option<&mut Stream> {
        self.streams.get_mut(leg.0)?.get_mut(stream.0)?.as_mut()
    }
}

impl Worker {
    /// Works until the mailbox is closed.
    pub(super) fn run(mut self) {
        let _ = self.counts.slot.set(watch::slot());
        let mut io = WorkerIo {
            sockets: Vec::new(),
            streams: Vec::new(),
            notify: Arc::clone(&self.notify),
        };
        let mut events = Events::with_capacity(EVENTS);
        let mut packet = Packet::new(HEADROOM + LARGEST + HEADROOM, HEADROOM);
        // Edge-triggered: a socket stays here until it has nothing more.
        let mut readable: VecDeque<Token> = VecDeque::with_capacity(EVENTS);
        let mut more_orders = false;
        loop {
            let timeout = if more_orders || !readable.is_empty() {
                Some(Duration::ZERO)
            } else {
                self.until_deadline()
            };
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                error!(%error, "the media poller failed; this worker ends");
                return;
            }
            for event in &events {
                if event.token() != MAILBOX && !readable.contains(&event.token()) {
                    readable.push_back(event.token());
                }
            }
            for _ in 0..readable.len() {
                let Some(token) = readable.pop_front() else { break };
                if self.read(token, &mut packet, &mut io) {
                    readable.push_back(token);
                }
            }
            match self.take_commands(&mut io) {
                Some(more) => more_orders = more,
                None => break,
            }
            let now_ns = self.now_ns();
            self.legs.timeout(now_ns, &mut io);
        }
        self.counts.legs.store(0, Ordering::Relaxed);
        self.counts.sockets.store(0, Ordering::Relaxed);
    }

    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn until_deadline(&self) -> Option<Duration> {
        let deadline = self.legs.deadline()?;
        Some(Duration::from_nanos(deadline.saturating_sub(self.now_ns())))
    }

    /// Reads some datagrams of a socket; true if there may be more.
    fn read(&mut self, token: Token, packet: &mut Packet, io: &mut WorkerIo) -> bool {
        let (slot, place) = (Slot(token.0 / PER_LEG), token.0 % PER_LEG);
        if let Some(stream) = place.checked_sub(MAX_SOCKETS) {
            return self.read_stream((slot, StreamKey(stream)), packet, io);
        }
        let key = SocketKey(place);
        for _ in 0..READS_PER_SOCKET {
            let Some(socket) = io.socket(slot, key) else {
                return false;
            };
            let room = packet.buffer_mut();
            let most = room.len().min(LARGEST);
            match socket.recv_from(&mut room[..most]) {
                Ok((length, src)) => {
                    packet.set_len(length);
                    packet.src = src;
                    self.legs.receive(self.now_ns(), (slot, key), packet, io);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP message about an earlier datagram: the next read goes on.
                Err(error) => debug!(%error, "media socket"),
            }
        }
        true
    }

    /// Goes on with a connection and reads some pieces of it; true if there may be more.
    fn read_stream(&mut self, (slot, key): (Slot, StreamKey), packet: &mut Packet, io: &mut WorkerIo) -> bool {
        let Some(stream) = io.stream(slot, key) else {
            return false;
        };
        let went_on = stream.go_on().and_then(|dial| Ok((dial, stream.local()?)));
        match went_on {
            Ok((Some(dial), local)) => self.add_relay(slot, &dial, (Below::Stream(key), local), io),
            Ok((None, _)) => {}
            Err(error) => return self.lose_stream((slot, key), &error, io),
        }
        for _ in 0..READS_PER_SOCKET {
            let Some(stream) = io.stream(slot, key) else {
                return false;
            };
            let room = packet.buffer_mut();
            let most = room.len().min(LARGEST);
            match stream.read(&mut room[..most]) {
                Ok(Some(length)) => {
                    packet.set_len(length);
                    self.legs.receive_stream(self.now_ns(), (slot, key), packet, io);
                }
                Ok(None) => return false,
                Err(error) => return self.lose_stream((slot, key), &error, io),
            }
        }
        true
    }

    fn lose_stream(&mut self, (slot, key): (Slot, StreamKey), error: &io::Error, io: &mut WorkerIo) -> bool {
        debug!(%error, "a connection to a relay is over");
        self.legs.stream_gone(self.now_ns(), (slot, key), io);
        io.hang_up(slot, key);
        false
    }

    /// Lets a leg use a server, unless it does so already: over the socket by which this machine would reach it, or a connection of its own.
    fn dial(&mut self, leg: LegKey, dial: Dial, io: &mut WorkerIo) {
        let Some(slot) = self.legs.slot(leg) else { return };
        if self.legs.has_relay(slot, (dial.way(), dial.address)) {
            return;
        }
        self.legs.note_asked(slot, dial.way());
        if dial.service.via() != Via::Udp {
            self.connect(slot, dial, io);
            return;
        }
        let mut fitting: Vec<_> = io
            .bound(slot)
            .into_iter()
            .filter(|(_, local)| local.is_ipv4() == dial.address.is_ipv4())
            .collect();
        if let Some(route) = route_to(dial.address) {
            fitting.sort_by_key(|(_, local)| local.ip() != route);
        }
        match fitting.first() {
            Some((key, local)) => self.add_relay(slot, &dial, (Below::Socket(*key), *local), io),
            None => debug!(?dial, "no socket of its family"),
        }
    }

    fn connect(&self, slot: Slot, dial: Dial, io: &mut WorkerIo) {
        let streams = of_leg(&mut io.streams, slot);
        let is_for_it = |stream: &Stream| stream.is_for(&dial);
        if streams.iter().flatten().any(is_for_it) {
            return;
        }
        let Some(at) = vacant(streams, MAX_STREAMS) else {
            debug!("a leg has connections enough");
            return;
        };
        let dialled = Stream::dial(dial).and_then(|mut stream| {
            self.watch_stream((slot, StreamKey(at)), &mut stream)?;
            Ok(stream)
        });
        match dialled {
            Ok(stream) => streams[at] = Some(stream),
            Err(error) => debug!(%error, "no connection to a relay"),
        }
    }

    fn add_relay(&mut self, slot: Slot, dial: &Dial, (below, local): (Below, SocketAddr), io: &mut WorkerIo) {
        let options = dial.options();
        let kind = (&*dial.path, options.as_str(), dial.way());
        self.legs
            .add_relay(self.now_ns(), slot, kind, (below, local, dial.address), io);
    }

    /// Takes some orders: whether more wait, `None` if there will be no more.
    fn take_commands(&mut self, io: &mut WorkerIo) -> Option<bool> {
        for _ in 0..COMMANDS_PER_TURN {
            match self.mailbox.try_recv() {
                Ok(Order::Call(MediaCommand::Open {
                    leg,
                    transport,
                    sink,
                    role,
                    bind,
                    options,
                    relay_only,
                    ..
                })) => {
                    let opening = Opening {
                        transport: &transport,
                        sink,
                        role,
                        options: &options,
                        relay_only,
                    };
                    self.open(leg, &bind, opening, io);
                }
                Ok(Order::Call(MediaCommand::Rebind { leg, bind })) => self.rebind(leg, &bind, io),
                Ok(Order::Call(MediaCommand::Close { leg })) => self.close(leg, io),
                Ok(Order::Dial(leg, dial)) => self.dial(leg, dial, io),
                Ok(Order::Release(leg, to)) => self.release(leg, &to, io),
                Ok(Order::Adopt(moving)) => self.adopt(*moving, io),
                Ok(Order::Call(command)) => {
                    let now_ns = self.now_ns();
                    self.legs.command(now_ns, command, io);
                }
                Err(TryRecvError::Empty) => return Some(false),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
        Some(true)
    }

    fn open(&mut self, leg: LegKey, bind: &Bind, opening: Opening<'_>, io: &mut WorkerIo) {
        let slot = self.legs.next_slot();
        let bound = self.ports.bind(bind).and_then(|sockets| {
            let mut watched = Vec::new();
            let mut described = Vec::new();
            for (at, mut socket) in sockets.into_iter().enumerate() {
                let key = SocketKey(at);
                self.watch((slot, key), &mut socket)?;
                described.push(describe(key, &socket, bind)?);
                watched.push(Some(socket));
            }
            Ok((watched, described))
        });
        let (sockets, described) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                warn!(%error, "no sockets for a media leg");
                io.event(MediaEvent::Failed {
                    leg,
                    fault: MediaFault::Ports,
                });
                return;
            }
        };
        self.counts.sockets.fetch_add(sockets.len(), Ordering::Relaxed);
        *of_leg(&mut io.sockets, slot) = sockets;
        if !self.legs.open(self.now_ns(), leg, opening, &described, io) {
            self.free(slot, io);
        }
        self.counts.legs.store(self.legs.len(), Ordering::Relaxed);
    }

    /// Gives a leg the sockets of new addresses and takes those of gone ones.
    fn rebind(&mut self, leg: LegKey, bind: &Bind, io: &mut WorkerIo) {
        let Some(slot) = self.legs.slot(leg) else { return };
        let bound = io.bound(slot);
        let is_gone = |local: &SocketAddr| !bind.addresses.contains(&local.ip());
        let mut added = Vec::new();
        for address in &bind.addresses {
            if bound.iter().any(|(_, local)| local.ip() == *address) {
                continue;
            }
            let Some(at) = vacant(&mut io.sockets[slot.0], MAX_SOCKETS) else {
                debug!("a leg has sockets enough");
                break;
            };
            let made = self.ports.bind_one(*address).and_then(|mut socket| {
                self.watch((slot, SocketKey(at)), &mut socket)?;
                let described = describe(SocketKey(at), &socket, bind)?;
                Ok((socket, described))
            });
            match made {
                Ok((socket, described)) => {
                    io.sockets[slot.0][at] = Some(socket);
                    added.push(described);
                }
                Err(error) => debug!(%address, %error, "no media socket"),
            }
        }
        self.counts.sockets.fetch_add(added.len(), Ordering::Relaxed);
        let gone = bound.iter().filter(|(_, local)| is_gone(local)).map(|(key, _)| *key);
        let gone: Vec<SocketKey> = gone.collect();
        self.legs.rebind(self.now_ns(), slot, (&added, &gone), io);
        for key in gone {
            if let Some(socket) = io.sockets[slot.0][key.0].take() {
                self.free_socket(socket);
            }
        }
        for (key, local) in io.dialled(slot) {
            if is_gone(&local) && !local.ip().is_unspecified() {
                let error = io::ErrorKind::AddrNotAvailable.into();
                self.lose_stream((slot, key), &error, io);
            }
        }
    }

    fn close(&mut self, leg: LegKey, io: &mut WorkerIo) {
        if let Some(slot) = self.legs.slot(leg) {
            self.legs.close(self.now_ns(), slot, io);
            self.free(slot, io);
        }
        self.counts.legs.store(self.legs.len(), Ordering::Relaxed);
        // Also for a leg that never came to be: the call waits for the word.
        io.event(MediaEvent::Closed { leg });
    }

    fn free(&self, slot: Slot, io: &mut WorkerIo) {
        let streams = io.streams.get_mut(slot.0).map(std::mem::take).unwrap_or_default();
        streams.into_iter().flatten().for_each(|mut stream| stream.close());
        let sockets = io.sockets.get_mut(slot.0).map(std::mem::take).unwrap_or_default();
        sockets
            .into_iter()
            .flatten()
            .for_each(|socket| self.free_socket(socket));
    }

    fn free_socket(&self, mut socket: UdpSocket) {
        self.counts.sockets.fetch_sub(1, Ordering::Relaxed);
        self.ports.free([&socket]);
        // Closing it ends the watch as well.
        let _ = self.poll.registry().deregister(&mut socket);
    }

    /// Has a socket of a leg read when there is something.
    pub(super) fn watch(&self, (slot, key): (Slot, SocketKey), socket: &mut UdpSocket) -> io::Result<()> {
        let token = Token(slot.0 * PER_LEG + key.0);
        self.poll.registry().register(socket, token, Interest::READABLE)
    }

    /// Has a connection of a leg read, and made and written to, when that can be.
    pub(super) fn watch_stream(&self, (slot, key): (Slot, StreamKey), stream: &mut Stream) -> io::Result<()> {
        let token = Token(slot.0 * PER_LEG + MAX_SOCKETS + key.0);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream.source(), token, interest)
    }
}

/// What the leg in this slot has, as yet nothing in a slot that is new.
pub(super) fn of_leg<T>(all: &mut Vec<Vec<T>>, slot: Slot) -> &mut Vec<T> {
    if all.len() <= slot.0 {
        all.resize_with(slot.0 + 1, Vec::new);
    }
    &mut all[slot.0]
}

/// The first place that nothing has, if there are fewer than this.
fn vacant<T>(places: &mut Vec<Option<T>>, most: usize) -> Option<usize> {
    if let Some(at) = places.iter().position(Option::is_none) {
        return Some(at);
    }
    if places.len() == most {
        return None;
    }
    places.push(None);
    Some(places.len() - 1)
}

/// The address of ours from which datagrams to this one would leave; nothing is sent.
fn route_to(server: SocketAddr) -> Option<std::net::IpAddr> {
    let any: std::net::IpAddr = if server.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let probe = std::net::UdpSocket::bind((any, 0)).ok()?;
    probe.connect(server).ok()?;
    Some(probe.local_addr().ok()?.ip())
}
