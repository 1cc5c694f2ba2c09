//! What an E2EE leg is made from.

use quartet_proto::sdp::Codec;

use crate::media::{Bind, LegKey, Relay};
use crate::networks::{NetworkCall, NetworkId, Terms};

/// How an E2EE leg meets the world.
#[derive(Clone, Debug)]
pub struct E2eeLegConfig {
    /// Its key, here and in media.
    pub key: LegKey,
    /// The network of the user.
    pub network: NetworkId,
    /// What that lets its calls do.
    pub terms: Terms,
    /// Where its sockets are bound.
    pub bind: Bind,
    /// The servers of the operator; those that the network names come to them.
    pub relays: Vec<Relay>,
    /// Host and port of servers that the operator has named, which may be on this machine also where the network names them.
    pub own_servers: Vec<(String, u16)>,
    /// Whether media goes over those of the operator alone, whatever the network names.
    pub is_stacked: bool,
    /// Whether the user learns no address of ours: media goes over relays alone.
    pub relay_only: bool,
    /// How long a call of ours may wait for its turn at the network.
    pub wait: std::time::Duration,
    /// The codecs we send, best first; empty if no plugin serves one.
    pub codecs: Vec<Codec>,
    /// The stream that we announce.
    pub ssrc: u32,
    /// The leg whose worker it shares.
    pub same_worker_as: Option<LegKey>,
}

/// What a leg that calls a user needs to know.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The call's name on the network, fresh and random.
    pub call: NetworkCall,
    /// Who calls: an extension of ours.
    pub from: String,
    /// Whom.
    pub to: String,
}
