//! A reflector: in a gateway or a hub, or alone. A thread of its own feeds one machine and carries what that says.

mod alone;
mod connection;
#[cfg(test)]
mod tests;
mod thread;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use mio::net::{TcpListener, UdpSocket};
use mio::{Interest, Poll, Token, Waker};
use quartet_proto::net::Protocol;
use quartet_proto::reflector::{Counters, Server};
use zeroize::Zeroizing;

pub use self::alone::ReflectorAlone;
use self::thread::{Thread, WAKE};
use super::cannot_listen;
use super::startup::unix_seconds;
use crate::config::Reflector;
use crate::permissions::read_secret;
use crate::process;

/// Most connections at a time, where there are descriptors for them; a call has two at most.
const MAX_CONNECTIONS: u64 = 2_048;
/// The part of all descriptors that they may take.
const SHARE: u64 = 8;

/// What the thread tells of itself, about once a second.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    counters: Counters,
    parties: usize,
    connections: usize,
}

/// What its thread and its owner have together.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Another secret, from the next wake-up on.
    secret: Mutex<Option<Secret>>,
    stop: AtomicBool,
}

/// What a reflector shares with its hub.
pub(super) type Secret = Zeroizing<Vec<u8>>;

/// Reads the secret of the settings; `None` if they say nowhere to listen.
///
/// # Errors
/// Why there is none, with what to change.
pub(super) fn secret_of(settings: &Reflector) -> Result<Option<Secret>, String> {
    if settings.listen.is_empty() {
        return Ok(None);
    }
    let Some(file) = &settings.secret_file else {
        return Err("[reflector] listen needs secret_file, with the secret that the hub has as well".into());
    };
    match read_secret(file) {
        Ok(secret) => Ok(Some(Zeroizing::new(secret.as_bytes().to_vec()))),
        Err(why) => Err(format!("[reflector] secret_file names {}, {why}", file.display())),
    }
}

/// A reflector that runs. Dropping it ends its thread.
pub(super) struct ReflectorServer {
    addresses: Vec<(Protocol, SocketAddr)>,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl ReflectorServer {
    /// Listens where the settings say; `None` if they say nowhere.
    ///
    /// # Errors
    /// Whatever keeps it from being served, with what to change.
    pub(super) fn open(settings: &Reflector) -> anyhow::Result<Option<Self>> {
        let Some(secret) = secret_of(settings).map_err(anyhow::Error::msg)? else {
            return Ok(None);
        };
        let poll = Poll::new()?;
        let (mut sockets, mut listeners, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for listen in &settings.listen {
            let (address, protocol) = (listen.address, listen.protocol);
            let wrong = |error: io::Error| cannot_listen(protocol.scheme(), address, &error, "[reflector] listen");
            let local = match protocol {
                Protocol::Udp => {
                    let mut socket = UdpSocket::bind(address).map_err(wrong)?;
                    let token = Token(sockets.len());
                    poll.registry().register(&mut socket, token, Interest::READABLE)?;
                    let local = socket.local_addr()?;
                    sockets.push(socket);
                    local
                }
                Protocol::Tcp | Protocol::Tls | Protocol::Ws | Protocol::Wss => {
                    let listener = TcpListener::bind(address).map_err(wrong)?;
                    let local = listener.local_addr()?;
                    listeners.push(listener);
                    local
                }
            };
            addresses.push((protocol, local));
        }
        let waker = Waker::new(poll.registry(), WAKE)?;
        let epoch = (Instant::now(), unix_seconds(SystemTime::now()));
        let server = Server::new(secret, epoch);
        let shared = Arc::new(Shared::default());
        let most = MAX_CONNECTIONS.min(process::descriptor_limit() / SHARE);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let thread = Thread::new(poll, server, sockets, listeners, most, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new()
            .name("reflector".to_owned())
            .spawn(move || thread.run())?;
        Ok(Some(Self {
            addresses,
            shared,
            waker,
            thread: Some(thread),
        }))
    }

    /// Where it listens, as really bound.
    pub(super) fn addresses(&self) -> Vec<String> {
        let written = |(protocol, address): &(Protocol, SocketAddr)| format!("{}:{address}", protocol.scheme());
        self.addresses.iter().map(written).collect()
    }

    /// Takes another secret: parties that are here stay, others need a tag that was signed with it.
    pub(super) fn set_secret(&self, secret: Secret) {
        *self.shared.secret.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
        // A failing waker means a dead poller; its thread has ended.
        let _ = self.waker.wake();
    }

    /// For `quartet status`; up to a second old.
    pub(super) fn status(&self) -> serde_json::Value {
        let State {
            counters,
            parties,
            connections,
        } = *self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::json!({
            "listen": self.addresses(),
            "parties": parties,
            "connections": connections,
            "hellos": counters.hellos,
            "passed": counters.passed,
            "passed_bytes": counters.bytes,
            "dropped": {
                "malformed": counters.malformed,
                "unsigned": counters.unsigned,
                "full": counters.full,
                "strangers": counters.strangers,
                "absent": counters.absent,
                "paced": counters.paced,
                "unproven": counters.unproven,
            },
        })
    }
}

impl Drop for ReflectorServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A failing waker means a dead poller; its thread has ended.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
