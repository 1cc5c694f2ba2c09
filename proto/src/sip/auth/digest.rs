//! The arithmetic of digest: what is hashed, in which order (RFC 7616 §3.4.1).

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use zeroize::Zeroizing;

use super::Ha1;
use crate::sip::message::{Param, header_params, param, split_outside};

/// A hash both sides know, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Algorithm {
    Md5,
    Sha256,
    Sha512Trunc256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512Trunc256];

    /// By the `algorithm` parameter; without one it is MD5.
    pub(super) fn of(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Self::Md5),
            Some(name) => Self::ALL
                .into_iter()
                .find(|known| name.eq_ignore_ascii_case(known.name())),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512Trunc256 => "SHA-512-256",
        }
    }

    fn hex(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
            Self::Sha512Trunc256 => hex(&Sha512_256::digest(text)),
        }
    }

    /// The account's hash of this kind, in hexadecimal.
    pub(super) fn ha1(self, ha1: &Ha1) -> Option<Zeroizing<String>> {
        let text = match self {
            Self::Md5 => ha1.md5.as_ref().map(|h| hex(&**h)),
            Self::Sha256 => ha1.sha256.as_ref().map(|h| hex(&**h)),
            Self::Sha512Trunc256 => ha1.sha512_256.as_ref().map(|h| hex(&**h)),
        };
        text.map(Zeroizing::new)
    }

    /// Puts the hash of this kind of an account's `user:realm:password` beside those that are there.
    pub(super) fn insert(self, ha1: &mut Ha1, user: &str, realm: &str, password: &str) {
        let text = Zeroizing::new(format!("{user}:{realm}:{password}"));
        match self {
            Self::Md5 => ha1.md5 = Some(Zeroizing::new(Md5::digest(text.as_bytes()).into())),
            Self::Sha256 => ha1.sha256 = Some(Zeroizing::new(Sha256::digest(text.as_bytes()).into())),
            Self::Sha512Trunc256 => ha1.sha512_256 = Some(Zeroizing::new(Sha512_256::digest(text.as_bytes()).into())),
        }
    }

    /// The response to a challenge; without `qop` (nc, cnonce) that of RFC 2069.
    pub(super) fn response(self, ha1: &str, nonce: &str, qop: Option<(&str, &str)>, method: &str, uri: &str) -> String {
        let ha2 = self.hex(&format!("{method}:{uri}"));
        let whole = match qop {
            Some((nc, cnonce)) => format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"),
            None => format!("{ha1}:{nonce}:{ha2}"),
        };
        self.hex(&Zeroizing::new(whole))
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

/// Parameters after `Digest`; `None` for another scheme. Ours: rsip reads `nc` as a decimal of one byte.
pub(super) fn fields(value: &str) -> Option<Vec<Param>> {
    let (scheme, rest) = value.trim_matches(crate::sip::message::LWS).split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    Some(split_outside(rest, ',').into_iter().flat_map(header_params).collect())
}

/// A field that must not be empty.
pub(super) fn field<'a>(fields: &'a [Param], name: &str) -> Option<&'a str> {
    param(fields, name).filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1.
    #[test]
    fn the_examples_of_the_rfc_come_out() {
        let (realm, nonce) = ("http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v");
        let qop = Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"));
        let ha1 = Ha1::of("Mufasa", realm, "Circle of Life");
        assert_eq!(Algorithm::Sha512Trunc256.ha1(&ha1), None, "only where it is asked for");
        let check = |algorithm: Algorithm, expected: &str| {
            let ha1 = algorithm.ha1(&ha1).unwrap();
            assert_eq!(algorithm.response(&ha1, nonce, qop, "GET", "/dir/index.html"), expected);
        };
        check(Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec");
        check(
            Algorithm::Sha256,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        );
    }

    /// What OpenSSL makes of the same text.
    #[test]
    fn sha_512_256_is_no_sha_512_cut_short() {
        let mut ha1 = Ha1::default();
        Algorithm::Sha512Trunc256.insert(&mut ha1, "Mufasa", "http-auth@example.org", "Circle of Life");
        let text = Algorithm::Sha512Trunc256.ha1(&ha1).unwrap();
        assert_eq!(
            *text,
            "fb174f5c3c7802721517cae13b98e2b8dae2e0118cb705d94ee29946319204ce"
        );
        assert_eq!(Algorithm::of(Some("sha-512-256")), Some(Algorithm::Sha512Trunc256));
        assert_eq!(Algorithm::of(Some("SHA-512")), None);
    }

    #[test]
    fn fields_keep_quoted_commas() {
        let fields = fields(r#"Digest username="a,b\"c", nc=0000000a,qop=auth , uri="sip:x;y=z""#).unwrap();
        assert_eq!(field(&fields, "username"), Some("a,b\"c"));
        assert_eq!(field(&fields, "nc"), Some("0000000a"));
        assert_eq!(field(&fields, "uri"), Some("sip:x;y=z"));
        assert_eq!(super::fields("Basic abc"), None);
    }
}
