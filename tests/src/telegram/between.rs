//! Somebody in the middle of a call: keys agreed with each side, and signalling opened and sealed again on its way.

use num_bigint::BigUint;
use quartet_proto::e2ee::key_exchange::known_group;
use quartet_proto::e2ee::signalling::{Cipher, decompress};
use quartet_proto::e2ee::{Role, SharedKey};

use super::mtproto::{Keys, padded, sha1, sha256};

/// One who has a key with each side of a call.
pub(super) struct Between {
    secret: BigUint,
    public: [u8; 256],
    /// Towards the caller, as whom it is called; towards the callee, as whom it calls.
    ciphers: [Option<Cipher>; 2],
    /// What the caller has really committed to.
    pub(super) commitment: Vec<u8>,
}

/// What the signalling of a call said, and who said it.
#[derive(Clone, Debug)]
pub struct Overheard {
    /// The user's number.
    pub by: i64,
    /// The plain text, what was compressed in it decompressed.
    pub plain: Vec<u8>,
}

impl Between {
    pub(super) fn new(keys: &mut Keys, commitment: Vec<u8>) -> Self {
        let prime = BigUint::from_bytes_be(&known_group());
        let secret = BigUint::from_bytes_be(&keys.bytes::<256>());
        Self {
            public: padded(&BigUint::from(3_u8).modpow(&secret, &prime)),
            secret,
            ciphers: [None, None],
            commitment,
        }
    }

    /// The value that both sides take for that of the other.
    pub(super) fn public(&self) -> Vec<u8> {
        self.public.to_vec()
    }

    pub(super) fn own_commitment(&self) -> Vec<u8> {
        sha256(&[&self.public]).to_vec()
    }

    /// Has a key with each: the fingerprint that the callee is told.
    pub(super) fn agree(&mut self, of_caller: &[u8], of_callee: &[u8]) -> i64 {
        let prime = BigUint::from_bytes_be(&known_group());
        let [with_caller, with_callee] =
            [of_caller, of_callee].map(|public| padded(&BigUint::from_bytes_be(public).modpow(&self.secret, &prime)));
        let cipher = |key: &[u8; 256], role| Some(Cipher::new(SharedKey::new(key), role));
        self.ciphers = [cipher(&with_caller, Role::Callee), cipher(&with_callee, Role::Caller)];
        let digest = sha1(&[&with_callee]);
        i64::from_le_bytes(digest[12..].try_into().expect("eight bytes"))
    }

    /// Opens what one side has sealed and seals it for the other.
    pub(super) fn pass(&self, is_of_caller: bool, packet: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let [caller, callee] = &self.ciphers;
        let (from, to) = if is_of_caller {
            (caller, callee)
        } else {
            (callee, caller)
        };
        let plain = from.as_ref()?.open(packet).ok()?;
        Some((to.as_ref()?.seal(&plain), readable(plain)))
    }
}

/// Adds what is compressed in it, wherever that begins.
fn readable(mut plain: Vec<u8>) -> Vec<u8> {
    let starts: Vec<usize> = (0..plain.len())
        .filter(|at| plain[*at..].starts_with(&[0x1f, 0x8b]))
        .collect();
    let inside: Vec<u8> = starts
        .into_iter()
        .filter_map(|at| decompress(&plain[at..]))
        .flatten()
        .collect();
    plain.extend(inside);
    plain
}
