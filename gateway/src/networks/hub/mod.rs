//! The hub as a network: verbs of the core to frames of the hub protocol and back.
//!
//! The adapter is a client of a hub like any other. It never trusts the hub: it keeps the state of each call on its own
//! ([`order`]), and what comes too early or for the wrong side ends the call, what comes twice has no effect. Values of
//! the key exchange are passed on unread; `call::e2ee_leg` checks them.

mod client;
mod order;
mod servers;
mod verbs;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use quartet_proto::e2ee;
use quartet_proto::e2ee::key_exchange::NO_SERVER_RANDOM;
use quartet_proto::hub as wire;
use quartet_proto::hub::{ClientFrame, ErrorCode, Event, Failure, Name, Request, ServerFrame};

use super::{DiscardReason, KeyExchange, Link, Network, NetworkCall, NetworkCommand, NetworkEvent, Refusal, Terms};
pub use client::{Client, Standing};
use order::{Calls, Step, Verdict};
use words::{id_of, refusal};

/// The name of this network.
pub const NAME: &str = "hub";

/// How long the hub may take to answer a request.
const ANSWER: Duration = Duration::from_secs(10);
/// Requests that may wait for their answers; beyond it the oldest is forgotten.
const MAX_PENDING: usize = 8192;

/// A request that is not answered yet.
#[derive(Debug)]
struct Pending {
    call: NetworkCall,
    deadline: Instant,
    kind: Kind,
    /// A hub that has forgotten the call must be told of its other party before it can be ended there.
    farewell: Option<Farewell>,
}

/// The end of a call that has a key, as long as the hub has not heard of it.
#[derive(Debug)]
struct Farewell {
    peer: Name,
    discard: wire::CallDiscard,
}

/// What an error in the answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The call is not there; nothing to discard.
    Request,
    /// The call cannot go on.
    Vital,
    /// One packet is lost, which signalling survives.
    Signal,
    /// The call is over anyway.
    Discard,
    /// The hub knows it no more, which media does not mind.
    Rejoin,
}

/// The gateway's side of a hub connection.
///
/// Drain [`Network::poll_frame`] and [`Network::poll_event`] after every `handle_*`. Frames keep their order.
#[derive(Debug)]
pub struct Adapter {
    account: Name,
    calls: Calls,
    pending: BTreeMap<u64, Pending>,
    next_id: u64,
    /// What is asked waits for a connection, not for an answer.
    is_away: bool,
    transmits: VecDeque<ClientFrame>,
    events: VecDeque<NetworkEvent>,
    dropped: u64,
}

impl Adapter {
    /// An adapter for the gateway's account, on a connection that has said hello or needs none.
    #[must_use]
    pub fn new(account: Name) -> Self {
        Self {
            account,
            calls: Calls::default(),
            pending: BTreeMap::new(),
            next_id: 1,
            is_away: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Frames dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Requests that wait for an answer.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn drop_frame(&mut self) {
        tracing::debug!("frame of the hub dropped: not readable, or not expected");
        self.dropped += 1;
    }

    fn send(&mut self, now: Instant, call: NetworkCall, kind: Kind, request: Request) {
        let id = self.next_id;
        // Two to the 53rd requests are 285 million years at one a second.
        self.next_id += 1;
        if self.pending.len() >= MAX_PENDING {
            self.pending.pop_first();
        }
        self.pending.insert(
            id,
            Pending {
                call,
                deadline: now + ANSWER,
                kind,
                farewell: None,
            },
        );
        self.transmits.push_back(ClientFrame { id, request });
    }

    fn send_discard(&mut self, now: Instant, call: NetworkCall, reason: DiscardReason, duration: Duration) {
        self.send(
            now,
            call,
            Kind::Discard,
            Request::CallDiscard(discard(call, reason, duration)),
        );
    }

    /// Ends a call that has a key and this other party, so that it ends there whatever becomes of the hub.
    fn send_farewell(&mut self, now: Instant, call: NetworkCall, farewell: Farewell) {
        let id = self.next_id;
        self.send(now, call, Kind::Discard, Request::CallDiscard(farewell.discard));
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.farewell = Some(farewell);
        }
    }

    /// The hub's answer to a request of ours is an error.
    fn refused(&mut self, now: Instant, pending: &Pending, failure: Failure) {
        tracing::debug!(call = %pending.call, code = failure.code.as_str(), "refused by the hub");
        match pending.kind {
            Kind::Request | Kind::Vital => {
                if self.calls.end(pending.call) {
                    self.events.push_back(NetworkEvent::Refused {
                        call: pending.call,
                        why: refusal(failure),
                    });
                    if pending.kind == Kind::Vital {
                        self.send_discard(now, pending.call, DiscardReason::Disconnect, Duration::ZERO);
                    }
                }
            }
            Kind::Signal => {
                if failure.code == ErrorCode::UnknownCall && self.calls.end_unknown(pending.call) {
                    self.refuse(pending.call, Refusal::Lost);
                }
            }
            Kind::Discard | Kind::Rejoin => {}
        }
    }

    /// Ends a call whose order the hub broke.
    fn fail(&mut self, now: Instant, call: NetworkCall, why: &str) {
        if self.calls.end(call) {
            tracing::debug!(%call, why, "the hub broke the protocol");
            self.send_discard(now, call, DiscardReason::Disconnect, Duration::ZERO);
            self.events.push_back(NetworkEvent::Refused {
                call,
                why: Refusal::Protocol(why.to_owned()),
            });
        }
    }

    fn handle_server_frame(&mut self, now: Instant, frame: ServerFrame) {
        match frame {
            ServerFrame::Answer { id, outcome } => match id.and_then(|id| self.pending.remove(&id)) {
                Some(pending) => match outcome {
                    Ok(_) => {}
                    Err(failure) => self.refused(now, &pending, failure),
                },
                None => self.drop_frame(),
            },
            ServerFrame::Event { event, .. } => self.event(now, event),
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        let call = NetworkCall(event.call().0);
        let step = match &event {
            Event::CallRequest(_) => Step::Request,
            Event::CallReceived(_) => Step::Receive,
            Event::CallAccept(_) => Step::Accept,
            Event::CallConfirm(_) => Step::Confirm,
            Event::CallSignal(_) => Step::Signal,
            Event::CallDiscard(_) | Event::CallTaken(_) => Step::End,
            // Media decides whether the call goes on.
            Event::CallAway(_) | Event::CallBack(_) => {
                return tracing::debug!(%call, ?event, "the other side's connection");
            }
        };
        match self.calls.step(call, step) {
            Verdict::Pass => {}
            Verdict::Drop => return self.drop_frame(),
            Verdict::Fail => return self.fail(now, call, "the hub sent a verb out of order"),
        }
        match event {
            Event::CallRequest(body) => self.requested(now, call, body),
            Event::CallReceived(_) => self.events.push_back(NetworkEvent::Received { call }),
            Event::CallAccept(body) => {
                let version = body.library_version.as_str();
                let exchange = body
                    .exchange
                    .known()
                    .filter(|exchange| self.calls.offered(call, *exchange, version));
                let Some(exchange) = exchange else {
                    return self.fail(now, call, "the callee chose what was not offered");
                };
                let (public, version) = (body.public.into_bytes(), version.to_owned());
                self.on_servers(call, &body.ice_servers, body.reflectors);
                self.events.push_back(NetworkEvent::Accepted {
                    call,
                    exchange,
                    public,
                    version,
                });
            }
            Event::CallConfirm(body) => {
                let (public, fingerprint) = (body.public.into_bytes(), body.fingerprint);
                self.on_servers(call, &body.ice_servers, body.reflectors);
                self.events.push_back(NetworkEvent::Confirmed {
                    call,
                    public,
                    fingerprint,
                });
            }
            Event::CallSignal(body) => {
                self.events.push_back(NetworkEvent::Signal {
                    call,
                    packet: body.packet.into_bytes(),
                });
            }
            Event::CallDiscard(wire::CallDiscard { lost: true, .. }) => self.refuse(call, Refusal::Lost),
            Event::CallDiscard(body) => {
                self.events.push_back(NetworkEvent::Discarded {
                    call,
                    reason: body.reason.into(),
                });
            }
            Event::CallAway(_) | Event::CallBack(_) => {}
            Event::CallTaken(_) => {
                self.events.push_back(NetworkEvent::Discarded {
                    call,
                    reason: DiscardReason::Disconnect,
                });
            }
        }
    }

    fn refuse(&mut self, call: NetworkCall, why: Refusal) {
        self.events.push_back(NetworkEvent::Refused { call, why });
    }
}

impl Network for Adapter {
    fn terms(&self) -> Terms {
        Terms {
            key_exchanges: vec![KeyExchange::X25519, KeyExchange::Dh2048],
            versions: e2ee::versions().into_iter().map(str::to_owned).collect(),
            transport: "webrtc".into(),
            server_random: Box::new(NO_SERVER_RANDOM),
            brings_servers: false,
        }
    }

    fn user_of(&self, dialled: &str) -> String {
        dialled.to_ascii_lowercase()
    }

    fn name_of(&self, extension: &str) -> String {
        let spelt = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let extension: String = extension.to_ascii_lowercase().chars().filter(|c| spelt(*c)).collect();
        if extension.is_empty() {
            self.account.to_string()
        } else {
            format!("{extension}@{}", self.account)
        }
    }

    fn extension_of(&self, name: &str) -> String {
        name.split_once('@').map_or("", |(extension, _)| extension).to_owned()
    }

    fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        match str::from_utf8(frame).map(ServerFrame::parse) {
            Ok(Ok(frame)) => self.handle_server_frame(now, frame),
            Ok(Err(_)) | Err(_) => self.drop_frame(),
        }
    }

    fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front().map(|frame| frame.to_text().into_bytes())
    }

    /// The calls of a connection end with it. Who connects has said hello before this machine hears of it.
    fn handle_link(&mut self, now: Instant, link: Link) {
        self.is_away = link == Link::Away;
        match link {
            Link::Away => {}
            Link::Up => {
                for pending in self.pending.values_mut() {
                    pending.deadline = now + ANSWER;
                }
            }
            Link::Anew => {
                let asked = std::mem::take(&mut self.pending);
                self.transmits.clear();
                self.rejoin(now);
                for Pending { call, farewell, .. } in asked.into_values() {
                    if let Some(farewell) = farewell {
                        self.send_rejoin(now, call, farewell.peer.clone());
                        self.send_farewell(now, call, farewell);
                    }
                }
            }
            Link::Down => {
                self.pending.clear();
                self.transmits.clear();
                for call in self.calls.take_all() {
                    self.refuse(call, Refusal::Lost);
                }
            }
        }
    }

    fn is_up(&self) -> bool {
        !self.is_away
    }

    fn calls(&self) -> usize {
        self.calls.len()
    }

    fn handle_command(&mut self, now: Instant, command: NetworkCommand) {
        match command {
            NetworkCommand::Request(request) => self.request(now, request),
            NetworkCommand::Received { call } => {
                if self.calls.command(call, Step::Receive) {
                    let body = wire::CallReceived { call: id_of(call) };
                    self.send(now, call, Kind::Vital, Request::CallReceived(body));
                }
            }
            NetworkCommand::Accept {
                call,
                exchange,
                public,
                version,
            } => {
                self.accept(now, call, exchange, public, version);
            }
            NetworkCommand::Confirm {
                call,
                public,
                fingerprint,
            } => {
                let Some(public) = wire::PublicValue::new(public) else {
                    return self.fail(now, call, "the public value has no fitting size");
                };
                if self.calls.command(call, Step::Confirm) {
                    let body = wire::CallConfirm {
                        call: id_of(call),
                        public,
                        fingerprint,
                        ice_servers: Vec::new(),
                        reflectors: Vec::new(),
                    };
                    self.send(now, call, Kind::Vital, Request::CallConfirm(body));
                }
            }
            NetworkCommand::Signal { call, packet } => {
                let Some(packet) = wire::Packet::new(packet) else {
                    tracing::warn!(%call, "a signalling packet has no fitting size and is not sent");
                    return;
                };
                if self.calls.command(call, Step::Signal) {
                    let body = wire::CallSignal {
                        call: id_of(call),
                        packet,
                    };
                    self.send(now, call, Kind::Signal, Request::CallSignal(body));
                }
            }
            NetworkCommand::Discard { call, reason, duration } => {
                let peer = self.calls.party_of(call).and_then(|peer| Name::new(peer).ok());
                if !self.calls.end(call) {
                    return;
                }
                match peer {
                    Some(peer) => {
                        let discard = discard(call, reason, duration);
                        self.send_farewell(now, call, Farewell { peer, discard });
                    }
                    None => self.send_discard(now, call, reason, duration),
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.is_away {
            return;
        }
        while let Some(entry) = self.pending.first_entry()
            && entry.get().deadline <= now
        {
            let pending = entry.remove();
            if matches!(pending.kind, Kind::Request | Kind::Vital) {
                self.fail(now, pending.call, "the hub does not answer");
            }
        }
    }

    fn poll_event(&mut self) -> Option<NetworkEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        // Ids and deadlines grow together.
        let first = self.pending.first_key_value().filter(|_| !self.is_away);
        first.map(|(_, pending)| pending.deadline)
    }
}

fn discard(call: NetworkCall, reason: DiscardReason, duration: Duration) -> wire::CallDiscard {
    wire::CallDiscard {
        call: id_of(call),
        reason: reason.into(),
        duration: u32::try_from(duration.as_secs()).unwrap_or(u32::MAX),
        lost: false,
    }
}

#[cfg(test)]
mod tests;
