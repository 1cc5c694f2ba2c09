//! INVITE client transaction, RFC 3261 §17.1.1 with RFC 6026's accepted state. Decides; sends nothing itself.

use std::time::Duration;

use super::{Due, Heard};
use crate::sip::timers::{Alarm, T1, TRYING, Timer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
}

/// The machine.
#[derive(Clone, Debug)]
pub(in crate::sip) struct InviteClient {
    state: State,
    interval: Duration,
}

impl InviteClient {
    /// Starts when the request is sent.
    pub(in crate::sip) fn new(alarm: &mut Alarm<'_>) -> Self {
        alarm.set(Timer::A, T1);
        alarm.set(Timer::B, TRYING);
        Self {
            state: State::Calling,
            interval: T1,
        }
    }

    /// Takes a response; a final refusal must be acknowledged every time.
    pub(in crate::sip) fn on_response(&mut self, status: u16, alarm: &mut Alarm<'_>) -> Heard {
        match (self.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                alarm.clear(Timer::A);
                alarm.clear(Timer::B);
                Heard {
                    report: true,
                    acknowledge: false,
                }
            }
            (State::Calling | State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                alarm.clear(Timer::A);
                alarm.clear(Timer::B);
                alarm.set(Timer::M, TRYING);
                Heard {
                    report: true,
                    acknowledge: false,
                }
            }
            (State::Calling | State::Proceeding, _) => {
                self.state = State::Completed;
                alarm.clear(Timer::A);
                alarm.clear(Timer::B);
                alarm.set(Timer::D, TRYING);
                Heard {
                    report: true,
                    acknowledge: true,
                }
            }
            (State::Completed, 300..) => Heard {
                report: false,
                acknowledge: true,
            },
            (State::Accepted, 200..=299) => Heard {
                report: true,
                acknowledge: false,
            },
            (State::Completed | State::Accepted, _) => Heard {
                report: false,
                acknowledge: false,
            },
        }
    }

    /// Takes one of its timers.
    pub(in crate::sip) fn on_timer(&mut self, timer: Timer, alarm: &mut Alarm<'_>) -> Due {
        match (timer, self.state) {
            (Timer::A, State::Calling) => {
                self.interval *= 2;
                alarm.set(Timer::A, self.interval);
                Due::Resend
            }
            (Timer::B, State::Calling) => Due::TimedOut,
            (Timer::D, State::Completed) | (Timer::M, State::Accepted) => Due::Over,
            _ => Due::Nothing,
        }
    }

    /// Whether something provisional was heard and nothing final: only then a CANCEL makes sense.
    pub(in crate::sip) fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }
}
