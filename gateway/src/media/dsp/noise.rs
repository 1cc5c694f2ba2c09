//! Comfort noise: what is heard of the place where nobody speaks, in place of a dead line.

use super::power;

/// It comes in over this time ...
const FADE_IN_MS: usize = 80;
/// ... lasts so long in all ...
const LENGTH_MS: usize = 1_500;
/// ... and goes out over this time.
const FADE_OUT_MS: usize = 600;
/// Weight of a frame of a pause in what is known of its loudness.
const WEIGHT: f32 = 0.1;
/// Softer than this nobody hears it: one step of G.711's lowest.
const MIN_LEVEL: f32 = 4.0;

/// Knows how loud pauses are, and makes noise as loud.
#[derive(Clone, Copy, Debug)]
pub struct ComfortNoise {
    rate: u32,
    /// Root mean square of pauses.
    level: f32,
    /// Samples made since it began.
    made: usize,
    random: u32,
    before: f32,
}

impl ComfortNoise {
    /// Makes noise of this rate.
    pub fn new(rate: u32) -> Self {
        Self {
            rate,
            level: 0.0,
            made: 0,
            random: 1,
            before: 0.0,
        }
    }

    /// Hears a frame in which nobody speaks.
    pub fn hear(&mut self, pcm: &[i16]) {
        let weight = if self.level == 0.0 { 1.0 } else { WEIGHT };
        self.level += (power(pcm).sqrt() - self.level) * weight;
    }

    /// Begins anew; false if there is nothing to be heard.
    pub fn begin(&mut self) -> bool {
        self.made = 0;
        self.level >= MIN_LEVEL
    }

    /// Fills `pcm`; false once it is over.
    pub fn fill(&mut self, pcm: &mut [i16]) -> bool {
        let samples = |ms: usize| self.rate as usize * ms / 1_000;
        let (fade_in, length, fade_out) = (samples(FADE_IN_MS), samples(LENGTH_MS), samples(FADE_OUT_MS));
        if self.made >= length {
            return false;
        }
        for sample in pcm {
            let left = length.saturating_sub(self.made);
            let gain = (self.made as f32 / fade_in.max(1) as f32)
                .min(left as f32 / fade_out.max(1) as f32)
                .min(1.0);
            // Numerical Recipes' linear congruence, and a pole that takes the hiss away; rooms are dull. It leaves a ninth of the power of
            // even noise, which has a third of the square of its peak.
            self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let even = (self.random >> 8) as f32 / 8_388_608.0 - 1.0;
            self.before = 0.8 * self.before + 0.2 * even;
            *sample = (self.before * gain * self.level * 5.196) as i16;
            self.made += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(pcm: &[i16]) -> f32 {
        power(pcm).sqrt()
    }

    #[test]
    fn it_is_as_loud_as_the_pauses_were_comes_softly_and_goes_softly() {
        for rate in [8_000, 16_000, 48_000] {
            let mut noise = ComfortNoise::new(rate);
            assert!(!noise.begin(), "of nothing");
            for _ in 0..50 {
                noise.hear(&[60, -60, 60, -60]);
            }
            assert!(noise.begin());
            let mut frames = Vec::new();
            let mut pcm = vec![0; rate as usize / 50];
            while noise.fill(&mut pcm) {
                frames.push(pcm.clone());
            }
            assert_eq!(frames.len(), 75);
            let whole = level(&frames[10..40].concat());
            assert!((50.0..70.0).contains(&whole), "{whole}");
            assert!(level(&frames[0]) < 20.0 && level(&frames[74]) < 10.0);
            assert!(!noise.fill(&mut pcm) && noise.begin() && noise.fill(&mut pcm));
        }
    }

    #[test]
    fn a_line_without_a_sound_stays_so() {
        let mut noise = ComfortNoise::new(8_000);
        noise.hear(&[0; 160]);
        noise.hear(&[]);
        assert!(!noise.begin());
    }
}
