//! What a handset hears that was taken off the hook while the other side is still being connected: that it has to wait, and if
//! that was in vain, why.

use std::time::{Duration, Instant};

use super::member::{Member, Phase};
use super::{Action, Call, LegEvent, State};
use crate::cdr::Cause;
use crate::ivr::phrase::Phrase;
use crate::ivr::script;
use crate::media::{LegKey, MediaCommand, PlayKey};

/// How long silence is nothing unusual.
const QUIET: Duration = Duration::from_secs(6);
/// Between two times that the handset is told.
const AGAIN: Duration = Duration::from_secs(10);
/// How long the last words may take, their making included.
const FAREWELL: Duration = Duration::from_secs(8);

/// What is said to a handset that waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// When it is told next.
    due: Option<Instant>,
    /// The call is over but for these words: whose handset, what is being said, and until when at most.
    farewell: Option<(LegKey, PlayKey, Instant)>,
}

impl Waiting {
    /// Nobody waits any more.
    pub(super) fn end(&mut self) {
        self.due = None;
    }

    /// When [`Call::follow_waiting`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.or(self.farewell.map(|(_, _, until)| until))
    }
}

impl Call {
    /// Somebody took the call.
    pub(super) fn begin_waiting(&mut self, now: Instant) {
        // Between phones nothing is set up that would take its time.
        self.waiting.due = Some(now + QUIET).filter(|_| self.has_user());
    }

    /// Nobody waits any more: what is being said is cut off.
    pub(super) fn end_waiting(&mut self) {
        if self.waiting.due.take().is_some()
            && self.play.take().is_some()
            && let Some(leg) = self.handset()
        {
            self.actions.push_back(Action::Media(MediaCommand::StopPlay { leg }));
        }
    }

    /// This leg is over by its own side: nothing more can be said to it.
    pub(super) fn forget_waiting(&mut self, key: LegKey) {
        if self.handset() == Some(key) {
            self.waiting.end();
        }
    }

    /// Says what is due.
    pub(super) fn follow_waiting(&mut self, now: Instant) {
        if self.waiting.due.is_some_and(|due| now >= due) {
            self.waiting.due = Some(now + AGAIN);
            if let Some(leg) = self.handset() {
                self.say(now, leg, script::sentences(&[Phrase::Connecting]));
            }
        }
        if self.waiting.farewell.is_some_and(|(_, _, until)| now >= until) {
            self.end_farewell(now);
        }
    }

    /// The call has ended while a handset waited. True if that is this one, and it is told why before it is hung up.
    pub(super) fn bids_farewell(&mut self, now: Instant, key: LegKey, cause: Cause) -> bool {
        let waited = self.waiting.due.is_some() && self.handset() == Some(key);
        let Some(phrase) = last_words(cause).filter(|_| waited) else {
            return false;
        };
        self.deadline = None;
        let play = self.say(now, key, script::sentences(&[phrase]));
        self.waiting.farewell = Some((key, play, now + FAREWELL));
        true
    }

    /// A leg of a call that has ended says something: the last words were heard, or whoever waited in vain has hung up.
    pub(super) fn on_event_after_end(&mut self, now: Instant, event: &LegEvent) {
        if let LegEvent::Played(play) = event {
            self.on_farewell_said(now, *play);
        } else if let LegEvent::Ended(_) = event {
            self.end_farewell(now);
        }
    }

    /// The last words were said, or cannot be.
    pub(super) fn on_farewell_said(&mut self, now: Instant, play: PlayKey) {
        if self.is_farewell(play) {
            self.end_farewell(now);
        }
    }

    /// Whether these words are the last ones.
    pub(super) fn is_farewell(&self, play: PlayKey) -> bool {
        self.waiting.farewell.is_some_and(|(_, said, _)| said == play)
    }

    /// Hangs the handset up that was told why.
    pub(super) fn end_farewell(&mut self, now: Instant) {
        if let (Some((key, ..)), State::Ended(cause)) = (self.waiting.farewell.take(), self.state) {
            self.deadline = Some(now + super::CLOSING);
            self.end_member(now, key, cause);
        }
    }

    /// The handset that is off the hook.
    pub(super) fn handset(&self) -> Option<LegKey> {
        let is_it = |member: &&Member| member.phase == Phase::Connected && member.leg.language().is_some();
        self.in_call().find(is_it).map(Member::key)
    }
}

/// Why a handset that waited is hung up; none where its person, or the other one, did it.
fn last_words(cause: Cause) -> Option<Phrase> {
    match cause {
        Cause::KeyExchange | Cause::Fingerprint | Cause::Dtls | Cause::Signalling => Some(Phrase::NotEncrypted),
        Cause::Network => Some(Phrase::NetworkDown),
        Cause::Ice
        | Cause::Timeout
        | Cause::Ports
        | Cause::Codec
        | Cause::Plugin
        | Cause::Media
        | Cause::Incompatible
        | Cause::NoCodec
        | Cause::NoAudio
        | Cause::MediaAddress
        | Cause::Srtp
        | Cause::NoSrtp
        | Cause::SrtpKeys
        | Cause::DtlsTerms
        | Cause::Description => Some(Phrase::Failed),
        Cause::Limit { .. } => Some(Phrase::Limit),
        Cause::Answered
        | Cause::Elsewhere
        | Cause::Busy
        | Cause::Declined
        | Cause::Missed
        | Cause::Offline
        | Cause::Hangup
        | Cause::Abandoned
        | Cause::Operator
        | Cause::Stopped
        | Cause::Unknown
        | Cause::Forbidden
        | Cause::Mismatch
        | Cause::Transferred
        | Cause::Crashed => None,
    }
}
