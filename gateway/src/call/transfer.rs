//! One leg of a call takes the place of another: a transfer, blind (somebody is called) or attended (somebody is there already).

use std::time::Instant;

use super::announce::display_of;
use super::member::{Member, Phase};
use super::{Call, Leg, LegCommand, State};
use crate::cdr::{By, Cause};
use crate::media::{LegKey, MediaCommand};

/// How often a call may be sent on: it might be sent round and round.
const MAX_REDIRECTS: usize = 5;

/// A leg that was in another call.
#[derive(Debug)]
pub struct Released(Member);

/// Who somebody is that was not in the call from its beginning.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    name: String,
    shown: Option<String>,
    is_private: bool,
}

/// A transfer that is being tried.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Whose place is taken; it need not wait for it.
    pub(super) old: LegKey,
    /// Who is called, for the record.
    to: String,
    /// Why those that were called did not take it, the best response.
    refusal: Option<Cause>,
}

/// Whom a leg talks with.
#[derive(Clone, Copy, Debug)]
pub struct Partner<'a> {
    /// Its leg.
    pub key: LegKey,
    /// Who called, or who was.
    pub name: &'a str,
    /// The account of its phone, or its trunk.
    pub phone: Option<&'a str>,
    /// The number that it shows in place of its own; empty: none.
    pub shown: Option<&'a str>,
    /// It is not to be known (RFC 3323).
    pub is_private: bool,
    /// Whether it is end-to-end encrypted.
    pub is_user: bool,
}

impl Call {
    /// Whom this leg talks with; none if nobody does, or if it is being transferred already.
    pub fn partner_of(&self, leg: LegKey) -> Option<Partner<'_>> {
        let is_it = |member: &&Member| member.key() == leg;
        if self.state != State::Talking || self.transfer.is_some() || !self.in_call().any(|member| is_it(&member)) {
            return None;
        }
        let other = self.in_call().find(|member| !is_it(member))?;
        Some(self.as_partner(other))
    }

    fn as_partner<'a>(&'a self, other: &'a Member) -> Partner<'a> {
        let parties = &self.parties;
        let (name, shown, is_private) = match &other.identity {
            Some(other) => (other.name.as_str(), other.shown.as_deref(), other.is_private),
            None if other.key() == self.caller() => (&*parties.from, parties.shown.as_deref(), parties.is_private),
            None => (&*parties.to, None, false),
        };
        Partner {
            key: other.key(),
            name,
            phone: other.leg.phone(),
            shown,
            is_private: is_private || shown == Some(""),
            is_user: other.leg.is_user(),
        }
    }

    /// The account of a phone that is called, if it may send the call on now, and who calls.
    pub fn redirects(&self, leg: LegKey) -> Option<(&str, Partner<'_>)> {
        let member = self.in_call().find(|member| member.key() == leg)?;
        let may = self.state == State::Ringing && self.redirects.len() < MAX_REDIRECTS && leg != self.caller();
        let caller = self.in_call().find(|member| member.key() == self.caller())?;
        let partner = self.as_partner(caller);
        member.leg.phone().filter(|_| may).map(|account| (account, partner))
    }

    /// Whether a phone has sent the call to this number already: another contact of it, or another phone, does so too.
    pub fn was_redirected(&self, number: &str) -> bool {
        self.redirects.iter().any(|known| known == number)
    }

    /// Calls others as well, who are at this number.
    pub fn fork(&mut self, now: Instant, number: &str, legs: Vec<Leg>) {
        self.redirects.push(number.to_owned());
        self.call_more(now, legs, None);
    }

    /// Calls others, the first of whom that takes it gets the place of `old`, which [`partner_of`](Self::partner_of) knows.
    ///
    /// The call goes on as it was until the new leg hears and is heard; then `old` is over, and the announcement is made
    /// anew. If nobody takes it, `old` stays, or the call ends if it has left meanwhile.
    pub fn transfer(&mut self, now: Instant, old: LegKey, to: String, legs: Vec<Leg>) {
        let identity = Identity {
            name: to.clone(),
            shown: None,
            is_private: false,
        };
        self.transfer = Some(Transfer { old, to, refusal: None });
        self.call_more(now, legs, Some((old, identity)));
    }

    /// They may ring as long as those with whom the call began.
    fn call_more(&mut self, now: Instant, legs: Vec<Leg>, replaces: Option<(LegKey, Identity)>) {
        let members = legs.into_iter().map(|leg| Member {
            replaces: replaces.as_ref().map(|(old, _)| *old),
            identity: replaces.as_ref().map(|(_, identity)| identity.clone()),
            ..Member::new(&self.span, leg)
        });
        self.members.extend(members);
        self.deadline = Some(now + self.policy.ring_timeout);
        self.handle_legs(now);
    }

    /// Gives up a leg that goes on in another call; what is left of this one ends. None if it talks with nobody here.
    pub fn release(&mut self, now: Instant, leg: LegKey) -> Option<Released> {
        let by = match self.partner_of(leg)?.key == self.caller() {
            true => By::Caller,
            false => By::Callee,
        };
        let record = self.record(now, Cause::Transferred, by);
        let at = self.members.iter().position(|member| member.key() == leg)?;
        let known = self.as_partner(&self.members[at]);
        let identity = Identity {
            name: known.name.to_owned(),
            shown: known.shown.map(str::to_owned),
            is_private: known.is_private,
        };
        let mut member = self.members.remove(at);
        member.identity = Some(identity);
        self.actions
            .push_back(super::Action::Media(MediaCommand::Unbridge { a: leg }));
        self.end_with(now, Cause::Transferred, record);
        Some(Released(member))
    }

    /// Takes a leg of another call, of this name or number, in the place of `old`, which [`partner_of`](Self::partner_of) knows.
    pub fn adopt(&mut self, now: Instant, old: LegKey, to: String, Released(mut member): Released) {
        self.transfers.push(to);
        member.move_to(&self.span);
        let key = member.key();
        self.members.push(member);
        self.take_place(now, key, old);
        self.collect();
    }

    /// One of those that were called takes the call; the others stop ringing.
    pub(super) fn on_transfer_accepted(&mut self, now: Instant, key: LegKey) {
        self.deadline = Some(now + self.policy.connect_timeout);
        if let Some(member) = self.member_mut(key) {
            member.phase = Phase::Accepted;
        }
        for other in self.replacements().into_iter().filter(|other| *other != key) {
            self.end_member(now, other, Cause::Elsewhere);
        }
    }

    /// A member that is to replace another is connected.
    pub(super) fn on_replaced(&mut self, now: Instant, key: LegKey, old: LegKey) {
        self.transfers.extend(self.transfer.take().map(|transfer| transfer.to));
        self.deadline = None;
        self.tell(now, old, LegCommand::Transferred { status: 200 });
        self.take_place(now, key, old);
    }

    fn take_place(&mut self, now: Instant, key: LegKey, old: LegKey) {
        let place = |key| self.members.iter().position(|member| member.key() == key);
        let (Some(new_at), Some(old_at)) = (place(key), place(old)) else {
            return;
        };
        // It stands where the other stood: first, if that was the caller.
        self.members.swap(new_at, old_at);
        self.end_member(now, old, Cause::Transferred);
        if let Some(member) = self.member_mut(key) {
            (member.phase, member.replaces) = (Phase::Connected, None);
        }
        // Who was spoken to has left.
        self.play = None;
        let (caller, callee) = (self.caller(), self.callee());
        let Some(callee) = callee else { return };
        self.bridge(now, caller, callee);
        if let (Some(emojis), Some(handset)) = (self.emojis(), self.handset()) {
            let display = display_of(emojis);
            self.tell(now, handset, LegCommand::Show { display });
        }
    }

    /// Nobody is going to take the place of the leg that asked for it.
    pub(super) fn fail_transfer(&mut self, now: Instant, cause: Cause) {
        let Some(transfer) = self.transfer.take() else { return };
        self.deadline = None;
        for key in self.replacements() {
            self.end_member(now, key, cause);
        }
        let cause = Cause::best_response(transfer.refusal, cause);
        let status = cause.status();
        self.tell(now, transfer.old, LegCommand::Transferred { status });
        let is_there = self.running().any(|member| member.key() == transfer.old);
        if !is_there {
            self.end(now, cause, cause.by(By::Callee));
        }
    }

    /// One of those that were called does not take it.
    pub(super) fn on_replacement_ended(&mut self, now: Instant, key: LegKey, cause: Cause) {
        self.drop_member(key);
        let is_last = self.replacements().is_empty();
        if let Some(transfer) = &mut self.transfer {
            transfer.refusal = Some(Cause::best_response(transfer.refusal, cause));
            if is_last {
                self.fail_transfer(now, cause);
            }
        }
    }

    /// Whoever asked to be replaced need not wait for it: true if it is this one.
    pub(super) fn leaves(&mut self, now: Instant, key: LegKey) -> bool {
        let is_it = self.transfer.as_ref().is_some_and(|transfer| transfer.old == key);
        if is_it {
            self.drop_member(key);
            self.follow_verify(now);
        }
        is_it
    }

    /// Those that are called to take another's place.
    fn replacements(&self) -> Vec<LegKey> {
        let called = self.running().filter(|member| member.replaces.is_some());
        called.map(Member::key).collect()
    }
}
