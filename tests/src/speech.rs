//! Speech to send: the gateway's own recordings of words, one after the other.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use quartet::io::startup::opus_decoder;
use quartet::ivr::phrase::PromptId;
use quartet::ivr::prompts::{BUILTIN_LANGUAGE, Prompts};
use quartet::media::dsp::Resampler;
use quartet::plugins::Registry;
use quartet_proto::e2ee::fingerprint::Emoji;
use serde_json::Value;

use crate::peers;

/// Why there is none.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Samples a second.
pub const RATE: u32 = 48_000;

/// So many samples of it, mono, or fewer if there are no more words.
///
/// # Errors
/// If there is no Opus, or a recording cannot be read.
pub fn words(registry: &Arc<Registry>, samples: usize) -> Result<Vec<i16>, Fault> {
    let mut prompts = Prompts::builtin(opus_decoder(Arc::clone(registry)));
    let mut all = Vec::with_capacity(samples);
    for emoji in (0..).map_while(Emoji::new) {
        let sound = prompts.sound(BUILTIN_LANGUAGE, PromptId::Emoji(emoji))?;
        all.extend(resampled(&sound.samples, sound.rate, RATE));
        if all.len() >= samples {
            break;
        }
    }
    all.truncate(samples);
    Ok(all)
}

/// The same sound at another rate.
///
/// # Panics
/// If no filter joins the two.
pub fn resampled(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    if from == to {
        return samples.to_vec();
    }
    let mut resampler = Resampler::new(from, to).expect("rates of speech");
    let mut made = vec![0; resampler.most(samples.len())];
    let count = resampler.process(samples, &mut made);
    made.truncate(count);
    made
}

/// How well a recording of so many seconds was heard, as `tests/peers/score.py` says at this rate; both are WAV files.
///
/// # Errors
/// If there is no Python of the peers, or it fails.
pub fn score(said: &Path, heard: &Path, rate: u32, seconds: u64) -> Result<Value, Fault> {
    let python = peers::python().ok_or("the peers are not installed")?;
    let output = Command::new(python)
        .arg(peers::root().join("tests/peers/score.py"))
        .args([said, heard])
        .args([rate.to_string(), seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Writes a WAV file, mono.
///
/// # Errors
/// The system's.
pub fn write_wav(path: &Path, rate: u32, samples: &[i16]) -> std::io::Result<()> {
    let bytes = samples.len() as u32 * 2;
    let mut wav = Vec::with_capacity(44 + bytes as usize);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + bytes).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&rate.to_le_bytes());
    wav.extend_from_slice(&(rate * 2).to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&bytes.to_le_bytes());
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    std::fs::write(path, wav)
}
