//! The exchange as a whole, between phones that have logged in, a hub that may say anything, a user behind our own
//! hub, and media that may do anything: no panic, one record for each call, every media leg closed, and after
//! stopping and some time nothing is left.
//!
//! NUL ends a record. `0` to `3` begins a datagram from there, see `login.rs`; `h` a frame of the hub, in which `$C` is
//! the newest call and `$I` the newest request of ours; `u` an order to the user: `t`ake, `d`ial phone 100, dial the
//! `g`ateway, `e`nd, `x` to be gone. `m`, a letter and a digit that counts legs back are words of media: `l`ocal lines,
//! `c`onnected, `f`ailed, `s`hut by the peer, `p`layed, `k`ey and which, `r`eport of silence and how long, `z` closed.
//! `q` asks: `h`angup, `l`ocked, `u`nlock, `c`alls. `o` lets the next job find no room. `+` and a byte lets so many
//! seconds pass.
#![no_main]

#[path = "../login.rs"]
mod login;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use login::{Heard, LOCAL, Source, source};
use quartet::call::{Action, CallKey, E2eeLeg, E2eeLegConfig, E2eeOutgoing, LegCommand, LegEvent, e2ee_codecs};
use quartet::cdr::Cause;
use quartet::config::{Hashes, PasswordHash, Settings, load_texts};
use quartet::exchange::{BoxRng, Change, Exchange, Here, Job, JobResult, Parts};
use quartet::hub::{Account, ConnKey, Directory, Limits, Rendezvous, RendezvousConfig};
use quartet::io::compute;
use quartet::ivr::prompts::Prompts;
use quartet::ivr::recording::OPUS_RATE;
use quartet::media::{Bind, LegKey, MediaCommand, MediaEvent, MediaFault, PlayKey, Report};
use quartet::networks::hub::{self, Adapter};
use quartet::networks::{Network, NetworkCall, NetworkEvent, NetworkId};
use quartet::plugins::Registry;
use quartet_plugin::Codec as _;
use quartet_proto::hub::{Name, Token};
use quartet_proto::net::{FiveTuple, Protocol, Receive};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// Who is connected to the hub.
const GATEWAY: ConnKey = ConnKey(0);
const USER: ConnKey = ConnKey(1);
const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// What a transport says of itself.
const LINES: &str = "c:192.0.2.1\nport:40000\nice-ufrag:abcd\nice-pwd:abcdefghijklmnopqrstuv\nsetup:actpass\n\
     fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\n\
     candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host";

/// Few calls, so that their limits are met.
const CONF: &str = "[sip]\nrealm = \"fuzz\"\n[limits]\ncalls = 3\ncalls_per_phone = 2\n";
const ROUTES: &str = "[[route]]\nname = \"out\"\nfrom = \"phones\"\nnumber = \"{user}\"\nto = \"hub:{user}\"\n\
    [[route]]\nname = \"one\"\nfrom = \"network:hub\"\nnumber = \"{n:[0-9]{3}}\"\nto = \"phone:{n}\"\n\
    [[route]]\nname = \"all\"\nfrom = \"network:hub\"\nnumber = \"\"\nto = [\"phone:100\", \"phone:101\"]\n";

fn settings() -> Arc<Settings> {
    static SETTINGS: OnceLock<Arc<Settings>> = OnceLock::new();
    let load = || {
        let phones = [("100", "confirm"), ("101", "announce")].map(|(user, verify)| {
            let hash = PasswordHash::of(user, login::REALM, login::PASSWORD, if user == "101" { Hashes::Md5 } else { Hashes::All });
            let line = hash.to_line();
            format!(
                "[[phone]]\nuser = \"{user}\"\n{}\nverify = \"{verify}\"\nmax_contacts = 2\n",
                *line
            )
        });
        let loaded = load_texts(Path::new("conf"), [CONF, &phones.concat(), ROUTES], &[]).expect("good files");
        loaded.settings
    };
    Arc::clone(SETTINGS.get_or_init(load))
}

/// Decodes recordings to as much silence.
fn silence(packet: &[u8], _: &mut [i16]) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let samples = codec_opus::Opus::PACKET_SAMPLES.expect("Opus has it");
    samples(packet, OPUS_RATE)
        .map(|count| count as usize)
        .map_err(|error| format!("{error:?}").into())
}

/// A user of the hub: the same leg as the gateway's, and media that is always up.
struct User {
    adapter: Adapter,
    leg: Option<E2eeLeg>,
}

impl User {
    fn leg_config(&self, registry: &Registry) -> E2eeLegConfig {
        let bind = Bind {
            addresses: vec![source(b'3').address.ip()],
            components: 1,
            outer: Vec::new(),
        };
        let (network, terms) = (NetworkId::new(hub::NAME), self.adapter.terms());
        let codecs = e2ee_codecs(registry);
        E2eeLegConfig {
            key: LegKey(1),
            relays: Vec::new(),
            own_servers: Vec::new(),
            is_stacked: false,
            relay_only: false,
            wait: Duration::ZERO,
            network,
            terms,
            bind,
            codecs,
            ssrc: 7,
            same_worker_as: None,
        }
    }

    /// Carries out what the leg wants, until it is quiet.
    fn settle(&mut self, now: Instant, registry: &Registry) {
        loop {
            if let Some(event) = self.adapter.poll_event() {
                let NetworkEvent::Requested(incoming) = event else {
                    if let Some(leg) = &mut self.leg {
                        leg.handle_network(now, event);
                    }
                    continue;
                };
                self.leg = Some(E2eeLeg::answer(
                    self.leg_config(registry),
                    incoming,
                    Box::new(ChaCha8Rng::seed_from_u64(3)),
                ));
                continue;
            }
            let Some(leg) = &mut self.leg else { return };
            match leg.poll_action() {
                Some(Action::Network(_, command)) => self.adapter.handle_command(now, command),
                Some(Action::Compute(_, job)) => leg.handle_job(now, job.run()),
                Some(Action::Media(MediaCommand::Open { leg: key, .. })) => {
                    leg.handle_media(
                        now,
                        MediaEvent::Local {
                            leg: key,
                            lines: LINES.to_owned(),
                        },
                    );
                    leg.handle_media(now, MediaEvent::Connected { leg: key });
                }
                Some(_) => {}
                None => match leg.poll_event() {
                    Some(LegEvent::Ended(_)) => self.leg = None,
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }
}

/// The network that is served here.
fn hub_id() -> NetworkId {
    NetworkId::new(hub::NAME)
}

struct World {
    now: Instant,
    exchange: Exchange,
    rendezvous: Rendezvous,
    user: User,
    registry: Arc<Registry>,
    heard: Heard,
    /// The newest call and request in the frames of the exchange.
    call: String,
    request: String,
    /// Media legs in the order in which they were opened, and those that are to be closed.
    legs: Vec<LegKey>,
    closed: BTreeSet<LegKey>,
    plays: BTreeMap<LegKey, PlayKey>,
    running: Vec<CallKey>,
    ended: BTreeSet<String>,
    overload: bool,
    prompts: Prompts,
    rng: ChaCha8Rng,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let registry = Arc::new(Registry::from_static(&[(
            "quartet_plugin_codec_opus",
            &codec_opus::quartet_plugin_codec_opus,
        )]));
        let mut seed = 0;
        let rng = move || -> BoxRng {
            seed += 1;
            Box::new(ChaCha8Rng::seed_from_u64(seed))
        };
        let name = |text: &str| Name::new(text).expect("a valid name");
        let exchange = Exchange::new(Parts {
            settings: settings(),
            registry: Arc::clone(&registry),
            networks: [(hub_id(), Box::new(Adapter::new(name("gw"))) as Box<dyn Network>)].into(),
            sip: vec![(Protocol::Udp, LOCAL)],
            here: Here {
                addresses: vec![LOCAL.ip()],
                ..Here::default()
            },
            rng: Box::new(rng),
        });
        let directory = Directory::default();
        directory.insert(Account::person(name("anna")), Token::from_text(TOKEN).expect("a valid token").hash());
        let config = RendezvousConfig {
            gateway: Some(name("gw")),
            limits: Limits::default(),
            ice_servers: vec![],
            epoch: (now, 0),
        };
        let mut rendezvous = Rendezvous::new(config, Arc::new(directory), Box::new(ChaCha8Rng::seed_from_u64(3)));
        rendezvous.connect_local(GATEWAY);
        rendezvous.connect(now, USER, source(b'3').address);
        let hello =
            format!(r#"{{"id":0,"verb":"hello","protocol":{{"min":1,"max":1}},"client":"fuzz","token":"{TOKEN}"}}"#);
        rendezvous.handle_input(now, USER, &hello);
        assert!(rendezvous.is_online(&name("anna")));
        Self {
            now,
            exchange,
            rendezvous,
            user: User {
                adapter: Adapter::new(name("anna")),
                leg: None,
            },
            registry,
            heard: Heard::default(),
            call: String::new(),
            request: String::new(),
            legs: Vec::new(),
            closed: BTreeSet::new(),
            plays: BTreeMap::new(),
            running: Vec::new(),
            ended: BTreeSet::new(),
            overload: false,
            prompts: Prompts::builtin(Box::new(|| Ok(Box::new(silence)))),
            rng: ChaCha8Rng::seed_from_u64(2),
        }
    }

    /// Carries everything to where it belongs, until all are quiet.
    fn drain(&mut self) {
        let mut work = true;
        while std::mem::take(&mut work) {
            self.user.settle(self.now, &self.registry);
            while let Some(frame) = self.user.adapter.poll_frame() {
                self.rendezvous
                    .handle_input(self.now, USER, str::from_utf8(&frame).expect("text"));
            }
            while let Some((_, frame)) = self.exchange.poll_frame() {
                let text = str::from_utf8(&frame).expect("text");
                self.hear_frame(text);
                self.rendezvous.handle_input(self.now, GATEWAY, text);
            }
            while let Some((conn, text)) = self.rendezvous.poll_transmit() {
                work = true;
                if conn == GATEWAY {
                    self.exchange.handle_frame(self.now, &hub_id(), text.as_bytes());
                } else {
                    self.user.adapter.handle_frame(self.now, text.as_bytes());
                }
            }
            while self.rendezvous.poll_close().is_some() {}
            while let Some((leg, job)) = self.exchange.poll_job() {
                work = true;
                let done = match job {
                    Job::KeyExchange(_) if std::mem::take(&mut self.overload) => JobResult::KeyExchange(None),
                    job => compute::run(job, &mut self.prompts),
                };
                self.exchange.handle_job(self.now, leg, done);
            }
        }
        while let Some(transmit) = self.exchange.poll_transmit() {
            self.heard.take(self.now, transmit.five_tuple.remote, &transmit.payload);
        }
        while let Some(command) = self.exchange.poll_media() {
            self.on_media(command);
        }
        while let Some(change) = self.exchange.poll_change() {
            self.on_change(change);
        }
        assert!(
            self.exchange.poll_timeout().is_none_or(|at| at > self.now),
            "something stays due"
        );
        assert!(
            self.exchange.call_count() <= settings().limits.calls as usize,
            "more calls than the limit"
        );
    }

    fn hear_frame(&mut self, text: &str) {
        let field = |name: &str| {
            let after = text.split_once(&format!("\"{name}\":"))?.1;
            Some(after.split([',', '}']).next()?.trim_matches(['"', ' ']).to_owned())
        };
        self.request = field("id").unwrap_or_default();
        if let Some(call) = field("call") {
            self.call = call;
        }
    }

    fn on_media(&mut self, command: MediaCommand) {
        let leg = command.leg();
        if let MediaCommand::Open { .. } = command {
            assert!(!self.legs.contains(&leg), "a leg opened twice");
            self.legs.push(leg);
        }
        assert!(self.legs.contains(&leg), "{command:?} for a leg that was never opened");
        match command {
            MediaCommand::Close { .. } => _ = self.closed.insert(leg),
            MediaCommand::Play { play, .. } => _ = self.plays.insert(leg, play),
            _ => {}
        }
    }

    fn on_change(&mut self, change: Change) {
        match change {
            Change::Running(record) => {
                assert!(!self.ended.contains(&record.call), "a call that has ended runs");
                self.running.push(record.call.parse().expect("a call's name"));
            }
            Change::Ended(record) => {
                assert!(
                    record.end >= record.start && record.answer.is_none_or(|at| at >= record.start && at <= record.end)
                );
                assert!(self.ended.insert(record.call), "a second record of a call");
            }
            Change::Bindings { .. } => {}
        }
    }

    fn datagram(&mut self, from: Source, payload: &[u8]) {
        let five_tuple = FiveTuple::new(Protocol::Udp, LOCAL, from.address);
        self.exchange.handle_sip(self.now, Receive { five_tuple, payload });
        self.drain();
    }

    fn phone(&mut self, from: Source, datagram: &[u8]) {
        if let Some(probe) = self.heard.probe(self.now, from, datagram) {
            self.datagram(from, &probe);
        }
        let payload = self.heard.fill(from, datagram);
        self.datagram(from, &payload);
        self.pass(Duration::from_millis(100));
    }

    fn order(&mut self, letter: u8) {
        let now = self.now;
        match letter {
            b'd' | b'g' => {
                let mut id = [0; 16];
                self.rng.fill_bytes(&mut id);
                let to = if letter == b'g' { "gw" } else { "100@gw" };
                let (from, to) = ("anna".to_owned(), to.to_owned());
                let outgoing = E2eeOutgoing {
                    call: NetworkCall(id),
                    from,
                    to,
                };
                let rng = Box::new(ChaCha8Rng::seed_from_u64(4));
                self.user.leg = Some(E2eeLeg::call(self.user.leg_config(&self.registry), outgoing, rng));
            }
            b'x' => self.rendezvous.disconnect(now, USER),
            _ => {
                let command = match letter {
                    b't' => LegCommand::Connect {
                        same_worker_as: LegKey(1),
                    },
                    _ => LegCommand::End(Cause::Answered),
                };
                if let Some(leg) = &mut self.user.leg {
                    leg.handle_command(now, command);
                }
            }
        }
        self.drain();
    }

    fn media(&mut self, letter: u8, digit: u8, value: u8) {
        let back = usize::from(digit.saturating_sub(b'0'));
        let Some(at) = self.legs.len().checked_sub(1 + back) else {
            return;
        };
        let leg = self.legs[at];
        let event = match letter {
            b'l' => MediaEvent::Local {
                leg,
                lines: LINES.to_owned(),
            },
            b'c' => MediaEvent::Connected { leg },
            b'f' => MediaEvent::Failed {
                leg,
                fault: MediaFault::Ice,
            },
            b's' => MediaEvent::Failed {
                leg,
                fault: MediaFault::Closed,
            },
            b'p' => MediaEvent::Played {
                leg,
                play: self.plays.get(&leg).copied().unwrap_or(PlayKey(0)),
            },
            b'k' => MediaEvent::Dtmf {
                leg,
                digit: char::from(value),
            },
            b'r' => {
                let silent = Duration::from_secs(value.into());
                MediaEvent::Report {
                    leg,
                    report: Report {
                        silent,
                        ..Report::default()
                    },
                }
            }
            // A leg is gone only once it was to be closed.
            _ if self.closed.contains(&leg) => MediaEvent::Closed { leg },
            _ => return,
        };
        self.exchange.handle_media(self.now, event);
        self.drain();
    }

    fn ask(&mut self, letter: u8) {
        match letter {
            b'h' => {
                let call = self.running.last().copied();
                let _ = call.map(|call| self.exchange.hang_up(self.now, call));
            }
            b'l' => _ = self.exchange.locked(self.now),
            b'u' => _ = self.exchange.unlock(self.now, "100"),
            _ => {
                assert_eq!(self.exchange.calls(self.now).len(), self.exchange.call_count());
                let _ = self.exchange.phones(self.now);
            }
        }
        self.drain();
    }

    /// Lets time pass from timer to timer.
    fn pass(&mut self, length: Duration) {
        let mut left = length;
        loop {
            let user = self.user.leg.as_ref().and_then(E2eeLeg::poll_timeout);
            let timers = [
                self.exchange.poll_timeout(),
                self.rendezvous.poll_timeout(),
                self.user.adapter.poll_timeout(),
                user,
            ];
            let due = timers
                .into_iter()
                .flatten()
                .min()
                .map(|at| at.saturating_duration_since(self.now));
            let step = due.unwrap_or(left).min(left);
            (self.now, left) = (self.now + step, left - step);
            if due.is_none_or(|due| due > step) {
                return;
            }
            self.exchange.handle_timeout(self.now);
            self.rendezvous.handle_timeout(self.now);
            self.user.adapter.handle_timeout(self.now);
            if let Some(leg) = &mut self.user.leg {
                leg.handle_timeout(self.now);
            }
            self.drain();
        }
    }

    fn play(&mut self, record: &[u8]) {
        match record {
            [digit @ b'0'..=b'3', datagram @ ..] => self.phone(source(*digit), datagram),
            [b'h', frame @ ..] => {
                let frame = String::from_utf8_lossy(frame)
                    .replace("$C", &self.call)
                    .replace("$I", &self.request);
                self.exchange.handle_frame(self.now, &hub_id(), frame.as_bytes());
                self.drain();
            }
            [b'u', letter, ..] => self.order(*letter),
            [b'm', letter, rest @ ..] => {
                let byte = |at| rest.get(at).copied().unwrap_or(b'0');
                self.media(*letter, byte(0), byte(1));
            }
            [b'q', letter, ..] => self.ask(*letter),
            [b'o', ..] => self.overload = true,
            [b'+', seconds, ..] => self.pass(Duration::from_secs((*seconds).into())),
            _ => {}
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    for record in data.split(|b| *b == 0) {
        world.play(record);
    }
    world.exchange.stop(world.now);
    world.drain();
    assert!(
        world.legs.iter().all(|leg| world.closed.contains(leg)),
        "a media leg stays open"
    );
    // What has been said is summed up after a minute; a registration lives up to two hours.
    world.pass(Duration::from_secs(600));
    assert!(
        world.exchange.is_idle() && world.exchange.transaction_count() == 0,
        "something stayed"
    );
    assert_eq!(world.exchange.network_calls(), 0, "a call stayed on the hub");
    assert!(
        world.running.iter().all(|call| world.ended.contains(&call.to_string())),
        "a call without a record"
    );
    world.pass(Duration::from_secs(7_200));
    assert_eq!(
        (world.exchange.phones(world.now), world.exchange.poll_timeout()),
        (vec![], None)
    );
});
