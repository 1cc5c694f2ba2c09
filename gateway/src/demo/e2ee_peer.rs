//! An E2EE user: a client of the hub with the same key exchange and signalling as the gateway, and a [`Line`] for media.
//!
//! It answers calls or places one. For tests it can also be in the wrong, in the ways that a gateway must refuse
//! ([`Fault`]).

mod fault;
mod hub_link;

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use quartet_proto::e2ee::MediaState;
use quartet_proto::e2ee::fingerprint::Emoji;
use quartet_proto::hub::{ClientName, ClientSession, Heard, Name, Token};
use rand_core::Rng;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

pub use self::fault::Fault;
use self::fault::other_certificate;
use self::hub_link::{MAX_PAUSE, MIN_PAUSE, Socket, next_of};
use super::line::{Line, Source, place::Tell};
use super::peer::{Order, Peer};
use crate::call::{Action, E2eeLeg, E2eeLegConfig, E2eeOutgoing, LegCommand, LegEvent, e2ee_codecs};
use crate::cdr::Cause;
use crate::io::signalling::generator;
use crate::io::sleep_until;
use crate::media::{Bind, LegKey, MediaCommand, MediaEvent};
use crate::networks::hub::{self, Adapter};
use crate::networks::{DiscardReason, Link, Network, NetworkCall, NetworkCommand, NetworkEvent, NetworkId};
use crate::plugins::Registry;

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
        let mut session = ClientSession::new(token, ClientName::new("quartet-demo")?);
        let (mut socket, _) = connect_async(&setup.hub)
            .await
            .with_context(|| format!("cannot reach the hub {}", setup.hub))?;
        session.connected();
        while let Some(text) = session.poll_transmit() {
            socket.send(Message::text(text)).await?;
        }
        let welcome = loop {
            let message = socket.next().await.context("the hub closed the connection")??;
            let Message::Text(text) = message else { continue };
            match session.handle_input(&text)? {
                Heard::Up(welcome) | Heard::Anew(welcome) => break welcome,
                Heard::Refused(failure) => bail!("the hub refuses: {failure:?}"),
                Heard::Frame | Heard::Nothing => bail!("the hub does not answer hello"),
            }
        };
        let (media_in, media) = mpsc::unbounded_channel();
        let (peer, ends) = Peer::new(line(media_in)?);
        peer.line().say(setup.source);
        let account = welcome.account.as_str().to_owned();
        let task = Task {
            adapter: Adapter::new(Name::new(account.clone())?),
            session,
            registry,
            setup,
            line: ends.line,
            events: ends.events,
            leg: None,
            packets: 0,
            account: account.clone(),
            take_at: None,
        };
        tokio::spawn(task.run(Some(socket), ends.orders, media));
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
    adapter: Adapter,
    session: ClientSession,
    registry: Arc<Registry>,
    setup: Setup,
    line: Arc<Line>,
    events: mpsc::UnboundedSender<Event>,
    leg: Option<E2eeLeg>,
    packets: usize,
    account: String,
    take_at: Option<Instant>,
}

impl Task {
    async fn run(
        mut self,
        mut socket: Option<Socket>,
        mut orders: mpsc::UnboundedReceiver<Order>,
        mut media: mpsc::UnboundedReceiver<MediaEvent>,
    ) {
        // When the hub is tried again, and how long the next pause is.
        let (mut retry, mut pause) = (None, MIN_PAUSE);
        loop {
            let leg = self.leg.as_ref().and_then(E2eeLeg::poll_timeout);
            let wake = [leg, self.adapter.poll_timeout(), self.take_at]
                .into_iter()
                .flatten()
                .min();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Dial(to)) => self.dial(to),
                    Some(Order::HangUp) => self.end(Cause::Answered),
                    // It takes calls as it was set up to.
                    Some(Order::Answer) => {}
                    Some(Order::Vanish) => return,
                    Some(Order::Leave) | None => {
                        self.end(Cause::Answered);
                        self.settle();
                        if let Some(mut socket) = socket {
                            self.flush(&mut socket).await.ok();
                            socket.close(None).await.ok();
                        }
                        return;
                    }
                },
                message = next_of(&mut socket) => match message {
                    Some(Ok(Message::Text(text))) => {
                        if self.on_frame(&text) {
                            pause = MIN_PAUSE;
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => {
                        socket = None;
                        self.session.disconnected();
                        self.adapter.handle_link(Instant::now(), Link::Away);
                        retry = Some(Instant::now() + pause);
                    }
                },
                Some(event) = media.recv() => self.on_media(event),
                () = sleep_until(retry), if retry.is_some() => {
                    pause = (2 * pause).min(MAX_PAUSE);
                    retry = Some(Instant::now() + pause);
                    if let Ok(Ok((there, _))) = timeout(MAX_PAUSE, connect_async(&self.setup.hub)).await {
                        (socket, retry) = (Some(there), None);
                        self.session.connected();
                    }
                }
                () = sleep_until(wake) => {
                    self.adapter.handle_timeout(Instant::now());
                    if let Some(leg) = &mut self.leg {
                        leg.handle_timeout(Instant::now());
                    }
                    self.take(Instant::now());
                }
            }
            self.settle();
            if let Some(there) = &mut socket {
                // Whether it went is seen when the socket is read.
                self.flush(there).await.ok();
            } else {
                self.queue();
            }
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
                    same_worker_as: LegKey(1),
                },
            );
        }
    }

    fn leg_config(&self) -> E2eeLegConfig {
        let bind = Bind {
            addresses: vec![self.setup.address],
            components: 1,
            outer: Vec::new(),
        };
        let (codecs, ssrc) = (e2ee_codecs(&self.registry), rand::rng().next_u32());
        E2eeLegConfig {
            key: LegKey(1),
            network: NetworkId::new(hub::NAME),
            terms: self.adapter.terms(),
            bind,
            codecs,
            ssrc,
            same_worker_as: None,
        }
    }

    fn dial(&mut self, to: String) {
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
        if let Some(leg) = &mut self.leg {
            leg.handle_media(Instant::now(), event);
        }
    }

    /// Carries everything that is waiting to where it belongs, until nothing is.
    fn settle(&mut self) {
        loop {
            let now = Instant::now();
            if let Some(event) = self.adapter.poll_event() {
                self.on_network(now, event);
            } else if let Some(action) = self.leg.as_mut().and_then(E2eeLeg::poll_action) {
                self.act(now, action);
            } else if let Some(event) = self.leg.as_mut().and_then(E2eeLeg::poll_event) {
                match event {
                    LegEvent::Ringing => self.tell(Event::Ringing),
                    LegEvent::Emojis(emojis) => self.tell(Event::Emojis(emojis)),
                    LegEvent::Connected => self.tell(Event::Connected),
                    LegEvent::Ended(cause) => {
                        self.tell(Event::Ended(cause.word()));
                        self.close();
                    }
                    LegEvent::State(state) => self.tell(Event::Sound(state)),
                    LegEvent::Accepted | LegEvent::Dtmf { .. } | LegEvent::Played(_) | LegEvent::Held(_) => {}
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
        self.line.command(MediaCommand::Close { leg: LegKey(1) });
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
                return self.adapter.handle_command(
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
        if let Some(leg) = &mut self.leg {
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
                self.adapter.handle_command(now, command);
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
