//! TCP connections before they are WebSockets: bounded in number and in time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// A listener that accepts no more connections than it has places, and gives each only so long to say what it wants.
pub(super) struct GuardedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    request: Duration,
}

impl GuardedListener {
    pub(super) fn new(listener: TcpListener, places: usize, request: Duration) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            request,
        }
    }
}

impl Listener for GuardedListener {
    type Io = GuardedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (GuardedStream, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        // The trait of the listener inside waits out errors such as "too many open files".
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Small frames must not wait for each other; without the option the connection works, only slower.
        let _ = stream.set_nodelay(true);
        let admitted = Arc::new(AtomicBool::new(false));
        let deadline = Box::pin(sleep(self.request));
        (
            GuardedStream {
                stream,
                admitted,
                deadline,
                _place: place,
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection; its reads fail when the deadline passes before it is admitted.
pub(super) struct GuardedStream {
    stream: TcpStream,
    admitted: Arc<AtomicBool>,
    deadline: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

/// What a request handler knows of its connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The TCP peer.
    pub(super) address: SocketAddr,
    admitted: Arc<AtomicBool>,
}

impl Peer {
    /// Lifts the deadline: this connection is a WebSocket now.
    pub(super) fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, GuardedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, GuardedListener>) -> Self {
        Self {
            address: *stream.remote_addr(),
            admitted: Arc::clone(&stream.io().admitted),
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.admitted.load(Ordering::Relaxed) && self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
