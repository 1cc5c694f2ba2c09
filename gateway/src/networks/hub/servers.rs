//! The servers that a hub has for the media of calls: asked for with each call, since their passwords age.

use std::time::Instant;

use quartet_proto::hub::{IceServer, IceServers, Request};
use zeroize::Zeroizing;

use super::{Adapter, Kind, Pending};
use crate::config::IceUrl;
use crate::networks::{NetworkCall, NetworkEvent, Secret, Servers, TurnServer};

/// Addresses that are used: each is a connection or a name to look up, and a hub may name as many as fit a frame.
const MAX_ADDRESSES: usize = 8;

impl Adapter {
    /// Asks for the servers of a call, if the hub has any.
    pub(super) fn ask_servers(&mut self, now: Instant, call: NetworkCall) {
        if self.has_servers {
            self.send(now, call, Kind::Servers, Request::IceServers);
        }
    }

    /// The hub names them.
    pub(super) fn on_servers(&mut self, pending: &Pending, servers: &IceServers) {
        let call = pending.call;
        if pending.kind == Kind::Servers && self.calls.contains(call) {
            let servers = Box::new(read(&servers.ice_servers));
            self.events.push_back(NetworkEvent::Servers { call, servers });
        }
    }
}

/// What of it can be used.
pub(super) fn read(told: &[IceServer]) -> Servers {
    let mut servers = Servers {
        p2p: true,
        ..Servers::default()
    };
    let addresses = told.iter().flat_map(|server| {
        let urls = server.urls.iter().filter_map(|url| url.parse::<IceUrl>().ok());
        urls.map(move |url| (server, url))
    });
    for (server, url) in addresses.take(MAX_ADDRESSES) {
        match (url.turn, &server.username, &server.credential) {
            (None, ..) => servers.stun.push((url.host, url.port)),
            (Some(via), Some(username), Some(password)) => servers.turn.push(TurnServer {
                host: url.host,
                port: url.port,
                via,
                username: username.clone(),
                password: Secret(Zeroizing::new(password.clone().into_bytes())),
            }),
            // A relay wants to know who we are.
            (Some(_), ..) => {}
        }
    }
    servers
}
