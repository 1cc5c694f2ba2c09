//! Where E2EE users live: the verbs a network must carry.
//!
//! A network introduces two parties and relays opaque bytes between them; it derives no key and reads no packet. Six
//! verbs go down ([`NetworkCommand`]), the same six come up ([`NetworkEvent`]), and a seventh answer says why a verb had
//! no effect ([`Refusal`]). A further network is one more implementation of [`Network`]; nothing in `call` changes.

use std::fmt;
use std::time::{Duration, Instant};

pub use quartet_proto::e2ee::KeyExchange;

pub mod hub;

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

/// Why a call ends, in the words every network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiscardReason {
    /// Nobody answered in time.
    Missed,
    /// The way between the parties is gone: a connection closed, media failed, the key exchange failed.
    Disconnect,
    /// Somebody hung up.
    Hangup,
    /// The callee is in another call.
    Busy,
    /// The callee does not want this call.
    Declined,
}

/// What the core asks of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkCommand {
    /// Places a call.
    Request {
        /// Its id, fresh and random.
        call: NetworkCall,
        /// Who calls: the gateway's account on this network or one of its extensions.
        from: String,
        /// Whom to call, in the network's own spelling.
        to: String,
        /// The exchanges offered, preferred first.
        offers: Vec<Offer>,
        /// The signalling versions spoken.
        versions: Vec<String>,
        /// Whether media may go straight between the parties.
        p2p: bool,
    },
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
    Requested {
        /// The call's id, as the caller drew it.
        call: NetworkCall,
        /// Who calls, as the network says.
        from: String,
        /// Which account or extension of ours is called.
        to: String,
        /// The exchanges offered, the caller's preferred first; those unknown to us are left out.
        offers: Vec<Offer>,
        /// The signalling versions the caller speaks.
        versions: Vec<String>,
        /// Whether the caller lets media go straight between the parties.
        p2p: bool,
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
            Self::Requested { call, .. }
            | Self::Received { call }
            | Self::Accepted { call, .. }
            | Self::Confirmed { call, .. }
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
    /// Too many requests.
    RateLimited {
        /// When another try makes sense.
        retry_after: Duration,
    },
    /// The network or the peer broke the protocol, or the network says we did.
    Protocol(String),
}

/// A network as a machine: commands in, events out, time as an argument.
///
/// Drain [`Network::poll_event`] after every `handle_*`. How bytes reach the network's servers is each implementation's
/// own matter.
pub trait Network {
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
