//! How a leg's stream is coded for the network that carries it: what is known of the way goes in, settings and the reason come out.

mod rules;

use std::{fmt, time::Duration};

pub(crate) use self::rules::Rules;

/// What is known of the way to a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub(crate) now_ns: u64,
    /// How long something has taken there and back, measured just now.
    pub(crate) round_trip: Option<Duration>,
    /// The share of our packets that the peer misses, as it last said, if it has: 0 to 1.
    pub(crate) loss: Option<f32>,
    /// The peer asks for packets that it misses.
    pub(crate) asks: bool,
    /// Sound that the codec carries, in Hz.
    pub(crate) rate: u32,
}

/// How to code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In bit/s, without headers.
    pub bitrate: u32,
    /// Frames in a packet, one to three.
    pub frames: u32,
    /// Each packet is sent once more a little later.
    pub repeats: bool,
    /// The loss that the codec is to protect against, in 1/1000.
    pub loss_permille: u32,
    /// Why.
    pub reason: Reason,
}

/// Why a stream is coded as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing speaks against it.
    Clear,
    /// The peer misses packets, but they are not slow.
    Loss,
    /// Packets take longer: they queue up somewhere, and might be ours.
    Queue {
        /// By how much, in milliseconds.
        more_ms: u32,
    },
    /// They did, and it is not yet time to try more.
    Careful,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear => f.write_str("the way is clear"),
            Self::Loss => f.write_str("packets are lost"),
            Self::Queue { more_ms } => write!(f, "packets queue up: {more_ms} ms more there and back"),
            Self::Careful => f.write_str("packets have queued up"),
        }
    }
}

/// Decides how to code.
pub(crate) trait Controller: Send {
    /// The decision that follows from what is known now. Called when something new is known, once a second and more.
    fn decide(&mut self, features: &Features) -> Decision;
}
