//! How a leg's stream is coded for the network that carries it: what is known of the way goes in, settings and the reason come out.

mod e_model;
mod rules;

use std::{fmt, time::Duration};

pub use self::e_model::{Heard, mos};
pub(crate) use self::{e_model::delay_impairment, rules::Rules};

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

impl Decision {
    /// As a person reads it; `frame_ms`: how long a frame is.
    #[must_use]
    pub fn words(&self, frame_ms: u32) -> String {
        let Self {
            bitrate,
            frames,
            repeats,
            loss_permille,
            reason,
        } = *self;
        let (kbit, packet_ms) = (bitrate / 1000, frames * frame_ms);
        let twice = if repeats { ", each twice" } else { "" };
        let spare = match loss_permille {
            0 => String::new(),
            permille => format!(", ready for {} % loss", permille.div_ceil(10)),
        };
        format!("{kbit} kbit/s in packets of {packet_ms} ms{twice}{spare}: {reason}")
    }
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
    /// Nothing is known yet of how long packets take.
    Begins,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear => f.write_str("the way is clear"),
            Self::Loss => f.write_str("packets are lost"),
            Self::Queue { more_ms } => write!(f, "packets queue up: {more_ms} ms more there and back"),
            Self::Careful => f.write_str("packets have queued up"),
            Self::Begins => f.write_str("the way is not known yet"),
        }
    }
}

/// Decides how to code.
pub(crate) trait Controller: Send {
    /// The decision that follows from what is known now. Called when something new is known, once a second and more.
    fn decide(&mut self, features: &Features) -> Decision;
}
