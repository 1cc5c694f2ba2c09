//! Plugin transport-turn: relays, and servers that say as which address they see us; a thin shim over `proto::turn`.
//!
//! Three paths: `turn` (a TURN server over UDP), `turn-stream` (over TCP, and TLS below it is the host's), `stun`.

use core::ffi::CStr;
use core::net::SocketAddr;
use std::fmt::Write as _;

use quartet_plugin::{About, Clock, Error, Event, HostRng, Outcome, Output, Packet, Transport, TransportConfig};
use quartet_proto::rtp::path::{self, PathLine};
use quartet_proto::turn::{self, Answer, Binding, Client, Server};

/// What a Send indication adds before the datagram, and what pads it.
const HEADROOM: u32 = 64;
const TAILROOM: u32 = 8;

/// A TURN server; `STREAM` says over what.
pub struct Turn<const STREAM: bool> {
    server: SocketAddr,
    username: String,
    password: Password,
    clock: Clock,
    /// The path below, once it is there.
    below: u32,
    client: Option<Client>,
    /// Where a datagram is wrapped before it goes back into its packet.
    wrapped: Vec<u8>,
    lent: Option<turn::Output>,
    text: String,
}

/// Wiped when dropped.
struct Password(String);

impl Drop for Password {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&mut bytes);
    }
}

impl<const STREAM: bool> Turn<STREAM> {
    fn begin(&mut self, now_ns: u64, local: SocketAddr) -> Result<(), Error> {
        let server = Server {
            address: self.server,
            local,
            stream: STREAM,
            username: &self.username,
            password: &self.password.0,
        };
        let mut rng = HostRng::new()?;
        self.client = Some(Client::new(self.clock.instant(now_ns), &server, &mut rng));
        Ok(())
    }
}

impl<const STREAM: bool> Transport for Turn<STREAM> {
    const NAME: &'static CStr = if STREAM { c"turn-stream" } else { c"turn" };
    const HEADROOM: u32 = HEADROOM;
    const TAILROOM: u32 = TAILROOM;
    const STREAM: bool = STREAM;

    fn create(config: &TransportConfig<'_>) -> Result<Self, Error> {
        let word = |name| config.options.get(name).unwrap_or_default().to_owned();
        Ok(Self {
            server: config.options.address("server").ok_or(Error::Argument)?,
            username: word("username"),
            password: Password(word("password")),
            clock: Clock::new(config.now_ns),
            below: 0,
            client: None,
            wrapped: Vec::with_capacity(2_048),
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
                    match line {
                        PathLine::Added { path, address, .. } if self.client.is_none() => {
                            self.below = path;
                            self.begin(now_ns, address)?;
                        }
                        PathLine::Gone { path } if path == self.below => {
                            if let Some(client) = &mut self.client {
                                client.closed();
                            }
                        }
                        PathLine::Added { .. } | PathLine::Gone { .. } => {}
                    }
                }
            }
            About::Control => {
                if let Some(client) = self
                    .client
                    .as_mut()
                    .filter(|_| lines.lines().any(|line| line.trim() == "close"))
                {
                    client.close(self.clock.instant(now_ns));
                }
            }
            About::Remote => {}
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

    fn send(&mut self, now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        let peer = packet.dst().ok_or(Error::Argument)?;
        let client = self.client.as_mut().ok_or(Error::State)?;
        if !client.send(self.clock.instant(now_ns), peer, packet.bytes(), &mut self.wrapped) {
            return Ok(Outcome::Kept);
        }
        let length = self.wrapped.len();
        if length > packet.len() + packet.tailroom() {
            packet.grow_front(length - packet.len() - packet.tailroom())?;
        }
        packet.set_len(length)?;
        packet.bytes_mut().copy_from_slice(&self.wrapped);
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
            Some(turn::Output::Transmit(bytes)) => Output::Transmit {
                path: self.below,
                dst: self.server,
                bytes,
            },
            Some(turn::Output::Datagram { peer, bytes }) => Output::Datagram { src: *peer, bytes },
            Some(turn::Output::Relay(address)) => Output::Event(Event::Address(say(&mut self.text, "relay", *address))),
            Some(turn::Output::Outer(address)) => Output::Event(Event::Address(say(&mut self.text, "outer", *address))),
            Some(turn::Output::Failed(why)) => Output::Event(Event::Failed(why.word())),
        }
    }
}

/// The words of an address event.
fn say<'a>(text: &'a mut String, kind: &str, address: SocketAddr) -> &'a str {
    text.clear();
    let _ = write!(text, "{kind} {} {}", address.ip(), address.port());
    text
}

/// A STUN server: carries nothing, and says as which address it sees us.
pub struct Stun {
    server: SocketAddr,
    clock: Clock,
    below: u32,
    /// While it asks.
    binding: Option<Binding>,
    /// What it has to say: an address, or why there is none.
    outer: Option<SocketAddr>,
    failed: Option<&'static str>,
    is_over: bool,
    text: String,
    request: Vec<u8>,
}

impl Stun {
    fn fail(&mut self, why: &'static str) {
        self.binding = None;
        if !std::mem::replace(&mut self.is_over, true) {
            self.failed = Some(why);
        }
    }
}

impl Transport for Stun {
    const NAME: &'static CStr = c"stun";
    const HEADROOM: u32 = 0;
    const TAILROOM: u32 = 0;

    fn create(config: &TransportConfig<'_>) -> Result<Self, Error> {
        Ok(Self {
            server: config.options.address("server").ok_or(Error::Argument)?,
            clock: Clock::new(config.now_ns),
            below: 0,
            binding: None,
            outer: None,
            failed: None,
            is_over: false,
            text: String::new(),
            request: Vec::new(),
        })
    }

    fn local(&mut self, _: u64, _: &mut String) -> Result<(), Error> {
        Ok(())
    }

    fn tell(&mut self, now_ns: u64, about: About, lines: &str) -> Result<(), Error> {
        for line in lines.lines().filter(|_| about == About::Paths).filter_map(path::parse) {
            match line {
                PathLine::Added { path, .. } if self.below == 0 => {
                    self.below = path;
                    self.binding = Some(Binding::new(self.clock.instant(now_ns), &mut HostRng::new()?));
                }
                PathLine::Gone { path } if path == self.below => self.fail("closed"),
                PathLine::Added { .. } | PathLine::Gone { .. } => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self, _: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        let answer = self.binding.as_mut().map(|binding| binding.receive(packet.bytes()));
        match answer {
            Some(Answer::Outer(outer)) => (self.outer, self.binding) = (Some(outer), None),
            Some(Answer::Refused) => self.fail("refused"),
            Some(Answer::Other) | None => {}
        }
        Ok(Outcome::Kept)
    }

    fn send(&mut self, _: u64, _: &mut Packet<'_>) -> Result<Outcome, Error> {
        Err(Error::Unsupported)
    }

    fn timeout(&mut self, now_ns: u64) -> Result<(), Error> {
        if let Some(binding) = &mut self.binding {
            binding.handle_timeout(self.clock.instant(now_ns));
            if binding.is_over() {
                self.fail("timeout");
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Output<'_> {
        if let Some(why) = self.failed.take() {
            return Output::Event(Event::Failed(why));
        }
        if let Some(outer) = self.outer.take() {
            return Output::Event(Event::Address(say(&mut self.text, "outer", outer)));
        }
        let Some(binding) = &mut self.binding else {
            return Output::None { deadline_ns: None };
        };
        if let Some(request) = binding.poll_transmit() {
            self.request.clear();
            self.request.extend_from_slice(request);
            return Output::Transmit {
                path: self.below,
                dst: self.server,
                bytes: &self.request,
            };
        }
        Output::None {
            deadline_ns: binding.poll_timeout().map(|at| self.clock.ns(at)),
        }
    }
}

quartet_plugin::export_path! {
    symbol: quartet_plugin_transport_turn,
    id: "transport-turn",
    licence: "MIT OR Apache-2.0",
    summary: "relays over TURN servers (UDP, TCP, TLS), and outer addresses by STUN",
    options: [],
    paths: [Turn<false>, Turn<true>, Stun],
}
