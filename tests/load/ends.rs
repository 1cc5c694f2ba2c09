//! The ends of all calls on one thread: they send payloads that were made once, and check what comes back.
//!
//! They use the transport plugins (ICE, DTLS, SRTP) and take the same commands as the gateway's media, so that the same ends
//! serve every subject. Only the legs of a probe decode what they hear.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender as Queue, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use quartet::media::{MediaCommand, MediaEvent, MediaFault};
use quartet::plugins::{
    About, CodecSettings, Decoder, Outcome, Output, Packet, PacketKind, Registry, Transport, TransportEvent,
};
use quartet_proto::rtp::packet::{HEADER, Packet as Rtp};
use quartet_proto::rtp::sender::Sender;

use crate::speech::{BURST_AT, Speech};

/// Each leg sends at its own phase of a frame, as telephones do that know nothing of each other.
const FRAME_NS: u64 = 20_000_000;
/// Timers and orders are looked at so often.
const TICK_NS: u64 = 1_000_000;
/// A packet that leaves so much after its time is late.
const LATE_NS: u64 = 2_000_000;
/// Sound this loud is the burst; this long after the last one it is the next.
const LOUD: u16 = 4_000;
const QUIET_NS: u64 = 300_000_000;

/// Where a leg's events go.
pub(crate) type Tell = Box<dyn FnMut(MediaEvent) + Send>;

/// Which leg.
pub(crate) type Id = usize;

/// The legs of the second call, which keep what they hear: of a call like all others.
pub(crate) const LISTENERS: [Id; 2] = [2, 3];

/// How a leg sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Bursts of sound, of which it is noticed when they are heard.
    Probe,
    /// Speech without a pause.
    Talk,
    /// A packet in ten seconds, as one on hold.
    Listen,
}

enum Order {
    Leg(Id, Manner, Tell),
    Media(Id, MediaCommand),
    Reset,
    Stats(Queue<Stats>),
    Quit,
}

/// What the legs have seen since the last reset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    /// Legs that received nothing, though somebody talks to them.
    pub(crate) silent: u64,
    /// Packets that left over 2 ms after their time.
    pub(crate) late_turns: u64,
    /// What those heard that listen, and with which of its packets the other end began.
    pub(crate) heard: BTreeMap<Id, (usize, Vec<i16>)>,
    /// From a burst's packet to the packet with it, in ms, at the end that decodes PCMU and at the one that decodes Opus.
    pub(crate) delay_pcmu_ms: Vec<f64>,
    pub(crate) delay_opus_ms: Vec<f64>,
}

impl Manner {
    /// From one packet to the next.
    fn frames(self) -> u64 {
        match self {
            Self::Probe | Self::Talk => 1,
            Self::Listen => 500,
        }
    }
}

/// All ends; they are gone when this is dropped.
pub(crate) struct Ends {
    orders: Queue<Order>,
    thread: Option<JoinHandle<()>>,
    legs: Id,
}

/// The way to one leg.
#[derive(Clone)]
pub(crate) struct Way(Id, Queue<Order>);

impl Way {
    pub(crate) fn command(&self, command: MediaCommand) {
        self.1.send(Order::Media(self.0, command)).ok();
    }
}

impl Ends {
    pub(crate) fn start(registry: Arc<Registry>, speech: Arc<Speech>) -> anyhow::Result<Self> {
        let (orders, queue) = channel();
        let poll = Poll::new()?;
        let world = World {
            registry,
            speech,
            poll,
            origin: Instant::now(),
            legs: BTreeMap::new(),
            due: BinaryHeap::new(),
            late: 0,
            delays: Default::default(),
        };
        let thread = std::thread::Builder::new()
            .name("ends".into())
            .spawn(move || world.run(&queue))?;
        Ok(Self {
            orders,
            thread: Some(thread),
            legs: 0,
        })
    }

    /// A new leg. Two that follow each other (an even one, an odd one) are the ends of a call.
    pub(crate) fn leg(&mut self, manner: Manner, tell: Tell) -> Way {
        let id = self.legs;
        self.legs += 1;
        self.orders.send(Order::Leg(id, manner, tell)).ok();
        Way(id, self.orders.clone())
    }

    /// Counts from now on.
    pub(crate) fn reset(&self) {
        self.orders.send(Order::Reset).ok();
    }

    pub(crate) fn stats(&self) -> Stats {
        let (sender, answer) = channel();
        self.orders.send(Order::Stats(sender)).ok();
        answer.recv().unwrap_or_default()
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.orders.send(Order::Quit).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct World {
    registry: Arc<Registry>,
    speech: Arc<Speech>,
    poll: Poll,
    origin: Instant,
    legs: BTreeMap<Id, Leg>,
    /// When each leg sends next.
    due: BinaryHeap<Reverse<(u64, Id)>>,
    late: u64,
    /// At the end that decodes PCMU, and at the one that decodes Opus.
    delays: [Vec<f64>; 2],
}

struct Leg {
    tell: Tell,
    manner: Manner,
    session: Option<Session>,
    /// When the packet with the beginning of our last burst left.
    burst_ns: u64,
    sent: u64,
    received: u64,
    numbers: Option<(u16, u64)>,
    /// At a leg that listens.
    heard: Vec<i16>,
    /// Its packet that was the first since the last reset.
    began: usize,
}

struct Session {
    key: quartet::media::LegKey,
    transport: Transport,
    sockets: Vec<UdpSocket>,
    packet: Packet,
    up: bool,
    deadline_ns: Option<u64>,
    stream: Option<Stream>,
    /// The stream that comes, told to the transport; not every subject announces it.
    source: Option<u32>,
}

struct Stream {
    sender: Sender,
    payload_type: u8,
    receive_pt: u8,
    opus: bool,
    ticks: u32,
    frame: usize,
    ear: Option<Decoder>,
    loud_ns: u64,
}

impl World {
    fn run(mut self, queue: &Receiver<Order>) {
        let mut events = Events::with_capacity(256);
        let mut turn_ns = self.now_ns();
        loop {
            let next_ns = self
                .due
                .peek()
                .map_or(turn_ns, |Reverse((at_ns, _))| turn_ns.min(*at_ns));
            // The poller knows whole milliseconds alone.
            std::thread::sleep(Duration::from_nanos(next_ns.saturating_sub(self.now_ns())));
            if self
                .poll
                .poll(&mut events, Some(Duration::ZERO))
                .is_err_and(|error| error.kind() != ErrorKind::Interrupted)
            {
                return;
            }
            for event in &events {
                self.read(event.token().0 / 4, event.token().0 % 4);
            }
            let now_ns = self.now_ns();
            while let Some(Reverse((at_ns, id))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now_ns) {
                self.due.pop();
                let manner = self.legs.get(&id).map_or(Manner::Listen, |leg| leg.manner);
                self.due.push(Reverse((at_ns + FRAME_NS * manner.frames(), id)));
                if let Some(leg) = self.legs.get_mut(&id)
                    && leg.speak(now_ns, &self.speech)
                {
                    self.late += u64::from(now_ns > at_ns + LATE_NS);
                }
            }
            if now_ns < turn_ns {
                continue;
            }
            loop {
                match queue.try_recv() {
                    Ok(Order::Quit) | Err(TryRecvError::Disconnected) => return,
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let now_ns = self.now_ns();
            for leg in self.legs.values_mut() {
                if leg
                    .session
                    .as_ref()
                    .and_then(|session| session.deadline_ns)
                    .is_some_and(|at| at <= now_ns)
                {
                    if let Some(session) = &mut leg.session {
                        session.transport.timeout(now_ns).ok();
                    }
                    leg.drain(now_ns);
                }
            }
            turn_ns = now_ns + TICK_NS;
        }
    }

    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn obey(&mut self, order: Order) {
        let now_ns = self.now_ns();
        match order {
            Order::Leg(id, manner, tell) => {
                let leg = Leg {
                    tell,
                    manner,
                    session: None,
                    burst_ns: 0,
                    sent: 0,
                    received: 0,
                    numbers: None,
                    heard: Vec::new(),
                    began: 0,
                };
                self.legs.insert(id, leg);
                // Multiples of the golden ratio are spread evenly however many there are.
                let phase_ns = (id as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) % FRAME_NS;
                self.due.push(Reverse((now_ns + phase_ns, id)));
            }
            Order::Media(id, command) => {
                let Some(leg) = self.legs.get_mut(&id) else { return };
                if leg.obey(now_ns, id, command, &self.registry, &self.poll).is_none() {
                    eprintln!("leg {id}: an order cannot be done");
                }
                leg.drain(now_ns);
            }
            Order::Reset => {
                self.late = 0;
                self.delays = Default::default();
                for leg in self.legs.values_mut() {
                    (leg.sent, leg.received, leg.numbers) = (0, 0, None);
                    leg.heard.clear();
                    let stream = leg.session.as_ref().and_then(|session| session.stream.as_ref());
                    leg.began = stream.map_or(0, |stream| stream.frame);
                }
            }
            Order::Stats(answer) => {
                let mut stats = Stats {
                    late_turns: self.late,
                    ..Stats::default()
                };
                for (id, leg) in &self.legs {
                    if !leg.heard.is_empty() {
                        let began = self.legs.get(&(id ^ 1)).map_or(0, |other| other.began);
                        stats.heard.insert(*id, (began, leg.heard.clone()));
                    }
                    stats.sent += leg.sent;
                    stats.received += leg.received;
                    stats.lost += leg
                        .numbers
                        .map_or(0, |(_, expected)| expected.saturating_sub(leg.received));
                    let is_talked_to = self
                        .legs
                        .get(&(id ^ 1))
                        .is_some_and(|peer| peer.manner != Manner::Listen);
                    stats.silent += u64::from(is_talked_to && leg.received == 0);
                }
                [stats.delay_pcmu_ms, stats.delay_opus_ms] = self.delays.clone();
                answer.send(stats).ok();
            }
            Order::Quit => {}
        }
    }

    fn read(&mut self, id: Id, place: usize) {
        loop {
            let now_ns = self.now_ns();
            let Some(leg) = self.legs.get_mut(&id) else { return };
            let Some(session) = &mut leg.session else { return };
            let Some(socket) = session.sockets.get(place) else {
                return;
            };
            match socket.recv_from(session.packet.buffer_mut()) {
                Ok((length, from)) => {
                    session.packet.set_len(length);
                    session.packet.path = place as u32 + 1;
                    session.packet.src = from;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => continue,
            }
            session.announce(now_ns);
            let heard = match session.transport.receive(now_ns, &mut session.packet) {
                Ok(Outcome::Rtp) => leg.hear(now_ns),
                Ok(Outcome::Transmit) => {
                    session.transmit();
                    None
                }
                Ok(Outcome::Kept | Outcome::Rtcp | Outcome::Data | Outcome::Datagram) | Err(_) => None,
            };
            leg.drain(now_ns);
            if let Some(opus) = heard
                && let Some(sent_ns) = self
                    .legs
                    .get(&(id ^ 1))
                    .map(|peer| peer.burst_ns)
                    .filter(|sent| *sent > 0)
            {
                self.delays[usize::from(opus)].push((now_ns - sent_ns) as f64 / 1e6);
            }
        }
    }
}

impl Leg {
    fn obey(&mut self, now_ns: u64, id: Id, command: MediaCommand, registry: &Registry, poll: &Poll) -> Option<()> {
        match command {
            MediaCommand::Open {
                leg,
                transport,
                role,
                bind,
                options,
                ..
            } => {
                let table = registry.transport(&transport)?.clone();
                let mut transport = table.create(role, now_ns, &options).ok()?;
                let (mut sockets, mut paths) = (Vec::new(), String::new());
                for component in 1..=bind.components {
                    let address = *bind.addresses.first()?;
                    let mut socket = UdpSocket::bind((address, 0).into()).ok()?;
                    let port = socket.local_addr().ok()?.port();
                    poll.registry()
                        .register(&mut socket, Token(id * 4 + sockets.len()), Interest::READABLE)
                        .ok()?;
                    sockets.push(socket);
                    paths += &format!("path:{component} component {component} host {address} {port} mtu 1200\n");
                }
                transport.tell(now_ns, About::Paths, &paths).ok()?;
                let lines = transport.local(now_ns).ok()?;
                let headroom = table.headroom() + 16;
                let packet = Packet::new(2_048 + headroom + table.tailroom(), headroom);
                self.session = Some(Session {
                    key: leg,
                    transport,
                    sockets,
                    packet,
                    up: false,
                    deadline_ns: None,
                    stream: None,
                    source: None,
                });
                (self.tell)(MediaEvent::Local { leg, lines });
            }
            MediaCommand::Remote { lines, .. } => {
                self.session
                    .as_mut()?
                    .transport
                    .tell(now_ns, About::Remote, &lines)
                    .ok()?;
            }
            MediaCommand::Codec { codec, .. } => {
                let table = registry.codec(&codec.name)?;
                let settings = CodecSettings {
                    sample_rate: 8_000,
                    channels: 1,
                    frame_us: 20_000,
                    local_fmtp: &codec.local_fmtp,
                    remote_fmtp: &codec.send_fmtp,
                };
                self.session.as_mut()?.stream = Some(Stream {
                    sender: Sender::new(codec.ssrc, &mut rand_chacha_of(id)),
                    payload_type: codec.send_pt,
                    receive_pt: codec.receive_pt,
                    opus: codec.name.eq_ignore_ascii_case("opus"),
                    ticks: table.clock() / 50,
                    // Not all in the same word.
                    frame: if self.manner == Manner::Probe { 0 } else { id * 37 },
                    ear: if self.manner == Manner::Probe || LISTENERS.contains(&id) {
                        Some(table.decoder(&settings).ok()?)
                    } else {
                        None
                    },
                    loud_ns: 0,
                });
            }
            MediaCommand::Close { leg } => {
                self.session = None;
                (self.tell)(MediaEvent::Closed { leg });
            }
            MediaCommand::Relay { .. }
            | MediaCommand::Rebind { .. }
            | MediaCommand::Restart { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::Bridge { .. }
            | MediaCommand::Unbridge { .. }
            | MediaCommand::Hold { .. }
            | MediaCommand::SendDtmf { .. }
            | MediaCommand::State { .. } => {}
        }
        Some(())
    }

    /// Counts what came; at a probe, whether a burst begins in it, and in which codec it was heard.
    fn hear(&mut self, now_ns: u64) -> Option<bool> {
        let session = self.session.as_mut()?;
        let view = Rtp::parse(session.packet.bytes()).ok()?;
        let stream = session.stream.as_mut()?;
        if view.payload_type != stream.receive_pt {
            return None;
        }
        self.received += 1;
        let sequence = view.sequence;
        let (last, expected) = self.numbers.unwrap_or((sequence.wrapping_sub(1), 0));
        let step = sequence.wrapping_sub(last);
        if step < 0x8000 {
            self.numbers = Some((sequence, expected + u64::from(step)));
        }
        let ear = stream.ear.as_mut()?;
        let mut pcm = [0; 960];
        let count = ear.decode(view.payload, &mut pcm).ok()?;
        if self.manner != Manner::Probe {
            self.heard.extend_from_slice(&pcm[..count.min(960)]);
            return None;
        }
        if !pcm[..count.min(960)].iter().any(|sample| sample.unsigned_abs() > LOUD) {
            return None;
        }
        let first = now_ns > stream.loud_ns + QUIET_NS;
        stream.loud_ns = now_ns;
        first.then_some(stream.opus)
    }

    /// Sends a packet; whether there is anybody to send it to.
    fn speak(&mut self, now_ns: u64, speech: &Speech) -> bool {
        let Some(session) = self.session.as_mut().filter(|session| session.up) else {
            return false;
        };
        let Some(stream) = &mut session.stream else {
            return false;
        };
        let payloads = if stream.opus { &speech.opus } else { &speech.pcmu };
        let round = if self.manner == Manner::Probe {
            &payloads.probe
        } else {
            &payloads.speech
        };
        let place = stream.frame % round.len();
        let payload = &round[place];
        stream.frame += 1;
        let mut bytes = [0; 1_500];
        let bytes = &mut bytes[..HEADER + payload.len()];
        bytes[HEADER..].copy_from_slice(payload);
        let made = stream
            .sender
            .next(
                stream.ticks * self.manner.frames() as u32,
                stream.payload_type,
                false,
                bytes,
            )
            .is_ok();
        if !made || !session.packet.fill(bytes) {
            return false;
        }
        session.packet.kind = Some(PacketKind::Rtp);
        if let Ok(Outcome::Transmit) = session.transport.send(now_ns, &mut session.packet) {
            if self.manner == Manner::Probe && place == BURST_AT {
                self.burst_ns = now_ns;
            }
            session.transmit();
            self.sent += 1;
        }
        true
    }

    /// Takes everything that the transport has made by itself.
    fn drain(&mut self, now_ns: u64) {
        let Self {
            tell,
            session: Some(session),
            ..
        } = self
        else {
            return;
        };
        let leg = session.key;
        loop {
            match session.transport.poll() {
                Output::Transmit { path, dst, data } => send(&session.sockets, path, dst, data),
                Output::Event {
                    event: TransportEvent::Connected,
                } => {
                    session.up = true;
                    tell(MediaEvent::Connected { leg });
                }
                Output::Event {
                    event: TransportEvent::Failed(word),
                } => {
                    let fault = MediaFault::from_word(&word);
                    tell(MediaEvent::Failed { leg, fault });
                }
                Output::Event {
                    event: TransportEvent::Local,
                } => {
                    if let Ok(lines) = session.transport.local(now_ns) {
                        tell(MediaEvent::Local { leg, lines });
                    }
                }
                Output::Data { .. } | Output::Datagram { .. } | Output::Rtp(_) | Output::Rtcp(_) => {}
                Output::Event {
                    event: TransportEvent::Address(_) | TransportEvent::Stats(_),
                } => {}
                Output::None { deadline_ns } => {
                    session.deadline_ns = deadline_ns;
                    return;
                }
            }
        }
    }
}

impl Session {
    /// Lets the transport take the stream that the packet is of: its header is in clear, RFC 3711 §3.1.
    fn announce(&mut self, now_ns: u64) {
        let bytes = self.packet.bytes();
        let media = bytes.len() > HEADER && bytes[0] >> 6 == 2 && !(64..96).contains(&(bytes[1] & 0x7F));
        let source = bytes
            .get(8..12)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_be_bytes);
        if let Some(ssrc) = source.filter(|_| media && source != self.source) {
            self.source = source;
            self.transport
                .tell(now_ns, About::Remote, &format!("ssrc:{ssrc} cname:load\n"))
                .ok();
        }
    }

    fn transmit(&self) {
        send(&self.sockets, self.packet.path, self.packet.dst, self.packet.bytes());
    }
}

fn send(sockets: &[UdpSocket], path: u32, to: SocketAddr, bytes: &[u8]) {
    if let Some(socket) = (path as usize).checked_sub(1).and_then(|place| sockets.get(place)) {
        // What the system does not take counts as lost at the other end.
        socket.send_to(bytes, to).ok();
    }
}

/// Start values of a stream; they need not be secret here.
fn rand_chacha_of(id: Id) -> rand_chacha::ChaCha8Rng {
    rand_core::SeedableRng::seed_from_u64(id as u64)
}
