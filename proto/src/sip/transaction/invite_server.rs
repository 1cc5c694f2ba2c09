//! INVITE server transaction, RFC 3261 §17.2.1 with RFC 6026's accepted state. Decides; sends nothing itself.
//! A 2xx is repeated by its dialog, not here.

use std::time::Duration;

use super::Due;
use crate::sip::timers::{Alarm, T1, T2, T4, TRYING, Timer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
}

/// The machine.
#[derive(Clone, Debug)]
pub(in crate::sip) struct InviteServer {
    state: State,
    interval: Duration,
}

impl InviteServer {
    /// Starts when the request has come.
    pub(in crate::sip) fn new() -> Self {
        Self {
            state: State::Proceeding,
            interval: T1,
        }
    }

    /// Takes our response; `false`: a final one was given before, this one must not be sent.
    pub(in crate::sip) fn on_reply(&mut self, status: u16, alarm: &mut Alarm<'_>) -> bool {
        if self.state != State::Proceeding {
            return false;
        }
        match status {
            100..=199 => {}
            200..=299 => {
                self.state = State::Accepted;
                alarm.set(Timer::L, TRYING);
            }
            _ => {
                self.state = State::Completed;
                alarm.set(Timer::G, T1);
                alarm.set(Timer::H, TRYING);
            }
        }
        true
    }

    /// Takes the INVITE once more; `true`: repeat the last response.
    pub(in crate::sip) fn on_repetition(&self) -> bool {
        matches!(self.state, State::Proceeding | State::Completed)
    }

    /// Takes an ACK; `true`: it was for a refusal, and that is all there is to it.
    pub(in crate::sip) fn on_ack(&mut self, alarm: &mut Alarm<'_>) -> bool {
        if self.state == State::Completed {
            self.state = State::Confirmed;
            alarm.clear(Timer::G);
            alarm.clear(Timer::H);
            alarm.set(Timer::I, T4);
        }
        self.state == State::Confirmed
    }

    /// Takes one of its timers.
    pub(in crate::sip) fn on_timer(&mut self, timer: Timer, alarm: &mut Alarm<'_>) -> Due {
        match (timer, self.state) {
            (Timer::G, State::Completed) => {
                self.interval = (self.interval * 2).min(T2);
                alarm.set(Timer::G, self.interval);
                Due::Resend
            }
            (Timer::H, State::Completed) | (Timer::I, State::Confirmed) | (Timer::L, State::Accepted) => Due::Over,
            _ => Due::Nothing,
        }
    }

    /// Whether no final response was given.
    pub(in crate::sip) fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }
}
