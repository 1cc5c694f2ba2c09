//! End-to-end encrypted calls: key exchange, fingerprint, signalling, negotiation.
//!
//! One order for every network. The caller commits to a public value, the callee answers with its own, the caller reveals
//! ([`key_exchange`]); both derive a key of 256 bytes and four emojis ([`fingerprint`]) that the people compare. From then
//! on opaque packets travel under that key ([`signalling`]), and in them JSON messages that settle codecs and pass the
//! lines a transport speaks ([`Negotiation`]). Nothing here knows ICE, DTLS or SRTP.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

pub mod fingerprint;
pub mod key_exchange;
pub mod negotiation;
pub mod signalling;
#[cfg(test)]
mod vector;

pub use fingerprint::Emoji;
pub use negotiation::{LocalMedia, MediaState, Negotiation, NegotiationError, NegotiationEvent};

/// The group in which the two ends exchange their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyExchange {
    /// Curve25519, bound to the names and the call: the hub's own, preferred.
    X25519,
    /// The 2048-bit group of Telegram-style calls.
    Dh2048,
}

impl KeyExchange {
    /// All exchanges, in our order of preference.
    pub const ALL: [KeyExchange; 2] = [KeyExchange::X25519, KeyExchange::Dh2048];

    /// Returns the name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            KeyExchange::X25519 => "x25519",
            KeyExchange::Dh2048 => "dh2048",
        }
    }

    /// Finds the exchange of a wire name. `None` for one we do not speak.
    pub fn from_name(name: &str) -> Option<KeyExchange> {
        KeyExchange::ALL.into_iter().find(|exchange| exchange.name() == name)
    }
}

impl fmt::Display for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which end of the call we are. Decides the halves of the key, who wins a collision and the DTLS roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We asked for the call.
    Caller,
    /// We were asked.
    Callee,
}

impl Role {
    /// Returns the role of the other end.
    pub fn peer(self) -> Role {
        match self {
            Role::Caller => Role::Callee,
            Role::Callee => Role::Caller,
        }
    }
}

/// A version of the signalling protocol, named as `library_versions` names it; a greater one is later.
///
/// 8.0.0 and 9.0.0 are the same on the wire: acknowledged framing over packets that may be lost. So are 12.0.0 and 13.0.0: SCTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `8.0.0`
    V8,
    /// `9.0.0`
    V9,
    /// `12.0.0`
    V12,
    /// `13.0.0`
    V13,
}

impl Version {
    /// All versions, lowest first.
    pub const ALL: [Version; 4] = [Version::V8, Version::V9, Version::V12, Version::V13];

    /// Returns the name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Version::V8 => "8.0.0",
            Version::V9 => "9.0.0",
            Version::V12 => "12.0.0",
            Version::V13 => "13.0.0",
        }
    }

    /// Finds the version of a wire name. `None` for one we do not speak.
    pub fn from_name(name: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.name() == name)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns the versions we speak, lowest first.
pub fn versions() -> Vec<&'static str> {
    Version::ALL.map(Version::name).to_vec()
}

/// Chooses the highest version that stands in both lists and that we speak. `None` if there is no such version.
pub fn choose<A: AsRef<str>, B: AsRef<str>>(ours: &[A], theirs: &[B]) -> Option<Version> {
    let known = |name: &str| theirs.iter().any(|other| other.as_ref() == name);
    ours.iter()
        .map(AsRef::as_ref)
        .filter(|name| known(name))
        .filter_map(Version::from_name)
        .max()
}

/// The key of one call: 256 bytes that only the two ends hold.
///
/// Wiped when dropped, compared in constant time, never printed.
#[derive(Clone)]
pub struct SharedKey(Box<[u8; SharedKey::LENGTH]>);

impl SharedKey {
    /// How long every key is, whatever the exchange.
    pub const LENGTH: usize = 256;

    /// Makes a key of bytes. The caller wipes its own copy.
    pub fn new(bytes: &[u8; SharedKey::LENGTH]) -> SharedKey {
        let mut key = Box::new([0; SharedKey::LENGTH]);
        key.copy_from_slice(bytes);
        SharedKey(key)
    }

    /// Returns the bytes of the key. They must not be logged or stored.
    pub fn as_bytes(&self) -> &[u8; SharedKey::LENGTH] {
        &self.0
    }
}

impl Drop for SharedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for SharedKey {
    fn eq(&self, other: &SharedKey) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for SharedKey {}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// Heavy arithmetic handed out to be run on another thread. Its result comes back to the machine as an input.
///
/// A job not run wipes its secrets like one that was.
pub struct Job<T>(Box<dyn FnOnce() -> T + Send>);

impl<T> Job<T> {
    /// Wraps the work.
    pub(crate) fn new(work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        Job(Box::new(work))
    }

    /// Does the work: some milliseconds for `dh2048`, a fraction of one for `x25519`. Neither blocks nor sleeps.
    pub fn run(self) -> T {
        (self.0)()
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_both_ways() {
        for exchange in KeyExchange::ALL {
            assert_eq!(KeyExchange::from_name(exchange.name()), Some(exchange));
        }
        assert_eq!(KeyExchange::from_name("X25519"), None);
        for name in versions() {
            assert_eq!(Version::from_name(name).map(Version::name), Some(name));
        }
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        let chosen = |theirs: &[&str]| choose(&versions(), theirs).map(Version::name);
        // As numbers, not as texts.
        assert_eq!(chosen(&["8.0.0", "9.0.0", "12.0.0", "13.0.0"]), Some("13.0.0"));
        assert_eq!(chosen(&["9.0.0", "12.0.0", "14.0.0", "10.0.0"]), Some("12.0.0"));
        assert_eq!(chosen(&["9.0.0", "8.0.0"]), Some("9.0.0"));
        assert_eq!(chosen(&["8.0.0"]), Some("8.0.0"));
        assert_eq!(chosen(&["13.0.0"]), Some("13.0.0"));
        assert_eq!(chosen(&["7.0.0", "10.0.0", "11.0.0", "13.0"]), None);
        assert_eq!(choose(&["9.0.0"], &["8.0.0"]), None);
        assert_eq!(choose::<&str, &str>(&[], &[]), None);
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let key = SharedKey::new(&[7; 256]);
        assert_eq!(format!("{key:?}"), "SharedKey(..)");
        assert_eq!(key, key.clone());
        assert_ne!(key, SharedKey::new(&[8; 256]));
    }
}
