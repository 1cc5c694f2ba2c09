//! SIP sockets: one for each address, read by small tasks, written by the signalling task.
//!
//! Datagrams come from the socket of their address; a connection has a task of its own (`connection`), and comes in by a door that all
//! listeners share.

mod connection;
mod listener;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use quartet_proto::net::{ConnectionId, FiveTuple, Protocol, Transmit};
use quartet_proto::sip::MAX_MESSAGE;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::tls::{Identity, Loaded, reread};
use super::{cannot_listen, is_not_there_yet};
use crate::config::{Origin, SipListen, Tls};
use connection::{Connection, SLOW_READER, Task, outbox};
use listener::{Opened, Shared, accept, connected};
pub use listener::{TlsPeer, TlsPeers};

/// A byte more than the endpoint takes: what is longer is cut here, and dropped there.
const DATAGRAM: usize = MAX_MESSAGE + 1;

/// The option that says where SIP is heard.
const LISTEN: &str = "[sip] listen";

/// One message, and where it was received.
#[derive(Debug)]
pub struct Datagram {
    /// The way it came.
    pub five_tuple: FiveTuple,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// What happens on the sockets.
#[derive(Debug)]
pub enum SipInput {
    /// A message has come.
    Message(Datagram),
    /// A peer has connected.
    Opened(Connection),
    /// A connection is gone, and nothing more comes of it.
    Closed(ConnectionId),
    /// It is time to look whether this connection is still of use.
    Look(FiveTuple),
}

/// Where it is heard: what is carried how, and the address.
pub type Place = (Protocol, SocketAddr);

/// What the sockets are made of.
#[derive(Clone, Debug, Default)]
pub struct SipSetup {
    /// Where to listen.
    pub listen: Vec<SipListen>,
    /// The certificate for those that have none of their own.
    pub tls: Tls,
    /// Web pages that may connect.
    pub origins: Vec<Origin>,
    /// Connections at once; taken once.
    pub connections: usize,
}

/// The sockets that are bound, and the connections.
pub struct SipSockets {
    setup: SipSetup,
    shared: Arc<Shared>,
    /// By what is bound.
    sockets: BTreeMap<Place, Bound>,
    /// What could not be bound, as it was last said.
    missing: BTreeSet<Place>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Whom we reach under TLS.
    tls_peers: TlsPeers,
    /// As they were read last: for what is bound later.
    certificates: Certificates,
}

struct Bound {
    /// What was asked for: the port may have been left to the system.
    wanted: Place,
    /// No longer wanted: only for the calls that began there.
    is_retired: bool,
    /// Of datagrams.
    socket: Option<Arc<UdpSocket>>,
    /// Under TLS.
    identity: Option<Arc<Identity>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The certificates of a setup, read.
type Certificates = Vec<(Tls, Arc<Loaded>)>;

fn certificates(setup: &SipSetup) -> anyhow::Result<Certificates> {
    let mut all = Certificates::new();
    for listen in setup.listen.iter().filter(|listen| listen.is_secure()) {
        let files = listen.files(&setup.tls);
        if !all.iter().any(|(known, _)| *known == files) {
            let loaded = Loaded::read(&files)?;
            all.push((files, Arc::new(loaded)));
        }
    }
    Ok(all)
}

/// The certificate of an entry, if it needs one.
fn certificate_of<'a>(all: &'a Certificates, common: &Tls, listen: &SipListen) -> Option<&'a (Tls, Arc<Loaded>)> {
    let files = listen.files(common);
    all.iter().find(|(known, _)| *known == files && listen.is_secure())
}

/// Whether the certificates that a setup names can be used.
///
/// # Errors
/// If not; the text names the file and says what to do.
pub fn check_certificates(setup: &SipSetup) -> anyhow::Result<()> {
    certificates(setup).map(drop)
}

impl SipSockets {
    /// Binds each address; a wildcard becomes one socket for each address of this machine, so that what we write into a
    /// message is always an address at which we can be reached. Everything that comes goes to `received`.
    ///
    /// An address that this machine does not have is waited for ([`follow`](Self::follow)).
    ///
    /// # Errors
    /// If one cannot be bound for another reason, or a certificate cannot be used; the text names it and what to change.
    pub fn bind(setup: SipSetup, machine: &[IpAddr], received: mpsc::Sender<SipInput>) -> anyhow::Result<Self> {
        let certificates = certificates(&setup)?;
        let door = listener::door(setup.connections);
        let shared = Shared {
            received,
            door,
            accepted: AtomicU64::new(0),
            origins: Mutex::new(setup.origins.clone()),
            refused: Mutex::default(),
        };
        let mut sockets = Self {
            setup,
            shared: Arc::new(shared),
            sockets: BTreeMap::new(),
            missing: BTreeSet::new(),
            connections: BTreeMap::new(),
            tls_peers: TlsPeers::new(),
            certificates,
        };
        for (wanted, error) in sockets.bind_new(machine) {
            if !is_not_there_yet(&error) {
                return Err(refused(wanted, &error));
            }
        }
        Ok(sockets)
    }

    /// The addresses of this machine may have changed: binds the new ones and closes what is gone.
    pub fn follow(&mut self, machine: &[IpAddr]) {
        let wanted = expand(&self.setup.listen, machine);
        let before: BTreeSet<_> = self.sockets.keys().copied().collect();
        // An address that was named stays bound: it works again when it comes back.
        self.sockets
            .retain(|_, bound| bound.is_retired || wanted.contains_key(&bound.wanted));
        for bound in self.sockets.values_mut() {
            bound.is_retired &= !wanted.contains_key(&bound.wanted);
        }
        self.bind_new(machine);
        let now: BTreeSet<_> = self.sockets.keys().copied().collect();
        for gone in before.difference(&now) {
            tracing::info!("{} is gone; phones are no longer heard there", place_name(*gone));
        }
        for new in now.difference(&before) {
            tracing::info!("{} is new; phones are heard there", place_name(*new));
        }
    }

    /// Listens elsewhere from now on, and with other certificates. What is no longer wanted is retired: it stays for the calls that use it
    /// ([`close_unused`](Self::close_unused)).
    ///
    /// # Errors
    /// As [`bind`](Self::bind); nothing has changed then.
    pub fn listen_on(&mut self, setup: SipSetup, machine: &[IpAddr]) -> anyhow::Result<()> {
        let certificates = certificates(&setup)?;
        let before: BTreeSet<_> = self.sockets.keys().copied().collect();
        let old = (
            std::mem::replace(&mut self.setup, setup),
            std::mem::replace(&mut self.certificates, certificates),
            self.missing.clone(),
        );
        for (wanted, error) in self.bind_new(machine) {
            if !is_not_there_yet(&error) {
                (self.setup, self.certificates, self.missing) = old;
                self.sockets.retain(|address, _| before.contains(address));
                return Err(refused(wanted, &error));
            }
        }
        let wanted = expand(&self.setup.listen, machine);
        for bound in self.sockets.values_mut() {
            let listen = wanted.get(&bound.wanted);
            bound.is_retired = listen.is_none();
            let loaded = listen.and_then(|listen| certificate_of(&self.certificates, &self.setup.tls, listen));
            if let (Some(identity), Some((files, loaded))) = (&bound.identity, loaded) {
                identity.set(files.clone(), Arc::clone(loaded));
            }
        }
        self.shared
            .origins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&self.setup.origins);
        Ok(())
    }

    /// What was listened on last.
    pub fn setup(&self) -> &SipSetup {
        &self.setup
    }

    /// Closes the retired sockets that are not used any more; true if there were such.
    pub fn close_unused(&mut self, is_used: impl Fn(Place) -> bool) -> bool {
        let before = self.sockets.len();
        self.sockets
            .retain(|address, bound| !bound.is_retired || is_used(*address));
        self.sockets.len() != before
    }

    /// Binds what is wanted and not bound, and says once what cannot be; the errors.
    fn bind_new(&mut self, machine: &[IpAddr]) -> Vec<(Place, io::Error)> {
        let bound: BTreeSet<_> = self.sockets.values().map(|bound| bound.wanted).collect();
        let mut errors = Vec::new();
        let mut missing = BTreeSet::new();
        for listen in &self.setup.listen {
            let wildcard = (listen.protocol, listen.address);
            if !expand(std::slice::from_ref(listen), machine).is_empty() {
                continue;
            }
            missing.insert(wildcard);
            if !self.missing.contains(&wildcard) {
                tracing::warn!(
                    "this machine has no address for {} of {LISTEN}; phones are heard there once it has one",
                    listen.name()
                );
            }
        }
        let listen = self.setup.listen.clone();
        for (wanted, listen) in expand(&listen, machine) {
            if bound.contains(&wanted) {
                continue;
            }
            let loaded = certificate_of(&self.certificates, &self.setup.tls, listen);
            let identity =
                loaded.map(|(files, loaded)| Identity::new(listen.name(), files.clone(), Arc::clone(loaded)));
            let Err(error) = self.bind_one(wanted, identity.map(Arc::new)) else {
                continue;
            };
            missing.insert(wanted);
            if !self.missing.contains(&wanted) {
                tracing::warn!("{}; it is tried again", refused(wanted, &error));
            }
            errors.push((wanted, error));
        }
        self.missing = missing;
        errors
    }

    fn bind_one(&mut self, wanted: Place, identity: Option<Arc<Identity>>) -> io::Result<()> {
        let (protocol, address) = wanted;
        let mut tasks = Vec::new();
        let (socket, local) = if protocol == Protocol::Udp {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            let socket = Arc::new(UdpSocket::from_std(socket)?);
            let local = socket.local_addr()?;
            let reader = read(local, Arc::clone(&socket), self.shared.received.clone());
            tasks.push(tokio::spawn(reader).abort_handle());
            (Some(socket), local)
        } else {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let local = listener.local_addr()?;
            let accept = accept(listener, (protocol, local), identity.clone(), Arc::clone(&self.shared));
            tasks.push(tokio::spawn(accept).abort_handle());
            (None, local)
        };
        tasks.extend(
            identity
                .clone()
                .map(|identity| tokio::spawn(reread(identity)).abort_handle()),
        );
        self.sockets.insert(
            (protocol, local),
            Bound {
                wanted,
                is_retired: false,
                socket,
                identity,
                tasks,
            },
        );
        Ok(())
    }

    /// The addresses really bound.
    pub fn addresses(&self) -> impl Iterator<Item = Place> + '_ {
        self.all(false)
    }

    /// Those that only the calls there still use.
    pub fn retired(&self) -> impl Iterator<Item = Place> + '_ {
        self.all(true)
    }

    fn all(&self, retired: bool) -> impl Iterator<Item = Place> + '_ {
        let sockets = self
            .sockets
            .iter()
            .filter(move |(_, bound)| bound.is_retired == retired);
        sockets.map(|(address, _)| *address)
    }

    /// How many connections there are.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// A peer has connected.
    pub fn opened(&mut self, connection: Connection) {
        if let Some(id) = connection.way.connection {
            self.connections.insert(id, connection);
        }
    }

    /// A connection is gone, or is to go.
    pub fn closed(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// Something was heard over this way, or it is time to look. One over which somebody is registered or in a call may stay; another has
    /// its deadline, and is closed if it `is_over`.
    pub fn look(&mut self, way: FiveTuple, is_over: bool, is_used: impl Fn(FiveTuple) -> bool) {
        let Some(id) = way.connection else { return };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let is_pending = connection
            .admission
            .as_ref()
            .is_some_and(|admission| admission.is_pending());
        if !is_pending && !is_over {
            return;
        }
        match (is_used(way), &connection.admission) {
            (true, Some(admission)) => admission.admit(),
            (false, _) if is_over => _ = self.connections.remove(&id),
            (true, None) | (false, _) => {}
        }
    }

    /// Sets whom we reach under TLS, in place of those that were.
    pub fn set_tls_peers(&mut self, peers: TlsPeers) {
        self.tls_peers = peers;
    }

    /// Opens a connection; what is sent over it meanwhile waits for it.
    pub fn connect(&mut self, way: FiveTuple) {
        let Some(id) = way.connection else { return };
        let peer = listener::peer_of(&self.tls_peers, way).cloned();
        let (outbox, waiting) = outbox();
        let (shared, pongs) = (Arc::clone(&self.shared), outbox.pongs());
        tokio::spawn(async move {
            match connected(way, peer, &shared).await {
                Ok((stream, admission)) => {
                    let task = Task {
                        way,
                        input: shared.received.clone(),
                        pongs,
                        admission,
                    };
                    match stream {
                        Opened::Plain(stream) => task.run_stream(stream, waiting).await,
                        Opened::Secure(stream) => task.run_stream(stream, waiting).await,
                    }
                }
                Err(error) => {
                    tracing::debug!(remote = %way.remote, %error, "no SIP connection");
                    let _ = shared.received.send(SipInput::Closed(id)).await;
                }
            }
        });
        let admission = None;
        self.connections.insert(id, Connection { way, outbox, admission });
    }

    /// Sends one message. A full socket drops it: SIP retransmits over UDP. Who does not read what comes over a connection loses it.
    pub fn send(&mut self, transmit: Transmit) {
        let FiveTuple {
            protocol,
            local,
            remote,
            connection,
            ..
        } = transmit.five_tuple;
        if let Some(id) = connection {
            let Some(connection) = self.connections.get(&id) else {
                return tracing::debug!(%remote, "the SIP connection is gone");
            };
            if !connection.outbox.send(transmit.payload) {
                if let Some(admission) = &connection.admission {
                    admission.end(SLOW_READER);
                }
                self.connections.remove(&id);
            }
            return;
        }
        let bound = self.sockets.get(&(protocol, local));
        let Some(socket) = bound.and_then(|bound| bound.socket.as_ref()) else {
            return tracing::debug!(?protocol, %local, "no such SIP socket");
        };
        if let Err(error) = socket.try_send_to(&transmit.payload, remote) {
            tracing::debug!(%remote, %error, "SIP datagram not sent");
        }
    }
}

/// As a sentence names it.
pub fn place_name((protocol, address): Place) -> String {
    format!("{}:{address}", protocol.scheme())
}

pub(super) fn refused((protocol, address): Place, error: &io::Error) -> anyhow::Error {
    cannot_listen(protocol.scheme(), address, error, LISTEN)
}

async fn read(local: SocketAddr, socket: Arc<UdpSocket>, received: mpsc::Sender<SipInput>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, remote)) => {
                let datagram = Datagram {
                    five_tuple: FiveTuple::new(Protocol::Udp, local, remote),
                    payload: buffer[..length].to_vec(),
                };
                if received.send(SipInput::Message(datagram)).await.is_err() {
                    return;
                }
            }
            // An ICMP error of an earlier send; the socket lives on.
            Err(error) => tracing::trace!(%local, %error, "SIP socket"),
        }
    }
}

/// What is to be bound, and by which entry: wildcards are replaced by the addresses of this machine that fit them.
pub(super) fn expand<'a>(listen: &'a [SipListen], machine: &[IpAddr]) -> BTreeMap<Place, &'a SipListen> {
    let mut all = BTreeMap::new();
    for entry in listen {
        let address = entry.address;
        if address.ip().is_unspecified() {
            let fitting = machine.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
            all.extend(fitting.map(|ip| ((entry.protocol, SocketAddr::new(*ip, address.port())), entry)));
        } else {
            all.insert((entry.protocol, address), entry);
        }
    }
    all
}

#[cfg(test)]
mod tests;
