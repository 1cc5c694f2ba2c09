//! What a connection may ask after its hello: rates first, then the call it is about.

use std::time::{Duration, Instant};

use quartet_proto::hub::{CallRequest, ErrorCode, Failure, IceServers, Name, Reply, Request};
use quartet_proto::rate::Rate;

use super::{Rendezvous, SessionKey};
use crate::hub::Account;
use crate::hub::calls::Relays;

impl Rendezvous {
    /// One request of a session: what is answered, and what others are told.
    pub(super) fn request(
        &mut self,
        now: Instant,
        session: SessionKey,
        account: &Account,
        request: Request,
    ) -> Result<(Reply, Relays), Failure> {
        self.pace(now, session, account, &request)?;
        let limits = self.config.limits;
        let outcome = match request {
            Request::Hello(_) => Err(ErrorCode::Order),
            Request::CallRequest(body) => {
                let relays = self.call_request(now, session, account, body)?;
                return Ok((Reply::Done, relays));
            }
            Request::CallReceived(body) => self.calls.received(session, body),
            Request::CallAccept(body) => self.calls.accept(now, session, body, &limits),
            Request::CallConfirm(body) => self.calls.confirm(session, body),
            Request::CallSignal(body) => self.calls.signal(session, body),
            Request::CallDiscard(body) => self.calls.discard(session, body),
            Request::CallRejoin(body) => {
                let sessions = &self.sessions;
                let max_calls = |session: SessionKey| {
                    let entry = sessions.get(&session);
                    entry.map_or(0, |entry| limits.of(&entry.account).calls)
                };
                self.calls
                    .rejoin(now, session, &account.user, &body, &limits, max_calls)
            }
            Request::IceServers => {
                let ice_servers = self.ice_servers(now, &account.user);
                return Ok((Reply::IceServers(IceServers { ice_servers }), Relays::new()));
            }
            Request::Ping => Ok(Relays::new()),
            Request::Later(_) => Err(ErrorCode::Unsupported),
        };
        outcome.map(|relays| (Reply::Done, relays)).map_err(failure)
    }

    /// Keeps connections from outside to their rates.
    fn pace(&mut self, now: Instant, session: SessionKey, account: &Account, request: &Request) -> Result<(), Failure> {
        let limits = *self.config.limits.of(account);
        let Some(entry) = self.sessions.get_mut(&session).filter(|entry| !entry.is_local) else {
            return Ok(());
        };
        let Some(owner) = self.owners.get_mut(&account.user) else {
            return Ok(());
        };
        let minute = Duration::from_secs(60);
        match request {
            Request::CallSignal(_) => {
                let rate = Rate::new(limits.signals_per_second.saturating_mul(4), Duration::from_secs(4));
                entry.signals.take(now, rate, 1)
            }
            Request::CallRequest(_) => {
                let rate = Rate::new(limits.call_requests_per_minute, minute);
                owner.calls.take(now, rate, 1)
            }
            // A call can always be ended.
            Request::CallDiscard(_) => Ok(()),
            Request::Hello(_)
            | Request::CallReceived(_)
            | Request::CallAccept(_)
            | Request::CallConfirm(_)
            | Request::CallRejoin(_)
            | Request::IceServers
            | Request::Ping
            | Request::Later(_) => owner
                .requests
                .take(now, Rate::new(limits.requests_per_minute, minute), 1),
        }
        .map_err(limited)
    }

    fn call_request(
        &mut self,
        now: Instant,
        session: SessionKey,
        account: &Account,
        mut body: CallRequest,
    ) -> Result<Relays, Failure> {
        let limits = self.config.limits;
        let from = body.from.take().unwrap_or_else(|| account.user.clone());
        let own_extension = account.is_gateway && from.extension().is_some() && from.account() == account.user.as_str();
        if from != account.user && !own_extension {
            return Err(Failure::new(ErrorCode::Forbidden, "`from` is not this account"));
        }
        body.from = Some(from);
        let callee = Name::new(body.to.account()).map_err(|_| failure(ErrorCode::UnknownUser))?;
        let is_gateway = if self.config.gateway.as_ref() == Some(&callee) {
            Some(true)
        } else {
            self.accounts.by_name(callee.as_str()).map(|account| account.is_gateway)
        };
        let Some(is_gateway) = is_gateway.filter(|is_gateway| *is_gateway || body.to.extension().is_none()) else {
            return Err(failure(ErrorCode::UnknownUser));
        };
        let receives = |session: &SessionKey| self.sessions.get(session).is_some_and(|entry| entry.receives);
        let free = |session: &SessionKey| {
            let entry = self.sessions.get(session);
            entry.is_some_and(|entry| entry.is_local || self.calls.of(*session) < limits.of(&entry.account).calls)
        };
        if !free(&session) || self.calls.len() >= limits.calls {
            return Err(Failure::new(ErrorCode::Limit, "too many calls"));
        }
        let devices = self.owners.get(&callee).map(|owner| &owner.devices);
        let devices: Vec<SessionKey> = devices
            .into_iter()
            .flatten()
            .copied()
            .filter(|device| *device != session && receives(device))
            .collect();
        if devices.is_empty() {
            return Err(failure(ErrorCode::Offline));
        }
        // One person's unanswered calls take half of a callee's places: the others reach it. A gateway shares its calls out among
        // its own callers.
        let is_its = |caller: &SessionKey| {
            let caller = self.sessions.get(caller);
            caller.is_some_and(|caller| caller.account.user == account.user)
        };
        let has_room = |device: &SessionKey| {
            let callee = self.sessions.get(device);
            let share = callee.map_or(1, |callee| (limits.of(&callee.account).calls / 2).max(1));
            account.is_gateway || self.calls.ringing_at(*device).filter(is_its).count() < share
        };
        let devices: Vec<SessionKey> = devices
            .into_iter()
            .filter(|device| free(device) && has_room(device))
            .collect();
        if devices.is_empty() {
            return Err(Failure::new(ErrorCode::Limit, "the callee has too many calls"));
        }
        let (rate, share) = (
            Rate::per_minute(limits.calls_per_minute_callee),
            Rate::half_of_per_minute(limits.calls_per_minute_callee),
        );
        let owner = self.owners.get_mut(&callee).filter(|_| !is_gateway);
        if let Some(owner) = &owner {
            let wait = owner.rung.wait(now, rate);
            if account.is_gateway && !wait.is_zero() {
                return Err(failure(ErrorCode::RateLimited));
            }
            let own = owner.rung_by.get(&account.user).copied().unwrap_or_default();
            let wait = wait.max(own.wait(now, share));
            if !account.is_gateway && !wait.is_zero() {
                return Err(limited(wait));
            }
        }
        let relays = self
            .calls
            .request(now, session, &devices, body, &limits)
            .map_err(failure)?;
        if let Some(owner) = owner {
            // Both were asked before.
            let _ = owner.rung.take(now, rate, 1);
            owner.rung_by.retain(|_, own| !own.is_rested(now));
            if !account.is_gateway {
                let own = owner.rung_by.entry(account.user.clone()).or_default();
                let _ = own.take(now, share, 1);
            }
        }
        Ok(relays)
    }
}

/// The answer to what came too often.
pub(super) fn limited(wait: Duration) -> Failure {
    let seconds = u32::try_from(wait.as_millis().div_ceil(1000))
        .unwrap_or(u32::MAX)
        .max(1);
    let message = format!("too many requests; try again in {seconds} s");
    Failure {
        code: ErrorCode::RateLimited,
        message,
        retry_after: Some(seconds),
    }
}

/// The sentence that goes with a code.
fn failure(code: ErrorCode) -> Failure {
    let message = match &code {
        ErrorCode::Order => "not in this state",
        ErrorCode::UnknownUser => "nobody of that name",
        ErrorCode::Offline => "no device of the callee is connected",
        ErrorCode::UnknownCall => "no such call of this connection",
        ErrorCode::RepeatedCall => "this call id was used before",
        ErrorCode::NotOffered => "the caller did not offer that",
        ErrorCode::Unsupported => "this hub does not offer that verb yet",
        ErrorCode::RateLimited => "the callee was called too often in this minute",
        ErrorCode::Malformed
        | ErrorCode::TooLarge
        | ErrorCode::UnknownVerb
        | ErrorCode::Protocol
        | ErrorCode::Unauthorized
        | ErrorCode::Forbidden
        | ErrorCode::Limit
        | ErrorCode::ResumeLost
        | ErrorCode::Other(_) => "refused",
    };
    Failure::new(code, message)
}
