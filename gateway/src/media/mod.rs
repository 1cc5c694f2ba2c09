//! Media, sans-IO: legs, flows, bridges.
//!
//! The call speaks to it in [`MediaCommand`]s and hears [`MediaEvent`]s; packets come from and go to
//! [`crate::io::media_worker`] and nowhere else. The way of a packet: `leg` (a session plugin, its `paths`, its `stream`s), `incoming` (which
//! packets are the peer's), `flow` (one direction, clocked by its source: order, decode, conceal, stretch), `bridge` (who is
//! heard in an ear), `outgoing` (encode, number), and `leg` again. `legs` is all of that for one worker thread.
//!
//! Times end in `_ns`: nanoseconds since the start of the worker, on its monotonic clock.
//!
//! **Invariant.** A packet meets no lock, no task and no channel, allocates nothing and never enters [`crate::call`]; one with which
//! the peer changes to another of its codecs makes a new flow.

mod bridge;
mod command;
mod depth;
pub mod dsp;
mod flow;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod incoming;
mod leg;
mod legs;
mod lower;
mod outgoing;
mod paths;
mod play;
mod quality;
mod relay;
mod stream;
#[cfg(test)]
pub(crate) mod testing;

pub use command::{Bind, LegCodec, LegKey, MediaCommand, MediaEvent, MediaFault, Nack, PlayKey, Report, Role, Sink};
pub(crate) use leg::{MediaIo, MediaLeg, Slot};
pub(crate) use legs::{Legs, Opening};
pub(crate) use lower::Below;
pub(crate) use paths::{BoundSocket, SocketKey, StreamKey};
pub use quality::{Heard, mos};
pub use relay::{IceService, Relay, RelayUser, Via, Way, Ways};
