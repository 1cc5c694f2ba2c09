//! The first thing that a connection says: whose it is, and with which session it goes on.

use std::net::IpAddr;
use std::time::Instant;

use quartet_proto::hub::{
    ErrorCode, Event, Failure, Hello, MAX_FRAME, MAX_SIGNAL, PROTOCOL, Reply, Resume, SessionId, Token, Welcome,
    WireLimits,
};
use quartet_proto::rate::RateLimiter;

use super::requests::limited;
use super::session::{Kept, MAX_LINES, Session};
use super::{CloseReason, ConnKey, Rendezvous, SessionKey, State, log_failed_login};
use crate::hub::Account;

/// How a connection gets in.
#[derive(Clone, Copy)]
enum Entry<'a> {
    /// With a session of its own, for which another one makes room if need be.
    Begins { yields: Option<SessionKey> },
    /// With this one.
    Resumes(&'a Resume, SessionKey),
}

/// What an accepted hello has led to.
struct Entered {
    session: SessionKey,
    /// None in protocol 1.
    id: Option<SessionId>,
    /// What it is resumed with the next time, if that is another secret than before.
    secret: Option<Token>,
    /// The events that its client has missed.
    missed: Vec<String>,
}

impl Rendezvous {
    pub(super) fn hello(&mut self, now: Instant, conn: ConnKey, id: Option<u64>, hello: &Hello) {
        match self.welcome(now, conn, hello) {
            Ok((welcome, missed)) => {
                self.answer(conn, id, Ok(Reply::Welcome(Box::new(welcome))));
                self.transmits.extend(missed.into_iter().map(|text| (conn, text)));
            }
            Err(failure) => {
                // Who cannot go on begins anew, on the same connection.
                let is_final = failure.code != ErrorCode::ResumeLost;
                self.answer(conn, id, Err(failure));
                if is_final {
                    self.close(now, conn, CloseReason::Refused);
                }
            }
        }
    }

    /// The welcome, and the events that a resumed session has missed.
    fn welcome(&mut self, now: Instant, conn: ConnKey, hello: &Hello) -> Result<(Welcome, Vec<String>), Failure> {
        let limits = self.config.limits;
        let source = self.conns.get(&conn).and_then(|conn| conn.source);
        let Some(protocol) = PROTOCOL.common(hello.protocol) else {
            let message = format!("this hub speaks protocol {} to {}", PROTOCOL.min, PROTOCOL.max);
            return Err(Failure::new(ErrorCode::Protocol, message));
        };
        let account = self.accounts.by_token(&hello.token.hash());
        let Some(account) = account.filter(|account| self.config.gateway.as_ref() != Some(&account.user)) else {
            if let Some(source) = source {
                // Only who does not know a token waits: nobody guesses 256 bits, and a stranger behind the same NAT must not
                // be able to keep a user out.
                if let Some(wait) = self.sources.hello_wait(now, source, &limits) {
                    return Err(limited(wait));
                }
                let failures = self.sources.failed(now, source, &limits);
                if let Some(failures) = self.failed_logins.note(now, source, failures) {
                    log_failed_login(source, failures);
                }
            }
            return Err(Failure::new(ErrorCode::Unauthorized, "this token is not known"));
        };
        self.prune_owners();
        let user = account.clone();
        // What it needs, before anybody makes room for it.
        let entry = match hello.resume.as_ref().filter(|_| protocol >= 2) {
            Some(resume) => Entry::Resumes(resume, self.session_of(now, &account, resume)?),
            None => Entry::Begins {
                yields: self.room_for(&account)?,
            },
        };
        let (is_beside, replaces) = match entry {
            Entry::Resumes(resume, session) => {
                (resume.beside, !resume.beside && self.is_connected_from(session, source))
            }
            Entry::Begins { .. } => (false, false),
        };
        if let Some(source) = source.filter(|source| !replaces && self.sources.is_full(*source, &limits))
            && (is_beside || !self.close_a_second_line(now, Some(source)))
        {
            return Err(Failure::new(ErrorCode::Limit, "the hub has too many connections"));
        }
        let Entered {
            session,
            id,
            secret,
            missed,
        } = match entry {
            Entry::Resumes(resume, session) => self.resume(now, conn, (hello, resume), session)?,
            Entry::Begins { yields } => {
                if let Some(session) = yields {
                    self.end_session(session);
                }
                self.begin(conn, account, hello, protocol)
            }
        };
        let resumed = matches!(entry, Entry::Resumes(..));
        self.attach(conn, session);
        if self.greeted() > limits.sessions {
            self.close_a_second_line(now, None);
        }
        tracing::debug!(
            ?conn,
            ?session,
            client = hello.client.as_str(),
            resumed,
            "connected to the hub"
        );
        let mut welcome = self.describe(now, protocol, user);
        welcome.resumed = resumed;
        (welcome.session, welcome.resume_secret) = (id, secret);
        Ok((welcome, missed))
    }

    /// A session begins.
    fn begin(&mut self, conn: ConnKey, account: Account, hello: &Hello, protocol: u32) -> Entered {
        let session = SessionKey(conn.0);
        let mut resume = None;
        if protocol >= 2 {
            let secret = Token::generate(&mut *self.rng);
            let mut id = SessionId([0; 16]);
            self.rng.fill_bytes(&mut id.0);
            self.resumable.insert(id, session);
            resume = Some((id, secret));
        }
        let owner = self.owners.entry(account.user.clone()).or_default();
        owner.devices.insert(session);
        let limits = *self.config.limits.of(&account);
        let entry = Session {
            account,
            is_local: false,
            protocol,
            receives: hello.receives,
            conns: Vec::with_capacity(1),
            signals: RateLimiter::default(),
            kept: resume.as_ref().map(|(id, secret)| Kept::new(*id, secret, limits)),
        };
        self.sessions.insert(session, entry);
        let (id, secret) = resume.unzip();
        Entered {
            session,
            id,
            secret,
            missed: Vec::new(),
        }
    }

    /// The session that goes on; neither the token nor the secret alone does it. One that has not kept all that its client has missed is
    /// of no use any more, and ends.
    fn session_of(&mut self, now: Instant, account: &Account, resume: &Resume) -> Result<SessionKey, Failure> {
        let session = self.resumable.get(&resume.session).copied();
        let entry = session.and_then(|session| Some((session, self.sessions.get(&session)?)));
        let entry = entry.filter(|(_, entry)| entry.account.user == account.user);
        let kept = entry.and_then(|(session, entry)| Some((session, entry.kept.as_ref()?)));
        let fits = kept.filter(|(_, kept)| kept.fits(&resume.secret));
        let (session, kept) = fits.ok_or_else(resume_lost)?;
        if kept.missing(resume.last_seq).is_some() {
            return Ok(session);
        }
        self.close_lines(now, session, CloseReason::Resumed);
        self.end_session(session);
        Err(resume_lost())
    }

    /// Whether a session has a connection from this source.
    fn is_connected_from(&self, session: SessionKey, source: Option<IpAddr>) -> bool {
        let entry = self.sessions.get(&session);
        let mut conns = entry.into_iter().flat_map(|entry| &entry.conns);
        conns.any(|conn| self.conns.get(conn).and_then(|conn| conn.source) == source)
    }

    /// The connection goes on with a session whose secret it has given.
    fn resume(
        &mut self,
        now: Instant,
        conn: ConnKey,
        (hello, resume): (&Hello, &Resume),
        session: SessionKey,
    ) -> Result<Entered, Failure> {
        let stay = if resume.beside { MAX_LINES - 1 } else { 0 };
        // Older connections are of no use any more, be they dead or stolen, but one that this one is to be beside.
        let older = self.sessions.get_mut(&session).map(|entry| {
            let gone = entry.conns.len().saturating_sub(stay);
            entry.conns.drain(..gone).collect::<Vec<_>>()
        });
        for old in older.into_iter().flatten() {
            self.forget_conn(now, old);
            self.close_conn(old, CloseReason::Resumed);
        }
        if resume.beside && self.greeted() >= self.config.limits.sessions {
            return Err(Failure::new(
                ErrorCode::Limit,
                "the hub has no place for a second connection",
            ));
        }
        if let Some(entry) = self.sessions.get_mut(&session)
            && let Some(kept) = &mut entry.kept
            && let Some(missed) = kept.since(resume.last_seq)
        {
            entry.receives = hello.receives;
            kept.note_given(&resume.secret);
            // Beside another connection that has it the secret stays.
            let secret = entry.conns.is_empty().then(|| Token::generate(&mut *self.rng));
            if let Some(secret) = &secret {
                kept.rotate(secret, conn);
            }
            return Ok(Entered {
                session,
                id: Some(kept.id),
                secret,
                missed,
            });
        }
        Err(resume_lost())
    }

    fn attach(&mut self, conn: ConnKey, session: SessionKey) {
        if let Some(entry) = self.conns.get_mut(&conn) {
            if let State::Pending { deadline } = entry.state {
                self.hello_deadlines.remove(&(deadline, conn));
            }
            entry.state = State::Ready(session);
            if let Some(source) = entry.source {
                self.sources.greeted(source);
            }
        }
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        entry.conns.push(conn);
        if let Some(lost) = entry.kept.as_mut().and_then(|kept| kept.lost.take()) {
            self.lost.remove(&(lost.due, session));
            if lost.is_told {
                self.tell_link(session, Event::CallBack);
            }
        }
    }

    /// Connections from outside whose hello was accepted.
    fn greeted(&self) -> usize {
        self.conns.len() - self.hello_deadlines.len() - self.local
    }

    /// Who has two connections gives one up, of this source if one is named, for who has none.
    fn close_a_second_line(&mut self, now: Instant, of: Option<IpAddr>) -> bool {
        let is_of = |conn: &&ConnKey| of.is_none() || self.conns.get(conn).and_then(|conn| conn.source) == of;
        let mut doubled = self.sessions.values().filter(|entry| entry.conns.len() > 1);
        let second = doubled.find_map(|entry| entry.conns.iter().rev().find(is_of).copied());
        if let Some(second) = second {
            self.disconnect(now, second);
            self.close_conn(second, CloseReason::TooMany);
        }
        second.is_some()
    }

    /// What makes room for one more session, if that is wanted: those that wait to be resumed give way, the account's own and the longest
    /// lost first.
    fn room_for(&self, account: &Account) -> Result<Option<SessionKey>, Failure> {
        let limits = self.config.limits;
        let lost_at = |session: SessionKey| Some((self.sessions.get(&session)?.kept.as_ref()?.lost?.at, session));
        let devices = self.owners.get(&account.user).map(|owner| &owner.devices);
        let (oldest, message) = if devices.is_some_and(|devices| devices.len() >= limits.devices_per_account) {
            let devices = devices.into_iter().flatten().copied();
            (
                devices.filter_map(lost_at).min(),
                "this account has too many connections",
            )
        } else if self.sessions.len() - self.local >= limits.sessions {
            let lost = self.lost.iter().map(|(_, session)| *session);
            (lost.filter_map(lost_at).min(), "the hub has too many connections")
        } else {
            return Ok(None);
        };
        let (_, oldest) = oldest.ok_or_else(|| Failure::new(ErrorCode::Limit, message))?;
        Ok(Some(oldest))
    }

    fn describe(&self, now: Instant, protocol: u32, account: Account) -> Welcome {
        let (limits, own) = (&self.config.limits, self.config.limits.of(&account));
        let bound = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let ice_servers = self.ice_servers(now, &account.user);
        Welcome {
            protocol,
            range: PROTOCOL,
            account: account.user,
            limits: WireLimits {
                frame: bound(MAX_FRAME),
                signal: bound(MAX_SIGNAL),
                ring: u32::try_from(limits.ring.as_secs()).unwrap_or(u32::MAX),
                calls: bound(own.calls),
                requests_per_minute: own.requests_per_minute,
            },
            ice_servers,
            time: self.unix(now),
            session: None,
            resume_secret: None,
            resumed: false,
        }
    }
}

fn resume_lost() -> Failure {
    Failure::new(
        ErrorCode::ResumeLost,
        "this session cannot be resumed; say hello without it",
    )
}
