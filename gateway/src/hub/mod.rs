//! Our rendezvous: it introduces callers to each other and relays opaque packets.
//!
//! [`Rendezvous`] is the whole server as a sans-IO machine; [`Invitations`] gives out and takes back the tokens that its
//! clients say hello with. The hub sees account names, times, sizes and addresses; never a key, an SDP or audio.

mod accounts;
mod calls;
mod handout;
mod limits;
mod rendezvous;

pub use accounts::{Account, Accounts, Directory, Invitations, InviteError};
pub use handout::HandedServer;
pub use limits::{AccountLimits, Limits};
pub use rendezvous::{CloseReason, ConnKey, Rendezvous, RendezvousConfig};

#[cfg(test)]
pub(crate) mod tests;
