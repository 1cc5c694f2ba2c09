//! The order of a call's verbs as a client sees it, kept apart from the hub's own view.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{KeyExchange, NetworkCall};

/// Calls at the same time; the core's own limit is lower.
const MAX_CALLS: usize = 4096;
/// Ended calls whose ids are still known.
const MAX_REMEMBERED: usize = 4096;

/// Who began the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// We did.
    Caller,
    /// They did.
    Callee,
}

/// How far the call is, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Requested,
    Received,
    Accepted,
    Confirmed,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    side: Side,
    /// The other party, as the request names it.
    peer: String,
    /// The hub has forgotten it, and the other side may not have taken it up yet.
    is_rejoined: bool,
    stage: Stage,
    exchanges: Vec<KeyExchange>,
    versions: Vec<String>,
}

/// A verb, from the hub or for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `call.request`
    Request,
    /// `call.received`
    Receive,
    /// `call.accept`
    Accept,
    /// `call.confirm`
    Confirm,
    /// `call.signal`
    Signal,
    /// `call.discard`, `call.taken`
    End,
}

/// What to do with a verb of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It fits.
    Pass,
    /// A repetition, or a call that is not there: no effect.
    Drop,
    /// Too early, or for the other side: this call cannot be trusted any more.
    Fail,
}

impl Call {
    /// A call that we request.
    pub(super) fn outgoing(peer: String, exchanges: Vec<KeyExchange>, versions: Vec<String>) -> Self {
        Self {
            side: Side::Caller,
            peer,
            is_rejoined: false,
            stage: Stage::Requested,
            exchanges,
            versions,
        }
    }

    /// A call requested of us.
    pub(super) fn incoming(peer: String, exchanges: Vec<KeyExchange>, versions: Vec<String>) -> Self {
        Self {
            side: Side::Callee,
            peer,
            is_rejoined: false,
            stage: Stage::Requested,
            exchanges,
            versions,
        }
    }

    /// Where a verb leads that `side` sends, and the one stage it may be sent in.
    fn transition(step: Step) -> Option<(Side, Stage, Stage)> {
        match step {
            Step::Receive => Some((Side::Callee, Stage::Requested, Stage::Received)),
            Step::Accept => Some((Side::Callee, Stage::Received, Stage::Accepted)),
            Step::Confirm => Some((Side::Caller, Stage::Accepted, Stage::Confirmed)),
            Step::Request | Step::Signal | Step::End => None,
        }
    }
}

/// Every call of the adapter.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<NetworkCall, Call>,
    ended: BTreeSet<NetworkCall>,
    ended_order: VecDeque<NetworkCall>,
}

impl Calls {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Adds a call; `false` if its id was used before or there are too many.
    pub(super) fn insert(&mut self, id: NetworkCall, call: Call) -> bool {
        if self.calls.len() >= MAX_CALLS || self.calls.contains_key(&id) || self.ended.contains(&id) {
            return false;
        }
        self.calls.insert(id, call);
        true
    }

    /// Ends a call; `false` if it is not there.
    pub(super) fn end(&mut self, id: NetworkCall) -> bool {
        if self.calls.remove(&id).is_none() {
            return false;
        }
        if self.ended_order.len() >= MAX_REMEMBERED
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.ended.insert(id);
        self.ended_order.push_back(id);
        true
    }

    /// Ends all calls and gives their ids.
    pub(super) fn take_all(&mut self) -> Vec<NetworkCall> {
        let all: Vec<NetworkCall> = self.calls.keys().copied().collect();
        for call in &all {
            self.end(*call);
        }
        all
    }

    /// Ends a call that the hub does not know, unless that says nothing of it; `false` if it is not ended.
    pub(super) fn end_unknown(&mut self, id: NetworkCall) -> bool {
        self.calls.get(&id).is_some_and(|call| !call.is_rejoined) && self.end(id)
    }

    /// All calls are taken up again: each with its other party, if it has a key.
    pub(super) fn rejoin(&mut self) -> Vec<(NetworkCall, Option<String>)> {
        let party = |call: &mut Call| {
            call.is_rejoined = true;
            (call.stage == Stage::Confirmed).then(|| call.peer.clone())
        };
        self.calls.iter_mut().map(|(id, call)| (*id, party(call))).collect()
    }

    /// The other party of a call that has a key.
    pub(super) fn party_of(&self, id: NetworkCall) -> Option<&str> {
        let call = self.calls.get(&id)?;
        (call.stage == Stage::Confirmed).then_some(call.peer.as_str())
    }

    /// Whether this exchange and this version were offered in the call.
    pub(super) fn offered(&self, id: NetworkCall, exchange: KeyExchange, version: &str) -> bool {
        let call = self.calls.get(&id);
        call.is_some_and(|call| {
            call.exchanges.contains(&exchange) && call.versions.iter().any(|known| known == version)
        })
    }

    /// Judges a verb that the hub passes on from the other side, and takes the step if it fits.
    pub(super) fn step(&mut self, id: NetworkCall, step: Step) -> Verdict {
        if step == Step::Request {
            // A request for a live or an ended call is a repetition, also one of ours come back.
            let known = self.calls.contains_key(&id) || self.ended.contains(&id);
            return if known { Verdict::Drop } else { Verdict::Pass };
        }
        let Some(call) = self.calls.get_mut(&id) else {
            return Verdict::Drop;
        };
        if step == Step::End {
            self.end(id);
            return Verdict::Pass;
        }
        match Call::transition(step) {
            Some((sender, _, _)) if sender == call.side => Verdict::Fail,
            Some((_, before, after)) if call.stage == before => {
                call.stage = after;
                Verdict::Pass
            }
            Some((_, before, _)) if call.stage > before => Verdict::Drop,
            Some(_) => Verdict::Fail,
            None if call.stage == Stage::Confirmed => Verdict::Pass,
            None => Verdict::Fail,
        }
    }

    /// Takes a step of ours; `false` if it does not fit, and then nothing must be sent.
    pub(super) fn command(&mut self, id: NetworkCall, step: Step) -> bool {
        let Some(call) = self.calls.get_mut(&id) else {
            return false;
        };
        match Call::transition(step) {
            Some((sender, before, after)) => {
                let fits = sender == call.side && call.stage == before;
                if fits {
                    call.stage = after;
                }
                fits
            }
            None => step == Step::Signal && call.stage == Stage::Confirmed,
        }
    }
}
