//! Decoded audio in memory: what a prompt becomes, and what the media room plays into a handset.
//!
//! Nothing here decodes, resamples or knows what is being said: that is [`super::prompts`], `media::dsp` and
//! [`super::script`].

use std::{fmt, sync::Arc, time::Duration};

/// One recording as linear PCM, mono. Shared between calls, so it is kept behind an [`Arc`] and never changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Sound {
    /// Samples a second, never 0.
    pub rate: u32,
    /// 16-bit linear samples.
    pub samples: Vec<i16>,
}

impl Sound {
    /// How long it takes to play.
    pub fn duration(&self) -> Duration {
        let rate = u64::from(self.rate.max(1));
        let samples = self.samples.len() as u64;
        let rest = samples % rate;
        Duration::from_secs(samples / rate) + Duration::from_nanos(rest * 1_000_000_000 / rate)
    }
}

impl fmt::Debug for Sound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sound")
            .field("rate", &self.rate)
            .field("samples", &self.samples.len())
            .finish()
    }
}

/// One piece of what is played, in order, without a gap between pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clip {
    /// A recording, from its beginning to its end.
    Sound(Arc<Sound>),
    /// Nothing is said for this long.
    Silence(Duration),
}

impl Clip {
    /// How long it takes to play.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Sound(sound) => sound.duration(),
            Self::Silence(silence) => *silence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_lasts_as_long_as_its_samples() {
        let sound = Arc::new(Sound {
            rate: 16_000,
            samples: vec![0; 24_000],
        });
        assert_eq!(sound.duration(), Duration::from_millis(1_500));
        assert_eq!(Clip::Sound(sound).duration(), Duration::from_millis(1_500));
        assert_eq!(
            Clip::Silence(Duration::from_millis(400)).duration(),
            Duration::from_millis(400)
        );
        assert_eq!(
            Sound {
                rate: 0,
                samples: vec![]
            }
            .duration(),
            Duration::ZERO
        );
    }

    #[test]
    fn the_debug_form_prints_no_samples() {
        let sound = Sound {
            rate: 8_000,
            samples: vec![77; 3],
        };
        assert_eq!(format!("{sound:?}"), "Sound { rate: 8000, samples: 3 }");
    }
}
