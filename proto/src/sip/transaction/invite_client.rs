//! INVITE client transaction, RFC 3261 §17.1.1 with RFC 6026's accepted state. Decides; sends nothing itself.

use std::time::Duration;

use super::{ResponseAction, TimerAction};
use crate::sip::timers::{T1, TRANSACTION_TIMEOUT, Timer, TimerHandle, absorb_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
}

/// A client transaction of an INVITE (RFC 3261 §17.1.1, RFC 6026).
#[derive(Clone, Debug)]
pub(in crate::sip) struct InviteClient {
    state: State,
    is_reliable: bool,
    interval: Duration,
}

impl InviteClient {
    /// Starts when the request is sent.
    pub(in crate::sip) fn new(is_reliable: bool, timers: &mut TimerHandle<'_>) -> Self {
        if !is_reliable {
            timers.set(Timer::A, T1);
        }
        timers.set(Timer::B, TRANSACTION_TIMEOUT);
        Self {
            state: State::Calling,
            is_reliable,
            interval: T1,
        }
    }

    /// Takes a response; a final refusal must be acknowledged every time.
    pub(in crate::sip) fn on_response(&mut self, status: u16, timers: &mut TimerHandle<'_>) -> ResponseAction {
        match (self.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                timers.clear(Timer::A);
                timers.clear(Timer::B);
                ResponseAction {
                    report: true,
                    acknowledge: false,
                }
            }
            (State::Calling | State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                timers.clear(Timer::A);
                timers.clear(Timer::B);
                timers.set(Timer::M, TRANSACTION_TIMEOUT);
                ResponseAction {
                    report: true,
                    acknowledge: false,
                }
            }
            (State::Calling | State::Proceeding, _) => {
                self.state = State::Completed;
                timers.clear(Timer::A);
                timers.clear(Timer::B);
                timers.set(Timer::D, absorb_time(self.is_reliable, TRANSACTION_TIMEOUT));
                ResponseAction {
                    report: true,
                    acknowledge: true,
                }
            }
            (State::Completed, 300..) => ResponseAction {
                report: false,
                acknowledge: true,
            },
            (State::Accepted, 200..=299) => ResponseAction {
                report: true,
                acknowledge: false,
            },
            (State::Completed | State::Accepted, _) => ResponseAction {
                report: false,
                acknowledge: false,
            },
        }
    }

    /// Takes one of its timers.
    pub(in crate::sip) fn on_timer(&mut self, timer: Timer, timers: &mut TimerHandle<'_>) -> TimerAction {
        match (timer, self.state) {
            (Timer::A, State::Calling) => {
                self.interval *= 2;
                timers.set(Timer::A, self.interval);
                TimerAction::Retransmit
            }
            (Timer::B, State::Calling) | (Timer::Unreachable | Timer::Cancel, State::Calling | State::Proceeding) => {
                TimerAction::TimedOut
            }
            (Timer::D, State::Completed) | (Timer::M, State::Accepted) => TimerAction::Over,
            _ => TimerAction::Nothing,
        }
    }

    /// Whether something provisional was heard and nothing final: only then a CANCEL makes sense.
    pub(in crate::sip) fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }
}
