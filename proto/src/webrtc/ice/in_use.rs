//! The pair that packets go by, and when it is left for another one without a nomination.
//!
//! A nomination needs checks that fail first, which takes seconds; a peer that has moved to another network, or follows another
//! pair, is found sooner by where its packets come from.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::sources::remember;

/// A path of ours, and an address of the peer's.
pub(super) type Pair = (u32, SocketAddr);

/// Media that came by the pair in use, and then by another one for so long, has moved there.
const MOVED_AFTER: Duration = Duration::from_millis(300);
/// A pair by which nothing comes for so long, not even a check, is left for one by which something does.
const SILENT_AFTER: Duration = Duration::from_millis(2_500);

/// What has come by a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A check of the peer's.
    Check,
    /// The answer to one of ours.
    Answer,
    /// Media under the keys of the call.
    Media,
}

/// The pair in use.
#[derive(Default)]
pub(super) struct InUse {
    pair: Option<Pair>,
    /// What the agents have chosen, whatever is in use.
    nominated: Option<Pair>,
    /// When something, and when media came by it.
    heard: Option<Instant>,
    media: Option<Instant>,
    /// It is in use because the nominated one is silent.
    is_stand_in: bool,
    /// Pairs by which checks of ours were answered.
    valid: VecDeque<Pair>,
}

impl InUse {
    /// Where packets go.
    pub(super) fn pair(&self) -> Option<Pair> {
        self.pair
    }

    /// The agents have chosen.
    pub(super) fn nominate(&mut self, pair: Pair) {
        self.nominated = Some(pair);
        self.change(pair);
    }

    /// A path of ours has gone.
    pub(super) fn remove_path(&mut self, path: u32) {
        self.valid.retain(|(of, _)| *of != path);
        self.nominated = self.nominated.filter(|(of, _)| *of != path);
        self.pair = self.pair.filter(|(of, _)| *of != path);
    }

    /// Something authentic has come by a pair.
    pub(super) fn note(&mut self, now: Instant, pair: Pair, what: Heard) {
        if what == Heard::Answer {
            remember(&mut self.valid, pair, self.pair);
        }
        if self.pair == Some(pair) {
            self.heard = Some(now);
            if what == Heard::Media {
                self.media = Some(now);
            }
            return;
        }
        // Nothing is sent where no check of ours was answered.
        if self.pair.is_none() && self.nominated.is_none() || !self.valid.contains(&pair) {
            return;
        }
        let for_long = |since: Instant, long| now.saturating_duration_since(since) >= long;
        let has_moved = what == Heard::Media && self.media.is_some_and(|last| for_long(last, MOVED_AFTER));
        let is_silent = self.pair.is_none() || for_long(*self.heard.get_or_insert(now), SILENT_AFTER);
        let is_back = self.is_stand_in && what == Heard::Answer && self.nominated == Some(pair);
        if has_moved || is_silent || is_back {
            self.change(pair);
            self.heard = Some(now);
            self.is_stand_in = what != Heard::Media && !is_back;
        }
    }

    fn change(&mut self, pair: Pair) {
        self.pair = Some(pair);
        (self.heard, self.media) = (None, None);
        self.is_stand_in = false;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

    use super::*;

    fn pair(path: u32) -> Pair {
        (path, SocketAddr::from(([192, 0, 2, 2], 4_000)))
    }

    /// Pairs 1 and 2 work, and 1 is nominated.
    fn two() -> (InUse, Instant) {
        let (mut in_use, now) = (InUse::default(), Instant::now());
        for path in [1, 2] {
            in_use.note(now, pair(path), Heard::Answer);
        }
        assert_eq!(in_use.pair(), None, "nothing is used before it is nominated");
        in_use.nominate(pair(1));
        (in_use, now)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn media_that_moves_is_followed() {
        let (mut in_use, now) = two();
        in_use.note(now, pair(1), Heard::Media);
        // A straggler of another pair is none.
        in_use.note(now + ms(20), pair(2), Heard::Media);
        assert_eq!(in_use.pair(), Some(pair(1)));
        for at in (40..=320).step_by(20) {
            in_use.note(now + ms(at), pair(2), Heard::Media);
        }
        assert_eq!(in_use.pair(), Some(pair(2)));
        in_use.note(now + ms(330), pair(1), Heard::Answer);
        assert_eq!(in_use.pair(), Some(pair(2)), "the peer is there");
    }

    #[test]
    fn nothing_goes_where_no_check_was_answered() {
        let (mut in_use, now) = two();
        in_use.note(now, pair(1), Heard::Media);
        for what in [Heard::Media, Heard::Check] {
            in_use.note(now + ms(9_000), pair(3), what);
            assert_eq!(in_use.pair(), Some(pair(1)), "{what:?}");
        }
        in_use.note(now + ms(9_000), pair(3), Heard::Answer);
        assert_eq!(in_use.pair(), Some(pair(3)));
    }

    #[test]
    fn a_pair_without_media_is_kept_while_checks_come_by_it() {
        let (mut in_use, now) = two();
        for second in 0..60 {
            in_use.note(now + ms(1_000 * second), pair(1), Heard::Answer);
            in_use.note(now + ms(1_000 * second + 500), pair(2), Heard::Media);
            assert_eq!(in_use.pair(), Some(pair(1)), "the peer sends by another one");
        }
    }

    #[test]
    fn a_silent_pair_is_left_and_taken_again_when_it_is_back() {
        let (mut in_use, now) = two();
        in_use.note(now, pair(1), Heard::Answer);
        in_use.note(now + ms(2_400), pair(2), Heard::Check);
        assert_eq!(in_use.pair(), Some(pair(1)));
        in_use.note(now + ms(2_600), pair(2), Heard::Check);
        assert_eq!(in_use.pair(), Some(pair(2)));
        in_use.note(now + ms(2_700), pair(1), Heard::Answer);
        assert_eq!(in_use.pair(), Some(pair(1)));
    }

    #[test]
    fn silence_counts_from_the_nomination_on() {
        let (mut in_use, now) = two();
        in_use.note(now + ms(60_000), pair(2), Heard::Media);
        assert_eq!(in_use.pair(), Some(pair(1)));
    }

    #[test]
    fn a_pair_whose_path_has_gone_is_not_used_and_another_is_at_once() {
        let (mut in_use, now) = two();
        in_use.remove_path(1);
        assert_eq!(in_use.pair(), None);
        in_use.nominate(pair(2));
        in_use.note(now, pair(1), Heard::Media);
        assert_eq!(in_use.pair(), Some(pair(2)));
    }
}
