//! G.722 at 64 kbit/s: wideband speech for desk phones that have no Opus. ITU-T G.722 (09/2012); RFC 3551 §4.5.2.
//!
//! Its clock in RTP is 8000 Hz whatever it samples at, one byte for each tick. There is no redundancy, so the host conceals lost packets by
//! itself. Towards a leg of 8 kHz the upper band is left out on either side, and nothing is resampled.
//!
//! The coder is our own, since the crates that there are give other bits than the C libraries that phones are made with: audio-codec 0.4.13
//! and ezk-g722 0.1.2 differ in three bytes of four. Those of this one are those of spandsp and libg722 (tests below).

mod band;
mod tables;

use core::ffi::CStr;

use quartet_plugin::{Codec, CodecConfig, Decoder, Encoder, Error, Sample};

use crate::band::{Band, saturate};
use crate::tables::{DECISION_HIGH, DECISIONS_LOW, FILTER, VALUES_2, VALUES_4, VALUES_6, WEIGHTS_HIGH, WEIGHTS_LOW};

/// Longest packet: 60 ms.
const MAX_BYTES: usize = 480;
/// A packet is a multiple of 5 ms.
const STEP_BYTES: usize = 40;

quartet_plugin::export_codecs! {
    symbol: quartet_plugin_codec_g722,
    id: "codec-g722",
    licence: "MIT OR Apache-2.0",
    summary: "G.722, wideband speech at 64 kbit/s",
    options: [],
    codecs: [G722],
}

/// The codec.
pub struct G722;

impl Codec for G722 {
    const SDP_NAME: &'static CStr = c"G722";
    const PAYLOAD_TYPE: Option<u8> = Some(9);
    const RTP_CLOCK: u32 = 8000;
    const MAX_PACKET: u32 = MAX_BYTES as u32;
    const SAMPLE_RATES: &'static [u32] = &[16_000, 8000];
    const FRAME_US: &'static [u32] = &[20_000, 10_000, 30_000, 40_000, 60_000, 50_000, 5_000];
    const SAMPLE: Option<Sample> = Some(Sample {
        packet: &[250, 24, 148, 32, 132, 160, 160, 32, 33, 169, 42, 172, 175, 54, 159, 153],
        pcm: &[
            0, -1, -1, 0, 0, -1, 0, 0, -1, -1, 1, -1, 1, 1, -11, -40, 11, 67, 0, -155, -97, 192, 563, 944, 1326, 2122,
            4029, 6351, 7951, 8390, 8658, 9084,
        ],
        sample_rate: 16_000,
        channels: 1,
        tolerance: 0,
    });

    type Encoder = Sending;
    type Decoder = Receiving;
}

/// Samples of a byte at a rate that is served.
fn samples_of_byte(config: &CodecConfig<'_>) -> Result<usize, Error> {
    match (config.sample_rate, config.channels) {
        (16_000, 1) => Ok(2),
        (8000, 1) => Ok(1),
        _ => Err(Error::Unsupported),
    }
}

/// What goes out.
pub struct Sending {
    bands: Bands,
    samples_of_byte: usize,
}

/// What comes in.
pub struct Receiving {
    bands: Bands,
    samples_of_byte: usize,
}

/// Both bands, and the samples that the filter between them remembers, the oldest first.
struct Bands {
    low: Band,
    high: Band,
    samples: [i32; 24],
}

impl Encoder for Sending {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        let samples_of_byte = samples_of_byte(config)?;
        Ok(Self {
            bands: Bands::new(),
            samples_of_byte,
        })
    }

    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        let bytes = pcm.len() / self.samples_of_byte;
        let is_listed = (STEP_BYTES..=MAX_BYTES).contains(&bytes) && bytes.is_multiple_of(STEP_BYTES);
        if !is_listed || bytes * self.samples_of_byte != pcm.len() {
            return Err(Error::Argument);
        }
        let out = out.get_mut(..bytes).ok_or(Error::TooSmall)?;
        for (byte, samples) in out.iter_mut().zip(pcm.chunks_exact(self.samples_of_byte)) {
            *byte = match *samples {
                [first, second] => self.bands.encode(first.into(), second.into()),
                // No upper band: its code is the smallest step.
                [sample] => 0xC0 | self.bands.encode_low(i32::from(sample) >> 1),
                _ => return Err(Error::Argument),
            };
        }
        Ok(bytes)
    }
}

impl Decoder for Receiving {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        let samples_of_byte = samples_of_byte(config)?;
        Ok(Self {
            bands: Bands::new(),
            samples_of_byte,
        })
    }

    fn decode(&mut self, data: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        if data.is_empty() {
            return Err(Error::Malformed);
        }
        let count = data.len() * self.samples_of_byte;
        let pcm = pcm.get_mut(..count).ok_or(Error::TooSmall)?;
        for (byte, samples) in data.iter().zip(pcm.chunks_exact_mut(self.samples_of_byte)) {
            let low = self.bands.decode_low(*byte);
            if let [first, second] = samples {
                [*first, *second] = self.bands.join(low, *byte);
            } else if let [sample] = samples {
                *sample = saturate(low << 1) as i16;
            }
        }
        Ok(count)
    }
}

/// Sign and size of a distance, as a quantizer takes it: one's complement of what is negative (QUANTL, QUANTH).
fn parted(distance: i32) -> (bool, i32) {
    let distance = saturate(distance);
    (distance < 0, if distance < 0 { !distance } else { distance })
}

impl Bands {
    fn new() -> Self {
        Bands {
            low: Band::low(),
            high: Band::high(),
            samples: [0; 24],
        }
    }

    /// Two samples in a byte.
    fn encode(&mut self, first: i32, second: i32) -> u8 {
        let [even, odd] = self.filtered([first, second]);
        let low = self.encode_low((even + odd) >> 14);
        self.encode_high((odd - even) >> 14) << 6 | low
    }

    /// Takes two samples into the filter; what its halves make of the even and of the odd ones.
    fn filtered(&mut self, new: [i32; 2]) -> [i32; 2] {
        self.samples.rotate_left(2);
        self.samples[22..].copy_from_slice(&new);
        let pairs = self.samples.chunks_exact(2).zip(FILTER).zip(FILTER.into_iter().rev());
        pairs.fold([0, 0], |[even, odd], ((pair, forward), backward)| {
            [even + pair[0] * forward, odd + pair[1] * backward]
        })
    }

    /// A sample of the lower band in six bits.
    fn encode_low(&mut self, sample: i32) -> u8 {
        let (is_below, size) = parted(sample - self.low.predicted);
        let level = DECISIONS_LOW
            .iter()
            .take_while(|level| size >= (**level * self.low.scale) >> 12)
            .count();
        let code = match (is_below, level) {
            (false, level) => 61 - level as u8,
            (true, level @ 0..=1) => 63 - level as u8,
            (true, level) => 33 - level as u8,
        };
        self.adapt_low(code);
        code
    }

    fn encode_high(&mut self, sample: i32) -> u8 {
        let (is_below, size) = parted(sample - self.high.predicted);
        let is_far = size >= (DECISION_HIGH * self.high.scale) >> 12;
        let code = match (is_below, is_far) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.adapt_high(code);
        code
    }

    /// Both ends go by the upper four bits: the lower ones may be stolen on the way.
    fn adapt_low(&mut self, code: u8) {
        let code = usize::from(code >> 2);
        let difference = (self.low.scale * VALUES_4[code]) >> 15;
        self.low.adapt_scale(WEIGHTS_LOW[code]);
        self.low.adapt(difference);
    }

    /// The difference that the code stands for.
    fn adapt_high(&mut self, code: u8) -> i32 {
        let code = usize::from(code);
        let difference = (self.high.scale * VALUES_2[code]) >> 15;
        self.high.adapt_scale(WEIGHTS_HIGH[code]);
        self.high.adapt(difference);
        difference
    }

    fn decode_low(&mut self, byte: u8) -> i32 {
        let code = byte & 63;
        let rebuilt = self.low.predicted + ((self.low.scale * VALUES_6[usize::from(code)]) >> 15);
        self.adapt_low(code);
        rebuilt.clamp(-16_384, 16_383)
    }

    /// Two samples of a byte whose lower band is decoded.
    fn join(&mut self, low: i32, byte: u8) -> [i16; 2] {
        let predicted = self.high.predicted;
        let high = (predicted + self.adapt_high(byte >> 6)).clamp(-16_384, 16_383);
        let [even, odd] = self.filtered([low + high, low - high]);
        [odd, even].map(|sample| saturate(sample >> 11) as i16)
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

    fn encoder(rate: u32) -> Sending {
        Encoder::new(&config(rate, 1)).unwrap()
    }

    fn decoder(rate: u32) -> Receiving {
        Decoder::new(&config(rate, 1)).unwrap()
    }

    /// What a text of numbers comes to.
    fn sum(values: impl Iterator<Item = u16>) -> u32 {
        values.fold(0, |sum: u32, value| sum.wrapping_mul(31).wrapping_add(value.into()))
    }

    /// A second of something with both bands in it.
    fn sound(samples: i64) -> Vec<i16> {
        (0..samples)
            .map(|at| (((at * 37) % 200 - 100) * 80 + ((at * at * 7) % 997 - 498) * 4) as i16)
            .collect()
    }

    fn encoded(coder: &mut Sending, pcm: &[i16], frame: usize) -> Vec<u8> {
        let mut out = [0; MAX_BYTES];
        pcm.chunks(frame)
            .flat_map(|frame| {
                let length = coder.encode(frame, &mut out).unwrap();
                out[..length].to_vec()
            })
            .collect()
    }

    fn decoded(coder: &mut Receiving, packets: &[u8]) -> Vec<i16> {
        let mut pcm = [0; 960];
        packets
            .chunks(160)
            .flat_map(|packet| {
                let length = coder.decode(packet, &mut pcm).unwrap();
                pcm[..length].to_vec()
            })
            .collect()
    }

    /// The figures are those of spandsp 0.0.6 and of libg722, which agree.
    #[test]
    fn bits_and_samples_are_those_of_another_implementation() {
        let pcm = sound(16_000);
        let packets = encoded(&mut encoder(16_000), &pcm, 320);
        assert_eq!(
            (packets.len(), sum(packets.iter().map(|byte| u16::from(*byte)))),
            (8000, 2_472_507_498)
        );
        for (rate, samples, expected) in [(16_000, 16_000, 3_868_041_647), (8000, 8000, 1_112_634_036)] {
            let pcm = decoded(&mut decoder(rate), &packets);
            assert_eq!(
                (pcm.len(), sum(pcm.iter().map(|sample| *sample as u16))),
                (samples, expected),
                "{rate}"
            );
        }
        let narrow = encoded(&mut encoder(8000), &pcm[..8000], 160);
        assert_eq!(
            (narrow.len(), sum(narrow.iter().map(|byte| u16::from(*byte)))),
            (8000, 784_367_598)
        );
    }

    #[test]
    fn listed_lengths_and_rates_are_taken_and_no_others() {
        for (rate, channels, fine) in [
            (16_000, 1, true),
            (8000, 1, true),
            (48_000, 1, false),
            (16_000, 2, false),
        ] {
            assert_eq!(<Sending as Encoder>::new(&config(rate, channels)).is_ok(), fine);
            assert_eq!(<Receiving as Decoder>::new(&config(rate, channels)).is_ok(), fine);
        }
        let mut out = [0; MAX_BYTES];
        for rate in G722::SAMPLE_RATES {
            let mut coder = encoder(*rate);
            for us in G722::FRAME_US {
                let pcm = vec![0; config(*rate, 1).samples_in(*us)];
                let length = coder.encode(&pcm, &mut out).unwrap();
                assert_eq!(length, *us as usize / 125);
                assert_eq!(coder.encode(&pcm, &mut out[..length - 1]), Err(Error::TooSmall));
            }
            for count in [0, 1, 81, 121, 2000] {
                assert_eq!(coder.encode(&vec![0; count], &mut out), Err(Error::Argument), "{count}");
            }
        }
        let mut coder = decoder(16_000);
        assert_eq!(coder.decode(&[], &mut [0; 8]), Err(Error::Malformed));
        assert_eq!(coder.decode(&[0; 9], &mut [0; 17]), Err(Error::TooSmall));
        assert_eq!(coder.conceal(&mut [0; 8]), Err(Error::Unsupported));
    }

    #[test]
    fn random_bytes_are_noise_and_nothing_worse() {
        let (mut state, mut wide, mut narrow) = (1u64, decoder(16_000), decoder(8000));
        let mut pcm = [0; 2000];
        for _ in 0..20_000 {
            let packet: Vec<u8> = (0..state >> 40 & 255)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) as u8
                })
                .collect();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            for coder in [&mut wide, &mut narrow] {
                let expected = packet.len() * coder.samples_of_byte;
                assert_eq!(coder.decode(&packet, &mut pcm).unwrap_or(0), expected);
            }
        }
        // And what is loudest.
        for sample in [i16::MIN, i16::MAX] {
            let mut out = [0; MAX_BYTES];
            let mut coder = encoder(16_000);
            (0..200).for_each(|at| {
                _ = coder
                    .encode(&[if at % 2 == 0 { sample } else { !sample }; 320], &mut out)
                    .unwrap()
            });
        }
    }
}
