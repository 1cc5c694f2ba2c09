//! A leg goes from one worker to another, with its sockets and connections: two that are bridged are in one.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{SendError, SyncSender};

use mio::{Interest, Token, net::UdpSocket};
use tracing::warn;

use super::sockets::MAX_SOCKETS;
use super::streams::Stream;
use super::worker::{PER_LEG, Worker, WorkerIo};
use crate::media::{LegKey, MediaLeg};

/// A leg on its way to another worker, with its sockets and connections.
pub(super) struct Moving {
    leg: MediaLeg,
    sockets: Vec<Option<UdpSocket>>,
    streams: Vec<Option<Stream>>,
}

impl Worker {
    /// Gives a leg to another worker, unless nobody waits for it any more.
    pub(super) fn release(&mut self, key: LegKey, to: &SyncSender<Box<Moving>>, io: &mut WorkerIo) {
        let Some(slot) = self.legs.slot(key) else { return };
        let Some(leg) = self.legs.release(slot) else { return };
        let mut moving = Moving {
            leg,
            sockets: io.sockets.get_mut(slot.0).map(std::mem::take).unwrap_or_default(),
            streams: io.streams.get_mut(slot.0).map(std::mem::take).unwrap_or_default(),
        };
        let registry = self.poll.registry();
        for socket in moving.sockets.iter_mut().flatten() {
            let _ = registry.deregister(socket);
            self.counts.sockets.fetch_sub(1, Ordering::Relaxed);
        }
        for stream in moving.streams.iter_mut().flatten() {
            let _ = registry.deregister(stream.source());
        }
        if let Err(SendError(moving)) = to.send(Box::new(moving)) {
            self.adopt(*moving, io);
        }
        self.counts.legs.store(self.legs.len(), Ordering::Relaxed);
    }

    /// Takes a leg of another worker.
    pub(super) fn adopt(&mut self, moving: Moving, io: &mut WorkerIo) {
        let Moving {
            leg,
            mut sockets,
            mut streams,
        } = moving;
        let slot = self.legs.next_slot();
        let registry = self.poll.registry();
        for (at, place) in sockets.iter_mut().enumerate() {
            if let Some(socket) = place {
                self.counts.sockets.fetch_add(1, Ordering::Relaxed);
                let token = Token(slot.0 * PER_LEG + at);
                if let Err(error) = registry.register(socket, token, Interest::READABLE) {
                    warn!(%error, "a media socket is not heard any more");
                }
            }
        }
        for (at, place) in streams.iter_mut().enumerate() {
            if let Some(stream) = place {
                let token = Token(slot.0 * PER_LEG + MAX_SOCKETS + at);
                let interest = Interest::READABLE | Interest::WRITABLE;
                if let Err(error) = registry.register(stream.source(), token, interest) {
                    warn!(%error, "a connection to a relay is not heard any more");
                }
            }
        }
        io.sockets.resize_with(io.sockets.len().max(slot.0 + 1), Vec::new);
        io.sockets[slot.0] = sockets;
        io.streams.resize_with(io.streams.len().max(slot.0 + 1), Vec::new);
        io.streams[slot.0] = streams;
        self.legs.adopt(self.now_ns(), leg);
        self.counts.legs.store(self.legs.len(), Ordering::Relaxed);
    }
}
