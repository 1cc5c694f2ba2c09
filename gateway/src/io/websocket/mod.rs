//! The hub's door: HTTP and WebSocket connections, and nothing of what is said over them.
//!
//! [`serve`] gives each WebSocket a task of its own. The task moves text frames to the signalling thread as [`HubInput`]
//! and frames back through a bounded channel ([`HubSender`]); [`Connections`] keeps those senders and moves frames in and
//! out of the rendezvous. A dead peer is noticed within 40 s, a peer that does not read is closed, and a connection whose
//! hello was not accepted by its deadline is dropped, whatever it does (`pending`).

mod accept;
mod client;
mod listener;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use quartet_proto::hub::MAX_FRAME;
use quartet_proto::rate::{Rate, RateLimiter};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, timeout, timeout_at};

use super::origin;
use super::pending::Admission;
use crate::config::Origin;
use crate::hub::{ConnKey, Rendezvous};
use crate::io::tls::Identity;

use accept::Peer;
pub(super) use client::text_of;
pub use client::{HubConnection, HubLocation, LinkEvent};
pub use listener::HubListener;

/// Read from a connection at once. It is held as long as the connection, and the library's own 128 KiB are more than a whole
/// call takes; a client's frames have a few hundred bytes.
const READ_BUFFER: usize = 4 * 1024;
/// Waits in the library for a peer that does not read, its pongs included: one frame, and those that the library gathers before
/// it writes.
const MAX_WRITE_BUFFER: usize = 2 * MAX_FRAME;
/// Bytes of frames, each with its overhead, that may wait for one peer, the one that is being written included.
const MAX_WAITING: usize = 520 * 1024;
/// The same for a gateway, which may be in a thousand calls.
const MAX_WAITING_GATEWAY: usize = 8 * 1024 * 1024;
/// What a frame takes beside its text.
const FRAME_OVERHEAD: usize = 64;

/// Pings and pongs of a peer per second, four seconds' worth at once. Each costs a turn of the thread and an answer; no client
/// needs more than one in some seconds.
const MAX_PINGS_PER_SECOND: u32 = 10;

/// The key of the gateway's own connection in process; [`serve`] never draws it.
pub const LOCAL: ConnKey = ConnKey(0);

/// What happened on one connection.
#[derive(Debug)]
pub struct HubInput {
    /// Which one.
    pub conn: ConnKey,
    /// What.
    pub event: HubEvent,
}

/// Something that happens on a connection: `Opened`, any number of `Text`, `Closed`.
#[derive(Debug)]
pub enum HubEvent {
    /// A WebSocket is open.
    Opened {
        /// Where it comes from.
        source: SocketAddr,
        /// Where its frames go. Dropping it closes the connection once all is sent.
        sender: HubSender,
    },
    /// One text frame.
    Text(String),
    /// The connection is gone.
    Closed,
}

/// The way out to one connection. Dropping it closes the connection once all is sent.
#[derive(Debug)]
pub struct HubSender {
    frames: mpsc::Sender<String>,
    waiting: Arc<AtomicUsize>,
    max_waiting: usize,
    admission: Arc<Admission>,
}

impl HubSender {
    /// Hands a frame to the connection without waiting. `false`: the peer does not read, and the connection is being
    /// closed.
    pub fn send(&self, text: String) -> bool {
        let size = size_of(&text);
        let fits = self.waiting.fetch_add(size, Ordering::Relaxed) + size <= self.max_waiting;
        let sent = fits && self.frames.try_send(text).is_ok();
        if !sent {
            self.admission.end("slow reader");
        }
        sent
    }

    /// The hub has accepted the connection's hello: from now on it may stay.
    pub fn admit(&self) {
        self.admission.admit();
    }
}

/// What a frame that waits takes.
fn size_of(text: &str) -> usize {
    text.len() + FRAME_OVERHEAD
}

/// What one connection may take, and how many there may be.
#[derive(Clone, Debug)]
pub struct WebSocketSettings {
    /// Between two pings; a peer silent for two of these is dead.
    pub ping: Duration,
    /// Frames that may wait for one peer.
    pub outgoing: usize,
    /// How long one frame may take to be written.
    pub write: Duration,
    /// How long a connection may take, from accept on, until its hello is accepted. Longer than the hub's own limit, which
    /// begins with the WebSocket and ends with a close frame.
    pub hello: Duration,
    /// TCP connections open.
    pub connections: usize,
    /// TCP connections open whose hello was not accepted yet.
    pub pending: usize,
    /// The same, of one source address (of one /64 for IPv6).
    pub pending_per_source: usize,
    /// Origins of web pages, beside the hub's own, that may connect.
    pub origins: Vec<Origin>,
    /// Who we are, if it is served under TLS.
    pub(in crate::io) identity: Option<Arc<Identity>>,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(20),
            outgoing: 8192,
            write: Duration::from_secs(10),
            hello: Duration::from_secs(15),
            connections: 4096,
            pending: 256,
            pending_per_source: 16,
            origins: Vec::new(),
            identity: None,
        }
    }
}

#[derive(Clone)]
struct Door {
    input: mpsc::Sender<HubInput>,
    settings: Arc<WebSocketSettings>,
    next: Arc<AtomicU64>,
}

/// Serves the hub on a bound listener until `input`'s receiver is gone.
pub async fn serve(listener: TcpListener, input: mpsc::Sender<HubInput>) {
    serve_with(listener, input, WebSocketSettings::default()).await;
}

/// As [`serve`], with settings of its own.
pub async fn serve_with(listener: TcpListener, input: mpsc::Sender<HubInput>, settings: WebSocketSettings) {
    let settings = Arc::new(settings);
    let done = input.clone();
    let door = Door {
        input,
        settings: Arc::clone(&settings),
        next: Arc::new(AtomicU64::new(LOCAL.0 + 1)),
    };
    let router = Router::new()
        .route("/", get(about))
        .route("/hub/v1", get(upgrade))
        .with_state(door);
    tokio::select! {
        () = accept::serve(listener, &settings, router) => {}
        () = done.closed() => {}
    }
}

async fn about() -> &'static str {
    concat!(
        "This is a hub of Quartet: it introduces people to each other for end-to-end encrypted calls.\n",
        "It sees account names, times and sizes; never a key and never audio.\n\n",
        "Clients speak the hub protocol over a WebSocket at /hub/v1; it is described in docs/hub-protocol.md.\n",
        "An account needs an invitation of whoever runs this hub.\n",
    )
}

async fn upgrade(
    State(door): State<Door>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let proxied = is_proxy(peer.address);
    if !origin::is_allowed(&headers, proxied, &door.settings.origins) {
        return refusal(
            StatusCode::FORBIDDEN,
            "pages of this origin may not connect to this hub\n",
        );
    }
    let source = source(peer.address, &headers);
    if !peer.admission.name_source(source.ip()) {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "others wait; connect again\n");
    }
    peer.admission.upgraded();
    upgrade
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .read_buffer_size(READ_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .on_upgrade(move |socket| serve_socket(socket, source, peer.admission, door))
}

/// Says no, and that nothing more is read from this connection.
fn refusal(status: StatusCode, sentence: &'static str) -> Response {
    (status, [(header::CONNECTION, "close")], sentence).into_response()
}

/// One WebSocket from its opening to its end.
async fn serve_socket(mut socket: WebSocket, source: SocketAddr, admission: Arc<Admission>, door: Door) {
    let conn = ConnKey(door.next.fetch_add(1, Ordering::Relaxed));
    let (frames, outgoing) = mpsc::channel(door.settings.outgoing);
    let waiting = Arc::new(AtomicUsize::new(0));
    let sender = HubSender {
        frames,
        waiting: Arc::clone(&waiting),
        max_waiting: MAX_WAITING,
        admission: Arc::clone(&admission),
    };
    let opened = HubInput {
        conn,
        event: HubEvent::Opened { source, sender },
    };
    // The socket goes first, so that it is closed before the hub is told, however busy that is.
    let why = {
        let whole = async {
            if door.input.send(opened).await.is_err() {
                return "the hub stops";
            }
            let end = converse(&mut socket, conn, (outgoing, &waiting), (&door, &admission)).await;
            // What it has not read by now the system would keep for it, and nobody would count that.
            let why = end.unwrap_or_else(|why| {
                admission.end(why);
                why
            });
            drop(socket);
            why
        };
        tokio::select! {
            why = whole => why,
            why = admission.ended() => why,
        }
    };
    tracing::debug!(?conn, why, "websocket closed");
    let closed = HubInput {
        conn,
        event: HubEvent::Closed,
    };
    // If the signalling thread is gone there is nobody left to tell.
    let _ = door.input.send(closed).await;
}

/// Whether a peer is on this machine, as the reverse proxy is that is believed whom it connects for.
pub(super) fn is_proxy(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

/// Who connects: the TCP peer, or, behind a reverse proxy on this machine, whom that proxy names last.
pub(super) fn source(peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
    if !is_proxy(peer) {
        return peer;
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    // Before the proxy's own word stands whatever the client wrote.
    let last = last.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let last = last.as_deref().and_then(|value| value.rsplit(',').next());
    // Some proxies name the port as well.
    let address = |text: &str| {
        let text = text.trim();
        let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
        text.parse::<IpAddr>().ok().or_else(with_port)
    };
    last.and_then(address)
        .map_or(peer, |address| SocketAddr::new(address, 0))
}

/// Moves frames until either side is done, and says why in a word for the log; it is an error if the other side has not closed, and may
/// not have read all.
async fn converse(
    socket: &mut WebSocket,
    conn: ConnKey,
    (mut outgoing, waiting): (mpsc::Receiver<String>, &AtomicUsize),
    (door, admission): (&Door, &Admission),
) -> Result<&'static str, &'static str> {
    let mut ping = interval_at(tokio::time::Instant::now() + door.settings.ping, door.settings.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = true;
    let mut pings = RateLimiter::default();
    let max_pings = Rate::new(4 * MAX_PINGS_PER_SECOND, Duration::from_secs(4));
    loop {
        let mut size = 0;
        let message = tokio::select! {
            frame = outgoing.recv() => match frame {
                Some(text) => {
                    size = size_of(&text);
                    Message::Text(text.into())
                }
                None => {
                    return close(socket, admission, close_code::POLICY, "closed by the hub").await;
                }
            },
            received = socket.recv() => {
                heard = true;
                match received {
                    Some(Ok(Message::Text(text))) => {
                        let event = HubEvent::Text(text.as_str().to_owned());
                        if door.input.send(HubInput { conn, event }).await.is_err() {
                            return Ok("the hub stops");
                        }
                    }
                    Some(Ok(Message::Binary(_))) => {
                        return close(socket, admission, close_code::UNSUPPORTED, "binary frame").await;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                        if pings.take(Instant::now(), max_pings, 1).is_err() {
                            return close(socket, admission, close_code::POLICY, "too many pings").await;
                        }
                    }
                    Some(Ok(Message::Close(_))) => {
                        // Reading on sends the answer that is due (RFC 6455 §5.5.1).
                        if let Some(by) = admission.over() {
                            let _ = timeout_at(by, socket.recv()).await;
                        }
                        return Ok("closed by the peer");
                    }
                    None => return Ok("closed by the peer"),
                    Some(Err(_)) => return Err("broken connection or frame too large"),
                }
                continue;
            }
            _ = ping.tick() => {
                if !std::mem::take(&mut heard) {
                    return Err("peer silent");
                }
                Message::Ping(axum::body::Bytes::new())
            }
        };
        match timeout(door.settings.write, socket.send(message)).await {
            Ok(Ok(())) => _ = waiting.fetch_sub(size, Ordering::Relaxed),
            Ok(Err(_)) => return Err("broken connection"),
            Err(_) => return Err("slow reader"),
        }
    }
}

/// Closes the connection, and lets the other side say that it has seen that.
async fn close(
    socket: &mut WebSocket,
    admission: &Admission,
    code: u16,
    why: &'static str,
) -> Result<&'static str, &'static str> {
    let by = admission.over().ok_or(why)?;
    let frame = Message::Close(Some(CloseFrame {
        code,
        reason: "".into(),
    }));
    let both = async {
        if socket.send(frame).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    timeout_at(by, both).await.map(|()| why).map_err(|_| why)
}

/// The senders of all open connections, between the door and the rendezvous. Lives on the signalling thread.
#[derive(Debug, Default)]
pub struct Connections {
    senders: BTreeMap<ConnKey, HubSender>,
}

impl Connections {
    /// No connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds one input to the rendezvous; [`Connections::flush`] must follow.
    pub fn handle_input(&mut self, now: Instant, input: HubInput, hub: &mut Rendezvous) {
        match input.event {
            HubEvent::Opened { source, sender } => {
                self.senders.insert(input.conn, sender);
                hub.connect(now, input.conn, source);
            }
            HubEvent::Text(text) => {
                hub.handle_input(now, input.conn, &text);
                let sender = self.senders.get_mut(&input.conn);
                if let Some(sender) = sender.filter(|sender| sender.admission.is_pending())
                    && let Some(account) = hub.account_of(input.conn)
                {
                    sender.admit();
                    if account.is_gateway {
                        sender.max_waiting = MAX_WAITING_GATEWAY;
                    }
                }
            }
            HubEvent::Closed => {
                self.senders.remove(&input.conn);
                hub.disconnect(now, input.conn);
            }
        }
    }

    /// Sends all that the rendezvous has to say, then closes what it wants closed. Frames for [`LOCAL`] go to `local`.
    pub fn flush(&mut self, now: Instant, hub: &mut Rendezvous, local: &mut dyn FnMut(String)) {
        loop {
            while let Some((conn, text)) = hub.poll_transmit() {
                if conn == LOCAL {
                    local(text);
                } else if let Some(sender) = self.senders.get(&conn)
                    && !sender.send(text)
                {
                    self.senders.remove(&conn);
                    hub.disconnect(now, conn);
                }
            }
            let Some((conn, _)) = hub.poll_close() else { return };
            // It is closed once all is sent.
            if let Some(sender) = self.senders.remove(&conn)
                && !sender.admission.is_pending()
            {
                sender.admission.close();
            }
        }
    }
}

#[cfg(test)]
mod tests;
