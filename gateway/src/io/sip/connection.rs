//! One connection that carries SIP: its task reads messages and writes those of ours, until either side is done.
//!
//! The task tells the signalling task of a [`SipInput`] after another, and has an [`Outbox`] for what comes back. What a connection may
//! take before somebody has logged in over it is the [`door`](crate::io::door)'s business; one over which nobody is registered or in a
//! call any more is closed when it is looked at next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use quartet_proto::net::FiveTuple;
use quartet_proto::sip::MAX_MESSAGE;
use quartet_proto::sip::stream::{PONG, Piece, StreamBuffer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{Datagram, SipInput};
use crate::config::Origin;
use crate::io::pending::Admission;
use crate::io::{origin, sleep_until};

/// Read at once.
const READ: usize = 4 * 1024;
/// How long a message may take from its first byte to its last.
const WHOLE: Duration = Duration::from_secs(15);
/// How long one may take to be written.
const WRITE: Duration = Duration::from_secs(10);
/// How often it is looked whether a connection is still of use.
const LOOK: Duration = Duration::from_secs(120);
/// How long what waits may take once a connection is over.
const DRAIN: Duration = Duration::from_secs(1);
/// Between two pings of a WebSocket: a browser sends none, and NATs forget.
const PING: Duration = Duration::from_secs(25);
/// Messages that may wait for a peer that does not read.
const MAX_MESSAGES: usize = 4096;
/// Their bytes.
const MAX_WAITING: usize = 1024 * 1024;
/// The name of SIP among the protocols of a WebSocket, RFC 7118 §4.
const SUBPROTOCOL: &str = "sip";

/// Why a connection is over, as the log says it.
const GATEWAY_STOPS: &str = "the gateway stops";
pub(super) const SLOW_READER: &str = "slow reader";

/// A connection as the signalling task has it. Dropping it closes it once all is sent.
#[derive(Debug)]
pub struct Connection {
    pub(super) way: FiveTuple,
    pub(super) outbox: Outbox,
    /// Of one that a peer has opened.
    pub(super) admission: Option<Arc<Admission>>,
}

/// The way out.
#[derive(Debug)]
pub(super) struct Outbox {
    messages: mpsc::Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

/// The way out for what the task itself has to say. It keeps no connection open.
#[derive(Debug)]
pub(super) struct Pongs(mpsc::WeakSender<Vec<u8>>, Arc<AtomicUsize>);

/// What waits to be written.
#[derive(Debug)]
pub(super) struct Waiting {
    messages: mpsc::Receiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

/// Both ends of a way out.
pub(super) fn outbox() -> (Outbox, Waiting) {
    let (sender, messages) = mpsc::channel(MAX_MESSAGES);
    let waiting = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        messages: sender,
        waiting: Arc::clone(&waiting),
    };
    (outbox, Waiting { messages, waiting })
}

impl Outbox {
    /// Hands a message to the connection without waiting. `false`: the peer does not read.
    pub(super) fn send(&self, message: Vec<u8>) -> bool {
        send(&self.messages, &self.waiting, message)
    }

    pub(super) fn pongs(&self) -> Pongs {
        Pongs(self.messages.downgrade(), Arc::clone(&self.waiting))
    }
}

impl Pongs {
    /// Answers a keep-alive. `false`: the peer does not read, or the connection is being closed.
    fn send(&self) -> bool {
        let messages = self.0.upgrade();
        messages.is_some_and(|messages| send(&messages, &self.1, PONG.to_vec()))
    }
}

fn send(messages: &mpsc::Sender<Vec<u8>>, waiting: &AtomicUsize, message: Vec<u8>) -> bool {
    let size = message.len();
    waiting.fetch_add(size, Ordering::Relaxed) + size <= MAX_WAITING && messages.try_send(message).is_ok()
}

impl Waiting {
    async fn next(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.recv().await?;
        self.waiting.fetch_sub(message.len(), Ordering::Relaxed);
        Some(message)
    }
}

/// What a connection's task needs to tell the signalling task of it.
pub(super) struct Task {
    pub(super) way: FiveTuple,
    pub(super) input: mpsc::Sender<SipInput>,
    /// Keep-alives that are to be answered.
    pub(super) pongs: Pongs,
    pub(super) admission: Arc<Admission>,
}

impl Task {
    /// Carries SIP over a stream, until it is over.
    pub(super) async fn run_stream(self, stream: impl AsyncRead + AsyncWrite + Unpin, waiting: Waiting) {
        let (reader, writer) = tokio::io::split(stream);
        self.converse(self.read_stream(reader), write_stream(writer, waiting))
            .await;
    }

    /// The same over a WebSocket.
    pub(super) async fn run_websocket<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        socket: WebSocketStream<S>,
        waiting: Waiting,
    ) {
        let (sink, stream) = socket.split();
        self.converse(self.read_websocket(stream), write_websocket(sink, waiting))
            .await;
    }

    /// Runs both directions. The last that the signalling task hears is that the connection is closed; what it has said until then is
    /// sent.
    async fn converse(&self, read: impl Future<Output = &'static str>, write: impl Future<Output = &'static str>) {
        tokio::pin!(write);
        let (why, is_drained) = tokio::select! {
            why = read => (why, false),
            why = self.look() => (why, false),
            why = &mut write => (why, true),
            why = self.admission.ended() => (why, true),
        };
        tracing::debug!(remote = %self.way.remote, why, "SIP connection closed");
        if let Some(id) = self.way.connection {
            // If the signalling task is gone there is nobody left to tell.
            let _ = self.input.send(SipInput::Closed(id)).await;
        }
        if !is_drained {
            let _ = timeout(DRAIN, write).await;
        }
    }

    /// Has it looked from time to time whether the connection is still of use.
    async fn look(&self) -> &'static str {
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.input.send(SipInput::Look(self.way)).await.is_err() {
                return GATEWAY_STOPS;
            }
        }
    }

    /// Hands a message to the signalling task. `false`: that is gone.
    async fn hand_over(&self, payload: Vec<u8>) -> bool {
        let message = SipInput::Message(Datagram {
            five_tuple: self.way,
            payload,
        });
        self.input.send(message).await.is_ok()
    }

    async fn read_stream(&self, mut reader: impl AsyncRead + Unpin) -> &'static str {
        let mut buffer = StreamBuffer::default();
        let mut bytes = [0; READ];
        // By when the message that has begun must be whole.
        let mut whole = None;
        loop {
            let count = tokio::select! {
                read = reader.read(&mut bytes) => match read {
                    Ok(0) => return "closed by the peer",
                    Ok(count) => count,
                    Err(_) => return "broken connection",
                },
                () = sleep_until(whole) => return "a message that does not end",
            };
            buffer.push(bytes.get(..count).unwrap_or_default());
            loop {
                match buffer.next_piece() {
                    Ok(Some(Piece::Message(payload))) => {
                        whole = None;
                        if !self.hand_over(payload).await {
                            return GATEWAY_STOPS;
                        }
                    }
                    Ok(Some(Piece::Ping)) => {
                        if !self.pongs.send() {
                            return SLOW_READER;
                        }
                    }
                    Ok(None) => break,
                    Err(why) => {
                        tracing::debug!(remote = %self.way.remote, %why, "SIP stream");
                        return "nothing more can be read";
                    }
                }
            }
            whole = match (buffer.is_half(), whole) {
                (true, None) => Some(std::time::Instant::now() + WHOLE),
                (true, by) => by,
                (false, _) => None,
            };
        }
    }

    async fn read_websocket<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: SplitStream<WebSocketStream<S>>,
    ) -> &'static str {
        loop {
            let payload = match stream.next().await {
                Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
                Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
                // The library answers them.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => return "closed by the peer",
                Some(Err(_)) => return "broken connection or message too large",
            };
            // RFC 5626 §4.4.1, over a WebSocket as well (RFC 7118 §6).
            if payload.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                if !self.pongs.send() {
                    return SLOW_READER;
                }
            } else if !self.hand_over(payload).await {
                return GATEWAY_STOPS;
            }
        }
    }
}

async fn write_stream(mut writer: impl AsyncWrite + Unpin, mut waiting: Waiting) -> &'static str {
    while let Some(message) = waiting.next().await {
        let write = async {
            writer.write_all(&message).await?;
            writer.flush().await
        };
        match timeout(WRITE, write).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "broken connection",
            Err(_) => return SLOW_READER,
        }
    }
    let _ = timeout(DRAIN, writer.shutdown()).await;
    "closed by the gateway"
}

async fn write_websocket<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut waiting: Waiting,
) -> &'static str {
    let mut ping = interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = waiting.next() => match message {
                Some(message) => match String::from_utf8(message) {
                    Ok(text) => Message::text(text),
                    Err(bytes) => Message::binary(bytes.into_bytes()),
                },
                None => break,
            },
            _ = ping.tick() => Message::Ping(Vec::new().into()),
        };
        match timeout(WRITE, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "broken connection",
            Err(_) => return SLOW_READER,
        }
    }
    let _ = timeout(DRAIN, sink.close()).await;
    "closed by the gateway"
}

/// What a WebSocket may take.
fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE)
}

/// Makes a connection a WebSocket that carries SIP; gives what the client said when it asked for that. `None` if it asked for something
/// else, or may not.
pub(super) async fn upgraded<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    admission: &Admission,
    is_proxied: bool,
    origins: &[Origin],
) -> Option<(WebSocketStream<S>, HeaderMap)> {
    let mut headers = HeaderMap::new();
    #[allow(clippy::result_large_err, reason = "the library's type")]
    let decide = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let refusal = |status: StatusCode, sentence: &str| {
            let mut refusal = ErrorResponse::new(Some(sentence.to_owned()));
            *refusal.status_mut() = status;
            Err(refusal)
        };
        if !origin::is_allowed(request.headers(), is_proxied, origins) {
            return refusal(
                StatusCode::FORBIDDEN,
                "pages of this origin may not register here; name it with origins of [sip]\n",
            );
        }
        let asked = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
        let mut words = asked
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        if !words.any(|word| word.trim().eq_ignore_ascii_case(SUBPROTOCOL)) {
            return refusal(StatusCode::BAD_REQUEST, "only the protocol sip is spoken here\n");
        }
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        headers.clone_from(request.headers());
        Ok(response)
    };
    let shake = tokio_tungstenite::accept_hdr_async_with_config(stream, decide, Some(websocket_config()));
    let socket = tokio::select! {
        socket = shake => socket.ok()?,
        _ = admission.ended() => return None,
    };
    admission.upgraded();
    Some((socket, headers))
}

/// Waits for a connection of ours, not for ever.
pub(super) async fn within<T>(what: impl Future<Output = std::io::Result<T>>, by: Instant) -> std::io::Result<T> {
    timeout_at(by, what).await.map_err(|_| std::io::ErrorKind::TimedOut)?
}
