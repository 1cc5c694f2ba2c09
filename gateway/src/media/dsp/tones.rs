//! Tones made and tones found: how the demo and the tests listen.

use std::f32::consts::TAU;

/// A sine that goes on for ever.
#[derive(Clone, Debug)]
pub struct Tone {
    phase: f32,
    step: f32,
    amplitude: f32,
}

impl Tone {
    /// A tone of `hz` in PCM of `rate`, at `level` dB under full scale (0 is the loudest sine; -10 is usual).
    pub fn new(rate: u32, hz: f32, level: f32) -> Self {
        Self {
            phase: 0.0,
            step: hz / rate.max(1) as f32,
            amplitude: 32_767.0 * 10_f32.powf(level.min(0.0) / 20.0),
        }
    }

    /// Writes the next samples.
    pub fn fill(&mut self, pcm: &mut [i16]) {
        for sample in pcm {
            *sample = (self.amplitude * (TAU * self.phase).sin()) as i16;
            self.phase = (self.phase + self.step).fract();
        }
    }
}

/// How much of the sound's energy is a tone of `hz`: 1 is that tone alone, 0 is none of it (Goertzel's algorithm).
///
/// A few periods of the tone are needed; silence has 0.
pub fn strength(pcm: &[i16], rate: u32, hz: f32) -> f32 {
    let total: f64 = pcm.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
    if total == 0.0 || rate == 0 {
        return 0.0;
    }
    let omega = std::f64::consts::TAU * f64::from(hz) / f64::from(rate);
    let factor = 2.0 * omega.cos();
    let (mut last, mut before) = (0.0_f64, 0.0_f64);
    for sample in pcm {
        (last, before) = (f64::from(*sample) + factor * last - before, last);
    }
    let power = last * last + before * before - factor * last * before;
    (2.0 * power / (total * pcm.len() as f64)).min(1.0) as f32
}

/// The level of the sound in dB under that of the loudest sine; silence is minus infinity.
pub fn level(pcm: &[i16]) -> f32 {
    let total: f64 = pcm.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
    let square = total / pcm.len().max(1) as f64;
    (10.0 * (2.0 * square / (32_767.0 * 32_767.0)).log10()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_tone_it_made_and_no_other() {
        for (rate, hz) in [(8_000, 440.0), (16_000, 1_000.0), (48_000, 3_000.0)] {
            let mut pcm = vec![0; rate as usize / 5];
            Tone::new(rate, hz, -10.0).fill(&mut pcm);
            assert!(strength(&pcm, rate, hz) > 0.99);
            assert!(strength(&pcm, rate, hz * 1.3) < 0.01);
            assert!((level(&pcm) + 10.0).abs() < 0.1);
        }
    }

    #[test]
    fn silence_has_no_tone() {
        assert_eq!(strength(&[0; 160], 8_000, 440.0), 0.0);
        assert_eq!(strength(&[], 8_000, 440.0), 0.0);
        assert_eq!(level(&[0; 160]), f32::NEG_INFINITY);
    }
}
