//! Within a dialog: who has seen its tags has seen its tags, and nothing else.

use super::megaphone::registers;
use super::*;

const STRANGER: &str = "203.0.113.66:5060";

/// A request of the phone in a confirmed call, as somebody would write it who has seen the call.
pub(super) fn forged(packets: &[String], method: &str, cseq: u32, more: &str, body: &str) -> String {
    let invite = packets.iter().rfind(|p| p.starts_with("INVITE")).unwrap();
    let ack = packets.iter().rfind(|p| p.starts_with("ACK")).unwrap();
    let line = |message: &str, name: &str| message.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    format!(
        "{method} sip:gw@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bKforged{cseq}{};rport\r\n\
         {}\r\n{}\r\n{}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:evil@203.0.113.66>\r\n{more}\
         Content-Length: {}\r\n\r\n{body}",
        more.len(),
        line(invite, "From: "),
        line(ack, "To: "),
        line(invite, "Call-ID: "),
        body.len()
    )
}

const SDP: &str = "Content-Type: application/sdp\r\n";
const KEY: &str = "Content-Type: application/dtmf-relay\r\n";

/// Requests that would change something.
const HARMFUL: [(&str, &str, &str); 7] = [
    ("BYE", "", ""),
    ("INVITE", SDP, "v=0\r\n"),
    ("INVITE", "", ""),
    ("UPDATE", "", ""),
    ("INFO", KEY, "Signal=1\r\n"),
    ("REFER", "Refer-To: <sip:evil@203.0.113.66>\r\n", ""),
    ("OPTIONS", "", ""),
];

#[test]
pub(super) fn a_strangers_requests_change_nothing_and_the_phone_goes_on() {
    for (method, more, body) in HARMFUL {
        let mut world = World::new(1);
        let (ours, theirs) = world.confirmed();
        let before = format!("{:?}", world.gateway().dialogs.get(theirs));
        for (source, cseq) in [(STRANGER, 1_000), ("192.0.2.2:5062", 1_001), ("192.0.2.99:5060", 1_002)] {
            let message = forged(&world.packets, method, cseq, more, body);
            world.inject(GATEWAY, source, message.as_bytes());
            let response = world.packets.last().unwrap();
            assert!(
                response.starts_with("SIP/2.0 401"),
                "{method} from {source}: {response}"
            );
        }
        assert_eq!(world.events(GATEWAY), [], "{method}");
        assert_eq!(format!("{:?}", world.gateway().dialogs.get(theirs)), before, "{method}");
        // The numbers of the stranger's requests were not noted: the phone's are good.
        world.hangup(PHONE, ours);
        world.second();
        let bye = SipEvent::Bye {
            dialog: theirs,
            reason: None,
        };
        assert_eq!(world.events(GATEWAY), [bye], "{method}");
        world.assert_empty();
    }
}

#[test]
pub(super) fn a_phone_that_moved_logs_in_and_moves() {
    let mut world = World::new(2);
    let (_, theirs) = world.confirmed();
    let uri = "sip:gw@192.0.2.1";
    let login = |world: &mut World, user: &str, method: &str, cseq: u32, more: &str, body: &str| {
        let packets = world.packets.clone();
        world.log_in(STRANGER, (user, "secret"), (method, uri), |auth| {
            let cseq = if auth.is_empty() { cseq } else { cseq + 1 };
            forged(&packets, method, cseq, &format!("{auth}{more}"), body)
        })
    };
    // Another account, though its password is right, is a stranger; also where its digest is for another host.
    assert!(login(&mut world, "101", "BYE", 50, "", "").starts_with("SIP/2.0 401"));
    let packets = world.packets.clone();
    let elsewhere = world.log_in(STRANGER, ("101", "secret"), ("BYE", "sip:gw@203.0.113.99"), |auth| {
        forged(&packets, "BYE", 52 + u32::from(!auth.is_empty()), auth, "")
    });
    assert!(elsewhere.starts_with("SIP/2.0 401"), "{elsewhere}");
    assert_eq!(world.events(GATEWAY), []);
    // What is not served is refused as such, and its right password is none that failed.
    for (cseq, method) in [(60, "NOTIFY"), (62, "MESSAGE"), (64, "PUBLISH")] {
        let response = login(&mut world, "100", method, cseq, "", "");
        assert!(response.starts_with("SIP/2.0 405"), "{method}: {response}");
    }
    assert_eq!(world.events(GATEWAY), []);
    assert!(login(&mut world, "100", "INVITE", 100, SDP, "v=0\r\n").starts_with("SIP/2.0 100"));
    let reinvite = SipEvent::Reinvite {
        dialog: theirs,
        body: Some(b"v=0\r\n".to_vec()),
    };
    let origin = STRANGER.parse().unwrap();
    let moved = SipEvent::Moved { dialog: theirs, origin };
    assert_eq!(world.events(GATEWAY), [moved, reinvite]);
    // From now on it is trusted there, and no longer where it was.
    world.accept(GATEWAY, theirs);
    let ack = forged(&world.packets, "ACK", 101, "", "");
    world.inject(GATEWAY, STRANGER, ack.as_bytes());
    world.events(GATEWAY);
    let old = forged(&world.packets, "INFO", 200, KEY, "Signal=1\r\n");
    world.inject(GATEWAY, "192.0.2.2:5060", old.as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 401"));
    let new = forged(&world.packets, "INFO", 201, KEY, "Signal=1\r\n");
    world.inject(GATEWAY, STRANGER, new.as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 200"));
    assert!(matches!(world.events(GATEWAY)[..], [SipEvent::Dtmf { .. }]));
}

#[test]
pub(super) fn where_its_account_is_registered_and_its_proxies_a_phone_is_trusted() {
    let mut world = World::new(3);
    let (_, theirs) = world.confirmed();
    world.register(OTHER, "100", "secret", 600);
    world.second();
    world.events(GATEWAY);
    let key = forged(&world.packets, "INFO", 100, KEY, "Signal=1\r\n");
    world.inject(GATEWAY, "192.0.2.3:5060", key.as_bytes());
    assert!(matches!(
        world.events(GATEWAY)[..],
        [SipEvent::Moved { .. }, SipEvent::Dtmf { .. }]
    ));
    // A binding of another account is none.
    let mut world = World::new(4);
    world.confirmed();
    world.register(OTHER, "101", "secret", 600);
    world.second();
    world.events(GATEWAY);
    let key = forged(&world.packets, "INFO", 100, KEY, "Signal=1\r\n");
    world.inject(GATEWAY, "192.0.2.3:5060", key.as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 401"));
    assert_eq!(world.events(GATEWAY), []);
    let (_, theirs_now) = world.confirmed();
    if let Some(dialog) = world.gateway().dialogs.get_mut(theirs_now) {
        dialog.routes = vec![address("<sip:198.51.100.5;lr>"), address("<sip:198.51.100.6:5080;lr>")];
    }
    for (n, proxy) in ["198.51.100.5:5060", "198.51.100.6:5080"].iter().enumerate() {
        let key = forged(&world.packets, "INFO", 100 + n as u32, KEY, "Signal=1\r\n");
        world.inject(GATEWAY, proxy, key.as_bytes());
        assert!(
            matches!(
                world.events(GATEWAY)[..],
                [SipEvent::Moved { .. }, SipEvent::Dtmf { .. }]
            ),
            "{proxy}"
        );
    }
    let _ = theirs;
}

#[test]
pub(super) fn without_an_account_a_strangers_request_belongs_to_no_dialog() {
    let mut world = World::new(5);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let gateways = world.ring_phone(Some(b"offer"));
    world.second();
    let phones = world.incoming(PHONE);
    world.accept(PHONE, phones);
    world.second();
    // The phone knows no accounts: it is called by its registrar.
    let ack = world.packets.iter().rfind(|p| p.starts_with("ACK")).unwrap();
    let bye = ack
        .replacen("ACK ", "BYE ", 1)
        .replace("CSeq: 1 ACK", "CSeq: 77 BYE")
        .replace("branch=z9hG4bK", "branch=z9hG4bKx");
    world.inject(PHONE, STRANGER, bye.as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 481"));
    world.events(PHONE);
    world.hangup(GATEWAY, gateways);
    world.second();
    assert!(matches!(world.events(PHONE)[..], [SipEvent::Bye { .. }]));
}

#[test]
pub(super) fn an_ack_is_matched_and_moves_nothing() {
    let mut world = World::new(6);
    world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.filter = Some(Box::new(|packet| packet.starts_with("ACK")));
    world.accept(GATEWAY, theirs);
    world.second();
    world.events(GATEWAY);
    let ack = forged(&world.packets, "ACK", 2, SDP, "v=0\r\n");
    world.inject(GATEWAY, STRANGER, ack.as_bytes());
    assert_eq!(world.events(GATEWAY), [], "the phone may not have our 200");
    // It may send from another port than it listens at.
    world.inject(GATEWAY, "192.0.2.2:61000", ack.as_bytes());
    let confirmed = SipEvent::Confirmed {
        dialog: theirs,
        body: None,
    };
    assert_eq!(world.events(GATEWAY), [confirmed], "what it brings is not looked at");
    let peer = world.gateway().dialogs.get(theirs).unwrap().peer;
    assert_eq!(peer.remote, world.nodes[PHONE].address);
}

#[test]
pub(super) fn the_answer_to_our_offer_is_only_taken_from_the_peer() {
    let mut world = World::new(7);
    let ours = world.dial("200", None);
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.accept(GATEWAY, theirs);
    world.second();
    world.events(GATEWAY);
    world.filter = Some(Box::new(|packet| packet.starts_with("ACK")));
    let body = Some(b"mine".to_vec());
    world.command(PHONE, SipCommand::Ack { dialog: ours, body }).unwrap();
    let ack = forged(&world.packets, "ACK", 2, SDP, "evil!");
    world.inject(GATEWAY, STRANGER, ack.as_bytes());
    assert_eq!(world.events(GATEWAY), []);
    world.filter = None;
    world.run(Duration::from_secs(5));
    let body = Some(b"mine".to_vec());
    assert_eq!(world.events(GATEWAY), [SipEvent::Confirmed { dialog: theirs, body }]);
}

#[test]
pub(super) fn a_strangers_response_is_none() {
    let mut world = World::new(8);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let dialog = world.ring_phone(Some(b"offer"));
    let invite = world.packets.iter().rfind(|p| p.starts_with("INVITE")).unwrap().clone();
    let line = |name: &str| invite.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    let answer = format!(
        "SIP/2.0 200 OK\r\n{}\r\n{}\r\n{};tag=evil\r\n{}\r\n{}\r\nContact: <sip:evil@203.0.113.66>\r\nContent-Length: 5\r\n\r\nevil!",
        line("Via: "),
        line("From: "),
        line("To: "),
        line("Call-ID: "),
        line("CSeq: ")
    );
    world.inject(GATEWAY, STRANGER, answer.as_bytes());
    // Nor from another port of the phone's host, or of its NAT: where the phone is registered is proven.
    world.inject(GATEWAY, "192.0.2.2:61000", answer.as_bytes());
    // Nor if another account is registered there.
    let own = "t\r\nContact: <sip:101@192.0.2.2:61000>";
    assert!(registers(&mut world, "101", "192.0.2.2:61000", 0, own));
    world.inject(GATEWAY, "192.0.2.2:61000", answer.as_bytes());
    // Nor if its Contact claims the phone's address.
    let claimed = "t\r\nContact: <sip:101@192.0.2.2:5060>";
    assert!(registers(&mut world, "101", "192.0.2.2:61000", 1, claimed));
    assert_eq!(world.nodes[GATEWAY].endpoint.contacts(world.now, "101").len(), 2);
    world.inject(GATEWAY, "192.0.2.2:61000", answer.as_bytes());
    // Nor when the registration ends meanwhile: the INVITE went to a phone.
    world.register(PHONE, "100", "secret", 0);
    world.second();
    assert_eq!(world.nodes[GATEWAY].endpoint.contacts(world.now, "100").len(), 0);
    world.inject(GATEWAY, "192.0.2.2:61000", answer.as_bytes());
    world.second();
    assert!(
        !world
            .events(GATEWAY)
            .iter()
            .any(|e| matches!(e, SipEvent::Accepted { .. }))
    );
    let phones = world.incoming(PHONE);
    world.accept(PHONE, phones);
    world.second();
    let body = Some(b"answer".to_vec());
    assert_eq!(world.events(GATEWAY), [SipEvent::Accepted { dialog, body }]);
}

#[test]
pub(super) fn a_strangers_cancel_ends_no_call() {
    let mut world = World::new(9);
    let ours = world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.events(GATEWAY);
    let invite = world.packets.iter().rfind(|p| p.starts_with("INVITE")).unwrap().clone();
    let line = |name: &str| invite.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    // Its branch and its sent-by as well: all of that can be seen on the way.
    let cancel = format!(
        "CANCEL sip:200@192.0.2.1 SIP/2.0\r\n{}\r\n{}\r\n{}\r\n{}\r\nCSeq: {} CANCEL\r\nContent-Length: 0\r\n\r\n",
        line("Via: "),
        line("From: "),
        line("To: "),
        line("Call-ID: "),
        line("CSeq: ").split(' ').nth(1).unwrap()
    );
    for source in [STRANGER, "192.0.2.2:5062"] {
        world.inject(GATEWAY, source, cancel.as_bytes());
        let response = world.packets.last().unwrap();
        assert!(response.starts_with("SIP/2.0 481"), "{source}: {response}");
        assert_eq!(world.events(GATEWAY), []);
    }
    world.hangup(PHONE, ours);
    world.second();
    assert_eq!(
        world.events(GATEWAY).last(),
        Some(&SipEvent::Cancelled { dialog: theirs }),
        "the caller's own is taken"
    );
    world.assert_empty();
}

/// Of whom it is not known where he is, everybody could be it who is nowhere too.
#[test]
fn nobody_from_nowhere_cancels_a_call() {
    for (below, status) in [
        ("203.0.113.5;rport=61000", "200"),
        ("203.0.113.5;rport=61000;x=\"y\"", "481"),
    ] {
        let mut world = behind_a_proxy();
        let via = format!("SIP/2.0/UDP 192.168.1.7;branch=z9hG4bKa;received={below}");
        assert!(through(&mut world, "INVITE", 1, &via, "secret").starts_with("SIP/2.0 100"));
        let invite = world
            .packets
            .iter()
            .rfind(|p| p.starts_with("SIP/2.0 100"))
            .unwrap()
            .clone();
        let head: String = (invite
            .lines()
            .filter(|line| !line.starts_with("SIP/2.0") && !line.is_empty()))
        .map(|line| line.replace("2 INVITE", "2 CANCEL") + "\r\n")
        .collect();
        let cancel = format!("CANCEL sip:200@quartet.example SIP/2.0\r\n{head}\r\n");
        world.inject(GATEWAY, PROXY, cancel.as_bytes());
        let answered =
            |packet: &String| packet.contains("CSeq: 2 CANCEL") && packet.starts_with(&format!("SIP/2.0 {status}"));
        assert!(world.packets.iter().any(answered), "{below}: {:?}", world.packets);
    }
}

/// A gateway that believes this proxy, and one below it.
fn behind_a_proxy() -> World {
    let mut world = World::new(9);
    let limits = Limits {
        login_failures: 2,
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        trusted_proxies: vec!["192.0.2.10/32".parse().unwrap(), "10.1.0.0/16".parse().unwrap()],
        ..config("gw01")
    };
    world.replace_gateway(config);
    world
}

const PROXY: &str = "192.0.2.10:5060";
const NOWHERE: &str = "0.0.0.0:0";

/// A phone sends this through the proxy, which notes where it got it from; what the phone gets.
fn through(world: &mut World, method: &str, cseq: u32, below: &str, password: &str) -> String {
    through_as(world, method, cseq, below, password, "sip:100@192.168.1.7")
}

fn through_as(world: &mut World, method: &str, cseq: u32, below: &str, password: &str, contact: &str) -> String {
    let message = |auth: &str| {
        let cseq = if auth.is_empty() { cseq } else { cseq + 1 };
        format!(
            "{method} sip:200@quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKp{cseq}\r\nVia: {below}\r\n\
             From: <sip:100@x>;tag=t\r\nTo: <sip:100@x>\r\nCall-ID: {below}{cseq}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <{contact}>\r\n{auth}\r\n"
        )
    };
    world.log_in(PROXY, ("100", password), (method, "sip:200@quartet.example"), message)
}

fn origin_of(events: &[SipEvent]) -> Option<String> {
    events.iter().find_map(|event| {
        if let SipEvent::ContactChanged { contact, .. } = event {
            return Some(contact.origin.to_string());
        }
        let SipEvent::Incoming { origin, .. } = event else {
            return None;
        };
        Some(origin.to_string())
    })
}

#[test]
pub(super) fn a_phone_behind_a_trusted_proxy_is_where_the_proxy_heard_it() {
    for (n, (below, expected)) in [
        (
            "SIP/2.0/UDP 192.168.1.7:5060;branch=z9hG4bKa;received=203.0.113.5;rport=61000",
            "203.0.113.5:61000",
        ),
        ("SIP/2.0/UDP 203.0.113.5;branch=z9hG4bKa", "203.0.113.5:0"),
        (
            "SIP/2.0/UDP 10.1.2.3;branch=z9hG4bKb,SIP/2.0/UDP 192.168.1.7;received=203.0.113.5;rport=9",
            "203.0.113.5:9",
        ),
        // A proxy that is not trusted: nothing below it is believed.
        (
            "SIP/2.0/UDP 198.51.100.4;branch=z9hG4bKb,SIP/2.0/UDP 192.168.1.7;received=203.0.113.5",
            "198.51.100.4:0",
        ),
        // What only the sender says.
        ("SIP/2.0/UDP [2001:db8::7]:5070;branch=z9hG4bKa", "[2001:db8::7]:0"),
        (
            "SIP/2.0/UDP 203.0.113.5:40001;branch=z9hG4bKa;rport=40001",
            "203.0.113.5:0",
        ),
        // Its port is not known.
        (
            "SIP/2.0/UDP 192.168.1.7:5060;branch=z9hG4bKa;received=2001:db8::7",
            "[2001:db8::7]:0",
        ),
        // What two readers may read differently, whoever wrote it.
        ("SIP/2.0/UDP phone.example;branch=z9hG4bKa", NOWHERE),
        ("SIP/2.1/UDP 203.0.113.5;branch=z9hG4bKa", NOWHERE),
        ("SIP/2.0/UDP 203.0.113.5:70000;branch=z9hG4bKa", NOWHERE),
        ("SIP/2.0/UDP 203.0.113.5:;branch=z9hG4bKa", NOWHERE),
        ("SIP/2.0/UDP 203.0.113.5 (home);branch=z9hG4bKa", NOWHERE),
        ("SIP/2.0/UDP [fe80::7%eth0];branch=z9hG4bKa", NOWHERE),
        (
            "SIP/2.0/UDP 192.168.1.7;branch=z9hG4bKa;received=203.0.113.5;received=203.0.113.66",
            NOWHERE,
        ),
        (
            "SIP/2.0/UDP 203.0.113.5;x=\"y\";branch=z9hG4bKa;received=203.0.113.66;rport=9",
            NOWHERE,
        ),
        (
            "SIP/2.0/UDP 192.168.1.7;branch=z9hG4bKa;received=203.0.113.5;rport=9;rport=10",
            "203.0.113.5:0",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        for method in ["INVITE", "REGISTER"] {
            let mut world = behind_a_proxy();
            through(&mut world, method, 10 * n as u32 + 1, below, "secret");
            assert_eq!(
                origin_of(&world.events(GATEWAY)).as_deref(),
                Some(expected),
                "{method} {below}"
            );
        }
    }
}

/// What Unicode calls white space is none in SIP: a proxy that passes such a line on as one that it does not know has written
/// `received` into another.
#[test]
pub(super) fn what_only_looks_like_via_is_none() {
    let spaces = "\u{b}\u{c}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
    for space in spaces.chars() {
        for name in [format!("Via{space}"), format!("v{space}"), format!("{space}Via")] {
            let mut world = behind_a_proxy();
            let message = |auth: &str| {
                let n = if auth.is_empty() { 1 } else { 2 };
                format!(
                    "REGISTER sip:quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKp{n}\r\n\
                     {name}: SIP/2.0/UDP 203.0.113.5;received=203.0.113.5;rport=61000\r\n\
                     Via: SIP/2.0/UDP 192.168.1.7;branch=z9hG4bKa;received=203.0.113.66;rport=9\r\n\
                     From: <sip:100@x>;tag=t\r\nTo: <sip:100@x>\r\nCall-ID: c\r\nCSeq: {n} REGISTER\r\n\
                     Contact: <sip:100@192.168.1.7>\r\n{auth}\r\n"
                )
            };
            world.log_in(PROXY, ("100", "secret"), ("REGISTER", "sip:quartet.example"), message);
            let origin = origin_of(&world.events(GATEWAY));
            let expected = if space.is_control() { NOWHERE } else { "203.0.113.66:9" };
            assert_eq!(origin.as_deref(), Some(expected), "{name:?}");
        }
    }
}

#[test]
pub(super) fn an_ack_behind_a_proxy_counts_from_the_phones_host_alone() {
    let mut world = behind_a_proxy();
    let phone = "SIP/2.0/UDP 192.168.1.7;received=203.0.113.5;rport=61000;branch=z9hG4bKa";
    let invite = |auth: &str| {
        let cseq = 1 + u32::from(!auth.is_empty());
        format!(
            "INVITE sip:200@quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKp{cseq}\r\nVia: {phone}\r\n\
             From: <sip:100@x>;tag=t\r\nTo: <sip:200@x>\r\nCall-ID: acked\r\nCSeq: {cseq} INVITE\r\n\
             Contact: <sip:100@192.168.1.7>\r\n{SDP}{auth}Content-Length: 5\r\n\r\noffer"
        )
    };
    world.log_in(PROXY, ("100", "secret"), ("INVITE", "sip:200@quartet.example"), invite);
    let dialog = world.incoming(GATEWAY);
    world.accept(GATEWAY, dialog);
    let accepted = world.packets.last().unwrap().clone();
    assert!(accepted.starts_with("SIP/2.0 200"), "{accepted}");
    let to = accepted
        .lines()
        .find(|line| line.starts_with("To: "))
        .unwrap()
        .to_owned();
    world.events(GATEWAY);
    let ack = |below: &str| {
        format!(
            "ACK sip:200@quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKk\r\nVia: SIP/2.0/UDP {below};branch=z9hG4bKb\r\n\
             From: <sip:100@x>;tag=t\r\n{to}\r\nCall-ID: acked\r\nCSeq: 2 ACK\r\nContent-Length: 0\r\n\r\n"
        )
    };
    for stranger in ["192.168.1.66;received=203.0.113.66;rport=61000", "nowhere.example"] {
        world.inject(GATEWAY, PROXY, ack(stranger).as_bytes());
        assert_eq!(world.events(GATEWAY), [], "{stranger}");
    }
    world.inject(
        GATEWAY,
        PROXY,
        ack("192.168.1.7;received=203.0.113.5;rport=61002").as_bytes(),
    );
    assert_eq!(world.events(GATEWAY), [SipEvent::Confirmed { dialog, body: None }]);
}

#[test]
pub(super) fn a_stranger_that_writes_via_itself_is_where_it_is() {
    let mut world = World::new(9);
    let register = |auth: &str| {
        let n = if auth.is_empty() { 1 } else { 2 };
        format!(
            "REGISTER sip:quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp{n}\r\n\
             Via: SIP/2.0/UDP 203.0.113.5;branch=z9hG4bKa\r\nFrom: <sip:100@x>;tag=t\r\nTo: <sip:100@x>\r\nCall-ID: c\r\n\
             CSeq: {n} REGISTER\r\nContact: <sip:100@192.0.2.9>\r\n{auth}\r\n"
        )
    };
    let request = ("REGISTER", "sip:quartet.example");
    world.log_in("192.0.2.9:5060", ("100", "secret"), request, register);
    assert_eq!(origin_of(&world.events(GATEWAY)).as_deref(), Some("192.0.2.9:5060"));
}

#[test]
pub(super) fn one_phone_that_guesses_behind_a_proxy_locks_no_other_out() {
    let mut world = behind_a_proxy();
    let phone = "SIP/2.0/UDP 192.168.1.7;received=203.0.113.5;rport=61000;branch=z9hG4bKa";
    assert!(through(&mut world, "REGISTER", 1, phone, "secret").starts_with("SIP/2.0 200"));
    // From elsewhere, and from behind the same NAT.
    for (n, home) in ["203.0.113.66", "203.0.113.5"].into_iter().enumerate() {
        let guesser = format!("SIP/2.0/UDP 192.168.1.66;received={home};rport=61001;branch=z9hG4bKa");
        for guess in 0..10 {
            through(
                &mut world,
                "REGISTER",
                100 * (n as u32 + 1) + 2 * guess,
                &guesser,
                "guess",
            );
        }
        let now = world.now;
        let locked = world.gateway().locked(now);
        // Where the account is known its own count is listed too.
        assert_eq!(locked.len(), [1, 3][n], "{locked:?}");
        assert!(locked.iter().any(|locked| locked.source == Some(home.parse().unwrap())));
        assert!(
            through(&mut world, "REGISTER", 501 + 10 * n as u32, phone, "secret").starts_with("SIP/2.0 200"),
            "it refreshes"
        );
    }
}

#[test]
pub(super) fn one_device_too_many_behind_a_proxy_throws_out_one() {
    let mut world = behind_a_proxy();
    for (n, home) in ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"]
        .iter()
        .enumerate()
    {
        let below = format!("SIP/2.0/UDP 192.168.1.7;received={home};branch=z9hG4bKa");
        let contact = format!("sip:100@192.168.1.{n}");
        let answer = through_as(&mut world, "REGISTER", 10 * n as u32 + 1, &below, "secret", &contact);
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }
    let contacts = world.nodes[GATEWAY].endpoint.contacts(world.now, "100");
    let homes: Vec<_> = contacts.iter().map(|contact| contact.origin.ip().to_string()).collect();
    assert_eq!(homes, ["203.0.113.4", "203.0.113.3", "203.0.113.2"]);
}

/// Who has only seen the tags gains nothing by the same proxy.
#[test]
pub(super) fn another_phone_of_the_proxy_is_not_the_peer() {
    let mut world = behind_a_proxy();
    let phone = "SIP/2.0/UDP 192.168.1.7;received=203.0.113.5;rport=61000;branch=z9hG4bKa";
    through(&mut world, "INVITE", 1, phone, "secret");
    let theirs = world.incoming(GATEWAY);
    world.accept(GATEWAY, theirs);
    let ok = world
        .packets
        .iter()
        .rfind(|p| p.starts_with("SIP/2.0 200"))
        .unwrap()
        .clone();
    let to = ok.lines().find(|l| l.starts_with("To:")).unwrap().to_owned();
    let call_id = ok.lines().find(|l| l.starts_with("Call-ID:")).unwrap().to_owned();
    let within = |method: &str, home: &str, cseq: u32| {
        format!(
            "{method} sip:gw@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKw{method}{cseq}\r\n\
             Via: SIP/2.0/UDP 192.168.1.9;{home};branch=z9hG4bKa\r\nFrom: <sip:100@x>;tag=t\r\n{to}\r\n{call_id}\r\n\
             CSeq: {cseq} {method}\r\n\r\n"
        )
    };
    let there = "received=203.0.113.5;rport=61000";
    world.inject(GATEWAY, PROXY, within("ACK", there, 2).as_bytes());
    world.events(GATEWAY);
    for (n, home) in [
        "received=203.0.113.66;rport=61000",
        // Behind the same NAT.
        "received=203.0.113.5;rport=61001",
        "received=203.0.113.5",
        // Taken for the proxy, if what cannot be read were passed over.
        "received=203.0.113.5;received=203.0.113.66;rport=61000",
        "x=\"",
        "received=192.0.2.10;rport=5060",
    ]
    .into_iter()
    .enumerate()
    {
        world.inject(GATEWAY, PROXY, within("BYE", home, 10 + n as u32).as_bytes());
        assert!(world.packets.last().unwrap().starts_with("SIP/2.0 401"), "{home}");
        assert_eq!(world.events(GATEWAY), [], "{home}");
    }
    // A line that the proxy took for a part of another: its own Via stands below.
    for (n, end) in ["\n", "\r\r\n", "\r"].into_iter().enumerate() {
        let forged = within("BYE", "received=203.0.113.66;rport=61000", 20 + n as u32);
        let via = format!("\r\nX: y{end}Via: SIP/2.0/UDP 192.168.1.7;{there}\r\nVia: SIP/2.0/UDP 192.168.1.9");
        let forged = forged.replacen("\r\nVia: SIP/2.0/UDP 192.168.1.9", &via, 1);
        world.inject(GATEWAY, PROXY, forged.as_bytes());
        assert!(world.packets.last().unwrap().starts_with("SIP/2.0 401"), "{end:?}");
        assert_eq!(world.events(GATEWAY), [], "{end:?}");
    }
    // A field that the proxy did not know.
    for (n, name) in [
        "Via\u{1}",
        "Via\0",
        "\u{b}Via",
        "Via\u{1f}",
        "Via\u{7f}",
        "Via\u{85}",
        "v\u{1}",
    ]
    .into_iter()
    .enumerate()
    {
        let forged = within("BYE", "received=203.0.113.66;rport=61000", 40 + n as u32);
        let via = format!("\r\n{name}: SIP/2.0/UDP 192.168.1.7;{there}\r\nVia: SIP/2.0/UDP 192.168.1.9");
        let forged = forged.replacen("\r\nVia: SIP/2.0/UDP 192.168.1.9", &via, 1);
        world.inject(GATEWAY, PROXY, forged.as_bytes());
        assert!(world.packets.last().unwrap().starts_with("SIP/2.0 401"), "{name:?}");
        assert_eq!(world.events(GATEWAY), [], "{name:?}");
    }
    world.inject(GATEWAY, PROXY, within("BYE", there, 60).as_bytes());
    assert!(matches!(world.events(GATEWAY)[..], [SipEvent::Bye { .. }]));
}

/// A nonce that was given to one of them is good for it alone: else its guesses would count as another's.
#[test]
pub(super) fn nobody_behind_a_proxy_fails_in_anothers_name() {
    let mut world = behind_a_proxy();
    let phone = "SIP/2.0/UDP 192.168.1.7;received=203.0.113.5;rport=61000;branch=z9hG4bKa";
    let guesser = "SIP/2.0/UDP 192.168.1.9;received=203.0.113.66;rport=61000;branch=z9hG4bKa";
    assert!(through(&mut world, "REGISTER", 1, phone, "secret").starts_with("SIP/2.0 200"));
    for guess in 0..10 {
        let message = |auth: &str| {
            // Asked for as himself, used as the phone.
            let (below, cseq) = if auth.is_empty() {
                (guesser, 100 + 2 * guess)
            } else {
                (phone, 101 + 2 * guess)
            };
            format!(
                "REGISTER sip:200@quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKp{cseq}\r\n\
                 Via: {below}\r\nFrom: <sip:100@x>;tag=t\r\nTo: <sip:100@x>\r\nCall-ID: g{guess}\r\n\
                 CSeq: {cseq} REGISTER\r\nContact: <sip:100@192.168.1.7>\r\n{auth}\r\n"
            )
        };
        let request = ("REGISTER", "sip:200@quartet.example");
        let answer = world.log_in(PROXY, ("100", "guess"), request, message);
        assert!(answer.contains("stale=true"), "{answer}");
    }
    let now = world.now;
    assert_eq!(world.gateway().locked(now).len(), 0);
    assert!(through(&mut world, "REGISTER", 501, phone, "secret").starts_with("SIP/2.0 200"));
}

/// As [`another_phone_of_the_proxy_is_not_the_peer`], for what cannot be challenged: an answer in an ACK moved the audio, and a CANCEL
/// ended the call.
#[test]
pub(super) fn another_phone_of_the_proxy_neither_answers_nor_cancels() {
    let phone = "SIP/2.0/UDP 192.168.1.7;received=203.0.113.5;rport=61000;branch=z9hG4bKa";
    let strangers = [
        "203.0.113.66",
        // What the proxy would have written over; else it would be taken for the proxy itself.
        "nowhere",
    ];
    let within = |ok: &str, method: &str, branch: &str, home: &str, cseq: u32, body: &str| {
        let line = |name: &str| ok.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        format!(
            "{method} sip:200@quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch={branch}\r\n\
             Via: SIP/2.0/UDP 192.168.1.7;received={home};branch=z9hG4bKa\r\nFrom: <sip:100@x>;tag=t\r\n{}\r\n{}\r\nCSeq: {cseq} {method}\r\n\
             {SDP}Content-Length: {}\r\n\r\n{body}",
            line("To:"),
            line("Call-ID:"),
            body.len()
        )
    };
    let last = |world: &World, start: &str| world.packets.iter().rfind(|p| p.starts_with(start)).unwrap().clone();
    // Its INVITE has no offer: ours is answered in the ACK.
    let mut world = behind_a_proxy();
    through(&mut world, "INVITE", 1, phone, "secret");
    let theirs = world.incoming(GATEWAY);
    world.accept(GATEWAY, theirs);
    let ok = last(&world, "SIP/2.0 200");
    world.events(GATEWAY);
    for home in strangers {
        world.inject(
            GATEWAY,
            PROXY,
            within(&ok, "ACK", "z9hG4bKx", home, 2, "evil!").as_bytes(),
        );
        assert_eq!(world.events(GATEWAY), [], "{home}");
    }
    world.inject(
        GATEWAY,
        PROXY,
        within(&ok, "ACK", "z9hG4bKy", "203.0.113.5;rport=61000", 2, "mine").as_bytes(),
    );
    let body = Some(b"mine".to_vec());
    assert_eq!(world.events(GATEWAY), [SipEvent::Confirmed { dialog: theirs, body }]);
    for (n, home) in strangers.iter().enumerate() {
        let bye = within(&ok, "BYE", &format!("z9hG4bKb{n}"), home, 10 + n as u32, "");
        world.inject(GATEWAY, PROXY, bye.as_bytes());
        assert!(world.packets.last().unwrap().starts_with("SIP/2.0 401"), "{home}");
    }
    // A call that rings.
    let mut world = behind_a_proxy();
    through(&mut world, "INVITE", 1, phone, "secret");
    let trying = last(&world, "SIP/2.0 100");
    world.events(GATEWAY);
    for (home, status) in [
        (strangers[0], 481),
        (strangers[1], 481),
        ("203.0.113.5;rport=61000", 200),
    ] {
        world.inject(
            GATEWAY,
            PROXY,
            within(&trying, "CANCEL", "z9hG4bKp2", home, 2, "").as_bytes(),
        );
        let said = world.packets.iter().rfind(|p| p.contains(" CANCEL\r\n")).unwrap();
        assert!(said.starts_with(&format!("SIP/2.0 {status}")), "{home}: {said}");
    }
    assert!(matches!(world.events(GATEWAY)[..], [SipEvent::Cancelled { .. }]));
}

/// Behind a proxy each source has its own responses, and none is answered for the sake of another's registration.
#[test]
pub(super) fn a_flood_behind_a_proxy_is_one_strangers_flood() {
    let mut world = behind_a_proxy();
    let phone = "SIP/2.0/UDP 192.168.1.7;received=203.0.113.5;rport=61000;branch=z9hG4bKa";
    through(&mut world, "REGISTER", 1, phone, "secret");
    let ask = |home: &str, n: u32| {
        format!(
            "OPTIONS sip:200@quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKo{n}{home}\r\n\
             Via: SIP/2.0/UDP 192.168.1.9;received={home};branch=z9hG4bKa\r\nFrom: <sip:9@x>;tag=t\r\nTo: <sip:200@x>\r\n\
             Call-ID: {home}{n}\r\nCSeq: 1 OPTIONS\r\nX-Room: {}\r\n\r\n",
            "x".repeat(200)
        )
    };
    let answered = |world: &mut World, home: &str, count: u32| {
        world.packets.clear();
        for n in 0..count {
            world.inject(GATEWAY, PROXY, ask(home, n).as_bytes());
        }
        world.packets.len()
    };
    assert_eq!(
        answered(&mut world, "203.0.113.66", 1_000),
        60,
        "a second's worth and a burst"
    );
    assert_eq!(
        answered(&mut world, "203.0.113.67", 10),
        10,
        "another's are not used up"
    );
    assert_eq!(
        answered(&mut world, "203.0.113.5;rport=61000", 100),
        100,
        "the phone that is registered"
    );
}

/// Whoever is registered there, names that are no account have the challenges of such names.
#[test]
pub(super) fn no_name_is_told_by_the_account_that_is_registered_there() {
    let only_md5 = |user: &str| Account {
        ha1: Ha1 {
            sha256: None,
            ..account(user, "secret").ha1
        },
        ..account(user, "secret")
    };
    let shape = |world: &mut World, source: &str, method: &str, name: &str, home: &str| {
        let message = format!(
            "{method} sip:200@quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{name}{method}{home}\r\n\
             Via: SIP/2.0/UDP 192.168.1.9;received={home};branch=z9hG4bKa\r\nFrom: <sip:{name}@x>;tag=t\r\nTo: <sip:{name}@x>\r\n\
             Call-ID: {name}{method}{home}\r\nCSeq: 1 {method}\r\nContact: <sip:{name}@192.168.1.9>\r\nX-Room: {}\r\n\r\n",
            "x".repeat(300)
        );
        world.inject(GATEWAY, source, message.as_bytes());
        world.packets.last().unwrap().contains("SHA-256")
    };
    let mut shapes = Vec::new();
    for registered in [false, true] {
        let mut world = behind_a_proxy();
        world.gateway().set_challenge_key(Zeroizing::new([7; 32]));
        let accounts = [
            only_md5("101"),
            only_md5("102"),
            only_md5("103"),
            account("100", "secret"),
        ];
        world.gateway().set_accounts(accounts.to_vec());
        if registered {
            let phone = "SIP/2.0/UDP 192.168.1.7;received=203.0.113.5;rport=61000;branch=z9hG4bKa";
            through(&mut world, "REGISTER", 1, phone, "secret");
            // And of two the proxy does not tell the port, or nothing that can be read.
            for (cseq, below) in [(11, "203.0.113.9"), (21, "203.0.113.9;x=\"y\"")] {
                let phone = format!("SIP/2.0/UDP 192.168.1.7;received={below};branch=z9hG4bKb{cseq}");
                let contact = format!("sip:100@192.168.1.{cseq}");
                let got = through_as(&mut world, "REGISTER", cseq, &phone, "secret", &contact);
                assert!(got.starts_with("SIP/2.0 200"), "{got}");
            }
        }
        if registered {
            // From there whatever name is tried has the challenges of the account, be it somebody's or nobody's.
            for name in ["101", "102", "103", "200", "201", "202", "203", "204"] {
                assert!(
                    shape(&mut world, PROXY, "INVITE", name, "203.0.113.5;rport=61000"),
                    "{name}"
                );
            }
        }
        let names: Vec<String> = (100..104).chain(200..215).map(|n| n.to_string()).collect();
        let all = |world: &mut World, method: &str, home: &str| {
            names
                .iter()
                .map(|name| shape(world, PROXY, method, name, home))
                .collect::<Vec<_>>()
        };
        shapes.push([
            all(&mut world, "REGISTER", "203.0.113.5"),
            all(&mut world, "REGISTER", "203.0.113.66"),
            all(&mut world, "INVITE", "203.0.113.67"),
            all(&mut world, "INVITE", "203.0.113.9"),
            all(&mut world, "INVITE", "203.0.113.9;x=\"y\""),
        ]);
    }
    assert_eq!(shapes[0], shapes[1]);
}
