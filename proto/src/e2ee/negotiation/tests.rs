//! Two machines against each other over a bad network under virtual time, and hostile peers.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::recorded::{recordings, steps};
use super::*;
use crate::e2ee::signalling::{Cipher, Framing};
use crate::sdp::{Codec, TelephoneEvent};

const FINGERPRINT: &str =
    "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99";

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
pub(super) fn origin() -> Instant {
    Instant::now()
}

pub(super) fn rng(seed: u64) -> Box<dyn CryptoRng + Send> {
    Box::new(ChaCha20Rng::seed_from_u64(seed))
}

pub(super) fn key() -> SharedKey {
    SharedKey::new(&std::array::from_fn(|place| (place * 31 + 5) as u8))
}

pub(super) fn codec(payload_type: u8, name: &str, clock: u32, channels: u8, fmtp: &str) -> Codec {
    Codec {
        payload_type,
        name: name.to_owned(),
        clock,
        channels,
        fmtp: fmtp.to_owned(),
    }
}

pub(super) fn opus() -> Codec {
    codec(111, "opus", 48_000, 2, "minptime=10;useinbandfec=1")
}

pub(super) fn local(ufrag: &str, ssrc: u32) -> LocalMedia {
    LocalMedia {
        lines: format!(
            "ice-ufrag:{ufrag}\nice-pwd:{}\nfingerprint:sha-256 {FINGERPRINT}\n\
             candidate:1 1 udp 2130706431 192.0.2.{} 4000 typ host\n",
            "p".repeat(22),
            ssrc % 200,
        ),
        codecs: vec![opus(), codec(110, "telephone-event", 48_000, 1, "0-16")],
        ssrc,
    }
}

pub(super) fn negotiation(role: Role, seed: u64) -> Negotiation {
    of_version(role, Version::V9, seed)
}

fn of_version(role: Role, version: Version, seed: u64) -> Negotiation {
    Negotiation::new(origin(), role, version, key(), rng(seed))
}

pub(super) fn events(machine: &mut Negotiation) -> Vec<NegotiationEvent> {
    std::iter::from_fn(|| machine.poll_event()).collect()
}

pub(super) fn packets(machine: &mut Negotiation) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| machine.poll_transmit()).collect()
}

pub(super) fn channels(events: &[NegotiationEvent]) -> Option<(Codec, Codec, Option<TelephoneEvent>, u32)> {
    events.iter().rev().find_map(|event| match event {
        NegotiationEvent::Channels {
            send,
            receive,
            telephone_event,
            remote_ssrc,
        } => Some((send.clone(), receive.clone(), *telephone_event, *remote_ssrc)),
        NegotiationEvent::Remote { .. } | NegotiationEvent::MediaState(_) | NegotiationEvent::Failed(_) => None,
    })
}

pub(super) fn remote_lines(events: &[NegotiationEvent]) -> String {
    let lines = events.iter().filter_map(|event| match event {
        NegotiationEvent::Remote { lines } => Some(lines.as_str()),
        NegotiationEvent::Channels { .. } | NegotiationEvent::MediaState(_) | NegotiationEvent::Failed(_) => None,
    });
    lines.collect()
}

pub(super) fn failure(events: &[NegotiationEvent]) -> Option<NegotiationError> {
    events.iter().find_map(|event| match event {
        NegotiationEvent::Failed(why) => Some(*why),
        NegotiationEvent::Channels { .. } | NegotiationEvent::MediaState(_) | NegotiationEvent::Remote { .. } => None,
    })
}

/// Two machines and a network that loses, repeats and delays, all from one seed.
struct Pair {
    now: Instant,
    start: Instant,
    ends: [Negotiation; 2],
    events: [Vec<NegotiationEvent>; 2],
    wire: Vec<(Instant, u32, usize, Vec<u8>)>,
    noise: ChaCha20Rng,
    /// Per cent.
    loss: u32,
    repeat: u32,
    /// Milliseconds.
    delay: u32,
    sent: u32,
    /// Changes each packet on the wire, or drops it.
    between: fn(usize, Vec<u8>, &mut ChaCha20Rng) -> Option<Vec<u8>>,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        Pair::of(Version::V9, seed)
    }

    fn of(version: Version, seed: u64) -> Pair {
        let start = origin();
        Pair {
            now: start,
            start,
            ends: [
                of_version(Role::Caller, version, seed * 2),
                of_version(Role::Callee, version, seed * 2 + 1),
            ],
            events: [Vec::new(), Vec::new()],
            wire: Vec::new(),
            noise: ChaCha20Rng::seed_from_u64(seed),
            loss: 0,
            repeat: 0,
            delay: 50,
            sent: 0,
            between: |_, packet, _| Some(packet),
        }
    }

    fn start(&mut self) {
        self.ends[0].start(self.now, local("call", 1001));
        self.ends[1].start(self.now, local("cale", 1002));
        self.drain();
    }

    fn drain(&mut self) {
        for end in 0..2 {
            for packet in packets(&mut self.ends[end]) {
                let copies = 1 + u32::from(self.noise.next_u32() % 100 < self.repeat);
                for _ in 0..copies {
                    let Some(packet) = (self.between)(end, packet.clone(), &mut self.noise) else {
                        continue;
                    };
                    if self.noise.next_u32() % 100 >= self.loss {
                        let delay = Duration::from_millis(u64::from(self.noise.next_u32() % self.delay.max(1)));
                        self.sent += 1;
                        self.wire.push((self.now + delay, self.sent, 1 - end, packet));
                    }
                }
            }
            let events = events(&mut self.ends[end]);
            self.events[end].extend(events);
        }
    }

    /// Runs until nothing is due, or for so long.
    fn run(&mut self, how_long: Duration) {
        let end = self.now + how_long;
        loop {
            let arrival = self.wire.iter().map(|(at, number, ..)| (*at, *number)).min();
            let timer = self.ends.iter().filter_map(Negotiation::poll_timeout).min();
            let next = [arrival.map(|(at, _)| at), timer].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if let Some((at, number)) = arrival.filter(|(at, _)| *at <= self.now) {
                let place = self.wire.iter().position(|one| (one.0, one.1) == (at, number)).unwrap();
                let (_, _, to, packet) = self.wire.swap_remove(place);
                self.ends[to].handle_input(self.now, &packet);
            } else {
                for end in &mut self.ends {
                    end.handle_timeout(self.now);
                }
            }
            self.drain();
            assert!(
                self.now < self.start + Duration::from_secs(3600) && self.sent < 10_000,
                "the ends do not rest"
            );
        }
    }

    fn agreed(&self) -> bool {
        self.events
            .iter()
            .all(|events| channels(events).is_some() && remote_lines(events).contains("ice-ufrag:"))
    }

    fn failures(&self) -> [Option<NegotiationError>; 2] {
        [failure(&self.events[0]), failure(&self.events[1])]
    }

    fn assert_agreed(&self) {
        for (end, peer_ssrc, peer_ufrag) in [(0, 1002, "cale"), (1, 1001, "call")] {
            let events = &self.events[end];
            let (send, receive, telephone_event, ssrc) = channels(events).expect("channels");
            assert_eq!((send, receive, ssrc), (opus(), opus(), peer_ssrc));
            assert_eq!(
                telephone_event,
                Some(TelephoneEvent {
                    send_pt: 110,
                    receive_pt: 110,
                    clock: 48_000
                })
            );
            let lines = remote_lines(events);
            let mut seen: Vec<&str> = lines.lines().collect();
            assert_eq!(seen[0], format!("ice-ufrag:{peer_ufrag}"));
            assert_eq!(seen[2], format!("fingerprint:sha-256 {FINGERPRINT}"));
            assert!(seen.contains(&format!("ssrc:{peer_ssrc}").as_str()));
            assert!(seen.iter().any(|line| line.starts_with("candidate:")) || self.loss > 0);
            seen.sort_unstable();
            let count = seen.len();
            seen.dedup();
            assert_eq!(seen.len(), count, "a line was told twice");
        }
        assert_eq!(self.failures(), [None, None]);
    }
}

#[test]
fn two_ends_agree_at_once_on_a_good_network() {
    let mut pair = Pair::new(1);
    pair.start();
    pair.run(Duration::from_secs(1));
    pair.assert_agreed();
    pair.run(Duration::from_secs(60));
    pair.assert_agreed();
    assert!(
        pair.ends.iter().all(|end| end.poll_timeout().is_none()),
        "nothing is left to do"
    );
    let roles = pair
        .events
        .each_ref()
        .map(|events| remote_lines(events).lines().nth(3).map(str::to_owned));
    assert_eq!(
        roles,
        [Some("setup:passive".to_owned()), Some("setup:actpass".to_owned())]
    );
    assert_eq!(pair.ends[0].dropped(), 0);
}

#[test]
fn two_ends_agree_on_a_bad_network() {
    let mut slowest = Duration::ZERO;
    for seed in 0..150 {
        let mut pair = Pair::new(seed);
        (pair.loss, pair.repeat, pair.delay) = (10, 20, 400);
        pair.start();
        while !pair.agreed() && pair.failures() == [None, None] {
            pair.run(Duration::from_millis(100));
        }
        slowest = slowest.max(pair.now - pair.start);
        pair.loss = 0;
        pair.run(Duration::from_secs(30));
        pair.assert_agreed();
    }
    assert!(slowest < NEGOTIATION_TIMEOUT, "{slowest:?}");
}

/// As on a mobile network at its worst: a third is lost, and what arrives arrives in any order.
#[test]
fn in_each_version_two_ends_agree_while_a_third_is_lost() {
    for version in Version::ALL {
        let mut slowest = Duration::ZERO;
        for seed in 0..100 {
            let mut pair = Pair::of(version, seed);
            (pair.loss, pair.repeat, pair.delay) = (30, 10, 400);
            pair.start();
            while !pair.agreed() && pair.failures() == [None, None] {
                pair.run(Duration::from_millis(100));
            }
            slowest = slowest.max(pair.now - pair.start);
            pair.ends.iter_mut().for_each(Negotiation::set_media_up);
            pair.run(Duration::from_secs(60));
            pair.assert_agreed();
        }
        assert!(slowest < NEGOTIATION_TIMEOUT, "{version}: {slowest:?}");
    }
}

#[test]
fn in_each_version_two_ends_agree_at_once_on_a_good_network() {
    for version in Version::ALL {
        let mut pair = Pair::of(version, 1);
        pair.delay = 1;
        pair.start();
        pair.run(Duration::from_millis(400));
        pair.assert_agreed();
        assert_eq!(pair.ends.each_ref().map(Negotiation::dropped), [0, 0], "{version}");
    }
}

#[test]
fn once_media_is_up_signalling_has_no_deadline() {
    for version in Version::ALL {
        let mut pair = Pair::of(version, 2);
        pair.start();
        pair.run(Duration::from_secs(1));
        pair.ends.iter_mut().for_each(Negotiation::set_media_up);
        // From here on nothing arrives, and new credentials are never acknowledged.
        pair.loss = 100;
        let restart = format!("ice-ufrag:again\nice-pwd:{}\n", "q".repeat(24));
        pair.ends[0].add_local(pair.now, &restart);
        pair.drain();
        pair.run(Duration::from_secs(600));
        assert_eq!(pair.failures(), [None, None], "{version}");
    }
}

#[test]
fn reordering_alone_delays_nobody() {
    for seed in 0..150 {
        let mut pair = Pair::new(seed);
        (pair.repeat, pair.delay) = (30, 1500);
        pair.start();
        pair.run(Duration::from_secs(12));
        pair.assert_agreed();
    }
}

#[test]
fn on_a_dreadful_network_both_agree_or_say_why() {
    let mut good = 0;
    for seed in 0..100 {
        let mut pair = Pair::new(seed);
        (pair.loss, pair.repeat, pair.delay) = (45, 30, 3000);
        pair.start();
        pair.run(Duration::from_secs(120));
        if pair.failures() == [None, None] {
            pair.assert_agreed();
            good += 1;
        } else {
            // An end that failed is silent from then on; it may have agreed before.
            assert!(pair.failures().iter().flatten().all(|why| matches!(
                why,
                NegotiationError::Silent | NegotiationError::Unacknowledged | NegotiationError::NoAgreement
            )));
        }
    }
    assert!(good > 20, "{good} of 100");
}

#[test]
fn offers_that_cross_are_settled() {
    // The callee offers by itself before it hears the caller, whose packets take three seconds.
    for seed in 0..50 {
        let mut pair = Pair::new(seed);
        pair.delay = 2900;
        pair.start();
        pair.run(Duration::from_secs(18));
        pair.assert_agreed();
    }
}

/// The texts of what the machine sends, to a peer that acknowledges all of it.
fn said(machine: &mut Negotiation, now: Instant, peer: &mut Link) -> Vec<serde_json::Value> {
    let mut texts = Vec::new();
    for packet in packets(machine) {
        for message in peer.handle_input(now, &packet).messages {
            texts.push(serde_json::from_slice(&message.json).unwrap());
        }
    }
    while let Some(packet) = peer.poll_transmit() {
        machine.handle_input(now, &packet);
    }
    texts
}

fn offers(texts: &[serde_json::Value]) -> Vec<&str> {
    let texts = texts.iter().filter(|text| text["@type"] == "NegotiateChannels");
    texts.map(|text| text["exchangeId"].as_str().unwrap()).collect()
}

#[test]
fn an_answer_that_is_answered_is_no_offer() {
    let now = origin();
    let mut peer = Link::new(now, Role::Callee, Version::V9, key());
    let mut machine = negotiation(Role::Caller, 40);
    machine.start(now, local("call", 1001));
    let ours = said(&mut machine, now, &mut peer);
    let ours = offers(&ours)[0].to_owned();
    let offer = |id: &str| {
        let audio =
            r#"{"type":"audio","ssrc":"77","payloadTypes":[{"id":111,"name":"opus","clockrate":48000,"channels":2}]}"#;
        format!(r#"{{"@type":"NegotiateChannels","exchangeId":"{id}","contents":[{audio}]}}"#).into_bytes()
    };
    let mut tell = |machine: &mut Negotiation, id: &str| {
        peer.send(now, offer(id), true).unwrap();
        while let Some(packet) = peer.poll_transmit() {
            machine.handle_input(now, &packet);
        }
        said(machine, now, &mut peer)
    };
    tell(&mut machine, &ours);
    assert_eq!(offers(&tell(&mut machine, "5")), ["5"], "an offer is answered");
    // The peer has dropped that offer meanwhile, takes our answer for an offer, and answers it.
    assert!(offers(&tell(&mut machine, "5")).is_empty());
    assert_eq!(offers(&tell(&mut machine, "6")), ["6"]);
}

#[test]
fn an_offer_that_overtakes_the_answer_before_it_is_kept() {
    let now = origin();
    let (mut caller, mut callee) = (negotiation(Role::Caller, 1), negotiation(Role::Callee, 2));
    caller.start(now, local("call", 1001));
    callee.start(now, local("cale", 1002));
    for packet in packets(&mut caller) {
        callee.handle_input(now, &packet);
    }
    // Setup and candidates, then answer and offer: all reversed.
    for packet in packets(&mut callee).into_iter().rev() {
        caller.handle_input(now, &packet);
    }
    for packet in packets(&mut caller) {
        callee.handle_input(now, &packet);
    }
    assert!(channels(&events(&mut caller)).is_some());
    assert!(channels(&events(&mut callee)).is_some());
}

#[test]
fn an_altered_packet_is_dropped_and_repeated() {
    let mut pair = Pair::new(3);
    pair.between = |end, mut packet, noise| {
        if end == 0 && noise.next_u32() % 4 == 0 {
            let place = noise.next_u32() as usize % packet.len();
            packet[place] ^= 1 << (noise.next_u32() % 8);
        }
        Some(packet)
    };
    pair.start();
    pair.run(Duration::from_secs(19));
    pair.assert_agreed();
    assert!(pair.ends[1].dropped() > 0);
}

#[test]
fn a_network_that_alters_every_packet_ends_the_call() {
    let mut pair = Pair::new(4);
    pair.between = |_, mut packet, noise| {
        let place = noise.next_u32() as usize % packet.len();
        packet[place] ^= 1 << (noise.next_u32() % 8);
        Some(packet)
    };
    pair.start();
    pair.run(Duration::from_secs(25));
    assert_eq!(pair.failures(), [Some(NegotiationError::Tampered); 2]);
    assert!(pair.now - pair.start <= Duration::from_secs(25));
    // Nothing more comes of either.
    for end in &mut pair.ends {
        assert_eq!(
            (end.poll_timeout(), end.poll_transmit(), end.poll_event()),
            (None, None, None)
        );
    }
}

#[test]
fn a_network_that_alters_one_direction_ends_the_call() {
    let mut pair = Pair::new(5);
    pair.between = |end, mut packet, _| {
        if end == 0 {
            packet[20] ^= 1;
        }
        Some(packet)
    };
    pair.start();
    pair.run(Duration::from_secs(25));
    let [caller, callee] = pair.failures();
    assert_eq!(callee, Some(NegotiationError::Tampered));
    assert_eq!(caller, Some(NegotiationError::Unacknowledged));
}

#[test]
fn a_silent_peer_ends_the_call_in_time() {
    for role in [Role::Caller, Role::Callee] {
        let now = origin();
        let mut machine = negotiation(role, 6);
        assert_eq!(machine.poll_timeout(), None);
        machine.start(now, local("call", 1));
        while let Some(due) = machine.poll_timeout() {
            assert!(due <= now + NEGOTIATION_TIMEOUT);
            machine.handle_timeout(due);
            packets(&mut machine);
        }
        assert_eq!(
            events(&mut machine),
            [NegotiationEvent::Failed(NegotiationError::Silent)]
        );
    }
}

#[test]
fn another_key_or_the_same_role_ends_the_call() {
    let now = origin();
    let mut machine = negotiation(Role::Callee, 7);
    machine.start(now, local("cale", 1));
    let forger = Cipher::new(SharedKey::new(&[1; 256]), Role::Caller);
    for counter in 1..=64u8 {
        machine.handle_input(now, &forger.seal(&[0, 0, 0, counter, 0xfe]));
    }
    assert_eq!(failure(&events(&mut machine)), Some(NegotiationError::Tampered));
    assert_eq!(machine.dropped(), 64);
}

#[test]
fn packets_before_the_start_are_kept() {
    let now = origin();
    let (mut caller, mut callee) = (negotiation(Role::Caller, 8), negotiation(Role::Callee, 9));
    caller.start(now, local("call", 1001));
    for packet in packets(&mut caller) {
        callee.handle_input(now, &packet);
    }
    assert!(events(&mut callee).is_empty());
    for packet in packets(&mut callee) {
        caller.handle_input(now, &packet);
    }
    callee.start(now, local("cale", 1002));
    for packet in packets(&mut callee) {
        caller.handle_input(now, &packet);
    }
    for packet in packets(&mut caller) {
        callee.handle_input(now, &packet);
    }
    assert!(channels(&events(&mut caller)).is_some());
    assert!(channels(&events(&mut callee)).is_some());
}

#[test]
fn new_credentials_and_candidates_are_told_again() {
    let mut pair = Pair::new(10);
    pair.start();
    pair.run(Duration::from_secs(2));
    pair.assert_agreed();
    pair.events[1].clear();
    let restart = format!("ice-ufrag:again\nice-pwd:{}\n", "q".repeat(24));
    pair.ends[0].add_local(pair.now, &restart);
    pair.ends[0].add_local(pair.now, "candidate:9 1 udp 1 192.0.2.9 9 typ host ufrag again\n");
    // The same again is no news.
    pair.ends[0].add_local(pair.now, &restart);
    pair.drain();
    pair.run(Duration::from_secs(2));
    let lines = remote_lines(&pair.events[1]);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], "ice-ufrag:again");
    assert_eq!(
        lines.last(),
        Some(&"candidate:9 1 udp 1 192.0.2.9 9 typ host ufrag again")
    );
    assert_eq!(lines.len(), 5);
    assert_eq!(pair.failures(), [None, None]);
}

#[test]
fn a_restart_may_be_answered_with_the_credentials_of_before() {
    let setup = format!(
        r#"{{"@type":"InitialSetup","ufrag":"abcd","pwd":"{}","renomination":true,"fingerprints":[{{"hash":"sha-256","setup":"passive","fingerprint":"{}"}}]}}"#,
        "p".repeat(24),
        ["AA"; 32].join(":")
    );
    let setup = || match Message::read(setup.as_bytes()) {
        Some(Message::InitialSetup(setup)) => setup,
        other => panic!("{other:?}"),
    };
    let mut remote = Remote::default();
    remote.take_setup(3, setup(), Role::Callee).unwrap();
    let first = remote.take_lines().unwrap();
    remote.take_setup(9, setup(), Role::Callee).unwrap();
    assert_eq!(
        remote.take_lines(),
        Some(first),
        "the transport knows whether it is news"
    );
    remote.take_setup(4, setup(), Role::Callee).unwrap();
    assert_eq!(remote.take_lines(), None, "overtaken");
}

#[test]
fn media_state_is_told_by_either_way() {
    let mut pair = Pair::new(11);
    pair.start();
    pair.run(Duration::from_secs(2));
    pair.events[1].clear();
    let hears = MediaState {
        muted: true,
        spoken: Some("en".into()),
    };
    pair.ends[0].set_state(pair.now, hears.clone());
    pair.drain();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.events[1], [NegotiationEvent::MediaState(hears.clone())]);
    let talks = MediaState::default();
    pair.ends[1].handle_data(talks.to_text().as_bytes());
    pair.ends[1].handle_data(b"nonsense");
    pair.ends[1].handle_data(hears.to_text().as_bytes());
    assert_eq!(
        events(&mut pair.ends[1]),
        [talks, hears].map(NegotiationEvent::MediaState)
    );
}

#[test]
fn a_peer_without_a_common_codec_is_refused() {
    let now = origin();
    let (mut caller, mut callee) = (negotiation(Role::Caller, 12), negotiation(Role::Callee, 13));
    caller.start(now, local("call", 1001));
    callee.start(
        now,
        LocalMedia {
            codecs: vec![codec(8, "PCMA", 8000, 1, "")],
            ..local("cale", 1002)
        },
    );
    for packet in packets(&mut caller) {
        callee.handle_input(now, &packet);
    }
    assert_eq!(failure(&events(&mut callee)), Some(NegotiationError::NoCommonCodec));
}

#[test]
fn a_peer_with_useless_credentials_is_refused() {
    let now = origin();
    let (mut caller, mut callee) = (negotiation(Role::Caller, 14), negotiation(Role::Callee, 15));
    let lines = local("call", 1).lines.replace("sha-256", "sha-1");
    caller.start(
        now,
        LocalMedia {
            lines,
            ..local("call", 1)
        },
    );
    callee.start(now, local("cale", 2));
    for packet in packets(&mut caller) {
        callee.handle_input(now, &packet);
    }
    assert_eq!(failure(&events(&mut callee)), Some(NegotiationError::BadSetup));
}

#[test]
fn every_flipped_bit_of_a_packet_is_dropped() {
    let now = origin();
    let mut caller = negotiation(Role::Caller, 16);
    caller.start(
        now,
        LocalMedia {
            lines: String::new(),
            ..local("call", 1)
        },
    );
    let offer = packets(&mut caller).remove(0);
    for bit in 0..offer.len() * 8 {
        let mut callee = negotiation(Role::Callee, 17);
        let mut altered = offer.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        callee.handle_input(now, &altered);
        assert_eq!((callee.dropped(), callee.poll_transmit()), (1, None), "bit {bit}");
    }
}

/// The peer holds the key and writes what it likes.
#[test]
fn mutated_messages_never_panic_and_never_grow() {
    let now = origin();
    let mut noise = ChaCha20Rng::seed_from_u64(18);
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for recording in recordings() {
        for (_, _, messages) in steps(&recording) {
            texts.extend(messages.iter().map(|message| message.to_string().into_bytes()));
        }
    }
    texts.push(MediaState::default().to_text().into_bytes());
    for round in 0..300u64 {
        let role = if round % 2 == 0 { Role::Caller } else { Role::Callee };
        let mut machine = negotiation(role, round);
        let (peer, mut framing) = (Cipher::new(key(), role.peer()), Framing::new());
        machine.start(now, local("ours", 7));
        for step in 0..40u64 {
            let mut text = texts[noise.next_u32() as usize % texts.len()].clone();
            for _ in 0..noise.next_u32() % 5 {
                let place = noise.next_u32() as usize % text.len().max(1);
                match noise.next_u32() % 4 {
                    0 if !text.is_empty() => text[place] = noise.next_u32() as u8,
                    1 => text.truncate(place),
                    2 => text.insert(place.min(text.len()), b"\"{}[],:0-\\\n"[noise.next_u32() as usize % 11]),
                    _ => text.extend_from_within(place.min(text.len())..),
                }
                text.truncate(10_000);
            }
            if framing.send(now, text, false).is_err() {
                framing = Framing::new();
            }
            while let Some(mut plain) = framing.poll_transmit() {
                if noise.next_u32() % 8 == 0 {
                    let place = noise.next_u32() as usize % plain.len();
                    plain[place] = noise.next_u32() as u8;
                }
                machine.handle_input(now + Duration::from_millis(step * 300), &peer.seal(&plain));
            }
            machine.handle_timeout(now + Duration::from_millis(step * 300));
            packets(&mut machine);
            for event in events(&mut machine) {
                if let NegotiationEvent::Remote { lines } = event {
                    let known = [
                        "ice-ufrag:",
                        "ice-pwd:",
                        "fingerprint:",
                        "setup:",
                        "candidate:",
                        "ssrc:",
                    ];
                    assert!(
                        lines
                            .lines()
                            .all(|line| known.iter().any(|name| line.starts_with(name))),
                        "{lines}"
                    );
                }
            }
            assert!(machine.remote.waiting.len() <= remote::MAX_WAITING);
            assert!(machine.early.len() <= MAX_EARLY_MESSAGES);
        }
    }
}

#[test]
fn random_packets_never_panic() {
    let now = origin();
    let mut noise = ChaCha20Rng::seed_from_u64(19);
    for length in 0..300usize {
        let mut machine = negotiation(Role::Callee, 20);
        let mut packet = vec![0; length];
        noise.fill_bytes(&mut packet);
        machine.handle_input(now, &packet);
        assert_eq!((machine.dropped(), machine.poll_transmit()), (1, None));
    }
}
