//! Client transaction of all requests but INVITE, RFC 3261 §17.1.2. Decides; sends nothing itself.

use std::time::Duration;

use super::{Due, Heard};
use crate::sip::timers::{Alarm, T1, T2, T4, TRYING, Timer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
}

/// The machine.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Client {
    state: State,
    interval: Duration,
}

impl Client {
    /// Starts when the request is sent.
    pub(in crate::sip) fn new(alarm: &mut Alarm<'_>) -> Self {
        alarm.set(Timer::E, T1);
        alarm.set(Timer::F, TRYING);
        Self {
            state: State::Trying,
            interval: T1,
        }
    }

    /// Takes a response.
    pub(in crate::sip) fn on_response(&mut self, status: u16, alarm: &mut Alarm<'_>) -> Heard {
        let report = self.state != State::Completed;
        match status {
            100..=199 if report => self.state = State::Proceeding,
            200.. if report => {
                self.state = State::Completed;
                alarm.clear(Timer::E);
                alarm.clear(Timer::F);
                alarm.set(Timer::K, T4);
            }
            _ => {}
        }
        Heard {
            report,
            acknowledge: false,
        }
    }

    /// Takes one of its timers.
    pub(in crate::sip) fn on_timer(&mut self, timer: Timer, alarm: &mut Alarm<'_>) -> Due {
        match (timer, self.state) {
            (Timer::E, State::Trying | State::Proceeding) => {
                self.interval = if self.state == State::Trying {
                    (self.interval * 2).min(T2)
                } else {
                    T2
                };
                alarm.set(Timer::E, self.interval);
                Due::Resend
            }
            (Timer::F, State::Trying | State::Proceeding) => Due::TimedOut,
            (Timer::K, State::Completed) => Due::Over,
            _ => Due::Nothing,
        }
    }
}
