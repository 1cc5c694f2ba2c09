//! The frames: requests of a client, answers and events of the hub.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    CallAccept, CallConfirm, CallDiscard, CallId, CallLink, CallReceived, CallRejoin, CallRequest, CallSignal,
    CallTaken, Failure, Hello, IceServers, MAX_FRAME, MAX_ID, MessageError, Rejected, Welcome,
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
    /// Protocol 2: takes up a confirmed call that the hub has forgotten.
    CallRejoin(CallRejoin),
    /// Protocol 2: asks for fresh relay credentials.
    IceServers,
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
    Event {
        /// What.
        event: Event,
        /// Protocol 2: its number in the session, from 1.
        seq: Option<u64>,
    },
}

/// What a request yields when it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a hello.
    Welcome(Box<Welcome>),
    /// To `ice.servers`.
    IceServers(IceServers),
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
    /// Protocol 2: the other side's connection is lost; media decides.
    CallAway(CallLink),
    /// Protocol 2: it is there again.
    CallBack(CallLink),
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
    seq: Option<u64>,
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
            Request::CallRejoin(body) => print(id, "call.rejoin", body),
            Request::IceServers => print(id, "ice.servers", &Nothing {}),
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
            "call.rejoin" => Self::CallRejoin(body("call.rejoin", text)?),
            "ice.servers" => Self::IceServers,
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
            (None, Some(verb)) => Ok(Self::Event {
                event: Event::parse(&verb, text)?,
                seq: envelope.seq,
            }),
            (Some(_), Some(_)) | (None, None) => Err(MessageError::NotAFrame),
        }
    }

    /// Writes the frame.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Answer { id, outcome } => {
                let (result, error) = match outcome {
                    Ok(reply) => (Some(Printed(reply)), None),
                    Err(failure) => (None, Some(failure)),
                };
                text_of(&AnswerOut {
                    answer: *id,
                    result,
                    error,
                })
            }
            Self::Event { event, seq } => event.to_text(*seq),
        }
    }
}

impl Reply {
    fn parse(result: serde_json::Value) -> Result<Self, MessageError> {
        if let Some(servers) = result.get("ice_servers").filter(|_| result.get("account").is_none()) {
            let ice_servers = serde_json::from_value(servers.clone()).map_err(|_| MessageError::NotAFrame)?;
            return Ok(Self::IceServers(IceServers { ice_servers }));
        }
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
            "call.away" => Self::CallAway(body("call.away", text)?),
            "call.back" => Self::CallBack(body("call.back", text)?),
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
            Self::CallAway(body) | Self::CallBack(body) => body.call,
        }
    }

    fn to_text(&self, seq: Option<u64>) -> String {
        fn text<B: Serialize>(seq: Option<u64>, verb: &'static str, body: &B) -> String {
            text_of(&VerbOut {
                id: None,
                seq,
                verb,
                body,
            })
        }
        match self {
            Self::CallRequest(body) => text(seq, "call.request", body),
            Self::CallReceived(body) => text(seq, "call.received", body),
            Self::CallAccept(body) => text(seq, "call.accept", body),
            Self::CallConfirm(body) => text(seq, "call.confirm", body),
            Self::CallSignal(body) => text(seq, "call.signal", body),
            Self::CallDiscard(body) => text(seq, "call.discard", body),
            Self::CallTaken(body) => text(seq, "call.taken", body),
            Self::CallAway(body) => text(seq, "call.away", body),
            Self::CallBack(body) => text(seq, "call.back", body),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
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

struct Printed<'a>(&'a Reply);

impl Serialize for Printed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Reply::Welcome(welcome) => welcome.serialize(serializer),
            Reply::IceServers(servers) => servers.serialize(serializer),
            Reply::Done => Nothing {}.serialize(serializer),
        }
    }
}

fn print<B: Serialize>(id: Option<u64>, verb: &'static str, body: &B) -> String {
    text_of(&VerbOut {
        id,
        seq: None,
        verb,
        body,
    })
}

fn text_of<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our messages are maps with text keys, which JSON can always write")
}
