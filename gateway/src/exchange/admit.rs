//! Who may call whom: limits and routes; what becomes of an INVITE or a request.

use std::time::{Duration, Instant};

use quartet_proto::sip::{Caller, SipCommand};

use super::legs::Legs;
use super::{Arrival, Exchange, ForeignId};
use crate::call::{Call, CallKey, Leg, Parties, Policy};
use crate::cdr::{Cause, Direction};
use crate::config;
use crate::log::Redacted;
use crate::networks::NetworkCommand;
use crate::route::{Destination, Origin};

/// One caller, one callee or one route has had too many calls in the last minute.
pub(super) const TOO_MANY: Cause = Cause::Limit { retry_after: None };

/// Before the name of a phone that calls phones, in what is counted by caller: a user of a network may have the same.
pub(super) const PHONE: &str = "phone:";

/// What a caller is told to wait when the gateway is full.
const RETRY_AFTER: Duration = Duration::from_secs(10);

impl Exchange {
    /// A call comes: it finds its route, and by that its legs; or it is refused.
    pub(super) fn admit(&mut self, now: Instant, arrival: Arrival) {
        let foreign_id = arrival.foreign_id();
        if let ForeignId::Network(network, call) = &foreign_id
            && self.by_network.contains_key(&(network.clone(), *call))
        {
            return;
        }
        let (key, mut parties) = (self.new_call_key(), arrival.parties());
        match self.legs_of(now, key, arrival, &mut parties) {
            Ok((policy, legs)) => self.begin(now, key, parties, policy, legs),
            Err(cause) => self.refuse(now, key, foreign_id, &parties, cause),
        }
    }

    /// The legs of a call, the caller's first.
    fn legs_of(
        &mut self,
        now: Instant,
        call: CallKey,
        arrival: Arrival,
        parties: &mut Parties,
    ) -> Result<(Policy, Legs), Cause> {
        let direction = parties.direction;
        if self.is_full() {
            return Err(match direction {
                Direction::Outgoing => Cause::Limit {
                    retry_after: Some(RETRY_AFTER),
                },
                Direction::Incoming => Cause::Busy,
            });
        }
        let trunk = match &arrival {
            Arrival::Sip { caller, .. } => self.trunk_of(caller),
            Arrival::Network { .. } => None,
        };
        if let Some(trunk) = &trunk {
            parties.from.clone_from(&trunk.name);
            self.may_trunk_call(now, trunk)?;
        } else if !self.limits.take_caller(now, direction, &parties.from) {
            return Err(TOO_MANY);
        }
        // A caller from outside has no more calls than a phone has.
        let is_busy = match direction {
            Direction::Outgoing if trunk.is_some() => false,
            // Calls that ring it unanswered are not its own: whoever places them must not keep it from calling.
            Direction::Outgoing => self.has_enough(|call| call.engages(&parties.from)),
            Direction::Incoming => self.has_enough(|call| call.is_from_outside(&parties.from)),
        };
        if is_busy {
            return Err(Cause::Busy);
        }
        let (origin, number, no_route) = match &arrival {
            Arrival::Sip { caller, number, .. } => match caller {
                Caller::Account(user) => (Origin::Phone(user.clone()), number.clone(), Cause::Unknown),
                Caller::Trunk(_) | Caller::Registration { .. } => {
                    let trunk = trunk.as_ref().ok_or(Cause::Forbidden)?;
                    (Origin::Trunk(trunk.name.clone()), number.clone(), Cause::Unknown)
                }
            },
            Arrival::Network { network, incoming } => {
                let number = self
                    .networks
                    .get(network)
                    .map(|network| network.extension_of(&incoming.to));
                let origin = Origin::Network(network.to_string());
                (origin, number.unwrap_or_default(), Cause::Declined)
            }
        };
        let mut caller = vec![parties.from.as_str()];
        match &arrival {
            Arrival::Network { incoming, .. } => {
                if incoming.caller.is_refused {
                    return Err(Cause::Declined);
                }
                caller.extend(incoming.caller.also.iter().map(String::as_str));
            }
            // Routes may look at the numbers of those behind a trunk.
            Arrival::Sip { invite, .. } if trunk.is_some() => {
                caller.extend(invite.identities.iter().map(String::as_str));
            }
            Arrival::Sip { .. } => {}
        }
        let found = self.routes.find(&origin, &caller, &number);
        let destination = found.map_err(|error| {
            tracing::debug!(%error, "no destination");
            no_route
        })?;
        parties.route = Some(destination.route.clone());
        let policy = self.policy(&destination);
        let legs = self.make_legs(now, call, (arrival, destination), trunk.as_ref(), parties)?;
        Ok((policy, legs))
    }

    /// Tells the caller that its call will not be.
    fn refuse(&mut self, now: Instant, key: CallKey, foreign_id: ForeignId, parties: &Parties, cause: Cause) {
        self.note_refused(now, key, parties, cause);
        match foreign_id {
            ForeignId::Dialog(dialog) => {
                let command = SipCommand::Reject {
                    dialog,
                    status: cause.status(),
                    reason: Some(cause.reason()),
                    retry_after: cause.retry_after().map(|after| after.as_secs() as u32),
                };
                if let Err(error) = self.endpoint.handle_command(now, command) {
                    tracing::debug!(%error, "refused a call that is gone");
                }
            }
            ForeignId::Network(network, call) => {
                let command = NetworkCommand::Discard {
                    call,
                    reason: cause.discard(),
                    duration: Duration::ZERO,
                };
                if let Some(network) = self.networks.get_mut(&network) {
                    network.handle_command(now, command);
                }
            }
        }
    }

    /// What is kept of a call that never began. What limits refuse is summed up, and what there is too much of: it may be any number.
    fn note_refused(&mut self, now: Instant, key: CallKey, parties: &Parties, cause: Cause) {
        let record = Call::refused(now, key, parties, cause);
        if matches!(cause, Cause::Limit { .. }) || !self.limits.is_listed(now, parties.direction) {
            let same = (parties.direction, parties.from.clone(), cause.word());
            if let Some(first) = self.refused.note(now, same, record) {
                self.record_refused(first);
            }
        } else {
            self.record_refused(record);
        }
    }

    fn begin(&mut self, now: Instant, key: CallKey, parties: Parties, policy: Policy, legs: Legs) {
        tracing::info!(
            call = %key,
            from = %Redacted(&parties.from),
            to = %Redacted(&parties.to),
            route = parties.route,
            "call"
        );
        let legs = self.index_legs(key, legs);
        let mut call = Call::new(now, key, parties, policy, legs);
        call.handle_legs(now);
        self.calls.insert(key, call);
        self.run_actions(now, key);
    }

    /// Has the legs of a call found by what is said of them.
    pub(super) fn index_legs(&mut self, key: CallKey, legs: Legs) -> Vec<Leg> {
        for (leg, foreign_id) in &legs {
            self.index_leg(key, leg.key(), foreign_id);
            if let ForeignId::Dialog(dialog) = foreign_id {
                self.log_dialog(*dialog);
            }
        }
        legs.into_iter().map(|(leg, _)| leg).collect()
    }

    fn is_full(&self) -> bool {
        self.stopping || self.calls.len() >= self.settings.limits.calls as usize
    }

    /// Whether there are as many of these calls as one phone may have.
    fn has_enough(&self, is_its: impl Fn(&Call) -> bool) -> bool {
        let calls = self.calls.values().filter(|call| is_its(call));
        calls.count() >= self.settings.limits.calls_per_phone as usize
    }

    pub(super) fn is_busy(&self, user: &str) -> bool {
        self.has_enough(|call| call.has_phone(user))
    }

    /// Whether this caller's unanswered calls have half of the phone's places: the others reach it.
    pub(super) fn is_crowded_by(&self, caller: &str, user: &str) -> bool {
        let is_its = |call: &Call| match caller.strip_prefix(PHONE) {
            Some(phone) => call.parties().direction == Direction::Outgoing && call.parties().from == phone,
            None => call.is_from_outside(caller),
        };
        let rings = |call: &&Call| is_its(call) && call.has_phone(user) && !call.engages(user);
        let share = (self.settings.limits.calls_per_phone / 2).max(1);
        self.calls.values().filter(rings).count() >= share as usize
    }

    pub(super) fn phone(&self, user: &str) -> Option<config::Phone> {
        self.settings.phones.iter().find(|phone| phone.user == user).cloned()
    }

    fn policy(&self, destination: &Destination) -> Policy {
        let call = &self.settings.call;
        Policy {
            confirm_timeout: call.confirm_timeout.duration(),
            rtp_timeout: call.rtp_timeout.duration(),
            wait: destination.wait,
            ring_timeout: destination.ring_timeout,
            connect_timeout: call.connect_timeout.duration(),
        }
    }
}
