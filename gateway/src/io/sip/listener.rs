//! From a listener to the task of a connection: TLS, the upgrade to a WebSocket, and the way out to where we connect ourselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quartet_proto::net::{ConnectionId, FiveTuple, Protocol, ServerId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::connection::{Connection, Task, outbox, upgraded, within};
use super::{Place, SipInput};
use crate::config::Origin;
use crate::io::AcceptErrors;
use crate::io::door::{Door, DoorBounds};
use crate::io::pending::{Admission, PlacedStream};
use crate::io::tls::Identity;
use crate::io::websocket::{is_proxy, source};

/// Connections over which nobody has logged in.
const MAX_PENDING: usize = 512;
/// The same of one source: all phones of an office come at once when its power does.
const MAX_PENDING_PER_SOURCE: usize = 64;
/// How long a connection may take until somebody has logged in over it.
const LOGIN: Duration = Duration::from_secs(20);
/// The part of all connections that is kept for those that we open ourselves, and how many that are at most.
const OWN_PART: usize = 8;
const MAX_OWN: usize = 64;
/// What a connection may send in a second: a proxy has many phones behind it.
const MAX_READ_PER_SECOND: u32 = 4 * 1024 * 1024;
/// How long a connection of ours may take.
const CONNECT: Duration = Duration::from_secs(10);
/// What the tasks of all listeners have in common.
pub(super) struct Shared {
    pub(super) received: mpsc::Sender<SipInput>,
    pub(super) door: Door,
    /// How many peers have connected.
    pub(super) accepted: AtomicU64,
    pub(super) origins: Mutex<Vec<Origin>>,
    /// Servers with which TLS failed when it was tried last.
    pub(super) refused: Mutex<BTreeSet<(SocketAddr, Option<ServerId>)>>,
}

/// Takes connections in.
pub(super) async fn accept(listener: TcpListener, place: Place, identity: Option<Arc<Identity>>, shared: Arc<Shared>) {
    let mut errors = AcceptErrors::new("SIP");
    while let Some((stream, remote, admission)) = shared.door.accept(&listener, &mut errors).await {
        let (identity, shared) = (identity.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Some(identity) = identity else {
                return drive(stream, place, remote, admission, &shared).await;
            };
            if let Some(stream) = identity.accept(stream, remote, &admission).await {
                drive(stream, place, remote, admission, &shared).await;
            }
        });
    }
}

/// Carries SIP over one connection that a peer has opened.
async fn drive(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (protocol, local): Place,
    remote: SocketAddr,
    admission: Arc<Admission>,
    shared: &Arc<Shared>,
) {
    let begin = |remote: SocketAddr| {
        let id = ConnectionId::accepted(shared.accepted.fetch_add(1, Ordering::Relaxed) + 1);
        let way = FiveTuple {
            connection: Some(id),
            ..FiveTuple::new(protocol, local, remote)
        };
        let (outbox, waiting) = outbox();
        let task = Task {
            way,
            input: shared.received.clone(),
            pongs: outbox.pongs(),
            admission: Arc::clone(&admission),
        };
        let connection = Connection {
            way,
            outbox,
            admission: Some(Arc::clone(&admission)),
        };
        (task, waiting, SipInput::Opened(connection))
    };
    if !protocol.is_websocket() {
        let (task, waiting, opened) = begin(remote);
        if shared.received.send(opened).await.is_ok() {
            task.run_stream(stream, waiting).await;
        }
        return;
    }
    let is_proxied = is_proxy(remote);
    let origins = shared.origins.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some((socket, headers)) = upgraded(stream, &admission, is_proxied, &origins).await else {
        return;
    };
    // The port of whom a proxy connects for is not known; that of the proxy is as good.
    let named = SocketAddr::new(source(remote, &headers).ip(), remote.port());
    if !admission.name_source(named.ip()) {
        return;
    }
    let (task, waiting, opened) = begin(named);
    if shared.received.send(opened).await.is_ok() {
        task.run_websocket(socket, waiting).await;
    }
}

/// The way in, for so many connections.
pub(super) fn door(connections: usize) -> Door {
    Door::new(DoorBounds {
        connections,
        pending: MAX_PENDING.min(connections),
        pending_per_source: MAX_PENDING_PER_SOURCE,
        hello: LOGIN,
        max_read_per_second: MAX_READ_PER_SECOND,
        own: (connections / OWN_PART)
            .clamp(1, MAX_OWN)
            .min(connections.saturating_sub(1)),
        option: "[limits] sip_connections",
    })
}

/// Whom we reach under TLS at an address.
#[derive(Clone, Debug)]
pub struct TlsPeer {
    /// Its name: that of its certificate.
    pub name: ServerName<'static>,
    /// Whom we trust there.
    pub config: Arc<ClientConfig>,
}

/// Those that there are, by where they are and which they are: several may be at one address.
pub type TlsPeers = BTreeMap<(SocketAddr, Option<ServerId>), TlsPeer>;

/// Whom a way must lead to: whom it says, or if it says nothing the only one there.
pub(super) fn peer_of(peers: &TlsPeers, way: FiveTuple) -> Option<&TlsPeer> {
    if way.server.is_some() {
        return peers.get(&(way.remote, way.server));
    }
    let mut there = peers.iter().filter(|((address, _), _)| *address == way.remote);
    let (_, peer) = there.next()?;
    there.next().is_none().then_some(peer)
}

/// A connection that we have opened.
pub(super) enum Opened {
    Plain(PlacedStream),
    Secure(Box<TlsStream<PlacedStream>>),
}

/// A connection of ours, from the host that our messages say we are.
pub(super) async fn connected(
    way: FiveTuple,
    peer: Option<TlsPeer>,
    shared: &Shared,
) -> io::Result<(Opened, Arc<Admission>)> {
    let by = Instant::now() + CONNECT;
    let socket = match way.remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(way.local.ip(), 0))?;
    let stream = within(socket.connect(way.remote), by).await?;
    let full = || io::Error::other("no place for another connection");
    let (stream, admission) = shared.door.opened(stream, way.remote).ok_or_else(full)?;
    if way.protocol == Protocol::Tcp {
        return Ok((Opened::Plain(stream), admission));
    }
    // A phone whose connection is gone has no name that could be verified.
    let peer = peer.ok_or_else(|| io::Error::other("nobody knows by which name to ask for it"))?;
    let shake = TlsConnector::from(peer.config).connect(peer.name, stream);
    let shaken = within(shake, by).await;
    let key = (way.remote, way.server);
    let mut refused = shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
    match &shaken {
        Ok(_) => _ = refused.remove(&key),
        // It is tried again each minute.
        Err(error) if refused.insert(key) => tracing::warn!(remote = %way.remote, %error, "TLS with a trunk"),
        Err(error) => tracing::debug!(remote = %way.remote, %error, "TLS with a trunk"),
    }
    drop(refused);
    let stream = shaken?;
    Ok((Opened::Secure(Box::new(stream)), admission))
}
