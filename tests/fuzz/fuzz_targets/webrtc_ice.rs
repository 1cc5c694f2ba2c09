//! ICE with a peer that knows the passwords: the messages are authentic, their contents are the input's.
//!
//! The first byte picks our role. Then steps: a verb, an argument, a length and that many bytes. The bytes are attributes of
//! a request or of a response to the last check, or a line; MESSAGE-INTEGRITY and FINGERPRINT are made right.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use quartet_proto::webrtc::ice::{Ice, PathKind};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use sha1::Sha1;

const PEER_FRAGMENT: &str = "peer";
const PEER_PASSWORD: &str = "pppppppppppppppppppppp";

/// CRC-32 of RFC 8489 §14.7.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
        }
    }
    !crc
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = kind.to_be_bytes().to_vec();
    attribute.extend_from_slice(&(value.len() as u16).to_be_bytes());
    attribute.extend_from_slice(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Writes a message around the attributes, authenticated with the password.
fn message(kind: u16, transaction: &[u8], attributes: &[u8], password: &str) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend_from_slice(&[0, 0, 0x21, 0x12, 0xA4, 0x42]);
    message.extend_from_slice(transaction);
    message.extend_from_slice(attributes);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = |message: &mut Vec<u8>, more: usize| {
        let length = (message.len() - 20 + more) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
    };
    length(&mut message, 24);
    let mut mac = Hmac::<Sha1>::new_from_slice(password.as_bytes()).expect("any length");
    mac.update(&message);
    let tag = mac.finalize().into_bytes();
    message.extend(attribute(0x0008, &tag));
    length(&mut message, 8);
    let fingerprint = crc(&message) ^ 0x5354_554E;
    message.extend(attribute(0x8028, &fingerprint.to_be_bytes()));
    message
}

/// What of our description the peer needs.
#[derive(Default)]
struct Ours {
    fragment: String,
    password: String,
    /// Those of the generation before, which goes on beside the latest.
    before: (String, String),
    /// The transaction of our last check, the path it went and to whom.
    check: Option<([u8; 12], u32, SocketAddr)>,
}

impl Ours {
    fn collect(&mut self, ice: &mut Ice) {
        for line in ice.take_lines().lines() {
            if let Some(fragment) = line.strip_prefix("ice-ufrag:") {
                self.before = (self.fragment.clone(), self.password.clone());
                fragment.clone_into(&mut self.fragment);
            } else if let Some(password) = line.strip_prefix("ice-pwd:") {
                password.clone_into(&mut self.password);
            }
        }
        for count in 0.. {
            assert!(count < 1000, "there is no end of checks");
            let Some(check) = ice.poll_transmit() else {
                break;
            };
            if check.bytes[..2] == [0, 1] {
                let transaction = check.bytes[8..20].try_into().expect("12 bytes");
                self.check = Some((transaction, check.path, check.destination));
            }
        }
        while ice.poll_event().is_some() {}
        assert!(
            ice.selected().is_none_or(|(path, _)| path < 4),
            "a path that was never there"
        );
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, mut rest)) = bytes.split_first() else {
        return;
    };
    let mut now = Instant::now();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut ice = Ice::new(first & 1 == 1, &mut rng);
    let mut ours = Ours::default();
    ice.add_path(0, PathKind::Host, ([10, 0, 0, 1], 40000).into());
    ice.add_path(1, PathKind::Relay, ([203, 0, 113, 1], 50000).into());
    if first & 2 == 0 {
        let _ = ice.remote_line(&format!("ice-ufrag:{PEER_FRAGMENT}"), &mut rng);
        let _ = ice.remote_line(&format!("ice-pwd:{PEER_PASSWORD}"), &mut rng);
        let _ = ice.remote_line("candidate:1 1 udp 2130706431 10.0.0.2 5000 typ host", &mut rng);
    }
    ice.handle_timeout(now);
    ours.collect(&mut ice);
    while let [verb, argument, length, tail @ ..] = rest {
        let (part, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let path = u32::from(argument & 1);
        let source: SocketAddr = match argument >> 1 & 3 {
            0 => ([10, 0, 0, 2], 5000).into(),
            1 => ([10, 0, 0, 2], 5001).into(),
            2 => ([198, 51, 100, 7], u16::from(*argument)).into(),
            _ => ([0, 0, 0, 0, 0, 0, 0, 9], 5000).into(),
        };
        let (fragment, password) = match argument & 0x40 {
            0 => (&ours.fragment, &ours.password),
            _ => (&ours.before.0, &ours.before.1),
        };
        match verb % 8 {
            // A request; its bytes come after what one must have, or stand alone.
            0..=2 => {
                let mut attributes = Vec::new();
                if verb % 8 < 2 {
                    let name = format!("{fragment}:{PEER_FRAGMENT}");
                    attributes.extend(attribute(0x0006, name.as_bytes()));
                    attributes.extend(attribute(0x0024, &[0x6E, 0, 0xFF, *argument]));
                    let role = if argument & 8 == 0 { 0x802A } else { 0x8029 };
                    attributes.extend(attribute(role, &[*argument; 8]));
                }
                if verb % 8 == 1 {
                    attributes.extend(attribute(0x0025, &[]));
                }
                attributes.extend_from_slice(part);
                let transaction: [u8; 12] = std::array::from_fn(|at| *argument ^ at as u8);
                let request = message(1, &transaction, &attributes, password);
                ice.receive(now, path, source, &request);
            }
            // A response to our last check, of success or failure, from where it went or from elsewhere.
            3 | 4 => {
                if let Some((transaction, path, destination)) = ours.check {
                    let (kind, mut attributes) = if verb % 8 == 3 {
                        (
                            0x0101,
                            attribute(0x0020, &[0, 1, argument ^ 0x21, 0x12, 0x2B, 0x12, 0xA4, 0x43]),
                        )
                    } else {
                        (0x0111, attribute(0x0009, &[0, 0, 4, argument % 100]))
                    };
                    attributes.extend_from_slice(part);
                    let response = message(kind, &transaction, &attributes, PEER_PASSWORD);
                    let source = if argument & 0x80 == 0 { destination } else { source };
                    ice.receive(now, path, source, &response);
                }
            }
            5 => {
                now += Duration::from_millis(u64::from(*argument) * 50);
                ice.handle_timeout(now);
            }
            6 => {
                let _ = ice.remote_line(&String::from_utf8_lossy(part), &mut rng);
                ice.handle_timeout(now);
            }
            _ => match argument % 5 {
                0 => ice.restart(&mut rng),
                1 => ice.remove_path(path),
                2 => {
                    ice.add_path(2 + path, PathKind::Host, ([10, 0, 1, argument >> 2], 40001).into());
                }
                3 => ice.note_media(now, path, source),
                _ => {
                    // Of any class and method, without credentials of ours.
                    let kind = u16::from_be_bytes([argument >> 2 & 0x3F, part.first().copied().unwrap_or(1)]);
                    let other = message(kind, &[7; 12], part, PEER_PASSWORD);
                    ice.receive(now, path, source, &other);
                }
            },
        }
        ours.collect(&mut ice);
        let _ = ice.poll_timeout();
    }
});
