//! One direction of a cable: says when each packet comes out at its other end, if it does.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// What a link does to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// The way itself.
    pub delay: Duration,
    /// Standard deviation of what is added to it. Packets of a flow keep their order.
    pub jitter: Duration,
    /// Share of packets that is lost, 0 to 1.
    pub loss: f64,
    /// Mean length of a loss in packets (Gilbert's model); at most 1: each is lost or not for itself.
    pub burst: f64,
    /// Share of packets that comes twice.
    pub duplicates: f64,
    /// Bits in a second; 0: no limit.
    pub rate: u64,
    /// How much may wait for that limit.
    pub queue: Duration,
    /// Nothing passes for `length` once in each `period`, first at `first`.
    pub outage: Option<Outage>,
}

impl Conditions {
    /// 20 ms each way, and nothing is lost.
    pub const CLEAN: Self = Self {
        delay: Duration::from_millis(20),
        jitter: Duration::ZERO,
        loss: 0.0,
        burst: 1.0,
        duplicates: 0.0,
        rate: 0,
        queue: Duration::from_millis(250),
        outage: None,
    };

    /// A radio network at the edge of its cell.
    pub const LTE_BAD: Self = Self {
        delay: Duration::from_millis(60),
        jitter: Duration::from_millis(18),
        loss: 0.03,
        burst: 4.0,
        duplicates: 0.001,
        rate: 600_000,
        queue: Duration::from_millis(600),
        ..Self::CLEAN
    };
}

/// Times in which nothing passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outage {
    pub first: Duration,
    pub period: Duration,
    pub length: Duration,
}

impl Outage {
    fn covers(&self, now: Duration) -> bool {
        let since = now.checked_sub(self.first);
        since.is_some_and(|since| since.as_nanos() % self.period.as_nanos() < self.length.as_nanos())
    }
}

/// A link and what it remembers. Its seed fixes what happens to the nth packet.
#[derive(Debug)]
pub(super) struct Link {
    /// What holds from which time on.
    timeline: Vec<(Duration, Conditions)>,
    chance: ChaCha8Rng,
    /// A loss of several packets goes on.
    is_losing: bool,
    /// When all that waits for the limit has left.
    busy_until: Duration,
    /// When the last packet of each flow comes out.
    last: HashMap<u64, Duration>,
}

/// Flows whose order is kept at most; beyond them all are forgotten, and one packet of each may overtake.
const MAX_FLOWS: usize = 1000;

impl Link {
    pub(super) fn new(timeline: Vec<(Duration, Conditions)>, seed: u64) -> Self {
        Self {
            timeline,
            chance: ChaCha8Rng::seed_from_u64(seed),
            is_losing: false,
            busy_until: Duration::ZERO,
            last: HashMap::new(),
        }
    }

    /// When the packet comes out: never, once, or twice.
    pub(super) fn pass(&mut self, now: Duration, packet: &[u8]) -> impl Iterator<Item = Duration> + use<> {
        let last = self.timeline.iter().rev().find(|(from, _)| *from <= now);
        let conditions = last.map_or_else(Conditions::default, |(_, conditions)| *conditions);
        let is_lost = self.loses(&conditions) || conditions.outage.is_some_and(|outage| outage.covers(now));
        let copies = if is_lost {
            0
        } else {
            1 + usize::from(self.share() < conditions.duplicates)
        };
        let mut times = [None; 2];
        for time in &mut times[..copies] {
            *time = self.come_out(now, &conditions, packet);
        }
        times.into_iter().flatten()
    }

    fn come_out(&mut self, now: Duration, conditions: &Conditions, packet: &[u8]) -> Option<Duration> {
        let mut sent = now;
        if conditions.rate > 0 {
            let begins = self.busy_until.max(now);
            if begins - now > conditions.queue {
                return None;
            }
            sent = begins + Duration::from_secs_f64(packet.len() as f64 * 8.0 / conditions.rate as f64);
            self.busy_until = sent;
        }
        let drawn = self.normal() * conditions.jitter.as_secs_f64();
        let way = (conditions.delay.as_secs_f64() + drawn).max(0.0);
        if self.last.len() > MAX_FLOWS {
            self.last.clear();
        }
        let last = self.last.entry(flow(packet)).or_default();
        *last = (sent + Duration::from_secs_f64(way)).max(*last);
        Some(*last)
    }

    fn loses(&mut self, conditions: &Conditions) -> bool {
        let Conditions { loss, burst, .. } = *conditions;
        let drawn = self.share();
        if burst <= 1.0 {
            return drawn < loss;
        }
        self.is_losing = if self.is_losing {
            drawn >= 1.0 / burst
        } else {
            drawn < loss / (burst * (1.0 - loss))
        };
        self.is_losing
    }

    /// 0 to 1.
    fn share(&mut self) -> f64 {
        f64::from(self.chance.next_u32()) / f64::from(u32::MAX)
    }

    /// Of mean 0 and deviation 1, and never beyond 6: twelve even draws.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}

/// Addresses, protocol and ports of an IPv4 packet.
fn flow(packet: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (packet.get(9), packet.get(12..24)).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn link(conditions: Conditions) -> Link {
        Link::new(vec![(Duration::ZERO, conditions)], 7)
    }

    #[test]
    fn a_good_link_only_takes_its_time() {
        let mut link = link(Conditions {
            delay: ms(20),
            ..Conditions::default()
        });
        assert_eq!(link.pass(ms(5), &[0; 40]).collect::<Vec<_>>(), [ms(25)]);
    }

    #[test]
    fn losses_have_their_share_and_their_length() {
        for burst in [1.0, 4.0] {
            let mut link = link(Conditions {
                loss: 0.2,
                burst,
                ..Conditions::default()
            });
            let lost: Vec<bool> = (0..100_000).map(|at| link.pass(ms(at), &[]).next().is_none()).collect();
            let count = lost.iter().filter(|lost| **lost).count();
            let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            assert!((19_000..21_000).contains(&count), "{count}");
            let mean = count as f64 / bursts as f64;
            // Also where each is lost for itself, some stand beside another.
            let wanted = if burst > 1.0 { burst } else { 1.25 };
            assert!((mean - wanted).abs() < 0.1, "{mean}");
        }
    }

    #[test]
    fn what_is_too_much_waits_and_then_is_lost() {
        let mut link = link(Conditions {
            rate: 80_000,
            queue: ms(15),
            ..Conditions::default()
        });
        let mut pass = |at| link.pass(at, &[0; 100]).next();
        assert_eq!(
            [pass(ms(0)), pass(ms(0)), pass(ms(0))],
            [Some(ms(10)), Some(ms(20)), None]
        );
        assert_eq!(pass(ms(10)), Some(ms(30)));
    }

    #[test]
    fn a_flow_keeps_its_order_and_the_timeline_is_followed() {
        let jittery = Conditions {
            delay: ms(50),
            jitter: ms(15),
            ..Conditions::default()
        };
        let outage = Outage {
            first: ms(100),
            period: ms(50),
            length: ms(10),
        };
        let broken = Conditions {
            outage: Some(outage),
            ..Conditions::default()
        };
        let mut link = Link::new(vec![(ms(0), jittery), (ms(300), broken)], 3);
        let times: Vec<Duration> = (0..200).filter_map(|at| link.pass(ms(at), &[1; 30]).next()).collect();
        assert_eq!(times.len(), 200);
        assert!(times.is_sorted());
        let mut passes = |at| link.pass(ms(at), &[2; 30]).next().is_some();
        assert_eq!(
            [passes(305), passes(315), passes(349), passes(359)],
            [false, true, true, false]
        );
    }
}
