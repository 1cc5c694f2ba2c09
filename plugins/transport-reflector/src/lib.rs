//! Plugin transport-reflector: the relays of telegram calls, and of `quartet reflector`; a thin shim over `proto::reflector`.
//!
//! Two paths: `reflector` (over UDP) and `reflector-stream` (over TCP).

use core::ffi::CStr;
use core::net::SocketAddr;
use std::fmt::Write as _;

use quartet_plugin::{
    About, Clock, Error, Event, HostRng, Options, Outcome, Output, Packet, Transport, TransportConfig,
};
use quartet_proto::reflector::{self, Client, STREAM_HEADER, Tag};
use quartet_proto::rtp::path::{self, PathLine};

/// A reflector; `STREAM` says over what.
pub struct Reflector<const STREAM: bool> {
    server: SocketAddr,
    options: reflector::Options,
    clock: Clock,
    /// The path below, once it is there.
    below: u32,
    client: Option<Client>,
    lent: Option<reflector::Output>,
    text: String,
}

/// The bytes in an option `tag:32 HEXADECIMAL DIGITS`.
fn tag_of(options: &Options<'_>) -> Option<Tag> {
    let text = options.get("tag")?;
    let mut tag = Tag::default();
    if text.len() != 2 * tag.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in tag.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(tag)
}

impl<const STREAM: bool> Transport for Reflector<STREAM> {
    const NAME: &'static CStr = if STREAM { c"reflector-stream" } else { c"reflector" };
    const HEADROOM: u32 = STREAM_HEADER as u32;
    const TAILROOM: u32 = 3;
    const STREAM: bool = STREAM;

    fn create(config: &TransportConfig<'_>) -> Result<Self, Error> {
        let options = &config.options;
        let server = options.address("server").ok_or(Error::Argument)?;
        let number = options.get("number").and_then(|number| number.parse().ok());
        Ok(Self {
            server,
            options: reflector::Options {
                number: number.ok_or(Error::Argument)?,
                port: server.port(),
                tag: tag_of(options).ok_or(Error::Argument)?.into(),
                stream: STREAM,
            },
            clock: Clock::new(config.now_ns),
            below: 0,
            client: None,
            lent: None,
            text: String::new(),
        })
    }

    fn local(&mut self, _: u64, _: &mut String) -> Result<(), Error> {
        Ok(())
    }

    fn tell(&mut self, now_ns: u64, about: About, lines: &str) -> Result<(), Error> {
        match about {
            About::Paths => {
                for line in lines.lines().filter_map(path::parse) {
                    match (line, &mut self.client) {
                        (PathLine::Added { path, .. }, None) => {
                            self.below = path;
                            let now = self.clock.instant(now_ns);
                            self.client = Some(Client::new(now, &self.options, &mut HostRng::new()?));
                        }
                        (PathLine::Gone { path }, Some(client)) if path == self.below => client.closed(),
                        (PathLine::Added { .. } | PathLine::Gone { .. }, _) => {}
                    }
                }
            }
            // A reflector forgets who is silent.
            About::Control | About::Remote => {}
        }
        Ok(())
    }

    fn receive(&mut self, now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        let Some(client) = &mut self.client else {
            return Ok(Outcome::Kept);
        };
        let Some((peer, part)) = client.receive(self.clock.instant(now_ns), packet.bytes()) else {
            return Ok(Outcome::Kept);
        };
        packet.shrink_front(part.start)?;
        packet.set_len(part.len())?;
        packet.set_src(peer);
        Ok(Outcome::Datagram)
    }

    fn send(&mut self, _: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        let peer = packet.dst().ok_or(Error::Argument)?;
        let client = self.client.as_ref().ok_or(Error::State)?;
        let length = packet.len();
        let Some(frame) = client.frame(peer, length) else {
            // A pair that ICE tries and that leads nowhere: the peer is not at this reflector.
            return Ok(Outcome::Kept);
        };
        packet.set_len(length + frame.pad)?;
        packet.bytes_mut()[length..].fill(0);
        let header = frame.header();
        packet.grow_front(header.len())?;
        packet.bytes_mut()[..header.len()].copy_from_slice(header);
        packet.set_path(self.below);
        packet.set_dst(self.server);
        Ok(Outcome::Transmit)
    }

    fn timeout(&mut self, now_ns: u64) -> Result<(), Error> {
        if let Some(client) = &mut self.client {
            client.handle_timeout(self.clock.instant(now_ns));
        }
        Ok(())
    }

    fn poll(&mut self) -> Output<'_> {
        let Some(client) = &mut self.client else {
            return Output::None { deadline_ns: None };
        };
        self.lent = client.poll_output();
        match &self.lent {
            None => Output::None {
                deadline_ns: client.poll_timeout().map(|at| self.clock.ns(at)),
            },
            Some(reflector::Output::Transmit(bytes)) => Output::Transmit {
                path: self.below,
                dst: self.server,
                bytes,
            },
            Some(reflector::Output::Datagram { peer, bytes }) => Output::Datagram { src: *peer, bytes },
            Some(reflector::Output::Relay(address)) => {
                self.text.clear();
                let _ = write!(self.text, "relay {} {}", address.ip(), address.port());
                Output::Event(Event::Address(&self.text))
            }
            Some(reflector::Output::Closed) => Output::Event(Event::Failed("closed")),
            Some(reflector::Output::Silent) => Output::Event(Event::Failed("timeout")),
        }
    }
}

quartet_plugin::export_path! {
    symbol: quartet_plugin_transport_reflector,
    id: "transport-reflector",
    licence: "MIT OR Apache-2.0",
    summary: "relays of telegram calls and of quartet reflector (UDP, TCP)",
    options: [],
    paths: [Reflector<false>, Reflector<true>],
}
