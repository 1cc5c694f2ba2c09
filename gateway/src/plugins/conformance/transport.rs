//! The checks of a transport: two machines over a wire in memory, and one against a stranger's datagrams.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use quartet_plugin::{About, Kind, Outcome, Role};

use super::super::loader::usage;
use super::super::packet::Packet;
use super::super::refusal::PluginError;
use super::super::signal::Xorshift;
use super::super::transport::{Output, Transport, TransportEvent, TransportTable};
use super::{PRINTS, RANDOM_PACKETS, RANDOM_TIME, cost};

pub(super) type Verdict = Result<String, String>;

/// Runs a check by its number.
pub(super) fn check(table: &TransportTable, number: u32, seed: u64) -> Verdict {
    match number {
        1 => both_ways(table),
        2 => in_their_buffer(table, seed),
        4 => random_datagrams(table, seed),
        21 => made_is_freed(table),
        PRINTS => both_ways(table),
        26 => no_waiting(table),
        other => Err(format!("there is no check {other}")),
    }
}

pub(super) const SECOND: u64 = 1_000_000_000;
/// How long two machines have to find each other, in their own time.
const MAX_NS: u64 = 20 * SECOND;
pub(super) const MTU: usize = 1200;

/// One side: a machine, its two sockets, and what came out for above.
struct Side {
    machine: Transport,
    /// Of RTP, and of RTCP where that is apart.
    sockets: [SocketAddr; 2],
    ssrc: u32,
    connected: bool,
    failed: Option<String>,
    heard: Vec<Vec<u8>>,
    deadline_ns: Option<u64>,
}

/// A datagram on its way.
struct Datagram {
    src: SocketAddr,
    dst: SocketAddr,
    bytes: Vec<u8>,
}

/// Two sides, the wire between them, and their time.
pub(super) struct Pair {
    sides: [Side; 2],
    wire: VecDeque<Datagram>,
    now_ns: u64,
    packet: Packet,
}

pub(super) fn wrong(what: &str) -> impl Fn(PluginError) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl Side {
    fn new(table: &TransportTable, options: &str, role: Role, host: u8) -> Result<Self, String> {
        let socket = |port| SocketAddr::from(([192, 0, 2, host], port));
        let sockets = [socket(40_000), socket(40_001)];
        let mut machine = table.create(role, SECOND, options).map_err(wrong("create"))?;
        let paths = format!(
            "path:1 component 1 host 192.0.2.{host} 40000 mtu 1200\npath:2 component 2 host 192.0.2.{host} 40001 mtu 1200\n"
        );
        machine
            .tell(SECOND, About::Paths, &paths)
            .map_err(wrong("tell paths"))?;
        let ssrc = 0x1000_0000 + u32::from(host);
        Ok(Self {
            machine,
            sockets,
            ssrc,
            connected: false,
            failed: None,
            heard: Vec::new(),
            deadline_ns: None,
        })
    }

    /// Takes all that the machine made by itself.
    fn drain(&mut self, wire: &mut VecDeque<Datagram>) -> Result<bool, String> {
        let mut more_lines = false;
        for _ in 0..1000 {
            match self.machine.poll() {
                Output::None { deadline_ns } => {
                    self.deadline_ns = deadline_ns;
                    return Ok(more_lines);
                }
                Output::Transmit { path, dst, data } => {
                    let src = self.sockets[usize::from(path == 2)];
                    wire.push_back(Datagram {
                        src,
                        dst,
                        bytes: data.to_vec(),
                    });
                }
                Output::Rtp(data) => self.heard.push(data.to_vec()),
                Output::Rtcp(_) | Output::Data { .. } | Output::Datagram { .. } => {}
                Output::Event { event } => match event {
                    TransportEvent::Connected => self.connected = true,
                    TransportEvent::Failed(cause) => self.failed = Some(cause),
                    TransportEvent::Local => more_lines = true,
                    TransportEvent::Address(_) | TransportEvent::Stats(_) => {}
                },
            }
        }
        Err("poll does not end within 1000 outputs".to_owned())
    }
}

impl Pair {
    pub(super) fn new(table: &TransportTable, options: &str) -> Result<Self, String> {
        let sides = [
            Side::new(table, options, Role::Offer, 1)?,
            Side::new(table, options, Role::Answer, 2)?,
        ];
        let room = table.headroom() + MTU + table.tailroom();
        let packet = Packet::rimmed(room, table.headroom());
        let mut pair = Self {
            sides,
            wire: VecDeque::new(),
            now_ns: SECOND,
            packet,
        };
        pair.lines(0)?;
        pair.lines(1)?;
        Ok(pair)
    }

    /// Carries new lines of one side's description to the other.
    fn lines(&mut self, from: usize) -> Result<(), String> {
        let [offer, answer] = &mut self.sides;
        let (from, to) = if from == 0 { (offer, answer) } else { (answer, offer) };
        let mut lines = from.machine.local(self.now_ns).map_err(wrong("local"))?;
        lines.push_str(&format!("ssrc:{}\n", from.ssrc));
        to.machine
            .tell(self.now_ns, About::Remote, &lines)
            .map_err(wrong("tell remote"))
    }

    /// Delivers what is on the wire until it is empty and both sides are quiet.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..10_000 {
            for index in 0..2 {
                if self.sides[index].drain(&mut self.wire)? {
                    self.lines(index)?;
                }
            }
            let Some(datagram) = self.wire.pop_front() else {
                return Ok(());
            };
            self.deliver(&datagram)?;
        }
        Err("two machines do not stop talking".to_owned())
    }

    fn deliver(&mut self, datagram: &Datagram) -> Result<(), String> {
        let to = self.sides.iter_mut().find_map(|side| {
            let path = side.sockets.iter().position(|socket| *socket == datagram.dst)?;
            Some((side, path))
        });
        let Some((side, path)) = to else { return Ok(()) };
        if !self.packet.fill(&datagram.bytes) {
            return Err(format!(
                "a datagram of {} bytes does not fit the MTU",
                datagram.bytes.len()
            ));
        }
        self.packet.path = path as u32 + 1;
        (self.packet.src, self.packet.dst) = (datagram.src, datagram.dst);
        let outcome = side.machine.receive(self.now_ns, &mut self.packet);
        if !self.packet.rim_untouched() {
            return Err("receive wrote outside the packet's buffer".to_owned());
        }
        match outcome {
            Ok(Outcome::Rtp) => side.heard.push(self.packet.bytes().to_vec()),
            Ok(Outcome::Transmit) => self.wire.push_back(Datagram {
                src: side.sockets[path],
                dst: self.packet.dst,
                bytes: self.packet.bytes().to_vec(),
            }),
            Ok(Outcome::Kept | Outcome::Rtcp | Outcome::Data | Outcome::Datagram) | Err(PluginError::Malformed) => {}
            Err(error) => return Err(format!("receive: {error}")),
        }
        Ok(())
    }

    /// Lets time pass until both are connected, or long enough for those that never say so.
    fn connect(&mut self) -> Result<(), String> {
        self.settle()?;
        while self.now_ns < MAX_NS && !self.sides.iter().all(|side| side.connected) {
            let next = self.sides.iter().filter_map(|side| side.deadline_ns).min();
            let Some(next) = next else { break };
            self.now_ns = next.clamp(self.now_ns + 1_000_000, self.now_ns + SECOND);
            for side in &mut self.sides {
                if side.deadline_ns.is_some_and(|deadline| deadline <= self.now_ns) {
                    side.machine.timeout(self.now_ns).map_err(wrong("timeout"))?;
                }
            }
            self.settle()?;
        }
        match self.sides.iter().find_map(|side| side.failed.as_ref()) {
            Some(cause) => Err(format!("a session failed: {cause}")),
            None => Ok(()),
        }
    }

    /// Sends an RTP packet from one side; it is on the wire then.
    fn send(&mut self, from: usize, payload: &[u8]) -> Result<(), String> {
        let side = &mut self.sides[from];
        if !self.packet.fill(payload) {
            return Err("the packet does not fit".to_owned());
        }
        self.packet.kind = Some(Kind::Rtp);
        let outcome = side.machine.send(self.now_ns, &mut self.packet);
        if !self.packet.rim_untouched() {
            return Err("send wrote outside the packet's buffer".to_owned());
        }
        match outcome {
            Ok(Outcome::Transmit) => {
                let src = side.sockets[usize::from(self.packet.path == 2)];
                let (dst, bytes) = (self.packet.dst, self.packet.bytes().to_vec());
                self.wire.push_back(Datagram { src, dst, bytes });
                Ok(())
            }
            Ok(Outcome::Kept) => Ok(()),
            Ok(other) => Err(format!("send made {other:?} of an RTP packet")),
            Err(error) => Err(format!("send: {error}")),
        }
    }
}

fn rtp(ssrc: u32, sequence: u16, random: &mut Xorshift) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    let mut payload = vec![0; 20 + random.below(300)];
    random.fill(&mut payload);
    packet.extend(payload);
    packet
}

fn exchange(table: &TransportTable, seed: u64, count: u16) -> Result<(u64, usize), String> {
    let mut random = Xorshift::new(seed);
    let mut pair = Pair::new(table, "")?;
    pair.connect()?;
    let mut packets = 0;
    for sequence in 0..count {
        for from in 0..2 {
            let sent = rtp(pair.sides[from].ssrc, sequence, &mut random);
            pair.send(from, &sent)?;
            pair.settle()?;
            let heard = std::mem::take(&mut pair.sides[1 - from].heard);
            // The first ones may be spent on learning where the far side is.
            if heard.contains(&sent) {
                packets += 1;
            } else if sequence > 5 {
                return Err(format!(
                    "packet {sequence} of {} bytes did not arrive as it was sent; seed {seed}",
                    sent.len()
                ));
            }
        }
        pair.now_ns += 20_000_000;
    }
    Ok((pair.now_ns - SECOND, packets))
}

fn both_ways(table: &TransportTable) -> Verdict {
    let (time_ns, packets) = exchange(table, 1, 50)?;
    Ok(format!("{packets} packets, {} ms of its time", time_ns / 1_000_000))
}

/// Sides are made, connect, and are destroyed.
fn made_is_freed(table: &TransportTable) -> Verdict {
    let made = || {
        let mut pair = Pair::new(table, "")?;
        pair.connect()
    };
    cost::freed("create and destroy", 2, made)
}

fn no_waiting(table: &TransportTable) -> Verdict {
    let before = usage::waits();
    let (_, packets) = exchange(table, 1, 50)?;
    let waits = usage::waits().saturating_sub(before);
    if waits >= 50 {
        return Err(format!(
            "it gives its thread away {waits} times in {packets} packets: it sleeps, waits or does IO"
        ));
    }
    Ok(format!("{packets} packets"))
}

fn in_their_buffer(table: &TransportTable, seed: u64) -> Verdict {
    let (_, packets) = exchange(table, seed, 500)?;
    Ok(format!(
        "{packets} packets, {} + {} bytes of room",
        table.headroom(),
        table.tailroom()
    ))
}

fn random_datagrams(table: &TransportTable, seed: u64) -> Verdict {
    let mut pair = Pair::new(table, "")?;
    pair.connect()?;
    random_datagrams_at(pair, seed)
}

pub(super) fn random_datagrams_at(mut pair: Pair, seed: u64) -> Verdict {
    let begin = Instant::now();
    let mut random = Xorshift::new(seed);
    let real = rtp(pair.sides[0].ssrc, 7, &mut random);
    let mut bytes = [0; MTU];
    for round in 0..RANDOM_PACKETS {
        if round % 1024 == 0 && begin.elapsed() > RANDOM_TIME {
            return Ok(format!("{round} datagrams in {} s; seed {seed}", RANDOM_TIME.as_secs()));
        }
        let length = if random.below(8) == 0 {
            random.below(MTU + 1)
        } else {
            random.below(80)
        };
        let data = &mut bytes[..length];
        random.fill(data);
        disguise(data, &real, &mut random);
        let side = &mut pair.sides[1];
        pair.packet.fill(data);
        pair.packet.path = 1 + random.below(2) as u32;
        pair.packet.src = SocketAddr::from(([198, 51, 100, random.below(8) as u8], 1024 + random.below(8) as u16));
        pair.packet.dst = side.sockets[0];
        let received = side.machine.receive(pair.now_ns, &mut pair.packet);
        if received == Err(PluginError::Faulty) {
            return Err(format!("broke over {length} bytes; round {round} of seed {seed}"));
        }
        if !pair.packet.rim_untouched() {
            return Err(format!("wrote outside its buffer; round {round} of seed {seed}"));
        }
        side.drain(&mut pair.wire)?;
        side.heard.clear();
        pair.wire.clear();
        if random.below(50) == 0 {
            pair.now_ns += 5_000_000;
            let timed = side.machine.timeout(pair.now_ns);
            if timed == Err(PluginError::Faulty) {
                return Err(format!("timeout broke; round {round} of seed {seed}"));
            }
        }
    }
    Ok(format!("{RANDOM_PACKETS} datagrams; seed {seed}"))
}

/// Gives a third of the datagrams the first bytes of STUN, DTLS, RTP or RTCP. RFC 7983 §7.
fn disguise(data: &mut [u8], real: &[u8], random: &mut Xorshift) {
    let Some(first) = data.first_mut() else { return };
    match random.below(12) {
        0 => {
            *first &= 0x03;
            let cookie = [0x21, 0x12, 0xa4, 0x42];
            if let Some(room) = data.get_mut(4..8) {
                room.copy_from_slice(&cookie);
            }
        }
        1 => {
            *first = 20 + (random.below(6)) as u8;
            if let Some(room) = data.get_mut(1..3) {
                room.copy_from_slice(&[0xfe, 0xfd]);
            }
        }
        2 => {
            let head = real.len().min(data.len()).min(12);
            data[..head].copy_from_slice(&real[..head]);
        }
        3 => {
            let head = [0x80, 200 + random.below(4) as u8];
            if let Some(room) = data.get_mut(..2) {
                room.copy_from_slice(&head);
            }
        }
        _ => {}
    }
}
