//! Sounds to check codecs by, and an ear for them.

use std::f64::consts::TAU;

/// The tone that codecs are checked with: inside every telephone band.
pub(super) const TONE_HZ: f64 = 1000.0;

/// A sine of [`TONE_HZ`] at half of full scale.
pub(super) fn tone(rate: u32, count: usize) -> Vec<i16> {
    (0..count)
        .map(|n| ((TAU * TONE_HZ * n as f64 / f64::from(rate)).sin() * 16_000.0) as i16)
        .collect()
}

/// White noise of a seed, at a quarter of full scale.
pub(super) fn noise(seed: u64, count: usize) -> Vec<i16> {
    let mut random = Xorshift::new(seed);
    (0..count).map(|_| (random.next() >> 48) as i16 / 4).collect()
}

/// Returns which share of the energy lies at [`TONE_HZ`]: 1 for the pure tone, near 0 for noise and for silence.
pub(super) fn tone_share(pcm: &[i16], rate: u32) -> f64 {
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let phase = TAU * TONE_HZ * n as f64 / f64::from(rate);
        let value = f64::from(*sample);
        re += value * phase.cos();
        im += value * phase.sin();
        energy += value * value;
    }
    if energy < 1.0 {
        0.0
    } else {
        2.0 * (re * re + im * im) / (energy * pcm.len() as f64)
    }
}

/// A small generator whose seed repeats a check.
pub(super) struct Xorshift(u64);

impl Xorshift {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ear_knows_the_tone() {
        for rate in [8000, 16_000, 48_000] {
            assert!(tone_share(&tone(rate, rate as usize / 2), rate) > 0.999);
            assert!(tone_share(&noise(1, rate as usize / 2), rate) < 0.05);
            assert!(tone_share(&vec![0; 1000], rate) < f64::EPSILON);
        }
    }
}
