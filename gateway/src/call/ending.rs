//! How a call ends, and how a member of it does while the others go on.

use std::time::Instant;

use super::member::{Member, Phase};
use super::{Action, CLOSING, Call, LegCommand, State};
use crate::cdr::{By, Cause, Record};
use crate::media::{LegKey, MediaCommand};

impl Call {
    pub(super) fn on_ended(&mut self, now: Instant, key: LegKey, cause: Cause) {
        // Whoever hangs up before both hear each other has not been talking.
        let talked = self.state == State::Talking;
        let cause = match (cause, key == self.caller()) {
            (Cause::Answered | Cause::Hangup, false) if !talked => Cause::Abandoned,
            (Cause::Answered, true) if !talked => Cause::Hangup,
            (cause, _) => cause,
        };
        let is_replacement = self
            .members
            .iter()
            .any(|member| member.key() == key && member.replaces.is_some());
        if is_replacement {
            return self.on_replacement_ended(now, key, cause);
        }
        if self.leaves(now, key) {
            return;
        }
        let waiting = self.callee().is_none() && key != self.caller();
        if !waiting {
            self.forget_waiting(key);
            return self.end(now, cause, self.ended_by(key, cause));
        }
        self.refusal = Some(Cause::best_response(self.refusal, cause));
        self.drop_member(key);
        if self.in_call().count() == 1 {
            let cause = self.refusal.unwrap_or(cause);
            self.end(now, cause, self.ended_by(key, cause));
        }
    }

    /// Who has ended a call that one of its legs ended.
    fn ended_by(&self, key: LegKey, cause: Cause) -> By {
        cause.by(if key == self.caller() { By::Caller } else { By::Callee })
    }

    pub(super) fn end(&mut self, now: Instant, cause: Cause, by: By) {
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        let record = self.record(now, cause, by);
        self.end_with(now, cause, record);
    }

    pub(super) fn end_with(&mut self, now: Instant, cause: Cause, record: Record<Instant>) {
        self.state = State::Ended(cause);
        self.deadline = Some(now + CLOSING);
        let keys: Vec<_> = self.running().map(Member::key).collect();
        for key in keys {
            if !self.bids_farewell(now, key, cause) {
                self.end_member(now, key, cause);
            }
        }
        self.waiting.end();
        self.actions.push_back(Action::Record(Box::new(record)));
    }

    /// Ends a member by our own will.
    pub(super) fn end_member(&mut self, now: Instant, key: LegKey, cause: Cause) {
        self.tell(now, key, LegCommand::End(cause));
        self.drop_member(key);
    }

    /// A member is over: its media is closed, and it goes once that is done.
    pub(super) fn drop_member(&mut self, key: LegKey) {
        self.collect();
        if let Some(member) = self.member_mut(key).filter(|member| member.is_running()) {
            member.phase = Phase::Ended;
            if member.is_media_open {
                let leg = member.key();
                self.actions.push_back(Action::Media(MediaCommand::Close { leg }));
            }
        }
        self.drop_ended();
    }

    /// Forgets members that are over and closed, while the call goes on without them.
    pub(super) fn drop_ended(&mut self) {
        if !matches!(self.state, State::Ended(_)) {
            // Whoever left before it was replaced keeps its place until then.
            let kept = self.transfer.as_ref().map(|transfer| transfer.old);
            self.members
                .retain(|member| member.is_running() || member.is_media_open || Some(member.key()) == kept);
        }
    }
}
