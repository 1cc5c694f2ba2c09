//! The peer's way to the hub: a session that outlives its connections.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use quartet_proto::hub::{ClientFrame, Heard};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::Task;
use crate::networks::{Link, Network};

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How long the hub is left alone after a connection was lost: twice as long each time.
pub(super) const MIN_PAUSE: Duration = Duration::from_millis(250);
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The next message, if there is a connection.
pub(super) async fn next_of(
    socket: &mut Option<Socket>,
) -> Option<Result<Message, tokio_tungstenite::tungstenite::Error>> {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

impl Task {
    /// A frame of the hub; true if the session is up with it.
    pub(super) fn on_frame(&mut self, text: &str) -> bool {
        let now = Instant::now();
        match self.session.handle_input(text) {
            Ok(Heard::Up(_)) => self.adapter.handle_link(now, Link::Up),
            Ok(Heard::Anew(_)) => self.adapter.handle_link(now, Link::Anew),
            Ok(Heard::Frame) => {
                self.adapter.handle_frame(now, text.as_bytes());
                return false;
            }
            Ok(Heard::Refused(failure)) => {
                tracing::debug!(?failure, "the hub refuses");
                return false;
            }
            Ok(Heard::Nothing) | Err(_) => return false,
        }
        true
    }

    /// What the adapter asks goes to the session, which sends it or keeps it.
    pub(super) fn queue(&mut self) {
        while let Some(frame) = self.adapter.poll_frame() {
            let frame = str::from_utf8(&frame)
                .ok()
                .and_then(|text| ClientFrame::parse(text).ok());
            if let Some(frame) = frame {
                self.session.send(&frame);
            }
        }
    }

    pub(super) async fn flush(&mut self, socket: &mut Socket) -> anyhow::Result<()> {
        self.queue();
        while let Some(text) = self.session.poll_transmit() {
            socket.send(Message::text(text)).await?;
        }
        Ok(())
    }
}
