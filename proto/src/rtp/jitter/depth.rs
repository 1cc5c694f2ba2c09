//! How deep the buffer should be, in the simplest form of the rule: a percentile of the delay over the fastest packet.

/// Span of the window whose minimum counts as the undisturbed delay.
const WINDOW_NS: u64 = 2_000_000_000;
const BUCKETS: usize = 8;
const BUCKET_NS: u64 = WINDOW_NS / BUCKETS as u64;

/// The smallest transit time of the last 2 s.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WindowMinimum {
    /// Minimum of each stretch of 250 ms, and which stretch it is of.
    buckets: [Option<(u64, i64)>; BUCKETS],
    value: i64,
}

impl WindowMinimum {
    /// Takes a packet's transit time; its excess over the minimum, in nanoseconds.
    pub(super) fn observe(&mut self, now_ns: u64, transit: i64) -> u64 {
        let stretch = now_ns / BUCKET_NS;
        let slot = &mut self.buckets[(stretch % BUCKETS as u64) as usize];
        *slot = match *slot {
            Some((of, least)) if of == stretch => Some((of, least.min(transit))),
            _ => Some((stretch, transit)),
        };
        let oldest = stretch.saturating_sub(BUCKETS as u64 - 1);
        let recent = self
            .buckets
            .iter()
            .flatten()
            .filter(|(of, _)| (oldest..=stretch).contains(of));
        self.value = recent.map(|(_, least)| *least).min().unwrap_or(transit);
        transit.saturating_sub(self.value).unsigned_abs()
    }

    pub(super) fn value(&self) -> i64 {
        self.value
    }
}

/// Step of the histogram.
const STEP_NS: u64 = 10_000_000;
/// Deepest: 500 ms.
const STEPS: usize = 50;
/// Share of the packets that should be in time.
const IN_TIME: f32 = 0.97;
/// Memory of the histogram in packets.
const MEMORY: f32 = 240.0;

/// Follows the delays of a stream and names a depth: the one that 97 % of the packets of a fading memory keep.
///
/// Feed it the `delay_ns` of every stored or late packet.
#[derive(Clone, Debug)]
pub struct Depth {
    shares: [f32; STEPS],
}

impl Default for Depth {
    fn default() -> Self {
        Self::new()
    }
}

impl Depth {
    /// Begins without any delay seen: depth 0 once packets come evenly.
    #[must_use]
    pub fn new() -> Self {
        let mut shares = [0.0; STEPS];
        shares[0] = 1.0;
        Depth { shares }
    }

    /// Takes one packet's delay over the window minimum.
    pub fn observe(&mut self, delay_ns: u64) {
        let step = usize::try_from(delay_ns / STEP_NS).unwrap_or(STEPS).min(STEPS - 1);
        for share in &mut self.shares {
            *share *= 1.0 - 1.0 / MEMORY;
        }
        self.shares[step] += 1.0 / MEMORY;
    }

    /// The depth to aim at, in whole steps of 10 ms.
    #[must_use]
    pub fn target(&self) -> u64 {
        let mut sum = 0.0;
        for (step, share) in self.shares.iter().enumerate() {
            sum += share;
            if sum >= IN_TIME {
                return step as u64 * STEP_NS;
            }
        }
        (STEPS as u64 - 1) * STEP_NS
    }
}
