//! What can be wrong with a message, as a type here and as a code on the wire.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text frame is not a message. The side that sent it is at fault.
///
/// No variant repeats the text: it may hold a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The frame exceeds [`super::MAX_FRAME`].
    #[error("the frame is larger than 256 KiB")]
    TooLarge,
    /// Not a JSON object with the members of a frame.
    #[error("the frame is not a JSON object with an id and a verb, or an answer")]
    NotAFrame,
    /// A request without an id, or with one above [`super::MAX_ID`].
    #[error("a request needs an id, an integer from 0 to 9007199254740991")]
    Id,
    /// No such verb in this protocol version.
    #[error("unknown verb")]
    UnknownVerb,
    /// A field of this verb is missing or out of bounds.
    #[error("{verb}: {detail}")]
    Field {
        /// The verb.
        verb: &'static str,
        /// What it needs.
        detail: String,
    },
}

impl MessageError {
    /// The code this error has on the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge => ErrorCode::TooLarge,
            Self::NotAFrame | Self::Id | Self::Field { .. } => ErrorCode::Malformed,
            Self::UnknownVerb => ErrorCode::UnknownVerb,
        }
    }
}

/// A request that could not be read, and its id where that much could be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct Rejected {
    /// Which request to answer; `None` if its id could not be read.
    pub id: Option<u64>,
    /// What is wrong.
    pub error: MessageError,
}

/// An error's code on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ErrorCode {
    /// The frame or a field cannot be read.
    Malformed,
    /// The frame is too large.
    TooLarge,
    /// No such verb.
    UnknownVerb,
    /// A verb of the protocol that this hub does not offer.
    Unsupported,
    /// No protocol version in common.
    Protocol,
    /// No hello yet, or its token is not known.
    Unauthorized,
    /// The account may not do this.
    Forbidden,
    /// Not now: the call, or the connection, is in another state.
    Order,
    /// Nobody of that name.
    UnknownUser,
    /// The callee has no device connected.
    Offline,
    /// No such call of this connection.
    UnknownCall,
    /// A call id that was used before.
    RepeatedCall,
    /// An exchange or version that the caller did not offer.
    NotOffered,
    /// Too many requests; try again after `retry_after`.
    RateLimited,
    /// A table is full: calls or devices of the account, or of the hub.
    Limit,
    /// The session cannot be resumed: say hello without it.
    ResumeLost,
    /// A code of a later protocol.
    Other(String),
}

impl ErrorCode {
    /// The code as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::UnknownVerb => "unknown_verb",
            Self::Unsupported => "unsupported",
            Self::Protocol => "protocol",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Order => "order",
            Self::UnknownUser => "unknown_user",
            Self::Offline => "offline",
            Self::UnknownCall => "unknown_call",
            Self::RepeatedCall => "repeated_call",
            Self::NotOffered => "not_offered",
            Self::RateLimited => "rate_limited",
            Self::Limit => "limit",
            Self::ResumeLost => "resume_lost",
            Self::Other(code) => code,
        }
    }
}

impl From<String> for ErrorCode {
    fn from(text: String) -> Self {
        match text.as_str() {
            "malformed" => Self::Malformed,
            "too_large" => Self::TooLarge,
            "unknown_verb" => Self::UnknownVerb,
            "unsupported" => Self::Unsupported,
            "protocol" => Self::Protocol,
            "unauthorized" => Self::Unauthorized,
            "forbidden" => Self::Forbidden,
            "order" => Self::Order,
            "unknown_user" => Self::UnknownUser,
            "offline" => Self::Offline,
            "unknown_call" => Self::UnknownCall,
            "repeated_call" => Self::RepeatedCall,
            "not_offered" => Self::NotOffered,
            "rate_limited" => Self::RateLimited,
            "limit" => Self::Limit,
            "resume_lost" => Self::ResumeLost,
            _ => Self::Other(text.chars().take(32).collect()),
        }
    }
}

impl From<ErrorCode> for String {
    fn from(code: ErrorCode) -> Self {
        code.as_str().to_owned()
    }
}

/// An error as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// For people; may change at any time.
    #[serde(default)]
    pub message: String,
    /// Seconds after which another try makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

impl Failure {
    /// An error without a time to retry at.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
        }
    }
}

impl From<&MessageError> for Failure {
    fn from(error: &MessageError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
