//! One leg: a transport plugin and the streams over it, one of audio today.
//!
//! A leg knows its peer and nothing of a partner: what its peer says goes into the leg's flow, what its peer hears is put
//! in by [`super::Legs`].

use std::net::SocketAddr;

use quartet_proto::rtp::rtcp::{self, MAX_REPORT};

use super::{
    command::{LegCodec, LegKey, MediaEvent, MediaFault, Report, Sink},
    flow::Flow,
    incoming::Incoming,
    outgoing::{MAX_PACKET, Outgoing},
    play::Play,
};
use crate::plugins::{About, CodecTable, Outcome, Output, Packet, PacketKind, PluginError, Transport, TransportEvent};

/// How often a leg reports to the call.
pub(crate) const REPORT_NS: u64 = 1_000_000_000;
/// The first RTCP report, and the usual distance of the others. RFC 3550 §6.2 with its minimum of 5 s.
const FIRST_RTCP_NS: u64 = 1_000_000_000;
const RTCP_NS: u64 = 5_000_000_000;
/// A transport that makes more by itself in one go is out of order.
const MAX_OUTPUTS: usize = 1_000;

/// Where a leg stands in its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(pub(crate) usize);

/// The IO of media: datagrams to the sockets, events to the call.
pub(crate) trait MediaIo {
    /// Sends a datagram by one of the leg's paths; false if the system does not take it, and it is lost.
    fn transmit(&mut self, leg: Slot, path: u32, dst: SocketAddr, bytes: &[u8]) -> bool;
    /// Tells the call something.
    fn event(&mut self, event: MediaEvent);
}

/// The codec that both sides of a leg agreed on.
pub(crate) struct Agreed {
    pub(crate) table: CodecTable,
    pub(crate) codec: LegCodec,
}

/// One end of the audio of a call: a transport, what comes in by it and what goes out.
pub(crate) struct Leg {
    pub(crate) key: LegKey,
    pub(crate) slot: Slot,
    /// `None` when the leg has failed and waits for being closed.
    transport: Option<Transport>,
    transport_due_ns: Option<u64>,
    pub(crate) connected: bool,
    /// Who listens at the other end.
    pub(crate) sink: Sink,
    pub(crate) agreed: Option<Agreed>,
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Option<Outgoing>,
    /// From this leg's peer to the partner.
    pub(crate) flow: Option<Flow>,
    pub(crate) partner: Option<Slot>,
    pub(crate) play: Option<Play>,
    pub(crate) hold: bool,
    /// Someone else has spoken, or nobody: the partner's next frame follows the clock on the wall.
    pub(crate) interrupted: bool,
    /// Earliest entry in the worker's timers.
    pub(crate) registered_ns: u64,
    report_ns: u64,
    rtcp_ns: Option<u64>,
    /// CNAME: random, tells nothing.
    name: String,
    sent: u64,
    unsent: u64,
}

impl Leg {
    pub(crate) fn new(key: LegKey, slot: Slot, transport: Transport, sink: Sink, name: String, now_ns: u64) -> Self {
        Self {
            key,
            slot,
            transport: Some(transport),
            transport_due_ns: None,
            connected: false,
            sink,
            agreed: None,
            incoming: Incoming::new(now_ns),
            outgoing: None,
            flow: None,
            partner: None,
            play: None,
            hold: false,
            interrupted: true,
            registered_ns: u64::MAX,
            report_ns: now_ns + REPORT_NS,
            rtcp_ns: None,
            name,
            sent: 0,
            unsent: 0,
        }
    }

    /// Ends everything that makes or takes packets; the leg only waits for being closed.
    pub(crate) fn give_up(&mut self) {
        self.transport = None;
        self.transport_due_ns = None;
        self.connected = false;
        self.outgoing = None;
        self.flow = None;
        self.play = None;
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.transport.is_some()
    }

    /// Takes the agreed codec; the caller makes the stream and the flows for it.
    pub(crate) fn agree(&mut self, now_ns: u64, agreed: Agreed) {
        self.incoming.agree(now_ns, agreed.table.clock());
        self.agreed = Some(agreed);
    }

    /// When something is due without a packet.
    pub(crate) fn deadline(&self) -> u64 {
        if !self.is_alive() {
            return u64::MAX;
        }
        let due = [
            self.transport_due_ns,
            self.flow.as_ref().and_then(Flow::deadline),
            self.play.as_ref().and_then(Play::due),
            self.outgoing.as_ref().and_then(Outgoing::press_due),
        ];
        due.into_iter().flatten().fold(self.report_ns, u64::min)
    }

    /// Tells the transport something.
    pub(crate) fn tell(&mut self, now_ns: u64, about: About, lines: &str) -> Result<(), MediaFault> {
        let Some(transport) = &mut self.transport else {
            return Ok(());
        };
        transport.tell(now_ns, about, lines).map_err(transport_cause)
    }

    /// Tells the call the new lines of our description.
    pub(crate) fn tell_local(&mut self, now_ns: u64, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        let Some(transport) = &mut self.transport else {
            return Ok(());
        };
        let lines = transport.local(now_ns).map_err(transport_cause)?;
        if !lines.is_empty() {
            io.event(MediaEvent::Local { leg: self.key, lines });
        }
        Ok(())
    }

    /// Takes a datagram from one of the leg's paths.
    pub(crate) fn receive(
        &mut self,
        now_ns: u64,
        packet: &mut Packet,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let Some(transport) = &mut self.transport else {
            return Ok(());
        };
        match transport.receive(now_ns, packet) {
            Ok(Outcome::Rtp) => self.on_rtp(now_ns, packet.bytes()),
            Ok(Outcome::Rtcp) => self.hear_rtcp(now_ns, packet.bytes()),
            Ok(Outcome::Transmit) => {
                self.unsent += u64::from(!io.transmit(self.slot, packet.path, packet.dst, packet.bytes()));
            }
            // Nothing of a call is said by data messages, and the peer can send any number of them.
            Ok(Outcome::Data | Outcome::Kept | Outcome::Datagram) => {}
            Err(error) if error.is_final() => return Err(MediaFault::Plugin),
            // A stranger's datagram, or a broken one: the plugin has counted it.
            Err(_) => {}
        }
        self.drain(now_ns, io)
    }

    /// Sends an RTP or RTCP packet to the peer.
    pub(crate) fn send(
        &mut self,
        now_ns: u64,
        kind: PacketKind,
        bytes: &[u8],
        packet: &mut Packet,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let Some(transport) = &mut self.transport else {
            return Ok(());
        };
        if !packet.fill(bytes) {
            self.unsent += 1;
            return Ok(());
        }
        packet.kind = Some(kind);
        match transport.send(now_ns, packet) {
            Ok(Outcome::Transmit) => {
                let taken = io.transmit(self.slot, packet.path, packet.dst, packet.bytes());
                self.unsent += u64::from(!taken);
                self.sent += u64::from(taken && kind == PacketKind::Rtp);
            }
            Ok(Outcome::Kept | Outcome::Rtp | Outcome::Rtcp | Outcome::Data | Outcome::Datagram) => {}
            Err(error) if error.is_final() => return Err(MediaFault::Plugin),
            Err(_) => self.unsent += 1,
        }
        self.drain(now_ns, io)
    }

    /// Lets the transport act if its deadline has passed.
    pub(crate) fn transport_timeout(&mut self, now_ns: u64, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        if self.transport_due_ns.is_none_or(|due| due > now_ns) {
            return Ok(());
        }
        if let Some(transport) = &mut self.transport {
            transport.timeout(now_ns).map_err(transport_cause)?;
        }
        self.drain(now_ns, io)
    }

    /// Takes everything that the transport has made by itself.
    pub(crate) fn drain(&mut self, now_ns: u64, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        let mut ask_local = false;
        // Taken out while its outputs are borrowed from it.
        let Some(mut transport) = self.transport.take() else {
            return Ok(());
        };
        let mut result = Err(MediaFault::Plugin);
        for _ in 0..MAX_OUTPUTS {
            match transport.poll() {
                Output::None { deadline_ns } => {
                    self.transport_due_ns = deadline_ns;
                    result = Ok(());
                    break;
                }
                Output::Transmit { path, dst, data } => {
                    self.unsent += u64::from(!io.transmit(self.slot, path, dst, data));
                }
                Output::Rtp(bytes) => self.on_rtp(now_ns, bytes),
                Output::Rtcp(bytes) => self.hear_rtcp(now_ns, bytes),
                Output::Event {
                    event: TransportEvent::Connected,
                } => self.connect(now_ns, io),
                Output::Event {
                    event: TransportEvent::Failed(cause),
                } => {
                    result = Err(MediaFault::from_word(&cause));
                    break;
                }
                Output::Event {
                    event: TransportEvent::Local,
                } => ask_local = true,
                Output::Data { .. }
                | Output::Event {
                    event: TransportEvent::Address(_) | TransportEvent::Stats(_),
                } => {}
            }
        }
        self.transport = Some(transport);
        result?;
        if ask_local { self.tell_local(now_ns, io) } else { Ok(()) }
    }

    fn connect(&mut self, now_ns: u64, io: &mut impl MediaIo) {
        if !std::mem::replace(&mut self.connected, true) {
            self.rtcp_ns = Some(now_ns + FIRST_RTCP_NS);
            io.event(MediaEvent::Connected { leg: self.key });
        }
    }

    fn on_rtp(&mut self, now_ns: u64, bytes: &[u8]) {
        let codec = self.agreed.as_ref().map(|agreed| &agreed.codec);
        self.incoming.on_rtp(now_ns, bytes, codec, self.flow.as_mut());
    }

    fn hear_rtcp(&mut self, now_ns: u64, bytes: &[u8]) {
        let ours = self.outgoing.as_ref().map_or(0, Outgoing::ssrc);
        if let Some(missed) = self.incoming.hear_rtcp(now_ns, bytes, ours)
            && let Some(outgoing) = &mut self.outgoing
        {
            outgoing.on_remote_loss(missed);
        }
    }

    /// Sends what the scratch holds of our stream: the packet that [`Outgoing`] made.
    fn send_rtp(
        &mut self,
        now_ns: u64,
        length: usize,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let Scratch { rtp, packet, .. } = scratch;
        self.send(now_ns, PacketKind::Rtp, &rtp[..length], packet, io)
    }

    /// Lets the peer hear one frame.
    pub(crate) fn send_frame(
        &mut self,
        now_ns: u64,
        pcm: &[i16],
        fresh: bool,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let Some(outgoing) = self.outgoing.as_mut().filter(|_| self.connected) else {
            return Ok(());
        };
        match outgoing.send_frame(now_ns, pcm, fresh, &mut scratch.rtp) {
            Ok(None) => Ok(()),
            Ok(Some(length)) => self.send_rtp(now_ns, length, scratch, io),
            Err(_) => Err(MediaFault::Plugin),
        }
    }

    /// Sends what is due of a key press.
    pub(crate) fn send_dtmf(
        &mut self,
        now_ns: u64,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let Some(outgoing) = self
            .outgoing
            .as_mut()
            .filter(|outgoing| outgoing.press_due().is_some_and(|due| due <= now_ns))
        else {
            return Ok(());
        };
        match outgoing.send_dtmf(now_ns, &mut scratch.rtp) {
            Some(length) if self.connected => self.send_rtp(now_ns, length, scratch, io),
            Some(_) | None => Ok(()),
        }
    }

    /// Reports to the call once a second, to the peer every five; `chance` spreads the latter.
    pub(crate) fn report(
        &mut self,
        now_ns: u64,
        chance: u32,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        if self.report_ns > now_ns {
            return Ok(());
        }
        self.report_ns = (self.report_ns + REPORT_NS).max(now_ns);
        let report = self.figures(now_ns);
        io.event(MediaEvent::Report { leg: self.key, report });
        if self.rtcp_ns.is_some_and(|due| due <= now_ns + REPORT_NS / 2) {
            // Half to one and a half of the interval, so that reports of many legs do not march in step.
            self.rtcp_ns = Some(now_ns + RTCP_NS / 2 + RTCP_NS * u64::from(chance % 1024) / 1024);
            return self.send_report(now_ns, scratch, io);
        }
        Ok(())
    }

    fn send_report(&mut self, now_ns: u64, scratch: &mut Scratch, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        let Some(outgoing) = &self.outgoing else { return Ok(()) };
        let mut bytes = [0; MAX_REPORT];
        match outgoing.report(now_ns, &mut self.incoming.reception, &self.name, &mut bytes) {
            Ok(length) => self.send(now_ns, PacketKind::Rtcp, &bytes[..length], &mut scratch.packet, io),
            Err(_) => Ok(()),
        }
    }

    /// Says goodbye to the peer: RTCP BYE, then whatever the transport has for it.
    pub(crate) fn say_goodbye(
        &mut self,
        now_ns: u64,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        if let Some(outgoing) = self.outgoing.as_ref().filter(|_| self.connected) {
            let mut bytes = [0; 64];
            if let Ok(length) = rtcp::write_bye(&mut bytes, outgoing.ssrc()) {
                self.send(now_ns, PacketKind::Rtcp, &bytes[..length], &mut scratch.packet, io)?;
            }
        }
        self.tell(now_ns, About::Control, "close\n")?;
        self.drain(now_ns, io)
    }

    fn figures(&mut self, now_ns: u64) -> Report {
        let flow = self.flow.as_ref();
        Report {
            late: flow.map_or(0, Flow::late),
            concealed: flow.map_or(0, Flow::concealed),
            depth_ms: flow.map_or(0.0, |flow| flow.depth_ns() as f32 / 1e6),
            sent: self.sent,
            unsent: self.unsent,
            ..self.incoming.report(now_ns)
        }
    }
}

/// What all legs of a worker use in turn.
pub(crate) struct Scratch {
    /// A packet of ours before it goes to the transport.
    pub(crate) rtp: Box<[u8; MAX_PACKET]>,
    /// The same on its way through the transport.
    pub(crate) packet: Packet,
    /// A frame of an announcement.
    pub(crate) pcm: Box<[i16]>,
}

fn transport_cause(error: PluginError) -> MediaFault {
    if error.is_final() {
        MediaFault::Plugin
    } else {
        MediaFault::Transport
    }
}
