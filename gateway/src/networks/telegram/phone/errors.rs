//! What an error of the service means for a call.

use std::time::Duration;

use super::super::frame::RpcError;
use crate::networks::Refusal;

/// Why a call cannot be, by the error that a request of it drew.
pub(super) fn refusal(error: &RpcError) -> Refusal {
    if let Some(retry_after) = wait(error) {
        return Refusal::RateLimited { retry_after };
    }
    match (error.code, error.name.as_str()) {
        (0, _) => Refusal::Lost,
        (
            _,
            "USERNAME_NOT_OCCUPIED"
            | "USERNAME_INVALID"
            | "PHONE_NOT_OCCUPIED"
            | "USER_ID_INVALID"
            | "INPUT_USER_DEACTIVATED"
            | "PEER_ID_INVALID",
        ) => Refusal::UnknownUser,
        (_, "USER_IS_BLOCKED" | "USER_PRIVACY_RESTRICTED" | "YOU_BLOCKED_USER") => Refusal::Forbidden,
        (_, "CALL_OCCUPY_FAILED") => Refusal::Busy,
        (_, "PARTICIPANT_VERSION_OUTDATED" | "CALL_PROTOCOL_COMPAT_LAYER_INVALID") => Refusal::Incompatible,
        (_, "CALL_ALREADY_DECLINED" | "CALL_ALREADY_ACCEPTED" | "CALL_PEER_INVALID") => Refusal::Lost,
        _ => Refusal::Protocol(error.name.clone()),
    }
}

/// How long the service wants us to ask for nothing of that kind.
pub(super) fn wait(error: &RpcError) -> Option<Duration> {
    match (error.code, error.name.as_str()) {
        (420, _) => Some(Duration::from_secs(u64::from(error.value.unwrap_or(60)))),
        (_, "PEER_FLOOD") => Some(super::budget::PEER_FLOOD),
        _ => None,
    }
}

/// Whether the login is gone.
pub(super) fn is_logged_out(error: &RpcError) -> bool {
    error.code == 401
        || matches!(
            error.name.as_str(),
            "AUTH_KEY_UNREGISTERED" | "AUTH_KEY_DUPLICATED" | "SESSION_REVOKED" | "USER_DEACTIVATED"
        )
}

/// Of the reasons why no account of a pool may call, the one that says most: busy before one that has to wait, the shortest wait first.
pub(super) fn milder(before: Refusal, why: Refusal) -> Refusal {
    match (&before, &why) {
        (Refusal::RateLimited { retry_after: a }, Refusal::RateLimited { retry_after: b }) if b < a => why,
        (Refusal::Busy, _) | (Refusal::RateLimited { .. }, Refusal::RateLimited { .. } | Refusal::Lost) => before,
        (_, Refusal::Busy | Refusal::RateLimited { .. }) => why,
        _ => before,
    }
}
