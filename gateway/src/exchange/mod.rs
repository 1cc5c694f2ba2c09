//! Owns the SIP endpoint, the routes, the networks and all calls, sans-IO: it finds for each event the call that it is for, and
//! carries out what calls want.
//!
//! One signalling task feeds it: datagrams, frames of networks, media events, results of jobs, time. Nothing here waits, reads a
//! socket or a clock; nothing here knows what a call does with an event.

mod admit;
mod arrival;
mod deadlines;
mod endpoint;
mod here;
mod job;
mod legs;
mod limits;
mod note;
mod persist;
mod report;
mod transfer;
mod trunks;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use quartet_proto::net::{Protocol, Receive, Transmit};
use quartet_proto::sip::{DialogKey, Endpoint, SavedBinding, SipError, SipEvent};
use rand_core::CryptoRng;

use crate::call::{Action, Call, CallKey, Instance, Leg};
use crate::cdr::{By, Cause, Direction, Record};
use crate::log::Summaries;
use crate::media::{LegKey, MediaCommand, MediaEvent};
use crate::networks::{Link, Network, NetworkCall, NetworkEvent, NetworkId};
use crate::plugins::Registry;
use crate::route::Routes;
use arrival::Arrival;
use deadlines::Deadlines;
use limits::CallLimits;
use note::Blanked;
use trunks::Trunks;
use watch::Watchers;

pub use here::{Here, Names, names};
pub use job::{Job, JobResult};
pub use persist::Change;
pub use report::{CallRow, LegRow, LockedRow, PhoneRow};
pub use trunks::{Place, TrunkRow, tls_places};

/// A random generator, owned by the part that it is made for.
pub type BoxRng = Box<dyn CryptoRng + Send>;

/// A leg as the other side names it: by its SIP dialog, or by the network's id of the call.
#[derive(Clone, Debug)]
enum ForeignId {
    Dialog(DialogKey),
    Network(NetworkId, NetworkCall),
}

/// All networks, by name.
pub type Networks = BTreeMap<NetworkId, Box<dyn Network>>;

/// What the exchange is made of.
pub struct Parts {
    /// The settings, checked.
    pub settings: Arc<crate::config::Settings>,
    /// The plugins that are loaded.
    pub registry: Arc<Registry>,
    /// Where E2EE users live.
    pub networks: Networks,
    /// The SIP addresses really bound.
    pub sip: Vec<(Protocol, SocketAddr)>,
    /// Where this machine is.
    pub here: Here,
    /// Makes a generator for each part that draws secrets.
    pub rng: Box<dyn FnMut() -> BoxRng + Send>,
}

/// Every call of this gateway.
///
/// After every call that may change it and is no `poll_*`, drain [`poll_transmit`](Self::poll_transmit), [`poll_media`](Self::poll_media),
/// [`poll_frame`](Self::poll_frame), [`poll_job`](Self::poll_job) and [`poll_change`](Self::poll_change).
pub struct Exchange {
    settings: Arc<crate::config::Settings>,
    registry: Arc<Registry>,
    routes: Routes,
    endpoint: Endpoint,
    networks: Networks,
    rng: Box<dyn FnMut() -> BoxRng + Send>,
    calls: BTreeMap<CallKey, Call>,
    deadlines: Deadlines,
    /// The legs that each call has had, and what they are found by.
    legs: BTreeMap<CallKey, Vec<(LegKey, ForeignId)>>,
    by_leg: BTreeMap<LegKey, CallKey>,
    by_dialog: BTreeMap<DialogKey, LegKey>,
    by_network: BTreeMap<(NetworkId, NetworkCall), LegKey>,
    instance: Instance,
    /// The last key of a call or a leg.
    last_key: u64,
    media: VecDeque<MediaCommand>,
    jobs: VecDeque<(LegKey, Job)>,
    changes: VecDeque<Change>,
    /// The bindings of each account as they were last handed over to be stored.
    stored: BTreeMap<String, Vec<SavedBinding>>,
    stopping: bool,
    limits: CallLimits,
    /// Summed up for the log, a line a minute for each key: failed logins by source.
    failed_logins: Summaries<IpAddr, SipEvent>,
    /// So are contacts that changed, by account.
    contact_changes: Summaries<String, SipEvent>,
    /// Refused calls, by direction, caller and cause; they are recorded as well.
    refused: Summaries<(Direction, String, &'static str), Record<Instant>>,
    /// Commands that the endpoint refused.
    failed_commands: Summaries<(), SipError>,
    /// Dialogs in which the endpoint could not do what a leg wants.
    lost: VecDeque<DialogKey>,
    here: Here,
    trunks: Trunks,
    watchers: Watchers,
}

impl Exchange {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            settings,
            registry,
            networks,
            sip,
            here,
            mut rng,
        } = parts;
        let instance = Instance::draw(&mut *rng());
        let endpoint = endpoint::endpoint(&settings, &here, instance, rng());
        let mut exchange = Self {
            routes: settings.routes(),
            limits: CallLimits::new(&settings.limits),
            settings,
            registry,
            endpoint,
            networks,
            rng,
            calls: BTreeMap::new(),
            deadlines: Deadlines::default(),
            legs: BTreeMap::new(),
            by_leg: BTreeMap::new(),
            by_dialog: BTreeMap::new(),
            by_network: BTreeMap::new(),
            instance,
            last_key: 0,
            media: VecDeque::new(),
            jobs: VecDeque::new(),
            changes: VecDeque::new(),
            stored: BTreeMap::new(),
            stopping: false,
            failed_logins: Summaries::default(),
            contact_changes: Summaries::default(),
            refused: Summaries::default(),
            failed_commands: Summaries::default(),
            lost: VecDeque::new(),
            here,
            trunks: Trunks::default(),
            watchers: Watchers::default(),
        };
        exchange.set_sip_addresses(sip, Vec::new());
        exchange
    }

    /// Takes other settings, for what begins from now on. Phones that are gone, or have another password, are no longer registered;
    /// standing calls go on.
    pub fn reload(&mut self, now: Instant, settings: Arc<crate::config::Settings>) {
        self.routes = settings.routes();
        self.limits.reload(&settings.limits);
        endpoint::apply(&settings, &self.here, &mut self.endpoint);
        self.settings = settings;
        self.follow_trunks(now);
        self.drain_events(now);
    }

    /// One datagram from a phone.
    pub fn handle_sip(&mut self, now: Instant, datagram: Receive<'_>) {
        tracing::trace!(source = %datagram.five_tuple.remote, message = %Blanked(datagram.payload), "SIP received");
        self.endpoint.handle_input(now, datagram);
        self.drain_events(now);
    }

    /// One frame of a network's servers.
    pub fn handle_frame(&mut self, now: Instant, network: &NetworkId, frame: &[u8]) {
        if let Some(network) = self.networks.get_mut(network) {
            network.handle_frame(now, frame);
        }
        self.drain_events(now);
    }

    /// The way to a network's servers has come up or gone down.
    pub fn handle_link(&mut self, now: Instant, network: &NetworkId, link: Link) {
        if let Some(network) = self.networks.get_mut(network) {
            network.handle_link(now, link);
        }
        self.drain_events(now);
    }

    /// Whether a network's servers can be reached, as far as is known.
    pub fn is_up(&self, network: &NetworkId) -> bool {
        self.networks.get(network).is_some_and(|network| network.is_up())
    }

    /// The accounts of a network that has several, each with where it stands in words.
    pub fn accounts(&self, now: Instant, network: &NetworkId) -> Vec<(String, String)> {
        let network = self.networks.get(network);
        network.map(|network| network.accounts(now)).unwrap_or_default()
    }

    /// One word from the media workers.
    pub fn handle_media(&mut self, now: Instant, event: MediaEvent) {
        let leg = event.leg();
        if let Some(call) = self.call_of(leg) {
            call.handle_media(now, event);
        }
        self.advance_call_of(now, leg);
        self.drain_events(now);
    }

    /// A job is done, or could not be taken.
    pub fn handle_job(&mut self, now: Instant, leg: LegKey, done: JobResult) {
        if let Some(call) = self.call_of(leg) {
            match done {
                JobResult::KeyExchange(done) => _ = call.with_leg(leg, |leg| leg.handle_job(now, done)),
                JobResult::Speak(play, clips) => call.handle_sound(now, leg, play, clips),
            }
        }
        self.advance_call_of(now, leg);
        self.drain_events(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.serve_trunks(now);
        self.networks
            .values_mut()
            .for_each(|network| network.handle_timeout(now));
        self.tell_summaries(now);
        let due = self.deadlines.due(now);
        for key in due {
            if let Some(call) = self.calls.get_mut(&key) {
                call.handle_timeout(now);
            }
            self.run_actions(now, key);
        }
        self.drain_events(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = [
            self.endpoint.poll_timeout(),
            self.deadlines.next(),
            self.trunks.poll_timeout(),
        ];
        let networks = self.networks.values().map(|network| network.poll_timeout());
        own.into_iter()
            .chain(networks)
            .chain(self.summaries_end())
            .flatten()
            .min()
    }

    /// A datagram for a phone.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.endpoint.poll_transmit()?;
        tracing::trace!(to = %transmit.five_tuple.remote, message = %Blanked(&transmit.payload), "SIP sent");
        Some(transmit)
    }

    /// A command for the media workers.
    pub fn poll_media(&mut self) -> Option<MediaCommand> {
        self.media.pop_front()
    }

    /// A frame for a network's servers.
    pub fn poll_frame(&mut self) -> Option<(NetworkId, Vec<u8>)> {
        let mut networks = self.networks.iter_mut();
        networks.find_map(|(id, network)| Some((id.clone(), network.poll_frame()?)))
    }

    /// A job to compute elsewhere, for this leg.
    pub fn poll_job(&mut self) -> Option<(LegKey, Job)> {
        self.jobs.pop_front()
    }

    /// A change to store.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Takes no new call and ends all there are. Go on feeding and draining until [`call_count`](Self::call_count) is 0.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        let keys: Vec<_> = self.calls.keys().copied().collect();
        for key in keys {
            self.end_call(now, key, Cause::Stopped, By::Gateway);
        }
    }

    /// The operator ends a call; false if there is none of that key.
    pub fn hang_up(&mut self, now: Instant, key: CallKey) -> bool {
        self.end_call(now, key, Cause::Operator, By::Operator)
    }

    /// Ends a call; `cause` is for one in which nobody talks yet.
    fn end_call(&mut self, now: Instant, key: CallKey, cause: Cause, by: By) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        call.hang_up(now, cause, by);
        self.run_actions(now, key);
        self.drain_events(now);
        true
    }

    /// Hands what endpoint and networks have to say to the calls it is for, until all are quiet.
    fn drain_events(&mut self, now: Instant) {
        loop {
            if let Some(event) = self.endpoint.poll_event() {
                self.on_sip(now, event);
            } else if let Some(dialog) = self.lost.pop_front() {
                self.on_sip(now, SipEvent::Lost { dialog });
            } else if let Some((network, event)) = self.poll_network() {
                self.on_network(now, network, event);
            } else {
                return;
            }
        }
    }

    fn poll_network(&mut self) -> Option<(NetworkId, NetworkEvent)> {
        let mut networks = self.networks.iter_mut();
        networks.find_map(|(id, network)| Some((id.clone(), network.poll_event()?)))
    }

    fn on_sip(&mut self, now: Instant, event: SipEvent) {
        let Some(dialog) = event.dialog() else {
            if let SipEvent::ContactChanged { user, .. } = &event {
                self.store_bindings(now, user);
            }
            self.on_trunk_event(now, &event);
            self.on_watch_event(now, &event);
            return self.log_event(now, event);
        };
        if let SipEvent::Incoming { .. } = event {
            return Arrival::of_sip(event).map_or((), |arrival| self.admit(now, arrival));
        }
        if let SipEvent::Refer { account, to, .. } = event {
            return self.on_refer(now, dialog, account.as_deref(), to);
        }
        let Some(leg) = self.by_dialog.get(&dialog).copied() else {
            return;
        };
        self.follow_redirect(now, leg, &event);
        self.with_leg(leg, |leg| leg.handle_sip(now, event));
        self.advance_call_of(now, leg);
    }

    fn on_network(&mut self, now: Instant, network: NetworkId, event: NetworkEvent) {
        if let NetworkEvent::Requested(incoming) = event {
            return self.admit(now, Arrival::Network { network, incoming });
        }
        let Some(leg) = self.by_network.get(&(network, event.call())).copied() else {
            return;
        };
        self.with_leg(leg, |leg| leg.handle_network(now, event));
        self.advance_call_of(now, leg);
    }

    fn call_of(&mut self, leg: LegKey) -> Option<&mut Call> {
        let key = self.by_leg.get(&leg)?;
        self.calls.get_mut(key)
    }

    fn with_leg<R>(&mut self, leg: LegKey, feed: impl FnOnce(&mut Leg) -> R) -> Option<R> {
        self.call_of(leg)?.with_leg(leg, feed)
    }

    /// A leg was fed: its call takes the leg's events, and what the call then wants is carried out.
    fn advance_call_of(&mut self, now: Instant, leg: LegKey) {
        let Some(key) = self.by_leg.get(&leg).copied() else {
            return;
        };
        if let Some(call) = self.calls.get_mut(&key) {
            call.handle_legs(now);
        }
        self.run_actions(now, key);
    }

    /// Carries out what a call wants, and forgets it once it is over.
    fn run_actions(&mut self, now: Instant, key: CallKey) {
        while let Some(action) = self.calls.get_mut(&key).and_then(Call::poll_action) {
            match action {
                Action::Sip(command) => self.tell_phone(now, command),
                Action::Media(command) => self.media.push_back(command),
                Action::Network(network, command) => {
                    if let Some(network) = self.networks.get_mut(&network) {
                        network.handle_command(now, command);
                    }
                }
                Action::Compute(leg, job) => self.jobs.push_back((leg, Job::KeyExchange(job))),
                Action::Speak {
                    leg,
                    play,
                    script,
                    language,
                } => {
                    let job = Job::Speak { play, script, language };
                    self.jobs.push_back((leg, job));
                }
                Action::Running(record) => self.changes.push_back(Change::Running(record)),
                Action::Record(record) => {
                    tracing::info!(
                        call = %key,
                        cause = record.cause,
                        by = record.by.word(),
                        verdict = record.verdict.word(),
                        "call ended"
                    );
                    self.changes.push_back(Change::Ended(record));
                }
            }
        }
        self.follow_lines(now, key);
        let call = self.calls.get(&key);
        self.deadlines.set(key, call.and_then(Call::poll_timeout));
        if call.is_some_and(Call::is_over) {
            self.forget(key);
        }
    }

    /// Notes how messages for a leg of a call are to find it.
    fn index_leg(&mut self, key: CallKey, leg: LegKey, foreign_id: &ForeignId) {
        self.by_leg.insert(leg, key);
        match foreign_id {
            ForeignId::Dialog(dialog) => _ = self.by_dialog.insert(*dialog, leg),
            ForeignId::Network(network, call) => {
                tracing::debug!(call = %key, leg = leg.0, %network, network_call = %call, "leg");
                _ = self.by_network.insert((network.clone(), *call), leg);
            }
        }
        self.legs.entry(key).or_default().push((leg, foreign_id.clone()));
    }

    /// Forgets a call and all that it was found by.
    fn forget(&mut self, key: CallKey) {
        self.calls.remove(&key);
        self.deadlines.set(key, None);
        for (leg, foreign_id) in self.legs.remove(&key).unwrap_or_default() {
            self.by_leg.remove(&leg);
            match foreign_id {
                ForeignId::Dialog(dialog) => _ = self.by_dialog.remove(&dialog),
                ForeignId::Network(network, call) => _ = self.by_network.remove(&(network, call)),
            }
        }
    }

    fn new_call_key(&mut self) -> CallKey {
        CallKey::new(self.instance, self.new_key())
    }

    fn new_leg_key(&mut self) -> LegKey {
        LegKey(self.new_key())
    }

    fn new_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }
}

#[cfg(test)]
mod tests;
