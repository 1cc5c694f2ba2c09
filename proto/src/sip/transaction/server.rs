//! Server transaction of all requests but INVITE, RFC 3261 §17.2.2. Decides; sends nothing itself.

use super::Due;
use crate::sip::timers::{Alarm, TRYING, Timer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Completed,
}

/// The machine. We never answer provisionally, so there is no `Proceeding`.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Server {
    state: State,
}

impl Server {
    /// Starts when the request has come.
    pub(in crate::sip) fn new() -> Self {
        Self { state: State::Trying }
    }

    /// Takes our final response; `false`: there was one before.
    pub(in crate::sip) fn on_reply(&mut self, alarm: &mut Alarm<'_>) -> bool {
        if self.state == State::Completed {
            return false;
        }
        self.state = State::Completed;
        alarm.set(Timer::J, TRYING);
        true
    }

    /// Takes the request once more; `true`: repeat the response.
    pub(in crate::sip) fn on_repetition(&self) -> bool {
        self.state == State::Completed
    }

    /// Takes one of its timers.
    pub(in crate::sip) fn on_timer(&self, timer: Timer) -> Due {
        if timer == Timer::J && self.state == State::Completed {
            Due::Over
        } else {
            Due::Nothing
        }
    }
}
