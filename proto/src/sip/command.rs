//! What the endpoint is told to do.

use std::net::SocketAddr;
use std::time::Duration;

use super::DialogKey;
use super::auth::Credentials;
use super::message::NameAddr;
use super::package::PackageState;
use crate::net::FiveTuple;

/// A `Reason` header: why a call ends (RFC 3326).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `SIP` or `Q.850`.
    pub protocol: String,
    /// A code of that protocol.
    pub cause: u16,
    /// For people. Control characters are left out, quotes escaped.
    pub text: String,
}

/// A call to a phone.
#[derive(Clone, Debug)]
pub struct OutgoingInvite {
    /// From [`super::Endpoint::new_dialog_key`].
    pub dialog: DialogKey,
    /// The registered contact.
    pub request_uri: String,
    /// The way to send it; our address is also our `Contact`.
    pub five_tuple: FiveTuple,
    /// Where the phone is, as [`Contact::origin`](super::Contact::origin).
    pub origin: SocketAddr,
    /// `From`, without tag.
    pub from: NameAddr,
    /// `To`, without tag.
    pub to: NameAddr,
    /// `P-Asserted-Identity`.
    pub identity: Option<NameAddr>,
    /// Further header fields.
    pub headers: Vec<(&'static str, String)>,
    /// Proxies on the way, as [`Contact::path`](super::Contact::path).
    pub routes: Vec<String>,
    /// SDP offer; `None`: late offer.
    pub body: Option<Vec<u8>>,
    /// Credentials for a challenge, if there is one.
    pub credentials: Option<Credentials>,
    /// The account that is called: with a login as it, its phone may speak in this dialog from elsewhere too.
    pub account: Option<String>,
    /// The trunk that is called: from its addresses its requests are taken in this dialog.
    pub trunk: Option<String>,
    /// Where the call goes if nothing comes back from there within a second, or it cannot be reached or is overloaded: request URI and way, in
    /// order.
    pub alternates: Vec<(String, FiveTuple)>,
}

/// An order to the endpoint.
///
/// All texts may hold anything: control characters never reach the wire.
#[derive(Clone, Debug)]
pub enum SipCommand {
    /// As callee: a provisional response. Out of range or too late: refused.
    Ring {
        /// The dialog.
        dialog: DialogKey,
        /// 101..=199.
        status: u16,
        /// SDP of early media.
        body: Option<Vec<u8>>,
    },
    /// As callee: 200 to the INVITE, or to a `Reinvite`. Retransmitted until the ACK comes.
    Accept {
        /// The dialog.
        dialog: DialogKey,
        /// SDP answer, or offer if the caller's is late.
        body: Option<Vec<u8>>,
        /// `P-Asserted-Identity`: what the phone may show instead of the number dialled.
        identity: Option<NameAddr>,
        /// Further header fields.
        headers: Vec<(&'static str, String)>,
    },
    /// As callee: a final refusal of the INVITE (no further event), or of a `Reinvite` (the dialog stays).
    Reject {
        /// The dialog.
        dialog: DialogKey,
        /// 300..=699.
        status: u16,
        /// `Reason` header.
        reason: Option<Reason>,
        /// `Retry-After`, seconds.
        retry_after: Option<u32>,
    },
    /// Ends the dialog by what fits its state: CANCEL, BYE, or 480 to the INVITE.
    ///
    /// Exactly one of `Ended`, `Rejected`, `Bye` or `Cancelled` follows.
    Hangup {
        /// The dialog.
        dialog: DialogKey,
        /// `Reason` header.
        reason: Option<Reason>,
    },
    /// Calls a phone.
    Invite(Box<OutgoingInvite>),
    /// As caller with a late offer: ACK with our SDP answer.
    Ack {
        /// The dialog.
        dialog: DialogKey,
        /// SDP answer.
        body: Option<Vec<u8>>,
    },
    /// INFO within a confirmed dialog; its response is not reported.
    Info {
        /// The dialog.
        dialog: DialogKey,
        /// Such as `application/dtmf-relay`.
        content_type: String,
        /// The body.
        body: Vec<u8>,
    },
    /// OPTIONS within a confirmed dialog: [`super::SipEvent::Lost`] follows if no final response comes within 5 s, or one
    /// that says that the peer is not there (408, 481).
    Probe {
        /// The dialog.
        dialog: DialogKey,
    },
    /// Another offer within a confirmed dialog: [`super::SipEvent::Reaccepted`] follows, or
    /// [`super::SipEvent::Unchanged`] if it is refused.
    Reinvite {
        /// The dialog.
        dialog: DialogKey,
        /// SDP offer.
        body: Vec<u8>,
    },
    /// UPDATE within a confirmed dialog that shows the peer another identity (P-Asserted-Identity, RFC 3325; RFC 3311), if it allows
    /// UPDATE; its response is not reported.
    Show {
        /// The dialog.
        dialog: DialogKey,
        /// Who we are.
        identity: NameAddr,
    },
    /// Answers [`super::SipEvent::Refer`].
    AnswerRefer {
        /// The dialog.
        dialog: DialogKey,
        /// 202: it is being tried, `NotifyRefer` says what becomes of it; 300..=699: it is not.
        status: u16,
        /// `Reason` header.
        reason: Option<Reason>,
    },
    /// NOTIFY of what has become of a transfer: its sender may have hung up meanwhile.
    NotifyRefer {
        /// The dialog.
        dialog: DialogKey,
        /// 100..=699, as whoever is called has answered; from 200 on it is the last word.
        status: u16,
    },
    /// Answers [`super::SipEvent::Subscribe`] with the first, and says again and again what there is to be told (NOTIFY).
    Notify {
        /// The subscription.
        subscription: DialogKey,
        /// Of its package.
        state: PackageState,
    },
    /// Answers [`super::SipEvent::Subscribe`]: it is told nothing. [`super::SipEvent::Unsubscribed`] follows.
    RefuseSubscription {
        /// The subscription.
        subscription: DialogKey,
        /// 300..=699.
        status: u16,
    },
    /// As client: registers `aor` at a registrar, once.
    Register {
        /// Names the registration in events.
        registration: u64,
        /// User part of the address of record.
        aor: String,
        /// Its host; `None`: the registrar's address.
        domain: Option<String>,
        /// The way to the registrar; our address is also our `Contact`.
        five_tuple: FiveTuple,
        /// Credentials for the challenge.
        credentials: Option<Credentials>,
        /// Zero takes the registration back.
        expires: Duration,
    },
    /// OPTIONS outside of calls: whether a server is there and takes calls. [`super::SipEvent::Probed`] follows within 5 s.
    Options {
        /// Names it in the event.
        probe: u64,
        /// Its host as it calls itself; `None`: its address.
        domain: Option<String>,
        /// The way to it.
        five_tuple: FiveTuple,
    },
}

impl SipCommand {
    /// The dialog that it is for; none for a registration.
    #[must_use]
    pub fn dialog(&self) -> Option<DialogKey> {
        match self {
            Self::Ring { dialog, .. }
            | Self::Accept { dialog, .. }
            | Self::Reject { dialog, .. }
            | Self::Hangup { dialog, .. }
            | Self::Ack { dialog, .. }
            | Self::Info { dialog, .. }
            | Self::Show { dialog, .. }
            | Self::Reinvite { dialog, .. }
            | Self::AnswerRefer { dialog, .. }
            | Self::NotifyRefer { dialog, .. }
            | Self::Probe { dialog } => Some(*dialog),
            Self::Invite(invite) => Some(invite.dialog),
            Self::Register { .. } | Self::Options { .. } | Self::Notify { .. } | Self::RefuseSubscription { .. } => {
                None
            }
        }
    }
}
