//! The smallest codec plugin that works, in Rust: L16, 8,000 samples a second, mono.
//!
//! A packet is the samples themselves, in network byte order (RFC 3551 §4.5.11). Change the names, fill in `encode` and
//! `decode`, and try it: `quartet plugin test target/release/libtemplate_codec.so`.

use std::ffi::CStr;

use quartet_plugin::{Codec, CodecConfig, Decoder, Encoder, Error, PacketSamples, Sample};

/// Longest packet in samples: 60 ms.
const MAX_SAMPLES: usize = 480;

quartet_plugin::export_codecs! {
    symbol: quartet_plugin_template_codec,
    id: "template-codec",
    licence: "MIT OR Apache-2.0",
    summary: "L16, 8 kHz: the template of a codec in Rust",
    options: [],
    codecs: [L16],
}

/// The codec, as SDP and RTP see it.
struct L16;

impl Codec for L16 {
    const SDP_NAME: &'static CStr = c"L16";
    const PAYLOAD_TYPE: Option<u8> = None;
    const RTP_CLOCK: u32 = 8000;
    const MAX_PACKET: u32 = 2 * MAX_SAMPLES as u32;
    const SAMPLE_RATES: &'static [u32] = &[8000];
    const FRAME_US: &'static [u32] = &[20_000, 10_000, 40_000, 60_000];
    const SAMPLE: Option<Sample> = Some(Sample {
        packet: &[0x00, 0x00, 0x12, 0x34, 0xff, 0xff, 0x80, 0x00],
        pcm: &[0, 0x1234, -1, -32768],
        sample_rate: 8000,
        channels: 1,
        tolerance: 0,
    });

    const PACKET_SAMPLES: PacketSamples = Some(packet_samples);

    type Encoder = Coder;
    type Decoder = Coder;
}

/// How many samples a packet has, without decoding it: two bytes each here. Without this the gateway reckons one byte a tick.
fn packet_samples(data: &[u8], rate: u32) -> Result<u32, Error> {
    if rate != L16::RTP_CLOCK {
        return Err(Error::Unsupported);
    }
    u32::try_from(data.len() / 2).map_err(|_| Error::Malformed)
}

/// One direction of one call; this codec has nothing to remember.
struct Coder;

fn served(config: &CodecConfig<'_>) -> Result<Coder, Error> {
    if (config.sample_rate, config.channels) == (8000, 1) { Ok(Coder) } else { Err(Error::Unsupported) }
}

impl Encoder for Coder {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        served(config)
    }

    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        if ![80, 160, 320, 480].contains(&pcm.len()) {
            return Err(Error::Argument);
        }
        let out = out.get_mut(..2 * pcm.len()).ok_or(Error::TooSmall)?;
        for (bytes, sample) in out.chunks_exact_mut(2).zip(pcm) {
            bytes.copy_from_slice(&sample.to_be_bytes());
        }
        Ok(out.len())
    }
}

impl Decoder for Coder {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        served(config)
    }

    fn decode(&mut self, data: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        if data.is_empty() || !data.len().is_multiple_of(2) {
            return Err(Error::Malformed);
        }
        let pcm = pcm.get_mut(..data.len() / 2).ok_or(Error::TooSmall)?;
        for (sample, bytes) in pcm.iter_mut().zip(data.chunks_exact(2)) {
            *sample = i16::from_be_bytes([bytes[0], bytes[1]]);
        }
        Ok(pcm.len())
    }
}
