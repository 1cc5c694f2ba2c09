//! Makes a frame longer or shorter by one period of the voice, so that the receiving buffer can change its depth unheard.

use super::pitch::{self, Period, crossfade};

/// Periods less alike than this are left alone.
const ALIKE: f32 = 0.7;
/// Longest period added or dropped: two of them fit a frame of 20 ms.
const MAX_PERIOD_US: usize = 10_000;

/// Drops one period from the end of `pcm`; how many samples are left, or `None` if the sound does not allow it now.
pub fn shrink(pcm: &mut [i16], rate: u32) -> Option<usize> {
    let Period { samples: period, .. } = alike(pcm, rate)?;
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
pub fn grow(pcm: &mut [i16], length: usize, rate: u32) -> Option<usize> {
    let Period { samples: period, .. } = alike(pcm.get(..length)?, rate)?;
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

fn alike(pcm: &[i16], rate: u32) -> Option<Period> {
    pitch::find(pcm, rate, MAX_PERIOD_US).filter(|period| period.likeness >= ALIKE)
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
                    less = shrink(&mut pcm[..frame], rate).unwrap_or(frame);
                    more = grow(&mut other, frame, rate).unwrap_or(frame);
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
        assert_eq!(grow(&mut noise, 320, 16_000), None);
        assert_eq!(shrink(&mut noise[..320], 16_000), None);
        assert_eq!(shrink(&mut [], 8_000), None);
        assert_eq!(grow(&mut [0; 4], 9, 8_000), None);
        assert_eq!(grow(&mut [0; 160], 160, 8_000), None, "no room");
        assert_eq!(grow(&mut [0; 240], 160, 8_000), Some(200));
    }
}
