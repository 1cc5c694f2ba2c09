//! Calls in both directions, as ladders: what goes well, what is lost, what crosses.

use super::*;

#[test]
pub(super) fn a_phone_calls_and_hangs_up() {
    let mut world = World::new(21);
    let ours = world.dial("tg*anna%40x", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    let events = world.events(GATEWAY);
    let [
        SipEvent::Incoming {
            caller,
            target,
            body,
            from,
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (caller.name(), target.as_str(), body.as_deref()),
        ("100", "tg*anna@x", Some(&b"offer"[..]))
    );
    assert_eq!(from.display.as_deref(), Some("Anna"));
    world
        .command(
            GATEWAY,
            SipCommand::Ring {
                dialog: theirs,
                status: 180,
                body: None,
            },
        )
        .unwrap();
    world.second();
    let identity = NameAddr::new(Some("🐶 \"dog\""), Uri::sip_host("200", REALM));
    let answer = SipCommand::Accept {
        dialog: theirs,
        body: Some(b"answer".to_vec()),
        identity: Some(identity),
        headers: Vec::new(),
    };
    world.command(GATEWAY, answer).unwrap();
    world.second();
    let answer = world
        .packets
        .iter()
        .find(|p| p.contains("\r\nP-Asserted-Identity"))
        .unwrap();
    assert!(
        answer.contains("P-Asserted-Identity: \"🐶 \\\"dog\\\"\" <sip:200@quartet.example>\r\n"),
        "{answer}"
    );
    assert_eq!(
        world.events(GATEWAY),
        [SipEvent::Confirmed {
            dialog: theirs,
            body: None
        }]
    );
    let body = Some(b"answer".to_vec());
    assert_eq!(
        world.events(PHONE),
        [
            SipEvent::Provisional {
                dialog: ours,
                status: 180,
                body: None
            },
            SipEvent::Accepted { dialog: ours, body }
        ]
    );
    let reason = Some(Reason {
        protocol: "Q.850".to_owned(),
        cause: 16,
        text: "bye".to_owned(),
    });
    world
        .command(PHONE, SipCommand::Hangup { dialog: ours, reason })
        .unwrap();
    world.second();
    let reason = Some("Q.850;cause=16;text=\"bye\"".to_owned());
    assert_eq!(world.events(GATEWAY), [SipEvent::Bye { dialog: theirs, reason }]);
    assert_eq!(world.events(PHONE), [SipEvent::Ended { dialog: ours }]);
    let expected = "\
phone -> gateway: INVITE
gateway -> phone: 401 Unauthorized
phone -> gateway: ACK
phone -> gateway: INVITE
gateway -> phone: 100 Trying
gateway -> phone: 180 Ringing
gateway -> phone: 200 OK
phone -> gateway: ACK
phone -> gateway: BYE
gateway -> phone: 200 OK";
    assert_eq!(world.ladder(), expected);
    for packet in world.packets.iter().filter(|p| p.starts_with("SIP/2.0 1")) {
        assert!(
            packet.starts_with("SIP/2.0 100") || packet.contains(";tag=gw01-"),
            "{packet}"
        );
    }
    world.assert_empty();
}

#[test]
pub(super) fn the_gateway_calls_a_phone_and_hangs_up() {
    let mut world = World::new(22);
    world.register(PHONE, "100", "secret", 3000);
    world.second();
    world.ladder();
    let ours = world.ring_phone(Some(b"offer"));
    world.second();
    let theirs = world.incoming(PHONE);
    world
        .command(
            PHONE,
            SipCommand::Ring {
                dialog: theirs,
                status: 183,
                body: Some(b"early".to_vec()),
            },
        )
        .unwrap();
    world.accept(PHONE, theirs);
    world.second();
    world.hangup(GATEWAY, ours);
    world.second();
    assert_eq!(
        world.events(PHONE).last(),
        Some(&SipEvent::Bye {
            dialog: theirs,
            reason: None
        })
    );
    let events = world.events(GATEWAY);
    let early = SipEvent::Provisional {
        dialog: ours,
        status: 183,
        body: Some(b"early".to_vec()),
    };
    assert_eq!(events[1], early);
    assert_eq!(events.last(), Some(&SipEvent::Ended { dialog: ours }));
    let expected = "\
gateway -> phone: INVITE
phone -> gateway: 100 Trying
phone -> gateway: 183 Session Progress
phone -> gateway: 200 OK
gateway -> phone: ACK
gateway -> phone: BYE
phone -> gateway: 200 OK";
    assert_eq!(world.ladder(), expected);
    world.assert_empty();
}

#[test]
pub(super) fn a_late_offer_goes_both_ways() {
    let mut world = World::new(23);
    let ours = world.dial("200", None);
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.accept(GATEWAY, theirs);
    world.second();
    let body = Some(b"answer".to_vec());
    assert_eq!(world.events(PHONE), [SipEvent::Accepted { dialog: ours, body }]);
    world
        .command(
            PHONE,
            SipCommand::Ack {
                dialog: ours,
                body: Some(b"sdp".to_vec()),
            },
        )
        .unwrap();
    world.second();
    let body = Some(b"sdp".to_vec());
    assert_eq!(
        world.events(GATEWAY).last(),
        Some(&SipEvent::Confirmed { dialog: theirs, body })
    );
    world.hangup(GATEWAY, theirs);
    world.second();
    assert_eq!(
        world.events(PHONE),
        [SipEvent::Bye {
            dialog: ours,
            reason: None
        }]
    );
    world.assert_empty();
}

#[test]
pub(super) fn a_refusal_comes_through_with_its_reason() {
    let mut world = World::new(24);
    let ours = world.dial("200", Some(b"offer"));
    world.second();
    let dialog = world.incoming(GATEWAY);
    let reason = Some(Reason {
        protocol: "SIP".to_owned(),
        cause: 503,
        text: "busy\r\nX-Evil: 1".to_owned(),
    });
    world
        .command(
            GATEWAY,
            SipCommand::Reject {
                dialog,
                status: 503,
                reason,
                retry_after: Some(7),
            },
        )
        .unwrap();
    world.second();
    let rejected = SipEvent::Rejected {
        dialog: ours,
        status: 503,
        reason: "Service Unavailable".to_owned(),
        retry_after: Some(7),
        redirect: None,
    };
    assert_eq!(world.events(PHONE), [rejected]);
    let answer = world.packets.iter().find(|p| p.starts_with("SIP/2.0 503")).unwrap();
    assert!(
        answer.contains("Reason: SIP;cause=503;text=\"busyX-Evil: 1\"\r\n"),
        "{answer}"
    );
    assert_eq!(
        world.command(GATEWAY, SipCommand::Ack { dialog, body: None }),
        Err(SipError::UnknownDialog)
    );
    world.assert_empty();
}

#[test]
pub(super) fn the_caller_gives_up() {
    let mut world = World::new(25);
    let ours = world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.ladder();
    world.hangup(PHONE, ours);
    world.second();
    assert_eq!(
        world.events(GATEWAY).last(),
        Some(&SipEvent::Cancelled { dialog: theirs })
    );
    assert!(matches!(
        world.events(PHONE)[..],
        [SipEvent::Rejected { status: 487, .. }]
    ));
    let expected = "\
phone -> gateway: CANCEL
gateway -> phone: 200 OK
gateway -> phone: 487 Request Terminated
phone -> gateway: ACK";
    assert_eq!(world.ladder(), expected);
    world.assert_empty();
}

#[test]
pub(super) fn a_cancel_waits_for_the_first_answer() {
    let mut world = World::new(26);
    world.register(PHONE, "100", "secret", 3000);
    world.second();
    world.filter = Some(Box::new(|text| text.starts_with("SIP/2.0 100")));
    let ours = world.ring_phone(Some(b"offer"));
    world.hangup(GATEWAY, ours);
    world.ladder();
    world.run(Duration::from_millis(300));
    assert_eq!(world.ladder(), "phone -> gateway: 100 Trying (lost)");
    let theirs = world.incoming(PHONE);
    world.filter = None;
    world.second();
    assert_eq!(
        world.events(PHONE).last(),
        Some(&SipEvent::Cancelled { dialog: theirs })
    );
    assert!(matches!(
        world.events(GATEWAY).last(),
        Some(SipEvent::Rejected { status: 487, .. })
    ));
    world.assert_empty();
}

#[test]
pub(super) fn a_cancel_crosses_the_answer() {
    let mut world = World::new(27);
    let ours = world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.ladder();
    world.hangup(PHONE, ours);
    world.accept(GATEWAY, theirs);
    world.second();
    let expected = "\
phone -> gateway: CANCEL
gateway -> phone: 200 OK
gateway -> phone: 200 OK
phone -> gateway: ACK
phone -> gateway: BYE
gateway -> phone: 200 OK";
    assert_eq!(world.ladder(), expected);
    assert_eq!(world.events(PHONE), [SipEvent::Ended { dialog: ours }]);
    let reason = None;
    assert_eq!(
        world.events(GATEWAY).last(),
        Some(&SipEvent::Bye { dialog: theirs, reason })
    );
    world.assert_empty();
}

#[test]
pub(super) fn an_answer_that_is_never_acknowledged_ends_in_bye() {
    let mut world = World::new(28);
    world.filter = Some(Box::new(|text| text.starts_with("ACK") && text.contains("CSeq: 2")));
    world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.accept(GATEWAY, theirs);
    world.ladder();
    world.run(Duration::from_secs(31));
    // T1 doubling to T2: 0.5, 1.5, 3.5, 7.5, 11.5 .. 27.5 s.
    assert_eq!(world.ladder().matches("gateway -> phone: 200 OK").count(), 9);
    world.run(Duration::from_secs(2));
    assert_eq!(world.events(GATEWAY).last(), Some(&SipEvent::Lost { dialog: theirs }));
    assert!(world.ladder().contains("gateway -> phone: BYE"));
    world.assert_empty();
}

#[test]
pub(super) fn hanging_up_before_the_ack_waits_for_it() {
    let mut world = World::new(29);
    let ours = world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.accept(GATEWAY, theirs);
    world.hangup(GATEWAY, theirs);
    world.ladder();
    world.second();
    assert_eq!(
        world.ladder(),
        "phone -> gateway: ACK\ngateway -> phone: BYE\nphone -> gateway: 200 OK"
    );
    assert_eq!(world.events(GATEWAY).last(), Some(&SipEvent::Ended { dialog: theirs }));
    assert_eq!(
        world.events(PHONE).last(),
        Some(&SipEvent::Bye {
            dialog: ours,
            reason: None
        })
    );
    world.assert_empty();
}

#[test]
pub(super) fn silence_ends_everything_in_time() {
    // Timer B: our call is never answered.
    let mut world = World::new(30);
    world.loss = 100;
    let ours = world.dial("200", Some(b"offer"));
    world.run(Duration::from_secs(31));
    assert_eq!(world.events(PHONE), []);
    assert_eq!(
        world.ladder().matches("INVITE").count(),
        6,
        "0, 0.5, 1.5, 3.5, 7.5, 15.5 s"
    );
    world.run(Duration::from_secs(2));
    let rejected = SipEvent::Rejected {
        dialog: ours,
        status: 408,
        reason: "Request Timeout".to_owned(),
        retry_after: None,
        redirect: None,
    };
    assert_eq!(world.events(PHONE), [rejected]);
    // Timer F: nor is our REGISTER, nor our BYE.
    world.register(PHONE, "100", "secret", 60);
    world.run(Duration::from_secs(33));
    assert_eq!(
        world.events(PHONE),
        [SipEvent::RegisterFailed {
            registration: 1,
            status: 408
        }]
    );
    world.loss = 0;
    let (ours, theirs) = world.confirmed();
    world.loss = 100;
    world.hangup(GATEWAY, theirs);
    world.run(Duration::from_secs(33));
    assert_eq!(world.events(GATEWAY), [SipEvent::Ended { dialog: theirs }]);
    world.loss = 0;
    world.hangup(PHONE, ours);
    world.second();
    assert_eq!(world.events(PHONE), [SipEvent::Ended { dialog: ours }], "481 will do");
    // Timer H: our refusal is never acknowledged.
    world.filter = Some(Box::new(|text| text.starts_with("ACK")));
    world.dial("200", Some(b"offer"));
    world.second();
    let dialog = world.incoming(GATEWAY);
    world
        .command(
            GATEWAY,
            SipCommand::Reject {
                dialog,
                status: 486,
                reason: None,
                retry_after: None,
            },
        )
        .unwrap();
    world.ladder();
    world.run(Duration::from_secs(40));
    assert_eq!(world.ladder().matches("gateway -> phone: 486 Busy Here").count(), 10);
    world.assert_empty();
}

#[test]
pub(super) fn a_cancelled_phone_that_never_answers_is_given_up() {
    let mut world = World::new(31);
    world.register(PHONE, "100", "secret", 3000);
    world.second();
    let ours = world.ring_phone(Some(b"offer"));
    world.second();
    world.loss = 100;
    world.hangup(GATEWAY, ours);
    world.run(Duration::from_secs(33));
    assert!(matches!(
        world.events(GATEWAY).last(),
        Some(SipEvent::Rejected { status: 487, .. })
    ));
    let theirs = world.incoming(PHONE);
    world
        .command(
            PHONE,
            SipCommand::Hangup {
                dialog: theirs,
                reason: None,
            },
        )
        .unwrap();
    world.assert_empty();
}

#[test]
pub(super) fn a_reinvite_is_answered_or_refused_and_meets_no_other() {
    let mut world = World::new(32);
    let (_, theirs) = world.confirmed();
    let invite = world.packets.iter().rfind(|p| p.starts_with("INVITE")).unwrap().clone();
    let tag = world.packets.iter().rfind(|p| p.starts_with("ACK")).unwrap();
    let to = tag.lines().find(|l| l.starts_with("To: ")).unwrap().to_owned();
    let again = |cseq: u32, body: &str| {
        let lines = invite.lines().take_while(|l| !l.is_empty()).map(|l| match l {
            l if l.starts_with("To: ") => to.clone(),
            l if l.starts_with("CSeq") => format!("CSeq: {cseq} INVITE"),
            l if l.starts_with("Via") => format!("Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKre{cseq}"),
            l if l.starts_with("Content-Length") => format!("Content-Length: {}", body.len()),
            l => l.to_owned(),
        });
        format!("{}\r\n\r\n{body}", lines.collect::<Vec<_>>().join("\r\n"))
    };
    world.inject(GATEWAY, "192.0.2.2:5060", again(10, "hold").as_bytes());
    assert_eq!(
        world.events(GATEWAY),
        [SipEvent::Reinvite {
            dialog: theirs,
            body: Some(b"hold".to_vec())
        }]
    );
    world.inject(GATEWAY, "192.0.2.2:5060", again(10, "hold").as_bytes());
    assert_eq!(world.events(GATEWAY), [], "a retransmission is absorbed");
    world.inject(GATEWAY, "192.0.2.2:5060", again(11, "more").as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 500"));
    world.accept(GATEWAY, theirs);
    world.inject(GATEWAY, "192.0.2.2:5060", again(12, "more").as_bytes());
    assert!(
        world.packets.last().unwrap().starts_with("SIP/2.0 491"),
        "ours waits for its ACK"
    );
    let ack = again(10, "")
        .replace("INVITE", "ACK")
        .replace("z9hG4bKre", "z9hG4bKack");
    world.inject(GATEWAY, "192.0.2.2:5060", ack.as_bytes());
    assert_eq!(
        world.events(GATEWAY),
        [SipEvent::Confirmed {
            dialog: theirs,
            body: None
        }]
    );
    world.inject(GATEWAY, "192.0.2.2:5060", again(13, "video").as_bytes());
    world
        .command(
            GATEWAY,
            SipCommand::Reject {
                dialog: theirs,
                status: 488,
                reason: None,
                retry_after: None,
            },
        )
        .unwrap();
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 488"));
    world.inject(GATEWAY, "192.0.2.2:5060", again(9, "old").as_bytes());
    assert!(
        world
            .packets
            .last()
            .unwrap()
            .starts_with("SIP/2.0 500 CSeq Out Of Order")
    );
    world.hangup(GATEWAY, theirs);
    world.second();
    assert_eq!(world.events(GATEWAY).last(), Some(&SipEvent::Ended { dialog: theirs }));
    world.assert_empty();
}

#[test]
pub(super) fn info_is_passed_on_and_a_lost_dialog_is_noticed() {
    let mut world = World::new(33);
    let (ours, theirs) = world.confirmed();
    let info = |dialog| SipCommand::Info {
        dialog,
        content_type: "application/dtmf-relay".to_owned(),
        body: b"Signal=5\r\n".to_vec(),
    };
    world.doubled = 100;
    world.command(PHONE, info(ours)).unwrap();
    world.second();
    let pressed = |digit| SipEvent::Dtmf { dialog: theirs, digit };
    assert_eq!(world.events(GATEWAY), [pressed('5')], "once, though doubled");
    // What is not known is not confirmed.
    for (content_type, body, status, digit) in [
        ("application/dtmf", "Signal=9", "200", Some('9')),
        ("application/dtmf-relay", "flash", "400 No Such Key", None),
        ("application/vnd.nortelnetworks.digits", "d=5", "415", None),
        ("application/media_control+xml", "<x/>", "415", None),
        ("application/dtmf", "", "200", None),
    ] {
        let (content_type, body) = (content_type.to_owned(), body.as_bytes().to_vec());
        world
            .command(
                PHONE,
                SipCommand::Info {
                    dialog: ours,
                    content_type,
                    body,
                },
            )
            .unwrap();
        world.second();
        let answer = world
            .packets
            .iter()
            .rfind(|p| p.starts_with("SIP/2.0") && p.contains(" INFO\r\n"));
        let wanted = format!("SIP/2.0 {status}");
        assert!(
            answer.is_some_and(|answer| answer.starts_with(&wanted)),
            "{status}: {answer:?}"
        );
        assert_eq!(
            world.events(GATEWAY),
            digit.map(pressed).into_iter().collect::<Vec<_>>()
        );
    }
    world.gateway().drop_dialog(theirs);
    world.command(PHONE, info(ours)).unwrap();
    world.second();
    assert_eq!(world.events(PHONE), [SipEvent::Lost { dialog: ours }]);
    world.assert_empty();
}

#[test]
pub(super) fn byes_may_cross() {
    let mut world = World::new(34);
    let (ours, theirs) = world.confirmed();
    world.hangup(PHONE, ours);
    world.hangup(GATEWAY, theirs);
    world.second();
    assert_eq!(world.events(PHONE), [SipEvent::Ended { dialog: ours }]);
    assert_eq!(world.events(GATEWAY), [SipEvent::Ended { dialog: theirs }]);
    world.assert_empty();
}

#[test]
pub(super) fn a_second_phone_that_answers_too_is_sent_away() {
    let mut world = World::new(35);
    let ours = world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.accept(GATEWAY, theirs);
    world.second();
    let answer = world.packets.iter().find(|p| p.starts_with("SIP/2.0 200")).unwrap();
    let fork = answer.replace("tag=gw01-", "tag=fork-");
    world.ladder();
    world.inject(PHONE, "192.0.2.1:5060", fork.as_bytes());
    assert_eq!(world.ladder(), "phone -> gateway: ACK\nphone -> gateway: BYE");
    world.inject(PHONE, "192.0.2.1:5060", fork.as_bytes());
    assert_eq!(world.ladder(), "phone -> gateway: ACK");
    world.events(PHONE);
    world.hangup(PHONE, ours);
    world.second();
    assert_eq!(world.events(PHONE), [SipEvent::Ended { dialog: ours }]);
}
