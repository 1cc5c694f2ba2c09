//! Sums up what repeats: the first is told at once, the others of its window together, when that has ended. So nobody can
//! fill a log or a disk with one thing said over and over.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long what repeats is only counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Keys counted at once; beyond, only how many there were is known.
const MAX_KEYS: usize = 1024;

/// What repeats, by what makes it the same.
#[derive(Debug)]
pub struct Summaries<K, V> {
    windows: BTreeMap<K, Window<V>>,
    /// In the order in which they end.
    ends: VecDeque<(Instant, K)>,
    /// Of too many keys: when their window ends, the latest, and how many there were.
    unlisted: Option<(Instant, V, u32)>,
}

#[derive(Debug)]
struct Window<V> {
    latest: Option<V>,
    count: u32,
}

impl<K, V> Default for Summaries<K, V> {
    fn default() -> Self {
        Self {
            windows: BTreeMap::new(),
            ends: VecDeque::new(),
            unlisted: None,
        }
    }
}

impl<K: Ord + Clone, V> Summaries<K, V> {
    /// Notes one more; gives it back if it is the first of its window, to be told now.
    pub fn note(&mut self, now: Instant, key: K, value: V) -> Option<V> {
        if let Some(window) = self.windows.get_mut(&key) {
            window.latest = Some(value);
            window.count = window.count.saturating_add(1);
            return None;
        }
        if self.windows.len() >= MAX_KEYS {
            let (end, before) = match self.unlisted.take() {
                Some((end, _, count)) => (end, count),
                None => (now + WINDOW, 0),
            };
            self.unlisted = Some((end, value, before.saturating_add(1)));
            return None;
        }
        let window = Window { latest: None, count: 0 };
        self.windows.insert(key.clone(), window);
        self.ends.push_back((now + WINDOW, key));
        Some(value)
    }

    /// Of a window that has ended its key, the latest, and how many there were after the first; none if there was only that.
    pub fn poll(&mut self, now: Instant) -> Option<(K, V, u32)> {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            let (_, key) = self.ends.pop_front()?;
            let window = self.windows.remove(&key)?;
            if let Some(latest) = window.latest {
                return Some((key, latest, window.count));
            }
        }
        None
    }

    /// Ends all windows now, since there will be no later.
    pub fn end_all(&mut self, now: Instant) {
        let unlisted = self.unlisted.iter_mut().map(|(end, ..)| end);
        let ends = self.ends.iter_mut().map(|(end, _)| end);
        ends.chain(unlisted).for_each(|end| *end = now.min(*end));
    }

    /// Of too many keys the latest, and how many there were in a window that has ended.
    pub fn poll_unlisted(&mut self, now: Instant) -> Option<(V, u32)> {
        let (_, latest, count) = self.unlisted.take_if(|(end, ..)| *end <= now)?;
        Some((latest, count))
    }

    /// When the next window ends.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let unlisted = self.unlisted.as_ref().map(|(end, ..)| *end);
        let listed = self.ends.front().map(|(end, _)| *end);
        listed.into_iter().chain(unlisted).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_others_are_counted() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut summaries = Summaries::default();
        let told: Vec<_> = (0..50).filter_map(|n| summaries.note(at(n), n % 2, n)).collect();
        assert_eq!(told, [0, 1]);
        assert_eq!(summaries.poll(at(59)), None);
        assert_eq!(summaries.poll_timeout(), Some(at(60)));
        assert_eq!(summaries.poll(at(61)), Some((0, 48, 24)));
        assert_eq!(summaries.poll(at(61)), Some((1, 49, 24)));
        assert_eq!(summaries.poll(at(61)), None);
        // A process that stops tells what it has.
        (200..203).for_each(|n| _ = summaries.note(at(150), 0, n));
        summaries.end_all(at(151));
        assert_eq!(summaries.poll(at(151)), Some((0, 202, 2)));
        assert_eq!(summaries.poll_timeout(), None);
        // One that does not repeat is told once.
        assert_eq!(summaries.note(at(160), 7, 7), Some(7));
        assert_eq!(summaries.poll(at(300)), None);
        assert_eq!(summaries.poll_timeout(), None);
    }

    #[test]
    fn any_number_of_keys_is_bounded() {
        let now = Instant::now();
        let mut summaries = Summaries::default();
        let told = (0..5000).filter(|n| summaries.note(now, *n, *n).is_some()).count();
        assert_eq!(told, MAX_KEYS);
        assert_eq!(summaries.poll_unlisted(now), None);
        assert_eq!(summaries.poll(now + WINDOW), None);
        assert_eq!(
            summaries.poll_unlisted(now + WINDOW),
            Some((4999, 5000 - MAX_KEYS as u32))
        );
        assert_eq!(summaries.poll_timeout(), None);
    }

    /// They were told when no window was open, which an attack without a pause never lets happen.
    #[test]
    fn too_many_keys_are_told_while_they_go_on() {
        let begin = Instant::now();
        let (mut summaries, mut told) = (Summaries::default(), 0);
        for second in 0..600 {
            let now = begin + Duration::from_secs(second);
            (0..100).for_each(|n| _ = summaries.note(now, 100 * second + n, ()));
            while summaries.poll(now).is_some() {}
            told += summaries.poll_unlisted(now).map_or(0, |(_, count)| count);
            assert!(summaries.poll_timeout().is_some_and(|end| end <= now + WINDOW));
        }
        assert!(told > 30_000, "{told}");
    }
}
