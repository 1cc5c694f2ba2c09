//! Seals and opens signalling packets: AES-256-CTR under a key derived from the call's key and the packet's own hash.
//!
//! The hash covers the plain text, so an altered packet does not open. It says nothing about repeats: that is the
//! framing's counter. Each direction uses other bytes of the key, so a packet cannot be turned back on its sender.

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher};
use ctr::Ctr128BE;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::e2ee::{Role, SharedKey};

/// The shortest packet: a hash and one message without a body.
pub const MIN_PACKET: usize = HASH + 5;
/// The longest packet that is looked at.
pub const MAX_PACKET: usize = 128 * 1024;
/// The longest packet we send.
pub const MAX_SENT: usize = 16 * 1024;
/// The bytes of the hash before the cipher text.
pub const HASH: usize = 16;

/// Why a packet does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// Shorter or longer than any packet.
    #[error("the packet has an impossible size")]
    Size,
    /// Altered on the way, or sealed under another key.
    #[error("the packet is not authentic")]
    Forged,
}

/// Seals for one end of a call and opens what the other sealed.
pub struct Cipher {
    key: SharedKey,
    role: Role,
}

impl Cipher {
    /// Makes the cipher of one end.
    pub fn new(key: SharedKey, role: Role) -> Cipher {
        Cipher { key, role }
    }

    /// Seals what we send.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let hash = self.hash(self.role, plain);
        let mut packet = Vec::with_capacity(HASH + plain.len());
        packet.extend_from_slice(&hash);
        packet.extend_from_slice(plain);
        self.apply(self.role, &hash, &mut packet[HASH..]);
        packet
    }

    /// Opens what the peer sealed.
    ///
    /// # Errors
    /// [`CipherError`]; the packet is to be dropped.
    pub fn open(&self, packet: &[u8]) -> Result<Vec<u8>, CipherError> {
        if !(MIN_PACKET..=MAX_PACKET).contains(&packet.len()) {
            return Err(CipherError::Size);
        }
        let (hash, sealed) = packet.split_first_chunk::<HASH>().ok_or(CipherError::Size)?;
        let mut plain = sealed.to_vec();
        self.apply(self.role.peer(), hash, &mut plain);
        if bool::from(self.hash(self.role.peer(), &plain).ct_eq(hash)) {
            Ok(plain)
        } else {
            // What an altered packet decrypts to tells about the key stream.
            plain.zeroize();
            Err(CipherError::Forged)
        }
    }

    fn hash(&self, sender: Role, plain: &[u8]) -> [u8; HASH] {
        let x = offset(sender);
        let hash = Sha256::new()
            .chain_update(&self.key.as_bytes()[88 + x..120 + x])
            .chain_update(plain)
            .finalize();
        hash[8..24].try_into().expect("the slice is sixteen bytes long")
    }

    fn apply(&self, sender: Role, hash: &[u8; HASH], bytes: &mut [u8]) {
        let (x, key) = (offset(sender), self.key.as_bytes());
        let mut a = Sha256::new()
            .chain_update(hash)
            .chain_update(&key[x..x + 36])
            .finalize();
        let mut b = Sha256::new()
            .chain_update(&key[40 + x..76 + x])
            .chain_update(hash)
            .finalize();
        let mut aes_key = Zeroizing::new([0; 32]);
        aes_key[..8].copy_from_slice(&a[..8]);
        aes_key[8..24].copy_from_slice(&b[8..24]);
        aes_key[24..].copy_from_slice(&a[24..]);
        let mut iv = Zeroizing::new([0; 16]);
        iv[..4].copy_from_slice(&b[..4]);
        iv[4..12].copy_from_slice(&a[8..16]);
        iv[12..].copy_from_slice(&b[24..28]);
        Ctr128BE::<Aes256>::new((&*aes_key).into(), (&*iv).into()).apply_keystream(bytes);
        a.as_mut_slice().zeroize();
        b.as_mut_slice().zeroize();
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cipher")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Where the sender's bytes of the key begin.
fn offset(sender: Role) -> usize {
    match sender {
        Role::Caller => 128,
        Role::Callee => 136,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Cipher, Cipher) {
        let mut bytes = [0; 256];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = (place * 7 + 3) as u8;
        }
        let key = SharedKey::new(&bytes);
        (Cipher::new(key.clone(), Role::Caller), Cipher::new(key, Role::Callee))
    }

    #[test]
    fn what_is_sealed_opens_at_the_other_end_only() {
        let (caller, callee) = pair();
        let packet = caller.seal(b"hello callee");
        assert_eq!(callee.open(&packet).as_deref(), Ok(b"hello callee".as_slice()));
        assert_eq!(
            caller.open(&packet),
            Err(CipherError::Forged),
            "a packet turned back on its sender"
        );
        let packet = callee.seal(b"hello caller");
        assert_eq!(caller.open(&packet).as_deref(), Ok(b"hello caller".as_slice()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (caller, callee) = pair();
        let packet = caller.seal(b"\x00\x00\x00\x01\xfe\x40\x00\x00\x02\xff");
        for bit in 0..packet.len() * 8 {
            let mut altered = packet.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(callee.open(&altered), Err(CipherError::Forged), "bit {bit}");
        }
        for length in 0..packet.len() {
            assert!(callee.open(&packet[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let (caller, callee) = pair();
        assert_eq!(callee.open(&[]), Err(CipherError::Size));
        assert_eq!(callee.open(&[0; MIN_PACKET - 1]), Err(CipherError::Size));
        assert_eq!(callee.open(&vec![0; MAX_PACKET + 1]), Err(CipherError::Size));
        assert!(callee.open(&caller.seal(&[5; 5])).is_ok());
        assert!(callee.open(&caller.seal(&vec![5; MAX_PACKET - HASH])).is_ok());
    }
}
