//! The endpoint: the one machine in front of messages, transactions, dialogs, digest and registrar.
//!
//! Feed it [`Endpoint::handle_input`], [`Endpoint::handle_command`] and [`Endpoint::handle_timeout`]; after each, drain
//! [`Endpoint::poll_transmit`] and [`Endpoint::poll_event`], and sleep until [`Endpoint::poll_timeout`]. `now` never goes
//! backwards. Whatever arrives, it neither panics nor grows beyond its [`Limits`].
//!
//! Reading order: `receive` (which message belongs where), `admit` (who may), `callee` and `caller` (INVITE both ways),
//! `in_dialog` (requests within a dialog), `refer` (a peer that wants to be replaced), `subscribe` (who wants to be told of calls), `hangup`, `registration` (both sides of REGISTER), `restore` (bindings after a
//! restart), `session_timer` (whether a call goes on, and offers of ours within it), `timeouts` (timers), `send` (transactions of ours), `strangers` (few responses to who is not registered).

mod admit;
mod callee;
mod caller;
mod hangup;
mod in_dialog;
mod large;
mod options;
mod receive;
mod refer;
mod registration;
mod restore;
mod send;
mod session_timer;
mod strangers;
mod subscribe;
#[cfg(test)]
mod tests;
mod timeouts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::auth::{Account, Guard, Locked};
use super::command::SipCommand;
use super::connections::Connections;
use super::dialog::Dialogs;
use super::message::Method;
use super::registrar::{Change, Contact, Registrar};
use super::timers::Timers;
use super::transaction::{Clients, Purpose, Servers};
use super::{DialogKey, Limits, SipError, SipEvent};
use crate::net::{ConnectionId, External, FiveTuple, Protocol, Receive, Transmit};
use large::DatagramsOnly;
pub use receive::MAX_MESSAGE;
pub(in crate::sip) use refer::Refer;
pub(in crate::sip) use session_timer::{Asked, SessionTimer};
use strangers::StrangerLimiter;
use subscribe::Subscriptions;

/// Our `Allow`.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, REFER, SUBSCRIBE";

/// The extension that we understand in calls.
const TIMER: &str = "timer";

/// The one that a REFER may demand (RFC 4488).
const NO_REFER_SUB: &str = "norefersub";

/// The extensions that we understand: as registrar.
const SUPPORTED: &str = "path, outbound";

/// What an endpoint is told once.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// `[a-z0-9]{4,12}`; begins every tag, `Call-ID`, branch (after the cookie) and Contact user.
    pub instance: String,
    /// `Server` and `User-Agent`.
    pub user_agent: String,
    /// Digest realm.
    pub realm: String,
    /// Bounds.
    pub limits: Limits,
    /// Proxies whose `Via` is believed: a request of theirs began where they received it.
    pub trusted_proxies: Vec<IpNet>,
}

/// A SIP endpoint: registrar, callee and caller in one.
pub struct Endpoint {
    config: EndpointConfig,
    rng: Box<dyn CryptoRng + Send>,
    /// Makes the tags of stateless responses.
    tag_key: Zeroizing<[u8; 32]>,
    accounts: BTreeMap<String, Account>,
    local: Vec<(Protocol, SocketAddr)>,
    /// Addresses that only the dialogs there still use.
    retired: BTreeSet<(Protocol, SocketAddr)>,
    external: External,
    connections: Connections,
    datagrams_only: DatagramsOnly,
    /// Where trunks call from.
    trunks: Vec<(String, Vec<IpNet>)>,
    timers: Timers,
    server_transactions: Servers,
    client_transactions: Clients,
    dialogs: Dialogs,
    subscriptions: Subscriptions,
    /// Digest: accounts, nonces, challenges, and who failed too often.
    guard: Guard,
    registrar: Registrar,
    /// Our own registrations elsewhere.
    outbound_registrations: BTreeMap<u64, registration::Registration>,
    /// Limits the responses to sources that are not registered.
    strangers: StrangerLimiter,
    transmits: VecDeque<Transmit>,
    events: VecDeque<SipEvent>,
    /// The last transaction number and the last dialog key.
    last_transaction: u64,
    last_dialog: u64,
}

impl Endpoint {
    /// An endpoint without accounts: everybody is refused.
    #[must_use]
    pub fn new(config: EndpointConfig, mut rng: Box<dyn CryptoRng + Send>) -> Self {
        let guard = Guard::new(config.realm.clone(), &config.limits, &mut *rng);
        let [mut tag_key, mut strangers_key] = [0, 1].map(|_| Zeroizing::new([0; 32]));
        rng.fill_bytes(&mut *tag_key);
        rng.fill_bytes(&mut *strangers_key);
        let strangers = StrangerLimiter::new(strangers_key, config.limits.responses_per_second);
        Self {
            config,
            rng,
            tag_key,
            accounts: BTreeMap::new(),
            local: Vec::new(),
            retired: BTreeSet::new(),
            external: External::default(),
            connections: Connections::default(),
            datagrams_only: DatagramsOnly::default(),
            trunks: Vec::new(),
            timers: Timers::default(),
            server_transactions: Servers::default(),
            client_transactions: Clients::default(),
            dialogs: Dialogs::default(),
            subscriptions: Subscriptions::default(),
            guard,
            registrar: Registrar::default(),
            outbound_registrations: BTreeMap::new(),
            strangers,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            last_transaction: 0,
            last_dialog: 0,
        }
    }

    /// Replaces all accounts; contacts of those that are gone, or have another password, are removed. Calls go on.
    pub fn set_accounts(&mut self, accounts: Vec<Account>) {
        let accounts = accounts.into_iter().map(|a| (a.user.clone(), a)).collect();
        let before = std::mem::replace(&mut self.accounts, accounts);
        self.guard.set_accounts(&self.accounts);
        let ha1 = |accounts: &BTreeMap<String, Account>, user: &str| accounts.get(user).map(|a| a.ha1.clone());
        let accounts = &self.accounts;
        let stays = |user: &&String| ha1(accounts, user) == ha1(&before, user);
        let stay: BTreeSet<String> = accounts.keys().filter(stays).cloned().collect();
        let changes = self.registrar.keep_accounts(|user| stay.contains(user));
        self.emit_contact_changes(changes);
        self.keep_subscriptions(|user| stay.contains(user));
    }

    /// Takes other bounds for what comes from now on; nonces and the responses to strangers keep theirs.
    pub fn set_limits(&mut self, limits: Limits) {
        self.guard.set_limits(&limits);
        self.config.limits = limits;
    }

    /// Takes the proxies whose `Via` is believed from now on.
    pub fn set_trusted_proxies(&mut self, networks: Vec<IpNet>) {
        self.config.trusted_proxies = networks;
    }

    /// Takes the trunks, each with the networks that its calls come from: the first that fits has a call.
    pub fn set_trunks(&mut self, trunks: Vec<(String, Vec<IpNet>)>) {
        self.trunks = trunks;
    }

    /// The trunk that calls from here. It comes over no WebSocket: whose a proxy there says that one is, is counted and proves nothing.
    fn trunk_at(&self, protocol: Protocol, ip: IpAddr) -> Option<&str> {
        if protocol.is_websocket() {
            return None;
        }
        let is_there = |(_, networks): &&(String, Vec<IpNet>)| {
            let ip = ip.to_canonical();
            networks.iter().any(|network| network.contains(&ip))
        };
        self.trunks.iter().find(is_there).map(|(name, _)| name.as_str())
    }

    /// The way to an address from one of ours: of this transport, its family, and at loopback only to loopback. `None` if there is none.
    #[must_use]
    pub fn way_to(&self, protocol: Protocol, remote: SocketAddr) -> Option<FiveTuple> {
        let fits = |local: &SocketAddr| {
            local.is_ipv4() == remote.is_ipv4() && local.ip().is_loopback() == remote.ip().is_loopback()
        };
        let mut bound = self.local.iter().filter(|(bound, _)| *bound == protocol);
        let local = bound.find(|(_, local)| fits(local)).map(|(_, local)| *local)?;
        Some(FiveTuple::new(protocol, local, remote))
    }

    /// Takes the key that draws the challenges of names that are no account, so that a name keeps its challenge over a
    /// restart, as an account does. Without it the key is one of this process.
    pub fn set_challenge_key(&mut self, key: Zeroizing<[u8; 32]>) {
        self.guard.set_challenge_key(key);
    }

    /// Sets the addresses really bound, at the start and whenever they change. Who came to one that is gone is sent requests from
    /// another of its family, if there is one. Requests that arrive elsewhere get responses all the same.
    pub fn set_local(&mut self, local: Vec<(Protocol, SocketAddr)>) {
        self.local = local;
    }

    /// Sets what those outside are told in place of our own addresses, in Via and Contact.
    pub fn set_external(&mut self, external: External) {
        self.external = external;
    }

    /// Where the other end of this way is told that we are, if it is of this account.
    #[must_use]
    pub fn shown(&self, way: FiveTuple, account: Option<&str>) -> SocketAddr {
        let own = account.and_then(|user| self.accounts.get(user)?.external_addresses.as_ref());
        let addresses = own.unwrap_or(&self.external.addresses);
        let ip = self.external.shown_of(addresses, way.local.ip(), way.remote.ip());
        SocketAddr::new(ip, way.local.port())
    }

    /// Sets addresses that are still bound for the dialogs that use them: what else comes to them is not heard.
    pub fn set_retired(&mut self, retired: impl IntoIterator<Item = (Protocol, SocketAddr)>) {
        self.retired = retired.into_iter().collect();
    }

    /// Whether a dialog uses this address of ours.
    #[must_use]
    pub fn is_used(&self, (protocol, local): (Protocol, SocketAddr)) -> bool {
        let mut ways = self.dialogs.iter().map(|dialog| dialog.peer);
        ways.any(|way| (way.protocol, way.local) == (protocol, local))
    }

    /// The addresses set.
    #[must_use]
    pub fn local(&self) -> &[(Protocol, SocketAddr)] {
        &self.local
    }

    /// Takes one message; what is no SIP is ignored, what is broken SIP gets 400, 501 or 505, and what is longer than
    /// [`MAX_MESSAGE`] nothing.
    pub fn handle_input(&mut self, now: Instant, input: Receive<'_>) {
        self.receive(now, input);
    }

    /// A peer has opened a connection. Whoever is heard over one has opened it, so this may be left out.
    pub fn handle_opened(&mut self, way: FiveTuple) {
        self.connections.opened(way);
    }

    /// A connection is gone, or one of [`Endpoint::poll_connect`] could not be opened: who waits for a response over it has none to
    /// expect.
    pub fn handle_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.connections.closed(connection);
        for id in self.client_transactions.over(connection) {
            self.unreachable(now, id);
        }
    }

    /// The next connection to open, from our host to `remote`; [`Endpoint::poll_transmit`] is for after that.
    pub fn poll_connect(&mut self) -> Option<FiveTuple> {
        self.connections.poll_wanted()
    }

    /// The next connection to close: nobody needs it any more.
    pub fn poll_release(&mut self) -> Option<ConnectionId> {
        self.connections.poll_released()
    }

    /// Whether somebody who has logged in, or is in a call, is at the other end of this connection, or a registrar that we are registered at.
    #[must_use]
    pub fn is_connection_used(&self, way: FiveTuple) -> bool {
        let peer = way.peer();
        self.registrar.reaches(peer, None)
            || self.connections.is_asked(way)
            || self.trunk_at(way.protocol, way.remote.ip()).is_some()
            || (self.is_proxy(way.remote.ip()) && !way.protocol.is_websocket())
            || self.dialogs.iter().any(|dialog| dialog.peer.peer() == peer)
            || self
                .outbound_registrations
                .values()
                .any(|registration| registration.is_over(peer))
            || way
                .connection
                .is_some_and(|id| !self.client_transactions.over(id).is_empty())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.on_timers(now);
    }

    /// Does what the calls above want.
    ///
    /// # Errors
    /// Nothing was sent and nothing changed; [`SipError`] says why. A command may cross an event: `UnknownDialog` and
    /// `WrongState` are then no mistake.
    pub fn handle_command(&mut self, now: Instant, command: SipCommand) -> Result<(), SipError> {
        match command {
            SipCommand::Ring { dialog, status, body } => self.ring(now, dialog, status, body.as_deref()),
            SipCommand::Accept {
                dialog,
                body,
                identity,
                headers,
            } => self.accept(now, dialog, body.as_deref(), identity.as_ref(), headers),
            SipCommand::Reject {
                dialog,
                status,
                reason,
                retry_after,
            } => self.reject(now, dialog, status, reason.as_ref(), retry_after),
            SipCommand::Hangup { dialog, reason } => self.hangup(now, dialog, reason),
            SipCommand::Invite(invite) => self.invite(now, *invite),
            SipCommand::Ack { dialog, body } => self.acknowledge(dialog, body),
            SipCommand::Info {
                dialog,
                content_type,
                body,
            } => {
                let (what, body) = ((Method::Info, Purpose::InDialog(dialog)), Some((content_type, body)));
                self.send_in_dialog(now, dialog, what, Vec::new(), body).map(drop)
            }
            SipCommand::Show { dialog, identity } => self.show(now, dialog, &identity),
            SipCommand::AnswerRefer { dialog, status, reason } => {
                self.answer_refer(now, dialog, status, reason.as_ref())
            }
            SipCommand::NotifyRefer { dialog, status } => self.notify_refer(now, dialog, status),
            SipCommand::Notify { subscription, state } => self.notify(now, subscription, state),
            SipCommand::RefuseSubscription { subscription, status } => {
                self.refuse_subscription(now, subscription, status)
            }
            SipCommand::Reinvite { dialog, body } => self.reinvite(now, dialog, body),
            SipCommand::Probe { dialog } => {
                let what = (Method::Options, Purpose::Probe(dialog));
                self.send_in_dialog(now, dialog, what, Vec::new(), None).map(drop)
            }
            SipCommand::Register {
                registration,
                aor,
                domain,
                five_tuple,
                credentials,
                expires,
            } => self.register(now, registration, (&aor, domain), five_tuple, credentials, expires),
            SipCommand::Options {
                probe,
                domain,
                five_tuple,
            } => self.options(now, probe, domain, five_tuple),
        }
    }

    /// The next message to send; over a connection, in order.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<SipEvent> {
        self.events.pop_front()
    }

    /// When [`Endpoint::handle_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers
            .next()
            .into_iter()
            .chain(self.registrar.poll_timeout())
            .min()
    }

    /// Where a call to an account goes: its contacts, the one registered last first, and each phone once.
    #[must_use]
    pub fn contacts(&self, now: Instant, user: &str) -> Vec<Contact> {
        let mut contacts = self.registrar.targets(now, user, |way| self.connections.leads(way));
        for contact in &mut contacts {
            contact.five_tuple = self.way_from_here(contact.five_tuple);
        }
        contacts
    }

    /// The way of a request: a dialog may keep an address that is retired.
    fn way_in_dialog(&self, way: FiveTuple) -> FiveTuple {
        if self.retired.contains(&(way.protocol, way.local)) {
            return way;
        }
        self.way_from_here(way)
    }

    /// The same way, from an address that is bound now: the port that it had if there is such a one, and not from loopback to the
    /// world.
    fn way_from_here(&self, way: FiveTuple) -> FiveTuple {
        let (protocol, old) = (way.protocol, way.local);
        let fits =
            |local: &SocketAddr| local.is_ipv4() == old.is_ipv4() && local.ip().is_loopback() == old.ip().is_loopback();
        let bound = self
            .local
            .iter()
            .filter(|(bound, _)| *bound == protocol)
            .map(|(_, local)| *local);
        let local = bound
            .filter(fits)
            .min_by_key(|local| (*local != old, local.port() != old.port()))
            .filter(|_| way.connection.is_none())
            .unwrap_or(old);
        FiveTuple { local, ..way }
    }

    /// All accounts with contacts, in order of their names.
    #[must_use]
    pub fn registered_accounts(&self, now: Instant) -> Vec<(String, Vec<Contact>)> {
        self.registrar.all(now)
    }

    /// Whose logins are not judged now: sources and accounts that failed too often.
    #[must_use]
    pub fn locked(&self, now: Instant) -> Vec<Locked> {
        self.guard.locked(now)
    }

    /// Forgets the failed logins of a source (an address of it) or of an account.
    pub fn unlock(&mut self, who: &str) {
        self.guard.unlock(who);
    }

    /// A key for a new dialog; for one of ours it goes into [`SipCommand::Invite`].
    pub fn new_dialog_key(&mut self) -> DialogKey {
        self.last_dialog += 1;
        DialogKey(self.last_dialog)
    }

    /// The `Call-ID` of a dialog that there is.
    #[must_use]
    pub fn call_id(&self, dialog: DialogKey) -> Option<&str> {
        self.dialogs.get(dialog).map(|dialog| dialog.call_id.as_str())
    }

    /// How many dialogs there are, those included that only wait for the response to their BYE.
    #[must_use]
    pub fn dialog_count(&self) -> usize {
        self.dialogs.len()
    }

    /// How many transactions there are; an ended one is kept up to 64*T1 (32 s) to absorb retransmissions.
    #[must_use]
    pub fn transaction_count(&self) -> usize {
        self.server_transactions.len() + self.client_transactions.len()
    }

    /// Reports changes of the registrar.
    fn emit_contact_changes(&mut self, changes: Vec<Change>) {
        for (change, user, contact, source) in changes {
            self.events.push_back(SipEvent::ContactChanged {
                user,
                change,
                contact,
                source,
            });
        }
    }
}
