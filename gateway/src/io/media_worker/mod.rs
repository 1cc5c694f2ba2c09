//! The threads and sockets under [`crate::media`]: N workers, each with its poller, timers, sockets and legs.
//!
//! A leg keeps its worker; a leg opened beside another shares its worker, so that a bridge never crosses threads.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::SyncSender,
    },
    thread::JoinHandle,
};

use mio::Waker;

use crate::media::{LegKey, MediaCommand};

/// What the workers count, for `quartet status`.
#[derive(Debug, Default)]
struct Counts {
    sockets: AtomicUsize,
    legs: AtomicUsize,
}

/// One thread, as seen from outside.
struct Worker {
    mailbox: Option<SyncSender<MediaCommand>>,
    waker: Arc<Waker>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// The handle on all media of the process. Dropping it ends the workers and frees every socket.
pub struct Media {
    workers: Vec<Worker>,
    /// Which worker has which leg, from `Open` to `Close`. Locked per command, never per packet.
    places: Mutex<BTreeMap<LegKey, usize>>,
}

impl Media {
    /// Hands an order to the worker that has the leg.
    ///
    /// Waits only while that worker's mailbox is full. An order for an unknown leg is dropped.
    pub fn command(&self, command: MediaCommand) {
        let Some(worker) = self.place(&command).and_then(|place| self.workers.get(place)) else {
            return;
        };
        if let Some(mailbox) = &worker.mailbox
            && mailbox.send(command).is_ok()
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

    fn place(&self, command: &MediaCommand) -> Option<usize> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        match command {
            MediaCommand::Open { leg, beside, .. } => {
                let place = match beside.and_then(|beside| places.get(&beside)) {
                    Some(place) => *place,
                    None => self.least_loaded(&places)?,
                };
                places.insert(*leg, place);
                Some(place)
            }
            MediaCommand::Close { leg } => places.remove(leg),
            MediaCommand::Remote { .. }
            | MediaCommand::Codec { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::Bridge { .. }
            | MediaCommand::Unbridge { .. }
            | MediaCommand::Hold { .. }
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
        (0..loads.len()).min_by_key(|place| loads[*place])
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.mailbox = None;
            let _ = worker.waker.wake();
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }
}
