//! One generation of ICE: the credentials of both ends, the peer's candidates, and the checks under them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};
use rand_core::CryptoRng;
use zeroize::Zeroize;

use super::PathKind;
use super::answers::{Answers, answer_of};
use super::sources::{Sources, check_of};
use super::words::{Added, credentials, line, preference};
use crate::unlogged::unlogged;

/// Most candidates of the peer's that are used in one generation; the pairs are bounded by the agent (100).
pub(super) const MAX_CANDIDATES: usize = 64;
/// Between two checks (RFC 8445 §14.2, Ta): with six ways of ours and four of the peer's there are 24 pairs, of which the last may be
/// the only one that works. A check is as long as a packet of sound, and these come as often.
const PACE: Duration = Duration::from_millis(20);
/// Before a check is repeated, then twice as long each time. The first one is often lost for good: the peer's NAT lets it in, or its
/// reflector passes it on, only after the peer has sent something that way. (The agent does not check anew when the peer does, as
/// RFC 8445 §7.3.1.4 has it.)
const FIRST_REPEAT: Duration = Duration::from_millis(100);
/// A check is repeated at least this often; also the pace of consent on a pair that works.
const SLOWEST_CHECK: Duration = Duration::from_secs(1);
/// Unanswered checks before a pair is given up: about 29 s while connecting, longer than the endpoint waits.
const MAX_UNANSWERED_CONNECTING: usize = 31;
/// The same once connected: 5.5 s, so that another pair takes over before consent is lost.
const MAX_UNANSWERED_CONNECTED: usize = 7;

/// Who the peer is in checks.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) fragment: String,
    pub(super) password: String,
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

/// An authentic message of the peer.
pub(super) struct Authentic {
    /// What a controlling peer says about the pair, by a check on it: whether it uses it.
    pub(super) nominates: Option<bool>,
    /// It answers a check of ours: the pair works both ways.
    pub(super) is_answer: bool,
}

pub(super) struct Generation {
    agent: IceAgent,
    remote: Option<Credentials>,
    /// The peer's candidates that are checked.
    candidates: Vec<String>,
    sources: Sources,
    answers: Answers,
    /// Answers to our checks on the pair in use, by now.
    answered: Option<u64>,
}

impl Generation {
    /// Fresh credentials of ours, and nothing known of the peer.
    pub(super) fn new<R: CryptoRng + ?Sized>(controlling: bool, rng: &mut R) -> Self {
        let ours = credentials(rng);
        let mut agent = IceAgent::new(ours.clone());
        agent.set_controlling(controlling);
        agent.set_control_tie_breaker(rng.next_u64());
        agent.set_timing_advance(PACE);
        agent.set_initial_stun_rto(FIRST_REPEAT);
        agent.set_max_stun_rto(SLOWEST_CHECK);
        agent.set_max_stun_retransmits(MAX_UNANSWERED_CONNECTING);
        // An agent that has not begun announces our credentials as an event later; nobody needs it.
        unlogged(|| {
            agent.ice_restart(ours, true);
            while agent.poll_event().is_some() {}
        });
        Self {
            agent,
            remote: None,
            candidates: Vec::new(),
            sources: Sources::default(),
            answers: Answers::default(),
            answered: None,
        }
    }

    /// The lines of our credentials.
    pub(super) fn credential_lines(&self) -> String {
        let IceCreds { ufrag, pass } = self.agent.local_credentials();
        format!("ice-ufrag:{ufrag}\nice-pwd:{pass}\n")
    }

    pub(super) fn is_controlling(&self) -> bool {
        self.agent.controlling()
    }

    /// Adds an address of ours and gives its line; `None` if it cannot be used, or is one of those that there are.
    ///
    /// `moves`: how often this machine had moved when it came.
    pub(super) fn add_local(&mut self, kind: PathKind, address: SocketAddr, moves: u32) -> Option<String> {
        let candidate = match kind {
            PathKind::Host => Candidate::host(address, Protocol::Udp),
            PathKind::Relay | PathKind::StreamRelay => Candidate::relayed(address, address, Protocol::Udp),
        };
        let added = match kind {
            PathKind::Host if moves > 0 => Added::AfterMoves(moves),
            PathKind::Host | PathKind::Relay => Added::Usual,
            PathKind::StreamRelay => Added::OverStream,
        };
        // The agent asks for it when the address is added.
        self.agent
            .set_local_preference(move |candidate: &Candidate, same_kind| preference(candidate, same_kind, added));
        self.agent.add_local_candidate(candidate.ok()?).map(line)
    }

    /// Takes an address of ours away.
    pub(super) fn remove_local(&mut self, address: SocketAddr) {
        let gone: Vec<Candidate> = self
            .agent
            .local_candidates()
            .filter(|candidate| candidate.local() == address)
            .collect();
        for candidate in &gone {
            self.agent.invalidate_candidate(candidate);
        }
    }

    pub(super) fn remote(&self) -> Option<&Credentials> {
        self.remote.as_ref()
    }

    /// Learns who the peer is.
    pub(super) fn set_remote(&mut self, remote: Credentials) {
        let credentials = IceCreds {
            ufrag: remote.fragment.clone(),
            pass: remote.password.clone(),
        };
        unlogged(|| self.agent.set_remote_credentials(credentials));
        self.remote = Some(remote);
    }

    /// Whether a candidate of the peer's may be of this generation: it names nobody, or whom we know.
    pub(super) fn has(&self, candidate: &Candidate) -> bool {
        let fits = |remote: &Credentials| candidate.ufrag().is_none_or(|of| of == remote.fragment);
        self.remote.as_ref().is_some_and(fits)
    }

    /// Checks a candidate of the peer's, unless there are too many.
    pub(super) fn add_remote(&mut self, line: &str, candidate: Candidate) {
        if self.candidates.len() >= MAX_CANDIDATES || self.candidates.iter().any(|known| known == line) {
            return;
        }
        self.candidates.push(line.to_owned());
        self.sources.name(candidate.addr());
        self.agent.add_remote_candidate(candidate);
    }

    /// The peer's candidates that are checked.
    pub(super) fn candidates(&self) -> &[String] {
        &self.candidates
    }

    /// Takes a STUN datagram that has come to this address of ours; `None` if it is not of this generation, or forged.
    ///
    /// `is_checked`: such a one has come from there before.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        (pair, local): ((u32, SocketAddr), SocketAddr),
        bytes: &[u8],
        is_checked: bool,
    ) -> Option<Authentic> {
        let (check, answer) = (check_of(bytes), answer_of(bytes));
        let may_be = match (check, answer) {
            (Some(check), _) => self.sources.may_be_from(check, pair, is_checked),
            (None, Some(answer)) => self.answers.is_awaited(answer, pair.1, local),
            // There is nothing else that the agent takes.
            (None, None) => false,
        };
        if !may_be {
            return None;
        }
        let message = StunMessage::parse(bytes).ok()?;
        let mapped = message.mapped_address().filter(|_| answer.is_some());
        if mapped.is_some_and(|mapped| !self.answers.may_map(mapped)) {
            return None;
        }
        let is_answer = message.is_successful_binding_response();
        let nominates = message.ice_controlling().map(|_| message.use_candidate());
        let packet = StunPacket {
            proto: Protocol::Udp,
            source: pair.1,
            destination: local,
            message,
        };
        if !self.agent.handle_packet(now, packet) {
            return None;
        }
        if let Some(check) = check {
            self.sources.note(pair, check);
        }
        if let Some(answer) = answer {
            self.answers.note(answer, mapped);
        }
        Some(Authentic { nominates, is_answer })
    }

    /// Advances time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
    }

    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        self.agent.poll_timeout()
    }

    /// The next check or answer: from which address of ours, to where.
    pub(super) fn poll_transmit(&mut self) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let transmit = self.agent.poll_transmit()?;
        self.answers
            .note_check(&transmit.contents, transmit.source, transmit.destination);
        Some((transmit.source, transmit.destination, transmit.contents.to_vec()))
    }

    /// The next pair that is used from now on.
    pub(super) fn poll_selected(&mut self) -> Option<(SocketAddr, SocketAddr)> {
        loop {
            match self.agent.poll_event()? {
                IceAgentEvent::NominatedSend {
                    source, destination, ..
                } => return Some((source, destination)),
                IceAgentEvent::IceRestart(_)
                | IceAgentEvent::IceConnectionStateChange(_)
                | IceAgentEvent::DiscoveredRecv { .. } => {}
            }
        }
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.agent.nominated_pair_rtt()
    }

    pub(super) fn poll_round_trip(&mut self) -> Option<Duration> {
        let answers = self.agent.nominated_pair_responses_received();
        if answers == std::mem::replace(&mut self.answered, answers) {
            return None;
        }
        self.round_trip()
    }

    /// There is a pair: what fails from now on is to be replaced soon.
    pub(super) fn set_connected(&mut self) {
        self.agent.set_max_stun_retransmits(MAX_UNANSWERED_CONNECTED);
    }
}
