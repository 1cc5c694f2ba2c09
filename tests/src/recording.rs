//! A WAV recording, brought to a telephone's rate, and what is heard in it.

use std::path::Path;

use quartet::demo::hear;

/// Mono samples at [`hear::RATE`].
#[derive(Clone, Debug)]
pub struct Recording {
    pub samples: Vec<i16>,
}

impl Recording {
    /// Reads a WAV file; of several channels the first. A header that was never finished is forgiven, and of one that
    /// is only being written nothing is heard yet.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if bytes.len() < 44 {
            return Self { samples: Vec::new() };
        }
        let field16 = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let channels = usize::from(field16(22)).max(1);
        let rate = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
        let data = bytes
            .windows(4)
            .position(|w| w == b"data")
            .expect("a WAV file has data")
            + 8;
        let frames = bytes.get(data..).unwrap_or_default().chunks_exact(2 * channels);
        let samples: Vec<i16> = frames.map(|frame| i16::from_le_bytes([frame[0], frame[1]])).collect();
        Self {
            samples: to_telephone(&samples, rate),
        }
    }

    /// The strongest tone of a stretch, in seconds from the start.
    pub fn tone(&self, from: f32, seconds: f32) -> Option<hear::Tone> {
        let at = |seconds: f32| ((seconds * hear::RATE as f32) as usize).min(self.samples.len());
        hear::tone(&self.samples[at(from)..at(from + seconds)], hear::RATE)
    }

    /// How long it is.
    pub fn seconds(&self) -> f32 {
        self.samples.len() as f32 / hear::RATE as f32
    }
}

/// Averages down; the rates are whole multiples of a telephone's.
fn to_telephone(samples: &[i16], rate: u32) -> Vec<i16> {
    let factor = (rate / hear::RATE).max(1) as usize;
    samples
        .chunks(factor)
        .map(|c| (c.iter().map(|s| i32::from(*s)).sum::<i32>() / c.len() as i32) as i16)
        .collect()
}
