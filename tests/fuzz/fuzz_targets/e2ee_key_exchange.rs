//! The key exchange with peers that send anything, in any order: steps of a verb and two arguments that name values.
//!
//! A value is one that somebody has sent before, altered or not, or bytes of the input. The types keep the order within one
//! exchange; here several run side by side, and each hears what was meant for another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::e2ee::KeyExchange;
use quartet_proto::e2ee::key_exchange::{
    Agreed, Answered, Binding, Committed, KeyExchangeError, NO_SERVER_RANDOM, answer, begin, commitment,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// Powers in the group of 2048 bits, some milliseconds each.
const MAX_HEAVY: usize = 6;
/// Values that were sent.
const MAX_VALUES: usize = 16;

/// What the hub could pass on: public values, and the fingerprints and commitments.
#[derive(Default)]
struct Sent {
    values: Vec<Vec<u8>>,
    hashes: Vec<[u8; 32]>,
    fingerprints: Vec<i64>,
}

impl Sent {
    /// Makes a public value: the input's bytes, or one that was sent, with a bit flipped if `argument` says so.
    fn value(&self, argument: u8, own: &[u8]) -> Vec<u8> {
        if argument & 0x80 != 0 || self.values.is_empty() {
            return own.to_vec();
        }
        let mut value = self.values[usize::from(argument & 15) % self.values.len()].clone();
        if argument & 0x40 != 0 && !value.is_empty() {
            let at = usize::from(own.first().copied().unwrap_or(0)) % value.len();
            value[at] ^= 1 << (argument >> 4 & 3);
        }
        value
    }
}

fn binding(argument: u8) -> Binding {
    Binding {
        call_id: [argument >> 6; 16],
        caller: "anna".to_owned(),
        callee: if argument & 0x20 == 0 { "desk" } else { "de\0sk" }.to_owned(),
    }
}

/// Whoever holds a key holds that of its fingerprint, and four emojis.
fn check(agreed: &Agreed, all: &mut Vec<Agreed>) {
    for other in all.iter() {
        let same = agreed.key == other.key;
        assert!(
            !same || agreed.fingerprint == other.fingerprint,
            "one key, two fingerprints"
        );
        assert!(
            same || agreed.fingerprint != other.fingerprint,
            "two keys, one fingerprint"
        );
    }
    all.push(agreed.clone());
}

fuzz_target!(|bytes: &[u8]| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut sent, mut heavy, mut agreed) = (Sent::default(), 0, Vec::new());
    let mut callers: Vec<Committed> = Vec::new();
    let mut callees: Vec<(Answered, [u8; 32])> = Vec::new();
    let mut rest = bytes;
    while let [verb, one, two, tail @ ..] = rest {
        let (own, tail) = tail.split_at(usize::from(*two).min(tail.len()));
        rest = tail;
        let exchange = if verb & 0x80 == 0 {
            KeyExchange::X25519
        } else {
            KeyExchange::Dh2048
        };
        let is_heavy = |exchange| usize::from(exchange == KeyExchange::Dh2048);
        if heavy + is_heavy(exchange) > MAX_HEAVY || sent.values.len() >= MAX_VALUES {
            return;
        }
        match verb % 4 {
            0 if callers.len() < 4 => {
                heavy += is_heavy(exchange);
                let caller = begin(exchange, &mut rng, &NO_SERVER_RANDOM).run();
                sent.hashes.push(caller.commitment());
                callers.push(caller);
            }
            1 if callees.len() < 4 => {
                heavy += is_heavy(exchange);
                let hash = match sent.hashes.len() {
                    0 => commitment(own),
                    _ if one & 0x80 != 0 => commitment(own),
                    count => sent.hashes[usize::from(*one) % count],
                };
                let callee = answer(exchange, hash, &mut rng, &NO_SERVER_RANDOM).run();
                sent.values.push(callee.public().to_vec());
                callees.push((callee, hash));
            }
            2 if !callers.is_empty() => {
                let caller = callers.swap_remove(usize::from(verb >> 2 & 3) % callers.len());
                heavy += is_heavy(caller.exchange());
                let hash = caller.commitment();
                let job = caller.on_accept(&sent.value(*one, own), &binding(*one));
                if let Ok(done) = job.and_then(|job| job.run()) {
                    assert_eq!(commitment(&done.public), hash, "it reveals what it has committed to");
                    sent.values.push(done.public.clone());
                    sent.fingerprints.push(done.fingerprint);
                    check(&done, &mut agreed);
                }
            }
            3 if !callees.is_empty() => {
                let (callee, hash) = callees.swap_remove(usize::from(verb >> 2 & 3) % callees.len());
                heavy += is_heavy(callee.exchange());
                let revealed = sent.value(*one, own);
                let fingerprint = match sent.fingerprints.len() {
                    0 => i64::from(*two),
                    count => sent.fingerprints[usize::from(*one >> 2) % count],
                };
                let job = callee.on_confirm(&revealed, fingerprint, &binding(*one));
                let fits = commitment(&revealed) == hash;
                assert_eq!(
                    matches!(job, Err(KeyExchangeError::Commitment)),
                    !fits,
                    "the commitment is checked first"
                );
                if let Ok(done) = job.and_then(|job| job.run()) {
                    assert_eq!(done.fingerprint, fingerprint, "both hold the key, or there is none");
                    let caller = agreed.iter().find(|other| other.key == done.key);
                    let caller = caller.expect("only a caller's fingerprint fits");
                    assert!(
                        caller.public != revealed || caller.emojis == done.emojis,
                        "the emojis differ"
                    );
                    check(&done, &mut agreed);
                }
            }
            _ => {}
        }
    }
});
