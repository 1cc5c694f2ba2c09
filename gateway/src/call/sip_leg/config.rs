//! What a phone's leg is made from.

use std::net::IpAddr;
use std::sync::Arc;

use quartet_proto::net::{External, FiveTuple};
use quartet_proto::sdp::{LocalCodec, Srtp};
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

/// A way in which a phone's media can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaWay {
    /// The session transport.
    pub transport: String,
    /// Where its sockets are bound.
    pub bind: Bind,
}

/// How a phone's leg meets the world.
#[derive(Clone, Debug)]
pub struct SipLegConfig {
    /// Its key, here and in media.
    pub key: LegKey,
    /// The call it is in: the phone's side of it says so too.
    pub call: Option<CallKey>,
    /// Its media, as it is configured.
    pub media: MediaWay,
    /// Its media if the keys come from a handshake (DTLS-SRTP), where that can be.
    pub dtls: Option<MediaWay>,
    /// Whether we offer that; who calls us says itself what it wants.
    pub offers_dtls: bool,
    /// Whether other media is encrypted.
    pub srtp: Srtp,
    /// Where its signalling comes from.
    pub signalling_peer_ip: IpAddr,
    /// What it is told in place of our address, if it is outside.
    pub external: External,
    /// The codecs of the phone, best first, that a plugin serves.
    pub codecs: Vec<LocalCodec>,
    /// The leg whose worker it shares; `None` if that one comes to this.
    pub same_worker_as: Option<LegKey>,
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
