//! Server transaction of all requests but INVITE, RFC 3261 §17.2.2. Decides; sends nothing itself.

use super::TimerAction;
use crate::sip::timers::{TRANSACTION_TIMEOUT, Timer, TimerHandle, absorb_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Completed,
}

/// A server transaction of a request other than INVITE (RFC 3261 §17.2.2). We send no provisional response, so there is no `Proceeding`.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Server {
    state: State,
    is_reliable: bool,
}

impl Server {
    /// Starts when the request has come.
    pub(in crate::sip) fn new(is_reliable: bool) -> Self {
        Self {
            state: State::Trying,
            is_reliable,
        }
    }

    /// Takes our final response; `false`: there was one before.
    pub(in crate::sip) fn on_response(&mut self, timers: &mut TimerHandle<'_>) -> bool {
        if self.state == State::Completed {
            return false;
        }
        self.state = State::Completed;
        timers.set(Timer::J, absorb_time(self.is_reliable, TRANSACTION_TIMEOUT));
        true
    }

    /// The request was retransmitted; `true`: retransmit the response.
    pub(in crate::sip) fn on_retransmission(&self) -> bool {
        self.state == State::Completed
    }

    /// Takes one of its timers.
    pub(in crate::sip) fn on_timer(&self, timer: Timer) -> TimerAction {
        if timer == Timer::J && self.state == State::Completed {
            TimerAction::Over
        } else {
            TimerAction::Nothing
        }
    }
}
