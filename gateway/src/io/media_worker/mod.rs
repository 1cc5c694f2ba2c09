//! The threads and sockets under [`crate::media`]: N workers, each with its poller, timers, sockets and legs.
//!
//! A leg opened beside another shares its worker, and one that is bridged with a leg of another worker moves there, so that a
//! bridge never crosses threads.

mod moving;
mod sockets;
mod streams;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    collections::BTreeMap,
    io,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mio::{Poll, Waker};
use rand::{SeedableRng, rngs::SysRng};
use rand_chacha::ChaCha20Rng;

use self::moving::Moving;
use self::sockets::Ports;
pub use self::streams::Dial;
use crate::{
    media::{LegKey, Legs, MediaCommand, MediaEvent},
    plugins::{Registry, watch},
};

/// Orders that wait for a worker at most; whoever gives one more waits.
const MAILBOX: usize = 1_024;

/// How long the end waits for a worker: it needs a few milliseconds, unless a plugin does not return to it.
const GRACE: Duration = Duration::from_secs(2);

/// How a worker tells the call something. It must not block, and is called on the worker's thread.
type Notify = Arc<dyn Fn(MediaEvent) + Send + Sync>;

/// What the workers count, for `quartet status`.
#[derive(Debug, Default)]
struct Counts {
    sockets: AtomicUsize,
    legs: AtomicUsize,
    /// Where the plugins' watchdog looks for its thread.
    slot: OnceLock<Arc<watch::Slot>>,
}

impl Counts {
    /// Whether a plugin does not return to it.
    fn hangs(&self) -> bool {
        self.slot.get().is_some_and(|slot| slot.hangs())
    }
}

/// How long a worker has to give up a leg: it needs less than a millisecond, unless a plugin does not return to it.
const RELEASE: Duration = Duration::from_millis(200);

/// What a worker is told.
enum Order {
    /// By the call.
    Call(MediaCommand),
    /// A server that the call has named, looked up.
    Dial(LegKey, Dial),
    /// A leg goes elsewhere, to whoever takes it out of here.
    Release(LegKey, SyncSender<Box<Moving>>),
    /// A leg comes from another worker.
    Adopt(Box<Moving>),
}

/// One thread, as its handle sees it.
struct Worker {
    mailbox: Option<SyncSender<Order>>,
    waker: Arc<Waker>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// The handle on all media of the process. Dropping it ends the workers and frees every socket.
pub struct Media {
    workers: Vec<Worker>,
    /// Which worker has which leg, from `Open` to `Close`. Locked per command, never per packet.
    places: Mutex<BTreeMap<LegKey, usize>>,
    ports: Arc<Ports>,
}

impl Media {
    /// Starts the workers; 0 of them: as many as there are cores.
    ///
    /// `ports` are the ones that media may bind, `None` for those of the system's choice. `events` is called on the
    /// workers' threads and must not block.
    ///
    /// # Errors
    /// The system's, if it has no threads or pollers left.
    pub fn start(
        workers: usize,
        registry: Arc<Registry>,
        ports: Option<RangeInclusive<u16>>,
        events: impl Fn(MediaEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let count = if workers == 0 {
            thread::available_parallelism().map_or(1, usize::from)
        } else {
            workers
        };
        let chance = || ChaCha20Rng::try_from_rng(&mut SysRng).map_err(io::Error::other);
        let ports = Arc::new(Ports::new(ports, Box::new(chance()?)));
        let (notify, origin) = (Arc::new(events) as Notify, Instant::now());
        let mut media = Self {
            workers: Vec::new(),
            places: Mutex::default(),
            ports: Arc::clone(&ports),
        };
        for index in 0..count {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), worker::MAILBOX)?);
            let (mailbox, orders) = sync_channel(MAILBOX);
            let counts = Arc::new(Counts::default());
            let worker = worker::Worker {
                poll,
                mailbox: orders,
                ports: Arc::clone(&ports),
                counts: Arc::clone(&counts),
                notify: Arc::clone(&notify),
                legs: Legs::new(Arc::clone(&registry), Box::new(chance()?)),
                origin,
            };
            let thread = thread::Builder::new()
                .name(format!("media-{index}"))
                .spawn(move || worker.run())?;
            media.workers.push(Worker {
                mailbox: Some(mailbox),
                waker,
                counts,
                thread: Some(thread),
            });
        }
        Ok(media)
    }

    /// Takes other ports for legs that open from now on, as in [`start`](Self::start).
    pub fn set_ports(&self, ports: Option<RangeInclusive<u16>>) {
        self.ports.set_range(ports);
    }

    /// Hands an order to the worker that has the leg.
    ///
    /// Waits only while that worker's mailbox is full. An order for an unknown leg is dropped.
    pub fn command(&self, command: MediaCommand) {
        if let MediaCommand::Bridge { a, b } = command {
            self.bring_together(a, b);
        }
        let place = self.place(&command);
        self.order(place, Order::Call(command));
    }

    /// Has two legs in one worker.
    fn bring_together(&self, a: LegKey, b: LegKey) {
        let (from, to) = {
            let places = self.places();
            match (places.get(&b), places.get(&a)) {
                (Some(from), Some(to)) if from != to => (*from, *to),
                _ => return,
            }
        };
        // Whoever gives it waits until it is taken: so it is never in neither.
        let (give, take) = sync_channel(0);
        self.order(Some(from), Order::Release(b, give));
        match take.recv_timeout(RELEASE) {
            Ok(moving) => {
                self.places().insert(b, to);
                self.order(Some(to), Order::Adopt(moving));
            }
            Err(error) => tracing::warn!(%error, "a media leg does not leave its worker"),
        }
    }

    /// Lets a leg use a server.
    pub fn dial(&self, leg: LegKey, dial: Dial) {
        let place = self.places().get(&leg).copied();
        self.order(place, Order::Dial(leg, dial));
    }

    fn order(&self, place: Option<usize>, order: Order) {
        let Some(worker) = place.and_then(|place| self.workers.get(place)) else {
            return;
        };
        if let Some(mailbox) = &worker.mailbox
            && mailbox.send(order).is_ok()
        {
            // A failing waker means a dead poller; its thread has said so.
            let _ = worker.waker.wake();
        }
    }

    /// Sockets bound for media now, in all workers.
    pub fn sockets(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| worker.counts.sockets.load(Ordering::Relaxed))
            .sum()
    }

    /// Media legs now, in all workers.
    pub fn legs(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| worker.counts.legs.load(Ordering::Relaxed))
            .sum()
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<LegKey, usize>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, command: &MediaCommand) -> Option<usize> {
        let mut places = self.places();
        match command {
            MediaCommand::Open {
                leg, same_worker_as, ..
            } => {
                let place = match same_worker_as.and_then(|leg| places.get(&leg)) {
                    Some(place) => *place,
                    None => self.least_loaded(&places)?,
                };
                places.insert(*leg, place);
                Some(place)
            }
            MediaCommand::Close { leg } => places.remove(leg),
            MediaCommand::Remote { .. }
            | MediaCommand::Relay { .. }
            | MediaCommand::Rebind { .. }
            | MediaCommand::Restart { .. }
            | MediaCommand::Codec { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::Bridge { .. }
            | MediaCommand::Unbridge { .. }
            | MediaCommand::Hold { .. }
            | MediaCommand::State { .. }
            | MediaCommand::SendDtmf { .. } => places.get(&command.leg()).copied(),
        }
    }

    fn least_loaded(&self, places: &BTreeMap<LegKey, usize>) -> Option<usize> {
        let mut loads = vec![0_usize; self.workers.len()];
        for place in places.values() {
            if let Some(load) = loads.get_mut(*place) {
                *load += 1;
            }
        }
        // A worker that a plugin does not return to gets nothing new, as long as there is another.
        (0..loads.len()).min_by_key(|place| (self.workers[*place].counts.hangs(), loads[*place]))
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.mailbox = None;
            let _ = worker.waker.wake();
        }
        let end = Instant::now() + GRACE;
        for worker in &mut self.workers {
            let Some(thread) = worker.thread.take() else { continue };
            while !thread.is_finished() && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                let _ = thread.join();
            } else {
                tracing::error!("a media worker does not end; it is left to itself");
            }
        }
    }
}
