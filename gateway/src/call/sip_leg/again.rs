//! Offers within the dialog: hold, resume, another address, codec or way for media.

use quartet_proto::sdp::{Answered, SessionDescription};
use quartet_proto::sip::SipCommand;

use super::describe::has_candidate;
use super::{SipLeg, State};
use crate::cdr::Cause;

impl SipLeg {
    /// The phone changes the session: hold, resume, another address or codec.
    pub(super) fn on_reinvite(&mut self, body: Option<&[u8]>) {
        let lines = self.shown_lines().unwrap_or_default();
        let offer = body.and_then(|body| SessionDescription::parse(body).ok());
        let answered = match (&offer, body) {
            (Some(offer), _) => self.answer_to(offer, &lines),
            (None, Some(_)) => Err(Cause::Description),
            (None, None) => {
                let ours = self.offer(&lines);
                self.accept_again(&ours);
                self.state = State::Answered { ours: Some(ours) };
                return;
            }
        };
        match (answered, offer) {
            (Ok(answered), Some(offer)) if self.is_restart(&answered.agreed) => {
                // Our transport has new credentials for new ones.
                self.agree(answered.agreed);
                self.state = State::Restarting { offer };
                // It may have begun by itself.
                self.answer_restart();
            }
            (answered, offer) => self.answer_again(offer.as_ref(), answered),
        }
    }

    /// Our transport looks for another way by itself: the phone is told, and does so too.
    pub(super) fn offer_restart(&mut self) {
        if self.next.as_deref().is_some_and(has_candidate) && self.offered.is_none() {
            self.offer_again();
        }
    }

    /// Offers what we have, as before or in another generation of ICE.
    pub(super) fn offer_again(&mut self) {
        if !matches!(self.state, State::Confirmed) {
            return;
        }
        self.take_next();
        if let Some(lines) = self.shown_lines() {
            let offer = self.offer(&lines);
            let (dialog, body) = (self.dialog, offer.to_bytes());
            self.offered = Some(offer);
            self.sip(SipCommand::Reinvite { dialog, body });
        }
    }

    /// The phone took our offer.
    pub(super) fn on_reaccepted(&mut self, body: Option<&[u8]>) {
        // One that says nothing changes nothing.
        let answered = self.offered.take().zip(body);
        match answered.map(|(offer, body)| self.accept(&offer, Some(body))) {
            Some(Ok(agreed)) => self.agree(agreed),
            Some(Err(cause)) => self.fail(cause),
            None => {}
        }
    }

    /// Our transport has said where it is now.
    pub(super) fn answer_restart(&mut self) {
        if !self.take_next() {
            return;
        }
        let Some(lines) = self.shown_lines() else { return };
        if let State::Restarting { offer } = std::mem::replace(&mut self.state, State::Confirmed) {
            let answered = self.answer_to(&offer, &lines);
            self.answer_again(Some(&offer), answered);
        }
    }

    /// A 2xx within the dialog, with this description of ours.
    fn accept_again(&mut self, ours: &SessionDescription) {
        self.sip(SipCommand::Accept {
            dialog: self.dialog,
            body: Some(ours.to_bytes()),
            identity: None,
            headers: self.headers(),
        });
    }

    /// Answers an offer within the dialog.
    fn answer_again(&mut self, offer: Option<&SessionDescription>, answered: Result<Answered, Cause>) {
        match answered {
            Ok(answered) => {
                offer.iter().for_each(|offer| self.note_used(offer));
                self.agree(answered.agreed);
                let ours = self.describe(answered.description);
                self.accept_again(&ours);
            }
            // The session stays as it was (RFC 3261 §14.2).
            Err(cause) => self.sip(SipCommand::Reject {
                dialog: self.dialog,
                status: cause.status(),
                reason: Some(cause.reason()),
                retry_after: None,
            }),
        }
    }
}
