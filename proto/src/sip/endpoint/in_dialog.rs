//! Requests of the peer within a dialog: BYE, re-INVITE, INFO, UPDATE, OPTIONS; REFER is in `refer`. RFC 3261 §12.2.2, §14.2, §15.1.2.

use std::time::Instant;

use super::receive::abilities;
use super::{ALLOW, Asked, Endpoint};
use crate::sip::dialog::{Dialog, State};
use crate::sip::message::{Method, Request, part_of, sdp_of};
use crate::sip::response::Head;
use crate::sip::transaction::Holder;
use crate::sip::{DialogKey, SipEvent, dtmf_info};

impl Endpoint {
    pub(super) fn on_in_dialog(&mut self, now: Instant, request: &Request, head: Head) {
        let Some(key) = self.dialogs.of(request) else {
            return self.respond_stateless(now, &head, 481, None, Vec::new());
        };
        if !self.is_from_peer(now, key, request, &head) || self.is_refused(now, request, &head) {
            return;
        }
        // A call can always be ended, once.
        let holder = Holder::Dialog(key);
        let ends = request.method == Method::Bye && self.dialogs.get(key).is_some_and(Dialog::ends_with_bye);
        if !ends && (self.is_overloaded(now, &head) || self.has_its_share(now, &head, &holder)) {
            return;
        }
        let offers = matches!(request.method, Method::Invite | Method::Update);
        let offer = sdp_of(&request.headers, &request.body).filter(|_| offers);
        // An UPDATE without one asks for nothing that another could cross.
        let may_cross = request.method == Method::Invite || offer.is_some();
        if (may_cross && self.is_crossed(now, key, &head))
            || (offers && self.is_body_refused(now, request, &head))
            || (offers && self.is_interval_refused(now, request, &head))
        {
            return;
        }
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        if !dialog.on_request(request, head.five_tuple) {
            return self.respond_stateless(now, &head, 500, Some("CSeq Out Of Order"), Vec::new());
        }
        let origin = head.origin;
        if std::mem::replace(&mut dialog.origin, origin).ip() != origin.ip() {
            self.events.push_back(SipEvent::Moved { dialog: key, origin });
        }
        match request.method {
            Method::Bye => self.on_bye(now, key, request, head),
            Method::Invite => self.on_reinvite(now, key, request, head, offer),
            Method::Update if offer.is_some() => self.on_reinvite(now, key, request, head, offer),
            Method::Info => self.on_info(now, key, request, head),
            Method::Refer => self.on_refer(now, key, request, head),
            Method::Update => {
                let contact = self.contact_in(key, head.five_tuple);
                let id = self.create_server_transaction(request, head, holder, None);
                let mut extra = vec![("Contact", contact), ("Allow", ALLOW.to_owned())];
                // A call that only rings has no session yet.
                if self
                    .dialogs
                    .get(key)
                    .is_some_and(|dialog| dialog.state == State::Confirmed)
                {
                    extra.extend(self.agree_session(now, key, Asked::of(&request.headers)));
                }
                self.respond_extra(now, id, (200, None), "", extra);
            }
            Method::Options => self.respond_stateless(now, &head, 200, None, abilities()),
            Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Subscribe
            | Method::Notify
            | Method::NotAllowed
            | Method::Unknown => {}
        }
    }

    /// A key, or something that we do not know and say so; an empty INFO only asks whether we are there (RFC 6086 §5).
    fn on_info(&mut self, now: Instant, key: DialogKey, request: &Request, head: Head) {
        let part = part_of(&request.headers, &request.body, dtmf_info::TYPES);
        let (digit, refusal) = match part {
            Ok(Some((kind, body))) => match dtmf_info::key(&kind, body) {
                Some(digit) => (Some(digit), None),
                None => (None, Some((400, Some("No Such Key"), Vec::new()))),
            },
            Ok(None) => (None, None),
            Err(_) => (None, Some((415, None, vec![("Accept", dtmf_info::TYPES.join(", "))]))),
        };
        let id = self.create_server_transaction(request, head, Holder::Dialog(key), None);
        let (status, reason, extra) = refusal.unwrap_or((200, None, Vec::new()));
        self.respond_extra(now, id, (status, reason), "", extra);
        if let Some(digit) = digit {
            self.events.push_back(SipEvent::Dtmf { dialog: key, digit });
        }
    }

    /// Refuses an INVITE that meets another one.
    fn is_crossed(&mut self, now: Instant, key: DialogKey, head: &Head) -> bool {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return false;
        };
        let (status, extra) = match dialog.state {
            State::Calling | State::Cancelling | State::AwaitingAnswer | State::Accepted => (491, Vec::new()),
            State::Ending => (481, Vec::new()),
            State::Proceeding | State::Confirmed if dialog.invite.is_some() => {
                let mut seconds = [0];
                self.rng.fill_bytes(&mut seconds);
                (500, vec![("Retry-After", (seconds[0] % 11).to_string())])
            }
            State::Confirmed if dialog.unacknowledged.is_some() || dialog.reinvite.is_some() => (491, Vec::new()),
            State::Proceeding | State::Confirmed => return false,
        };
        self.respond_stateless(now, head, status, None, extra);
        true
    }

    /// An offer within the dialog, by INVITE or by UPDATE (RFC 3311 §5.2), which the TU answers.
    fn on_reinvite(&mut self, now: Instant, key: DialogKey, request: &Request, head: Head, offer: Option<Vec<u8>>) {
        let id = self.create_server_transaction(request, head, Holder::Dialog(key), Some(key));
        if request.method == Method::Invite {
            self.respond(now, id, 100, "");
        }
        if let Some(dialog) = self.dialogs.get_mut(key) {
            (dialog.invite, dialog.asked) = (Some(id), Some(Asked::of(&request.headers)));
        }
        self.events.push_back(SipEvent::Reinvite {
            dialog: key,
            body: offer,
        });
    }

    fn on_bye(&mut self, now: Instant, key: DialogKey, request: &Request, head: Head) {
        let id = self.create_server_transaction(request, head, Holder::Dialog(key), None);
        self.respond(now, id, 200, "");
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        let (state, tag) = (dialog.state, dialog.local_tag.clone());
        let hung_up = dialog.hangup.is_some();
        // An INVITE of the peer that is still open ends with the dialog.
        let open = dialog
            .invite
            .filter(|_| matches!(state, State::Proceeding | State::Confirmed));
        if let Some(invite) = open {
            self.respond(now, invite, 487, &tag);
        }
        match state {
            // The response to our INVITE, or to our BYE, ends it.
            State::Calling | State::Cancelling | State::Ending => {}
            State::Proceeding => {
                self.drop_dialog(key);
                self.events.push_back(SipEvent::Cancelled { dialog: key });
            }
            State::Accepted | State::AwaitingAnswer | State::Confirmed => {
                self.drop_dialog(key);
                let reason = request.headers.get("Reason").map(str::to_owned);
                let event = if hung_up {
                    SipEvent::Ended { dialog: key }
                } else {
                    SipEvent::Bye { dialog: key, reason }
                };
                self.events.push_back(event);
            }
        }
    }
}
