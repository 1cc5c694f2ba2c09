//! The verbs with fields of their own: requests of both sides, answers, and calls taken up again.

use std::time::{Duration, Instant};

use quartet_proto::hub as wire;
use quartet_proto::hub::{ExchangeName, Name, Request, Version};

use super::order::{Call, Step};
use super::words::id_of;
use super::{Adapter, Kind};
use crate::networks::{
    CallRequest, CallerDetails, DiscardReason, KeyExchange, NetworkCall, NetworkEvent, Offer, Refusal,
};

impl Adapter {
    /// Somebody calls the gateway.
    pub(super) fn requested(&mut self, now: Instant, call: NetworkCall, body: wire::CallRequest) {
        let Some(from) = body.from.filter(|_| body.to.account() == self.account.as_str()) else {
            return self.drop_frame();
        };
        let mut offers: Vec<Offer> = Vec::new();
        for offer in body.exchanges {
            if let Some(exchange) = offer.name.known()
                && !offers.iter().any(|known| known.exchange == exchange)
            {
                offers.push(Offer {
                    exchange,
                    commitment: offer.commitment.0,
                });
            }
        }
        let versions: Vec<String> = body.library_versions.into_iter().map(String::from).collect();
        let exchanges = offers.iter().map(|offer| offer.exchange).collect();
        if !self.calls.insert(
            call,
            Call::incoming(from.as_str().to_owned(), exchanges, versions.clone()),
        ) {
            return self.send_discard(now, call, DiscardReason::Busy, Duration::ZERO);
        }
        let (from, to) = (from.into(), body.to.into());
        self.events.push_back(NetworkEvent::Requested(CallRequest {
            call,
            from,
            to,
            offers,
            versions,
            p2p: body.udp_p2p,
            caller: CallerDetails::default(),
            wait: Duration::ZERO,
        }));
    }

    /// Takes up the calls that have a key; whoever of the two comes second has them live again.
    pub(super) fn rejoin(&mut self, now: Instant) {
        for (call, peer) in self.calls.rejoin() {
            let peer = peer.and_then(|peer| Name::new(peer).ok());
            if let Some(peer) = peer {
                self.send_rejoin(now, call, peer);
            } else if self.calls.end(call) {
                self.refuse(call, Refusal::Lost);
            }
        }
    }

    pub(super) fn send_rejoin(&mut self, now: Instant, call: NetworkCall, peer: Name) {
        let body = wire::CallRejoin {
            call: id_of(call),
            peer,
        };
        self.send(now, call, Kind::Rejoin, Request::CallRejoin(body));
    }

    /// Our own request, checked before the hub sees it.
    pub(super) fn request(&mut self, now: Instant, request: CallRequest) {
        let CallRequest {
            call,
            from,
            to,
            offers,
            versions,
            p2p: udp_p2p,
            ..
        } = request;
        let Ok(to) = Name::new(to) else {
            return self.refuse(call, Refusal::UnknownUser);
        };
        let Some(from) = Name::new(from)
            .ok()
            .filter(|from| from.account() == self.account.as_str())
        else {
            return self.refuse(
                call,
                Refusal::Protocol("the caller's name is none of this account".to_owned()),
            );
        };
        let library_versions: Vec<Version> = versions
            .iter()
            .filter_map(|version| Version::new(version.as_str()).ok())
            .collect();
        let fits = (1..=wire::MAX_EXCHANGES).contains(&offers.len())
            && (1..=wire::MAX_VERSIONS).contains(&library_versions.len());
        let exchanges = offers.iter().map(|offer| offer.exchange).collect();
        if !fits {
            return self.refuse(call, Refusal::Protocol("no exchange or no version to offer".to_owned()));
        }
        if !self
            .calls
            .insert(call, Call::outgoing(to.as_str().to_owned(), exchanges, versions))
        {
            return self.refuse(
                call,
                Refusal::Protocol("the call id was used before, or too many calls".to_owned()),
            );
        }
        let exchanges = offers.into_iter().map(|offer| wire::OfferedExchange {
            name: offer.exchange.into(),
            commitment: wire::Commitment(offer.commitment),
        });
        let body = wire::CallRequest {
            call: id_of(call),
            from: Some(from),
            to,
            exchanges: exchanges.collect(),
            library_versions,
            udp_p2p,
        };
        self.send(now, call, Kind::Request, Request::CallRequest(body));
    }

    pub(super) fn accept(
        &mut self,
        now: Instant,
        call: NetworkCall,
        exchange: KeyExchange,
        public: Vec<u8>,
        version: String,
    ) {
        if self.calls.command(call, Step::Receive) {
            let body = wire::CallReceived { call: id_of(call) };
            self.send(now, call, Kind::Vital, Request::CallReceived(body));
        }
        let offered = self.calls.offered(call, exchange, &version);
        let parts = wire::PublicValue::new(public)
            .zip(Version::new(version).ok())
            .filter(|_| offered);
        let Some((public, library_version)) = parts else {
            return self.fail(now, call, "the answer does not fit the request");
        };
        if self.calls.command(call, Step::Accept) {
            let exchange = ExchangeName::from(exchange);
            let body = wire::CallAccept {
                call: id_of(call),
                exchange,
                library_version,
                public,
                ice_servers: Vec::new(),
                reflectors: Vec::new(),
            };
            self.send(now, call, Kind::Vital, Request::CallAccept(body));
        }
    }
}
