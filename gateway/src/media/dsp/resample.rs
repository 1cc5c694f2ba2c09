//! Changes the rate of PCM by a ratio of small whole numbers: a polyphase FIR, windowed by Kaiser.
//!
//! Not for clock drift: the buffer's stretching takes that.

use std::f64::consts::PI;

/// Taps that a sample of the lower rate is made of. Delay: half of that, 2 ms at 8 kHz.
const TAPS: usize = 32;
/// Kaiser's parameter for 60 dB in the stop band.
const BETA: f64 = 5.65;
/// Where the filter has half its gain, as a share of the lower rate: the telephone's 3.4 kHz stay, aliases go.
const CUTOFF: f64 = 0.46;
/// Input samples handled in one stretch.
const BLOCK: usize = 480;
/// Largest terms of the ratio: enough for 44.1 to 48 kHz.
const LARGEST: usize = 320;

/// A stream of PCM on its way from one rate to another.
#[derive(Debug)]
pub struct Resampler {
    up: usize,
    down: usize,
    /// Taps per phase, a multiple of 8.
    taps: usize,
    /// Phase after phase, each with its newest tap last.
    filter: Box<[f32]>,
    /// `taps - 1` samples of the past, then the block.
    line: Box<[f32]>,
    /// Where the next output lies after the next input, in units of `1 / up` input samples.
    at: usize,
}

impl Resampler {
    /// A resampler between two rates, `None` if either is 0 or their ratio has terms over 320.
    pub fn new(from: u32, to: u32) -> Option<Self> {
        let common = divisor(from, to);
        if common == 0 || from == 0 || to == 0 {
            return None;
        }
        let (up, down) = ((to / common) as usize, (from / common) as usize);
        if up > LARGEST || down > LARGEST {
            return None;
        }
        let taps = (TAPS * down.div_ceil(up)).next_multiple_of(8);
        let filter = design(up, down, taps);
        Some(Self {
            up,
            down,
            taps,
            filter,
            line: vec![0.0; taps - 1 + BLOCK].into(),
            at: 0,
        })
    }

    /// The most samples that `input` samples become.
    pub fn most(&self, input: usize) -> usize {
        (input * self.up).div_ceil(self.down) + 1
    }

    /// Takes all of `input` and writes what it becomes; how many samples that is.
    ///
    /// `out` must have room for [`Resampler::most`]; what does not fit is dropped. Where the ratio divides the length, the
    /// count is exactly length times ratio.
    pub fn process(&mut self, input: &[i16], out: &mut [i16]) -> usize {
        let mut written = 0;
        for block in input.chunks(BLOCK) {
            let past = self.taps - 1;
            for (slot, sample) in self.line[past..].iter_mut().zip(block) {
                *slot = f32::from(*sample);
            }
            while self.at < block.len() * self.up {
                let (sample, phase) = (self.at / self.up, self.at % self.up);
                let taps = &self.filter[phase * self.taps..][..self.taps];
                let value = dot(taps, &self.line[sample..][..self.taps]);
                if let Some(slot) = out.get_mut(written) {
                    *slot = value.round() as i16;
                    written += 1;
                }
                self.at += self.down;
            }
            self.at -= block.len() * self.up;
            self.line.copy_within(block.len()..block.len() + past, 0);
        }
        written
    }
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn dot(taps: &[f32], line: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (taps, line) in taps.chunks_exact(8).zip(line.chunks_exact(8)) {
        for ((sum, tap), sample) in sums.iter_mut().zip(taps).zip(line) {
            *sum += tap * sample;
        }
    }
    sums.iter().sum()
}

/// The low-pass, cut into its phases.
fn design(up: usize, down: usize, taps: usize) -> Box<[f32]> {
    let length = taps * up;
    let middle = (length - 1) as f64 / 2.0;
    // In cycles per sample of the highest common rate, `up` times the input's.
    let cutoff = CUTOFF / up.max(down) as f64;
    let mut filter = vec![0.0_f32; length];
    for at in 0..length {
        let x = at as f64 - middle;
        let sinc = if x.abs() < 1e-9 {
            2.0 * cutoff
        } else {
            (2.0 * PI * cutoff * x).sin() / (PI * x)
        };
        let edge = x / (middle + 0.5);
        let window = bessel(BETA * (1.0 - edge * edge).max(0.0).sqrt()) / bessel(BETA);
        let (phase, tap) = (at % up, at / up);
        filter[phase * taps + (taps - 1 - tap)] = (sinc * window * up as f64) as f32;
    }
    // Each phase passes a constant unchanged: otherwise the phases would be heard as a tone.
    for phase in filter.chunks_mut(taps) {
        let sum: f32 = phase.iter().sum();
        phase.iter_mut().for_each(|tap| *tap /= sum);
    }
    filter.into()
}

/// The modified Bessel function of order 0.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..40 {
        term *= (x / (2.0 * f64::from(n))).powi(2);
        sum += term;
    }
    sum
}

fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dsp::tones::{Tone, level, strength};

    const RATES: [u32; 5] = [8_000, 12_000, 16_000, 24_000, 48_000];

    #[test]
    fn a_tone_keeps_its_pitch_and_level_between_all_rates() {
        for (from, to) in RATES.iter().flat_map(|from| RATES.map(|to| (*from, to))) {
            for hz in [300.0, 1_000.0, 3_000.0] {
                let mut resampler = Resampler::new(from, to).unwrap();
                let mut tone = Tone::new(from, hz, -10.0);
                let mut heard = Vec::new();
                for _ in 0..20 {
                    let mut pcm = vec![0; from as usize / 50];
                    tone.fill(&mut pcm);
                    let mut out = vec![0; resampler.most(pcm.len())];
                    let count = resampler.process(&pcm, &mut out);
                    assert_eq!(count, to as usize / 50, "{from} -> {to}");
                    heard.extend_from_slice(&out[..count]);
                }
                let settled = &heard[to as usize / 50..];
                assert!(strength(settled, to, hz) > 0.995, "{from} -> {to}, {hz} Hz");
                assert!(
                    (level(settled) + 10.0).abs() < 0.7,
                    "{from} -> {to}, {hz} Hz: {}",
                    level(settled)
                );
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_carry_is_gone() {
        for (from, to, hz) in [
            (16_000, 8_000, 5_000.0),
            (48_000, 8_000, 6_000.0),
            (48_000, 16_000, 11_000.0),
        ] {
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut pcm = vec![0; from as usize / 2];
            Tone::new(from, hz, -6.0).fill(&mut pcm);
            let mut out = vec![0; resampler.most(pcm.len())];
            let count = resampler.process(&pcm, &mut out);
            assert!(
                level(&out[200..count]) < -56.0,
                "{from} -> {to}: {}",
                level(&out[200..count])
            );
        }
    }

    #[test]
    fn cut_in_pieces_it_is_the_same_as_whole() {
        let mut pcm = vec![0; 4_801];
        Tone::new(48_000, 700.0, -3.0).fill(&mut pcm);
        let mut whole = vec![0; 2_000];
        let count = Resampler::new(48_000, 16_000).unwrap().process(&pcm, &mut whole);
        let mut resampler = Resampler::new(48_000, 16_000).unwrap();
        let mut pieces = Vec::new();
        for piece in pcm.chunks(7) {
            let mut out = [0; 10];
            let count = resampler.process(piece, &mut out);
            pieces.extend_from_slice(&out[..count]);
        }
        assert_eq!(pieces, whole[..count]);
    }

    #[test]
    fn odd_rates_are_refused_and_full_scale_does_not_wrap() {
        assert!(Resampler::new(0, 8_000).is_none());
        assert!(Resampler::new(8_000, 0).is_none());
        assert!(Resampler::new(8_001, 48_000).is_none());
        assert!(Resampler::new(44_100, 48_000).is_some());
        let mut resampler = Resampler::new(8_000, 16_000).unwrap();
        let pcm: Vec<i16> = (0..400)
            .map(|at| if at % 40 < 20 { i16::MAX } else { i16::MIN })
            .collect();
        let mut out = vec![0; 900];
        let count = resampler.process(&pcm, &mut out);
        let middle = &out[100..count - 40];
        assert!(
            middle
                .chunks(40)
                .all(|half| half.iter().any(|s| *s > 30_000) || half.iter().any(|s| *s < -30_000))
        );
    }
}
