//! The phone of the accounts: commands of the core to requests of the service, its answers and updates to events of the core.
//!
//! Order of a call (`phone.*`): requested, received, accepted, confirmed, then signalling until one side discards it. Updates and
//! answers travel by different ways, so an update may come before the answer that names its call: it waits for that a little.

mod account;
mod answers;
mod budget;
mod caller;
mod calls;
mod dial;
mod errors;
mod outgoing;
mod plan;
#[cfg(test)]
mod tests;
mod updates;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use grammers_tl_types::{Serializable as _, functions, types};
use quartet_proto::e2ee;
use quartet_proto::e2ee::key_exchange::NO_SERVER_RANDOM;

pub use self::account::Account;
use self::account::{Left, Line, Standing};
use self::calls::{Call, Stage};
use self::dial::Dialled;
pub use self::plan::{Plan, plan};
use super::frame::{Frame, Order, Report};
use crate::networks::{
    CallRequest, DiscardReason, KeyExchange, Link, Network, NetworkCall, NetworkCommand, NetworkEvent, Refusal, Terms,
};

/// How long the service may take to answer.
const ANSWER: Duration = Duration::from_secs(15);
/// Requests that may wait for their answers.
const MAX_ASKED: usize = 4096;
/// The oldest and the newest layer of calls, as clients say them; the service refuses others.
const LAYERS: (i32, i32) = (65, 92);

/// The accounts, and what they may do.
#[derive(Clone, Debug, Default)]
pub struct PhoneConfig {
    /// In the order that frames count them.
    pub accounts: Vec<Account>,
    /// Pools of them, by name: the places of their accounts.
    pub pools: BTreeMap<String, Vec<usize>>,
}

/// What a request is for, until it is answered.
#[derive(Clone, Debug)]
enum What {
    Config,
    DhConfig,
    /// Who the user of this call is.
    Resolve(NetworkCall, Dialled),
    /// The same by an address book entry, which is taken out again.
    Import(NetworkCall, Dialled),
    Request(NetworkCall),
    /// The call cannot go on without it.
    Vital(NetworkCall),
    Confirm(NetworkCall),
    Signal(NetworkCall),
    /// The service must hear of it, if not now then when it is there again.
    Discard(Left),
    /// Whatever the answer.
    Nothing,
}

impl What {
    fn call(&self) -> Option<NetworkCall> {
        match self {
            Self::Resolve(call, _)
            | Self::Import(call, _)
            | Self::Request(call)
            | Self::Vital(call)
            | Self::Confirm(call)
            | Self::Signal(call) => Some(*call),
            Self::Config | Self::DhConfig | Self::Discard(_) | Self::Nothing => None,
        }
    }
}

#[derive(Debug)]
struct Asked {
    account: usize,
    what: What,
    until: Instant,
}

/// The machine.
///
/// Drain [`Network::poll_frame`] and [`Network::poll_event`] after every `handle_*`.
#[derive(Debug)]
pub struct Phone {
    lines: Vec<Line>,
    pools: BTreeMap<String, Vec<usize>>,
    calls: BTreeMap<NetworkCall, Call>,
    /// Calls of ours that wait for an account, and until when.
    queue: VecDeque<(Instant, CallRequest)>,
    asked: BTreeMap<u64, Asked>,
    next: u64,
    frames: VecDeque<Frame<Order>>,
    events: VecDeque<NetworkEvent>,
}

impl Phone {
    /// A machine whose accounts are not connected yet.
    #[must_use]
    pub fn new(config: PhoneConfig) -> Self {
        Self {
            lines: config.accounts.into_iter().map(Line::new).collect(),
            pools: config.pools,
            calls: BTreeMap::new(),
            queue: VecDeque::new(),
            asked: BTreeMap::new(),
            next: 1,
            frames: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    fn ask(&mut self, now: Instant, account: usize, what: What, body: Vec<u8>) {
        let number = self.next;
        self.next += 1;
        if self.asked.len() >= MAX_ASKED {
            self.asked.pop_first();
        }
        let until = now + ANSWER;
        self.asked.insert(number, Asked { account, what, until });
        self.order(account, Order::Request { number, body });
    }

    fn order(&mut self, account: usize, word: Order) {
        let account = u32::try_from(account).unwrap_or(u32::MAX);
        self.frames.push_back(Frame { account, word });
    }

    /// What the account needs for calls, once it is connected.
    fn prepare(&mut self, now: Instant, account: usize) {
        self.ask(now, account, What::Config, functions::help::GetConfig {}.to_bytes());
        let version = self.lines[account].dh_version;
        let body = functions::messages::GetDhConfig {
            version,
            random_length: 256,
        };
        self.ask(now, account, What::DhConfig, body.to_bytes());
        for left in std::mem::take(&mut self.lines[account].left) {
            tracing::info!(account = %self.lines[account].name(), "the service is told of a call that is over");
            self.discard_there(now, account, left);
        }
        self.keep(account);
    }

    fn discard_there(&mut self, now: Instant, account: usize, left: Left) {
        let (id, access_hash) = left.there;
        let body = functions::phone::DiscardCall {
            video: false,
            peer: types::InputPhoneCall { id, access_hash }.into(),
            duration: i32::try_from(left.duration.as_secs()).unwrap_or(i32::MAX),
            reason: calls::reason_there(left.reason),
            connection_id: 0,
        };
        self.ask(now, account, What::Discard(left), body.to_bytes());
    }

    /// The calls that stand, as the service has named them.
    fn live(&self, account: usize) -> impl Iterator<Item = (i64, i64)> {
        let calls = self.calls.values().filter(move |call| call.account == account);
        calls.filter_map(|call| call.there)
    }

    /// What has to be known after a crash is kept.
    fn keep(&mut self, account: usize) {
        let mut live: Vec<_> = self.live(account).collect();
        let line = &mut self.lines[account];
        live.extend(line.left.iter().map(|left| left.there));
        if let Some(kept) = line.kept_anew(live) {
            self.order(account, Order::Keep(kept));
        }
    }

    /// The call is over on our side; who must know is told by the caller.
    fn end(&mut self, call: NetworkCall) -> Option<Call> {
        let ended = self.calls.remove(&call)?;
        let line = &mut self.lines[ended.account];
        line.call = line.call.filter(|other| *other != call);
        self.keep(ended.account);
        Some(ended)
    }

    /// The call ends for this reason, and the service is told if it knows the call.
    fn fail(&mut self, now: Instant, call: NetworkCall, why: Refusal, reason: DiscardReason) {
        self.give_up(now, NetworkEvent::Refused { call, why }, reason);
    }

    /// The call of this event is over, and nobody was told.
    fn give_up(&mut self, now: Instant, event: NetworkEvent, reason: DiscardReason) {
        let call = event.call();
        let Some(ended) = self.end(call) else { return };
        self.events.push_back(event);
        self.leave(now, &ended, call, reason, Duration::ZERO);
    }

    /// Tells the service that a call of ours is over; if it has not named it yet, as soon as it does.
    fn leave(&mut self, now: Instant, ended: &Call, call: NetworkCall, reason: DiscardReason, duration: Duration) {
        match ended.there {
            Some(there) => {
                let left = Left {
                    there,
                    reason,
                    duration,
                };
                self.discard_there(now, ended.account, left);
            }
            None if ended.stage == Stage::Asked => {
                self.lines[ended.account].unnamed = Some((call, reason));
            }
            None => {}
        }
    }

    /// Sends a request of a call that the service knows; false if it is not there or not so far.
    fn of_call(
        &mut self,
        now: Instant,
        id: NetworkCall,
        (from, to): (Stage, Stage),
        what: What,
        body: impl FnOnce(types::InputPhoneCall, &Call) -> Vec<u8>,
    ) -> bool {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.stage == from) else {
            return false;
        };
        let Some((number, access_hash)) = call.there else {
            return false;
        };
        let peer = types::InputPhoneCall {
            id: number,
            access_hash,
        };
        call.stage = to;
        let (account, body) = (call.account, body(peer, call));
        self.ask(now, account, what, body);
        true
    }
}

impl Network for Phone {
    fn terms(&self) -> Terms {
        let random = self.lines.iter().find_map(|line| line.dh_random.clone());
        Terms {
            key_exchanges: vec![KeyExchange::Dh2048],
            versions: e2ee::versions().into_iter().map(str::to_owned).collect(),
            transport: "webrtc".into(),
            server_random: random.unwrap_or_else(|| Box::new(NO_SERVER_RANDOM)),
            brings_servers: true,
        }
    }

    fn user_of(&self, dialled: &str) -> String {
        dialled.to_ascii_lowercase()
    }

    fn name_of(&self, _extension: &str) -> String {
        // Whom the service shows is the account itself.
        String::new()
    }

    fn extension_of(&self, name: &str) -> String {
        name.to_owned()
    }

    fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        let Some(Frame { account, word }) = Frame::<Report>::parse(frame) else {
            return;
        };
        let account = account as usize;
        if account >= self.lines.len() {
            return;
        }
        match word {
            Report::Kept(kept) => {
                // A login that was made anew has kept those that stand as well.
                let live: Vec<_> = self.live(account).collect();
                self.lines[account].recall(&kept, &live);
            }
            Report::Up => {
                self.lines[account].standing = Standing::Up;
                self.prepare(now, account);
            }
            // Media goes on, and what is said waits in the client.
            Report::Away => self.lines[account].standing = Standing::Away,
            Report::Out(why) => self.log_out(account, why),
            Report::Answer { number, body } => {
                if let Some(asked) = self.asked.remove(&number) {
                    self.answered(now, asked, &body);
                }
            }
            Report::Error { number, error } => {
                if let Some(asked) = self.asked.remove(&number) {
                    self.refused(now, asked, &error);
                }
            }
            Report::Update(body) => self.updated(now, account, &body),
        }
        self.serve_queue(now);
    }

    fn accounts(&self, now: Instant) -> Vec<(String, String)> {
        let lines = self.lines.iter();
        lines.map(|line| (line.name().to_owned(), line.words(now))).collect()
    }

    fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front().map(|frame| frame.to_bytes())
    }

    /// The accounts connect by themselves.
    fn handle_link(&mut self, _now: Instant, _link: Link) {}

    fn is_up(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.standing, Standing::Up))
    }

    fn calls(&self) -> usize {
        self.calls.len() + self.queue.len()
    }

    fn handle_command(&mut self, now: Instant, command: NetworkCommand) {
        match command {
            NetworkCommand::Request(request) => self.request(now, request),
            NetworkCommand::Received { call } => {
                let steps = (Stage::Offered, Stage::Ringing);
                self.of_call(now, call, steps, What::Vital(call), |peer, _| {
                    functions::phone::ReceivedCall { peer: peer.into() }.to_bytes()
                });
            }
            NetworkCommand::Accept { call, public, .. } => {
                let steps = (Stage::Ringing, Stage::Accepted);
                let body = |peer: types::InputPhoneCall, call: &Call| {
                    functions::phone::AcceptCall {
                        peer: peer.into(),
                        g_b: public,
                        protocol: calls::protocol(&call.versions, call.p2p),
                    }
                    .to_bytes()
                };
                if self.of_call(now, call, steps, What::Vital(call), body)
                    && let Some(call) = self.calls.get_mut(&call)
                {
                    call.until = Some(now + self.lines[call.account].timers.receive);
                }
            }
            NetworkCommand::Confirm {
                call,
                public,
                fingerprint,
            } => {
                let steps = (Stage::Accepted, Stage::Confirmed);
                let body = |peer: types::InputPhoneCall, call: &Call| {
                    functions::phone::ConfirmCall {
                        peer: peer.into(),
                        g_a: public,
                        key_fingerprint: fingerprint,
                        protocol: calls::protocol(&call.versions, call.p2p),
                    }
                    .to_bytes()
                };
                self.of_call(now, call, steps, What::Confirm(call), body);
            }
            NetworkCommand::Signal { call, packet } => {
                let steps = (Stage::Confirmed, Stage::Confirmed);
                self.of_call(now, call, steps, What::Signal(call), |peer, _| {
                    functions::phone::SendSignalingData {
                        peer: peer.into(),
                        data: packet,
                    }
                    .to_bytes()
                });
            }
            NetworkCommand::Discard { call, reason, duration } => {
                self.queue.retain(|(_, waiting)| waiting.call != call);
                if let Some(ended) = self.end(call) {
                    self.leave(now, &ended, call, reason, duration);
                }
            }
        }
        self.serve_queue(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        let unanswered: Vec<u64> = self
            .asked
            .iter()
            .take_while(|(_, asked)| asked.until <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in unanswered {
            if let Some(asked) = self.asked.remove(&number) {
                self.refused(now, asked, &super::frame::RpcError::unreachable());
            }
        }
        let late: Vec<NetworkCall> = self
            .calls
            .iter()
            .filter(|(_, call)| call.until.is_some_and(|until| until <= now))
            .map(|(id, _)| *id)
            .collect();
        let reason = DiscardReason::Missed;
        for call in late {
            match self.calls.get(&call).map(|call| call.stage) {
                // It has reached nobody.
                Some(Stage::Asked) => self.fail(now, call, Refusal::Offline, reason),
                Some(Stage::RingsThere) => self.give_up(now, NetworkEvent::Discarded { call, reason }, reason),
                _ => self.fail(now, call, Refusal::Lost, DiscardReason::Disconnect),
            }
        }
        self.serve_queue(now);
    }

    fn poll_event(&mut self) -> Option<NetworkEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        // Numbers and deadlines grow together.
        let asked = self.asked.first_key_value().map(|(_, asked)| asked.until);
        let calls = self.calls.values().filter_map(|call| call.until);
        let queued = self.queue.iter().map(|(until, _)| *until);
        calls.chain(asked).chain(queued).min()
    }
}
