//! The first thing that a connection says: whose it is.

use std::time::Instant;

use quartet_proto::hub::{
    ErrorCode, Failure, Hello, MAX_FRAME, MAX_SIGNAL, Name, PROTOCOL, Reply, Welcome, WireLimits,
};

use super::requests::limited;
use super::{CloseReason, ConnKey, Rendezvous, State, log_failed_login};

impl Rendezvous {
    pub(super) fn hello(&mut self, now: Instant, conn: ConnKey, id: Option<u64>, hello: &Hello) {
        match self.welcome(now, conn, hello) {
            Ok(welcome) => self.answer(conn, id, Ok(Reply::Welcome(Box::new(welcome)))),
            Err(failure) => {
                self.answer(conn, id, Err(failure));
                self.close(now, conn, CloseReason::Refused);
            }
        }
    }

    fn welcome(&mut self, now: Instant, conn: ConnKey, hello: &Hello) -> Result<Welcome, Failure> {
        let limits = self.config.limits;
        let source = self.sessions.get(&conn).and_then(|session| session.source);
        let Some(protocol) = PROTOCOL.common(hello.protocol) else {
            let message = format!("this hub speaks protocol {} to {}", PROTOCOL.min, PROTOCOL.max);
            return Err(Failure::new(ErrorCode::Protocol, message));
        };
        let account = self.accounts.by_token(&hello.token.hash());
        let Some(account) = account.filter(|account| account.user != self.config.gateway) else {
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
        let greeted = self.sessions() - self.hello_deadlines.len();
        let Some(session) = self.sessions.get_mut(&conn) else {
            return Err(Failure::new(ErrorCode::Order, "the connection is gone"));
        };
        let is_full = greeted >= limits.sessions || source.is_some_and(|source| self.sources.is_full(source, &limits));
        if is_full {
            return Err(Failure::new(ErrorCode::Limit, "the hub has too many connections"));
        }
        let owner = self.owners.entry(account.user.clone()).or_default();
        if owner.devices.len() >= limits.devices_per_account {
            return Err(Failure::new(ErrorCode::Limit, "this account has too many connections"));
        }
        owner.devices.insert(conn);
        if let State::Pending { deadline } = session.state {
            self.hello_deadlines.remove(&(deadline, conn));
        }
        if let Some(source) = source {
            self.sources.greeted(source);
        }
        let user = account.user.clone();
        session.state = State::Ready(account);
        tracing::debug!(?conn, client = hello.client.as_str(), "connected to the hub");
        Ok(self.describe(now, protocol, user))
    }

    fn describe(&self, now: Instant, protocol: u32, account: Name) -> Welcome {
        let limits = &self.config.limits;
        let bound = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let (start, unix) = self.config.epoch;
        Welcome {
            protocol,
            range: PROTOCOL,
            account,
            limits: WireLimits {
                frame: bound(MAX_FRAME),
                signal: bound(MAX_SIGNAL),
                ring: u32::try_from(limits.ring.as_secs()).unwrap_or(u32::MAX),
                calls: bound(limits.calls_per_session),
                requests_per_minute: limits.requests_per_minute,
            },
            ice_servers: self.config.ice_servers.clone(),
            time: unix.saturating_add(now.saturating_duration_since(start).as_secs()),
        }
    }
}
