//! A phone connects the one it talks with with somebody else: it names a number, or another call of its own. Or it sends a call on
//! that it does not take.

use std::time::Instant;

use quartet_proto::sip::{DialogKey, ReferTo, SipCommand, SipEvent};

use super::Exchange;
use super::admit::TOO_MANY;
use super::legs::{CallingParty, Legs};
use crate::call::{CallKey, Partner};
use crate::cdr::{Cause, Direction};
use crate::config::Redirects;
use crate::log::Redacted;
use crate::media::LegKey;
use crate::networks::CallerDetails;
use crate::route::{Destination, Origin};

/// What is to be done, once its phone has been told that it is.
enum Transfer {
    /// These are called, at this number.
    Blind(String, Legs),
    /// This leg of another call takes the place of that one.
    Attended { moved: LegKey, name: String, old: LegKey },
}

impl Exchange {
    /// A phone wants to be replaced in its call.
    pub(super) fn on_refer(&mut self, now: Instant, dialog: DialogKey, account: Option<&str>, to: ReferTo) {
        let leg = self.by_dialog.get(&dialog).copied();
        let Some((leg, call)) = leg.and_then(|leg| Some((leg, *self.by_leg.get(&leg)?))) else {
            // Its call is over here.
            let (status, reason) = (481, None);
            return self.tell_phone(now, SipCommand::AnswerRefer { dialog, status, reason });
        };
        let found = match (account, to) {
            _ if self.stopping => Err(Cause::Stopped),
            // Behind a trunk is an exchange that transfers by itself.
            (None, _) => Err(Cause::Forbidden),
            // Its call goes on, but it places no other.
            (Some(account), _) if self.phone(account).is_none() => Err(Cause::Forbidden),
            (Some(account), ReferTo::Number(number)) => self.transfer_to(now, leg, account, &number),
            (Some(_), ReferTo::Dialog(other)) => self.transfer_between(leg, other),
        };
        let (status, reason, cause) = match &found {
            Ok(_) => (202, None, None),
            Err(cause) => (cause.status(), Some(cause.reason()), Some(cause.word())),
        };
        tracing::info!(%call, account = %Redacted(account.unwrap_or_default()), cause, "transfer");
        self.tell_phone(now, SipCommand::AnswerRefer { dialog, status, reason });
        match found {
            Ok(Transfer::Blind(number, legs)) => self.begin_transfer(now, call, leg, (number, legs)),
            Ok(Transfer::Attended { moved, name, old }) => self.join(now, dialog, (moved, name), old),
            Err(_) => {}
        }
    }

    /// Those who are called by a transfer to a number.
    fn transfer_to(&mut self, now: Instant, leg: LegKey, account: &str, number: &str) -> Result<Transfer, Cause> {
        let (call, partner) = self.partner(leg)?;
        let legs = self.legs_to((now, call), partner, account, number)?;
        Ok(Transfer::Blind(number.to_owned(), legs))
    }

    /// A phone that rings may say that the call is to go to somebody else (3xx, RFC 3261 §8.1.3.4): they ring before it is taken for refused.
    pub(super) fn follow_redirect(&mut self, now: Instant, leg: LegKey, event: &SipEvent) {
        if let SipEvent::Rejected {
            redirect: Some(number), ..
        } = event
            && let Some(call) = self.by_leg.get(&leg).copied()
        {
            self.redirect(now, call, leg, number);
        }
    }

    fn redirect(&mut self, now: Instant, call: CallKey, leg: LegKey, number: &str) {
        let found = self.redirected(now, call, leg, number);
        let cause = found.as_ref().err().map(|cause| cause.word());
        tracing::info!(%call, to = %Redacted(number), cause, "redirected");
        if let Ok(legs) = found {
            let legs = self.index_legs(call, legs);
            if let Some(ringing) = self.calls.get_mut(&call) {
                ringing.fork(now, number, legs);
            }
        }
    }

    fn redirected(&mut self, now: Instant, call: CallKey, leg: LegKey, number: &str) -> Result<Legs, Cause> {
        if self.settings.call.redirects == Redirects::Refuse || self.stopping {
            return Err(Cause::Forbidden);
        }
        let ringing = self.calls.get(&call).ok_or(Cause::Unknown)?;
        let (account, caller) = ringing.redirects(leg).ok_or(Cause::Forbidden)?;
        // Where a trunk sends its calls is its own affair.
        let account = self.phone(account).ok_or(Cause::Forbidden)?.user;
        if ringing.was_redirected(number) {
            return Err(Cause::Busy);
        }
        let mut caller = self.known(&caller);
        // Those that ring already do so once.
        caller.phones.extend(ringing.phones().map(str::to_owned));
        self.legs_to((now, call), caller, &account, number)
    }

    /// Where a call of this phone would go.
    pub(super) fn route_of(&self, account: &str, number: &str) -> Result<Destination, Cause> {
        let phone = Origin::Phone(account.to_owned());
        let found = self.routes.find(&phone, &[account], number);
        found.map_err(|_| Cause::Unknown)
    }

    /// Those who are called where a call of this phone would go.
    fn legs_to(
        &mut self,
        (now, call): (Instant, CallKey),
        mut caller: CallingParty,
        account: &str,
        number: &str,
    ) -> Result<Legs, Cause> {
        let destination = self.route_of(account, number)?;
        if !self.limits.take_caller(now, Direction::Outgoing, account) {
            return Err(TOO_MANY);
        }
        caller.phones.push(account.to_owned());
        self.callees((now, call), &caller, (Direction::Outgoing, account), &destination)
    }

    /// Which leg of two calls of one phone goes to the other call: the one with a user stays as it is.
    fn transfer_between(&self, leg: LegKey, other: DialogKey) -> Result<Transfer, Cause> {
        let other = *self.by_dialog.get(&other).ok_or(Cause::Unknown)?;
        let (_, here) = self.partner(leg)?;
        let (_, there) = self.partner(other)?;
        if self.by_leg.get(&leg) == self.by_leg.get(&other) {
            return Err(Cause::Forbidden);
        }
        let (moved, old) = match (here.is_user, there.is_user) {
            (true, true) => return Err(Cause::Declined),
            (false, true) => (here, other),
            (true | false, false) => (there, leg),
        };
        Ok(Transfer::Attended {
            moved: moved.leg.ok_or(Cause::Unknown)?,
            name: moved.shown().to_owned(),
            old,
        })
    }

    fn begin_transfer(&mut self, now: Instant, call: CallKey, old: LegKey, (number, legs): (String, Legs)) {
        let legs = self.index_legs(call, legs);
        if let Some(standing) = self.calls.get_mut(&call) {
            standing.transfer(now, old, number, legs);
        }
        self.run_actions(now, call);
    }

    /// Moves a leg into the place of one of another call, and ends what is left of its own.
    fn join(&mut self, now: Instant, dialog: DialogKey, (moved, name): (LegKey, String), old: LegKey) {
        let (Some(from), Some(to)) = (self.by_leg.get(&moved).copied(), self.by_leg.get(&old).copied()) else {
            return;
        };
        self.tell_phone(now, SipCommand::NotifyRefer { dialog, status: 200 });
        let released = self.calls.get_mut(&from).and_then(|call| call.release(now, moved));
        if let (Some(released), Some(call)) = (released, self.calls.get_mut(&to)) {
            self.by_leg.insert(moved, to);
            let legs = self.legs.entry(from).or_default();
            if let Some(at) = legs.iter().position(|(leg, _)| *leg == moved) {
                let indexed = legs.remove(at);
                self.legs.entry(to).or_default().push(indexed);
            }
            call.adopt(now, old, name, released);
        }
        self.run_actions(now, from);
        self.run_actions(now, to);
    }

    /// Whom this leg talks with, if it can be transferred now.
    pub(super) fn partner(&self, leg: LegKey) -> Result<(CallKey, CallingParty), Cause> {
        let key = *self.by_leg.get(&leg).ok_or(Cause::Unknown)?;
        let call = self.calls.get(&key).ok_or(Cause::Unknown)?;
        let partner = call.partner_of(leg).ok_or(Cause::Busy)?;
        Ok((key, self.known(&partner)))
    }

    /// How somebody who is in a call is shown to others.
    fn known(&self, partner: &Partner<'_>) -> CallingParty {
        // Who is behind a trunk has a number, and no account here.
        let phone = partner.phone.filter(|user| self.phone(user).is_some());
        let number = partner.shown.filter(|shown| !shown.is_empty()).or(phone);
        CallingParty {
            leg: Some(partner.key),
            number: number.unwrap_or(partner.name).to_owned(),
            details: CallerDetails::default(),
            is_private: partner.is_private,
            is_user: partner.is_user,
            phones: phone.map(str::to_owned).into_iter().collect(),
        }
    }
}
