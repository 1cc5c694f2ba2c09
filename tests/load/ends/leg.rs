//! One end of a call: its transport, the stream that it sends, and what it makes of what comes.

use std::net::SocketAddr;

use mio::net::UdpSocket;
use mio::{Interest, Poll, Token};
use quartet::media::{MediaCommand, MediaEvent, MediaFault};
use quartet::plugins::{
    About, CodecSettings, Decoder, Outcome, Output, Packet, PacketKind, Registry, Transport, TransportEvent,
};
use quartet_proto::rtp::packet::{HEADER, Packet as Rtp};
use quartet_proto::rtp::sender::Sender;

use super::{Id, LISTENERS, Manner, Tell};
use crate::speech::{BURST_AT, Speech};

/// Sound this loud is the burst; this long after the last one it is the next.
const LOUD: u16 = 4_000;
const QUIET_NS: u64 = 300_000_000;

pub(super) struct Leg {
    tell: Tell,
    pub(super) manner: Manner,
    pub(super) session: Option<Session>,
    /// When the packet with the beginning of our last burst left.
    pub(super) burst_ns: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) numbers: Option<(u16, u64)>,
    /// At a leg that listens.
    pub(super) heard: Vec<i16>,
    /// Its packet that was the first since the last reset.
    pub(super) began: usize,
}

pub(super) struct Session {
    key: quartet::media::LegKey,
    pub(super) transport: Transport,
    pub(super) sockets: Vec<UdpSocket>,
    pub(super) packet: Packet,
    up: bool,
    pub(super) deadline_ns: Option<u64>,
    pub(super) stream: Option<Stream>,
    /// The stream that comes, told to the transport; not every subject announces it.
    source: Option<u32>,
}

pub(super) struct Stream {
    sender: Sender,
    payload_type: u8,
    receive_pt: u8,
    opus: bool,
    ticks: u32,
    pub(super) frame: usize,
    ear: Option<Decoder>,
    loud_ns: u64,
}

impl Leg {
    pub(super) fn new(manner: Manner, tell: Tell) -> Self {
        Self {
            tell,
            manner,
            session: None,
            burst_ns: 0,
            sent: 0,
            received: 0,
            numbers: None,
            heard: Vec::new(),
            began: 0,
        }
    }

    pub(super) fn obey(
        &mut self,
        now_ns: u64,
        id: Id,
        command: MediaCommand,
        registry: &Registry,
        poll: &Poll,
    ) -> Option<()> {
        match command {
            MediaCommand::Open {
                leg,
                transport,
                role,
                bind,
                options,
                ..
            } => {
                let table = registry.transport(&transport)?.clone();
                let mut transport = table.create(role, now_ns, &options).ok()?;
                let (mut sockets, mut paths) = (Vec::new(), String::new());
                for component in 1..=bind.components {
                    let address = *bind.addresses.first()?;
                    let mut socket = UdpSocket::bind((address, 0).into()).ok()?;
                    let port = socket.local_addr().ok()?.port();
                    poll.registry()
                        .register(&mut socket, Token(id * 4 + sockets.len()), Interest::READABLE)
                        .ok()?;
                    sockets.push(socket);
                    paths += &format!("path:{component} component {component} host {address} {port} mtu 1200\n");
                }
                transport.tell(now_ns, About::Paths, &paths).ok()?;
                let lines = transport.local(now_ns).ok()?;
                let headroom = table.headroom() + 16;
                let packet = Packet::new(2_048 + headroom + table.tailroom(), headroom);
                self.session = Some(Session {
                    key: leg,
                    transport,
                    sockets,
                    packet,
                    up: false,
                    deadline_ns: None,
                    stream: None,
                    source: None,
                });
                (self.tell)(MediaEvent::Local { leg, lines });
            }
            MediaCommand::Remote { lines, .. } => {
                self.session
                    .as_mut()?
                    .transport
                    .tell(now_ns, About::Remote, &lines)
                    .ok()?;
            }
            MediaCommand::Codec { codec, .. } => {
                let table = registry.codec(&codec.name)?;
                let settings = CodecSettings {
                    sample_rate: 8_000,
                    channels: 1,
                    frame_us: 20_000,
                    local_fmtp: &codec.local_fmtp,
                    remote_fmtp: &codec.send_fmtp,
                };
                self.session.as_mut()?.stream = Some(Stream {
                    sender: Sender::new(codec.ssrc, &mut rand_chacha_of(id)),
                    payload_type: codec.send_pt,
                    receive_pt: codec.receive_pt,
                    opus: codec.name.eq_ignore_ascii_case("opus"),
                    ticks: table.clock() / 50,
                    // Not all in the same word.
                    frame: if self.manner == Manner::Probe { 0 } else { id * 37 },
                    ear: if self.manner == Manner::Probe || LISTENERS.contains(&id) {
                        Some(table.decoder(&settings).ok()?)
                    } else {
                        None
                    },
                    loud_ns: 0,
                });
            }
            MediaCommand::Close { leg } => {
                self.session = None;
                (self.tell)(MediaEvent::Closed { leg });
            }
            MediaCommand::Relay { .. }
            | MediaCommand::Rebind { .. }
            | MediaCommand::Restart { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::Bridge { .. }
            | MediaCommand::Unbridge { .. }
            | MediaCommand::Hold { .. }
            | MediaCommand::SendDtmf { .. }
            | MediaCommand::State { .. } => {}
        }
        Some(())
    }

    /// Counts what came; at a probe, whether a burst begins in it, and in which codec it was heard.
    pub(super) fn hear(&mut self, now_ns: u64) -> Option<bool> {
        let session = self.session.as_mut()?;
        let view = Rtp::parse(session.packet.bytes()).ok()?;
        let stream = session.stream.as_mut()?;
        if view.payload_type != stream.receive_pt {
            return None;
        }
        self.received += 1;
        let sequence = view.sequence;
        let (last, expected) = self.numbers.unwrap_or((sequence.wrapping_sub(1), 0));
        let step = sequence.wrapping_sub(last);
        if step < 0x8000 {
            self.numbers = Some((sequence, expected + u64::from(step)));
        }
        let ear = stream.ear.as_mut()?;
        let mut pcm = [0; 960];
        let count = ear.decode(view.payload, &mut pcm).ok()?;
        if self.manner != Manner::Probe {
            self.heard.extend_from_slice(&pcm[..count.min(960)]);
            return None;
        }
        if !pcm[..count.min(960)].iter().any(|sample| sample.unsigned_abs() > LOUD) {
            return None;
        }
        let first = now_ns > stream.loud_ns + QUIET_NS;
        stream.loud_ns = now_ns;
        first.then_some(stream.opus)
    }

    /// Sends a packet; whether there is anybody to send it to.
    pub(super) fn speak(&mut self, now_ns: u64, speech: &Speech) -> bool {
        let Some(session) = self.session.as_mut().filter(|session| session.up) else {
            return false;
        };
        let Some(stream) = &mut session.stream else {
            return false;
        };
        let payloads = if stream.opus { &speech.opus } else { &speech.pcmu };
        let round = if self.manner == Manner::Probe {
            &payloads.probe
        } else {
            &payloads.speech
        };
        let place = stream.frame % round.len();
        let payload = &round[place];
        stream.frame += 1;
        let mut bytes = [0; 1_500];
        let bytes = &mut bytes[..HEADER + payload.len()];
        bytes[HEADER..].copy_from_slice(payload);
        let made = stream
            .sender
            .next(
                stream.ticks * self.manner.frames() as u32,
                stream.payload_type,
                false,
                bytes,
            )
            .is_ok();
        if !made || !session.packet.fill(bytes) {
            return false;
        }
        session.packet.kind = Some(PacketKind::Rtp);
        if let Ok(Outcome::Transmit) = session.transport.send(now_ns, &mut session.packet) {
            if self.manner == Manner::Probe && place == BURST_AT {
                self.burst_ns = now_ns;
            }
            session.transmit();
            self.sent += 1;
        }
        true
    }

    /// Takes everything that the transport has made by itself.
    pub(super) fn drain(&mut self, now_ns: u64) {
        let Self {
            tell,
            session: Some(session),
            ..
        } = self
        else {
            return;
        };
        let leg = session.key;
        loop {
            match session.transport.poll() {
                Output::Transmit { path, dst, data } => send(&session.sockets, path, dst, data),
                Output::Event {
                    event: TransportEvent::Connected,
                } => {
                    session.up = true;
                    tell(MediaEvent::Connected { leg });
                }
                Output::Event {
                    event: TransportEvent::Failed(word),
                } => {
                    let fault = MediaFault::from_word(&word);
                    tell(MediaEvent::Failed { leg, fault });
                }
                Output::Event {
                    event: TransportEvent::Local,
                } => {
                    if let Ok(lines) = session.transport.local(now_ns) {
                        tell(MediaEvent::Local { leg, lines });
                    }
                }
                Output::Data { .. } | Output::Datagram { .. } | Output::Rtp(_) | Output::Rtcp(_) => {}
                Output::Event {
                    event: TransportEvent::Address(_) | TransportEvent::Stats(_),
                } => {}
                Output::None { deadline_ns } => {
                    session.deadline_ns = deadline_ns;
                    return;
                }
            }
        }
    }
}

impl Session {
    /// Lets the transport take the stream that the packet is of: its header is in clear, RFC 3711 §3.1.
    pub(super) fn announce(&mut self, now_ns: u64) {
        let bytes = self.packet.bytes();
        let media = bytes.len() > HEADER && bytes[0] >> 6 == 2 && !(64..96).contains(&(bytes[1] & 0x7F));
        let source = bytes
            .get(8..12)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_be_bytes);
        if let Some(ssrc) = source.filter(|_| media && source != self.source) {
            self.source = source;
            self.transport
                .tell(now_ns, About::Remote, &format!("ssrc:{ssrc} cname:load\n"))
                .ok();
        }
    }

    pub(super) fn transmit(&self) {
        send(&self.sockets, self.packet.path, self.packet.dst, self.packet.bytes());
    }
}

fn send(sockets: &[UdpSocket], path: u32, to: SocketAddr, bytes: &[u8]) {
    if let Some(socket) = (path as usize).checked_sub(1).and_then(|place| sockets.get(place)) {
        // What the system does not take counts as lost at the other end.
        socket.send_to(bytes, to).ok();
    }
}

/// Start values of a stream; they need not be secret here.
fn rand_chacha_of(id: Id) -> rand_chacha::ChaCha8Rng {
    rand_core::SeedableRng::seed_from_u64(id as u64)
}
