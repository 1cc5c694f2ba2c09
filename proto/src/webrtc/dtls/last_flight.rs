//! The server's last flight, which nobody acknowledges (RFC 6347 §4.2.4): lost, it is sent again when the client repeats its own, and a
//! client that has doubled its pauses does that after seconds. So it is repeated until something comes under the new keys.
//!
//! What is repeated is the same record with the same number: a client that has it drops the second as a replay (§4.1.2.6).

use std::time::{Duration, Instant};

/// Before the first repeat; then twice as long each time, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_millis(800);
/// Repeats, in 7.1 s: at 30 % loss one handshake in 200,000 loses all of them.
const REPEATS: u32 = 11;

/// What is repeated, and when. Empty until [`LastFlight::begin`], and again when the client has shown that it has it.
#[derive(Debug, Default)]
pub(super) struct LastFlight {
    datagrams: Vec<Vec<u8>>,
    repeats: u32,
    pause: Duration,
    due: Option<Instant>,
}

impl LastFlight {
    /// It has been sent.
    pub(super) fn begin(&mut self, now: Instant, datagrams: Vec<Vec<u8>>) {
        *self = Self {
            datagrams,
            repeats: 0,
            pause: FIRST_PAUSE,
            due: Some(now + FIRST_PAUSE),
        };
    }

    /// The client has the keys.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// What is to be sent now.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> &[Vec<u8>] {
        if self.due.is_none_or(|due| now < due) {
            return &[];
        }
        self.repeats += 1;
        self.pause = (2 * self.pause).min(MAX_PAUSE);
        self.due = (self.repeats < REPEATS).then_some(now + self.pause);
        &self.datagrams
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // a test needs some instant to count from
    fn it_is_repeated_until_the_client_has_it_or_for_seven_seconds() {
        let begin = Instant::now();
        let mut flight = LastFlight::default();
        assert_eq!(flight.poll_timeout(), None);
        flight.begin(begin, vec![vec![1], vec![2]]);
        let mut times = Vec::new();
        while let Some(due) = flight.poll_timeout() {
            assert!(flight.handle_timeout(due - Duration::from_millis(1)).is_empty());
            assert_eq!(flight.handle_timeout(due), [[1], [2]]);
            times.push((due - begin).as_millis());
        }
        assert_eq!(times, [100, 300, 700, 1500, 2300, 3100, 3900, 4700, 5500, 6300, 7100]);
        assert!(flight.handle_timeout(begin + Duration::from_secs(60)).is_empty());
        flight.begin(begin, vec![vec![3]]);
        flight.end();
        assert_eq!(flight.poll_timeout(), None);
        assert!(flight.handle_timeout(begin + Duration::from_secs(60)).is_empty());
    }
}
