//! The fields of each verb.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    CallId, ClientName, Commitment, ExchangeName, MAX_EXCHANGES, MAX_VERSIONS, Name, Packet, PeerTag, PublicValue,
    SessionId, Token, Version,
};

/// The protocol versions a side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProtocolRange {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

impl ProtocolRange {
    /// The newest version both speak; `None` if there is none or a range is upside down.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

/// `hello`: opens a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Hello {
    /// What the client speaks.
    pub protocol: ProtocolRange,
    /// The program's name, for logs.
    pub client: ClientName,
    /// Proof of the account.
    pub token: Token,
    /// Protocol 2: the session to go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    /// Protocol 2: whether calls may come in; who says no keeps those that it has.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub receives: bool,
}

/// What a session is resumed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Resume {
    /// Which one.
    pub session: SessionId,
    /// What the last hello was answered with.
    pub secret: Token,
    /// The `seq` of the last event that arrived; 0 if none has.
    pub last_seq: u64,
    /// The session's other connection stays: what is said comes on both, and whoever is asked on both answers once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beside: bool,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// The answer to `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Welcome {
    /// The version both speak from here on.
    pub protocol: u32,
    /// All that the hub speaks.
    pub range: ProtocolRange,
    /// Whose token that was.
    pub account: Name,
    /// The hub's bounds.
    pub limits: WireLimits,
    /// Servers for ICE; may be empty.
    #[serde(default)]
    pub ice_servers: Vec<IceServer>,
    /// The hub's clock: seconds since 1970-01-01 UTC.
    #[serde(default)]
    pub time: u64,
    /// Protocol 2: the session of this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Protocol 2: what resumes it, once, within a minute of the end of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_secret: Option<Token>,
    /// Protocol 2: whether it is the session that was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
}

/// The answer to `ice.servers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IceServers {
    /// As in a welcome, with fresh credentials.
    pub ice_servers: Vec<IceServer>,
}

/// The bounds a hub keeps, as told to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WireLimits {
    /// Largest frame in bytes.
    pub frame: u32,
    /// Largest signalling packet in bytes, decoded.
    pub signal: u32,
    /// Seconds a call may ring.
    pub ring: u32,
    /// Calls of one connection at a time.
    pub calls: u32,
    /// Requests a minute of one account, signals and pings apart.
    pub requests_per_minute: u32,
}

/// A STUN or TURN server, as browsers write it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IceServer {
    /// `stun:` and `turn:` addresses.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN; short-lived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// A relay that knows tags instead of users ([`crate::reflector`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reflector {
    /// Its number in candidates, from 1 on.
    pub id: u32,
    /// Host name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is reached over TCP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tcp: bool,
    /// The tag of this call there, the same for both parties.
    pub peer_tag: PeerTag,
}

/// One exchange in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OfferedExchange {
    /// Its name.
    pub name: ExchangeName,
    /// SHA-256 of the public value of a secret used for this exchange of this call alone.
    pub commitment: Commitment,
}

/// `call.request`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallRequest {
    /// The call's id.
    pub call: CallId,
    /// The caller. From a client: absent, its account, or an extension of it. From the hub: always present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Name>,
    /// The callee.
    pub to: Name,
    /// Preferred first; 1 to [`MAX_EXCHANGES`].
    #[serde(deserialize_with = "exchanges")]
    #[cfg_attr(test, schemars(with = "Vec<OfferedExchange>", length(min = 1, max = MAX_EXCHANGES)))]
    pub exchanges: Vec<OfferedExchange>,
    /// Signalling versions; 1 to [`MAX_VERSIONS`].
    #[serde(deserialize_with = "versions")]
    #[cfg_attr(test, schemars(with = "Vec<Version>", length(min = 1, max = MAX_VERSIONS)))]
    pub library_versions: Vec<Version>,
    /// Whether media may go straight between the parties.
    #[serde(default)]
    pub udp_p2p: bool,
}

/// `call.received`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallReceived {
    /// The call.
    pub call: CallId,
}

/// `call.accept`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallAccept {
    /// The call.
    pub call: CallId,
    /// The exchange chosen.
    pub exchange: ExchangeName,
    /// The signalling version chosen.
    pub library_version: Version,
    /// The callee's public value.
    pub public: PublicValue,
    /// Added by the hub for the caller; what a client writes here is not passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ice_servers: Vec<IceServer>,
    /// Added by the hub for the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reflectors: Vec<Reflector>,
}

/// `call.confirm`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallConfirm {
    /// The call.
    pub call: CallId,
    /// The caller's public value, as committed to.
    pub public: PublicValue,
    /// The key's fingerprint; decimal text on the wire, since not every JSON reader keeps 64 bits.
    #[serde(serialize_with = "print_fingerprint", deserialize_with = "fingerprint")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^-?[0-9]{1,19}$")))]
    pub fingerprint: i64,
    /// Added by the hub for the callee; what a client writes here is not passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ice_servers: Vec<IceServer>,
    /// Added by the hub for the callee: the same as the caller's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reflectors: Vec<Reflector>,
}

/// `call.signal`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallSignal {
    /// The call.
    pub call: CallId,
    /// The packet.
    pub packet: Packet,
}

/// `call.discard`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallDiscard {
    /// The call.
    pub call: CallId,
    /// Why.
    #[serde(deserialize_with = "reason")]
    #[cfg_attr(test, schemars(with = "DiscardReason"))]
    pub reason: DiscardReason,
    /// Seconds the parties talked.
    #[serde(default)]
    pub duration: u32,
    /// From the hub: the other side is not connected any more, and said nothing. From a client: not read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// `call.taken`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallTaken {
    /// The call.
    pub call: CallId,
}

/// `call.away`, `call.back`: the other side's connection is lost, or is there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallLink {
    /// The call.
    pub call: CallId,
}

/// `call.rejoin`: a confirmed call that a hub has forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallRejoin {
    /// The call.
    pub call: CallId,
    /// The other side, as the call's request names it.
    pub peer: Name,
}

/// Why a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DiscardReason {
    /// Nobody answered in time.
    Missed,
    /// The way between the parties, or the key exchange, failed.
    Disconnect,
    /// Somebody hung up.
    Hangup,
    /// The callee talks to somebody else.
    Busy,
    /// The callee does not want the call.
    Declined,
    /// The two have no version, key exchange or codec in common. Since protocol 2; who speaks 1 is told `disconnect`.
    Incompatible,
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D, max: usize) -> Result<Vec<T>, D::Error> {
    let list = Vec::<T>::deserialize(deserializer)?;
    if (1..=max).contains(&list.len()) {
        Ok(list)
    } else {
        Err(serde::de::Error::custom(format!("needs a list of 1 to {max}")))
    }
}

fn exchanges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OfferedExchange>, D::Error> {
    list(deserializer, MAX_EXCHANGES)
}

fn versions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Version>, D::Error> {
    list(deserializer, MAX_VERSIONS)
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DiscardReason, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    Ok(match &*text {
        "missed" => DiscardReason::Missed,
        "disconnect" => DiscardReason::Disconnect,
        "hangup" => DiscardReason::Hangup,
        "busy" => DiscardReason::Busy,
        "declined" => DiscardReason::Declined,
        "incompatible" => DiscardReason::Incompatible,
        _ => {
            return Err(serde::de::Error::custom(
                "needs a reason: missed, disconnect, hangup, busy, declined, incompatible",
            ));
        }
    })
}

fn print_fingerprint<S: Serializer>(fingerprint: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(fingerprint)
}

fn fingerprint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| serde::de::Error::custom("needs a fingerprint: a 64-bit integer as decimal text"))
}
