//! What strangers cost: short answers, few of them, and nothing kept.

use super::*;

fn request(method: &str, n: u32, more: &str) -> String {
    format!(
        "{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 1.1.1.1;branch=z9hG4bK{n}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n\
         Call-ID: {n}\r\nCSeq: 1 {method}\r\nContact: <sip:a@1.1.1.1>\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

/// Requests that a stranger may send, and that are answered.
fn kinds(n: u32) -> Vec<String> {
    vec![
        request("OPTIONS", n, ""),
        request("REGISTER", n, ""),
        request("INVITE", n, ""),
        request("MESSAGE", n, ""),
        request("BYE", n, ""),
        request("INVITE", n, "Require: x\r\n"),
        request("INVITE", n, "CSeq: 2 INVITE\r\n"),
        request("WHAT", n, ""),
        request("CANCEL", n, ""),
        request("INVITE", n, "").replace("To: <sip:a@b>", "To: <sip:a@b>;tag=no"),
        request("REGISTER", n, "").replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"),
    ]
}

#[test]
fn one_source_draws_so_many_answers_a_second_of_whatever_kind() {
    for kind in 0..kinds(0).len() {
        let mut world = World::new(78);
        let flood = |world: &mut World, n: u32| world.inject(GATEWAY, "198.51.100.7:5060", kinds(n)[kind].as_bytes());
        (0..200).for_each(|n| flood(&mut world, n));
        assert_eq!(world.packets.len(), 60, "kind {kind}");
        world.second();
        (200..400).for_each(|n| flood(&mut world, n));
        assert_eq!(world.packets.len(), 80, "kind {kind}");
    }
}

#[test]
fn a_keep_alive_is_answered_as_often() {
    let mut world = World::new(78);
    let mut binding = b"\0\x01\0\0\x21\x12\xa4\x42".to_vec();
    binding.extend([7; 12]);
    (0..200).for_each(|_| world.inject(GATEWAY, "198.51.100.7:5060", &binding));
    assert_eq!(world.packets.len(), 60);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    world.packets.clear();
    let phone = world.nodes[PHONE].address.to_string();
    (0..200).for_each(|_| world.inject(GATEWAY, &phone, &binding));
    assert_eq!(world.packets.len(), 200, "a phone that is registered waits for each");
    world.assert_empty();
}

#[test]
fn any_number_of_sources_leaves_phones_their_answers() {
    let mut world = World::new(79);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let mut rng = ChaCha8Rng::seed_from_u64(79);
    for n in 0..60_000 {
        let source = format!(
            "203.{}.{}.{}:5060",
            rng.next_u32() % 256,
            rng.next_u32() % 256,
            rng.next_u32() % 256
        );
        world.inject(GATEWAY, &source, request("OPTIONS", n, "").as_bytes());
        world.packets.clear();
        world.wire.clear();
    }
    // A phone that is registered, and one that is not yet.
    for source in ["192.0.2.2:5060", "192.0.2.77:5060"] {
        world.inject(GATEWAY, source, request("OPTIONS", 99_999, "").as_bytes());
        let response = world.packets.last().unwrap();
        assert!(response.starts_with("SIP/2.0 200"), "{source}");
    }
    // Who is registered is not limited.
    world.packets.clear();
    (0..500).for_each(|n| world.inject(GATEWAY, "192.0.2.2:5060", request("OPTIONS", n, "").as_bytes()));
    assert_eq!(world.packets.len(), 500);
}

#[test]
fn a_port_that_only_a_contact_names_is_a_strangers() {
    let mut world = World::new(83);
    let source = "192.0.2.9:61000";
    assert!(registers(
        &mut world,
        "100",
        source,
        0,
        "t\r\nContact: <sip:100@192.0.2.9:7777>"
    ));
    for (port, answers) in [(7777, 60), (61000, 200)] {
        world.packets.clear();
        (0..200).for_each(|n| {
            world.inject(
                GATEWAY,
                &format!("192.0.2.9:{port}"),
                request("OPTIONS", n, "").as_bytes(),
            );
        });
        assert_eq!(world.packets.len(), answers, "{port}");
        world.second();
    }
    // Nor has it a count of logins of its own: guesses from there and from any other port of that host are counted together.
    for port in [7777, 7778] {
        for guess in 0..14 {
            let source = format!("192.0.2.9:{port}");
            let register = |auth: &str| {
                let n = 2 * guess + u32::from(!auth.is_empty());
                format!(
                    "REGISTER sip:{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bKg{port}{n};rport\r\n\
                     From: <sip:100@{REALM}>;tag=t\r\nTo: <sip:100@{REALM}>\r\nCall-ID: g{port}{guess}\r\nCSeq: {n} REGISTER\r\n{auth}\r\n"
                )
            };
            let uri = format!("sip:{REALM}");
            world.log_in(&source, ("100", "wrong"), ("REGISTER", &uri), register);
        }
    }
    let now = world.now;
    let locked = world.gateway().locked(now);
    assert_eq!(
        locked.iter().filter(|locked| locked.account.is_some()).count(),
        1,
        "{locked:?}"
    );
}

#[test]
fn no_answer_to_a_stranger_is_out_of_proportion() {
    let short =
        "REGISTER sip:aaaaaaaa SIP/2.0\r\nv:SIP/2.0/UDP a\r\nf:<sip:a>\r\nt:<sip:a>\r\ni:a\r\nCSeq:1 REGISTER\r\n\r\n";
    let mut both = World::new(80);
    let mut md5 = World::new(80);
    let mut old = account("100", "secret");
    old.ha1.sha256 = None;
    md5.gateway().set_accounts(vec![old]);
    for (world, factor) in [(&mut both, 4), (&mut md5, 3)] {
        world.inject(GATEWAY, "198.51.100.7:5060", short.as_bytes());
        let sent: usize = world.packets.iter().map(String::len).sum();
        assert!(sent <= factor * short.len(), "{sent} bytes for {}", short.len());
        for kind in kinds(1) {
            world.packets.clear();
            world.inject(GATEWAY, "198.51.100.7:5060", kind.as_bytes());
            let sent: usize = world.packets.iter().map(String::len).sum();
            assert!(sent > 0 && sent <= 3 * kind.len(), "{kind}{sent}");
            assert!(
                !world.packets[0].contains("Server: "),
                "strangers are not told what we are"
            );
        }
    }
    let mut named = World::new(81);
    let config = EndpointConfig {
        realm: "quartet".to_owned(),
        trusted_proxies: Vec::new(),
        ..config("gw012345")
    };
    for sha256 in [false, true] {
        named.nodes[GATEWAY].endpoint = Endpoint::new(config.clone(), Box::new(ChaCha8Rng::seed_from_u64(1)));
        let mut one = account("100", "secret");
        if !sha256 {
            one.ha1.sha256 = None;
        }
        named.gateway().set_accounts(vec![one]);
        named.packets.clear();
        named.inject(GATEWAY, "198.51.100.7:5060", short.as_bytes());
        assert!(
            named.packets[0].starts_with("SIP/2.0 401"),
            "with the usual realm even the shortest is challenged"
        );
    }
}

#[test]
fn nothing_of_a_stranger_is_kept() {
    let mut world = World::new(82);
    for n in 0..500 {
        for kind in kinds(n) {
            world.inject(GATEWAY, &format!("198.51.100.{}:5060", n % 250), kind.as_bytes());
        }
    }
    assert_eq!(
        (world.gateway().server_transactions.len(), world.gateway().dialogs.len()),
        (0, 0)
    );
}

#[test]
fn all_that_is_kept_of_a_request_is_counted() {
    let long = "y".repeat(4_200);
    for (name, more) in [
        (
            "Via",
            format!("Via: SIP/2.0/UDP p;x={long}\r\nVia: SIP/2.0/UDP p;x={long}\r\n"),
        ),
        (
            "Record-Route",
            format!("Record-Route: <sip:p;lr;x={long}>, <sip:p;lr;x={long}>\r\n"),
        ),
        ("Timestamp", format!("Timestamp: {long}{long}\r\n")),
    ] {
        let mut world = World::new(83);
        world.inject(GATEWAY, "198.51.100.9:5060", request("REGISTER", 1, &more).as_bytes());
        assert!(world.packets.last().unwrap().starts_with("SIP/2.0 513"), "{name}");
    }
    for field in ["From: <sip:a@b", "To: <sip:a@b", "CSeq: "] {
        let mut world = World::new(84);
        let text = if field == "CSeq: " {
            "0".repeat(9_000)
        } else {
            format!(";x={long}{long}")
        };
        let message = request("REGISTER", 1, "").replacen(field, &format!("{field}{text}"), 1);
        world.inject(GATEWAY, "198.51.100.9:5060", message.as_bytes());
        let last = world.packets.last().unwrap();
        // What is broken is answered without memory.
        assert!(
            last.starts_with("SIP/2.0 513") || last.starts_with("SIP/2.0 400"),
            "{field} {last}"
        );
        assert_eq!(world.gateway().server_transactions.len(), 0);
    }
    let mut world = World::new(85);
    world.inject(
        GATEWAY,
        "198.51.100.9:5060",
        request("OPTIONS", 1, &format!("X: {}\r\n", "z".repeat(17_000))).as_bytes(),
    );
    assert_eq!(world.packets.len(), 0, "over 16 KiB: no message of ours");
}

/// Phone `user` registers from an address of its choice; whether it gets its 200.
pub(super) fn registers(world: &mut World, user: &str, source: &str, n: u64, tag: &str) -> bool {
    let uri = format!("sip:{REALM}");
    let register = |auth: &str, branch: &str| {
        format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{user}{branch}{n};rport\r\n\
             From: <sip:{user}@{REALM}>;tag={tag}\r\nTo: <sip:{user}@{REALM}>\r\nCall-ID: reg-{user}-{n}\r\n\
             CSeq: 1 REGISTER\r\n{auth}\r\n"
        )
    };
    world.inject(GATEWAY, source, register("", "a").as_bytes());
    let challenge = world.packets.last().unwrap().clone();
    let Some(value) = challenge.lines().find_map(|l| l.strip_prefix("WWW-Authenticate: ")) else {
        assert!(challenge.starts_with("SIP/2.0 503"), "{challenge}");
        return false;
    };
    let who = credentials(user, "secret").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(n);
    let value = crate::sip::auth::authorization(std::iter::once(value), &who, "REGISTER", &uri, &mut rng).unwrap();
    let login = register(&format!("Authorization: {value}\r\n"), "b");
    world.inject(GATEWAY, source, login.as_bytes());
    let is_done = world.packets.last().unwrap().starts_with("SIP/2.0 200");
    // A second's worth of responses: what strangers draw is not the matter here.
    world.run(Duration::from_millis(50));
    is_done
}

#[test]
fn logins_with_large_fields_stay_within_a_budget() {
    let mut world = World::new(86);
    world.gateway().config.limits.server_bytes = 800_000;
    let tag = "t".repeat(3_000);
    let done = (0..200)
        .filter(|n| registers(&mut world, "100", "192.0.2.9:5060", *n, &tag))
        .count();
    assert!((5..50).contains(&done), "{done}");
    let bytes = world.gateway().server_transactions.bytes();
    assert!(bytes <= 110_000, "{bytes}: an eighth, and one more");
    world.run(Duration::from_secs(40));
    assert_eq!(world.gateway().server_transactions.bytes(), 0);
}

/// Seen: one account sent REGISTERs with long fields, from one address or from several, and everybody else got 503, whose
/// calls could not be ended either.
#[test]
fn one_account_takes_no_more_than_its_part_of_the_table() {
    let mut world = World::new(87);
    let (ours, theirs) = world.confirmed();
    world.gateway().config.limits.server_transactions = 80;
    let done = (0..100).filter(|n| {
        let source = format!("192.0.2.{}:5060", 20 + n % 5);
        registers(&mut world, "101", &source, *n, "t")
    });
    assert_eq!(done.count(), 10, "an eighth of the table, wherever it comes from");
    assert!(
        registers(&mut world, "100", "192.0.2.20:5060", 0, "t"),
        "its neighbour has its own"
    );
    // However full it is, a call can be ended.
    world.gateway().config.limits.server_transactions = 1;
    world.hangup(PHONE, ours);
    world.second();
    let reason = None;
    assert_eq!(
        world.events(GATEWAY).last(),
        Some(&SipEvent::Bye { dialog: theirs, reason })
    );
}

/// Seen: INFOs of one phone in its own call took the table, the reserve for calls as well.
#[test]
fn one_call_takes_no_more_than_its_part_of_the_table() {
    let mut world = World::new(89);
    world.confirmed();
    let request = |world: &World, method: &str, n: u32| {
        let invite = world.packets.iter().rfind(|p| p.starts_with("INVITE")).unwrap();
        let ack = world.packets.iter().rfind(|p| p.starts_with("ACK")).unwrap();
        let line = |message: &str, name: &str| message.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        format!(
            "{method} sip:gw@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKkey{n};rport\r\n{}\r\n{}\r\n{}\r\n\
             CSeq: {} {method}\r\nContent-Type: application/dtmf-relay\r\nContent-Length: 10\r\n\r\nSignal=1\r\n",
            line(invite, "From: "),
            line(ack, "To: "),
            line(invite, "Call-ID: "),
            100 + n,
        )
    };
    let phone = world.nodes[PHONE].address.to_string();
    let taken = (0..1_000).filter(|n| {
        let info = request(&world, "INFO", *n);
        world.inject(GATEWAY, &phone, info.as_bytes());
        world.packets.last().unwrap().starts_with("SIP/2.0 200")
    });
    assert_eq!(taken.count(), 128);
    assert!(world.packets.last().unwrap().contains("Retry-After: "));
    // It takes them again when the first have gone, and can always be ended.
    world.run(Duration::from_secs(33));
    (2_000..3_000).for_each(|n| {
        let info = request(&world, "INFO", n);
        world.inject(GATEWAY, &phone, info.as_bytes());
    });
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 503"));
    let bye = request(&world, "BYE", 4_000);
    world.inject(GATEWAY, &phone, bye.as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 200"));
    let events = world.events(GATEWAY);
    let keys = events
        .iter()
        .filter(|event| matches!(event, SipEvent::Dtmf { .. }))
        .count();
    assert!(
        keys == 256 && matches!(events.last(), Some(SipEvent::Bye { .. })),
        "{keys}"
    );
}

/// Seen: copies of a request from anywhere drew its response, each time, to the phone that had sent the first.
#[test]
fn only_its_sender_retransmits_a_request() {
    let mut world = World::new(88);
    world.dial("200", Some(b"offer"));
    world.register(PHONE, "100", "secret", 600);
    world.second();
    for method in ["INVITE", "REGISTER"] {
        let request = world.packets.iter().rfind(|p| p.starts_with(method)).unwrap().clone();
        let before = world.packets.len();
        for source in ["198.51.100.7:5060", "192.0.2.2:61000"] {
            (0..10).for_each(|_| world.inject(GATEWAY, source, request.as_bytes()));
        }
        assert_eq!(world.packets.len(), before, "{method}");
        let phone = world.nodes[PHONE].address.to_string();
        world.inject(GATEWAY, &phone, request.as_bytes());
        assert_eq!(world.packets.len(), before + 1, "{method} from the phone");
    }
}
