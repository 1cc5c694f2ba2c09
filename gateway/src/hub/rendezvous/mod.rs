//! The hub's server as one machine: connections, hellos and limits; [`hello`] is what comes first, [`requests`] holds what may be asked
//! after it, [`session`] what goes on when a
//! connection does not.

mod hello;
mod requests;
mod servers;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quartet_proto::hub::{
    ClientFrame, ErrorCode, Failure, MessageError, Name, PROTOCOL, Reply, Request, ServerFrame, SessionId,
};
use quartet_proto::rate::{Rate, RateLimiter, source_of};
use quartet_proto::reflector::Issuer;
use rand_core::CryptoRng;

use super::calls::{Calls, Relays};
use super::limits::Sources;
use super::{Account, AccountLimits, Accounts, HandedServer, Limits};
use crate::log::{SUMMED, Summaries};
use requests::limited;
use session::Session;
pub(super) use session::SessionKey;

/// One connection to the hub; drawn by the shell, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnKey(pub u64);

/// Why the hub closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Too many connections, of this source or at all.
    TooMany,
    /// No hello in time.
    NoHello,
    /// The hello was refused.
    Refused,
    /// Too many faulty or refused frames.
    Flood,
    /// The account's tokens were taken back.
    Revoked,
    /// Its session goes on on another connection.
    Resumed,
}

/// What a hub needs to know.
#[derive(Clone, Debug)]
pub struct RendezvousConfig {
    /// The account of the gateway in this process, if there is one: it has no token.
    pub gateway: Option<Name>,
    /// The bounds.
    pub limits: Limits,
    /// Told to every client.
    pub ice_servers: Vec<HandedServer>,
    /// A moment and what the wall clock said then, in seconds since 1970-01-01 UTC.
    pub epoch: (Instant, u64),
}

/// The hub: text frames in, text frames out.
///
/// After every call that takes `now`, drain [`Rendezvous::poll_transmit`], then [`Rendezvous::poll_close`]. Frames of one
/// connection keep their order. A connection that the hub closes is forgotten at once; its later `disconnect` is
/// absorbed. Nothing is done for a connection before its hello.
pub struct Rendezvous {
    config: RendezvousConfig,
    accounts: Arc<dyn Accounts>,
    rng: Box<dyn CryptoRng + Send>,
    conns: BTreeMap<ConnKey, Conn>,
    sessions: BTreeMap<SessionKey, Session>,
    /// Those that can be resumed.
    resumable: BTreeMap<SessionId, SessionKey>,
    /// When something is due for sessions without a connection.
    lost: BTreeSet<(Instant, SessionKey)>,
    /// How many of the sessions are the gateway's own.
    local: usize,
    owners: BTreeMap<Name, Owner>,
    sources: Sources,
    calls: Calls,
    reflector_tags: Issuer,
    hello_deadlines: BTreeSet<(Instant, ConnKey)>,
    /// Hellos with wrong tokens, by source, and how often each has failed.
    failed_logins: Summaries<IpAddr, u32>,
    transmits: VecDeque<(ConnKey, String)>,
    closes: VecDeque<(ConnKey, CloseReason)>,
}

#[derive(Debug)]
struct Conn {
    /// `None` for the gateway in this process, which no limit of a source or an account is for.
    source: Option<IpAddr>,
    state: State,
    bytes: RateLimiter,
    faults: RateLimiter,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Pending { deadline: Instant },
    Ready(SessionKey),
}

/// What all connections of an account share.
#[derive(Debug, Default)]
struct Owner {
    devices: BTreeSet<SessionKey>,
    requests: RateLimiter,
    calls: RateLimiter,
    /// Requests of others for it.
    rung: RateLimiter,
    /// Of these the ones of each caller.
    rung_by: BTreeMap<Name, RateLimiter>,
}

/// The address stands in clear: tools that lock addresses out read this line.
fn log_failed_login(source: IpAddr, failures: u32) {
    tracing::warn!(target: SUMMED, %source, failures, "hub login failed");
}

impl std::fmt::Debug for Rendezvous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rendezvous")
            .field("conns", &self.conns.len())
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

impl Rendezvous {
    /// A hub without connections.
    #[must_use]
    pub fn new(config: RendezvousConfig, accounts: Arc<dyn Accounts>, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self {
            config,
            accounts,
            rng,
            conns: BTreeMap::new(),
            sessions: BTreeMap::new(),
            resumable: BTreeMap::new(),
            lost: BTreeSet::new(),
            local: 0,
            owners: BTreeMap::new(),
            sources: Sources::default(),
            calls: Calls::default(),
            reflector_tags: Issuer::default(),
            hello_deadlines: BTreeSet::new(),
            failed_logins: Summaries::default(),
            transmits: VecDeque::new(),
            closes: VecDeque::new(),
        }
    }

    /// Takes other bounds; what is over them already stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.config.limits = limits;
    }

    /// Tells other servers from now on.
    pub fn set_ice_servers(&mut self, servers: Vec<HandedServer>) {
        self.config.ice_servers = servers;
    }

    /// What the wall clock says now, in seconds since 1970-01-01 UTC.
    fn unix(&self, now: Instant) -> u64 {
        let (start, unix) = self.config.epoch;
        unix.saturating_add(now.saturating_duration_since(start).as_secs())
    }

    /// A connection from outside was opened.
    pub fn connect(&mut self, now: Instant, conn: ConnKey, source: SocketAddr) {
        let source = source_of(source.ip());
        // Whoever says hello at once gets in, whatever a neighbour at the same address, or a crowd, holds open without a hello: the
        // places of users are counted apart.
        let limits = self.config.limits;
        let crowded = if self.sources.pending(source) >= limits.pending_per_source {
            self.oldest_pending_of(source)
        } else if self.hello_deadlines.len() >= limits.pending {
            self.hello_deadlines.first().map(|(_, conn)| *conn)
        } else {
            None
        };
        if let Some(oldest) = crowded {
            self.closes.push_back((oldest, CloseReason::TooMany));
            self.disconnect(now, oldest);
        }
        self.sources.open(now, source, &limits);
        let deadline = now + self.config.limits.hello;
        self.hello_deadlines.insert((deadline, conn));
        self.conns
            .insert(conn, Conn::new(Some(source), State::Pending { deadline }));
    }

    fn oldest_pending_of(&self, source: IpAddr) -> Option<ConnKey> {
        let mut oldest_first = self.hello_deadlines.iter().map(|(_, conn)| *conn);
        oldest_first.find(|conn| self.conns.get(conn).and_then(|conn| conn.source) == Some(source))
    }

    /// Connects the gateway of this process. It needs no hello, may call as any of its extensions, and no limit but the
    /// number of calls of the hub is for it.
    pub fn connect_local(&mut self, conn: ConnKey) {
        let Some(user) = self.config.gateway.clone() else {
            return;
        };
        let account = Account { user, is_gateway: true };
        let session = SessionKey(conn.0);
        self.owners
            .entry(account.user.clone())
            .or_default()
            .devices
            .insert(session);
        let entry = Session {
            account,
            is_local: true,
            protocol: PROTOCOL.max,
            receives: true,
            conns: vec![conn],
            signals: RateLimiter::default(),
            kept: None,
        };
        self.sessions.insert(session, entry);
        self.conns.insert(conn, Conn::new(None, State::Ready(session)));
        self.local += 1;
    }

    /// Takes one text frame.
    pub fn handle_input(&mut self, now: Instant, conn: ConnKey, text: &str) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let limits = entry.limits(&self.config.limits, &self.sessions);
        let rate = Rate::new(limits.bytes_per_second.saturating_mul(16), Duration::from_secs(16));
        if entry.source.is_some() && entry.bytes.take(now, rate, size).is_err() {
            self.answer(conn, None, Err(limited(Duration::from_secs(1))));
            self.fault(now, conn);
            return;
        }
        let frame = match ClientFrame::parse(text) {
            Ok(frame) => frame,
            Err(rejected) => {
                self.answer(conn, rejected.id, Err(Failure::from(&rejected.error)));
                if rejected.error == MessageError::TooLarge {
                    self.close(now, conn, CloseReason::Flood);
                } else {
                    self.fault(now, conn);
                }
                return;
            }
        };
        let id = Some(frame.id);
        match entry.state {
            State::Pending { .. } => match frame.request {
                Request::Hello(hello) => self.hello(now, conn, id, &hello),
                Request::CallRequest(_)
                | Request::CallReceived(_)
                | Request::CallAccept(_)
                | Request::CallConfirm(_)
                | Request::CallSignal(_)
                | Request::CallDiscard(_)
                | Request::CallRejoin(_)
                | Request::IceServers
                | Request::Ping
                | Request::Later(_) => {
                    self.answer(conn, id, Err(Failure::new(ErrorCode::Unauthorized, "say hello first")));
                    self.fault(now, conn);
                }
            },
            State::Ready(session) => {
                let Some(entry) = self.sessions.get_mut(&session) else {
                    return;
                };
                let account = entry.account.clone();
                if let Some(kept) = &mut entry.kept {
                    kept.note_heard(conn);
                    // Asked again, since the connection was lost before the answer arrived: it is done once.
                    if let Some((answer, is_told)) = kept.answer(frame.id, conn) {
                        // What is asked on both connections is answered on both the first time.
                        if is_told && entry.conns.len() > 1 {
                            return;
                        }
                        let (answer, limits) = (answer.to_owned(), self.config.limits.of(&account));
                        let rate = Rate::per_minute(limits.requests_per_minute);
                        let asked = self.owners.get_mut(&account.user).map(|owner| &mut owner.requests);
                        if asked.is_none_or(|asked| asked.take(now, rate, 1).is_ok()) {
                            return self.transmits.push_back((conn, answer));
                        }
                        return self.fault(now, conn);
                    }
                }
                let is_signal = matches!(frame.request, Request::CallSignal(_));
                let outcome = self.request(now, session, &account, frame.request);
                // How many signals a client sends its peers decide with it: those over its rate are lost, and no fault.
                let is_fault = |failure: &Failure| !(is_signal && failure.code == ErrorCode::RateLimited);
                let failed = outcome.as_ref().err().is_some_and(is_fault);
                let (outcome, mut relays) = match outcome {
                    Ok((reply, relays)) => (Ok(reply), relays),
                    Err(failure) => (Err(failure), Relays::new()),
                };
                self.answer(conn, id, outcome);
                self.name_servers(now, &mut relays);
                self.relay(relays);
                if failed {
                    self.fault(now, conn);
                }
            }
        }
    }

    /// Runs what is due: hellos that did not come, calls that nobody answered.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(deadline, conn)) = self.hello_deadlines.first()
            && deadline <= now
        {
            self.hello_deadlines.pop_first();
            self.close(now, conn, CloseReason::NoHello);
        }
        self.end_lost(now);
        let relays = self.calls.handle_timeout(now);
        self.relay(relays);
        self.tell_summaries(now);
    }

    /// Tells all that is being summed up: the process ends.
    pub fn tell_all_summaries(&mut self, now: Instant) {
        self.failed_logins.end_all(now);
        self.tell_summaries(now);
    }

    /// Tells what was summed up, for windows that have ended.
    fn tell_summaries(&mut self, now: Instant) {
        while let Some((source, failures, _)) = self.failed_logins.poll(now) {
            log_failed_login(source, failures);
        }
        if let Some((_, unlisted)) = self.failed_logins.poll_unlisted(now) {
            tracing::warn!(
                unlisted,
                "hub logins failed from more sources than are counted one by one"
            );
        }
    }

    /// Closes every connection of an account whose tokens were taken back.
    pub fn close_account(&mut self, now: Instant, user: &str) {
        let devices = Name::new(user)
            .ok()
            .and_then(|user| self.owners.get(&user))
            .map(|owner| owner.devices.clone());
        for session in devices.unwrap_or_default() {
            match self.sessions.get(&session) {
                Some(entry) if entry.is_local => {}
                // Who is thrown out has nothing to come back to.
                Some(_) | None => {
                    self.close_lines(now, session, CloseReason::Revoked);
                    self.end_session(session);
                }
            }
        }
    }

    /// The next frame to send, and where.
    pub fn poll_transmit(&mut self) -> Option<(ConnKey, String)> {
        self.transmits.pop_front()
    }

    /// The next connection to close once all frames are sent.
    pub fn poll_close(&mut self) -> Option<(ConnKey, CloseReason)> {
        self.closes.pop_front()
    }

    /// When [`Rendezvous::handle_timeout`] is next due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let hello = self.hello_deadlines.first().map(|(deadline, _)| *deadline);
        let more = self
            .calls
            .poll_timeout()
            .into_iter()
            .chain(self.lost.first().map(|(due, _)| *due))
            .chain(self.failed_logins.poll_timeout());
        hello.into_iter().chain(more).min()
    }

    /// Connections from outside.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.conns.len() - self.local
    }

    /// Calls in any state.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whose connection this is, once its hello was accepted.
    #[must_use]
    pub fn account_of(&self, conn: ConnKey) -> Option<&Account> {
        match self.conns.get(&conn)?.state {
            State::Pending { .. } => None,
            State::Ready(session) => self.sessions.get(&session).map(|entry| &entry.account),
        }
    }

    /// Whether an account has a device connected.
    #[must_use]
    pub fn is_online(&self, user: &Name) -> bool {
        self.owners.get(user).is_some_and(|owner| !owner.devices.is_empty())
    }

    fn answer(&mut self, conn: ConnKey, id: Option<u64>, outcome: Result<Reply, Failure>) {
        let is_hello = matches!(outcome, Ok(Reply::Welcome(_)));
        let text = ServerFrame::Answer { id, outcome }.to_text();
        if let Some(id) = id.filter(|_| !is_hello)
            && let Some(State::Ready(session)) = self.conns.get(&conn).map(|conn| conn.state)
            && let Some(Session {
                kept: Some(kept),
                conns,
                ..
            }) = self.sessions.get_mut(&session)
        {
            kept.keep_answer(id, text.clone(), conns);
            let others = conns.iter().filter(|other| **other != conn);
            self.transmits.extend(others.map(|other| (*other, text.clone())));
        }
        self.transmits.push_back((conn, text));
    }

    /// Counts a frame that had no effect; too many close the connection.
    fn fault(&mut self, now: Instant, conn: ConnKey) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        let limits = entry.limits(&self.config.limits, &self.sessions);
        let rate = Rate::new(limits.faults_per_minute, Duration::from_secs(60));
        if entry.source.is_some() && entry.faults.take(now, rate, 1).is_err() {
            self.close(now, conn, CloseReason::Flood);
        }
    }

    fn close(&mut self, now: Instant, conn: ConnKey, reason: CloseReason) {
        // Others may have made it say too much: its session goes on when it comes back.
        self.disconnect(now, conn);
        self.close_conn(conn, reason);
    }

    fn close_conn(&mut self, conn: ConnKey, reason: CloseReason) {
        tracing::debug!(?conn, ?reason, "hub connection closed");
        self.closes.push_back((conn, reason));
    }

    /// Forgets accounts that no longer exist; those that do keep what they owe over a reconnect.
    fn prune_owners(&mut self) {
        if self.owners.len() < self.config.limits.sessions.saturating_mul(2) {
            return;
        }
        let accounts = &self.accounts;
        self.owners
            .retain(|user, owner| !owner.devices.is_empty() || accounts.by_name(user.as_str()).is_some());
    }

    /// Entries of all tables that a connection or a call fills.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        let lost = self.sessions.values().filter(|entry| entry.conns.is_empty()).count();
        let sessions = lost + self.lost.len();
        self.conns.len() + sessions + self.calls.entries() + self.hello_deadlines.len()
    }

    /// Source addresses remembered.
    #[cfg(test)]
    pub(super) fn remembered_sources(&self) -> usize {
        self.sources.len()
    }
}

impl Conn {
    fn new(source: Option<IpAddr>, state: State) -> Self {
        Self {
            source,
            state,
            bytes: RateLimiter::default(),
            faults: RateLimiter::default(),
        }
    }

    /// Who has not said hello has what a person has.
    fn limits<'a>(&self, limits: &'a Limits, sessions: &BTreeMap<SessionKey, Session>) -> &'a AccountLimits {
        let session = match &self.state {
            State::Pending { .. } => None,
            State::Ready(session) => sessions.get(session),
        };
        session.map_or(&limits.person, |session| limits.of(&session.account))
    }
}
