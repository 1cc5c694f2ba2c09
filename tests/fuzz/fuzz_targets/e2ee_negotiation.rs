//! Signalling messages of a peer that holds the key, one a line; and the bytes as a packet of one that does not. A line
//! may name our open offer: `$X` stands for its exchange id.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet_proto::e2ee::signalling::Link;
use quartet_proto::e2ee::{LocalMedia, Negotiation, NegotiationEvent, Role, SharedKey, Version};
use quartet_proto::sdp::Codec;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

fuzz_target!(|bytes: &[u8]| {
    let (mut now, key) = (Instant::now(), SharedKey::new(&[7; 256]));
    let role = if bytes.len() % 2 == 0 {
        Role::Caller
    } else {
        Role::Callee
    };
    let version = if bytes.len() % 4 < 2 { Version::V9 } else { Version::V13 };
    let mut peer = Link::new(now, role.peer(), version, key.clone());
    let rng = Box::new(ChaCha20Rng::seed_from_u64(1));
    let mut machine = Negotiation::new(now, role, version, key, rng);
    machine.handle_input(now, bytes);
    let codec = |payload_type, name: &str, channels| Codec {
        payload_type,
        name: name.to_owned(),
        clock: 48_000,
        channels,
        fmtp: String::new(),
    };
    machine.start(
        now,
        LocalMedia {
            lines: format!(
                "ice-ufrag:abcd\nice-pwd:{}\nfingerprint:sha-256 {}\n",
                "p".repeat(22),
                ["AA"; 32].join(":")
            ),
            codecs: vec![codec(111, "opus", 2), codec(110, "telephone-event", 1)],
            ssrc: 1,
        },
    );
    let (mut exchange, mut failed) = (String::new(), false);
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line).replace("$X", &exchange).into_bytes();
        let _ = peer.send(now, line, false);
        // A few rounds each way: SCTP has to connect first.
        for _ in 0..6 {
            while let Some(packet) = machine.poll_transmit() {
                for message in peer.handle_input(now, &packet).messages {
                    let json = String::from_utf8_lossy(&message.json).into_owned();
                    if let Some(at) = json.find("\"exchangeId\":\"") {
                        exchange = json[at + 14..].chars().take_while(|c| *c != '"').collect();
                    }
                }
            }
            while let Some(packet) = peer.poll_transmit() {
                machine.handle_input(now, &packet);
            }
        }
        while let Some(event) = machine.poll_event() {
            assert!(!failed, "an event after the end: {event:?}");
            failed = matches!(event, NegotiationEvent::Failed(_));
        }
        now += Duration::from_millis(700);
        machine.handle_timeout(now);
        peer.handle_timeout(now);
    }
});
