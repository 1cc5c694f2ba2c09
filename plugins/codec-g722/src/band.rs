//! One sub-band: its quantizer's scale, and its adaptive predictor of two poles and six zeros. ITU-T G.722 (09/2012) §3.5, §3.6, §4; the names
//! are those of its sub-blocks.

use crate::tables::SCALE;

/// A value of sixteen bits.
pub(crate) fn saturate(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

/// A product of two fractions of fifteen bits.
fn product(a: i32, b: i32) -> i32 {
    (a * b) >> 15
}

/// The state of one band.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    /// The prediction of the next sample, and its part by zeros.
    pub(crate) predicted: i32,
    by_zeros: i32,
    /// Reconstructed samples and partly reconstructed ones, the latest first.
    rebuilt: [i32; 2],
    partly: [i32; 2],
    /// Differences, the latest first.
    differences: [i32; 6],
    poles: [i32; 2],
    zeros: [i32; 6],
    /// The logarithm of the scale, and the scale.
    log_scale: i32,
    pub(crate) scale: i32,
    /// Where the two bands differ.
    max_log_scale: i32,
    shift: i32,
}

impl Band {
    pub(crate) fn low() -> Self {
        Self::new(32, 18_432, 8)
    }

    pub(crate) fn high() -> Self {
        Self::new(8, 22_528, 10)
    }

    fn new(scale: i32, max_log_scale: i32, shift: i32) -> Self {
        Band {
            predicted: 0,
            by_zeros: 0,
            rebuilt: [0; 2],
            partly: [0; 2],
            differences: [0; 6],
            poles: [0; 2],
            zeros: [0; 6],
            log_scale: 0,
            scale,
            max_log_scale,
            shift,
        }
    }

    /// LOGSCL, SCALEL and their likes: the scale grows with what was far, and shrinks by itself.
    pub(crate) fn adapt_scale(&mut self, weight: i32) {
        self.log_scale = (((self.log_scale * 127) >> 7) + weight).clamp(0, self.max_log_scale);
        let mantissa = SCALE[(self.log_scale >> 6 & 31) as usize];
        let exponent = self.shift - (self.log_scale >> 11);
        let scale = if exponent < 0 {
            mantissa << -exponent
        } else {
            mantissa >> exponent
        };
        self.scale = scale << 2;
    }

    /// Takes the quantized difference of a sample, and predicts the next.
    pub(crate) fn adapt(&mut self, difference: i32) {
        // RECONS, PARREC
        let rebuilt = saturate(self.predicted + difference);
        let partly = saturate(self.by_zeros + difference);
        let poles = self.adapted_poles(partly);
        // UPZERO
        let step = if difference == 0 { 0 } else { 128 };
        for (zero, before) in self.zeros.iter_mut().zip(self.differences) {
            let step = if (before < 0) == (difference < 0) { step } else { -step };
            *zero = saturate(step + product(*zero, 32_640));
        }
        // DELAYA
        self.differences.rotate_right(1);
        self.differences[0] = difference;
        self.rebuilt = [rebuilt, self.rebuilt[0]];
        self.partly = [partly, self.partly[0]];
        self.poles = poles;
        // FILTEP, FILTEZ, PREDIC
        let twice = |value: i32| saturate(2 * value);
        let by_pole = |at: usize| product(self.poles[at], twice(self.rebuilt[at]));
        let by_poles = saturate(by_pole(0) + by_pole(1));
        let of_zeros = self.zeros.iter().zip(self.differences);
        let terms = of_zeros.map(|(zero, difference)| product(*zero, twice(difference)));
        self.by_zeros = terms.rev().fold(0, |sum, term| saturate(sum + term));
        self.predicted = saturate(by_poles + self.by_zeros);
    }

    /// UPPOL2 and UPPOL1.
    fn adapted_poles(&self, partly: i32) -> [i32; 2] {
        let is_same = |before: i32| (partly < 0) == (before < 0);
        let [first, second] = self.poles;
        let lead = saturate(4 * first);
        let lead = if is_same(self.partly[0]) { -lead } else { lead }.min(32_767);
        let step = if is_same(self.partly[1]) { 128 } else { -128 };
        let second = (step + (lead >> 7) + product(second, 32_512)).clamp(-12_288, 12_288);
        let step = if is_same(self.partly[0]) { 192 } else { -192 };
        let limit = saturate(15_360 - second);
        let first = saturate(step + product(first, 32_640)).clamp(-limit, limit);
        [first, second]
    }
}
