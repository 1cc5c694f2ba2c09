//! SIP: one endpoint in front of messages, transactions, dialogs, digest and registrar (RFC 3261).
//!
//! Reading order: [`endpoint`] (the machine that is fed and polled), [`SipCommand`] and [`SipEvent`] (its words), then
//! [`message`] (bytes), the transactions of §17, the dialogs of §12, [`auth`] (digest) and [`registrar`].
//! Knows nothing of SDP: bodies pass as bytes.

use thiserror::Error;

pub mod auth;
pub mod command;
mod connections;
mod dialog;
pub mod dtmf_info;
pub mod endpoint;
pub mod event;
mod keep_alive;
pub mod limits;
pub mod locate;
pub mod message;
mod outgoing;
pub mod package;
pub mod registrar;
mod response;
pub mod stream;
mod timers;
mod transaction;

pub use auth::{Account, Credentials, Ha1, Locked};
pub use command::{OutgoingInvite, Reason, SipCommand};
pub use endpoint::{Endpoint, EndpointConfig, MAX_MESSAGE};
pub use event::{Caller, ContactChange, LoginFailure, ReferTo, SipEvent};
pub use limits::Limits;
pub use message::{NameAddr, Param, Scheme, Uri, blanked};
pub use package::{Line, Package, PackageState};
pub use registrar::{Contact, SavedBinding};

/// Names a dialog between the endpoint and its user; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogKey(pub u64);

/// Why a command, or a text, was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SipError {
    /// The dialog has ended (a command crossed an event) or never was: nothing to do.
    #[error("no such dialog")]
    UnknownDialog,
    /// The dialog is not in a state for this command: nothing was sent.
    #[error("the dialog is in state {0}, which this command does not fit")]
    WrongState(&'static str),
    /// The command's status code is out of range: a bug of the caller.
    #[error("status {0} does not fit this command")]
    BadStatus(u16),
    /// The text is not a SIP, SIPS or tel URI: check the configuration it came from.
    #[error("not a usable URI")]
    BadUri,
    /// The text is not a SIP address: check the configuration it came from.
    #[error("not a usable address")]
    BadAddress,
    /// The dialog key is in use already: a bug of the caller.
    #[error("the dialog key is in use")]
    DialogInUse,
    /// A table is full: raise the limits, or the gateway is overloaded.
    #[error("too many {0} at once")]
    TooMany(&'static str),
}
