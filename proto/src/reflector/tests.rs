//! Two parties at a reflector, and those who would like to be.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use zeroize::Zeroizing;

use super::{Client, HEADER, HELLO, Issuer, Options, Output, Place, Server, TAG, Tag, Verdict, Why};
use crate::net::ConnectionId;

const UNIX: u64 = 1_790_000_000;
const SECRET: &[u8] = b"between hub and reflector";

#[allow(clippy::disallowed_methods)] // a test needs some instant to count from
fn instant() -> Instant {
    Instant::now()
}

fn at(port: u16) -> Place {
    udp([192, 0, 2, 1], port)
}

struct Scene {
    now: Instant,
    server: Server,
    rng: ChaCha20Rng,
    issuer: Issuer,
}

impl Scene {
    fn new() -> Self {
        let now = instant();
        Self {
            now,
            server: Server::new(Zeroizing::new(SECRET.to_vec()), (now, UNIX)),
            rng: ChaCha20Rng::seed_from_u64(7),
            issuer: Issuer::default(),
        }
    }

    fn tag(&mut self) -> Zeroizing<Tag> {
        self.issuer.issue(SECRET, UNIX, &mut self.rng)
    }

    fn client(&mut self, tag: &Tag, stream: bool) -> Client {
        let options = Options {
            number: 1,
            port: 599,
            tag: Zeroizing::new(*tag),
            stream,
        };
        Client::new(self.now, &options, &mut self.rng)
    }

    /// Two that have said hello from these places.
    fn pair(&mut self, places: [Place; 2]) -> [Client; 2] {
        let tag = self.tag();
        places.map(|place| {
            let mut client = self.client(&tag, false);
            self.hello(&mut client, place);
            // What the answer showed is said back, and that is all.
            let Some(Output::Transmit(hello)) = client.poll_output() else {
                panic!("no second hello");
            };
            assert_eq!(client.poll_output(), Some(Output::Relay(client.address())));
            let Verdict::Answer(answer) = self.server.handle_input(self.now, place, &hello) else {
                panic!("no answer");
            };
            client.receive(self.now, &answer);
            assert_eq!(client.poll_output(), None);
            client
        })
    }

    fn hello(&mut self, client: &mut Client, from: Place) {
        let Some(Output::Transmit(hello)) = client.poll_output() else {
            panic!("no hello");
        };
        match self.server.handle_input(self.now, from, &hello) {
            Verdict::Answer(answer) => assert_eq!(client.receive(self.now, &answer), None),
            verdict @ (Verdict::Drop(_) | Verdict::Pass(_)) => panic!("{verdict:?}"),
        }
    }

    fn send(&mut self, from: (&Client, Place), to: &Client, payload: &[u8]) -> Verdict {
        let packet = packet(from.0, to, payload);
        self.server.handle_input(self.now, from.1, &packet)
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.server.handle_timeout(self.now);
    }

    /// Says hello as clients of others do, who read nothing of the answer but its tag.
    fn foreign_pair(&mut self, places: [Place; 2]) -> [Client; 2] {
        let tag = self.tag();
        places.map(|place| {
            let mut client = self.client(&tag, false);
            let Some(Output::Transmit(hello)) = client.poll_output() else {
                panic!("no hello");
            };
            assert!(matches!(
                self.server.handle_input(self.now, place, &hello),
                Verdict::Answer(_)
            ));
            client
        })
    }

    /// Each has answered a check of the other.
    fn prove(&mut self, clients: &[Client; 2], places: [Place; 2]) {
        let [a, b] = clients;
        // Whatever is lost of it is repeated.
        for transaction in 0..3 {
            for (from, to) in [((a, places[0]), b), ((b, places[1]), a)] {
                self.send(from, to, &stun([0, 1], transaction));
            }
            for (from, to) in [((a, places[0]), b), ((b, places[1]), a)] {
                self.send(from, to, &stun([1, 1], transaction));
            }
        }
    }
}

fn packet(from: &Client, to: &Client, payload: &[u8]) -> Vec<u8> {
    let frame = from.frame(to.address(), payload.len()).unwrap();
    let mut packet = frame.header().to_vec();
    packet.extend(payload);
    packet.resize(packet.len() + frame.pad, 0);
    packet
}

fn stun(kind: [u8; 2], transaction: u8) -> Vec<u8> {
    let mut message = kind.to_vec();
    message.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
    message.extend([transaction; 12]);
    message
}

const A: Place = udp([192, 0, 2, 7], 1_000);
const B: Place = udp([198, 51, 100, 7], 2_000);

const fn udp([a, b, c, d]: [u8; 4], port: u16) -> Place {
    let remote = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port));
    Place::Udp { socket: 0, remote }
}

#[test]
fn two_parties_reach_each_other() {
    let mut scene = Scene::new();
    let mut pair = scene.pair([A, B]);
    scene.prove(&pair, [A, B]);
    for length in [1, 2, 3, 4, 172, 1_172] {
        let payload = vec![length as u8; length];
        let packet = packet(&pair[0], &pair[1], &payload);
        assert_eq!(packet.len() % 4, 0);
        assert_eq!(scene.server.handle_input(scene.now, A, &packet), Verdict::Pass(B));
        let (peer, part) = pair[1].receive(scene.now, &packet).unwrap();
        assert_eq!((peer, &packet[part]), (pair[0].address(), &payload[..]));
    }
    let counters = scene.server.counters();
    assert_eq!((counters.hellos, counters.strangers, counters.absent), (4, 0, 0));
}

#[test]
fn a_client_asks_until_it_is_answered_and_then_keeps_the_way_open() {
    let mut scene = Scene::new();
    let tag = scene.tag();
    let mut client = scene.client(&tag, false);
    let begin = scene.now;
    let mut hellos = Vec::new();
    while scene.now < begin + Duration::from_secs(35) {
        client.handle_timeout(scene.now);
        while let Some(Output::Transmit(hello)) = client.poll_output() {
            assert_eq!(hello.len(), HELLO);
            hellos.push((scene.now - begin).as_millis());
            // The first three are lost, and so is the one at 11.5 s.
            if hellos.len() > 3 && hellos.len() != 6 {
                let Verdict::Answer(answer) = scene.server.handle_input(scene.now, A, &hello) else {
                    panic!("no answer");
                };
                client.receive(scene.now, &answer);
            }
        }
        scene.now = client.poll_timeout().unwrap();
    }
    assert_eq!(hellos, [0, 500, 1_000, 1_500, 1_500, 11_500, 12_000, 22_000, 32_000]);
}

#[test]
fn who_has_no_signed_tag_gets_nothing() {
    let mut scene = Scene::new();
    let mut tag = scene.issuer.issue(b"another secret", UNIX, &mut scene.rng);
    let hello = |tag: &Tag, scene: &mut Scene| {
        let mut client = scene.client(tag, false);
        let Some(Output::Transmit(hello)) = client.poll_output() else {
            panic!("no hello");
        };
        hello
    };
    let said = hello(&tag, &mut scene);
    assert_eq!(
        scene.server.handle_input(scene.now, A, &said),
        Verdict::Drop(Why::Unsigned)
    );
    // Good for a day at least, and not after its expiry: whoever is here then is gone.
    tag = scene.tag();
    let said = hello(&tag, &mut scene);
    let until = u64::from(u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]])) - UNIX;
    assert!((86_400..2 * 86_400).contains(&until));
    scene.pass(until * 1_000 - 1_000);
    assert!(matches!(
        scene.server.handle_input(scene.now, A, &said),
        Verdict::Answer(_)
    ));
    let later = hello(&tag, &mut scene);
    scene.pass(5_000);
    assert_eq!(scene.server.parties(), 0);
    assert_eq!(
        scene.server.handle_input(scene.now, A, &later),
        Verdict::Drop(Why::Unsigned)
    );
}

#[test]
fn an_address_gets_no_more_than_it_gave_until_it_has_answered_a_check() {
    let mut scene = Scene::new();
    let pair = scene.foreign_pair([A, B]);
    let [a, b] = &pair;
    // B, whose address may be anybody's, has sent nothing but its hello.
    for _ in 0..100 {
        assert_eq!(scene.send((a, A), b, &[0x80; 172]), Verdict::Drop(Why::Unproven));
        scene.pass(20);
    }
    // What has come from there may go there, and no more. An answer leaves room for a check, by which B can show that it is there.
    let check = stun([0, 1], 1);
    assert_eq!(scene.send((b, B), a, &check), Verdict::Pass(A));
    assert_eq!(scene.send((a, A), b, &stun([1, 1], 1)), Verdict::Drop(Why::Unproven));
    assert_eq!(scene.send((a, A), b, &check), Verdict::Pass(B));
    assert_eq!(scene.send((a, A), b, &[0; 4]), Verdict::Drop(Why::Unproven));
    // An answer to another check shows nothing.
    assert_eq!(scene.send((b, B), a, &stun([1, 1], 9)), Verdict::Pass(A));
    assert_eq!(scene.send((a, A), b, &[0x80; 172]), Verdict::Drop(Why::Unproven));
    // The answer to this one does.
    assert_eq!(scene.send((b, B), a, &stun([1, 1], 1)), Verdict::Pass(A));
    for _ in 0..100 {
        assert_eq!(scene.send((a, A), b, &[0x80; 172]), Verdict::Pass(B));
        scene.pass(20);
    }
}

#[test]
fn nobody_takes_the_place_of_a_party_that_is_heard() {
    let mut scene = Scene::new();
    let pair = scene.pair([A, B]);
    scene.prove(&pair, [A, B]);
    let [a, b] = &pair;
    let elsewhere = at(9);
    for _ in 0..100 {
        assert_eq!(scene.send((a, A), b, &[0x80; 172]), Verdict::Pass(B));
        scene.pass(20);
        assert_eq!(
            scene.send((a, elsewhere), b, &[0x80; 172]),
            Verdict::Drop(Why::Stranger)
        );
        assert_eq!(scene.send((b, B), a, &[0x80; 172]), Verdict::Pass(A));
    }
    // A phone that has really moved goes on from there; what it gets is little until it has answered a check.
    scene.pass(500);
    assert_eq!(scene.send((a, elsewhere), b, &stun([0, 1], 1)), Verdict::Pass(B));
    assert_eq!(scene.send((b, B), a, &stun([0, 1], 2)), Verdict::Pass(elsewhere));
    assert_eq!(scene.send((b, B), a, &[0x80; 172]), Verdict::Drop(Why::Unproven));
    assert_eq!(scene.send((a, elsewhere), b, &stun([1, 1], 2)), Verdict::Pass(B));
    assert_eq!(scene.send((b, B), a, &[0x80; 172]), Verdict::Pass(elsewhere));
}

#[test]
fn a_party_that_is_silent_is_forgotten() {
    let mut scene = Scene::new();
    let pair = scene.pair([A, B]);
    scene.prove(&pair, [A, B]);
    for _ in 0..10 {
        scene.pass(5_000);
        scene.send((&pair[0], A), &pair[1], &[0x80; 172]);
    }
    assert_eq!(scene.server.parties(), 1);
    assert_eq!(
        scene.send((&pair[0], A), &pair[1], &[0x80; 172]),
        Verdict::Drop(Why::Absent)
    );
    assert_eq!(
        scene.send((&pair[1], B), &pair[0], &[0x80; 172]),
        Verdict::Drop(Why::Stranger)
    );
}

#[test]
fn each_party_is_paced() {
    let mut scene = Scene::new();
    let pair = scene.pair([A, B]);
    scene.prove(&pair, [A, B]);
    let mut passed = 0;
    for _ in 0..20_000 {
        passed += usize::from(scene.send((&pair[0], A), &pair[1], &[0x80; 172]) == Verdict::Pass(B));
        scene.now += Duration::from_micros(50);
    }
    assert!((400..=510).contains(&passed), "{passed} of 20,000 in a second");
    assert_eq!(
        scene.send((&pair[1], B), &pair[0], &[0x80; 172]),
        Verdict::Pass(A),
        "the other one goes on"
    );
}

#[test]
fn a_call_and_all_calls_have_a_bound() {
    let mut scene = Scene::new();
    let tag = scene.tag();
    let mut full = 0;
    for port in 0..20 {
        let mut client = scene.client(&tag, false);
        let Some(Output::Transmit(hello)) = client.poll_output() else {
            panic!("no hello");
        };
        full += usize::from(scene.server.handle_input(scene.now, at(port), &hello) == Verdict::Drop(Why::Full));
    }
    assert_eq!((full, scene.server.parties()), (12, 8));
}

#[test]
fn a_connection_is_of_one_party_and_needs_no_proof() {
    let mut scene = Scene::new();
    let [first, second] = [1, 2].map(|id| Place::Stream(ConnectionId(id)));
    let pair = scene.pair([first, second]);
    assert_eq!(
        scene.send((&pair[0], first), &pair[1], &[0x80; 172]),
        Verdict::Pass(second)
    );
    let tag = scene.tag();
    let mut other = scene.client(&tag, false);
    let Some(Output::Transmit(hello)) = other.poll_output() else {
        panic!("no hello");
    };
    assert_eq!(
        scene.server.handle_input(scene.now, first, &hello),
        Verdict::Drop(Why::Stranger)
    );
    // Some clients say no more than their tag.
    let third = Place::Stream(ConnectionId(3));
    let short = [&hello[..TAG], &[0; 4]].concat();
    assert!(matches!(
        scene.server.handle_input(scene.now, third, &short),
        Verdict::Answer(_)
    ));
    assert_eq!(
        scene.server.handle_input(scene.now, A, &short),
        Verdict::Drop(Why::Malformed)
    );
    scene.server.handle_closed(ConnectionId(3));
    scene.server.handle_closed(ConnectionId(2));
    assert_eq!(
        scene.send((&pair[0], first), &pair[1], &[0x80; 172]),
        Verdict::Drop(Why::Absent)
    );
    assert_eq!(scene.server.parties(), 1);
}

#[test]
fn who_begins_anew_has_no_more_for_it() {
    let mut scene = Scene::new();
    let [first, second] = [1, 2].map(|id| Place::Stream(ConnectionId(id)));
    let pair = scene.pair([first, second]);
    let mut place = first;
    let mut passed = 0;
    for id in 10..60 {
        while scene.send((&pair[0], place), &pair[1], &[0x80; 172]) == Verdict::Pass(second) {
            passed += 1;
        }
        let Place::Stream(old) = place else { unreachable!() };
        assert!(scene.server.is_in_use(old));
        scene.server.handle_closed(old);
        // Its next packet is from the new connection; nobody has to wait until the old one is forgotten.
        place = Place::Stream(ConnectionId(id));
    }
    assert!((200..=260).contains(&passed), "{passed}");
    scene.pass(1_000);
    assert_eq!(
        scene.send((&pair[0], place), &pair[1], &[0x80; 172]),
        Verdict::Pass(second)
    );
}

/// Seen: connections that parties had left filled all places.
#[test]
fn a_connection_that_its_party_has_left_is_not_in_use() {
    let mut scene = Scene::new();
    let connections = [1, 2, 3].map(ConnectionId);
    let [first, second, third] = connections.map(Place::Stream);
    let pair = scene.pair([first, second]);
    let in_use = |scene: &Scene| connections.map(|id| scene.server.is_in_use(id));
    assert_eq!(in_use(&scene), [true, true, false]);
    // It may move when it was silent for a while.
    scene.pass(1_000);
    assert_eq!(
        scene.send((&pair[0], third), &pair[1], &[0x80; 172]),
        Verdict::Pass(second)
    );
    assert_eq!(in_use(&scene), [false, true, true]);
}

#[test]
fn a_stream_carries_the_same() {
    let mut scene = Scene::new();
    let tag = scene.tag();
    let (mut a, mut b) = (scene.client(&tag, true), scene.client(&tag, true));
    let mut said = Vec::new();
    while let Some(Output::Transmit(bytes)) = a.poll_output() {
        said.extend(bytes);
    }
    assert_eq!(said[..8], [0xee, 0xee, 0xee, 0xee, HELLO as u8, 0, 0, 0]);
    let mut answer = said[4..].to_vec();
    answer[4 + TAG + 12] = 0xfd;
    let mut stream = answer;
    // What the answer shows is said back, in the stream as well.
    *stream.last_mut().unwrap() = 9;
    for length in [0, 3, 172] {
        stream.extend(packet(&b, &a, &vec![9; length]));
    }
    for piece in stream.chunks(7) {
        assert_eq!(a.receive(scene.now, piece), None);
    }
    let outputs: Vec<Output> = std::iter::from_fn(|| a.poll_output()).collect();
    let datagram = |length| Output::Datagram {
        peer: b.address(),
        bytes: vec![9; length],
    };
    let mut again = said[4..].to_vec();
    *again.last_mut().unwrap() = 9;
    let wanted = [
        Output::Transmit(again),
        Output::Relay(a.address()),
        datagram(0),
        datagram(3),
        datagram(172),
    ];
    assert_eq!(outputs, wanted);
    a.receive(scene.now, &[0xff; 8]);
    b.closed();
    for client in [&mut a, &mut b] {
        client.handle_timeout(scene.now + Duration::from_secs(100));
        let outputs: Vec<Output> = std::iter::from_fn(|| client.poll_output()).collect();
        assert_eq!((outputs.last(), client.poll_timeout()), (Some(&Output::Closed), None));
    }
}

#[test]
fn nonsense_is_dropped() {
    let mut scene = Scene::new();
    let mut pair = scene.pair([A, B]);
    scene.prove(&pair, [A, B]);
    let good = packet(&pair[0], &pair[1], &[0x80; 172]);
    for _ in 0..20_000 {
        let mut bad = good.clone();
        let length = scene.rng.next_u32() as usize % bad.len();
        bad.truncate(length);
        if length > 0 {
            let at = scene.rng.next_u32() as usize % length;
            bad[at] ^= scene.rng.next_u32() as u8;
        }
        scene.server.handle_input(scene.now, A, &bad);
        pair[1].receive(scene.now, &bad);
        scene.now += Duration::from_millis(5);
    }
    for length in [0, HEADER - 1, 1_501] {
        let verdict = scene.server.handle_input(scene.now, A, &vec![0; length]);
        assert_eq!(verdict, Verdict::Drop(Why::Malformed));
    }
    assert!(scene.server.parties() <= 2);
}
