//! Who may call whom: limits, routes, and the making of a call from an INVITE or a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quartet_proto::net::{FiveTuple, Protocol};
use quartet_proto::sip::{Account, Contact, Endpoint, EndpointConfig, Ha1, NameAddr, SipCommand, SipEvent, Uri};
use rand_core::Rng;
use zeroize::Zeroizing;

use super::{BoxRng, Exchange, FoundBy};
use crate::call::{
    Call, Cause, E2eeIncoming, E2eeLeg, E2eeLegConfig, E2eeOutgoing, Instance, Leg, Parties, Policy, SipLeg,
    SipLegConfig, e2ee_codecs, offered_codecs,
};
use crate::cdr::Direction;
use crate::config;
use crate::log::Redacted;
use crate::media::{Bind, LegKey};
use crate::networks::{Network, NetworkCall, NetworkCommand, NetworkEvent};
use crate::route::{DestinationKind, Origin};

/// How long key exchange and media may take; the official clients' figure.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// One caller, one callee or one route has had too many calls in the last minute.
const TOO_MANY: Cause = Cause::Limit { retry_after: None };

/// What a caller is told to wait when the gateway is full.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The endpoint as the settings want it.
pub(super) fn endpoint(
    settings: &config::Settings,
    sip: &[(Protocol, SocketAddr)],
    instance: Instance,
    rng: BoxRng,
) -> Endpoint {
    let limits = quartet_proto::sip::Limits {
        login_failures: settings.limits.login_failures,
        login_interval: settings.limits.login_interval.duration(),
        ..Default::default()
    };
    let config = EndpointConfig {
        instance: instance.to_string(),
        user_agent: concat!("quartet/", env!("CARGO_PKG_VERSION")).into(),
        realm: settings.sip.realm.clone(),
        limits,
    };
    let mut endpoint = Endpoint::new(config, rng);
    endpoint.set_local(sip.to_vec());
    endpoint.set_accounts(settings.phones.iter().map(account).collect());
    endpoint
}

fn account(phone: &config::Phone) -> Account {
    Account {
        user: phone.user.clone(),
        ha1: Ha1 {
            md5: phone
                .password_hash
                .md5
                .as_ref()
                .map(|hash| Zeroizing::new(*hash.bytes())),
            sha256: phone
                .password_hash
                .sha256
                .as_ref()
                .map(|hash| Zeroizing::new(*hash.bytes())),
        },
        max_contacts: phone.max_contacts,
    }
}

impl Exchange {
    /// A phone calls.
    pub(super) fn admit_phone(&mut self, now: Instant, wall: SystemTime, event: SipEvent) {
        let SipEvent::Incoming {
            dialog,
            user,
            target,
            body,
            five_tuple,
            ..
        } = event
        else {
            return;
        };
        let mut parties = Parties {
            from: user.clone(),
            to: target.clone(),
            route: None,
            direction: Direction::Outgoing,
            network: None,
        };
        let refuse = |exchange: &mut Self, parties: &Parties, cause: Cause| {
            exchange.note_refused(now, wall, parties, cause);
            let retry_after = cause.retry_after().map(|after| after.as_secs() as u32);
            let command = SipCommand::Reject {
                dialog,
                status: cause.status(),
                reason: cause.reason(),
                retry_after,
            };
            if let Err(error) = exchange.endpoint.handle_command(now, command) {
                tracing::debug!(%error, "refused a call that is gone");
            }
        };
        if self.is_full() {
            let retry_after = Some(RETRY_AFTER);
            return refuse(self, &parties, Cause::Limit { retry_after });
        }
        if !self.limits.take_caller(now, Direction::Outgoing, &user) {
            return refuse(self, &parties, TOO_MANY);
        }
        if self.is_busy(&user) {
            return refuse(self, &parties, Cause::Busy);
        }
        let destination = match self.routes.find(&Origin::Phone(user.clone()), &target) {
            Ok(destination) => destination,
            Err(error) => {
                tracing::debug!(%error, "no destination");
                return refuse(self, &parties, Cause::Unknown);
            }
        };
        parties.route = Some(destination.route.clone());
        let DestinationKind::Hub(callee) = destination.kind else {
            // From phone to phone is a PBX's business; routes.conf refuses it, so this is never reached by a call.
            return refuse(self, &parties, Cause::Forbidden);
        };
        (parties.network, parties.to) = (Some("hub"), callee.clone());
        let Some(phone) = self.phone(&user) else {
            return refuse(self, &parties, Cause::Forbidden);
        };
        if !self.limits.may_call(now, Direction::Outgoing, &callee)
            || !self.limits.take_route(
                now,
                Direction::Outgoing,
                &destination.route,
                std::iter::once(callee.as_str()),
            )
        {
            return refuse(self, &parties, TOO_MANY);
        }
        let (caller_key, callee_key) = (LegKey(self.next_key()), LegKey(self.next_key()));
        let config = self.sip_leg_config(caller_key, &phone, five_tuple, &callee);
        let caller = match SipLeg::incoming(config, dialog, body.as_deref()) {
            Ok(leg) => leg,
            Err(cause) => return refuse(self, &parties, cause),
        };
        let mut id = [0; 16];
        let mut rng = (self.rng)();
        rng.fill_bytes(&mut id);
        let from = format!("{user}@{}", self.settings.network.hub.account);
        let outgoing = E2eeOutgoing {
            call: NetworkCall(id),
            from,
            to: callee,
        };
        let callee_leg = E2eeLeg::call(self.e2ee_leg_config(callee_key, Some(caller_key)), outgoing, rng);
        let policy = self.policy(destination.ring_timeout);
        let legs = vec![
            (Leg::Sip(caller), FoundBy::Dialog(dialog)),
            (Leg::E2ee(callee_leg), FoundBy::Network(NetworkCall(id))),
        ];
        self.begin(now, wall, parties, policy, legs);
    }

    /// An E2EE user calls.
    pub(super) fn admit_user(&mut self, now: Instant, wall: SystemTime, event: NetworkEvent) {
        let NetworkEvent::Requested {
            call,
            from,
            to,
            offers,
            versions,
            ..
        } = event
        else {
            return;
        };
        let mut parties = Parties {
            from: from.clone(),
            to: to.clone(),
            route: None,
            direction: Direction::Incoming,
            network: Some("hub"),
        };
        let refuse = |exchange: &mut Self, parties: &Parties, cause: Cause| {
            exchange.note_refused(now, wall, parties, cause);
            let command = NetworkCommand::Discard {
                call,
                reason: cause.discard(),
                duration: Duration::ZERO,
            };
            exchange.hub.handle_command(now, command);
        };
        if self.by_network.contains_key(&call) {
            return;
        }
        if !self.limits.take_caller(now, Direction::Incoming, &from) {
            return refuse(self, &parties, TOO_MANY);
        }
        // A caller from outside has no more calls than a phone has.
        if self.is_full() || self.has_enough(|call| call.is_from_outside(&from)) {
            return refuse(self, &parties, Cause::Busy);
        }
        let number = to.split_once('@').map_or("", |(extension, _)| extension);
        let destination = match self.routes.find(&Origin::Network("hub".into()), number) {
            Ok(destination) => destination,
            Err(error) => {
                tracing::debug!(%error, "no destination");
                return refuse(self, &parties, Cause::Declined);
            }
        };
        parties.route = Some(destination.route.clone());
        let DestinationKind::Phones(users) = destination.kind else {
            return refuse(self, &parties, Cause::Declined);
        };
        let free: Vec<_> = users
            .iter()
            .filter(|user| !self.is_busy(user))
            .filter_map(|user| self.phone(user))
            .collect();
        let called: Vec<_> = free
            .iter()
            .filter(|phone| self.limits.may_call(now, Direction::Incoming, &phone.user))
            .cloned()
            .collect();
        let contacts: Vec<_> = called
            .iter()
            .flat_map(|phone| {
                self.endpoint
                    .contacts(now, &phone.user)
                    .into_iter()
                    .map(move |c| (phone.clone(), c))
            })
            .collect();
        if contacts.is_empty() {
            let cause = if called.len() < free.len() {
                TOO_MANY
            } else if free.len() < users.len() {
                Cause::Busy
            } else {
                Cause::Missed
            };
            return refuse(self, &parties, cause);
        }
        let rung = called.iter().map(|phone| phone.user.as_str());
        if !self
            .limits
            .take_route(now, Direction::Incoming, &destination.route, rung)
        {
            return refuse(self, &parties, TOO_MANY);
        }
        let caller_key = LegKey(self.next_key());
        let incoming = E2eeIncoming {
            call,
            from: from.clone(),
            to,
            offers,
            versions,
        };
        let caller = E2eeLeg::answer(self.e2ee_leg_config(caller_key, None), incoming, (self.rng)());
        let mut legs = vec![(Leg::E2ee(caller), FoundBy::Network(call))];
        for (phone, contact) in &contacts {
            legs.push(self.ring(phone, contact, &from));
        }
        let policy = self.policy(destination.ring_timeout);
        self.begin(now, wall, parties, policy, legs);
    }

    /// What is kept of a call that never began. What limits refuse is summed up: it may be any number.
    fn note_refused(&mut self, now: Instant, wall: SystemTime, parties: &Parties, cause: Cause) {
        let key = self.next_call();
        let record = Call::refused(key, wall, parties, cause);
        if let Cause::Limit { .. } = cause {
            let same = (parties.direction, parties.from.clone(), cause.word());
            if let Some(first) = self.refused.note(now, same, record) {
                self.record_refused(first);
            }
        } else {
            self.record_refused(record);
        }
    }

    /// A leg that rings one contact of a phone.
    fn ring(&mut self, phone: &config::Phone, contact: &Contact, from: &str) -> (Leg, FoundBy) {
        let key = LegKey(self.next_key());
        let dialog = self.endpoint.next_dialog();
        let config = self.sip_leg_config(key, phone, contact.five_tuple, from);
        let host = contact.five_tuple.local;
        let from = NameAddr::new(Some(from), Uri::sip(from, host));
        let to = NameAddr::new(phone.name.as_deref(), Uri::sip(&phone.user, host));
        let leg = SipLeg::outgoing(config, dialog, contact.clone(), from, to);
        (Leg::Sip(leg), FoundBy::Dialog(dialog))
    }

    fn begin(&mut self, now: Instant, wall: SystemTime, parties: Parties, policy: Policy, legs: Vec<(Leg, FoundBy)>) {
        let key = self.next_call();
        tracing::info!(
            call = %key,
            from = %Redacted(&parties.from),
            to = %Redacted(&parties.to),
            route = parties.route,
            "call"
        );
        for (leg, found_by) in &legs {
            self.by_leg.insert(leg.key(), key);
            match found_by {
                FoundBy::Dialog(dialog) => _ = self.by_dialog.insert(*dialog, leg.key()),
                FoundBy::Network(call) => _ = self.by_network.insert(*call, leg.key()),
            }
        }
        self.legs
            .insert(key, legs.iter().map(|(leg, found_by)| (leg.key(), *found_by)).collect());
        let legs = legs.into_iter().map(|(leg, _)| leg).collect();
        let call = Call::new(now, wall, key, parties, policy, legs);
        self.calls.insert(key, call);
        if let Some(call) = self.calls.get_mut(&key) {
            call.handle_legs(now, &mut self.prompts);
        }
        self.run_actions(now, key);
    }

    fn sip_leg_config(
        &mut self,
        key: LegKey,
        phone: &config::Phone,
        signalling: FiveTuple,
        peer: &str,
    ) -> SipLegConfig {
        let local = signalling.local;
        let mut rng = (self.rng)();
        let addresses = match self.media_addresses.as_slice() {
            [] => vec![local.ip()],
            fixed => fixed
                .iter()
                .copied()
                .filter(|ip| ip.is_ipv4() == local.is_ipv4())
                .take(1)
                .collect(),
        };
        SipLegConfig {
            key,
            bind: Bind {
                addresses,
                components: 2,
            },
            signalling_peer_ip: signalling.remote.ip(),
            codecs: offered_codecs(&phone.codecs, &self.registry),
            ssrc: rng.next_u32(),
            session_id: u64::from(rng.next_u32()),
            language: phone.language.clone(),
            verify: phone.verify,
            user: phone.user.clone(),
            peer: Uri::sip(peer, local),
            registry: Arc::clone(&self.registry),
        }
    }

    fn e2ee_leg_config(&mut self, key: LegKey, same_worker_as: Option<LegKey>) -> E2eeLegConfig {
        let ssrc = (self.rng)().next_u32();
        let addresses = self.ice_addresses.clone();
        E2eeLegConfig {
            key,
            bind: Bind {
                addresses,
                components: 1,
            },
            codecs: e2ee_codecs(&self.registry),
            ssrc,
            same_worker_as,
        }
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

    fn phone(&self, user: &str) -> Option<config::Phone> {
        self.settings.phones.iter().find(|phone| phone.user == user).cloned()
    }

    fn policy(&self, ring_timeout: Duration) -> Policy {
        let call = &self.settings.call;
        Policy {
            confirm_timeout: call.confirm_timeout.duration(),
            rtp_timeout: call.rtp_timeout.duration(),
            ring_timeout,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }
}
