//! Where E2EE users live: the verbs a network must carry.
//!
//! A network introduces two parties and relays opaque bytes between them; it derives no key and reads no packet. Six
//! verbs go down ([`NetworkCommand`]), the same six come up ([`NetworkEvent`]), and another answer says why a verb had
//! no effect ([`Refusal`]); what only some networks tell (the servers of a call, that it waits, keys, what the far end speaks) comes up beside them. A further network is one more implementation of [`Network`]; nothing in `call` changes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use quartet_proto::e2ee::KeyExchange;

use crate::cdr::Cause;
pub use crate::cdr::DiscardReason;
use crate::config::IceUrl;
use crate::media::IceService;
pub use crate::media::Via;
use crate::media::{Relay, RelayUser};
use quartet_proto::reflector::Tag;

pub mod hub;
pub mod telegram;

/// The name of a network, as in `[network.NAME]`, routes and records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(Arc<str>);

impl NetworkId {
    /// The network of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a network lets its calls do.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The key exchanges it carries, the best first.
    pub key_exchanges: Vec<KeyExchange>,
    /// The signalling versions that are offered in it.
    pub versions: Vec<String>,
    /// The transport of its media.
    pub transport: String,
    /// What its servers add to the randomness of the Diffie-Hellman exponents; zeros if nothing.
    pub server_random: Box<[u8; 256]>,
    /// Whether it names the servers of each call ([`NetworkEvent::Servers`]); until then a leg tells nothing of its media.
    pub brings_servers: bool,
}

/// A TURN server of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnServer {
    /// Host name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What reaches it.
    pub via: Via,
    /// The user name, as long as the server is named.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// A relay of the network's own.
#[derive(Clone, PartialEq, Eq)]
pub struct Reflector {
    /// By its place among the ids of all, from 1 on, candidates name it.
    pub id: u64,
    /// Host name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Proves that the call may use it.
    pub tag: zeroize::Zeroizing<Tag>,
    /// Whether it is reached over TCP.
    pub tcp: bool,
}

impl fmt::Debug for Reflector {
    /// Prints no tag.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reflector({} {}:{})", self.id, self.host, self.port)
    }
}

/// Bytes that no log shows; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub zeroize::Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The servers of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// The signalling version, where the network has the last word.
    pub version: Option<String>,
    /// Whether media may go straight between the parties.
    pub p2p: bool,
    /// STUN servers: host name or IP address, and port.
    pub stun: Vec<(String, u16)>,
    /// TURN servers.
    pub turn: Vec<TurnServer>,
    /// Relays of the network's own.
    pub reflectors: Vec<Reflector>,
    /// Until when their credentials are good.
    pub until: Option<Instant>,
}

impl Servers {
    /// Those of them that a media leg can use.
    pub fn relays(&self) -> impl Iterator<Item = Relay> {
        let relay = |host: &str, port, service, user| {
            let host = host.to_owned();
            Relay::at(IceUrl { host, port, service }, user)
        };
        let stun = self
            .stun
            .iter()
            .map(move |(host, port)| relay(host, *port, IceService::Stun, RelayUser::Nobody));
        let turn = self.turn.iter().map(move |server| {
            let user = RelayUser::Password {
                username: server.username.clone(),
                password: String::from_utf8_lossy(&server.password.0).into_owned().into(),
            };
            relay(&server.host, server.port, IceService::Turn(server.via), user)
        });
        let mut ids: Vec<u64> = self.reflectors.iter().map(|reflector| reflector.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let reflectors = self.reflectors.iter().map(move |reflector| {
            let place = ids.partition_point(|id| *id < reflector.id);
            let user = RelayUser::Party {
                number: u32::try_from(place + 1).unwrap_or(u32::MAX),
                tag: reflector.tag.clone(),
            };
            let via = if reflector.tcp { Via::Tcp } else { Via::Udp };
            relay(&reflector.host, reflector.port, IceService::Reflector(via), user)
        });
        stun.chain(turn).chain(reflectors)
    }
}

/// Whether a network's servers can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// They can; a network may say its hello.
    Up,
    /// They cannot just now: what is said waits, and calls go on.
    Away,
    /// They can again, and know nothing of what was: calls whose parties have a key may be taken up, the others are over.
    Anew,
    /// They cannot: every call that needs them is over.
    Down,
}

/// One call as its network and both parties know it: 128 random bits drawn by the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkCall(pub [u8; 16]);

impl fmt::Debug for NetworkCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkCall({self})")
    }
}

impl fmt::Display for NetworkCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One key exchange that the caller is ready for, with its commitment to the public value it will reveal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which exchange.
    pub exchange: KeyExchange,
    /// SHA-256 of the caller's public value, exactly as it will be revealed.
    pub commitment: [u8; 32],
}

/// What a network knows of a caller beside the name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallerDetails {
    /// What else the caller is called: by number, by telephone number, whether it is in the address book.
    pub also: Vec<String>,
    /// For displays; `None`: the name itself.
    pub display: Option<String>,
    /// Header fields for the phone.
    pub headers: Vec<(&'static str, String)>,
    /// What the caller's program speaks, in words for the operator.
    pub speaks: Option<String>,
    /// Whether the settings of the account keep this caller out.
    pub is_refused: bool,
}

impl fmt::Debug for CallerDetails {
    /// Prints no name and no number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerDetails")
            .field("is_refused", &self.is_refused)
            .finish_non_exhaustive()
    }
}

/// A call as its caller places it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// Its id, fresh and random, drawn by the caller.
    pub call: NetworkCall,
    /// Who calls. Ours: the gateway's account on this network or one of its extensions; theirs: as the network says.
    pub from: String,
    /// Whom, in the network's own spelling; theirs: which account or extension of ours.
    pub to: String,
    /// The exchanges offered, the caller's preferred first; those unknown to us are left out.
    pub offers: Vec<Offer>,
    /// The signalling versions that the caller speaks.
    pub versions: Vec<String>,
    /// Whether the caller lets media go straight between the parties.
    pub p2p: bool,
    /// Theirs: what is known of the caller.
    pub caller: CallerDetails,
    /// Ours: how long the call may wait for its turn, where the network has as many of ours as it can.
    pub wait: Duration,
}

/// What the core asks of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkCommand {
    /// Places a call.
    Request(CallRequest),
    /// Tells the caller that it rings.
    Received {
        /// The incoming call.
        call: NetworkCall,
    },
    /// Answers an incoming call.
    Accept {
        /// The incoming call.
        call: NetworkCall,
        /// The exchange chosen from the caller's offers.
        exchange: KeyExchange,
        /// Our public value.
        public: Vec<u8>,
        /// The signalling version chosen.
        version: String,
    },
    /// Reveals our public value to the callee who accepted.
    Confirm {
        /// The outgoing call.
        call: NetworkCall,
        /// Our public value, as committed to.
        public: Vec<u8>,
        /// Fingerprint of the key both now have.
        fingerprint: i64,
    },
    /// Sends one encrypted signalling packet.
    Signal {
        /// A confirmed call.
        call: NetworkCall,
        /// The packet; the network never interprets it.
        packet: Vec<u8>,
    },
    /// Ends a call in any state.
    Discard {
        /// The call.
        call: NetworkCall,
        /// Why.
        reason: DiscardReason,
        /// How long the parties talked; zero if they never did.
        duration: Duration,
    },
}

/// What a network reports to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// Somebody calls us.
    Requested(CallRequest),
    /// Our outgoing call waits for its turn.
    Queued {
        /// The call.
        call: NetworkCall,
    },
    /// Our outgoing call rings.
    Received {
        /// The call.
        call: NetworkCall,
    },
    /// Our outgoing call was accepted.
    Accepted {
        /// The call.
        call: NetworkCall,
        /// The exchange the callee chose, one of ours.
        exchange: KeyExchange,
        /// The callee's public value, unchecked.
        public: Vec<u8>,
        /// The signalling version the callee chose, one of ours.
        version: String,
    },
    /// The caller of an incoming call revealed its public value.
    Confirmed {
        /// The call.
        call: NetworkCall,
        /// The caller's public value, not yet compared with the commitment.
        public: Vec<u8>,
        /// The key's fingerprint as the caller computed it.
        fingerprint: i64,
    },
    /// The servers of the call; may come at any time before media, and again.
    Servers {
        /// The call.
        call: NetworkCall,
        /// All of them.
        servers: Box<Servers>,
    },
    /// What the callee's program speaks, in words for the operator.
    Speaks {
        /// The call.
        call: NetworkCall,
        /// Layers and versions.
        what: String,
    },
    /// Keys that the far end's person has typed: `0`-`9`, `*`, `#`, `A`-`D`.
    Keys {
        /// The call.
        call: NetworkCall,
        /// In their order.
        digits: String,
    },
    /// One encrypted signalling packet arrived.
    Signal {
        /// The call.
        call: NetworkCall,
        /// The packet.
        packet: Vec<u8>,
    },
    /// The call is over; nothing more of it follows.
    Discarded {
        /// The call.
        call: NetworkCall,
        /// Why.
        reason: DiscardReason,
    },
    /// A command had no effect, and the call it was about is over on this network.
    Refused {
        /// The call.
        call: NetworkCall,
        /// Why.
        why: Refusal,
    },
}

impl NetworkEvent {
    /// The call that it is about.
    #[must_use]
    pub fn call(&self) -> NetworkCall {
        match self {
            Self::Requested(CallRequest { call, .. })
            | Self::Queued { call }
            | Self::Received { call }
            | Self::Speaks { call, .. }
            | Self::Keys { call, .. }
            | Self::Accepted { call, .. }
            | Self::Confirmed { call, .. }
            | Self::Servers { call, .. }
            | Self::Signal { call, .. }
            | Self::Discarded { call, .. }
            | Self::Refused { call, .. } => *call,
        }
    }
}

/// Why a network refused a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody of that name.
    UnknownUser,
    /// The callee exists and has no device connected.
    Offline,
    /// The callee is in another call.
    Busy,
    /// The callee or the network does not let us.
    Forbidden,
    /// The way to the network is gone, or the network has forgotten the call.
    Lost,
    /// The callee was called as often as it may be.
    TooOften,
    /// Another device of our account has taken the call.
    Elsewhere,
    /// The two have no version in common.
    Incompatible,
    /// Too many requests.
    RateLimited {
        /// When another try makes sense.
        retry_after: Duration,
    },
    /// The network or the peer broke the protocol, or the network says we did.
    Protocol(String),
}

impl Refusal {
    /// The cause of the call that this ends.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::UnknownUser => Cause::Unknown,
            Self::Offline => Cause::Offline,
            Self::Busy => Cause::Busy,
            Self::Forbidden => Cause::Forbidden,
            Self::Elsewhere => Cause::Elsewhere,
            Self::Incompatible => Cause::Incompatible,
            Self::TooOften => Cause::Limit { retry_after: None },
            Self::RateLimited { retry_after } => Cause::Limit {
                retry_after: Some(*retry_after),
            },
            Self::Lost | Self::Protocol(_) => Cause::Network,
        }
    }
}

/// A network as a machine: commands in, events out, time as an argument.
///
/// Drain [`Network::poll_event`] and [`Network::poll_frame`] after every `handle_*`. A frame is the network's own format:
/// text, or bytes of one request, response or update; a driver in `io` or `networks/*/client` carries frames and says
/// when the link is up or down.
pub trait Network: Send {
    /// What the network lets its calls do.
    fn terms(&self) -> Terms;

    /// A user as this network spells names: what phones dial may be spelt otherwise, and names enter the key.
    fn user_of(&self, dialled: &str) -> String;

    /// What an extension of ours is called on this network, as `100@gw`; empty for a caller that is not to be shown.
    fn name_of(&self, extension: &str) -> String;

    /// The extension of ours that somebody on this network has called; empty for the account itself.
    fn extension_of(&self, name: &str) -> String;

    /// Takes one frame of the network's servers. What cannot be read, is not expected or is repeated has no effect.
    fn handle_frame(&mut self, now: Instant, frame: &[u8]);

    /// The next frame for the network's servers.
    fn poll_frame(&mut self) -> Option<Vec<u8>>;

    /// The way to the network's servers has come up or gone down.
    fn handle_link(&mut self, now: Instant, link: Link);

    /// Whether what is said arrives, as far as is known.
    fn is_up(&self) -> bool;

    /// The accounts of ours that it has, where there are several, each with where it stands in words.
    fn accounts(&self, _now: Instant) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Calls in any state, as the network knows them: none may outlive the calls of the exchange.
    fn calls(&self) -> usize;

    /// Carries out one verb. A failure is an event ([`NetworkEvent::Refused`]), never a return value: most are only known
    /// later.
    fn handle_command(&mut self, now: Instant, command: NetworkCommand);

    /// Runs what is due at `now`.
    fn handle_timeout(&mut self, now: Instant);

    /// The next thing the core must know.
    fn poll_event(&mut self) -> Option<NetworkEvent>;

    /// When [`Network::handle_timeout`] is next due; `None` if nothing waits for time.
    fn poll_timeout(&self) -> Option<Instant>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_written_as_both_ends_log_it() {
        let call = NetworkCall([0xAB, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF]);
        assert_eq!(call.to_string(), "ab0100000000000000000000000000ff");
        assert_eq!(format!("{call:?}"), "NetworkCall(ab0100000000000000000000000000ff)");
    }
}
