//! The messages of the hub protocol: one definition for server, adapter and demo peer.

/// A key exchange by the name it has on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exchange {
    /// `x25519`: Curve25519, preferred.
    X25519,
    /// `dh2048`: the 2048-bit group of Telegram-style calls.
    Dh2048,
}
