//! The servers that a hub has for the media of a call: each party is told them with the other's key.

use quartet_proto::hub::{self as wire, IceServer};
use zeroize::Zeroizing;

use super::Adapter;
use crate::config::{IceService, IceUrl};
use crate::networks::{NetworkCall, NetworkEvent, Reflector, Secret, Servers, TurnServer};

/// Addresses that are used: each is a connection or a name to look up, and a hub may name as many as fit a frame.
const MAX_ADDRESSES: usize = 8;

impl Adapter {
    /// The hub names the servers of a call, if it has any.
    pub(super) fn on_servers(
        &mut self,
        call: NetworkCall,
        ice_servers: &[IceServer],
        reflectors: Vec<wire::Reflector>,
    ) {
        if !ice_servers.is_empty() || !reflectors.is_empty() {
            let servers = Box::new(read(ice_servers, reflectors));
            self.events.push_back(NetworkEvent::Servers { call, servers });
        }
    }
}

/// What of it can be used.
pub(super) fn read(told: &[IceServer], reflectors: Vec<wire::Reflector>) -> Servers {
    let mut servers = Servers {
        p2p: true,
        ..Servers::default()
    };
    let addresses = told.iter().flat_map(|server| {
        let urls = server.urls.iter().filter_map(|url| url.parse::<IceUrl>().ok());
        urls.map(move |url| (server, url))
    });
    for (server, url) in addresses.take(MAX_ADDRESSES) {
        match (url.service, &server.username, &server.credential) {
            (IceService::Stun, ..) => servers.stun.push((url.host, url.port)),
            (IceService::Turn(via), Some(username), Some(password)) => servers.turn.push(TurnServer {
                host: url.host,
                port: url.port,
                via,
                username: username.clone(),
                password: Secret(Zeroizing::new(password.clone().into_bytes())),
            }),
            // A relay wants to know who we are, and a reflector comes with a tag.
            (IceService::Turn(_) | IceService::Reflector(_) | IceService::Plugin(_), ..) => {}
        }
    }
    let usable = reflectors.into_iter().take(MAX_ADDRESSES).map(|reflector| Reflector {
        id: reflector.id.into(),
        host: reflector.host,
        port: reflector.port,
        tag: Zeroizing::new(reflector.peer_tag.0),
        tcp: reflector.tcp,
    });
    servers.reflectors = usable.collect();
    servers
}
