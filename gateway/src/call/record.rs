//! What is kept of a call: while it runs, and when it has ended.

use std::time::{Duration, Instant};

use super::{Action, Call, CallKey, Parties, Phase, State, member::Member};
use crate::cdr::{self, By, Cause, Record, Side, Verdict};
use crate::media::{self, Heard, Report};

/// When a call began and was answered.
#[derive(Debug)]
pub(super) struct Times {
    start: Instant,
    taken: Option<Instant>,
    answered: Option<Instant>,
}

impl Times {
    /// The call begins.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            taken: None,
            answered: None,
        }
    }

    /// Somebody takes the call.
    pub(super) fn take(&mut self, now: Instant) {
        self.taken = Some(now);
    }

    /// How long ago that was.
    pub(super) fn since_taken(&self, now: Instant) -> Option<Duration> {
        self.taken.map(|at| now.saturating_duration_since(at))
    }

    /// The call is answered.
    pub(super) fn answer(&mut self, now: Instant) {
        self.answered = Some(now);
    }

    /// When it was answered.
    pub(super) fn answered(&self) -> Option<Instant> {
        self.answered
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
        let record = Record {
            legs: Vec::new(),
            ..self.record(now, Cause::Crashed, By::Gateway)
        };
        self.actions.push_back(Action::Running(Box::new(record)));
    }

    /// What each side's media was like, the phone first.
    pub fn sides(&self) -> Vec<cdr::LegFigures> {
        let running = self.members.iter().filter(|member| member.phase != Phase::Ended);
        let half_ms = |member: &Member| member.report.round_trip.map_or(0.0, |time| time.as_secs_f32() * 500.0);
        let halves_ms: f32 = self.members.iter().map(half_ms).sum();
        let mut sides: Vec<_> = running
            .map(|member| cdr::LegFigures {
                in_a_row: in_a_row(&member.report),
                stretched_ms: member.report.stretched_ms,
                mouth_to_ear_ms: mouth_to_ear(&member.report, halves_ms).map(|ms| ms as u32),
                mos: opinion(member.leg.codec(), &member.report, halves_ms),
                sent_as: sent_as(&member.report),
                speaks: member.leg.speaks().map(str::to_owned),
                side: member.leg.side(),
                codec: member.leg.codec().map(str::to_owned),
                srtp: member.leg.srtp(),
                received: member.report.received,
                lost: member.report.lost,
                asked: member.report.asked,
                repaired: member.report.repaired,
                late: member.report.late,
                concealed: member.report.concealed,
                restored: member.report.restored,
                jitter_ms: member.report.jitter_ms as u32,
                depth_ms: member.report.depth_ms as u32,
                path: member.report.way.map(|way| way.to_string()),
                tried: member.report.ways.words(),
                round_trip_ms: member.report.round_trip.map(|time| time.as_millis() as u32),
                setup_ms: member.setup.map(|time| time.as_millis() as u32),
            })
            .collect();
        sides.sort_by_key(|leg| leg.side == Side::Network);
        sides
    }

    /// The record of a call that was refused before it began.
    pub fn refused(now: Instant, key: CallKey, parties: &Parties, cause: Cause) -> Record<Instant> {
        Record {
            call: key.to_string(),
            start: now,
            answer: None,
            end: now,
            from: parties.from.clone(),
            to: parties.to.clone(),
            shown: parties.shown.clone(),
            direction: parties.direction,
            network: parties.network.clone(),
            route: parties.route.clone(),
            cause: cause.word(),
            by: By::Gateway,
            count: 1,
            transfers: Vec::new(),
            verdict: Verdict::Unheard,
            legs: Vec::new(),
        }
    }

    pub(super) fn record(&self, now: Instant, cause: Cause, by: By) -> Record<Instant> {
        Record {
            start: self.times.start,
            answer: self.times.answered,
            by,
            transfers: self.transfers.clone(),
            verdict: self.verify.verdict(),
            legs: self.sides(),
            ..Self::refused(now, self.key, &self.parties, cause)
        }
    }
}

/// How many packets in a row were made up, on average.
fn in_a_row(report: &Report) -> f64 {
    if report.holes == 0 {
        return 0.0;
    }
    round(report.concealed as f64 / report.holes as f64)
}

/// From the mouth there to the ear on the other side, whose own buffer is not known. `halves_ms`: half a round trip of all legs.
fn mouth_to_ear(report: &Report, halves_ms: f32) -> Option<f32> {
    (report.received > 0).then_some(report.packet_ms as f32 + report.depth_ms + halves_ms)
}

fn opinion(codec: Option<&str>, report: &Report, halves_ms: f32) -> Option<f64> {
    let heard = Heard {
        // What the next packet had of one is half as bad.
        made_up: (report.concealed as f32 - report.restored as f32 / 2.0)
            / (report.received + report.concealed).max(1) as f32,
        in_a_row: in_a_row(report) as f32,
        delay_ms: mouth_to_ear(report, halves_ms)?,
    };
    Some(round(f64::from(media::mos(codec?, heard))))
}

fn sent_as(report: &Report) -> Option<String> {
    Some(report.decision?.words(report.frame_ms))
}

/// To a tenth.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::call::sip_leg::tests::{leg, talking};
    use crate::cdr::Clock;

    const MS: Duration = Duration::from_millis(1);

    /// What is to be kept of a call, and whether it is over.
    fn records(call: &mut Call) -> Vec<(bool, Record<Instant>)> {
        std::iter::from_fn(|| call.poll_action())
            .filter_map(|action| match action {
                Action::Running(record) => Some((false, *record)),
                Action::Record(record) => Some((true, *record)),
                Action::Sip(_)
                | Action::Media(_)
                | Action::Network(..)
                | Action::Compute(..)
                | Action::Speak { .. } => None,
            })
            .collect()
    }

    /// Seen: the clock was set ten years ahead during a call, and the call had lasted ten years.
    #[test]
    fn a_clock_that_is_set_during_a_call_changes_no_duration() {
        let begin = Instant::now();
        let mut call = talking(begin, vec![leg(1), leg(2)]);
        call.times.answer(begin + Duration::from_secs(3));
        call.hang_up(begin + Duration::from_secs(63), Cause::Answered, By::Operator);
        let (over, record) = records(&mut call).pop().expect("a record");
        assert!(over);
        // The clock is read once, when the record is written: by then it says ten years later.
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(10 * 365 * 86_400);
        let record = record.at(&Clock {
            now: begin + Duration::from_secs(64),
            wall,
        });
        assert_eq!(record.end, wall - Duration::from_secs(1));
        assert_eq!(record.start, wall - Duration::from_secs(64));
        assert_eq!(record.answer, Some(wall - Duration::from_secs(61)));
        assert_eq!(record.duration(), Duration::from_secs(60));
    }

    #[test]
    fn a_running_call_is_noted_when_it_begins_and_when_its_record_would_be_another() {
        let begin = Instant::now();
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
        call.handle_timeout(begin + 100 * MS);
        assert_eq!(records(&mut call), [], "nothing has changed");
        call.times.answer(begin + 100 * MS);
        call.handle_timeout(begin + 200 * MS);
        let noted = records(&mut call);
        assert_eq!(noted.len(), 1);
        assert_eq!(noted[0].1.answer, Some(begin + 100 * MS));
        assert_eq!(noted[0].1.end, begin + 200 * MS);
        call.hang_up(begin + 300 * MS, Cause::Answered, By::Operator);
        call.note_running(begin + 400 * MS);
        let last: Vec<_> = records(&mut call).into_iter().map(|(over, _)| over).collect();
        assert_eq!(last, [true], "an ended call runs no more");
    }
}
