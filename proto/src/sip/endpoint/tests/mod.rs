//! Endpoints against each other over a simulated net, under virtual time: loss, doubles and disorder, all seeded.

mod calls;
mod ends;
mod guessing;
mod hostile;
mod large;
mod logins;
mod loss;
mod megaphone;
mod refer;
mod restore;
mod streams;
mod subscribe;
mod timers;
mod torture;
mod trunks;
mod trust;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::net::{ConnectionId, FiveTuple, Protocol, Receive};
use crate::sip::message::{NameAddr, Uri};
use crate::sip::{
    Account, Caller, ContactChange, Credentials, DialogKey, Endpoint, EndpointConfig, Ha1, Limits, LoginFailure,
    OutgoingInvite, Reason, ReferTo, SipCommand, SipError, SipEvent,
};

const REALM: &str = "quartet.example";
const GATEWAY: usize = 0;
const PHONE: usize = 1;
const OTHER: usize = 2;

/// One way through the simulated net.
const DELAY: Duration = Duration::from_millis(10);

/// Chooses datagrams by their text.
type Filter = Box<dyn Fn(&str) -> bool>;

struct Node {
    name: &'static str,
    endpoint: Endpoint,
    address: SocketAddr,
    events: Vec<SipEvent>,
}

thread_local! {
    /// What the worlds of this thread are made of.
    static PROTOCOL: Cell<Protocol> = const { Cell::new(Protocol::Udp) };
}

/// Some endpoints and the net between them. Over a stream nothing is lost, doubled or overtaken.
struct World {
    protocol: Protocol,
    now: Instant,
    nodes: Vec<Node>,
    wire: BTreeMap<(Instant, u64), (FiveTuple, Vec<u8>)>,
    sent: u64,
    rng: ChaCha8Rng,
    /// Percent.
    loss: u64,
    doubled: u64,
    /// Further delay of up to so many milliseconds: disorder.
    jitter: u64,
    /// Datagrams that hold this are lost.
    filter: Option<Filter>,
    ladder: Vec<String>,
    /// Everything that was sent.
    packets: Vec<String>,
}

fn config(instance: &str) -> EndpointConfig {
    EndpointConfig {
        instance: instance.to_owned(),
        user_agent: "Test".to_owned(),
        realm: REALM.to_owned(),
        trusted_proxies: Vec::new(),
        limits: Limits::default(),
    }
}

fn account(user: &str, password: &str) -> Account {
    Account {
        user: user.to_owned(),
        ha1: Ha1::of(user, REALM, password),
        max_contacts: 3,
        external_addresses: None,
    }
}

fn credentials(user: &str, password: &str) -> Option<Credentials> {
    Some(Credentials {
        user: user.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    })
}

fn address(text: &str) -> NameAddr {
    text.parse().unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let protocol = PROTOCOL.get();
        let mut names = [("gateway", "gw01"), ("phone", "ph01"), ("other", "ot01")]
            .into_iter()
            .enumerate();
        let nodes = names.by_ref().map(|(at, (name, instance))| {
            let rng = ChaCha8Rng::seed_from_u64(seed * 100 + at as u64);
            let mut endpoint = Endpoint::new(config(instance), Box::new(rng));
            let address: SocketAddr = format!("192.0.2.{}:5060", at + 1).parse().unwrap();
            endpoint.set_local(vec![(protocol, address)]);
            Node {
                name,
                endpoint,
                address,
                events: Vec::new(),
            }
        });
        #[allow(clippy::disallowed_methods)] // virtual time needs some instant to count from
        let now = Instant::now();
        let mut world = Self {
            protocol,
            now,
            nodes: nodes.collect(),
            wire: BTreeMap::new(),
            sent: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            loss: 0,
            doubled: 0,
            jitter: 0,
            filter: None,
            ladder: Vec::new(),
            packets: Vec::new(),
        };
        world.nodes[GATEWAY]
            .endpoint
            .set_accounts(vec![account("100", "secret"), account("101", "secret")]);
        world
    }

    /// The way between two addresses; over a stream two hosts have one connection for each pair of ports.
    fn way(&self, local: SocketAddr, remote: SocketAddr) -> FiveTuple {
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&(local.min(remote), local.max(remote)), &mut hasher);
        let connection = ConnectionId(std::hash::Hasher::finish(&hasher));
        FiveTuple {
            connection: Some(connection).filter(|_| self.protocol.is_reliable()),
            ..FiveTuple::new(self.protocol, local, remote)
        }
    }

    /// Sends a request from `source`, then again with what answers its challenge; the last packet then. `message` writes it with an
    /// Authorization field, empty at first.
    fn log_in(
        &mut self,
        source: &str,
        (user, password): (&str, &str),
        (method, uri): (&str, &str),
        message: impl Fn(&str) -> String,
    ) -> String {
        self.inject(GATEWAY, source, message("").as_bytes());
        let challenge = self.packets.last().unwrap();
        let value = challenge
            .lines()
            .find_map(|line| line.strip_prefix("WWW-Authenticate: "));
        let (value, who) = (value.expect("a challenge"), credentials(user, password).unwrap());
        let one = std::iter::once(value);
        let answer = crate::sip::auth::authorization(one, &who, method, uri, &mut self.rng).unwrap();
        let login = message(&format!("Authorization: {answer}\r\n"));
        self.inject(GATEWAY, source, login.as_bytes());
        self.packets.last().unwrap().clone()
    }

    /// A gateway in place of the one there is, with account 100.
    fn replace_gateway(&mut self, config: EndpointConfig) {
        self.nodes[GATEWAY].endpoint = Endpoint::new(config, Box::new(ChaCha8Rng::seed_from_u64(1)));
        self.gateway().set_accounts(vec![account("100", "secret")]);
    }

    fn gateway(&mut self) -> &mut Endpoint {
        &mut self.nodes[GATEWAY].endpoint
    }

    fn command(&mut self, node: usize, command: SipCommand) -> Result<(), SipError> {
        // To the gateway there is always a connection; it has those that it was heard over.
        let way = if let SipCommand::Invite(invite) = &command {
            Some(invite.five_tuple)
        } else if let SipCommand::Register { five_tuple, .. } = &command {
            Some(*five_tuple)
        } else {
            None
        };
        if let Some(way) = way.filter(|_| node != GATEWAY) {
            self.nodes[node].endpoint.handle_opened(way);
        }
        let result = self.nodes[node].endpoint.handle_command(self.now, command);
        self.drain(node);
        result
    }

    /// Gives a node bytes out of the blue.
    fn inject(&mut self, node: usize, source: &str, bytes: &[u8]) {
        let local = self.nodes[node].address;
        // Over a stream every message says how long it is.
        let text = String::from_utf8_lossy(bytes).into_owned();
        let bare = text
            .strip_suffix("\r\n\r\n")
            .filter(|text| !text.contains("Content-Length"));
        let bytes = match bare.filter(|_| self.protocol.is_stream()) {
            Some(head) => format!("{head}\r\nContent-Length: 0\r\n\r\n").into_bytes(),
            None => bytes.to_vec(),
        };
        let input = Receive {
            five_tuple: self.way(local, source.parse().unwrap()),
            payload: &bytes,
        };
        self.nodes[node].endpoint.handle_input(self.now, input);
        self.drain(node);
    }

    fn drain(&mut self, node: usize) {
        while let Some(transmit) = self.nodes[node].endpoint.poll_transmit() {
            let text = String::from_utf8_lossy(&transmit.payload).into_owned();
            let lost = self.rng.next_u64() % 100 < self.loss || self.filter.as_ref().is_some_and(|f| f(&text));
            let to = self
                .nodes
                .iter()
                .find(|n| n.address == transmit.five_tuple.remote)
                .map_or("?", |n| n.name);
            let line = text.lines().next().unwrap_or_default().replace("SIP/2.0 ", "");
            let line = line.split(" sip:").next().unwrap_or_default();
            let mark = if lost { " (lost)" } else { "" };
            self.ladder
                .push(format!("{} -> {to}: {line}{mark}", self.nodes[node].name));
            self.packets.push(text);
            let copies = if lost {
                0
            } else {
                1 + u64::from(self.rng.next_u64() % 100 < self.doubled)
            };
            for _ in 0..copies {
                self.sent += 1;
                let late = Duration::from_millis(if self.jitter > 0 {
                    self.rng.next_u64() % self.jitter
                } else {
                    0
                });
                let FiveTuple { local, remote, .. } = transmit.five_tuple;
                let packet = (self.way(remote, local), transmit.payload.clone());
                self.wire.insert((self.now + DELAY + late, self.sent), packet);
            }
        }
        while let Some(event) = self.nodes[node].endpoint.poll_event() {
            self.nodes[node].events.push(event);
        }
    }

    /// Runs until nothing happens for this long, at most.
    fn run(&mut self, length: Duration) {
        let end = self.now + length;
        loop {
            let timers = self.nodes.iter().filter_map(|n| n.endpoint.poll_timeout());
            let next = timers.chain(self.wire.keys().next().map(|(at, _)| *at)).min();
            let Some(next) = next.filter(|n| *n <= end) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry().filter(|e| e.key().0 <= self.now) {
                let (five_tuple, payload) = entry.remove();
                if let Some(at) = self.nodes.iter().position(|n| n.address == five_tuple.local) {
                    let input = Receive {
                        five_tuple,
                        payload: &payload,
                    };
                    self.nodes[at].endpoint.handle_input(self.now, input);
                    self.drain(at);
                }
            }
            for at in 0..self.nodes.len() {
                if self.nodes[at].endpoint.poll_timeout().is_some_and(|t| t <= self.now) {
                    self.nodes[at].endpoint.handle_timeout(self.now);
                    self.drain(at);
                }
            }
        }
        self.now = end;
    }

    fn second(&mut self) {
        self.run(Duration::from_secs(1));
    }

    fn events(&mut self, node: usize) -> Vec<SipEvent> {
        std::mem::take(&mut self.nodes[node].events)
    }

    fn ladder(&mut self) -> String {
        std::mem::take(&mut self.ladder).join("\n")
    }

    fn register(&mut self, node: usize, user: &str, password: &str, expires: u64) {
        let five_tuple = self.way(self.nodes[node].address, self.nodes[GATEWAY].address);
        let command = SipCommand::Register {
            domain: None,
            registration: 1,
            aor: user.to_owned(),
            five_tuple,
            credentials: credentials(user, password),
            expires: Duration::from_secs(expires),
        };
        self.command(node, command).unwrap();
    }

    /// A call from the phone to the gateway.
    fn dial(&mut self, target: &str, body: Option<&[u8]>) -> DialogKey {
        let five_tuple = self.way(self.nodes[PHONE].address, self.nodes[GATEWAY].address);
        let dialog = self.nodes[PHONE].endpoint.new_dialog_key();
        let command = SipCommand::Invite(Box::new(OutgoingInvite {
            trunk: None,
            alternates: Vec::new(),
            routes: Vec::new(),
            dialog,
            request_uri: format!("sip:{target}@192.0.2.1"),
            five_tuple,
            origin: five_tuple.remote,
            from: address("\"Anna\" <sip:100@quartet.example>"),
            to: address(&format!("<sip:{target}@quartet.example>")),
            identity: None,
            headers: Vec::new(),
            body: body.map(<[u8]>::to_vec),
            credentials: credentials("100", "secret"),
            account: None,
        }));
        self.command(PHONE, command).unwrap();
        dialog
    }

    /// A call from the gateway to the registered phone.
    fn ring_phone(&mut self, body: Option<&[u8]>) -> DialogKey {
        let contact = self.nodes[GATEWAY].endpoint.contacts(self.now, "100").remove(0);
        let dialog = self.gateway().new_dialog_key();
        let command = SipCommand::Invite(Box::new(OutgoingInvite {
            trunk: None,
            alternates: Vec::new(),
            routes: Vec::new(),
            dialog,
            request_uri: contact.uri,
            five_tuple: contact.five_tuple,
            origin: contact.five_tuple.remote,
            from: NameAddr::new(Some("puppy dog 🐶"), Uri::sip_host("200", REALM)),
            to: NameAddr::new(None, Uri::sip_host("100", REALM)),
            identity: Some(NameAddr::new(Some("puppy dog 🐶"), Uri::sip_host("200", REALM))),
            headers: Vec::new(),
            body: body.map(<[u8]>::to_vec),
            credentials: None,
            account: Some("100".to_owned()),
        }));
        self.command(GATEWAY, command).unwrap();
        dialog
    }

    /// The dialog of the last call that came to a node.
    fn incoming(&self, node: usize) -> DialogKey {
        self.called(node).expect("a call came")
    }

    fn called(&self, node: usize) -> Option<DialogKey> {
        let mut last_first = self.nodes[node].events.iter().rev();
        last_first.find_map(|e| {
            if let SipEvent::Incoming { dialog, .. } = e {
                Some(*dialog)
            } else {
                None
            }
        })
    }

    fn accept(&mut self, node: usize, dialog: DialogKey) {
        let command = SipCommand::Accept {
            dialog,
            body: Some(b"answer".to_vec()),
            identity: None,
            headers: Vec::new(),
        };
        self.command(node, command).unwrap();
    }

    fn hangup(&mut self, node: usize, dialog: DialogKey) {
        self.command(node, SipCommand::Hangup { dialog, reason: None }).unwrap();
    }

    /// A confirmed call from phone to gateway; dialogs of the phone and of the gateway.
    fn confirmed(&mut self) -> (DialogKey, DialogKey) {
        let ours = self.dial("200", Some(b"offer"));
        self.second();
        let theirs = self.incoming(GATEWAY);
        self.accept(GATEWAY, theirs);
        self.second();
        self.nodes.iter_mut().for_each(|n| n.events.clear());
        self.ladder.clear();
        (ours, theirs)
    }

    /// Nothing is left of any call, once all timers have run out.
    fn assert_empty(&mut self) {
        self.run(Duration::from_secs(200));
        for node in &self.nodes {
            let e = &node.endpoint;
            let left = (
                e.server_transactions.len(),
                e.client_transactions.len(),
                e.dialogs.len(),
                e.subscriptions.len(),
                e.timers.len(),
            );
            assert_eq!(
                left,
                (0, 0, 0, 0, 0),
                "{}: transactions, dialogs, subscriptions, timers",
                node.name
            );
        }
    }
}

/// The same calls, logins and strangers as over UDP, and the same ladders; left out is what is about loss, and about phones
/// that are reached elsewhere than they come from.
#[test]
fn over_a_stream_it_is_the_same() {
    let tests: &[fn()] = &[
        calls::a_phone_calls_and_hangs_up,
        calls::the_gateway_calls_a_phone_and_hangs_up,
        calls::a_late_offer_goes_both_ways,
        calls::a_refusal_comes_through_with_its_reason,
        calls::the_caller_gives_up,
        calls::a_cancel_crosses_the_answer,
        calls::an_answer_that_is_never_acknowledged_ends_in_bye,
        calls::hanging_up_before_the_ack_waits_for_it,
        calls::a_cancelled_phone_that_never_answers_is_given_up,
        calls::a_reinvite_is_answered_or_refused_and_meets_no_other,
        calls::info_is_passed_on_and_a_lost_dialog_is_noticed,
        calls::byes_may_cross,
        calls::a_second_phone_that_answers_too_is_sent_away,
        ends::a_call_whose_ack_is_lost_ends_once_although_no_bye_fits_in,
        ends::a_reinvite_that_is_open_when_the_peer_forgets_the_call_is_answered,
        ends::a_peer_is_asked_whether_it_is_there,
        ends::a_registration_that_was_taken_back_is_forgotten,
        logins::a_phone_registers_refreshes_and_takes_back,
        logins::only_the_hashes_an_account_has_are_asked_for,
        logins::a_binding_expires_unless_refreshed,
        logins::a_recorded_login_is_worth_nothing,
        logins::a_nonce_of_another_life_is_stale_not_wrong,
        logins::an_account_that_is_removed_loses_its_contacts,
        trust::a_strangers_requests_change_nothing_and_the_phone_goes_on,
        trust::a_phone_that_moved_logs_in_and_moves,
        trust::where_its_account_is_registered_and_its_proxies_a_phone_is_trusted,
        trust::without_an_account_a_strangers_request_belongs_to_no_dialog,
        trust::an_ack_is_matched_and_moves_nothing,
        trust::the_answer_to_our_offer_is_only_taken_from_the_peer,
        trust::a_strangers_response_is_none,
        trust::a_strangers_cancel_ends_no_call,
        hostile::a_call_is_its_logins_whatever_it_shows_and_a_merged_call_is_one_call,
        hostile::full_tables_say_when_to_come_back,
    ];
    PROTOCOL.set(Protocol::Tcp);
    for test in tests {
        test();
    }
}

/// Timers A, E and G rest, and nothing stays to absorb what cannot come: RFC 3261 table 4.
#[test]
fn over_a_stream_nothing_is_retransmitted() {
    PROTOCOL.set(Protocol::Tcp);
    let mut world = World::new(29);
    let count = |world: &World, begin: &str| world.packets.iter().filter(|p| p.starts_with(begin)).count();
    // Nobody listens: an INVITE and a REGISTER are sent once, and end in time.
    world.filter = Some(Box::new(|_| true));
    let ours = world.dial("200", Some(b"offer"));
    world.register(PHONE, "100", "secret", 3000);
    world.run(Duration::from_secs(40));
    assert_eq!((count(&world, "INVITE"), count(&world, "REGISTER")), (1, 1));
    let ends = world.events(PHONE);
    let rejected =
        |event: &SipEvent| matches!(event, SipEvent::Rejected { dialog, status: 408, .. } if *dialog == ours);
    let failed = |event: &SipEvent| matches!(event, SipEvent::RegisterFailed { status: 408, .. });
    assert!(
        ends.len() == 2 && ends.iter().any(rejected) && ends.iter().any(failed),
        "{ends:?}"
    );
    // A refusal whose ACK is lost is sent once; the phone's transactions are gone at once.
    world.filter = Some(Box::new(|text| text.starts_with("ACK") && text.contains("tag=gw01")));
    world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    let reject = SipCommand::Reject {
        dialog: theirs,
        status: 486,
        reason: None,
        retry_after: None,
    };
    world.command(GATEWAY, reject).unwrap();
    world.second();
    assert_eq!(
        world.nodes[PHONE].endpoint.transaction_count(),
        0,
        "timers D and K are zero"
    );
    world.run(Duration::from_secs(20));
    assert_eq!(count(&world, "SIP/2.0 486"), 1);
    world.assert_empty();
}
