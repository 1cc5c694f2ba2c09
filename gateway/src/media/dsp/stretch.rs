//! Makes a frame longer or shorter by one period of the voice, or where nobody speaks by a piece, so that the receiving buffer can
//! change its depth unheard.

use super::pitch::{self, Period, crossfade};
use super::power;

/// Periods less alike than this are left alone.
const ALIKE: f32 = 0.7;
/// What is 25 dB below the loudest is a pause.
const PAUSE: f32 = 0.003;
/// The loudest is forgotten by half in some hundred frames.
const FADES: f32 = 0.99;
/// Longest period added or dropped: two of them fit a frame of 20 ms.
const MAX_PERIOD_US: usize = 10_000;

/// What a frame is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// A voice: only what is alike may be dropped or said twice.
    Voice,
    /// Nothing that would be missed.
    Quiet,
}

/// Drops one period from the end of `pcm`; how many samples are left, or `None` if the sound does not allow it now.
pub fn shrink(pcm: &mut [i16], rate: u32, sound: Sound) -> Option<usize> {
    let period = period(pcm, rate, sound)?;
    let from = pcm.len() - 2 * period;
    for at in 0..period {
        let (old, new) = (i32::from(pcm[from + at]), i32::from(pcm[from + period + at]));
        let (at_, count) = (at as i32, period as i32);
        pcm[from + at] = ((old * (count - at_) + new * at_) / count) as i16;
    }
    Some(pcm.len() - period)
}

/// Adds one period to the first `length` samples of `pcm`, which has room behind them; the new length, or `None` if the
/// sound or the room does not allow it now.
pub fn grow(pcm: &mut [i16], length: usize, rate: u32, sound: Sound) -> Option<usize> {
    let period = period(pcm.get(..length)?, rate, sound)?;
    if length + period > pcm.len() {
        return None;
    }
    // The last period moves back by one; what comes between begins as the last and ends as the one before it.
    let last = length - period;
    pcm.copy_within(last..length, length);
    let (head, tail) = pcm.split_at_mut(last);
    let before = &head[last - period..];
    let (between, after) = tail.split_at_mut(period);
    crossfade(&after[..period], before, between);
    Some(length + period)
}

fn period(pcm: &[i16], rate: u32, sound: Sound) -> Option<usize> {
    match sound {
        Sound::Voice => pitch::find(pcm, rate, MAX_PERIOD_US)
            .filter(|period| period.likeness >= ALIKE)
            .map(|Period { samples, .. }| samples),
        Sound::Quiet => {
            let samples = rate as usize / (1_000_000 / MAX_PERIOD_US);
            (samples > 0 && pcm.len() >= 2 * samples).then_some(samples)
        }
    }
}

/// Tells pauses from speech.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loudness {
    /// Mean square of the loudest of late.
    loudest: f32,
}

impl Loudness {
    /// Takes a frame.
    pub fn hear(&mut self, pcm: &[i16]) -> Sound {
        let power = power(pcm);
        self.loudest = power.max(self.loudest * FADES);
        if power < self.loudest * PAUSE {
            Sound::Quiet
        } else {
            Sound::Voice
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dsp::tones::{Tone, strength};
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    #[test]
    fn a_stretched_tone_keeps_its_pitch() {
        for rate in [8_000, 16_000, 48_000] {
            let frame = rate as usize / 50;
            let mut tone = Tone::new(rate, 440.0, -10.0);
            let (mut shorter, mut longer) = (Vec::new(), Vec::new());
            let mut moved = 0;
            for index in 0..100 {
                let mut pcm = vec![0; frame * 2];
                tone.fill(&mut pcm[..frame]);
                let mut other = pcm.clone();
                let (mut less, mut more) = (frame, frame);
                if index % 4 == 0 {
                    less = shrink(&mut pcm[..frame], rate, Sound::Voice).unwrap_or(frame);
                    more = grow(&mut other, frame, rate, Sound::Voice).unwrap_or(frame);
                    moved += usize::from(less < frame) + usize::from(more > frame);
                }
                shorter.extend_from_slice(&pcm[..less]);
                longer.extend_from_slice(&other[..more]);
            }
            assert!(moved > 40, "{rate}: {moved}");
            assert!(shorter.len() < frame * 100 && longer.len() > frame * 100);
            for heard in [&shorter, &longer] {
                assert!(strength(&heard[..frame * 20], rate, 440.0) > 0.9, "{rate}");
            }
        }
    }

    #[test]
    fn noise_is_left_alone_and_scraps_too() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut noise = [0_i16; 400];
        for sample in &mut noise {
            *sample = rng.next_u32() as i16;
        }
        assert_eq!(grow(&mut noise, 320, 16_000, Sound::Voice), None);
        assert_eq!(shrink(&mut noise[..320], 16_000, Sound::Voice), None);
        for sound in [Sound::Voice, Sound::Quiet] {
            assert_eq!(shrink(&mut [], 8_000, sound), None);
            assert_eq!(grow(&mut [0; 4], 9, 8_000, sound), None);
            assert_eq!(grow(&mut [0; 160], 160, 8_000, sound), None, "no room");
            assert_eq!(shrink(&mut [0; 400], 0, sound), None);
        }
        assert_eq!(grow(&mut [0; 240], 160, 8_000, Sound::Voice), Some(200));
        assert_eq!(grow(&mut noise, 240, 16_000, Sound::Quiet), None, "no room");
        assert_eq!(grow(&mut [0; 480], 320, 16_000, Sound::Quiet), Some(480));
        assert_eq!(shrink(&mut noise[..320], 16_000, Sound::Quiet), Some(160));
    }

    #[test]
    fn a_pause_is_quiet_and_what_is_always_soft_is_not() {
        let mut loudness = Loudness::default();
        assert_eq!(loudness.hear(&[30; 160]), Sound::Voice);
        assert_eq!(loudness.hear(&[8_000; 160]), Sound::Voice);
        assert_eq!(loudness.hear(&[30; 160]), Sound::Quiet);
        assert_eq!(loudness.hear(&[4_000; 160]), Sound::Voice);
        let soft = (0..3_000).position(|_| loudness.hear(&[30; 160]) == Sound::Voice);
        assert!(soft.is_some_and(|frames| frames > 200), "{soft:?}");
        assert_eq!(loudness.hear(&[]), Sound::Quiet);
    }
}
