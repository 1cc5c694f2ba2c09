//! The signalling task: it owns the exchange and the hub, and carries everything between them and the world.
//!
//! Every arm of its loop feeds one machine; then all machines are drained. No media passes here.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quartet_proto::hub::Name;
use quartet_proto::net::Receive;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::sync::{mpsc, watch};

use super::addresses::{self, MachineAddresses};
use super::compute::Compute;
use super::control::{self, PendingControlRequest};
use super::hub::{self, HubEvent, HubServer, HubSide};
use super::media_worker::Media;
use super::names::Names;
use super::reflector::ReflectorServer;
use super::relays::Relays;
use super::reload::{Reloader, Reloading};
use super::sip::{Datagram, Place, SipInput, SipSockets};
use super::sleep_until;
use super::startup::{check_media_addresses, ports, prepare_state, prompts, shares, sip_setup, tls_peers};
use super::store::StoreThread;
use super::telegram::{self, TelegramClients};
use super::unserved::unserved;
use super::websocket::{HubConnection, LinkEvent};
use crate::cdr::Clock;
use crate::config::Loaded;
use crate::exchange::{self, BoxRng, Exchange, Here, JobResult, Parts};
use crate::media::{LegKey, MediaCommand, MediaEvent};
use crate::networks::{Link, NetworkId, hub as hub_network, telegram as telegram_network};
use crate::plugins::Registry;
use crate::store::Store;

/// How many inputs of one kind may wait. A flood fills its own queue, not another's.
pub(super) const WAITING: usize = 1024;

/// How long the calls get to end when the gateway stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// By how much the wall clock may leave the monotonic one before it counts as set.
const MAX_CLOCK_STEP: Duration = Duration::from_secs(5);

/// A running gateway, before its loop.
pub struct Signalling {
    pub(super) exchange: Exchange,
    /// What is in force.
    pub(super) loaded: Arc<Loaded>,
    pub(super) reloader: Reloader,
    pub(super) names: Names,
    asked_in: mpsc::Sender<PendingControlRequest>,
    pub(super) hub: HubSide,
    /// The hub's name as a network.
    pub(super) hub_network: NetworkId,
    telegram: TelegramClients,
    pub(super) telegram_network: NetworkId,
    pub(super) sip: SipSockets,
    pub(super) media: Arc<Media>,
    pub(super) relays: Relays,
    pub(super) reflector: Option<ReflectorServer>,
    pub(super) compute: Compute,
    store: StoreThread,
    pub(super) started: Instant,
    /// Both clocks as they stood at the start, or when the wall clock was last set.
    clock: Clock,
    inputs: Inputs,
}

/// Everything that can arrive.
struct Inputs {
    sip: mpsc::Receiver<SipInput>,
    media: mpsc::UnboundedReceiver<MediaEvent>,
    jobs: mpsc::UnboundedReceiver<(LegKey, JobResult)>,
    asked: mpsc::Receiver<PendingControlRequest>,
    machine: watch::Receiver<MachineAddresses>,
    read: mpsc::UnboundedReceiver<Reloading>,
}

/// What woke the loop.
enum Input {
    Sip(SipInput),
    Hub(HubEvent),
    Telegram(Vec<u8>),
    Media(MediaEvent),
    Job(LegKey, JobResult),
    PendingControlRequest(PendingControlRequest),
    Addresses,
    Reloading(Reloading),
    Timeout,
    Stop,
}

/// A generator seeded by the system, for one part that keeps its own.
pub fn generator() -> BoxRng {
    Box::new(ChaCha20Rng::from_rng(&mut rand::rng()))
}

/// Where this machine is, as far as is known.
fn here(addresses: MachineAddresses, names: &Names) -> Here {
    let found = names.found.borrow();
    Here {
        addresses: addresses.up,
        networks: addresses.networks,
        names: found.hosts.clone(),
        trunks: found.trunks.clone(),
    }
}

impl Signalling {
    /// Loads the plugins, binds every socket, starts the threads.
    ///
    /// # Errors
    /// Whatever keeps the gateway from starting, with what to change.
    pub async fn start(loaded: Loaded) -> anyhow::Result<Self> {
        let loaded = Arc::new(loaded);
        let settings = &loaded.settings;
        prepare_state(settings)?;
        let registry = Arc::new(Registry::load(&settings.plugins)?);
        let prompts = prompts(&settings.ivr.prompts, &registry)?;
        for sentence in unserved(settings, &registry, &prompts) {
            tracing::warn!("{sentence}");
        }
        let (network, elsewhere) = hub::network(&settings.network.hub)?;
        // First of all that lasts: it makes sure that no other gateway uses the same files.
        let store_thread = StoreThread::start(&settings.store.path, &settings.cdr.path)?;
        let store = Store::open(&settings.store.path)?;
        let bindings = store.bindings()?;
        let challenge_key = store.key("challenges", &mut generator())?;
        let mut machine = addresses::follow()?;
        let addresses = machine.borrow_and_update().clone();
        let shares = shares(settings, &addresses);
        for shortage in &shares.shortages {
            tracing::warn!("{shortage}");
        }
        let (sip_in, sip_inputs) = mpsc::channel(WAITING);
        let mut sip = SipSockets::bind(sip_setup(settings, &shares), &addresses.all, sip_in)?;
        check_media_addresses(&settings.media.addresses)?;
        let control = control::bind(&settings.control.path).await?;
        let reflector = ReflectorServer::open(&settings.reflector)?;

        // Bounded by their makers: a leg reports once a second, a call has a handful of jobs.
        let (media_in, media_events) = mpsc::unbounded_channel();
        let (job_in, jobs) = mpsc::unbounded_channel();
        let (asked_in, asked) = mpsc::channel(16);
        let hub = match elsewhere {
            Some(location) => HubSide::Elsewhere(HubConnection::start(location)),
            None => {
                let account = Name::new(settings.network.hub.account.clone())?;
                HubSide::Here(Box::new(HubServer::open(settings, &shares, store, Some(account))?))
            }
        };
        tokio::spawn(control::serve(control, asked_in.clone()));
        let media = Arc::new(Media::start(
            settings.media.workers,
            Arc::clone(&registry),
            ports(settings.media.ports),
            move |event| {
                media_in.send(event).ok();
            },
        )?);
        let relays = Relays::new(Arc::clone(&media));
        let compute = Compute::start(prompts, move |leg, done| {
            job_in.send((leg, done)).ok();
        })?;
        let (now, wall) = (Instant::now(), SystemTime::now());
        let names = Names::follow(exchange::names(settings));
        let sip_addresses = sip.addresses().collect();
        let hub_network = NetworkId::new(hub_network::NAME);
        let telegram_network = NetworkId::new(telegram_network::NAME);
        let mut networks: exchange::Networks = [(hub_network.clone(), network)].into();
        if let Some(phone) = telegram::phone(&settings.telegram) {
            networks.insert(telegram_network.clone(), Box::new(phone));
        }
        let mut exchange = Exchange::new(Parts {
            settings: Arc::clone(settings),
            registry: Arc::clone(&registry),
            networks,
            sip: sip_addresses,
            here: here(addresses, &names),
            rng: Box::new(generator),
        });
        let clock = Clock { now, wall };
        exchange.restore(&clock, bindings);
        exchange.set_challenge_key(challenge_key);
        exchange.follow_trunks(now);
        let (reloader, read) = Reloader::new(registry);
        sip.set_tls_peers(tls_peers(settings, exchange.here()));
        let telegram = TelegramClients::start(&settings.telegram, settings.log.level);
        let inputs = Inputs {
            sip: sip_inputs,
            media: media_events,
            jobs,
            asked,
            machine,
            read,
        };
        Ok(Self {
            exchange,
            names,
            loaded,
            reloader,
            asked_in,
            hub,
            hub_network,
            telegram,
            telegram_network,
            sip,
            media,
            relays,
            reflector,
            compute,
            store: store_thread,
            started: now,
            clock,
            inputs,
        })
    }

    /// Where other parts of this process may ask what the control socket is asked.
    pub fn asker(&self) -> mpsc::Sender<PendingControlRequest> {
        self.asked_in.clone()
    }

    /// The SIP addresses as really bound, and where the hub is.
    pub fn addresses(&self) -> (Vec<Place>, String) {
        (self.sip.addresses().collect(), self.hub.address())
    }

    /// Runs until `stop` is done, then ends all calls.
    ///
    /// # Errors
    /// None today; the loop ends only when it is told to.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::pin!(stop);
        let mut shutdown: Option<Instant> = None;
        loop {
            let wake = [self.exchange.poll_timeout(), self.hub.poll_timeout(), shutdown]
                .into_iter()
                .flatten()
                .min();
            // No arm goes before another, so that a flood on one side starves nobody; time that has come goes first.
            let due = wake.is_some_and(|at| at <= Instant::now());
            let input = if due {
                Input::Timeout
            } else {
                tokio::select! {
                    () = &mut stop, if shutdown.is_none() => Input::Stop,
                    Some(asked) = self.inputs.asked.recv() => Input::PendingControlRequest(asked),
                    Ok(()) = self.inputs.machine.changed() => Input::Addresses,
                    Ok(()) = self.names.found.changed() => Input::Addresses,
                    Some(reloading) = self.inputs.read.recv() => Input::Reloading(reloading),
                    Some((leg, done)) = self.inputs.jobs.recv() => Input::Job(leg, done),
                    Some(event) = self.inputs.media.recv() => Input::Media(event),
                    event = self.hub.next() => Input::Hub(event),
                    frame = self.telegram.next() => Input::Telegram(frame),
                    Some(input) = self.inputs.sip.recv() => Input::Sip(input),
                    () = sleep_until(wake) => Input::Timeout,
                }
            };
            let now = Instant::now();
            match input {
                Input::Sip(input) => self.handle_sip(now, input),
                Input::Hub(event) => self.handle_hub(now, event),
                Input::Telegram(frame) => self.exchange.handle_frame(now, &self.telegram_network, &frame),
                Input::Media(event) => self.exchange.handle_media(now, event),
                Input::Job(leg, done) => self.exchange.handle_job(now, leg, done),
                Input::PendingControlRequest(asked) => self.answer(now, asked),
                Input::Addresses => self.follow_addresses(now),
                Input::Reloading(reloading) => self.finish_reload(now, reloading),
                Input::Timeout => {
                    self.exchange.handle_timeout(now);
                    if let Some(server) = self.hub.server() {
                        server.handle_timeout(now);
                    }
                }
                Input::Stop => {
                    shutdown = Some(now + SHUTDOWN_GRACE);
                    self.exchange.stop(now);
                }
            }
            self.follow_clock(now);
            self.drain(now);
            self.close_unused_sockets();
            if shutdown.is_some_and(|at| now >= at || self.exchange.is_idle()) {
                self.exchange.tell_all_summaries(now);
                if let Some(server) = self.hub.server() {
                    server.tell_all_summaries(now);
                }
                self.drain(now);
                if let HubSide::Elsewhere(connection) = self.hub {
                    connection.close().await;
                }
                self.telegram.end().await;
                return Ok(());
            }
        }
    }

    fn handle_sip(&mut self, now: Instant, input: SipInput) {
        let Self { sip, exchange, .. } = self;
        match input {
            SipInput::Message(Datagram { five_tuple, payload }) => {
                let payload = &payload;
                exchange.handle_sip(now, Receive { five_tuple, payload });
                sip.look(five_tuple, false, |way| exchange.is_sip_connection_used(way));
            }
            SipInput::Opened(connection) => sip.opened(connection),
            SipInput::Look(way) => sip.look(way, true, |way| exchange.is_sip_connection_used(way)),
            SipInput::Closed(id) => {
                sip.closed(id);
                exchange.handle_sip_closed(now, id);
            }
        }
    }

    fn handle_hub(&mut self, now: Instant, event: HubEvent) {
        let network = &self.hub_network;
        match (event, self.hub.server()) {
            (HubEvent::Here(work), Some(server)) => server.handle(now, work),
            (HubEvent::Here(_), None) => {}
            (HubEvent::Elsewhere(LinkEvent::Opened), _) => self.exchange.handle_link(now, network, Link::Up),
            (HubEvent::Elsewhere(LinkEvent::Text(text)), _) => {
                self.exchange.handle_frame(now, network, text.as_bytes())
            }
            (HubEvent::Elsewhere(LinkEvent::Closed), _) => self.exchange.handle_link(now, network, Link::Away),
        }
    }

    /// Has what is stored by the wall clock written anew when somebody has set it, as NTP does some time after the start.
    fn follow_clock(&mut self, now: Instant) {
        let wall = SystemTime::now();
        let expected = self.clock.at(now);
        let step = wall.duration_since(expected).unwrap_or_else(|back| back.duration());
        if step > MAX_CLOCK_STEP {
            tracing::info!(seconds = step.as_secs(), "the wall clock was set");
            self.clock = Clock { now, wall };
            self.exchange.store_all_bindings();
        }
    }

    /// Listens where this machine is reached now, offers that in new calls, and has media with users go on from there.
    fn follow_addresses(&mut self, now: Instant) {
        let addresses = self.inputs.machine.borrow_and_update().clone();
        self.sip.follow(&addresses.all);
        if let Some(server) = self.hub.server() {
            server.follow_addresses();
        }
        self.tell_sip_addresses();
        let here = here(addresses, &self.names);
        let settings = &self.loaded.settings;
        self.sip.set_tls_peers(tls_peers(settings, &here));
        self.exchange.set_here(now, here);
    }

    /// The addresses of this machine, as far as is known; a change of them is still to be followed.
    pub(super) fn machine_addresses_seen(&self) -> MachineAddresses {
        self.inputs.machine.borrow().clone()
    }

    /// Carries out what the machines want, until all are quiet.
    fn drain(&mut self, now: Instant) {
        loop {
            while let Some((network, frame)) = self.exchange.poll_frame() {
                if network == self.telegram_network {
                    self.telegram.say(&frame);
                } else {
                    self.hub.say(now, frame);
                }
            }
            let for_us = self.hub.flush(now);
            if for_us.is_empty() {
                break;
            }
            for text in for_us {
                self.exchange.handle_frame(now, &self.hub_network, text.as_bytes());
            }
        }
        while let Some(id) = self.exchange.poll_release() {
            self.sip.closed(id);
        }
        while let Some(way) = self.exchange.poll_connect() {
            self.sip.connect(way);
        }
        while let Some(transmit) = self.exchange.poll_transmit() {
            self.sip.send(transmit);
        }
        while let Some(command) = self.exchange.poll_media() {
            if let MediaCommand::Relay { leg, relay } = command {
                self.relays.add(leg, relay);
            } else {
                self.media.command(command);
            }
        }
        let mut refused = false;
        while let Some((leg, job)) = self.exchange.poll_job() {
            if let Err(not_done) = self.compute.run(leg, job) {
                tracing::warn!("more key exchanges and announcements than this machine computes");
                self.exchange.handle_job(now, leg, not_done);
                refused = true;
            }
        }
        while let Some(change) = self.exchange.poll_change() {
            let wall = SystemTime::now();
            self.store.write(change.at(&Clock { now, wall }));
        }
        if refused {
            self.drain(now);
        }
    }
}
