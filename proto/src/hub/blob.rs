//! Binary values as they travel: base64url without padding, each with its own bounds.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_core::CryptoRng;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{MAX_PUBLIC, MAX_SIGNAL};

/// Reads a JSON string of base64url and gives the bytes, at most `max` of them, without copying the text.
struct BlobVisitor {
    max: usize,
}

impl Visitor<'_> for BlobVisitor {
    type Value = Zeroizing<Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64url without padding")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.len() > self.max.div_ceil(3) * 4 {
            return Err(E::custom("needs a shorter blob"));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| E::custom("needs base64url without padding"))?;
        if bytes.len() > self.max {
            return Err(E::custom("needs a shorter blob"));
        }
        Ok(Zeroizing::new(bytes))
    }
}

fn fixed<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    let bytes = deserializer.deserialize_str(BlobVisitor { max: N })?;
    <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| D::Error::custom(format!("needs {N} bytes of base64url")))
}

fn bounded<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<Vec<u8>, D::Error> {
    let mut bytes = deserializer.deserialize_str(BlobVisitor { max })?;
    if bytes.is_empty() {
        return Err(D::Error::custom("needs a blob that is not empty"));
    }
    Ok(std::mem::take(&mut *bytes))
}

fn print<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
}

/// A call as hub and both parties know it: 128 bits drawn at random by the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub [u8; 16]);

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({})", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        print(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fixed(deserializer).map(Self)
    }
}

/// A session of protocol 2: 128 bits drawn at random by the hub.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A part of what resumes the session.
        f.write_str("SessionId(..)")
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        print(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fixed(deserializer).map(Self)
    }
}

/// SHA-256 of the public value that the caller will reveal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment(pub [u8; 32]);

impl Serialize for Commitment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        print(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Commitment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fixed(deserializer).map(Self)
    }
}

/// A public value of a key exchange, 1 to [`MAX_PUBLIC`] bytes; the exchange knows what fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicValue(Vec<u8>);

impl PublicValue {
    /// Takes a public value; `None` if it is empty or longer than [`MAX_PUBLIC`].
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (1..=MAX_PUBLIC).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The bytes as sent.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Serialize for PublicValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        print(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for PublicValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded(deserializer, MAX_PUBLIC).map(Self)
    }
}

/// One encrypted signalling packet, 1 to [`MAX_SIGNAL`] bytes, opaque to everybody but the two parties.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet(Vec<u8>);

impl Packet {
    /// Takes a packet; `None` if it is empty or longer than [`MAX_SIGNAL`].
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (1..=MAX_SIGNAL).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The ciphertext.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// How many bytes it has; never zero.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({} bytes)", self.0.len())
    }
}

impl Serialize for Packet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        print(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Packet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded(deserializer, MAX_SIGNAL).map(Self)
    }
}

/// The tag of one call at a reflector: what anybody else needs to be one of its parties there.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PeerTag(pub [u8; 16]);

impl fmt::Debug for PeerTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerTag(..)")
    }
}

impl Serialize for PeerTag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        print(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for PeerTag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fixed(deserializer).map(Self)
    }
}

/// The number that base64url writes as `-`.
const MINUS: u8 = 62;

/// What a client proves its account with: 256 random bits, shown once, kept by the hub only as SHA-256.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; 32]);

impl Token {
    /// Draws a fresh token. Its text never begins with `-`, which a command line would take for an option.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut token = Self([0; 32]);
        loop {
            rng.fill_bytes(&mut token.0);
            if token.0[0] >> 2 != MINUS {
                return token;
            }
        }
    }

    /// Reads the text a person was given; `None` if it is not 32 bytes of base64url.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        bytes.as_slice().try_into().ok().map(Self)
    }

    /// The text to give to the person, 43 characters.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0))
    }

    /// What the hub stores and looks up instead of the token: its SHA-256.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fixed(deserializer).map(Self)
    }
}
