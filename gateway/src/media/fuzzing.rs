//! Legs and a flow without sockets, under virtual time, for `tests/fuzz`. No part of the product.

use std::{net::SocketAddr, sync::Arc};

use quartet_proto::rtp::{packet::Packet as Rtp, repair::Arrival};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::{
    BoundSocket, LegKey, Legs, MediaCommand, MediaEvent, MediaIo, Opening, Role, Sink, Slot, SocketKey, StreamKey,
    depth::Path,
    flow::{Flow, FlowSettings},
};
use crate::plugins::{CodecSettings, Packet, PluginError, Registry};

/// What the legs did to the world.
#[derive(Default)]
struct World {
    sent: u64,
    events: Vec<MediaEvent>,
}

impl MediaIo for World {
    fn transmit(&mut self, _: Slot, _: SocketKey, _: SocketAddr, _: &[u8]) -> bool {
        self.sent += 1;
        // Some datagrams the system does not take.
        !self.sent.is_multiple_of(13)
    }

    fn write(&mut self, _: Slot, _: StreamKey, _: &[u8]) -> bool {
        true
    }

    fn hang_up(&mut self, _: Slot, _: StreamKey) {}

    fn event(&mut self, event: MediaEvent) {
        self.events.push(event);
    }
}

/// All legs of a worker.
pub struct Worker {
    legs: Legs,
    world: World,
    packet: Packet,
    now_ns: u64,
}

impl Worker {
    /// Legs with these plugins, their randomness repeatable.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self {
            legs: Legs::new(registry, Box::new(ChaCha8Rng::seed_from_u64(1))),
            world: World::default(),
            packet: Packet::new(2_048, 64),
            now_ns: 1,
        }
    }

    /// Opens a leg over a transport, with the sockets of RTP and RTCP at these addresses; false if there is none afterwards.
    pub fn open(&mut self, leg: LegKey, transport: &str, sockets: [SocketAddr; 2]) -> bool {
        let sink = if transport == "rtp" {
            Sink::Telephone
        } else {
            Sink::Adaptive
        };
        let opening = Opening {
            transport,
            sink,
            role: Role::Offer,
            options: "",
            relay_only: false,
        };
        let sockets = [(0, 1), (1, 2)].map(|(at, component)| BoundSocket {
            key: SocketKey(at),
            component,
            local: sockets[at],
            outer: None,
        });
        self.legs.open(self.now_ns, leg, opening, &sockets, &mut self.world)
    }

    /// Gives an order other than `Open` and `Close`.
    pub fn command(&mut self, command: MediaCommand) {
        self.legs.command(self.now_ns, command, &mut self.world);
    }

    /// Hands a datagram to a leg, as from this source on its first socket.
    pub fn receive(&mut self, leg: LegKey, source: SocketAddr, datagram: &[u8]) {
        if let Some(slot) = self.legs.slot(leg) {
            self.packet.fill(datagram);
            self.packet.src = source;
            let socket = SocketKey(0);
            self.legs
                .receive(self.now_ns, (slot, socket), &mut self.packet, &mut self.world);
        }
    }

    /// Closes a leg.
    pub fn close(&mut self, leg: LegKey) {
        if let Some(slot) = self.legs.slot(leg) {
            self.legs.close(self.now_ns, slot, &mut self.world);
        }
    }

    /// Lets time pass, timers included; how often a leg was served.
    pub fn wait(&mut self, ns: u64) -> u64 {
        let until = self.now_ns.saturating_add(ns);
        let mut served = 0;
        while let Some(deadline) = self.legs.deadline().filter(|deadline| *deadline <= until) {
            self.now_ns = self.now_ns.max(deadline);
            self.legs.timeout(self.now_ns, &mut self.world);
            served += 1;
        }
        self.now_ns = until;
        served
    }

    /// How many legs there are.
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// How many datagrams were sent since the last call.
    pub fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.world.sent)
    }

    /// What the call was told since the last call.
    pub fn take_events(&mut self) -> Vec<MediaEvent> {
        std::mem::take(&mut self.world.events)
    }
}

/// One direction of a bridge.
pub struct Direction {
    flow: Flow,
}

impl Direction {
    /// From a codec at its first rate, payload type 0, to frames of this rate and duration; `None` if there is no way.
    pub fn new(
        registry: &Registry,
        codec: &str,
        (rate, frame_us): (u32, u32),
        peer_has_jitter_buffer: bool,
    ) -> Option<Self> {
        let table = registry.codec(codec)?;
        let decoder_rate = *table.rates().first()?;
        let settings = CodecSettings {
            sample_rate: decoder_rate,
            channels: 1,
            frame_us: 20_000,
            local_fmtp: "",
            remote_fmtp: "",
        };
        let flow = Flow::new(FlowSettings {
            decoder: table.decoder(&settings).ok()?,
            decoder_rate,
            clock: table.clock(),
            payload_type: 0,
            sink_rate: rate,
            sink_frame_us: frame_us,
            peer_has_jitter_buffer,
        })?;
        Some(Self { flow })
    }

    /// Takes an RTP packet; anything else is dropped.
    pub fn push(&mut self, now_ns: u64, bytes: &[u8], loss: f32) {
        if let Ok(packet) = Rtp::parse(bytes) {
            let path = Path {
                loss,
                ..Path::default()
            };
            self.flow.push(&packet, now_ns, path, Arrival::Sent);
        }
    }

    /// Begins anew with the next packet.
    pub fn restart(&mut self) {
        self.flow.restart();
    }

    /// The length of the next frame that is due, if one is.
    ///
    /// # Errors
    /// What the codec says when it breaks.
    pub fn poll(&mut self, now_ns: u64) -> Result<Option<usize>, PluginError> {
        Ok(self.flow.poll(now_ns)?.map(|heard| heard.pcm.len()))
    }

    /// When to poll again.
    pub fn deadline(&self) -> Option<u64> {
        self.flow.deadline()
    }

    /// How far behind its source it is heard.
    pub fn depth_ns(&self) -> u64 {
        (self.flow.figures(super::command::Report::default()).depth_ms * 1e6) as u64
    }
}
