//! The protocols of Quartet, sans-IO.
//!
//! Every machine here is a plain value that is fed and polled: `handle_input(now, ..)`, `handle_timeout(now)`,
//! `poll_transmit()`, `poll_event()`, `poll_timeout()`. After any `handle_*` the caller drains every `poll_*` before the
//! next. No socket, no clock, no global randomness: `now` and a generator are handed in.
//!
//! Reading order: [`net`] (the words all machines share), [`rate`], [`sip`], [`sdp`], [`rtp`], [`e2ee`], [`hub`], [`reflector`]; `webrtc` and
//! `turn` are built with the features of these names, each used by its transport plugin alone.
#![forbid(unsafe_code)]

pub mod e2ee;
pub mod hub;
pub mod net;
pub mod rate;
pub mod reflector;
pub mod rtp;
pub mod sctp;
pub mod sdp;
pub mod sip;
#[cfg(feature = "turn")]
pub mod turn;
pub mod turn_user;
mod unlogged;
#[cfg(feature = "webrtc")]
pub mod webrtc;
