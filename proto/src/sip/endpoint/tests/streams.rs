//! Connections that close, come back, or are opened by us; flows, and proxies on the way.

use super::*;

/// A world over TCP in which phone 100 has registered from an ephemeral port, with this Contact and further fields; the answer to that.
fn registered(contact: &str, more: &str) -> (World, String) {
    PROTOCOL.set(Protocol::Tcp);
    let mut world = World::new(71);
    let answer = register(&mut world, "192.0.2.2:40000", 1, contact, more);
    (world, answer)
}

fn register(world: &mut World, source: &str, cseq: u32, contact: &str, more: &str) -> String {
    world.log_in(source, ("100", "secret"), ("REGISTER", "sip:quartet.example"), |login| {
        let cseq = if login.is_empty() { 2 * cseq } else { 2 * cseq + 1 };
        format!(
            "REGISTER sip:quartet.example SIP/2.0\r\nVia: SIP/2.0/TCP {source};branch=z9hG4bK{source}{cseq};rport\r\n\
             From: <sip:100@quartet.example>;tag=t\r\nTo: <sip:100@quartet.example>\r\nCall-ID: reg {source}\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: {contact};expires=300\r\n{more}{login}Content-Length: 0\r\n\r\n"
        )
    })
}

impl World {
    fn connection(&self, source: &str) -> ConnectionId {
        let way = self.way(self.nodes[GATEWAY].address, source.parse().unwrap());
        way.connection.expect("a stream")
    }

    fn close(&mut self, source: &str) {
        let (now, id) = (self.now, self.connection(source));
        self.gateway().handle_closed(now, id);
        self.drain(GATEWAY);
    }

    /// What was sent last, and over which way.
    fn last(&self) -> &str {
        self.packets.last().expect("something was sent")
    }
}

fn is_offline(events: &[SipEvent], call: DialogKey) -> bool {
    let is_it = |event: &SipEvent| matches!(event, SipEvent::Rejected { dialog, status: 408, .. } if *dialog == call);
    events.iter().any(is_it)
}

#[test]
fn a_call_over_a_connection_that_closes_is_over_and_the_next_is_tried_at_the_contact_where_the_phone_listens() {
    let (mut world, answer) = registered("<sip:100@192.0.2.2:5070;transport=tcp>", "");
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let call = world.ring_phone(Some(b"offer"));
    assert!(
        world
            .last()
            .starts_with("INVITE sip:100@192.0.2.2:5070;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP")
    );
    assert!(
        world
            .last()
            .contains("Contact: <sip:gw01-1@192.0.2.1:5060;transport=tcp>\r\n"),
        "{}",
        world.last()
    );
    assert_eq!(world.gateway().poll_connect(), None, "over the phone's own");
    world.close("192.0.2.2:40000");
    world.second();
    assert!(is_offline(&world.events(GATEWAY), call));
    // Its Contact is its own host: that may be called back.
    let again = world.ring_phone(Some(b"offer"));
    let opened = world.gateway().poll_connect().expect("a connection");
    assert_eq!(
        (opened.remote, opened.connection),
        ("192.0.2.2:5070".parse().unwrap(), Some(ConnectionId::opened(0)))
    );
    // Which is refused there.
    let now = world.now;
    world.gateway().handle_closed(now, ConnectionId::opened(0));
    world.second();
    assert!(is_offline(&world.events(GATEWAY), again));
}

#[test]
fn nobody_is_called_back_at_another_host_than_the_one_it_came_from() {
    for contact in [
        "<sip:100@192.0.2.66:5070;transport=tcp>",
        "<sip:100@10.0.0.5:5060;transport=tcp>",
        "<sip:100@phone.invalid;transport=tcp>",
    ] {
        let (mut world, _) = registered(contact, "");
        world.close("192.0.2.2:40000");
        let call = world.ring_phone(Some(b"offer"));
        assert_eq!(world.gateway().poll_connect(), None, "{contact}");
        world.second();
        assert!(is_offline(&world.events(GATEWAY), call));
    }
}

#[test]
fn a_phone_that_has_come_back_is_reached_over_its_new_connection_within_a_call_too() {
    let contact = "<sip:100@10.0.0.5:5060;transport=tcp>";
    let (mut world, _) = registered(contact, "");
    let call = world.ring_phone(Some(b"offer"));
    let invite = world.last().to_owned();
    let copied = |name: &str| invite.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let answer = format!(
        "SIP/2.0 200 OK\r\n{}\r\n{}\r\n{};tag=phone\r\n{}\r\n{}\r\nContact: {contact}\r\nContent-Length: 0\r\n\r\n",
        copied("Via"),
        copied("From"),
        copied("To"),
        copied("Call-ID"),
        copied("CSeq")
    );
    world.inject(GATEWAY, "192.0.2.2:40000", answer.as_bytes());
    assert!(world.last().starts_with("ACK "));
    world.close("192.0.2.2:40000");
    let answer = register(&mut world, "192.0.2.2:41000", 9, contact, "");
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    world.hangup(GATEWAY, call);
    assert!(world.last().starts_with("BYE "));
    let sent = world.nodes[GATEWAY]
        .endpoint
        .is_connection_used(world.way(world.nodes[GATEWAY].address, "192.0.2.2:41000".parse().unwrap()));
    assert!(sent);
    let bye = world.wire.values().last().expect("it is on its way").0;
    assert_eq!(bye.local, "192.0.2.2:41000".parse().unwrap());
}

#[test]
fn a_restart_leaves_no_connection_and_what_comes_back_is_used() {
    let contact = "<sip:100@192.0.2.2:40000;transport=tcp>";
    let (mut world, _) = registered(contact, "");
    let saved = world.gateway().bindings("100");
    world.replace_gateway(config("gw01"));
    let (now, local) = (world.now, world.nodes[GATEWAY].address);
    world.gateway().set_local(vec![(Protocol::Tcp, local)]);
    world.gateway().restore_bindings(now, "100", saved);
    let contact = world.gateway().contacts(now, "100").remove(0);
    assert_eq!(contact.five_tuple.connection, Some(ConnectionId::GONE));
}

#[test]
fn proxies_on_the_way_are_noted_told_and_taken_again() {
    let path = "Path: <sip:edge.example;lr>, <sip:192.0.2.77;lr>\r\nSupported: path\r\n";
    let (mut world, answer) = registered("<sip:100@10.0.0.5>", path);
    assert!(
        answer.contains("Path: <sip:edge.example;lr>, <sip:192.0.2.77;lr>\r\n"),
        "{answer}"
    );
    let contact = world.nodes[GATEWAY].endpoint.contacts(world.now, "100").remove(0);
    assert_eq!(contact.path, ["<sip:edge.example;lr>", "<sip:192.0.2.77;lr>"]);
    let broken = register(
        &mut world,
        "192.0.2.2:40000",
        9,
        "<sip:100@10.0.0.5>",
        "Path: <nonsense\r\n",
    );
    assert!(broken.starts_with("SIP/2.0 400 Bad Path"), "{broken}");
    let long = format!("Path: <sip:{}@x>\r\n", "a".repeat(3000));
    let long = register(&mut world, "192.0.2.2:40000", 19, "<sip:100@10.0.0.5>", &long);
    assert!(long.starts_with("SIP/2.0 400 Bad Path"), "{long}");
}

#[test]
fn of_two_flows_of_one_phone_one_is_called() {
    let contact = |flow: u32| format!("<sip:100@10.0.0.5>;+sip.instance=\"<urn:uuid:1>\";reg-id={flow}");
    let more = "Supported: path, outbound\r\nRequire: outbound\r\n";
    let (mut world, answer) = registered(&contact(1), more);
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert!(
        answer.contains("\r\nRequire: outbound\r\n") && answer.contains("\r\nFlow-Timer: 120\r\n"),
        "{answer}"
    );
    // The same URI by another flow is another binding.
    register(
        &mut world,
        "192.0.2.2:41000",
        1,
        &contact(2).replace("10.0.0.5", "10.0.0.6"),
        more,
    );
    let ways = |world: &mut World| {
        let now = world.now;
        let contacts = world.gateway().contacts(now, "100");
        contacts
            .iter()
            .map(|contact| contact.five_tuple.remote.port())
            .collect::<Vec<_>>()
    };
    assert_eq!(ways(&mut world), [41_000]);
    world.close("192.0.2.2:41000");
    assert_eq!(ways(&mut world), [40_000], "the other flow stands");
    let strange = "REGISTER sip:quartet.example SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.2:42000;branch=z9hG4bKg;rport\r\n\
                   From: <sip:100@quartet.example>;tag=t\r\nTo: <sip:100@quartet.example>\r\nCall-ID: g\r\nCSeq: 1 REGISTER\r\n\
                   Require: outbound, gruu\r\n\r\n";
    world.inject(GATEWAY, "192.0.2.2:42000", strange.as_bytes());
    let other = world.last();
    assert!(
        other.starts_with("SIP/2.0 420") && other.contains("Unsupported: gruu\r\n"),
        "{other}"
    );
}

#[test]
fn what_has_no_length_gets_an_answer_over_a_stream_and_none_is_needed_in_a_datagram() {
    let options = "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.2:5060;branch=z9hG4bKo;rport\r\nFrom: <sip:a@x>;tag=1\r\n\
                   To: <sip:x>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nX: Content-Length\r\n\r\n";
    for (protocol, status) in [(Protocol::Tcp, "400"), (Protocol::Wss, "200"), (Protocol::Udp, "200")] {
        PROTOCOL.set(protocol);
        let mut world = World::new(72);
        world.inject(GATEWAY, "192.0.2.2:5060", options.as_bytes());
        assert!(
            world.last().starts_with(&format!("SIP/2.0 {status}")),
            "{}",
            world.last()
        );
    }
}

/// Seen with a hundred phones of one office over TCP: sixty were challenged, the others waited for half a minute.
#[test]
fn over_a_connection_every_request_is_answered_however_many_come_from_one_host() {
    for (protocol, answered) in [(Protocol::Tcp, 200), (Protocol::Udp, 60)] {
        PROTOCOL.set(protocol);
        let mut world = World::new(73);
        for n in 0..200 {
            let source = format!("192.0.2.2:{}", 40_000 + n);
            let options = format!(
                "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP {source};branch=z9hG4bKo{n};rport\r\nFrom: <sip:a@x>;tag=1\r\n\
                 To: <sip:x>\r\nCall-ID: c{n}\r\nCSeq: 1 OPTIONS\r\n\r\n"
            );
            world.inject(GATEWAY, &source, options.as_bytes());
        }
        assert_eq!(world.packets.len(), answered, "{protocol:?}");
    }
}

/// What a caller writes into Record-Route and Contact is connected to at its own host alone, when its connection is gone.
#[test]
fn a_caller_has_us_connect_to_nobody_else() {
    for (route, contact, connects) in [
        (
            "Record-Route: <sip:192.0.2.66:30999;lr;transport=tcp>\r\n",
            "192.0.2.2:5070",
            None,
        ),
        ("", "192.0.2.66:5070", None),
        ("", "192.0.2.2:5070", Some("192.0.2.2:5070")),
    ] {
        PROTOCOL.set(Protocol::Tcp);
        let mut world = World::new(74);
        let source = "192.0.2.2:40000";
        let answer = world.log_in(source, ("100", "secret"), ("INVITE", "sip:200@quartet.example"), |login| {
            let cseq = if login.is_empty() { 1 } else { 2 };
            format!(
                "INVITE sip:200@quartet.example SIP/2.0\r\nVia: SIP/2.0/TCP {source};branch=z9hG4bKi{cseq};rport\r\n\
                 From: <sip:100@quartet.example>;tag=t\r\nTo: <sip:200@quartet.example>\r\nCall-ID: rr\r\nCSeq: {cseq} INVITE\r\n\
                 Contact: <sip:100@{contact};transport=tcp>\r\n{route}{login}Content-Length: 0\r\n\r\n"
            )
        });
        assert!(answer.starts_with("SIP/2.0 100"), "{answer}");
        let call = world.incoming(GATEWAY);
        world.accept(GATEWAY, call);
        let to = world
            .last()
            .lines()
            .find(|line| line.starts_with("To: "))
            .unwrap()
            .to_owned();
        let ack = format!(
            "ACK sip:gw01-1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP {source};branch=z9hG4bKa;rport\r\nFrom: <sip:100@quartet.example>;tag=t\r\n\
             {to}\r\nCall-ID: rr\r\nCSeq: 2 ACK\r\nContent-Length: 0\r\n\r\n"
        );
        world.inject(GATEWAY, source, ack.as_bytes());
        world.close(source);
        world.hangup(GATEWAY, call);
        let opened = world.gateway().poll_connect().map(|way| way.remote.to_string());
        assert_eq!(opened.as_deref(), connects, "{route}{contact}");
    }
}

/// Over it the registrar calls us.
#[test]
fn the_connection_of_a_registration_of_ours_is_of_use_until_it_is_taken_back() {
    PROTOCOL.set(Protocol::Tcp);
    let mut world = World::new(75);
    world.gateway().set_accounts(vec![account("100", "secret")]);
    let way = world.way(world.nodes[PHONE].address, world.nodes[GATEWAY].address);
    assert!(!world.nodes[PHONE].endpoint.is_connection_used(way));
    world.register(PHONE, "100", "secret", 300);
    world.second();
    assert!(world.nodes[PHONE].endpoint.is_connection_used(way));
    world.register(PHONE, "100", "secret", 0);
    world.run(Duration::from_secs(40));
    assert!(!world.nodes[PHONE].endpoint.is_connection_used(way));
}

#[test]
fn of_an_accounts_connections_only_the_latest_stay_and_those_that_are_used() {
    let (mut world, _) = registered("<sip:100@192.0.2.2:40000;transport=tcp>", "");
    let call = world.ring_phone(Some(b"offer"));
    let mut released = Vec::new();
    for port in 40_001..40_100 {
        let source = format!("192.0.2.2:{port}");
        let answer = register(&mut world, &source, 1, &format!("<sip:100@{source};transport=tcp>"), "");
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        released.extend(std::iter::from_fn(|| world.gateway().poll_release()));
    }
    let bound = account("100", "secret").max_contacts;
    // Beside those that are bound: the spare ones, and the one of the call.
    assert!(released.len() >= 100 - bound - 5, "{} of 100", released.len());
    assert!(
        !released.contains(&world.connection("192.0.2.2:40000")),
        "a call goes on over it"
    );
    let latest = (40_100 - bound..40_100).map(|port| world.connection(&format!("192.0.2.2:{port}")));
    assert!(latest.into_iter().all(|id| !released.contains(&id)), "they are bound");
    world.hangup(GATEWAY, call);
}
