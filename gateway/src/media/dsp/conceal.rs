//! The host's own concealment, for codecs that have none (G.711): the last period of the voice again and again, fading.

use super::pitch;

/// How much of the past is kept.
const HISTORY_MS: usize = 40;
/// Longest period repeated.
const MAX_PERIOD_US: usize = 15_000;
/// Full volume lasts this long into a loss, ...
const HOLD_MS: usize = 10;
/// ... and silence begins here: longer repetition sounds like a machine.
const GONE_MS: usize = 100;
/// Over this long the made-up voice passes into the real one.
const JOIN_MS: usize = 4;

/// Listens to what is heard and makes up what is missing.
#[derive(Debug)]
pub struct Concealer {
    rate: u32,
    /// The newest samples that were heard, made-up ones included, oldest first.
    history: Box<[i16]>,
    /// How long the loss has lasted, in samples; 0 while all is well.
    lost: usize,
    /// The period that is repeated, at the end of `cycle`.
    period: usize,
    cycle: Box<[i16]>,
    /// Scratch for the join.
    join: Box<[i16]>,
}

impl Concealer {
    /// A concealer for PCM of this rate.
    pub fn new(rate: u32) -> Self {
        let ms = rate as usize / 1000;
        Self {
            rate,
            history: vec![0; (HISTORY_MS * ms).max(1)].into(),
            lost: 0,
            period: 0,
            cycle: vec![0; MAX_PERIOD_US * rate as usize / 1_000_000 + 1].into(),
            join: vec![0; (JOIN_MS * ms).max(1)].into(),
        }
    }

    /// Hears a good frame; right after a loss its beginning is joined to what was made up.
    pub fn heard(&mut self, pcm: &mut [i16]) {
        if self.lost > 0 {
            let length = self.join.len().min(pcm.len());
            let mut join = std::mem::take(&mut self.join);
            self.make(&mut join[..length]);
            for (at, (sample, old)) in pcm.iter_mut().zip(&join[..length]).enumerate() {
                let at = at as i32;
                let count = length as i32;
                *sample = ((i32::from(*old) * (count - at) + i32::from(*sample) * at) / count) as i16;
            }
            self.join = join;
            self.lost = 0;
        }
        self.remember(pcm);
    }

    /// Fills `pcm` in place of a frame that did not come.
    pub fn lost(&mut self, pcm: &mut [i16]) {
        if self.lost == 0 {
            let found = pitch::find(&self.history, self.rate, MAX_PERIOD_US);
            self.period = found
                .map_or(self.rate as usize / 200, |period| period.samples)
                .clamp(1, self.cycle.len());
            let from = self.history.len().saturating_sub(self.period);
            self.period = self.history.len() - from;
            self.cycle[..self.period].copy_from_slice(&self.history[from..]);
            self.smooth();
        }
        self.make(pcm);
        self.remember(pcm);
    }

    /// Makes the end of the cycle lead into its beginning: the last quarter passes into what preceded the cycle.
    fn smooth(&mut self) {
        let quarter = self.period / 4;
        let Some(before) = self.history.len().checked_sub(self.period + quarter) else {
            return;
        };
        let (end, lead) = (self.period - quarter, &self.history[before..before + quarter]);
        for (at, (sample, lead)) in self.cycle[end..self.period].iter_mut().zip(lead).enumerate() {
            let (at, count) = (at as i32, quarter as i32);
            *sample = ((i32::from(*sample) * (count - at) + i32::from(*lead) * at) / count) as i16;
        }
    }

    fn make(&mut self, pcm: &mut [i16]) {
        let ms = self.rate as usize / 1000;
        let (hold, gone) = (HOLD_MS * ms, GONE_MS * ms);
        let period = self.period.max(1);
        for sample in pcm {
            let left = gone.saturating_sub(self.lost.max(hold)) as i32;
            let whole = (gone - hold).max(1) as i32;
            *sample = (i32::from(self.cycle[self.lost % period]) * left / whole) as i16;
            self.lost += 1;
        }
    }

    fn remember(&mut self, pcm: &[i16]) {
        let size = self.history.len();
        if pcm.len() >= size {
            self.history.copy_from_slice(&pcm[pcm.len() - size..]);
        } else {
            self.history.copy_within(pcm.len().., 0);
            self.history[size - pcm.len()..].copy_from_slice(pcm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dsp::tones::{Tone, level, strength};

    #[test]
    fn a_lost_frame_of_a_tone_is_hardly_heard() {
        for rate in [8_000, 16_000, 48_000] {
            let frame = rate as usize / 50;
            let mut tone = Tone::new(rate, 440.0, -10.0);
            let mut concealer = Concealer::new(rate);
            let mut heard = Vec::new();
            for index in 0..50 {
                let mut pcm = vec![0; frame];
                tone.fill(&mut pcm);
                if index % 10 == 9 {
                    concealer.lost(&mut pcm)
                } else {
                    concealer.heard(&mut pcm)
                }
                heard.extend_from_slice(&pcm);
            }
            assert!(
                strength(&heard[frame * 5..], rate, 440.0) > 0.9,
                "{rate}: {}",
                strength(&heard, rate, 440.0)
            );
            for (index, part) in heard.chunks(frame).enumerate() {
                assert!(level(part) > -16.0, "{rate}: a hole in frame {index}: {}", level(part));
            }
        }
    }

    #[test]
    fn a_long_loss_fades_to_silence_and_speech_returns_without_a_click() {
        let mut concealer = Concealer::new(8_000);
        let mut tone = Tone::new(8_000, 300.0, -6.0);
        let mut pcm = [0; 160];
        for _ in 0..5 {
            tone.fill(&mut pcm);
            concealer.heard(&mut pcm);
        }
        let mut last = f32::MAX;
        for _ in 0..5 {
            concealer.lost(&mut pcm);
            assert!(level(&pcm) <= last + 0.5);
            last = level(&pcm);
        }
        concealer.lost(&mut pcm);
        assert!(pcm.iter().all(|sample| *sample == 0));
        let mut loud = [20_000; 160];
        concealer.heard(&mut loud);
        assert!(loud[0].abs() < 1_000 && loud[80] == 20_000);
    }

    #[test]
    fn loss_before_the_first_frame_is_silence_and_any_length_is_fine() {
        let mut concealer = Concealer::new(8_000);
        for length in [0, 1, 7, 160, 961, 5_760] {
            let mut pcm = vec![1; length];
            concealer.lost(&mut pcm);
            assert!(pcm.iter().all(|sample| *sample == 0));
            concealer.heard(&mut pcm);
        }
    }
}
