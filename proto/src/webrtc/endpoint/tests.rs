//! Two endpoints over a simulated net, under virtual time.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::needless_range_loop,
    reason = "a test names what it wants, and a side is an index of several arrays"
)]

mod dtls_forged;
mod dtls_pairs;
mod moves;

use super::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const SSRC: [u32; 2] = [0xA, 0xB];
const DELAY: Duration = Duration::from_millis(20);
const PATH: u32 = 1;

#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can be made in no other way; only differences count"
)]
fn origin() -> Instant {
    Instant::now()
}

fn address(side: usize) -> SocketAddr {
    format!("10.0.0.{}:4000{side}", side + 1).parse().unwrap()
}

fn endpoint(role: Role, seed: u64, now: Instant) -> Endpoint {
    Endpoint::new(role, Box::new(ChaCha8Rng::seed_from_u64(seed)), now).unwrap()
}

type Between = Box<dyn FnMut(usize, Vec<u8>) -> Vec<(usize, Vec<u8>)>>;

/// Side 0 offers, side 1 answers.
struct Pair {
    ends: [Endpoint; 2],
    start: Instant,
    now: Instant,
    wire: VecDeque<(Instant, usize, Vec<u8>)>,
    loss: u32,
    cut: bool,
    rng: ChaCha8Rng,
    /// Whoever sits on the wire: turns a datagram for a side into what arrives, and at which side; all with the other's
    /// address as its source.
    between: Between,
    heard: [Vec<Output>; 2],
    media: [Vec<(Received, Vec<u8>)>; 2],
}

impl Pair {
    fn new(loss: u32, seed: u64) -> Self {
        let now = origin();
        let mut pair = Pair {
            ends: [
                endpoint(Role::Offer, seed, now),
                endpoint(Role::Answer, seed + 1000, now),
            ],
            start: now,
            now,
            wire: VecDeque::new(),
            loss,
            cut: false,
            rng: ChaCha8Rng::seed_from_u64(seed),
            between: Box::new(|side, datagram| vec![(side, datagram)]),
            heard: Default::default(),
            media: Default::default(),
        };
        for side in 0..2 {
            let line = format!("path:1 component 1 host {} 4000{side} mtu 1200", address(side).ip());
            pair.ends[side].path_lines(now, &line);
        }
        pair
    }

    /// Carries each description over, changed by `change`.
    fn signal(&mut self, change: impl Fn(usize, String) -> String) {
        for side in 0..2 {
            let lines = change(side, self.ends[side].local_lines()) + &format!("ssrc:{}\n", SSRC[side]);
            self.ends[1 - side].remote_lines(self.now, &lines).unwrap();
        }
        self.collect();
    }

    fn connect(loss: u32, seed: u64) -> Self {
        let mut pair = Pair::new(loss, seed);
        pair.signal(|_, lines| lines);
        pair.run(Duration::from_secs(15), |pair| pair.both_connected());
        assert!(pair.both_connected(), "seed {seed}: {:?}", pair.heard);
        pair
    }

    fn both_connected(&self) -> bool {
        self.heard.iter().all(|heard| heard.contains(&Output::Connected))
    }

    fn failure(&self, side: usize) -> Option<Failure> {
        self.heard[side].iter().find_map(|output| match output {
            Output::Failed(failure) => Some(*failure),
            _ => None,
        })
    }

    fn texts(&self, side: usize) -> Vec<String> {
        let text = |output: &Output| match output {
            Output::Data {
                text: true,
                bytes,
                channel: 0,
            } => Some(String::from_utf8(bytes.clone()).unwrap()),
            _ => None,
        };
        self.heard[side].iter().filter_map(text).collect()
    }

    fn put(&mut self, from: usize, bytes: Vec<u8>) {
        assert!(bytes.len() <= 1200, "{}", bytes.len());
        if !self.cut && self.rng.next_u32() % 100 >= self.loss {
            self.wire.push_back((self.now + DELAY, 1 - from, bytes));
        }
    }

    fn collect(&mut self) {
        for side in 0..2 {
            let mut count = 0;
            while let Some(output) = self.ends[side].poll_output() {
                count += 1;
                assert!(count < 1000, "poll does not end");
                match output {
                    Output::Transmit {
                        path,
                        destination,
                        bytes,
                    } => {
                        assert_eq!((path, destination), (PATH, address(1 - side)));
                        self.put(side, bytes);
                    }
                    other => self.heard[side].push(other),
                }
            }
        }
    }

    fn run(&mut self, time: Duration, done: impl Fn(&Pair) -> bool) {
        let end = self.now + time;
        let mut still = 0;
        while self.now < end && !done(self) {
            let next = self
                .ends
                .iter_mut()
                .filter_map(Endpoint::poll_timeout)
                .chain(self.wire.front().map(|first| first.0));
            let next = next.min().unwrap_or(end).min(end);
            still = if next <= self.now { still + 1 } else { 0 };
            assert!(still < 100, "time stands still at {:?}", self.now - self.start);
            self.now = self.now.max(next);
            while self.wire.front().is_some_and(|first| first.0 <= self.now) {
                let (_, side, datagram) = self.wire.pop_front().unwrap();
                for (side, mut bytes) in (self.between)(side, datagram) {
                    let received = self.ends[side].receive(self.now, PATH, address(1 - side), &mut bytes);
                    if let Received::Rtp(length) | Received::Rtcp(length) = received {
                        self.media[side].push((received, bytes[..length].to_vec()));
                    }
                    self.collect();
                }
            }
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
            self.collect();
        }
    }

    fn send(&mut self, from: usize, kind: Kind, packet: &[u8]) -> Result<(), SendError> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + TAILROOM, 0);
        match self.ends[from].send(self.now, kind, &mut buffer, packet.len())? {
            Sent::Kept => {}
            Sent::Transmit {
                length,
                path,
                destination,
            } => {
                assert_eq!((path, destination), (PATH, address(1 - from)));
                buffer.truncate(length);
                self.put(from, buffer);
            }
        }
        self.collect();
        Ok(())
    }
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 111, 0, 0, 0, 0, 0, 9];
    bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend_from_slice(b"twenty milliseconds of sound");
    bytes
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes
}

#[test]
fn a_call_carries_media_and_messages_both_ways() {
    let mut pair = Pair::connect(0, 1);
    assert!(
        pair.now - pair.start < Duration::from_millis(700),
        "{:?}",
        pair.now - pair.start
    );
    for side in 0..2 {
        pair.send(side, Kind::Rtp, &rtp(SSRC[side], 1)).unwrap();
        pair.send(side, Kind::Rtcp, &rtcp(SSRC[side])).unwrap();
    }
    pair.run(Duration::from_secs(5), |_| false);
    for side in 0..2 {
        let (sound, report) = (rtp(SSRC[1 - side], 1), rtcp(SSRC[1 - side]));
        let want = [
            (Received::Rtp(sound.len()), sound),
            (Received::Rtcp(report.len()), report),
        ];
        assert_eq!(pair.media[side], want);
        pair.send(side, Kind::Data { text: true }, br#"{"@type":"MediaState"}"#)
            .unwrap();
    }
    pair.run(Duration::from_secs(2), |_| false);
    for side in 0..2 {
        assert_eq!(pair.texts(side), [r#"{"@type":"MediaState"}"#]);
        assert_eq!(pair.failure(side), None);
    }
}

#[test]
fn calls_connect_at_ten_percent_loss() {
    for seed in 0..12 {
        let mut pair = Pair::connect(10, seed);
        pair.run(Duration::from_secs(6), |_| false);
        for side in 0..2 {
            pair.send(side, Kind::Data { text: true }, b"state").unwrap();
        }
        for sequence in 0..100 {
            for side in 0..2 {
                pair.send(side, Kind::Rtp, &rtp(SSRC[side], sequence)).unwrap();
            }
            pair.run(Duration::from_millis(20), |_| false);
        }
        pair.run(Duration::from_secs(20), |_| false);
        for side in 0..2 {
            assert!(pair.media[side].len() > 70, "seed {seed}: {}", pair.media[side].len());
            assert_eq!(pair.texts(side), ["state"], "seed {seed}");
            assert_eq!(pair.failure(side), None, "seed {seed}");
        }
    }
}

#[test]
fn lines_may_come_in_any_order_and_any_pieces() {
    let mut pair = Pair::new(0, 3);
    for side in 0..2 {
        let lines = pair.ends[side].local_lines();
        let mut lines: Vec<&str> = lines.lines().collect();
        lines.reverse();
        assert!(lines[0].starts_with("setup:") && lines.iter().any(|line| line.starts_with("candidate:")));
        for line in lines {
            pair.ends[1 - side].remote_lines(pair.now, line).unwrap();
        }
        let other = pair.ends[side].local_lines();
        assert_eq!(other, "", "only new lines");
        let stream = format!("ssrc:{} cname:x\n", SSRC[side]);
        pair.ends[1 - side].remote_lines(pair.now, &stream).unwrap();
    }
    pair.collect();
    pair.run(Duration::from_secs(5), |pair| pair.both_connected());
    assert!(pair.both_connected());
}

#[test]
fn an_outer_address_is_a_candidate_and_again_after_a_restart() {
    let mut pair = Pair::new(0, 3);
    let now = pair.now;
    let line = "path:2 component 1 host 10.0.0.8 40007 mtu 1200";
    pair.ends[0].path_lines(now, line);
    assert!(pair.ends[0].local_lines().contains(" 10.0.0.8 40007 typ host"));
    // A server says later as what it sees us, and says it again.
    for _ in 0..2 {
        pair.ends[0].path_lines(now, &format!("{line} outer 203.0.113.5 40007"));
    }
    let outer = |lines: &str| {
        lines
            .lines()
            .filter(|line| line.contains("203.0.113.5"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let lines = outer(&pair.ends[0].local_lines());
    assert_eq!(lines.len(), 1, "{lines:?}");
    // The base is nobody's business (RFC 8839 §5.1).
    assert!(
        lines[0].contains(" 203.0.113.5 40007 typ srflx raddr 0.0.0.0 rport 0"),
        "{lines:?}"
    );
    pair.ends[0].restart(now);
    assert_eq!(outer(&pair.ends[0].local_lines()), lines);
    // The next one waits for the answer to this.
    let answer = pair.ends[1].local_lines();
    pair.ends[0].remote_lines(now, &answer).unwrap();
    pair.ends[0].path_lines(now, "path:2 gone");
    pair.ends[0].restart(now);
    let after = pair.ends[0].local_lines();
    assert!(after.contains("ice-ufrag:"), "{after}");
    assert_eq!(outer(&after), [""; 0]);
}

#[test]
fn candidates_of_other_kinds_are_ignored() {
    let mut pair = Pair::new(0, 4);
    pair.signal(|_, lines| {
        let bad = "candidate:1 1 udp 2130706175 x.local 9 typ host\n\
            candidate:2 1 tcp 2130706175 10.0.0.9 9 typ host tcptype active\n\
            candidate:3 2 udp 2130706175 10.0.0.9 9 typ host\n\
            candidate:4 1 udp 2130706175 0.0.0.0 9 typ host\n\
            candidate:5 1 udp 2130706175 10.0.0.9 0 typ host\n\
            candidate:\nx-new-word:1\n\n";
        format!("{bad}{lines}")
    });
    pair.run(Duration::from_secs(5), |pair| pair.both_connected());
    assert!(pair.both_connected());
}

#[test]
fn a_wrong_fingerprint_ends_the_call_before_anything_is_delivered() {
    for liar in 0..2 {
        let mut pair = Pair::new(0, 5);
        let change = |side: usize, lines: String| {
            let wrong = format!("fingerprint:sha-256 {}", ["11"; 32].join(":"));
            let line = |line: &str| {
                if line.starts_with("fingerprint:") {
                    wrong.clone()
                } else {
                    line.to_owned()
                }
            };
            if side == liar {
                lines.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
            } else {
                lines
            }
        };
        pair.signal(change);
        pair.run(Duration::from_secs(40), |_| false);
        let victim = 1 - liar;
        assert_eq!(pair.failure(victim), Some(Failure::Fingerprint));
        assert_eq!(Failure::Fingerprint.word(), "fingerprint");
        assert!(!pair.heard[victim].contains(&Output::Connected));
        assert_eq!(pair.send(victim, Kind::Rtp, &rtp(1, 1)), Err(SendError::NotConnected));
        assert!(pair.media[victim].is_empty() && pair.texts(victim).is_empty());
        assert!(pair.failure(liar).is_some(), "the other side ends too");
        assert_eq!(pair.ends[victim].poll_timeout(), None);
    }
}

#[test]
fn without_an_answer_the_call_ends_in_time() {
    let mut pair = Pair::new(0, 6);
    pair.cut = true;
    pair.signal(|_, lines| lines);
    pair.run(Duration::from_secs(40), |pair| {
        pair.failure(0).is_some() && pair.failure(1).is_some()
    });
    assert_eq!(
        (pair.failure(0), pair.failure(1)),
        (Some(Failure::Ice), Some(Failure::Ice))
    );
    assert_eq!(pair.now - pair.start, Duration::from_secs(25));
}

#[test]
fn without_a_fingerprint_dtls_never_begins() {
    let mut pair = Pair::new(0, 7);
    pair.signal(|side, lines| {
        let kept = |line: &&str| side == 0 || !line.starts_with("fingerprint:");
        lines.lines().filter(kept).map(|line| format!("{line}\n")).collect()
    });
    pair.run(Duration::from_secs(40), |pair| pair.failure(0).is_some());
    assert_eq!(pair.failure(0), Some(Failure::Dtls));
}

#[test]
fn twelve_seconds_of_silence_end_the_call_and_less_does_not() {
    let mut pair = Pair::connect(0, 8);
    pair.run(Duration::from_secs(5), |_| false);
    pair.cut = true;
    pair.run(Duration::from_millis(9500), |_| false);
    assert_eq!((pair.failure(0), pair.failure(1)), (None, None));
    pair.cut = false;
    pair.run(Duration::from_secs(10), |_| false);
    assert_eq!((pair.failure(0), pair.failure(1)), (None, None));
    pair.send(0, Kind::Rtp, &rtp(SSRC[0], 1)).unwrap();
    pair.run(Duration::from_secs(1), |_| false);
    assert_eq!(pair.media[1].len(), 1);
    let at = pair.now;
    pair.cut = true;
    pair.run(Duration::from_secs(30), |pair| {
        pair.failure(0).is_some() && pair.failure(1).is_some()
    });
    assert_eq!(
        (pair.failure(0), pair.failure(1)),
        (Some(Failure::Ice), Some(Failure::Ice))
    );
    assert!(pair.now - at <= SILENT_AT_MOST);
}

#[test]
fn a_long_quiet_call_stays_up() {
    let mut pair = Pair::connect(5, 9);
    pair.run(Duration::from_secs(600), |_| false);
    assert_eq!((pair.failure(0), pair.failure(1)), (None, None));
}

#[test]
fn a_restart_keeps_the_media_and_finds_the_way_again() {
    for starter in 0..2 {
        let mut pair = Pair::connect(0, 10);
        pair.ends[starter].restart(pair.now);
        let lines = pair.ends[starter].local_lines();
        assert!(lines.contains("ice-ufrag:") && lines.contains("candidate:"), "{lines}");
        pair.send(starter, Kind::Rtp, &rtp(SSRC[starter], 1)).unwrap();
        pair.ends[1 - starter].remote_lines(pair.now, &lines).unwrap();
        let answer = pair.ends[1 - starter].local_lines();
        assert!(answer.contains("ice-ufrag:"), "new credentials in the answer");
        pair.ends[starter].remote_lines(pair.now, &answer).unwrap();
        pair.run(Duration::from_secs(60), |_| false);
        pair.send(1 - starter, Kind::Rtp, &rtp(SSRC[1 - starter], 1)).unwrap();
        pair.run(Duration::from_secs(1), |_| false);
        assert_eq!((pair.media[0].len(), pair.media[1].len()), (1, 1));
        assert_eq!((pair.failure(0), pair.failure(1)), (None, None));
    }
}

#[test]
fn a_closed_session_tells_the_peer_and_is_silent() {
    let mut pair = Pair::connect(0, 11);
    pair.ends[0].close(pair.now);
    pair.collect();
    assert_eq!(pair.ends[0].poll_timeout(), None);
    pair.run(Duration::from_secs(1), |_| false);
    assert_eq!(pair.failure(1), Some(Failure::Closed));
    assert_eq!(pair.send(0, Kind::Rtp, &rtp(1, 1)), Err(SendError::NotConnected));
}

#[test]
fn a_path_that_goes_is_not_used_any_more() {
    let mut pair = Pair::connect(0, 12);
    pair.ends[0].path_lines(pair.now, "path:1 gone\n");
    assert_eq!(pair.send(0, Kind::Rtp, &rtp(SSRC[0], 1)), Err(SendError::NotConnected));
    pair.run(Duration::from_secs(20), |pair| pair.failure(0).is_some());
    assert_eq!(pair.failure(0), Some(Failure::Ice));
}

#[test]
fn a_stranger_cannot_begin_a_handshake() {
    let now = origin();
    let mut server = endpoint(Role::Answer, 13, now);
    server.path_lines(now, "path:1 component 1 host 10.0.0.2 40001 mtu 1200");
    let fingerprint = format!("fingerprint:sha-256 {}\n", ["11"; 32].join(":"));
    server.remote_lines(now, &fingerprint).unwrap();
    while server.poll_output().is_some() {}
    let mut client = dimpl::Dtls::new_12(
        std::sync::Arc::new(dimpl::Config::default()),
        dimpl::certificate::generate_self_signed_certificate().unwrap(),
        now,
    );
    client.set_active(true);
    client.handle_timeout(now).unwrap();
    let mut buffer = [0u8; 2000];
    let dimpl::Output::Packet(hello) = client.poll_output(&mut buffer) else {
        panic!("no hello")
    };
    let mut hello = hello.to_vec();
    assert_eq!(server.receive(now, PATH, address(0), &mut hello), Received::Nothing);
    assert_eq!(server.poll_output(), None);
    assert!(!server.dtls.is_started());
}

#[test]
fn broken_remote_lines_are_refused_and_the_rest_is_taken() {
    let now = origin();
    let mut end = endpoint(Role::Answer, 14, now);
    for line in [
        "ice-ufrag:ab",
        "ice-pwd:short",
        "ice-ufrag:a b c d",
        "fingerprint:md5 00",
        "fingerprint:",
    ] {
        assert!(end.remote_lines(now, line).is_err(), "{line}");
    }
    let many: String = (0..1000)
        .map(|port| format!("candidate:1 1 udp 1 10.0.0.9 {port} typ host\n"))
        .collect();
    end.remote_lines(now, &many).unwrap();
    let many: String = (0..1000).map(|ssrc| format!("ssrc:{ssrc}\n")).collect();
    end.remote_lines(now, &many).unwrap();
    assert_eq!(end.announced.len(), MAX_STREAMS);
}

#[test]
fn random_datagrams_in_each_state_do_no_harm() {
    let mut rng = ChaCha8Rng::seed_from_u64(15);
    let now = origin();
    let mut fresh = endpoint(Role::Answer, 16, now);
    fresh.path_lines(now, "path:1 component 1 host 10.0.0.2 40001 mtu 1200");
    let mut checking = Pair::new(0, 17);
    checking.signal(|_, lines| lines);
    let mut shaking = Pair::new(0, 18);
    shaking.signal(|_, lines| lines);
    shaking.run(Duration::from_secs(5), |pair| pair.ends[1].dtls.is_started());
    let mut talking = Pair::connect(0, 19);
    talking.run(Duration::from_secs(4), |_| false);
    let mut good = rtp(SSRC[0], 7);
    good.resize(200, 0);
    let mut over = Pair::connect(0, 20);
    over.ends[1].close(over.now);
    let Pair {
        ends: [_, checking], ..
    } = checking;
    let Pair { ends: [_, shaking], .. } = shaking;
    let Pair { ends: [_, over], .. } = over;
    let later = talking.now;
    let Pair {
        ends: [mut peer, talking],
        ..
    } = talking;
    for (name, mut end) in [
        ("fresh", fresh),
        ("checking", checking),
        ("shaking", shaking),
        ("talking", talking),
        ("over", over),
    ] {
        let mut outputs = 0u32;
        let was_up = end.is_connected();
        for round in 0..100_000u32 {
            let mut bytes = [0u8; 300];
            rng.fill_bytes(&mut bytes);
            let first = [bytes[0] % 4, 20 + bytes[0] % 44, 128 + bytes[0] % 64, bytes[0]];
            bytes[0] = first[round as usize % 4];
            match round % 7 {
                // A STUN header, a DTLS record, a known SSRC: so that more than the first check is reached.
                0 => bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]),
                1 => [bytes[0], bytes[1], bytes[2]] = [20 + bytes[3] % 6, 0xFE, 0xFD],
                2 => bytes[8..12].copy_from_slice(&SSRC[0].to_be_bytes()),
                3 => bytes[4..8].copy_from_slice(&SSRC[0].to_be_bytes()),
                _ => {}
            }
            let mut length = rng.next_u32() as usize % 301;
            if round % 7 == 0 && length >= 20 {
                length &= !3;
                bytes[2..4].copy_from_slice(&((length - 20) as u16).to_be_bytes());
            }
            if round % 7 == 1 && length >= 13 {
                bytes[11..13].copy_from_slice(&((length - 13) as u16).to_be_bytes());
            }
            let source = if round % 3 == 0 {
                SocketAddr::from(([203, 0, 113, bytes[20]], 9))
            } else {
                address(0)
            };
            let received = end.receive(later, PATH, source, &mut bytes[..length]);
            assert_eq!(received, Received::Nothing, "{name} {round}");
            while let Some(output) = end.poll_output() {
                outputs += 1;
                assert!(!matches!(output, Output::Data { .. }), "{name}");
            }
        }
        assert!(outputs < 1000, "{name}: {outputs}");
        assert_eq!(end.is_connected(), was_up, "{name}: noise ends no call");
        if was_up {
            let mut buffer = good.clone();
            let Ok(Sent::Transmit { length, .. }) = peer.send(later, Kind::Rtp, &mut buffer, 60) else {
                panic!("{name}");
            };
            assert_eq!(
                end.receive(later, PATH, address(0), &mut buffer[..length]),
                Received::Rtp(60),
                "{name}"
            );
        }
    }
}

/// Keeps every field of every event as text.
#[derive(Clone, Default)]
struct Capture(std::sync::Arc<std::sync::RwLock<String>>);

impl tracing::field::Visit for Capture {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write;
        writeln!(self.0.write().unwrap(), "{value:?}").unwrap();
    }
}

impl tracing::Subscriber for Capture {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        attributes.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn no_log_line_at_any_level_has_a_password() {
    let capture = Capture::default();
    let passwords = std::cell::RefCell::new(Vec::new());
    let note = |lines: &str| {
        let found = lines
            .lines()
            .filter_map(|line| line.strip_prefix("ice-pwd:"))
            .map(str::to_owned);
        passwords.borrow_mut().extend(found);
    };
    tracing::subscriber::with_default(capture.clone(), || {
        let mut pair = Pair::new(0, 21);
        pair.signal(|_, lines| {
            note(&lines);
            lines
        });
        pair.run(Duration::from_secs(3), |_| false);
        assert!(pair.both_connected());
        pair.ends[0].restart(pair.now);
        pair.signal(|_, lines| {
            note(&lines);
            lines
        });
        pair.run(Duration::from_secs(3), |_| false);
    });
    let log = capture.0.read().unwrap();
    assert!(log.len() > 1000, "something was logged");
    assert!(passwords.borrow().len() >= 3);
    for password in passwords.borrow().iter() {
        assert!(!log.contains(password.as_str()));
    }
}
