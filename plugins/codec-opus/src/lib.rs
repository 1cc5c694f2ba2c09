//! Opus over libopus 1.6, linked in. RFC 6716, RFC 7587.
//!
//! SDP always says opus/48000/2; the handles work at any of the five rates, mono or stereo. The encoder is set for
//! speech and obeys what the far side's `a=fmtp` asks for. Both hot calls run inside buffers made at the beginning.

mod decoder;
mod encoder;
mod libopus;
mod redundancy;
mod sample;

use core::ffi::CStr;

use quartet_plugin::{Codec, CodecConfig, Error, FmtpRole, Options, Sample};

pub use crate::decoder::OpusDecoder;
pub use crate::encoder::OpusEncoder;

quartet_plugin::export_codecs! {
    symbol: quartet_plugin_codec_opus,
    id: "codec-opus",
    licence: "MIT OR Apache-2.0; with libopus, BSD-3-Clause",
    summary: "Opus for speech, with forward error correction",
    options: [
        { name: "bitrate", kind: "int", default_value: "", help: "bit/s at most, 6000 to 510000; how many there are follows the network" },
        { name: "complexity", kind: "int", default_value: "", help: "0 to 10: quality of the encoder against CPU time; without it 1 at 8 kHz, else 9" },
    ],
    codecs: [Opus],
}

/// What we offer and answer: redundancy is welcome, packets from 10 ms.
const OUR_FMTP: &str = "minptime=10;useinbandfec=1";

/// The codec.
pub struct Opus;

impl Codec for Opus {
    const SDP_NAME: &'static CStr = c"opus";
    const RTP_CLOCK: u32 = 48_000;
    const SDP_CHANNELS: u32 = 2;
    /// The largest frame of RFC 6716 §3.4; longer packets get a lower rate instead.
    const MAX_PACKET: u32 = 1275;
    const SAMPLE_RATES: &'static [u32] = &[48_000, 24_000, 16_000, 12_000, 8_000];
    const FRAME_US: &'static [u32] = &[20_000, 40_000, 60_000, 10_000, 80_000, 100_000, 120_000, 5_000, 2_500];
    const SAMPLE: Option<Sample> = Some(sample::SAMPLE);
    const PACKET_SAMPLES: quartet_plugin::PacketSamples = Some(packet_samples);

    type Encoder = OpusEncoder;
    type Decoder = OpusDecoder;

    fn fmtp(role: FmtpRole<'_>, _: Options<'_>) -> Result<String, Error> {
        Ok(match role {
            FmtpRole::Offer | FmtpRole::Answer(_) => OUR_FMTP.to_owned(),
            // RFC 7587 §7: every parameter is the receiver's own wish, so nothing can fail to match.
            FmtpRole::Accept(_) => String::new(),
        })
    }
}

/// The length is in the first byte, and in the second for odd packets. RFC 6716 §3.1, §3.2.5.
fn packet_samples(data: &[u8], rate: u32) -> Result<u32, Error> {
    if data.is_empty() || !Opus::SAMPLE_RATES.contains(&rate) {
        return Err(Error::Malformed);
    }
    let count = opus::packet::get_nb_samples(data, rate).map_err(|_| Error::Malformed)?;
    u32::try_from(count).map_err(|_| Error::Internal)
}

/// Turns the config's channels into libopus's; rates and counts that it does not know are refused.
fn channels(config: &CodecConfig<'_>) -> Result<opus::Channels, Error> {
    if !Opus::SAMPLE_RATES.contains(&config.sample_rate) {
        return Err(Error::Unsupported);
    }
    match config.channels {
        1 => Ok(opus::Channels::Mono),
        2 => Ok(opus::Channels::Stereo),
        _ => Err(Error::Unsupported),
    }
}

/// Turns an error of libopus into ours.
#[allow(clippy::needless_pass_by_value, reason = "given to map_err")]
fn reason(error: opus::Error) -> Error {
    libopus::reason(error.code() as core::ffi::c_int)
}

#[cfg(test)]
mod tests;
