//! What the service says by itself.

use std::time::{Duration, Instant};

use grammers_tl_types::{Cursor, Deserializable, enums, types};
use quartet_proto::e2ee;

use super::account::Left;
use super::calls::{call_of, reason_here};
use super::dial::Dialled;
use super::{Asked, Call, Phone, Stage, What, caller, calls};
use crate::networks::{
    CallRequest, DiscardReason, KeyExchange, NetworkCall, NetworkEvent, Offer, Reflector, Refusal, Secret, Servers,
    TurnServer, Via,
};

/// Keys that one message may stand for.
const MAX_KEYS: usize = 32;
/// Calls of others that may be refused at a time.
const MAX_DISCARDS: usize = 64;

impl Phone {
    pub(super) fn updated(&mut self, now: Instant, account: usize, body: &[u8]) {
        let cursor = &mut Cursor::from_slice(body);
        let Ok(users) = Vec::<enums::User>::deserialize(cursor) else {
            return;
        };
        let Ok(update) = enums::Update::deserialize(cursor) else {
            return;
        };
        if let enums::Update::PhoneCall(update) = update {
            if let enums::PhoneCall::Requested(request) = update.phone_call {
                self.on_requested(now, account, &users, request);
            } else {
                self.on_phone_call(now, account, update.phone_call);
            }
        } else if let enums::Update::PhoneCallSignalingData(update) = update {
            if let Some(call) = self.find(account, update.phone_call_id) {
                let packet = update.data;
                self.events.push_back(NetworkEvent::Signal { call, packet });
            }
        } else if let enums::Update::NewMessage(update) = update
            && let enums::Message::Message(message) = update.message
        {
            self.on_message(account, &message);
        }
    }

    /// Apps have no keys to press: who writes keys to the account during a call presses them.
    fn on_message(&mut self, account: usize, message: &types::Message) {
        let enums::Peer::User(of) = &message.peer_id else {
            return;
        };
        let is_of =
            |call: &Call| call.account == account && call.stage == Stage::Confirmed && call.user_id == Some(of.user_id);
        let call = self.calls.iter().find_map(|(key, call)| is_of(call).then_some(*key));
        if let Some((call, digits)) = call.filter(|_| !message.out).zip(keys(&message.message)) {
            self.events.push_back(NetworkEvent::Keys { call, digits });
        }
    }

    /// Which call of ours the service's number is.
    fn find(&self, account: usize, id: i64) -> Option<NetworkCall> {
        let is_it = |call: &Call| call.account == account && call.there.is_some_and(|there| there.0 == id);
        self.calls.iter().find_map(|(key, call)| is_it(call).then_some(*key))
    }

    /// Somebody calls the account.
    fn on_requested(
        &mut self,
        now: Instant,
        account: usize,
        users: &[enums::User],
        request: types::PhoneCallRequested,
    ) {
        let there = (request.id, request.access_hash);
        let call = call_of(account, request.id);
        if self.calls.contains_key(&call) {
            return;
        }
        let line = &mut self.lines[account];
        if request.admin_id <= 0 {
            return self.discard_there(now, account, Left::new(there, DiscardReason::Disconnect));
        }
        if line.call.is_some() {
            // Each is told so, but not any number of them.
            let is_discard = |asked: &&Asked| asked.account == account && matches!(asked.what, What::Discard(_));
            if self.asked.values().filter(is_discard).count() < MAX_DISCARDS {
                self.discard_there(now, account, Left::new(there, DiscardReason::Busy));
            }
            return;
        }
        let enums::PhoneCallProtocol::Protocol(protocol) = request.protocol;
        let Ok(commitment) = <[u8; 32]>::try_from(request.g_a_hash) else {
            return self.discard_there(now, account, Left::new(there, DiscardReason::Disconnect));
        };
        let caller = users.iter().find_map(|user| match user {
            enums::User::User(user) if user.id == request.admin_id => Some(user),
            enums::User::User(_) | enums::User::Empty(_) => None,
        });
        // Whoever calls can be called back.
        if let Some((user, access_hash)) = caller.and_then(|user| Some((user, user.access_hash?))) {
            let peer = (user.id, access_hash);
            line.meet(&Dialled::Id(user.id), peer);
            for name in caller::usernames(user) {
                line.meet(&Dialled::Name(name), peer);
            }
        }
        line.call = Some(call);
        let (from, mut details) = caller::details(line.config(), request.admin_id, caller);
        let to = line.name().to_owned();
        let ours = e2ee::versions();
        let theirs = protocol.library_versions.clone();
        let versions: Vec<String> = theirs
            .iter()
            .filter(|version| ours.contains(&version.as_str()))
            .cloned()
            .collect();
        let speaks = calls::words(&protocol);
        if versions.is_empty() {
            line.on_drift(&speaks);
        }
        details.speaks = Some(speaks);
        let begun = Call::incoming(account, there, request.admin_id, versions.clone(), protocol.udp_p2p);
        self.calls.insert(call, begun);
        self.keep(account);
        self.events.push_back(NetworkEvent::Requested(CallRequest {
            call,
            from,
            to,
            offers: vec![Offer {
                exchange: KeyExchange::Dh2048,
                commitment,
            }],
            versions,
            p2p: protocol.udp_p2p,
            caller: details,
            wait: Duration::ZERO,
        }));
    }

    /// A call has come further.
    pub(super) fn on_phone_call(&mut self, now: Instant, account: usize, update: enums::PhoneCall) {
        let id = match &update {
            enums::PhoneCall::Waiting(call) => call.id,
            enums::PhoneCall::Accepted(call) => call.id,
            enums::PhoneCall::Call(call) => call.id,
            enums::PhoneCall::Discarded(call) => call.id,
            enums::PhoneCall::Requested(_) | enums::PhoneCall::Empty(_) => return,
        };
        let Some(key) = self.find(account, id) else {
            let is_asked = |call: &Call| call.account == account && call.stage == Stage::Asked && call.there.is_none();
            if self.calls.values().any(is_asked) {
                self.lines[account].wait_for_name(now, update);
            }
            return;
        };
        match update {
            enums::PhoneCall::Waiting(call) => {
                let ring = self.lines[account].timers.ring;
                if call.receive_date.is_some()
                    && let Some(call) = self.calls.get_mut(&key).filter(|call| call.stage == Stage::Asked)
                {
                    (call.stage, call.until) = (Stage::RingsThere, Some(now + ring));
                    self.events.push_back(NetworkEvent::Received { call: key });
                }
            }
            enums::PhoneCall::Accepted(answer) => self.on_accepted(now, key, answer),
            enums::PhoneCall::Call(answer) => self.on_call(now, key, answer),
            enums::PhoneCall::Discarded(discarded) => {
                let Some(ended) = self.end(key) else { return };
                let is_taken = matches!(ended.stage, Stage::Accepted | Stage::Confirmed);
                // Another device of the account has taken it: the service then gives no reason.
                let event = if !ended.is_outgoing && !is_taken && discarded.reason.is_none() {
                    NetworkEvent::Refused {
                        call: key,
                        why: Refusal::Elsewhere,
                    }
                } else {
                    NetworkEvent::Discarded {
                        call: key,
                        reason: reason_here(discarded.reason, ended.is_outgoing && !is_taken),
                    }
                };
                self.events.push_back(event);
            }
            enums::PhoneCall::Requested(_) | enums::PhoneCall::Empty(_) => {}
        }
    }

    fn on_accepted(&mut self, now: Instant, key: NetworkCall, answer: types::PhoneCallAccepted) {
        let receive = self.calls.get(&key).map(|call| self.lines[call.account].timers.receive);
        let Some((call, receive)) = self.calls.get_mut(&key).zip(receive) else {
            return;
        };
        if !call.is_outgoing || !matches!(call.stage, Stage::Asked | Stage::RingsThere) {
            return;
        }
        let enums::PhoneCallProtocol::Protocol(protocol) = answer.protocol;
        let what = calls::words(&protocol);
        self.events.push_back(NetworkEvent::Speaks {
            call: key,
            what: what.clone(),
        });
        let Some(version) = e2ee::choose(&call.versions, &protocol.library_versions) else {
            let account = call.account;
            self.lines[account].on_drift(&what);
            return self.fail(now, key, Refusal::Incompatible, DiscardReason::Disconnect);
        };
        (call.stage, call.until) = (Stage::Accepted, Some(now + receive));
        self.events.push_back(NetworkEvent::Accepted {
            call: key,
            exchange: KeyExchange::Dh2048,
            public: answer.g_b,
            version: version.name().to_owned(),
        });
    }

    /// The service names the servers of a call that has a key; to the callee it brings the caller's public value.
    fn on_call(&mut self, now: Instant, key: NetworkCall, answer: types::PhoneCall) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let expected = if call.is_outgoing {
            Stage::Confirmed
        } else {
            Stage::Accepted
        };
        if call.stage != expected {
            return;
        }
        let enums::PhoneCallProtocol::Protocol(protocol) = &answer.protocol;
        let Some(version) = e2ee::choose(&call.versions, &protocol.library_versions) else {
            return self.fail(now, key, Refusal::Incompatible, DiscardReason::Disconnect);
        };
        (call.stage, call.until) = (Stage::Confirmed, None);
        if !call.is_outgoing {
            self.events.push_back(NetworkEvent::Confirmed {
                call: key,
                public: answer.g_a_or_b,
                fingerprint: answer.key_fingerprint,
            });
        }
        let servers = servers(version.name(), answer.p2p_allowed, answer.connections);
        self.events.push_back(NetworkEvent::Servers {
            call: key,
            servers: Box::new(servers),
        });
    }
}

/// The keys that a message stands for, if it is nothing else.
fn keys(text: &str) -> Option<String> {
    let text = text.trim();
    let is_key = |c: char| c.is_ascii_digit() || matches!(c, 'A'..='D' | '*' | '#');
    ((1..=MAX_KEYS).contains(&text.len()) && text.chars().all(is_key)).then(|| text.to_owned())
}

/// The servers of a call; what cannot be used is left out.
fn servers(version: &str, p2p: bool, connections: Vec<enums::PhoneConnection>) -> Servers {
    let mut servers = Servers {
        version: Some(version.to_owned()),
        p2p,
        ..Servers::default()
    };
    for connection in connections {
        let hosts = |ip: &str, ipv6: &str| -> Vec<String> {
            [ip, ipv6]
                .into_iter()
                .filter(|host| !host.is_empty())
                .map(str::to_owned)
                .collect()
        };
        match connection {
            enums::PhoneConnection::Connection(reflector) => {
                let (Ok(port), Ok(tag)) = (u16::try_from(reflector.port), <[u8; 16]>::try_from(reflector.peer_tag))
                else {
                    continue;
                };
                for host in hosts(&reflector.ip, &reflector.ipv6) {
                    servers.reflectors.push(Reflector {
                        id: reflector.id.cast_unsigned(),
                        host,
                        port,
                        tag: zeroize::Zeroizing::new(tag),
                        tcp: reflector.tcp,
                    });
                }
            }
            enums::PhoneConnection::Webrtc(server) => {
                let Ok(port) = u16::try_from(server.port) else { continue };
                for host in hosts(&server.ip, &server.ipv6) {
                    if server.stun {
                        servers.stun.push((host.clone(), port));
                    }
                    if server.turn {
                        servers.turn.push(TurnServer {
                            host,
                            port,
                            via: Via::Udp,
                            username: server.username.clone(),
                            password: Secret(zeroize::Zeroizing::new(server.password.clone().into_bytes())),
                        });
                    }
                }
            }
        }
    }
    servers
}
