//! The steps of the key exchange in a leg: commit, accept, reveal. The order is kept by the states, whatever is delivered.

use std::mem;
use std::time::Instant;

use quartet_proto::e2ee::key_exchange::{self, Agreed, Committed, KeyExchangeError};
use quartet_proto::e2ee::{KeyExchange, Negotiation, Role, Version};

use super::{E2eeLeg, State};
use crate::call::leg::{Action, KeyExchangeJob, LegEvent};
use crate::cdr::Cause;
use crate::networks::{CallRequest, CallerDetails, NetworkCommand, Offer};

impl E2eeLeg {
    /// Caller: all secrets are drawn; their commitments go out.
    pub(super) fn request(&mut self, mut drawn: Vec<Committed>) {
        if self.config.codecs.is_empty() {
            return self.over(Cause::Incompatible);
        }
        let offered = &self.config.terms.key_exchanges;
        drawn.sort_by_key(|committed| offered.iter().position(|exchange| *exchange == committed.exchange()));
        let offers = drawn
            .iter()
            .map(|c| Offer {
                exchange: c.exchange(),
                commitment: c.commitment(),
            })
            .collect();
        self.network(NetworkCommand::Request(CallRequest {
            call: self.call,
            from: self.binding.caller.clone(),
            to: self.binding.callee.clone(),
            offers,
            versions: self.config.terms.versions.clone(),
            p2p: self.p2p,
            caller: CallerDetails::default(),
            wait: self.config.wait,
        }));
        self.state = State::Requested { drawn };
    }

    /// Caller: the callee's device took the call.
    pub(super) fn on_accepted(&mut self, exchange: KeyExchange, public: &[u8], version: &str) {
        let State::Requested { drawn } = mem::replace(&mut self.state, State::Ended) else {
            return self.break_order("an accept that answers no request of ours");
        };
        // What is not chosen is dropped here, and wiped.
        let chosen = drawn.into_iter().find(|committed| committed.exchange() == exchange);
        let version = Version::from_name(version).filter(|_| self.config.terms.versions.iter().any(|of| of == version));
        let (Some(chosen), Some(version)) = (chosen, version) else {
            return self.break_order("an accept with an exchange or version that we did not offer");
        };
        self.state = State::Agreeing { version };
        match chosen.on_accept(public, &self.binding) {
            Ok(job) => {
                self.actions
                    .push_back(Action::Compute(self.config.key, KeyExchangeJob::Agree(job)));
                self.events.push_back(LegEvent::Accepted);
                self.want_media();
            }
            Err(error) => self.fail_exchange(&error),
        }
    }

    /// Callee: somebody here took the call.
    pub(super) fn accept(&mut self) {
        let State::Offered { offer, version } = mem::replace(&mut self.state, State::Ended) else {
            return;
        };
        let Some(rng) = &mut self.rng else { return };
        let job = key_exchange::answer(
            offer.exchange,
            offer.commitment,
            &mut **rng,
            &self.config.terms.server_random,
        );
        self.actions
            .push_back(Action::Compute(self.config.key, KeyExchangeJob::Answer(job)));
        self.state = State::Answering { version };
        self.want_media();
    }

    /// Callee: the caller reveals its public value.
    pub(super) fn on_confirmed(&mut self, public: &[u8], fingerprint: i64) {
        let State::Accepted { answered, version } = mem::replace(&mut self.state, State::Ended) else {
            return self.break_order("a confirm that answers no accept of ours");
        };
        self.state = State::Agreeing { version };
        match answered.on_confirm(public, fingerprint, &self.binding) {
            Ok(job) => self
                .actions
                .push_back(Action::Compute(self.config.key, KeyExchangeJob::Agree(job))),
            Err(error) => self.fail_exchange(&error),
        }
    }

    /// There is a key: the caller reveals, both begin to negotiate, once the network has named the servers if it does.
    pub(super) fn on_key(&mut self, now: Instant, agreed: Agreed, version: Version) {
        self.state = State::Negotiating;
        if self.role == Role::Caller {
            self.network(NetworkCommand::Confirm {
                call: self.call,
                public: agreed.public.clone(),
                fingerprint: agreed.fingerprint,
            });
        }
        self.events.push_back(LegEvent::Emojis(agreed.emojis));
        if self.config.terms.brings_servers && self.servers.is_none() {
            self.awaiting_servers = Some((agreed, version));
        } else {
            self.negotiate(now, agreed, version);
        }
    }

    /// Begins the encrypted signalling, in the version that the network wants if it has the last word.
    pub(super) fn negotiate(&mut self, now: Instant, agreed: Agreed, version: Version) {
        let wanted = self.servers.as_ref().and_then(|servers| servers.version.as_deref());
        let Some(version) = wanted.map_or(Some(version), Version::from_name) else {
            return self.fail(Cause::Incompatible);
        };
        let Some(rng) = self.rng.take() else { return };
        self.negotiation = Some(Negotiation::new(now, self.role, version, agreed.key, rng));
        for packet in mem::take(&mut self.early_packets) {
            if let Some(negotiation) = &mut self.negotiation {
                negotiation.handle_input(now, &packet);
            }
        }
        self.start(now);
        self.follow_negotiation(now);
    }

    pub(super) fn fail_exchange(&mut self, error: &KeyExchangeError) {
        tracing::warn!(call = %self.call, %error, "key exchange refused");
        self.fail(Cause::KeyExchange);
    }

    pub(super) fn break_order(&mut self, what: &str) {
        tracing::warn!(call = %self.call, what, "the network delivered something out of order");
        self.fail(Cause::KeyExchange);
    }
}
