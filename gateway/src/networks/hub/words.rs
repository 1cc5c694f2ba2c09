//! The words of the core in the words of the hub protocol, and back.

use std::time::Duration;

use quartet_proto::hub as wire;
use quartet_proto::hub::{ErrorCode, Failure};

use crate::networks::{DiscardReason, NetworkCall, Refusal};

/// The call's id on the wire.
pub(super) fn id_of(call: NetworkCall) -> wire::CallId {
    wire::CallId(call.0)
}

/// What an error of the hub means to the core.
pub(super) fn refusal(failure: Failure) -> Refusal {
    match failure.code {
        ErrorCode::UnknownUser => Refusal::UnknownUser,
        ErrorCode::Offline => Refusal::Offline,
        ErrorCode::Forbidden | ErrorCode::Unauthorized => Refusal::Forbidden,
        // As many calls as there may be: nobody knows when there will be fewer.
        ErrorCode::Limit if failure.retry_after.is_none() => Refusal::Busy,
        ErrorCode::RateLimited if failure.retry_after.is_none() => Refusal::TooOften,
        ErrorCode::RateLimited | ErrorCode::Limit => {
            let seconds = failure.retry_after.unwrap_or(30);
            Refusal::RateLimited {
                retry_after: Duration::from_secs(seconds.into()),
            }
        }
        ErrorCode::Malformed
        | ErrorCode::TooLarge
        | ErrorCode::UnknownVerb
        | ErrorCode::Unsupported
        | ErrorCode::Protocol
        | ErrorCode::Order
        | ErrorCode::UnknownCall
        | ErrorCode::RepeatedCall
        | ErrorCode::NotOffered
        | ErrorCode::ResumeLost
        | ErrorCode::Other(_) => Refusal::Protocol(failure.code.as_str().to_owned()),
    }
}

impl From<DiscardReason> for wire::DiscardReason {
    fn from(reason: DiscardReason) -> Self {
        match reason {
            DiscardReason::Missed => Self::Missed,
            DiscardReason::Disconnect => Self::Disconnect,
            DiscardReason::Hangup => Self::Hangup,
            DiscardReason::Busy => Self::Busy,
            DiscardReason::Declined => Self::Declined,
            DiscardReason::Incompatible => Self::Incompatible,
        }
    }
}

impl From<wire::DiscardReason> for DiscardReason {
    fn from(reason: wire::DiscardReason) -> Self {
        match reason {
            wire::DiscardReason::Missed => Self::Missed,
            wire::DiscardReason::Disconnect => Self::Disconnect,
            wire::DiscardReason::Hangup => Self::Hangup,
            wire::DiscardReason::Busy => Self::Busy,
            wire::DiscardReason::Declined => Self::Declined,
            wire::DiscardReason::Incompatible => Self::Incompatible,
        }
    }
}
