//! The rendezvous from outside: frames in, frames out, under virtual time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quartet_proto::e2ee::KeyExchange;
use quartet_proto::hub::{
    CallAccept, CallConfirm, CallDiscard, CallId, CallReceived, CallRequest, CallSignal, ClientFrame, ClientName,
    Commitment, DiscardReason, ErrorCode, Event, ExchangeName, Hello, Later, Name, OfferedExchange, PROTOCOL, Packet,
    ProtocolRange, PublicValue, Reply, Request, ServerFrame, Token, Version, Welcome,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::*;

pub(crate) mod schema;
mod sessions;

const ANNA: ConnKey = ConnKey(1);
const BOB: ConnKey = ConnKey(2);
const BOB_TOO: ConnKey = ConnKey(3);
const EVE: ConnKey = ConnKey(4);
const OFFICE: ConnKey = ConnKey(5);
const GATEWAY: ConnKey = ConnKey(0);

/// A hub, its clients' inboxes and a clock.
struct World {
    hub: Rendezvous,
    directory: Arc<Directory>,
    now: Instant,
    start: Instant,
    answers: BTreeMap<ConnKey, Vec<Result<Reply, ErrorCode>>>,
    events: BTreeMap<ConnKey, Vec<Event>>,
    /// The numbers of the events.
    seqs: BTreeMap<ConnKey, Vec<Option<u64>>>,
    closed: BTreeMap<ConnKey, CloseReason>,
    next: u64,
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn token(user: &str) -> Token {
    let seed = user.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
    Token::generate(&mut ChaCha8Rng::seed_from_u64(seed))
}

fn source(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 5000))
}

fn id(byte: u8) -> CallId {
    CallId([byte; 16])
}

fn request(call: CallId, to: &str) -> Request {
    Request::CallRequest(CallRequest {
        call,
        from: None,
        to: name(to),
        exchanges: vec![OfferedExchange {
            name: KeyExchange::X25519.into(),
            commitment: Commitment([1; 32]),
        }],
        library_versions: vec![Version::new("9.0.0").unwrap()],
        udp_p2p: true,
    })
}

fn received(call: CallId) -> Request {
    Request::CallReceived(CallReceived { call })
}

fn accept(call: CallId) -> Request {
    Request::CallAccept(CallAccept {
        call,
        exchange: KeyExchange::X25519.into(),
        library_version: Version::new("9.0.0").unwrap(),
        public: PublicValue::new(vec![2; 32]).unwrap(),
        ice_servers: Vec::new(),
        reflectors: Vec::new(),
    })
}

fn confirm(call: CallId) -> Request {
    Request::CallConfirm(CallConfirm {
        call,
        public: PublicValue::new(vec![3; 32]).unwrap(),
        fingerprint: -4,
        ice_servers: Vec::new(),
        reflectors: Vec::new(),
    })
}

fn signal(call: CallId) -> Request {
    Request::CallSignal(CallSignal {
        call,
        packet: Packet::new(vec![5; 64]).unwrap(),
    })
}

fn discard(call: CallId, reason: DiscardReason) -> Request {
    Request::CallDiscard(CallDiscard {
        call,
        reason,
        duration: 3,
        lost: false,
    })
}

fn hello(user: &str) -> Request {
    Request::Hello(Hello {
        protocol: ProtocolRange { min: 1, max: 1 },
        client: ClientName::new("test").unwrap(),
        token: token(user),
        resume: None,
        receives: true,
    })
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    #[allow(clippy::disallowed_methods, reason = "the base of a virtual clock")]
    fn with(limits: Limits) -> Self {
        let start = Instant::now();
        let directory = Arc::new(Directory::default());
        for user in ["anna", "bob", "eve", "gw"] {
            directory.insert(Account::person(name(user)), token(user).hash());
        }
        let epoch = (start, 1_790_000_000);
        let config = RendezvousConfig {
            gateway: Some(name("gw")),
            limits,
            ice_servers: vec![],
            epoch,
        };
        let hub = Rendezvous::new(
            config,
            Arc::<Directory>::clone(&directory),
            Box::new(ChaCha8Rng::seed_from_u64(3)),
        );
        let (answers, events, seqs, closed) = Default::default();
        Self {
            hub,
            directory,
            now: start,
            start,
            answers,
            events,
            seqs,
            closed,
            next: 0,
        }
    }

    /// Anna, Bob and Eve connected.
    fn trio() -> Self {
        Self::trio_with(Limits::default())
    }

    fn trio_with(limits: Limits) -> Self {
        let mut world = Self::with(limits);
        for (conn, user) in [(ANNA, "anna"), (BOB, "bob"), (EVE, "eve")] {
            world.join(conn, user);
        }
        world
    }

    fn join(&mut self, conn: ConnKey, user: &str) -> Welcome {
        self.hub.connect(self.now, conn, source(conn.0 as u8));
        match self.ask(conn, hello(user)) {
            Ok(Reply::Welcome(welcome)) => *welcome,
            other => panic!("{user} is not welcome: {other:?}"),
        }
    }

    fn text(&mut self, conn: ConnKey, text: &str) {
        self.hub.handle_input(self.now, conn, text);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some((conn, text)) = self.hub.poll_transmit() {
            schema::check(&text);
            match ServerFrame::parse(&text).expect("the hub writes what clients can read") {
                ServerFrame::Answer { outcome, .. } => {
                    self.answers
                        .entry(conn)
                        .or_default()
                        .push(outcome.map_err(|failure| failure.code));
                }
                ServerFrame::Event { event, seq } => {
                    self.events.entry(conn).or_default().push(event);
                    self.seqs.entry(conn).or_default().push(seq);
                }
            }
        }
        while let Some((conn, reason)) = self.hub.poll_close() {
            self.closed.insert(conn, reason);
        }
    }

    /// Sends a request and gives its one answer.
    fn ask(&mut self, conn: ConnKey, request: Request) -> Result<Reply, ErrorCode> {
        self.next += 1;
        let frame = ClientFrame { id: self.next, request };
        schema::check(&frame.to_text());
        self.text(conn, &frame.to_text());
        let mut answers = self.answers.remove(&conn).unwrap_or_default();
        assert_eq!(answers.len(), 1, "one answer to {frame:?}");
        answers.remove(0)
    }

    fn done(&mut self, conn: ConnKey, request: Request) {
        assert_eq!(self.ask(conn, request.clone()), Ok(Reply::Done), "{request:?}");
    }

    fn events(&mut self, conn: ConnKey) -> Vec<Event> {
        self.events.remove(&conn).unwrap_or_default()
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.hub.handle_timeout(self.now);
        self.drain();
    }

    fn leave(&mut self, conn: ConnKey) {
        self.hub.disconnect(self.now, conn);
        self.drain();
    }

    /// Brings Anna's call to Bob to a stage: 0 nothing, 1 requested, 2 received, 3 accepted, 4 confirmed.
    fn bring_to(&mut self, call: CallId, stage: usize) {
        let steps = [
            (ANNA, request(call, "bob")),
            (BOB, received(call)),
            (BOB, accept(call)),
            (ANNA, confirm(call)),
        ];
        for (conn, step) in steps.into_iter().take(stage) {
            self.done(conn, step);
        }
        self.events.clear();
    }
}

#[test]
fn a_call_goes_its_way() {
    let mut world = World::trio();
    let call = id(1);
    world.done(ANNA, request(call, "bob"));
    let [Event::CallRequest(incoming)] = &world.events(BOB)[..] else {
        panic!("Bob is called")
    };
    assert_eq!(
        (incoming.from.clone(), incoming.to.clone()),
        (Some(name("anna")), name("bob"))
    );
    assert_eq!(incoming.exchanges[0].commitment, Commitment([1; 32]));
    world.done(BOB, received(call));
    assert!(matches!(world.events(ANNA)[..], [Event::CallReceived(_)]));
    world.done(BOB, accept(call));
    assert!(
        matches!(&world.events(ANNA)[..], [Event::CallAccept(body)] if body.public == PublicValue::new(vec![2; 32]).unwrap())
    );
    world.done(ANNA, confirm(call));
    assert!(matches!(&world.events(BOB)[..], [Event::CallConfirm(body)] if body.fingerprint == -4));
    world.done(ANNA, signal(call));
    world.done(BOB, signal(call));
    assert!(matches!(world.events(BOB)[..], [Event::CallSignal(_)]));
    assert!(matches!(world.events(ANNA)[..], [Event::CallSignal(_)]));
    world.done(BOB, discard(call, DiscardReason::Hangup));
    assert!(matches!(world.events(ANNA)[..], [Event::CallDiscard(body)] if body.duration == 3));
    assert!(world.events(BOB).is_empty() && world.events(EVE).is_empty());
    assert_eq!((world.hub.calls(), world.hub.entries()), (0, 3));
    assert_eq!(world.hub.poll_timeout(), None);
}

#[test]
fn every_verb_in_every_state() {
    // Per stage (0 nothing, 1 requested, 2 received, 3 accepted, 4 confirmed): which of the verbs each side may send.
    // R received, A accept, C confirm, S signal, D discard.
    let allowed = [("", ""), ("D", "RD"), ("D", "AD"), ("CD", "D"), ("SD", "SD")];
    let verbs = [
        ('R', received as fn(CallId) -> Request),
        ('A', accept),
        ('C', confirm),
        ('S', signal),
        ('D', |call| discard(call, DiscardReason::Hangup)),
    ];
    for (stage, (caller, callee)) in allowed.into_iter().enumerate() {
        for (conn, fine) in [(ANNA, caller), (BOB, callee), (EVE, "")] {
            for (letter, verb) in verbs {
                let mut world = World::trio();
                let call = id(9);
                world.bring_to(call, stage);
                let answer = world.ask(conn, verb(call));
                let place = format!("stage {stage}, {conn:?}, {letter}");
                if fine.contains(letter) {
                    assert_eq!(answer, Ok(Reply::Done), "{place}");
                    continue;
                }
                let code = if stage == 0 || conn == EVE {
                    ErrorCode::UnknownCall
                } else {
                    ErrorCode::Order
                };
                assert_eq!(answer, Err(code), "{place}");
                assert!(world.events.is_empty(), "{place}: an error has no effect");
                // The call goes on as if nothing had been said.
                let rest = [
                    (ANNA, request(call, "bob")),
                    (BOB, received(call)),
                    (BOB, accept(call)),
                    (ANNA, confirm(call)),
                ];
                for (conn, step) in rest.into_iter().skip(stage) {
                    world.done(conn, step);
                }
                world.done(BOB, signal(call));
            }
        }
    }
}

#[test]
fn a_call_id_is_used_once() {
    let mut world = World::trio();
    for stage in 1..=4 {
        let call = id(stage);
        world.bring_to(call, stage.into());
        assert_eq!(world.ask(ANNA, request(call, "bob")), Err(ErrorCode::RepeatedCall));
        assert_eq!(world.ask(EVE, request(call, "bob")), Err(ErrorCode::RepeatedCall));
        world.done(ANNA, discard(call, DiscardReason::Hangup));
        assert_eq!(world.ask(ANNA, request(call, "bob")), Err(ErrorCode::RepeatedCall));
        assert_eq!(
            world.ask(ANNA, discard(call, DiscardReason::Hangup)),
            Err(ErrorCode::UnknownCall)
        );
    }
}

#[test]
fn the_first_device_takes_the_call() {
    let mut world = World::trio();
    world.join(BOB_TOO, "bob");
    let call = id(1);
    world.done(ANNA, request(call, "bob"));
    assert_eq!((world.events(BOB).len(), world.events(BOB_TOO).len()), (1, 1));
    world.done(BOB, received(call));
    assert_eq!(world.ask(BOB, received(call)), Err(ErrorCode::Order));
    world.done(BOB_TOO, received(call));
    assert_eq!(world.events(ANNA).len(), 1, "it rings once for the caller");
    world.done(BOB_TOO, accept(call));
    assert!(matches!(world.events(BOB)[..], [Event::CallTaken(_)]));
    assert_eq!(
        world.ask(BOB, accept(call)),
        Err(ErrorCode::UnknownCall),
        "a second accept"
    );
    assert_eq!(world.ask(BOB, signal(call)), Err(ErrorCode::UnknownCall));
    assert_eq!(
        world.ask(BOB_TOO, accept(call)),
        Err(ErrorCode::Order),
        "a second accept of the same device"
    );
    world.done(ANNA, confirm(call));
    world.events.clear();
    world.done(ANNA, signal(call));
    assert_eq!((world.events(BOB).len(), world.events(BOB_TOO).len()), (0, 1));
}

#[test]
fn a_device_that_leaves_does_not_end_a_call_that_rings_elsewhere() {
    let mut world = World::trio();
    world.join(BOB_TOO, "bob");
    world.done(ANNA, request(id(1), "bob"));
    world.leave(BOB);
    assert!(world.events(ANNA).is_empty());
    world.done(BOB_TOO, received(id(1)));
    world.leave(BOB_TOO);
    assert!(matches!(
        world.events(ANNA)[..],
        [Event::CallReceived(_), Event::CallDiscard(_)]
    ));
    assert_eq!((world.hub.calls(), world.hub.entries()), (0, 2));
}

#[test]
fn a_closed_connection_leaves_nothing() {
    for stage in 1..=4 {
        for (gone, other, left) in [(ANNA, BOB, 2), (BOB, ANNA, 2)] {
            let mut world = World::trio();
            world.bring_to(id(1), stage);
            world.leave(gone);
            let [Event::CallDiscard(body)] = world.events(other)[..] else {
                panic!("stage {stage}: the other hears")
            };
            assert_eq!((body.reason, body.call), (DiscardReason::Disconnect, id(1)));
            assert_eq!(
                (world.hub.calls(), world.hub.entries(), world.hub.sessions()),
                (0, left, 2)
            );
            assert_eq!(world.hub.poll_timeout(), None);
            assert_eq!(world.ask(other, signal(id(1))), Err(ErrorCode::UnknownCall));
        }
    }
}

#[test]
fn time_ends_what_nobody_answers() {
    let cases = [
        (1, Some((90, DiscardReason::Missed))),
        (2, Some((90, DiscardReason::Missed))),
        (3, Some((30, DiscardReason::Disconnect))),
        (4, None),
    ];
    for (stage, expected) in cases {
        let mut world = World::trio();
        world.bring_to(id(1), stage);
        let Some((seconds, reason)) = expected else {
            world.wait(Duration::from_secs(100_000));
            assert_eq!(world.hub.calls(), 1);
            continue;
        };
        world.wait(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert!(world.events.is_empty());
        assert_eq!(world.hub.poll_timeout(), Some(world.now + Duration::from_millis(1)));
        world.wait(Duration::from_millis(1));
        for conn in [ANNA, BOB] {
            assert!(matches!(world.events(conn)[..], [Event::CallDiscard(body)] if body.reason == reason));
        }
        assert_eq!((world.hub.calls(), world.hub.entries()), (0, 3));
    }
}

#[test]
fn nothing_happens_before_hello() {
    let mut world = World::trio();
    let stranger = ConnKey(50);
    world.hub.connect(world.now, stranger, source(50));
    let verbs = [
        Request::Ping,
        request(id(1), "bob"),
        received(id(1)),
        accept(id(1)),
        confirm(id(1)),
        signal(id(1)),
        discard(id(1), DiscardReason::Busy),
        Request::Later(Later::Contacts),
    ];
    for verb in verbs {
        assert_eq!(world.ask(stranger, verb), Err(ErrorCode::Unauthorized));
    }
    assert!(world.events.is_empty());
    assert!(matches!(world.ask(stranger, hello("anna")), Ok(Reply::Welcome(_))));
    assert_eq!(world.ask(stranger, hello("anna")), Err(ErrorCode::Order));
    world.done(stranger, Request::Ping);
    for later in [
        Later::Presence,
        Later::Contacts,
        Later::Block,
        Later::InviteCreate,
        Later::InviteRevoke,
    ] {
        assert_eq!(world.ask(stranger, Request::Later(later)), Err(ErrorCode::Unsupported));
    }
}

#[test]
fn hello_must_come_in_time_and_fit() {
    let mut world = World::new();
    world.hub.connect(world.now, ANNA, source(1));
    world.wait(Duration::from_secs(10));
    assert_eq!(world.closed.get(&ANNA), Some(&CloseReason::NoHello));
    assert_eq!(world.hub.entries(), 0);

    world.hub.connect(world.now, BOB, source(2));
    let later = ProtocolRange { min: 3, max: 9 };
    let greeting = Hello {
        protocol: later,
        client: ClientName::new("x").unwrap(),
        token: token("bob"),
        resume: None,
        receives: true,
    };
    assert_eq!(world.ask(BOB, Request::Hello(greeting)), Err(ErrorCode::Protocol));
    assert_eq!(world.closed.get(&BOB), Some(&CloseReason::Refused));

    world.hub.connect(world.now, EVE, source(4));
    assert_eq!(
        world.ask(EVE, hello("gw")),
        Err(ErrorCode::Unauthorized),
        "the gateway's name is not for others"
    );
    world.hub.connect(world.now, ConnKey(9), source(9));
    assert_eq!(world.ask(ConnKey(9), hello("nobody")), Err(ErrorCode::Unauthorized));
    assert_eq!(world.hub.entries(), 0);
}

#[test]
fn hello_tells_the_limits_and_the_time() {
    let mut world = World::new();
    world.now += Duration::from_secs(5);
    let welcome = world.join(ANNA, "anna");
    assert_eq!((welcome.protocol, welcome.account.as_str()), (1, "anna"));
    assert_eq!(welcome.time, 1_790_000_005);
    assert_eq!(
        (welcome.limits.frame, welcome.limits.signal, welcome.limits.ring),
        (262_144, 131_072, 90)
    );
    assert_eq!(world.start + Duration::from_secs(5), world.now);
}

#[test]
fn callees_that_cannot_be_called() {
    let mut world = World::new();
    world.join(ANNA, "anna");
    let check = |world: &mut World, byte: u8, to: &str, code: ErrorCode| {
        assert_eq!(world.ask(ANNA, request(id(byte), to)), Err(code), "{to}");
        assert_eq!(world.hub.calls(), 0);
    };
    check(&mut world, 1, "bob", ErrorCode::Offline);
    check(&mut world, 2, "nobody", ErrorCode::UnknownUser);
    check(&mut world, 3, "100@bob", ErrorCode::UnknownUser);
    check(&mut world, 4, "anna", ErrorCode::Offline);
    check(&mut world, 5, "gw", ErrorCode::Offline);
    check(&mut world, 6, "100@gw", ErrorCode::Offline);
    assert_eq!(world.hub.entries(), 1);
}

#[test]
fn the_gateway_calls_and_is_called_by_extension() {
    let mut world = World::new();
    world.join(ANNA, "anna");
    world.hub.connect_local(GATEWAY);
    assert!(world.hub.is_online(&name("gw")) && !world.hub.is_online(&name("bob")));
    let from = |from: &str, call: CallId, to: &str| {
        let Request::CallRequest(mut body) = request(call, to) else {
            panic!("a request")
        };
        body.from = Some(name(from));
        Request::CallRequest(body)
    };
    world.done(GATEWAY, from("100@gw", id(1), "anna"));
    assert!(matches!(&world.events(ANNA)[..], [Event::CallRequest(body)] if body.from == Some(name("100@gw"))));
    world.done(GATEWAY, from("gw", id(2), "anna"));
    for (byte, to) in [(3, "gw"), (4, "100@gw")] {
        world.done(ANNA, request(id(byte), to));
        assert!(matches!(&world.events(GATEWAY)[..], [Event::CallRequest(body)] if body.to == name(to)));
    }
    assert_eq!(
        world.ask(GATEWAY, from("100@anna", id(5), "anna")),
        Err(ErrorCode::Forbidden)
    );
    assert_eq!(world.ask(ANNA, from("100@gw", id(6), "gw")), Err(ErrorCode::Forbidden));
    assert_eq!(world.ask(ANNA, from("bob", id(7), "gw")), Err(ErrorCode::Forbidden));
    assert_eq!(world.ask(ANNA, from("1@anna", id(8), "gw")), Err(ErrorCode::Forbidden));
    world.leave(GATEWAY);
    assert_eq!(world.hub.calls(), 0);
}

#[test]
fn only_what_was_offered_can_be_chosen() {
    let mut world = World::trio();
    world.bring_to(id(1), 2);
    let Request::CallAccept(good) = accept(id(1)) else {
        panic!("an accept")
    };
    let exchange = CallAccept {
        exchange: ExchangeName::from(KeyExchange::Dh2048),
        ..good.clone()
    };
    let version = CallAccept {
        library_version: Version::new("8.0.0").unwrap(),
        ..good.clone()
    };
    assert_eq!(
        world.ask(BOB, Request::CallAccept(exchange)),
        Err(ErrorCode::NotOffered)
    );
    assert_eq!(world.ask(BOB, Request::CallAccept(version)), Err(ErrorCode::NotOffered));
    world.done(BOB, Request::CallAccept(good));
}

#[test]
fn accounts_taken_back_are_closed() {
    let mut world = World::trio();
    world.bring_to(id(1), 4);
    assert_eq!(world.directory.remove("bob"), 1);
    let now = world.now;
    world.hub.close_account(now, "bob");
    world.drain();
    assert_eq!(world.closed.get(&BOB), Some(&CloseReason::Revoked));
    assert!(matches!(world.events(ANNA)[..], [Event::CallDiscard(_)]));
    assert_eq!(world.ask(ANNA, request(id(2), "bob")), Err(ErrorCode::UnknownUser));
    world.hub.connect(world.now, BOB_TOO, source(3));
    assert_eq!(world.ask(BOB_TOO, hello("bob")), Err(ErrorCode::Unauthorized));
}

#[test]
fn a_flood_of_rubbish_closes_the_connection() {
    let mut world = World::trio();
    world.bring_to(id(1), 4);
    for _ in 0..10_000 {
        world.text(EVE, "{\"id\":1,\"verb\":\"nonsense\"}");
    }
    assert_eq!(world.closed.get(&EVE), Some(&CloseReason::Flood));
    assert!(
        world.answers.remove(&EVE).unwrap().len() <= 102,
        "a closed connection gets no more answers"
    );
    world.done(ANNA, signal(id(1)));
    assert_eq!(world.hub.sessions(), 2);
}

#[test]
fn a_flood_of_bytes_is_not_even_read() {
    let mut world = World::trio();
    let large = format!("{{\"id\":1,\"verb\":\"ping\",\"x\":\"{}\"}}", "y".repeat(200_000));
    for _ in 0..1000 {
        world.text(EVE, &large);
    }
    assert_eq!(world.closed.get(&EVE), Some(&CloseReason::Flood));
    let answers = world.answers.remove(&EVE).unwrap();
    assert!(
        answers.iter().filter(|answer| answer.is_ok()).count() <= 21,
        "16 seconds of 256 KiB"
    );

    world.text(BOB, &"x".repeat(300_000));
    assert_eq!(world.answers.remove(&BOB), Some(vec![Err(ErrorCode::TooLarge)]));
    assert_eq!(world.closed.get(&BOB), Some(&CloseReason::Flood));
}

#[test]
fn a_user_is_rung_ten_times_a_minute_whoever_calls() {
    let mut world = World::trio();
    let ring = |world: &mut World, byte: u8| {
        let conn = if byte.is_multiple_of(2) { EVE } else { ANNA };
        let asked = world.ask(conn, request(id(byte), "bob"));
        if asked.is_ok() {
            world.done(conn, discard(id(byte), DiscardReason::Hangup));
        }
        asked
    };
    let rung = (0..20).filter(|byte| ring(&mut world, *byte).is_ok()).count();
    assert_eq!(rung, 5, "half of them at once");
    assert_eq!(ring(&mut world, 20), Err(ErrorCode::RateLimited));
    world.wait(Duration::from_secs(6));
    assert!(ring(&mut world, 21).is_ok());
    assert_eq!(ring(&mut world, 22), Err(ErrorCode::RateLimited));
}

#[test]
fn the_gateways_calls_count_among_those_that_ring_a_user() {
    let mut world = World::trio();
    world.hub.connect_local(GATEWAY);
    let ring = |world: &mut World, conn: ConnKey, byte: u8| {
        let asked = world.ask(conn, request(id(byte), "bob"));
        if asked.is_ok() {
            world.done(conn, discard(id(byte), DiscardReason::Hangup));
        }
        asked
    };
    let mut rung = 0;
    for second in 0..60_u8 {
        for (conn, byte) in [(GATEWAY, second), (EVE, 100 + second)] {
            rung += usize::from(ring(&mut world, conn, byte).is_ok());
        }
        world.wait(Duration::from_secs(1));
    }
    assert!(
        (10..=15).contains(&rung),
        "{rung} in a minute, half of ten of them at once"
    );
    while ring(&mut world, GATEWAY, 200 + rung as u8).is_ok() {
        rung += 1;
    }
    assert_eq!(ring(&mut world, GATEWAY, 254), Err(ErrorCode::RateLimited));
}

#[test]
fn one_caller_leaves_others_half_of_a_users_minute() {
    let mut world = World::trio();
    let mut next = 0;
    let mut ring = |world: &mut World, conn: ConnKey| {
        next += 1;
        let asked = world.ask(conn, request(id(next), "bob"));
        if asked.is_ok() {
            world.done(conn, discard(id(next), DiscardReason::Hangup));
        }
        asked.is_ok()
    };
    let (mut flood, mut other) = (0, 0);
    for second in 0..80 {
        flood += usize::from(ring(&mut world, EVE));
        if second % 20 == 19 {
            other += usize::from(ring(&mut world, ANNA));
        }
        world.wait(Duration::from_secs(1));
    }
    assert_eq!(other, 4, "nobody else is refused; eve rang {flood} times");
}

#[test]
fn an_account_that_owes_does_not_silence_its_neighbour() {
    let mut world = World::new();
    for (conn, token) in [(ANNA, "anna"), (EVE, "eve")] {
        world.hub.connect(world.now, conn, source(7));
        world.ask(conn, hello(token)).unwrap();
    }
    for byte in 0..30 {
        assert_eq!(world.ask(EVE, request(id(byte), "bob")), Err(ErrorCode::Offline));
    }
    assert_eq!(world.ask(EVE, request(id(31), "bob")), Err(ErrorCode::RateLimited));
    assert_eq!(world.ask(ANNA, request(id(32), "bob")), Err(ErrorCode::Offline));
}

#[test]
fn half_open_calls_are_bounded() {
    let mut world = World::trio_with(Limits {
        calls_per_minute_callee: 1_000,
        ..Limits::default()
    });
    let mut codes = Vec::new();
    for byte in 0..60 {
        codes.push(world.ask(EVE, request(id(byte), "bob")));
    }
    assert_eq!(codes.iter().filter(|code| code.is_ok()).count(), 4);
    assert_eq!(codes[4], Err(ErrorCode::Limit));
    assert_eq!(codes[59], Err(ErrorCode::RateLimited));
    assert_eq!(world.hub.calls(), 4);
    // One caller has half of bob's connection; others reach him, until it is full.
    for byte in 100..104 {
        world.done(ANNA, request(id(byte), "bob"));
    }
    assert_eq!(world.ask(ANNA, request(id(104), "bob")), Err(ErrorCode::Limit));
    world.wait(Duration::from_secs(90));
    assert_eq!((world.hub.calls(), world.hub.entries()), (0, 3));
    world.done(ANNA, request(id(110), "bob"));
}

#[test]
fn signals_have_a_rate_and_recover() {
    let mut world = World::trio();
    world.bring_to(id(1), 4);
    let passed = (0..250).filter(|_| world.ask(ANNA, signal(id(1))).is_ok()).count();
    assert_eq!(passed, 200);
    world.wait(Duration::from_secs(1));
    let passed = (0..60).filter(|_| world.ask(ANNA, signal(id(1))).is_ok()).count();
    assert_eq!(passed, 50);
    world.done(ANNA, discard(id(1), DiscardReason::Hangup));
}

#[test]
fn a_reconnect_does_not_reset_what_an_account_owes() {
    let mut world = World::new();
    world.join(ANNA, "anna");
    for byte in 0..30 {
        assert_eq!(world.ask(ANNA, request(id(byte), "bob")), Err(ErrorCode::Offline));
    }
    assert_eq!(world.ask(ANNA, request(id(31), "bob")), Err(ErrorCode::RateLimited));
    world.leave(ANNA);
    world.join(EVE, "anna");
    assert_eq!(world.ask(EVE, request(id(32), "bob")), Err(ErrorCode::RateLimited));
    world.wait(Duration::from_secs(2));
    assert_eq!(world.ask(EVE, request(id(33), "bob")), Err(ErrorCode::Offline));
}

#[test]
fn thousands_of_invitations_tried() {
    let mut world = World::new();
    let mut tried = 0;
    let mut next = 100;
    // One hour from one address, as fast as the hub allows.
    while world.now < world.start + Duration::from_secs(3600) {
        next += 1;
        let conn = ConnKey(next);
        world.hub.connect(world.now, conn, source(200));
        match world.ask(conn, hello(&format!("guess{next}"))) {
            Err(ErrorCode::Unauthorized) => tried += 1,
            Err(ErrorCode::RateLimited) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(world.closed.get(&conn), Some(&CloseReason::Refused));
        world.wait(Duration::from_millis(500));
    }
    assert!(tried <= 50, "{tried} guesses in an hour");
    world.hub.connect(world.now, ANNA, source(200));
    assert!(
        world.ask(ANNA, hello("anna")).is_ok(),
        "who knows a token is not kept out by a neighbour who does not"
    );
}

#[test]
fn connections_are_bounded() {
    let mut world = World::with(Limits {
        pending: 20,
        ..Limits::default()
    });
    for conn in 1..=17 {
        world.hub.connect(world.now, ConnKey(conn), source(7));
    }
    world.drain();
    assert_eq!(
        (world.hub.sessions(), world.closed.get(&ConnKey(1))),
        (16, Some(&CloseReason::TooMany)),
        "the oldest made room"
    );
    for conn in 100..1000 {
        world.hub.connect(world.now, ConnKey(conn), source((conn % 250) as u8));
    }
    world.drain();
    assert_eq!(world.hub.sessions(), 20);
    world.wait(Duration::from_secs(10));
    assert_eq!(
        (
            world.hub.sessions(),
            world.hub.entries(),
            world.hub.remembered_sources()
        ),
        (0, 0, 0)
    );
    for device in 1..=8 {
        world
            .hub
            .connect(world.now, ConnKey(2000 + device), source(device as u8));
        assert!(world.ask(ConnKey(2000 + device), hello("anna")).is_ok());
    }
    world.hub.connect(world.now, ConnKey(3000), source(99));
    assert_eq!(world.ask(ConnKey(3000), hello("anna")), Err(ErrorCode::Limit));
}

/// Seen: forty silent WebSockets, or some of one's own office, and nobody else got in.
#[test]
fn connections_without_a_hello_take_no_users_place() {
    let mut world = World::with(Limits {
        sessions: 3,
        sessions_per_source: 2,
        ..Limits::default()
    });
    let mut next = 1_000;
    let mut joins = |world: &mut World, from: u8| {
        for silent in 0..300_u64 {
            let crowd = if silent % 2 == 0 {
                from
            } else {
                100 + (silent % 50) as u8
            };
            world
                .hub
                .connect(world.now, ConnKey(10_000 + next * 1_000 + silent), source(crowd));
        }
        next += 1;
        world.hub.connect(world.now, ConnKey(next), source(from));
        world.ask(ConnKey(next), hello("anna")).map(|_| ConnKey(next))
    };
    let first = joins(&mut world, 1).expect("the first");
    assert!(joins(&mut world, 1).is_ok());
    assert_eq!(joins(&mut world, 1), Err(ErrorCode::Limit), "of one source");
    assert!(joins(&mut world, 2).is_ok());
    assert_eq!(joins(&mut world, 3), Err(ErrorCode::Limit), "of the hub");
    world.hub.disconnect(world.now, first);
    assert!(joins(&mut world, 3).is_ok(), "there is room again");
}

#[test]
fn the_gateways_own_connection_takes_nobodys_place() {
    let mut world = World::with(Limits {
        sessions: 1,
        ..Limits::default()
    });
    world.hub.connect_local(GATEWAY);
    world.hub.connect(world.now, ANNA, source(1));
    assert!(world.ask(ANNA, hello("anna")).is_ok());
    assert_eq!(world.hub.sessions(), 1);
    world.hub.disconnect(world.now, GATEWAY);
    assert_eq!(world.hub.sessions(), 1);
}

/// A world with a gateway elsewhere, `office`, on a connection of its own.
fn with_office(limits: Limits) -> World {
    let mut world = World::trio_with(limits);
    let office = Account {
        user: name("office"),
        is_gateway: true,
    };
    world.directory.insert(office, token("office").hash());
    world.join(OFFICE, "office");
    world
}

fn request_as(call: CallId, from: &str, to: &str) -> Request {
    let Request::CallRequest(body) = request(call, to) else {
        unreachable!("a request of a call is one")
    };
    let from = Some(name(from));
    Request::CallRequest(CallRequest { from, ..body })
}

#[test]
fn a_gateway_elsewhere_has_extensions() {
    let mut world = with_office(Limits::default());
    world.done(OFFICE, request_as(id(1), "100@office", "bob"));
    assert!(matches!(&world.events(BOB)[..], [Event::CallRequest(body)] if body.from == Some(name("100@office"))));
    world.done(BOB, request(id(2), "101@office"));
    assert!(matches!(&world.events(OFFICE)[..], [Event::CallRequest(body)] if body.to == name("101@office")));
    // Nobody calls as another gateway, and a person has none.
    for (from, to, code) in [
        ("100@gw", "bob", ErrorCode::Forbidden),
        ("anna", "bob", ErrorCode::Forbidden),
        ("100@office", "7@bob", ErrorCode::UnknownUser),
        ("100@office", "7@nobody", ErrorCode::UnknownUser),
    ] {
        assert_eq!(world.ask(OFFICE, request_as(id(3), from, to)), Err(code), "{from} {to}");
    }
    assert_eq!(
        world.ask(BOB, request_as(id(4), "7@bob", "anna")),
        Err(ErrorCode::Forbidden)
    );
}

#[test]
fn a_gateway_elsewhere_has_bounds_of_its_own() {
    let mut world = with_office(Limits {
        calls_per_minute_callee: 1_000,
        gateway: AccountLimits::of_gateway(20, 600),
        ..Limits::default()
    });
    // Anna, Bob and Eve have eight places each, and the gateway all of them.
    let mut codes = Vec::new();
    for byte in 0..24_u8 {
        let to = ["anna", "bob", "eve"][usize::from(byte % 3)];
        codes.push(world.ask(OFFICE, request_as(id(byte), "100@office", to)));
    }
    assert_eq!(codes.iter().filter(|code| code.is_ok()).count(), 20);
    assert_eq!(codes[20], Err(ErrorCode::Limit));
    // More than a person may begin in a minute, and more refused frames than a person is allowed.
    for byte in 0..200 {
        let code = world.ask(OFFICE, request_as(id(byte), "100@office", "nobody"));
        assert_eq!(code, Err(ErrorCode::UnknownUser), "{byte}");
    }
    let mut frames = 0;
    while world.closed.is_empty() {
        let request = request_as(id(201), "100@office", "nobody");
        let id = 9000 + frames;
        world.text(OFFICE, &ClientFrame { id, request }.to_text());
        frames += 1;
        assert!(frames < 1200, "but they are bounded");
    }
    assert_eq!(world.closed.get(&OFFICE), Some(&CloseReason::Flood));
}

/// A gateway bounds the calls of its own callers; together they are bounded at the callee.
#[test]
fn a_gateway_shares_its_calls_to_one_user_out_itself() {
    let mut world = with_office(Limits::default());
    for byte in 0..5 {
        world.done(OFFICE, request_as(id(byte), "100@office", "bob"));
        world.done(OFFICE, discard(id(byte), DiscardReason::Hangup));
    }
    let failure = world.ask(OFFICE, request_as(id(9), "101@office", "bob"));
    assert_eq!(failure, Err(ErrorCode::RateLimited));
    assert_eq!(world.hub.calls(), 0);
}

#[test]
fn many_addresses_do_not_fill_the_memory() {
    let mut world = World::with(Limits {
        sessions: 10,
        ..Limits::default()
    });
    for host in 0..20_000_u32 {
        let conn = ConnKey(u64::from(host) + 10);
        world
            .hub
            .connect(world.now, conn, SocketAddr::from((host.to_be_bytes(), 1)));
        assert_eq!(world.ask(conn, hello("nobody")), Err(ErrorCode::Unauthorized));
    }
    assert!(world.hub.remembered_sources() <= 10 + 8192 + 1);
}

#[test]
fn mutated_conversations_never_panic_and_leave_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut world = World::trio();
    world.hub.connect_local(GATEWAY);
    let conns = [ANNA, BOB, EVE, GATEWAY];
    let users = ["anna", "bob", "gw", "7@gw"];
    for round in 0..20_000_u32 {
        let call = id((rng.next_u32() % 16) as u8 + (round / 2000) as u8 * 16);
        let conn = conns[rng.next_u32() as usize % 4];
        let request = match rng.next_u32() % 8 {
            0 | 1 => request(call, users[rng.next_u32() as usize % 4]),
            2 => received(call),
            3 => accept(call),
            4 => confirm(call),
            5 => signal(call),
            6 => discard(call, DiscardReason::Hangup),
            _ => Request::Ping,
        };
        let mut bytes = ClientFrame {
            id: round.into(),
            request,
        }
        .to_text()
        .into_bytes();
        if rng.next_u32().is_multiple_of(4) {
            let at = rng.next_u32() as usize % bytes.len();
            bytes[at] = rng.next_u32() as u8;
        }
        world.text(conn, &String::from_utf8_lossy(&bytes));
        world.wait(Duration::from_millis(u64::from(rng.next_u32() % 2000)));
        world.events.clear();
        world.answers.clear();
        for conn in [ANNA, BOB, EVE] {
            if world.closed.remove(&conn).is_some() || rng.next_u32().is_multiple_of(500) {
                world.leave(conn);
                world.join(conn, ["", "anna", "bob", "", "eve"][conn.0 as usize]);
            }
        }
    }
    for conn in conns {
        world.leave(conn);
    }
    assert_eq!(
        (world.hub.entries(), world.hub.calls(), world.hub.poll_timeout()),
        (0, 0, None)
    );
}

#[test]
fn invitations_are_given_and_taken_back() {
    let path = std::env::temp_dir().join(format!("quartet-invite-{}.db", std::process::id()));
    let open = || Invitations::load(crate::store::Store::open(&path).unwrap(), Some(name("gw"))).unwrap();
    let invitations = open();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let first = invitations.invite("carl", false, 1, &mut rng).unwrap();
    let second = invitations.invite("carl", false, 2, &mut rng).unwrap();
    assert_ne!(first, second);
    assert!(matches!(
        invitations.invite("gw", false, 3, &mut rng),
        Err(InviteError::Reserved { .. })
    ));
    assert!(matches!(
        invitations.invite("100@gw", false, 3, &mut rng),
        Err(InviteError::Name { .. })
    ));
    assert!(matches!(
        invitations.invite("Carl", false, 3, &mut rng),
        Err(InviteError::Name { .. })
    ));
    assert!(matches!(
        invitations.revoke("dora", 3),
        Err(InviteError::Unknown { .. })
    ));
    let stored = std::fs::read(&path).unwrap();
    assert!(
        !stored.windows(43).any(|window| window == first.to_text().as_bytes()),
        "the token is nowhere on disk"
    );

    drop(invitations);
    let invitations = open();
    let directory = invitations.directory();
    assert_eq!(
        directory.by_token(&first.hash()),
        Some(Account {
            user: name("carl"),
            is_gateway: false
        })
    );
    assert!(directory.by_token(&second.hash()).is_some() && directory.by_name("carl").is_some());
    assert_eq!(invitations.revoke("carl", 9).unwrap(), 2);
    assert!(directory.by_token(&first.hash()).is_none() && directory.by_name("carl").is_none());
    for _ in 0..16 {
        invitations.invite("carl", false, 10, &mut rng).unwrap();
    }
    assert!(matches!(
        invitations.invite("carl", false, 11, &mut rng),
        Err(InviteError::TooMany { .. })
    ));
    // A name is of one kind.
    assert!(matches!(
        invitations.invite("carl", true, 12, &mut rng),
        Err(InviteError::Kind { is_gateway: false, .. })
    ));
    let office = invitations.invite("office", true, 12, &mut rng).unwrap();
    assert!(matches!(
        invitations.invite("office", false, 13, &mut rng),
        Err(InviteError::Kind { is_gateway: true, .. })
    ));
    drop((invitations, directory));
    let invitations = open();
    let known = invitations.directory().by_token(&office.hash());
    assert!(known.is_some_and(|account| account.is_gateway));
    assert_eq!(invitations.revoke("office", 14).unwrap(), 1);
    assert!(invitations.invite("office", false, 15, &mut rng).is_ok());
    drop(invitations);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
}
