//! The media of a leg: where its sockets are bound, which servers it uses, and that it is begun anew.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use quartet_proto::e2ee::Role;

use super::{E2eeLeg, State};
use crate::call::leg::Action;
use crate::media::{self as command, Bind, IceService, MediaCommand, Relay, Sink, Via};
use crate::networks::Servers;

/// Media that is not up by then is begun anew, and as often: servers that have not answered are asked again.
const TRY_AGAIN: Duration = Duration::from_secs(8);

/// How far the media leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaLeg {
    /// The call was not taken.
    None,
    /// The network is to say first which servers there are, and whether media may go straight.
    Wanted,
    /// It is there.
    Open,
}

impl E2eeLeg {
    /// The negotiation begins: from now on media can come up.
    pub(super) fn await_media(&mut self, now: Instant) {
        if !self.transport_up {
            self.try_again = Some(now + TRY_AGAIN);
        }
    }

    /// Media has not come up: another generation of ICE, and all servers that gave nothing.
    pub(super) fn begin_media_anew(&mut self, now: Instant) {
        self.try_again = Some(now + TRY_AGAIN);
        let leg = self.config.key;
        self.actions.push_back(Action::Media(MediaCommand::Restart { leg }));
        self.use_relays();
    }

    /// The call was taken: media begins, as soon as it is known which ways it may go.
    pub(super) fn want_media(&mut self) {
        if self.config.terms.brings_servers && self.servers.is_none() {
            self.media = MediaLeg::Wanted;
        } else {
            self.open_media();
        }
    }

    pub(super) fn open_media(&mut self) {
        self.media = MediaLeg::Open;
        let role = match self.role {
            Role::Caller => command::Role::Offer,
            Role::Callee => command::Role::Answer,
        };
        self.actions.push_back(Action::Media(MediaCommand::Open {
            leg: self.config.key,
            same_worker_as: self.config.same_worker_as,
            transport: self.config.terms.transport.clone(),
            sink: Sink::Adaptive,
            role,
            bind: self.config.bind.clone(),
            options: String::new(),
            relay_only: self.config.relay_only || self.config.is_stacked || !self.p2p,
        }));
        self.use_relays();
    }

    /// The machine has other addresses. Loopback is no way out of it, where there was one.
    pub(super) fn rebind(&mut self, mut bind: Bind) {
        let was_here = self.config.bind.addresses.iter().any(IpAddr::is_loopback);
        bind.addresses.retain(|ip| was_here || !ip.is_loopback());
        if bind == self.config.bind || matches!(self.state, State::Ended) {
            return;
        }
        self.config.bind = bind.clone();
        if self.media == MediaLeg::Open {
            let leg = self.config.key;
            self.actions
                .push_back(Action::Media(MediaCommand::Rebind { leg, bind }));
            // Those that are left keep what they have.
            self.use_relays();
        }
    }

    /// Lets media use the servers of the operator and of the network; those that it uses already stay as they are.
    pub(super) fn use_relays(&mut self) {
        let named = self.servers.iter().filter(|_| !self.config.is_stacked);
        let named = named.flat_map(Servers::relays).map(|mut relay| {
            let is_it = |(host, port): &(String, u16)| *host == relay.host && *port == relay.port;
            relay.may_be_here = self.config.own_servers.iter().any(is_it);
            relay
        });
        let mut relays: Vec<Relay> = self.config.relays.iter().cloned().chain(named).collect();
        // A TURN server over UDP says as which address it sees us, too.
        let of_turn: Vec<_> = relays
            .iter()
            .filter(|relay| relay.service == IceService::Turn(Via::Udp))
            .map(|relay| (relay.host.clone(), relay.port))
            .collect();
        relays.retain(|relay| relay.service.is_relay() || !of_turn.contains(&(relay.host.clone(), relay.port)));
        for relay in relays {
            let leg = self.config.key;
            self.actions
                .push_back(Action::Media(MediaCommand::Relay { leg, relay }));
        }
    }
}
