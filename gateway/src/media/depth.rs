//! How deep the receiving buffer should be: the depth of least expected cost.
//!
//! Too shallow costs lost speech, too deep costs delay; both are counted in points of the E-model's R scale, and the sum is
//! least somewhere. Measured over 280 recorded networks this beats percentile rules by 0.18 MOS.

use quartet_proto::rtp::repair::{Arrival, Times};

use super::quality::delay_impairment;

/// Step of depths and of the histogram.
const STEP_NS: u64 = 10_000_000;
/// Delays from 490 ms up share the last step.
const STEPS: usize = 50;
/// Points of R that a unit of lost speech costs in packets of 20 ms, fitted by measurement; of 60 ms it is twice as much, by what PESQ
/// says of streams with 3 to 7 % of such packets lost.
const LOST: f32 = 181.0;
const USUAL_MS: f32 = 20.0;
/// What FEC needs is counted for at most this share of loss.
const MAX_LOSS: f32 = 0.3;
/// Memories in packets, and the weight of the long one.
const SHORT: f32 = 240.0;
const LONG: f32 = 1_130.0;
const LONG_WEIGHT: f32 = 0.02;
/// The same of lost packets that were sent again, and how many of them tell nothing yet.
const RESENT: f32 = 60.0;
const FEW: u32 = 5;
/// The path's delay while no round trip is known.
const PATH_MS: f32 = 40.0;
/// What is sent again may make the depth so much larger than it would be without, or as large as one answer takes, which comes with
/// this spread.
const MAX_REPAIR_NS: u64 = 150_000_000;
const SPREAD_NS: u64 = 50_000_000;
/// From this loss on delay has this weight where lost packets are sent again: speech with holes is understood less than speech that is late.
const LOSSY: f32 = 0.02;
const LOSSY_WEIGHT: f32 = 0.3;
/// Points of R for which the depth is changed: stretching is heard as well.
const WORTH: f32 = 0.5;
/// Asks for one packet that are counted on.
const MAX_ASKS: u64 = 3;
/// How often the depth is chosen anew.
const EVERY_NS: u64 = 100_000_000;

/// Follows the delays of a stream and chooses the depth.
#[derive(Debug)]
pub(crate) struct DepthRule {
    short: Histogram,
    long: Histogram,
    /// Of lost packets that were sent again.
    resent: Histogram,
    /// How many of these there were.
    resent_count: u32,
    chosen_ns: u64,
    next_ns: u64,
}

impl DepthRule {
    pub(crate) fn new() -> Self {
        Self {
            short: Histogram::new(SHORT),
            long: Histogram::new(LONG),
            resent: Histogram::new(RESENT),
            resent_count: 0,
            chosen_ns: STEP_NS,
            next_ns: 0,
        }
    }

    /// Takes a packet's delay over the fastest of late, as what it came.
    pub(crate) fn observe_as(&mut self, arrival: Arrival, delay_ns: u64) {
        match arrival {
            Arrival::Sent => self.observe(delay_ns),
            Arrival::Resent => self.observe_resent(delay_ns),
            Arrival::Again => {}
        }
    }

    /// Takes a packet's delay over the fastest of late.
    pub(crate) fn observe(&mut self, delay_ns: u64) {
        self.short.add(step_of(delay_ns));
        self.long.add(step_of(delay_ns));
    }

    /// The same of a packet that was lost and sent again.
    pub(crate) fn observe_resent(&mut self, delay_ns: u64) {
        self.resent.add(step_of(delay_ns));
        self.resent_count = self.resent_count.saturating_add(1);
    }

    /// Chooses the depth to aim at anew, ten times a second at most. `packet_ns` is the packet's duration.
    pub(crate) fn choose_at(&mut self, now_ns: u64, path: Path, packet_ns: u64) {
        if now_ns >= self.next_ns {
            self.next_ns = now_ns + EVERY_NS;
            self.chosen_ns = self.choose(path, packet_ns);
        }
    }

    /// The depth chosen last.
    pub(crate) fn chosen(&self) -> u64 {
        self.chosen_ns
    }

    /// Share of the packets of late that were this much later than the fastest.
    pub(crate) fn late(&self, ns: u64) -> f32 {
        let from = usize::try_from(ns / STEP_NS).unwrap_or(STEPS).min(STEPS);
        (from..STEPS).map(|step| self.short.share(step)).sum()
    }

    fn choose(&self, path: Path, packet_ns: u64) -> u64 {
        let without = Path { repair: None, ..path };
        let base_ns = self.cheapest(without, packet_ns, 1.0, STEPS, 0);
        let Some(repair) = path.repair.filter(|_| path.loss > 0.0) else {
            return base_ns;
        };
        let reach_ns = (base_ns + MAX_REPAIR_NS).max(repair.times.first_ns + SPREAD_NS);
        let weight = 1.0 - (1.0 - LOSSY_WEIGHT) * (path.loss / LOSSY).clamp(0.0, 1.0);
        // As long as something is lost the shares sway.
        self.cheapest(path, packet_ns, weight, step_of(reach_ns) + 1, self.chosen_ns)
    }

    /// The depth of least cost below that step, where delay has that weight, or the one that is kept if it is hardly worse.
    fn cheapest(&self, path: Path, packet_ns: u64, weight: f32, end: usize, kept_ns: u64) -> u64 {
        let (mut late, mut unrepaired) = ([0.0; STEPS + 1], [0.0; STEPS + 1]);
        for step in (0..STEPS).rev() {
            let share = (1.0 - LONG_WEIGHT) * self.short.share(step) + LONG_WEIGHT * self.long.share(step);
            late[step] = late[step + 1] + share;
            unrepaired[step] = unrepaired[step + 1] + self.resent.share(step);
        }
        // The share of what was lost that has not come by a step either.
        let missing = |step: usize| match path.repair {
            None => 1.0,
            Some(repair) if self.resent_count < FEW => repair.unrepaired(step as u64 * STEP_NS, path.loss),
            Some(repair) => 1.0 - repair.success * (1.0 - unrepaired[step]),
        };
        let ms = |ns: u64| ns as f32 / 1e6;
        let fixed = path.round_trip_ns.map_or(PATH_MS, |ns| ms(ns) / 2.0) + ms(packet_ns);
        let packet = (packet_ns / STEP_NS) as usize;
        let loss = path.loss.clamp(0.0, MAX_LOSS);
        let lost = LOST * (1.0 + (ms(packet_ns) - USUAL_MS).clamp(0.0, 2.0 * USUAL_MS) / (2.0 * USUAL_MS));
        let (mut best, mut kept) = ((f32::INFINITY, 0), f32::INFINITY);
        for step in 1..end.min(STEPS) {
            let delayed = weight * delay_impairment(fixed + ms(step as u64 * STEP_NS));
            if delayed >= best.0 + WORTH {
                break;
            }
            // Of what is missing the next packet has something.
            let without_next = late[step.saturating_sub(packet)].max(1.0 - path.fec);
            let cost = lost * (late[step] + loss * missing(step) * without_next) + delayed;
            if cost + 1e-3 < best.0 {
                best = (cost, step);
            }
            if step as u64 * STEP_NS == kept_ns {
                kept = cost;
            }
        }
        if kept <= best.0 + WORTH {
            return kept_ns;
        }
        best.1 as u64 * STEP_NS
    }
}

fn step_of(delay_ns: u64) -> usize {
    usize::try_from(delay_ns / STEP_NS).unwrap_or(STEPS).min(STEPS - 1)
}

/// What the path is known to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// Share of packets that do not come by themselves.
    pub(crate) loss: f32,
    /// Round trip.
    pub(crate) round_trip_ns: Option<u64>,
    /// How long it takes until what was lost has been sent again, if the peer does that.
    pub(crate) repair: Option<Repaired>,
    /// How much of a lost packet the next one restores, 0 to 1.
    pub(crate) fec: f32,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            loss: 0.0,
            round_trip_ns: None,
            repair: None,
            fec: 1.0,
        }
    }
}

/// What is known of packets that are sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repaired {
    /// How long that takes.
    pub(crate) times: Times,
    /// The share of the lost ones that come after all, 0 to 1.
    pub(crate) success: f32,
}

impl Repaired {
    /// The share of what was lost that does not come within this time either, before much of that was seen.
    fn unrepaired(&self, depth_ns: u64, loss: f32) -> f32 {
        let Times { first_ns, again_ns } = self.times;
        // Answers spread.
        let Some(rest_ns) = depth_ns.checked_sub(first_ns + STEP_NS) else {
            return 1.0;
        };
        let asks = (1 + rest_ns / again_ns.max(STEP_NS)).min(MAX_ASKS);
        // Question and answer may be lost as well.
        let answered = (1.0 - loss.clamp(0.0, 1.0)).powi(2);
        (1.0 - answered).powi(asks as i32)
    }
}

/// Shares of steps, the older the fainter: new entries weigh more instead of all old ones being made lighter.
#[derive(Debug)]
struct Histogram {
    weights: [f32; STEPS],
    total: f32,
    next: f32,
    growth: f32,
}

impl Histogram {
    fn new(memory: f32) -> Self {
        Self {
            weights: [0.0; STEPS],
            total: 0.0,
            next: 1.0,
            growth: memory / (memory - 1.0),
        }
    }

    fn add(&mut self, step: usize) {
        self.weights[step] += self.next;
        self.total += self.next;
        self.next *= self.growth;
        if self.next > 1e12 {
            let scale = 1.0 / self.next;
            self.weights.iter_mut().for_each(|weight| *weight *= scale);
            self.total = self.weights.iter().sum();
            self.next = 1.0;
        }
    }

    fn share(&self, step: usize) -> f32 {
        if self.total > 0.0 {
            self.weights[step] / self.total
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    const MS: u64 = 1_000_000;

    fn target(rule: &mut DepthRule, now_ns: u64, loss: f32, packet_ns: u64, round_trip_ns: Option<u64>) -> u64 {
        let path = Path {
            loss,
            round_trip_ns,
            ..Path::default()
        };
        rule.choose_at(now_ns, path, packet_ns);
        rule.chosen()
    }

    #[test]
    fn loss_waits_for_what_was_asked_for_as_often_as_it_is_worth_it() {
        let chosen = |loss, round_trip_ms| {
            let mut rule = DepthRule::new();
            for _ in 0..2_000 {
                rule.observe(MS);
            }
            let path = Path {
                loss,
                round_trip_ns: Some(round_trip_ms * MS),
                repair: Some(Repaired {
                    times: Times {
                        first_ns: (25 + round_trip_ms) * MS,
                        again_ns: (30 + round_trip_ms) * MS,
                    },
                    success: 0.9,
                }),
                fec: 0.3,
            };
            rule.choose_at(0, path, 60 * MS);
            rule.chosen() / MS
        };
        assert_eq!(chosen(0.0, 40), 10, "nothing is lost");
        assert_eq!(chosen(0.05, 40), 80, "once");
        assert_eq!(chosen(0.2, 40), 220, "three times");
        assert_eq!(chosen(0.005, 200), 10, "it is hardly worth the delay");
        assert_eq!(chosen(0.05, 200), 240, "once");
    }

    #[test]
    fn what_comes_again_is_waited_for_as_long_as_it_takes() {
        let chosen = |late_ms: u64, success| {
            let mut rule = DepthRule::new();
            for packet in 0..2_000 {
                rule.observe(MS);
                if packet % 5 == 0 {
                    rule.observe_resent((80 + packet % 2 * late_ms) * MS);
                }
            }
            let times = Times {
                first_ns: 65 * MS,
                again_ns: 70 * MS,
            };
            let path = Path {
                loss: 0.2,
                round_trip_ns: Some(40 * MS),
                repair: Some(Repaired { times, success }),
                fec: 0.3,
            };
            rule.choose_at(0, path, 60 * MS);
            rule.chosen() / MS
        };
        assert_eq!(chosen(0, 0.9), 90);
        assert_eq!(chosen(60, 0.9), 150);
        assert_eq!(chosen(400, 0.9), 90, "half of it is not worth that");
        assert!(chosen(60, 0.0) <= 80, "it never comes");
    }

    #[test]
    fn an_even_stream_needs_one_step_and_jitter_more() {
        let mut rule = DepthRule::new();
        for packet in 0..500 {
            rule.observe(packet % 3 * MS);
        }
        assert_eq!(target(&mut rule, 0, 0.0, 20 * MS, None), 10 * MS);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..1_000 {
            rule.observe(u64::from(rng.next_u32() % 60) * MS);
        }
        assert_eq!(
            target(&mut rule, 50 * MS, 0.0, 20 * MS, None),
            10 * MS,
            "chosen ten times a second"
        );
        let deep = target(&mut rule, 200 * MS, 0.0, 20 * MS, None);
        assert!((40 * MS..=60 * MS).contains(&deep), "{deep}");
        assert!(rule.late(20 * MS) > 0.5);
        for packet in 0..3_000 {
            rule.observe(packet % 3 * MS);
        }
        // Up to 100 ms in all, delay costs next to nothing, and what the long memory holds is worth it.
        assert!(target(&mut rule, 400 * MS, 0.0, 20 * MS, None) <= 60 * MS);
        assert!(rule.late(20 * MS) < 0.001);
    }

    #[test]
    fn loss_waits_for_the_next_packet() {
        let mut rule = DepthRule::new();
        for _ in 0..2_000 {
            rule.observe(MS);
        }
        assert_eq!(target(&mut rule, 0, 0.2, 20 * MS, None), 30 * MS);
    }

    #[test]
    fn a_hopeless_path_is_not_made_worse() {
        let mut rule = DepthRule::new();
        for packet in 0..2_000 {
            rule.observe(if packet % 100 == 0 { 450 * MS } else { MS });
        }
        assert!(target(&mut rule, 0, 0.0, 20 * MS, Some(800 * MS)) <= 20 * MS);
        for _ in 0..100_000 {
            rule.observe(u64::MAX);
        }
        assert!(target(&mut rule, MS * 1_000, 1.0, u64::MAX, Some(u64::MAX)) <= 490 * MS);
    }
}
