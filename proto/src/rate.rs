//! How often something may happen: the one rate limiter for logins, responses to strangers, calls and hub requests.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A rate with a burst: one thing for each interval, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: Duration,
}

impl Rate {
    /// `count` things in each `period`, all of them at once if need be.
    #[must_use]
    pub fn new(count: u32, period: Duration) -> Self {
        Self {
            interval: period / count.max(1),
            burst: period,
        }
    }

    /// One thing for each `interval`, and `burst` (at least 1) at once.
    #[must_use]
    pub fn every(interval: Duration, burst: u32) -> Self {
        Self {
            interval,
            burst: interval.saturating_mul(burst.max(1)),
        }
    }

    /// `count` things a minute, half of them (at least 1) at once.
    #[must_use]
    pub fn per_minute(count: u32) -> Self {
        Self::every(Duration::from_secs(60) / count.max(1), count / 2)
    }

    /// One user's share of what several have in common [per minute](Self::per_minute): as much at once, and half as much in a
    /// minute, so that the other half is there for others.
    #[must_use]
    pub fn half_of_per_minute(count: u32) -> Self {
        Self::every(Duration::from_secs(120) / count.max(1), count / 2)
    }
}

/// What was taken of a [`Rate`]: the generic cell rate algorithm, ITU-T I.371.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateLimiter {
    /// When nothing is owed any more.
    next: Option<Instant>,
}

impl RateLimiter {
    /// Takes `count` things, or says how long to wait and takes nothing. A rested limiter gives any count once.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&mut self, now: Instant, rate: Rate, count: u32) -> Result<(), Duration> {
        let next = self.next.map_or(now, |next| next.max(now));
        let cost = rate.interval.saturating_mul(count);
        let full = next.saturating_duration_since(now).saturating_add(cost);
        if full > rate.burst && next > now {
            return Err(full - rate.burst);
        }
        self.next = next.checked_add(cost);
        Ok(())
    }

    /// How long until one thing may be taken; zero if it may be now.
    #[must_use]
    pub fn wait(mut self, now: Instant, rate: Rate) -> Duration {
        self.take(now, rate, 1).err().unwrap_or_default()
    }

    /// When nothing is owed any more, so that the limiter may be forgotten.
    #[must_use]
    pub fn rested_at(&self) -> Option<Instant> {
        self.next
    }

    /// Whether nothing is owed any more.
    #[must_use]
    pub fn is_rested(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }
}

/// What counts as one source: an IPv4 address, or a /64 of IPv6, which is one customer.
#[must_use]
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        // This machine is no customer of a /64.
        IpAddr::V6(address) if address.is_loopback() => IpAddr::V6(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // a test needs some instant to count from
    fn a_burst_then_one_each_interval() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let rate = Rate::every(Duration::from_secs(10), 3);
        let mut limiter = RateLimiter::default();
        let taken = (0..100)
            .filter(|second| limiter.take(at(*second), rate, 1).is_ok())
            .collect::<Vec<_>>();
        assert_eq!(taken, [0, 1, 2, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        assert_eq!(limiter.wait(at(95), rate), Duration::from_secs(5));
        assert_eq!(limiter.wait(at(100), rate), Duration::ZERO);
        assert!(!limiter.is_rested(at(119)) && limiter.is_rested(at(120)));
        assert!(
            limiter.take(at(1000), rate, 1_000).is_ok(),
            "a rested limiter gives any count"
        );
        assert!(limiter.take(at(1001), rate, 1).is_err());
        let minute = Rate::per_minute(10);
        let mut limiter = RateLimiter::default();
        let taken = (0..60).filter(|s| limiter.take(at(*s), minute, 1).is_ok()).count();
        assert_eq!(taken, 5 + 9);
        assert!(RateLimiter::default().take(begin, Rate::per_minute(1), 1).is_ok());
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_a_64() {
        for (address, source) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::1"),
        ] {
            assert_eq!(source_of(address.parse().unwrap()), source.parse::<IpAddr>().unwrap());
        }
    }
}
