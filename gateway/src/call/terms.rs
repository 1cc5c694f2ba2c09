//! What a call is begun with, and where it can stand.

use std::time::Duration;

use crate::cdr::{Cause, Direction};

/// The times and rules of a call.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long the question of [`VerifyMode::Confirm`] waits.
    pub confirm_timeout: Duration,
    /// How long a phone may be silent (no RTP, no RTCP) before the call ends.
    pub rtp_timeout: Duration,
    /// How long the call may wait for its turn.
    pub wait: Duration,
    /// How long the callee may ring.
    pub ring_timeout: Duration,
    /// How long key exchange and media may take after somebody took the call.
    pub connect_timeout: Duration,
}

/// Who calls whom, as the record and `quartet calls` show it.
#[derive(Clone, Debug)]
pub struct Parties {
    /// The caller.
    pub from: String,
    /// The callee; as it was dialled, where no route was found.
    pub to: String,
    /// The number that the callee is shown as the caller, where it is not `from`; empty: none.
    pub shown: Option<String>,
    /// The caller is not to be known (RFC 3323).
    pub is_private: bool,
    /// The name of the route that was taken, if one was found.
    pub route: Option<String>,
    /// Which way.
    pub direction: Direction,
    /// The network of the E2EE user, if a route led to one.
    pub network: Option<String>,
}

impl Parties {
    /// Nothing is known yet but who calls whom.
    pub fn new(direction: Direction, from: &str, to: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            shown: None,
            is_private: false,
            route: None,
            direction,
            network: None,
        }
    }
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody took it yet.
    Ringing,
    /// Somebody took it; keys and media are on their way.
    Connecting,
    /// Both hear each other.
    Talking,
    /// It is over; media and dialogs are being closed.
    Ended(Cause),
}

impl State {
    /// The word for `quartet calls`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::Connecting => "connecting",
            Self::Talking => "talking",
            Self::Ended(_) => "ended",
        }
    }
}
