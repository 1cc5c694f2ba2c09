//! The composition root, sans-IO: the SIP endpoint, the routes, and every call by its key.
//!
//! One signalling task feeds it: datagrams, hub messages, media events, results of jobs, time. After each `handle_*` it
//! drains every `poll_*`. Nothing here waits, reads a socket or a clock; nothing here knows what a call does with an
//! event, only which call it is for.

mod admit;
mod deadlines;
mod limits;
mod note;
mod persist;
mod report;
mod summary;
mod unserved;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quartet_proto::hub::Name;
use quartet_proto::net::{Protocol, Receive, Transmit};
use quartet_proto::sip::{DialogKey, Endpoint, SavedBinding, SipCommand, SipError, SipEvent};
use rand_core::CryptoRng;

use crate::call::{Action, Call, CallKey, Cause, Instance, KeyExchangeJob, KeyExchangeResult, Leg};
use crate::cdr::{self, Direction};
use crate::config::Addresses;
use crate::ivr::prompts::Prompts;
use crate::media::{LegKey, MediaCommand, MediaEvent};
use crate::networks::hub::Adapter;
use crate::networks::{Network, NetworkCall, NetworkEvent};
use crate::plugins::Registry;
use crate::route::Routes;
use crate::store::Change;
use deadlines::Deadlines;
use limits::CallLimits;
use summary::Summaries;

pub use report::{CallRow, LockedRow, PhoneRow};

/// A generator for a part that keeps its own.
pub type BoxRng = Box<dyn CryptoRng + Send>;

/// What the messages for a leg name it by.
#[derive(Clone, Copy, Debug)]
enum FoundBy {
    Dialog(DialogKey),
    Network(NetworkCall),
}

/// What the exchange is made of.
pub struct Parts {
    /// The settings, checked.
    pub settings: Arc<crate::config::Settings>,
    /// The plugins that are loaded.
    pub registry: Arc<Registry>,
    /// What can be said.
    pub prompts: Prompts,
    /// The SIP addresses really bound.
    pub sip: Vec<(Protocol, SocketAddr)>,
    /// The addresses of this machine, for `[media] addresses = "auto"`.
    pub machine: Vec<IpAddr>,
    /// Makes a generator for each part that draws secrets.
    pub rng: Box<dyn FnMut() -> BoxRng + Send>,
}

/// Every call of this gateway.
///
/// After each `handle_*`, drain [`poll_transmit`](Self::poll_transmit), [`poll_media`](Self::poll_media),
/// [`poll_hub`](Self::poll_hub), [`poll_job`](Self::poll_job) and [`poll_change`](Self::poll_change).
pub struct Exchange {
    settings: Arc<crate::config::Settings>,
    registry: Arc<Registry>,
    routes: Routes,
    prompts: Prompts,
    endpoint: Endpoint,
    hub: Adapter,
    rng: Box<dyn FnMut() -> BoxRng + Send>,
    calls: BTreeMap<CallKey, Call>,
    deadlines: Deadlines,
    /// The legs that each call began with, and what they are found by.
    legs: BTreeMap<CallKey, Vec<(LegKey, FoundBy)>>,
    by_leg: BTreeMap<LegKey, CallKey>,
    by_dialog: BTreeMap<DialogKey, LegKey>,
    by_network: BTreeMap<NetworkCall, LegKey>,
    instance: Instance,
    next: u64,
    media: VecDeque<MediaCommand>,
    jobs: VecDeque<(LegKey, KeyExchangeJob)>,
    changes: VecDeque<Change>,
    /// The bindings of each account as they were last handed over to be stored.
    stored: BTreeMap<String, Vec<SavedBinding>>,
    stopping: bool,
    limits: CallLimits,
    /// Failed logins by source, refused calls by caller and cause, dialogs that could not be told something.
    failed_logins: Summaries<IpAddr, SipEvent>,
    refused: Summaries<(Direction, String, &'static str), cdr::Record>,
    failed_commands: Summaries<(), SipError>,
    /// Dialogs in which the endpoint could not do what a leg wants.
    lost: VecDeque<DialogKey>,
    /// Where phones' media is bound; empty: where the phone's signalling arrives.
    media_addresses: Vec<IpAddr>,
    /// What is offered to E2EE users.
    ice_addresses: Vec<IpAddr>,
}

impl Exchange {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            settings,
            registry,
            prompts,
            sip,
            machine,
            mut rng,
        } = parts;
        let (media_addresses, ice_addresses) = match &settings.media.addresses {
            Addresses::Auto => (Vec::new(), ice_addresses(machine, &sip)),
            Addresses::Listed(listed) => (listed.clone(), listed.clone()),
        };
        for sentence in unserved::unserved(&settings, &registry, &prompts) {
            tracing::warn!("{sentence}");
        }
        let account = Name::new(settings.network.hub.account.clone()).expect("the settings were checked");
        let instance = Instance::draw(&mut *rng());
        let endpoint = admit::endpoint(&settings, &sip, instance, rng());
        let hub = Adapter::new(account);
        Self {
            routes: Routes::new(&settings),
            limits: CallLimits::new(&settings.limits),
            settings,
            registry,
            prompts,
            endpoint,
            hub,
            rng,
            calls: BTreeMap::new(),
            deadlines: Deadlines::default(),
            legs: BTreeMap::new(),
            by_leg: BTreeMap::new(),
            by_dialog: BTreeMap::new(),
            by_network: BTreeMap::new(),
            instance,
            next: 0,
            media: VecDeque::new(),
            jobs: VecDeque::new(),
            changes: VecDeque::new(),
            stored: BTreeMap::new(),
            stopping: false,
            failed_logins: Summaries::default(),
            refused: Summaries::default(),
            failed_commands: Summaries::default(),
            lost: VecDeque::new(),
            media_addresses,
            ice_addresses,
        }
    }

    /// One datagram from a phone.
    pub fn handle_sip(&mut self, now: Instant, wall: SystemTime, datagram: Receive<'_>) {
        self.endpoint.handle_input(now, datagram);
        self.drain_events(now, wall);
    }

    /// One message of the hub.
    pub fn handle_hub(&mut self, now: Instant, wall: SystemTime, text: &str) {
        self.hub.handle_input(now, text);
        self.drain_events(now, wall);
    }

    /// One word from the media workers.
    pub fn handle_media(&mut self, now: Instant, wall: SystemTime, event: MediaEvent) {
        let leg = event.leg();
        if let Some(call) = self.by_leg.get(&leg).and_then(|key| self.calls.get_mut(key)) {
            match &event {
                MediaEvent::Report { report, .. } => call.handle_report(now, leg, *report),
                MediaEvent::Closed { .. } => call.handle_closed(leg),
                MediaEvent::Local { .. }
                | MediaEvent::Connected { .. }
                | MediaEvent::Failed { .. }
                | MediaEvent::Played { .. }
                | MediaEvent::Dtmf { .. } => {}
            }
            match call.leg_mut(leg) {
                Some(Leg::Sip(leg)) => leg.handle_media(event),
                Some(Leg::E2ee(leg)) => leg.handle_media(now, event),
                None => {}
            }
        }
        self.dispatch_to_leg(now, leg);
        self.drain_events(now, wall);
    }

    /// A job of a key exchange is done.
    pub fn handle_job(&mut self, now: Instant, wall: SystemTime, leg: LegKey, done: KeyExchangeResult) {
        if let Some(Leg::E2ee(leg)) = self.leg_mut(leg) {
            leg.handle_job(now, done);
        }
        self.dispatch_to_leg(now, leg);
        self.drain_events(now, wall);
    }

    /// A job could not be queued: its call ends.
    pub fn handle_overload(&mut self, now: Instant, wall: SystemTime, leg: LegKey) {
        if let Some(Leg::E2ee(leg)) = self.leg_mut(leg) {
            leg.handle_overload();
        }
        self.dispatch_to_leg(now, leg);
        self.drain_events(now, wall);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant, wall: SystemTime) {
        self.endpoint.handle_timeout(now);
        self.hub.handle_timeout(now);
        self.tell_summaries(now);
        let due = self.deadlines.due(now);
        for key in due {
            if let Some(call) = self.calls.get_mut(&key) {
                call.handle_timeout(now, &mut self.prompts);
            }
            self.run_actions(now, key);
        }
        self.drain_events(now, wall);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let machines = [
            self.endpoint.poll_timeout(),
            self.hub.poll_timeout(),
            self.deadlines.next(),
        ];
        machines.into_iter().chain(self.summaries_end()).flatten().min()
    }

    /// A datagram for a phone.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.endpoint.poll_transmit()
    }

    /// A command for the media workers.
    pub fn poll_media(&mut self) -> Option<MediaCommand> {
        self.media.pop_front()
    }

    /// A message for the hub.
    pub fn poll_hub(&mut self) -> Option<String> {
        self.hub.poll_transmit()
    }

    /// A job to compute elsewhere, for this leg.
    pub fn poll_job(&mut self) -> Option<(LegKey, KeyExchangeJob)> {
        self.jobs.pop_front()
    }

    /// A change to store.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Takes no new call and ends all there are; the caller goes on until [`calls`](Self::call_count) is 0.
    pub fn stop(&mut self, now: Instant, wall: SystemTime) {
        self.stopping = true;
        let keys: Vec<_> = self.calls.keys().copied().collect();
        for key in keys {
            self.end_call(now, wall, key, Cause::Network);
        }
    }

    /// The operator ends a call; false if there is none of that key.
    pub fn hang_up(&mut self, now: Instant, wall: SystemTime, key: CallKey) -> bool {
        self.end_call(now, wall, key, Cause::Declined)
    }

    /// Ends a call; `cause` is for one in which nobody talks yet.
    fn end_call(&mut self, now: Instant, wall: SystemTime, key: CallKey, cause: Cause) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        call.hang_up(now, cause);
        self.run_actions(now, key);
        self.drain_events(now, wall);
        true
    }

    /// Hands what endpoint and hub have to say to the calls it is for, until both are quiet.
    fn drain_events(&mut self, now: Instant, wall: SystemTime) {
        loop {
            if let Some(event) = self.endpoint.poll_event() {
                self.on_sip(now, wall, event);
            } else if let Some(dialog) = self.lost.pop_front() {
                self.on_sip(now, wall, SipEvent::Lost { dialog });
            } else if let Some(event) = self.hub.poll_event() {
                self.on_network(now, wall, event);
            } else {
                return;
            }
        }
    }

    fn on_sip(&mut self, now: Instant, wall: SystemTime, event: SipEvent) {
        let Some(dialog) = event.dialog() else {
            if let SipEvent::Registration { user, .. } = &event {
                self.store_bindings(now, wall, user);
            }
            return self.log_event(now, event);
        };
        if let SipEvent::Incoming { .. } = event {
            return self.admit_phone(now, wall, event);
        }
        let Some(leg) = self.by_dialog.get(&dialog).copied() else {
            return;
        };
        if let SipEvent::Ended { .. } = event {
            self.by_dialog.remove(&dialog);
        }
        if let Some(Leg::Sip(leg)) = self.leg_mut(leg) {
            leg.handle_sip(event);
        }
        self.dispatch_to_leg(now, leg);
    }

    fn on_network(&mut self, now: Instant, wall: SystemTime, event: NetworkEvent) {
        if let NetworkEvent::Requested { .. } = event {
            return self.admit_user(now, wall, event);
        }
        let Some(leg) = self.by_network.get(&event.call()).copied() else {
            return;
        };
        if let Some(Leg::E2ee(leg)) = self.leg_mut(leg) {
            leg.handle_network(now, event);
        }
        self.dispatch_to_leg(now, leg);
    }

    fn leg_mut(&mut self, leg: LegKey) -> Option<&mut Leg> {
        let key = self.by_leg.get(&leg)?;
        self.calls.get_mut(key)?.leg_mut(leg)
    }

    /// A leg was fed: its call hears it and acts.
    fn dispatch_to_leg(&mut self, now: Instant, leg: LegKey) {
        let Some(key) = self.by_leg.get(&leg).copied() else {
            return;
        };
        if let Some(call) = self.calls.get_mut(&key) {
            call.handle_legs(now, &mut self.prompts);
        }
        self.run_actions(now, key);
    }

    /// Carries out what a call wants, and forgets it once it is over.
    fn run_actions(&mut self, now: Instant, key: CallKey) {
        while let Some(action) = self.calls.get_mut(&key).and_then(Call::poll_action) {
            match action {
                Action::Sip(command) => self.tell_phone(now, command),
                Action::Media(command) => self.media.push_back(command),
                Action::Network(command) => self.hub.handle_command(now, command),
                Action::Compute(leg, job) => self.jobs.push_back((leg, job)),
                Action::Running(record) => self.changes.push_back(Change::Running(*record)),
                Action::Record(record) => {
                    tracing::info!(
                        call = %key,
                        cause = record.cause,
                        verdict = record.verdict.word(),
                        "call ended"
                    );
                    self.changes.push_back(Change::Ended(*record));
                }
            }
        }
        let call = self.calls.get(&key);
        self.deadlines.set(key, call.and_then(Call::poll_timeout));
        if call.is_some_and(Call::is_over) {
            self.forget(key);
        }
    }

    /// Forgets a call and all that it was found by.
    fn forget(&mut self, key: CallKey) {
        self.calls.remove(&key);
        self.deadlines.set(key, None);
        for (leg, found_by) in self.legs.remove(&key).unwrap_or_default() {
            self.by_leg.remove(&leg);
            match found_by {
                FoundBy::Dialog(dialog) => _ = self.by_dialog.remove(&dialog),
                FoundBy::Network(call) => _ = self.by_network.remove(&call),
            }
        }
    }

    /// Tells the endpoint. A dialog that is gone has said so by an event; any other failure is the end of that leg.
    fn tell_phone(&mut self, now: Instant, command: SipCommand) {
        let dialog = command.dialog();
        match (self.endpoint.handle_command(now, command), dialog) {
            (Ok(()), _) => {}
            (Err(SipError::UnknownDialog | SipError::WrongState(_)), _) | (Err(_), None) => {
                tracing::debug!(?dialog, "the dialog is gone already");
            }
            (Err(error), Some(dialog)) => {
                if let Some(error) = self.failed_commands.note(now, (), error) {
                    tracing::warn!(%error, "SIP command failed");
                }
                self.lost.push_back(dialog);
            }
        }
    }

    fn next_call(&mut self) -> CallKey {
        CallKey::new(self.instance, self.next_key())
    }

    fn next_key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Where the legs of E2EE users are bound under `auto`: at loopback only where nobody but this machine is served.
///
/// A user says where our checks go. From a socket on loopback they would reach the services of this machine, which trust
/// whoever comes from there.
fn ice_addresses(machine: Vec<IpAddr>, sip: &[(Protocol, SocketAddr)]) -> Vec<IpAddr> {
    let outside: Vec<IpAddr> = machine.iter().copied().filter(|ip| !ip.is_loopback()).collect();
    if outside.is_empty() || sip.iter().all(|(_, address)| address.ip().is_loopback()) {
        machine
    } else {
        outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_get_no_socket_on_loopback_unless_all_is_there() {
        let machine: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"]
            .map(|ip| ip.parse().unwrap())
            .to_vec();
        let udp = |address: &str| (Protocol::Udp, address.parse().unwrap());
        let sip = |text: &str| text.split(' ').map(udp).collect::<Vec<_>>();
        let served = ice_addresses(machine.clone(), &sip("192.0.2.1:5060 127.0.0.1:5060"));
        assert_eq!(served, machine[..2]);
        assert_eq!(
            ice_addresses(machine.clone(), &sip("127.0.0.1:5060 [::1]:5060")),
            machine
        );
        assert_eq!(
            ice_addresses(machine[2..].to_vec(), &sip("192.0.2.1:5060")),
            machine[2..]
        );
    }
}
