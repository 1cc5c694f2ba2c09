//! Trunks: where they are, what they may, calls to them, and our registrations with them.

mod probes;
mod registration;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use quartet_proto::net::{FiveTuple, Protocol, ServerId};
use quartet_proto::rate::{Rate, RateLimiter};
use quartet_proto::sip::locate::{self, Target};
use quartet_proto::sip::{Caller, Contact, Credentials, NameAddr, SipCommand, SipEvent, Uri};
use serde::Serialize;

use self::probes::Probes;
use self::registration::Registration;
use super::legs::CallingParty;
use super::{Exchange, ForeignId, Here};
use crate::call::{CallKey, Leg, SipLeg, TrunkTerms};
use crate::cdr::Cause;
use crate::config::{Identity, Settings, Trunk, TrunkAddress};
use crate::permissions::read_secret;

/// A place of a trunk, as far as it is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its transport.
    pub protocol: Protocol,
    /// Its address.
    pub address: SocketAddr,
    /// As the conf names it: a certificate must be of that name.
    pub host: String,
    /// Who it is, under TLS.
    server: Option<ServerId>,
}

impl Place {
    /// Whom a connection there must prove to lead to.
    pub fn server(&self) -> Option<ServerId> {
        self.server
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol.scheme(), self.address)
    }
}

/// A host as a URI has it.
fn written(host: &str) -> String {
    host.parse::<Ipv6Addr>()
        .map_or_else(|_| host.to_owned(), |ip| format!("[{ip}]"))
}

/// A name together with those who vouch for it.
fn server_id(host: &str, ca_file: Option<&Path>) -> ServerId {
    let mut hasher = DefaultHasher::new();
    (host, ca_file).hash(&mut hasher);
    ServerId(hasher.finish())
}

/// Where a trunk can be reached, in the order of the conf; `arrange` brings those of one address there in theirs.
fn places(trunk: &Trunk, here: &Here, mut arrange: impl FnMut(&[Target]) -> Vec<(Protocol, SocketAddr)>) -> Vec<Place> {
    let mut places = Vec::new();
    for address in &trunk.addresses {
        let place = |(protocol, at)| Place {
            protocol,
            address: at,
            host: address.host.clone(),
            server: (protocol == Protocol::Tls).then(|| server_id(&address.host, trunk.ca_file.as_deref())),
        };
        match (address.ip(), address.protocol) {
            (Some(ip), Some(protocol)) => {
                let port = address.port.unwrap_or_else(|| locate::standard_port(protocol));
                places.push(place((protocol, SocketAddr::new(ip, port))));
            }
            (None, _) | (_, None) => {
                let targets = here.trunks.get(address).map_or(&[][..], Vec::as_slice);
                places.extend(arrange(targets).into_iter().map(place));
            }
        }
    }
    places
}

/// The same in an order that stays, the first first.
fn known_places(trunk: &Trunk, here: &Here) -> Vec<Place> {
    places(trunk, here, locate::by_rank)
}

/// What is known of all trunks.
#[derive(Debug, Default)]
pub(super) struct Trunks {
    /// By the number that the endpoint knows them by, with the name.
    registrations: BTreeMap<u64, (String, Registration)>,
    last: u64,
    rates: BTreeMap<String, RateLimiter>,
    probes: Probes,
}

/// A trunk as an operator sees it.
#[derive(Debug, Serialize)]
pub struct TrunkRow {
    name: String,
    /// Where it is, as far as is known.
    places: Vec<String>,
    /// Those of them that do not answer.
    silent: Vec<String>,
    /// Whether we are registered there; none: we do not.
    registered: Option<bool>,
    calls: usize,
}

impl Trunks {
    /// When the next REGISTER is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let registrations = self.registrations.values().filter_map(|(_, it)| it.due);
        registrations.chain(self.probes.poll_timeout()).min()
    }

    /// Counts a call that a trunk begins; `false`: one too many.
    fn take(&mut self, now: Instant, trunk: &Trunk) -> bool {
        let rate = Rate::per_minute(trunk.calls_per_minute);
        self.rates
            .entry(trunk.name.clone())
            .or_default()
            .take(now, rate, 1)
            .is_ok()
    }
}

impl Exchange {
    /// The trunk of that name.
    pub(super) fn trunk(&self, name: &str) -> Option<Trunk> {
        self.settings.trunks.iter().find(|trunk| trunk.name == name).cloned()
    }

    /// The trunk that a call is from, by its address or by our registration there.
    pub(super) fn trunk_of(&self, caller: &Caller) -> Option<Trunk> {
        match caller {
            Caller::Account(_) => None,
            Caller::Trunk(name) => self.trunk(name),
            Caller::Registration { registration, .. } => {
                let (name, _) = self.trunks.registrations.get(registration)?;
                self.trunk(name)
            }
        }
    }

    /// Whether a trunk may begin one more call now.
    pub(super) fn may_trunk_call(&mut self, now: Instant, trunk: &Trunk) -> Result<(), Cause> {
        if !self.trunks.take(now, trunk) {
            return Err(Cause::Limit { retry_after: None });
        }
        self.has_room(trunk)
    }

    fn has_room(&self, trunk: &Trunk) -> Result<(), Cause> {
        if self.calls_of(trunk) >= trunk.calls as usize {
            return Err(Cause::Busy);
        }
        Ok(())
    }

    fn calls_of(&self, trunk: &Trunk) -> usize {
        let legs = self.calls.values().flat_map(|call| call.phones());
        legs.filter(|name| *name == trunk.name).count()
    }

    /// A leg that calls a number behind a trunk.
    ///
    /// # Errors
    /// If it has all the calls that it may have, or nobody knows where it is.
    pub(super) fn call_trunk(
        &mut self,
        (now, call): (Instant, CallKey),
        trunk: &Trunk,
        number: &str,
        caller: &CallingParty,
    ) -> Result<(Leg, ForeignId), Cause> {
        self.has_room(trunk)?;
        let mut ways: Vec<(String, FiveTuple)> = Vec::new();
        let mut rng = (self.rng)();
        for place in places(trunk, &self.here, |targets| locate::in_order(targets, &mut rng)) {
            let Some(way) = self.way_to(&place) else {
                tracing::debug!(
                    trunk = trunk.name,
                    "SIP is not heard over {} in the family of {}",
                    place.protocol.scheme(),
                    place.address
                );
                continue;
            };
            let uri = Uri::sip(number, place.address).over(place.protocol);
            ways.push((uri.to_string(), way));
        }
        if ways.is_empty() {
            return Err(Cause::Offline);
        }
        let probes = &self.trunks.probes;
        ways.sort_by_key(|(_, way)| !probes.is_up(&trunk.name, way.protocol, way.remote));
        let (uri, way) = ways.remove(0);
        let credentials = self.credentials(trunk);
        let host = trunk
            .addresses
            .first()
            .map(|address| written(&address.host))
            .unwrap_or_default();
        let own = trunk
            .number
            .as_deref()
            .filter(|_| caller.is_user)
            .unwrap_or(&caller.number);
        let display = caller.details.display.as_deref();
        let identity = NameAddr::new(display, Uri::sip_host(own, &host));
        let mut headers = Vec::new();
        let account = trunk.username.as_deref().filter(|_| trunk.identity != Identity::From);
        let from = match (account, caller.is_private) {
            // RFC 3323 §4.1.1.3.
            (_, true) => NameAddr::new(Some("Anonymous"), Uri::sip_host("anonymous", "anonymous.invalid")),
            (Some(account), false) => NameAddr::new(display, Uri::sip_host(account, &host)),
            (None, false) => identity.clone(),
        };
        if caller.is_private {
            headers.push(("Privacy", "id".to_owned()));
        }
        if trunk.identity == Identity::RemotePartyId {
            let privacy = if caller.is_private { "full" } else { "off" };
            headers.push((
                "Remote-Party-ID",
                format!("{identity};party=calling;privacy={privacy};screen=yes"),
            ));
        }
        let to = NameAddr::new(None, Uri::sip_host(number, &host));
        let key = self.new_leg_key();
        let dialog = self.endpoint.new_dialog_key();
        let mut config = self.sip_leg_config((call, key), &trunk.leg, (way, way.remote.ip()), own);
        config.same_worker_as = caller.leg;
        // What is said of where our media is must hold at all of them.
        let shown = |way: &FiveTuple| {
            let local = way.local.ip();
            (local, config.external.shown(local, way.remote.ip()))
        };
        ways.retain(|(_, other)| shown(other) == shown(&way));
        config.caller_headers = headers;
        config.trunk = Some(TrunkTerms {
            name: trunk.name.clone(),
            credentials,
            alternates: ways,
            identity: (trunk.identity == Identity::PAssertedIdentity).then_some(identity),
        });
        let contact = Contact {
            uri,
            five_tuple: way,
            origin: way.remote,
            // Of a binding; there is none.
            expires: now,
            user_agent: None,
            path: Vec::new(),
        };
        let leg = SipLeg::outgoing(config, dialog, contact, from, to);
        Ok((Leg::Sip(leg), ForeignId::Dialog(dialog)))
    }

    /// Our account there; the password is read each time, so that another is taken without a restart.
    fn credentials(&self, trunk: &Trunk) -> Option<Credentials> {
        let (user, file) = (trunk.username.clone()?, trunk.password_file.as_ref()?);
        match read_secret(file) {
            Ok(password) => Some(Credentials { user, password }),
            Err(why) => {
                tracing::warn!(trunk = trunk.name, "password_file names {}, {why}", file.display());
                None
            }
        }
    }

    fn way_to(&self, place: &Place) -> Option<FiveTuple> {
        let way = self.endpoint.way_to(place.protocol, place.address)?;
        let server = place.server;
        Some(FiveTuple { server, ..way })
    }

    /// Asks the places that there are now.
    pub(super) fn follow_places(&mut self, now: Instant) {
        let asked = self
            .settings
            .trunks
            .iter()
            .filter(|trunk| !trunk.probe.duration().is_zero());
        let places = asked.flat_map(|trunk| {
            let place = |place| (trunk.name.clone(), place, trunk.probe.duration());
            known_places(trunk, &self.here)
                .into_iter()
                .map(place)
                .collect::<Vec<_>>()
        });
        self.trunks.probes.follow(now, places.collect());
    }

    /// Sends the OPTIONS that are due.
    fn probe_trunks(&mut self, now: Instant) {
        while let Some((probe, place)) = self.trunks.probes.poll(now) {
            let way = self.way_to(&place);
            let command = way.map(|five_tuple| SipCommand::Options {
                probe,
                domain: Some(written(&place.host)),
                five_tuple,
            });
            let sent = command.is_some_and(|command| self.endpoint.handle_command(now, command).is_ok());
            if !sent {
                self.trunks.probes.put_off(now, probe);
            }
        }
    }

    /// What the endpoint says of our registrations and questions.
    pub(super) fn on_trunk_event(&mut self, now: Instant, event: &SipEvent) {
        if let SipEvent::Registered { registration, expires } = event {
            self.on_registered(now, *registration, *expires);
        } else if let SipEvent::RegisterFailed { registration, status } = event {
            self.on_registration_failed(now, *registration, &format!("status {status}"));
        } else if let SipEvent::Probed { probe, status } = event {
            self.trunks.probes.on_status(now, *probe, *status);
        }
    }

    /// All trunks.
    pub fn trunks(&self) -> Vec<TrunkRow> {
        let probes = &self.trunks.probes;
        let row = |trunk: &Trunk| TrunkRow {
            name: trunk.name.clone(),
            places: known_places(trunk, &self.here).iter().map(Place::to_string).collect(),
            silent: known_places(trunk, &self.here)
                .iter()
                .filter(|place| !probes.is_up(&trunk.name, place.protocol, place.address))
                .map(Place::to_string)
                .collect(),
            registered: trunk.register.then(|| {
                let mut all = self.trunks.registrations.values();
                all.any(|(name, it)| *name == trunk.name && it.is_up)
            }),
            calls: self.calls_of(trunk),
        };
        self.settings.trunks.iter().map(row).collect()
    }
}

/// The addresses of trunks that are to be looked up.
pub(super) fn names(settings: &Settings) -> impl Iterator<Item = TrunkAddress> + '_ {
    let addresses = settings.trunks.iter().flat_map(|trunk| &trunk.addresses);
    addresses.filter(|address| address.ip().is_none()).cloned()
}

/// Whom TLS has to reach at which address, and whom it trusts there.
pub fn tls_places(settings: &Settings, here: &Here) -> Vec<(Place, Option<std::path::PathBuf>)> {
    let of = |trunk: &Trunk| {
        let ca_file = trunk.ca_file.clone();
        let tls = known_places(trunk, here)
            .into_iter()
            .filter(|place| place.protocol == Protocol::Tls);
        tls.map(move |place| (place, ca_file.clone())).collect::<Vec<_>>()
    };
    settings.trunks.iter().flat_map(of).collect()
}
