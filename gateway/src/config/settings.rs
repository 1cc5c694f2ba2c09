//! The settings as the rest of the gateway reads them: one struct per section of the conf files.
//!
//! No default stands here: the option table ([`super::options`]) has them all, so every field arrives filled.
//! Paths are absolute or relative to the process; those of the files are relative to the conf folder and already joined.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use quartet_proto::sdp::Srtp;
use serde::Deserialize;

use super::hub_url::HubUrl;
use super::ice_url::{IceUrl, Via, path_server};
use super::listen::{SipListen, Tls};
use super::origin::Origin;
use super::secret::PasswordHash;
use super::telegram::Telegram;
use super::trunk::Trunk;
use super::units::{
    Addresses, ExternalAddress, HttpListen, Level, LocalNetworks, Period, Ports, Prompts, ReflectorListen, one_or_many,
};
use crate::route::{Callers, Pattern, Routes, Rule, Target};

/// Everything that the conf files and the environment say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that the files came from.
    pub folder: PathBuf,
    /// `[sip]`
    pub sip: Sip,
    /// `[tls]`
    pub tls: Tls,
    /// `[media]`
    pub media: Media,
    /// `[call]`
    pub call: Call,
    /// `[limits]`
    pub limits: Limits,
    /// `[ivr]`
    pub ivr: Ivr,
    /// `[network.*]`
    pub network: Networks,
    /// `[reflector]`
    pub reflector: Reflector,
    /// `[plugins]`
    pub plugins: Plugins,
    /// `[cdr]`
    pub cdr: Cdr,
    /// `[control]`
    pub control: Control,
    /// `[store]`
    pub store: Store,
    /// `[log]`
    pub log: Log,
    /// `[[ice_server]]`
    pub ice_servers: Vec<IceServer>,
    /// `[network.telegram.NAME]` and `[telegram_pool.NAME]`
    pub telegram: Telegram,
    /// `[[trunk]]`
    pub trunks: Vec<Trunk>,
    /// `[[phone]]` of phones.conf, in the order of the file.
    pub phones: Vec<Phone>,
    /// `[[route]]` of routes.conf, in the order of the file: the first that matches wins.
    pub routes: Vec<Route>,
}

/// Where phones reach the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sip {
    /// Sockets to bind.
    pub listen: Vec<SipListen>,
    /// The digest realm; password hashes are made for it.
    pub realm: String,
    /// A device too many takes the place of the oldest.
    pub replace_oldest: bool,
    /// For how long phones may register at least.
    pub min_expires: Period,
    /// And at most.
    pub max_expires: Period,
    /// Proxies whose `Via` is believed.
    #[serde(deserialize_with = "super::units::networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Web pages that may register over a WebSocket, beside those of the gateway's own address.
    pub origins: Vec<Origin>,
}

/// Where audio flows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// Addresses that are offered to phones and peers.
    pub addresses: Addresses,
    /// UDP ports of media sockets.
    pub ports: Ports,
    /// What those outside are told in place of our addresses.
    pub external_address: ExternalAddress,
    /// Who is not outside.
    pub local_networks: LocalNetworks,
    /// Media threads; 0 means one a core.
    pub workers: usize,
}

/// What a call does where a phone says nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// How the four emojis are checked.
    pub verify: VerifyMode,
    /// How long `confirm` waits for a key.
    pub confirm_timeout: Period,
    /// Silence of a leg after which its call ends.
    pub rtp_timeout: Period,
    /// How long key exchange and media may take.
    pub connect_timeout: Period,
    /// How long a phone or a peer rings.
    pub ring_timeout: Period,
    /// What becomes of a call that a phone sends on.
    pub redirects: Redirects,
    /// SDP names of codecs, most wanted first.
    pub codecs: Vec<String>,
}

/// What becomes of a call that a phone sends on instead of taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirects {
    /// It goes where a call of that phone would go.
    Follow,
    /// The phone has refused it.
    Refuse,
}

/// How the four emojis of a call are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyMode {
    /// They are spoken once; `*1` repeats them, `*9` says that they differ.
    Announce,
    /// They are spoken, then a key is asked for: 1 they match, 2 again, 9 they differ.
    Confirm,
    /// Nothing is spoken unasked; `*1` still speaks, `*9` still ends.
    Off,
}

/// What one source, one account or all of them may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Failed logins of a source that are judged at once; of an account three times as many.
    pub login_failures: u32,
    /// After those, one login is judged in each of these.
    pub login_interval: Period,
    /// Calls at the same time, of the whole gateway.
    pub calls: u32,
    /// Calls at the same time, of one phone.
    pub calls_per_phone: u32,
    /// Calls that one caller may begin in a minute.
    pub calls_per_minute_phone: u32,
    /// Calls that one callee receives in a minute.
    pub calls_per_minute_callee: u32,
    /// Calls along one route in a minute.
    pub calls_per_minute_route: u32,
    /// Call requests in a minute, of one hub account.
    pub hub_requests_per_minute: u32,
    /// The same of a gateway elsewhere.
    pub hub_gateway_requests_per_minute: u32,
    /// Calls at the same time, of a gateway elsewhere.
    pub hub_gateway_calls: u32,
    /// TCP, TLS and WebSocket connections of phones.
    pub sip_connections: u32,
    /// Open connections to the hub.
    pub hub_sessions: u32,
}

/// What is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ivr {
    /// Where the recordings come from.
    pub prompts: Prompts,
}

/// Where end-to-end encrypted users live.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networks {
    /// `[network.hub]`
    pub hub: Hub,
}

impl Networks {
    /// What the users of the network of this name are told beside our addresses; `None`: as in `[media]`.
    pub fn external_address(&self, network: &str) -> Option<&ExternalAddress> {
        self.external_addresses()
            .find_map(|(name, external)| (name == network).then_some(external)?)
    }

    /// The same of all networks, by name.
    pub fn external_addresses(&self) -> impl Iterator<Item = (&'static str, Option<&ExternalAddress>)> {
        [("hub", self.hub.external_address.as_ref())].into_iter()
    }
}

/// The rendezvous: embedded, or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// Where WebSockets are served.
    pub listen: HttpListen,
    /// Its certificate, if that is none of `[tls]`.
    pub certificate: Option<PathBuf>,
    /// The key of that.
    pub key: Option<PathBuf>,
    /// The gateway's own account on the embedded one: its callers are `100@account`.
    pub account: String,
    /// One elsewhere, in place of the embedded one.
    pub url: Option<HubUrl>,
    /// What it knows this gateway by; always there with `url`.
    pub token_file: Option<PathBuf>,
    /// Who may vouch for it; `None`: whom this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// Origins of web pages that may connect, beside the hub's own.
    pub origins: Vec<Origin>,
    /// What its users are told beside our addresses; `None`: as in `[media]`.
    pub external_address: Option<ExternalAddress>,
}

impl Hub {
    /// The files that count where it is served under TLS: its own, else those of `[tls]`. Its users are asked for no certificate.
    pub fn files(&self, common: &Tls) -> Option<Tls> {
        let own = Tls {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            client_ca: None,
        };
        let is_served = self.listen.is_secure && self.url.is_none();
        is_served.then(|| Tls {
            client_ca: None,
            ..own.before(common)
        })
    }
}

/// A relay of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reflector {
    /// Sockets to bind; none: there is no reflector.
    pub listen: Vec<ReflectorListen>,
    /// Where the secret is that the hub has as well.
    pub secret_file: Option<PathBuf>,
}

/// Which plugins are loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugins {
    /// Folders searched before the standard ones.
    pub path: Vec<PathBuf>,
    /// Ids without which the gateway does not start.
    pub required: Vec<String>,
    /// Options by plugin id; each plugin has its own table of them and is asked when it is loaded.
    #[serde(default)]
    pub options: BTreeMap<String, BTreeMap<String, String>>,
}

/// Call records.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cdr {
    /// The file of JSON lines.
    pub path: PathBuf,
}

/// The socket of `quartet status` and its sisters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// A UNIX socket.
    pub path: PathBuf,
}

/// What outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// A SQLite file.
    pub path: PathBuf,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The least important level that is written.
    pub level: Level,
}

/// A phone that may register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    /// The login name, which is also the extension.
    pub user: String,
    /// What the digest challenge is checked against, for the realm of `[sip]`.
    pub password_hash: PasswordHash,
    /// Shown to the people it calls; `None`: the user name is.
    pub name: Option<String>,
    /// SDP names of codecs, most wanted first; those of `[call]` if the file names none.
    pub codecs: Vec<String>,
    /// The language that this phone is spoken to in.
    pub language: String,
    /// How the emojis are checked; that of `[call]` if the file says nothing.
    pub verify: VerifyMode,
    /// The session transport of its media.
    pub transport: String,
    /// Whether that is encrypted with keys of the descriptions.
    pub srtp: Srtp,
    /// Devices that may register at the same time.
    pub max_contacts: usize,
    /// The numbers that it may show as the caller instead of its own.
    pub may_assert: Vec<Pattern>,
    /// What it is told in place of our addresses if it is outside; `None`: as in `[media]`.
    pub external_address: Option<ExternalAddress>,
}

impl Settings {
    /// The routes, ready to be asked.
    pub fn routes(&self) -> Routes {
        let rule = |route: &Route| Rule {
            name: route.name.clone(),
            from: route.from.clone(),
            caller: route.caller.clone(),
            number: route.number.clone(),
            to: route.to.clone(),
            ring_timeout: route.ring_timeout.duration(),
            wait: route.wait.duration(),
            transport: route.transport.clone(),
            relay_only: route.relay_only,
        };
        let phones = self.phones.iter().map(|phone| phone.user.clone());
        Routes::new(self.routes.iter().map(rule).collect(), phones.collect())
    }
}

/// A server that helps media through.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// Its addresses, each a way of its own.
    #[serde(deserialize_with = "one_or_many")]
    pub urls: Vec<String>,
    /// Our name there.
    pub username: Option<String>,
    /// Where the password is.
    pub password_file: Option<PathBuf>,
    /// Where the secret is that it shares with us.
    pub secret_file: Option<PathBuf>,
    /// Whom TLS trusts instead of those whom this machine trusts.
    pub ca_file: Option<PathBuf>,
}

/// A row of routes.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique; stands in logs and call records.
    pub name: String,
    /// Whose calls it is for.
    pub from: Callers,
    /// Which callers of those; none: all.
    pub caller: Vec<Pattern>,
    /// Which numbers it is for.
    pub number: Pattern,
    /// Where the call goes: one user of a network, or phones.
    pub to: Vec<Target>,
    /// How long it rings; that of `[call]` if the file says nothing.
    pub ring_timeout: Period,
    /// How long before that a call waits for its turn.
    pub wait: Period,
    /// The session transport of its encrypted legs, as [`stack`] reads it; `None`: that of the network.
    pub transport: Option<String>,
    /// Media goes over relays alone.
    pub relay_only: bool,
    /// The order in which several phones ring.
    pub strategy: Strategy,
}

/// The order in which several phones ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// At the same time; the first to answer has the call.
    All,
}

impl IceServer {
    /// Its hosts and ports.
    pub fn places(&self) -> impl Iterator<Item = (String, u16)> {
        let urls = self.urls.iter().filter_map(|url| url.parse::<IceUrl>().ok());
        urls.map(|url| (url.host, url.port))
    }
}

impl Plugins {
    /// Where the server of a path is that this plugin brings: its option `relay`.
    pub fn path_server(&self, id: &str, via: Via) -> Option<IceUrl> {
        path_server(self.options.get(id)?.get("relay")?, via)
    }
}

/// A session transport, and the path that it stands on: `webrtc`, or `webrtc over framed`.
pub fn stack(transport: &str) -> (&str, Option<&str>) {
    match transport.split_once(" over ") {
        Some((session, path)) => (session.trim(), Some(path.trim())),
        None => (transport, None),
    }
}
