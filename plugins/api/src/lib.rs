//! The plugin contract of Quartet.
//!
//! A plugin is a shared library that exports one constant, `quartet_plugin_<id>`, made by [`export_codecs!`] or
//! [`export_transport!`]. A codec author implements [`Codec`], [`Encoder`] and [`Decoder`]; a transport author implements
//! [`Transport`]. Everything here is safe to use: slices in, slices out, `Result`s. The macros write the C tables, catch
//! panics (the host sees code -8 and drops the handle) and carry the plugin's log lines to the host.
//!
//! [`abi`] is the contract itself, the same as `include/quartet_plugin.h`; only hosts need it.
//! `docs/plugin-guide.md` walks through a plugin in Rust and in C.

// This crate is the border between safe Rust and the C tables; each block says who keeps its promise.
#![allow(unsafe_code, reason = "the crate is the C border of the contract")]

pub mod abi;
mod codec;
mod codec_table;
mod error;
mod export;
mod host;
mod packet;
mod sinks;
mod text;
mod transport;
mod transport_table;

pub use codec::{Codec, CodecConfig, Decoder, Encoder, FmtpRole, PacketSamples, Sample, Setting};
pub use error::Error;
#[cfg(feature = "rand_core")]
pub use host::HostRng;
pub use host::{Level, log, random};
pub use packet::{Kind, Packet};
pub use text::{Options, fmtp_value};
pub use transport::{About, Clock, Event, Outcome, Output, Role, Transport, TransportConfig};

/// What the export macros expand to; no promise is made about it.
#[doc(hidden)]
pub mod private {
    pub use crate::codec_table::CodecTable;
    pub use crate::export::{descriptor, same_name};
    pub use crate::host::init;
    pub use crate::transport_table::TransportTable;
}
