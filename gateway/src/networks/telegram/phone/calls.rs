//! One call as the service and we know it.

use std::time::Instant;

use grammers_tl_types::{enums, types};

use super::LAYERS;
use crate::networks::{DiscardReason, NetworkCall};

/// How far a call is. Outgoing: looking up, asked, rings there, accepted, confirmed; incoming: offered, ringing, accepted, confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Outgoing: who that is is being asked.
    LookingUp,
    /// Outgoing: the service is asked to call.
    Asked,
    /// Outgoing: a device of the user has it.
    RingsThere,
    /// Incoming: nobody here has said anything.
    Offered,
    /// Incoming: a phone rings.
    Ringing,
    /// One side has taken it: a public value is out.
    Accepted,
    /// There is a key.
    Confirmed,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) account: usize,
    pub(super) is_outgoing: bool,
    pub(super) stage: Stage,
    /// Its number and the key to it at the service, once that has named it.
    pub(super) there: Option<(i64, i64)>,
    pub(super) commitment: [u8; 32],
    pub(super) versions: Vec<String>,
    pub(super) p2p: bool,
    /// The other's number: outgoing, once it is known.
    pub(super) user_id: Option<i64>,
    /// Until when the next step has to come.
    pub(super) until: Option<Instant>,
}

impl Call {
    pub(super) fn outgoing(
        account: usize,
        commitment: [u8; 32],
        versions: Vec<String>,
        p2p: bool,
        until: Instant,
    ) -> Self {
        Self {
            account,
            is_outgoing: true,
            stage: Stage::LookingUp,
            there: None,
            commitment,
            versions,
            p2p,
            user_id: None,
            until: Some(until),
        }
    }

    pub(super) fn incoming(account: usize, there: (i64, i64), user_id: i64, versions: Vec<String>, p2p: bool) -> Self {
        Self {
            account,
            is_outgoing: false,
            stage: Stage::Offered,
            there: Some(there),
            commitment: [0; 32],
            versions,
            p2p,
            user_id: Some(user_id),
            until: None,
        }
    }
}

/// The protocol that we speak.
pub(super) fn protocol(versions: &[String], p2p: bool) -> enums::PhoneCallProtocol {
    types::PhoneCallProtocol {
        udp_p2p: p2p,
        udp_reflector: true,
        min_layer: LAYERS.0,
        max_layer: LAYERS.1,
        library_versions: versions.to_vec(),
    }
    .into()
}

/// Versions of a protocol that are shown, and their length: a hostile service may name any number of anything.
const MAX_SHOWN: usize = 8;
const MAX_VERSION: usize = 16;

/// What a program speaks, for the operator.
pub(super) fn words(protocol: &types::PhoneCallProtocol) -> String {
    let is_version =
        |text: &&String| text.len() <= MAX_VERSION && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let versions = protocol.library_versions.iter().filter(is_version).take(MAX_SHOWN);
    let versions: Vec<&str> = versions.map(String::as_str).collect();
    let listed = if versions.is_empty() {
        "none".to_owned()
    } else {
        versions.join(" ")
    };
    format!(
        "layers {} to {}, versions {listed}",
        protocol.min_layer, protocol.max_layer
    )
}

/// The same random number however often the request is made.
pub(super) fn random_id(call: NetworkCall) -> i32 {
    let [a, b, c, d, ..] = call.0;
    i32::from_le_bytes([a, b, c, d])
}

/// What a call is called here that the service has named.
pub(super) fn call_of(account: usize, id: i64) -> NetworkCall {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    bytes[8..].copy_from_slice(&(account as u64).to_be_bytes());
    NetworkCall(bytes)
}

/// Why a call ends, as the service says it.
pub(super) fn reason_there(reason: DiscardReason) -> enums::PhoneCallDiscardReason {
    match reason {
        DiscardReason::Missed => enums::PhoneCallDiscardReason::Missed,
        DiscardReason::Disconnect | DiscardReason::Incompatible => enums::PhoneCallDiscardReason::Disconnect,
        DiscardReason::Hangup | DiscardReason::Declined => enums::PhoneCallDiscardReason::Hangup,
        DiscardReason::Busy => enums::PhoneCallDiscardReason::Busy,
    }
}

/// The same back; a call that has not been taken is declined by hanging up.
pub(super) fn reason_here(reason: Option<enums::PhoneCallDiscardReason>, is_declined: bool) -> DiscardReason {
    match reason {
        Some(enums::PhoneCallDiscardReason::Missed) => DiscardReason::Missed,
        Some(enums::PhoneCallDiscardReason::Disconnect) => DiscardReason::Disconnect,
        Some(enums::PhoneCallDiscardReason::Busy) => DiscardReason::Busy,
        Some(enums::PhoneCallDiscardReason::Hangup) if is_declined => DiscardReason::Declined,
        Some(enums::PhoneCallDiscardReason::Hangup | enums::PhoneCallDiscardReason::MigrateConferenceCall(_))
        | None => DiscardReason::Hangup,
    }
}
