//! The 2048-bit group of Telegram-style calls: its one prime, generator 3.
//!
//! The power is constant-time in the exponent (Montgomery multiplication with a masked window table).

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::{KeyExchangeError, SharedKey};

/// The safe prime that clients know by heart.
const PRIME: U2048 = U2048::from_be_hex(concat!(
    "C71CAEB9C6B1C9048E6C522F70F13F73980D40238E3E21C14934D037563D930F48198A0AA7C14058229493D22530F4DB",
    "FA336F6E0AC925139543AED44CCE7C3720FD51F69458705AC68CD4FE6B6B13ABDC9746512969328454F18FAF8C595F64",
    "2477FE96BB2A941D5BCD1D4AC8CC49880708FA9B378E3C4F3A9060BEE67CF9A4A4A695811051907E162753B56B0F6B41",
    "0DBA74D8A84B2A14B3144E0EF1284754FD17ED950D5965B4B9DD46582DB1178D169C6BC465B0D6FF9CA3928FEF5B9AE4",
    "E418FC15E83EBEA0F87FA9FF5EED70050DED2849F47BF959D956850CE929851F0D8115F635B105EE2E4E15D04B2454BF",
    "6F4FADF034B10403119CD8E3B92FCC5B",
));

const GENERATOR: U2048 = U2048::from_u8(3);

/// The prime of the one group there is, big-endian.
#[must_use]
pub fn known_group() -> [u8; 256] {
    let mut bytes = [0; 256];
    bytes.copy_from_slice(PRIME.to_be_bytes().as_ref());
    bytes
}

/// Whether a network names this group. Another safe prime would do as well, but whoever names one may have chosen it.
#[must_use]
pub fn is_known_group(prime: &[u8], generator: i32) -> bool {
    prime == known_group() && generator == 3
}

/// Public values lie strictly between 2^1984 and p - 2^1984: what is nearer to the ends is degenerate or malicious.
const MARGIN_BITS: u32 = 1984;

/// Randomness from which an exponent is made, before its power is known to be fit to send.
pub(super) struct Seed(Zeroizing<[u8; 256]>);

impl Seed {
    /// Draws 256 bytes and XORs the server's.
    pub(super) fn draw<R: CryptoRng + ?Sized>(rng: &mut R, server_random: &[u8; 256]) -> Seed {
        let mut bytes = Zeroizing::new([0; 256]);
        rng.fill_bytes(bytes.as_mut_slice());
        for (byte, theirs) in bytes.iter_mut().zip(server_random) {
            *byte ^= theirs;
        }
        Seed(bytes)
    }

    /// Computes the public value. One in 200 begins with a zero byte: then the next exponent is derived from this one, so
    /// that the job needs no generator.
    pub(super) fn into_secret(self) -> (Secret, Vec<u8>) {
        let mut exponent = self.0;
        loop {
            let secret = Secret(Zeroizing::new(U2048::from_be_slice(exponent.as_slice())));
            let public = secret.power(&GENERATOR);
            if public[0] != 0 && in_range(&U2048::from_be_slice(public.as_slice())) {
                let public = public.to_vec();
                return (secret, public);
            }
            exponent = next_exponent(&exponent);
        }
    }
}

/// Derives another exponent, as unpredictable as the one before.
fn next_exponent(exponent: &[u8; 256]) -> Zeroizing<[u8; 256]> {
    let mut next = Zeroizing::new([0; 256]);
    Hkdf::<Sha256>::new(None, exponent)
        .expand(b"quartet dh2048 drawn again", next.as_mut_slice())
        .expect("256 bytes are below the 8160 that HKDF-SHA-256 gives");
    next
}

/// An exponent, used for its own power and for one more.
pub(super) struct Secret(Zeroizing<U2048>);

impl Secret {
    /// Raises `base` to the exponent, modulo the prime: big-endian, with leading zeros.
    fn power(&self, base: &U2048) -> Zeroizing<[u8; 256]> {
        let params = FixedMontyParams::new_vartime(Odd::new(PRIME).expect("the prime is odd"));
        let mut result = FixedMontyForm::new(base, &params).pow(&*self.0);
        let mut number = result.retrieve();
        let mut encoded = number.to_be_bytes();
        let mut bytes = Zeroizing::new([0; 256]);
        bytes.copy_from_slice(encoded.as_ref());
        encoded.zeroize();
        number.zeroize();
        result.zeroize();
        bytes
    }

    /// Computes the key. The exponent ends here.
    pub(super) fn agree(self, peer: &U2048) -> SharedKey {
        SharedKey::new(&self.power(peer))
    }
}

/// Reads the peer's public value; leading zero bytes may be missing.
///
/// # Errors
/// [`KeyExchangeError::Degenerate`] if it is too long or out of range.
pub(super) fn check(public: &[u8]) -> Result<U2048, KeyExchangeError> {
    if public.len() > 256 {
        return Err(KeyExchangeError::Degenerate);
    }
    let mut padded = [0; 256];
    padded[256 - public.len()..].copy_from_slice(public);
    let number = U2048::from_be_slice(&padded);
    if in_range(&number) {
        Ok(number)
    } else {
        Err(KeyExchangeError::Degenerate)
    }
}

/// Tells whether 2^1984 < value < p - 2^1984. Public values only: the comparison is not constant-time.
fn in_range(value: &U2048) -> bool {
    let margin = U2048::ONE.shl_vartime(MARGIN_BITS);
    *value > margin && *value < PRIME.wrapping_sub(&margin)
}

#[cfg(test)]
impl Secret {
    /// Makes a secret of a known exponent, for vectors.
    pub(super) fn known(exponent: &[u8; 256]) -> Secret {
        Secret(Zeroizing::new(U2048::from_be_slice(exponent)))
    }

    /// Returns the public value, whatever it looks like.
    pub(super) fn public(&self) -> Vec<u8> {
        self.power(&GENERATOR).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &U2048) -> Vec<u8> {
        value.to_be_bytes().as_ref().to_vec()
    }

    #[test]
    fn degenerate_values_are_refused() {
        let margin = U2048::ONE.shl_vartime(MARGIN_BITS);
        let top = PRIME.wrapping_sub(&margin);
        for bad in [
            U2048::ZERO,
            U2048::ONE,
            PRIME,
            PRIME.wrapping_sub(&U2048::ONE),
            margin,
            top,
            PRIME.wrapping_add(&U2048::from_u8(4)),
            U2048::MAX,
        ] {
            assert_eq!(check(&bytes(&bad)), Err(KeyExchangeError::Degenerate));
        }
        assert!(check(&bytes(&margin.wrapping_add(&U2048::ONE))).is_ok());
        assert!(check(&bytes(&top.wrapping_sub(&U2048::ONE))).is_ok());
        assert_eq!(check(&[]), Err(KeyExchangeError::Degenerate));
        assert_eq!(check(&[1; 257]), Err(KeyExchangeError::Degenerate));
    }

    #[test]
    fn a_shortened_value_is_read_like_a_padded_one() {
        let mut padded = [0x5a; 256];
        padded[0] = 0;
        assert_eq!(check(&padded), check(&padded[1..]));
        assert!(check(&padded).is_ok());
    }

    #[test]
    fn an_exponent_is_drawn_again_while_the_value_begins_with_zero() {
        // Search an exponent whose power begins with zero, walking the derivation itself.
        let mut exponent = Zeroizing::new([0x11; 256]);
        let mut found = false;
        for _ in 0..2000 {
            if Secret::known(&exponent).public()[0] == 0 {
                found = true;
                break;
            }
            exponent = next_exponent(&exponent);
        }
        assert!(found, "no such exponent in 2000");
        let (secret, public) = Seed(exponent).into_secret();
        assert_ne!(public[0], 0);
        assert_eq!(secret.public(), public);
    }
}
