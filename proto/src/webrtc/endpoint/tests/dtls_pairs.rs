//! DTLS and the pair in use: an offerer with two addresses, an answerer with one, and checks on both pairs.

use super::*;

const CLIENT: usize = 0;
const SERVER: usize = 1;
/// Paths of the client's, and what the server sees of them.
const WAYS: [u32; 2] = [1, 2];

fn client_address(path: u32) -> SocketAddr {
    format!("10.0.{path}.1:40000").parse().unwrap()
}

fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}

/// USE-CANDIDATE is the one attribute of this type and length.
fn nominates(datagram: &[u8]) -> bool {
    datagram[..2] == [0, 1] && datagram.windows(4).any(|bytes| bytes == [0, 0x25, 0, 0])
}

/// What arrives at a side: over which path of the client's, and what.
struct Arrival {
    at: Instant,
    to: usize,
    way: u32,
    bytes: Vec<u8>,
}

struct Net {
    ends: [Endpoint; 2],
    now: Instant,
    wire: VecDeque<Arrival>,
    heard: [Vec<Output>; 2],
    /// The ways that each side's DTLS took.
    ways: [Vec<u32>; 2],
}

impl Net {
    fn new(seed: u64) -> Self {
        let now = origin();
        let mut net = Net {
            ends: [
                endpoint(Role::Offer, seed, now),
                endpoint(Role::Answer, seed + 1000, now),
            ],
            now,
            wire: VecDeque::new(),
            heard: Default::default(),
            ways: Default::default(),
        };
        for path in WAYS {
            net.ends[CLIENT].add_path(now, path, PathKind::Host, client_address(path));
        }
        net.ends[SERVER].add_path(now, PATH, PathKind::Host, address(SERVER));
        for side in 0..2 {
            let lines = net.ends[side].local_lines();
            net.ends[1 - side].remote_lines(now, &lines).unwrap();
        }
        net.collect();
        net
    }

    fn collect(&mut self) {
        for from in 0..2 {
            while let Some(output) = self.ends[from].poll_output() {
                let Output::Transmit {
                    path,
                    destination,
                    bytes,
                } = output
                else {
                    self.heard[from].push(output);
                    continue;
                };
                let way = match from {
                    CLIENT => path,
                    _ => WAYS
                        .into_iter()
                        .find(|way| client_address(*way) == destination)
                        .unwrap(),
                };
                if is_dtls(&bytes) {
                    self.ways[from].push(way);
                }
                self.wire.push_back(Arrival {
                    at: self.now + DELAY,
                    to: 1 - from,
                    way,
                    bytes,
                });
            }
        }
    }

    fn deliver(&mut self, to: usize, way: u32, bytes: &[u8]) {
        let (path, source) = match to {
            CLIENT => (way, address(SERVER)),
            _ => (PATH, client_address(way)),
        };
        self.ends[to].receive(self.now, path, source, &mut bytes.to_vec());
        self.collect();
    }

    /// Runs; `passes` says what becomes of an arrival, and may have others arrive before it.
    fn run(&mut self, time: Duration, mut passes: impl FnMut(&mut Net, &Arrival) -> bool, done: impl Fn(&Net) -> bool) {
        let end = self.now + time;
        while self.now < end && !done(self) {
            let timeouts = self.ends.iter_mut().filter_map(Endpoint::poll_timeout);
            let next = timeouts.chain(self.wire.front().map(|first| first.at)).min();
            self.now = self.now.max(next.unwrap_or(end).min(end));
            while self.wire.front().is_some_and(|first| first.at <= self.now) {
                let arrival = self.wire.pop_front().unwrap();
                if passes(self, &arrival) {
                    self.deliver(arrival.to, arrival.way, &arrival.bytes);
                }
            }
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
            self.collect();
        }
    }

    fn failures(&self) -> Vec<&Output> {
        let heard = self.heard.iter().flatten();
        heard.filter(|output| matches!(output, Output::Failed(_))).collect()
    }

    fn connected(&self) -> bool {
        self.heard.iter().all(|heard| heard.contains(&Output::Connected))
    }
}

/// The first flight of another client: it would begin a handshake.
fn another_hello() -> Vec<u8> {
    let mut dtls = Dtls::new(origin()).unwrap();
    dtls.expect(&format!("sha-256 {}", ["11"; 32].join(":"))).unwrap();
    dtls.start(origin(), true).unwrap();
    match dtls.poll_output() {
        Some(crate::webrtc::dtls::DtlsOutput::Packet(hello)) => hello,
        _ => panic!("no hello"),
    }
}

#[test]
fn a_checked_address_that_is_not_nominated_forges_nothing() {
    let mut net = Net::new(40);
    let (hello, mut forged) = (another_hello(), 0);
    let passes = |net: &mut Net, arrival: &Arrival| {
        let nominated = net.ends[SERVER].ice.has_nominated();
        // The client nominates one way; the other is checked all the same.
        if arrival.way == WAYS[1] && nominates(&arrival.bytes) {
            return false;
        }
        if arrival.to == SERVER && is_dtls(&arrival.bytes) && nominated {
            let (ice, other) = (&net.ends[SERVER].ice, client_address(WAYS[1]));
            assert!(ice.is_checked(PATH, other) && !ice.is_nominated(PATH, other));
            net.deliver(SERVER, WAYS[1], &hello);
            forged += 1;
        }
        // The handshake begins after the nomination.
        !is_dtls(&arrival.bytes) || nominated
    };
    net.run(Duration::from_secs(20), passes, Net::connected);
    assert!(net.connected() && net.failures().is_empty(), "{:?}", net.heard);
    assert!(forged >= 2, "{forged}");
    // The same from the way in use would have ended it.
    let mut net = Net::new(40);
    let passes = |net: &mut Net, arrival: &Arrival| {
        if arrival.to == SERVER && is_dtls(&arrival.bytes) {
            net.deliver(SERVER, arrival.way, &hello);
        }
        true
    };
    net.run(Duration::from_secs(30), passes, |net| net.failures().len() == 2);
    assert_eq!(net.heard[SERVER].last(), Some(&Output::Failed(Failure::Dtls)));
}

#[test]
fn before_a_nomination_the_first_way_that_was_answered_counts() {
    let mut net = Net::new(41);
    let (hello, mut forged) = (another_hello(), 0);
    let passes = |net: &mut Net, arrival: &Arrival| {
        if arrival.to == SERVER && is_dtls(&arrival.bytes) {
            let begun = net.ends[SERVER].dtls_from;
            let other = WAYS[usize::from(arrival.way == WAYS[0])];
            assert!(net.ends[SERVER].ice.is_checked(PATH, client_address(other)));
            // What is answered with nothing chooses no way; what comes later from another is not looked at.
            let alert = [21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40];
            let junk = [alert.to_vec(), vec![22; 40]];
            let forged_here = if begun.is_some() {
                vec![hello.clone()]
            } else {
                junk.to_vec()
            };
            for datagram in &forged_here {
                net.deliver(SERVER, other, datagram);
                assert_eq!(net.ends[SERVER].dtls_from, begun);
                forged += 1;
            }
        }
        !nominates(&arrival.bytes)
    };
    net.run(Duration::from_secs(10), passes, |net| {
        net.ends.iter().all(|end| end.srtp.is_some())
    });
    assert!(net.ends[SERVER].srtp.is_some() && !net.ends[SERVER].ice.has_nominated() && forged >= 3);
    let (_, from) = net.ends[SERVER].dtls_from.unwrap();
    assert!(!net.ways[SERVER].is_empty());
    assert!(
        net.ways[SERVER].iter().all(|way| client_address(*way) == from),
        "{:?}",
        net.ways
    );
    net.run(Duration::from_secs(10), |_, _| true, Net::connected);
    assert!(net.connected() && net.failures().is_empty(), "{:?}", net.heard);
}

#[test]
fn a_way_that_is_nominated_later_completes_the_handshake() {
    let mut net = Net::new(42);
    // ICE prefers the first way, which opens when the handshake has begun on the second; there DTLS is lost from then on.
    let mut begun = false;
    let passes = move |_: &mut Net, arrival: &Arrival| {
        let hello = !begun && is_dtls(&arrival.bytes);
        begun |= hello;
        match arrival.way {
            way if way == WAYS[0] => begun,
            _ => hello || !is_dtls(&arrival.bytes),
        }
    };
    net.run(Duration::from_secs(24), passes, Net::connected);
    assert!(net.connected() && net.failures().is_empty(), "{:?}", net.heard);
    assert_eq!(
        (net.ways[CLIENT][0], net.ways[CLIENT].last()),
        (WAYS[1], Some(&WAYS[0]))
    );
    assert_eq!(
        (net.ways[SERVER][0], net.ways[SERVER].last()),
        (WAYS[1], Some(&WAYS[0]))
    );
}

#[test]
fn a_path_that_goes_takes_the_first_way_with_it() {
    let mut net = Net::new(43);
    let only_checks = |_: &mut Net, arrival: &Arrival| arrival.to == SERVER && !nominates(&arrival.bytes);
    net.run(Duration::from_secs(2), only_checks, |net| {
        net.ends[SERVER].ice.is_checked(PATH, client_address(WAYS[0]))
    });
    net.deliver(SERVER, WAYS[0], &another_hello());
    assert_eq!(net.ends[SERVER].dtls_from, Some((PATH, client_address(WAYS[0]))));
    net.ends[SERVER].path_lines(net.now, "path:1 gone\n");
    assert_eq!(net.ends[SERVER].dtls_from, None);
    let sent = net.ways[SERVER].len();
    net.run(Duration::from_secs(3), |_, _| false, |_| false);
    assert_eq!(net.ways[SERVER].len(), sent, "no retransmission without a path");
}

#[test]
fn once_a_key_decides_every_checked_way_is_heard() {
    let mut net = Net::new(44);
    net.run(
        Duration::from_secs(10),
        |_, arrival| arrival.way == WAYS[0] || !nominates(&arrival.bytes),
        Net::connected,
    );
    assert!(net.connected(), "{:?}", net.heard);
    let mut moved = 0;
    for round in 0..2 {
        let mut text = b"moved".to_vec();
        // The channel opens with the first words.
        net.run(Duration::from_secs(2), |_, _| true, |_| false);
        assert_eq!(
            net.ends[CLIENT].send(net.now, Kind::Data { text: true }, &mut text, 5),
            Ok(Sent::Kept)
        );
        net.collect();
        let turn = |net: &mut Net, arrival: &Arrival| {
            if round == 0 || arrival.to == CLIENT || !is_dtls(&arrival.bytes) {
                return true;
            }
            moved += 1;
            let other = WAYS[usize::from(arrival.way == WAYS[0])];
            net.deliver(SERVER, other, &arrival.bytes);
            false
        };
        net.run(Duration::from_secs(2), turn, |_| false);
    }
    let texts = net.heard[SERVER]
        .iter()
        .filter(|output| matches!(output, Output::Data { .. }));
    assert_eq!((texts.count(), moved > 0), (2, true));
}
