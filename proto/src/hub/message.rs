//! The frames: requests of a client, answers and events of the hub.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    CallId, ClientName, Commitment, ExchangeName, Failure, MAX_EXCHANGES, MAX_FRAME, MAX_ID, MAX_VERSIONS,
    MessageError, Name, Packet, PublicValue, Rejected, Token, Version,
};

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFrame {
    /// Drawn by the client, at most [`MAX_ID`]; the answer repeats it.
    pub id: u64,
    /// What it asks.
    pub request: Request,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who am I: must come first.
    Hello(Hello),
    /// Calls somebody.
    CallRequest(CallRequest),
    /// An incoming call rings here.
    CallReceived(CallReceived),
    /// Answers an incoming call.
    CallAccept(CallAccept),
    /// Reveals the caller's public value.
    CallConfirm(CallConfirm),
    /// Passes one opaque packet on.
    CallSignal(CallSignal),
    /// Ends a call.
    CallDiscard(CallDiscard),
    /// Nothing but an answer.
    Ping,
    /// A verb of the protocol that no hub offers yet.
    Later(Later),
}

/// Verbs that are named by the protocol and come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// `presence`
    Presence,
    /// `contacts`
    Contacts,
    /// `block`
    Block,
    /// `invite.create`
    InviteCreate,
    /// `invite.revoke`
    InviteRevoke,
}

/// One frame of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// The one answer to a request.
    Answer {
        /// The request's id; `None` if that could not be read.
        id: Option<u64>,
        /// What came of it.
        outcome: Result<Reply, Failure>,
    },
    /// Something another party did.
    Event(Event),
}

/// What a request yields when it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a hello.
    Welcome(Box<Welcome>),
    /// To everything else: an empty object.
    Done,
}

/// What the hub tells a client unasked; it is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody calls; `from` is always present.
    CallRequest(CallRequest),
    /// It rings at the callee.
    CallReceived(CallReceived),
    /// The callee accepted.
    CallAccept(CallAccept),
    /// The caller reveals its public value.
    CallConfirm(CallConfirm),
    /// One opaque packet.
    CallSignal(CallSignal),
    /// The call is over.
    CallDiscard(CallDiscard),
    /// Another device of the same account took the call.
    CallTaken(CallTaken),
}

/// The protocol versions a side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct Hello {
    /// What the client speaks.
    pub protocol: ProtocolRange,
    /// The program's name, for logs.
    pub client: ClientName,
    /// Proof of the account.
    pub token: Token,
}

/// The answer to `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// The bounds a hub keeps, as told to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// One exchange in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedExchange {
    /// Its name.
    pub name: ExchangeName,
    /// SHA-256 of the public value of a secret used for this exchange of this call alone.
    pub commitment: Commitment,
}

/// `call.request`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub exchanges: Vec<OfferedExchange>,
    /// Signalling versions; 1 to [`MAX_VERSIONS`].
    #[serde(deserialize_with = "versions")]
    pub library_versions: Vec<Version>,
    /// Whether media may go straight between the parties.
    #[serde(default)]
    pub udp_p2p: bool,
}

/// `call.received`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallReceived {
    /// The call.
    pub call: CallId,
}

/// `call.accept`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallAccept {
    /// The call.
    pub call: CallId,
    /// The exchange chosen.
    pub exchange: ExchangeName,
    /// The signalling version chosen.
    pub library_version: Version,
    /// The callee's public value.
    pub public: PublicValue,
}

/// `call.confirm`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallConfirm {
    /// The call.
    pub call: CallId,
    /// The caller's public value, as committed to.
    pub public: PublicValue,
    /// The key's fingerprint; decimal text on the wire, since not every JSON reader keeps 64 bits.
    #[serde(serialize_with = "print_fingerprint", deserialize_with = "fingerprint")]
    pub fingerprint: i64,
}

/// `call.signal`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallSignal {
    /// The call.
    pub call: CallId,
    /// The packet.
    pub packet: Packet,
}

/// `call.discard`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallDiscard {
    /// The call.
    pub call: CallId,
    /// Why.
    #[serde(deserialize_with = "reason")]
    pub reason: DiscardReason,
    /// Seconds the parties talked.
    #[serde(default)]
    pub duration: u32,
}

/// `call.taken`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallTaken {
    /// The call.
    pub call: CallId,
}

/// Why a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
        _ => {
            return Err(serde::de::Error::custom(
                "needs a reason: missed, disconnect, hangup, busy, declined",
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

/// The members every frame is recognised by.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default)]
    verb: Option<String>,
}

/// An answer; `answer: null` is an answer too, so presence counts, not the value.
#[derive(Deserialize)]
struct AnswerEnvelope {
    #[serde(default, deserialize_with = "present")]
    answer: Option<Option<u64>>,
    #[serde(default)]
    verb: Option<String>,
    #[serde(default)]
    result: Option<serde_json::Value>,
    #[serde(default)]
    error: Option<Failure>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::<u64>::deserialize(deserializer).map(Some)
}

/// Reads the fields of one verb. Only sentences of ours and of serde that hold no input become the detail.
fn body<T: DeserializeOwned>(verb: &'static str, text: &str) -> Result<T, MessageError> {
    serde_json::from_str(text).map_err(|error| {
        let detail = error.to_string();
        let safe = ["missing field", "duplicate field", "needs "]
            .iter()
            .any(|start| detail.starts_with(start));
        let detail = if safe {
            detail
        } else {
            format!("a field has the wrong type near byte {}", error.column())
        };
        MessageError::Field { verb, detail }
    })
}

impl ClientFrame {
    /// Reads one request.
    ///
    /// # Errors
    /// [`Rejected`] with the id if that much could be read; nothing was done.
    pub fn parse(text: &str) -> Result<Self, Rejected> {
        let reject = |id, error| Rejected { id, error };
        if text.len() > MAX_FRAME {
            return Err(reject(None, MessageError::TooLarge));
        }
        let envelope: Envelope = serde_json::from_str(text).map_err(|_| reject(None, MessageError::NotAFrame))?;
        let Some(id) = envelope.id.filter(|id| *id <= MAX_ID) else {
            return Err(reject(None, MessageError::Id));
        };
        let verb = envelope.verb.ok_or_else(|| reject(Some(id), MessageError::NotAFrame))?;
        let request = Request::parse(&verb, text).map_err(|error| reject(Some(id), error))?;
        Ok(Self { id, request })
    }

    /// Writes the frame.
    #[must_use]
    pub fn to_text(&self) -> String {
        let id = Some(self.id);
        match &self.request {
            Request::Hello(body) => print(id, "hello", body),
            Request::CallRequest(body) => print(id, "call.request", body),
            Request::CallReceived(body) => print(id, "call.received", body),
            Request::CallAccept(body) => print(id, "call.accept", body),
            Request::CallConfirm(body) => print(id, "call.confirm", body),
            Request::CallSignal(body) => print(id, "call.signal", body),
            Request::CallDiscard(body) => print(id, "call.discard", body),
            Request::Ping => print(id, "ping", &Nothing {}),
            Request::Later(later) => print(id, later.verb(), &Nothing {}),
        }
    }
}

impl Request {
    fn parse(verb: &str, text: &str) -> Result<Self, MessageError> {
        Ok(match verb {
            "hello" => Self::Hello(body("hello", text)?),
            "call.request" => Self::CallRequest(body("call.request", text)?),
            "call.received" => Self::CallReceived(body("call.received", text)?),
            "call.accept" => Self::CallAccept(body("call.accept", text)?),
            "call.confirm" => Self::CallConfirm(body("call.confirm", text)?),
            "call.signal" => Self::CallSignal(body("call.signal", text)?),
            "call.discard" => Self::CallDiscard(body("call.discard", text)?),
            "ping" => Self::Ping,
            "presence" => Self::Later(Later::Presence),
            "contacts" => Self::Later(Later::Contacts),
            "block" => Self::Later(Later::Block),
            "invite.create" => Self::Later(Later::InviteCreate),
            "invite.revoke" => Self::Later(Later::InviteRevoke),
            _ => return Err(MessageError::UnknownVerb),
        })
    }
}

impl Later {
    fn verb(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Contacts => "contacts",
            Self::Block => "block",
            Self::InviteCreate => "invite.create",
            Self::InviteRevoke => "invite.revoke",
        }
    }
}

impl ServerFrame {
    /// Reads one frame of the hub.
    ///
    /// # Errors
    /// [`MessageError`]: the frame is to be ignored, or the connection closed.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        if text.len() > MAX_FRAME {
            return Err(MessageError::TooLarge);
        }
        let envelope: AnswerEnvelope = serde_json::from_str(text).map_err(|_| MessageError::NotAFrame)?;
        match (envelope.answer, envelope.verb) {
            (Some(id), None) => {
                let outcome = match (envelope.result, envelope.error) {
                    (Some(result), None) => Ok(Reply::parse(result)?),
                    (None, Some(failure)) => Err(failure),
                    (Some(_), Some(_)) | (None, None) => return Err(MessageError::NotAFrame),
                };
                Ok(Self::Answer { id, outcome })
            }
            (None, Some(verb)) => Event::parse(&verb, text).map(Self::Event),
            (Some(_), Some(_)) | (None, None) => Err(MessageError::NotAFrame),
        }
    }

    /// Writes the frame.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Answer { id, outcome } => {
                let (result, error) = match outcome {
                    Ok(Reply::Welcome(welcome)) => (Some(Ok(&**welcome)), None),
                    Ok(Reply::Done) => (Some(Err(Nothing {})), None),
                    Err(failure) => (None, Some(failure)),
                };
                let result = result.map(Printed);
                text_of(&AnswerOut {
                    answer: *id,
                    result,
                    error,
                })
            }
            Self::Event(event) => event.to_text(),
        }
    }
}

impl Reply {
    fn parse(result: serde_json::Value) -> Result<Self, MessageError> {
        if result.get("account").is_none() {
            return if result.is_object() {
                Ok(Self::Done)
            } else {
                Err(MessageError::NotAFrame)
            };
        }
        let field = |_| MessageError::Field {
            verb: "hello",
            detail: "the answer cannot be read".to_owned(),
        };
        serde_json::from_value(result)
            .map(|welcome| Self::Welcome(Box::new(welcome)))
            .map_err(field)
    }
}

impl Event {
    fn parse(verb: &str, text: &str) -> Result<Self, MessageError> {
        Ok(match verb {
            "call.request" => {
                let request: CallRequest = body("call.request", text)?;
                if request.from.is_none() {
                    let detail = "missing field `from`".to_owned();
                    return Err(MessageError::Field {
                        verb: "call.request",
                        detail,
                    });
                }
                Self::CallRequest(request)
            }
            "call.received" => Self::CallReceived(body("call.received", text)?),
            "call.accept" => Self::CallAccept(body("call.accept", text)?),
            "call.confirm" => Self::CallConfirm(body("call.confirm", text)?),
            "call.signal" => Self::CallSignal(body("call.signal", text)?),
            "call.discard" => Self::CallDiscard(body("call.discard", text)?),
            "call.taken" => Self::CallTaken(body("call.taken", text)?),
            _ => return Err(MessageError::UnknownVerb),
        })
    }

    /// The call it is about.
    #[must_use]
    pub fn call(&self) -> CallId {
        match self {
            Self::CallRequest(body) => body.call,
            Self::CallReceived(body) => body.call,
            Self::CallAccept(body) => body.call,
            Self::CallConfirm(body) => body.call,
            Self::CallSignal(body) => body.call,
            Self::CallDiscard(body) => body.call,
            Self::CallTaken(body) => body.call,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::CallRequest(body) => print(None, "call.request", body),
            Self::CallReceived(body) => print(None, "call.received", body),
            Self::CallAccept(body) => print(None, "call.accept", body),
            Self::CallConfirm(body) => print(None, "call.confirm", body),
            Self::CallSignal(body) => print(None, "call.signal", body),
            Self::CallDiscard(body) => print(None, "call.discard", body),
            Self::CallTaken(body) => print(None, "call.taken", body),
        }
    }
}

/// An empty object.
#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct VerbOut<'a, B: Serialize> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    verb: &'static str,
    #[serde(flatten)]
    body: &'a B,
}

#[derive(Serialize)]
struct AnswerOut<'a> {
    answer: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Printed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
}

struct Printed<'a>(Result<&'a Welcome, Nothing>);

impl Serialize for Printed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(welcome) => welcome.serialize(serializer),
            Err(nothing) => nothing.serialize(serializer),
        }
    }
}

fn print<B: Serialize>(id: Option<u64>, verb: &'static str, body: &B) -> String {
    text_of(&VerbOut { id, verb, body })
}

fn text_of<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our messages are maps with text keys, which JSON can always write")
}
