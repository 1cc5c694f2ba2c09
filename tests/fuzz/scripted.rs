//! A codec and a transport that do what the bytes they are given say: every answer that the contract allows, at any time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use quartet::plugins::Registry;
use quartet_plugin::{
    About, Codec, CodecConfig, Decoder, Encoder, Error, Event, Outcome, Output, Packet, Transport, TransportConfig,
};
use quartet_proto::rtp::packet::is_rtcp;

/// What the first byte of a packet says; none of these is a fault of the plugin but the last.
fn error(byte: u8) -> Error {
    [
        Error::Malformed,
        Error::TooSmall,
        Error::Unsupported,
        Error::State,
        Error::Resources,
        Error::NoMatch,
    ]
    .get(usize::from(byte % 8))
    .copied()
    .unwrap_or(Error::Internal)
}

/// Both halves of the codec.
pub struct Any {
    frame: usize,
    calls: u8,
}

impl Any {
    fn make(config: &CodecConfig<'_>) -> Self {
        Any {
            frame: config.samples_in(20_000),
            calls: 0,
        }
    }

    fn fill(&mut self, pcm: &mut [i16]) -> Result<usize, Error> {
        self.calls = self.calls.wrapping_add(1);
        match self.calls % 5 {
            0 => Err(Error::Unsupported),
            1 => Err(Error::Malformed),
            _ => {
                pcm.fill(1_000);
                Ok(pcm.len())
            }
        }
    }
}

impl Encoder for Any {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        Ok(Any::make(config))
    }

    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        self.calls = self.calls.wrapping_add(1);
        match self.calls % 16 {
            0 => Ok(0),
            1 => Err(Error::Resources),
            _ => Ok((pcm.len() / 2).min(out.len())),
        }
    }
}

impl Decoder for Any {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        Ok(Any::make(config))
    }

    /// `0..`: an error; `1`: one sample for each byte; `2`: 20 ms; `3`: as much as there is room; `4`: nothing.
    fn decode(&mut self, data: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        let first = data.first().copied().ok_or(Error::Malformed)?;
        let samples = match first >> 5 {
            0 => return Err(error(first)),
            1 => data.len(),
            3 => pcm.len(),
            4 => 0,
            _ => self.frame,
        };
        let pcm = pcm.get_mut(..samples).ok_or(Error::TooSmall)?;
        for (sample, byte) in pcm.iter_mut().zip(data.iter().cycle()) {
            *sample = i16::from(*byte) << 8;
        }
        Ok(samples)
    }

    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, Error> {
        self.fill(pcm)
    }

    fn fec(&mut self, _: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        self.fill(pcm)
    }
}

macro_rules! codec {
    ($name:ident, $sdp:literal, $clock:literal, $rates:expr, $frames:expr) => {
        /// The codec at one set of rates.
        pub struct $name;

        impl Codec for $name {
            const SDP_NAME: &'static core::ffi::CStr = $sdp;
            const RTP_CLOCK: u32 = $clock;
            const MAX_PACKET: u32 = 1400;
            const SAMPLE_RATES: &'static [u32] = $rates;
            const FRAME_US: &'static [u32] = $frames;
            type Encoder = Any;
            type Decoder = Any;
        }
    };
}

codec!(Narrow, c"NARROW", 8_000, &[8_000], &[20_000, 10_000, 60_000]);
codec!(Wide, c"WIDE", 48_000, &[48_000, 16_000], &[20_000, 2_500, 120_000]);
codec!(Odd, c"ODD", 12_000, &[12_000], &[20_000]);

quartet_plugin::export_codecs! {
    symbol: quartet_plugin_fuzz_codecs,
    id: "fuzz-codecs",
    licence: "MIT",
    summary: "what the bytes say",
    options: [],
    codecs: [Narrow, Wide, Odd],
}

/// A transport that is up once it is told anything, and makes of a datagram what its first byte says.
pub struct Free {
    dst: SocketAddr,
    /// What the next polls give; the last is kept, for it is lent.
    outputs: VecDeque<Vec<u8>>,
    lent: Vec<u8>,
    deadline_ns: Option<u64>,
}

impl Transport for Free {
    const NAME: &'static core::ffi::CStr = c"free";
    const HEADROOM: u32 = 0;
    const TAILROOM: u32 = 0;

    fn create(_: &TransportConfig<'_>) -> Result<Self, Error> {
        let dst = SocketAddr::from(([192, 0, 2, 1], 9));
        Ok(Free {
            dst,
            outputs: VecDeque::new(),
            lent: Vec::new(),
            deadline_ns: None,
        })
    }

    fn local(&mut self, now_ns: u64, out: &mut String) -> Result<(), Error> {
        if now_ns % 31 == 30 {
            return Err(Error::Resources);
        }
        out.push_str("x-line\n");
        Ok(())
    }

    fn tell(&mut self, _: u64, _: About, lines: &str) -> Result<(), Error> {
        if lines.contains("x-error") {
            return Err(Error::Malformed);
        }
        self.outputs.push_back(vec![b'c']);
        Ok(())
    }

    fn receive(&mut self, now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        let bytes = packet.bytes();
        Ok(match bytes.first() {
            Some(0x80..=0xBF) if is_rtcp(bytes) => Outcome::Rtcp,
            Some(0x80..=0xBF) => Outcome::Rtp,
            Some(b'd') => Outcome::Data,
            Some(b't') => {
                packet.set_path(1);
                packet.set_dst(self.dst);
                Outcome::Transmit
            }
            Some(b'o') => {
                // Outputs for later, each after its length.
                let mut rest = &bytes[1..];
                while let [length, tail @ ..] = rest {
                    let length = usize::from(*length).min(tail.len());
                    if self.outputs.len() < 200 {
                        self.outputs.push_back(tail[..length].to_vec());
                    }
                    rest = &tail[length..];
                }
                Outcome::Kept
            }
            Some(b'w') => {
                self.deadline_ns = bytes.get(1).map(|ms| now_ns + u64::from(*ms) * 1_000_000);
                Outcome::Kept
            }
            Some(b'e') => return Err(error(bytes.get(1).copied().unwrap_or(0))),
            _ => Outcome::Kept,
        })
    }

    fn send(&mut self, _: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        packet.set_path(1);
        packet.set_dst(self.dst);
        Ok(Outcome::Transmit)
    }

    fn timeout(&mut self, _: u64) -> Result<(), Error> {
        self.deadline_ns = None;
        self.outputs.push_back(vec![b't', 1, 2, 3]);
        Ok(())
    }

    fn poll(&mut self) -> Output<'_> {
        let Some(next) = self.outputs.pop_front() else {
            return Output::None {
                deadline_ns: self.deadline_ns,
            };
        };
        self.lent = next;
        let bytes = self.lent.as_slice();
        match bytes.first() {
            Some(b'c') => Output::Event(Event::Connected),
            Some(b'l') => Output::Event(Event::Local),
            Some(b'f') => Output::Event(Event::Failed("ice")),
            Some(b'd') => Output::Data {
                channel: 1,
                text: true,
                bytes,
            },
            Some(0x80..=0xBF) if is_rtcp(bytes) => Output::Rtcp(bytes),
            Some(0x80..=0xBF) => Output::Rtp(bytes),
            _ => Output::Transmit {
                path: 1,
                dst: self.dst,
                bytes,
            },
        }
    }
}

quartet_plugin::export_transport! {
    symbol: quartet_plugin_fuzz_transport,
    id: "fuzz-transport",
    licence: "MIT",
    summary: "what the bytes say",
    options: [],
    transports: [Free],
}

/// The plugins of this file and plain RTP. A new one for each input: a plugin that fails too often is barred.
pub fn registry() -> Arc<Registry> {
    Arc::new(Registry::from_static(&[
        ("quartet_plugin_fuzz_codecs", &quartet_plugin_fuzz_codecs),
        ("quartet_plugin_fuzz_transport", &quartet_plugin_fuzz_transport),
        (
            "quartet_plugin_transport_rtp",
            &transport_rtp::quartet_plugin_transport_rtp,
        ),
    ]))
}
