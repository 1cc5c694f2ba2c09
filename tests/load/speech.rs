//! What the load says: twenty seconds of speech, and a tone burst a second to measure the delay by, as payloads made once.

use std::sync::Arc;

use anyhow::Context;
use quartet::plugins::{CodecSettings, Registry, Setting};
use quartet_tests::speech::words;

/// Samples of 20 ms at 48 kHz.
const FRAME: usize = 960;
/// Frames of the speech.
const SPEECH: usize = 1_000;
/// Frames from one burst to the next, and where in them it begins.
const PROBE: usize = 50;
pub(crate) const BURST_AT: usize = 25;
/// Frames of a burst.
const BURST: usize = 2;

/// Payloads of 20 ms each, to be sent round and round.
pub(crate) struct Payloads {
    pub(crate) speech: Vec<Vec<u8>>,
    pub(crate) probe: Vec<Vec<u8>>,
}

/// What all legs say.
pub(crate) struct Speech {
    pub(crate) pcmu: Payloads,
    pub(crate) opus: Payloads,
    words: Vec<i16>,
}

impl Speech {
    /// Encodes the gateway's own recordings of words: PCMU, and Opus as a program of the other network sends it (from
    /// 48 kHz, 24 kbit/s, complexity 9, in-band FEC).
    pub(crate) fn new(registry: &Arc<Registry>) -> anyhow::Result<Self> {
        let words = words(registry, SPEECH * FRAME).map_err(anyhow::Error::from_boxed)?;
        let bursts: Vec<i16> = (0..PROBE * FRAME).map(burst).collect();
        let payloads = |name, rate| -> anyhow::Result<Payloads> {
            Ok(Payloads {
                speech: encode(registry, name, rate, &words)?,
                probe: encode(registry, name, rate, &bursts)?,
            })
        };
        Ok(Self {
            pcmu: payloads("PCMU", 8_000)?,
            opus: payloads("opus", 48_000)?,
            words,
        })
    }

    /// So many seconds of the speech at 48 kHz, from the nth packet on.
    pub(crate) fn from(&self, packet: usize, seconds: usize) -> Vec<i16> {
        let round = self.words.iter().copied().cycle();
        let skip = packet * FRAME % self.words.len().max(1);
        round.skip(skip).take(seconds * 48_000).collect()
    }
}

/// One sample of the probe: 1000 Hz in the burst, a little noise elsewhere.
fn burst(at: usize) -> i16 {
    let begin = BURST_AT * FRAME;
    if (begin..begin + BURST * FRAME).contains(&at) {
        let phase = (at - begin) as f32 * 1_000.0 / 48_000.0 * std::f32::consts::TAU;
        (16_000.0 * phase.sin()) as i16
    } else {
        (at * 7_919 % 41) as i16 - 20
    }
}

fn encode(registry: &Registry, name: &str, rate: u32, audio: &[i16]) -> anyhow::Result<Vec<Vec<u8>>> {
    let table = registry.codec(name).with_context(|| format!("no codec {name}"))?;
    let fmtp = if name == "opus" {
        "minptime=10;useinbandfec=1"
    } else {
        ""
    };
    let settings = CodecSettings {
        sample_rate: rate,
        channels: 1,
        frame_us: 20_000,
        local_fmtp: fmtp,
        remote_fmtp: fmtp,
    };
    let mut encoder = table.encoder(&settings)?;
    // A codec without these settings refuses them, which is no fault.
    let _ = encoder.set(Setting::Bitrate, 24_000);
    let _ = encoder.set(Setting::Complexity, 9);
    let factor = (48_000 / rate) as usize;
    let mean = |c: &[i16]| (c.iter().map(|s| i32::from(*s)).sum::<i32>() / c.len() as i32) as i16;
    let mut payloads = Vec::new();
    // Twice, so that the end joins the beginning in the encoder's memory as well.
    for frame in audio.chunks_exact(FRAME).chain(audio.chunks_exact(FRAME)) {
        let pcm: Vec<i16> = frame.chunks(factor).map(mean).collect();
        let mut payload = vec![0; 1_400];
        let length = encoder.encode(&pcm, &mut payload)?;
        payload.truncate(length);
        payloads.push(payload);
    }
    Ok(payloads.split_off(payloads.len() / 2))
}
