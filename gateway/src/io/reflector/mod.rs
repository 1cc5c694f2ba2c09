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

/// A reflector that runs. Dropping it ends its thread.
pub(super) struct ReflectorServer {
    addresses: Vec<(Protocol, SocketAddr)>,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl ReflectorServer {
    /// Listens where the settings say; `None` if they say nowhere.
    ///
    /// # Errors
    /// Whatever keeps it from being served, with what to change.
    pub(super) fn open(settings: &Reflector) -> anyhow::Result<Option<Self>> {
        if settings.listen.is_empty() {
            return Ok(None);
        }
        let Some(file) = &settings.secret_file else {
            anyhow::bail!("[reflector] listen needs secret_file, with the secret that the hub has as well");
        };
        let secret = read_secret(file)
            .map_err(|why| anyhow::anyhow!("[reflector] secret_file names {}, {why}", file.display()))?;
        let poll = Poll::new()?;
        let (mut sockets, mut listeners, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for listen in &settings.listen {
            let (address, protocol) = (listen.address, listen.protocol);
            let word = protocol.name().to_ascii_lowercase();
            let wrong = |error: io::Error| cannot_listen(&word, address, &error, "[reflector] listen");
            let local = match protocol {
                Protocol::Udp => {
                    let mut socket = UdpSocket::bind(address).map_err(wrong)?;
                    let token = Token(sockets.len());
                    poll.registry().register(&mut socket, token, Interest::READABLE)?;
                    let local = socket.local_addr()?;
                    sockets.push(socket);
                    local
                }
                Protocol::Tcp | Protocol::Tls => {
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
        let server = Server::new(Zeroizing::new(secret.as_bytes().to_vec()), epoch);
        let (state, stop) = (Arc::new(Mutex::default()), Arc::new(AtomicBool::new(false)));
        let most = MAX_CONNECTIONS.min(process::descriptor_limit() / SHARE);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let thread = Thread::new(
            poll,
            server,
            sockets,
            listeners,
            most,
            (Arc::clone(&state), Arc::clone(&stop)),
        )?;
        let thread = std::thread::Builder::new()
            .name("reflector".to_owned())
            .spawn(move || thread.run())?;
        Ok(Some(Self {
            addresses,
            state,
            stop,
            waker,
            thread: Some(thread),
        }))
    }

    /// Where it listens, as really bound.
    pub(super) fn addresses(&self) -> Vec<String> {
        let written = |(protocol, address): &(Protocol, SocketAddr)| {
            format!("{}:{address}", protocol.name().to_ascii_lowercase())
        };
        self.addresses.iter().map(written).collect()
    }

    /// For `quartet status`; up to a second old.
    pub(super) fn status(&self) -> serde_json::Value {
        let State {
            counters,
            parties,
            connections,
        } = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.stop.store(true, Ordering::Relaxed);
        // A failing waker means a dead poller; its thread has ended.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
