//! The way to a hub elsewhere: one connection at a time, opened again whenever it is lost, and nothing of what is said over it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{SinkExt as _, StreamExt as _};
use quartet_proto::hub::MAX_FRAME;
use quartet_proto::rate::{Rate, RateLimiter};
use rand::RngExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::MAX_PINGS_PER_SECOND;
use crate::config::HubUrl;
use crate::io::tls;

/// How long one address of the hub may take to answer.
const CONNECT: Duration = Duration::from_secs(3);
/// How long TLS and the WebSocket's opening may take after that.
const OPEN: Duration = Duration::from_secs(10);
/// The pause before another try: twice as long each time, up to the longest. Two parties of a call must both be back within
/// 60 s of a hub's restart.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// A connection that has lasted so long was a good one: after it pauses begin anew.
const STABLE: Duration = Duration::from_secs(5);
/// Between two pings; a hub silent for two of these is dead.
const PING: Duration = Duration::from_secs(20);
/// How long one frame may take to be written.
const WRITE: Duration = Duration::from_secs(10);
/// How long the last frames may take.
const CLOSE: Duration = Duration::from_secs(2);
/// Frames that may wait to be written: what a thousand calls say at once.
const WAITING: usize = 8192;

/// What becomes of the way to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// There is a connection.
    Opened,
    /// One text frame of the hub.
    Text(String),
    /// The connection is gone; another is tried.
    Closed,
}

/// A connection that is opened again whenever it is lost. Dropping it closes it once all is sent.
#[derive(Debug)]
pub struct HubConnection {
    url: HubUrl,
    events: mpsc::Receiver<(LinkEvent, Option<mpsc::Sender<String>>)>,
    /// The way out, if there is one.
    frames: Option<mpsc::Sender<String>>,
}

impl HubConnection {
    /// Begins to connect.
    #[must_use]
    pub fn start(location: HubLocation) -> Self {
        let (sender, events) = mpsc::channel(256);
        let url = location.url.clone();
        tokio::spawn(follow(location, sender));
        Self {
            url,
            events,
            frames: None,
        }
    }

    /// The hub's address.
    #[must_use]
    pub fn url(&self) -> &HubUrl {
        &self.url
    }

    /// The next thing that happens. Cancel safe.
    pub async fn next(&mut self) -> LinkEvent {
        let Some((event, frames)) = self.events.recv().await else {
            // The task runs as long as this; if it has died there is nothing more to hear.
            return std::future::pending().await;
        };
        match event {
            LinkEvent::Opened => self.frames = frames,
            LinkEvent::Closed => self.frames = None,
            LinkEvent::Text(_) => {}
        }
        event
    }

    /// Sends a frame without waiting, if there is a connection. A hub that does not read is left.
    ///
    /// # Panics
    /// If it is no text: the frames of a hub's network are.
    pub fn send(&mut self, frame: Vec<u8>) {
        let text = text_of(frame);
        if self
            .frames
            .as_ref()
            .is_some_and(|frames| frames.try_send(text).is_err())
        {
            self.frames = None;
        }
    }

    /// Sends what waits, and closes the connection.
    pub async fn close(mut self) {
        self.frames = None;
        self.events.close();
        let rest = async { while self.events.recv().await.is_some() {} };
        // A hub that does not read is not waited for.
        let _ = timeout(CLOSE, rest).await;
    }
}

/// A frame of the hub's network as the text that it is.
pub(in crate::io) fn text_of(frame: Vec<u8>) -> String {
    String::from_utf8(frame).expect("the hub's network writes JSON")
}

type Events = mpsc::Sender<(LinkEvent, Option<mpsc::Sender<String>>)>;

/// Where the hub is, and how it proves that.
#[derive(Clone)]
pub struct HubLocation {
    url: HubUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Either kind of stream.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
type Socket = WebSocketStream<Box<dyn Stream>>;

impl HubLocation {
    /// Makes ready to connect. `ca_file` names certificate authorities that are trusted instead of this machine's.
    ///
    /// # Errors
    /// If there is no certificate authority to trust; the text says what to do.
    pub fn new(url: HubUrl, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let tls = match url.is_secure {
            true => Some((
                TlsConnector::from(tls::client_config(ca_file, "[network.hub] ca_file")?),
                ServerName::try_from(url.host.clone())?,
            )),
            false => None,
        };
        Ok(Self { url, tls })
    }

    async fn connect(&self) -> anyhow::Result<Socket> {
        let (host, port) = (self.url.host.as_str(), self.url.port);
        let addresses = timeout(CONNECT, lookup_host((host, port)))
            .await
            .context("the name server does not answer")??;
        let stream = connect_any(addresses).await?;
        crate::io::hasten::hasten(&stream);
        let opening = async {
            let stream: Box<dyn Stream> = match &self.tls {
                Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
                None => Box::new(stream),
            };
            let settings = WebSocketConfig::default()
                .read_buffer_size(16 * 1024)
                .max_write_buffer_size(super::MAX_WRITE_BUFFER)
                .max_message_size(Some(MAX_FRAME))
                .max_frame_size(Some(MAX_FRAME));
            let url = self.url.to_string();
            let (socket, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(settings)).await?;
            anyhow::Ok(socket)
        };
        timeout(OPEN, opening).await.context("it does not answer")?
    }
}

/// The first address that answers: a name may have some that cannot be reached from here.
async fn connect_any(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Keeps a connection to the hub until `events`' receiver is gone.
async fn follow(location: HubLocation, events: Events) {
    let mut pause = MIN_PAUSE;
    // What was in the way, as it was last said.
    let mut said = None;
    while !events.is_closed() {
        match location.connect().await {
            Ok(socket) => {
                said = None;
                let began = Instant::now();
                let why = converse(socket, &events).await;
                tracing::debug!(hub = %location.url, why, "connection to the hub closed");
                if events.send((LinkEvent::Closed, None)).await.is_err() {
                    return;
                }
                if began.elapsed() >= STABLE {
                    pause = MIN_PAUSE;
                }
            }
            Err(error) => {
                let sentence = format!("{error:#}");
                if said.as_ref() != Some(&sentence) {
                    tracing::warn!(hub = %location.url, error = sentence, "the hub cannot be reached; it is tried again");
                    said = Some(sentence);
                }
            }
        }
        // Not all clients of a hub that comes back must come at once.
        let share = rand::rng().random_range(0.5..1.0);
        tokio::select! {
            () = sleep(pause.mul_f64(share)) => {}
            () = events.closed() => {}
        }
        pause = (2 * pause).min(MAX_PAUSE);
    }
}

/// Moves frames until either side is done, and says why in a word for the log.
async fn converse(mut socket: Socket, events: &Events) -> &'static str {
    let (sender, mut outgoing) = mpsc::channel(WAITING);
    if events.send((LinkEvent::Opened, Some(sender))).await.is_err() {
        return "we stop";
    }
    let mut ping = interval_at(tokio::time::Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = true;
    let mut pings = RateLimiter::default();
    let max_pings = Rate::new(4 * MAX_PINGS_PER_SECOND, Duration::from_secs(4));
    loop {
        let message = tokio::select! {
            frame = outgoing.recv() => match frame {
                Some(text) => Message::text(text),
                None => {
                    let _ = timeout(WRITE, socket.close(None)).await;
                    return "closed by us";
                }
            },
            received = socket.next() => {
                heard = true;
                match received {
                    Some(Ok(Message::Text(text))) => {
                        // If nobody listens any more, what waits to be sent goes all the same.
                        let _ = events.send((LinkEvent::Text(text.as_str().to_owned()), None)).await;
                    }
                    // Pongs are sent by the library; a hub has no binary frames.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {
                        if pings.take(Instant::now(), max_pings, 1).is_err() {
                            return "too many pings";
                        }
                    }
                    Some(Ok(Message::Close(_))) | None => return "closed by the hub",
                    Some(Err(_)) => return "broken connection or frame too large",
                }
                continue;
            }
            _ = ping.tick() => {
                if !std::mem::take(&mut heard) {
                    return "hub silent";
                }
                Message::Ping(Default::default())
            }
        };
        match timeout(WRITE, socket.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "broken connection",
            Err(_) => return "the hub does not read",
        }
    }
}
