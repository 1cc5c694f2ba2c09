//! Signalling messages of a peer that holds the key, one a line; and the bytes as a packet of one that does not.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use quartet_proto::e2ee::signalling::{Cipher, Framing};
use quartet_proto::e2ee::{LocalMedia, Negotiation, Role, SharedKey, Version};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

fuzz_target!(|bytes: &[u8]| {
    let (now, key) = (Instant::now(), SharedKey::new(&[7; 256]));
    let role = if bytes.len() % 2 == 0 {
        Role::Caller
    } else {
        Role::Callee
    };
    let (peer, mut framing) = (Cipher::new(key.clone(), role.peer()), Framing::new());
    let mut machine = Negotiation::new(role, Version::V9, key, Box::new(ChaCha20Rng::seed_from_u64(1)));
    machine.handle_input(now, bytes);
    machine.start(now, LocalMedia::default());
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = framing.send(now, line.to_vec(), false);
        while let Some(plain) = framing.poll_transmit() {
            machine.handle_input(now, &peer.seal(&plain));
        }
        while machine.poll_transmit().is_some() {}
        while machine.poll_event().is_some() {}
    }
});
