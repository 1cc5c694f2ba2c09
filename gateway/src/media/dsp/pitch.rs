//! The period of voiced speech, for those who repeat or drop one: concealment and stretching.

/// Shortest period looked for: 400 Hz.
const MIN_PERIOD_US: usize = 2_500;
/// Periods are sought on every n-th sample, so that the search costs the same at all rates.
const SEARCH_HZ: usize = 8_000;
/// A mean square below this (about -56 dBFS) is silence: any period will do.
const SILENCE: f32 = 2_500.0;

/// A period, in samples, and how alike two neighbouring periods are: 1 is the same, 0 nothing in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Period {
    pub(super) samples: usize,
    pub(super) likeness: f32,
}

/// Finds the period at the end of `pcm`, of up to `longest_us` and up to half of `pcm`.
///
/// `None` if `pcm` is too short for the shortest period twice. Silence has a period of 5 ms or the longest allowed.
pub(super) fn find(pcm: &[i16], rate: u32, longest_us: usize) -> Option<Period> {
    let rate = rate as usize;
    let step = (rate / SEARCH_HZ).max(1);
    let shortest = (MIN_PERIOD_US * rate / 1_000_000).max(step);
    let longest = (longest_us * rate / 1_000_000).min(pcm.len() / 2);
    if longest < shortest {
        return None;
    }
    let window = (pcm.len() - longest).min(longest.max(rate / 100));
    let recent = &pcm[pcm.len() - window..];
    let energy = power(recent, step);
    if energy < SILENCE * (window / step).max(1) as f32 {
        return Some(Period {
            samples: (rate / 200).clamp(shortest, longest),
            likeness: 1.0,
        });
    }
    let mut best = Period {
        samples: longest,
        likeness: 0.0,
    };
    for lag in (shortest..=longest).step_by(step) {
        let earlier = &pcm[pcm.len() - window - lag..pcm.len() - lag];
        let mut product = 0.0;
        let mut square = 0.0;
        for at in (0..window).step_by(step) {
            let (new, old) = (f32::from(recent[at]), f32::from(earlier[at]));
            product += new * old;
            square += old * old;
        }
        let likeness = product / (energy * square).sqrt().max(1.0);
        if likeness > best.likeness {
            best = Period { samples: lag, likeness };
        }
    }
    Some(best)
}

fn power(pcm: &[i16], step: usize) -> f32 {
    pcm.iter()
        .step_by(step)
        .map(|sample| f32::from(*sample) * f32::from(*sample))
        .sum()
}

/// Goes from `from` to `to` over the length of `out`. All three have the same length.
pub(super) fn crossfade(from: &[i16], to: &[i16], out: &mut [i16]) {
    let count = out.len().max(1) as i32;
    for (at, ((out, from), to)) in out.iter_mut().zip(from).zip(to).enumerate() {
        let at = at as i32;
        *out = ((i32::from(*from) * (count - at) + i32::from(*to) * at) / count) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dsp::tones::Tone;

    #[test]
    fn finds_the_period_of_a_tone_at_every_rate() {
        for rate in [8_000, 16_000, 48_000] {
            let mut pcm = vec![0; rate as usize / 25];
            Tone::new(rate, 200.0, -10.0).fill(&mut pcm);
            let found = find(&pcm, rate, 15_000).unwrap();
            let periods = found.samples as f32 * 200.0 / rate as f32;
            assert!(
                (periods - periods.round()).abs() < 0.05 && found.likeness > 0.98,
                "{rate}: {found:?}"
            );
        }
    }

    #[test]
    fn silence_and_scraps_are_no_trouble() {
        assert_eq!(
            find(&[0; 320], 8_000, 15_000),
            Some(Period {
                samples: 40,
                likeness: 1.0
            })
        );
        assert_eq!(find(&[0; 10], 8_000, 15_000), None);
        assert_eq!(find(&[], 8_000, 15_000), None);
        assert!(find(&[i16::MIN; 320], 8_000, 15_000).is_some());
    }
}
