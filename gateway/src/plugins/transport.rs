//! Safe handles on transports: packets are checked to lie in their buffer, texts are bounded and wiped.

use std::ffi::CString;
use std::net::SocketAddr;
use std::sync::Arc;

use quartet_plugin::{About, Outcome, Role, abi};
use zeroize::Zeroize as _;

use super::codec::MAX_TEXT;
use super::loader::calls::TransportHandle;
use super::loader::{self, Shared};
use super::packet::Packet;
use super::refusal::PluginError;
use super::registry::Kind;
use super::table::Table;

/// One way to carry media, or a path under one, that a loaded plugin brings. Cheap to clone.
pub type TransportTable = Table<loader::TransportTable>;

impl TransportTable {
    /// Returns the name that routes and configuration use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.row().name
    }

    /// Returns the most bytes that it puts before a packet: what [`Packet::new`] needs.
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.row().headroom as usize
    }

    /// Returns the most bytes that it puts behind a packet.
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.row().tailroom as usize
    }

    /// Whether it is a path over a stream of bytes.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.row().flags & abi::FLAG_STREAM != 0
    }

    /// Makes the machine for one leg. `options` are `name:value` lines of this leg, behind the operator's.
    ///
    /// # Errors
    /// What the plugin says, or [`PluginError::Barred`] if it failed too often.
    pub fn create(&self, role: Role, now_ns: u64, options: &str) -> Result<Transport, PluginError> {
        let shared = self.shared();
        shared.health.admit()?;
        let role = match role {
            Role::Offer => abi::ROLE_OFFER,
            Role::Answer => abi::ROLE_ANSWER,
        };
        let mut lines = shared.options.to_bytes().to_vec();
        lines.extend(options.bytes());
        let lines = CString::new(lines).map_err(|_| PluginError::Argument)?;
        let handle = self.row().calls.create(role, now_ns, &lines);
        let handle = handle.map_err(|code| shared.health.judge(code, "create"))?;
        Ok(Transport {
            handle,
            kind: self.row().kind,
            shared: Arc::clone(shared),
            state: State::Good,
        })
    }
}

/// How far a handle can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// The plugin broke its promise; `poll` has not said so yet.
    Broken,
    /// The same, said.
    Silent,
}

/// The machine of one leg. Freed when dropped.
///
/// After [`PluginError::Faulty`] no call enters the plugin again, and `poll` says once that the session failed.
#[derive(Debug)]
pub struct Transport {
    handle: TransportHandle,
    kind: Kind,
    shared: Arc<Shared>,
    state: State,
}

/// What a transport made by itself; the bytes are the plugin's and stay until the next call.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// A datagram to send.
    Transmit {
        /// Which path to send it by.
        path: u32,
        /// Where to.
        dst: SocketAddr,
        /// What.
        data: &'a [u8],
    },
    /// An RTP packet for above.
    Rtp(&'a [u8]),
    /// An RTCP packet for above.
    Rtcp(&'a [u8]),
    /// A data message for above.
    Data {
        /// The number of the data channel.
        channel: u16,
        /// Text, not bytes.
        text: bool,
        /// The message.
        data: &'a [u8],
    },
    /// A datagram for the layer above.
    Datagram {
        /// The peer that sent it.
        src: SocketAddr,
        /// What.
        data: &'a [u8],
    },
    /// Something to know.
    Event {
        /// What.
        event: TransportEvent,
    },
    /// Nothing more; call `timeout` at the deadline, if there is one.
    None {
        /// On the scale of `now_ns`.
        deadline_ns: Option<u64>,
    },
}

/// What a transport lets us know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportEvent {
    /// Media can flow both ways.
    Connected,
    /// The session is over; the text is one cause word, `plugin` if the plugin broke its promise.
    Failed(String),
    /// Ask [`Transport::local`] again.
    Local,
    /// An address of a path: `relay 192.0.2.7 40000`, or `outer 203.0.113.5 40000`.
    Address(String),
    /// `name:value` lines about the session.
    Stats(String),
}

impl Transport {
    /// Returns those lines of our description that were not returned before. They may hold keys: never log them.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn local(&mut self, now_ns: u64) -> Result<String, PluginError> {
        self.usable()?;
        let mut out = vec![0; 4096];
        loop {
            let result = self.handle.local(now_ns, &mut out);
            match usize::try_from(result) {
                Ok(len) if len <= out.len() => {
                    let text = str::from_utf8(&out[..len]).map(str::to_owned);
                    out.zeroize();
                    return text.map_err(|_| self.broken("local", result));
                }
                Ok(_) => return Err(self.broken("local", result)),
                Err(_) if result == abi::E_TOO_SMALL && out.len() < MAX_TEXT => {
                    out.zeroize();
                    out.resize(MAX_TEXT, 0);
                }
                Err(_) => return Err(self.judge(result, "local")),
            }
        }
    }

    /// Tells about the far side, our paths or what to do.
    ///
    /// # Errors
    /// [`PluginError::Argument`] for lines with a 0 inside, else what the plugin says.
    pub fn tell(&mut self, now_ns: u64, about: About, lines: &str) -> Result<(), PluginError> {
        self.usable()?;
        let about = match about {
            About::Remote => abi::TELL_REMOTE,
            About::Paths => abi::TELL_PATHS,
            About::Control => abi::TELL_CONTROL,
        };
        let lines = CString::new(lines).map_err(|_| PluginError::Argument)?;
        let result = self.handle.tell(now_ns, about, &lines);
        lines.into_bytes().zeroize();
        if result < 0 {
            Err(self.judge(result, "tell"))
        } else {
            Ok(())
        }
    }

    /// Takes a datagram from below; the outcome says what the packet has become, in place.
    ///
    /// # Errors
    /// [`PluginError::Malformed`] for a datagram to drop; [`PluginError::Faulty`] ends the leg.
    pub fn receive(&mut self, now_ns: u64, packet: &mut Packet) -> Result<Outcome, PluginError> {
        self.usable()?;
        let result = self.handle.receive(now_ns, packet);
        self.outcome(result, packet, "receive")
    }

    /// Takes a packet from above, its kind set; after [`Outcome::Transmit`] it is a datagram with path and destination.
    ///
    /// # Errors
    /// [`PluginError::State`] before there is a session; [`PluginError::Faulty`] ends the leg.
    pub fn send(&mut self, now_ns: u64, packet: &mut Packet) -> Result<Outcome, PluginError> {
        self.usable()?;
        let result = self.handle.send(now_ns, packet);
        self.outcome(result, packet, "send")
    }

    /// Says that the deadline has passed; early and late calls are harmless.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn timeout(&mut self, now_ns: u64) -> Result<(), PluginError> {
        self.usable()?;
        let result = self.handle.timeout(now_ns);
        if result < 0 {
            Err(self.judge(result, "timeout"))
        } else {
            Ok(())
        }
    }

    /// Returns the next thing that the machine made by itself. Call after every other call, until [`Output::None`].
    pub fn poll(&mut self) -> Output<'_> {
        match self.state {
            State::Good => {}
            State::Broken => {
                self.state = State::Silent;
                return Output::Event {
                    event: TransportEvent::Failed("plugin".to_owned()),
                };
            }
            State::Silent => return Output::None { deadline_ns: None },
        }
        let polled = self.handle.poll();
        let (channel, text) = ((polled.path & 0xffff) as u16, polled.path & abi::DATA_TEXT != 0);
        let words = || String::from_utf8_lossy(polled.text).into_owned();
        let code = polled.code;
        let session = self.kind == Kind::Session;
        match (code, polled.dst) {
            (abi::NONE, _) => {
                let deadline_ns = (polled.deadline_ns != abi::NO_DEADLINE).then_some(polled.deadline_ns);
                return Output::None { deadline_ns };
            }
            (abi::TRANSMIT, Some(dst)) => {
                return Output::Transmit {
                    path: polled.path,
                    dst,
                    data: polled.bytes,
                };
            }
            (abi::RTP, _) if session => return Output::Rtp(polled.bytes),
            (abi::RTCP, _) if session => return Output::Rtcp(polled.bytes),
            (abi::DATA, _) if session => {
                return Output::Data {
                    channel,
                    text,
                    data: polled.bytes,
                };
            }
            (abi::DATAGRAM, _) if !session && polled.src.is_some() => {
                let src = polled.src.expect("just looked at");
                return Output::Datagram {
                    src,
                    data: polled.bytes,
                };
            }
            (abi::EVENT, _) => {
                let event = match polled.event {
                    abi::EVENT_CONNECTED => TransportEvent::Connected,
                    abi::EVENT_FAILED => TransportEvent::Failed(words()),
                    abi::EVENT_LOCAL => TransportEvent::Local,
                    abi::EVENT_ADDRESS => TransportEvent::Address(words()),
                    // Also what a newer plugin may say: told as a line, so that it is seen.
                    _ => TransportEvent::Stats(words()),
                };
                return Output::Event { event };
            }
            _ => {}
        }
        // A code that poll cannot have, or a datagram without a destination. Said at once.
        self.shared.health.fault("poll", code, None);
        self.state = State::Silent;
        Output::Event {
            event: TransportEvent::Failed("plugin".to_owned()),
        }
    }

    fn usable(&self) -> Result<(), PluginError> {
        match self.state {
            State::Good => Ok(()),
            State::Broken | State::Silent => Err(PluginError::Faulty),
        }
    }

    fn broken(&mut self, call: &'static str, result: i32) -> PluginError {
        self.shared.health.fault(call, result, None);
        self.state = State::Broken;
        PluginError::Faulty
    }

    fn judge(&mut self, result: i32, call: &'static str) -> PluginError {
        let error = self.shared.health.judge(result, call);
        if error == PluginError::Faulty {
            self.state = State::Broken;
        }
        error
    }

    fn outcome(
        &mut self,
        result: Option<i32>,
        packet: &mut Packet,
        call: &'static str,
    ) -> Result<Outcome, PluginError> {
        let kind = quartet_plugin::Kind::from_word;
        match result {
            // The packet came back outside its buffer.
            None => Err(self.broken(call, abi::E_INTERNAL)),
            Some(abi::NONE) => Ok(Outcome::Kept),
            Some(abi::TRANSMIT) => Ok(Outcome::Transmit),
            Some(code @ (abi::RTP | abi::RTCP | abi::DATA | abi::DATAGRAM)) => {
                // A session has no datagrams above, a path nothing else.
                if (code == abi::DATAGRAM) != (self.kind == Kind::Path) {
                    return Err(self.broken(call, code));
                }
                packet.kind = kind(code.cast_unsigned());
                Ok(match code {
                    abi::RTP => Outcome::Rtp,
                    abi::RTCP => Outcome::Rtcp,
                    abi::DATA => Outcome::Data,
                    _ => Outcome::Datagram,
                })
            }
            Some(code) if code > 0 => Err(self.broken(call, code)),
            Some(code) => Err(self.judge(code, call)),
        }
    }
}
