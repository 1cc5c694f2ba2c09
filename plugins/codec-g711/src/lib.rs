//! G.711, both laws: the codec that every telephone has. One byte a sample, 8000 samples a second.
//!
//! Decoding is a table, encoding a few shifts. There is no redundancy and no memory between packets, so the host conceals
//! lost ones by itself. ITU-T G.711 (11/88); RFC 3551 §4.5.14.

pub mod law;

use core::ffi::CStr;
use core::marker::PhantomData;

use quartet_plugin::{Codec, CodecConfig, Decoder, Encoder, Error, Sample};

use crate::law::{ALaw, Law, MuLaw};

/// Longest packet: 60 ms.
const MAX_SAMPLES: usize = 480;

quartet_plugin::export_codecs! {
    symbol: quartet_plugin_codec_g711,
    id: "codec-g711",
    licence: "MIT OR Apache-2.0",
    summary: "G.711 mu-law and A-law",
    options: [],
    codecs: [G711<MuLaw>, G711<ALaw>],
}

/// The codec of one law.
pub struct G711<L>(PhantomData<L>);

impl<L: Law> Codec for G711<L> {
    const SDP_NAME: &'static CStr = L::SDP_NAME;
    const PAYLOAD_TYPE: Option<u8> = Some(L::PAYLOAD_TYPE);
    const RTP_CLOCK: u32 = 8000;
    const MAX_PACKET: u32 = MAX_SAMPLES as u32;
    const SAMPLE_RATES: &'static [u32] = &[8000];
    const FRAME_US: &'static [u32] = &[20_000, 10_000, 30_000, 40_000, 60_000, 50_000, 5_000];
    const SAMPLE: Option<Sample> = Some(Sample {
        packet: L::SAMPLE.0,
        pcm: L::SAMPLE.1,
        sample_rate: 8000,
        channels: 1,
        tolerance: 0,
    });

    type Encoder = Coder<L>;
    type Decoder = Coder<L>;
}

/// One direction; the law has no memory.
pub struct Coder<L>(PhantomData<L>);

impl<L: Law> Coder<L> {
    fn served(config: &CodecConfig<'_>) -> Result<Self, Error> {
        if (config.sample_rate, config.channels) == (8000, 1) {
            Ok(Self(PhantomData))
        } else {
            Err(Error::Unsupported)
        }
    }
}

impl<L: Law> Encoder for Coder<L> {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        Self::served(config)
    }

    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        // A multiple of 5 ms, as listed.
        if pcm.is_empty() || pcm.len() > MAX_SAMPLES || !pcm.len().is_multiple_of(40) {
            return Err(Error::Argument);
        }
        let out = out.get_mut(..pcm.len()).ok_or(Error::TooSmall)?;
        for (byte, sample) in out.iter_mut().zip(pcm) {
            *byte = L::encode(*sample);
        }
        Ok(pcm.len())
    }
}

impl<L: Law> Decoder for Coder<L> {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        Self::served(config)
    }

    fn decode(&mut self, data: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        if data.is_empty() {
            return Err(Error::Malformed);
        }
        let pcm = pcm.get_mut(..data.len()).ok_or(Error::TooSmall)?;
        for (sample, byte) in pcm.iter_mut().zip(data) {
            *sample = L::decode(*byte);
        }
        Ok(data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quartet_plugin::Options;

    fn config(sample_rate: u32, channels: u32) -> CodecConfig<'static> {
        let options = Options::new("");
        CodecConfig {
            sample_rate,
            channels,
            frame_us: 20_000,
            local_fmtp: "",
            remote_fmtp: "",
            options,
        }
    }

    #[test]
    fn serves_8_khz_mono_only() {
        for (rate, channels, fine) in [(8000, 1, true), (16_000, 1, false), (8000, 2, false), (8000, 0, false)] {
            assert_eq!(
                <Coder<ALaw> as Encoder>::new(&config(rate, channels)).is_ok(),
                fine,
                "{rate} {channels}"
            );
            assert_eq!(
                <Coder<MuLaw> as Decoder>::new(&config(rate, channels)).is_ok(),
                fine,
                "{rate} {channels}"
            );
        }
    }

    #[test]
    fn takes_listed_lengths_and_enough_room() {
        let mut coder = <Coder<ALaw> as Encoder>::new(&config(8000, 1)).unwrap();
        let mut out = [0; MAX_SAMPLES];
        for us in G711::<ALaw>::FRAME_US {
            let count = config(8000, 1).samples_in(*us);
            assert_eq!(coder.encode(&vec![0; count], &mut out), Ok(count));
            assert_eq!(
                coder.encode(&vec![0; count], &mut out[..count - 1]),
                Err(Error::TooSmall)
            );
        }
        for count in [0, 1, 159, 161, 520] {
            assert_eq!(coder.encode(&vec![0; count], &mut out), Err(Error::Argument), "{count}");
        }
        assert_eq!(coder.decode(&[], &mut [0; 8]), Err(Error::Malformed));
        assert_eq!(coder.decode(&[0; 9], &mut [0; 8]), Err(Error::TooSmall));
        assert_eq!(coder.conceal(&mut [0; 8]), Err(Error::Unsupported));
    }

    #[test]
    fn samples_decode_exactly() {
        fn check<L: Law>() {
            let sample = G711::<L>::SAMPLE.unwrap();
            let mut pcm = [0; 16];
            let count = Coder::<L>(PhantomData).decode(sample.packet, &mut pcm).unwrap();
            assert_eq!(&pcm[..count], sample.pcm);
        }
        check::<ALaw>();
        check::<MuLaw>();
    }
}
