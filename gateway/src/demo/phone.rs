//! A SIP phone: registers, dials or answers, presses keys, hears. The same SIP machines as the gateway, as a client.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quartet_proto::net::{External, FiveTuple, Protocol, Receive};
pub use quartet_proto::sdp::Srtp;
use quartet_proto::sip::{
    Contact, Credentials, DialogKey, Endpoint, EndpointConfig, NameAddr, SipCommand, SipEvent, Uri,
};
use rand_core::Rng;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::line::{Line, Source, place::Tell};
use super::peer::{Order, Peer};
use crate::call::{Action, LegCommand, LegEvent, MediaWay, SipLeg, SipLegConfig, offered_codecs};
use crate::cdr::Cause;
use crate::config::VerifyMode;
use crate::io::signalling::generator;
use crate::io::sleep_until;
use crate::media::{Bind, LegKey, MediaCommand, MediaEvent};
use crate::plugins::Registry;

/// The number under which the phone's only registration is kept.
const REGISTRATION: u64 = 1;

/// How a phone is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The gateway.
    pub gateway: SocketAddr,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Its codecs, best first.
    pub codecs: Vec<String>,
    /// What is said into it.
    pub source: Source,
    /// Whether it takes calls.
    pub answers: bool,
    /// The session transport of its media; telephones speak "rtp".
    pub transport: String,
    /// Whether that is encrypted with keys of the descriptions.
    pub srtp: Srtp,
}

/// What happens to the phone.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The registrar took it.
    Registered,
    /// The registrar refused, with this status.
    Refused(u16),
    /// A call comes in.
    Called(String),
    /// The other side rings.
    Ringing,
    /// The call stands; what the display shows.
    Connected,
    /// The call is over.
    Ended(&'static str),
}

/// A phone; it unregisters when dropped.
pub type Phone = Peer<Event>;

impl Phone {
    /// Switches the phone on; it registers by itself.
    ///
    /// # Errors
    /// The system's.
    pub async fn start(registry: Arc<Registry>, setup: Setup) -> anyhow::Result<Self> {
        Self::start_with(Arc::clone(&registry), setup, Line::here(&registry)).await
    }

    /// The same with a line that `line` makes.
    ///
    /// # Errors
    /// As [`Phone::start`].
    pub async fn start_with(
        registry: Arc<Registry>,
        setup: Setup,
        line: impl FnOnce(Tell) -> std::io::Result<Line>,
    ) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((towards(setup.gateway).await?, 0)).await?;
        let local = socket.local_addr()?;
        let config = EndpointConfig {
            instance: format!("d{:07x}", rand::rng().next_u32() >> 4),
            user_agent: "quartet-demo".into(),
            realm: String::new(),
            limits: quartet_proto::sip::Limits::default(),
            trusted_proxies: Vec::new(),
        };
        let mut endpoint = Endpoint::new(config, generator());
        endpoint.set_local(vec![(Protocol::Udp, local)]);
        endpoint.set_accounts(Vec::new());
        let (media_in, media) = mpsc::unbounded_channel();
        let (phone, ends) = Peer::new(line(media_in)?);
        phone.line().say(setup.source.clone());
        let mut task = Task {
            endpoint,
            registry,
            setup,
            local,
            line: ends.line,
            events: ends.events,
            leg: None,
            key: LegKey(0),
            registered: false,
        };
        task.register(Duration::from_secs(300))?;
        tokio::spawn(task.run(socket, ends.orders, media));
        Ok(phone)
    }

    /// Takes the call that rings.
    pub fn answer(&self) {
        self.order(Order::Answer);
    }

    /// Is heard by who calls, before it takes the call.
    pub fn be_heard(&self) {
        self.order(Order::Early);
    }

    /// Waits for an event; what comes before it is passed over.
    ///
    /// # Errors
    /// If it does not come in time.
    pub async fn wait(&mut self, wanted: &Event, limit: Duration) -> anyhow::Result<()> {
        let pick = |event: &Event| (event == wanted).then_some(());
        self.wait_for(&format!("{wanted:?}"), limit, pick).await
    }
}

/// Our address on the way to another.
async fn towards(other: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if other.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(other).await?;
    Ok(socket.local_addr()?.ip())
}

struct Task {
    endpoint: Endpoint,
    registry: Arc<Registry>,
    setup: Setup,
    local: SocketAddr,
    line: Arc<Line>,
    events: mpsc::UnboundedSender<Event>,
    leg: Option<(DialogKey, SipLeg)>,
    /// Of the last leg: another has the next.
    key: LegKey,
    registered: bool,
}

impl Task {
    async fn run(
        mut self,
        socket: UdpSocket,
        mut orders: mpsc::UnboundedReceiver<Order>,
        mut media: mpsc::UnboundedReceiver<MediaEvent>,
    ) {
        let mut buffer = vec![0; 65_535];
        let mut leaving: Option<Instant> = None;
        loop {
            self.settle();
            while let Some(transmit) = self.endpoint.poll_transmit() {
                socket.send_to(&transmit.payload, transmit.five_tuple.remote).await.ok();
            }
            if leaving.is_some_and(|at| Instant::now() >= at) {
                return;
            }
            let wake = [self.endpoint.poll_timeout(), leaving].into_iter().flatten().min();
            tokio::select! {
                order = orders.recv(), if leaving.is_none() => match order {
                    Some(Order::Dial(number)) => self.dial(&number),
                    Some(Order::HangUp) => self.end(),
                    Some(Order::Early) => if let Some((_, leg)) = &mut self.leg {
                        leg.handle_command(LegCommand::Early);
                    },
                    Some(Order::Answer) => if let Some((_, leg)) = &mut self.leg {
                        leg.handle_command(LegCommand::Answer { display: None });
                    },
                    Some(Order::Vanish) => return,
                    Some(Order::Leave) | None => {
                        self.end();
                        if self.registered {
                            self.register(Duration::ZERO).ok();
                        }
                        // Long enough for BYE and REGISTER to be answered on this machine.
                        leaving = Some(Instant::now() + Duration::from_millis(500));
                    }
                },
                received = socket.recv_from(&mut buffer) => if let Ok((length, remote)) = received {
                    let payload = &buffer[..length];
                    self.endpoint.handle_input(Instant::now(), Receive { five_tuple: FiveTuple::new(Protocol::Udp, self.local, remote), payload });
                },
                Some(event) = media.recv() => if let Some((_, leg)) = &mut self.leg
                        && event.leg() == self.key
                    {
                    leg.handle_media(Instant::now(), event);
                },
                () = sleep_until(wake) => self.endpoint.handle_timeout(Instant::now()),
            }
        }
    }

    fn credentials(&self) -> Credentials {
        Credentials {
            user: self.setup.user.clone(),
            password: self.setup.password.clone().into(),
        }
    }

    fn register(&mut self, expires: Duration) -> anyhow::Result<()> {
        let command = SipCommand::Register {
            domain: None,
            registration: REGISTRATION,
            aor: self.setup.user.clone(),
            five_tuple: FiveTuple::new(Protocol::Udp, self.local, self.setup.gateway),
            credentials: Some(self.credentials()),
            expires,
        };
        self.endpoint
            .handle_command(Instant::now(), command)
            .context("REGISTER")
    }

    fn leg_config(&mut self) -> SipLegConfig {
        let mut rng = rand::rng();
        self.key.0 += 1;
        let way = |transport: &str, components| MediaWay {
            transport: transport.into(),
            bind: Bind {
                addresses: vec![self.local.ip()],
                components,
                outer: Vec::new(),
            },
        };
        SipLegConfig {
            key: self.key,
            media: way(&self.setup.transport, 2),
            dtls: Some(way("webrtc", 1)),
            offers_dtls: self.setup.transport == "webrtc",
            srtp: self.setup.srtp,
            external: External::default(),
            signalling_peer_ip: self.setup.gateway.ip(),
            call: None,
            same_worker_as: None,
            codecs: offered_codecs(&self.setup.codecs, &self.registry),
            ssrc: rng.next_u32(),
            session_id: u64::from(rng.next_u32()),
            user: self.setup.user.clone(),
            language: "en".into(),
            verify: VerifyMode::Off,
            caller_headers: Vec::new(),
            trunk: None,
            peer: Uri::sip("demo", self.setup.gateway),
            registry: Arc::clone(&self.registry),
        }
    }

    fn dial(&mut self, number: &str) {
        let dialog = self.endpoint.new_dialog_key();
        let at = self.setup.gateway;
        let contact = Contact {
            uri: Uri::sip(number, at).to_string(),
            five_tuple: FiveTuple::new(Protocol::Udp, self.local, at),
            origin: at,
            expires: Instant::now(),
            user_agent: None,
            path: Vec::new(),
        };
        let from = NameAddr::new(None, Uri::sip(&self.setup.user, at));
        let to = NameAddr::new(None, Uri::sip(number, at));
        self.leg = Some((dialog, SipLeg::outgoing(self.leg_config(), dialog, contact, from, to)));
    }

    fn end(&mut self) {
        if let Some((_, leg)) = &mut self.leg {
            leg.handle_command(LegCommand::End(Cause::Answered));
            self.tell(Event::Ended(Cause::Answered.word()));
            self.close();
        }
    }

    /// Carries everything that is waiting to where it belongs, until nothing is.
    fn settle(&mut self) {
        loop {
            if let Some(event) = self.endpoint.poll_event() {
                self.on_sip(event);
            } else if let Some(action) = self.leg.as_mut().and_then(|(_, leg)| leg.poll_action()) {
                self.act(action);
            } else if let Some(event) = self.leg.as_mut().and_then(|(_, leg)| leg.poll_event()) {
                match event {
                    LegEvent::Ringing | LegEvent::Early => self.tell(Event::Ringing),
                    LegEvent::Connected => self.tell(Event::Connected),
                    LegEvent::Ended(cause) => {
                        self.tell(Event::Ended(cause.word()));
                        self.close();
                    }
                    LegEvent::Queued
                    | LegEvent::Accepted
                    | LegEvent::Emojis(_)
                    | LegEvent::Dtmf { .. }
                    | LegEvent::Played(_)
                    | LegEvent::Held
                    | LegEvent::State(_) => {}
                }
            } else {
                return;
            }
        }
    }

    fn on_sip(&mut self, event: SipEvent) {
        match event {
            SipEvent::Registered { .. } => {
                self.registered = true;
                self.tell(Event::Registered);
            }
            SipEvent::Probed { .. } | SipEvent::Subscribe { .. } | SipEvent::Unsubscribed { .. } => {}
            SipEvent::RegisterFailed { status, .. } => self.tell(Event::Refused(status)),
            SipEvent::Incoming { dialog, from, body, .. } => self.on_call(dialog, &from, body.as_deref()),
            event @ (SipEvent::Provisional { .. }
            | SipEvent::Accepted { .. }
            | SipEvent::Rejected { .. }
            | SipEvent::Confirmed { .. }
            | SipEvent::Cancelled { .. }
            | SipEvent::Bye { .. }
            | SipEvent::Lost { .. }
            | SipEvent::Ended { .. }
            | SipEvent::Dtmf { .. }
            | SipEvent::Reinvite { .. }
            | SipEvent::Refresh { .. }
            | SipEvent::Unchanged { .. }
            | SipEvent::Reaccepted { .. }
            | SipEvent::Moved { .. }) => {
                if let Some((dialog, leg)) = &mut self.leg
                    && event.dialog() == Some(*dialog)
                {
                    leg.handle_sip(Instant::now(), event);
                }
            }
            // No gateway asks a phone to call somebody else.
            SipEvent::ContactChanged { .. } | SipEvent::LoginFailed { .. } | SipEvent::Refer { .. } => {}
        }
    }

    fn on_call(&mut self, dialog: DialogKey, from: &NameAddr, body: Option<&[u8]>) {
        self.tell(Event::Called(from.uri.user_unescaped()));
        let leg = if self.leg.is_some() {
            Err(Cause::Busy)
        } else {
            SipLeg::incoming(self.leg_config(), dialog, body)
        };
        match leg {
            Ok(mut leg) => {
                leg.handle_command(LegCommand::Ring);
                if self.setup.answers {
                    leg.handle_command(LegCommand::Answer { display: None });
                }
                self.leg = Some((dialog, leg));
            }
            Err(cause) => {
                let command = SipCommand::Reject {
                    dialog,
                    status: cause.status(),
                    reason: None,
                    retry_after: None,
                };
                self.endpoint.handle_command(Instant::now(), command).ok();
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Sip(mut command) => {
                if let SipCommand::Invite(invite) = &mut command {
                    invite.credentials = Some(self.credentials());
                }
                self.endpoint.handle_command(Instant::now(), command).ok();
            }
            Action::Media(command) => self.line.command(command),
            Action::Network(..)
            | Action::Compute(..)
            | Action::Speak { .. }
            | Action::Running(_)
            | Action::Record(_) => {}
        }
    }

    fn close(&mut self) {
        while let Some(action) = self.leg.as_mut().and_then(|(_, leg)| leg.poll_action()) {
            self.act(action);
        }
        self.line.command(MediaCommand::Close { leg: self.key });
        self.leg = None;
    }

    fn tell(&self, event: Event) {
        self.events.send(event).ok();
    }
}
