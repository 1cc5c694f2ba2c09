//! What the handset hears of the emojis, and what its display shows. The sound is made elsewhere: it takes milliseconds.

use std::time::Instant;

use quartet_proto::e2ee::fingerprint::Emoji;

use super::{Action, Call, Script, State, VerifyOutput};
use crate::cdr::Cause;
use crate::ivr::script;
use crate::media::PlayKey;

impl Call {
    /// What was to be spoken to the handset cannot be: it counts as not heard.
    pub fn handle_unheard(&mut self, now: Instant, play: PlayKey) {
        if self.play == Some(play) {
            self.play = None;
            self.verify.handle_unheard();
            self.follow_verify(now);
        }
    }

    /// Whether this is what the handset is to hear now.
    pub fn is_playing(&self, play: PlayKey) -> bool {
        self.play == Some(play) && self.state == State::Talking
    }

    pub(super) fn follow_verify(&mut self, now: Instant) {
        while let Some(output) = self.verify.poll_output() {
            match output {
                VerifyOutput::Speak(say) => self.speak(say),
                VerifyOutput::Mismatch => {
                    tracing::warn!("the person at the handset says that the emojis differ: call ended");
                    self.end(now, Cause::Mismatch);
                }
            }
        }
        self.note_running(now);
    }

    /// Has something spoken to the handset.
    fn speak(&mut self, say: Script) {
        let handset = self
            .in_call()
            .find_map(|member| Some((member.key(), member.leg.language()?)));
        let (Some((leg, language)), Some(emojis)) = (handset, self.emojis()) else {
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
        let language = language.to_owned();
        self.plays += 1;
        let play = PlayKey(self.plays);
        self.play = Some(play);
        self.actions.push_back(Action::Speak {
            leg,
            play,
            script,
            language,
        });
    }
}

/// What a phone's display shows: the emojis, and their words for displays that have no pictures.
pub(super) fn display_of(emojis: &[Emoji; 4]) -> String {
    let symbols: String = emojis.iter().map(|e| e.symbol()).collect();
    let words = emojis.iter().map(|e| e.word()).collect::<Vec<_>>().join(", ");
    format!("{symbols} {words}")
}
