//! Password hashes: the only secrets in the conf files.

use std::fmt;

use md5::{Digest as _, Md5};
use sha2::{Sha256, Sha512_256};
use zeroize::Zeroizing;

/// What a digest response is checked against instead of a password: HA1 = H(user ":" realm ":" password).
///
/// At least one of them is there. A challenge names only the algorithms that are: some phones fail at any other.
///
/// RFC 7616 §3.4.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordHash {
    /// HA1 by MD5.
    pub md5: Option<Hash<16>>,
    /// HA1 by SHA-256.
    pub sha256: Option<Hash<32>>,
    /// HA1 by SHA-512/256.
    pub sha512_256: Option<Hash<32>>,
}

/// Which hashes are made of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hashes {
    /// For phones that fail at a challenge with anything but MD5.
    Md5,
    /// What phones know.
    Md5AndSha256,
    /// SHA-512/256 too, which few phones know.
    All,
}

impl PasswordHash {
    /// HA1 = H(user ":" realm ":" password).
    ///
    /// RFC 7616 §3.4.2.
    pub fn of(user: &str, realm: &str, password: &str, hashes: Hashes) -> Self {
        let text = Zeroizing::new(format!("{user}:{realm}:{password}"));
        Self {
            md5: Some(Hash::new(Md5::digest(text.as_bytes()).into())),
            sha256: (hashes >= Hashes::Md5AndSha256).then(|| Hash::new(Sha256::digest(text.as_bytes()).into())),
            sha512_256: (hashes == Hashes::All).then(|| Hash::new(Sha512_256::digest(text.as_bytes()).into())),
        }
    }

    /// The line for phones.conf.
    pub fn to_line(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "password_hash = {{ {} }}",
            *self.parts(|name| format!("{name} = "))
        ))
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "{{\"password_hash\":{{{}}}}}",
            *self.parts(|name| format!("\"{name}\":"))
        ))
    }

    fn parts(&self, key: fn(&str) -> String) -> Zeroizing<String> {
        let md5 = self.md5.as_ref().map(|hash| ("md5", hash.hex()));
        let sha256 = self.sha256.as_ref().map(|hash| ("sha256", hash.hex()));
        let sha512_256 = self.sha512_256.as_ref().map(|hash| ("sha512_256", hash.hex()));
        let parts: Vec<String> = [md5, sha256, sha512_256]
            .into_iter()
            .flatten()
            .map(|(name, hex)| format!("{}\"{}\"", key(name), *hex))
            .collect();
        Zeroizing::new(parts.join(", "))
    }
}

/// A hash of N bytes that is wiped when dropped and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash<const N: usize>(Zeroizing<[u8; N]>);

impl<const N: usize> Hash<N> {
    /// Takes the bytes of a hash.
    pub fn new(bytes: [u8; N]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads 2·N hex digits of either case; `None` if it is anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * N {
            return None;
        }
        let mut hash = Self::new([0; N]);
        for (byte, pair) in hash.0.iter_mut().zip(digits.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *byte = (high << 4 | low) as u8;
        }
        Some(hash)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// Lower-case hex digits, as they enter the digest computation.
    pub fn hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * N));
        for byte in self.0.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).expect("four bits are a hex digit"));
            }
        }
        text
    }
}

impl<const N: usize> fmt::Debug for Hash<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_both_ways_and_refusals() {
        let hash = Hash::<2>::from_hex("0aFf").unwrap();
        assert_eq!(hash.bytes(), &[0x0a, 0xff]);
        assert_eq!(hash.hex().as_str(), "0aff");
        for bad in ["", "0af", "0aff0", "0agf", "+1-1", "é1"] {
            assert!(Hash::<2>::from_hex(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let hash = PasswordHash {
            md5: Some(Hash::new([0x41; 16])),
            sha256: None,
            sha512_256: None,
        };
        assert_eq!(
            format!("{hash:?}"),
            "PasswordHash { md5: Some(…), sha256: None, sha512_256: None }"
        );
    }
}
