//! INVITE server transaction, RFC 3261 §17.2.1 with RFC 6026's accepted state. Decides; sends nothing itself.
//! A 2xx is retransmitted by its dialog, not here.

use std::time::Duration;

use super::TimerAction;
use crate::sip::timers::{T1, T2, T4, TRANSACTION_TIMEOUT, Timer, TimerHandle, absorb_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
}

/// A server transaction of an INVITE (RFC 3261 §17.2.1, RFC 6026).
#[derive(Clone, Debug)]
pub(in crate::sip) struct InviteServer {
    state: State,
    is_reliable: bool,
    interval: Duration,
}

impl InviteServer {
    /// Starts when the request has come.
    pub(in crate::sip) fn new(is_reliable: bool) -> Self {
        Self {
            state: State::Proceeding,
            is_reliable,
            interval: T1,
        }
    }

    /// Takes our response; `false`: a final one was given before, this one must not be sent.
    pub(in crate::sip) fn on_response(&mut self, status: u16, timers: &mut TimerHandle<'_>) -> bool {
        if self.state != State::Proceeding {
            return false;
        }
        match status {
            100..=199 => {}
            200..=299 => {
                self.state = State::Accepted;
                timers.set(Timer::L, TRANSACTION_TIMEOUT);
            }
            _ => {
                self.state = State::Completed;
                if !self.is_reliable {
                    timers.set(Timer::G, T1);
                }
                timers.set(Timer::H, TRANSACTION_TIMEOUT);
            }
        }
        true
    }

    /// The INVITE was retransmitted; `true`: retransmit the last response.
    pub(in crate::sip) fn on_retransmission(&self) -> bool {
        matches!(self.state, State::Proceeding | State::Completed)
    }

    /// Takes an ACK; `true`: it was for a refusal, and that is all there is to it.
    pub(in crate::sip) fn on_ack(&mut self, timers: &mut TimerHandle<'_>) -> bool {
        if self.state == State::Completed {
            self.state = State::Confirmed;
            timers.clear(Timer::G);
            timers.clear(Timer::H);
            timers.set(Timer::I, absorb_time(self.is_reliable, T4));
        }
        self.state == State::Confirmed
    }

    /// Takes one of its timers.
    pub(in crate::sip) fn on_timer(&mut self, timer: Timer, timers: &mut TimerHandle<'_>) -> TimerAction {
        match (timer, self.state) {
            (Timer::G, State::Completed) => {
                self.interval = (self.interval * 2).min(T2);
                timers.set(Timer::G, self.interval);
                TimerAction::Retransmit
            }
            (Timer::H, State::Completed) | (Timer::I, State::Confirmed) | (Timer::L, State::Accepted) => {
                TimerAction::Over
            }
            _ => TimerAction::Nothing,
        }
    }

    /// Whether no final response was given.
    pub(in crate::sip) fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }
}
