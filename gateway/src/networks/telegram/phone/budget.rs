//! How often an account asks the service for what the service counts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// After a wait that the service has ordered, a little more.
const MARGIN: Duration = Duration::from_secs(30);
/// Beyond `PEER_FLOOD` there is nothing for so long.
pub(super) const PEER_FLOOD: Duration = Duration::from_secs(24 * 3600);

/// Requests of one kind.
#[derive(Debug)]
pub(super) struct Budget {
    max: usize,
    period: Duration,
    /// When they were made, within the last period.
    made: VecDeque<Instant>,
    /// Nothing before then: the service has said so.
    not_before: Option<Instant>,
}

impl Budget {
    pub(super) fn new(max: u32, period: Duration) -> Self {
        Self {
            max: max as usize,
            period,
            made: VecDeque::new(),
            not_before: None,
        }
    }

    /// How long until one may be made; zero if it may.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        while self
            .made
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= self.period)
        {
            self.made.pop_front();
        }
        let of_service = self.paused(now);
        let of_ours = if self.made.len() < self.max {
            Duration::ZERO
        } else {
            // The one that has to be forgotten first.
            let first = self.made.get(self.made.len() - self.max).or(self.made.front());
            first.map_or(self.period, |at| (*at + self.period).saturating_duration_since(now))
        };
        of_service.max(of_ours)
    }

    /// How long the service wants none, from now on.
    pub(super) fn paused(&self, now: Instant) -> Duration {
        self.not_before
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// One is made.
    pub(super) fn make(&mut self, now: Instant) {
        self.made.push_back(now);
    }

    /// How many were made of late.
    pub(super) fn made(&self) -> usize {
        self.made.len()
    }

    /// The service wants a pause: from now on we make fewer than brought that about, or half as many as before.
    pub(super) fn flooded(&mut self, now: Instant, wait: Duration) {
        self.not_before = Some(now + wait + MARGIN);
        let fewer = self.made.len().saturating_sub(1).max(self.max / 2).max(1);
        self.max = self.max.min(fewer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_period_and_fewer_after_a_flood() {
        let start = Instant::now();
        let hour = Duration::from_secs(3600);
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let mut budget = Budget::new(3, hour);
        for minute in 0..3 {
            assert_eq!(budget.wait(at(minute)), Duration::ZERO);
            budget.make(at(minute));
        }
        assert_eq!(budget.wait(at(10)), Duration::from_secs(50 * 60));
        assert_eq!(budget.wait(at(60)), Duration::ZERO);
        budget.make(at(60));
        budget.flooded(at(60), Duration::from_secs(600));
        assert_eq!(budget.wait(at(60)), Duration::from_secs(630));
        assert_eq!(budget.wait(at(200)), Duration::ZERO);
        budget.make(at(200));
        budget.make(at(200));
        assert!(budget.wait(at(201)) > Duration::ZERO, "it has learnt");
    }

    #[test]
    fn a_flood_without_a_request_leaves_one() {
        let start = Instant::now();
        let mut budget = Budget::new(30, Duration::from_secs(3600));
        budget.flooded(start, Duration::from_secs(5));
        assert_eq!(budget.wait(start), Duration::from_secs(35));
        assert_eq!(budget.wait(start + Duration::from_secs(35)), Duration::ZERO);
    }
}
