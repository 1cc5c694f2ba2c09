//! One WebRTC session behind one machine: ICE finds the way, DTLS makes the keys, SRTP carries the media, SCTP the messages.
//!
//! Datagrams are told apart by their first byte (RFC 7983). Media is handled in place by [`Endpoint::receive`] and
//! [`Endpoint::send`]; all else comes out of [`Endpoint::poll_output`]. Nothing but STUN is looked at from an address that
//! no authentic check has come from, so a stranger can neither begin a handshake nor cost a cipher's time. Until the
//! handshake is verified, DTLS must come from the pair in use as well.

mod drive;
mod words;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::dtls::{Dtls, DtlsError};
use super::ice::{Ice, PathKind};
use super::sctp::{Sctp, SctpError};
use crate::rtp::packet::is_rtcp;
use crate::rtp::path::{self, PathLine};
use crate::rtp::srtp::{Inbound, Outbound, SrtpError};
pub use words::{Failure, Kind, Output, Received, RemoteError, Role, SendError, Sent};

/// The most that [`Endpoint::send`] appends to a packet.
pub const TAILROOM: usize = crate::rtp::srtp::MAX_OVERHEAD;
/// From the peer's credentials to media; product: "no connection within 20-30 s" ends the call.
const CONNECT_WITHIN: Duration = Duration::from_secs(25);
/// Silence (checks, media, everything) after which the peer is gone; it answers a check every 2 s at least.
const SILENT_AT_MOST: Duration = Duration::from_secs(12);
/// Silence after which ICE is restarted, and how often at most: the peer may be where none of its candidates leads.
const RESTART_AFTER: Duration = Duration::from_secs(4);
const RESTART_EVERY: Duration = Duration::from_secs(5);
/// Outputs that wait to be polled; the host polls after every call, so that only a bug fills it.
const MAX_OUTPUTS: usize = 256;
/// SSRCs remembered until there are keys; what SRTP would take in all.
const MAX_STREAMS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    Failed,
    Closed,
}

/// One end of a WebRTC connection: ICE, DTLS, SRTP and SCTP joined.
///
/// `now` must not go backwards. Drain [`Endpoint::poll_output`] after every other call.
pub struct Endpoint {
    role: Role,
    rng: Box<dyn CryptoRng + Send>,
    state: State,
    ice: Ice,
    dtls: Dtls,
    srtp: Option<(Outbound, Inbound)>,
    sctp: Option<Sctp>,
    /// DTLS role that the peer's `setup:` asks of us.
    active: bool,
    announced: Vec<u32>,
    /// The peer announces no stream: what knows the keys is its.
    learns: bool,
    lines: String,
    /// [`Output::Local`] was given for the lines that wait.
    told: bool,
    /// Where the first handshake message came from that we answered: the pair in use before ICE has nominated one.
    dtls_from: Option<(u32, SocketAddr)>,
    connect_by: Option<Instant>,
    heard: Instant,
    restarted: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("role", &self.role)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Makes a session with a certificate and credentials of its own.
    ///
    /// # Errors
    /// [`DtlsError::Certificate`].
    pub fn new(role: Role, rng: Box<dyn CryptoRng + Send>, now: Instant) -> Result<Self, DtlsError> {
        let mut rng = rng;
        let dtls = Dtls::new(now)?;
        let setup = match role {
            Role::Offer => "actpass",
            Role::Answer => "passive",
        };
        let lines = format!("fingerprint:{}\nsetup:{setup}\n", dtls.fingerprint());
        Ok(Endpoint {
            role,
            state: State::Connecting,
            ice: Ice::new(role == Role::Offer, &mut *rng),
            rng,
            dtls,
            srtp: None,
            sctp: None,
            active: role == Role::Offer,
            announced: Vec::new(),
            learns: false,
            lines,
            told: false,
            dtls_from: None,
            connect_by: None,
            heard: now,
            restarted: None,
            outputs: VecDeque::new(),
        })
    }

    /// Takes the lines of our description that were not taken yet. They hold a password: not for logs.
    pub fn local_lines(&mut self) -> String {
        let mut lines = self.ice.take_lines();
        lines.push_str(&std::mem::take(&mut self.lines));
        self.told = false;
        lines
    }

    /// Takes lines of the peer's description: additive, in any order, in any pieces. Unknown ones are skipped.
    ///
    /// # Errors
    /// [`RemoteError`] for the first line that is broken; all others were taken.
    pub fn remote_lines(&mut self, now: Instant, lines: &str) -> Result<(), RemoteError> {
        let mut result = Ok(());
        for line in lines.lines().map(str::trim) {
            let taken = self.remote_line(line);
            result = result.and(taken);
        }
        if self.connect_by.is_none() && self.state == State::Connecting && self.ice.has_remote() {
            self.connect_by = Some(now + CONNECT_WITHIN);
        }
        self.ice.handle_timeout(now);
        self.drive(now);
        result
    }

    /// Takes lines about our paths: `path:1 component 1 host 192.0.2.7 40000 mtu 1200`, `path:1 gone`. The line of a path that is known
    /// may come again with the address that a server sees it as. If the one in use has gone, ICE is restarted.
    pub fn path_lines(&mut self, now: Instant, lines: &str) {
        let was_selected = self.ice.selected().is_some();
        // What has gone comes first: then what has come is known to be where this machine has moved to.
        let (gone, added): (Vec<_>, Vec<_>) = lines
            .lines()
            .filter_map(path::parse)
            .partition(|line| matches!(line, PathLine::Gone { .. }));
        for line in gone.into_iter().chain(added) {
            match line {
                PathLine::Added {
                    path,
                    component: 1,
                    kind,
                    address,
                    outer,
                    ..
                } => {
                    let kind = match kind {
                        path::Kind::Host => PathKind::Host,
                        path::Kind::Relay => PathKind::Relay,
                        path::Kind::StreamRelay => PathKind::StreamRelay,
                    };
                    self.add_path(now, path, kind, address);
                    if let Some(outer) = outer {
                        self.ice.add_outer(path, outer);
                    }
                }
                // Everything goes over one component (rtcp-mux).
                PathLine::Added { .. } => {}
                PathLine::Gone { path } => {
                    self.ice.remove_path(path);
                    self.dtls_from = self.dtls_from.filter(|(of, _)| *of != path);
                }
            }
        }
        if was_selected && self.ice.selected().is_none() {
            self.restart(now);
        }
        self.ice.handle_timeout(now);
        self.drive(now);
    }

    /// Adds an address of ours. False if it cannot be used or there are too many.
    pub fn add_path(&mut self, now: Instant, path: u32, kind: PathKind, address: SocketAddr) -> bool {
        let added = self.ice.add_path(path, kind, address);
        self.drive(now);
        added
    }

    /// Begins a new ICE generation, for instance on another network. The old one goes on until the new one has found a pair.
    pub fn restart(&mut self, now: Instant) {
        if matches!(self.state, State::Connecting | State::Connected) {
            self.restarted = Some(now);
            self.ice.restart(&mut *self.rng);
            self.ice.handle_timeout(now);
            self.drive(now);
        }
    }

    /// Ends the session; the peer is told. Drain the outputs once more, then drop the machine.
    pub fn close(&mut self, now: Instant) {
        if matches!(self.state, State::Connecting | State::Connected) {
            self.dtls.close();
            self.drive(now);
            self.state = State::Closed;
            self.forget();
        }
    }

    /// Takes a datagram and says what it has become.
    pub fn receive(&mut self, now: Instant, path: u32, source: SocketAddr, datagram: &mut [u8]) -> Received {
        if !matches!(self.state, State::Connecting | State::Connected) {
            return Received::Nothing;
        }
        match datagram.first() {
            Some(0..=3) => {
                if self.ice.receive(now, path, source, datagram) {
                    self.heard = now;
                }
                self.drive(now);
                Received::Nothing
            }
            Some(20..=63) if self.takes_dtls(path, source) => {
                self.receive_dtls(now, path, source, datagram);
                Received::Nothing
            }
            Some(128..=191) if self.ice.is_checked(path, source) => {
                let received = self.receive_media(datagram);
                if received != Received::Nothing {
                    self.heard = now;
                    self.ice.note_media(now, path, source);
                }
                received
            }
            _ => Received::Nothing,
        }
    }

    /// Protects the packet in the first `length` bytes of `buffer`, which needs [`TAILROOM`] bytes more.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub fn send(&mut self, now: Instant, kind: Kind, buffer: &mut [u8], length: usize) -> Result<Sent, SendError> {
        if length > buffer.len() {
            return Err(SrtpError::NoRoom.into());
        }
        if self.state != State::Connected {
            return Err(SendError::NotConnected);
        }
        if let Kind::Data { text } = kind {
            let sctp = self.sctp.as_mut().ok_or(SctpError::NotOpen)?;
            sctp.send(now, text, &buffer[..length])?;
            self.drive(now);
            return Ok(Sent::Kept);
        }
        let (Some((srtp, _)), Some((path, destination))) = (&mut self.srtp, self.ice.selected()) else {
            return Err(SendError::NotConnected);
        };
        let length = match kind {
            Kind::Rtp => srtp.protect_rtp(buffer, length)?,
            Kind::Rtcp | Kind::Data { .. } => srtp.protect_rtcp(buffer, length)?,
        };
        Ok(Sent::Transmit {
            length,
            path,
            destination,
        })
    }

    /// Advances time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !matches!(self.state, State::Connecting | State::Connected) {
            return;
        }
        if self.connect_by.is_some_and(|by| by <= now) {
            let failure = if self.ice.selected().is_some() {
                Failure::Dtls
            } else {
                Failure::Ice
            };
            self.fail(failure);
            return;
        }
        if self.silent_at().is_some_and(|at| at <= now) {
            self.fail(Failure::Ice);
            return;
        }
        if self.restart_at().is_some_and(|at| at <= now) {
            self.restart(now);
        }
        self.ice.handle_timeout(now);
        if let Err(error) = self.dtls.handle_timeout(now) {
            self.drive(now);
            self.fail_dtls(error);
            return;
        }
        if let Some(sctp) = &mut self.sctp {
            sctp.handle_timeout(now);
        }
        self.drive(now);
    }

    /// The next thing that the machine made by itself.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Endpoint::handle_timeout`] is wanted.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if !matches!(self.state, State::Connecting | State::Connected) {
            return None;
        }
        let ice = self.ice.poll_timeout();
        let sctp = self.sctp.as_ref().and_then(Sctp::poll_timeout);
        let own = [self.connect_by, self.silent_at(), self.restart_at()]
            .into_iter()
            .flatten();
        ice.into_iter()
            .chain(self.dtls.poll_timeout())
            .chain(sctp)
            .chain(own)
            .min()
    }

    /// True between [`Output::Connected`] and the end.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    fn silent_at(&self) -> Option<Instant> {
        (self.state == State::Connected).then(|| self.heard + SILENT_AT_MOST)
    }

    fn restart_at(&self) -> Option<Instant> {
        let silent = (self.state == State::Connected).then(|| self.heard + RESTART_AFTER)?;
        Some(self.restarted.map_or(silent, |last| silent.max(last + RESTART_EVERY)))
    }

    fn remote_line(&mut self, line: &str) -> Result<(), RemoteError> {
        if let Some(fingerprint) = line.strip_prefix("fingerprint:") {
            self.dtls.expect(fingerprint)?;
        } else if let Some(setup) = line.strip_prefix("setup:") {
            // RFC 8842 §5: who says passive is the server; what the peer leaves open follows from our role.
            self.active = match setup.trim() {
                "active" => false,
                "passive" => true,
                _ => self.role == Role::Offer,
            };
        } else if let Some(stream) = line.strip_prefix("ssrc:") {
            if let Some(ssrc) = stream
                .split_ascii_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
            {
                self.announce(ssrc);
            }
        } else if line == "x-ssrc:any" {
            self.learns = true;
        } else {
            self.ice.remote_line(line, &mut *self.rng)?;
        }
        Ok(())
    }

    fn announce(&mut self, ssrc: u32) {
        if let Some((_, srtp)) = &mut self.srtp {
            srtp.announce(ssrc);
        } else if self.announced.len() < MAX_STREAMS && !self.announced.contains(&ssrc) {
            self.announced.push(ssrc);
        }
    }

    /// Whether DTLS from there is looked at.
    ///
    /// Before the handshake is verified its records are forged by who can write an address, so only the pair in use counts,
    /// not all that a candidate list names. Afterwards a key decides, and the peer may move before ICE has followed.
    fn takes_dtls(&self, path: u32, source: SocketAddr) -> bool {
        if self.dtls.is_connected() || !self.ice.has_nominated() && self.dtls_from.is_none() {
            self.ice.is_checked(path, source)
        } else if self.ice.has_nominated() {
            self.ice.is_nominated(path, source)
        } else {
            self.dtls_from == Some((path, source))
        }
    }

    fn receive_dtls(&mut self, now: Instant, path: u32, source: SocketAddr, datagram: &[u8]) {
        // The client has chosen a pair when it sends; as client we choose, and nothing can be an answer before.
        if !self.active {
            self.start_dtls(now);
        }
        match self.dtls.receive(now, datagram) {
            Ok(answered) => {
                if answered && self.dtls_from.is_none() {
                    self.dtls_from = Some((path, source));
                }
                self.drive(now);
            }
            Err(error) => {
                self.drive(now);
                self.fail_dtls(error);
            }
        }
    }

    fn receive_media(&mut self, datagram: &mut [u8]) -> Received {
        let Some((_, srtp)) = &mut self.srtp else {
            return Received::Nothing;
        };
        let opened = if is_rtcp(datagram) {
            srtp.unprotect_rtcp(datagram).map(Received::Rtcp)
        } else {
            srtp.unprotect_rtp(datagram).map(Received::Rtp)
        };
        match opened {
            Ok(received) => {
                self.dtls.media_received();
                received
            }
            Err(error) => {
                tracing::trace!(%error, "media dropped");
                Received::Nothing
            }
        }
    }

    fn fail_dtls(&mut self, error: DtlsError) {
        self.fail(match error {
            DtlsError::Fingerprint => Failure::Fingerprint,
            DtlsError::Handshake | DtlsError::Certificate | DtlsError::FingerprintLine => Failure::Dtls,
        });
    }

    fn fail(&mut self, failure: Failure) {
        if matches!(self.state, State::Connecting | State::Connected) {
            tracing::debug!(cause = failure.word(), "session failed");
            self.state = State::Failed;
            self.forget();
            self.push(Output::Failed(failure));
        }
    }

    fn forget(&mut self) {
        self.srtp = None;
        self.sctp = None;
        self.connect_by = None;
    }

    fn push(&mut self, output: Output) {
        if self.outputs.len() >= MAX_OUTPUTS {
            // What a network loses anyway goes first.
            match self
                .outputs
                .iter()
                .position(|output| matches!(output, Output::Transmit { .. }))
            {
                Some(oldest) => drop(self.outputs.remove(oldest)),
                None => drop(self.outputs.pop_front()),
            }
        }
        self.outputs.push_back(output);
    }
}

#[cfg(test)]
mod tests;
