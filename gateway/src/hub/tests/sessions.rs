//! Protocol 2: what outlives a connection.

use quartet_proto::hub::{CallLink, CallRejoin, IceServers, Resume};

use super::*;
use crate::hub::HandedServer;

const BOB_AGAIN: ConnKey = ConnKey(12);
const SECOND: Duration = Duration::from_secs(1);

/// A client that counts what it hears.
#[derive(Clone)]
struct Client {
    user: &'static str,
    conn: ConnKey,
    resume: Resume,
}

fn hello_of(user: &str, resume: Option<Resume>, receives: bool) -> Request {
    Request::Hello(Hello {
        protocol: PROTOCOL,
        client: ClientName::new("test").unwrap(),
        token: token(user),
        resume,
        receives,
    })
}

/// Connects from that host, and says hello.
fn say_hello(
    world: &mut World,
    (conn, host): (ConnKey, u8),
    user: &str,
    resume: Option<Resume>,
) -> Result<Reply, ErrorCode> {
    world.hub.connect(world.now, conn, source(host));
    world.ask(conn, hello_of(user, resume, true))
}

impl Client {
    fn join(world: &mut World, conn: ConnKey, user: &'static str) -> Self {
        let welcome = Self::welcome(say_hello(world, (conn, conn.0 as u8), user, None));
        assert!(!welcome.resumed);
        Self {
            user,
            conn,
            resume: Self::resume_of(&welcome),
        }
    }

    fn welcome(reply: Result<Reply, ErrorCode>) -> Welcome {
        let Ok(Reply::Welcome(welcome)) = reply else {
            panic!("not welcome: {reply:?}");
        };
        assert_eq!(welcome.protocol, 2);
        *welcome
    }

    fn resume_of(welcome: &Welcome) -> Resume {
        Resume {
            session: welcome.session.unwrap(),
            secret: welcome.resume_secret.clone().unwrap(),
            last_seq: 0,
            beside: false,
        }
    }

    /// What has come, in order and without a gap.
    fn hear(&mut self, world: &mut World) -> Vec<Event> {
        let numbers = world.seqs.remove(&self.conn).unwrap_or_default();
        for number in numbers {
            assert_eq!(number, Some(self.resume.last_seq + 1));
            self.resume.last_seq += 1;
        }
        world.events(self.conn)
    }

    /// Comes back on another connection.
    fn come_back(&mut self, world: &mut World, conn: ConnKey) -> Result<(), ErrorCode> {
        let resume = Some(self.resume.clone());
        let reply = say_hello(world, (conn, conn.0 as u8), self.user, resume)?;
        let welcome = Self::welcome(Ok(reply));
        assert!(welcome.resumed);
        let last_seq = self.resume.last_seq;
        self.conn = conn;
        self.resume = Resume {
            last_seq,
            ..Self::resume_of(&welcome)
        };
        Ok(())
    }
}

/// Anna and Bob, who talk.
fn talking() -> (World, Client, Client) {
    let mut world = World::new();
    let mut anna = Client::join(&mut world, ANNA, "anna");
    let mut bob = Client::join(&mut world, BOB, "bob");
    for (conn, step) in [
        (ANNA, request(id(1), "bob")),
        (BOB, received(id(1))),
        (BOB, accept(id(1))),
        (ANNA, confirm(id(1))),
    ] {
        world.done(conn, step);
    }
    assert_eq!(anna.hear(&mut world).len(), 2);
    assert_eq!(bob.hear(&mut world).len(), 2);
    (world, anna, bob)
}

fn link(event: fn(CallLink) -> Event) -> Event {
    event(CallLink { call: id(1) })
}

#[test]
fn a_call_outlives_a_connection_that_is_lost_for_forty_seconds() {
    let (mut world, mut anna, mut bob) = talking();
    world.leave(BOB);
    world.wait(2 * SECOND);
    assert_eq!(anna.hear(&mut world), []);
    world.wait(2 * SECOND);
    assert_eq!(anna.hear(&mut world), [link(Event::CallAway)]);
    // What she says meanwhile waits.
    for _ in 0..3 {
        world.done(ANNA, signal(id(1)));
    }
    world.wait(36 * SECOND);
    bob.come_back(&mut world, BOB_AGAIN).unwrap();
    assert_eq!(bob.hear(&mut world).len(), 3);
    assert_eq!(anna.hear(&mut world), [link(Event::CallBack)]);
    // Both ways, and to the end, from either side.
    world.done(BOB_AGAIN, signal(id(1)));
    assert_eq!(anna.hear(&mut world).len(), 1);
    world.done(BOB_AGAIN, discard(id(1), DiscardReason::Hangup));
    assert!(matches!(anna.hear(&mut world)[..], [Event::CallDiscard(_)]));
    assert_eq!(world.hub.calls(), 0);
}

#[test]
fn what_was_sent_and_not_read_is_sent_again_and_nothing_else() {
    let (mut world, _, mut bob) = talking();
    for _ in 0..4 {
        world.done(ANNA, signal(id(1)));
    }
    // Two of the four were read.
    world.seqs.remove(&BOB);
    world.events(BOB);
    bob.resume.last_seq += 2;
    world.leave(BOB);
    bob.come_back(&mut world, BOB_AGAIN).unwrap();
    assert_eq!(bob.hear(&mut world).len(), 2);
}

#[test]
fn a_session_that_is_not_resumed_in_a_minute_ends_with_its_calls() {
    let (mut world, mut anna, mut bob) = talking();
    world.leave(BOB);
    world.wait(59 * SECOND);
    assert_eq!(anna.hear(&mut world), [link(Event::CallAway)]);
    world.wait(2 * SECOND);
    let [Event::CallDiscard(body)] = anna.hear(&mut world)[..] else {
        panic!("it ends");
    };
    assert_eq!((body.reason, body.lost), (DiscardReason::Disconnect, true));
    assert_eq!(bob.come_back(&mut world, BOB_AGAIN), Err(ErrorCode::ResumeLost));
    // On the same connection he begins anew.
    assert!(world.ask(BOB_AGAIN, hello_of("bob", None, true)).is_ok());
    world.leave(BOB_AGAIN);
    world.leave(ANNA);
    world.wait(61 * SECOND);
    assert_eq!(world.hub.entries(), 0);
}

#[test]
fn neither_token_nor_secret_alone_resumes_nor_an_older_secret() {
    let (mut world, _, mut bob) = talking();
    let first = bob.resume.clone();
    world.leave(BOB);
    // Another's token with Bob's secret; Bob's token with another secret, or with another session.
    let thief = ConnKey(20);
    for (n, (user, resume)) in [
        ("eve", first.clone()),
        (
            "bob",
            Resume {
                secret: token("x"),
                ..first.clone()
            },
        ),
        (
            "bob",
            Resume {
                session: quartet_proto::hub::SessionId([1; 16]),
                ..first.clone()
            },
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let conn = ConnKey(thief.0 + n as u64);
        world.hub.connect(world.now, conn, source(20));
        assert_eq!(
            world.ask(conn, hello_of(user, Some(resume), true)),
            Err(ErrorCode::ResumeLost)
        );
    }
    bob.come_back(&mut world, BOB_AGAIN).unwrap();
    // The welcome may have been lost: the secret before is good until he has said something.
    let mut late = Client {
        user: "bob",
        conn: BOB,
        resume: first.clone(),
    };
    late.resume.last_seq = bob.resume.last_seq;
    let conn = ConnKey(30);
    late.come_back(&mut world, conn).unwrap();
    assert_eq!(world.closed.get(&BOB_AGAIN), Some(&CloseReason::Resumed));
    world.done(conn, Request::Ping);
    // Replayed.
    let mut replay = Client {
        user: "bob",
        conn: BOB,
        resume: first,
    };
    assert_eq!(
        replay.come_back(&mut world, ConnKey(31)),
        Err(ErrorCode::ResumeLost),
        "his session goes on"
    );
    world.done(conn, signal(id(1)));
}

#[test]
fn a_request_that_is_sent_again_is_done_once() {
    let (mut world, mut anna, mut bob) = talking();
    let frame = ClientFrame {
        id: 777,
        request: signal(id(1)),
    };
    world.text(BOB, &frame.to_text());
    world.answers.clear();
    world.leave(BOB);
    bob.come_back(&mut world, BOB_AGAIN).unwrap();
    world.text(BOB_AGAIN, &frame.to_text());
    assert_eq!(world.answers.remove(&BOB_AGAIN), Some(vec![Ok(Reply::Done)]));
    assert_eq!(anna.hear(&mut world).len(), 1);
    // An error as well.
    let frame = ClientFrame {
        id: 778,
        request: accept(id(9)),
    };
    for _ in 0..2 {
        world.text(BOB_AGAIN, &frame.to_text());
        assert_eq!(
            world.answers.remove(&BOB_AGAIN),
            Some(vec![Err(ErrorCode::UnknownCall)])
        );
    }
}

/// Seen: the first event after it was lost ended a session that had read 256 before.
#[test]
fn what_was_read_before_takes_no_room_of_what_waits() {
    for long in [false, true] {
        let (mut world, mut anna, mut bob) = talking();
        let signal = || {
            let Request::CallSignal(body) = signal(id(1)) else {
                unreachable!("a signal is one")
            };
            let packet = if long { vec![7; 40_000] } else { vec![7; 20] };
            let packet = Packet::new(packet).unwrap();
            Request::CallSignal(CallSignal { packet, ..body })
        };
        for _ in 0..600 {
            world.done(ANNA, signal());
            world.now += SECOND;
        }
        assert_eq!(bob.hear(&mut world).len(), 600);
        world.leave(BOB);
        let waits = if long { 4 } else { 256 };
        for _ in 0..waits {
            world.done(ANNA, signal());
            world.now += SECOND / 10;
        }
        assert_eq!(anna.hear(&mut world), []);
        bob.come_back(&mut world, BOB_AGAIN).unwrap();
        assert_eq!(bob.hear(&mut world).len(), waits);
    }
}

/// Seen: 64 KiB into a connection that was dead, and not known to be, ended the session.
#[test]
fn what_a_dead_connection_took_is_sent_again() {
    for (count, size) in [(1, 128 * 1024), (4, 40_000), (200, 100)] {
        let (mut world, _, mut bob) = talking();
        for _ in 0..count {
            let Request::CallSignal(body) = signal(id(1)) else {
                unreachable!("a signal is one")
            };
            let packet = Packet::new(vec![7; size]).unwrap();
            world.done(ANNA, Request::CallSignal(CallSignal { packet, ..body }));
            world.now += SECOND / 10;
        }
        // He never saw them.
        world.events.remove(&BOB);
        world.seqs.remove(&BOB);
        world.leave(BOB);
        bob.come_back(&mut world, BOB_AGAIN).unwrap();
        assert_eq!(bob.hear(&mut world).len(), count);
    }
}

/// Seen: a user's peer drew more signals of him than the hub takes, and the hub ended his session with all its calls.
#[test]
fn who_is_made_to_signal_too_much_keeps_his_connection_and_who_floods_his_session() {
    let (mut world, mut anna, mut bob) = talking();
    for _ in 0..2_000 {
        let outcome = world.ask(BOB, signal(id(1)));
        assert!(
            matches!(outcome, Ok(Reply::Done) | Err(ErrorCode::RateLimited)),
            "{outcome:?}"
        );
    }
    assert!(world.closed.is_empty());
    world.now += 10 * SECOND;
    for frame in 0..200 {
        world.text(BOB, &format!("{{\"id\":{frame},\"verb\":\"nonsense\"}}"));
    }
    assert_eq!(world.closed.get(&BOB), Some(&CloseReason::Flood));
    world.answers.clear();
    anna.hear(&mut world);
    bob.come_back(&mut world, BOB_AGAIN).unwrap();
    world.done(BOB_AGAIN, signal(id(1)));
    assert_eq!(anna.hear(&mut world).len(), 1);
}

/// Seen: lost twice before its answer, a hello made the only secret that its client had read useless.
#[test]
fn the_secret_that_was_read_is_good_however_often_an_answer_is_lost() {
    let (mut world, _, bob) = talking();
    for conn in 40..45 {
        bob.clone().come_back(&mut world, ConnKey(conn)).unwrap();
        world.leave(ConnKey(conn));
    }
}

/// Seen: what came on a second connection made the only secret that its client had read useless.
#[test]
fn a_connection_beside_says_nothing_of_an_answer_that_was_lost() {
    let (mut world, _, bob) = talking();
    world.leave(BOB);
    bob.clone().come_back(&mut world, ConnKey(40)).unwrap();
    bob.come_beside(&mut world, ConnKey(41)).unwrap();
    world.done(ConnKey(41), Request::Ping);
    world.leave(ConnKey(40));
    world.leave(ConnKey(41));
    bob.clone().come_back(&mut world, ConnKey(42)).unwrap();
    world.done(ConnKey(42), Request::Ping);
    world.leave(ConnKey(42));
    assert_eq!(
        bob.clone().come_back(&mut world, ConnKey(43)),
        Err(ErrorCode::ResumeLost)
    );
}

/// Who gives the new secret has read it, also if he says nothing else.
#[test]
fn a_secret_that_was_given_was_read() {
    let (mut world, _, mut bob) = talking();
    world.leave(BOB);
    bob.come_back(&mut world, ConnKey(40)).unwrap();
    world.leave(ConnKey(40));
    for conn in 41..44 {
        bob.clone().come_back(&mut world, ConnKey(conn)).unwrap();
        world.leave(ConnKey(conn));
    }
}

/// Seen: it took the call's time limit away.
#[test]
fn a_call_that_somebody_says_to_rejoin_is_no_new_one() {
    let mut world = World::new();
    for (conn, user) in [(ANNA, "anna"), (BOB, "bob"), (EVE, "eve")] {
        Client::join(&mut world, conn, user);
    }
    let (call, peer) = (id(1), name("bob"));
    world.done(EVE, Request::CallRejoin(CallRejoin { call, peer }));
    assert_eq!(world.ask(ANNA, request(call, "bob")), Err(ErrorCode::RepeatedCall));
    world.done(ANNA, request(id(2), "bob"));
    world.wait(91 * SECOND);
    assert_eq!(world.hub.calls(), 0);
}

#[test]
fn an_answer_is_not_repeated_without_end() {
    let (mut world, _, _) = talking();
    let ping = ClientFrame {
        id: 777,
        request: Request::Ping,
    };
    for _ in 0..5000 {
        world.text(BOB, &ping.to_text());
    }
    assert_eq!(world.closed.get(&BOB), Some(&CloseReason::Flood));
    assert!(world.answers[&BOB].len() <= 601);
}

#[test]
fn more_than_is_kept_loses_the_session_and_its_calls() {
    let (mut world, mut anna, mut bob) = talking();
    world.leave(BOB);
    let mut sent = 0;
    for _ in 0..400 {
        if world.ask(ANNA, signal(id(1))).is_err() {
            break;
        }
        sent += 1;
        world.wait(SECOND / 50);
    }
    assert_eq!(sent, 257, "256 wait, and the next loses them");
    assert!(matches!(
        anna.hear(&mut world)[..],
        [.., Event::CallDiscard(CallDiscard { lost: true, .. })]
    ));
    assert_eq!(bob.come_back(&mut world, BOB_AGAIN), Err(ErrorCode::ResumeLost));
}

#[test]
fn a_resumed_session_closes_its_older_connection() {
    let (mut world, mut anna, mut bob) = talking();
    // The old one is dead, and nobody has noticed.
    bob.come_back(&mut world, BOB_AGAIN).unwrap();
    assert_eq!(world.closed.get(&BOB), Some(&CloseReason::Resumed));
    world.leave(BOB);
    world.wait(10 * SECOND);
    assert_eq!(anna.hear(&mut world), [], "he was never away");
    world.done(ANNA, signal(id(1)));
    assert_eq!(bob.hear(&mut world).len(), 1);
}

impl Client {
    /// Says hello on one more connection.
    fn come_beside(&self, world: &mut World, conn: ConnKey) -> Result<(), ErrorCode> {
        let resume = Resume {
            beside: true,
            ..self.resume.clone()
        };
        let reply = say_hello(world, (conn, conn.0 as u8), self.user, Some(resume))?;
        let welcome = Self::welcome(Ok(reply));
        assert!(welcome.resumed && welcome.session == Some(self.resume.session));
        assert_eq!(welcome.resume_secret, None, "the other connection has it");
        Ok(())
    }
}

#[test]
fn on_two_connections_all_is_said_twice_and_done_once() {
    let (mut world, mut anna, bob) = talking();
    bob.come_beside(&mut world, BOB_AGAIN).unwrap();
    assert!(!world.closed.contains_key(&BOB));
    let frame = ClientFrame {
        id: 777,
        request: signal(id(1)),
    };
    world.answers.clear();
    for conn in [BOB, BOB_AGAIN] {
        world.text(conn, &frame.to_text());
    }
    assert_eq!(anna.hear(&mut world).len(), 1);
    for conn in [BOB, BOB_AGAIN] {
        assert_eq!(world.answers.remove(&conn), Some(vec![Ok(Reply::Done)]), "{conn:?}");
    }
    // However often: who has an answer gets it no second time, and owes nothing.
    for _ in 0..10_000 {
        world.text(BOB, &frame.to_text());
    }
    assert!(world.answers.is_empty() && world.closed.is_empty());
    world.seqs.clear();
    world.done(ANNA, signal(id(1)));
    assert_eq!(world.events(BOB), world.events(BOB_AGAIN));
    assert_eq!(world.seqs.remove(&BOB), world.seqs.remove(&BOB_AGAIN));
    // Either may end, and nobody notices.
    world.leave(BOB);
    world.wait(10 * SECOND);
    assert_eq!(anna.hear(&mut world), []);
    bob.come_beside(&mut world, BOB).unwrap();
    world.leave(BOB_AGAIN);
    world.wait(10 * SECOND);
    assert_eq!(anna.hear(&mut world), []);
    // A third takes the place of the oldest.
    bob.come_beside(&mut world, BOB_AGAIN).unwrap();
    bob.come_beside(&mut world, ConnKey(13)).unwrap();
    assert_eq!(world.closed.remove(&BOB), Some(CloseReason::Resumed));
    world.done(ConnKey(13), signal(id(1)));
    world.leave(ConnKey(13));
    world.leave(BOB_AGAIN);
    world.wait(4 * SECOND);
    assert!(matches!(
        anna.hear(&mut world)[..],
        [Event::CallSignal(_), Event::CallAway(_)]
    ));
    assert_eq!(world.hub.sessions(), 1);
}

#[test]
fn one_that_resumes_ends_both_and_so_does_the_end_of_the_account() {
    for is_revoked in [false, true] {
        let (mut world, _, mut bob) = talking();
        bob.come_beside(&mut world, BOB_AGAIN).unwrap();
        let reason = if is_revoked {
            world.hub.close_account(world.now, "bob");
            world.drain();
            assert!(!world.hub.is_online(&name("bob")));
            CloseReason::Revoked
        } else {
            bob.come_back(&mut world, ConnKey(13)).unwrap();
            CloseReason::Resumed
        };
        for conn in [BOB, BOB_AGAIN] {
            assert_eq!(world.closed.get(&conn), Some(&reason), "{conn:?}");
        }
    }
}

#[test]
fn a_session_that_cannot_go_on_leaves_no_connection() {
    let (mut world, _, bob) = talking();
    bob.come_beside(&mut world, BOB_AGAIN).unwrap();
    let wrong = Client {
        resume: Resume {
            last_seq: 1_000,
            ..bob.resume.clone()
        },
        ..bob
    };
    assert_eq!(wrong.come_beside(&mut world, ConnKey(13)), Err(ErrorCode::ResumeLost));
    for conn in [BOB, BOB_AGAIN] {
        assert_eq!(world.closed.get(&conn), Some(&CloseReason::Resumed), "{conn:?}");
    }
    assert_eq!(world.hub.sessions(), 2, "Anna's, and the one that may say hello again");
}

#[test]
fn a_second_connection_of_a_source_makes_room_for_a_first() {
    let mut world = World::with(Limits {
        sessions_per_source: 2,
        ..Limits::default()
    });
    let welcome = Client::welcome(say_hello(&mut world, (ANNA, 1), "anna", None));
    let resume = Resume {
        beside: true,
        ..Client::resume_of(&welcome)
    };
    Client::welcome(say_hello(&mut world, (BOB_AGAIN, 1), "anna", Some(resume.clone())));
    Client::welcome(say_hello(&mut world, (BOB, 1), "bob", None));
    assert_eq!(world.closed.get(&BOB_AGAIN), Some(&CloseReason::TooMany));
    assert!(say_hello(&mut world, (EVE, 1), "anna", Some(resume)).is_err());
}

/// Seen: a hello that failed closed a neighbour's second connection, and who was at a full source could not go on there himself.
#[test]
fn nobody_makes_room_for_a_hello_that_fails_nor_for_one_that_takes_its_own_place() {
    let mut world = World::with(Limits {
        sessions_per_source: 3,
        ..Limits::default()
    });
    let anna = Client::resume_of(&Client::welcome(say_hello(&mut world, (ANNA, 1), "anna", None)));
    let bob = Client::resume_of(&Client::welcome(say_hello(&mut world, (BOB, 1), "bob", None)));
    let beside = Resume {
        beside: true,
        ..anna.clone()
    };
    Client::welcome(say_hello(&mut world, (BOB_AGAIN, 1), "anna", Some(beside)));
    let wrong = Resume {
        secret: anna.secret.clone(),
        ..bob.clone()
    };
    assert_eq!(
        say_hello(&mut world, (EVE, 1), "bob", Some(wrong)),
        Err(ErrorCode::ResumeLost)
    );
    // Nor if what it has missed is not there: then its own session ends.
    let eve = Client::resume_of(&Client::welcome(say_hello(&mut world, (ConnKey(30), 2), "eve", None)));
    let missed = Resume {
        last_seq: 1_000_000,
        ..eve
    };
    assert_eq!(
        say_hello(&mut world, (ConnKey(31), 1), "eve", Some(missed)),
        Err(ErrorCode::ResumeLost)
    );
    assert_eq!(world.closed.remove(&ConnKey(30)), Some(CloseReason::Resumed));
    Client::welcome(say_hello(&mut world, (ConnKey(20), 1), "bob", Some(bob)));
    assert_eq!(
        world.closed.keys().collect::<Vec<_>>(),
        [&BOB],
        "the one that was replaced"
    );
}

/// Seen: who could have no session of his own any more closed a neighbour's second connection.
#[test]
fn a_hello_that_is_refused_anyway_takes_nobodys_connection() {
    let mut world = World::with(Limits {
        sessions_per_source: 3,
        devices_per_account: 1,
        ..Limits::default()
    });
    let anna = Client::resume_of(&Client::welcome(say_hello(&mut world, (ANNA, 1), "anna", None)));
    Client::welcome(say_hello(&mut world, (BOB, 1), "bob", None));
    let beside = Resume { beside: true, ..anna };
    Client::welcome(say_hello(&mut world, (BOB_AGAIN, 1), "anna", Some(beside)));
    assert_eq!(say_hello(&mut world, (EVE, 1), "bob", None), Err(ErrorCode::Limit));
    assert_eq!(world.closed.keys().collect::<Vec<_>>(), [&EVE]);
}

#[test]
fn a_second_connection_takes_no_users_place() {
    let mut world = World::with(Limits {
        sessions: 2,
        ..Limits::default()
    });
    let anna = Client::join(&mut world, ANNA, "anna");
    anna.come_beside(&mut world, BOB_AGAIN).unwrap();
    let bob = Client::join(&mut world, BOB, "bob");
    assert_eq!(world.closed.remove(&BOB_AGAIN), Some(CloseReason::TooMany));
    assert_eq!(world.hub.sessions(), 2);
    assert_eq!(bob.come_beside(&mut world, EVE), Err(ErrorCode::Limit));
    assert_eq!(world.closed.remove(&EVE), Some(CloseReason::Refused));
    // Neither the secret of another nor an older one.
    let stolen = Client {
        user: "bob",
        resume: anna.resume.clone(),
        ..anna
    };
    assert_eq!(stolen.come_beside(&mut world, ConnKey(14)), Err(ErrorCode::ResumeLost));
}

#[test]
fn who_receives_no_calls_keeps_his_own() {
    let (mut world, mut anna, _) = talking();
    let draining = ConnKey(40);
    world.hub.connect(world.now, draining, source(40));
    world.ask(draining, hello_of("bob", None, false)).unwrap();
    world.hub.connect(world.now, EVE, source(41));
    world.ask(EVE, hello_of("eve", None, false)).unwrap();
    assert_eq!(world.ask(ANNA, request(id(2), "eve")), Err(ErrorCode::Offline));
    world.done(ANNA, request(id(3), "bob"));
    assert!(world.events(draining).is_empty());
    world.done(EVE, request(id(4), "anna"));
    assert_eq!(anna.hear(&mut world).len(), 1);
}

#[test]
fn a_call_that_a_hub_has_forgotten_lives_again_when_both_name_it() {
    let mut world = World::new();
    let mut anna = Client::join(&mut world, ANNA, "anna");
    let mut bob = Client::join(&mut world, BOB, "bob");
    Client::join(&mut world, EVE, "eve");
    let rejoin = |peer: &str| {
        Request::CallRejoin(CallRejoin {
            call: id(1),
            peer: name(peer),
        })
    };
    world.done(ANNA, rejoin("bob"));
    // Who only knows the id gets nowhere, nor takes the place.
    assert_eq!(world.ask(EVE, rejoin("anna")), Err(ErrorCode::UnknownCall));
    assert_eq!(world.ask(ANNA, signal(id(1))), Err(ErrorCode::UnknownCall));
    world.done(BOB, rejoin("anna"));
    assert_eq!(anna.hear(&mut world), [link(Event::CallBack)]);
    assert_eq!(bob.hear(&mut world), [link(Event::CallBack)]);
    world.done(BOB, signal(id(1)));
    world.done(ANNA, signal(id(1)));
    world.done(ANNA, discard(id(1), DiscardReason::Hangup));
    assert_eq!(
        world.ask(BOB, rejoin("anna")),
        Err(ErrorCode::UnknownCall),
        "it has ended"
    );
    // Nobody comes: it is over for who waits.
    anna.hear(&mut world);
    let lonely = Request::CallRejoin(CallRejoin {
        call: id(2),
        peer: name("bob"),
    });
    world.done(ANNA, lonely);
    world.wait(61 * SECOND);
    assert!(matches!(
        anna.hear(&mut world)[..],
        [Event::CallDiscard(CallDiscard { lost: true, .. })]
    ));
}

/// Seen: who came second took any number of calls.
#[test]
fn calls_that_live_again_are_as_many_as_a_session_may_have() {
    let mut world = World::new();
    for (conn, user) in [(ANNA, "anna"), (BOB, "bob"), (EVE, "eve")] {
        Client::join(&mut world, conn, user);
    }
    let mut rejoin = |conn, call, peer| {
        let (call, peer) = (id(call), name(peer));
        world.ask(conn, Request::CallRejoin(CallRejoin { call, peer }))
    };
    for call in 0..16 {
        let conn = if call < 8 { ANNA } else { EVE };
        assert!(rejoin(conn, call, "bob").is_ok());
    }
    let taken = (0..16).filter(|call| rejoin(BOB, *call, if *call < 8 { "anna" } else { "eve" }).is_ok());
    assert_eq!(taken.count(), 8);
    assert_eq!(world.hub.calls(), 8);
}

#[test]
fn protocol_one_is_served_beside_it() {
    let mut world = World::new();
    world.join(ANNA, "anna");
    let mut bob = Client::join(&mut world, BOB, "bob");
    world.done(ANNA, request(id(1), "bob"));
    world.done(BOB, discard(id(1), DiscardReason::Incompatible));
    let [Event::CallDiscard(body)] = world.events(ANNA)[..] else {
        panic!("it ends");
    };
    assert_eq!(body.reason, DiscardReason::Disconnect, "a word that she knows");
    assert!(world.seqs.remove(&ANNA).unwrap().iter().all(Option::is_none));
    bob.hear(&mut world);
    world.bring_to(id(2), 4);
    world.leave(BOB);
    world.wait(10 * SECOND);
    assert!(world.events(ANNA).is_empty(), "a verb that she does not know");
    // And her connection is her session.
    world.leave(ANNA);
    bob.come_back(&mut world, BOB_AGAIN).unwrap();
    assert!(matches!(world.events(BOB_AGAIN)[..], [.., Event::CallDiscard(_)]));
}

#[test]
fn relay_credentials_can_be_asked_for() {
    let mut world = World::new();
    Client::join(&mut world, ANNA, "anna");
    let reply = Reply::IceServers(IceServers { ice_servers: vec![] });
    assert_eq!(world.ask(ANNA, Request::IceServers), Ok(reply));
    // A reload brought some.
    let server = |url: &str, secret: Option<&str>| HandedServer {
        urls: vec![url.to_owned()],
        secret: secret.map(|secret| zeroize::Zeroizing::new(secret.to_owned())),
    };
    world.hub.set_ice_servers(vec![
        server("stun:a.example", None),
        server("turn:a.example", Some("shared")),
    ]);
    let mut names = Vec::new();
    for wait in [0, 1] {
        world.wait(SECOND * wait);
        let Ok(Reply::IceServers(IceServers { ice_servers })) = world.ask(ANNA, Request::IceServers) else {
            panic!("no servers");
        };
        let [stun, turn] = ice_servers.as_slice() else {
            panic!("{ice_servers:?}");
        };
        assert_eq!((stun.username.as_ref(), stun.credential.as_ref()), (None, None));
        assert!(
            turn.credential
                .as_ref()
                .is_some_and(|credential| credential != "shared")
        );
        names.extend(turn.username.clone());
    }
    let until = |name: &String| name.strip_suffix(":anna").unwrap().parse::<u64>().unwrap();
    assert_eq!(until(&names[1]) - until(&names[0]), 1, "fresh ones each time");
}

#[test]
fn sessions_that_wait_make_room_for_those_that_come() {
    let limits = Limits {
        devices_per_account: 2,
        sessions: 3,
        ..Limits::default()
    };
    let mut world = World::with(limits);
    for conn in 50..60 {
        Client::join(&mut world, ConnKey(conn), "anna");
        world.leave(ConnKey(conn));
        world.wait(SECOND);
    }
    for (conn, user) in [(60, "bob"), (61, "eve")] {
        Client::join(&mut world, ConnKey(conn), user);
    }
    world.wait(100 * SECOND);
    assert_eq!(world.hub.sessions(), 2);
}
