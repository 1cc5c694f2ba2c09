//! The calls of the hub and the order of their verbs: one state machine a call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use quartet_proto::hub::{
    CallAccept, CallConfirm, CallDiscard, CallId, CallReceived, CallRequest, CallSignal, CallTaken, DiscardReason,
    ErrorCode, Event, ExchangeName, Version,
};

use super::{ConnKey, Limits};

/// Ended calls whose ids are still known, so that none is used twice.
const MAX_REMEMBERED: usize = 8192;

/// Events and whom they go to.
pub(super) type Relays = Vec<(ConnKey, Event)>;

/// How far a call is.
#[derive(Debug)]
enum Stage {
    /// Requested, and received by those devices whose flag is set.
    Ringing(BTreeMap<ConnKey, bool>),
    /// One device took it; the caller has not confirmed.
    Accepted(ConnKey),
    /// Both have the key; packets pass.
    Confirmed(ConnKey),
}

#[derive(Debug)]
struct Call {
    caller: ConnKey,
    exchanges: Vec<ExchangeName>,
    versions: Vec<Version>,
    stage: Stage,
    deadline: Option<Instant>,
}

/// Every call by its id.
///
/// Each verb either has its whole effect, given as the events to pass on, or none and an error for its sender.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<CallId, Call>,
    by_conn: BTreeMap<ConnKey, BTreeSet<CallId>>,
    deadlines: BTreeSet<(Instant, CallId)>,
    ended: BTreeSet<CallId>,
    ended_order: VecDeque<CallId>,
}

impl Call {
    fn devices(&self) -> Vec<ConnKey> {
        match &self.stage {
            Stage::Ringing(devices) => devices.keys().copied().collect(),
            Stage::Accepted(device) | Stage::Confirmed(device) => vec![*device],
        }
    }

    fn parties(&self) -> Vec<ConnKey> {
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

    /// How many calls a connection is in.
    pub(super) fn of(&self, conn: ConnKey) -> usize {
        self.by_conn.get(&conn).map_or(0, BTreeSet::len)
    }

    /// Who calls this connection and is not answered yet, once for each call.
    pub(super) fn ringing_at(&self, conn: ConnKey) -> impl Iterator<Item = ConnKey> + '_ {
        let ids = self.by_conn.get(&conn).into_iter().flatten();
        let calls = ids.filter_map(|id| self.calls.get(id));
        calls
            .filter(move |call| call.caller != conn && matches!(call.stage, Stage::Ringing(_)))
            .map(|call| call.caller)
    }

    /// Opens a call from `caller` to `devices`, which is not empty; `request.from` must be filled in.
    pub(super) fn request(
        &mut self,
        now: Instant,
        caller: ConnKey,
        devices: &[ConnKey],
        request: CallRequest,
        limits: &Limits,
    ) -> Result<Relays, ErrorCode> {
        let id = request.call;
        if self.calls.contains_key(&id) || self.ended.contains(&id) {
            return Err(ErrorCode::RepeatedCall);
        }
        let deadline = now + limits.ring;
        self.deadlines.insert((deadline, id));
        for conn in devices.iter().chain([&caller]) {
            self.by_conn.entry(*conn).or_default().insert(id);
        }
        let call = Call {
            caller,
            exchanges: request.exchanges.iter().map(|offer| offer.name.clone()).collect(),
            versions: request.library_versions.clone(),
            stage: Stage::Ringing(devices.iter().map(|device| (*device, false)).collect()),
            deadline: Some(deadline),
        };
        self.calls.insert(id, call);
        Ok(devices
            .iter()
            .map(|device| (*device, Event::CallRequest(request.clone())))
            .collect())
    }

    /// A device rings. The caller hears of the first.
    pub(super) fn received(&mut self, conn: ConnKey, body: CallReceived) -> Result<Relays, ErrorCode> {
        let call = self.party(conn, body.call)?;
        let Stage::Ringing(devices) = &mut call.stage else {
            return Err(ErrorCode::Order);
        };
        let first = !devices.values().any(|received| *received);
        match devices.get_mut(&conn) {
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
        conn: ConnKey,
        body: CallAccept,
        limits: &Limits,
    ) -> Result<Relays, ErrorCode> {
        let id = body.call;
        let call = self.party(conn, id)?;
        let Stage::Ringing(devices) = &call.stage else {
            return Err(ErrorCode::Order);
        };
        if devices.get(&conn) != Some(&true) {
            return Err(ErrorCode::Order);
        }
        if !call.exchanges.contains(&body.exchange) || !call.versions.contains(&body.library_version) {
            return Err(ErrorCode::NotOffered);
        }
        let others: Vec<ConnKey> = devices.keys().copied().filter(|device| *device != conn).collect();
        call.stage = Stage::Accepted(conn);
        let mut relays = vec![(call.caller, Event::CallAccept(body))];
        self.set_deadline(id, Some(now + limits.confirm));
        for device in others {
            self.leave(device, id);
            relays.push((device, Event::CallTaken(CallTaken { call: id })));
        }
        Ok(relays)
    }

    /// The caller reveals its public value.
    pub(super) fn confirm(&mut self, conn: ConnKey, body: CallConfirm) -> Result<Relays, ErrorCode> {
        let id = body.call;
        let call = self.party(conn, id)?;
        let Stage::Accepted(device) = call.stage else {
            return Err(ErrorCode::Order);
        };
        if call.caller != conn {
            return Err(ErrorCode::Order);
        }
        call.stage = Stage::Confirmed(device);
        self.set_deadline(id, None);
        Ok(vec![(device, Event::CallConfirm(body))])
    }

    /// A packet from one party to the other.
    pub(super) fn signal(&mut self, conn: ConnKey, body: CallSignal) -> Result<Relays, ErrorCode> {
        let call = self.party(conn, body.call)?;
        let Stage::Confirmed(device) = call.stage else {
            return Err(ErrorCode::Order);
        };
        let other = if call.caller == conn { device } else { call.caller };
        Ok(vec![(other, Event::CallSignal(body))])
    }

    /// Either side ends the call, in any state; a device that rings ends it for all.
    pub(super) fn discard(&mut self, conn: ConnKey, body: CallDiscard) -> Result<Relays, ErrorCode> {
        self.party(conn, body.call)?;
        Ok(self.end(CallDiscard { lost: false, ..body }, Some(conn)))
    }

    /// A connection is gone: its calls end, save those that still ring elsewhere.
    pub(super) fn disconnect(&mut self, conn: ConnKey) -> Relays {
        let mut relays = Vec::new();
        for id in self.by_conn.get(&conn).cloned().unwrap_or_default() {
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if let Stage::Ringing(devices) = &mut call.stage
                && call.caller != conn
                && devices.len() > 1
            {
                devices.remove(&conn);
                self.leave(conn, id);
                continue;
            }
            relays.extend(self.end(
                CallDiscard {
                    call: id,
                    reason: DiscardReason::Disconnect,
                    duration: 0,
                    lost: true,
                },
                Some(conn),
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

    /// The call, if `conn` is one of its parties: strangers do not learn that it exists.
    fn party(&mut self, conn: ConnKey, id: CallId) -> Result<&mut Call, ErrorCode> {
        if !self.by_conn.get(&conn).is_some_and(|calls| calls.contains(&id)) {
            return Err(ErrorCode::UnknownCall);
        }
        self.calls.get_mut(&id).ok_or(ErrorCode::UnknownCall)
    }

    fn end(&mut self, body: CallDiscard, sender: Option<ConnKey>) -> Relays {
        self.set_deadline(body.call, None);
        let Some(call) = self.calls.remove(&body.call) else {
            return Vec::new();
        };
        let parties = call.parties();
        for conn in &parties {
            self.leave(*conn, body.call);
        }
        if self.ended_order.len() >= MAX_REMEMBERED
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.ended.insert(body.call);
        self.ended_order.push_back(body.call);
        let others = parties.into_iter().filter(|conn| Some(*conn) != sender);
        others.map(|conn| (conn, Event::CallDiscard(body))).collect()
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

    fn leave(&mut self, conn: ConnKey, id: CallId) {
        if let Some(calls) = self.by_conn.get_mut(&conn) {
            calls.remove(&id);
            if calls.is_empty() {
                self.by_conn.remove(&conn);
            }
        }
    }

    /// Entries of all tables but the memory of ended calls.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.calls.len() + self.by_conn.len() + self.deadlines.len()
    }
}
