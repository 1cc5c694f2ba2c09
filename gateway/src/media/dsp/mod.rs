//! What is done to PCM between decoder and encoder: change of rate, concealment, stretching; and tones, to listen by.
//!
//! All of it is 16-bit mono in place or slice to slice; nothing allocates after `new`.

mod conceal;
mod noise;
mod pitch;
mod resample;
mod stretch;
pub mod tones;

pub use conceal::Concealer;
pub use noise::ComfortNoise;
pub use resample::Resampler;
pub use stretch::{Loudness, Sound, grow, shrink};

/// The mean square of samples; of none, 0.
fn power(pcm: &[i16]) -> f32 {
    pcm.iter().map(|sample| f32::from(*sample).powi(2)).sum::<f32>() / pcm.len().max(1) as f32
}
