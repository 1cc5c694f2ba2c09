//! From the listener to HTTP: takes connections in, and drives each until it is a WebSocket, closed, or overdue.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::WebSocketSettings;
use super::pending::{Admission, Pending, PlacedStream};
use crate::io::AcceptErrors;

/// The most that a request's head may have, the least that hyper takes. Its buffer may grow to twice that before it is
/// refused; hyper's own bound is 400 KiB, held by everybody who sends headers without an end.
const MAX_REQUEST_HEAD: usize = 8 * 1024;

/// What a request handler knows of its connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The TCP peer.
    pub(super) address: SocketAddr,
    /// Where the connection stands.
    pub(super) admission: Arc<Admission>,
}

/// Takes connections in, no more than there are places.
pub(super) struct Acceptor {
    listener: TcpListener,
    places: Arc<Semaphore>,
    pending: Arc<Pending>,
    settings: Arc<WebSocketSettings>,
    errors: AcceptErrors,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, settings: Arc<WebSocketSettings>) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(settings.connections.min(Semaphore::MAX_PERMITS))),
            pending: Arc::new(Pending::new(settings.pending, settings.pending_per_source)),
            settings,
            errors: AcceptErrors::new("the hub"),
        }
    }

    /// Serves every connection, for ever.
    pub(super) async fn serve(mut self, router: Router) {
        loop {
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.errors.wait_out(&error).await;
                    continue;
                }
            };
            self.pending.make_room_for(address.ip());
            let Some(place) = self.place().await else { return };
            let deadline = Instant::now() + self.settings.hello;
            let admission = self.pending.enter(address.ip(), deadline);
            super::hasten::hasten(&stream);
            tokio::spawn(drive(stream, Peer { address, admission }, place, router.clone()));
        }
    }

    /// A place for one more connection. If there is none, one without a hello makes room; if all have said hello,
    /// somebody must leave first. `None`: never, the semaphore is never closed.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if self.pending.is_full() || self.places.available_permits() == 0 {
            self.pending.evict();
        }
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}

/// Speaks HTTP on one connection until its deadline. An upgraded one goes on in [`super::upgrade`].
async fn drive(stream: TcpStream, peer: Peer, place: OwnedSemaphorePermit, router: Router) {
    let admission = Arc::clone(&peer.admission);
    let stream = PlacedStream::new(stream, Arc::clone(&admission), place);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_REQUEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        done = connection => {
            if let Err(error) = done {
                tracing::debug!(%error, "HTTP connection");
            }
        }
        why = admission.ended() => tracing::debug!(why, "HTTP connection dropped"),
    }
}
