//! The E2EE side of a call: key exchange, encrypted signalling, and the media leg that carries it.
//!
//! One leg for every network: a network only carries opaque bytes ([`crate::networks`]). The jobs of the key exchange
//! leave as [`Action::Compute`] and come back as [`KeyExchangeResult`]. The order commit, accept, reveal is kept by the types of
//! `quartet_proto::e2ee::key_exchange`, whatever the network delivers.

mod agree;
mod config;
mod media;
mod negotiate;

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use quartet_proto::e2ee::key_exchange::{self, Agreed, Answered, Binding, Committed};
use quartet_proto::e2ee::{self, Negotiation, Role, Version};
use rand_core::CryptoRng;

pub use self::config::{E2eeLegConfig, Outgoing};
use self::media::MediaLeg;
use super::leg::{Action, KeyExchangeJob, KeyExchangeResult, LegCommand, LegEvent};
use crate::cdr::{Cause, Phase};
use crate::media::{LegKey, MediaCommand, MediaEvent, MediaFault};
use crate::networks::{CallRequest, NetworkCall, NetworkCommand, NetworkEvent, NetworkId, Offer, Servers};

/// How many signalling packets may wait for the key; a peer sends a handful.
const EARLY_PACKETS: usize = 64;

/// How long the word of a far end that has closed its media may take.
const DISCARD_GRACE: Duration = Duration::from_secs(1);

/// The packet duration that E2EE users are sent.
const PTIME_MS: u32 = 20;

/// Where the leg stands; each state holds only what the next step needs.
#[derive(Debug)]
enum State {
    /// Caller: the secrets are being drawn.
    Drawing { missing: usize, drawn: Vec<Committed> },
    /// Caller: the commitments are out.
    Requested { drawn: Vec<Committed> },
    /// Callee: it rings here.
    Offered { offer: Offer, version: Version },
    /// Callee: somebody took the call, our secret is being drawn.
    Answering { version: Version },
    /// Callee: our public value is out, the caller has to reveal its own.
    Accepted { answered: Box<Answered>, version: Version },
    /// The shared key is being computed.
    Agreeing { version: Version },
    /// There is a key.
    Negotiating,
    /// Over.
    Ended,
}

/// An E2EE user's leg.
///
/// Drain [`poll_event`](Self::poll_event) and [`poll_action`](Self::poll_action) after each `handle_*`.
pub struct E2eeLeg {
    config: E2eeLegConfig,
    call: NetworkCall,
    role: Role,
    binding: Binding,
    state: State,
    negotiation: Option<Negotiation>,
    /// The key, while the network has not named the servers yet.
    awaiting_servers: Option<(Agreed, Version)>,
    /// The servers of the call, once the network has named them.
    servers: Option<Servers>,
    media: MediaLeg,
    /// Whether media may go straight between the parties: only if neither side forbids it.
    p2p: bool,
    /// Media lines that came before the key.
    early_lines: String,
    /// Signalling packets that came while the key was being computed.
    early_packets: Vec<Vec<u8>>,
    /// Caller: it rings there.
    rings: bool,
    /// What the far end's program speaks, as the network says.
    speaks: Option<String>,
    started: bool,
    channels: bool,
    codec: Option<String>,
    transport_up: bool,
    connected: Option<Instant>,
    /// When media is begun anew, if it is not up by then.
    try_again: Option<Instant>,
    /// The far end has closed its media; until then its word is waited for.
    closed_until: Option<Instant>,
    /// Handed on to the negotiation.
    rng: Option<Box<dyn CryptoRng + Send>>,
    events: VecDeque<LegEvent>,
    actions: VecDeque<Action>,
}

impl std::fmt::Debug for E2eeLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("E2eeLeg")
            .field("call", &self.call)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl E2eeLeg {
    /// Begins to call a user: draws a secret for each exchange.
    pub fn call(config: E2eeLegConfig, outgoing: Outgoing, mut rng: Box<dyn CryptoRng + Send>) -> Self {
        let binding = Binding {
            call_id: outgoing.call.0,
            caller: outgoing.from,
            callee: outgoing.to,
        };
        let random = &config.terms.server_random;
        let offered = config.terms.key_exchanges.iter();
        let jobs: Vec<_> = offered
            .map(|exchange| KeyExchangeJob::Begin(key_exchange::begin(*exchange, &mut *rng, random)))
            .collect();
        let state = State::Drawing {
            missing: jobs.len(),
            drawn: Vec::new(),
        };
        let mut leg = Self::new(config, outgoing.call, Role::Caller, binding, state, rng);
        for job in jobs {
            leg.actions.push_back(Action::Compute(leg.config.key, job));
        }
        leg
    }

    /// Takes a user's request; nothing is answered before somebody takes the call.
    pub fn answer(config: E2eeLegConfig, incoming: CallRequest, rng: Box<dyn CryptoRng + Send>) -> Self {
        let offer = incoming
            .offers
            .into_iter()
            .find(|offer| config.terms.key_exchanges.contains(&offer.exchange));
        let version = e2ee::choose(&config.terms.versions, &incoming.versions).filter(|_| !config.codecs.is_empty());
        let binding = Binding {
            call_id: incoming.call.0,
            caller: incoming.from,
            callee: incoming.to,
        };
        let mut leg = Self::new(config, incoming.call, Role::Callee, binding, State::Ended, rng);
        (leg.p2p, leg.speaks) = (incoming.p2p, incoming.caller.speaks);
        if let (Some(offer), Some(version)) = (offer, version) {
            leg.state = State::Offered { offer, version };
            leg.network(NetworkCommand::Received { call: leg.call });
        } else {
            leg.fail(Cause::Incompatible);
        }
        leg
    }

    fn new(
        config: E2eeLegConfig,
        call: NetworkCall,
        role: Role,
        binding: Binding,
        state: State,
        rng: Box<dyn CryptoRng + Send>,
    ) -> Self {
        Self {
            config,
            call,
            role,
            binding,
            state,
            negotiation: None,
            awaiting_servers: None,
            servers: None,
            media: MediaLeg::None,
            p2p: true,
            early_lines: String::new(),
            early_packets: Vec::new(),
            rings: false,
            speaks: None,
            started: false,
            channels: false,
            codec: None,
            transport_up: false,
            connected: None,
            try_again: None,
            closed_until: None,
            rng: Some(rng),
            events: VecDeque::new(),
            actions: VecDeque::new(),
        }
    }

    /// The leg's key.
    pub fn key(&self) -> LegKey {
        self.config.key
    }

    /// The network of the user.
    pub fn network_id(&self) -> &NetworkId {
        &self.config.network
    }

    /// The call's name on its network.
    pub fn network_call(&self) -> NetworkCall {
        self.call
    }

    /// Whether media may go straight between the parties.
    pub fn p2p(&self) -> bool {
        self.p2p
    }

    /// The servers that the network has named for the call.
    pub fn servers(&self) -> Option<&Servers> {
        self.servers.as_ref()
    }

    /// What the far end's program speaks, as the network says.
    pub fn speaks(&self) -> Option<&str> {
        self.speaks.as_deref()
    }

    /// The codec in use, for the call record.
    pub fn codec(&self) -> Option<&str> {
        self.codec.as_deref()
    }

    /// What the call wants.
    pub fn handle_command(&mut self, now: Instant, command: LegCommand) {
        match command {
            LegCommand::Queue
            | LegCommand::Ring
            | LegCommand::Early
            | LegCommand::Answer { .. }
            | LegCommand::Show { .. }
            | LegCommand::Transferred { .. }
            | LegCommand::Probe => {}
            LegCommand::State(state) if self.transport_up => {
                let (leg, text) = (self.config.key, state.to_text());
                self.actions.push_back(Action::Media(MediaCommand::State { leg, text }));
            }
            LegCommand::State(state) => {
                if let Some(negotiation) = &mut self.negotiation {
                    negotiation.set_state(now, state);
                    self.follow_negotiation(now);
                }
            }
            LegCommand::Connect { same_worker_as } => {
                self.config.same_worker_as.get_or_insert(same_worker_as);
                self.accept();
            }
            LegCommand::Rebind(bind) => self.rebind(bind),
            LegCommand::End(cause) => self.end(now, cause),
        }
    }

    /// What the network says of this call.
    pub fn handle_network(&mut self, now: Instant, event: NetworkEvent) {
        if matches!(self.state, State::Ended) {
            return;
        }
        match event {
            NetworkEvent::Queued { .. } => self.events.push_back(LegEvent::Queued),
            NetworkEvent::Speaks { what, .. } => self.speaks = Some(what),
            NetworkEvent::Keys { digits, .. } => {
                let forwarded = false;
                let keys = digits.chars().map(|digit| LegEvent::Dtmf { digit, forwarded });
                self.events.extend(keys);
            }
            NetworkEvent::Received { .. } => {
                self.rings = true;
                self.events.push_back(LegEvent::Ringing);
            }
            NetworkEvent::Accepted {
                exchange,
                public,
                version,
                ..
            } => self.on_accepted(exchange, &public, &version),
            NetworkEvent::Confirmed {
                public, fingerprint, ..
            } => self.on_confirmed(&public, fingerprint),
            NetworkEvent::Servers { servers, .. } => {
                self.p2p &= servers.p2p;
                self.servers = Some(*servers);
                match self.media {
                    MediaLeg::None => {}
                    MediaLeg::Wanted => self.open_media(),
                    MediaLeg::Open => self.use_relays(),
                }
                if let Some((agreed, version)) = self.awaiting_servers.take() {
                    self.negotiate(now, agreed, version);
                }
            }
            NetworkEvent::Signal { packet, .. } => {
                if let Some(negotiation) = &mut self.negotiation {
                    negotiation.handle_input(now, &packet);
                    self.follow_negotiation(now);
                } else if self.early_packets.len() < EARLY_PACKETS {
                    self.early_packets.push(packet);
                }
            }
            NetworkEvent::Discarded { reason, .. } => {
                self.over(Cause::from_discard(reason, self.role == Role::Callee, self.phase()));
            }
            NetworkEvent::Refused { why, .. } => self.over(why.cause()),
            NetworkEvent::Requested(_) => {}
        }
    }

    /// A job of the key exchange is done.
    pub fn handle_job(&mut self, now: Instant, done: KeyExchangeResult) {
        match (done, mem::replace(&mut self.state, State::Ended)) {
            (KeyExchangeResult::Begun(committed), State::Drawing { missing, mut drawn }) => {
                drawn.push(committed);
                if drawn.len() < missing {
                    self.state = State::Drawing { missing, drawn };
                } else {
                    self.request(drawn);
                }
            }
            (KeyExchangeResult::Answered(answered), State::Answering { version }) => {
                self.network(NetworkCommand::Accept {
                    call: self.call,
                    exchange: answered.exchange(),
                    public: answered.public().to_vec(),
                    version: version.name().to_owned(),
                });
                self.state = State::Accepted {
                    answered: Box::new(answered),
                    version,
                };
            }
            (KeyExchangeResult::Agreed(Ok(agreed)), State::Agreeing { version }) => self.on_key(now, agreed, version),
            (KeyExchangeResult::Agreed(Err(error)), state @ State::Agreeing { .. }) => {
                self.state = state;
                self.fail_exchange(&error);
            }
            (_, state) => self.state = state,
        }
    }

    /// The machine computes no more jobs than it does: the call cannot go on.
    pub fn handle_overload(&mut self) {
        self.fail(Cause::Limit {
            retry_after: Some(Duration::from_secs(5)),
        });
    }

    /// What media says of this leg.
    pub fn handle_media(&mut self, now: Instant, event: MediaEvent) {
        match event {
            MediaEvent::Local { lines, .. } => {
                if self.started {
                    if let Some(negotiation) = &mut self.negotiation {
                        negotiation.add_local(now, &lines);
                    }
                } else {
                    self.early_lines.push_str(&lines);
                    self.early_lines.push('\n');
                    self.start(now);
                }
                self.follow_negotiation(now);
            }
            MediaEvent::Connected { .. } => {
                self.transport_up = true;
                self.try_again = None;
                if let Some(negotiation) = &mut self.negotiation {
                    negotiation.set_media_up();
                }
                self.check_connected(now);
            }
            // The far end has closed its media on purpose: its word, and with it the reason, is still on its way.
            MediaEvent::Failed {
                fault: MediaFault::Closed,
                ..
            } if self.connected.is_some() => {
                self.closed_until.get_or_insert(now + DISCARD_GRACE);
            }
            MediaEvent::Failed { fault, .. } => self.fail(fault.cause()),
            MediaEvent::State { text, .. } => {
                if let Some(negotiation) = &mut self.negotiation {
                    negotiation.handle_data(text.as_bytes());
                    self.follow_negotiation(now);
                }
            }
            MediaEvent::Dtmf { .. }
            | MediaEvent::Played { .. }
            | MediaEvent::Report { .. }
            | MediaEvent::Closed { .. } => {}
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.handle_timeout(now);
            self.follow_negotiation(now);
        }
        if self.try_again.is_some_and(|at| now >= at) && !matches!(self.state, State::Ended) {
            self.begin_media_anew(now);
        }
        if self.closed_until.is_some_and(|at| now >= at) && !matches!(self.state, State::Ended) {
            self.closed_until = None;
            self.fail(Cause::Answered);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = [self.closed_until, self.try_again];
        let own = own
            .into_iter()
            .flatten()
            .filter(|_| !matches!(self.state, State::Ended));
        let negotiation = self.negotiation.as_ref().and_then(Negotiation::poll_timeout);
        own.chain(negotiation).min()
    }

    /// What the leg tells its call.
    pub fn poll_event(&mut self) -> Option<LegEvent> {
        self.events.pop_front()
    }

    /// What the leg wants done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn phase(&self) -> Phase {
        match &self.state {
            _ if self.connected.is_some() => Phase::Talking,
            State::Drawing { .. } | State::Requested { .. } if !self.rings => Phase::Requested,
            State::Drawing { .. } | State::Requested { .. } | State::Offered { .. } => Phase::Ringing,
            State::Answering { .. } | State::Accepted { .. } | State::Agreeing { .. } => Phase::KeyExchange,
            State::Negotiating | State::Ended if !self.channels => Phase::Negotiating,
            State::Negotiating | State::Ended => Phase::Connecting,
        }
    }

    fn check_connected(&mut self, now: Instant) {
        if self.transport_up && self.channels && self.connected.is_none() {
            self.connected = Some(now);
            self.events.push_back(LegEvent::Connected);
        }
    }

    /// Ends the leg by our own fault finding: the network is told.
    fn fail(&mut self, cause: Cause) {
        self.network(NetworkCommand::Discard {
            call: self.call,
            reason: cause.discard(),
            duration: Duration::ZERO,
        });
        self.over(cause);
    }

    /// The call ends this leg.
    fn end(&mut self, now: Instant, cause: Cause) {
        if matches!(self.state, State::Ended) {
            return;
        }
        let duration = self
            .connected
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.network(NetworkCommand::Discard {
            call: self.call,
            reason: cause.discard(),
            duration,
        });
        self.state = State::Ended;
        (self.negotiation, self.awaiting_servers) = (None, None);
    }

    /// The leg is over by its own side.
    fn over(&mut self, cause: Cause) {
        self.state = State::Ended;
        (self.negotiation, self.awaiting_servers) = (None, None);
        self.events.push_back(LegEvent::Ended(cause));
    }

    fn network(&mut self, command: NetworkCommand) {
        self.actions
            .push_back(Action::Network(self.config.network.clone(), command));
    }
}
