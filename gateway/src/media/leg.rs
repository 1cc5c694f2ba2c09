//! One leg: a session (a transport plugin), the paths under it and the streams over it, one of audio today.
//!
//! A leg knows its peer: what its peer says goes into the leg's flow, what its peer hears is put in by [`super::Legs`] (for a
//! flow, `forward_due` in `bridge`). Of its partner it keeps only the slot, for them, and never looks at it.

mod below;
mod drain;
mod reports;

use std::net::SocketAddr;

use quartet_proto::rtp::{repair::MAX_NAMED, rtcp::MAX_REPORT};

use self::reports::Schedule;
use super::{
    command::{LegKey, MediaEvent, MediaFault, Report, Sink},
    lower::Lower,
    outgoing::MAX_PACKET,
    paths::{SocketKey, StreamKey},
    play::Play,
    stream::Stream,
};
use crate::plugins::{About, Outcome, Packet, PacketKind, PluginError, Transport};

/// How often a leg reports to the call.
pub(crate) const REPORT_NS: u64 = 1_000_000_000;
/// What asks for lost packets has at most: a header of 12 bytes, and 4 for each that is named.
const MAX_NACK: usize = MAX_REPORT + 12 + 4 * MAX_NAMED;
/// Texts of the peer that are passed on, of at most so many bytes and in a second; a `MediaState` has some 120.
const MAX_TEXT: usize = 1024;
const MAX_TEXTS: u32 = 8;
/// Where a leg stands in its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(pub(crate) usize);

/// The IO of media: datagrams to the sockets, events to the call.
pub(crate) trait MediaIo {
    /// Sends a datagram by one of the leg's sockets; false if the system does not take it, and it is lost.
    fn transmit(&mut self, leg: Slot, socket: SocketKey, dst: SocketAddr, bytes: &[u8]) -> bool;
    /// Writes to one of the leg's connections, all of it or nothing; false if it is lost.
    fn write(&mut self, leg: Slot, stream: StreamKey, bytes: &[u8]) -> bool;
    /// Ends one of the leg's connections.
    fn hang_up(&mut self, leg: Slot, stream: StreamKey);
    /// Tells the call something.
    fn event(&mut self, event: MediaEvent);
}

/// Where the audio stands among the streams of a leg.
const AUDIO: usize = 0;

/// One end of the media of a call: a session, its paths, its streams.
pub(crate) struct MediaLeg {
    pub(crate) key: LegKey,
    pub(crate) slot: Slot,
    /// `None` when the leg has failed and waits for being closed.
    session: Option<Transport>,
    session_due_ns: Option<u64>,
    pub(crate) connected: bool,
    /// What kind of receiver the peer is; decides the pace of our frames.
    pub(crate) sink: Sink,
    lower: Lower,
    streams: Vec<Stream>,
    /// The leg that it is bridged with.
    pub(crate) partner: Option<Slot>,
    pub(crate) play: Option<Play>,
    /// The peer hears nothing of the partner.
    pub(crate) hold: bool,
    /// The earliest entry in the worker's timers.
    pub(crate) scheduled_ns: u64,
    report_due_ns: u64,
    reports: Schedule,
    /// What is to be said over the data channel, until it is.
    pub(crate) state: Option<String>,
    /// Texts of the peer since the last report.
    texts: u32,
    /// RFC 3550 §6.5.1; random, tells nothing.
    cname: String,
    sent: u64,
    unsent: u64,
}

impl MediaLeg {
    pub(crate) fn new(
        (key, slot): (LegKey, Slot),
        session: Transport,
        (sink, relay_only): (Sink, bool),
        cname: String,
        now_ns: u64,
    ) -> Self {
        Self {
            key,
            slot,
            session: Some(session),
            session_due_ns: None,
            connected: false,
            sink,
            lower: Lower::new(slot, relay_only),
            streams: vec![Stream::new(now_ns)],
            partner: None,
            play: None,
            hold: false,
            scheduled_ns: u64::MAX,
            report_due_ns: now_ns + REPORT_NS,
            reports: Schedule::default(),
            state: None,
            texts: 0,
            cname,
            sent: 0,
            unsent: 0,
        }
    }

    /// It has another place, with the same sockets.
    pub(crate) fn move_to(&mut self, slot: Slot) {
        self.slot = slot;
        self.lower.move_to(slot);
        self.scheduled_ns = u64::MAX;
    }

    /// Ends everything that makes or takes packets; the leg only waits for being closed.
    pub(crate) fn give_up(&mut self) {
        self.session = None;
        self.session_due_ns = None;
        self.connected = false;
        self.streams.iter_mut().for_each(Stream::stop);
        self.play = None;
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.session.is_some()
    }

    /// The stream of speech.
    pub(crate) fn audio(&self) -> &Stream {
        &self.streams[AUDIO]
    }

    /// The stream of speech, to be changed.
    pub(crate) fn audio_mut(&mut self) -> &mut Stream {
        &mut self.streams[AUDIO]
    }

    /// When the leg is to be served if no packet comes first; `u64::MAX`: never.
    pub(crate) fn deadline(&self) -> u64 {
        if !self.is_alive() {
            return u64::MAX;
        }
        let due = [
            self.session_due_ns,
            self.reports.due_ns,
            self.lower.deadline(),
            self.play.as_ref().and_then(Play::due),
        ];
        let streams = self.streams.iter().map(Stream::deadline);
        due.into_iter()
            .chain(streams)
            .flatten()
            .fold(self.report_due_ns, u64::min)
    }

    /// Tells the session something.
    pub(crate) fn tell_session(&mut self, now_ns: u64, about: About, lines: &str) -> Result<(), MediaFault> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        session.tell(now_ns, about, lines).map_err(session_fault)
    }

    /// Tells the call the new lines of our description.
    pub(crate) fn report_local(&mut self, now_ns: u64, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let lines = session.local(now_ns).map_err(session_fault)?;
        if !lines.is_empty() {
            io.event(MediaEvent::Local { leg: self.key, lines });
        }
        Ok(())
    }

    /// Takes a datagram from one of the leg's sockets.
    pub(crate) fn receive(
        &mut self,
        now_ns: u64,
        socket: SocketKey,
        packet: &mut Packet,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        if self.lower.receive(now_ns, socket, packet) {
            self.rise(now_ns, packet, io)?;
        }
        self.drain(now_ns, io)
    }

    /// Gives the session a datagram.
    fn rise(&mut self, now_ns: u64, packet: &mut Packet, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        match session.receive(now_ns, packet) {
            Ok(Outcome::Rtp) => self.audio_mut().on_rtp(now_ns, packet.bytes()),
            Ok(Outcome::Rtcp) => self.audio_mut().on_rtcp(now_ns, packet.bytes()),
            Ok(Outcome::Transmit) => self.unsent += u64::from(!self.lower.hand_down(now_ns, packet, io)),
            Ok(Outcome::Data) => {
                let text = packet.channel().1;
                on_text(self.key, text, packet.bytes(), &mut self.texts, io);
            }
            Ok(Outcome::Kept | Outcome::Datagram) => {}
            Err(error) if error.is_final() => return Err(MediaFault::Plugin),
            // A stranger's datagram, or a broken one: the plugin has counted it.
            Err(_) => {}
        }
        Ok(())
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
        if self.session.is_none() {
            return Ok(());
        }
        let fits = packet.fill(bytes);
        packet.kind = Some(kind);
        if !fits || !self.hand_over(now_ns, packet, io)? {
            self.unsent += 1;
        }
        self.drain(now_ns, io)
    }

    /// Gives the session a packet, and the peer what the session makes of it; `false` if the session does not take it now.
    fn hand_over(&mut self, now_ns: u64, packet: &mut Packet, io: &mut impl MediaIo) -> Result<bool, MediaFault> {
        let Some(session) = &mut self.session else {
            return Ok(false);
        };
        let is_rtp = packet.kind == Some(PacketKind::Rtp);
        match session.send(now_ns, packet) {
            Ok(Outcome::Transmit) => {
                if is_rtp && self.lower.note_media(packet.path) {
                    // A call may be over before the next report, and its record says by which way it went.
                    self.report_due_ns = self.report_due_ns.min(now_ns);
                }
                let taken = self.lower.hand_down(now_ns, packet, io);
                self.unsent += u64::from(!taken);
                self.sent += u64::from(taken && is_rtp);
                Ok(true)
            }
            Ok(Outcome::Kept | Outcome::Rtp | Outcome::Rtcp | Outcome::Data | Outcome::Datagram) => Ok(true),
            Err(error) if error.is_final() => Err(MediaFault::Plugin),
            Err(_) => Ok(false),
        }
    }

    /// Lets session and relays act whose deadline has passed.
    pub(crate) fn transport_timeout(&mut self, now_ns: u64, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        let is_due = |due: Option<u64>| due.is_some_and(|due| due <= now_ns);
        if !is_due(self.session_due_ns) && !is_due(self.lower.deadline()) {
            return Ok(());
        }
        self.lower.timeout(now_ns);
        if let Some(session) = self.session.as_mut().filter(|_| is_due(self.session_due_ns)) {
            session.timeout(now_ns).map_err(session_fault)?;
        }
        self.drain(now_ns, io)
    }

    fn on_connected(&mut self, now_ns: u64, io: &mut impl MediaIo) {
        if !std::mem::replace(&mut self.connected, true) {
            self.reports.connected(now_ns);
            io.event(MediaEvent::Connected { leg: self.key });
        }
    }

    /// Sends the RTP packet of `length` bytes in `scratch.rtp`.
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
        let connected = self.connected;
        let Some(outgoing) = self.audio_mut().outgoing.as_mut().filter(|_| connected) else {
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
        let Some(outgoing) = self.audio_mut().outgoing.as_mut() else {
            return Ok(());
        };
        match outgoing.send_dtmf(now_ns, &mut scratch.rtp) {
            Some(length) if self.connected => self.send_rtp(now_ns, length, scratch, io),
            Some(_) | None => Ok(()),
        }
    }

    /// Asks for packets that are lost, and sends again what the peer has asked for.
    pub(crate) fn repair(
        &mut self,
        now_ns: u64,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let is_connected = self.connected;
        let Some((outgoing, incoming)) = self.streams[AUDIO].both_ways() else {
            return Ok(());
        };
        let mut bytes = [0; MAX_NACK];
        if let Some(length) = incoming.write_nack(now_ns, (outgoing.ssrc(), &self.cname), &mut bytes)
            && is_connected
        {
            self.send(now_ns, PacketKind::Rtcp, &bytes[..length], &mut scratch.packet, io)?;
        }
        while let Some(length) = self.next_resend(&mut scratch.rtp) {
            self.send_rtp(now_ns, length, scratch, io)?;
        }
        Ok(())
    }

    fn next_resend(&mut self, packet: &mut [u8; MAX_PACKET]) -> Option<usize> {
        self.audio_mut().outgoing.as_mut()?.resend(packet)
    }

    /// Reports to the call once a second.
    pub(crate) fn report(
        &mut self,
        now_ns: u64,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        if self.report_due_ns > now_ns {
            return Ok(());
        }
        self.report_due_ns = (self.report_due_ns + REPORT_NS).max(now_ns);
        self.texts = 0;
        self.send_state(now_ns, scratch, io)?;
        let report = self.figures(now_ns);
        io.event(MediaEvent::Report { leg: self.key, report });
        Ok(())
    }

    /// Says what is to be said over the data channel, if there is one by now.
    pub(crate) fn send_state(
        &mut self,
        now_ns: u64,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let Some(text) = self.state.as_ref().filter(|_| self.connected) else {
            return Ok(());
        };
        let packet = &mut scratch.packet;
        let fits = packet.fill(text.as_bytes());
        packet.set_channel(0, true);
        // Not taken: the channel is not open yet, or there will be none.
        if !fits || self.hand_over(now_ns, packet, io)? {
            self.state = None;
        }
        self.drain(now_ns, io)
    }

    fn figures(&mut self, now_ns: u64) -> Report {
        Report {
            sent: self.sent,
            unsent: self.unsent,
            way: self.lower.way(),
            ways: self.lower.ways(),
            ..self.audio_mut().figures(now_ns)
        }
    }
}

/// Tells the call what the peer has said, unless it says too much.
fn on_text(leg: LegKey, is_text: bool, bytes: &[u8], texts: &mut u32, io: &mut impl MediaIo) {
    let text = str::from_utf8(bytes)
        .ok()
        .filter(|_| is_text && bytes.len() <= MAX_TEXT);
    let Some(text) = text.filter(|_| *texts < MAX_TEXTS) else {
        return;
    };
    *texts += 1;
    let text = text.to_owned();
    io.event(MediaEvent::State { leg, text });
}

/// What all legs of a worker use in turn.
pub(crate) struct Scratch {
    /// A packet of ours before it goes to the session.
    pub(crate) rtp: Box<[u8; MAX_PACKET]>,
    /// The same on its way through the session.
    pub(crate) packet: Packet,
    /// A frame of an announcement.
    pub(crate) pcm: Box<[i16]>,
}

fn session_fault(error: PluginError) -> MediaFault {
    if error.is_final() {
        MediaFault::Plugin
    } else {
        MediaFault::Transport
    }
}
