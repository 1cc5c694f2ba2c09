//! SDES: keys for SRTP as descriptions carry them, `a=crypto` (RFC 4568, RFC 7714 §14.2).
//!
//! Whoever reads the description can open the media, so it is worth what protects the signalling. A line that demands what is not
//! served (a key identifier, several keys, streams in clear) is passed over for the next one.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use zeroize::Zeroizing;

/// Some phones write keys without the padding.
const KEYS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a stream is protected (RFC 4568 §6.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// AES-256 GCM.
    AeadAes256Gcm,
    /// AES-128 GCM.
    AeadAes128Gcm,
    /// AES-128 counter mode, HMAC-SHA1 of 80 bits: what every phone has.
    AesCm128HmacSha1_80,
    /// The same of 32 bits, for phones that have nothing else.
    AesCm128HmacSha1_32,
}

impl Suite {
    /// All, best first.
    pub const ALL: [Self; 4] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
    ];

    /// Its registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Bytes of a master key with its salt behind it.
    #[must_use]
    pub fn master_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32 + 12,
            Self::AeadAes128Gcm => 16 + 12,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16 + 14,
        }
    }
}

/// One line: a key, and what it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Names the line in an answer, at most nine digits.
    pub tag: u32,
    /// What the key is for.
    pub suite: Suite,
    /// The master key with its salt behind it.
    pub master: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto")
            .field("tag", &self.tag)
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

impl Crypto {
    /// Reads a transport line, `crypto:1 AES_CM_128_HMAC_SHA1_80 inline:...`; `None` if it is another line, or one that cannot be used.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("crypto:")?.split_ascii_whitespace();
        let tag = words
            .next()
            .filter(|tag| tag.len() <= 9 && tag.bytes().all(|digit| digit.is_ascii_digit()))?;
        let (tag, name) = (tag.parse().ok()?, words.next()?);
        let suite = Suite::ALL
            .into_iter()
            .find(|suite| suite.name().eq_ignore_ascii_case(name))?;
        let (method, keys) = words.next()?.split_once(':')?;
        let mut parts = keys.split('|');
        let master = Zeroizing::new(KEYS.decode(parts.next()?).ok()?);
        // A lifetime may follow, and a key identifier, which each packet would carry.
        let is_plain = parts.clone().count() <= 1 && parts.all(|part| !part.contains(':'));
        let is_known = method.eq_ignore_ascii_case("inline") && is_plain && !keys.contains(';');
        // The window is a hint; what begins with a minus may be unknown (RFC 4568 §6.3.7); all else changes what packets are.
        let may_be = |word: &str| word.starts_with('-') || word.to_ascii_uppercase().starts_with("WSH=");
        (is_known && words.all(may_be) && master.len() == suite.master_len()).then_some(Crypto { tag, suite, master })
    }

    /// The transport line. It holds the key: not for logs.
    #[must_use]
    pub fn line(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(KEYS.encode(&*self.master));
        Zeroizing::new(format!("crypto:{} {} inline:{}", self.tag, self.suite.name(), *key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4568 §9.1 and §6.1, RFC 7714 §14.2; the last key is padded in one and not in the other.
    #[test]
    fn lines_of_the_standards_are_read() {
        for (line, expected) in [
            (
                "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4",
                None,
            ),
            (
                "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20",
                Some((1, Suite::AesCm128HmacSha1_80)),
            ),
            (
                "crypto:2 aes_cm_128_hmac_sha1_32 INLINE:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj|1048576 -X WSH=64",
                Some((2, Suite::AesCm128HmacSha1_32)),
            ),
            (
                "crypto:2 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj UNENCRYPTED_SRTCP",
                None,
            ),
            (
                "crypto:2 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj KDR=1",
                None,
            ),
            (
                "crypto:3 F8_128_HMAC_SHA1_80 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj",
                None,
            ),
            (
                "crypto:4 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==",
                Some((4, Suite::AeadAes128Gcm)),
            ),
            (
                "crypto:999999999 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw",
                Some((999_999_999, Suite::AeadAes128Gcm)),
            ),
            (
                "crypto:1000000000 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw",
                None,
            ),
            (
                "crypto:4 AEAD_AES_256_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==",
                None,
            ),
            (
                "crypto:4 AEAD_AES_128_GCM uri:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==",
                None,
            ),
            (
                "crypto:+4 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==",
                None,
            ),
            ("crypto:4 AEAD_AES_128_GCM inline:", None),
            ("crypto:4 AEAD_AES_128_GCM", None),
            ("crypto:", None),
            ("rtcp-mux", None),
        ] {
            let read = Crypto::parse(line).map(|crypto| (crypto.tag, crypto.suite));
            assert_eq!(read, expected, "{line}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_not_shown() {
        for (suite, tag) in Suite::ALL.into_iter().zip(1..) {
            let master = Zeroizing::new(vec![0xA7; suite.master_len()]);
            let crypto = Crypto { tag, suite, master };
            assert_eq!(Crypto::parse(&crypto.line()), Some(crypto.clone()));
            assert!(!format!("{crypto:?}").contains("167"), "{crypto:?}");
        }
    }
}
