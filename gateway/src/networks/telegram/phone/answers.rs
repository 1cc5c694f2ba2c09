//! What the service answers.

use std::time::{Duration, Instant};

use grammers_tl_types::{Deserializable as _, Serializable as _, enums, functions, types};
use quartet_proto::e2ee::key_exchange::is_known_group;

use super::account::{Left, Standing};
use super::dial::Dialled;
use super::{Asked, Phone, Stage, What, errors};
use crate::networks::telegram::frame::RpcError;
use crate::networks::{DiscardReason, NetworkCall, Refusal};

impl Phone {
    pub(super) fn answered(&mut self, now: Instant, asked: Asked, body: &[u8]) {
        let account = asked.account;
        match asked.what {
            What::Config => {
                if let Ok(enums::Config::Config(config)) = enums::Config::from_bytes(body) {
                    let in_ms = |ms: i32, usual: Duration| u64::try_from(ms).map_or(usual, Duration::from_millis);
                    let timers = &mut self.lines[account].timers;
                    timers.receive = in_ms(config.call_receive_timeout_ms, timers.receive);
                    timers.ring = in_ms(config.call_ring_timeout_ms, timers.ring);
                }
            }
            What::DhConfig => self.on_group(account, body),
            What::Resolve(call, user) => self.on_resolved(now, call, &user, body),
            What::Import(call, user) => self.on_imported(now, call, &user, body),
            What::Request(call) => match enums::phone::PhoneCall::from_bytes(body) {
                Ok(enums::phone::PhoneCall::Call(answer)) => self.on_named(now, account, call, answer.phone_call),
                Err(_) => self.not_understood(now, call),
            },
            What::Confirm(call) => match enums::phone::PhoneCall::from_bytes(body) {
                Ok(enums::phone::PhoneCall::Call(answer)) => self.on_phone_call(now, account, answer.phone_call),
                Err(_) => self.not_understood(now, call),
            },
            What::Vital(_) | What::Signal(_) | What::Discard(_) | What::Nothing => {}
        }
    }

    /// The service has refused, or was not reached. Nothing is asked again by itself: each request costs the account something.
    pub(super) fn refused(&mut self, now: Instant, asked: Asked, error: &RpcError) {
        let account = asked.account;
        if errors::is_logged_out(error) {
            return self.log_out(account, error.name.clone());
        }
        let line = &mut self.lines[account];
        let wait = errors::wait(error);
        if let Some(wait) = wait {
            tracing::warn!(
                account = line.name(),
                error = error.name,
                seconds = wait.as_secs(),
                "the service wants a pause"
            );
        }
        match (&asked.what, wait) {
            (What::Resolve(..) | What::Import(..), Some(wait)) => line.lookups.flooded(now, wait),
            (What::Request(_), Some(wait)) => line.calls.flooded(now, wait),
            _ => {}
        }
        match asked.what {
            // Nobody of that number in the service's own book: that may also be his privacy. A contact would show him.
            What::Resolve(call, user @ Dialled::Number(_)) if error.name == "PHONE_NOT_OCCUPIED" => {
                self.import(now, account, call, user);
            }
            What::Resolve(call, _)
            | What::Import(call, _)
            | What::Request(call)
            | What::Vital(call)
            | What::Confirm(call) => {
                if wait.is_none() {
                    tracing::info!(
                        account = self.lines[account].name(),
                        code = error.code,
                        error = error.name,
                        "the service refuses a call"
                    );
                }
                if let Some(call) = self.calls.get_mut(&call).filter(|call| call.stage == Stage::Asked) {
                    // It does not know the call; and the key to a user may be too old.
                    call.stage = Stage::LookingUp;
                    if let Some(user_id) = call.user_id.filter(|_| error.name.ends_with("_ID_INVALID")) {
                        self.lines[account].forget(user_id);
                    }
                }
                self.fail(now, call, errors::refusal(error), DiscardReason::Disconnect);
            }
            // Not refused, but not heard.
            What::Discard(left) if error.code == 0 => {
                self.lines[account].left.push(left);
                self.keep(account);
            }
            // One packet is lost, which signalling survives.
            What::Signal(_) | What::Discard(_) | What::Config | What::DhConfig | What::Nothing => {
                tracing::debug!(code = error.code, error = error.name, "the service refuses");
            }
        }
    }

    /// The login is gone: calls go on, for media needs no service, and end by themselves; no new one begins.
    pub(super) fn log_out(&mut self, account: usize, why: String) {
        let line = &mut self.lines[account];
        if line.standing == Standing::Out {
            return;
        }
        line.standing = Standing::Out;
        let name = line.name().to_owned();
        tracing::error!(
            account = name,
            why,
            "the login is gone: run `quartet login telegram.{name}`; nothing is tried until then"
        );
        let asked: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.account == account)
            .map(|(number, _)| *number)
            .collect();
        for number in asked {
            if let Some(call) = self.asked.remove(&number).and_then(|asked| asked.what.call())
                && self.calls.get(&call).is_some_and(|call| call.stage != Stage::Confirmed)
                && self.end(call).is_some()
            {
                self.events.push_back(crate::networks::NetworkEvent::Refused {
                    call,
                    why: Refusal::Lost,
                });
            }
        }
    }

    fn not_understood(&mut self, now: Instant, call: NetworkCall) {
        let why = Refusal::Protocol("an answer that is not understood".to_owned());
        self.fail(now, call, why, DiscardReason::Disconnect);
    }

    fn on_group(&mut self, account: usize, body: &[u8]) {
        let line = &mut self.lines[account];
        let random = match enums::messages::DhConfig::from_bytes(body) {
            Ok(enums::messages::DhConfig::Config(config)) => {
                line.is_group_known = is_known_group(&config.p, config.g);
                line.dh_version = config.version;
                config.random
            }
            Ok(enums::messages::DhConfig::NotModified(same)) => same.random,
            Err(_) => return,
        };
        if !line.is_group_known {
            tracing::error!(
                account = line.name(),
                "the service wants a group for the key exchange that is not the known one; no call is made"
            );
        }
        line.dh_random = random.try_into().ok().map(Box::new);
    }

    fn on_resolved(&mut self, now: Instant, call: NetworkCall, user: &Dialled, body: &[u8]) {
        let found = match enums::contacts::ResolvedPeer::from_bytes(body) {
            Ok(enums::contacts::ResolvedPeer::Peer(peer)) => match peer.peer {
                enums::Peer::User(id) => peer_of(&peer.users, Some(id.user_id)),
                // A channel or a group.
                enums::Peer::Chat(_) | enums::Peer::Channel(_) => None,
            },
            Err(_) => return self.not_understood(now, call),
        };
        self.found(now, call, user, found);
    }

    fn found(&mut self, now: Instant, call: NetworkCall, user: &Dialled, found: Option<(i64, i64)>) {
        let Some(account) = self.calls.get(&call).map(|call| call.account) else {
            return;
        };
        match found {
            Some(peer) => {
                self.lines[account].meet(user, peer);
                self.request_call(now, call, peer);
            }
            None => self.fail(now, call, Refusal::UnknownUser, DiscardReason::Hangup),
        }
    }

    /// Writes a number into the address book, for that is how the service tells whose it is.
    fn import(&mut self, now: Instant, account: usize, call: NetworkCall, user: Dialled) {
        let Dialled::Number(phone) = &user else { return };
        let wait = self.lines[account].lookups.wait(now);
        if wait > Duration::ZERO {
            return self.fail(
                now,
                call,
                Refusal::RateLimited { retry_after: wait },
                DiscardReason::Hangup,
            );
        }
        self.lines[account].lookups.make(now);
        let contact = types::InputPhoneContact {
            client_id: 0,
            phone: format!("+{phone}"),
            first_name: phone.clone(),
            last_name: String::new(),
            note: None,
        };
        let body = functions::contacts::ImportContacts {
            contacts: vec![contact.into()],
        };
        self.ask(now, account, What::Import(call, user), body.to_bytes());
    }

    fn on_imported(&mut self, now: Instant, call: NetworkCall, user: &Dialled, body: &[u8]) {
        let Ok(enums::contacts::ImportedContacts::Contacts(imported)) =
            enums::contacts::ImportedContacts::from_bytes(body)
        else {
            return self.not_understood(now, call);
        };
        let found = peer_of(&imported.users, None);
        if let Some((user_id, access_hash)) = found
            && let Some(account) = self.calls.get(&call).map(|call| call.account)
        {
            let id = vec![types::InputUser { user_id, access_hash }.into()];
            self.ask(
                now,
                account,
                What::Nothing,
                functions::contacts::DeleteContacts { id }.to_bytes(),
            );
        }
        self.found(now, call, user, found);
    }

    /// The service has named a call that we asked for.
    fn on_named(&mut self, now: Instant, account: usize, id: NetworkCall, answer: enums::PhoneCall) {
        let enums::PhoneCall::Waiting(named) = answer else {
            return self.not_understood(now, id);
        };
        let there = (named.id, named.access_hash);
        // It was given up meanwhile.
        if let Some((_, reason)) = self.lines[account].unnamed.take_if(|(unnamed, _)| *unnamed == id) {
            return self.discard_there(now, account, Left::new(there, reason));
        }
        let receive = self.lines[account].timers.receive;
        let Some(call) = self.calls.get_mut(&id) else { return };
        (call.there, call.until) = (Some(there), Some(now + receive));
        self.keep(account);
        // What came before this answer.
        let early = std::mem::take(&mut self.lines[account].early);
        for (_, update) in early {
            self.on_phone_call(now, account, update);
        }
    }
}

/// A user of the answer, and the key to him.
fn peer_of(users: &[enums::User], id: Option<i64>) -> Option<(i64, i64)> {
    users.iter().find_map(|user| match user {
        enums::User::User(user) if id.is_none_or(|id| id == user.id) => Some((user.id, user.access_hash?)),
        enums::User::User(_) | enums::User::Empty(_) => None,
    })
}
