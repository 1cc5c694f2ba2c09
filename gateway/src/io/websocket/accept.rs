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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::WebSocketSettings;
use crate::io::AcceptErrors;
use crate::io::door::{Door, DoorBounds};
use crate::io::pending::Admission;

/// The most that a request's head may have, the least that hyper takes. Its buffer may grow to twice that before it is
/// refused; hyper's own bound is 400 KiB, held by everybody who sends headers without an end.
const MAX_REQUEST_HEAD: usize = 8 * 1024;
/// What is read of a connection in a second once it is admitted. Twice what the hub takes in frames: here fragments, pings and all that
/// never becomes a frame count as well.
const MAX_READ_PER_SECOND: u32 = 512 * 1024;

/// What a request handler knows of its connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The TCP peer.
    pub(super) address: SocketAddr,
    /// Where the connection stands.
    pub(super) admission: Arc<Admission>,
}

/// Serves every connection, for ever.
pub(super) async fn serve(listener: TcpListener, settings: &WebSocketSettings, router: Router) {
    let door = Door::new(DoorBounds {
        connections: settings.connections,
        pending: settings.pending,
        pending_per_source: settings.pending_per_source,
        hello: settings.hello,
        max_read_per_second: MAX_READ_PER_SECOND,
        own: 0,
        option: "[limits] hub_sessions",
    });
    let mut errors = AcceptErrors::new("the hub");
    while let Some((stream, address, admission)) = door.accept(&listener, &mut errors).await {
        let (identity, router) = (settings.identity.clone(), router.clone());
        tokio::spawn(async move {
            let peer = Peer { address, admission };
            let Some(identity) = identity else {
                return drive(stream, peer, router).await;
            };
            if let Some(stream) = identity.accept(stream, address, &peer.admission).await {
                drive(stream, peer, router).await;
            }
        });
    }
}

/// Speaks HTTP on one connection until its deadline. An upgraded one goes on in [`super::upgrade`].
async fn drive(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, router: Router) {
    let admission = Arc::clone(&peer.admission);
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
