//! The hub that calls go through: served by this process, or elsewhere.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quartet_proto::hub::{ClientName, Name, Token};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::control::Reply;
use super::signalling::{WAITING, generator};
use super::startup::unix_seconds;
use super::tls::{Identity, Loaded, reread};
use super::websocket::{
    Connections, HubConnection, HubInput, HubListener, HubLocation, LOCAL, LinkEvent, WebSocketSettings, text_of,
};
use crate::config::{self, HUB_PATH, Settings, Tls};
use crate::hub::{AccountLimits, HandedServer, Invitations, Limits, Rendezvous, RendezvousConfig};
use crate::networks::hub::{Adapter, Client};
use crate::networks::{Link, Network};
use crate::permissions::read_secret;
use crate::process::Shares;
use crate::store::Store;

/// A hub served by this process: its door, its accounts and what it remembers.
pub(super) struct HubServer {
    rendezvous: Rendezvous,
    invitations: Arc<Invitations>,
    listener: HubListener,
    /// Under TLS.
    identity: Option<Arc<Identity>>,
    connections: Connections,
    inputs: mpsc::Receiver<HubInput>,
    revoked_in: mpsc::UnboundedSender<String>,
    revoked: mpsc::UnboundedReceiver<String>,
}

/// What wakes a hub that is served.
pub(super) enum HubWork {
    /// Something happened on a connection.
    Input(HubInput),
    /// The tokens of this account were taken back.
    Revoked(String),
}

impl HubServer {
    /// Listens. `gateway` is the account of the gateway in this process, if there is one.
    ///
    /// # Errors
    /// Whatever keeps it from being served, with what to change.
    pub(super) fn open(
        settings: &Settings,
        shares: &Shares,
        store: Store,
        gateway: Option<Name>,
    ) -> anyhow::Result<Self> {
        let invitations = Arc::new(Invitations::load(store, gateway.clone())?);
        let (input, inputs) = mpsc::channel(WAITING);
        let hub = &settings.network.hub;
        let told = Told::read(settings)?;
        let identity = told.certificate.clone().map(|(files, loaded)| {
            let name = format!("{}:{}", hub.listen.scheme(), hub.listen.address);
            Arc::new(Identity::new(name, files, loaded))
        });
        if let Some(identity) = &identity {
            tokio::spawn(reread(Arc::clone(identity)));
        }
        let web_socket = WebSocketSettings {
            connections: shares.hub_pending + shares.hub_sessions,
            pending: shares.hub_pending,
            origins: hub.origins.clone(),
            identity: identity.clone(),
            ..WebSocketSettings::default()
        };
        let listener = HubListener::open(hub.listen, input, web_socket)?;
        let Told {
            ice_servers,
            certificate: _,
        } = told;
        let config = RendezvousConfig {
            gateway,
            limits: hub_limits(&settings.limits, shares),
            ice_servers,
            epoch: (Instant::now(), unix_seconds(SystemTime::now())),
        };
        let mut rendezvous = Rendezvous::new(config, invitations.directory(), generator());
        rendezvous.connect_local(LOCAL);
        let (revoked_in, revoked) = mpsc::unbounded_channel();
        Ok(Self {
            rendezvous,
            invitations,
            listener,
            identity,
            connections: Connections::new(),
            inputs,
            revoked_in,
            revoked,
        })
    }

    /// The next thing to [`handle`](Self::handle). Cancel safe.
    pub(super) async fn next(&mut self) -> HubWork {
        // This keeps a sender of the second itself, and its listener one of the first.
        tokio::select! {
            Some(input) = self.inputs.recv() => HubWork::Input(input),
            Some(user) = self.revoked.recv() => HubWork::Revoked(user),
            else => std::future::pending().await,
        }
    }

    /// Does it; [`flush`](Self::flush) must follow.
    pub(super) fn handle(&mut self, now: Instant, work: HubWork) {
        match work {
            HubWork::Input(input) => self.connections.handle_input(now, input, &mut self.rendezvous),
            HubWork::Revoked(user) => self.rendezvous.close_account(now, &user),
        }
    }

    /// Runs what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.rendezvous.handle_timeout(now);
    }

    /// When that is next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.rendezvous.poll_timeout()
    }

    /// Sends all that there is to say; what is for the gateway in this process comes back.
    pub(super) fn flush(&mut self, now: Instant) -> Vec<String> {
        let mut local = Vec::new();
        self.connections
            .flush(now, &mut self.rendezvous, &mut |text| local.push(text));
        local
    }

    /// Tells what is being summed up: the process ends.
    pub(super) fn tell_all_summaries(&mut self, now: Instant) {
        self.rendezvous.tell_all_summaries(now);
    }

    /// Listens where this machine is reached now.
    pub(super) fn follow_addresses(&mut self) {
        self.listener.follow();
    }

    /// Takes other bounds and another certificate, and tells other servers.
    pub(super) fn reload(&mut self, limits: &config::Limits, shares: &Shares, told: Told) {
        self.rendezvous.set_limits(hub_limits(limits, shares));
        self.rendezvous.set_ice_servers(told.ice_servers);
        if let (Some(identity), Some((files, loaded))) = (&self.identity, told.certificate) {
            identity.set(files, loaded);
        }
    }

    /// Where it listens, as `http:ADDRESS` or `https:ADDRESS`.
    pub(super) fn name(&self) -> String {
        self.listener.name()
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Connections, and calls in any state.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.rendezvous.sessions(), self.rendezvous.calls())
    }

    /// Makes a token, on a thread that may wait for the disk.
    pub(super) fn invite(&self, user: String, is_gateway: bool, reply: oneshot::Sender<Reply>) {
        let invitations = Arc::clone(&self.invitations);
        let scheme = if self.identity.is_some() { "wss" } else { "ws" };
        let hub = format!("{scheme}://{}{HUB_PATH}", reachable(self.address()));
        tokio::task::spawn_blocking(move || {
            let time = unix_seconds(SystemTime::now());
            let answer = match invitations.invite(&user, is_gateway, time, &mut *generator()) {
                Ok(token) => {
                    Reply::Ok(json!({ "user": user, "gateway": is_gateway, "token": *token.to_text(), "hub": hub }))
                }
                Err(error) => Reply::Error(error.to_string()),
            };
            reply.send(answer).ok();
        });
    }

    /// Takes tokens back, on a thread that may wait for the disk.
    pub(super) fn revoke(&self, user: String, reply: oneshot::Sender<Reply>) {
        let (invitations, revoked) = (Arc::clone(&self.invitations), self.revoked_in.clone());
        tokio::task::spawn_blocking(move || {
            let answer = match invitations.revoke(&user, unix_seconds(SystemTime::now())) {
                Ok(count) => Reply::Ok(json!({ "user": user, "revoked": count })),
                Err(error) => Reply::Error(error.to_string()),
            };
            revoked.send(user).ok();
            reply.send(answer).ok();
        });
    }
}

/// The hub's bounds: those that the settings name and there are descriptors for, the others at their defaults.
fn hub_limits(limits: &config::Limits, shares: &Shares) -> Limits {
    let gateway_calls = usize::try_from(limits.hub_gateway_calls).unwrap_or(usize::MAX);
    Limits {
        sessions: shares.hub_sessions,
        pending: shares.hub_pending,
        calls_per_minute_callee: limits.calls_per_minute_callee,
        person: AccountLimits {
            call_requests_per_minute: limits.hub_requests_per_minute,
            ..AccountLimits::PERSON
        },
        gateway: AccountLimits::of_gateway(gateway_calls, limits.hub_gateway_requests_per_minute),
        ..Limits::default()
    }
}

/// What a hub that is served tells its clients, read from the files that its settings name.
pub(super) struct Told {
    /// Where they may go.
    ice_servers: Vec<HandedServer>,
    /// Who it is, under TLS.
    certificate: Option<(Tls, Arc<Loaded>)>,
}

impl Told {
    /// Reads them.
    ///
    /// # Errors
    /// If the certificate cannot be used; the text names the file and says what to do.
    pub(super) fn read(settings: &Settings) -> anyhow::Result<Self> {
        let files = settings.network.hub.files(&settings.tls);
        let read = |files: Tls| anyhow::Ok((Loaded::read(&files)?, files));
        let certificate = files.map(read).transpose()?;
        Ok(Self {
            ice_servers: handed_out(settings),
            certificate: certificate.map(|(loaded, files)| (files, Arc::new(loaded))),
        })
    }
}

/// The servers that clients are told: those that ask for no name, and those that share a secret with us. A password of ours is
/// nobody else's. Reads files.
fn handed_out(settings: &Settings) -> Vec<HandedServer> {
    let mut servers = Vec::new();
    for server in &settings.ice_servers {
        let is_open = |url: &&String| server.secret_file.is_some() || url.starts_with("stun:");
        let urls: Vec<String> = server.urls.iter().filter(is_open).cloned().collect();
        match server.secret_file.as_deref().map(read_secret).transpose() {
            Ok(secret) if !urls.is_empty() => servers.push(HandedServer { urls, secret }),
            Ok(_) => {}
            Err(why) => tracing::warn!("the hub's clients are not told of {urls:?}: secret_file names a file {why}"),
        }
    }
    servers
}

/// How the gateway reaches its hub.
pub(super) enum HubSide {
    /// It serves it.
    Here(Box<HubServer>),
    /// It is a client of one.
    Elsewhere(HubConnection),
}

/// What wakes either.
pub(super) enum HubEvent {
    Here(HubWork),
    Elsewhere(LinkEvent),
}

impl HubSide {
    /// The next thing that happens. Cancel safe.
    pub(super) async fn next(&mut self) -> HubEvent {
        match self {
            Self::Here(server) => HubEvent::Here(server.next().await),
            Self::Elsewhere(connection) => HubEvent::Elsewhere(connection.next().await),
        }
    }

    /// The hub, if it is served here.
    pub(super) fn server(&mut self) -> Option<&mut HubServer> {
        match self {
            Self::Here(server) => Some(server),
            Self::Elsewhere(_) => None,
        }
    }

    /// When a hub that is served here wants to be woken.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Here(server) => server.poll_timeout(),
            Self::Elsewhere(_) => None,
        }
    }

    /// Where it listens, or is.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Here(server) => server.name(),
            Self::Elsewhere(connection) => connection.url().to_string(),
        }
    }

    /// The gateway says something to its hub.
    pub(super) fn say(&mut self, now: Instant, frame: Vec<u8>) {
        match self {
            Self::Here(server) => server.rendezvous.handle_input(now, LOCAL, &text_of(frame)),
            Self::Elsewhere(connection) => connection.send(frame),
        }
    }

    /// Sends all that a hub that is served here has to say; what is for the gateway comes back.
    pub(super) fn flush(&mut self, now: Instant) -> Vec<String> {
        self.server().map_or_else(Vec::new, |server| server.flush(now))
    }
}

/// The hub as a network of the gateway, and the way to one elsewhere.
///
/// # Errors
/// If the token or the certificate authorities cannot be read; the text says what to do.
pub(super) fn network(settings: &config::Hub) -> anyhow::Result<(Box<dyn Network>, Option<HubLocation>)> {
    let account = Name::new(settings.account.clone())?;
    let Some((url, token_file)) = settings.url.clone().zip(settings.token_file.as_deref()) else {
        return Ok((Box::new(Adapter::new(account)), None));
    };
    if url.is_readable() {
        tracing::warn!(%url, "without TLS whoever is on the way to the hub reads this gateway's token; use wss://");
    }
    let location = HubLocation::new(url, settings.ca_file.as_deref())?;
    let token = read_token(token_file)?;
    let mut client = Client::new(token, ClientName::new("quartet")?, account);
    client.handle_link(Instant::now(), Link::Away);
    Ok((Box::new(client), Some(location)))
}

/// Reads a token that nobody else may write, and none but its owner and its group may read.
///
/// # Errors
/// If there is none; the text says what to do.
fn read_token(path: &Path) -> anyhow::Result<Token> {
    let say = |why: &str| anyhow::anyhow!("[network.hub] token_file names {}, {why}", path.display());
    let text = read_secret(path)
        .map_err(|why| say(&format!("{why}; `quartet invite --gateway` on the hub makes the token")))?;
    Token::from_text(&text).ok_or_else(|| {
        say("which holds no token; write the one that `quartet invite --gateway` prints into it, and nothing else")
    })
}

/// The address itself; loopback for "all addresses".
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}
