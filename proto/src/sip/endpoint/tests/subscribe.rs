//! SUBSCRIBE and what follows it: RFC 6665, 4235, 3842.

use super::timers::{field, last};
use super::*;
use crate::sip::{Line, PackageState};

const DESK: &str = "192.0.2.9:5060";

/// A SUBSCRIBE of phone 100 to `target`, within the dialog of `tag` if there is one, and then to our Contact; the last packet then.
fn subscribe(world: &mut World, (cseq, target, tag): (u32, &str, &str), fields: &str) -> String {
    let to = format!("sip:{target}@quartet.example");
    let uri = if tag.is_empty() {
        &to
    } else {
        "sip:gw01-1@192.0.2.1:5060"
    };
    let tag = if tag.is_empty() {
        String::new()
    } else {
        format!(";tag={tag}")
    };
    let message = |auth: &str| {
        let branch = if auth.is_empty() { "a" } else { "b" };
        format!(
            "SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {DESK};branch=z9hG4bK{branch}{cseq};rport\r\n\
             From: <sip:100@quartet.example>;tag=t\r\nTo: <{to}>{tag}\r\nCall-ID: watch\r\nCSeq: {cseq} SUBSCRIBE\r\n\
             Max-Forwards: 70\r\nContact: <sip:100@{DESK}>\r\n{auth}{fields}Content-Length: 0\r\n\r\n"
        )
    };
    world.log_in(DESK, ("100", "secret"), ("SUBSCRIBE", uri), message)
}

/// The one that the TU is told of.
fn asked(world: &mut World) -> DialogKey {
    let events = world.events(GATEWAY);
    assert!(
        !format!("{events:?}").contains("gw01"),
        "it asks about a phone: {events:?}"
    );
    match &events[..] {
        [
            SipEvent::Subscribe {
                subscription, account, ..
            },
        ] if account == "100" => *subscription,
        other => panic!("{other:?}"),
    }
}

fn notify(world: &mut World, subscription: DialogKey, state: PackageState) -> Result<(), SipError> {
    world.command(GATEWAY, SipCommand::Notify { subscription, state })
}

/// The phone says that it has heard the last NOTIFY.
fn take(world: &mut World, status: &str) {
    let request = last(world, "NOTIFY").to_owned();
    let copied = |name: &str| format!("{name}: {}\r\n", field(&request, name).unwrap_or_default());
    let fields: String = ["Via", "From", "To", "Call-ID", "CSeq"].map(copied).concat();
    let response = format!("SIP/2.0 {status}\r\n{fields}Content-Length: 0\r\n\r\n");
    world.inject(GATEWAY, DESK, response.as_bytes());
}

#[test]
fn a_lamp_follows_a_phone_until_it_is_asked_no_more() {
    let mut world = World::new(90);
    subscribe(&mut world, (1, "101", ""), "Event: dialog;id=k\r\nExpires: 600\r\n");
    let watch = asked(&mut world);
    notify(&mut world, watch, PackageState::Line(Line::Free)).expect("it is granted");
    let granted = last(&world, "SIP/2.0 200").to_owned();
    assert_eq!(field(&granted, "Expires"), Some("600"));
    let tag = field(&granted, "To")
        .and_then(|to| to.split_once(";tag="))
        .expect("a tag")
        .1
        .to_owned();
    let said = last(&world, "NOTIFY");
    assert_eq!(field(said, "Event"), Some("dialog;id=k"));
    assert_eq!(field(said, "Subscription-State"), Some("active;expires=600"));
    assert_eq!(field(said, "Content-Type"), Some("application/dialog-info+xml"));
    assert!(
        said.contains("entity=\"sip:101@192.0.2.1:5060\"") && said.contains(">terminated<"),
        "{said}"
    );
    assert!(said.starts_with("NOTIFY sip:100@192.0.2.9:5060 "), "{said}");
    take(&mut world, "200 OK");
    notify(&mut world, watch, PackageState::Line(Line::Ringing)).expect("it is told");
    let said = last(&world, "NOTIFY");
    assert!(
        said.contains("version=\"1\"") && said.contains("recipient\"><state>early<"),
        "{said}"
    );
    take(&mut world, "200 OK");
    // Still, from within; then no more.
    subscribe(&mut world, (10, "101", &tag), "Event: dialog;id=k\r\nExpires: 600\r\n");
    assert_eq!(asked(&mut world), watch);
    notify(&mut world, watch, PackageState::Line(Line::Talking)).expect("it is granted");
    take(&mut world, "200 OK");
    subscribe(&mut world, (20, "101", &tag), "Event: dialog;id=k\r\nExpires: 0\r\n");
    assert_eq!(asked(&mut world), watch);
    notify(&mut world, watch, PackageState::Line(Line::Talking)).expect("the last word");
    let said = last(&world, "NOTIFY");
    assert_eq!(field(said, "Subscription-State"), Some("terminated;reason=timeout"));
    assert!(said.contains(">confirmed<"), "{said}");
    take(&mut world, "200 OK");
    assert_eq!(world.events(GATEWAY), [SipEvent::Unsubscribed { subscription: watch }]);
    let gone = subscribe(&mut world, (30, "101", &tag), "Event: dialog;id=k\r\n");
    assert!(gone.starts_with("SIP/2.0 481"), "{gone}");
    world.assert_empty();
}

#[test]
fn who_asks_no_more_or_is_gone_is_told_no_more() {
    let mut world = World::new(91);
    subscribe(&mut world, (1, "100", ""), "Event: message-summary\r\nExpires: 60\r\n");
    let watch = asked(&mut world);
    notify(&mut world, watch, PackageState::Missed(2)).expect("it is granted");
    assert!(last(&world, "NOTIFY").ends_with("Voice-Message: 2/0\r\n"));
    take(&mut world, "200 OK");
    world.run(Duration::from_secs(61));
    let said = last(&world, "NOTIFY");
    assert_eq!(field(said, "Subscription-State"), Some("terminated;reason=timeout"));
    assert_eq!(field(said, "Content-Length"), Some("0"));
    take(&mut world, "481 Subscription Does Not Exist");
    assert_eq!(world.events(GATEWAY), [SipEvent::Unsubscribed { subscription: watch }]);
    assert_eq!(
        notify(&mut world, watch, PackageState::Missed(3)),
        Err(SipError::UnknownDialog)
    );
    for (cseq, ends) in [(10, "481 Gone"), (20, "489 Bad Event")] {
        subscribe(&mut world, (cseq, "100", ""), "Event: message-summary\r\n");
        let watch = asked(&mut world);
        notify(&mut world, watch, PackageState::Missed(0)).expect("it is granted");
        take(&mut world, ends);
        assert_eq!(
            world.events(GATEWAY),
            [SipEvent::Unsubscribed { subscription: watch }],
            "{ends}"
        );
    }
    // Nobody says anything.
    subscribe(&mut world, (30, "100", ""), "Event: message-summary\r\n");
    let watch = asked(&mut world);
    notify(&mut world, watch, PackageState::Missed(0)).expect("it is granted");
    world.run(Duration::from_secs(40));
    assert_eq!(world.events(GATEWAY), [SipEvent::Unsubscribed { subscription: watch }]);
    // Nor is an account told that has another password now.
    subscribe(&mut world, (40, "100", ""), "Event: message-summary\r\n");
    let watch = asked(&mut world);
    notify(&mut world, watch, PackageState::Missed(0)).expect("it is granted");
    take(&mut world, "200 OK");
    world.gateway().set_accounts(vec![account("100", "another")]);
    world.drain(GATEWAY);
    assert_eq!(world.events(GATEWAY), [SipEvent::Unsubscribed { subscription: watch }]);
    world.assert_empty();
}

#[test]
fn what_cannot_be_told_is_refused_in_words() {
    let mut world = World::new(92);
    let cases = [
        ("Event: presence\r\n", "489", "Allow-Events: dialog, message-summary"),
        ("", "489", "Allow-Events"),
        ("Event: dialog\r\nExpires: 10\r\n", "423", "Min-Expires: 60"),
        (
            "Event: dialog\r\nAccept: application/pidf+xml\r\n",
            "406",
            "Accept: application/dialog-info+xml",
        ),
    ];
    for (at, (fields, status, more)) in cases.into_iter().enumerate() {
        let said = subscribe(&mut world, (1 + 10 * at as u32, "101", ""), fields);
        assert!(
            said.starts_with(&format!("SIP/2.0 {status}")) && said.contains(more),
            "{fields}: {said}"
        );
        // RFC 3261 §8.2.6.2.
        let to = field(&said, "To").expect("it is to somebody");
        assert_eq!(to.matches(";tag=").count(), 1, "{said}");
    }
    let accepted = "Event: dialog\r\nAccept: application/pidf+xml, application/dialog-info+xml\r\n";
    subscribe(&mut world, (50, "101", ""), accepted);
    let subscription = asked(&mut world);
    let refuse = |status| SipCommand::RefuseSubscription { subscription, status };
    assert_eq!(world.command(GATEWAY, refuse(200)), Err(SipError::BadStatus(200)));
    world.command(GATEWAY, refuse(403)).expect("it is refused");
    assert!(last(&world, "SIP/2.0 403").contains("CSeq: 50 SUBSCRIBE"));
    assert_eq!(world.events(GATEWAY), [SipEvent::Unsubscribed { subscription }]);
    assert!(!world.packets.iter().any(|packet| packet.starts_with("NOTIFY")));
    world.assert_empty();
}

#[test]
fn an_account_has_only_so_many() {
    let mut world = World::new(93);
    let mut refused = 0;
    for n in 0..300 {
        let said = subscribe(&mut world, (10 * n + 1, "101", ""), "Event: dialog\r\n");
        refused += usize::from(said.starts_with("SIP/2.0 503"));
        for event in world.events(GATEWAY) {
            if let SipEvent::Subscribe { subscription, .. } = event {
                notify(&mut world, subscription, PackageState::Line(Line::Free)).expect("it is granted");
                take(&mut world, "200 OK");
            }
        }
        world.run(Duration::from_secs(10));
    }
    assert_eq!(refused, 300 - 256);
}
