//! The adapter against an honest hub, a hostile one, and noise.

use std::sync::Arc;

use quartet_proto::hub::{
    CallAccept, CallConfirm, CallDiscard, CallReceived, CallRequest, CallSignal, CallTaken, Commitment, ExchangeName,
    OfferedExchange, Packet, PublicValue, Reply, Version,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::*;
use crate::hub::tests::schema;
use crate::hub::{Account, ConnKey, Directory, Limits, Rendezvous, RendezvousConfig};
use crate::networks::{CallerDetails, Offer};

const CALL: NetworkCall = NetworkCall([7; 16]);

#[allow(clippy::disallowed_methods, reason = "the base of a virtual clock")]
fn start() -> Instant {
    Instant::now()
}

fn adapter(account: &str) -> Adapter {
    Adapter::new(Name::new(account).unwrap())
}

fn offers() -> Vec<Offer> {
    vec![
        Offer {
            exchange: KeyExchange::X25519,
            commitment: [1; 32],
        },
        Offer {
            exchange: KeyExchange::Dh2048,
            commitment: [2; 32],
        },
    ]
}

pub(super) fn request(call: NetworkCall, from: &str, to: &str) -> NetworkCommand {
    NetworkCommand::Request(crate::networks::CallRequest {
        call,
        from: from.to_owned(),
        to: to.to_owned(),
        offers: offers(),
        versions: vec!["8.0.0".to_owned(), "9.0.0".to_owned()],
        p2p: true,
        caller: CallerDetails::default(),
        wait: Duration::ZERO,
    })
}

pub(super) fn accept(call: NetworkCall) -> NetworkCommand {
    NetworkCommand::Accept {
        call,
        exchange: KeyExchange::X25519,
        public: vec![3; 32],
        version: "9.0.0".to_owned(),
    }
}

pub(super) fn confirm(call: NetworkCall) -> NetworkCommand {
    NetworkCommand::Confirm {
        call,
        public: vec![4; 32],
        fingerprint: 5,
    }
}

pub(super) fn signal(call: NetworkCall) -> NetworkCommand {
    NetworkCommand::Signal {
        call,
        packet: vec![6; 40],
    }
}

fn discard(call: NetworkCall) -> NetworkCommand {
    NetworkCommand::Discard {
        call,
        reason: DiscardReason::Hangup,
        duration: Duration::from_secs(2),
    }
}

/// Events as a hub writes them, about one call.
mod say {
    use super::*;

    pub(super) fn text(event: Event) -> String {
        ServerFrame::Event { event, seq: None }.to_text()
    }

    pub(super) fn request(call: NetworkCall, to: &str) -> String {
        let offer = |name: &str, byte| OfferedExchange {
            name: ExchangeName::new(name).unwrap(),
            commitment: Commitment([byte; 32]),
        };
        text(Event::CallRequest(CallRequest {
            call: id_of(call),
            from: Some(Name::new("anna").unwrap()),
            to: Name::new(to).unwrap(),
            exchanges: vec![
                offer("future", 9),
                offer("x25519", 1),
                offer("x25519", 8),
                offer("dh2048", 2),
            ],
            library_versions: vec![Version::new("9.0.0").unwrap()],
            udp_p2p: true,
        }))
    }

    pub(super) fn received(call: NetworkCall) -> String {
        text(Event::CallReceived(CallReceived { call: id_of(call) }))
    }

    pub(super) fn accept(call: NetworkCall, exchange: &str, version: &str) -> String {
        text(Event::CallAccept(CallAccept {
            call: id_of(call),
            exchange: ExchangeName::new(exchange).unwrap(),
            library_version: Version::new(version).unwrap(),
            public: PublicValue::new(vec![3; 32]).unwrap(),
            ice_servers: Vec::new(),
            reflectors: Vec::new(),
        }))
    }

    pub(super) fn confirm(call: NetworkCall) -> String {
        let public = PublicValue::new(vec![4; 32]).unwrap();
        text(Event::CallConfirm(CallConfirm {
            call: id_of(call),
            public,
            fingerprint: 5,
            ice_servers: Vec::new(),
            reflectors: Vec::new(),
        }))
    }

    pub(super) fn signal(call: NetworkCall) -> String {
        text(Event::CallSignal(CallSignal {
            call: id_of(call),
            packet: Packet::new(vec![6; 40]).unwrap(),
        }))
    }

    pub(super) fn discard(call: NetworkCall) -> String {
        let reason = wire::DiscardReason::Hangup;
        text(Event::CallDiscard(CallDiscard {
            call: id_of(call),
            reason,
            duration: 0,
            lost: false,
        }))
    }

    pub(super) fn taken(call: NetworkCall) -> String {
        text(Event::CallTaken(CallTaken { call: id_of(call) }))
    }
}

fn hear(adapter: &mut Adapter, now: Instant, text: &str) {
    adapter.handle_frame(now, text.as_bytes());
}

fn events(adapter: &mut Adapter) -> Vec<NetworkEvent> {
    std::iter::from_fn(|| adapter.poll_event()).collect()
}

fn sent(adapter: &mut Adapter) -> Vec<ClientFrame> {
    std::iter::from_fn(|| adapter.poll_frame())
        .map(|frame| ClientFrame::parse(str::from_utf8(&frame).unwrap()).unwrap())
        .collect()
}

/// An adapter with an outgoing (or incoming) call at a stage: 1 requested, 2 received, 3 accepted, 4 confirmed.
fn at(now: Instant, outgoing: bool, stage: usize) -> Adapter {
    let mut adapter = adapter("gw");
    if outgoing {
        adapter.handle_command(now, request(CALL, "100@gw", "anna"));
        for (at, text) in [(2, say::received(CALL)), (3, say::accept(CALL, "x25519", "9.0.0"))] {
            if stage >= at {
                hear(&mut adapter, now, &text);
            }
        }
        if stage >= 4 {
            adapter.handle_command(now, confirm(CALL));
        }
    } else {
        hear(&mut adapter, now, &say::request(CALL, "100@gw"));
        for (at, command) in [(2, NetworkCommand::Received { call: CALL }), (3, accept(CALL))] {
            if stage >= at {
                adapter.handle_command(now, command);
            }
        }
        if stage >= 4 {
            hear(&mut adapter, now, &say::confirm(CALL));
        }
    }
    assert_eq!(adapter.calls(), 1);
    assert_eq!(adapter.dropped(), 0);
    events(&mut adapter);
    adapter.transmits.clear();
    adapter
}

/// Two gateways on one honest hub, moved until nothing moves.
struct Pair {
    hub: Rendezvous,
    now: Instant,
    ours: Adapter,
    theirs: Adapter,
}

impl Pair {
    fn new() -> Self {
        let now = start();
        let directory = Arc::new(Directory::default());
        let token = wire::Token::generate(&mut ChaCha8Rng::seed_from_u64(1));
        directory.insert(Account::person(Name::new("anna").unwrap()), token.hash());
        let gateway = Name::new("gw").unwrap();
        let config = RendezvousConfig {
            gateway: Some(gateway),
            limits: Limits::default(),
            ice_servers: vec![],
            epoch: (now, 0),
        };
        let mut hub = Rendezvous::new(config, directory, Box::new(ChaCha8Rng::seed_from_u64(3)));
        hub.connect_local(ConnKey(0));
        hub.connect(now, ConnKey(1), "192.0.2.1:1".parse().unwrap());
        let client = wire::ClientName::new("test").unwrap();
        let hello = wire::Hello {
            protocol: wire::PROTOCOL,
            client,
            token,
            resume: None,
            receives: true,
        };
        hub.handle_input(
            now,
            ConnKey(1),
            &ClientFrame {
                id: 0,
                request: Request::Hello(hello),
            }
            .to_text(),
        );
        let (_, answer) = hub.poll_transmit().unwrap();
        let answer = ServerFrame::parse(&answer).unwrap();
        assert!(matches!(
            answer,
            ServerFrame::Answer {
                outcome: Ok(Reply::Welcome(_)),
                ..
            }
        ));
        Self {
            hub,
            now,
            ours: adapter("gw"),
            theirs: adapter("anna"),
        }
    }

    fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(frame) = self.ours.poll_frame() {
                let text = str::from_utf8(&frame).unwrap();
                schema::check(text);
                self.hub.handle_input(self.now, ConnKey(0), text);
                moved = true;
            }
            while let Some(frame) = self.theirs.poll_frame() {
                let text = str::from_utf8(&frame).unwrap();
                schema::check(text);
                self.hub.handle_input(self.now, ConnKey(1), text);
                moved = true;
            }
            while let Some((conn, text)) = self.hub.poll_transmit() {
                schema::check(&text);
                let adapter = if conn == ConnKey(0) {
                    &mut self.ours
                } else {
                    &mut self.theirs
                };
                adapter.handle_frame(self.now, text.as_bytes());
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn us(&mut self, command: NetworkCommand) {
        self.ours.handle_command(self.now, command);
        self.settle();
    }

    fn they(&mut self, command: NetworkCommand) {
        self.theirs.handle_command(self.now, command);
        self.settle();
    }
}

#[test]
fn a_call_through_an_honest_hub() {
    let mut pair = Pair::new();
    pair.us(request(CALL, "100@gw", "anna"));
    let NetworkCommand::Request(placed) = request(CALL, "100@gw", "anna") else {
        unreachable!("that is what it makes")
    };
    assert_eq!(events(&mut pair.theirs), [NetworkEvent::Requested(placed)]);
    // An accept without a received says both.
    pair.they(accept(CALL));
    let [
        NetworkEvent::Received { .. },
        NetworkEvent::Accepted {
            exchange,
            public,
            version,
            ..
        },
    ] = &events(&mut pair.ours)[..]
    else {
        panic!("she accepts")
    };
    assert_eq!(
        (*exchange, public.len(), version.as_str()),
        (KeyExchange::X25519, 32, "9.0.0")
    );
    pair.us(confirm(CALL));
    assert_eq!(
        events(&mut pair.theirs),
        [NetworkEvent::Confirmed {
            call: CALL,
            public: vec![4; 32],
            fingerprint: 5
        }]
    );
    pair.us(signal(CALL));
    pair.they(signal(CALL));
    assert!(matches!(events(&mut pair.ours)[..], [NetworkEvent::Signal { .. }]));
    assert!(matches!(events(&mut pair.theirs)[..], [NetworkEvent::Signal { .. }]));
    pair.they(discard(CALL));
    assert_eq!(
        events(&mut pair.ours),
        [NetworkEvent::Discarded {
            call: CALL,
            reason: DiscardReason::Hangup
        }]
    );
    for adapter in [&pair.ours, &pair.theirs] {
        assert_eq!((adapter.calls(), adapter.pending(), adapter.dropped()), (0, 0, 0));
    }
    assert_eq!(pair.hub.calls(), 0);
}

#[test]
fn refusals_have_their_reasons() {
    let check = |from: &str, to: &str, why: Refusal| {
        let mut pair = Pair::new();
        pair.us(request(CALL, from, to));
        assert_eq!(
            events(&mut pair.ours),
            [NetworkEvent::Refused { call: CALL, why }],
            "{to}"
        );
        assert_eq!((pair.ours.calls(), pair.hub.calls()), (0, 0));
    };
    check("100@gw", "nobody", Refusal::UnknownUser);
    check("100@gw", "Not A Name", Refusal::UnknownUser);
    check("100@gw", "gw", Refusal::Offline);
    let mut pair = Pair::new();
    pair.they(request(CALL, "anna", "anna"));
    assert_eq!(
        events(&mut pair.theirs),
        [NetworkEvent::Refused {
            call: CALL,
            why: Refusal::Offline
        }]
    );
    let with = |change: fn(&mut crate::networks::CallRequest)| {
        let mut command = request(CALL, "100@gw", "anna");
        if let NetworkCommand::Request(request) = &mut command {
            change(request);
        }
        command
    };
    for command in [
        request(CALL, "anna", "anna"),
        with(|request| request.offers.clear()),
        with(|request| request.versions.clear()),
        with(|request| request.versions = vec!["9.0.0".to_owned(); 1_000]),
    ] {
        let mut pair = Pair::new();
        pair.us(command);
        assert!(matches!(
            events(&mut pair.ours)[..],
            [NetworkEvent::Refused {
                why: Refusal::Protocol(_),
                ..
            }]
        ));
    }
}

#[test]
fn answers_become_refusals() {
    let check = |code: ErrorCode, retry_after: Option<u32>, expected: Refusal| {
        let now = start();
        let mut adapter = adapter("gw");
        adapter.handle_command(now, request(CALL, "gw", "anna"));
        let id = Some(sent(&mut adapter)[0].id);
        let failure = Failure {
            code,
            message: String::new(),
            retry_after,
        };
        hear(
            &mut adapter,
            now,
            &ServerFrame::Answer {
                id,
                outcome: Err(failure),
            }
            .to_text(),
        );
        assert_eq!(
            events(&mut adapter),
            [NetworkEvent::Refused {
                call: CALL,
                why: expected
            }]
        );
        assert_eq!(
            (adapter.calls(), adapter.pending(), sent(&mut adapter).len()),
            (0, 0, 0)
        );
    };
    check(ErrorCode::UnknownUser, None, Refusal::UnknownUser);
    check(ErrorCode::Offline, None, Refusal::Offline);
    check(ErrorCode::Forbidden, None, Refusal::Forbidden);
    check(
        ErrorCode::RateLimited,
        Some(7),
        Refusal::RateLimited {
            retry_after: Duration::from_secs(7),
        },
    );
    check(ErrorCode::Limit, None, Refusal::Busy);
    check(
        ErrorCode::Limit,
        Some(9),
        Refusal::RateLimited {
            retry_after: Duration::from_secs(9),
        },
    );
    check(ErrorCode::Other("new".into()), None, Refusal::Protocol("new".into()));
}

#[test]
fn a_hostile_hub_cannot_change_the_order() {
    // Per side and stage: what passes (P), is dropped (D) or ends the call (F), for received, accept, confirm, signal.
    let table = [
        (true, ["PFFF", "DPFF", "DDFF", "DDFP"]),
        (false, ["FFFF", "FFFF", "FFPF", "FFDP"]),
    ];
    for (outgoing, stages) in table {
        for (stage, verdicts) in (1..).zip(stages) {
            let verbs = [
                say::received(CALL),
                say::accept(CALL, "x25519", "9.0.0"),
                say::confirm(CALL),
                say::signal(CALL),
            ];
            for (verb, verdict) in verbs.into_iter().zip(verdicts.chars()) {
                let now = start();
                let mut adapter = at(now, outgoing, stage);
                hear(&mut adapter, now, &verb);
                let place = format!("outgoing {outgoing}, stage {stage}, {verb}");
                let events = events(&mut adapter);
                match verdict {
                    'P' => assert_eq!((events.len(), adapter.calls(), adapter.dropped()), (1, 1, 0), "{place}"),
                    'D' => assert_eq!((events.len(), adapter.calls(), adapter.dropped()), (0, 1, 1), "{place}"),
                    _ => {
                        let refused = matches!(
                            events[..],
                            [NetworkEvent::Refused {
                                why: Refusal::Protocol(_),
                                ..
                            }]
                        );
                        assert!(refused, "{place}: {events:?}");
                        let discards = sent(&mut adapter);
                        assert!(
                            matches!(
                                discards[..],
                                [ClientFrame {
                                    request: Request::CallDiscard(_),
                                    ..
                                }]
                            ),
                            "{place}"
                        );
                        assert_eq!(adapter.calls(), 0, "{place}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_end_comes_in_every_state_and_once() {
    for outgoing in [true, false] {
        for stage in 1..=4 {
            for text in [say::discard(CALL), say::taken(CALL)] {
                let now = start();
                let mut adapter = at(now, outgoing, stage);
                hear(&mut adapter, now, &text);
                assert!(matches!(
                    events(&mut adapter)[..],
                    [NetworkEvent::Discarded { call: CALL, .. }]
                ));
                hear(&mut adapter, now, &text);
                hear(&mut adapter, now, &say::signal(CALL));
                hear(&mut adapter, now, &say::request(CALL, "gw"));
                assert!(events(&mut adapter).is_empty());
                assert_eq!((adapter.calls(), adapter.dropped()), (0, 3));
                adapter.handle_command(now, discard(CALL));
                adapter.handle_command(now, signal(CALL));
                assert!(
                    sent(&mut adapter).is_empty(),
                    "nothing is sent about a call that is over"
                );
            }
        }
    }
}

#[test]
fn a_swapped_choice_ends_the_call() {
    for (exchange, version) in [("future", "9.0.0"), ("x25519", "7.0.0")] {
        let now = start();
        let mut adapter = at(now, true, 2);
        hear(&mut adapter, now, &say::accept(CALL, exchange, version));
        assert!(matches!(
            events(&mut adapter)[..],
            [NetworkEvent::Refused {
                why: Refusal::Protocol(_),
                ..
            }]
        ));
        assert_eq!(adapter.calls(), 0);
    }
}

#[test]
fn requests_that_are_not_for_us_are_dropped() {
    let now = start();
    let mut adapter = adapter("gw");
    for to in ["anna", "100@anna", "gw2", "gw@anna"] {
        hear(&mut adapter, now, &say::request(CALL, to));
    }
    assert_eq!((adapter.calls(), adapter.dropped()), (0, 4));
    hear(&mut adapter, now, &say::request(CALL, "100@gw"));
    let [NetworkEvent::Requested(request)] = &events(&mut adapter)[..] else {
        panic!("a call")
    };
    assert_eq!(
        request.offers,
        offers(),
        "unknown exchanges and repeated names are left out"
    );
    hear(&mut adapter, now, &say::request(CALL, "100@gw"));
    assert!(events(&mut adapter).is_empty());

    let nothing = say::request(NetworkCall([8; 16]), "gw")
        .replace("x25519", "x448")
        .replace("dh2048", "dh4096");
    hear(&mut adapter, now, &nothing);
    // One that offers nothing known is a call all the same, which is refused and recorded as any other.
    let [NetworkEvent::Requested(request)] = &events(&mut adapter)[..] else {
        panic!("a call")
    };
    assert_eq!(request.offers, []);
}

#[test]
fn our_own_request_sent_back_is_no_call() {
    let now = start();
    let mut adapter = at(now, true, 1);
    hear(&mut adapter, now, &say::request(CALL, "gw"));
    assert!(events(&mut adapter).is_empty());
    assert_eq!((adapter.calls(), adapter.dropped()), (1, 1));
}

#[test]
fn a_silent_hub_ends_the_call() {
    let now = start();
    let mut adapter = adapter("gw");
    adapter.handle_command(now, request(CALL, "gw", "anna"));
    sent(&mut adapter);
    let due = adapter.poll_timeout().unwrap();
    assert_eq!(due, now + ANSWER);
    adapter.handle_timeout(due);
    assert!(matches!(events(&mut adapter)[..], [NetworkEvent::Refused { .. }]));
    sent(&mut adapter);
    adapter.handle_timeout(due + ANSWER);
    assert_eq!(
        (adapter.calls(), adapter.pending(), adapter.poll_timeout()),
        (0, 0, None)
    );
}

#[test]
fn a_lost_connection_ends_every_call() {
    for outgoing in [true, false] {
        for stage in 1..=4 {
            let mut adapter = at(start(), outgoing, stage);
            adapter.handle_link(start(), Link::Down);
            let why = Refusal::Lost;
            assert_eq!(events(&mut adapter), [NetworkEvent::Refused { call: CALL, why }]);
            assert_eq!(
                (adapter.calls(), adapter.pending(), adapter.poll_timeout()),
                (0, 0, None)
            );
        }
    }
}

#[test]
fn what_is_asked_waits_for_a_connection_and_then_for_its_answer() {
    let now = start();
    let mut adapter = at(now, true, 3);
    adapter.handle_command(now, confirm(CALL));
    adapter.handle_link(now, Link::Away);
    assert_eq!(adapter.poll_timeout(), None);
    let later = now + 5 * ANSWER;
    adapter.handle_timeout(later);
    assert_eq!((events(&mut adapter), adapter.calls()), (vec![], 1));
    adapter.handle_link(later, Link::Up);
    let due = adapter.poll_timeout().unwrap();
    assert_eq!(due, later + ANSWER);
    adapter.handle_timeout(due);
    assert_eq!(adapter.calls(), 0);
}

#[test]
fn a_hub_that_has_forgotten_all_is_told_of_the_calls_with_a_key() {
    let now = start();
    let unknown = |id| {
        let outcome = Err(Failure::new(ErrorCode::UnknownCall, ""));
        ServerFrame::Answer { id: Some(id), outcome }.to_text()
    };
    for outgoing in [true, false] {
        for stage in 1..=3 {
            let mut adapter = at(now, outgoing, stage);
            adapter.handle_link(now, Link::Anew);
            let why = Refusal::Lost;
            assert_eq!(events(&mut adapter), [NetworkEvent::Refused { call: CALL, why }]);
            assert_eq!((sent(&mut adapter), adapter.calls()), (vec![], 0));
        }
        let mut adapter = at(now, outgoing, 4);
        adapter.handle_link(now, Link::Anew);
        let peer = Name::new("anna").unwrap();
        let frames = sent(&mut adapter);
        let body = wire::CallRejoin {
            call: id_of(CALL),
            peer,
        };
        assert_eq!(frames[0].request, Request::CallRejoin(body));
        // The other side is not there yet: neither this nor a packet to it says anything of the call.
        hear(&mut adapter, now, &unknown(frames[0].id));
        adapter.handle_command(now, signal(CALL));
        let id = sent(&mut adapter)[0].id;
        hear(&mut adapter, now, &unknown(id));
        assert_eq!((events(&mut adapter), adapter.calls()), (vec![], 1));

        // A later call is over when the hub does not know it.
        let second = NetworkCall([8; 16]);
        adapter.handle_command(now, request(second, "gw", "anna"));
        hear(&mut adapter, now, &say::received(second));
        hear(&mut adapter, now, &say::accept(second, "x25519", "9.0.0"));
        adapter.handle_command(now, confirm(second));
        adapter.handle_command(now, signal(second));
        events(&mut adapter);
        let id = sent(&mut adapter).last().unwrap().id;
        hear(&mut adapter, now, &unknown(id));
        let why = Refusal::Lost;
        assert_eq!(events(&mut adapter), [NetworkEvent::Refused { call: second, why }]);
    }
}

#[test]
fn an_error_in_mid_call_ends_it_on_both_sides() {
    let now = start();
    let mut adapter = adapter("gw");
    hear(&mut adapter, now, &say::request(CALL, "gw"));
    adapter.handle_command(now, NetworkCommand::Received { call: CALL });
    adapter.handle_command(now, accept(CALL));
    let frames = sent(&mut adapter);
    let refuse = |id| {
        let outcome = Err(Failure::new(ErrorCode::UnknownCall, ""));
        ServerFrame::Answer { id: Some(id), outcome }.to_text()
    };
    events(&mut adapter);
    hear(&mut adapter, now, &refuse(frames[1].id));
    assert!(matches!(events(&mut adapter)[..], [NetworkEvent::Refused { .. }]));
    assert!(matches!(
        sent(&mut adapter)[..],
        [ClientFrame {
            request: Request::CallDiscard(_),
            ..
        }]
    ));
    hear(&mut adapter, now, &refuse(frames[1].id));
    hear(&mut adapter, now, &refuse(999));
    assert_eq!((events(&mut adapter).len(), adapter.dropped()), (0, 2));

    // A signal that the hub's rate refuses is lost, as packets are; one about an unknown call ends it.
    for (code, ends) in [(ErrorCode::RateLimited, false), (ErrorCode::UnknownCall, true)] {
        let mut adapter = at(now, true, 4);
        adapter.handle_command(now, signal(CALL));
        let id = Some(sent(&mut adapter)[0].id);
        let outcome = Err(Failure::new(code, ""));
        hear(&mut adapter, now, &ServerFrame::Answer { id, outcome }.to_text());
        assert_eq!((events(&mut adapter).len() == 1, adapter.calls() == 0), (ends, ends));
    }
}

#[test]
fn mutated_frames_of_the_hub_never_panic_and_stay_bounded() {
    let now = start();
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let mut adapter = adapter("gw");
    let mut clock = now;
    for round in 0..20_000_u32 {
        let call = NetworkCall([(rng.next_u32() % 64) as u8; 16]);
        clock += Duration::from_millis(50);
        let text = match rng.next_u32() % 9 {
            0 | 1 => say::request(call, "100@gw"),
            2 => say::received(call),
            3 => say::accept(call, "dh2048", "9.0.0"),
            4 => say::confirm(call),
            5 => say::signal(call),
            6 => say::taken(call),
            7 => say::discard(call),
            _ => ServerFrame::Answer {
                id: Some(u64::from(round / 4)),
                outcome: Ok(Reply::Done),
            }
            .to_text(),
        };
        let mut bytes = text.into_bytes();
        if rng.next_u32().is_multiple_of(3) {
            let at = rng.next_u32() as usize % bytes.len();
            bytes[at] = rng.next_u32() as u8;
        }
        adapter.handle_frame(clock, &bytes);
        let command = match rng.next_u32() % 6 {
            0 => request(
                NetworkCall(std::array::from_fn(|_| rng.next_u32() as u8)),
                "1@gw",
                "anna",
            ),
            1 => NetworkCommand::Received { call },
            2 => accept(call),
            3 => confirm(call),
            4 => signal(call),
            _ => discard(call),
        };
        adapter.handle_command(clock, command);
        adapter.handle_timeout(clock);
        events(&mut adapter);
        assert!(sent(&mut adapter).len() < 8);
        assert!(adapter.calls() <= 4096 && adapter.pending() <= MAX_PENDING);
    }
}
