//! Ending by the TU: CANCEL, BYE, or a refusal, whatever fits; and INFO, the other request of ours within a dialog.

use std::time::Instant;

use super::Endpoint;
use super::callee::reason_field;
use super::session_timer::asked_fields;
use crate::sip::NameAddr;
use crate::sip::command::Reason;
use crate::sip::dialog::State;
use crate::sip::message::{Method, Response};
use crate::sip::timers::{Owner, TRANSACTION_TIMEOUT, Timer};
use crate::sip::transaction::{ClientMachine, Purpose};
use crate::sip::{DialogKey, SipError, SipEvent};

impl Endpoint {
    /// The TU hangs up.
    pub(super) fn hangup(&mut self, now: Instant, key: DialogKey, reason: Option<Reason>) -> Result<(), SipError> {
        let dialog = self.dialogs.get_mut(key).ok_or(SipError::UnknownDialog)?;
        let (invite, tag) = (dialog.invite, dialog.local_tag.clone());
        match dialog.state {
            State::Proceeding => {
                let extra = reason.as_ref().map(reason_field).into_iter().collect();
                if let Some(id) = invite {
                    self.respond_extra(now, id, (480, None), &tag, extra);
                }
                self.drop_dialog(key);
                self.events.push_back(SipEvent::Ended { dialog: key });
            }
            // No BYE before the ACK, RFC 3261 §15.
            State::Accepted => dialog.hangup = Some(reason),
            State::Calling => {
                dialog.state = State::Cancelling;
                if let Some(transaction) = invite.and_then(|id| self.client_transactions.get_mut(id)) {
                    transaction.cancel = Some(reason);
                }
                if let Some(id) = invite {
                    self.send_cancel(now, id, key);
                }
            }
            State::AwaitingAnswer => {
                self.send_ack(key, None);
                self.bye(now, key, reason.as_ref());
            }
            State::Confirmed => {
                if let Some(id) = invite {
                    self.respond(now, id, 487, &tag);
                }
                self.bye(now, key, reason.as_ref());
            }
            State::Cancelling | State::Ending => {}
        }
        Ok(())
    }

    /// Sends the CANCEL that waits for a provisional response, if that has come. RFC 3261 §9.1.
    pub(super) fn send_cancel(&mut self, now: Instant, id: u64, key: DialogKey) {
        let Some(transaction) = self.client_transactions.get_mut(id) else {
            return;
        };
        let proceeding = matches!(&transaction.machine, ClientMachine::Invite(m) if m.is_proceeding());
        let Some(reason) = transaction
            .cancel
            .clone()
            .filter(|_| proceeding && !transaction.cancel_sent)
        else {
            return;
        };
        let extra = reason.as_ref().map(reason_field).into_iter().collect();
        self.cancel(now, id, extra);
        self.timers
            .set(now + TRANSACTION_TIMEOUT, Owner::Dialog(key), Timer::Cancel);
    }

    /// The same for an INVITE that is given up, whose dialog has another.
    pub(super) fn cancel_abandoned(&mut self, now: Instant, id: u64) {
        if self
            .client_transactions
            .get(id)
            .is_some_and(|invite| !invite.cancel_sent)
        {
            self.cancel(now, id, Vec::new());
            // Who said that it tries, and then nothing: RFC 3261 §9.1.
            self.timers
                .set(now + TRANSACTION_TIMEOUT, Owner::Client(id), Timer::Cancel);
        }
    }

    fn cancel(&mut self, now: Instant, id: u64, extra: Vec<(&'static str, String)>) {
        let Some(transaction) = self.client_transactions.get_mut(id) else {
            return;
        };
        transaction.cancel_sent = true;
        let cancel = transaction
            .request
            .sibling(Method::Cancel, &transaction.request.to, extra);
        let branch = transaction.branch.clone();
        self.start_on(now, cancel, branch, Purpose::Cancel);
    }

    /// Ends a dialog that both ends know.
    pub(super) fn bye(&mut self, now: Instant, key: DialogKey, reason: Option<&Reason>) {
        self.send_bye(now, key, reason, Purpose::Bye(key));
    }

    /// Ends a dialog whose peer is gone. It may be there all the same, and only not have been reached.
    pub(super) fn give_up(&mut self, now: Instant, key: DialogKey, reason: Option<&Reason>) {
        self.refuse_open(now, key);
        self.send_bye(now, key, reason, Purpose::StrayBye);
        self.lose(key);
    }

    /// Answers the peer's INVITE that is open in a dialog that is over.
    fn refuse_open(&mut self, now: Instant, key: DialogKey) {
        let dialog = self.dialogs.get(key);
        if let Some((id, tag)) = dialog.and_then(|dialog| Some((dialog.invite?, dialog.local_tag.clone()))) {
            self.respond(now, id, 481, &tag);
        }
    }

    fn lose(&mut self, key: DialogKey) {
        self.drop_dialog(key);
        self.events.push_back(SipEvent::Lost { dialog: key });
    }

    fn send_bye(&mut self, now: Instant, key: DialogKey, reason: Option<&Reason>, purpose: Purpose) {
        self.timers.clear_all(Owner::Dialog(key));
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        (dialog.state, dialog.invite, dialog.unacknowledged) = (State::Ending, None, None);
        let bye = dialog.request(Method::Bye, reason.map(reason_field).into_iter().collect());
        let credentials = dialog.credentials.clone();
        if self.start(now, bye.clone(), purpose, credentials, 0).is_err() {
            // No room to wait for the response: sent once.
            self.send_once(bye);
            if purpose == Purpose::Bye(key) {
                self.ended(key);
            }
        }
    }

    /// A response to our BYE; any final one ends the dialog.
    pub(super) fn on_bye_response(&mut self, now: Instant, id: u64, key: DialogKey, response: &Response) {
        if response.status < 200 || self.retry(now, id, response).is_some() {
            return;
        }
        self.ended(key);
    }

    /// The dialog the TU hung up is gone.
    pub(super) fn ended(&mut self, key: DialogKey) {
        if self.dialogs.contains(key) {
            self.drop_dialog(key);
            self.events.push_back(SipEvent::Ended { dialog: key });
        }
    }

    /// Sends a request within a confirmed dialog; gives its transaction.
    pub(super) fn send_in_dialog(
        &mut self,
        now: Instant,
        key: DialogKey,
        (method, purpose): (Method, Purpose),
        extra: Vec<(&'static str, String)>,
        body: Option<(String, Vec<u8>)>,
    ) -> Result<u64, SipError> {
        let dialog = self.dialogs.get_mut(key).ok_or(SipError::UnknownDialog)?;
        if dialog.state != State::Confirmed {
            return Err(SipError::WrongState(dialog.state.name()));
        }
        let mut request = dialog.request(method, extra);
        request.body = body;
        let credentials = dialog.credentials.clone();
        self.start(now, request, purpose, credentials, 0)
    }

    /// The TU: UPDATE with another identity and no description, so that nothing of the session changes.
    pub(super) fn show(&mut self, now: Instant, key: DialogKey, identity: &NameAddr) -> Result<(), SipError> {
        let dialog = self.dialogs.get(key).ok_or(SipError::UnknownDialog)?;
        if dialog.state == State::Confirmed && !dialog.allows_update {
            return Ok(());
        }
        let contact = self.contact_in(key, dialog.peer);
        let mut extra = vec![("Contact", contact), ("P-Asserted-Identity", identity.to_string())];
        // An UPDATE that says nothing of the timer would end it (RFC 4028 §7.4).
        if dialog.session.is_some() {
            extra.extend(asked_fields(dialog.session));
        }
        self.send_in_dialog(now, key, (Method::Update, Purpose::Show(key)), extra, None)
            .map(drop)
    }

    /// A response to our INFO or OPTIONS: the peer may have forgotten the dialog, or be gone. RFC 3261 §12.2.1.2.
    pub(super) fn on_in_dialog_response(&mut self, now: Instant, key: DialogKey, status: u16) {
        let is_live = self.dialogs.get(key).is_some_and(|d| d.state == State::Confirmed);
        match status {
            408 if is_live => self.give_up(now, key, None),
            481 if is_live => {
                self.refuse_open(now, key);
                self.lose(key);
            }
            _ => {}
        }
    }
}
