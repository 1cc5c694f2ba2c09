//! The legs of a call that may be: the caller's, and those of whom it goes to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use quartet_proto::net::{FiveTuple, Protocol};
use quartet_proto::sip::{Contact, NameAddr, Uri};
use rand_core::Rng;

use super::admit::{PHONE, TOO_MANY};
use super::arrival::Invite;
use super::{Arrival, Exchange, ForeignId};
use crate::call::{
    CallKey, E2eeLeg, E2eeLegConfig, E2eeOutgoing, Leg, MediaWay, Parties, SipLeg, SipLegConfig, e2ee_codecs,
    offered_codecs,
};
use crate::cdr::{Cause, Direction};
use crate::config::{self, Addresses, IceServer, IceUrl, Trunk, Via, stack};
use crate::media::{Bind, LegKey, Relay};
use crate::networks::{CallRequest, CallerDetails, Network, NetworkCall, NetworkId};
use crate::route::{Destination, DestinationKind};

/// Who calls, to a callee who is not to learn it (RFC 3323 §4.1.1.3).
const ANONYMOUS: &str = "anonymous";

/// The session transports that phones are served by as they want it.
const RTP: &str = "rtp";
const DTLS: &str = "webrtc";

/// Characters of a number that is shown: room for the gateway's name beside it.
const MAX_SHOWN: usize = 31;

/// What a call begins with.
pub(super) type Legs = Vec<(Leg, ForeignId)>;

/// Who calls, as far as those who are called may be told.
pub(super) struct CallingParty {
    /// Its leg, if theirs are to be where it is.
    pub(super) leg: Option<LegKey>,
    /// Its number, or its name on a network.
    pub(super) number: String,
    pub(super) details: CallerDetails,
    /// It is not to be known (RFC 3323).
    pub(super) is_private: bool,
    /// Whether it comes from a network.
    pub(super) is_user: bool,
    /// The phones that have part in the call already; they are not rung.
    pub(super) phones: Vec<String>,
}

impl CallingParty {
    /// What phones may show.
    pub(super) fn shown(&self) -> &str {
        if self.is_private { ANONYMOUS } else { &self.number }
    }
}

impl Exchange {
    /// The legs of a call along its route, the caller's first.
    ///
    /// # Errors
    /// The cause, if one of them cannot be, or is one too many.
    pub(super) fn make_legs(
        &mut self,
        now: Instant,
        call: CallKey,
        (arrival, destination): (Arrival, Destination),
        trunk: Option<&Trunk>,
        parties: &mut Parties,
    ) -> Result<Legs, Cause> {
        let key = self.new_leg_key();
        if let DestinationKind::Trunk { number, .. } = &destination.kind {
            parties.to.clone_from(number);
        }
        match arrival {
            Arrival::Sip { invite, .. } => {
                let phone = self.caller_of(trunk, &parties.from)?;
                match &destination.kind {
                    DestinationKind::User { network, user } => {
                        let network = NetworkId::new(network);
                        let there = self.networks.get(&network).ok_or(Cause::Network)?.as_ref();
                        (parties.network, parties.to) = (Some(network.to_string()), there.user_of(user));
                        parties.shown = shown(&phone, &self.settings.phones, there, &invite);
                    }
                    DestinationKind::Phones(_) | DestinationKind::Trunk { .. } => {
                        parties.shown = asserted(&phone, &self.settings.phones, &invite);
                    }
                }
                let caller = CallingParty {
                    leg: Some(key),
                    number: parties.shown.as_ref().unwrap_or(&parties.from).clone(),
                    details: CallerDetails {
                        display: phone.name.clone(),
                        ..CallerDetails::default()
                    },
                    is_private: invite.is_private,
                    is_user: false,
                    // Whoever dials has one of its own phones in the hand.
                    phones: vec![parties.from.clone()],
                };
                let by = (parties.direction, parties.from.as_str());
                let callees = self.callees((now, call), &caller, by, &destination)?;
                let leg = self.answer_phone((call, key), &phone, &invite, &parties.to)?;
                Ok([leg].into_iter().chain(callees).collect())
            }
            Arrival::Network { network, incoming } => {
                let caller = CallingParty {
                    // It comes to whoever takes the call.
                    leg: None,
                    number: parties.from.clone(),
                    details: incoming.caller.clone(),
                    is_private: false,
                    is_user: true,
                    phones: Vec::new(),
                };
                let by = (parties.direction, parties.from.as_str());
                let callees = self.callees((now, call), &caller, by, &destination)?;
                let leg = self.answer_user(key, network, incoming, &destination)?;
                Ok([leg].into_iter().chain(callees).collect())
            }
        }
    }

    /// Those who are called, at least one; counted as a call in this direction of whoever has it placed.
    ///
    /// # Errors
    /// The cause, if they cannot be called, or it is one call too many.
    pub(super) fn callees(
        &mut self,
        (now, call): (Instant, CallKey),
        caller: &CallingParty,
        by: (Direction, &str),
        destination: &Destination,
    ) -> Result<Legs, Cause> {
        match &destination.kind {
            DestinationKind::Phones(users) => {
                let users: Vec<_> = users
                    .iter()
                    .filter(|user| !caller.phones.contains(user))
                    .cloned()
                    .collect();
                if users.is_empty() {
                    return Err(Cause::Busy);
                }
                let contacts = self.contacts_to_ring(now, by, &users, &destination.route)?;
                // A number that was dialled through is for a PBX, not for each of several phones.
                let number = destination.captured.as_deref().filter(|_| users.len() == 1);
                let rung = contacts
                    .iter()
                    .map(|(phone, contact)| self.ring(call, phone, contact, caller, number));
                Ok(rung.collect())
            }
            DestinationKind::Trunk { trunk, number } => {
                let trunk = self.trunk(trunk).ok_or(Cause::Network)?;
                self.take_call(now, by, number, &destination.route)?;
                Ok(vec![self.call_trunk((now, call), &trunk, number, caller)?])
            }
            // Two users call each other without us.
            DestinationKind::User { .. } if caller.is_user => Err(Cause::Declined),
            DestinationKind::User { network, user } => {
                let network = NetworkId::new(network);
                let user = self.networks.get(&network).ok_or(Cause::Network)?.user_of(user);
                self.take_call(now, by, &user, &destination.route)?;
                Ok(vec![self.call_user(network, user, caller, destination)?])
            }
        }
    }

    /// The contacts of those of the phones that are free and may be called now.
    fn contacts_to_ring(
        &mut self,
        now: Instant,
        (direction, caller): (Direction, &str),
        users: &[String],
        route: &str,
    ) -> Result<Vec<(config::Phone, Contact)>, Cause> {
        // A phone may have the name of a user.
        let caller = match direction {
            Direction::Outgoing => &format!("{PHONE}{caller}"),
            Direction::Incoming => caller,
        };
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

    /// What the caller's leg is made from: its phone, or its trunk.
    fn caller_of(&self, trunk: Option<&Trunk>, from: &str) -> Result<config::Phone, Cause> {
        let trunk = trunk.map(|trunk| trunk.leg.clone());
        trunk.or_else(|| self.phone(from)).ok_or(Cause::Forbidden)
    }

    /// Counts a call to somebody who is no phone of ours.
    fn take_call(
        &mut self,
        now: Instant,
        (direction, from): (Direction, &str),
        to: &str,
        route: &str,
    ) -> Result<(), Cause> {
        let called = std::iter::once(to);
        let may = self.limits.may_call(now, direction, from, to)
            && self.limits.take_route(now, direction, route, from, called);
        if may { Ok(()) } else { Err(TOO_MANY) }
    }

    /// The leg of a phone, or of a trunk, that calls.
    fn answer_phone(
        &mut self,
        (call, key): (CallKey, LegKey),
        phone: &config::Phone,
        invite: &Invite,
        peer: &str,
    ) -> Result<(Leg, ForeignId), Cause> {
        let config = self.sip_leg_config((call, key), phone, (invite.five_tuple, invite.origin), peer);
        let leg = SipLeg::incoming(config, invite.dialog, invite.body.as_deref())?;
        Ok((Leg::Sip(leg), ForeignId::Dialog(invite.dialog)))
    }

    /// The leg of a user of a network who calls.
    fn answer_user(
        &mut self,
        key: LegKey,
        network: NetworkId,
        incoming: CallRequest,
        destination: &Destination,
    ) -> Result<(Leg, ForeignId), Cause> {
        let config = self.e2ee_leg_config(key, network.clone(), None, destination);
        let foreign_id = ForeignId::Network(network, incoming.call);
        let leg = E2eeLeg::answer(config.ok_or(Cause::Network)?, incoming, (self.rng)());
        Ok((Leg::E2ee(leg), foreign_id))
    }

    /// A leg that calls a user of a network.
    fn call_user(
        &mut self,
        network: NetworkId,
        user: String,
        caller: &CallingParty,
        destination: &Destination,
    ) -> Result<(Leg, ForeignId), Cause> {
        let extension = if caller.is_private { "" } else { &caller.number };
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
            .e2ee_leg_config(key, network.clone(), caller.leg, destination)
            .ok_or(Cause::Network)?;
        let leg = E2eeLeg::call(config, outgoing, rng);
        Ok((Leg::E2ee(leg), ForeignId::Network(network, NetworkCall(id))))
    }

    /// A leg that rings one contact of a phone.
    fn ring(
        &mut self,
        call: CallKey,
        phone: &config::Phone,
        contact: &Contact,
        caller: &CallingParty,
        number: Option<&str>,
    ) -> (Leg, ForeignId) {
        let from = caller.shown();
        let display = caller.details.display.as_deref().filter(|_| !caller.is_private);
        let key = self.new_leg_key();
        let dialog = self.endpoint.new_dialog_key();
        let mut config = self.sip_leg_config((call, key), phone, (contact.five_tuple, contact.origin.ip()), from);
        config.caller_headers.clone_from(&caller.details.headers);
        config.same_worker_as = caller.leg;
        let host = self.endpoint.shown(contact.five_tuple, Some(&phone.user));
        let from = NameAddr::new(Some(display.unwrap_or(from)), Uri::sip(from, host));
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

    pub(super) fn sip_leg_config(
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
        // What the operator has chosen stays, but for what browsers cannot speak.
        let may_switch = [RTP, DTLS].contains(&phone.transport.as_str()) && self.registry.transport(DTLS).is_some();
        let own = phone.external_address.as_ref();
        let dtls = may_switch.then(|| MediaWay {
            transport: DTLS.to_owned(),
            bind: self.here.ice_bind(&self.settings, own),
        });
        let transport = if may_switch { RTP } else { &phone.transport };
        SipLegConfig {
            key,
            call: Some(call),
            media: MediaWay {
                transport: transport.to_owned(),
                bind: Bind {
                    addresses,
                    components: 2,
                    outer: Vec::new(),
                },
            },
            dtls,
            offers_dtls: phone.transport == DTLS || matches!(signalling.protocol, Protocol::Ws | Protocol::Wss),
            srtp: phone.srtp,
            signalling_peer_ip: origin,
            external: self.here.external(&self.settings, own),
            codecs: offered_codecs(&phone.codecs, &self.registry),
            // The E2EE leg comes to this one: it opens when a phone has accepted the call.
            same_worker_as: None,
            ssrc: rng.next_u32(),
            session_id: u64::from(rng.next_u32()),
            language: phone.language.clone(),
            verify: phone.verify,
            user: phone.user.clone(),
            caller_headers: Vec::new(),
            trunk: None,
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
        let own = self.settings.network.external_address(network.as_str());
        Some(E2eeLegConfig {
            key,
            bind: self.here.ice_bind(&self.settings, own),
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
}

/// The numbers that an INVITE claims and its sender may show.
fn allowed<'a>(phone: &'a config::Phone, invite: &'a Invite) -> impl Iterator<Item = &'a String> {
    let may = |number: &&String| phone.may_assert.iter().any(|pattern| pattern.matches(number).is_some());
    invite.identities.iter().filter(may)
}

/// The number that this phone, or who is behind this trunk, shows to phones and trunks, if not its own.
fn asserted(phone: &config::Phone, phones: &[config::Phone], invite: &Invite) -> Option<String> {
    // Not as it looks on a display either.
    let plain = |number: &str| number.trim_start_matches('+').to_ascii_lowercase();
    let is_phone = |number: &String| !number.is_ascii() || phones.iter().any(|phone| phone.user == plain(number));
    allowed(phone, invite)
        .find(|number| (1..=MAX_SHOWN).contains(&number.len()) && !is_phone(number))
        .filter(|number| **number != phone.user)
        .cloned()
}

/// The number that a call of this phone shows on a network, spelt as that spells it, if not its own; empty: none. It is none of
/// another phone.
fn shown(phone: &config::Phone, phones: &[config::Phone], network: &dyn Network, invite: &Invite) -> Option<String> {
    if invite.is_private {
        return Some(String::new());
    }
    let is_phone = |number: &String| phones.iter().any(|phone| phone.user == *number);
    allowed(phone, invite)
        .map(|number| network.extension_of(&network.name_of(number)))
        .find(|number| (1..=MAX_SHOWN).contains(&number.len()) && (*number == phone.user || !is_phone(number)))
        .filter(|number| *number != phone.user)
}
