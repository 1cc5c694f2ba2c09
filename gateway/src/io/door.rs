//! The way in for connections of strangers: so many places in all, fewer for those who have not said who they are, and a deadline for that.
//!
//! Several listeners may share one door. What is behind it is [`super::websocket`]'s and [`super::sip`]'s.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::hasten::hasten;
use super::pending::{Admission, Pending, PlacedStream};
use super::{AcceptErrors, Complaint};

/// How many may come in, and how fast they may speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct DoorBounds {
    /// Connections open.
    pub(super) connections: usize,
    /// Connections open that are not admitted yet.
    pub(super) pending: usize,
    /// The same, of one source address (of one /64 for IPv6).
    pub(super) pending_per_source: usize,
    /// How long a connection may take, from accept on, until it is admitted.
    pub(super) hello: Duration,
    /// Bytes that are read of an admitted connection in a second, sixteen seconds' worth at once; who sends more is dropped.
    pub(super) max_read_per_second: u32,
    /// How many of the connections are kept for those that we open ourselves.
    pub(super) own: usize,
    /// What says how many there are.
    pub(super) option: &'static str,
}

/// Lets connections in, no more than there are places.
pub(super) struct Door {
    places: Arc<Semaphore>,
    own: Arc<Semaphore>,
    /// That there is no place.
    full: Mutex<Complaint>,
    pending: Arc<Pending>,
    bounds: DoorBounds,
}

fn places(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))
}

impl Door {
    pub(super) fn new(bounds: DoorBounds) -> Self {
        Self {
            places: places(bounds.connections.saturating_sub(bounds.own).max(1)),
            own: places(bounds.own),
            full: Mutex::default(),
            pending: Arc::new(Pending::new(
                bounds.pending,
                bounds.pending_per_source,
                bounds.max_read_per_second,
            )),
            bounds,
        }
    }

    /// The next connection; `None`: never, for the semaphore is never closed.
    pub(super) async fn accept(
        &self,
        listener: &TcpListener,
        errors: &mut AcceptErrors,
    ) -> Option<(PlacedStream, SocketAddr, Arc<Admission>)> {
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    errors.wait_out(&error).await;
                    continue;
                }
            };
            self.pending.make_room_for(address.ip());
            let place = self.place().await?;
            let admission = self.pending.enter(address.ip(), Instant::now() + self.bounds.hello);
            hasten(&stream);
            let stream = PlacedStream::new(stream, Arc::clone(&admission), place);
            return Some((stream, address, admission));
        }
    }

    fn say_full(&self) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if full.is_due(Instant::now().into_std()) {
            let option = self.bounds.option;
            tracing::warn!(
                "all places for connections are taken, and nobody else gets in; raise {option} if that is not an attack"
            );
        }
    }

    /// Takes in one that we have opened ourselves: it takes a place, and is admitted. `None` if there is no place.
    pub(super) fn opened(&self, stream: TcpStream, address: SocketAddr) -> Option<(PlacedStream, Arc<Admission>)> {
        let place = [&self.own, &self.places]
            .into_iter()
            .find_map(|places| Arc::clone(places).try_acquire_owned().ok())?;
        let admission = self.pending.enter(address.ip(), Instant::now() + self.bounds.hello);
        admission.admit();
        hasten(&stream);
        Some((PlacedStream::new(stream, Arc::clone(&admission), place), admission))
    }

    /// A place for one more connection. If there is none, one that is not admitted makes room; if all are, somebody must leave first.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let is_full = self.places.available_permits() == 0;
        if is_full && self.pending.is_empty() {
            self.say_full();
        }
        if is_full || self.pending.is_full() {
            self.pending.evict();
        }
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}
