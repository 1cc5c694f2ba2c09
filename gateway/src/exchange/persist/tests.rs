//! A phone and an exchange under virtual time: what is handed to the store, and what a second exchange makes of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quartet_proto::net::{FiveTuple, Protocol, Receive};
use quartet_proto::sip::{Credentials, Endpoint, EndpointConfig, SipCommand, SipEvent};

use super::{Exchange, StoredBinding};
use crate::cdr::Clock;
use crate::config;
use crate::demo::{Hashes, phone_row};
use crate::exchange::{Here, Networks, Parts};
use crate::io::signalling::generator;
use crate::plugins::Registry;
use crate::store::Change;

const SECOND: Duration = Duration::from_secs(1);
const PASSWORD: &str = "correct-horse";

/// An exchange for phones 100 and 101.
fn exchange(password: &str, users: &[&str], gateway: SocketAddr) -> Exchange {
    let phones: String = users
        .iter()
        .map(|user| phone_row(user, password, Hashes::Md5AndSha256, ""))
        .collect();
    let loaded = config::load_texts(Path::new("conf"), ["", &phones, ""], &[]).expect("good files");
    Exchange::new(Parts {
        settings: loaded.settings,
        registry: Arc::new(Registry::default()),
        networks: Networks::new(),
        sip: vec![(Protocol::Udp, gateway)],
        here: Here::default(),
        rng: Box::new(generator),
    })
}

/// A phone at its gateway; the wall clock goes as it is told to.
struct World {
    now: Instant,
    wall: SystemTime,
    exchange: Exchange,
    phone: Endpoint,
    at: SocketAddr,
    /// The address that the gateway sees the phone at: that of a NAT may change.
    seen: SocketAddr,
    gateway: SocketAddr,
}

impl World {
    fn new() -> Self {
        let (at, gateway) = (([192, 0, 2, 7], 5060).into(), ([192, 0, 2, 1], 5060).into());
        let config = EndpointConfig {
            instance: "d0000001".into(),
            user_agent: "Phone/1.0".into(),
            realm: String::new(),
            trusted_proxies: Vec::new(),
            limits: quartet_proto::sip::Limits::default(),
        };
        let mut phone = Endpoint::new(config, generator());
        phone.set_local(vec![(Protocol::Udp, at)]);
        Self {
            now: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            exchange: exchange(PASSWORD, &["100", "101"], gateway),
            phone,
            at,
            seen: at,
            gateway,
        }
    }

    fn pass(&mut self, length: Duration) {
        self.now += length;
        self.wall += length;
        self.exchange.handle_timeout(self.now);
    }

    /// The phone registers for so long, or takes its binding back; gives what is handed to the store.
    fn register(&mut self, expires: Duration) -> Vec<Change> {
        let command = SipCommand::Register {
            domain: None,
            registration: 1,
            aor: "100".into(),
            five_tuple: FiveTuple::new(Protocol::Udp, self.at, self.gateway),
            credentials: Some(Credentials {
                user: "100".into(),
                password: PASSWORD.to_owned().into(),
            }),
            expires,
        };
        self.phone.handle_command(self.now, command).unwrap();
        loop {
            if let Some(sent) = self.phone.poll_transmit() {
                let datagram = Receive {
                    five_tuple: FiveTuple::new(Protocol::Udp, self.gateway, self.seen),
                    payload: &sent.payload,
                };
                self.exchange.handle_sip(self.now, datagram);
            } else if let Some(sent) = self.exchange.poll_transmit() {
                let datagram = Receive {
                    five_tuple: FiveTuple::new(Protocol::Udp, self.at, self.gateway),
                    payload: &sent.payload,
                };
                self.phone.handle_input(self.now, datagram);
            } else {
                break;
            }
        }
        let heard: Vec<_> = std::iter::from_fn(|| self.phone.poll_event()).collect();
        assert!(matches!(heard[..], [SipEvent::Registered { .. }]), "{heard:?}");
        self.changes()
    }

    fn changes(&mut self) -> Vec<Change> {
        let clock = self.clock();
        std::iter::from_fn(|| self.exchange.poll_change())
            .map(|change| change.at(&clock))
            .collect()
    }

    fn clock(&self) -> Clock {
        Clock {
            now: self.now,
            wall: self.wall,
        }
    }

    /// The gateway dies with this in its store, and another process starts.
    fn restart(&mut self, stored: Vec<StoredBinding>) {
        self.restart_as(exchange(PASSWORD, &["100", "101"], self.gateway), stored);
    }

    fn restart_as(&mut self, exchange: Exchange, stored: Vec<StoredBinding>) {
        self.exchange = exchange;
        self.exchange
            .restore(&self.clock(), [("100".to_owned(), stored)].into());
    }

    fn registered(&self) -> usize {
        self.exchange.phones(self.now).len()
    }
}

/// The bindings of the only change, which is of phone 100.
#[track_caller]
fn only(changes: Vec<Change>) -> Vec<StoredBinding> {
    let [Change::Bindings { user, bindings }] = <[_; 1]>::try_from(changes).expect("one change") else {
        panic!("bindings have changed");
    };
    assert_eq!(user, "100");
    bindings
}

#[test]
fn a_binding_is_stored_when_it_is_made_and_when_it_ends() {
    let mut world = World::new();
    let stored = only(world.register(600 * SECOND));
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].expires, 1_790_000_600);
    assert_eq!(
        (stored[0].five_tuple.remote, stored[0].five_tuple.local),
        (world.at, world.gateway)
    );
    assert_eq!(only(world.register(Duration::ZERO)), []);
    only(world.register(600 * SECOND));
    world.pass(599 * SECOND);
    assert_eq!(world.changes(), []);
    world.pass(SECOND);
    assert_eq!(only(world.changes()), []);
}

#[test]
fn a_refresh_is_stored_when_it_moves_the_end_by_a_tenth_of_the_term() {
    let mut world = World::new();
    only(world.register(600 * SECOND));
    for _ in 0..3 {
        // By less each time, and by more than that since it was last written.
        for _ in 0..2 {
            world.pass(30 * SECOND);
            assert_eq!(world.register(600 * SECOND), []);
        }
        world.pass(SECOND);
        let stored = only(world.register(600 * SECOND));
        let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(stored[0].expires);
        assert_eq!(ends, world.wall + 600 * SECOND);
    }
    assert_eq!(only(world.register(60 * SECOND)).len(), 1, "a shorter one as well");
}

#[test]
fn a_phone_at_another_address_is_stored_at_once() {
    let mut world = World::new();
    only(world.register(600 * SECOND));
    world.seen.set_port(5070);
    let stored = only(world.register(600 * SECOND));
    assert_eq!(stored.len(), 1);
    assert_eq!(
        (stored[0].five_tuple.remote, stored[0].source),
        (world.seen, world.seen)
    );
}

#[test]
fn another_process_knows_the_phone_and_its_end() {
    let mut world = World::new();
    let stored = only(world.register(600 * SECOND));
    world.pass(100 * SECOND);
    world.restart(stored.clone());
    assert_eq!(world.changes(), [], "the store has it already");
    assert_eq!(world.exchange.phones(world.now)[0].expires_s, 500);
    assert_eq!(
        world.exchange.phones(world.now)[0].user_agent.as_deref(),
        Some("Phone/1.0")
    );
    assert_eq!(
        world.register(510 * SECOND),
        [],
        "and a refresh by little is one by little still"
    );
    world.pass(510 * SECOND);
    assert_eq!(only(world.changes()), []);
}

#[test]
fn what_does_not_hold_any_more_is_removed_from_the_store() {
    let users = ["100", "101"];
    let gateway: SocketAddr = ([192, 0, 2, 1], 5060).into();
    for (why, password, users, later) in [
        ("it has expired", PASSWORD, &users[..], 600 * SECOND),
        ("the account is gone", PASSWORD, &users[1..], SECOND),
        ("the password is another", "battery-staple", &users[..], SECOND),
    ] {
        let mut world = World::new();
        let stored = only(world.register(600 * SECOND));
        world.pass(later);
        world.restart_as(exchange(password, users, gateway), stored);
        assert_eq!(world.registered(), 0, "{why}");
        assert_eq!(only(world.changes()), [], "{why}");
    }
}

/// As before DHCP: the address may come.
#[test]
fn what_was_registered_at_an_address_that_is_not_there_is_kept() {
    let mut world = World::new();
    let stored = only(world.register(600 * SECOND));
    let elsewhere = ([192, 0, 2, 1], 5061).into();
    world.restart_as(exchange(PASSWORD, &["100", "101"], elsewhere), stored);
    assert_eq!((world.registered(), world.changes()), (1, Vec::new()));
}

#[test]
fn a_clock_that_was_set_makes_no_binding_eternal() {
    let mut world = World::new();
    let mut stored = only(world.register(600 * SECOND));
    world.wall -= 10 * 365 * 86_400 * SECOND;
    world.restart(stored.clone());
    assert_eq!(world.exchange.phones(world.now)[0].expires_s, 600);
    let ends = |changes| SystemTime::UNIX_EPOCH + Duration::from_secs(only(changes)[0].expires);
    assert_eq!(
        ends(world.changes()),
        world.wall + 600 * SECOND,
        "nor at the next start"
    );
    // A file of an earlier program does not say how long it was to last.
    stored[0].seconds_left = None;
    world.restart(stored.clone());
    let longest = quartet_proto::sip::Limits::default().max_expires;
    assert_eq!(world.exchange.phones(world.now)[0].expires_s, longest.as_secs());
    assert_eq!(
        ends(world.changes()),
        world.wall + longest,
        "the next process is not told ten years again"
    );
    stored[0].expires = u64::MAX;
    world.restart(stored);
    assert_eq!(world.registered(), 0, "a time that no clock reaches is none");
}

#[test]
fn a_clock_that_is_set_while_a_phone_is_registered_loses_no_binding() {
    let mut world = World::new();
    let early = only(world.register(600 * SECOND));
    world.wall += 50 * 365 * 86_400 * SECOND;
    world.exchange.store_all_bindings();
    let stored = only(world.changes());
    world.restart(early);
    assert_eq!(world.registered(), 0, "as it was written first, it has ended long ago");
    world.restart(stored);
    assert_eq!(world.registered(), 1);
    assert_eq!(world.changes(), []);
}

#[test]
fn the_store_learns_nothing_of_a_password_but_that_it_is_another() {
    let mark = |password: &str| {
        exchange(password, &["100"], ([192, 0, 2, 1], 5060).into())
            .credential("100")
            .unwrap()
    };
    let marks: Vec<_> = ["a", "b", "c", "d"].map(mark).into();
    assert!(marks.iter().all(|mark| *mark <= 0xffff), "{marks:?}");
    assert_eq!(marks[0], mark("a"));
    assert!(marks.windows(2).all(|pair| pair[0] != pair[1]), "{marks:?}");
}
