//! A connection's socket: it holds a place of its door, reads what it may, and lingers a little when it is over.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quartet_proto::rate::{Rate, RateLimiter};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Admission, CLOSED, MAX_READ, Progress, Standing};

/// A socket that holds a place of its door for as long as it is open.
pub(in crate::io) struct PlacedStream {
    /// Until it is dropped.
    stream: Option<TcpStream>,
    admission: Arc<Admission>,
    /// Bytes read before the hello was accepted.
    read: usize,
    /// Bytes read after that.
    bytes: RateLimiter,
    place: Option<OwnedSemaphorePermit>,
}

impl PlacedStream {
    pub(in crate::io) fn new(stream: TcpStream, admission: Arc<Admission>, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream: Some(stream),
            admission,
            read: 0,
            bytes: RateLimiter::default(),
            place: Some(place),
        }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("it is there until it is dropped"))
    }
}

/// Lets the other side read what is on its way, for a little while. Whether it does nobody can see from here, and what it does not read
/// the system would keep for minutes, megabytes a connection: so in the end that is thrown away.
async fn linger(mut stream: TcpStream, admission: Arc<Admission>, place: Option<OwnedSemaphorePermit>, by: Instant) {
    let closes = async {
        let mut scrap = [0; 512];
        while stream.read(&mut scrap).await.is_ok_and(|count| count > 0) {}
        // It may have closed its own direction alone.
        sleep(CLOSED).await;
    };
    let _ = timeout_at(by, closes).await;
    let _ = stream.set_zero_linger();
    drop((stream, place));
    admission.gone();
}

impl Drop for PlacedStream {
    fn drop(&mut self) {
        self.admission.pending.leave(self.admission.key);
        let Some(stream) = self.stream.take() else { return };
        let is_ended = matches!(*self.admission.standing.borrow(), Standing::Ended(_));
        let by = if is_ended { None } else { self.admission.over() };
        match (Handle::try_current(), by) {
            (Ok(runtime), Some(by)) => {
                runtime.spawn(linger(stream, Arc::clone(&self.admission), self.place.take(), by));
            }
            _ => {
                let _ = stream.set_zero_linger();
                drop(stream);
                self.admission.gone();
            }
        }
    }
}

impl AsyncRead for PlacedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if !self.admission.is_pending() {
            let done = self.stream().poll_read(cx, buf);
            let count = u32::try_from(buf.filled().len() - before).unwrap_or(u32::MAX);
            let rate = Rate::new(
                self.admission.pending.max_read_per_second.saturating_mul(16),
                Duration::from_secs(16),
            );
            if self.bytes.take(Instant::now().into_std(), rate, count).is_err() {
                self.admission.end("flood");
            }
            return done;
        }
        if self.read >= MAX_READ {
            // The rest stays with the system and the peer. Registered first, so that an admission in between is seen.
            self.admission.reader.register(cx.waker());
            if self.admission.is_pending() {
                return Poll::Pending;
            }
        }
        let done = self.stream().poll_read(cx, buf);
        self.read += buf.filled().len() - before;
        if self.read > 0 {
            self.admission.comes_to(Progress::Speaking);
        }
        done
    }
}

impl AsyncWrite for PlacedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(TcpStream::is_write_vectored)
    }
}
