//! INVITE as caller: our call, its responses, its ACKs. RFC 3261 §13.2.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::callee::allows_update;
use super::session_timer::asked_fields;
use super::{ALLOW, Endpoint};
use crate::net::FiveTuple;
use crate::sip::auth::{Credentials, authorization};
use crate::sip::command::OutgoingInvite;
use crate::sip::dialog::{Dialog, State, contact_of};
use crate::sip::message::{Method, NameAddr, Response, Uri, reason_phrase, sdp_of};
use crate::sip::outgoing::Outgoing;
use crate::sip::timers::{Owner, Timer};
use crate::sip::transaction::Purpose;
use crate::sip::{DialogKey, SipError, SipEvent};

/// How long the first response may take before a call goes to the next place, if there is one.
const FAILOVER: Duration = Duration::from_secs(1);
/// Refusals that speak of the place and not of the callee.
const OVERLOADED: [u16; 3] = [408, 500, 503];

/// Tags of one call that respond with 2xx; further ones are ignored.
const MAX_FORKS: usize = 8;

/// Times one request is sent again with credentials: one, and one more if the nonce was stale.
const MAX_TRIES: u8 = 2;

impl Endpoint {
    /// The TU calls.
    pub(super) fn invite(&mut self, now: Instant, mut invite: OutgoingInvite) -> Result<(), SipError> {
        let target: Uri = invite.request_uri.parse()?;
        if self.dialogs.contains(invite.dialog) {
            return Err(SipError::DialogInUse);
        }
        if self.dialogs.len() >= self.config.limits.dialogs {
            return Err(SipError::TooMany("dialogs"));
        }
        let (key, local_tag) = (invite.dialog, self.token());
        let mut extra = vec![
            (
                "Contact",
                self.contact(key, invite.five_tuple, invite.account.as_deref()),
            ),
            ("Allow", ALLOW.to_owned()),
        ];
        extra.extend(asked_fields(None));
        extra.extend(invite.identity.map(|i| ("P-Asserted-Identity", i.to_string())));
        extra.extend(invite.headers);
        let offered = invite.body.is_some();
        let mut request = Outgoing {
            method: Method::Invite,
            uri: target.to_string(),
            from: invite.from.clone().with_tag(Some(&local_tag)).to_string(),
            to: invite.to.clone().with_tag(None).to_string(),
            call_id: self.token(),
            cseq: 1,
            routes: invite.routes.clone(),
            extra,
            body: invite.body.map(|body| ("application/sdp".to_owned(), body)),
            five_tuple: invite.five_tuple,
            // Behind a proxy it is that which takes connections.
            listens_at: listens_at(&target, invite.five_tuple).filter(|_| invite.routes.is_empty()),
            account: invite.account.clone(),
            sent_by: invite.five_tuple.local,
        };
        if invite.trunk.is_some() && self.is_too_long(&request, invite.credentials.is_some()) {
            let own = (request.uri.clone(), invite.five_tuple);
            invite.alternates = self.over_streams_first(now, std::iter::once(own).chain(invite.alternates));
            let (_, way) = invite.alternates.remove(0);
            self.lead(key, &mut request, &target, way);
        }
        let call_id = request.call_id.clone();
        let has_more = !invite.alternates.is_empty();
        let (id, peer) = self.start_invite(now, key, request, invite.credentials.clone(), has_more)?;
        let ends = (invite.from, invite.to);
        let way = (peer, invite.origin);
        self.dialogs.insert(Dialog {
            local_cseq: 1,
            routes: invite.routes.iter().filter_map(|route| route.parse().ok()).collect(),
            account: invite.account,
            trunk: invite.trunk,
            alternates: invite.alternates,
            is_registered: self.registrar.reaches(invite.five_tuple.peer(), None),
            invite: Some(id),
            invite_cseq: 1,
            offered,
            credentials: invite.credentials,
            ..Dialog::new(key, State::Calling, (call_id, local_tag), ends, target, way)
        });
        Ok(())
    }

    /// Has a request of ours go another way, which its Contact must name.
    fn lead(&self, key: DialogKey, request: &mut Outgoing, target: &Uri, way: FiveTuple) {
        request.five_tuple = way;
        request.listens_at = listens_at(target, way);
        let contact = self.contact(key, way, request.account.as_deref());
        for (_, value) in request.extra.iter_mut().filter(|(name, _)| *name == "Contact") {
            value.clone_from(&contact);
        }
    }

    /// Sends an INVITE, which is given up after [`FAILOVER`] if the call `has_more` places to go to; gives its transaction, and the way
    /// that it went.
    fn start_invite(
        &mut self,
        now: Instant,
        key: DialogKey,
        request: Outgoing,
        credentials: Option<Credentials>,
        has_more: bool,
    ) -> Result<(u64, FiveTuple), SipError> {
        let wanted = request.five_tuple;
        let id = self.start(now, request, Purpose::Invite(key), credentials, 0)?;
        if has_more {
            self.timers.set(now + FAILOVER, Owner::Client(id), Timer::Failover);
        }
        let sent = self.client_transactions.get(id);
        Ok((id, sent.map_or(wanted, |sent| sent.request.five_tuple)))
    }

    /// A response to our INVITE that is not a retransmission.
    pub(super) fn on_invite_response(&mut self, now: Instant, id: u64, key: DialogKey, response: &Response) {
        self.timers.clear(Owner::Client(id), Timer::Failover);
        match response.status {
            100..=199 => self.on_provisional(now, id, key, response),
            200..=299 => self.on_success(now, id, key, response),
            _ => self.on_refusal(now, id, key, response),
        }
    }

    fn on_provisional(&mut self, now: Instant, id: u64, key: DialogKey, response: &Response) {
        self.send_cancel(now, id, key);
        let Some(dialog) = self.dialogs.get_mut(key).filter(|d| d.state == State::Calling) else {
            return;
        };
        if response.status > 100 {
            if response.to.tag().is_some() {
                dialog.on_response(response);
            }
            let (status, body) = (response.status, sdp_of(&response.headers, &response.body));
            self.events.push_back(SipEvent::Provisional {
                dialog: key,
                status,
                body,
            });
        }
    }

    fn on_success(&mut self, now: Instant, id: u64, key: DialogKey, response: &Response) {
        let tag = response.to.tag().unwrap_or_default();
        let Some(transaction) = self.client_transactions.get(id) else {
            return;
        };
        if let Some((_, wire, to)) = transaction.acks.iter().find(|(t, ..)| t == tag) {
            let (to, wire) = (*to, wire.clone());
            return self.transmit(to, wire);
        }
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return self.end_fork(now, id, response);
        };
        match dialog.state {
            State::Calling | State::Cancelling => {
                dialog.on_response(response);
                dialog.allows_update = allows_update(&response.headers);
                dialog.invite = Some(id);
                self.timers.clear(Owner::Dialog(key), Timer::Cancel);
                if dialog.state == State::Cancelling {
                    // Our CANCEL crossed it.
                    dialog.state = State::AwaitingAnswer;
                    let reason = self
                        .client_transactions
                        .get_mut(id)
                        .and_then(|t| t.cancel.take())
                        .flatten();
                    self.send_ack(key, None);
                    return self.bye(now, key, reason.as_ref());
                }
                dialog.state = State::AwaitingAnswer;
                if dialog.offered {
                    self.send_ack(key, None);
                }
                self.on_session_answered(now, key, response);
                self.events.push_back(SipEvent::Accepted {
                    dialog: key,
                    body: sdp_of(&response.headers, &response.body),
                });
            }
            // The TU still owes the ACK.
            State::AwaitingAnswer if dialog.remote_tag.as_deref() == response.to.tag() => {}
            State::AwaitingAnswer | State::Confirmed | State::Ending | State::Proceeding | State::Accepted => {
                self.end_fork(now, id, response);
            }
        }
    }

    /// Another phone accepted as well, or too late: ACK, then BYE. RFC 3261 §13.2.2.4.
    fn end_fork(&mut self, now: Instant, id: u64, response: &Response) {
        let Some(transaction) = self.client_transactions.get(id).filter(|t| t.acks.len() < MAX_FORKS) else {
            return;
        };
        let request = &transaction.request;
        let (Ok(local), Ok(target)) = (request.from.parse::<NameAddr>(), request.uri.parse()) else {
            return;
        };
        let names = (request.call_id.clone(), local.tag().unwrap_or_default().to_owned());
        let ends = (local, response.to.clone());
        let way = (request.five_tuple, request.five_tuple.remote);
        let mut fork = Dialog {
            local_cseq: request.cseq,
            is_registered: self.registrar.reaches(request.five_tuple.peer(), None),
            invite_cseq: request.cseq,
            offered: true,
            ..Dialog::new(DialogKey(0), State::AwaitingAnswer, names, ends, target, way)
        };
        fork.on_response(response);
        let ack = fork.request(Method::Ack, Vec::new());
        let (wire, to) = self.send_once(ack);
        if let Some(transaction) = self.client_transactions.get_mut(id) {
            transaction
                .acks
                .push((response.to.tag().unwrap_or_default().to_owned(), wire, to));
        }
        let bye = fork.request(Method::Bye, Vec::new());
        if let Err(error) = self.start(now, bye, Purpose::StrayBye, None, 0) {
            tracing::debug!(%error, "no BYE for a fork");
        }
    }

    /// Nothing can be had where a call of ours went: it goes to the next place, if there is one. RFC 3263 §4.3.
    ///
    /// What was sent there may have arrived all the same: whoever answers is told that it was in vain.
    pub(super) fn fail_over(&mut self, now: Instant, id: u64, key: DialogKey) -> bool {
        let is_calling = |dialog: &&mut Dialog| {
            dialog.state == State::Calling && dialog.invite == Some(id) && !dialog.alternates.is_empty()
        };
        let Some(dialog) = self.dialogs.get_mut(key).filter(is_calling) else {
            return false;
        };
        let (uri, way) = dialog.alternates.remove(0);
        let has_more = !dialog.alternates.is_empty();
        let Some(transaction) = self.client_transactions.get(id) else {
            return false;
        };
        let (mut request, credentials) = (transaction.request.clone(), transaction.credentials.clone());
        let Ok(target) = uri.parse::<Uri>() else { return false };
        request.cseq += 1;
        request.uri = target.to_string();
        // It was an answer to another's challenge.
        request.extra.retain(|(name, _)| !name.ends_with("uthorization"));
        self.lead(key, &mut request, &target, way);
        let cseq = request.cseq;
        // Until there is another, the call is still that which was sent.
        let Ok((again, way)) = self.start_invite(now, key, request, credentials, has_more) else {
            return false;
        };
        self.timers.clear(Owner::Client(id), Timer::Failover);
        self.timers.clear(Owner::Client(id), Timer::A);
        if let Some(transaction) = self.client_transactions.get_mut(id) {
            transaction.purpose = Purpose::Abandoned;
        }
        if let Some(dialog) = self.dialogs.get_mut(key) {
            (dialog.invite, dialog.invite_cseq, dialog.local_cseq) = (Some(again), cseq, cseq);
            (dialog.peer, dialog.target) = (way, target);
            let origin = way.remote;
            if std::mem::replace(&mut dialog.origin, origin).ip() != origin.ip() {
                self.events.push_back(SipEvent::Moved { dialog: key, origin });
            }
        }
        true
    }

    /// A response to an INVITE that was given up: whoever rings is to stop, and whoever answers is told that nobody is there.
    pub(super) fn on_abandoned_response(&mut self, now: Instant, id: u64, response: &Response) {
        match response.status {
            100..=199 => self.cancel_abandoned(now, id),
            200..=299 => self.end_fork(now, id, response),
            _ => {}
        }
    }

    fn on_refusal(&mut self, now: Instant, id: u64, key: DialogKey, response: &Response) {
        self.timers.clear(Owner::Dialog(key), Timer::Cancel);
        if OVERLOADED.contains(&response.status) {
            self.forget_same_place(id, key);
            if self.fail_over(now, id, key) {
                return;
            }
        }
        let wanted = self.dialogs.get(key).is_some_and(|d| d.state == State::Calling);
        let again = if wanted { self.repeat(now, id, response) } else { None };
        if let Some((again, cseq)) = again {
            if let Some(dialog) = self.dialogs.get_mut(key) {
                (dialog.invite, dialog.invite_cseq, dialog.local_cseq) = (Some(again), cseq, cseq);
                if !dialog.alternates.is_empty() {
                    self.timers.set(now + FAILOVER, Owner::Client(again), Timer::Failover);
                }
            }
            return;
        }
        let reason = if response.reason.is_empty() {
            "Rejected".to_owned()
        } else {
            response.reason.clone()
        };
        let retry_after = response.headers.get("Retry-After").and_then(leading_number);
        // 305 and 380 speak of a proxy and of another service.
        let redirect = contact_of(&response.headers).filter(|_| matches!(response.status, 300..=302));
        let redirect = redirect.map(|uri| uri.dialled()).filter(|number| !number.is_empty());
        if self.dialogs.contains(key) {
            self.drop_dialog(key);
            self.events.push_back(SipEvent::Rejected {
                dialog: key,
                status: response.status,
                reason,
                retry_after,
                redirect,
            });
        }
    }

    /// Ends a call of ours without an answer of the peer's.
    pub(super) fn unanswered(&mut self, key: DialogKey, status: u16) {
        if self.dialogs.contains(key) {
            self.drop_dialog(key);
            self.events.push_back(SipEvent::Rejected {
                dialog: key,
                status,
                reason: reason_phrase(status).to_owned(),
                retry_after: None,
                redirect: None,
            });
        }
    }

    /// Sends a refused request again with credentials; gives the new transaction and its number.
    pub(super) fn retry(&mut self, now: Instant, id: u64, response: &Response) -> Option<(u64, u32)> {
        let (challenge, field) = match response.status {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return None,
        };
        let transaction = self.client_transactions.get(id)?;
        let is_stale = response
            .headers
            .all(challenge)
            .any(|c| c.to_ascii_lowercase().contains("stale=true"));
        if transaction.tries >= MAX_TRIES || (transaction.tries > 0 && !is_stale) {
            return None;
        }
        let credentials = transaction.credentials.clone()?;
        let (mut request, purpose, tries) = (transaction.request.clone(), transaction.purpose, transaction.tries + 1);
        let challenges = response.headers.all(challenge);
        let value = authorization(
            challenges,
            &credentials,
            request.method.name(),
            &request.uri,
            &mut *self.rng,
        )?;
        request.cseq = self.next_number(purpose, request.cseq);
        request.extra.retain(|(name, _)| *name != field);
        request.extra.push((field, value));
        let cseq = request.cseq;
        self.start(now, request, purpose, Some(credentials), tries)
            .ok()
            .map(|id| (id, cseq))
    }

    /// The number of a request that is sent again: within a dialog others may have been sent since.
    pub(super) fn next_number(&mut self, purpose: Purpose, cseq: u32) -> u32 {
        let key = match purpose {
            Purpose::Bye(key)
            | Purpose::InDialog(key)
            | Purpose::Probe(key)
            | Purpose::Show(key)
            | Purpose::Notify(key)
            | Purpose::Refresh(key)
            | Purpose::Reinvite(key) => Some(key),
            Purpose::Invite(_)
            | Purpose::Abandoned
            | Purpose::Cancel
            | Purpose::StrayBye
            | Purpose::Subscription(_)
            | Purpose::Register(_)
            | Purpose::Options(_) => None,
        };
        match key.and_then(|key| self.dialogs.get_mut(key)) {
            Some(dialog) => {
                dialog.local_cseq += 1;
                dialog.local_cseq
            }
            None => cseq + 1,
        }
    }

    /// The TU: the ACK to a 2xx that held the offer.
    pub(super) fn acknowledge(&mut self, key: DialogKey, body: Option<Vec<u8>>) -> Result<(), SipError> {
        let dialog = self.dialogs.get(key).ok_or(SipError::UnknownDialog)?;
        if dialog.state != State::AwaitingAnswer {
            return Err(SipError::WrongState(dialog.state.name()));
        }
        self.send_ack(key, body);
        Ok(())
    }

    /// Acknowledges the 2xx of a dialog, which is confirmed by that.
    pub(super) fn send_ack(&mut self, key: DialogKey, body: Option<Vec<u8>>) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        let mut ack = dialog.request(Method::Ack, Vec::new());
        ack.body = body.map(|body| ("application/sdp".to_owned(), body));
        let (tag, id) = (dialog.remote_tag.clone().unwrap_or_default(), dialog.invite.take());
        dialog.state = State::Confirmed;
        let (wire, to) = self.send_once(ack);
        if let Some(transaction) = id.and_then(|id| self.client_transactions.get_mut(id)) {
            transaction.acks.push((tag, wire, to));
        }
    }
}

/// Where a peer says itself that it listens, if that is the host that it is reached at: what is behind a NAT is not.
pub(super) fn listens_at(contact: &Uri, way: FiveTuple) -> Option<SocketAddr> {
    contact
        .socket_addr()
        .filter(|at| at.ip() == way.remote.ip() && at.port() != 0)
}

/// `Retry-After: 5 (comment);duration=3`.
fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}
