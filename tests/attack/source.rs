//! A source: a UDP socket at an address of 127/8 of its own, talking to the gateway's SIP address.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::sip::{Message, Request};

/// The first retransmission of a request, doubled each time. RFC 3261 §17.1.2.
const T1: Duration = Duration::from_millis(500);

/// A source address of the attacker.
#[derive(Debug)]
pub(crate) struct Source {
    socket: UdpSocket,
    pub(crate) local: SocketAddr,
    pub(crate) gateway: SocketAddr,
}

/// The address of an attacker, by its number; phones are elsewhere (127.0.0.0/16).
pub(crate) fn attacker(number: u32) -> Ipv4Addr {
    let [_, _, high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

impl Source {
    pub(crate) fn bind(address: Ipv4Addr, gateway: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((address, 0)).with_context(|| format!("no socket at {address}"))?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local, gateway })
    }

    /// Sends bytes; what the system does not take is lost, as on any way.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.gateway).ok();
    }

    /// The next message that comes in this time.
    pub(crate) fn receive(&self, limit: Duration) -> Option<Message> {
        self.socket
            .set_read_timeout(Some(limit.max(Duration::from_millis(1))))
            .ok()?;
        self.read()
    }

    /// All messages that have come.
    pub(crate) fn drain(&self) -> Vec<Message> {
        if self.socket.set_nonblocking(true).is_err() {
            return Vec::new();
        }
        let all = std::iter::from_fn(|| self.read()).collect();
        self.socket.set_nonblocking(false).ok();
        all
    }

    /// Sends a request, and again as RFC 3261 wants, until its final response comes.
    pub(crate) fn ask(&self, request: &Request, limit: Duration) -> anyhow::Result<Message> {
        let text = request.text(self.local);
        let (end, mut wait) = (Instant::now() + limit, T1);
        while Instant::now() < end {
            self.send(text.as_bytes());
            let again = (Instant::now() + wait).min(end);
            while Instant::now() < again {
                let message = self.receive(again.saturating_duration_since(Instant::now()));
                if let Some(message) = message.filter(|m| m.answers(request) && m.status() >= 200) {
                    return Ok(message);
                }
            }
            wait *= 2;
        }
        bail!("no response to {} from {} in {limit:?}", request.method, self.local);
    }

    fn read(&self) -> Option<Message> {
        let mut buffer = [0; 65_535];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        let text = String::from_utf8_lossy(buffer.get(..length)?).into_owned();
        Some(Message { text })
    }
}
