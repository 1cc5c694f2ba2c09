//! The ends of all calls on one thread: they send payloads that were made once, and check what comes back.
//!
//! They use the transport plugins (ICE, DTLS, SRTP) and take the same commands as the gateway's media, so that the same ends
//! serve every subject. Only the legs of a probe decode what they hear.

mod leg;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender as Queue, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use quartet::media::{MediaCommand, MediaEvent};
use quartet::plugins::{Outcome, Registry};

use self::leg::Leg;
use crate::speech::Speech;

/// Each leg sends at its own phase of a frame, as telephones do that know nothing of each other.
const FRAME_NS: u64 = 20_000_000;
/// Timers and orders are looked at so often.
const TICK_NS: u64 = 1_000_000;
/// A packet that leaves so much after its time is late.
const LATE_NS: u64 = 2_000_000;
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
                self.legs.insert(id, Leg::new(manner, tell));
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
