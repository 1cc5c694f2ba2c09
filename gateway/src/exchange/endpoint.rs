//! The SIP endpoint as the settings want it: its name, its bounds, its accounts; and its connections.

use std::time::{Duration, Instant};

use std::net::SocketAddr;

use quartet_proto::net::{ConnectionId, FiveTuple, Protocol};
use quartet_proto::sip::{Account, Endpoint, EndpointConfig, Ha1, Limits, SipCommand, SipError};
use zeroize::Zeroizing;

use super::{BoxRng, Exchange, Here};
use crate::call::Instance;
use crate::config;

/// The endpoint as the settings want it.
pub(super) fn endpoint(settings: &config::Settings, here: &Here, instance: Instance, rng: BoxRng) -> Endpoint {
    let config = EndpointConfig {
        instance: instance.to_string(),
        user_agent: concat!("quartet/", env!("CARGO_PKG_VERSION")).into(),
        realm: settings.sip.realm.clone(),
        limits: Limits::default(),
        trusted_proxies: Vec::new(),
    };
    let mut endpoint = Endpoint::new(config, rng);
    apply(settings, here, &mut endpoint);
    endpoint
}

/// What of the settings a running endpoint takes.
pub(super) fn apply(settings: &config::Settings, here: &Here, endpoint: &mut Endpoint) {
    let usual = Limits::default();
    // On the wire they are whole seconds.
    let seconds = |period: config::Period| Duration::from_secs(period.duration().as_millis().div_ceil(1_000) as u64);
    let (min_expires, max_expires) = (seconds(settings.sip.min_expires), seconds(settings.sip.max_expires));
    endpoint.set_limits(Limits {
        min_expires,
        max_expires,
        default_expires: usual.default_expires.clamp(min_expires, max_expires),
        login_failures: settings.limits.login_failures,
        replace_oldest: settings.sip.replace_oldest,
        login_interval: settings.limits.login_interval.duration(),
        ..usual
    });
    endpoint.set_trusted_proxies(settings.sip.trusted_proxies.clone());
    endpoint.set_external(here.external(settings, None));
    let trunks = settings.trunks.iter();
    endpoint.set_trunks(trunks.map(|trunk| (trunk.name.clone(), trunk.allow.clone())).collect());
    endpoint.set_accounts(settings.phones.iter().map(|phone| account(phone, here)).collect());
}

fn bytes<const N: usize>(hash: &config::Hash<N>) -> Zeroizing<[u8; N]> {
    Zeroizing::new(*hash.bytes())
}

fn account(phone: &config::Phone, here: &Here) -> Account {
    Account {
        user: phone.user.clone(),
        ha1: Ha1 {
            md5: phone.password_hash.md5.as_ref().map(bytes),
            sha256: phone.password_hash.sha256.as_ref().map(bytes),
            sha512_256: phone.password_hash.sha512_256.as_ref().map(bytes),
        },
        max_contacts: phone.max_contacts,
        external_addresses: phone.external_address.as_ref().map(|own| here.addresses_of(own)),
    }
}

impl Exchange {
    /// Tells the endpoint. If it no longer knows the dialog, or has moved on in it, an event has said so or is about to; after any
    /// other error the leg is treated as lost.
    pub(super) fn tell_phone(&mut self, now: Instant, command: SipCommand) {
        let dialog = command.dialog();
        let (is_new, may_wait) = (
            matches!(command, SipCommand::Invite(_)),
            matches!(
                command,
                SipCommand::Probe { .. }
                    | SipCommand::Reinvite { .. }
                    | SipCommand::AnswerRefer { .. }
                    | SipCommand::NotifyRefer { .. }
            ),
        );
        match (self.endpoint.handle_command(now, command), dialog) {
            (Ok(()), Some(dialog)) if is_new => self.log_dialog(dialog),
            (Ok(()), _) => {}
            (Err(SipError::UnknownDialog | SipError::WrongState(_)), _) | (Err(_), None) => {
                tracing::debug!(?dialog, "SIP command came too late");
            }
            // It is asked again, or need not know; that there is no room now says nothing of the phone.
            (Err(error), _) if may_wait => tracing::debug!(%error, ?dialog, "the phone cannot be asked now"),
            (Err(error), Some(dialog)) => {
                if let Some(error) = self.failed_commands.note(now, (), error) {
                    tracing::warn!(%error, "SIP command failed");
                }
                self.lost.push_back(dialog);
            }
        }
    }

    /// The next connection to open to a phone, before what is sent over it.
    pub fn poll_connect(&mut self) -> Option<FiveTuple> {
        self.endpoint.poll_connect()
    }

    /// The next connection that is of no more use.
    pub fn poll_release(&mut self) -> Option<ConnectionId> {
        self.endpoint.poll_release()
    }

    /// A connection with a phone is gone, or could not be opened.
    pub fn handle_sip_closed(&mut self, now: Instant, id: ConnectionId) {
        self.endpoint.handle_closed(now, id);
        self.drain_events(now);
    }

    /// Whether somebody is registered, or in a call, over this connection.
    pub fn is_sip_connection_used(&self, way: FiveTuple) -> bool {
        self.endpoint.is_connection_used(way)
    }

    /// Takes the addresses that SIP is bound to, and those that only standing calls may use. Phones that registered at one that is
    /// gone are called from another, and standing calls with them go on from there.
    pub fn set_sip_addresses(&mut self, sip: Vec<(Protocol, SocketAddr)>, retired: Vec<(Protocol, SocketAddr)>) {
        self.endpoint.set_local(sip);
        self.endpoint.set_retired(retired);
    }

    /// Whether a call still uses this address of ours.
    pub fn is_sip_address_used(&self, address: (Protocol, SocketAddr)) -> bool {
        self.endpoint.is_used(address)
    }
}
