//! Finds a pair of addresses that works and keeps it (over `is`). RFC 8445, RFC 8838 (trickle), RFC 7675 (consent).
//!
//! One component, UDP only, aggressive renomination off. It gathers nothing: paths are told. Candidates may come before the
//! credentials that they belong to, and are kept for them.

mod sources;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};
use rand_core::CryptoRng;
use zeroize::Zeroize;

use self::sources::{check_of, remember};
use self::words::{checked_text, credentials, line, preference, read};
use crate::net::is_destination;

/// Most candidates of the peer's that are used in one generation; the pairs are bounded by the agent (100).
const MAX_CANDIDATES: usize = 64;
/// Longest candidate line; those of browsers have some 150 bytes.
const MAX_LINE: usize = 512;
/// Most paths of ours.
const MAX_PATHS: usize = 16;
/// Lengths that RFC 8445 §5.3 allows.
const UFRAG: std::ops::RangeInclusive<usize> = 4..=256;
const PASSWORD: std::ops::RangeInclusive<usize> = 22..=256;
/// A check is repeated at least this often; also the pace of consent on a pair that works.
const SLOWEST_CHECK: Duration = Duration::from_secs(2);
/// Unanswered checks before a pair is given up: about 28 s while connecting, longer than the endpoint waits.
const MAX_UNANSWERED_CONNECTING: usize = 14;
/// The same once connected: 5.5 s, so that another pair takes over before consent is lost.
const MAX_UNANSWERED_CONNECTED: usize = 4;

/// How a path of ours reaches the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A socket of this machine.
    Host,
    /// An address on a relay; packets for it go to the relay below us.
    Relay,
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
    agent: IceAgent,
    paths: BTreeMap<u32, (PathKind, SocketAddr)>,
    lines: String,
    remote: Option<Credentials>,
    staged: (Option<String>, Option<String>),
    /// Lines about outer addresses, by path.
    outer: BTreeMap<u32, String>,
    /// Candidates of the present generation, and those that wait for credentials.
    candidates: Vec<String>,
    pending: Vec<String>,
    /// We have restarted and wait for the peer's answer.
    awaiting: bool,
    checked: VecDeque<(u32, SocketAddr)>,
    /// Transactions of the peer's checks, and where each came from first: whoever has seen one could send it from everywhere.
    seen: VecDeque<([u8; 12], (u32, SocketAddr))>,
    /// The checks of this generation before those.
    old: BTreeSet<u64>,
    /// Sources that no candidate has named.
    reflexive: BTreeSet<SocketAddr>,
    /// Addresses of the candidates in use.
    named: BTreeSet<SocketAddr>,
    /// Pairs that one side has nominated: all that were selected, and those that the peer's checks say it uses.
    nominated: VecDeque<(u32, SocketAddr)>,
    selected: Option<(u32, SocketAddr)>,
}

#[derive(PartialEq, Eq)]
struct Credentials {
    fragment: String,
    password: String,
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl std::fmt::Debug for Ice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ice")
            .field("paths", &self.paths.len())
            .field("selected", &self.selected.is_some())
            .finish()
    }
}

impl Ice {
    /// An agent with fresh credentials.
    pub fn new<R: CryptoRng + ?Sized>(now: Instant, controlling: bool, rng: &mut R) -> Self {
        let mut agent = IceAgent::new(credentials(rng));
        agent.set_controlling(controlling);
        agent.set_control_tie_breaker(rng.next_u64());
        agent.set_local_preference(preference);
        agent.set_max_stun_rto(SLOWEST_CHECK);
        agent.set_max_stun_retransmits(MAX_UNANSWERED_CONNECTING);
        // The first timeout announces our credentials as an event; nobody needs it.
        unlogged(|| {
            agent.handle_timeout(now);
            while agent.poll_event().is_some() {}
        });
        let mut ice = Ice {
            agent,
            paths: BTreeMap::new(),
            lines: String::new(),
            remote: None,
            staged: (None, None),
            outer: BTreeMap::new(),
            candidates: Vec::new(),
            pending: Vec::new(),
            awaiting: false,
            checked: VecDeque::new(),
            seen: VecDeque::new(),
            old: BTreeSet::new(),
            reflexive: BTreeSet::new(),
            named: BTreeSet::new(),
            nominated: VecDeque::new(),
            selected: None,
        };
        ice.write_credentials();
        ice
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
        let candidate = match kind {
            PathKind::Host => Candidate::host(address, Protocol::Udp),
            PathKind::Relay => Candidate::relayed(address, address, Protocol::Udp),
        };
        let Some(added) = candidate
            .ok()
            .and_then(|candidate| self.agent.add_local_candidate(candidate))
        else {
            return false;
        };
        self.lines.push_str(&line(added));
        self.paths.insert(path, (kind, address));
        true
    }

    /// Tells the peer an address that a NAT is known to pass on to this path: a server-reflexive candidate that needs no server. The
    /// agent does without it, since what is sent from it is sent from its base (RFC 8445 §6.1.2.4).
    pub fn add_outer(&mut self, path: u32, outer: SocketAddr) {
        let Some((_, base)) = self.paths.get(&path) else { return };
        let Ok(candidate) = Candidate::server_reflexive(outer, *base, Protocol::Udp) else {
            return;
        };
        let text = line(&candidate);
        self.lines.push_str(&text);
        self.outer.insert(path, text);
    }

    /// Takes an address of ours away; packets stop going there.
    pub fn remove_path(&mut self, path: u32) {
        self.outer.remove(&path);
        let Some((_, address)) = self.paths.remove(&path) else {
            return;
        };
        let gone: Vec<Candidate> = self
            .agent
            .local_candidates()
            .filter(|candidate| candidate.local() == address)
            .collect();
        for candidate in &gone {
            self.agent.invalidate_candidate(candidate);
        }
        self.checked.retain(|(of, _)| *of != path);
        self.nominated.retain(|(of, _)| *of != path);
        if self.selected.is_some_and(|(of, _)| of == path) {
            self.selected = None;
        }
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

    /// Begins a new generation from our side: new lines, and the old pair until the peer has answered.
    pub fn restart<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        self.renew(rng);
        self.awaiting = true;
    }

    /// True once the peer's credentials are known.
    #[must_use]
    pub fn has_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// True while a restart of ours has no answer.
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        self.awaiting
    }

    /// Where packets go.
    #[must_use]
    pub fn selected(&self) -> Option<(u32, SocketAddr)> {
        self.selected
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
        let Some((_, address)) = self.paths.get(&path) else {
            return false;
        };
        let Ok(message) = StunMessage::parse(bytes) else {
            return false;
        };
        let transaction = check_of(bytes);
        if transaction.is_some_and(|transaction| !self.may_come_from(transaction, (path, source))) {
            return false;
        }
        // What a controlling peer says about this pair, by a check on it.
        let nomination = message.ice_controlling().map(|_| message.use_candidate());
        let packet = StunPacket {
            proto: Protocol::Udp,
            source,
            destination: *address,
            message,
        };
        let authentic = self.agent.handle_packet(now, packet);
        if authentic {
            self.note_source((path, source), transaction);
        }
        match nomination.filter(|_| authentic) {
            Some(true) => remember(&mut self.nominated, (path, source), self.selected),
            Some(false) if self.selected != Some((path, source)) => {
                self.nominated.retain(|pair| *pair != (path, source));
            }
            Some(false) | None => {}
        }
        // Answers leave at once, and what a check set off begins.
        self.agent.handle_timeout(now);
        authentic
    }

    /// Advances time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
    }

    /// When [`Ice::handle_timeout`] is wanted.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.agent.poll_timeout()
    }

    /// The next check or answer to send.
    pub fn poll_transmit(&mut self) -> Option<Check> {
        loop {
            let transmit = self.agent.poll_transmit()?;
            // A path that has gone meanwhile has nothing more to say.
            if let Some(path) = self.path_of(transmit.source) {
                return Some(Check {
                    path,
                    destination: transmit.destination,
                    bytes: transmit.contents.to_vec(),
                });
            }
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<IceEvent> {
        loop {
            let (source, destination) = match self.agent.poll_event()? {
                IceAgentEvent::NominatedSend {
                    source, destination, ..
                } => (source, destination),
                IceAgentEvent::IceRestart(_)
                | IceAgentEvent::IceConnectionStateChange(_)
                | IceAgentEvent::DiscoveredRecv { .. } => continue,
            };
            if let Some(path) = self.path_of(source) {
                self.selected = Some((path, destination));
                remember(&mut self.nominated, (path, destination), self.selected);
                self.agent.set_max_stun_retransmits(MAX_UNANSWERED_CONNECTED);
                return Some(IceEvent::Selected { path, destination });
            }
        }
    }

    fn path_of(&self, address: SocketAddr) -> Option<u32> {
        self.paths
            .iter()
            .find(|(_, (_, of))| *of == address)
            .map(|(path, _)| *path)
    }

    fn new_generation<R: CryptoRng + ?Sized>(&mut self, remote: Credentials, rng: &mut R) {
        let same = self.remote.as_ref() == Some(&remote);
        if same && !self.awaiting {
            return;
        }
        if self.remote.is_some() && !self.awaiting {
            self.renew(rng);
        }
        self.awaiting = false;
        self.old.clear();
        self.reflexive.clear();
        self.named.clear();
        let credentials = IceCreds {
            ufrag: remote.fragment.clone(),
            pass: remote.password.clone(),
        };
        unlogged(|| self.agent.set_remote_credentials(credentials));
        self.remote = Some(remote);
        // A peer that answers our restart with its old credentials keeps its old candidates too.
        let old = std::mem::take(&mut self.candidates);
        let waiting = std::mem::take(&mut self.pending);
        for line in old.into_iter().filter(|_| same).chain(waiting) {
            self.remote_candidate(&line);
        }
    }

    fn renew<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        unlogged(|| {
            self.agent.ice_restart(credentials(rng), true);
            while self.agent.poll_event().is_some() {}
        });
        self.agent.set_max_stun_retransmits(MAX_UNANSWERED_CONNECTING);
        self.write_credentials();
        for candidate in self.agent.local_candidates() {
            self.lines.push_str(&line(&candidate));
        }
        self.outer.values().for_each(|line| self.lines.push_str(line));
    }

    fn write_credentials(&mut self) {
        let IceCreds { ufrag, pass } = self.agent.local_credentials();
        self.lines.push_str("ice-ufrag:");
        self.lines.push_str(ufrag);
        self.lines.push_str("\nice-pwd:");
        self.lines.push_str(pass);
        self.lines.push('\n');
    }

    /// True if a socket of ours is bound to loopback: then peers of this machine are wanted.
    fn is_on_loopback(&self) -> bool {
        self.paths
            .values()
            .any(|(kind, address)| *kind == PathKind::Host && address.ip().to_canonical().is_loopback())
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
        let ready = !self.awaiting
            && self
                .remote
                .as_ref()
                .is_some_and(|remote| candidate.ufrag().is_none_or(|of| of == remote.fragment));
        let list = if ready { &mut self.candidates } else { &mut self.pending };
        if list.len() >= MAX_CANDIDATES || list.iter().any(|known| known == line) {
            return;
        }
        list.push(line.to_owned());
        if ready {
            self.named.insert(address);
            self.agent.add_remote_candidate(candidate);
        }
    }
}

/// Runs what the crate would log with a password in it, at TRACE and at DEBUG.
fn unlogged<T>(run: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), run)
}

#[cfg(test)]
mod tests;
