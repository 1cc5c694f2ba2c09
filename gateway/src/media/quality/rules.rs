//! Rules: fewer packets first when they queue up, for headers are half of what goes over the wire; then fewer bits; and up again
//! step by step.
//!
//! Loss alone takes nothing away. Measured: below 16 kbit/s more is lost than a fifth of the packets, and redundancy needs bits
//! (see docs/quality.md). A peer that misses much and does not ask for it gets each packet twice (RFC 7198), as long as nothing
//! queues up.

use std::{collections::VecDeque, time::Duration};

use super::{Controller, Decision, Features, Reason};

/// Bit rate up to wideband and above it, in bit/s: from here on there is redundancy whatever the codec is told.
const BITRATE: u32 = 24_000;
const BITRATE_FULL: u32 = 32_000;
const WIDE: u32 = 16_000;
/// From one step to the next: bit rate at most, frames in a packet. On the wire 46, 35, 32 and 24 kbit/s; of what a wideband phone
/// says 54 and 43 in the first two.
const STEPS: [(u32, u32); 4] = [(u32::MAX, 1), (u32::MAX, 2), (24_000, 3), (16_000, 3)];
/// A call begins with so few packets until the way has been calm for so long: what fills a queue before it is known how long the empty
/// way takes is not seen.
const FIRST: usize = 1;
const FIRST_CALM_NS: u64 = 2_500_000_000;
/// The last step that takes headers alone: beyond it speech suffers, and a queue has to be longer than this for it. A narrow line makes
/// every packet take longer, ours and the peer's, without one.
const HEADERS: usize = 2;
const SUFFERS: Duration = Duration::from_millis(150);
/// Loss told to a codec, in 1/1000, before anything is known; from here on it is told as it is, and less is told as none: then the
/// codec does not protect at all, for that costs more than it brings (0.1 of PESQ on a clean way).
const MIN_LOSS: u32 = 10;
/// From here on loss is a reason.
const LOSSY: f32 = 0.02;
/// From here on packets are repeated. The peer then counts as missing only what was lost twice: its share is the square.
const REPEATS: f32 = 0.08;
/// The shortest round trip of so many measurements is that of the empty way.
const BASE: usize = 30;
/// A round trip that is longer than that by this, and by so many of its usual deviations, has a queue in it ...
const QUEUE: Duration = Duration::from_millis(25);
const DEVIATIONS: f32 = 4.0;
/// ... if so many in a row say so; or one, if it is by this much and twice as many deviations.
const IN_A_ROW: u32 = 2;
const LONG_QUEUE: Duration = Duration::from_millis(80);
/// The newer deviations weigh more.
const MEMORY: f32 = 8.0;
/// How long it must be calm before a step is tried; so many times as long after each time that it was in vain, which shows within this.
const IN_VAIN: u64 = 4;
const CALM_NS: u64 = 4_000_000_000;
const MAX_CALM_NS: u64 = 64_000_000_000;
/// The last step brings least, and is tried a third as often: speech is whole before it.
const LAST_STEP: u64 = 3;
const FIRST_CALM: [u64; STEPS.len()] = [LAST_STEP * CALM_NS, CALM_NS, CALM_NS, CALM_NS];
const IN_VAIN_NS: u64 = 8_000_000_000;

/// The rules, for one stream.
pub(crate) struct Rules {
    round_trips: VecDeque<Duration>,
    /// How far a round trip is from the one before, in seconds.
    deviation: f32,
    long_in_a_row: u32,
    step: usize,
    /// Nothing has been changed yet.
    is_first: bool,
    /// When there was last a queue, or a change.
    disturbed_ns: u64,
    /// When more was last tried.
    tried_ns: Option<u64>,
    /// How long it must be calm before each step is tried.
    calm_ns: [u64; STEPS.len()],
    more_ms: u32,
    repeats: bool,
}

impl Rules {
    pub(crate) fn new() -> Self {
        Self {
            round_trips: VecDeque::with_capacity(BASE),
            deviation: 0.0,
            long_in_a_row: 0,
            step: FIRST,
            is_first: true,
            disturbed_ns: 0,
            tried_ns: None,
            calm_ns: FIRST_CALM,
            more_ms: 0,
            repeats: false,
        }
    }

    /// How much longer than on the empty way this round trip is, if that is a queue.
    fn queue(&mut self, round_trip: Duration) -> Option<Duration> {
        let before = self.round_trips.back().copied();
        if self.round_trips.len() == BASE {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(round_trip);
        let base = self.round_trips.iter().min().copied()?;
        let more = round_trip - base;
        if more > QUEUE.max(self.usual()) {
            return Some(more);
        }
        // A queue that grows is no deviation.
        if let Some(before) = before {
            let far = before.abs_diff(round_trip).as_secs_f32();
            self.deviation += (far - self.deviation) / MEMORY;
        }
        None
    }

    /// By how much round trips are longer without a queue.
    fn usual(&self) -> Duration {
        Duration::from_secs_f32(DEVIATIONS * self.deviation)
    }

    fn on_round_trip(&mut self, now_ns: u64, round_trip: Duration) {
        if self.round_trips.is_empty() {
            self.disturbed_ns = now_ns;
        }
        let Some(more) = self.queue(round_trip) else {
            self.long_in_a_row = 0;
            return self.try_more(now_ns);
        };
        self.disturbed_ns = now_ns;
        self.more_ms = u32::try_from(more.as_millis()).unwrap_or(u32::MAX);
        self.long_in_a_row += 1;
        let is_long = more > LONG_QUEUE.max(self.usual() * 2);
        let tried = self
            .tried_ns
            .filter(|tried_ns| now_ns.saturating_sub(*tried_ns) < IN_VAIN_NS);
        if self.long_in_a_row < IN_A_ROW && !is_long && tried.is_none() {
            return;
        }
        self.long_in_a_row = 0;
        if self.step >= HEADERS && more < SUFFERS {
            return;
        }
        if tried.is_some() {
            let calm_ns = &mut self.calm_ns[self.step];
            *calm_ns = (*calm_ns * IN_VAIN).min(MAX_CALM_NS);
        }
        self.tried_ns = None;
        self.step = if is_long {
            (self.step + 1).max(HEADERS)
        } else {
            self.step + 1
        };
        self.step = self.step.min(STEPS.len() - 1);
        self.is_first = false;
    }

    /// One step up, if it has been calm for long enough.
    fn try_more(&mut self, now_ns: u64) {
        let calm_ns = match self.step.checked_sub(1) {
            Some(_) if self.is_first => FIRST_CALM_NS,
            Some(next) => self.calm_ns[next],
            None => u64::MAX,
        };
        if now_ns.saturating_sub(self.disturbed_ns) >= calm_ns {
            self.step -= 1;
            self.is_first = false;
            self.disturbed_ns = now_ns;
            self.tried_ns = Some(now_ns);
        } else if self
            .tried_ns
            .is_some_and(|tried_ns| now_ns.saturating_sub(tried_ns) >= IN_VAIN_NS)
        {
            self.calm_ns[self.step] = FIRST_CALM[self.step];
            self.tried_ns = None;
        }
    }
}

impl Controller for Rules {
    fn decide(&mut self, features: &Features) -> Decision {
        if let Some(round_trip) = features.round_trip {
            self.on_round_trip(features.now_ns, round_trip);
        }
        let told = features.loss.map(|loss| loss.clamp(0.0, 1.0));
        let loss = told.unwrap_or(0.0);
        let loss = if self.repeats { loss.sqrt() } else { loss };
        // As soon as it misses nothing it is looked whether it would without.
        self.repeats =
            (self.step == 0 || self.is_first) && !features.asks && loss > 0.0 && (self.repeats || loss >= REPEATS);
        let loss_permille = match (loss * 1000.0) as u32 {
            0..MIN_LOSS if told.is_some() => 0,
            permille => permille.max(MIN_LOSS),
        };
        let usual = if features.rate > WIDE { BITRATE_FULL } else { BITRATE };
        let (most, frames) = STEPS[self.step];
        let reason = match self.step {
            0 if loss >= LOSSY => Reason::Loss,
            0 => Reason::Clear,
            _ if self.is_first => Reason::Begins,
            _ if self.disturbed_ns == features.now_ns && self.tried_ns != Some(features.now_ns) => {
                Reason::Queue { more_ms: self.more_ms }
            }
            _ => Reason::Careful,
        };
        Decision {
            bitrate: usual.min(most),
            frames,
            repeats: self.repeats,
            loss_permille,
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    const S: u64 = 1_000_000_000;

    fn features(at_s: u64, round_trip_ms: Option<u64>, loss: impl Into<Option<f32>>) -> Features {
        Features {
            now_ns: at_s * S,
            round_trip: round_trip_ms.map(Duration::from_millis),
            loss: loss.into(),
            asks: false,
            rate: 8_000,
        }
    }

    /// What is decided after each second of such round trips.
    fn decided(round_trips_ms: impl IntoIterator<Item = u64>) -> Vec<Decision> {
        let mut rules = Rules::new();
        let decide = |(at, ms)| rules.decide(&features(at as u64 + 1, Some(ms), 0.0));
        round_trips_ms.into_iter().enumerate().map(decide).collect()
    }

    /// A way that is known to be clear, after five seconds.
    fn known() -> Rules {
        let mut rules = Rules::new();
        for at in 1..=5 {
            rules.decide(&features(at, Some(40), 0.0));
        }
        rules
    }

    #[test]
    fn an_even_way_gets_all() {
        let usual = Decision {
            bitrate: BITRATE,
            frames: 1,
            repeats: false,
            loss_permille: 0,
            reason: Reason::Clear,
        };
        let made = decided((0..100).map(|n| 40 + n % 3));
        let first = Decision {
            frames: 2,
            reason: Reason::Begins,
            ..usual
        };
        assert!(made[..3].iter().all(|made| *made == first), "{:?}", made[0]);
        assert!(made[3..].iter().all(|made| *made == usual));
    }

    #[test]
    fn jitter_is_no_queue() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let made = decided((0..600).map(|_| 100 + u64::from(rng.next_u32() % 100)));
        let less = made[3..].iter().filter(|made| made.frames > 1).count();
        assert!(less < 36, "{less} of 600");
    }

    #[test]
    fn a_queue_takes_headers_first_and_then_bits_and_gives_back_when_it_is_gone() {
        let made = decided([40; 20].into_iter().chain([90; 4]).chain([260; 3]).chain([41; 30]));
        assert_eq!(made[20].frames, 1, "one may be chance");
        assert_eq!((made[21].bitrate, made[21].frames), (24_000, 2));
        assert_eq!(made[21].reason, Reason::Queue { more_ms: 50 });
        assert_eq!((made[23].bitrate, made[23].frames), (24_000, 3));
        assert_eq!((made[24].bitrate, made[24].frames), (16_000, 3));
        assert_eq!(made[27].reason, Reason::Careful);
        assert_eq!(made[30].frames, 3, "not at once");
        assert_eq!(made[26 + 4].bitrate, 24_000, "speech is whole again");
        assert_eq!(made[26 + 20].reason, Reason::Clear);
    }

    #[test]
    fn a_narrow_line_leaves_speech_whole() {
        let made = decided([40; 20].into_iter().chain([100; 15]));
        assert!(made.iter().all(|made| made.bitrate == BITRATE));
        assert_eq!(made.last().unwrap().frames, 3);
    }

    #[test]
    fn a_long_queue_counts_at_once() {
        assert_eq!(decided([40, 40, 40, 140])[3].frames, 3);
    }

    #[test]
    fn what_was_tried_in_vain_is_tried_less_often() {
        // A way on which one frame a packet queues up and two do not.
        let mut rules = Rules::new();
        let (mut frames, mut tries) = (1, Vec::new());
        for at in 1..800 {
            let ms = if frames == 1 && at > 20 { 120 } else { 40 };
            let made = rules.decide(&features(at, Some(ms), 0.0));
            if made.frames < frames {
                tries.push(at);
            }
            frames = made.frames;
        }
        let pauses: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.is_sorted() && pauses.len() >= 3, "{tries:?}");
        assert!(pauses.last() >= Some(&60), "{pauses:?}");
    }

    #[test]
    fn a_way_that_stays_longer_is_the_usual_one_after_a_while() {
        let made = decided([40; 20].into_iter().chain([120; 100]));
        assert_eq!(made.last().unwrap().reason, Reason::Clear);
    }

    #[test]
    fn much_loss_brings_each_packet_twice_unless_they_are_asked_for_or_queue_up() {
        let mut rules = Rules::new();
        let repeats = |rules: &mut Rules, at, loss| rules.decide(&features(at, Some(40), loss)).repeats;
        assert!(!repeats(&mut rules, 1, 0.07));
        assert!(repeats(&mut rules, 2, 0.2));
        let made = rules.decide(&features(3, Some(40), 0.04));
        assert!(made.repeats && made.loss_permille == 200, "{made:?}");
        assert!(!repeats(&mut rules, 4, 0.0));
        assert!(!repeats(&mut rules, 5, 0.05), "it can do without");
        assert!(repeats(&mut rules, 6, 0.1));
        let asks = Features {
            asks: true,
            ..features(7, Some(40), 0.04)
        };
        assert!(!rules.decide(&asks).repeats);
        assert!(repeats(&mut rules, 8, 0.1));
        assert!(!repeats_after_a_queue(&mut rules));
    }

    fn repeats_after_a_queue(rules: &mut Rules) -> bool {
        rules.decide(&features(9, Some(400), 0.04)).repeats
    }

    #[test]
    fn loss_alone_takes_nothing() {
        let mut rules = known();
        let made = rules.decide(&features(6, Some(40), 0.2));
        assert_eq!((made.bitrate, made.frames, made.loss_permille), (24_000, 1, 200));
        assert_eq!(made.reason, Reason::Loss);
        let full = Features {
            rate: 48_000,
            ..features(7, None, 0.0)
        };
        assert_eq!(rules.decide(&full).bitrate, BITRATE_FULL);
    }

    #[test]
    fn protection_begins_before_anything_is_known_and_ends_where_it_costs_more_than_it_brings() {
        let mut rules = Rules::new();
        for (loss, told) in [
            (None, 10),
            (Some(0.004), 0),
            (Some(0.012), 12),
            (Some(0.0), 0),
            (Some(2.0), 1000),
        ] {
            assert_eq!(rules.decide(&features(1, None, loss)).loss_permille, told, "{loss:?}");
        }
    }
}
