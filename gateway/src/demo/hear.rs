//! Hearing: which tone and which of the known recordings a piece of audio holds. Used to prove a call by ear.
//!
//! Nothing here knows of calls or prompts; it compares samples with samples.

/// The rate at which recordings are compared; a telephone's.
pub const RATE: u32 = 8_000;

/// How far a recording may begin from where it is expected.
const SLACK: usize = RATE as usize * 3 / 20;

/// Every how many samples the coarse search looks: it compares what is under 500 Hz.
const COARSE: usize = 8;

/// How many of the words that are most alike in the coarse search are looked at closely.
const CLOSE: usize = 30;

/// The least likeness that counts as the same recording: 1 is identical, speech of other words stays under 0.35.
pub const ALIKE: f32 = 0.55;

/// A tone found in audio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// Its frequency.
    pub hz: f32,
    /// Its share of all energy, 0 to 1.
    pub share: f32,
}

/// The strongest tone between 100 and 3,500 Hz, to 5 Hz, and its share of the energy; none in silence.
pub fn tone(samples: &[i16], rate: u32) -> Option<Tone> {
    let total: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    if samples.is_empty() || total / (samples.len() as f64) < 100.0 {
        return None;
    }
    (20..=700u16)
        .map(|step| {
            let hz = f32::from(step) * 5.0;
            Tone {
                hz,
                share: (power_at(samples, rate, hz) / total) as f32,
            }
        })
        .max_by(|a, b| a.share.total_cmp(&b.share))
}

/// Energy of one frequency (Goertzel's recurrence), in the unit of a sum of squares.
fn power_at(samples: &[i16], rate: u32, hz: f32) -> f64 {
    let w = 2.0 * std::f64::consts::PI * f64::from(hz) / f64::from(rate);
    let coefficient = 2.0 * w.cos();
    let (mut s1, mut s2) = (0.0, 0.0);
    for sample in samples {
        let s0 = f64::from(*sample) + coefficient * s1 - s2;
        (s2, s1) = (s1, s0);
    }
    2.0 * (s1 * s1 + s2 * s2 - coefficient * s1 * s2) / samples.len() as f64
}

/// The longest stretch, in milliseconds, in which the level stays under a hundredth of full scale.
pub fn longest_hole_ms(samples: &[i16], rate: u32) -> u32 {
    let step = (rate / 200).max(1) as usize;
    let (mut longest, mut run) = (0u32, 0u32);
    for window in samples.chunks(step) {
        let quiet = window.iter().all(|s| s.unsigned_abs() < 328);
        run = if quiet { run + 5 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// A known recording, at [`RATE`].
#[derive(Clone, Debug)]
pub struct Known {
    /// What is said in it.
    pub text: String,
    /// How it sounds.
    pub samples: Vec<i16>,
}

/// Where a recording was found, and how alike it is (1: identical).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// First sample.
    pub at: usize,
    /// Normalised correlation.
    pub likeness: f32,
}

/// The place in `audio` that is most like `known`, anywhere.
pub fn find(audio: &[i16], known: &[i16]) -> Option<Found> {
    let last = audio.len().checked_sub(known.len())?;
    refine(audio, known, 0, last)
}

/// The words that follow `lead` in `audio`, each `gap` samples after the one before; it stops at the first that is like
/// none of `words`.
///
/// Returns nothing if the lead is not heard.
pub fn words_after<'a>(audio: &[i16], lead: &[i16], gap: usize, words: &'a [Known], most: usize) -> Vec<&'a str> {
    let Some(found) = find(audio, lead).filter(|found| found.likeness >= ALIKE) else {
        return Vec::new();
    };
    let mut expected = found.at + lead.len() + gap;
    let mut heard = Vec::new();
    while heard.len() < most {
        let first = expected.saturating_sub(SLACK);
        let mut rough: Vec<_> = words
            .iter()
            .filter_map(|word| {
                let last = audio.len().checked_sub(word.samples.len())?;
                (first <= last).then(|| (coarse(audio, &word.samples, first, last.min(expected + SLACK)), word))
            })
            .collect();
        rough.sort_by(|a, b| b.0.likeness.total_cmp(&a.0.likeness));
        let best = rough
            .iter()
            .take(CLOSE)
            .map(|(found, word)| (around(audio, &word.samples, found.at), word))
            .max_by(|a, b| a.0.likeness.total_cmp(&b.0.likeness));
        let Some((found, word)) = best.filter(|(found, _)| found.likeness >= ALIKE) else {
            break;
        };
        heard.push(word.text.as_str());
        expected = found.at + word.samples.len() + gap;
    }
    heard
}

fn refine(audio: &[i16], known: &[i16], first: usize, last: usize) -> Option<Found> {
    if known.is_empty() {
        return None;
    }
    let rough = coarse(audio, known, first, last);
    Some(around(audio, known, rough.at))
}

/// Searches every [`COARSE`] samples, comparing every [`COARSE`] samples of the low-passed audio.
fn coarse(audio: &[i16], known: &[i16], first: usize, last: usize) -> Found {
    let thin = |samples: &[i16]| -> Vec<f32> {
        samples
            .chunks(COARSE)
            .map(|c| c.iter().map(|s| f32::from(*s)).sum::<f32>() / COARSE as f32)
            .collect()
    };
    let piece = thin(&audio[first..(last + known.len()).min(audio.len())]);
    let known = thin(known);
    let energy: f32 = known.iter().map(|k| k * k).sum();
    let places = piece.len().saturating_sub(known.len());
    let best = (0..=places)
        .map(|at| Found {
            at: first + at * COARSE,
            likeness: likeness(&piece[at..], &known, energy),
        })
        .max_by(|a, b| a.likeness.total_cmp(&b.likeness));
    best.unwrap_or(Found {
        at: first,
        likeness: 0.0,
    })
}

/// Searches each sample near a rough place.
fn around(audio: &[i16], known: &[i16], at: usize) -> Found {
    let last = audio.len().saturating_sub(known.len());
    let float = |samples: &[i16]| -> Vec<f32> { samples.iter().map(|s| f32::from(*s)).collect() };
    let known = float(known);
    let energy: f32 = known.iter().map(|k| k * k).sum();
    (at.saturating_sub(2 * COARSE)..=(at + 2 * COARSE).min(last))
        .map(|at| Found {
            at,
            likeness: likeness(&float(&audio[at..(at + known.len()).min(audio.len())]), &known, energy),
        })
        .max_by(|a, b| a.likeness.total_cmp(&b.likeness))
        .unwrap_or(Found { at, likeness: 0.0 })
}

fn likeness(piece: &[f32], known: &[f32], energy: f32) -> f32 {
    let (mut dot, mut power) = (0.0f32, 0.0f32);
    for (a, b) in piece.iter().zip(known) {
        dot += a * b;
        power += a * a;
    }
    if power <= 0.0 || energy <= 0.0 {
        0.0
    } else {
        dot / (power * energy).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    fn sine(hz: f32, length: usize, level: f32) -> Vec<i16> {
        (0..length)
            .map(|i| (level * (2.0 * std::f32::consts::PI * hz * i as f32 / 8000.0).sin()) as i16)
            .collect()
    }

    /// Coloured noise, as unlike another seed's as two words are.
    fn speech(seed: u64, length: usize) -> Vec<i16> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut low = 0.0f32;
        (0..length)
            .map(|_| {
                low = 0.7 * low + 0.3 * ((rng.next_u32() >> 16) as f32 - 32_768.0);
                (low * 0.5) as i16
            })
            .collect()
    }

    #[test]
    fn a_tone_is_named_and_silence_is_not() {
        let found = tone(&sine(440.0, 8000, 9000.0), 8000).unwrap();
        assert_eq!(found.hz, 440.0);
        assert!(found.share > 0.98, "{found:?}");
        assert_eq!(tone(&[0; 8000], 8000), None);
        assert!(tone(&speech(1, 8000), 8000).unwrap().share < 0.2);
    }

    #[test]
    fn a_hole_is_measured() {
        let mut audio = sine(440.0, 8000, 9000.0);
        audio[4000..4800].fill(0);
        assert!((95..=105).contains(&longest_hole_ms(&audio, 8000)));
        assert!(longest_hole_ms(&sine(440.0, 8000, 9000.0), 8000) <= 5);
    }

    #[test]
    fn words_are_found_in_order_even_when_noisy_and_shifted() {
        let lead = speech(100, 9000);
        let words: Vec<_> = (0..20)
            .map(|i| Known {
                text: format!("w{i}"),
                samples: speech(i, 5000 + 100 * i as usize),
            })
            .collect();
        let mut audio = vec![0i16; 3001];
        audio.extend(&lead);
        for (word, slip) in [(7, 0), (3, 160), (3, 0), (19, 37)] {
            audio.extend(vec![0i16; 3200 + slip]);
            audio.extend(&words[word].samples);
        }
        audio.extend(speech(999, 8000));
        for (sample, noise) in audio.iter_mut().zip(speech(5000, 60_000)) {
            *sample = sample.saturating_add(noise / 8);
        }
        assert_eq!(words_after(&audio, &lead, 3200, &words, 4), ["w7", "w3", "w3", "w19"]);
    }

    #[test]
    fn nothing_is_heard_where_nothing_is_said() {
        let lead = speech(100, 9000);
        let words = [Known {
            text: "w".into(),
            samples: speech(1, 5000),
        }];
        assert!(words_after(&speech(3, 60_000), &lead, 3200, &words, 4).is_empty());
        assert!(words_after(&[], &lead, 3200, &words, 4).is_empty());
    }
}
