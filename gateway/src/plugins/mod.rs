//! Plugins: finding, checking and loading them, and safe handles on what they can do.
//!
//! [`Registry::load`] is the way in. A plugin that cannot be used is left out with a sentence that says why and what to
//! do ([`Refusal`]); the rest goes on. What it found are tables ([`CodecTable`], [`TransportTable`]), which make handles
//! ([`Encoder`], [`Decoder`], [`Transport`]) for one call each.
//!
//! The border to foreign code is `loader`, the only unsafe code of this crate. The handles check every number that comes
//! back; a plugin that breaks its promise loses the handle, and after ten breaks in a minute takes no new calls.
//! Plugins are trusted code in this process: nothing here holds back one that means harm. So a file that somebody else
//! could change is refused before it is opened ([`crate::permissions`]).
//!
//! The contract: `plugins/api/include/quartet_plugin.h`. Checks for authors: [`conformance`], run by `quartet plugin test`.

mod codec;
pub mod conformance;
mod health;
mod loader;
mod packet;
mod refusal;
mod registry;
mod self_check;
mod signal;
mod table;
#[cfg(test)]
mod tests;
mod transport;
pub mod watch;

pub use codec::{CodecSettings, CodecTable, Decoder, Encoder, FmtpRole};
pub use health::Counters;
pub use loader::PluginOption;
pub use loader::elf::{FileFacts, facts_of, read_facts};
pub use packet::Packet;
pub use quartet_plugin::{About, Kind as PacketKind, Outcome, Role, Setting};
pub use refusal::{LoadError, PluginError, Reason, Refusal};
pub use registry::{Kind, Loaded, Registry, plugin_faults, search_folders};
pub use self_check::CodecReport;
pub use transport::{Output, Transport, TransportEvent, TransportTable};
