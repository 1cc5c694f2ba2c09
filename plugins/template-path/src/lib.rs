//! The smallest path that works, in Rust: a relay that any session can stand on, with a protocol that fits on this page.
//!
//! To the server: `1`, every 10 s, and every second until it has answered. From the server: `2` and our address there. Both ways:
//! `3`, the peer's address, and a datagram. An address is its family (4 or 6), its port and 16 bytes. Change the names and the
//! protocol, and try it: `quartet plugin test target/release/libtemplate_path.so`. In a call: `[[route]] transport = "webrtc over
//! framed"`, and `[plugins.options.template-path] relay = "HOST:PORT"`.

use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use quartet_plugin::{About, Error, Event, Outcome, Output, Packet, Transport, TransportConfig};

quartet_plugin::export_path! {
    symbol: quartet_plugin_template_path,
    id: "template-path",
    licence: "MIT OR Apache-2.0",
    summary: "a relay under any session: the template of a path in Rust",
    options: [{ name: "relay", kind: "text", default_value: "", help: "HOST:PORT of the server" }],
    paths: [Framed],
}

const HELLO: u8 = 1;
const YOU_ARE: u8 = 2;
const DATA: u8 = 3;
/// An address: its family, its port, 16 bytes of which IPv4 uses four.
const ADDRESS: usize = 19;
const HEADER: usize = 1 + ADDRESS;

const SECOND: u64 = 1_000_000_000;
/// A server that has not answered by then has no place for us.
const GIVE_UP: u64 = 10 * SECOND;

/// The machine of one leg at one server. No socket, no clock: it is fed and asked.
struct Framed {
    server: SocketAddr,
    /// What is below, once the host has told it.
    below: Option<u32>,
    /// When a hello is due, and by when the server must have answered.
    hello_at: u64,
    answer_by: u64,
    now: u64,
    answered: bool,
    /// What `poll` has to say.
    tell_address: bool,
    tell_failed: Option<&'static str>,
    over: bool,
    text: String,
}

fn write(address: SocketAddr) -> [u8; ADDRESS] {
    let mut bytes = [0; ADDRESS];
    bytes[1..3].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes[0] = 4;
            bytes[3..7].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes[0] = 6;
            bytes[3..].copy_from_slice(&ip.octets());
        }
    }
    bytes
}

fn read(bytes: &[u8]) -> Option<SocketAddr> {
    let bytes: &[u8; ADDRESS] = bytes.get(..ADDRESS)?.try_into().ok()?;
    let port = u16::from_be_bytes([bytes[1], bytes[2]]);
    let mut ip = [0; 16];
    ip.copy_from_slice(&bytes[3..]);
    let ip = match bytes[0] {
        4 => IpAddr::V4(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3])),
        6 => IpAddr::V6(Ipv6Addr::from(ip)),
        _ => return None,
    };
    (port != 0).then_some(SocketAddr::new(ip, port))
}

impl Framed {
    fn fail(&mut self, why: &'static str) {
        if !self.over {
            (self.over, self.tell_failed) = (true, Some(why));
        }
    }
}

impl Transport for Framed {
    const NAME: &'static CStr = c"framed";
    const HEADROOM: u32 = HEADER as u32;
    const TAILROOM: u32 = 0;

    fn create(config: &TransportConfig<'_>) -> Result<Self, Error> {
        Ok(Self {
            server: config.options.address("server").ok_or(Error::Argument)?,
            below: None,
            hello_at: u64::MAX,
            answer_by: u64::MAX,
            now: config.now_ns,
            answered: false,
            tell_address: false,
            tell_failed: None,
            over: false,
            text: String::new(),
        })
    }

    fn local(&mut self, _now_ns: u64, _out: &mut String) -> Result<(), Error> {
        // A path has nothing to say to the far side; its session has.
        Ok(())
    }

    fn tell(&mut self, now_ns: u64, about: About, lines: &str) -> Result<(), Error> {
        self.now = now_ns;
        for line in lines.lines().filter(|_| about == About::Paths) {
            let mut words = line.split_ascii_whitespace();
            let number = words.next().and_then(|word| word.strip_prefix("path:")?.parse().ok());
            match (number, words.next()) {
                (Some(number), Some("component")) if self.below.is_none() => {
                    self.below = Some(number);
                    (self.hello_at, self.answer_by) = (now_ns, now_ns + GIVE_UP);
                }
                (number, Some("gone")) if number.is_some() && number == self.below => self.fail("closed"),
                // Lines that are not known are skipped: later versions have more.
                _ => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self, now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        self.now = now_ns;
        let (kind, rest) = packet.bytes().split_first().ok_or(Error::Malformed)?;
        match *kind {
            YOU_ARE if !self.over => {
                let address = read(rest).ok_or(Error::Malformed)?;
                self.answer_by = now_ns + 3 * GIVE_UP;
                if !self.answered {
                    self.hello_at = now_ns + 10 * SECOND;
                    self.text = format!("relay {} {}", address.ip(), address.port());
                    (self.answered, self.tell_address) = (true, true);
                }
                Ok(Outcome::Kept)
            }
            DATA if self.answered => {
                let peer = read(rest).ok_or(Error::Malformed)?;
                packet.shrink_front(HEADER)?;
                packet.set_src(peer);
                Ok(Outcome::Datagram)
            }
            _ => Ok(Outcome::Kept),
        }
    }

    fn send(&mut self, _now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        let peer = packet.dst().ok_or(Error::Argument)?;
        let below = self.below.filter(|_| self.answered && !self.over).ok_or(Error::State)?;
        packet.grow_front(HEADER)?;
        let header = packet.bytes_mut();
        header[0] = DATA;
        header[1..HEADER].copy_from_slice(&write(peer));
        packet.set_path(below);
        packet.set_dst(self.server);
        Ok(Outcome::Transmit)
    }

    fn timeout(&mut self, now_ns: u64) -> Result<(), Error> {
        self.now = now_ns;
        if now_ns >= self.answer_by {
            self.fail("timeout");
        }
        Ok(())
    }

    fn poll(&mut self) -> Output<'_> {
        if let Some(why) = self.tell_failed.take() {
            return Output::Event(Event::Failed(why));
        }
        let Some(below) = self.below.filter(|_| !self.over) else {
            return Output::None { deadline_ns: None };
        };
        if std::mem::take(&mut self.tell_address) {
            return Output::Event(Event::Address(&self.text));
        }
        if self.now >= self.hello_at {
            self.hello_at = self.now + if self.answered { 10 * SECOND } else { SECOND };
            return Output::Transmit {
                path: below,
                dst: self.server,
                bytes: &[HELLO],
            };
        }
        Output::None {
            deadline_ns: Some(self.hello_at.min(self.answer_by)),
        }
    }
}
