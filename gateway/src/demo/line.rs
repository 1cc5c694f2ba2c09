//! A media end that sends a tone, or an echo, and remembers all it hears: the ear and the mouth of the demo's two ends.
//!
//! It takes the commands of the media workers and tells their events, with the same plugins, but for one leg and with no buffer: what
//! arrives is put where its timestamp says, so that a hole in the media is a hole in the recording.

mod keys;
pub mod place;
mod source;
mod wire;

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender as Queue, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quartet_proto::rtp::dtmf::Press;
use quartet_proto::rtp::packet::Packet as RtpView;
use quartet_proto::rtp::sender::Sender;

use self::keys::{press, press_on};
pub use self::source::Source;
use self::wire::{send, transmit};
use crate::media::{LegCodec, LegKey, MediaCommand, MediaEvent, MediaFault};
use crate::plugins::{
    About, CodecSettings, Decoder, Encoder, Outcome, Output, Packet, Registry, Role, Setting, Transport, TransportEvent,
};

/// Duration of a packet that we send.
const FRAME: Duration = Duration::from_millis(20);

/// The longest wait for a packet before timers and commands are looked at.
const NAP: Duration = Duration::from_millis(2);

/// What is remembered at most, in seconds.
const MAX_HEARD: usize = 300;

/// Of a codec that leaves the choice, in bit/s.
const BITRATE: i64 = 32_000;

/// The longest packet, in milliseconds.
const MAX_PACKET: usize = 120;

enum Order {
    Media(MediaCommand),
    Say(Source),
    Key(char),
    Quit,
}

/// A media end; it is closed when dropped.
#[derive(Debug)]
pub struct Line {
    orders: Queue<Order>,
    heard: Arc<Mutex<Vec<i16>>>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// Starts one that hears at this rate, in Hz. `events` is called on the line's own thread.
    ///
    /// # Errors
    /// The system's, if it has no thread left.
    pub fn start(
        registry: Arc<Registry>,
        rate: u32,
        events: impl FnMut(MediaEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, queue) = channel();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let thread = std::thread::Builder::new().name("line".into()).spawn(move || {
            End {
                registry,
                rate: rate as usize,
                events: Box::new(events),
                heard: ear,
                origin: Instant::now(),
                source: Source::Silent,
            }
            .run(&queue);
        })?;
        Ok(Self {
            orders,
            heard,
            thread: Some(thread),
        })
    }

    /// Does what a leg wants of media.
    pub fn command(&self, command: MediaCommand) {
        self.orders.send(Order::Media(command)).ok();
    }

    /// Says something else from now on.
    pub fn say(&self, source: Source) {
        self.orders.send(Order::Say(source)).ok();
    }

    /// Presses a key (RFC 4733).
    pub fn key(&self, key: char) {
        self.orders.send(Order::Key(key)).ok();
    }

    /// Forgets what was heard.
    pub(super) fn forget(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All that was heard so far, at the line's rate, silence where nothing arrived.
    pub fn heard(&self) -> Vec<i16> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.orders.send(Order::Quit).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct End {
    registry: Arc<Registry>,
    rate: usize,
    events: Box<dyn FnMut(MediaEvent) + Send>,
    heard: Arc<Mutex<Vec<i16>>>,
    origin: Instant,
    source: Source,
}

/// A leg that is open.
struct Session {
    leg: LegKey,
    transport: Transport,
    sockets: Vec<UdpSocket>,
    packet: Packet,
    stream: Option<Stream>,
    up: bool,
    deadline_ns: Option<u64>,
    origin: Instant,
}

/// A leg whose codec is agreed.
struct Stream {
    codec: LegCodec,
    clock: u32,
    /// How many samples of the codec are one of ours.
    factor: usize,
    encoder: Encoder,
    decoder: Decoder,
    sender: Sender,
    phase: f32,
    /// How much of a recording was said.
    said: usize,
    next: Instant,
    echo: Vec<i16>,
    keys: Vec<Press>,
    key_stamp: Option<u32>,
    /// Timestamp of the first packet, and where its samples stand in the recording.
    first: Option<(u32, usize)>,
    pcm: Vec<i16>,
}

impl End {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut session: Option<Session> = None;
        loop {
            loop {
                match orders.try_recv() {
                    Ok(Order::Media(command)) => session = self.obey(session, command),
                    Ok(Order::Say(source)) => self.source = source,
                    Ok(Order::Key(key)) => press(session.as_mut(), key),
                    Ok(Order::Quit) | Err(TryRecvError::Disconnected) => return,
                    Err(TryRecvError::Empty) => break,
                }
            }
            match &mut session {
                Some(session) => self.turn(session),
                None => std::thread::sleep(NAP),
            }
        }
    }

    fn now_ns(&self) -> u64 {
        ns_since(self.origin)
    }

    fn obey(&mut self, session: Option<Session>, command: MediaCommand) -> Option<Session> {
        let now = self.now_ns();
        match (command, session) {
            (
                MediaCommand::Open {
                    leg,
                    transport,
                    role,
                    bind,
                    options,
                    ..
                },
                _,
            ) => {
                let opened = self.open(leg, &transport, role, &bind.addresses, bind.components, &options);
                if opened.is_none() {
                    (self.events)(MediaEvent::Failed {
                        leg,
                        fault: MediaFault::Ports,
                    });
                }
                opened
            }
            (MediaCommand::Close { leg }, _) => {
                (self.events)(MediaEvent::Closed { leg });
                None
            }
            (MediaCommand::Remote { lines, .. }, Some(mut session)) => {
                session.transport.tell(now, About::Remote, &lines).ok();
                self.drain(&mut session);
                Some(session)
            }
            (MediaCommand::Codec { codec, .. }, Some(mut session)) => {
                session.stream = self.stream(codec);
                Some(session)
            }
            (MediaCommand::State { text, .. }, Some(mut session)) => {
                if session.packet.fill(text.as_bytes()) {
                    session.packet.set_channel(0, true);
                    session.transport.send(now, &mut session.packet).ok();
                }
                self.drain(&mut session);
                Some(session)
            }
            (
                MediaCommand::Relay { .. }
                | MediaCommand::Rebind { .. }
                | MediaCommand::Restart { .. }
                | MediaCommand::Play { .. }
                | MediaCommand::StopPlay { .. }
                | MediaCommand::Bridge { .. }
                | MediaCommand::Unbridge { .. }
                | MediaCommand::Hold { .. }
                | MediaCommand::SendDtmf { .. }
                | MediaCommand::State { .. }
                | MediaCommand::Remote { .. }
                | MediaCommand::Codec { .. },
                session,
            ) => session,
        }
    }

    fn open(
        &mut self,
        leg: LegKey,
        transport: &str,
        role: Role,
        addresses: &[IpAddr],
        components: u8,
        options: &str,
    ) -> Option<Session> {
        let now = self.now_ns();
        let table = self.registry.transport(transport)?.clone();
        let mut transport = table.create(role, now, options).ok()?;
        let (mut sockets, mut paths) = (Vec::new(), String::new());
        for address in addresses {
            for component in 1..=components {
                let socket = UdpSocket::bind((*address, 0)).ok()?;
                // The first is waited for, the others are only looked at.
                socket.set_nonblocking(!sockets.is_empty()).ok()?;
                socket.set_read_timeout(Some(NAP)).ok()?;
                let port = socket.local_addr().ok()?.port();
                sockets.push(socket);
                paths.push_str(&format!(
                    "path:{} component {component} host {address} {port} mtu 1200\n",
                    sockets.len()
                ));
            }
        }
        transport.tell(now, About::Paths, &paths).ok()?;
        let headroom = table.headroom() + 16;
        let mut session = Session {
            leg,
            transport,
            sockets,
            packet: Packet::new(2048 + headroom + table.tailroom(), headroom),
            stream: None,
            up: false,
            deadline_ns: None,
            origin: self.origin,
        };
        if let Ok(lines) = session.transport.local(now)
            && !lines.is_empty()
        {
            (self.events)(MediaEvent::Local { leg, lines });
        }
        self.drain(&mut session);
        Some(session)
    }

    fn stream(&self, codec: LegCodec) -> Option<Stream> {
        let table = self.registry.codec_at(&codec.name, codec.clock)?;
        let rates = table.rates();
        let sample_rate = *rates
            .iter()
            .find(|rate| **rate as usize == self.rate)
            .or(rates.first())?;
        let settings = CodecSettings {
            sample_rate,
            channels: 1,
            frame_us: 20_000,
            local_fmtp: &codec.local_fmtp,
            remote_fmtp: &codec.send_fmtp,
        };
        let mut encoder = table.encoder(&settings).ok()?;
        // As good telephones do; a codec without a rate refuses.
        let _ = encoder.set(Setting::Bitrate, BITRATE);
        Some(Stream {
            clock: table.clock(),
            factor: (sample_rate as usize / self.rate).max(1),
            encoder,
            decoder: table.decoder(&settings).ok()?,
            sender: Sender::new(codec.ssrc, &mut rand::rng()),
            codec,
            phase: 0.0,
            said: 0,
            next: Instant::now(),
            echo: Vec::new(),
            keys: Vec::new(),
            key_stamp: None,
            first: None,
            pcm: vec![0; sample_rate as usize * MAX_PACKET / 1000],
        })
    }

    /// Reads what has come, sends what is due.
    fn turn(&mut self, session: &mut Session) {
        for index in 0..session.sockets.len() {
            while let Ok((length, from)) = session.sockets[index].recv_from(session.packet.buffer_mut()) {
                session.packet.set_len(length);
                session.packet.path = index as u32 + 1;
                session.packet.src = from;
                self.on_datagram(session);
                if index == 0 {
                    break;
                }
            }
        }
        if session.deadline_ns.is_some_and(|at| self.now_ns() >= at) {
            session.transport.timeout(self.now_ns()).ok();
            self.drain(session);
        }
        self.speak(session);
    }

    fn on_datagram(&mut self, session: &mut Session) {
        let outcome = session.transport.receive(self.now_ns(), &mut session.packet);
        match outcome {
            Ok(Outcome::Rtp) => self.hear(session),
            Ok(Outcome::Transmit) => transmit(session),
            Ok(Outcome::Data | Outcome::Kept | Outcome::Rtcp | Outcome::Datagram) | Err(_) => {}
        }
        self.drain(session);
    }

    fn hear(&self, session: &mut Session) {
        let Some(stream) = &mut session.stream else { return };
        let Ok(view) = RtpView::parse(session.packet.bytes()) else {
            return;
        };
        if view.payload_type != stream.codec.receive_pt {
            return;
        }
        let Ok(count) = stream.decoder.decode(view.payload, &mut stream.pcm) else {
            return;
        };
        let heard_now = &stream.pcm[..count.min(stream.pcm.len())];
        let mean = |c: &[i16]| (c.iter().map(|s| i32::from(*s)).sum::<i32>() / c.len() as i32) as i16;
        let samples: Vec<i16> = heard_now.chunks(stream.factor).map(mean).collect();
        if self.source == Source::Echo && stream.echo.len() < self.rate {
            stream.echo.extend_from_slice(&samples);
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, start) = *stream.first.get_or_insert((view.timestamp, heard.len()));
        let ticks = view.timestamp.wrapping_sub(first) as i32;
        let Ok(ticks) = usize::try_from(ticks) else { return };
        let at = start + ticks * self.rate / stream.clock as usize;
        let end = at + samples.len();
        if end > MAX_HEARD * self.rate {
            return;
        }
        if heard.len() < end {
            heard.resize(end, 0);
        }
        heard[at..end].copy_from_slice(&samples);
    }

    /// Sends one frame when it is due; a key that is pressed replaces the tone.
    fn speak(&self, session: &mut Session) {
        let now = Instant::now();
        let Some(stream) = session
            .stream
            .as_mut()
            .filter(|stream| session.up && stream.next <= now)
        else {
            return;
        };
        stream.next = (stream.next + FRAME).max(now - 5 * FRAME);
        let ticks = stream.clock / 50;
        if !stream.keys.is_empty() && stream.codec.telephone_event.is_some() {
            return press_on(session);
        }
        // At the codec's rate: that of the recording, or a whole multiple of it.
        let frame = self.rate / 50;
        let mut pcm = vec![0i16; frame * stream.factor];
        match &self.source {
            Source::Silent => return stream.sender.skip(ticks),
            Source::Tone { hz } => {
                let step = std::f32::consts::TAU * hz / (self.rate * stream.factor) as f32;
                for sample in &mut pcm {
                    *sample = (9_000.0 * stream.phase.sin()) as i16;
                    stream.phase = (stream.phase + step) % std::f32::consts::TAU;
                }
            }
            Source::Sound(sound) => {
                for samples in pcm.chunks_mut(stream.factor) {
                    samples.fill(sound.get(stream.said).copied().unwrap_or(0));
                    stream.said = (stream.said + 1) % sound.len().max(1);
                }
            }
            Source::Echo => {
                let have = stream.echo.len().min(frame);
                for (samples, echo) in pcm.chunks_mut(stream.factor).zip(stream.echo.drain(..have)) {
                    samples.fill(echo);
                }
            }
        }
        let mut payload = [0u8; 1400];
        let Ok(length) = stream.encoder.encode(&pcm, &mut payload) else {
            return;
        };
        let pt = stream.codec.send_pt;
        send(session, &payload[..length], |sender, packet| {
            sender.next(ticks, pt, false, packet).is_ok()
        });
    }

    fn drain(&mut self, session: &mut Session) {
        let leg = session.leg;
        loop {
            match session.transport.poll() {
                Output::Transmit { path, dst, data } => {
                    if let Some(socket) = (path as usize)
                        .checked_sub(1)
                        .and_then(|path| session.sockets.get(path))
                    {
                        socket.send_to(data, dst).ok();
                    }
                }
                Output::Data { data, .. } => {
                    let text = String::from_utf8_lossy(data).into_owned();
                    (self.events)(MediaEvent::State { leg, text });
                }
                Output::Rtp(_) | Output::Rtcp(_) | Output::Datagram { .. } => {}
                Output::Event { event } => match event {
                    TransportEvent::Connected => {
                        session.up = true;
                        (self.events)(MediaEvent::Connected { leg });
                    }
                    TransportEvent::Failed(word) => {
                        let fault = MediaFault::from_word(&word);
                        (self.events)(MediaEvent::Failed { leg, fault });
                    }
                    TransportEvent::Local => {
                        let now = ns_since(session.origin);
                        if let Ok(lines) = session.transport.local(now) {
                            (self.events)(MediaEvent::Local { leg, lines });
                        }
                    }
                    TransportEvent::Address(_) | TransportEvent::Stats(_) => {}
                },
                Output::None { deadline_ns } => {
                    session.deadline_ns = deadline_ns;
                    return;
                }
            }
        }
    }
}

fn ns_since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
