//! Whether the phone is still there: one that is silent is asked, and the call ends if it does not answer.
//!
//! Silence alone proves nothing: there are mute keys, phones that send nothing while nobody speaks, and mobile calls that come in
//! between.

use std::time::{Duration, Instant};

use super::{Call, LegCommand, State};
use crate::media::LegKey;

/// A phone that holds is asked once it has been silent, RTCP included, for so long, and as often.
const ASK_ON_HOLD: Duration = Duration::from_secs(30);

/// One that does not hold is asked after `rtp_timeout`, and then as often as this.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Whether the phone is still there, as far as is known.
#[derive(Debug)]
pub(super) struct Liveness {
    /// The phone's silence counts from here on: it may not speak before it has our answer, and begins anew when it holds or resumes.
    quiet_from: Instant,
    holds: Option<bool>,
    /// When it was last asked, in this silence.
    asked: Option<Instant>,
}

impl Liveness {
    /// It is there now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            quiet_from: now,
            holds: None,
            asked: None,
        }
    }
}

impl Call {
    /// Media says how long this leg has been silent.
    pub(super) fn check_silence(&mut self, now: Instant, key: LegKey, silent: Duration) {
        let member = self.in_call().find(|member| member.key() == key);
        let phone = member.and_then(|member| member.leg.may_be_silent());
        if let Some(may_be_silent) = phone.filter(|_| self.state == State::Talking) {
            let rtp_timeout = self.policy.rtp_timeout;
            let liveness = &mut self.liveness;
            let (first, again) = if may_be_silent {
                (ASK_ON_HOLD, ASK_ON_HOLD)
            } else {
                (rtp_timeout, ASK_AGAIN)
            };
            if liveness
                .holds
                .replace(may_be_silent)
                .is_some_and(|held| held != may_be_silent)
            {
                (liveness.quiet_from, liveness.asked) = (now, None);
            }
            let quiet = silent.min(now.saturating_duration_since(liveness.quiet_from));
            if quiet < first {
                liveness.asked = None;
            } else if liveness
                .asked
                .is_none_or(|asked| now.saturating_duration_since(asked) >= again)
            {
                liveness.asked = Some(now);
                self.tell(now, key, LegCommand::Probe);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quartet_proto::sip::{DialogKey, SipCommand, SipEvent};

    use super::*;
    use crate::call::Action;
    use crate::call::sip_leg::tests::{leg, talking};
    use crate::media::{MediaEvent, Report};

    /// A phone in conversation, which has answered our offer in this direction.
    fn in_conversation(now: Instant, direction: &str) -> Call {
        let mut leg = leg(1);
        let lines = "c:192.0.2.1\nport:4000\nrtcp-port:4001\n".to_owned();
        leg.handle_media(Instant::now(), MediaEvent::Local { leg: LegKey(1), lines });
        leg.handle_command(LegCommand::Answer { display: None });
        let answer = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\na={direction}\r\n"
        );
        let body = Some(answer.into_bytes());
        leg.handle_sip(
            Instant::now(),
            SipEvent::Confirmed {
                dialog: DialogKey(1),
                body,
            },
        );
        talking(now, vec![leg])
    }

    /// When, in seconds, the phone is asked, and when the call ends, if nothing is heard for two minutes.
    fn silence(direction: &str) -> (Vec<u64>, Option<u64>) {
        let begin = Instant::now();
        let mut call = in_conversation(begin, direction);
        let mut asked = Vec::new();
        for second in 1..=120 {
            let silent = Duration::from_secs(second);
            let report = Report {
                silent,
                ..Report::default()
            };
            call.handle_media(begin + silent, MediaEvent::Report { leg: LegKey(1), report });
            while let Some(action) = call.poll_action() {
                match action {
                    Action::Sip(SipCommand::Probe { .. }) => asked.push(second),
                    Action::Sip(SipCommand::Hangup { .. }) => return (asked, Some(second)),
                    Action::Sip(_)
                    | Action::Media(_)
                    | Action::Network(..)
                    | Action::Compute(..)
                    | Action::Speak { .. }
                    | Action::Running(_)
                    | Action::Record(_) => {}
                }
            }
        }
        (asked, None)
    }

    #[test]
    fn a_silent_phone_is_asked_and_silence_alone_ends_nothing() {
        assert_eq!(
            silence("sendrecv"),
            (vec![10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120], None)
        );
        for direction in ["sendonly", "inactive", "recvonly"] {
            assert_eq!(silence(direction), (vec![30, 60, 90, 120], None), "{direction}");
        }
    }
}
