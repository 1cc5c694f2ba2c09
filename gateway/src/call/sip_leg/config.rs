//! What a phone's leg is made from.

use std::net::IpAddr;
use std::sync::Arc;

use quartet_proto::net::{External, FiveTuple};
use quartet_proto::sdp::LocalCodec;
use quartet_proto::sip::{Credentials, NameAddr, Uri};

use crate::call::CallKey;
use crate::config::VerifyMode;
use crate::media::{Bind, LegKey};
use crate::plugins::Registry;

/// What an INVITE to a trunk needs beside that to a phone.
#[derive(Clone, Debug)]
pub struct TrunkTerms {
    /// Its name.
    pub name: String,
    /// Our account there.
    pub credentials: Option<Credentials>,
    /// Where else it is, in order.
    pub alternates: Vec<(String, FiveTuple)>,
    /// Who calls, if `P-Asserted-Identity` says it.
    pub identity: Option<NameAddr>,
}

/// How a phone's leg meets the world.
#[derive(Clone, Debug)]
pub struct SipLegConfig {
    /// Its key, here and in media.
    pub key: LegKey,
    /// The call it is in: the phone's side of it says so too.
    pub call: Option<CallKey>,
    /// Where its sockets are bound.
    pub bind: Bind,
    /// Where its signalling comes from.
    pub signalling_peer_ip: IpAddr,
    /// What it is told in place of our address, if it is outside.
    pub external: External,
    /// The codecs of the phone, best first, that a plugin serves.
    pub codecs: Vec<LocalCodec>,
    /// The leg whose worker it shares; `None` if that one comes to this.
    pub same_worker_as: Option<LegKey>,
    /// The transport of its media.
    pub transport: String,
    /// Our stream.
    pub ssrc: u32,
    /// Makes our descriptions unique.
    pub session_id: u64,
    /// The phone's account.
    pub user: String,
    /// The language of its prompts.
    pub language: String,
    /// How its calls are verified.
    pub verify: VerifyMode,
    /// Of a trunk: what its INVITE needs.
    pub trunk: Option<TrunkTerms>,
    /// Header fields for its INVITE: what is known of the caller.
    pub caller_headers: Vec<(&'static str, String)>,
    /// The address of the person at the other end, for displays.
    pub peer: Uri,
    /// Knows what codecs make of each other's parameters.
    pub registry: Arc<Registry>,
}
