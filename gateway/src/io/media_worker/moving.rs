//! A leg goes from one worker to another, with its sockets and connections: two that are bridged are in one.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{SendError, SyncSender};

use mio::net::UdpSocket;
use tracing::warn;

use super::streams::Stream;
use super::worker::{Worker, WorkerIo, of_leg};
use crate::media::{LegKey, MediaLeg, SocketKey, StreamKey};

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
        for (at, socket) in sockets.iter_mut().enumerate() {
            let Some(socket) = socket else { continue };
            self.counts.sockets.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.watch((slot, SocketKey(at)), socket) {
                warn!(%error, "a media socket is not heard any more");
            }
        }
        for (at, stream) in streams.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            if let Err(error) = self.watch_stream((slot, StreamKey(at)), stream) {
                warn!(%error, "a connection to a relay is not heard any more");
            }
        }
        *of_leg(&mut io.sockets, slot) = sockets;
        *of_leg(&mut io.streams, slot) = streams;
        self.legs.adopt(self.now_ns(), leg);
        self.counts.legs.store(self.legs.len(), Ordering::Relaxed);
    }
}
