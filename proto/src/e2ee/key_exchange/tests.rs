//! Recorded exchanges with a real client, hostile values, and the property: both ends agree, or both refuse.

use std::convert::Infallible;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use serde_json::Value;

use super::*;

/// A generator that gives the bytes it was made of, to play a recorded secret.
pub(in crate::e2ee) struct Known(pub(in crate::e2ee) Vec<u8>);

impl TryRng for Known {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        target.copy_from_slice(&self.0.drain(..target.len()).collect::<Vec<_>>());
        Ok(())
    }
}

impl TryCryptoRng for Known {}

pub(in crate::e2ee) fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap())
        .collect()
}

fn binding() -> Binding {
    Binding {
        call_id: *b"0123456789abcdef",
        caller: "anna".to_owned(),
        callee: "desk@example".to_owned(),
    }
}

#[test]
fn every_recorded_exchange_is_reproduced() {
    let text = include_str!("../../../../tests/vectors/key_exchange.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 28);
    for (place, case) in cases.iter().enumerate() {
        let bytes = |name: &str| hex(case[name].as_str().unwrap());
        let (x, peer, g_a) = (bytes("x"), bytes("peer_public"), bytes("g_a"));
        let fingerprint: i64 = case["key_fingerprint"].as_str().unwrap().parse().unwrap();
        let hash: [u8; 32] = bytes("g_a_hash").try_into().unwrap();
        let agreed = if case["role_of_x"] == "caller" {
            if g_a[0] == 0 {
                // Our machine would not send this value: only its arithmetic is compared.
                let secret = dh2048::Secret::known(&x.try_into().unwrap());
                assert_eq!(secret.public(), g_a, "case {place}");
                let key = secret.agree(&dh2048::check(&peer).unwrap());
                let emojis = fingerprint::emojis(&key, &g_a);
                Agreed {
                    fingerprint: fingerprint::of_key(&key),
                    emojis,
                    key,
                    public: g_a,
                }
            } else {
                let committed = begin(KeyExchange::Dh2048, &mut Known(x), &NO_SERVER_RANDOM).run();
                assert_eq!(committed.commitment(), hash, "case {place}");
                let agreed = committed.on_accept(&peer, &binding()).unwrap().run().unwrap();
                assert_eq!(agreed.public, g_a, "case {place}");
                agreed
            }
        } else {
            let answered = answer(KeyExchange::Dh2048, hash, &mut Known(x), &NO_SERVER_RANDOM).run();
            answered
                .on_confirm(&g_a, fingerprint, &binding())
                .unwrap()
                .run()
                .unwrap()
        };
        assert_eq!(agreed.key.as_bytes().as_slice(), bytes("key"), "case {place}");
        assert_eq!(agreed.fingerprint, fingerprint, "case {place}");
        let indices: Vec<u64> = agreed.emojis.iter().map(|emoji| u64::from(emoji.index())).collect();
        let expected: Vec<u64> = case["emoji_indices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|index| index.as_u64().unwrap())
            .collect();
        assert_eq!(indices, expected, "case {place}");
        let shown: String = agreed.emojis.iter().map(|emoji| emoji.symbol()).collect();
        assert_eq!(shown, case["emoji"].as_str().unwrap(), "case {place}");
    }
}

#[test]
fn the_exponent_is_our_randomness_and_the_servers() {
    let x: Vec<u8> = (0..=255).collect();
    let mut server = [0; 256];
    server[..].copy_from_slice(&x.iter().map(|byte| byte ^ 0x5a).collect::<Vec<_>>());
    // x XOR server = 0x5a5a5a...
    let a = begin(KeyExchange::Dh2048, &mut Known(x), &server).run();
    let b = begin(KeyExchange::Dh2048, &mut Known(vec![0x5a; 256]), &NO_SERVER_RANDOM).run();
    assert_eq!(a.commitment(), b.commitment());
}

#[test]
fn the_key_of_x25519_is_that_of_other_implementations() {
    // Agreed between two browsers and a Python implementation.
    let binding = Binding {
        call_id: std::array::from_fn(|place| place as u8),
        caller: "anna".to_owned(),
        callee: "desk@quartet.example".to_owned(),
    };
    let committed = begin(KeyExchange::X25519, &mut Known((0..32).collect()), &NO_SERVER_RANDOM).run();
    let answered = answer(
        KeyExchange::X25519,
        committed.commitment(),
        &mut Known((32..64).collect()),
        &NO_SERVER_RANDOM,
    )
    .run();
    let caller = committed.on_accept(answered.public(), &binding).unwrap().run().unwrap();
    let callee = answered
        .on_confirm(&caller.public, caller.fingerprint, &binding)
        .unwrap()
        .run()
        .unwrap();
    assert_eq!(caller.key.as_bytes()[..16], hex("0ac3a73ba7fb65822f4a0002a18419c6"));
    assert_eq!(caller.emojis.map(Emoji::index), [302, 81, 126, 56]);
    assert_eq!((callee.key, callee.emojis), (caller.key, caller.emojis));
}

/// Runs an exchange whose messages somebody between may change.
fn exchange(
    exchange: KeyExchange,
    rng: &mut ChaCha20Rng,
    names: (&Binding, &Binding),
    between: &mut dyn FnMut(Step, &mut Vec<u8>),
) -> (Result<Agreed, KeyExchangeError>, Result<Agreed, KeyExchangeError>) {
    let committed = begin(exchange, rng, &NO_SERVER_RANDOM).run();
    let mut commitment = committed.commitment().to_vec();
    between(Step::Commitment, &mut commitment);
    let answered = answer(exchange, commitment.try_into().unwrap(), rng, &NO_SERVER_RANDOM).run();
    let mut public = answered.public().to_vec();
    between(Step::Answer, &mut public);
    let caller = committed.on_accept(&public, names.0).and_then(Job::run);
    let Ok(agreed) = &caller else {
        return (caller, Err(KeyExchangeError::Degenerate));
    };
    let mut revealed = agreed.public.clone();
    between(Step::Reveal, &mut revealed);
    let mut fingerprint = agreed.fingerprint.to_le_bytes().to_vec();
    between(Step::Fingerprint, &mut fingerprint);
    let fingerprint = i64::from_le_bytes(fingerprint.try_into().unwrap());
    let callee = answered.on_confirm(&revealed, fingerprint, names.1).and_then(Job::run);
    (caller, callee)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Commitment,
    Answer,
    Reveal,
    Fingerprint,
}

#[test]
fn both_ends_agree_or_the_callee_refuses() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for round in 0..60u32 {
        let group = if round % 6 == 0 {
            KeyExchange::Dh2048
        } else {
            KeyExchange::X25519
        };
        let names = binding();
        let (caller, callee) = exchange(group, &mut rng, (&names, &names), &mut |_, _| ());
        let (caller, callee) = (caller.unwrap(), callee.unwrap());
        assert_eq!(caller.key, callee.key);
        assert_eq!((caller.fingerprint, caller.emojis), (callee.fingerprint, callee.emojis));
        if group == KeyExchange::Dh2048 {
            assert!(caller.public[0] != 0 && callee.public[0] != 0);
        }

        let mut noise = ChaCha20Rng::seed_from_u64(u64::from(round));
        let place = noise.next_u32() as usize;
        for step in [Step::Commitment, Step::Answer, Step::Reveal, Step::Fingerprint] {
            let (_, callee) = exchange(group, &mut rng, (&names, &names), &mut |now, bytes| {
                if now == step {
                    // Bit 255 of an X25519 value is ignored by its arithmetic, but bound into the key all the same.
                    let place = place % (bytes.len() * 8);
                    bytes[place / 8] ^= 1 << (place % 8);
                }
            });
            let expected = match step {
                Step::Commitment | Step::Reveal => &[KeyExchangeError::Commitment][..],
                Step::Answer => &[KeyExchangeError::Fingerprint, KeyExchangeError::Degenerate],
                Step::Fingerprint => &[KeyExchangeError::Fingerprint],
            };
            assert!(expected.contains(&callee.unwrap_err()), "{group} {step:?}");
        }
    }
}

#[test]
fn other_names_give_another_key() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let right = binding();
    let wrong = [
        Binding {
            callee: "desk@elsewhere".to_owned(),
            ..binding()
        },
        Binding {
            caller: "annb".to_owned(),
            ..binding()
        },
        Binding {
            call_id: [0; 16],
            ..binding()
        },
        // The same letters, parted elsewhere.
        Binding {
            caller: "annad".to_owned(),
            callee: "esk@example".to_owned(),
            ..binding()
        },
    ];
    for wrong in &wrong {
        let (_, callee) = exchange(KeyExchange::X25519, &mut rng, (&right, wrong), &mut |_, _| ());
        assert_eq!(callee.unwrap_err(), KeyExchangeError::Fingerprint);
    }
    let zero = Binding {
        caller: "an\0na".to_owned(),
        ..binding()
    };
    let (caller, _) = exchange(KeyExchange::X25519, &mut rng, (&zero, &right), &mut |_, _| ());
    assert_eq!(caller.unwrap_err(), KeyExchangeError::Binding);
}

#[test]
fn points_of_small_order_are_refused_by_both() {
    let low: [[u8; 32]; 5] = [
        [0; 32],
        std::array::from_fn(|place| u8::from(place == 0)),
        hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
            .try_into()
            .unwrap(),
        hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")
            .try_into()
            .unwrap(),
        hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
            .try_into()
            .unwrap(),
    ];
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    for point in &low {
        let committed = begin(KeyExchange::X25519, &mut rng, &NO_SERVER_RANDOM).run();
        let caller = committed.on_accept(point, &binding()).unwrap().run();
        assert_eq!(caller.unwrap_err(), KeyExchangeError::Degenerate);
        let answered = answer(KeyExchange::X25519, commitment(point), &mut rng, &NO_SERVER_RANDOM).run();
        let callee = answered.on_confirm(point, 0, &binding()).unwrap().run();
        assert_eq!(callee.unwrap_err(), KeyExchangeError::Degenerate);
    }
    for length in [0, 31, 33, 256] {
        let committed = begin(KeyExchange::X25519, &mut rng, &NO_SERVER_RANDOM).run();
        assert_eq!(
            committed.on_accept(&vec![9; length], &binding()).unwrap_err(),
            KeyExchangeError::Degenerate
        );
    }
}

#[test]
fn degenerate_numbers_are_refused_by_both() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for public in [
        vec![],
        vec![0; 256],
        vec![1],
        vec![2; 248],
        vec![0xff; 256],
        vec![3; 257],
    ] {
        let committed = begin(KeyExchange::Dh2048, &mut rng, &NO_SERVER_RANDOM).run();
        assert_eq!(
            committed.on_accept(&public, &binding()).unwrap_err(),
            KeyExchangeError::Degenerate
        );
        let answered = answer(KeyExchange::Dh2048, commitment(&public), &mut rng, &NO_SERVER_RANDOM).run();
        assert_eq!(
            answered.on_confirm(&public, 0, &binding()).unwrap_err(),
            KeyExchangeError::Degenerate
        );
    }
}

#[test]
fn the_commitment_is_checked_first() {
    // The value is degenerate as well; what is reported is the commitment.
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    for group in KeyExchange::ALL {
        let answered = answer(group, [7; 32], &mut rng, &NO_SERVER_RANDOM).run();
        assert_eq!(
            answered.on_confirm(&[], 0, &binding()).unwrap_err(),
            KeyExchangeError::Commitment
        );
    }
}

#[test]
fn states_are_sent_between_threads_and_do_not_print_secrets() {
    fn is_send<T: Send>(_: &T) {}
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let job = begin(KeyExchange::X25519, &mut rng, &NO_SERVER_RANDOM);
    is_send(&job);
    let committed = job.run();
    is_send(&committed);
    assert_eq!(format!("{committed:?}"), "Committed { exchange: X25519, .. }");
}
