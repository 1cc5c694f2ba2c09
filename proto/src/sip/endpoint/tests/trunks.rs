//! Trunks: calls from known addresses, and calls that go past a place that is silent.

use super::*;

const TRUNK: &str = "192.0.2.2";

pub(super) fn world() -> World {
    PROTOCOL.set(Protocol::Udp);
    let mut world = World::new(91);
    world
        .gateway()
        .set_trunks(vec![("pbx".to_owned(), vec![format!("{TRUNK}/32").parse().unwrap()])]);
    world
}

fn invite(source: &str, from: &str, tag: &str) -> String {
    format!(
        "INVITE sip:+49-30-1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bKi{tag};rport\r\nFrom: <sip:{from}@pbx>;tag={tag}\r\n\
         To: <sip:1@192.0.2.1>\r\nCall-ID: c{tag}\r\nCSeq: 1 INVITE\r\nContact: <sip:pbx@{source}>\r\nContent-Length: 0\r\n\r\n"
    )
}

fn caller(world: &mut World) -> Option<(Caller, String)> {
    world.events(GATEWAY).into_iter().find_map(|event| {
        if let SipEvent::Incoming { caller, target, .. } = event {
            Some((caller, target))
        } else {
            None
        }
    })
}

#[test]
fn calls_from_a_trunks_address_are_its_and_from_elsewhere_nobodys() {
    let mut world = world();
    world.inject(
        GATEWAY,
        "192.0.2.2:5060",
        invite("192.0.2.2:5060", "4930", "a").as_bytes(),
    );
    assert_eq!(caller(&mut world), Some((Caller::Trunk("pbx".into()), "+49301".into())));
    world.inject(
        GATEWAY,
        "192.0.2.9:5060",
        invite("192.0.2.9:5060", "4930", "b").as_bytes(),
    );
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 401"));
    // What it says of where it is changes nothing.
    let forged = invite("192.0.2.2:5060", "4930", "d");
    world.inject(GATEWAY, "192.0.2.9:5061", forged.as_bytes());
    assert_eq!(caller(&mut world), None);
    // REGISTER is no call: a login is asked for.
    let register = invite("192.0.2.2:5060", "100", "e").replace("INVITE", "REGISTER");
    world.inject(GATEWAY, "192.0.2.2:5060", register.as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 401"));
}

/// Over a WebSocket a proxy says whose it is: that is none of the trunk's addresses.
#[test]
fn no_trunk_and_no_proxy_comes_over_a_websocket() {
    PROTOCOL.set(Protocol::Ws);
    let mut world = World::new(92);
    let network = format!("{TRUNK}/32").parse().unwrap();
    world.gateway().set_trunks(vec![("pbx".to_owned(), vec![network])]);
    world.inject(
        GATEWAY,
        "192.0.2.2:5060",
        invite("192.0.2.2:5060", "4930", "a").as_bytes(),
    );
    assert_eq!(caller(&mut world), None);
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 401"));
    let way = world.way(world.nodes[GATEWAY].address, "192.0.2.2:5060".parse().unwrap());
    world.gateway().set_trusted_proxies(vec![network]);
    assert!(!world.gateway().is_connection_used(way));
}

#[test]
fn in_a_call_of_a_trunk_its_addresses_are_heard_and_nobody_elses() {
    let mut world = world();
    world.inject(
        GATEWAY,
        "192.0.2.2:5060",
        invite("192.0.2.2:5060", "4930", "a").as_bytes(),
    );
    let dialog = world.incoming(GATEWAY);
    world.accept(GATEWAY, dialog);
    let answer = world.packets.last().unwrap().clone();
    let to = answer.lines().find(|line| line.starts_with("To: ")).unwrap().to_owned();
    let bye = |source: &str| {
        format!(
            "BYE sip:gw01-1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bKbye{source};rport\r\nFrom: <sip:4930@pbx>;tag=a\r\n\
             {to}\r\nCall-ID: ca\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
        )
    };
    world.inject(GATEWAY, "192.0.2.9:5060", bye("192.0.2.9:5060").as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 481"));
    // Another port of the trunk's host.
    world.inject(GATEWAY, "192.0.2.2:5099", bye("192.0.2.2:5099").as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 200"));
}

/// A call of the gateway to these places in turn.
fn dial(world: &mut World, places: &[&str]) -> DialogKey {
    dial_with(world, places, Vec::new())
}

/// The same with such header fields.
pub(super) fn dial_with(world: &mut World, places: &[&str], headers: Vec<(&'static str, String)>) -> DialogKey {
    let dialog = world.gateway().new_dialog_key();
    let way = |place: &&str| {
        let local = "192.0.2.1:5060".parse().unwrap();
        let way = FiveTuple::new(Protocol::Udp, local, place.parse().unwrap());
        (format!("sip:1@{place}"), way)
    };
    let mut ways: Vec<_> = places.iter().map(way).collect();
    let (request_uri, five_tuple) = ways.remove(0);
    let command = SipCommand::Invite(Box::new(OutgoingInvite {
        trunk: Some("pbx".to_owned()),
        alternates: ways,
        routes: Vec::new(),
        dialog,
        request_uri,
        five_tuple,
        origin: five_tuple.remote,
        from: address("<sip:100@gateway>"),
        to: address("<sip:1@pbx>"),
        identity: None,
        headers,
        body: Some(b"offer".to_vec()),
        credentials: credentials("100", "secret"),
        account: None,
    }));
    world.command(GATEWAY, command).unwrap();
    dialog
}

/// A response to the last request of this method that begins so.
pub(super) fn respond(world: &mut World, from: &str, begin: &str, status: &str) {
    let response = response_to(world, from, begin, status);
    world.inject(GATEWAY, from, response.as_bytes());
}

/// The same, as text.
pub(super) fn response_to(world: &World, from: &str, begin: &str, status: &str) -> String {
    let request = world
        .packets
        .iter()
        .rev()
        .find(|packet| packet.starts_with(begin))
        .unwrap();
    let field = |name: &str| request.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    format!(
        "SIP/2.0 {status}\r\n{}\r\n{}\r\n{};tag=far\r\n{}\r\n{}\r\nContact: <sip:1@{from}>\r\nContent-Length: 0\r\n\r\n",
        field("Via"),
        field("From"),
        field("To"),
        field("Call-ID"),
        field("CSeq")
    )
}

fn invites(world: &World) -> Vec<String> {
    let invites = world.packets.iter().filter(|packet| packet.starts_with("INVITE"));
    let mut uris: Vec<_> = invites
        .filter_map(|it| it.split(' ').nth(1))
        .map(str::to_owned)
        .collect();
    uris.dedup();
    uris
}

#[test]
fn a_call_goes_to_the_next_place_after_a_second_of_silence_and_who_answers_later_is_sent_away() {
    let mut world = world();
    let call = dial(&mut world, &["192.0.2.11:5060", "192.0.2.12:5060", "192.0.2.13:5060"]);
    world.run(Duration::from_millis(900));
    assert_eq!(invites(&world), ["sip:1@192.0.2.11:5060"]);
    world.run(Duration::from_millis(200));
    assert_eq!(invites(&world), ["sip:1@192.0.2.11:5060", "sip:1@192.0.2.12:5060"]);
    // This one rings: the call stays.
    respond(&mut world, "192.0.2.12:5060", "INVITE sip:1@192.0.2.12", "180 Ringing");
    world.run(Duration::from_secs(5));
    assert_eq!(invites(&world).len(), 2);
    // The first was only slow.
    respond(&mut world, "192.0.2.11:5060", "INVITE sip:1@192.0.2.11", "180 Ringing");
    assert!(
        world
            .packets
            .last()
            .unwrap()
            .starts_with("CANCEL sip:1@192.0.2.11:5060")
    );
    respond(&mut world, "192.0.2.11:5060", "INVITE sip:1@192.0.2.11", "200 OK");
    let last: Vec<_> = world.packets.iter().rev().take(2).map(|packet| &packet[..24]).collect();
    assert_eq!(last, ["BYE sip:1@192.0.2.11:506", "ACK sip:1@192.0.2.11:506"]);
    let answered = |events: &[SipEvent]| events.iter().any(|event| matches!(event, SipEvent::Accepted { .. }));
    assert!(!answered(&world.events(GATEWAY)));
    respond(&mut world, "192.0.2.12:5060", "INVITE sip:1@192.0.2.12", "200 OK");
    assert!(answered(&world.events(GATEWAY)));
    world.hangup(GATEWAY, call);
    assert!(world.packets.last().unwrap().starts_with("BYE sip:1@192.0.2.12:5060"));
}

#[test]
fn a_place_that_is_overloaded_is_passed_and_a_refusal_of_the_callee_is_not() {
    let mut world = world();
    let places = ["192.0.2.11:5060", "192.0.2.12:5060"];
    let call = dial(&mut world, &places);
    respond(&mut world, places[0], "INVITE", "503 Service Unavailable");
    assert_eq!(invites(&world).len(), 2);
    respond(&mut world, places[1], "INVITE", "486 Busy Here");
    let is_busy = |event: &SipEvent| matches!(event, SipEvent::Rejected { dialog, status: 486, .. } if *dialog == call);
    assert!(world.events(GATEWAY).iter().any(is_busy));
    world.packets.clear();
    let call = dial(&mut world, &places);
    respond(&mut world, places[0], "INVITE", "486 Busy Here");
    assert_eq!(invites(&world).len(), 1);
    let is_busy = |event: &SipEvent| matches!(event, SipEvent::Rejected { dialog, status: 486, .. } if *dialog == call);
    assert!(world.events(GATEWAY).iter().any(is_busy));
    // The last one's silence is the call's.
    world.packets.clear();
    let call = dial(&mut world, &places);
    world.run(Duration::from_secs(34));
    let is_over = |event: &SipEvent| matches!(event, SipEvent::Rejected { dialog, status: 408, .. } if *dialog == call);
    assert!(world.events(GATEWAY).iter().any(is_over));
    world.assert_empty();
}

#[test]
fn a_call_for_whose_next_place_there_is_no_room_stays_and_is_told_its_end() {
    let mut world = world();
    let places = ["192.0.2.11:5060", "192.0.2.12:5060"];
    world.gateway().config.limits.client_transactions = 1;
    let call = dial(&mut world, &places);
    world.run(Duration::from_secs(2));
    assert_eq!(invites(&world), ["sip:1@192.0.2.11:5060"]);
    // It was only slow.
    respond(&mut world, places[0], "INVITE", "180 Ringing");
    let rings =
        |event: &SipEvent| matches!(event, SipEvent::Provisional { dialog, status: 180, .. } if *dialog == call);
    assert!(world.events(GATEWAY).iter().any(rings));
    respond(&mut world, places[0], "INVITE", "486 Busy Here");
    let is_over = |event: &SipEvent| matches!(event, SipEvent::Rejected { dialog, status: 486, .. } if *dialog == call);
    assert!(world.events(GATEWAY).iter().any(is_over));
    world.run(Duration::from_secs(40));
    let call = dial(&mut world, &places);
    world.run(Duration::from_secs(34));
    let is_over = |event: &SipEvent| matches!(event, SipEvent::Rejected { dialog, status: 408, .. } if *dialog == call);
    assert!(world.events(GATEWAY).iter().any(is_over));
    world.assert_empty();
}

#[test]
fn a_place_that_asks_for_a_login_has_answered() {
    let mut world = world();
    let places = ["192.0.2.11:5060", "192.0.2.12:5060"];
    dial(&mut world, &places);
    respond(
        &mut world,
        places[0],
        "INVITE",
        "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"n\"",
    );
    assert!(
        world
            .packets
            .last()
            .unwrap()
            .contains("Authorization: Digest username=\"100\"")
    );
    world.run(Duration::from_millis(400));
    respond(&mut world, places[0], "INVITE", "180 Ringing");
    world.run(Duration::from_secs(4));
    assert_eq!(invites(&world), ["sip:1@192.0.2.11:5060"]);
    // The login itself may be met with silence.
    world.packets.clear();
    dial(&mut world, &places);
    respond(
        &mut world,
        places[0],
        "INVITE",
        "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"n\"",
    );
    world.run(Duration::from_millis(1100));
    assert_eq!(invites(&world), ["sip:1@192.0.2.11:5060", "sip:1@192.0.2.12:5060"]);
    assert!(
        !world.packets.last().unwrap().contains("Authorization"),
        "it is not for the other"
    );
}

#[test]
fn a_caller_who_gives_up_meanwhile_is_not_taken_elsewhere() {
    let mut world = world();
    let call = dial(&mut world, &["192.0.2.11:5060", "192.0.2.12:5060"]);
    world.hangup(GATEWAY, call);
    world.run(Duration::from_secs(3));
    assert_eq!(invites(&world), ["sip:1@192.0.2.11:5060"]);
    world.assert_empty();
}

/// RFC 4475 has one that takes text alone.
#[test]
fn who_takes_no_sdp_cannot_call() {
    let mut world = world();
    for (tag, accept, status) in [
        ("a", "Accept: text/nobodyKnowsThis\r\n", "406 Not Acceptable"),
        ("b", "Accept:\r\n", "406 Not Acceptable"),
        ("c", "Accept: text/plain, Application/SDP;level=1\r\n", "100 Trying"),
        (
            "d",
            "Accept: text/plain\r\nAccept: application/*;q=0.1\r\n",
            "100 Trying",
        ),
        ("e", "Accept: */*\r\n", "100 Trying"),
        ("f", "", "100 Trying"),
    ] {
        let call = invite("192.0.2.2:5060", "4930", tag).replace("Content-Length", &format!("{accept}Content-Length"));
        world.inject(GATEWAY, "192.0.2.2:5060", call.as_bytes());
        let answer = world.packets.last().unwrap();
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{accept}: {answer}");
    }
}

#[test]
fn a_server_that_says_anything_is_there_and_a_silent_one_is_not() {
    let mut world = world();
    let places = ["192.0.2.11:5060", "192.0.2.12:5060"];
    for (probe, place) in (1..).zip(places) {
        let local = "192.0.2.1:5060".parse().unwrap();
        let five_tuple = FiveTuple::new(Protocol::Udp, local, place.parse().unwrap());
        let domain = Some("pbx.example.org".to_owned());
        let command = SipCommand::Options {
            probe,
            domain,
            five_tuple,
        };
        world.command(GATEWAY, command).unwrap();
    }
    let asked = world.packets.last().unwrap();
    assert!(asked.starts_with("OPTIONS sip:192.0.2.12:5060 SIP/2.0\r\n"), "{asked}");
    assert!(asked.contains("\r\nTo: <sip:pbx.example.org>\r\n"), "{asked}");
    respond(&mut world, places[0], "OPTIONS sip:192.0.2.11", "404 Not Found");
    world.run(Duration::from_secs(6));
    let probed = world.events(GATEWAY).into_iter().filter_map(|event| {
        if let SipEvent::Probed { probe, status } = event {
            Some((probe, status))
        } else {
            None
        }
    });
    assert_eq!(probed.collect::<Vec<_>>(), [(1, 404), (2, 408)]);
    world.run(Duration::from_secs(60));
    world.assert_empty();
}

#[test]
fn a_call_that_goes_elsewhere_says_so_and_is_told_where_to_answer() {
    let mut world = world();
    let call = dial(&mut world, &["192.0.2.11:5060", "192.0.2.12:5060"]);
    world.run(Duration::from_millis(1_100));
    let moved = SipEvent::Moved {
        dialog: call,
        origin: "192.0.2.12:5060".parse().unwrap(),
    };
    assert_eq!(world.events(GATEWAY), [moved], "media follows the signalling");
}

#[test]
fn a_place_that_tries_and_then_says_nothing_leaves_nothing_behind() {
    let mut world = world();
    let places = ["192.0.2.11:5060", "192.0.2.12:5060"];
    dial(&mut world, &places);
    world.run(Duration::from_millis(1_100));
    respond(&mut world, places[0], "INVITE sip:1@192.0.2.11", "100 Trying");
    respond(&mut world, places[1], "INVITE sip:1@192.0.2.12", "486 Busy Here");
    world.run(Duration::from_secs(70));
    world.assert_empty();
}

#[test]
fn registrations_of_one_name_are_each_their_own() {
    let mut world = world();
    for (registration, registrar) in [(1, "192.0.2.11:5060"), (2, "192.0.2.12:5060")] {
        let local = "192.0.2.1:5060".parse().unwrap();
        let command = SipCommand::Register {
            registration,
            aor: "gateway".to_owned(),
            domain: None,
            five_tuple: FiveTuple::new(Protocol::Udp, local, registrar.parse().unwrap()),
            credentials: None,
            expires: Duration::from_secs(600),
        };
        world.command(GATEWAY, command).unwrap();
        let sent = world.packets.last().unwrap();
        let contact = sent.lines().find(|line| line.starts_with("Contact: ")).unwrap();
        let contact = contact
            .trim_start_matches("Contact: <")
            .split('>')
            .next()
            .unwrap()
            .to_owned();
        let call = invite(registrar, "4930", &format!("r{registration}"));
        let call = call.replace("sip:+49-30-1@192.0.2.1", &contact);
        world.inject(GATEWAY, registrar, call.as_bytes());
        let user = "gateway".to_owned();
        assert_eq!(
            caller(&mut world),
            Some((Caller::Registration { registration, user }, "1".to_owned()))
        );
    }
}

/// A program on this machine says over a WebSocket whom it speaks for.
#[test]
fn a_proxy_of_the_route_is_not_who_says_so_over_a_websocket() {
    let mut world = world();
    let call = invite("192.0.2.2:5060", "4930", "a");
    let call = call.replace("Contact:", "Record-Route: <sip:192.0.2.9:5062;lr>\r\nContact:");
    world.inject(GATEWAY, "192.0.2.2:5060", call.as_bytes());
    let dialog = world.incoming(GATEWAY);
    world.accept(GATEWAY, dialog);
    let answer = world.packets.last().unwrap().clone();
    let to = answer.lines().find(|line| line.starts_with("To: ")).unwrap().to_owned();
    for (protocol, status) in [(Protocol::Ws, 481), (Protocol::Udp, 200)] {
        world.protocol = protocol;
        let bye = format!(
            "BYE sip:gw01-1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/{} 192.0.2.9:5062;branch=z9hG4bKbye{status};rport\r\n\
             From: <sip:4930@pbx>;tag=a\r\n{to}\r\nCall-ID: ca\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n",
            protocol.name()
        );
        world.inject(GATEWAY, "192.0.2.9:5062", bye.as_bytes());
        let answer = world.packets.last().unwrap();
        assert!(
            answer.starts_with(&format!("SIP/2.0 {status}")),
            "{protocol:?}: {answer}"
        );
    }
}

/// Over UDP anybody can write a trunk's address.
#[test]
fn what_a_trunk_does_not_acknowledge_is_not_repeated_without_end() {
    let mut world = world();
    let (mut sent, mut count) = (0, 0);
    for n in 0..400 {
        let call = invite("192.0.2.2:5060", "4930", &format!("f{n}"));
        sent += call.len();
        world.inject(GATEWAY, "192.0.2.2:5060", call.as_bytes());
        while let Some(event) = world.events(GATEWAY).into_iter().next() {
            if let SipEvent::Incoming { dialog, .. } = event {
                let command = SipCommand::Reject {
                    dialog,
                    status: 480,
                    reason: None,
                    retry_after: None,
                };
                world.command(GATEWAY, command).unwrap();
                count += 1;
            }
        }
        world.run(Duration::from_millis(10));
    }
    world.run(Duration::from_secs(40));
    assert!(count > 100, "{count} calls were taken at all");
    let drawn: usize = world
        .packets
        .iter()
        .filter(|it| it.starts_with("SIP/2.0"))
        .map(String::len)
        .sum();
    assert!(drawn < 6 * sent, "{drawn} bytes for {sent}");
}
