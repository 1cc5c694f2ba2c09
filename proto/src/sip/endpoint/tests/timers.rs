//! Session timers and offers of ours within a call, RFC 4028 and RFC 3261 §14.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn last<'a>(world: &'a World, begins: &str) -> &'a str {
    let packet = world.packets.iter().rfind(|packet| packet.starts_with(begins));
    packet.unwrap_or_else(|| panic!("no {begins}"))
}

pub(super) fn field<'a>(packet: &'a str, name: &str) -> Option<&'a str> {
    packet
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a_call_that_goes_on_says_so_each_half_of_its_interval() {
    let mut world = World::new(60);
    let (ours, theirs) = world.confirmed();
    let answer = last(&world, "SIP/2.0 200");
    assert_eq!(field(answer, "Session-Expires"), Some("1800;refresher=uac"));
    assert_eq!(field(answer, "Require"), Some("timer"));
    world.run(MINUTE * 60 * 10);
    let updates = world.packets.iter().filter(|packet| packet.starts_with("UPDATE"));
    assert_eq!(updates.count(), 40);
    assert_eq!(
        field(last(&world, "UPDATE"), "Session-Expires"),
        Some("1800;refresher=uac")
    );
    assert_eq!((world.events(PHONE), world.events(GATEWAY)), (vec![], vec![]));
    world.hangup(PHONE, ours);
    world.second();
    assert_eq!(world.events(GATEWAY).len(), 1, "{theirs:?} has ended");
    world.assert_empty();
}

#[test]
fn a_refresh_that_draws_nothing_ends_the_call_for_both() {
    let mut world = World::new(61);
    let (ours, theirs) = world.confirmed();
    world.filter = Some(Box::new(|packet| packet.starts_with("UPDATE")));
    world.run(MINUTE * 15 + Duration::from_secs(40));
    assert_eq!(world.events(PHONE), [SipEvent::Lost { dialog: ours }]);
    assert!(matches!(world.events(GATEWAY)[..], [SipEvent::Bye { dialog, .. }] if dialog == theirs));
    world.assert_empty();
}

#[test]
fn who_waits_for_a_refresh_in_vain_ends_the_call_a_little_early() {
    let mut world = World::new(62);
    let (_, theirs) = world.confirmed();
    // The phone lost its power.
    world.filter = Some(Box::new(|_| true));
    world.nodes[PHONE].endpoint = Endpoint::new(config("ph02"), Box::new(ChaCha8Rng::seed_from_u64(9)));
    world.run(Duration::from_secs(1800 - 36));
    assert_eq!(world.events(GATEWAY), []);
    world.run(Duration::from_secs(5));
    assert_eq!(world.events(GATEWAY), [SipEvent::Lost { dialog: theirs }]);
    assert_eq!(
        field(last(&world, "BYE"), "Reason"),
        Some("SIP;cause=408;text=\"Session expired\"")
    );
    world.assert_empty();
}

/// A call of a phone to the gateway, written by hand.
fn invite(fields: &str, number: u32, authorization: &str) -> String {
    let cseq = 1 + authorization.len();
    format!(
        "INVITE sip:200@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK{number}-{cseq}\r\nMax-Forwards: 70\r\n\
         From: <sip:100@quartet.example>;tag=a\r\nTo: <sip:200@quartet.example>\r\nCall-ID: timer-{number}\r\nCSeq: {cseq} INVITE\r\n\
         Contact: <sip:100@192.0.2.2>\r\n{fields}{authorization}Content-Length: 0\r\n\r\n"
    )
}

/// Sends it; the last packet.
fn invited(world: &mut World, fields: &str, number: u32) -> String {
    let (who, what) = (("100", "secret"), ("INVITE", "sip:200@192.0.2.1"));
    world.log_in("192.0.2.2:5060", who, what, |authorization| {
        invite(fields, number, authorization)
    })
}

#[test]
fn who_asks_for_too_short_an_interval_is_told_and_who_knows_nothing_of_it_is_refreshed() {
    let mut world = World::new(63);
    // The nodes of this world would answer what is sent to the hand-written phone.
    world.nodes[PHONE].address = "192.0.2.77:5060".parse().unwrap();
    let refused = invited(&mut world, "Supported: timer\r\nSession-Expires: 60\r\n", 1);
    assert!(refused.starts_with("SIP/2.0 422"), "{refused}");
    assert_eq!(field(&refused, "Min-SE"), Some("90"));
    for (fields, number, expires, requires) in [
        ("k: timer\r\nx: 120\r\n", 2, Some("120;refresher=uac"), true),
        (
            "Supported: timer\r\nSession-Expires: 120;refresher=uas\r\n",
            3,
            Some("120;refresher=uas"),
            false,
        ),
        (
            "Require: timer\r\nSession-Expires: 99999999\r\n",
            4,
            Some("86400;refresher=uac"),
            true,
        ),
        // A proxy has asked, for a phone that knows no timers, and names one that cannot be.
        ("Session-Expires: 60\r\n", 5, Some("90;refresher=uas"), false),
        ("Supported: timer\r\n", 6, None, false),
        ("Session-Expires: soon\r\n", 7, None, false),
        ("", 8, None, false),
    ] {
        // Strangers get a few responses a second.
        world.second();
        invited(&mut world, fields, number);
        let dialog = world.incoming(GATEWAY);
        world.accept(GATEWAY, dialog);
        let answer = last(&world, "SIP/2.0 200");
        assert_eq!(field(answer, "Session-Expires"), expires, "{fields}");
        assert_eq!(field(answer, "Require").is_some(), requires, "{fields}");
    }
    world.second();
    let unknown = invite("Require: timer, precondition\r\n", 9, "");
    world.inject(GATEWAY, "192.0.2.2:5060", unknown.as_bytes());
    assert_eq!(field(last(&world, "SIP/2.0 420"), "Unsupported"), Some("precondition"));
}

#[test]
fn a_longer_interval_is_asked_for_once_where_the_callee_wants_one() {
    let mut world = World::new(64);
    world.register(PHONE, "100", "secret", 3600);
    world.second();
    world.nodes[PHONE].address = "192.0.2.77:5060".parse().unwrap();
    let dialog = world.ring_phone(Some(b"offer"));
    let refuse = |world: &mut World, min_se: u32| {
        let invite = last(world, "INVITE").to_owned();
        let copied = ["Via", "From", "To", "Call-ID", "CSeq"]
            .map(|name| format!("{name}: {}\r\n", field(&invite, name).unwrap()));
        let refusal = format!(
            "SIP/2.0 422 Too Small\r\n{}Min-SE: {min_se}\r\nContent-Length: 0\r\n\r\n",
            copied.concat()
        );
        world.inject(
            GATEWAY,
            "192.0.2.2:5060",
            refusal
                .replace(
                    "\r\nTo: <sip:100@quartet.example>",
                    "\r\nTo: <sip:100@quartet.example>;tag=b",
                )
                .as_bytes(),
        );
    };
    assert_eq!(field(last(&world, "INVITE"), "Session-Expires"), Some("1800"));
    refuse(&mut world, 3600);
    let again = last(&world, "INVITE");
    assert_eq!(field(again, "Session-Expires"), Some("3600"));
    assert_eq!(
        (field(again, "Min-SE"), field(again, "CSeq")),
        (Some("3600"), Some("2 INVITE"))
    );
    assert_eq!(
        world
            .events(GATEWAY)
            .iter()
            .filter(|event| event.dialog() == Some(dialog))
            .count(),
        0
    );
    // Who always wants more gets no call.
    refuse(&mut world, 7200);
    let events = world.events(GATEWAY);
    assert!(
        matches!(events[..], [SipEvent::Rejected { status: 422, .. }]),
        "{events:?}"
    );
    world.assert_empty();
}

/// The offer of the TU, where the peer takes no UPDATE.
#[test]
fn a_peer_without_update_is_refreshed_by_an_offer() {
    let mut world = World::new(65);
    let (ours, theirs) = world.confirmed();
    for node in [PHONE, GATEWAY] {
        let key = if node == PHONE { ours } else { theirs };
        world.nodes[node].endpoint.dialogs.get_mut(key).unwrap().allows_update = false;
    }
    world.run(MINUTE * 15 + Duration::from_secs(1));
    assert_eq!(world.events(PHONE), [SipEvent::Refresh { dialog: ours }]);
    let (dialog, body) = (ours, b"again".to_vec());
    world.command(PHONE, SipCommand::Reinvite { dialog, body }).unwrap();
    let busy = SipCommand::Reinvite {
        dialog,
        body: Vec::new(),
    };
    assert!(
        matches!(world.command(PHONE, busy), Err(SipError::WrongState(_))),
        "one at a time"
    );
    world.second();
    let body = Some(b"again".to_vec());
    assert_eq!(world.events(GATEWAY), [SipEvent::Reinvite { dialog: theirs, body }]);
    // The ACK to the answer is lost, and sent again for the answer that comes again.
    world.filter = Some(Box::new(|packet| packet.starts_with("ACK")));
    world.accept(GATEWAY, theirs);
    world.run(Duration::from_millis(300));
    world.filter = None;
    world.run(MINUTE * 10);
    let body = Some(b"answer".to_vec());
    assert_eq!(world.events(PHONE), [SipEvent::Reaccepted { dialog: ours, body }]);
    assert!(matches!(world.events(GATEWAY)[..], [SipEvent::Confirmed { .. }]));
    // And so on, each half minute, or the call is over.
    world.run(MINUTE * 10);
    let events = world.events(PHONE);
    assert_eq!(events, vec![SipEvent::Refresh { dialog: ours }; events.len()]);
    assert!((9..12).contains(&events.len()), "{events:?}");
    world.run(MINUTE * 15);
    let events = (world.events(PHONE), world.events(GATEWAY));
    assert!(
        matches!(events.0[..], [.., SipEvent::Lost { .. }] | [.., SipEvent::Bye { .. }]),
        "{events:?}"
    );
    assert!(
        matches!(events.1[..], [SipEvent::Lost { .. }] | [SipEvent::Bye { .. }]),
        "{events:?}"
    );
    world.assert_empty();
}

/// Both change the session at once: RFC 3261 §14.1.
#[test]
fn offers_that_cross_are_both_refused_and_the_call_stands() {
    let mut world = World::new(66);
    let (ours, theirs) = world.confirmed();
    for (node, dialog) in [(PHONE, ours), (GATEWAY, theirs)] {
        let body = b"mine".to_vec();
        world.command(node, SipCommand::Reinvite { dialog, body }).unwrap();
    }
    world.second();
    assert_eq!(world.ladder().matches("491").count(), 2);
    let unchanged = |dialog| vec![SipEvent::Unchanged { dialog }];
    let events = (world.events(PHONE), world.events(GATEWAY));
    assert_eq!(events, (unchanged(ours), unchanged(theirs)));
    // Whatever else is refused leaves the session as it was; who knows the call no more ends it.
    for (status, is_lost) in [(488, false), (481, true)] {
        let body = b"mine".to_vec();
        world
            .command(PHONE, SipCommand::Reinvite { dialog: ours, body })
            .unwrap();
        world.run(Duration::from_millis(200));
        let reject = SipCommand::Reject {
            dialog: theirs,
            status,
            reason: None,
            retry_after: None,
        };
        world.command(GATEWAY, reject).unwrap();
        world.second();
        let told = [SipEvent::Unchanged { dialog: ours }, SipEvent::Lost { dialog: ours }];
        assert_eq!(world.events(PHONE), told[..1 + usize::from(is_lost)], "{status}");
        world.events(GATEWAY);
    }
    world.hangup(GATEWAY, theirs);
    world.assert_empty();
}

#[test]
fn a_call_that_is_hung_up_while_its_offer_is_open_ends_once() {
    let mut world = World::new(67);
    let (ours, theirs) = world.confirmed();
    let body = b"mine".to_vec();
    world
        .command(PHONE, SipCommand::Reinvite { dialog: ours, body })
        .unwrap();
    world.run(Duration::from_millis(200));
    world.hangup(PHONE, ours);
    world.second();
    assert_eq!(world.events(PHONE), [SipEvent::Ended { dialog: ours }]);
    let events = world.events(GATEWAY);
    assert!(matches!(events[..], [SipEvent::Reinvite { .. }, SipEvent::Bye { dialog, .. }] if dialog == theirs));
    world.assert_empty();
}

/// Who says that it tries, and then nothing, keeps neither the call nor anything of ours.
#[test]
fn an_offer_that_is_never_answered_ends_the_call() {
    let mut world = World::new(68);
    let (ours, theirs) = world.confirmed();
    let body = b"mine".to_vec();
    world
        .command(PHONE, SipCommand::Reinvite { dialog: ours, body })
        .unwrap();
    world.run(Duration::from_secs(31));
    assert_eq!(world.events(PHONE), []);
    world.run(Duration::from_secs(2));
    assert_eq!(world.events(PHONE), [SipEvent::Lost { dialog: ours }]);
    let events = world.events(GATEWAY);
    assert!(matches!(events[..], [SipEvent::Reinvite { .. }, SipEvent::Bye { dialog, .. }] if dialog == theirs));
    world.assert_empty();
    // The same where the call is over meanwhile, and no refusal arrives.
    let (ours, _) = world.confirmed();
    let body = b"mine".to_vec();
    world
        .command(PHONE, SipCommand::Reinvite { dialog: ours, body })
        .unwrap();
    world.run(Duration::from_millis(200));
    world.filter = Some(Box::new(|packet| packet.starts_with("SIP/2.0 487")));
    world.hangup(PHONE, ours);
    world.assert_empty();
}

/// RFC 4028 §7.4: an UPDATE that says nothing of the timer would end it.
#[test]
fn another_identity_is_shown_with_the_timer_that_there_is() {
    let mut world = World::new(69);
    world.register(PHONE, "100", "secret", 36_000);
    world.second();
    let ours = world.ring_phone(Some(b"offer"));
    world.second();
    let theirs = world.incoming(PHONE);
    world.accept(PHONE, theirs);
    world.second();
    world.events(GATEWAY);
    let identity = NameAddr::new(Some("cat"), Uri::sip_host("200", REALM));
    let show = SipCommand::Show { dialog: ours, identity };
    world.command(GATEWAY, show).unwrap();
    let update = last(&world, "UPDATE");
    assert_eq!(field(update, "Session-Expires"), Some("1800;refresher=uac"));
    world.second();
    assert_eq!(
        field(last(&world, "SIP/2.0 200"), "Session-Expires"),
        Some("1800;refresher=uac")
    );
    world.run(MINUTE * 60);
    assert_eq!(world.events(GATEWAY), []);
    world.hangup(GATEWAY, ours);
    world.run(MINUTE * 60 * 10);
    world.assert_empty();
}

/// It allows UPDATE and takes none: an offer may do.
#[test]
fn a_refresh_that_is_refused_goes_by_an_offer_and_numbers_go_on() {
    let mut world = World::new(70);
    let (ours, _) = world.confirmed();
    world.filter = Some(Box::new(|packet| packet.starts_with("UPDATE")));
    world.run(MINUTE * 15 + Duration::from_millis(100));
    let update = last(&world, "UPDATE").to_owned();
    let copied =
        ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", field(&update, name).unwrap()));
    // Meanwhile something else was sent.
    world.command(PHONE, SipCommand::Probe { dialog: ours }).unwrap();
    let probe = last(&world, "OPTIONS");
    let number = |packet: &str| {
        field(packet, "CSeq")
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    assert_eq!(number(probe), number(&update) + 1);
    let challenge = "WWW-Authenticate: Digest realm=\"quartet.example\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\r\n";
    let answer =
        |status: &str, more: &str| format!("SIP/2.0 {status}\r\n{}{more}Content-Length: 0\r\n\r\n", copied.concat());
    world.inject(
        PHONE,
        "192.0.2.1:5060",
        answer("407 Login", &challenge.replace("WWW", "Proxy")).as_bytes(),
    );
    let again = last(&world, "UPDATE").to_owned();
    assert_eq!(number(&again), number(&update) + 2, "another number than the probe's");
    let copied =
        ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", field(&again, name).unwrap()));
    let refused = format!("SIP/2.0 501 No\r\n{}Content-Length: 0\r\n\r\n", copied.concat());
    world.inject(PHONE, "192.0.2.1:5060", refused.as_bytes());
    world.run(Duration::from_secs(31));
    assert_eq!(world.events(PHONE), [SipEvent::Refresh { dialog: ours }]);
}

/// Whoever calls could have us end a call that only rings, and keep its INVITE for ever.
#[test]
fn a_call_that_rings_has_no_timer() {
    let mut world = World::new(71);
    world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    let ring = SipCommand::Ring {
        dialog: theirs,
        status: 180,
        body: None,
    };
    world.command(GATEWAY, ring).unwrap();
    let invite = last(&world, "INVITE").to_owned();
    let to = field(last(&world, "SIP/2.0 180"), "To").unwrap().to_owned();
    let update = format!(
        "UPDATE sip:200@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKupdate\r\nMax-Forwards: 70\r\nFrom: {}\r\n\
         To: {to}\r\nCall-ID: {}\r\nCSeq: 9 UPDATE\r\nContact: <sip:100@192.0.2.2>\r\nSupported: timer\r\n\
         Session-Expires: 90;refresher=uac\r\nContent-Length: 0\r\n\r\n",
        field(&invite, "From").unwrap(),
        field(&invite, "Call-ID").unwrap()
    );
    world.inject(GATEWAY, "192.0.2.2:5060", update.as_bytes());
    assert_eq!(field(last(&world, "SIP/2.0 200"), "Session-Expires"), None);
    world.events(GATEWAY);
    world.run(MINUTE * 5);
    assert_eq!(world.events(GATEWAY), [], "it rings");
    world.hangup(GATEWAY, theirs);
    world.assert_empty();
}

/// RFC 3311 §5.2: an offer by UPDATE is answered by the TU, and nobody acknowledges that.
#[test]
fn an_update_with_an_offer_is_answered_once() {
    let mut world = World::new(64);
    let (_, theirs) = world.confirmed();
    let sdp = "Content-Type: application/sdp\r\nSession-Expires: 1800;refresher=uac\r\nSupported: timer\r\n";
    let inject = |world: &mut World, cseq: u32| {
        let update = trust::forged(&world.packets, "UPDATE", cseq, sdp, "v=0\r\n");
        world.inject(GATEWAY, "192.0.2.2:5060", update.as_bytes());
    };
    inject(&mut world, 50);
    let offer = SipEvent::Reinvite {
        dialog: theirs,
        body: Some(b"v=0\r\n".to_vec()),
    };
    assert_eq!(world.events(GATEWAY), [offer]);
    // Another one meets it.
    inject(&mut world, 51);
    assert!(last(&world, "SIP/2.0 500").contains("\r\nRetry-After: "));
    world.accept(GATEWAY, theirs);
    let answer = last(&world, "SIP/2.0 200").to_owned();
    assert_eq!(field(&answer, "CSeq"), Some("50 UPDATE"));
    assert_eq!(field(&answer, "Session-Expires"), Some("1800;refresher=uac"));
    assert!(answer.ends_with("\r\n\r\nanswer"), "{answer}");
    let sent = world.packets.len();
    world.run(Duration::from_secs(40));
    assert_eq!(world.packets.len(), sent, "nothing is repeated");
    inject(&mut world, 52);
    let reject = SipCommand::Reject {
        dialog: theirs,
        status: 488,
        reason: None,
        retry_after: None,
    };
    world.command(GATEWAY, reject).expect("it is refused");
    assert!(last(&world, "SIP/2.0 488").contains("CSeq: 52 UPDATE"));
    assert!(matches!(world.events(GATEWAY)[..], [SipEvent::Reinvite { .. }]));
}
