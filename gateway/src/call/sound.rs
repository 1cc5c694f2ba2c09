//! What the two sides tell each other of their sound: who is muted, and who hears the words.

use std::time::Instant;

use quartet_proto::e2ee::MediaState;

use super::leg::LegCommand;
use super::{Call, Member, State};

/// The sound of a call, as it is told.
#[derive(Debug, Default)]
pub(super) struct Sound {
    /// What the E2EE user's side was last told of ours.
    told: MediaState,
    /// What it says of its own.
    pub(super) theirs: MediaState,
}

impl Call {
    /// Tells the E2EE user's side of our sound, if it has changed: nothing is heard of a phone that holds, or that hears the words.
    pub(super) fn tell_state(&mut self, now: Instant) {
        let handset = self.in_call().find_map(|member| member.leg.language());
        let spoken = handset.filter(|_| self.play.is_some()).map(str::to_owned);
        let is_held = self.in_call().any(|member| member.leg.holds());
        let state = MediaState {
            muted: is_held || spoken.is_some(),
            spoken,
        };
        let user = self
            .in_call()
            .find(|member| member.leg.language().is_none())
            .map(Member::key);
        let (State::Talking, Some(user)) = (self.state, user) else {
            return;
        };
        if self.sound.told != state {
            self.sound.told = state.clone();
            self.tell(now, user, LegCommand::State(state));
        }
    }

    /// What the E2EE user's side says of its sound, and what it was told of ours.
    pub fn sound(&self) -> (&MediaState, &MediaState) {
        (&self.sound.theirs, &self.sound.told)
    }
}
