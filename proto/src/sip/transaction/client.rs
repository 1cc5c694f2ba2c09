//! Client transaction of all requests but INVITE, RFC 3261 §17.1.2. Decides; sends nothing itself.

use std::time::Duration;

use super::{ResponseAction, TimerAction};
use crate::sip::timers::{T1, T2, T4, TRANSACTION_TIMEOUT, Timer, TimerHandle, absorb_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
}

/// A client transaction of a request other than INVITE (RFC 3261 §17.1.2).
#[derive(Clone, Debug)]
pub(in crate::sip) struct Client {
    state: State,
    is_reliable: bool,
    interval: Duration,
}

impl Client {
    /// Starts when the request is sent.
    pub(in crate::sip) fn new(is_reliable: bool, timers: &mut TimerHandle<'_>) -> Self {
        if !is_reliable {
            timers.set(Timer::E, T1);
        }
        timers.set(Timer::F, TRANSACTION_TIMEOUT);
        Self {
            state: State::Trying,
            is_reliable,
            interval: T1,
        }
    }

    /// Takes a response.
    pub(in crate::sip) fn on_response(&mut self, status: u16, timers: &mut TimerHandle<'_>) -> ResponseAction {
        let report = self.state != State::Completed;
        match status {
            100..=199 if report => self.state = State::Proceeding,
            200.. if report => {
                self.state = State::Completed;
                timers.clear(Timer::E);
                timers.clear(Timer::F);
                timers.set(Timer::K, absorb_time(self.is_reliable, T4));
            }
            _ => {}
        }
        ResponseAction {
            report,
            acknowledge: false,
        }
    }

    /// Takes one of its timers.
    pub(in crate::sip) fn on_timer(&mut self, timer: Timer, timers: &mut TimerHandle<'_>) -> TimerAction {
        match (timer, self.state) {
            (Timer::E, State::Trying | State::Proceeding) => {
                self.interval = if self.state == State::Trying {
                    (self.interval * 2).min(T2)
                } else {
                    T2
                };
                timers.set(Timer::E, self.interval);
                TimerAction::Retransmit
            }
            (Timer::F | Timer::Unreachable, State::Trying | State::Proceeding) => TimerAction::TimedOut,
            (Timer::K, State::Completed) => TimerAction::Over,
            _ => TimerAction::Nothing,
        }
    }
}
