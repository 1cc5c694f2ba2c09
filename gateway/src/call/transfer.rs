//! One leg of a call takes the place of another: what a transfer is made of.

use std::time::Instant;

use super::member::{Member, Phase};
use super::{Call, Leg, State};
use crate::cdr::Cause;
use crate::media::LegKey;

impl Call {
    /// Puts another leg in the place of one; what a transfer will do, the tests alone do it so far. False if the two do not talk, or `old` is not one of them.
    ///
    /// The call goes on as it was until the new leg hears and is heard; then `old` is over, and the announcement is made
    /// anew. A new leg that ends before that changes nothing.
    pub fn replace(&mut self, now: Instant, old: LegKey, new: Leg) -> bool {
        let is_free = self.members.iter().all(|member| member.replaces.is_none());
        if self.state != State::Talking || !is_free || !self.in_call().any(|member| member.key() == old) {
            return false;
        }
        self.members.push(Member::new(&self.span, new, Some(old)));
        self.handle_legs(now);
        true
    }

    /// A member that is to replace another is connected.
    pub(super) fn on_replaced(&mut self, now: Instant, key: LegKey, old: LegKey) {
        let place = |key| self.members.iter().position(|member| member.key() == key);
        let (Some(new_at), Some(old_at)) = (place(key), place(old)) else {
            return;
        };
        // It stands where the other stood: first, if that was the caller.
        self.members.swap(new_at, old_at);
        self.end_member(now, old, Cause::Answered);
        if let Some(member) = self.member_mut(key) {
            (member.phase, member.replaces) = (Phase::Connected, None);
        }
        let (caller, callee) = (self.caller(), self.callee());
        if let Some(callee) = callee {
            self.bridge(now, caller, callee);
        }
    }
}
