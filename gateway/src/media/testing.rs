//! Codecs and transports linked into the tests, and a world without sockets or clock to drive legs in.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use quartet_plugin::{
    About, Codec, CodecConfig, Decoder, Encoder, Error, Event, Outcome, Output, Packet, Transport, TransportConfig,
};
use quartet_proto::rtp::packet::{HEADER, Packet as Rtp, is_rtcp};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use quartet_proto::sdp::TelephoneEvent;

use super::{
    Bind, BoundSocket, LegCodec, LegKey, Legs, MediaCommand, MediaEvent, MediaIo, Nack, Opening, Report, Role, Sink,
    Slot, SocketKey, StreamKey, dsp::tones::Tone,
};
use crate::plugins::{self, Registry};

pub(crate) const MS: u64 = 1_000_000;

/// Samples as they are.
pub(crate) struct Raw;

impl Encoder for Raw {
    fn new(_: &CodecConfig<'_>) -> Result<Self, Error> {
        Ok(Self)
    }

    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        let room = out.get_mut(..pcm.len() * 2).ok_or(Error::TooSmall)?;
        for (bytes, sample) in room.chunks_exact_mut(2).zip(pcm) {
            bytes.copy_from_slice(&sample.to_le_bytes());
        }
        Ok(pcm.len() * 2)
    }
}

impl Decoder for Raw {
    fn new(_: &CodecConfig<'_>) -> Result<Self, Error> {
        Ok(Self)
    }

    fn decode(&mut self, data: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        assert_ne!(data, b"panic!");
        if data.is_empty() || !data.len().is_multiple_of(2) {
            return Err(Error::Malformed);
        }
        let room = pcm.get_mut(..data.len() / 2).ok_or(Error::TooSmall)?;
        for (sample, bytes) in room.iter_mut().zip(data.chunks_exact(2)) {
            *sample = i16::from_le_bytes([bytes[0], bytes[1]]);
        }
        Ok(data.len() / 2)
    }
}

macro_rules! raw_codec {
    ($name:ident, $sdp:literal, $clock:literal, $rates:expr) => {
        pub(crate) struct $name;

        impl Codec for $name {
            const SDP_NAME: &'static core::ffi::CStr = $sdp;
            const RTP_CLOCK: u32 = $clock;
            const MAX_PACKET: u32 = 1400;
            const SAMPLE_RATES: &'static [u32] = $rates;
            const FRAME_US: &'static [u32] = &[20_000, 10_000, 40_000];
            type Encoder = Raw;
            type Decoder = Raw;
        }
    };
}

raw_codec!(Narrow, c"T-NARROW", 8_000, &[8_000]);
raw_codec!(Wide, c"T-WIDE", 16_000, &[16_000]);
raw_codec!(Both, c"T-BOTH", 16_000, &[16_000, 8_000]);

quartet_plugin::export_codecs! {
    symbol: quartet_plugin_test_codecs,
    id: "test-codecs",
    licence: "MIT",
    summary: "samples as they are",
    options: [],
    codecs: [Narrow, Wide, Both],
}

/// A transport that is up once it knows a port, and adds nothing to a packet.
pub(crate) struct Bare {
    dst: Option<SocketAddr>,
    events: VecDeque<&'static str>,
    paths: Option<String>,
}

impl Bare {
    fn make() -> Self {
        Self {
            dst: None,
            events: VecDeque::new(),
            paths: None,
        }
    }

    fn learn(&mut self, about: About, lines: &str) -> Result<(), Error> {
        match about {
            About::Remote => {
                for line in lines.lines() {
                    if let Some(port) = line.strip_prefix("port:") {
                        let port: u16 = port.parse().map_err(|_| Error::Malformed)?;
                        self.dst = Some(SocketAddr::from(([127, 0, 0, 1], port)));
                        self.events.push_back("connected");
                    } else if line == "x-fail" {
                        self.events.push_back("failed");
                    }
                }
            }
            About::Paths => self.paths = Some(lines.to_owned()),
            About::Control => self.events.push_back("goodbye"),
        }
        Ok(())
    }

    fn take(packet: &Packet<'_>) -> Outcome {
        let bytes = packet.bytes();
        assert_ne!(bytes, b"panic!");
        match bytes.first() {
            Some(0x80..=0xBF) if is_rtcp(bytes) => Outcome::Rtcp,
            Some(0x80..=0xBF) => Outcome::Rtp,
            Some(b'd') => Outcome::Data,
            _ => Outcome::Kept,
        }
    }

    fn next(&mut self) -> Output<'_> {
        match self.events.pop_front() {
            Some("connected") => Output::Event(Event::Connected),
            Some("failed") => Output::Event(Event::Failed("ice")),
            Some(_) => Output::Transmit {
                path: 1,
                dst: ([127, 0, 0, 1], 9).into(),
                bytes: b"goodbye",
            },
            None => Output::None { deadline_ns: None },
        }
    }
}

macro_rules! bare_transport {
    ($type:ident, $name:literal) => {
        pub(crate) struct $type(Bare);

        impl Transport for $type {
            const NAME: &'static core::ffi::CStr = $name;
            const HEADROOM: u32 = 0;
            const TAILROOM: u32 = 0;

            fn create(_: &TransportConfig<'_>) -> Result<Self, Error> {
                Ok(Self(Bare::make()))
            }

            fn local(&mut self, _: u64, out: &mut String) -> Result<(), Error> {
                out.push_str(&self.0.paths.take().unwrap_or_default());
                Ok(())
            }

            fn tell(&mut self, _: u64, about: About, lines: &str) -> Result<(), Error> {
                self.0.learn(about, lines)
            }

            fn receive(&mut self, _: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
                Ok(Bare::take(packet))
            }

            fn send(&mut self, _: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
                packet.set_path(1);
                packet.set_dst(self.0.dst.ok_or(Error::State)?);
                Ok(Outcome::Transmit)
            }

            fn timeout(&mut self, _: u64) -> Result<(), Error> {
                Ok(())
            }

            fn poll(&mut self) -> Output<'_> {
                self.0.next()
            }
        }
    };
}

bare_transport!(Telephone, c"rtp");
bare_transport!(Program, c"mux");

quartet_plugin::export_transport! {
    symbol: quartet_plugin_test_transports,
    id: "test-transports",
    licence: "MIT",
    summary: "packets as they are",
    options: [],
    transports: [Telephone, Program],
}

/// The plugins of this file.
pub(crate) fn registry() -> Arc<Registry> {
    Arc::new(Registry::from_static(&[
        ("quartet_plugin_test_codecs", &quartet_plugin_test_codecs),
        ("quartet_plugin_test_transports", &quartet_plugin_test_transports),
    ]))
}

/// The codecs of the product.
pub(crate) fn product() -> Registry {
    Registry::from_static(&[
        ("quartet_plugin_codec_opus", &codec_opus::quartet_plugin_codec_opus),
        ("quartet_plugin_codec_g711", &codec_g711::quartet_plugin_codec_g711),
    ])
}

/// A decoder of this file.
pub(crate) fn decoder(name: &str, rate: u32) -> plugins::Decoder {
    decoder_of(&registry(), name, rate)
}

/// A decoder of these plugins.
pub(crate) fn decoder_of(registry: &Registry, name: &str, rate: u32) -> plugins::Decoder {
    let settings = plugins::CodecSettings {
        sample_rate: rate,
        channels: 1,
        frame_us: 20_000,
        local_fmtp: "",
        remote_fmtp: "",
    };
    registry.codec(name).unwrap().decoder(&settings).unwrap()
}

/// What a leg of the tests agrees on: speech is type 96, keys are 101.
pub(crate) fn codec(name: &str, ssrc: u32) -> LegCodec {
    LegCodec {
        name: name.to_owned(),
        clock: if name == "T-NARROW" { 8_000 } else { 16_000 },
        send_pt: 96,
        receive_pt: 96,
        send_fmtp: String::new(),
        local_fmtp: String::new(),
        ptime_ms: 20,
        telephone_event: Some(TelephoneEvent {
            send_pt: 101,
            receive_pt: 101,
            clock: 8_000,
        }),
        events: Vec::new(),
        also: Vec::new(),
        ssrc,
        nack: Nack::Off,
    }
}

/// A peer that speaks a tone.
pub(crate) struct Speaker {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload_type: u8,
    rate: u32,
    frame: usize,
    tone: Tone,
}

impl Speaker {
    pub(crate) fn new(rate: u32, packet_ms: usize, hz: f32) -> Self {
        let frame = rate as usize * packet_ms / 1000;
        let tone = Tone::new(rate, hz, -10.0);
        Self {
            ssrc: 7,
            sequence: 65_500,
            timestamp: u32::MAX - 9_000,
            payload_type: 96,
            rate,
            frame,
            tone,
        }
    }

    /// The next packet; its clock is that of the samples.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let mut pcm = vec![0; self.frame];
        self.tone.fill(&mut pcm);
        let payload: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let bytes = self.bytes(self.payload_type, self.timestamp, &payload);
        self.timestamp = self.timestamp.wrapping_add(self.frame as u32);
        bytes
    }

    /// Lets time pass without a packet.
    pub(crate) fn pause(&mut self, ms: u32) {
        self.timestamp = self.timestamp.wrapping_add(self.rate / 1000 * ms);
    }

    /// A packet of one's own making.
    pub(crate) fn bytes(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, payload_type];
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.ssrc.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        bytes
    }
}

/// A packet that left a leg.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at_ns: u64,
    pub(crate) leg: Slot,
    pub(crate) bytes: Vec<u8>,
}

impl Sent {
    pub(crate) fn rtp(&self) -> Option<Rtp<'_>> {
        if is_rtcp(&self.bytes) || self.bytes.len() < HEADER {
            None
        } else {
            Rtp::parse(&self.bytes).ok()
        }
    }

    pub(crate) fn pcm(&self) -> Vec<i16> {
        let speech = self.rtp().filter(|rtp| rtp.payload_type == 96);
        let payload = speech.map(|rtp| rtp.payload.to_vec()).unwrap_or_default();
        payload
            .chunks_exact(2)
            .map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]]))
            .collect()
    }
}

/// What the legs did to the world.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) now_ns: u64,
    pub(crate) sent: Vec<Sent>,
    pub(crate) events: Vec<MediaEvent>,
    /// Packets are only counted, where time is measured.
    pub(crate) forget: bool,
    pub(crate) forgotten: u64,
}

/// The one socket that each leg has. Its key tells nothing of the path's number.
pub(crate) const SOCKET: SocketKey = SocketKey(7);

impl MediaIo for World {
    fn transmit(&mut self, leg: Slot, socket: SocketKey, _: SocketAddr, bytes: &[u8]) -> bool {
        assert_eq!(socket, SOCKET);
        if self.forget {
            self.forgotten += 1;
            return true;
        }
        self.sent.push(Sent {
            at_ns: self.now_ns,
            leg,
            bytes: bytes.to_vec(),
        });
        true
    }

    fn write(&mut self, _: Slot, _: StreamKey, _: &[u8]) -> bool {
        true
    }

    fn hang_up(&mut self, _: Slot, _: StreamKey) {}

    fn event(&mut self, event: MediaEvent) {
        self.events.push(event);
    }
}

/// Legs under virtual time.
pub(crate) struct Room {
    pub(crate) legs: Legs,
    pub(crate) world: World,
    packet: plugins::Packet,
}

impl Room {
    pub(crate) fn new() -> Self {
        let rng = Box::new(ChaCha20Rng::seed_from_u64(1));
        let world = World {
            now_ns: 1_000 * MS,
            ..World::default()
        };
        Self {
            legs: Legs::new(registry(), rng),
            world,
            packet: plugins::Packet::new(2_048, 64),
        }
    }

    /// Opens a leg, tells it a port, agrees on a codec.
    pub(crate) fn leg(&mut self, key: u64, transport: &str, codec_name: &str) {
        self.open(key, transport);
        self.command(MediaCommand::Remote {
            leg: LegKey(key),
            lines: "port:4000\n".to_owned(),
        });
        self.command(MediaCommand::Codec {
            leg: LegKey(key),
            codec: codec(codec_name, key as u32),
        });
    }

    pub(crate) fn open(&mut self, key: u64, transport: &str) -> bool {
        let now_ns = self.world.now_ns;
        let sink = if transport == "rtp" {
            Sink::Telephone
        } else {
            Sink::Adaptive
        };
        self.legs.open(
            now_ns,
            LegKey(key),
            Opening {
                transport,
                sink,
                role: Role::Offer,
                options: "",
                relay_only: false,
            },
            &[BoundSocket {
                key: SOCKET,
                component: 1,
                local: ([127, 0, 0, 1], 4_002).into(),
                outer: None,
            }],
            &mut self.world,
        )
    }

    pub(crate) fn command(&mut self, command: MediaCommand) {
        self.legs.command(self.world.now_ns, command, &mut self.world);
    }

    pub(crate) fn close(&mut self, key: u64) {
        if let Some(slot) = self.legs.slot(LegKey(key)) {
            self.legs.close(self.world.now_ns, slot, &mut self.world);
        }
    }

    pub(crate) fn receive(&mut self, key: u64, bytes: &[u8]) {
        let Some(slot) = self.legs.slot(LegKey(key)) else {
            return;
        };
        self.packet.fill(bytes);
        self.legs
            .receive(self.world.now_ns, (slot, SOCKET), &mut self.packet, &mut self.world);
    }

    /// Lets time pass, timers included.
    pub(crate) fn wait(&mut self, ns: u64) {
        let until = self.world.now_ns + ns;
        while let Some(deadline) = self.legs.deadline().filter(|deadline| *deadline <= until) {
            self.world.now_ns = self.world.now_ns.max(deadline);
            self.legs.timeout(self.world.now_ns, &mut self.world);
        }
        self.world.now_ns = until;
    }

    /// What a leg has reported, the last at the end.
    pub(crate) fn reports(&self, key: u64) -> Vec<Report> {
        let report = |event: &MediaEvent| {
            if let MediaEvent::Report { leg, report } = event {
                (leg.0 == key).then_some(*report)
            } else {
                None
            }
        };
        self.world.events.iter().filter_map(report).collect()
    }

    /// The speech that left a leg since `from_ns`.
    pub(crate) fn heard(&self, key: u64, from_ns: u64) -> Vec<i16> {
        let slot = self.legs.slot(LegKey(key));
        let sent = self
            .world
            .sent
            .iter()
            .filter(|sent| Some(sent.leg) == slot && sent.at_ns >= from_ns);
        sent.flat_map(Sent::pcm).collect()
    }

    pub(crate) fn bind() -> Bind {
        Bind {
            addresses: vec![[127, 0, 0, 1].into()],
            components: 1,
            outer: Vec::new(),
        }
    }
}
