//! The cipher of signalling: what one end seals opens at the other and nowhere else, and only as it was.
//!
//! The first byte picks the sender, the next two a place and what is changed there; the rest is the plain text, and a packet
//! of somebody without the key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::e2ee::signalling::cipher::{HASH, MAX_PACKET, MIN_PACKET};
use quartet_proto::e2ee::signalling::{Cipher, CipherError};
use quartet_proto::e2ee::{Role, SharedKey};

fuzz_target!(|bytes: &[u8]| {
    let [first, place, change, plain @ ..] = bytes else {
        return;
    };
    // A key that differs in each byte, and a little with the input: the halves of both directions overlap.
    let key = |salt: u8| SharedKey::new(&std::array::from_fn(|at| (at as u8).wrapping_mul(7) ^ salt));
    let role = if first & 1 == 0 { Role::Caller } else { Role::Callee };
    let (sender, peer) = (Cipher::new(key(*first), role), Cipher::new(key(*first), role.peer()));

    // Nobody without the key makes a packet, and any size is taken or refused.
    for end in [&sender, &peer] {
        let expected = if (MIN_PACKET..=MAX_PACKET).contains(&plain.len()) {
            CipherError::Forged
        } else {
            CipherError::Size
        };
        assert_eq!(end.open(plain), Err(expected));
    }

    let packet = sender.seal(plain);
    assert_eq!(packet.len(), HASH + plain.len());
    if packet.len() < MIN_PACKET {
        assert_eq!(peer.open(&packet), Err(CipherError::Size));
        return;
    }
    assert_eq!(peer.open(&packet).as_deref(), Ok(plain));
    assert_eq!(
        sender.open(&packet),
        Err(CipherError::Forged),
        "turned back on its sender"
    );
    let other = Cipher::new(key(first.wrapping_add(1)), role.peer());
    assert_eq!(other.open(&packet), Err(CipherError::Forged), "another key");

    let mut altered = packet.clone();
    let at = (usize::from(*place) << 4 | usize::from(change >> 4)) % altered.len();
    altered[at] ^= change | 1;
    assert_eq!(peer.open(&altered), Err(CipherError::Forged), "byte {at}");
    assert!(peer.open(&packet[..at]).is_err(), "cut to {at}");
    altered = [&packet[..], &[*change]].concat();
    assert_eq!(peer.open(&altered), Err(CipherError::Forged), "one byte more");
});
