//! A call that we place: by which account, to whom, and the request of it.

use std::time::Instant;

use grammers_tl_types::{Serializable as _, functions, types};

use super::calls::{self, Call, Stage};
use super::dial::{self, Dialled};
use super::{ANSWER, Phone, What, errors};
use crate::networks::{CallRequest, DiscardReason, KeyExchange, NetworkCall, NetworkEvent, Refusal};

impl Phone {
    /// The accounts of that name: one, or those of a pool.
    pub(super) fn candidates(&self, place: &str) -> Vec<usize> {
        let named = self.lines.iter().position(|line| line.name() == place);
        let pool = || self.pools.get(place).cloned().unwrap_or_default();
        named.map_or_else(pool, |account| vec![account])
    }

    /// The account that calls that user: of those that may, the one that has called least.
    fn choose(&mut self, now: Instant, place: &str, user: &Dialled) -> Result<usize, Refusal> {
        let candidates = self.candidates(place);
        let mut worst: Option<Refusal> = None;
        let mut best: Option<(usize, usize)> = None;
        for account in candidates {
            match self.lines[account].may_call(now, user) {
                Ok(made) if best.is_none_or(|(least, _)| made < least) => best = Some((made, account)),
                Ok(_) => {}
                // One that is only busy is the better news, then the one that may call soonest.
                Err(why) => {
                    worst = Some(match worst {
                        Some(before) => errors::milder(before, why),
                        None => why,
                    });
                }
            }
        }
        best.map(|(_, account)| account)
            .ok_or(worst.unwrap_or(Refusal::UnknownUser))
    }

    /// Those that wait are placed in their order, as soon as an account is free.
    pub(super) fn serve_queue(&mut self, now: Instant) {
        for (until, request) in std::mem::take(&mut self.queue) {
            self.place(now, request, Some(until));
        }
    }

    pub(super) fn request(&mut self, now: Instant, request: CallRequest) {
        self.place(now, request, None);
    }

    /// Places a call, or has it wait for its turn; `until`: it waits already.
    fn place(&mut self, now: Instant, request: CallRequest, until: Option<Instant>) {
        let call = request.call;
        let refuse = |why| NetworkEvent::Refused { call, why };
        let Some((place, user)) = dial::split(&request.to) else {
            return self.events.push_back(refuse(Refusal::UnknownUser));
        };
        let commitment = request
            .offers
            .iter()
            .find(|offer| offer.exchange == KeyExchange::Dh2048);
        let Some(commitment) = commitment.map(|offer| offer.commitment) else {
            return self.events.push_back(refuse(Refusal::Protocol(
                "no exchange that this network has".to_owned(),
            )));
        };
        let account = match self.choose(now, place, &user) {
            Ok(account) if !self.calls.contains_key(&call) => account,
            Ok(_) => return,
            Err(Refusal::Busy) if now < until.unwrap_or(now + request.wait) => {
                if until.is_none() {
                    self.events.push_back(NetworkEvent::Queued { call });
                }
                return self.queue.push_back((until.unwrap_or(now + request.wait), request));
            }
            Err(why) => return self.events.push_back(refuse(why)),
        };
        let line = &mut self.lines[account];
        line.call = Some(call);
        let peer = line.peer(&user);
        self.calls.insert(
            call,
            Call::outgoing(account, commitment, request.versions, request.p2p, now + ANSWER),
        );
        match peer {
            Some(peer) => self.request_call(now, call, peer),
            None => self.look_up(now, call, user),
        }
    }

    /// Asks the service who that is.
    fn look_up(&mut self, now: Instant, call: NetworkCall, user: Dialled) {
        let Some(account) = self.calls.get(&call).map(|call| call.account) else {
            return;
        };
        let body = match &user {
            Dialled::Name(username) => functions::contacts::ResolveUsername {
                username: username.clone(),
                referer: None,
            }
            .to_bytes(),
            Dialled::Number(phone) => functions::contacts::ResolvePhone { phone: phone.clone() }.to_bytes(),
            // Without its key a number alone says nothing, and asking for it is no use.
            Dialled::Id(_) => return self.fail(now, call, Refusal::UnknownUser, DiscardReason::Hangup),
        };
        self.lines[account].lookups.make(now);
        self.ask(now, account, What::Resolve(call, user), body);
    }

    pub(super) fn request_call(&mut self, now: Instant, id: NetworkCall, (user_id, access_hash): (i64, i64)) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        (call.stage, call.user_id) = (Stage::Asked, Some(user_id));
        let body = functions::phone::RequestCall {
            video: false,
            user_id: types::InputUser { user_id, access_hash }.into(),
            random_id: calls::random_id(id),
            g_a_hash: call.commitment.to_vec(),
            protocol: calls::protocol(&call.versions, call.p2p),
        };
        let account = call.account;
        self.lines[account].calls.make(now);
        self.ask(now, account, What::Request(id), body.to_bytes());
    }
}
