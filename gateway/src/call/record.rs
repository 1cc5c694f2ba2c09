//! What is kept of a call: while it runs, and when it has ended.

use std::time::{Instant, SystemTime};

use super::{Action, Call, CallKey, Cause, Leg, Parties, State, Verdict};
use crate::cdr::{self, Side};

/// When a call began and was answered.
///
/// The wall clock is read once, at the start; all later times are counted from there. So a clock that is set during the
/// call changes no duration.
#[derive(Debug)]
pub(super) struct Times {
    wall: SystemTime,
    start: Instant,
    answered: Option<Instant>,
}

impl Times {
    /// The call begins.
    pub(super) fn new(now: Instant, wall: SystemTime) -> Self {
        Self {
            wall,
            start: now,
            answered: None,
        }
    }

    /// The call is answered.
    pub(super) fn answer(&mut self, now: Instant) {
        self.answered = Some(now);
    }

    /// When it was answered.
    pub(super) fn answered(&self) -> Option<Instant> {
        self.answered
    }

    /// An instant of the call, as a record says it.
    fn at(&self, instant: Instant) -> SystemTime {
        self.wall + instant.saturating_duration_since(self.start)
    }
}

impl Call {
    /// Says what the call's record is to be if the process dies now, if that has changed.
    pub(super) fn note_running(&mut self, now: Instant) {
        let state = (self.times.answered.is_some(), self.verdict());
        if self.noted == Some(state) || matches!(self.state, State::Ended(_)) {
            return;
        }
        self.noted = Some(state);
        let record = cdr::Record {
            legs: Vec::new(),
            ..self.record(now, Cause::Crashed)
        };
        self.actions.push_back(Action::Running(Box::new(record)));
    }

    /// What each side's media was like, the phone first.
    fn sides(&self) -> Vec<cdr::Leg> {
        let mut sides: Vec<_> = self
            .legs
            .iter()
            .map(|leg| {
                let (side, codec) = match leg {
                    Leg::Sip(leg) => (Side::Phone, leg.codec()),
                    Leg::E2ee(leg) => (Side::Network, leg.codec()),
                };
                let report = self
                    .reports
                    .iter()
                    .find(|(key, _)| *key == leg.key())
                    .map(|(_, report)| *report);
                let report = report.unwrap_or_default();
                cdr::Leg {
                    side,
                    codec: codec.map(str::to_owned),
                    received: report.received,
                    lost: report.lost,
                    jitter_ms: report.jitter_ms as u32,
                }
            })
            .collect();
        sides.sort_by_key(|leg| leg.side == Side::Network);
        sides
    }

    /// The record of a call that was refused before it began.
    pub fn refused(key: CallKey, wall: SystemTime, parties: &Parties, cause: Cause) -> cdr::Record {
        cdr::Record {
            call: key.to_string(),
            start: wall,
            answer: None,
            end: wall,
            from: parties.from.clone(),
            to: parties.to.clone(),
            direction: parties.direction,
            network: parties.network.map(str::to_owned),
            route: parties.route.clone(),
            cause: cause.word(),
            count: 1,
            verdict: Verdict::Off,
            legs: Vec::new(),
        }
    }

    pub(super) fn record(&self, now: Instant, cause: Cause) -> cdr::Record {
        cdr::Record {
            start: self.times.wall,
            answer: self.times.answered.map(|at| self.times.at(at)),
            verdict: self.verify.verdict(),
            legs: self.sides(),
            ..Self::refused(self.key, self.times.at(now), &self.parties, cause)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::call::sip_leg::tests::{leg, talking};
    use crate::ivr::prompts::Prompts;

    const MS: Duration = Duration::from_millis(1);

    /// What is to be kept of a call, and whether it is over.
    fn records(call: &mut Call) -> Vec<(bool, cdr::Record)> {
        std::iter::from_fn(|| call.poll_action())
            .filter_map(|action| match action {
                Action::Running(record) => Some((false, *record)),
                Action::Record(record) => Some((true, *record)),
                Action::Sip(_) | Action::Media(_) | Action::Network(_) | Action::Compute(..) => None,
            })
            .collect()
    }

    /// Seen: the clock was set ten years ahead during a call, and the call had lasted ten years.
    #[test]
    fn a_clock_that_is_set_during_a_call_changes_no_duration() {
        let begin = Instant::now();
        let mut call = talking(begin, vec![leg(1), leg(2)]);
        // The call was told this when it began; the clock of this machine, which it could ask, says years later.
        let start = SystemTime::UNIX_EPOCH;
        call.times.answer(begin + Duration::from_secs(3));
        call.hang_up(begin + Duration::from_secs(63), Cause::Answered);
        let (over, record) = records(&mut call).pop().expect("a record");
        assert!(over);
        assert_eq!((record.start, record.end), (start, start + Duration::from_secs(63)));
        assert_eq!(record.answer, Some(start + Duration::from_secs(3)));
        assert_eq!(record.duration(), Duration::from_secs(60));
    }

    #[test]
    fn a_running_call_is_noted_when_it_begins_and_when_its_record_would_be_another() {
        let begin = Instant::now();
        let mut prompts = Prompts::builtin(Box::new(|| Err("nothing is said here".into())));
        let mut call = talking(begin, vec![leg(1), leg(2)]);
        call.noted = None;
        call.note_running(begin);
        let noted = records(&mut call);
        assert_eq!(noted.len(), 1);
        let (over, record) = &noted[0];
        assert_eq!(
            (*over, record.cause, record.answer, record.legs.len()),
            (false, "crashed", None, 0)
        );
        call.handle_timeout(begin + 100 * MS, &mut prompts);
        assert_eq!(records(&mut call), [], "nothing has changed");
        call.times.answer(begin + 100 * MS);
        call.handle_timeout(begin + 200 * MS, &mut prompts);
        let noted = records(&mut call);
        assert_eq!(noted.len(), 1);
        assert_eq!(noted[0].1.answer, Some(SystemTime::UNIX_EPOCH + 100 * MS));
        assert_eq!(noted[0].1.end, SystemTime::UNIX_EPOCH + 200 * MS);
        call.hang_up(begin + 300 * MS, Cause::Answered);
        call.note_running(begin + 400 * MS);
        let last: Vec<_> = records(&mut call).into_iter().map(|(over, _)| over).collect();
        assert_eq!(last, [true], "an ended call runs no more");
    }
}
