//! Keys that a phone tells in one way or in two.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The two reports of one press are at most this far apart: RTP says it when the key goes down, INFO when it comes up.
pub(super) const SAME_KEY: Duration = Duration::from_secs(2);
/// Keys that wait for their other half: more than anybody presses in that time.
const MAX_KEYS: usize = 32;

/// How a phone tells its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyWay {
    /// RFC 4733.
    Rtp,
    /// SIP INFO.
    Info,
}

/// Keys that came in one way and may come in the other too. A phone that says each key in both ways pressed it once.
#[derive(Debug, Default)]
pub(super) struct Keys(VecDeque<(Instant, KeyWay, char)>);

impl Keys {
    /// False for the other half of a press.
    pub(super) fn is_new(&mut self, now: Instant, way: KeyWay, digit: char) -> bool {
        self.0.retain(|(at, ..)| now.saturating_duration_since(*at) < SAME_KEY);
        // Each is the other half of one at most, so a forged key in one way silences no way.
        let other = |(_, of, same): &(Instant, KeyWay, char)| *of != way && *same == digit;
        if let Some(half) = self.0.iter().position(other) {
            self.0.remove(half);
            return false;
        }
        if self.0.len() < MAX_KEYS {
            self.0.push_back((now, way, digit));
        }
        true
    }
}
