//! The exchange between two phones, the hub and its users, in one thread and under virtual time: no socket, no media, no
//! sleep. What is said between them is a ladder, compared as text.

mod early;
mod endings;
mod identity;
mod ladders;
mod outside;
mod refusals;
mod scripted;
mod transfers;
mod waiting;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quartet_proto::hub::{Name, Token};
use quartet_proto::net::{FiveTuple, Protocol, Receive};
use quartet_proto::sdp::Codec;
use quartet_proto::sip::{
    Credentials, DialogKey, Endpoint, EndpointConfig, NameAddr, OutgoingInvite, SipCommand, SipEvent,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::{BoxRng, Change, Exchange, Here, Job, JobResult, Networks, Parts};
use crate::call::{Action, E2eeLeg, E2eeLegConfig, E2eeOutgoing, LegCommand, LegEvent, e2ee_codecs};
use crate::cdr::{Cause, Record};
use crate::config;
use crate::demo::{Hashes, phone_row};
use crate::hub::tests::schema;
use crate::hub::{Account, ConnKey, Directory, Limits, Rendezvous, RendezvousConfig};
use crate::media::{Bind, LegKey, MediaCommand, MediaEvent, PlayKey};
use crate::networks::hub::{self, Adapter};
use crate::networks::{CallRequest, Network, NetworkCall, NetworkCommand, NetworkEvent, NetworkId, Terms};
use crate::plugins::Registry;

const SECOND: Duration = Duration::from_secs(1);
const PASSWORD: &str = "correct-horse";
const GATEWAY: &str = "192.0.2.1:5060";

/// What a transport says of itself.
const LINES: &str = "c:192.0.2.1\nport:40000\nrtcp-port:40001\nice-ufrag:abcd\nice-pwd:abcdefghijklmnopqrstuv\nsetup:actpass\n\
     fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\n\
     candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host";

/// What a phone offers and answers.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";

const ROUTES: &str = "[[route]]\nname = \"out\"\nfrom = \"phones\"\nnumber = \"{user}\"\nto = \"hub:{user}\"\n\
    [[route]]\nname = \"one\"\nfrom = \"network:hub\"\nnumber = \"{n:[0-9]{3}}\"\nto = \"phone:{n}\"\n\
    [[route]]\nname = \"all\"\nfrom = \"network:hub\"\nnumber = \"\"\nto = [\"phone:100\", \"phone:101\"]\n";

/// Who is connected to the hub.
const OURS: ConnKey = ConnKey(0);
const THEIRS: ConnKey = ConnKey(1);
const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn hub_id() -> NetworkId {
    NetworkId::new(hub::NAME)
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

fn seeded(seed: u64) -> BoxRng {
    Box::new(ChaCha8Rng::seed_from_u64(seed))
}

/// A phone: an endpoint, whose user does what the test says.
struct Phone {
    user: &'static str,
    password: &'static str,
    at: SocketAddr,
    endpoint: Endpoint,
    events: Vec<SipEvent>,
    /// The dialog of its call.
    dialog: DialogKey,
    /// It sends no ACK.
    is_mute: bool,
    /// It is out of reach: nothing comes to it, nothing from it.
    is_gone: bool,
}

/// A user of the hub: the leg that the gateway has as well, over media that are up at once.
struct User {
    adapter: Adapter,
    leg: Option<E2eeLeg>,
    /// A request that nothing was said to yet, while the device is silent.
    is_silent: bool,
    /// It sends no confirm.
    is_coy: bool,
    /// It reveals another public value than the one that it committed to.
    is_lying: bool,
    /// The signalling versions that it speaks. In 9.0.0 all is said in an instant; SCTP waits for a peer's INIT first.
    versions: Vec<String>,
    codecs: Vec<Codec>,
    /// Who the last call was from.
    caller: String,
    requested: Option<CallRequest>,
    ended: Vec<Cause>,
}

struct World {
    now: Instant,
    exchange: Exchange,
    phones: Vec<Phone>,
    rendezvous: Rendezvous,
    user: User,
    ladder: Vec<String>,
    /// Media legs that are open, with their transports, and those whose peers are known.
    media: BTreeMap<LegKey, String>,
    bridged: Vec<(LegKey, LegKey)>,
    plays: Vec<(LegKey, PlayKey)>,
    hold_jobs: bool,
    /// Only announcements are held.
    hold_speech: bool,
    held: Vec<(LegKey, Job)>,
    /// The gateway's E2EE media does not come up.
    hold_media: bool,
    /// Legs that wait for that.
    waiting: BTreeSet<LegKey>,
    /// The next job is not taken.
    overload: bool,
    /// The next announcement has no sound.
    fail_speech: bool,
    /// So many of the gateway's signalling packets are lost on their way.
    lose_signals: usize,
    /// Media that is closed does not say so.
    hold_close: bool,
    spoken: Vec<String>,
    /// What was said over data channels.
    states: Vec<String>,
    /// The last 200 to an INVITE of a phone.
    last_ok: String,
    /// The last INVITE to a phone.
    last_invite: String,
    /// The last UPDATE to a phone.
    last_update: String,
    /// What users of the network are told beside the sockets of the last leg.
    outer: Vec<IpAddr>,
    /// Where media with users was bound anew.
    rebound: Vec<Vec<IpAddr>>,
    /// How many servers media was told of.
    servers: usize,
    /// How often media was to look for its way anew.
    restarts: usize,
    records: Vec<Record<Instant>>,
}

impl World {
    fn new(conf: &str) -> Self {
        Self::with(conf, ROUTES, Networks::new())
    }

    /// A world in which both phones have these further options.
    fn with_phones(phones: &str, routes: &str) -> Self {
        Self::with_all("", phones, routes, Networks::new())
    }

    /// A world with these routes, and with further networks beside the hub.
    fn with(conf: &str, routes: &str, networks: Networks) -> Self {
        Self::with_all(conf, "", routes, networks)
    }

    fn with_all(conf: &str, phones: &str, routes: &str, mut networks: Networks) -> Self {
        let now = Instant::now();
        let registry = Arc::new(Registry::from_static(&[
            ("quartet_plugin_codec_opus", &codec_opus::quartet_plugin_codec_opus),
            ("quartet_plugin_codec_g711", &codec_g711::quartet_plugin_codec_g711),
        ]));
        let phones: String = ["100", "101"]
            .map(|user| phone_row(user, PASSWORD, Hashes::Md5, phones))
            .concat();
        let loaded = config::load_texts(Path::new("conf"), [conf, &phones, routes], &[]).expect("good files");
        let mut seed = 0;
        networks.insert(hub_id(), Box::new(Adapter::new(name("gw"))));
        let exchange = Exchange::new(Parts {
            settings: loaded.settings,
            registry: Arc::clone(&registry),
            networks,
            sip: vec![(Protocol::Udp, GATEWAY.parse().unwrap())],
            here: Here {
                addresses: vec!["192.0.2.1".parse().unwrap()],
                ..Here::default()
            },
            rng: Box::new(move || {
                seed += 1;
                seeded(seed)
            }),
        });
        let directory = Directory::default();
        directory.insert(
            Account::person(name("anna")),
            Token::from_text(TOKEN).expect("a token").hash(),
        );
        let config = RendezvousConfig {
            gateway: Some(name("gw")),
            limits: Limits::default(),
            ice_servers: vec![],
            epoch: (now, 0),
        };
        let mut rendezvous = Rendezvous::new(config, Arc::new(directory), seeded(3));
        rendezvous.connect_local(OURS);
        let phones = [("100", "192.0.2.7:5060"), ("101", "192.0.2.8:5060")];
        let phones = phones.map(|(user, at)| Phone::new(user, at.parse().unwrap()));
        let mut world = Self {
            now,
            exchange,
            phones: phones.into(),
            rendezvous,
            user: User {
                adapter: Adapter::new(name("anna")),
                leg: None,
                is_silent: false,
                is_coy: false,
                is_lying: false,
                versions: vec!["9.0.0".into()],
                codecs: e2ee_codecs(&registry),
                requested: None,
                caller: String::new(),
                ended: Vec::new(),
            },
            ladder: Vec::new(),
            media: BTreeMap::new(),
            bridged: Vec::new(),
            plays: Vec::new(),
            hold_jobs: false,
            hold_speech: false,
            held: Vec::new(),
            hold_media: false,
            waiting: BTreeSet::new(),
            overload: false,
            fail_speech: false,
            lose_signals: 0,
            hold_close: false,
            spoken: Vec::new(),
            states: Vec::new(),
            last_ok: String::new(),
            last_invite: String::new(),
            last_update: String::new(),
            outer: Vec::new(),
            rebound: Vec::new(),
            servers: 0,
            restarts: 0,
            records: Vec::new(),
        };
        world.log_in();
        world
    }

    /// The user connects to the hub.
    fn log_in(&mut self) {
        self.rendezvous
            .connect(self.now, THEIRS, "192.0.2.30:4000".parse().unwrap());
        let hello =
            format!(r#"{{"id":0,"verb":"hello","protocol":{{"min":1,"max":1}},"client":"test","token":"{TOKEN}"}}"#);
        self.rendezvous.handle_input(self.now, THEIRS, &hello);
        assert!(self.rendezvous.is_online(&name("anna")));
        self.drain();
        self.ladder.clear();
    }

    /// Both phones register.
    fn registered(mut self) -> Self {
        for at in 0..self.phones.len() {
            let phone = &mut self.phones[at];
            let command = SipCommand::Register {
                domain: None,
                registration: 1,
                aor: phone.user.into(),
                five_tuple: phone.way(),
                credentials: phone.credentials(),
                expires: 3_000 * SECOND,
            };
            phone.endpoint.handle_command(self.now, command).unwrap();
            self.drain();
        }
        self.ladder.clear();
        self
    }

    /// Carries everything to where it belongs, until all are quiet.
    fn drain(&mut self) {
        let mut work = true;
        while std::mem::take(&mut work) {
            self.settle_user();
            while let Some(frame) = self.user.adapter.poll_frame() {
                let text = String::from_utf8(frame).unwrap();
                schema::check(&text);
                self.note_frame("anna -> hub", &text);
                self.rendezvous.handle_input(self.now, THEIRS, &text);
            }
            while let Some((network, frame)) = self.exchange.poll_frame() {
                if network == hub_id() {
                    let text = String::from_utf8(frame).unwrap();
                    schema::check(&text);
                    self.note_frame("gw -> hub", &text);
                    if self.lose_signals > 0 && text.contains("\"call.signal\"") {
                        self.lose_signals -= 1;
                        continue;
                    }
                    self.rendezvous.handle_input(self.now, OURS, &text);
                } else {
                    self.ladder
                        .push(format!("gw -> {network}: {}", String::from_utf8_lossy(&frame)));
                }
            }
            while let Some((conn, text)) = self.rendezvous.poll_transmit() {
                work = true;
                if conn == OURS {
                    self.exchange.handle_frame(self.now, &hub_id(), text.as_bytes());
                } else {
                    self.user.adapter.handle_frame(self.now, text.as_bytes());
                }
            }
            while self.rendezvous.poll_close().is_some() {}
            while let Some((leg, job)) = self.exchange.poll_job() {
                work = true;
                self.on_job(leg, job);
            }
            work |= self.carry_sip();
            while let Some(command) = self.exchange.poll_media() {
                work = true;
                self.on_media(command);
            }
            while let Some(change) = self.exchange.poll_change() {
                if let Change::Ended(record) = change {
                    self.records.push(*record);
                }
            }
        }
    }

    fn note_frame(&mut self, way: &str, text: &str) {
        let verb = text
            .split_once("\"verb\":\"")
            .and_then(|(_, rest)| rest.split('"').next());
        // Signalling packets are many, and how many is the negotiation's business.
        if let Some(verb) = verb.filter(|verb| *verb != "call.signal") {
            let reason = text
                .split_once("\"reason\":\"")
                .and_then(|(_, rest)| rest.split('"').next());
            let reason = reason.map_or(String::new(), |reason| format!(" {reason}"));
            self.ladder.push(format!("{way}: {verb}{reason}"));
        }
    }

    fn on_job(&mut self, leg: LegKey, job: Job) {
        if self.hold_jobs || (self.hold_speech && matches!(job, Job::Speak { .. })) {
            return self.held.push((leg, job));
        }
        let done = match job {
            Job::KeyExchange(_) if std::mem::take(&mut self.overload) => JobResult::KeyExchange(None),
            Job::KeyExchange(job) => JobResult::KeyExchange(Some(job.run())),
            Job::Speak { play, .. } if std::mem::take(&mut self.fail_speech) => JobResult::Speak(play, None),
            Job::Speak { play, script, language } => {
                self.spoken.push(format!("{language}: {} lines", script.len()));
                JobResult::Speak(play, Some(Vec::new()))
            }
        };
        self.exchange.handle_job(self.now, leg, done);
    }

    /// The jobs that were held are done.
    fn release_jobs(&mut self) {
        self.hold_jobs = false;
        for (leg, job) in std::mem::take(&mut self.held) {
            self.on_job(leg, job);
        }
        self.drain();
    }

    /// Moves datagrams between the phones and the gateway; whether there were any.
    fn carry_sip(&mut self) -> bool {
        let mut moved = false;
        while let Some(transmit) = self.exchange.poll_transmit() {
            moved = true;
            let to = transmit.five_tuple.remote;
            let Some(phone) = self.phones.iter_mut().find(|phone| phone.at == to) else {
                continue;
            };
            self.ladder
                .push(format!("gw -> {}: {}", phone.user, first_line(&transmit.payload)));
            let text = String::from_utf8_lossy(&transmit.payload);
            if text.starts_with("SIP/2.0 200") && text.contains(" INVITE\r\n") {
                self.last_ok = text.into_owned();
            } else if text.starts_with("INVITE ") {
                self.last_invite = text.into_owned();
            } else if text.starts_with("UPDATE ") {
                self.last_update = text.into_owned();
            }
            if phone.is_gone {
                continue;
            }
            let five_tuple = phone.way();
            let payload = &transmit.payload;
            phone.endpoint.handle_input(self.now, Receive { five_tuple, payload });
        }
        for phone in &mut self.phones {
            while let Some(event) = phone.endpoint.poll_event() {
                if let SipEvent::Incoming { dialog, .. } = &event {
                    phone.dialog = *dialog;
                }
                phone.events.push(event);
            }
            while let Some(transmit) = phone.endpoint.poll_transmit() {
                moved = true;
                let line = first_line(&transmit.payload);
                if phone.is_gone || (phone.is_mute && line == "ACK") {
                    continue;
                }
                self.ladder.push(format!("{} -> gw: {line}", phone.user));
                let five_tuple = FiveTuple::new(Protocol::Udp, GATEWAY.parse().unwrap(), phone.at);
                let payload = &transmit.payload;
                self.exchange.handle_sip(self.now, Receive { five_tuple, payload });
            }
        }
        moved
    }

    fn on_media(&mut self, command: MediaCommand) {
        let leg = command.leg();
        match command {
            MediaCommand::Relay { .. } => self.servers += 1,
            MediaCommand::Restart { .. } => self.restarts += 1,
            MediaCommand::Rebind { bind, .. } => self.rebound.push(bind.addresses),
            MediaCommand::Open { transport, bind, .. } => {
                if transport != "rtp" {
                    self.outer = bind.outer;
                }
                assert!(self.media.insert(leg, transport).is_none(), "a leg opened twice");
                let lines = LINES.to_owned();
                self.exchange.handle_media(self.now, MediaEvent::Local { leg, lines });
            }
            MediaCommand::Remote { .. } => {
                if self.media.get(&leg).is_some_and(|transport| transport != "rtp") {
                    if self.hold_media {
                        self.waiting.insert(leg);
                    } else {
                        self.exchange.handle_media(self.now, MediaEvent::Connected { leg });
                    }
                }
            }
            MediaCommand::Bridge { a, b } => {
                self.ladder.push("media: bridged".into());
                self.bridged.push((a, b));
            }
            MediaCommand::Play { play, .. } => self.plays.push((leg, play)),
            MediaCommand::Close { .. } => {
                assert!(self.media.remove(&leg).is_some(), "a leg closed that was not open");
                if !self.hold_close {
                    self.exchange.handle_media(self.now, MediaEvent::Closed { leg });
                }
            }
            MediaCommand::Codec { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::Unbridge { .. }
            | MediaCommand::Hold { .. }
            | MediaCommand::SendDtmf { .. } => {}
            MediaCommand::State { text, .. } => self.states.push(text),
        }
    }

    /// The media leg of that transport.
    fn leg_over(&self, transport: &str) -> Option<LegKey> {
        let mut all = self.media.iter().filter(|(_, over)| *over == transport);
        all.next_back().map(|(leg, _)| *leg)
    }

    /// What was played is over.
    fn play_out(&mut self) {
        for (leg, play) in std::mem::take(&mut self.plays) {
            self.exchange.handle_media(self.now, MediaEvent::Played { leg, play });
        }
        self.drain();
    }

    /// Carries out what the user's leg wants, until it is quiet.
    fn settle_user(&mut self) {
        loop {
            if let Some(event) = self.user.adapter.poll_event() {
                self.on_user_event(event);
                continue;
            }
            let Some(leg) = &mut self.user.leg else { return };
            match leg.poll_action() {
                Some(Action::Network(_, NetworkCommand::Confirm { .. })) if self.user.is_coy => {}
                Some(Action::Network(_, mut command)) if self.user.is_lying => {
                    if let NetworkCommand::Confirm { public, .. } = &mut command {
                        public[31] ^= 1;
                    }
                    self.user.adapter.handle_command(self.now, command);
                }
                Some(Action::Network(_, command)) => self.user.adapter.handle_command(self.now, command),
                Some(Action::Compute(_, job)) => leg.handle_job(self.now, job.run()),
                Some(Action::Media(MediaCommand::Open { leg: key, .. })) => {
                    let lines = LINES.to_owned();
                    leg.handle_media(self.now, MediaEvent::Local { leg: key, lines });
                    leg.handle_media(self.now, MediaEvent::Connected { leg: key });
                }
                Some(_) => {}
                None => match leg.poll_event() {
                    Some(LegEvent::Ended(cause)) => {
                        self.user.ended.push(cause);
                        self.user.leg = None;
                    }
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    fn on_user_event(&mut self, event: NetworkEvent) {
        let NetworkEvent::Requested(incoming) = event else {
            if let Some(leg) = &mut self.user.leg {
                leg.handle_network(self.now, event);
            }
            return;
        };
        self.user.caller.clone_from(&incoming.from);
        if self.user.is_silent {
            self.user.requested = Some(incoming);
        } else {
            let config = self.user_config();
            self.user.leg = Some(E2eeLeg::answer(config, incoming, seeded(900)));
        }
    }

    fn user_config(&self) -> E2eeLegConfig {
        E2eeLegConfig {
            key: LegKey(1),
            relays: Vec::new(),
            own_servers: Vec::new(),
            is_stacked: false,
            relay_only: false,
            wait: Duration::ZERO,
            network: hub_id(),
            terms: Terms {
                versions: self.user.versions.clone(),
                ..self.user.adapter.terms()
            },
            bind: Bind {
                addresses: vec!["192.0.2.30".parse().unwrap()],
                components: 1,
                outer: Vec::new(),
            },
            codecs: self.user.codecs.clone(),
            ssrc: 7,
            same_worker_as: None,
        }
    }

    /// Lets time pass, and everything happen that is due.
    fn run(&mut self, length: Duration) {
        let end = self.now + length;
        loop {
            let phones = self.phones.iter().filter_map(|phone| phone.endpoint.poll_timeout());
            let user = self.user.leg.as_ref().and_then(E2eeLeg::poll_timeout);
            let machines = [self.exchange.poll_timeout(), self.rendezvous.poll_timeout(), user];
            let adapter = self.user.adapter.poll_timeout();
            let due = machines.into_iter().flatten().chain(phones).chain(adapter).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            self.exchange.handle_timeout(self.now);
            self.rendezvous.handle_timeout(self.now);
            self.user.adapter.handle_timeout(self.now);
            if let Some(leg) = &mut self.user.leg {
                leg.handle_timeout(self.now);
            }
            for phone in &mut self.phones {
                phone.endpoint.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    /// Phone 100 dials.
    fn dial(&mut self, number: &str) {
        self.dial_as(number, "<sip:100@quartet>", &[]);
    }

    /// Phone 100 dials and names itself so.
    fn dial_as(&mut self, number: &str, from: &str, headers: &[(&'static str, &str)]) {
        let phone = &mut self.phones[0];
        phone.dialog = phone.endpoint.new_dialog_key();
        let command = SipCommand::Invite(Box::new(OutgoingInvite {
            trunk: None,
            alternates: Vec::new(),
            routes: Vec::new(),
            dialog: phone.dialog,
            request_uri: format!("sip:{number}@192.0.2.1"),
            five_tuple: phone.way(),
            origin: phone.way().remote,
            from: address(from),
            to: address(&format!("<sip:{number}@quartet>")),
            identity: None,
            headers: headers
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            body: Some(SDP.as_bytes().to_vec()),
            credentials: phone.credentials(),
            account: None,
        }));
        phone.endpoint.handle_command(self.now, command).unwrap();
        self.drain();
    }

    /// Tells a phone something; a dialog that is gone is no mistake.
    fn phone(&mut self, at: usize, command: impl FnOnce(DialogKey) -> SipCommand) {
        let phone = &mut self.phones[at];
        let command = command(phone.dialog);
        phone.endpoint.handle_command(self.now, command).ok();
    }

    fn hang_up(&mut self, at: usize) {
        self.phone(at, |dialog| SipCommand::Hangup { dialog, reason: None });
    }

    fn ring(&mut self, at: usize) {
        self.phone(at, |dialog| SipCommand::Ring {
            dialog,
            status: 180,
            body: None,
        });
    }

    fn pick_up(&mut self, at: usize) {
        self.phone(at, |dialog| SipCommand::Accept {
            dialog,
            body: Some(SDP.as_bytes().to_vec()),
            identity: None,
            headers: Vec::new(),
        });
    }

    fn reject(&mut self, at: usize, status: u16) {
        self.phone(at, |dialog| SipCommand::Reject {
            dialog,
            status,
            reason: None,
            retry_after: None,
        });
    }

    /// The user calls.
    fn user_dials(&mut self, to: &str) {
        self.user_dials_as(77, to);
    }

    /// The user calls, by an id drawn from this seed.
    fn user_dials_as(&mut self, seed: u64, to: &str) {
        let mut id = [0; 16];
        seeded(seed).fill_bytes(&mut id);
        let outgoing = E2eeOutgoing {
            call: NetworkCall(id),
            from: "anna".into(),
            to: to.into(),
        };
        let config = self.user_config();
        self.user.leg = Some(E2eeLeg::call(config, outgoing, seeded(901)));
        self.drain();
    }

    fn user_accepts(&mut self) {
        let same_worker_as = LegKey(1);
        if let Some(leg) = &mut self.user.leg {
            leg.handle_command(self.now, LegCommand::Connect { same_worker_as });
        }
    }

    fn user_ends(&mut self, cause: Cause) {
        match (&mut self.user.leg, &self.user.requested) {
            (Some(leg), _) => leg.handle_command(self.now, LegCommand::End(cause)),
            (None, Some(requested)) => {
                let command = NetworkCommand::Discard {
                    call: requested.call,
                    reason: cause.discard(),
                    duration: Duration::ZERO,
                };
                self.user.adapter.handle_command(self.now, command);
            }
            (None, None) => {}
        }
    }

    /// What was said since the last time, a line each.
    fn ladder(&mut self) -> String {
        std::mem::take(&mut self.ladder).join("\n")
    }

    /// The cause of the only record.
    fn cause(&self) -> &'static str {
        let [record] = &self.records[..] else {
            panic!("{} records", self.records.len())
        };
        record.cause
    }

    /// Nothing of a call is left anywhere.
    #[track_caller]
    fn assert_empty(&mut self) {
        self.run(100 * SECOND);
        assert_eq!(self.exchange.call_count(), 0, "calls");
        assert_eq!(self.media, BTreeMap::new(), "media");
        let maps = (
            self.exchange.by_leg.len(),
            self.exchange.by_dialog.len(),
            self.exchange.by_network.len(),
            self.exchange.legs.len(),
        );
        assert_eq!(maps, (0, 0, 0, 0), "what legs are found by");
        assert_eq!(self.exchange.networks[&hub_id()].calls(), 0, "calls of the adapter");
        assert!(self.exchange.is_idle(), "dialogs");
    }
}

impl Phone {
    fn new(user: &'static str, at: SocketAddr) -> Self {
        let config = EndpointConfig {
            instance: format!("ph{user}aaa"),
            user_agent: "Phone".into(),
            realm: String::new(),
            limits: quartet_proto::sip::Limits::default(),
            trusted_proxies: Vec::new(),
        };
        let mut endpoint = Endpoint::new(config, seeded(u64::from(at.port())));
        endpoint.set_local(vec![(Protocol::Udp, at)]);
        Self {
            user,
            password: PASSWORD,
            at,
            endpoint,
            events: Vec::new(),
            dialog: DialogKey(0),
            is_mute: false,
            is_gone: false,
        }
    }

    fn way(&self) -> FiveTuple {
        FiveTuple::new(Protocol::Udp, self.at, GATEWAY.parse().unwrap())
    }

    fn credentials(&self) -> Option<Credentials> {
        Some(Credentials {
            user: self.user.into(),
            password: self.password.to_owned().into(),
        })
    }

    /// How its call ended for it, in a word or two.
    fn end(&self) -> String {
        let ends = self.events.iter().filter_map(|event| match event {
            SipEvent::Rejected { status, .. } => Some(status.to_string()),
            SipEvent::Cancelled { .. } => Some("cancelled".to_owned()),
            SipEvent::Bye { .. } => Some("BYE".to_owned()),
            SipEvent::Ended { .. } => Some("ended".to_owned()),
            SipEvent::Lost { .. } => Some("lost".to_owned()),
            SipEvent::ContactChanged { .. }
            | SipEvent::LoginFailed { .. }
            | SipEvent::Incoming { .. }
            | SipEvent::Provisional { .. }
            | SipEvent::Accepted { .. }
            | SipEvent::Confirmed { .. }
            | SipEvent::Dtmf { .. }
            | SipEvent::Reinvite { .. }
            | SipEvent::Refer { .. }
            | SipEvent::Moved { .. }
            | SipEvent::Registered { .. }
            | SipEvent::RegisterFailed { .. }
            | SipEvent::Refresh { .. }
            | SipEvent::Unchanged { .. }
            | SipEvent::Reaccepted { .. }
            | SipEvent::Subscribe { .. }
            | SipEvent::Unsubscribed { .. }
            | SipEvent::Probed { .. } => None,
        });
        ends.collect::<Vec<_>>().join(", ")
    }
}

fn address(text: &str) -> NameAddr {
    text.parse().unwrap()
}

/// The method, or the status, of a SIP message.
fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or_default();
    match line.strip_prefix("SIP/2.0 ") {
        Some(status) => status.to_owned(),
        None => line.split(' ').next().unwrap_or_default().to_owned(),
    }
}
