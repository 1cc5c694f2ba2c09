//! What the handset hears of the emojis, and what its display shows. The sound is made elsewhere: it takes milliseconds.

use std::time::{Duration, Instant};

use quartet_proto::e2ee::fingerprint::Emoji;

use super::member::{Member, Phase};
use super::{Action, Call, Script, State, VerifyOutput};
use crate::cdr::{By, Cause, Direction};
use crate::ivr::script;
use crate::ivr::sound::Clip;
use crate::media::{LegKey, MediaCommand, PlayKey};

/// What is spoken again is not begun again before this.
const PAUSE: Duration = Duration::from_secs(1);

/// The making of announcements.
#[derive(Debug, Default)]
pub(super) struct Speech {
    /// Its sound is being made elsewhere.
    is_being_made: bool,
    /// What is to be made after that.
    next: Option<Script>,
    /// When the last one was asked for.
    began: Option<Instant>,
}

impl Call {
    /// The sound of something to be spoken to this leg was made, or (`None`) could not be.
    ///
    /// What could not be made counts as not heard. If something else was asked for meanwhile, that is made instead.
    pub fn handle_sound(&mut self, now: Instant, leg: LegKey, play: PlayKey, clips: Option<Vec<Clip>>) {
        self.speech.is_being_made = false;
        // What is asked for once more is what has just been made.
        if let Some(next) = self.speech.next.take().filter(|next| !is_repetition(*next)) {
            self.speak(now, next);
        } else if self.play == Some(play) {
            let is_heard = !matches!(self.state, State::Ended(_)) || self.is_farewell(play);
            match clips {
                Some(clips) if is_heard => {
                    let play = MediaCommand::Play { leg, play, clips };
                    self.actions.push_back(Action::Media(play));
                }
                Some(_) => {}
                None => {
                    self.play = None;
                    if self.state == State::Talking {
                        self.verify.handle_unheard();
                    }
                    self.on_farewell_said(now, play);
                }
            }
        }
        self.follow_verify(now);
    }

    /// Whether somebody in it is reached end-to-end encrypted.
    pub(super) fn has_user(&self) -> bool {
        self.in_call().any(|member| member.leg.is_user())
    }

    /// A key was pressed: the other side gets it, and the question of the emojis if it was asked here.
    pub(super) fn on_key(&mut self, now: Instant, key: LegKey, digit: char, forwarded: bool) {
        // Who only rings has no part in the call yet: not in what is said in it, and not in whether the emojis are the same.
        let takes_part = |member: &&Member| key == self.caller() || member.phase != Phase::Pending;
        let Some(member) = self.in_call().find(|member| member.key() == key).filter(takes_part) else {
            return;
        };
        let is_phone = member.leg.phone().is_some();
        let partner = self.in_call().map(Member::key).find(|leg| *leg != key);
        if let Some(leg) = partner.filter(|_| !forwarded && self.state == State::Talking) {
            self.actions
                .push_back(Action::Media(MediaCommand::SendDtmf { leg, digit }));
        }
        // What the far end's person types says nothing of what is heard here; between phones there is nothing to compare.
        if is_phone && self.has_user() {
            self.verify.handle_digit(now, digit);
            self.follow_verify(now);
        }
    }

    /// Does what the verification wants, and tells who has to know of it.
    pub(super) fn follow_verify(&mut self, now: Instant) {
        while let Some(output) = self.verify.poll_output() {
            match output {
                VerifyOutput::Speak(say) => self.speak(now, say),
                VerifyOutput::Mismatch => {
                    tracing::warn!("the person at the handset says that the emojis differ: call ended");
                    self.end(now, Cause::Mismatch, self.phone_side());
                }
            }
        }
        self.tell_state(now);
        self.note_running(now);
    }

    /// The side with the handset.
    fn phone_side(&self) -> By {
        match self.parties.direction {
            Direction::Outgoing => By::Caller,
            Direction::Incoming => By::Callee,
        }
    }

    /// Has something spoken to the handset.
    ///
    /// Keys may be pressed thousands of times a second (INFO): one announcement of a call is made at a time, of those asked
    /// for meanwhile only the last, and words are repeated once a second.
    fn speak(&mut self, now: Instant, say: Script) {
        if self.speech.is_being_made {
            self.speech.next = Some(say);
            return;
        }
        let is_early = self
            .speech
            .began
            .is_some_and(|at| now.saturating_duration_since(at) < PAUSE);
        if is_repetition(say) && is_early && self.play.is_some() {
            return;
        }
        let (Some(leg), Some(emojis)) = (self.handset(), self.emojis()) else {
            return;
        };
        let script = match say {
            Script::Announcement => script::announcement(emojis),
            Script::Repeat => script::repeat(emojis),
            Script::Question => script::confirm(emojis),
            Script::QuestionAgain => script::confirm_again(emojis),
            Script::Verified => script::verified(),
            Script::NotVerified => script::not_verified(),
            Script::Invalid => script::invalid_choice(),
        };
        self.speech.is_being_made = true;
        self.say(now, leg, script);
    }

    /// Has a script made and played to a handset, in its language, in place of what it hears now.
    pub(super) fn say(&mut self, now: Instant, leg: LegKey, script: Vec<script::Line>) -> PlayKey {
        self.plays += 1;
        let play = PlayKey(self.plays);
        self.play = Some(play);
        self.speech.began = Some(now);
        let member = self.members.iter().find(|member| member.key() == leg);
        let language = member
            .and_then(|member| member.leg.language())
            .unwrap_or_default()
            .to_owned();
        self.actions.push_back(Action::Speak {
            leg,
            play,
            script,
            language,
        });
        play
    }
}

/// Whether it is what a key asks for again and again.
fn is_repetition(script: Script) -> bool {
    match script {
        Script::Repeat | Script::QuestionAgain | Script::Invalid => true,
        Script::Announcement | Script::Question | Script::Verified | Script::NotVerified => false,
    }
}

/// What a phone's display shows: the emojis, and their words for displays that have no pictures.
pub(super) fn display_of(emojis: &[Emoji; 4]) -> String {
    let symbols: String = emojis.iter().map(|e| e.symbol()).collect();
    let words = emojis.iter().map(|e| e.word()).collect::<Vec<_>>().join(", ");
    format!("{symbols} {words}")
}
