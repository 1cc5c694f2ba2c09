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
    unlisted: u64,
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
            unlisted: 0,
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
            self.unlisted += 1;
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
        self.ends.iter_mut().for_each(|(end, _)| *end = now.min(*end));
    }

    /// How many there were of too many keys, once all windows have ended.
    pub fn take_unlisted(&mut self) -> u64 {
        if self.windows.is_empty() {
            std::mem::take(&mut self.unlisted)
        } else {
            0
        }
    }

    /// When the next window ends.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ends.front().map(|(end, _)| *end)
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
        let told = (0..5000).filter(|n| summaries.note(now, *n, ()).is_some()).count();
        assert_eq!(told, MAX_KEYS);
        assert_eq!(summaries.take_unlisted(), 0);
        assert_eq!(summaries.poll(now + WINDOW), None);
        assert_eq!(summaries.take_unlisted(), 5000 - MAX_KEYS as u64);
    }
}
