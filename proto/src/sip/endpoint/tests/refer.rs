//! REFER within a call, and what its sender is told: RFC 3515, 3891, 4488, 5589. A call that a phone sends on: RFC 3261 §8.1.3.4.

use super::timers::{field, last};
use super::trust::forged;
use super::*;

const DESK: &str = "192.0.2.2:5060";

/// A REFER of the phone in its call; the responses and NOTIFYs that follow at once.
fn refer(world: &mut World, cseq: u32, more: &str) -> Vec<String> {
    let before = world.packets.len();
    let message = forged(&world.packets, "REFER", cseq, more, "");
    world.inject(GATEWAY, DESK, message.as_bytes());
    world.packets[before..].to_vec()
}

fn answer(world: &mut World, dialog: DialogKey, status: u16) -> Result<(), SipError> {
    let reason = None;
    world.command(GATEWAY, SipCommand::AnswerRefer { dialog, status, reason })
}

fn notify(world: &mut World, dialog: DialogKey, status: u16) -> Result<(), SipError> {
    world.command(GATEWAY, SipCommand::NotifyRefer { dialog, status })
}

#[test]
fn a_transfer_is_tried_and_its_sender_hears_what_becomes_of_it() {
    let mut world = World::new(70);
    let (_, theirs) = world.confirmed();
    assert_eq!(refer(&mut world, 50, "Refer-To: <sip:10-1@192.0.2.1>\r\n"), [""; 0]);
    let event = SipEvent::Refer {
        dialog: theirs,
        account: Some("100".to_owned()),
        to: ReferTo::Number("101".to_owned()),
    };
    assert_eq!(world.events(GATEWAY), [event]);
    assert_eq!(answer(&mut world, theirs, 180), Err(SipError::BadStatus(180)));
    answer(&mut world, theirs, 202).expect("it is taken");
    assert!(last(&world, "SIP/2.0 202").contains("\r\nContact: <sip:gw01-"));
    let said = last(&world, "NOTIFY");
    assert_eq!(field(said, "Event"), Some("refer"));
    assert_eq!(field(said, "Subscription-State"), Some("active;expires=600"));
    assert_eq!(field(said, "Content-Type"), Some("message/sipfrag;version=2.0"));
    assert!(said.ends_with("\r\n\r\nSIP/2.0 100 Trying\r\n"), "{said}");
    // One at a time.
    let second = refer(&mut world, 51, "Refer-To: <sip:102@192.0.2.1>\r\n");
    assert!(second[0].starts_with("SIP/2.0 491"), "{second:?}");
    for _ in 0..3 {
        notify(&mut world, theirs, 180).expect("it rings, and says so again and again");
    }
    let told = world
        .packets
        .iter()
        .filter(|packet| packet.ends_with("SIP/2.0 180 Ringing\r\n"));
    assert_eq!(told.count(), 1);
    assert!(last(&world, "NOTIFY").ends_with("SIP/2.0 180 Ringing\r\n"));
    notify(&mut world, theirs, 486).expect("it is busy");
    let said = last(&world, "NOTIFY");
    assert_eq!(field(said, "Subscription-State"), Some("terminated;reason=noresource"));
    assert!(said.ends_with("SIP/2.0 486 Busy Here\r\n"), "{said}");
    assert_eq!(
        notify(&mut world, theirs, 200),
        Err(SipError::WrongState("not referred")),
        "that was the last word"
    );
    // The next one has a name.
    refer(&mut world, 60, "r: sip:anna@quartet.example\r\n");
    answer(&mut world, theirs, 202).expect("it is taken");
    assert_eq!(field(last(&world, "NOTIFY"), "Event"), Some("refer;id=60"));
    // The phone's own endpoint takes no NOTIFY, and the call goes on all the same; it ends in the middle of it.
    world.second();
    assert!(world.ladder().contains("405"));
    assert_eq!(world.events(PHONE), []);
    world.hangup(GATEWAY, theirs);
    world.second();
    assert_eq!(notify(&mut world, theirs, 200), Err(SipError::UnknownDialog));
    world.assert_empty();
}

#[test]
fn who_wants_to_hear_nothing_hears_nothing() {
    let mut world = World::new(71);
    let (_, theirs) = world.confirmed();
    let more = "Refer-To: <sip:101@192.0.2.1>\r\nRequire: norefersub\r\nRefer-Sub: false\r\n";
    refer(&mut world, 50, more);
    answer(&mut world, theirs, 202).expect("it is taken");
    notify(&mut world, theirs, 200).expect("it is over");
    assert_eq!(field(last(&world, "SIP/2.0 202"), "Refer-Sub"), Some("false"));
    assert!(!world.packets.iter().any(|packet| packet.starts_with("NOTIFY")));
    world.hangup(GATEWAY, theirs);
    world.assert_empty();
}

#[test]
fn what_names_nobody_is_refused_in_words() {
    let mut world = World::new(72);
    let (_, theirs) = world.confirmed();
    let cases = [
        ("", "400 Wants One Refer-To"),
        (
            "Refer-To: <sip:1@a>\r\nRefer-To: <sip:2@a>\r\n",
            "400 Wants One Refer-To",
        ),
        ("Refer-To: <<\r\n", "400 Bad Refer-To"),
        ("Refer-To: <http://a/b>\r\n", "416"),
        ("Refer-To: <sip:1@a;method=BYE>\r\n", "400 Only Calls Are Transferred"),
        ("Refer-To: <sip:1@a?Replaces=x>\r\n", "400 Bad Replaces"),
        ("Refer-To: <sip:1@a?Replaces=x%3Bto-tag%3Dy%3Bfrom-tag%3Dz>\r\n", "481"),
        (
            "Refer-To: <sip:1@a?Replaces=x%3Bto-tag%3Dy%3Bfrom-tag%3Dz%3Bearly-only>\r\n",
            "486",
        ),
    ];
    for (at, (more, expected)) in cases.into_iter().enumerate() {
        let said = refer(&mut world, 50 + at as u32, more);
        assert!(said[0].starts_with(&format!("SIP/2.0 {expected}")), "{more}: {said:?}");
    }
    assert_eq!(world.events(GATEWAY), []);
    // The TU refuses what it cannot do, and another may follow.
    refer(&mut world, 70, "Refer-To: <sip:101@192.0.2.1>\r\n");
    answer(&mut world, theirs, 404).expect("it is refused");
    assert_eq!(
        answer(&mut world, theirs, 202),
        Err(SipError::WrongState("not referred"))
    );
    refer(&mut world, 71, "Refer-To: <sip:101@192.0.2.1>\r\n");
    answer(&mut world, theirs, 202).expect("it is taken");
    // Outside of calls nobody is transferred.
    let outside = "REFER sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKo\r\nMax-Forwards: 70\r\nFrom: \
                   <sip:100@a>;tag=1\r\nTo: <sip:100@a>\r\nCall-ID: o\r\nCSeq: 1 REFER\r\nRefer-To: <sip:101@a>\r\nContent-Length: 0\r\n\r\n";
    world.inject(GATEWAY, DESK, outside.as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 403"));
    world.hangup(GATEWAY, theirs);
    world.assert_empty();
}

#[test]
fn replaces_names_another_call_of_the_same_account() {
    let mut world = World::new(73);
    let (_, first) = world.confirmed();
    let invite = |world: &World| last(world, "SIP/2.0 200").to_owned();
    let one = invite(&world);
    let (_, second) = world.confirmed();
    let tag = |packet: &str, name: &str| {
        let value = field(packet, name).expect("it is there");
        value.split(";tag=").nth(1).expect("a tag").to_owned()
    };
    let replaces = |packet: &str| {
        let call_id = field(packet, "Call-ID").expect("it is there");
        let (to, from) = (tag(packet, "To"), tag(packet, "From"));
        format!("Refer-To: <sip:200@192.0.2.1?Replaces={call_id}%3Bfrom-tag%3D{from}%3BTO-TAG%3D{to}>\r\n")
    };
    // In the second call, the first is named; the packets of the second are the last.
    let named = replaces(&one);
    assert_eq!(refer(&mut world, 50, &named), [""; 0]);
    let event = SipEvent::Refer {
        dialog: second,
        account: Some("100".to_owned()),
        to: ReferTo::Dialog(first),
    };
    assert_eq!(world.events(GATEWAY), [event]);
    answer(&mut world, second, 403).expect("it is refused");
    // Not itself.
    let itself = replaces(&invite(&world));
    let said = refer(&mut world, 51, &itself);
    assert!(said[0].starts_with("SIP/2.0 481"), "{said:?}");
    // Nor a call of another account.
    world.gateway().dialogs.get_mut(first).expect("it stands").account = Some("101".to_owned());
    let said = refer(&mut world, 52, &named);
    assert!(said[0].starts_with("SIP/2.0 481"), "{said:?}");
    for dialog in [first, second] {
        world.hangup(GATEWAY, dialog);
    }
    world.assert_empty();
}

#[test]
fn a_phone_that_sends_a_call_on_names_who_is_to_have_it() {
    for (status, contacts, redirect) in [
        (
            302,
            "Contact: <sip:10-1@192.0.2.1>;q=1\r\nContact: <sip:102@a>\r\n",
            Some("101"),
        ),
        (302, "", None),
        (302, "Contact: <sip:192.0.2.9>\r\n", None),
        (486, "Contact: <sip:101@192.0.2.1>\r\n", None),
    ] {
        let mut world = World::new(74);
        world.register(PHONE, "100", "secret", 600);
        world.second();
        let call = world.ring_phone(Some(b"offer"));
        let invite = last(&world, "INVITE").to_owned();
        let line = |name| field(&invite, name).expect("it is there");
        let response = format!(
            "SIP/2.0 {status} Elsewhere\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=x\r\nCall-ID: {}\r\nCSeq: {}\r\n{contacts}Content-Length: \
             0\r\n\r\n",
            line("Via"),
            line("From"),
            line("To"),
            line("Call-ID"),
            line("CSeq")
        );
        world.nodes[GATEWAY].events.clear();
        world.inject(GATEWAY, DESK, response.as_bytes());
        let rejected = SipEvent::Rejected {
            dialog: call,
            status,
            reason: "Elsewhere".to_owned(),
            retry_after: None,
            redirect: redirect.map(str::to_owned),
        };
        assert_eq!(world.events(GATEWAY), [rejected]);
    }
}
