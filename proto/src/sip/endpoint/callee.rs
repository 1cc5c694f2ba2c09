//! INVITE as callee: the call that comes, its CANCEL, its ACK, and how the TU responds. RFC 3261 §13.3.

use std::time::Instant;

use super::{ALLOW, Asked, Endpoint};
use crate::net::FiveTuple;
use crate::sip::command::Reason;
use crate::sip::dialog::{Dialog, State, Unacknowledged, contact_of};
use crate::sip::message::{Headers, Method, NameAddr, Request, SDP, part_of, quote, sdp_of};
use crate::sip::response::{Head, OutgoingResponse};
use crate::sip::timers::{Owner, T1, TRANSACTION_TIMEOUT, Timer};
use crate::sip::transaction::{Holder, ServerKey, ServerMachine};
use crate::sip::{Caller, DialogKey, SipError, SipEvent};

/// Identities that are read of a request.
const MAX_ASSERTED: usize = 4;

impl Endpoint {
    /// A call comes.
    pub(super) fn on_invite(&mut self, now: Instant, request: &Request, head: Head) {
        if self.is_merged(request, &head) {
            return self.respond_stateless(now, &head, 482, Some("Merged Request"), Vec::new());
        }
        if self.is_overloaded(now, &head) {
            return;
        }
        let Some(caller) = self.admit(now, request, &head) else {
            return;
        };
        let holder = Holder::Caller(caller.clone());
        if self.has_its_share(now, &head, &holder)
            || self.is_body_refused(now, request, &head)
            || self.is_interval_refused(now, request, &head)
        {
            return;
        }
        let Some(target) = contact_of(&request.headers) else {
            return self.respond_stateless(now, &head, 400, Some("Missing Or Bad Contact"), Vec::new());
        };
        let (key, local_tag) = (self.new_dialog_key(), self.token());
        let (five_tuple, origin) = (head.five_tuple, head.origin);
        let is_registered =
            matches!(&caller, Caller::Account(user) if self.registrar.reaches(five_tuple.peer(), Some(user)));
        let id = self.create_server_transaction(request, head, holder, Some(key));
        self.respond(now, id, 100, "");
        let (account, trunk) = match &caller {
            Caller::Account(user) => (Some(user.clone()), None),
            Caller::Trunk(name) => (None, Some(name.clone())),
            Caller::Registration { .. } => (None, None),
        };
        self.dialogs.insert(Dialog {
            trunk,
            is_registered,
            invite: Some(id),
            allows_update: allows_update(&request.headers),
            asked: Some(Asked::of(&request.headers)),
            ..Dialog::incoming((key, local_tag), request, target, (five_tuple, origin), account)
        });
        // A registrar calls our Contact, and says in To who was dialled.
        let target = match &caller {
            Caller::Registration { .. } => request.to.uri.dialled(),
            Caller::Account(_) | Caller::Trunk(_) => request.uri.dialled(),
        };
        self.events.push_back(SipEvent::Incoming {
            dialog: key,
            caller,
            from: request.from.clone(),
            asserted: asserted_of(&request.headers),
            is_private: is_private(&request.headers),
            target,
            origin,
            call_id: request.call_id.clone(),
            body: sdp_of(&request.headers, &request.body),
            five_tuple,
        });
    }

    /// Whether this call came by another way as well (RFC 3261 §8.2.2.2). Tags can be seen on the way: who has used another's has not made
    /// that one's call.
    fn is_merged(&self, request: &Request, head: &Head) -> bool {
        match self.server_transactions.holder_of_same(request) {
            None | Some(Holder::Dialog(_)) => false,
            Some(Holder::Caller(Caller::Account(user))) => self.guard.named(request).as_deref() == Some(user),
            Some(Holder::Caller(Caller::Trunk(name))) => {
                self.trunk_at(head.five_tuple.protocol, head.origin.ip()) == Some(name)
            }
            Some(Holder::Caller(Caller::Registration { .. })) => {
                self.called_by_registrar(request, head.five_tuple).is_some()
            }
        }
    }

    /// Refuses bodies without SDP in clear, and whoever takes none of ours.
    pub(super) fn is_body_refused(&mut self, now: Instant, request: &Request, head: &Head) -> bool {
        if !takes(&request.headers, SDP) {
            self.respond_stateless(now, head, 406, None, Vec::new());
            return true;
        }
        let refused = part_of(&request.headers, &request.body, &[SDP]).is_err();
        if refused {
            let accept = format!("{SDP}, multipart/mixed");
            self.respond_stateless(now, head, 415, None, vec![("Accept", accept)]);
        }
        refused
    }

    /// The caller gives up, perhaps too late. RFC 3261 §9.2.
    ///
    /// A CANCEL cannot be challenged, and its branch can be seen on the way: it is taken only from where the INVITE came
    /// from, and from where the dialog's requests are trusted.
    pub(super) fn on_cancel(&mut self, now: Instant, request: &Request, head: &Head) {
        let found = self.server_transactions.find(&ServerKey::cancelled(request));
        let Some(id) = found.filter(|id| self.may_cancel(*id, head)) else {
            return self.respond_stateless(now, head, 481, None, Vec::new());
        };
        self.respond_stateless(now, head, 200, None, Vec::new());
        let Some(transaction) = self.server_transactions.get(id) else {
            return;
        };
        let pending = matches!(&transaction.machine, ServerMachine::Invite(machine) if machine.is_proceeding());
        let Some(dialog) = transaction
            .dialog
            .filter(|_| pending)
            .and_then(|key| self.dialogs.get_mut(key))
        else {
            return;
        };
        let (key, tag, is_call) = (dialog.key, dialog.local_tag.clone(), dialog.state == State::Proceeding);
        dialog.invite = None;
        self.respond(now, id, 487, &tag);
        if is_call {
            self.drop_dialog(key);
            self.events.push_back(SipEvent::Cancelled { dialog: key });
        }
    }

    fn may_cancel(&self, invite: u64, head: &Head) -> bool {
        let Some(transaction) = self.server_transactions.get(invite) else {
            return false;
        };
        let dialog = transaction.dialog.and_then(|key| self.dialogs.get(key));
        let asked = &transaction.head;
        let is_same = (asked.five_tuple.peer(), asked.origin) == (head.five_tuple.peer(), head.origin);
        (is_same && !head.origin.ip().is_unspecified())
            || dialog.is_some_and(|dialog| self.is_trusted(dialog, head.five_tuple, head.origin))
    }

    /// The caller has our 2xx.
    ///
    /// It cannot be challenged, so it moves nothing, and is taken from the peer's host alone: some send from other ports than they listen
    /// at. One that has to bring the answer to our offer is only taken from the peer.
    pub(super) fn on_ack(&mut self, now: Instant, request: &Request, source: FiveTuple) {
        let Some(key) = self.dialogs.of(request) else { return };
        let Some(dialog) = self.dialogs.get(key) else { return };
        let origin = self.origin_of(&request.headers, source);
        let is_trusted = self.is_trusted(dialog, source, origin);
        // Behind a proxy that is trusted, where it says.
        let [from, wanted] = [origin, dialog.origin].map(|address| address.ip().to_canonical());
        let is_near = is_trusted || (from == wanted && !from.is_unspecified());
        let is_ours =
            |response: &Unacknowledged| response.cseq == request.cseq && is_near && (is_trusted || !response.is_offer);
        if !dialog.unacknowledged.as_ref().is_some_and(is_ours) {
            return;
        }
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        dialog.unacknowledged = None;
        self.timers.clear(Owner::Dialog(key), Timer::Retransmit2xx);
        self.timers.clear(Owner::Dialog(key), Timer::AckTimeout);
        if dialog.state == State::Accepted {
            dialog.state = State::Confirmed;
        }
        if let Some(reason) = dialog.hangup.take() {
            return self.bye(now, key, reason.as_ref());
        }
        if dialog.state == State::Confirmed {
            self.events.push_back(SipEvent::Confirmed {
                dialog: key,
                body: sdp_of(&request.headers, &request.body).filter(|_| is_trusted),
            });
        }
    }

    /// The TU: 101-199.
    pub(super) fn ring(
        &mut self,
        now: Instant,
        key: DialogKey,
        status: u16,
        body: Option<&[u8]>,
    ) -> Result<(), SipError> {
        if !(101..200).contains(&status) {
            return Err(SipError::BadStatus(status));
        }
        let (id, tag, way) = self.pending(key)?;
        let extra = vec![("Contact", self.contact_in(key, way)), ("Allow", ALLOW.to_owned())];
        self.respond_with(
            now,
            id,
            &OutgoingResponse {
                status,
                reason: None,
                tag: &tag,
                extra,
                body,
            },
        );
        Ok(())
    }

    /// The TU: 200, retransmitted until the ACK comes.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        key: DialogKey,
        body: Option<&[u8]>,
        identity: Option<&NameAddr>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<(), SipError> {
        let (id, tag, way) = self.pending(key)?;
        let mut extra = vec![("Contact", self.contact_in(key, way)), ("Allow", ALLOW.to_owned())];
        extra.extend(identity.map(|i| ("P-Asserted-Identity", i.to_string())));
        extra.extend(headers);
        if let Some(asked) = self.dialogs.get_mut(key).and_then(|dialog| dialog.asked.take()) {
            extra.extend(self.agree_session(now, key, asked));
        }
        let response = OutgoingResponse {
            status: 200,
            reason: None,
            tag: &tag,
            extra,
            body,
        };
        let wire = self
            .respond_with(now, id, &response)
            .ok_or(SipError::WrongState("accepted"))?;
        let head = self
            .server_transactions
            .get(id)
            .map(|t| (t.head.response_to, t.head.number, !t.head.has_body));
        // Nobody acknowledges what answers an UPDATE.
        let is_update = self
            .server_transactions
            .get(id)
            .is_some_and(|t| t.head.method == Method::Update);
        let Some((dialog, (to, cseq, is_offer))) = self.dialogs.get_mut(key).zip(head) else {
            return Err(SipError::UnknownDialog);
        };
        dialog.invite = None;
        if is_update {
            return Ok(());
        }
        dialog.unacknowledged = Some(Unacknowledged {
            wire,
            to,
            interval: T1,
            cseq,
            is_offer,
        });
        if dialog.state == State::Proceeding {
            dialog.state = State::Accepted;
        }
        self.timers.set(now + T1, Owner::Dialog(key), Timer::Retransmit2xx);
        self.timers
            .set(now + TRANSACTION_TIMEOUT, Owner::Dialog(key), Timer::AckTimeout);
        Ok(())
    }

    /// The TU: 300-699.
    pub(super) fn reject(
        &mut self,
        now: Instant,
        key: DialogKey,
        status: u16,
        reason: Option<&Reason>,
        retry_after: Option<u32>,
    ) -> Result<(), SipError> {
        if !(300..700).contains(&status) {
            return Err(SipError::BadStatus(status));
        }
        let (id, tag, _) = self.pending(key)?;
        let mut extra: Vec<_> = reason.map(reason_field).into_iter().collect();
        extra.extend(retry_after.map(|seconds| ("Retry-After", seconds.to_string())));
        self.respond_extra(now, id, (status, None), &tag, extra);
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return Ok(());
        };
        dialog.invite = None;
        if dialog.state == State::Proceeding {
            self.drop_dialog(key);
        }
        Ok(())
    }

    /// The INVITE of a dialog that the TU may accept: its transaction, our tag, the way to the caller.
    fn pending(&self, key: DialogKey) -> Result<(u64, String, FiveTuple), SipError> {
        let dialog = self.dialogs.get(key).ok_or(SipError::UnknownDialog)?;
        match dialog.state {
            State::Proceeding | State::Confirmed => {
                let id = dialog.invite.ok_or(SipError::WrongState(dialog.state.name()))?;
                Ok((id, dialog.local_tag.clone(), self.way_in_dialog(dialog.peer)))
            }
            State::Accepted | State::Calling | State::Cancelling | State::AwaitingAnswer | State::Ending => {
                Err(SipError::WrongState(dialog.state.name()))
            }
        }
    }
}

/// A `Reason` field, RFC 3326.
pub(super) fn reason_field(reason: &Reason) -> (&'static str, String) {
    let token = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let protocol: String = reason.protocol.chars().filter(token).collect();
    (
        "Reason",
        format!("{protocol};cause={};text={}", reason.cause, quote(&reason.text)),
    )
}

/// Whether the sender takes UPDATE.
pub(super) fn allows_update(headers: &Headers) -> bool {
    headers
        .list("Allow")
        .any(|method| method.eq_ignore_ascii_case("UPDATE"))
}

/// Whether the sender takes bodies of this type, which is an application's: it does if it says nothing (RFC 3261 §20.1).
pub(super) fn takes(headers: &Headers, wanted: &str) -> bool {
    let is_it = |range: &str| {
        let kind = range.split(';').next().unwrap_or_default().trim();
        ["*/*", "application/*", wanted]
            .iter()
            .any(|fits| kind.eq_ignore_ascii_case(fits))
    };
    headers.all("Accept").next().is_none() || headers.list("Accept").any(is_it)
}

/// Whom the caller says it calls for.
fn asserted_of(headers: &Headers) -> Vec<NameAddr> {
    ["P-Asserted-Identity", "P-Preferred-Identity"]
        .into_iter()
        .flat_map(|name| headers.list(name))
        .take(MAX_ASSERTED)
        .filter_map(|value| value.parse().ok())
        .collect()
}

/// Whether the callee is not to learn who calls: privacy of the kinds that hide it (RFC 3323 §4.2, RFC 3325 §9.3).
fn is_private(headers: &Headers) -> bool {
    let values = headers.all("Privacy").flat_map(|value| value.split([';', ',']));
    values.map(str::trim).any(|value| {
        ["id", "user", "header"]
            .iter()
            .any(|kind| value.eq_ignore_ascii_case(kind))
    })
}
