//! The calls of the hub and the order of their verbs: one state machine a call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use quartet_proto::hub::{
    CallAccept, CallConfirm, CallDiscard, CallId, CallLink, CallReceived, CallRejoin, CallRequest, CallSignal,
    CallTaken, DiscardReason, ErrorCode, Event, ExchangeName, Name, Reflector, Version,
};

use super::Limits;
use super::rendezvous::SessionKey;

/// Ended calls whose ids are still known, so that none is used twice.
const MAX_REMEMBERED: usize = 8192;

/// Events and whom they go to.
pub(super) type Relays = Vec<(SessionKey, Event)>;

/// How far a call is.
#[derive(Debug)]
enum Stage {
    /// Requested, and received by those devices whose flag is set.
    Ringing(BTreeMap<SessionKey, bool>),
    /// One device took it; the caller has not confirmed.
    Accepted(SessionKey),
    /// Both have the key; packets pass.
    Confirmed(SessionKey),
}

#[derive(Debug)]
struct Call {
    caller: SessionKey,
    exchanges: Vec<ExchangeName>,
    versions: Vec<Version>,
    stage: Stage,
    deadline: Option<Instant>,
    /// What the caller was told of, until the callee is.
    reflectors: Vec<Reflector>,
}

/// A call that one of its parties has taken up after the hub had forgotten it.
#[derive(Debug)]
struct Rejoining {
    session: SessionKey,
    account: Name,
    peer: Name,
    deadline: Instant,
    /// It has ended the call meanwhile, which the other party hears when it comes.
    over: Option<CallDiscard>,
}

/// Every call by its id.
///
/// Each verb either has its whole effect, given as the events to pass on, or none and an error for its sender.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<CallId, Call>,
    by_session: BTreeMap<SessionKey, BTreeSet<CallId>>,
    deadlines: BTreeSet<(Instant, CallId)>,
    rejoining: BTreeMap<CallId, Rejoining>,
    ended: BTreeSet<CallId>,
    ended_order: VecDeque<CallId>,
}

impl Call {
    fn devices(&self) -> Vec<SessionKey> {
        match &self.stage {
            Stage::Ringing(devices) => devices.keys().copied().collect(),
            Stage::Accepted(device) | Stage::Confirmed(device) => vec![*device],
        }
    }

    fn parties(&self) -> Vec<SessionKey> {
        let mut parties = self.devices();
        parties.push(self.caller);
        parties
    }
}

impl Calls {
    /// How many calls there are.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// How many calls a session is in.
    pub(super) fn of(&self, session: SessionKey) -> usize {
        self.by_session.get(&session).map_or(0, BTreeSet::len)
    }

    /// Who calls this session and is not answered yet, once for each call.
    pub(super) fn ringing_at(&self, session: SessionKey) -> impl Iterator<Item = SessionKey> + '_ {
        let ids = self.by_session.get(&session).into_iter().flatten();
        let calls = ids.filter_map(|id| self.calls.get(id));
        calls
            .filter(move |call| call.caller != session && matches!(call.stage, Stage::Ringing(_)))
            .map(|call| call.caller)
    }

    /// Opens a call from `caller` to `devices`, which is not empty; `request.from` must be filled in.
    pub(super) fn request(
        &mut self,
        now: Instant,
        caller: SessionKey,
        devices: &[SessionKey],
        request: CallRequest,
        limits: &Limits,
    ) -> Result<Relays, ErrorCode> {
        let id = request.call;
        if self.calls.contains_key(&id) || self.ended.contains(&id) || self.rejoining.contains_key(&id) {
            return Err(ErrorCode::RepeatedCall);
        }
        let deadline = now + limits.ring;
        self.deadlines.insert((deadline, id));
        for session in devices.iter().chain([&caller]) {
            self.by_session.entry(*session).or_default().insert(id);
        }
        let call = Call {
            caller,
            exchanges: request.exchanges.iter().map(|offer| offer.name.clone()).collect(),
            versions: request.library_versions.clone(),
            stage: Stage::Ringing(devices.iter().map(|device| (*device, false)).collect()),
            deadline: Some(deadline),
            reflectors: Vec::new(),
        };
        self.calls.insert(id, call);
        Ok(devices
            .iter()
            .map(|device| (*device, Event::CallRequest(request.clone())))
            .collect())
    }

    /// A device rings. The caller hears of the first.
    pub(super) fn received(&mut self, session: SessionKey, body: CallReceived) -> Result<Relays, ErrorCode> {
        let call = self.party(session, body.call)?;
        let Stage::Ringing(devices) = &mut call.stage else {
            return Err(ErrorCode::Order);
        };
        let first = !devices.values().any(|received| *received);
        match devices.get_mut(&session) {
            Some(received) if !*received => *received = true,
            Some(_) | None => return Err(ErrorCode::Order),
        }
        Ok(if first {
            vec![(call.caller, Event::CallReceived(body))]
        } else {
            Vec::new()
        })
    }

    /// A device that rings takes the call; the others are told that it is taken.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        session: SessionKey,
        body: CallAccept,
        limits: &Limits,
    ) -> Result<Relays, ErrorCode> {
        let id = body.call;
        let call = self.party(session, id)?;
        let Stage::Ringing(devices) = &call.stage else {
            return Err(ErrorCode::Order);
        };
        if devices.get(&session) != Some(&true) {
            return Err(ErrorCode::Order);
        }
        if !call.exchanges.contains(&body.exchange) || !call.versions.contains(&body.library_version) {
            return Err(ErrorCode::NotOffered);
        }
        let others: Vec<SessionKey> = devices.keys().copied().filter(|device| *device != session).collect();
        call.stage = Stage::Accepted(session);
        let mut relays = vec![(call.caller, Event::CallAccept(body))];
        self.set_deadline(id, Some(now + limits.confirm));
        for device in others {
            self.leave(device, id);
            relays.push((device, Event::CallTaken(CallTaken { call: id })));
        }
        Ok(relays)
    }

    /// The caller reveals its public value.
    pub(super) fn confirm(&mut self, session: SessionKey, body: CallConfirm) -> Result<Relays, ErrorCode> {
        let id = body.call;
        let call = self.party(session, id)?;
        let Stage::Accepted(device) = call.stage else {
            return Err(ErrorCode::Order);
        };
        if call.caller != session {
            return Err(ErrorCode::Order);
        }
        call.stage = Stage::Confirmed(device);
        self.set_deadline(id, None);
        Ok(vec![(device, Event::CallConfirm(body))])
    }

    /// Keeps what the caller is told of reflectors for the callee.
    pub(super) fn keep_reflectors(&mut self, id: CallId, reflectors: Vec<Reflector>) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.reflectors = reflectors;
        }
    }

    /// Gives it.
    pub(super) fn take_reflectors(&mut self, id: CallId) -> Vec<Reflector> {
        let call = self.calls.get_mut(&id);
        call.map_or_else(Vec::new, |call| std::mem::take(&mut call.reflectors))
    }

    /// A packet from one party to the other.
    pub(super) fn signal(&mut self, session: SessionKey, body: CallSignal) -> Result<Relays, ErrorCode> {
        let call = self.party(session, body.call)?;
        let Stage::Confirmed(device) = call.stage else {
            return Err(ErrorCode::Order);
        };
        let other = if call.caller == session { device } else { call.caller };
        Ok(vec![(other, Event::CallSignal(body))])
    }

    /// A party takes up a confirmed call that is not known here; it lives again when both have. Both name the account of the
    /// other, so that nobody gets into a call that he only knows the id of.
    pub(super) fn rejoin(
        &mut self,
        now: Instant,
        session: SessionKey,
        account: &Name,
        body: &CallRejoin,
        limits: &Limits,
        max_calls: impl Fn(SessionKey) -> usize,
    ) -> Result<Relays, ErrorCode> {
        let id = body.call;
        if self.party(session, id).is_ok() {
            return Ok(Relays::new());
        }
        if self.calls.contains_key(&id) || self.ended.contains(&id) {
            return Err(ErrorCode::UnknownCall);
        }
        if self.calls.len() + self.rejoining.len() >= limits.calls {
            return Err(ErrorCode::Limit);
        }
        let Some(first) = self.rejoining.get(&id) else {
            let waiting = self.rejoining.values().filter(|one| one.session == session).count();
            if self.of(session) + waiting >= max_calls(session) {
                return Err(ErrorCode::Limit);
            }
            let deadline = now + limits.resume;
            self.deadlines.insert((deadline, id));
            let one = Rejoining {
                session,
                account: account.clone(),
                peer: body.peer.clone(),
                deadline,
                over: None,
            };
            self.rejoining.insert(id, one);
            return Ok(Relays::new());
        };
        if first.session == session {
            return Ok(Relays::new());
        }
        if first.peer.account() != account.as_str() || body.peer.account() != first.account.as_str() {
            return Err(ErrorCode::UnknownCall);
        }
        let (caller, deadline, over) = (first.session, first.deadline, first.over);
        if over.is_none()
            && [caller, session]
                .iter()
                .any(|party| self.of(*party) >= max_calls(*party))
        {
            return Err(ErrorCode::Limit);
        }
        self.rejoining.remove(&id);
        self.deadlines.remove(&(deadline, id));
        if let Some(over) = over {
            self.remember(id);
            return Ok(vec![(session, Event::CallDiscard(over))]);
        }
        for party in [caller, session] {
            self.by_session.entry(party).or_default().insert(id);
        }
        let call = Call {
            caller,
            exchanges: Vec::new(),
            versions: Vec::new(),
            stage: Stage::Confirmed(session),
            deadline: None,
            reflectors: Vec::new(),
        };
        self.calls.insert(id, call);
        Ok([caller, session]
            .map(|party| (party, Event::CallBack(CallLink { call: id })))
            .into())
    }

    /// The other sides of a session's calls that are accepted.
    pub(super) fn others(&self, session: SessionKey) -> Vec<(SessionKey, CallId)> {
        let ids = self.by_session.get(&session).into_iter().flatten();
        let other = |id: &CallId| {
            let call = self.calls.get(id)?;
            match call.stage {
                Stage::Ringing(_) => None,
                Stage::Accepted(device) | Stage::Confirmed(device) if call.caller == session => Some((device, *id)),
                Stage::Accepted(_) | Stage::Confirmed(_) => Some((call.caller, *id)),
            }
        };
        ids.filter_map(other).collect()
    }

    /// Either side ends the call, in any state; a device that rings ends it for all.
    pub(super) fn discard(&mut self, session: SessionKey, body: CallDiscard) -> Result<Relays, ErrorCode> {
        let body = CallDiscard { lost: false, ..body };
        if let Some(one) = self.rejoining.get_mut(&body.call)
            && one.session == session
        {
            one.over = Some(body);
            return Ok(Relays::new());
        }
        self.party(session, body.call)?;
        Ok(self.end(body, Some(session)))
    }

    /// A session is over: its calls end, save those that still ring elsewhere.
    pub(super) fn disconnect(&mut self, session: SessionKey) -> Relays {
        let mut relays = Vec::new();
        let deadlines = &mut self.deadlines;
        self.rejoining.retain(|id, one| {
            let stays = one.session != session;
            if !stays {
                deadlines.remove(&(one.deadline, *id));
            }
            stays
        });
        for id in self.by_session.get(&session).cloned().unwrap_or_default() {
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if let Stage::Ringing(devices) = &mut call.stage
                && call.caller != session
                && devices.len() > 1
            {
                devices.remove(&session);
                self.leave(session, id);
                continue;
            }
            relays.extend(self.end(
                CallDiscard {
                    call: id,
                    reason: DiscardReason::Disconnect,
                    duration: 0,
                    lost: true,
                },
                Some(session),
            ));
        }
        relays
    }

    /// Ends what nobody answered (`missed`) or confirmed (`disconnect`) in time.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Relays {
        let mut relays = Vec::new();
        while let Some(&(deadline, call)) = self.deadlines.first()
            && deadline <= now
        {
            let ringing = self
                .calls
                .get(&call)
                .is_some_and(|call| matches!(call.stage, Stage::Ringing(_)));
            let reason = if ringing {
                DiscardReason::Missed
            } else {
                DiscardReason::Disconnect
            };
            self.deadlines.pop_first();
            if let Some(one) = self.rejoining.remove(&call) {
                if one.over.is_some() {
                    continue;
                }
                let body = CallDiscard {
                    call,
                    reason,
                    duration: 0,
                    lost: true,
                };
                relays.push((one.session, Event::CallDiscard(body)));
                continue;
            }
            relays.extend(self.end(
                CallDiscard {
                    call,
                    reason,
                    duration: 0,
                    lost: false,
                },
                None,
            ));
        }
        relays
    }

    /// When [`Calls::handle_timeout`] is next due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The call, if `session` is one of its parties: strangers do not learn that it exists.
    fn party(&mut self, session: SessionKey, id: CallId) -> Result<&mut Call, ErrorCode> {
        if !self.by_session.get(&session).is_some_and(|calls| calls.contains(&id)) {
            return Err(ErrorCode::UnknownCall);
        }
        self.calls.get_mut(&id).ok_or(ErrorCode::UnknownCall)
    }

    fn end(&mut self, body: CallDiscard, sender: Option<SessionKey>) -> Relays {
        self.set_deadline(body.call, None);
        let Some(call) = self.calls.remove(&body.call) else {
            return Vec::new();
        };
        let parties = call.parties();
        for session in &parties {
            self.leave(*session, body.call);
        }
        self.remember(body.call);
        let others = parties.into_iter().filter(|session| Some(*session) != sender);
        others.map(|session| (session, Event::CallDiscard(body))).collect()
    }

    fn remember(&mut self, id: CallId) {
        if self.ended_order.len() >= MAX_REMEMBERED
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.ended.insert(id);
        self.ended_order.push_back(id);
    }

    fn set_deadline(&mut self, id: CallId, deadline: Option<Instant>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut call.deadline, deadline) {
            self.deadlines.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, id));
        }
    }

    fn leave(&mut self, session: SessionKey, id: CallId) {
        if let Some(calls) = self.by_session.get_mut(&session) {
            calls.remove(&id);
            if calls.is_empty() {
                self.by_session.remove(&session);
            }
        }
    }

    /// Entries of all tables but the memory of ended calls.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.calls.len() + self.by_session.len() + self.deadlines.len() + self.rejoining.len()
    }
}
