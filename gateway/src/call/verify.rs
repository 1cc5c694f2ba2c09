//! Verification by ear: the emojis are spoken, repeated, confirmed, or said to differ (product rules, no protocol).
//!
//! A machine fed with keys, ends of prompts and time; it says what to play and what the verdict is. It never sees the
//! peer and never touches media.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::cdr::Verdict;
use crate::config::VerifyMode;

/// What the handset is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// "Your call is encrypted. Compare:" and the four words.
    Announcement,
    /// "Once more:" and the four words.
    Repeat,
    /// The announcement, then the question and its keys.
    Question,
    /// The four words once more, then the question.
    QuestionAgain,
    /// The answer 1 was taken.
    Verified,
    /// Nobody answered the question.
    NotVerified,
    /// That key means nothing here; the question follows.
    Invalid,
}

/// What the call is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Play this to the handset, instead of anything that plays.
    Speak(Script),
    /// The emojis differ: end the call at once.
    Mismatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was said yet.
    Idle,
    /// A prompt plays that wants no answer.
    Speaking,
    /// The question plays; keys count already.
    Asking,
    /// The question has ended; the time runs.
    Awaiting { until: Instant },
    /// Nothing plays, nothing is awaited.
    Done,
}

/// How long `*` waits for its digit.
const STAR_TIME: Duration = Duration::from_secs(4);

/// Verification of one call.
///
/// Drain [`poll_output`](Self::poll_output) after each `handle_*`.
#[derive(Debug)]
pub struct Verify {
    mode: VerifyMode,
    confirm_timeout: Duration,
    state: State,
    verdict: Verdict,
    star_until: Option<Instant>,
    out: VecDeque<Output>,
}

impl Verify {
    /// Makes the machine; `confirm_timeout` counts from the end of the question.
    pub fn new(mode: VerifyMode, confirm_timeout: Duration) -> Self {
        let (state, out) = (State::Idle, VecDeque::new());
        let verdict = match mode {
            VerifyMode::Off => Verdict::Off,
            VerifyMode::Announce | VerifyMode::Confirm => Verdict::Unheard,
        };
        Self {
            mode,
            confirm_timeout,
            state,
            verdict,
            star_until: None,
            out,
        }
    }

    /// Both people are connected: the handset is told.
    pub fn begin(&mut self) {
        match self.mode {
            VerifyMode::Announce => self.speak(Script::Announcement, State::Speaking),
            VerifyMode::Confirm => self.speak(Script::Question, State::Asking),
            VerifyMode::Off => self.state = State::Done,
        }
    }

    /// What is known by now.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// A prompt has played to its end.
    pub fn handle_played(&mut self, now: Instant) {
        match self.state {
            State::Speaking => {
                if matches!(self.verdict, Verdict::Unheard | Verdict::Off) {
                    self.verdict = Verdict::Announced;
                }
                self.state = State::Done;
            }
            State::Asking => {
                if self.verdict == Verdict::Unheard {
                    self.verdict = Verdict::Unverified;
                }
                self.state = State::Awaiting {
                    until: now + self.confirm_timeout,
                };
            }
            State::Idle | State::Awaiting { .. } | State::Done => {}
        }
    }

    /// A prompt could not be played: the call goes on, and the verdict stays what it was.
    pub fn handle_unheard(&mut self) {
        self.state = State::Done;
    }

    /// The person with the handset pressed a key.
    pub fn handle_digit(&mut self, now: Instant, key: char) {
        let starred = self.star_until.take().is_some_and(|until| now < until);
        match (key, starred) {
            ('*', _) => self.star_until = Some(now + STAR_TIME),
            ('1', true) => self.say_again(),
            ('9', true) => self.differ(),
            (_, true) => {}
            (key, false) => self.answer(key),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.star_until.is_some_and(|until| now >= until) {
            self.star_until = None;
        }
        if let State::Awaiting { until } = self.state
            && now >= until
        {
            self.verdict = Verdict::Unverified;
            self.speak(Script::NotVerified, State::Speaking);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let awaiting = if let State::Awaiting { until } = self.state {
            Some(until)
        } else {
            None
        };
        [self.star_until, awaiting].into_iter().flatten().min()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn speak(&mut self, what: Script, then: State) {
        self.state = then;
        self.out.push_back(Output::Speak(what));
    }

    fn say_again(&mut self) {
        match self.state {
            State::Asking | State::Awaiting { .. } => self.speak(Script::QuestionAgain, State::Asking),
            State::Speaking | State::Done => self.speak(Script::Repeat, State::Speaking),
            State::Idle => {}
        }
    }

    fn differ(&mut self) {
        if self.state == State::Idle {
            return;
        }
        self.verdict = Verdict::Mismatch;
        self.state = State::Done;
        self.out.push_back(Output::Mismatch);
    }

    fn answer(&mut self, key: char) {
        if !matches!(self.state, State::Asking | State::Awaiting { .. }) {
            return;
        }
        match key {
            '1' => {
                self.verdict = Verdict::Verified;
                self.speak(Script::Verified, State::Speaking);
            }
            '2' => self.speak(Script::QuestionAgain, State::Asking),
            '9' => self.differ(),
            _ => self.speak(Script::Invalid, State::Asking),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(v: &mut Verify) -> Vec<Output> {
        std::iter::from_fn(|| v.poll_output()).collect()
    }

    fn begun(mode: VerifyMode) -> (Verify, Instant) {
        let mut v = Verify::new(mode, Duration::from_secs(10));
        v.begin();
        (v, Instant::now())
    }

    #[test]
    fn announce_speaks_once_and_repeats_on_star_one() {
        let (mut v, t) = begun(VerifyMode::Announce);
        assert_eq!(outputs(&mut v), [Output::Speak(Script::Announcement)]);
        assert_eq!(
            v.verdict(),
            Verdict::Unheard,
            "not announced before it was heard to its end"
        );
        v.handle_played(t);
        assert_eq!(v.verdict(), Verdict::Announced);
        v.handle_digit(t, '1');
        assert_eq!(outputs(&mut v), [], "a digit without star belongs to the call");
        v.handle_digit(t, '*');
        v.handle_digit(t + Duration::from_secs(1), '1');
        assert_eq!(outputs(&mut v), [Output::Speak(Script::Repeat)]);
    }

    #[test]
    fn star_nine_ends_the_call_at_any_time() {
        for mode in [VerifyMode::Announce, VerifyMode::Confirm, VerifyMode::Off] {
            let (mut v, t) = begun(mode);
            outputs(&mut v);
            v.handle_digit(t, '*');
            v.handle_digit(t, '9');
            assert_eq!(outputs(&mut v), [Output::Mismatch], "{mode:?}");
            assert_eq!(v.verdict(), Verdict::Mismatch);
        }
    }

    #[test]
    fn a_star_is_forgotten_after_a_while() {
        let (mut v, t) = begun(VerifyMode::Announce);
        outputs(&mut v);
        v.handle_digit(t, '*');
        assert_eq!(v.poll_timeout(), Some(t + STAR_TIME));
        v.handle_timeout(t + STAR_TIME);
        v.handle_digit(t + STAR_TIME, '9');
        assert_eq!(outputs(&mut v), []);
    }

    #[test]
    fn confirm_takes_one_two_nine_and_silence() {
        let (mut v, t) = begun(VerifyMode::Confirm);
        assert_eq!(outputs(&mut v), [Output::Speak(Script::Question)]);
        v.handle_digit(t, '2');
        assert_eq!(outputs(&mut v), [Output::Speak(Script::QuestionAgain)]);
        v.handle_digit(t, '5');
        assert_eq!(outputs(&mut v), [Output::Speak(Script::Invalid)]);
        v.handle_played(t);
        v.handle_digit(t, '1');
        assert_eq!(outputs(&mut v), [Output::Speak(Script::Verified)]);
        v.handle_played(t);
        assert_eq!((v.verdict(), v.poll_timeout()), (Verdict::Verified, None));

        let (mut v, t) = begun(VerifyMode::Confirm);
        outputs(&mut v);
        assert_eq!(v.verdict(), Verdict::Unheard);
        v.handle_played(t);
        assert_eq!(v.verdict(), Verdict::Unverified, "it was asked");
        v.handle_timeout(t + Duration::from_secs(9));
        assert_eq!(outputs(&mut v), []);
        v.handle_timeout(t + Duration::from_secs(10));
        assert_eq!(outputs(&mut v), [Output::Speak(Script::NotVerified)]);
        v.handle_played(t + Duration::from_secs(12));
        assert_eq!(v.verdict(), Verdict::Unverified);

        let (mut v, t) = begun(VerifyMode::Confirm);
        outputs(&mut v);
        v.handle_digit(t, '9');
        assert_eq!(outputs(&mut v), [Output::Mismatch]);
    }

    #[test]
    fn what_was_not_heard_cannot_be_confirmed() {
        let (mut v, t) = begun(VerifyMode::Confirm);
        outputs(&mut v);
        v.handle_unheard();
        v.handle_digit(t, '1');
        assert_eq!(
            (outputs(&mut v), v.verdict(), v.poll_timeout()),
            (vec![], Verdict::Unheard, None)
        );
    }

    #[test]
    fn off_says_nothing_until_asked() {
        let (mut v, t) = begun(VerifyMode::Off);
        assert_eq!(outputs(&mut v), []);
        v.handle_digit(t, '*');
        v.handle_digit(t, '1');
        assert_eq!(outputs(&mut v), [Output::Speak(Script::Repeat)]);
        v.handle_played(t);
        assert_eq!(v.verdict(), Verdict::Announced);
    }
}
