//! What each codec must show when it is loaded: its own sample, and a tone through encoder and decoder.

use std::time::{Duration, Instant};

use super::codec::{CodecSettings, CodecTable, FmtpRole};
use super::refusal::Reason;
use super::signal;

/// What the self-check saw.
#[derive(Debug, Clone, PartialEq)]
pub struct CodecReport {
    /// The SDP name.
    pub codec: String,
    /// Which share of the energy came back at the tone's frequency, 0 to 1.
    pub tone: f64,
    /// The largest difference to the codec's own sample; `None` if it brings none.
    pub sample_difference: Option<u32>,
    /// The packet duration that was timed.
    pub frame_us: u32,
    /// The rate that was timed.
    pub sample_rate: u32,
    /// Mean time to encode one packet.
    pub encode: Duration,
    /// Mean time to decode one packet.
    pub decode: Duration,
}

/// Less of the tone coming back is no codec for speech.
pub(super) const MIN_TONE: f64 = 0.9;
/// How much tone goes through, and how much of its beginning is not judged: codecs need a moment.
const TONE_US: u64 = 600_000;
const SETTLE_US: u64 = 200_000;

/// Puts the codec to the proof.
pub(super) fn check(codec: &CodecTable) -> Result<CodecReport, Reason> {
    let fail = |what: String| Reason::SelfCheck {
        codec: codec.name().to_owned(),
        what,
    };
    let sample_difference = sample(codec).map_err(fail)?;
    let fmtp = codec
        .fmtp(FmtpRole::Offer, "")
        .map_err(|error| fail(format!("no offer: {error}")))?;
    let sample_rate = codec.rates()[0];
    let frame_us = *codec
        .frame_us()
        .iter()
        .find(|us| **us == 20_000)
        .unwrap_or(&codec.frame_us()[0]);
    let settings = CodecSettings {
        sample_rate,
        channels: 1,
        frame_us,
        local_fmtp: &fmtp,
        remote_fmtp: &fmtp,
    };
    let through = through(codec, &settings, TONE_US).map_err(fail)?;
    let settled = usize::try_from(u64::from(sample_rate) * SETTLE_US / 1_000_000).unwrap_or_default();
    let heard = through.pcm.get(settled..).unwrap_or_default();
    let tone = signal::tone_share(heard, sample_rate);
    if tone < MIN_TONE {
        return Err(fail(format!(
            "a tone came back as {tone:.3} of the energy, {MIN_TONE} is the least"
        )));
    }
    let mean = |total: Duration| total / u32::try_from(through.packets.max(1)).unwrap_or(u32::MAX);
    Ok(CodecReport {
        codec: codec.name().to_owned(),
        tone,
        sample_difference,
        frame_us,
        sample_rate,
        encode: mean(through.encode),
        decode: mean(through.decode),
    })
}

/// What came out of encoder and decoder.
pub(super) struct Through {
    pub(super) pcm: Vec<i16>,
    pub(super) packets: usize,
    pub(super) encode: Duration,
    pub(super) decode: Duration,
}

/// Sends a tone of `length_us` through encoder and decoder, one channel.
pub(super) fn through(codec: &CodecTable, settings: &CodecSettings<'_>, length_us: u64) -> Result<Through, String> {
    let rate = u64::from(settings.sample_rate);
    let frame = usize::try_from(rate * u64::from(settings.frame_us) / 1_000_000).unwrap_or_default();
    let frames = usize::try_from(length_us / u64::from(settings.frame_us))
        .unwrap_or_default()
        .max(1);
    let mut encoder = codec
        .encoder(settings)
        .map_err(|error| format!("no encoder: {error}"))?;
    let mut decoder = codec
        .decoder(settings)
        .map_err(|error| format!("no decoder: {error}"))?;
    let mut packet = vec![0; codec.max_packet()];
    let mut room = vec![0; usize::try_from(rate * 120 / 1000).unwrap_or_default()];
    let mut out = Through {
        pcm: Vec::new(),
        packets: 0,
        encode: Duration::ZERO,
        decode: Duration::ZERO,
    };
    for pcm in signal::tone(settings.sample_rate, frame * frames).chunks_exact(frame) {
        let begin = Instant::now();
        let length = encoder
            .encode(pcm, &mut packet)
            .map_err(|error| format!("encode: {error}"))?;
        let middle = Instant::now();
        if length == 0 {
            continue;
        }
        let count = decoder
            .decode(&packet[..length], &mut room)
            .map_err(|error| format!("decode: {error}"))?;
        out.decode += middle.elapsed();
        out.encode += middle - begin;
        out.packets += 1;
        if count != frame {
            return Err(format!("a packet of {frame} samples decodes to {count}"));
        }
        out.pcm.extend(&room[..count]);
    }
    Ok(out)
}

/// Plays the codec's own sample; returns the largest difference.
fn sample(codec: &CodecTable) -> Result<Option<u32>, String> {
    let Some(sample) = codec.sample() else { return Ok(None) };
    let settings = CodecSettings {
        sample_rate: sample.sample_rate,
        channels: sample.channels,
        frame_us: codec.frame_us()[0],
        local_fmtp: "",
        remote_fmtp: "",
    };
    let mut decoder = codec
        .decoder(&settings)
        .map_err(|error| format!("no decoder for its sample: {error}"))?;
    let mut room = vec![0; sample.pcm.len() + 6000];
    let count = decoder
        .decode(&sample.packet, &mut room)
        .map_err(|error| format!("its sample: {error}"))?;
    if count != sample.pcm.len() {
        return Err(format!(
            "its sample decodes to {count} values, {} were promised",
            sample.pcm.len()
        ));
    }
    let difference = room
        .iter()
        .zip(&sample.pcm)
        .map(|(a, b)| u32::from(a.abs_diff(*b)))
        .max()
        .unwrap_or_default();
    if difference > sample.tolerance {
        return Err(format!(
            "its sample differs by {difference}, {} is allowed",
            sample.tolerance
        ));
    }
    Ok(Some(difference))
}
