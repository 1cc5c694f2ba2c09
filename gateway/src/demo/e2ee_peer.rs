//! An E2EE user: a client of the hub with the same key exchange and signalling as the gateway, and a [`Line`] for media.
//!
//! It answers calls or places one. For tests it can also be in the wrong, in the ways that a gateway must refuse
//! ([`Fault`]).

mod fault;

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use quartet_proto::e2ee::MediaState;
use quartet_proto::e2ee::fingerprint::Emoji;
use quartet_proto::hub::{ClientName, Name, Token};
use rand_core::Rng;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub use self::fault::Fault;
use self::fault::other_certificate;
use super::line::{Line, Source, place::Tell};
use super::peer::{Order, Peer};
use crate::call::{Action, E2eeLeg, E2eeLegConfig, E2eeOutgoing, LegCommand, LegEvent, e2ee_codecs};
use crate::cdr::Cause;
use crate::config::HubUrl;
use crate::io::signalling::generator;
use crate::io::sleep_until;
use crate::io::websocket::{HubConnection, HubLocation, LinkEvent};
use crate::media::{Bind, LegKey, MediaCommand, MediaEvent};
use crate::networks::hub::{self, Client, Standing};
use crate::networks::{DiscardReason, Link, Network, NetworkCall, NetworkCommand, NetworkEvent, NetworkId};
use crate::plugins::Registry;

/// How long the hub may take to answer its hello.
const JOIN: Duration = Duration::from_secs(10);

/// What the peer does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// It takes the call.
    Take,
    /// It rings for a while, then takes the call.
    TakeAfter(Duration),
    /// It rings and nobody comes.
    Ring,
    /// It is in another call.
    Busy,
    /// It refuses.
    Decline,
}

/// How a peer is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The hub: `ws://…`.
    pub hub: String,
    /// The token of its account.
    pub token: String,
    /// Its address for media.
    pub address: IpAddr,
    /// What it says.
    pub source: Source,
    /// What it does when it is called.
    pub answering: Answering,
    /// How it breaks the rules.
    pub fault: Fault,
}

/// What happens to the peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A call comes in from this user.
    Called(String),
    /// Our call rings.
    Ringing,
    /// The call's emojis.
    Emojis([Emoji; 4]),
    /// Both hear each other.
    Connected,
    /// What the other side says of its sound.
    Sound(MediaState),
    /// The call is over.
    Ended(&'static str),
}

/// A peer on the hub; it leaves when dropped.
#[derive(Debug)]
pub struct E2eePeer {
    peer: Peer<Event>,
    account: String,
}

impl Deref for E2eePeer {
    type Target = Peer<Event>;

    fn deref(&self) -> &Peer<Event> {
        &self.peer
    }
}

impl DerefMut for E2eePeer {
    fn deref_mut(&mut self) -> &mut Peer<Event> {
        &mut self.peer
    }
}

impl E2eePeer {
    /// Connects and logs in.
    ///
    /// # Errors
    /// If the hub cannot be reached or refuses the token.
    pub async fn join(registry: Arc<Registry>, setup: Setup) -> anyhow::Result<Self> {
        Self::join_with(Arc::clone(&registry), setup, Line::here(&registry)).await
    }

    /// The same with a line that `line` makes.
    ///
    /// # Errors
    /// As [`E2eePeer::join`].
    pub async fn join_with(
        registry: Arc<Registry>,
        setup: Setup,
        line: impl FnOnce(Tell) -> std::io::Result<Line>,
    ) -> anyhow::Result<Self> {
        let token = Token::from_text(&setup.token).context("that is no token of a hub")?;
        let url = setup.hub.parse::<HubUrl>().map_err(anyhow::Error::msg)?;
        let mut hub = HubConnection::start(HubLocation::new(url, None)?);
        let mut client = Client::new(token, ClientName::new("quartet-demo")?, Name::new("unknown")?);
        let known = async {
            while *client.standing() == Standing::Away {
                let event = hub.next().await;
                hear(&mut client, event);
                send_all(&mut client, &mut hub);
            }
        };
        timeout(JOIN, known)
            .await
            .with_context(|| format!("cannot reach the hub {}", setup.hub))?;
        if let Standing::Refused(failure) = client.standing() {
            bail!("the hub refuses: {failure:?}");
        }
        let (media_in, media) = mpsc::unbounded_channel();
        let (peer, ends) = Peer::new(line(media_in)?);
        peer.line().say(setup.source.clone());
        let account = client.account().to_string();
        let task = Task {
            client,
            registry,
            setup,
            line: ends.line,
            events: ends.events,
            leg: None,
            key: LegKey(0),
            packets: 0,
            account: account.clone(),
            take_at: None,
        };
        tokio::spawn(task.run(hub, ends.orders, media));
        Ok(Self { peer, account })
    }

    /// The name of its account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The connection breaks, media stops, and nobody says a word.
    pub fn vanish(self) {
        self.peer.vanish();
    }

    /// Waits for an event of that kind; what comes before it is passed over.
    ///
    /// # Errors
    /// If it does not come in time.
    pub async fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        pick: impl FnMut(&Event) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.peer.wait_for(what, limit, pick).await
    }
}

struct Task {
    client: Client,
    registry: Arc<Registry>,
    setup: Setup,
    line: Arc<Line>,
    events: mpsc::UnboundedSender<Event>,
    leg: Option<E2eeLeg>,
    /// Of the last leg: another has the next, for the media of the one before may still have something to say.
    key: LegKey,
    packets: usize,
    account: String,
    take_at: Option<Instant>,
}

impl Task {
    async fn run(
        mut self,
        mut hub: HubConnection,
        mut orders: mpsc::UnboundedReceiver<Order>,
        mut media: mpsc::UnboundedReceiver<MediaEvent>,
    ) {
        loop {
            let leg = self.leg.as_ref().and_then(E2eeLeg::poll_timeout);
            let wake = [leg, self.client.poll_timeout(), self.take_at]
                .into_iter()
                .flatten()
                .min();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Dial(to)) => self.dial(to),
                    Some(Order::HangUp) => self.end(Cause::Answered),
                    // It takes calls as it was set up to.
                    Some(Order::Answer | Order::Early) => {}
                    Some(Order::Vanish) => return,
                    Some(Order::Leave) | None => {
                        self.end(Cause::Answered);
                        self.settle();
                        send_all(&mut self.client, &mut hub);
                        return hub.close().await;
                    }
                },
                event = hub.next() => hear(&mut self.client, event),
                Some(event) = media.recv() => self.on_media(event),
                () = sleep_until(wake) => {
                    self.client.handle_timeout(Instant::now());
                    if let Some(leg) = &mut self.leg {
                        leg.handle_timeout(Instant::now());
                    }
                    self.take(Instant::now());
                }
            }
            self.settle();
            send_all(&mut self.client, &mut hub);
        }
    }

    /// Takes the call, if it has rung long enough.
    fn take(&mut self, now: Instant) {
        if self.take_at.is_none_or(|at| at > now) {
            return;
        }
        self.take_at = None;
        if let Some(leg) = &mut self.leg {
            leg.handle_command(
                now,
                LegCommand::Connect {
                    same_worker_as: self.key,
                },
            );
        }
    }

    fn leg_config(&mut self) -> E2eeLegConfig {
        self.key.0 += 1;
        let bind = Bind {
            addresses: vec![self.setup.address],
            components: 1,
            outer: Vec::new(),
        };
        let (codecs, ssrc) = (e2ee_codecs(&self.registry), rand::rng().next_u32());
        E2eeLegConfig {
            key: self.key,
            network: NetworkId::new(hub::NAME),
            terms: self.client.terms(),
            bind,
            relays: Vec::new(),
            relay_only: false,
            wait: Duration::ZERO,
            own_servers: Vec::new(),
            is_stacked: false,
            codecs,
            ssrc,
            same_worker_as: None,
        }
    }

    /// It has one call at a time: one that it is still in ends.
    fn dial(&mut self, to: String) {
        self.end(Cause::Answered);
        let mut id = [0; 16];
        rand::rng().fill_bytes(&mut id);
        let outgoing = E2eeOutgoing {
            call: NetworkCall(id),
            from: self.account.clone(),
            to,
        };
        self.packets = 0;
        self.leg = Some(E2eeLeg::call(self.leg_config(), outgoing, generator()));
    }

    fn end(&mut self, cause: Cause) {
        if let Some(leg) = &mut self.leg {
            leg.handle_command(Instant::now(), LegCommand::End(cause));
            self.tell(Event::Ended(cause.word()));
            self.close();
        }
    }

    fn on_media(&mut self, mut event: MediaEvent) {
        if let (MediaEvent::Local { lines, .. }, Fault::OtherCertificate) = (&mut event, self.setup.fault) {
            *lines = lines.lines().map(other_certificate).collect::<Vec<_>>().join("\n");
        }
        if let Some(leg) = &mut self.leg
            && event.leg() == self.key
        {
            leg.handle_media(Instant::now(), event);
        }
    }

    /// Carries everything that is waiting to where it belongs, until nothing is.
    fn settle(&mut self) {
        loop {
            let now = Instant::now();
            if let Some(event) = self.client.poll_event() {
                self.on_network(now, event);
            } else if let Some(action) = self.leg.as_mut().and_then(E2eeLeg::poll_action) {
                self.act(now, action);
            } else if let Some(event) = self.leg.as_mut().and_then(E2eeLeg::poll_event) {
                match event {
                    LegEvent::Ringing | LegEvent::Early => self.tell(Event::Ringing),
                    LegEvent::Emojis(emojis) => self.tell(Event::Emojis(emojis)),
                    LegEvent::Connected => self.tell(Event::Connected),
                    LegEvent::Ended(cause) => {
                        self.tell(Event::Ended(cause.word()));
                        self.close();
                    }
                    LegEvent::State(state) => self.tell(Event::Sound(state)),
                    LegEvent::Queued
                    | LegEvent::Accepted
                    | LegEvent::Dtmf { .. }
                    | LegEvent::Played(_)
                    | LegEvent::Held => {}
                }
            } else {
                return;
            }
        }
    }

    /// Forgets the call, once what its leg still wants is done.
    fn close(&mut self) {
        let now = Instant::now();
        while let Some(action) = self.leg.as_mut().and_then(E2eeLeg::poll_action) {
            self.act(now, action);
        }
        self.line.command(MediaCommand::Close { leg: self.key });
        self.leg = None;
    }

    fn on_network(&mut self, now: Instant, mut event: NetworkEvent) {
        if let NetworkEvent::Requested(incoming) = event {
            self.tell(Event::Called(incoming.from.clone()));
            let refuse = match self.setup.answering {
                _ if self.leg.is_some() => Some(DiscardReason::Busy),
                Answering::Busy => Some(DiscardReason::Busy),
                Answering::Decline => Some(DiscardReason::Declined),
                Answering::Take | Answering::TakeAfter(_) | Answering::Ring => None,
            };
            if let Some(reason) = refuse {
                return self.client.handle_command(
                    now,
                    NetworkCommand::Discard {
                        call: incoming.call,
                        reason,
                        duration: Duration::ZERO,
                    },
                );
            }
            self.packets = 0;
            self.leg = Some(E2eeLeg::answer(self.leg_config(), incoming, generator()));
            self.take_at = match self.setup.answering {
                Answering::Take => Some(now),
                Answering::TakeAfter(ring) => Some(now + ring),
                Answering::Ring | Answering::Busy | Answering::Decline => None,
            };
            return self.take(now);
        }
        if let NetworkEvent::Signal { packet, .. } = &mut event {
            self.alter(packet);
        }
        if let Some(leg) = &mut self.leg
            && event.call() == leg.network_call()
        {
            leg.handle_network(now, event);
        }
    }

    fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Network(_, mut command) => {
                match &mut command {
                    // Whoever alters every packet drops the goodbye as well.
                    NetworkCommand::Discard { .. } if self.setup.fault == Fault::AlteredPackets => return,
                    NetworkCommand::Confirm { public, .. } if self.setup.fault == Fault::OtherPublic => public[31] ^= 1,
                    NetworkCommand::Confirm { fingerprint, .. } if self.setup.fault == Fault::OtherFingerprint => {
                        *fingerprint ^= 1;
                    }
                    NetworkCommand::Signal { packet, .. } => self.alter(packet),
                    NetworkCommand::Confirm { .. }
                    | NetworkCommand::Request(_)
                    | NetworkCommand::Received { .. }
                    | NetworkCommand::Accept { .. }
                    | NetworkCommand::Discard { .. } => {}
                }
                self.client.handle_command(now, command);
            }
            Action::Media(command) => self.line.command(command),
            Action::Compute(_, job) => {
                let done = job.run();
                if let Some(leg) = &mut self.leg {
                    leg.handle_job(now, done);
                }
            }
            Action::Sip(_) | Action::Speak { .. } | Action::Running(_) | Action::Record(_) => {}
        }
    }

    fn alter(&mut self, packet: &mut [u8]) {
        let altered = match self.setup.fault {
            Fault::AlteredPackets => true,
            Fault::AlteredPacket(number) => number == self.packets,
            Fault::None | Fault::OtherPublic | Fault::OtherFingerprint | Fault::OtherCertificate => false,
        };
        self.packets += 1;
        if altered && let Some(byte) = packet.last_mut() {
            *byte ^= 0x10;
        }
    }

    fn tell(&self, event: Event) {
        self.events.send(event).ok();
    }
}

/// Tells the client what its connection brings.
fn hear(client: &mut Client, event: LinkEvent) {
    let now = Instant::now();
    match event {
        LinkEvent::Opened => client.handle_link(now, Link::Up),
        LinkEvent::Text(text) => client.handle_frame(now, text.as_bytes()),
        LinkEvent::Closed => client.handle_link(now, Link::Away),
    }
}

/// Sends what the client says.
fn send_all(client: &mut Client, hub: &mut HubConnection) {
    while let Some(frame) = client.poll_frame() {
        hub.send(frame);
    }
}
