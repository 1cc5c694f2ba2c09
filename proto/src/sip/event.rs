//! What the endpoint tells its user. Not how it came to know: that is the rest of this folder.

use std::net::SocketAddr;
use std::time::Duration;

use super::DialogKey;
use super::message::NameAddr;
use super::package::Package;
use super::registrar::Contact;
use crate::net::FiveTuple;

/// What became of a registered contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactChange {
    /// It is new.
    Added,
    /// It was there and lives longer now.
    Refreshed,
    /// The phone took it back.
    Removed,
    /// Nobody refreshed it in time.
    Expired,
}

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// No such account. On the wire this looks like a wrong password.
    UnknownUser,
    /// The account exists, the password is not this one.
    WrongPassword,
    /// Too many failures of this source, or for this account: the credentials were not looked at.
    NotJudged,
}

/// Who a call is from, as far as that is proved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// An account of ours that has logged in.
    Account(String),
    /// A trunk, by the address that it sends from.
    Trunk(String),
    /// A registrar that we are registered at calls us.
    Registration {
        /// The number of the registration, as given in the command.
        registration: u64,
        /// Its address of record.
        user: String,
    },
}

impl Caller {
    /// Its name, of whichever kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Account(name) | Self::Trunk(name) | Self::Registration { user: name, .. } => name,
        }
    }
}

/// Whom a REFER names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferTo {
    /// A number or a name, as [`Uri::dialled`](super::Uri::dialled).
    Number(String),
    /// Whoever is in this other call with the same account (Replaces, RFC 3891).
    Dialog(DialogKey),
}

/// Something happened that the calls above must know.
#[derive(Clone, Debug, PartialEq)]
pub enum SipEvent {
    /// A contact of an account changed.
    ContactChanged {
        /// The account.
        user: String,
        /// What changed.
        change: ContactChange,
        /// The contact, as it is now (or was).
        contact: Contact,
        /// Where the request came from; for `Expired`, where the binding came from.
        source: SocketAddr,
    },
    /// Somebody failed to log in.
    LoginFailed {
        /// The name that was tried (cut at 64 characters).
        user: String,
        /// From where.
        source: SocketAddr,
        /// Why it failed.
        why: LoginFailure,
        /// Failures of this source so far; if it was not judged, those of what keeps it from being judged.
        failures: u32,
    },
    /// A phone calls: respond with `Ring`, `Accept`, `Reject` or `Hangup`. 100 has been sent.
    Incoming {
        /// The new dialog.
        dialog: DialogKey,
        /// Who calls.
        caller: Caller,
        /// The caller as it names itself to be shown; it proves nothing, and need not be the account.
        from: NameAddr,
        /// Whom it says it calls for: P-Asserted-Identity, then P-Preferred-Identity (RFC 3325); as unproved.
        asserted: Vec<NameAddr>,
        /// The callee is not to learn who calls (`Privacy`, RFC 3323).
        is_private: bool,
        /// What was dialled: [`Uri::dialled`](super::Uri::dialled) of the request URI.
        target: String,
        /// The `Call-ID` header.
        call_id: String,
        /// The SDP offer; `None`: late offer, ours goes into the 2xx.
        body: Option<Vec<u8>>,
        /// The way the request came.
        five_tuple: FiveTuple,
        /// Where the caller is, as [`Contact::origin`].
        origin: SocketAddr,
    },
    /// The peer is elsewhere: it speaks from another address than before, and has proved that it is the peer, or a call of ours goes to another
    /// place now. More of the dialog follows.
    Moved {
        /// The dialog.
        dialog: DialogKey,
        /// Where it is, as [`Contact::origin`].
        origin: SocketAddr,
    },
    /// As caller: a 101-199 arrived.
    Provisional {
        /// The dialog.
        dialog: DialogKey,
        /// 101..=199.
        status: u16,
        /// SDP of early media.
        body: Option<Vec<u8>>,
    },
    /// As caller: 2xx. The endpoint has acknowledged if our INVITE held the offer; else send [`super::SipCommand::Ack`].
    Accepted {
        /// The dialog.
        dialog: DialogKey,
        /// SDP answer (or offer, if ours was late).
        body: Option<Vec<u8>>,
    },
    /// As caller: the call will not be. Last event of the dialog.
    Rejected {
        /// The dialog.
        dialog: DialogKey,
        /// 300..=699; 408 also when no response came, 487 after our own cancelling.
        status: u16,
        /// Reason phrase of the peer, or ours.
        reason: String,
        /// `Retry-After`, seconds.
        retry_after: Option<u32>,
        /// Where it is to be tried instead: who the Contact of a 3xx names, as [`Uri::dialled`](super::Uri::dialled).
        redirect: Option<String>,
    },
    /// As callee: the ACK arrived, the dialog is confirmed.
    Confirmed {
        /// The dialog.
        dialog: DialogKey,
        /// SDP answer to our late offer.
        body: Option<Vec<u8>>,
    },
    /// As callee: the caller gave up before our final response; 487 is sent. Last event of the dialog.
    Cancelled {
        /// The dialog.
        dialog: DialogKey,
    },
    /// The peer hung up; 200 is sent. Last event of the dialog.
    Bye {
        /// The dialog.
        dialog: DialogKey,
        /// The peer's `Reason` header, as it came.
        reason: Option<String>,
    },
    /// The peer is gone: our 200 was never acknowledged (BYE is sent), or it no longer knows the dialog. Last event.
    Lost {
        /// The dialog.
        dialog: DialogKey,
    },
    /// Our `Hangup` is complete, nothing of the dialog remains. Last event of the dialog.
    Ended {
        /// The dialog.
        dialog: DialogKey,
    },
    /// A key was pressed, by INFO within the dialog; 200 is sent.
    Dtmf {
        /// The dialog.
        dialog: DialogKey,
        /// The key: `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
    },
    /// The peer wants to change the session: `Accept` or `Reject` the same dialog.
    Reinvite {
        /// The dialog.
        dialog: DialogKey,
        /// Its offer; `None`: ours goes into the 2xx.
        body: Option<Vec<u8>>,
    },
    /// The peer wants to be replaced in the call: `AnswerRefer` the same dialog.
    Refer {
        /// The dialog.
        dialog: DialogKey,
        /// The account of ours that it is, if it is one.
        account: Option<String>,
        /// By whom.
        to: ReferTo,
    },
    /// It is time to tell the peer that the call goes on: `Reinvite` with an offer (RFC 4028).
    Refresh {
        /// The dialog.
        dialog: DialogKey,
    },
    /// The peer took our `Reinvite`; it is acknowledged.
    Reaccepted {
        /// The dialog.
        dialog: DialogKey,
        /// SDP answer.
        body: Option<Vec<u8>>,
    },
    /// The peer refused our `Reinvite`, or it could not be reached: the session is as it was.
    Unchanged {
        /// The dialog.
        dialog: DialogKey,
    },
    /// A phone wants to be told of something, for the first time or still.
    Subscribe {
        /// Names it.
        subscription: DialogKey,
        /// Whose phone.
        account: String,
        /// Of what.
        package: Package,
        /// The number that it asks about.
        target: String,
    },
    /// Nobody wants to be told any more.
    Unsubscribed {
        /// The subscription.
        subscription: DialogKey,
    },
    /// As client: a registration stands (or, with zero, is taken back).
    Registered {
        /// The number given in the command.
        registration: u64,
        /// For how long; refresh earlier.
        expires: Duration,
    },
    /// A server has answered OPTIONS, or has not.
    Probed {
        /// The number given in the command.
        probe: u64,
        /// What it said: any status is of one that is there. 408: it could not be reached, or did not answer.
        status: u16,
    },
    /// As client: a registration failed; nothing is tried again by itself.
    RegisterFailed {
        /// The number given in the command.
        registration: u64,
        /// 408 when no response came.
        status: u16,
    },
}

impl SipEvent {
    /// The dialog that it is about; none for what concerns logins and registrations.
    #[must_use]
    pub fn dialog(&self) -> Option<DialogKey> {
        match self {
            Self::Incoming { dialog, .. }
            | Self::Provisional { dialog, .. }
            | Self::Accepted { dialog, .. }
            | Self::Rejected { dialog, .. }
            | Self::Confirmed { dialog, .. }
            | Self::Cancelled { dialog }
            | Self::Bye { dialog, .. }
            | Self::Lost { dialog }
            | Self::Ended { dialog }
            | Self::Dtmf { dialog, .. }
            | Self::Reinvite { dialog, .. }
            | Self::Refresh { dialog }
            | Self::Refer { dialog, .. }
            | Self::Unchanged { dialog }
            | Self::Reaccepted { dialog, .. }
            | Self::Moved { dialog, .. } => Some(*dialog),
            Self::ContactChanged { .. }
            | Self::LoginFailed { .. }
            | Self::Registered { .. }
            | Self::RegisterFailed { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribed { .. }
            | Self::Probed { .. } => None,
        }
    }
}
