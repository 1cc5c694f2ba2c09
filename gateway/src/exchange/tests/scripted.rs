//! A second network beside the hub, added in this file alone: its frames are its own, and it names the servers of each call.
//!
//! A frame is a verb and the call's number in hexadecimal; the verbs' other fields lie in a queue beside it, as a network's
//! client would decode them. The user at the far end is the leg that the gateway has as well.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use quartet_proto::e2ee::key_exchange::NO_SERVER_RANDOM;

use super::*;
use crate::exchange::LegRow;
use crate::networks::{KeyExchange, Link, Servers, Terms};

const NAME: &str = "script";

/// What the machine and the test share: the machine is the exchange's once the world is made.
#[derive(Default)]
struct Wires {
    commands: Vec<NetworkCommand>,
    events: VecDeque<NetworkEvent>,
    links: Vec<Link>,
}

#[derive(Clone, Default)]
struct Script(Arc<Mutex<Wires>>);

impl Script {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.0.lock().expect("nobody panics with it")
    }
}

struct Machine {
    script: Script,
    frames: VecDeque<Vec<u8>>,
    events: VecDeque<NetworkEvent>,
    calls: BTreeSet<NetworkCall>,
}

fn call_of(command: &NetworkCommand) -> (&'static str, NetworkCall) {
    match command {
        NetworkCommand::Request(request) => ("request", request.call),
        NetworkCommand::Received { call } => ("received", *call),
        NetworkCommand::Accept { call, .. } => ("accept", *call),
        NetworkCommand::Confirm { call, .. } => ("confirm", *call),
        NetworkCommand::Signal { call, .. } => ("signal", *call),
        NetworkCommand::Discard { call, .. } => ("discard", *call),
    }
}

impl Network for Machine {
    fn terms(&self) -> Terms {
        Terms {
            key_exchanges: vec![KeyExchange::Dh2048],
            versions: vec!["9.0.0".into(), "8.0.0".into()],
            transport: "webrtc".into(),
            server_random: Box::new(NO_SERVER_RANDOM),
            brings_servers: true,
        }
    }

    fn user_of(&self, dialled: &str) -> String {
        dialled.to_owned()
    }

    fn name_of(&self, extension: &str) -> String {
        format!("+49{extension}")
    }

    fn extension_of(&self, name: &str) -> String {
        name.trim_start_matches("+49").to_owned()
    }

    fn handle_frame(&mut self, _: Instant, frame: &[u8]) {
        assert_eq!(frame, b"event");
        self.events.extend(self.script.wires().events.pop_front());
    }

    fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    fn handle_link(&mut self, _: Instant, link: Link) {
        self.script.wires().links.push(link);
        if link == Link::Down {
            for call in std::mem::take(&mut self.calls) {
                let reason = crate::cdr::DiscardReason::Disconnect;
                self.events.push_back(NetworkEvent::Discarded { call, reason });
            }
        }
    }

    fn is_up(&self) -> bool {
        true
    }

    fn calls(&self) -> usize {
        self.calls.len()
    }

    fn handle_command(&mut self, _: Instant, command: NetworkCommand) {
        let (verb, call) = call_of(&command);
        if verb == "discard" {
            self.calls.remove(&call);
        } else {
            self.calls.insert(call);
        }
        self.frames.push_back(verb.into());
        self.script.wires().commands.push(command);
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_event(&mut self) -> Option<NetworkEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// A world with the second network, and a user there.
struct Beside {
    world: World,
    script: Script,
    leg: Option<E2eeLeg>,
    ended: Vec<Cause>,
}

fn id() -> NetworkId {
    NetworkId::new(NAME)
}

impl Beside {
    fn new() -> Self {
        let routes = format!(
            "[[route]]\nname = \"there\"\nfrom = \"phones\"\nnumber = \"9{{user}}\"\nto = \"hub:{{user}}\"\n{ROUTES}\
             [[route]]\nname = \"here\"\nfrom = \"network:hub\"\nnumber = \"{{n:[0-9]{{3}}}}\"\nto = \"phone:{{n}}\"\n"
        );
        let script = Script::default();
        let machine = Machine {
            script: script.clone(),
            frames: VecDeque::new(),
            events: VecDeque::new(),
            calls: BTreeSet::new(),
        };
        let networks: Networks = [(id(), Box::new(machine) as Box<dyn Network>)].into();
        let mut world = World::with("", &routes, networks).registered();
        // The conf files know only networks that are served; the routes of this one are made here.
        let mut settings = (*world.exchange.settings).clone();
        for route in &mut settings.routes {
            if route.name == "there" {
                route.to = vec!["script:{user}".parse().unwrap()];
            }
            if route.name == "here" {
                route.from = "network:script".parse().unwrap();
            }
        }
        world.exchange.routes = settings.routes();
        Self {
            world,
            script,
            leg: None,
            ended: Vec::new(),
        }
    }

    fn config(&self) -> E2eeLegConfig {
        E2eeLegConfig {
            network: id(),
            terms: self.world.exchange.networks[&id()].terms(),
            ..self.world.user_config()
        }
    }

    fn event(&mut self, event: NetworkEvent) {
        self.script.wires().events.push_back(event);
        self.world.exchange.handle_frame(self.world.now, &id(), b"event");
        self.world.drain();
    }

    /// Servers for a call, as the network names them.
    fn servers(call: NetworkCall, p2p: bool) -> NetworkEvent {
        let servers = Servers {
            version: Some("8.0.0".into()),
            p2p,
            stun: vec![("stun.example".into(), 3478)],
            ..Servers::default()
        };
        NetworkEvent::Servers {
            call,
            servers: Box::new(servers),
        }
    }

    /// Carries the verbs between the gateway and the user there, but for servers.
    fn drain(&mut self) {
        self.world.drain();
        loop {
            let commands = std::mem::take(&mut self.script.wires().commands);
            let mut moved = !commands.is_empty();
            for command in commands {
                self.on_command(command);
            }
            moved |= self.drain_user();
            if !moved {
                return;
            }
            self.world.drain();
        }
    }

    fn on_command(&mut self, command: NetworkCommand) {
        let now = self.world.now;
        if let NetworkCommand::Request(incoming) = command {
            self.leg = Some(E2eeLeg::answer(self.config(), incoming, seeded(800)));
        } else if let (Some(event), Some(leg)) = (mirrored(command), &mut self.leg) {
            leg.handle_network(now, event);
        }
    }

    fn drain_user(&mut self) -> bool {
        let mut moved = false;
        while let Some(leg) = &mut self.leg {
            let now = self.world.now;
            match leg.poll_action() {
                Some(Action::Network(_, command)) => {
                    moved = true;
                    if let NetworkCommand::Request(request) = command {
                        self.event(NetworkEvent::Requested(request));
                    } else if let Some(event) = mirrored(command) {
                        self.event(event);
                    }
                }
                Some(Action::Compute(_, job)) => leg.handle_job(now, job.run()),
                Some(Action::Media(MediaCommand::Open { leg: key, .. })) => {
                    let lines = LINES.to_owned();
                    leg.handle_media(now, MediaEvent::Local { leg: key, lines });
                    leg.handle_media(now, MediaEvent::Connected { leg: key });
                }
                Some(_) => {}
                None => match leg.poll_event() {
                    Some(LegEvent::Ended(cause)) => {
                        self.ended.push(cause);
                        self.leg = None;
                    }
                    Some(_) => {}
                    None => break,
                },
            }
        }
        moved
    }

    /// The leg of the gateway in its call there.
    fn ours(&self) -> (NetworkCall, LegKey) {
        let mut found = self.world.exchange.by_network.iter();
        let ((_, call), leg) = found.find(|((network, _), _)| *network == id()).expect("a call there");
        (*call, *leg)
    }

    fn signals(&mut self) -> usize {
        let ladder = self.world.ladder();
        ladder.lines().filter(|line| line.ends_with("script: signal")).count()
    }
}

/// What the other side hears of a verb.
fn mirrored(command: NetworkCommand) -> Option<NetworkEvent> {
    Some(match command {
        NetworkCommand::Request(_) => return None,
        NetworkCommand::Received { call } => NetworkEvent::Received { call },
        NetworkCommand::Accept {
            call,
            exchange,
            public,
            version,
        } => NetworkEvent::Accepted {
            call,
            exchange,
            public,
            version,
        },
        NetworkCommand::Confirm {
            call,
            public,
            fingerprint,
        } => NetworkEvent::Confirmed {
            call,
            public,
            fingerprint,
        },
        NetworkCommand::Signal { call, packet } => NetworkEvent::Signal { call, packet },
        NetworkCommand::Discard { call, reason, .. } => NetworkEvent::Discarded { call, reason },
    })
}

#[test]
fn a_phone_calls_there_and_waits_for_the_servers() {
    let mut beside = Beside::new();
    beside.world.dial("9bob");
    beside.drain();
    let row = beside.world.exchange.calls(beside.world.now).remove(0);
    assert_eq!(row.to, "bob");
    let [LegRow::Sip { sip_call_id }, LegRow::Network { network, network_call }] = &row.legs[..] else {
        panic!("{:?}", row.legs);
    };
    assert!(!sip_call_id.is_empty());
    assert_eq!((network.as_str(), network_call.len()), (NAME, 32));
    let leg = beside.leg.as_mut().expect("it rings there");
    leg.handle_command(
        beside.world.now,
        LegCommand::Connect {
            same_worker_as: LegKey(1),
        },
    );
    beside.drain();
    assert!(
        beside.world.exchange.calls(beside.world.now)[0].emojis.is_some(),
        "there is a key"
    );
    assert_eq!(
        beside.signals(),
        0,
        "and nothing is told of media before the servers are named"
    );
    let (call, _) = beside.ours();
    // The user there is told first; what it sends waits for our own servers.
    let now = beside.world.now;
    let leg = beside.leg.as_mut().expect("it talks");
    leg.handle_network(now, Beside::servers(call, true));
    beside.drain();
    assert_eq!(beside.world.bridged, []);
    beside.event(Beside::servers(call, true));
    beside.drain();
    assert_eq!(beside.world.bridged.len(), 1, "the two talk");
    assert!(beside.signals() > 0);
    beside.world.hang_up(0);
    beside.drain();
    assert_eq!(
        (beside.world.cause(), &beside.ended[..]),
        ("answered", &[Cause::Answered][..])
    );
    assert_eq!(beside.world.records[0].network.as_deref(), Some(NAME));
    assert_eq!(beside.world.exchange.networks[&id()].calls(), 0);
    beside.world.assert_empty();
}

#[test]
fn a_user_there_calls_a_phone_while_the_hub_has_a_call_of_its_own() {
    let mut beside = Beside::new();
    let outgoing = E2eeOutgoing {
        call: NetworkCall([9; 16]),
        from: "bob".into(),
        to: "+49100".into(),
    };
    beside.leg = Some(E2eeLeg::call(beside.config(), outgoing, seeded(801)));
    beside.drain();
    assert!(
        beside.leg.as_ref().is_some_and(E2eeLeg::p2p),
        "nobody has forbidden the straight way"
    );
    // The servers may come before anything else, and forbid it.
    beside.event(Beside::servers(NetworkCall([9; 16]), false));
    beside.world.pick_up(0);
    beside.drain();
    let now = beside.world.now;
    let leg = beside.leg.as_mut().expect("it talks");
    leg.handle_network(now, Beside::servers(NetworkCall([9; 16]), true));
    beside.drain();
    assert_eq!(beside.world.bridged.len(), 1);
    let (_, key) = beside.ours();
    let seen = beside.world.exchange.with_leg(key, |leg| {
        let crate::call::Leg::E2ee(leg) = leg else {
            panic!("a leg of a network");
        };
        (leg.p2p(), leg.servers().map(|servers| servers.stun.len()))
    });
    assert_eq!(
        seen,
        Some((false, Some(1))),
        "p2p = false of either side reaches the leg"
    );
    // The same id on the other network is another call.
    beside.world.user_dials("101@gw");
    beside.world.pick_up(1);
    beside.world.drain();
    assert_eq!((beside.world.bridged.len(), beside.world.exchange.call_count()), (2, 2));
    // Its link goes: its call ends, the hub's goes on.
    beside.world.exchange.handle_link(now, &id(), Link::Down);
    beside.drain();
    assert_eq!(beside.script.wires().links, [Link::Down]);
    assert_eq!(
        (beside.world.cause(), beside.world.phones[0].end().as_str()),
        ("network", "BYE")
    );
    assert_eq!(beside.world.phones[1].end(), "");
    beside.world.user_ends(Cause::Answered);
    beside.drain();
    beside.world.assert_empty();
}

#[test]
fn a_version_that_we_do_not_speak_ends_the_call() {
    let mut beside = Beside::new();
    beside.world.dial("9bob");
    beside.drain();
    let leg = beside.leg.as_mut().expect("it rings there");
    leg.handle_command(
        beside.world.now,
        LegCommand::Connect {
            same_worker_as: LegKey(1),
        },
    );
    beside.drain();
    let (call, _) = beside.ours();
    let servers = Servers {
        version: Some("99.0.0".into()),
        ..Servers::default()
    };
    beside.event(NetworkEvent::Servers {
        call,
        servers: Box::new(servers),
    });
    beside.drain();
    assert_eq!(
        (beside.world.cause(), beside.world.phones[0].end().as_str()),
        ("incompatible", "488")
    );
    beside.world.assert_empty();
}
