//! Finds a pair of addresses that works and keeps it (over `is`). RFC 8445, RFC 8838 (trickle), RFC 7675 (consent).
//!
//! One component, UDP only, aggressive renomination off. It gathers nothing: paths are told. Candidates may come before the
//! credentials that they belong to, and are kept for them.
//!
//! A restart is a second generation beside the one in use, which goes on until the new one has a pair (RFC 8445 §9): a restart that
//! comes to nothing costs nothing.

mod answers;
mod generation;
mod in_use;
mod sources;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::{Candidate, Protocol};
use rand_core::CryptoRng;

use self::generation::{Credentials, Generation, MAX_CANDIDATES};
use self::in_use::{Heard, InUse};
use self::sources::remember;
use self::words::{checked_text, line, read};
use crate::net::is_destination;

/// Longest candidate line; those of browsers have some 150 bytes.
const MAX_LINE: usize = 512;
/// Most paths of ours.
const MAX_PATHS: usize = 16;
/// Lengths that RFC 8445 §5.3 allows.
const UFRAG: std::ops::RangeInclusive<usize> = 4..=256;
const PASSWORD: std::ops::RangeInclusive<usize> = 22..=256;

/// How a path of ours reaches the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A socket of this machine.
    Host,
    /// An address on a relay; packets for it go to the relay below us.
    Relay,
    /// The same over a stream, which comes after all relays over datagrams.
    StreamRelay,
}

/// What the far side's description got wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IceError {
    /// The peer's user fragment or password has a length or letters that RFC 8445 does not allow.
    #[error("ICE credentials of the peer are broken")]
    Credentials,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceEvent {
    /// A pair was nominated: packets go there from now on.
    Selected {
        /// Our path.
        path: u32,
        /// The peer's address.
        destination: SocketAddr,
    },
}

/// A check or an answer to one, to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Our path.
    pub path: u32,
    /// The peer's address.
    pub destination: SocketAddr,
    /// The STUN message.
    pub bytes: Vec<u8>,
}

/// An ICE agent with one data stream. Drain [`Ice::poll_transmit`] and [`Ice::poll_event`] after every other call.
pub struct Ice {
    current: Generation,
    /// A restart, until it has a pair.
    next: Option<Box<Generation>>,
    /// With the number of moves before it.
    paths: BTreeMap<u32, (PathKind, SocketAddr, u32)>,
    /// How often the path in use has gone.
    moves: u32,
    lines: String,
    staged: (Option<String>, Option<String>),
    /// Lines about outer addresses, by path.
    outer: BTreeMap<u32, String>,
    /// Candidates that wait for credentials.
    pending: Vec<String>,
    checked: VecDeque<(u32, SocketAddr)>,
    /// Pairs that one side has nominated: all that were selected, and those that the peer's checks say it uses.
    nominated: VecDeque<(u32, SocketAddr)>,
    in_use: InUse,
}

impl std::fmt::Debug for Ice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ice")
            .field("paths", &self.paths.len())
            .field("selected", &self.in_use.pair().is_some())
            .finish()
    }
}

impl Ice {
    /// An agent with fresh credentials.
    pub fn new<R: CryptoRng + ?Sized>(controlling: bool, rng: &mut R) -> Self {
        let current = Generation::new(controlling, rng);
        Ice {
            lines: current.credential_lines(),
            current,
            next: None,
            paths: BTreeMap::new(),
            moves: 0,
            staged: (None, None),
            outer: BTreeMap::new(),
            pending: Vec::new(),
            checked: VecDeque::new(),
            nominated: VecDeque::new(),
            in_use: InUse::default(),
        }
    }

    /// Takes the lines of our description that were not taken yet: `ice-ufrag:`, `ice-pwd:`, `candidate:`.
    pub fn take_lines(&mut self) -> String {
        std::mem::take(&mut self.lines)
    }

    /// True if [`Ice::take_lines`] has something.
    #[must_use]
    pub fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Adds an address of ours. False if it cannot be used, is known, or there are too many.
    pub fn add_path(&mut self, path: u32, kind: PathKind, address: SocketAddr) -> bool {
        if self.paths.len() >= MAX_PATHS || self.paths.contains_key(&path) {
            return false;
        }
        let Some(text) = self.current.add_local(kind, address, self.moves) else {
            return false;
        };
        if let Some(next) = &mut self.next {
            next.add_local(kind, address, self.moves);
        }
        self.lines.push_str(&text);
        self.paths.insert(path, (kind, address, self.moves));
        true
    }

    /// Tells the peer an address that a NAT passes on to this path, as a setting or a server says: a server-reflexive candidate. The
    /// agent does without it, since what is sent from it is sent from its base (RFC 8445 §6.1.2.4).
    pub fn add_outer(&mut self, path: u32, outer: SocketAddr) {
        let Some((_, base, _)) = self.paths.get(&path) else {
            return;
        };
        // A server may say what it likes; nobody is sent to himself.
        let is_nowhere = outer.ip().is_unspecified() || outer.ip().is_multicast() || outer.port() == 0;
        if is_nowhere || outer.ip().is_loopback() && !base.ip().is_loopback() {
            return;
        }
        let Ok(candidate) = Candidate::server_reflexive(outer, *base, Protocol::Udp) else {
            return;
        };
        let text = line(&candidate);
        if self.outer.get(&path) != Some(&text) {
            self.lines.push_str(&text);
            self.outer.insert(path, text);
        }
    }

    /// Takes an address of ours away; packets stop going there.
    pub fn remove_path(&mut self, path: u32) {
        self.outer.remove(&path);
        let Some((_, address, _)) = self.paths.remove(&path) else {
            return;
        };
        self.moves += u32::from(self.selected().is_some_and(|(of, _)| of == path));
        self.generations()
            .for_each(|generation| generation.remove_local(address));
        self.checked.retain(|(of, _)| *of != path);
        self.nominated.retain(|(of, _)| *of != path);
        self.in_use.remove_path(path);
    }

    /// Takes one line of the peer's description, if it is about ICE. A new pair of credentials begins a new generation.
    ///
    /// # Errors
    /// [`IceError::Credentials`]; the old ones stay.
    pub fn remote_line<R: CryptoRng + ?Sized>(&mut self, line: &str, rng: &mut R) -> Result<(), IceError> {
        if let Some(fragment) = line.strip_prefix("ice-ufrag:") {
            self.staged.0 = Some(checked_text(fragment, UFRAG)?);
        } else if let Some(password) = line.strip_prefix("ice-pwd:") {
            self.staged.1 = Some(checked_text(password, PASSWORD)?);
        } else if line.starts_with("candidate:") {
            self.remote_candidate(line);
            return Ok(());
        } else {
            return Ok(());
        }
        let (Some(_), Some(_)) = &self.staged else {
            return Ok(());
        };
        let (Some(fragment), Some(password)) = std::mem::take(&mut self.staged) else {
            return Ok(());
        };
        self.new_generation(Credentials { fragment, password }, rng);
        Ok(())
    }

    /// Begins a new generation from our side: new lines, and the old one until the new one has a pair. Nothing while the peer has not
    /// answered the one before.
    pub fn restart<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        if !self.is_unanswered() {
            self.begin(rng);
        }
    }

    /// True once the peer's credentials are known.
    #[must_use]
    pub fn has_remote(&self) -> bool {
        self.current.remote().is_some()
    }

    /// Where packets go.
    #[must_use]
    pub fn selected(&self) -> Option<(u32, SocketAddr)> {
        self.in_use.pair()
    }

    /// How long a packet took last to the peer and back, over the pair that our checks chose.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.current.round_trip()
    }

    /// The same, once for each check that was answered.
    pub fn poll_round_trip(&mut self) -> Option<Duration> {
        self.current.poll_round_trip()
    }

    /// True if a check with our password has come from there: what else comes from there is worth a look.
    #[must_use]
    pub fn is_checked(&self, path: u32, source: SocketAddr) -> bool {
        self.checked.contains(&(path, source))
    }

    /// True once a pair was nominated, by us or by the peer.
    #[must_use]
    pub fn has_nominated(&self) -> bool {
        !self.nominated.is_empty()
    }

    /// True if the pair was selected, or if the peer's latest check on it carries USE-CANDIDATE: the peer may send on it.
    ///
    /// The two sides need not select the same pair at the same time, and the peer may keep to its own choice.
    #[must_use]
    pub fn is_nominated(&self, path: u32, source: SocketAddr) -> bool {
        self.nominated.contains(&(path, source))
    }

    /// Takes a STUN datagram. True if it was authentic, so that the peer is alive.
    pub fn receive(&mut self, now: Instant, path: u32, source: SocketAddr, bytes: &[u8]) -> bool {
        let Some((_, local, _)) = self.paths.get(&path) else {
            return false;
        };
        let (pair, local, is_checked) = ((path, source), *local, self.checked.contains(&(path, source)));
        let place = (pair, local);
        let received = self
            .generations()
            .find_map(|generation| generation.receive(now, place, bytes, is_checked));
        let Some(authentic) = received else {
            return false;
        };
        remember(&mut self.checked, pair, self.in_use.pair());
        match authentic.nominates {
            Some(true) => remember(&mut self.nominated, pair, self.in_use.pair()),
            Some(false) if self.in_use.pair() != Some(pair) => self.nominated.retain(|known| *known != pair),
            Some(false) | None => {}
        }
        let what = if authentic.is_answer {
            Heard::Answer
        } else {
            Heard::Check
        };
        self.in_use.note(now, pair, what);
        // Answers leave at once, and what a check set off begins.
        self.handle_timeout(now);
        true
    }

    /// Media of the peer's has come by this pair.
    pub fn note_media(&mut self, now: Instant, path: u32, source: SocketAddr) {
        self.in_use.note(now, (path, source), Heard::Media);
    }

    /// Advances time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.generations().for_each(|generation| generation.handle_timeout(now));
    }

    /// When [`Ice::handle_timeout`] is wanted.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.generations().filter_map(Generation::poll_timeout).min()
    }

    /// The next check or answer to send.
    pub fn poll_transmit(&mut self) -> Option<Check> {
        loop {
            let (source, destination, bytes) = self.generations().find_map(Generation::poll_transmit)?;
            // A path that has gone meanwhile has nothing more to say.
            if let Some(path) = self.path_of(source) {
                return Some(Check {
                    path,
                    destination,
                    bytes,
                });
            }
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<IceEvent> {
        loop {
            let of_next = self.next.as_mut().and_then(|next| next.poll_selected());
            let (source, destination) = match of_next {
                Some(selected) => {
                    if let Some(next) = self.next.take() {
                        self.current = *next;
                    }
                    selected
                }
                None => self.current.poll_selected()?,
            };
            if let Some(path) = self.path_of(source) {
                self.in_use.nominate((path, destination));
                remember(&mut self.nominated, (path, destination), self.in_use.pair());
                self.current.set_connected();
                return Some(IceEvent::Selected { path, destination });
            }
        }
    }

    /// The generation in use, and then the one that is to follow it.
    fn generations(&mut self) -> impl Iterator<Item = &mut Generation> {
        std::iter::once(&mut self.current).chain(self.next.as_deref_mut())
    }

    /// True while a restart of ours has no answer.
    fn is_unanswered(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.remote().is_none())
    }

    fn path_of(&self, address: SocketAddr) -> Option<u32> {
        self.paths
            .iter()
            .find(|(_, (_, of, _))| *of == address)
            .map(|(path, _)| *path)
    }

    fn new_generation<R: CryptoRng + ?Sized>(&mut self, remote: Credentials, rng: &mut R) {
        let is_first = self.current.remote().is_none();
        let latest = self.next.as_ref().map_or(self.current.remote(), |next| next.remote());
        if latest == Some(&remote) {
            return;
        }
        if !is_first && !self.is_unanswered() {
            self.begin(rng);
        }
        // A peer that answers our restart with its old credentials keeps its old candidates too.
        let mut lines = match self.current.remote() == Some(&remote) {
            true => self.current.candidates().to_vec(),
            false => Vec::new(),
        };
        // Restarted before its first answer, which may be to either.
        if is_first {
            self.current.set_remote(remote.clone());
        }
        if let Some(next) = &mut self.next {
            next.set_remote(remote);
        }
        lines.append(&mut self.pending);
        lines.iter().for_each(|line| self.remote_candidate(line));
    }

    /// Begins a generation, with new credentials and all addresses.
    fn begin<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        let mut next = Generation::new(self.current.is_controlling(), rng);
        self.lines.push_str(&next.credential_lines());
        for (kind, address, moves) in self.paths.values() {
            self.lines.extend(next.add_local(*kind, *address, *moves));
        }
        self.outer.values().for_each(|line| self.lines.push_str(line));
        self.next = Some(Box::new(next));
    }

    /// True if a socket of ours is bound to loopback: then peers of this machine are wanted.
    fn is_on_loopback(&self) -> bool {
        self.paths
            .values()
            .any(|(kind, address, _)| *kind == PathKind::Host && address.ip().to_canonical().is_loopback())
    }

    /// Unresolvable names, TCP, other components and nonsense are ignored, and so are addresses of a group, of nowhere, and
    /// of this machine unless peers of this machine are wanted: a peer must not have us send checks to a whole network, or to
    /// services that trust whoever comes from loopback. Ports below 1024 are fine: relays of calls listen there.
    fn remote_candidate(&mut self, line: &str) {
        if line.len() > MAX_LINE {
            return;
        }
        let Some(candidate) = read(line) else {
            tracing::debug!("candidate ignored");
            return;
        };
        // The component is private to the crate; it is the second word of the line, which has just been parsed.
        let component = line.split_whitespace().nth(1);
        let address = candidate.addr();
        let usable = candidate.proto() == Protocol::Udp
            && component == Some("1")
            && address.port() != 0
            && is_destination(address.ip(), self.is_on_loopback());
        if !usable {
            return;
        }
        let mut of_one = false;
        for generation in self.generations().filter(|generation| generation.has(&candidate)) {
            generation.add_remote(line, candidate.clone());
            of_one = true;
        }
        // It may be of a generation that is still to be told of.
        if (!of_one || self.is_unanswered())
            && self.pending.len() < MAX_CANDIDATES
            && self.pending.iter().all(|known| known != line)
        {
            self.pending.push(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
