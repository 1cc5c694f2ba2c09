//! What is said before anybody takes a call: that it rings, and what there is to be heard (early media).

use quartet_proto::sip::SipCommand;

use super::{SipLeg, State};
use crate::call::LegEvent;

impl SipLeg {
    /// The phone rings, or there is something to be heard of it before anybody takes the call (RFC 3960).
    pub(super) fn on_progress(&mut self, status: u16, body: Option<&[u8]>) {
        let State::Calling { offer } = &self.state else { return };
        let offer = offer.clone();
        if let Some(body) = body {
            // It may be said again and again.
            if self.early_body == body {
                return;
            }
            self.early_body = body.to_vec();
        }
        // What cannot be heard is nothing that the call ends for.
        match body.and_then(|body| self.accept(&offer, Some(body)).ok()) {
            Some(agreed) => {
                self.agree(agreed);
                self.events.push_back(LegEvent::Early);
            }
            None if status >= 180 => self.events.push_back(LegEvent::Ringing),
            None => {}
        }
    }

    /// Answers the phone's offer before anybody takes its call; the answer is the same then (RFC 3261 §13.2.1).
    pub(super) fn answer_early(&mut self) {
        let State::Waiting { offer: Some(offer) } = &self.state else {
            return self.tell_progress(180);
        };
        let offer = offer.clone();
        let Some(lines) = self.shown_lines() else {
            // As soon as our transport has said where it is.
            self.is_early = true;
            return self.tell_progress(180);
        };
        self.is_early = false;
        let Ok(answered) = self.answer_to(&offer, &lines) else {
            return self.tell_progress(180);
        };
        self.note_used(&offer);
        self.agree(answered.agreed);
        let body = Some(self.describe(answered.description).to_bytes());
        let (dialog, status) = (self.dialog, 183);
        self.sip(SipCommand::Ring { dialog, status, body });
    }

    /// A provisional response, as long as the phone waits (RFC 3261 §21.1).
    pub(super) fn tell_progress(&mut self, status: u16) {
        if let State::Waiting { .. } = self.state {
            let (dialog, body) = (self.dialog, None);
            self.sip(SipCommand::Ring { dialog, status, body });
        }
    }
}
