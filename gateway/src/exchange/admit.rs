//! Who may call whom: limits, routes, and the making of a call from an INVITE or a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quartet_proto::net::FiveTuple;
use quartet_proto::sip::{Caller, Contact, NameAddr, SipCommand, Uri};
use rand_core::Rng;

use super::{Arrival, Exchange, ForeignId};
use crate::call::{
    Call, CallKey, E2eeLeg, E2eeLegConfig, E2eeOutgoing, Leg, Parties, Policy, SipLeg, SipLegConfig, e2ee_codecs,
    offered_codecs,
};
use crate::cdr::{Cause, Direction};
use crate::config::{self, Addresses, IceServer, IceUrl, Via, stack};
use crate::log::Redacted;
use crate::media::{Bind, LegKey, Relay};
use crate::networks::{CallerDetails, Network, NetworkCall, NetworkCommand, NetworkId};
use crate::route::{Destination, DestinationKind, Origin};

/// One caller, one callee or one route has had too many calls in the last minute.
const TOO_MANY: Cause = Cause::Limit { retry_after: None };

/// What a caller is told to wait when the gateway is full.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Characters of a number that is shown: room for the gateway's name beside it.
const MAX_SHOWN: usize = 31;

/// Who calls, to a callee who is not to learn it (RFC 3323 §4.1.1.3).
const ANONYMOUS: &str = "anonymous";

/// What a call begins with.
type Legs = Vec<(Leg, ForeignId)>;

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
        if !self.limits.take_caller(now, direction, &parties.from) {
            return Err(TOO_MANY);
        }
        // A caller from outside has no more calls than a phone has.
        let is_busy = match direction {
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
                // No route is for these yet.
                Caller::Trunk(_) | Caller::Registration(_) => return Err(Cause::Forbidden),
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
        if let Arrival::Network { incoming, .. } = &arrival {
            if incoming.caller.is_refused {
                return Err(Cause::Declined);
            }
            caller.extend(incoming.caller.also.iter().map(String::as_str));
        }
        let found = self.routes.find(&origin, &caller, &number);
        let destination = found.map_err(|error| {
            tracing::debug!(%error, "no destination");
            no_route
        })?;
        parties.route = Some(destination.route.clone());
        let policy = self.policy(&destination);
        let legs =
            match (arrival, destination.kind.clone()) {
                (
                    Arrival::Sip {
                        dialog,
                        is_private,
                        five_tuple,
                        origin,
                        body,
                        ..
                    },
                    DestinationKind::Phones(users),
                ) => {
                    let phone = self.phone(&parties.from).ok_or(Cause::Forbidden)?;
                    // Its own phones: whoever dials has one of them in the hand.
                    let users: Vec<_> = users.into_iter().filter(|user| *user != parties.from).collect();
                    if users.is_empty() {
                        return Err(Cause::Busy);
                    }
                    let named = format!("phone:{}", parties.from);
                    let contacts = self.contacts_to_ring(now, &named, &users, &destination.route)?;
                    let key = self.new_leg_key();
                    let config = self.sip_leg_config((call, key), &phone, (five_tuple, origin), &parties.to);
                    let caller = SipLeg::incoming(config, dialog, body.as_deref())?;
                    let details = CallerDetails {
                        display: phone.name.clone().filter(|_| !is_private),
                        ..CallerDetails::default()
                    };
                    let from = if is_private { ANONYMOUS } else { parties.from.as_str() };
                    let number = destination.captured.as_deref().filter(|_| users.len() == 1);
                    let mut legs = vec![(Leg::Sip(caller), ForeignId::Dialog(dialog))];
                    for (phone, contact) in &contacts {
                        legs.push(self.ring(call, phone, contact, (from, &details), number, Some(key)));
                    }
                    legs
                }
                (
                    Arrival::Sip {
                        dialog,
                        identities,
                        is_private,
                        five_tuple,
                        origin,
                        body,
                        ..
                    },
                    DestinationKind::User { network, user },
                ) => {
                    let network = NetworkId::new(&network);
                    let there = self.networks.get(&network).ok_or(Cause::Network)?.as_ref();
                    let user = there.user_of(&user);
                    (parties.network, parties.to) = (Some(network.to_string()), user.clone());
                    let phone = self.phone(&parties.from).ok_or(Cause::Forbidden)?;
                    parties.shown = shown(&phone, &self.settings.phones, there, identities, is_private);
                    let called = std::iter::once(user.as_str());
                    let (limits, from) = (&mut self.limits, &parties.from);
                    if !limits.may_call(now, direction, from, &user)
                        || !limits.take_route(now, direction, &destination.route, from, called)
                    {
                        return Err(TOO_MANY);
                    }
                    let key = self.new_leg_key();
                    let config = self.sip_leg_config((call, key), &phone, (five_tuple, origin), &user);
                    let caller = SipLeg::incoming(config, dialog, body.as_deref())?;
                    let shown = parties.shown.as_ref().unwrap_or(&parties.from);
                    let callee = self.call_user(network, (user, shown), key, &destination)?;
                    vec![(Leg::Sip(caller), ForeignId::Dialog(dialog)), callee]
                }
                (Arrival::Network { network, incoming }, DestinationKind::Phones(users)) => {
                    let contacts = self.contacts_to_ring(now, &parties.from, &users, &destination.route)?;
                    // A number that was dialled through is for a PBX, not for each of several phones.
                    let number = destination.captured.as_deref().filter(|_| users.len() == 1);
                    let key = self.new_leg_key();
                    let config = self
                        .e2ee_leg_config(key, network.clone(), None, &destination)
                        .ok_or(Cause::Network)?;
                    let foreign_id = ForeignId::Network(network, incoming.call);
                    let details = incoming.caller.clone();
                    let caller = E2eeLeg::answer(config, incoming, (self.rng)());
                    let mut legs = vec![(Leg::E2ee(caller), foreign_id)];
                    legs.extend(contacts.iter().map(|(phone, contact)| {
                        self.ring(call, phone, contact, (&parties.from, &details), number, None)
                    }));
                    legs
                }
                (Arrival::Network { .. }, DestinationKind::User { .. }) => return Err(Cause::Declined),
            };
        Ok((policy, legs))
    }

    /// The contacts of those of the phones that are free and may be called now.
    fn contacts_to_ring(
        &mut self,
        now: Instant,
        caller: &str,
        users: &[String],
        route: &str,
    ) -> Result<Vec<(config::Phone, Contact)>, Cause> {
        let free: Vec<_> = users
            .iter()
            .filter(|user| !self.is_busy(user) && !self.is_crowded_by(caller, user))
            .filter_map(|user| self.phone(user))
            .collect();
        let called: Vec<_> = free
            .iter()
            .filter(|phone| self.limits.may_call(now, Direction::Incoming, caller, &phone.user))
            .cloned()
            .collect();
        let contacts: Vec<_> = called
            .iter()
            .flat_map(|phone| {
                let contacts = self.endpoint.contacts(now, &phone.user);
                contacts.into_iter().map(move |contact| (phone.clone(), contact))
            })
            .collect();
        if contacts.is_empty() {
            return Err(if called.len() < free.len() {
                TOO_MANY
            } else if free.len() < users.len() {
                Cause::Busy
            } else {
                Cause::Offline
            });
        }
        let rung = called.iter().map(|phone| phone.user.as_str());
        if !self.limits.take_route(now, Direction::Incoming, route, caller, rung) {
            return Err(TOO_MANY);
        }
        Ok(contacts)
    }

    /// A leg that calls a user of a network.
    fn call_user(
        &mut self,
        network: NetworkId,
        (user, extension): (String, &str),
        caller: LegKey,
        destination: &Destination,
    ) -> Result<(Leg, ForeignId), Cause> {
        let from = self.networks.get(&network).map(|network| network.name_of(extension));
        let mut id = [0; 16];
        let mut rng = (self.rng)();
        rng.fill_bytes(&mut id);
        let outgoing = E2eeOutgoing {
            call: NetworkCall(id),
            from: from.ok_or(Cause::Network)?,
            to: user,
        };
        let key = self.new_leg_key();
        let config = self
            .e2ee_leg_config(key, network.clone(), Some(caller), destination)
            .ok_or(Cause::Network)?;
        let leg = E2eeLeg::call(config, outgoing, rng);
        Ok((Leg::E2ee(leg), ForeignId::Network(network, NetworkCall(id))))
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

    /// A leg that rings one contact of a phone.
    pub(super) fn ring(
        &mut self,
        call: CallKey,
        phone: &config::Phone,
        contact: &Contact,
        (from, details): (&str, &CallerDetails),
        number: Option<&str>,
        same_worker_as: Option<LegKey>,
    ) -> (Leg, ForeignId) {
        let key = self.new_leg_key();
        let dialog = self.endpoint.new_dialog_key();
        let mut config = self.sip_leg_config((call, key), phone, (contact.five_tuple, contact.origin.ip()), from);
        config.caller_headers.clone_from(&details.headers);
        config.same_worker_as = same_worker_as;
        let host = self.endpoint.shown(contact.five_tuple, Some(&phone.user));
        let display = details.display.as_deref().unwrap_or(from);
        let from = NameAddr::new(Some(display), Uri::sip(from, host));
        let to = NameAddr::new(phone.name.as_deref(), Uri::sip(number.unwrap_or(&phone.user), host));
        let mut contact = contact.clone();
        // Behind the contact of a PBX there are many numbers.
        if let Some(number) = number.filter(|number| *number != phone.user)
            && let Ok(mut uri) = contact.uri.parse::<Uri>()
        {
            uri.set_user(number);
            contact.uri = uri.to_string();
        }
        let leg = SipLeg::outgoing(config, dialog, contact, from, to);
        (Leg::Sip(leg), ForeignId::Dialog(dialog))
    }

    fn begin(&mut self, now: Instant, key: CallKey, parties: Parties, policy: Policy, legs: Vec<(Leg, ForeignId)>) {
        tracing::info!(
            call = %key,
            from = %Redacted(&parties.from),
            to = %Redacted(&parties.to),
            route = parties.route,
            "call"
        );
        for (leg, foreign_id) in &legs {
            self.index_leg(key, leg.key(), foreign_id);
            if let ForeignId::Dialog(dialog) = foreign_id {
                self.log_dialog(*dialog);
            }
        }
        let legs = legs.into_iter().map(|(leg, _)| leg).collect();
        let mut call = Call::new(now, key, parties, policy, legs);
        call.handle_legs(now);
        self.calls.insert(key, call);
        self.run_actions(now, key);
    }

    fn sip_leg_config(
        &mut self,
        (call, key): (CallKey, LegKey),
        phone: &config::Phone,
        (signalling, origin): (FiveTuple, IpAddr),
        peer: &str,
    ) -> SipLegConfig {
        let local = signalling.local;
        let mut rng = (self.rng)();
        let addresses = match &self.settings.media.addresses {
            Addresses::Auto => vec![local.ip()],
            Addresses::Listed(listed) => listed
                .iter()
                .copied()
                .filter(|ip| ip.is_ipv4() == local.is_ipv4())
                .take(1)
                .collect(),
        };
        SipLegConfig {
            key,
            call: Some(call),
            bind: Bind {
                addresses,
                components: 2,
                outer: Vec::new(),
            },
            signalling_peer_ip: origin,
            external: self.here.external(&self.settings, phone.external_address.as_ref()),
            codecs: offered_codecs(&phone.codecs, &self.registry),
            // The E2EE leg comes to this one: it opens when a phone has accepted the call.
            same_worker_as: None,
            transport: phone.transport.clone(),
            ssrc: rng.next_u32(),
            session_id: u64::from(rng.next_u32()),
            language: phone.language.clone(),
            verify: phone.verify,
            user: phone.user.clone(),
            caller_headers: Vec::new(),
            peer: Uri::sip(peer, self.endpoint.shown(signalling, Some(&phone.user))),
            registry: Arc::clone(&self.registry),
        }
    }

    fn e2ee_leg_config(
        &mut self,
        key: LegKey,
        network: NetworkId,
        same_worker_as: Option<LegKey>,
        destination: &Destination,
    ) -> Option<E2eeLegConfig> {
        let mut terms = self.networks.get(&network)?.terms();
        let (session, path) = destination.transport.as_deref().map_or(("", None), stack);
        let under = path.and_then(|path| Some(Relay::under(path, self.path_server(path)?)));
        if let Some(whole) = &destination.transport {
            // Nobody has the whole: what is missing is the path.
            let is_missing = path.is_some() && under.is_none();
            terms.transport = if is_missing { whole } else { session }.to_owned();
        }
        let relays = match under {
            Some(relay) => vec![relay],
            None => self.settings.ice_servers.iter().flat_map(Relay::of_server).collect(),
        };
        let ssrc = (self.rng)().next_u32();
        Some(E2eeLegConfig {
            key,
            bind: self.here.ice_bind(&self.settings, &network),
            network,
            terms,
            relays,
            own_servers: self.settings.ice_servers.iter().flat_map(IceServer::places).collect(),
            is_stacked: path.is_some(),
            relay_only: destination.relay_only,
            wait: destination.wait,
            codecs: e2ee_codecs(&self.registry),
            ssrc,
            same_worker_as,
        })
    }

    /// The server of a path that a route names, if a plugin has the path and the operator has said where.
    fn path_server(&self, path: &str) -> Option<IceUrl> {
        let path = self.registry.path(path)?;
        let via = if path.is_stream() { Via::Tcp } else { Via::Udp };
        self.settings.plugins.path_server(path.plugin(), via)
    }

    fn is_full(&self) -> bool {
        self.stopping || self.calls.len() >= self.settings.limits.calls as usize
    }

    /// Whether there are as many of these calls as one phone may have.
    fn has_enough(&self, is_its: impl Fn(&Call) -> bool) -> bool {
        let calls = self.calls.values().filter(|call| is_its(call));
        calls.count() >= self.settings.limits.calls_per_phone as usize
    }

    fn is_busy(&self, user: &str) -> bool {
        self.has_enough(|call| call.has_phone(user))
    }

    /// Whether this caller's unanswered calls have half of the phone's places: the others reach it.
    fn is_crowded_by(&self, caller: &str, user: &str) -> bool {
        let rings = |call: &&Call| call.is_from_outside(caller) && call.has_phone(user) && !call.engages(user);
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

/// The number that a call of this phone shows on a network, spelt as that spells it, if not its own; empty: none. It is none of
/// another phone.
fn shown(
    phone: &config::Phone,
    phones: &[config::Phone],
    network: &dyn Network,
    identities: Vec<String>,
    is_private: bool,
) -> Option<String> {
    if is_private {
        return Some(String::new());
    }
    let may = |number: &String| phone.may_assert.iter().any(|pattern| pattern.matches(number).is_some());
    let is_phone = |number: &String| phones.iter().any(|phone| phone.user == *number);
    identities
        .into_iter()
        .filter(may)
        .map(|number| network.extension_of(&network.name_of(&number)))
        .find(|number| (1..=MAX_SHOWN).contains(&number.len()) && (*number == phone.user || !is_phone(number)))
        .filter(|number| *number != phone.user)
}
