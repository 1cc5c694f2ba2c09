//! The machine against a service that says what the test says, under virtual time.
//!
//! Size: one list of what may happen to a call.

mod desk;
mod people;

use grammers_tl_types::{Deserializable as _, Identifiable as _, enums, types};

use super::*;
use crate::networks::Via;
use crate::networks::telegram::frame::RpcError;
use desk::*;

#[test]
fn a_call_out_goes_step_by_step() {
    let mut desk = Desk::new(vec![account("main")]);
    let call = desk.called();
    desk.update(0, waiting(Some(1)));
    desk.update(0, waiting(Some(1)));
    assert_eq!(desk.events(), [NetworkEvent::Received { call }], "it rings once");
    desk.update(0, accepted(&["9.0.0", "13.0.0"]));
    let accept = NetworkEvent::Accepted {
        call,
        exchange: KeyExchange::Dh2048,
        public: vec![2; 256],
        version: "13.0.0".to_owned(),
    };
    assert_eq!(desk.events(), [accept]);
    desk.command(NetworkCommand::Signal { call, packet: vec![1] });
    assert!(desk.asked().is_empty(), "there is no key yet");
    desk.command(NetworkCommand::Confirm {
        call,
        public: vec![3; 256],
        fingerprint: -5,
    });
    let asked = desk.one();
    let confirm = functions::phone::ConfirmCall::from_bytes(&asked.body[4..]).unwrap();
    assert_eq!((confirm.g_a, confirm.key_fingerprint), (vec![3; 256], -5));
    let connections = vec![
        types::PhoneConnection {
            tcp: true,
            id: 4,
            ip: "192.0.2.1".to_owned(),
            ipv6: String::new(),
            port: 599,
            peer_tag: vec![8; 16],
        }
        .into(),
        types::PhoneConnectionWebrtc {
            turn: true,
            stun: true,
            id: 5,
            ip: "192.0.2.2".to_owned(),
            ipv6: "2001:db8::2".to_owned(),
            port: 3_478,
            username: "u".to_owned(),
            password: "p".to_owned(),
        }
        .into(),
        types::PhoneConnection {
            tcp: false,
            id: 6,
            ip: "192.0.2.3".to_owned(),
            ipv6: String::new(),
            port: 70_000,
            peer_tag: vec![8; 16],
        }
        .into(),
    ];
    desk.named(&asked, confirmed(&["9.0.0"], connections));
    let events = desk.events();
    let [NetworkEvent::Servers { servers, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((servers.version.as_deref(), servers.p2p), (Some("9.0.0"), false));
    assert_eq!(
        (servers.reflectors.len(), servers.stun.len(), servers.turn.len()),
        (1, 2, 2)
    );
    assert_eq!(servers.turn[0].via, Via::Udp);
    desk.command(NetworkCommand::Signal { call, packet: vec![1] });
    assert!(is!(desk.one(), phone::SendSignalingData));
    let mut body = Vec::<enums::User>::new().to_bytes();
    let data = types::UpdatePhoneCallSignalingData {
        phone_call_id: KEY.0,
        data: vec![4],
    };
    body.extend(enums::Update::from(data).to_bytes());
    desk.report(0, Report::Update(body));
    assert_eq!(desk.events(), [NetworkEvent::Signal { call, packet: vec![4] }]);
    desk.discard(call, DiscardReason::Hangup);
    let asked = desk.one();
    let discard = functions::phone::DiscardCall::from_bytes(&asked.body[4..]).unwrap();
    assert_eq!(
        (discard.duration, discard.reason),
        (5, enums::PhoneCallDiscardReason::Hangup)
    );
    // What comes of it afterwards is nothing.
    desk.update(0, discarded(None));
    assert!(desk.events().is_empty() && desk.phone.calls() == 0);
    // The user is known from now on.
    desk.call(2, "main/@BOBBY");
    assert!(is!(desk.one(), phone::RequestCall));
}

#[test]
fn a_call_in_goes_step_by_step() {
    let mut desk = Desk::new(vec![account("main")]);
    desk.update(0, requested());
    desk.update(0, requested());
    let events = desk.events();
    let [NetworkEvent::Requested(request)] = &events[..] else {
        panic!("{events:?}");
    };
    let call = request.call;
    assert_eq!((request.from.as_str(), request.to.as_str()), ("@bobby", "main"));
    assert_eq!(request.versions, ["9.0.0", "13.0.0"]);
    assert_eq!(request.offers[0].commitment, [7; 32]);
    desk.command(NetworkCommand::Received { call });
    assert!(is!(desk.one(), phone::ReceivedCall));
    desk.command(NetworkCommand::Accept {
        call,
        exchange: KeyExchange::Dh2048,
        public: vec![2; 256],
        version: "13.0.0".to_owned(),
    });
    let accept = functions::phone::AcceptCall::from_bytes(&desk.one().body[4..]).unwrap();
    assert_eq!(accept.g_b, vec![2; 256]);
    desk.update(0, confirmed(&["13.0.0"], Vec::new()));
    desk.update(0, confirmed(&["13.0.0"], Vec::new()));
    let events = desk.events();
    assert!(
        matches!(
            &events[..],
            [
                NetworkEvent::Confirmed { fingerprint: 5, .. },
                NetworkEvent::Servers { .. }
            ]
        ),
        "{events:?}"
    );
    desk.update(0, discarded(Some(enums::PhoneCallDiscardReason::Hangup)));
    let reason = DiscardReason::Hangup;
    assert_eq!(desk.events(), [NetworkEvent::Discarded { call, reason }]);
    // Whoever has called can be called, by his number as well.
    desk.call(2, "main/1002");
    assert!(is!(desk.one(), phone::RequestCall));
}

#[test]
fn an_update_that_overtakes_the_answer_waits_for_it() {
    let mut desk = Desk::new(vec![account("main")]);
    let (call, asked) = desk.asked_for();
    desk.update(0, waiting(Some(1)));
    desk.update(0, accepted(&["9.0.0"]));
    assert!(desk.events().is_empty());
    desk.named(&asked, waiting(None));
    let events = desk.events();
    assert!(
        matches!(
            &events[..],
            [NetworkEvent::Received { .. }, NetworkEvent::Accepted { .. }]
        ),
        "{events:?}"
    );
    desk.discard(call, DiscardReason::Hangup);
}

#[test]
fn a_call_that_is_given_up_before_it_has_a_name_is_discarded_when_it_has() {
    let mut desk = Desk::new(vec![account("main")]);
    let (call, asked) = desk.asked_for();
    desk.discard(call, DiscardReason::Missed);
    assert!(desk.asked().is_empty());
    desk.named(&asked, waiting(None));
    let discard = functions::phone::DiscardCall::from_bytes(&desk.one().body[4..]).unwrap();
    assert_eq!(discard.reason, enums::PhoneCallDiscardReason::Missed);
    assert!(desk.events().is_empty());
}

#[test]
fn the_ends_of_a_call_are_told_apart() {
    use enums::PhoneCallDiscardReason as Theirs;
    for (reason, rings, ours) in [
        (Some(Theirs::Busy), false, DiscardReason::Busy),
        (Some(Theirs::Hangup), true, DiscardReason::Declined),
        (Some(Theirs::Missed), true, DiscardReason::Missed),
        (Some(Theirs::Disconnect), true, DiscardReason::Disconnect),
        (None, true, DiscardReason::Hangup),
    ] {
        let mut desk = Desk::new(vec![account("main")]);
        let call = desk.called();
        if rings {
            desk.update(0, waiting(Some(1)));
            desk.events();
        }
        desk.update(0, discarded(reason));
        assert_eq!(desk.events(), [NetworkEvent::Discarded { call, reason: ours }]);
        assert!(desk.asked().is_empty(), "who has said it knows it");
    }
    // An incoming one that another device of the account took.
    let mut desk = Desk::new(vec![account("main")]);
    desk.update(0, requested());
    desk.events();
    desk.update(0, discarded(None));
    assert!(matches!(
        desk.events()[..],
        [NetworkEvent::Refused {
            why: Refusal::Elsewhere,
            ..
        }]
    ));
}

#[test]
fn each_error_of_the_service_ends_the_call_with_its_reason_and_nothing_is_asked_again() {
    for (code, name, value, why) in [
        (400, "USERNAME_NOT_OCCUPIED", None, Refusal::UnknownUser),
        (403, "USER_PRIVACY_RESTRICTED", None, Refusal::Forbidden),
        (500, "CALL_OCCUPY_FAILED", None, Refusal::Busy),
        (400, "PARTICIPANT_VERSION_OUTDATED", None, Refusal::Incompatible),
        (
            420,
            "FLOOD_WAIT",
            Some(40),
            Refusal::RateLimited {
                retry_after: Duration::from_secs(40),
            },
        ),
        (400, "WHATEVER", None, Refusal::Protocol("WHATEVER".to_owned())),
        (0, "", None, Refusal::Lost),
    ] {
        let mut desk = Desk::new(vec![account("main")]);
        let (call, asked) = desk.asked_for();
        desk.refuse(&asked, error(code, name, value));
        assert_eq!(desk.events(), [NetworkEvent::Refused { call, why }], "{name}");
        assert!(desk.asked().is_empty() && desk.phone.calls() == 0, "{name}");
    }
}

#[test]
fn after_a_flood_the_service_is_not_asked_before_it_has_passed() {
    let mut desk = Desk::new(vec![account("main")]);
    let (_, asked) = desk.asked_for();
    desk.refuse(&asked, error(420, "FLOOD_WAIT", Some(40)));
    desk.events();
    let said = desk.phone.accounts(desk.now).remove(0).1;
    assert_eq!(said, "up, no calls for 70 s as the service wants it");
    let call = desk.call(2, "main/@bobby");
    assert!(desk.asked().is_empty());
    let why = Refusal::RateLimited {
        retry_after: Duration::from_secs(70),
    };
    assert_eq!(desk.events(), [NetworkEvent::Refused { call, why }]);
    desk.wait(Duration::from_secs(3_600));
    desk.call(3, "main/@bobby");
    assert!(is!(desk.one(), phone::RequestCall));
}

#[test]
fn a_key_that_is_too_old_is_asked_for_anew_by_the_next_call() {
    let mut desk = Desk::new(vec![account("main")]);
    let call = desk.called();
    desk.discard(call, DiscardReason::Hangup);
    desk.asked();
    desk.call(2, "main/@bobby");
    let asked = desk.one();
    desk.refuse(&asked, error(400, "USER_ID_INVALID", None));
    desk.call(3, "main/@bobby");
    assert!(is!(desk.one(), contacts::ResolveUsername));
}

#[test]
fn an_hour_has_so_many_calls() {
    let mut desk = Desk::new(vec![Account {
        calls_per_hour: 3,
        ..account("main")
    }]);
    let call = desk.called();
    desk.discard(call, DiscardReason::Hangup);
    desk.asked();
    for number in 2..4 {
        let call = desk.call(number, "main/@bobby");
        let asked = desk.one();
        desk.named(&asked, waiting(None));
        desk.discard(call, DiscardReason::Hangup);
        desk.asked();
    }
    let call = desk.call(4, "main/@bobby");
    let events = desk.events();
    let [
        NetworkEvent::Refused {
            call: of,
            why: Refusal::RateLimited { retry_after },
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert!(*of == call && *retry_after <= Duration::from_secs(3_600) && *retry_after > S);
    assert!(desk.asked().is_empty());
}

#[test]
fn a_pool_calls_by_the_account_that_is_free_and_has_called_least() {
    let mut desk = Desk::new(vec![account("main"), account("second")]);
    let mut from = Vec::new();
    for number in 1..4 {
        let call = desk.call(number, "all/@bobby");
        match desk.asked().pop() {
            Some(asked) => from.push(asked.account),
            None => assert_eq!(
                desk.events(),
                [NetworkEvent::Refused {
                    call,
                    why: Refusal::Busy
                }]
            ),
        }
    }
    assert_eq!(from, [0, 1]);
    // One that is out is left out.
    let mut desk = Desk::new(vec![account("main"), account("second")]);
    desk.report(0, Report::Out("SESSION_REVOKED".to_owned()));
    desk.call(1, "all/@bobby");
    assert_eq!(desk.one().account, 1);
    desk.call(2, "main/@bobby");
    let why = Refusal::Lost;
    assert!(matches!(&desk.events()[..], [NetworkEvent::Refused { why: said, .. }] if *said == why));
}

#[test]
fn whom_nobody_can_be_is_not_asked_for() {
    let mut desk = Desk::new(vec![account("main")]);
    for (to, why) in [
        ("nobody/@bobby", Refusal::UnknownUser),
        ("main/@b", Refusal::UnknownUser),
        ("main/99", Refusal::UnknownUser),
        ("bobby", Refusal::UnknownUser),
        ("main/+4930123456", Refusal::Forbidden),
    ] {
        let call = desk.call(1, to);
        assert_eq!(desk.events(), [NetworkEvent::Refused { call, why }], "{to}");
        assert!(desk.asked().is_empty());
    }
}

#[test]
fn a_number_is_asked_for_and_if_need_be_imported_and_taken_out_again() {
    let mut desk = Desk::new(vec![Account {
        dials_numbers: true,
        ..account("main")
    }]);
    desk.call(1, "main/+4930123456");
    let asked = desk.one();
    assert!(is!(asked, contacts::ResolvePhone));
    desk.refuse(&asked, error(400, "PHONE_NOT_OCCUPIED", None));
    let asked = desk.one();
    assert!(is!(asked, contacts::ImportContacts));
    let imported = types::contacts::ImportedContacts {
        imported: Vec::new(),
        popular_invites: Vec::new(),
        retry_contacts: Vec::new(),
        users: vec![user(BOB.0, BOB.1, "bobby")],
    };
    desk.answer(&asked, &enums::contacts::ImportedContacts::Contacts(imported));
    let asked = desk.asked();
    assert!(is!(asked[0], contacts::DeleteContacts) && is!(asked[1], phone::RequestCall));
}

#[test]
fn who_calls_while_the_account_talks_hears_busy() {
    let mut desk = Desk::new(vec![account("main")]);
    desk.called();
    let enums::PhoneCall::Requested(mut other) = requested() else {
        unreachable!()
    };
    other.id = 78;
    desk.update(0, other.into());
    let discard = functions::phone::DiscardCall::from_bytes(&desk.one().body[4..]).unwrap();
    assert_eq!(discard.reason, enums::PhoneCallDiscardReason::Busy);
    assert!(desk.events().is_empty());
}

#[test]
fn nobody_waits_for_ever() {
    let mut desk = Desk::new(vec![account("main")]);
    // The service does not answer.
    let call = desk.call(1, "main/@bobby");
    desk.asked();
    desk.wait(ANSWER);
    let why = Refusal::Lost;
    assert_eq!(desk.events(), [NetworkEvent::Refused { call, why }]);
    // No device of the user has it.
    let call = desk.called();
    desk.wait(20 * S);
    let why = Refusal::Offline;
    assert_eq!(desk.events(), [NetworkEvent::Refused { call, why }]);
    assert!(is!(desk.one(), phone::DiscardCall));
    // Nobody takes it.
    let call = desk.call(1, "main/@bobby");
    let asked = desk.one();
    desk.named(&asked, waiting(Some(1)));
    desk.update(0, waiting(Some(1)));
    assert_eq!(desk.events(), [NetworkEvent::Received { call }]);
    desk.wait(90 * S);
    let reason = DiscardReason::Missed;
    assert_eq!(desk.events(), [NetworkEvent::Discarded { call, reason }]);
    assert!(is!(desk.one(), phone::DiscardCall));
    assert!(desk.phone.calls() == 0 && desk.phone.poll_timeout().is_none_or(|at| at > desk.now));
}

#[test]
fn calls_that_a_crash_left_are_ended_at_the_next_start_and_who_was_met_is_known() {
    let mut desk = Desk::new(vec![account("main")]);
    let mut kept = Vec::new();
    let (_, asked) = desk.asked_for();
    desk.named(&asked, waiting(None));
    while let Some(frame) = desk.phone.poll_frame() {
        if let Some(Frame {
            word: Order::Keep(body),
            ..
        }) = Frame::<Order>::parse(&frame)
        {
            kept = body;
        }
    }
    let mut phone = Phone::new(PhoneConfig {
        accounts: vec![account("main")],
        pools: BTreeMap::new(),
    });
    let frame = |word| Frame::<Report> { account: 0, word }.to_bytes();
    phone.handle_frame(desk.now, &frame(Report::Kept(kept)));
    phone.handle_frame(desk.now, &frame(Report::Up));
    let mut next = Desk { phone, now: desk.now };
    let asked = next.asked();
    let discard = asked
        .iter()
        .find(|asked| is!(asked, phone::DiscardCall))
        .expect("it is ended");
    let discard = functions::phone::DiscardCall::from_bytes(&discard.body[4..]).unwrap();
    let enums::InputPhoneCall::Call(peer) = discard.peer;
    assert_eq!((peer.id, peer.access_hash), KEY);
    next.call(1, "main/@bobby");
    assert!(is!(next.one(), phone::RequestCall));
}

#[test]
fn the_end_of_a_call_is_told_when_the_service_is_there_again() {
    let mut desk = Desk::new(vec![account("main")]);
    let call = desk.called();
    desk.report(0, Report::Away);
    assert_eq!(desk.phone.accounts(desk.now), [("main".to_owned(), "away".to_owned())]);
    desk.discard(call, DiscardReason::Hangup);
    let asked = desk.one();
    desk.refuse(&asked, RpcError::unreachable());
    assert!(desk.asked().is_empty() && desk.events().is_empty());
    desk.report(0, Report::Up);
    let asked = desk.asked();
    let discard = asked
        .iter()
        .find(|asked| is!(asked, phone::DiscardCall))
        .expect("it is told");
    let discard = functions::phone::DiscardCall::from_bytes(&discard.body[4..]).unwrap();
    assert_eq!(
        (discard.reason, discard.duration),
        (enums::PhoneCallDiscardReason::Hangup, 5)
    );
    desk.report(0, Report::Up);
    assert!(!desk.asked().iter().any(|asked| is!(asked, phone::DiscardCall)), "once");
}

/// Seen by reading: a client that logs in anew tells again what was kept, and the calls that stand were among it.
#[test]
fn a_login_that_is_made_anew_ends_no_call_that_stands() {
    let mut desk = Desk::new(vec![account("main")]);
    let call = desk.called();
    let kept = serde_json::json!({ "calls": [KEY, (79, 5)] }).to_string();
    desk.report(0, Report::Kept(kept.into_bytes()));
    desk.report(0, Report::Up);
    let ended: Vec<_> = desk
        .asked()
        .into_iter()
        .filter(|asked| is!(asked, phone::DiscardCall))
        .collect();
    assert_eq!(ended.len(), 1, "the one that nobody knows");
    desk.update(0, waiting(Some(1)));
    assert_eq!(desk.events(), [NetworkEvent::Received { call }]);
}

/// Seen by reading: an accept that came out of order gave a standing call twenty seconds.
#[test]
fn an_accept_out_of_order_changes_nothing() {
    let mut desk = Desk::new(vec![account("main")]);
    let call = desk.called();
    desk.update(0, accepted(&["9.0.0"]));
    desk.command(NetworkCommand::Confirm {
        call,
        public: vec![3; 256],
        fingerprint: 1,
    });
    let asked = desk.one();
    desk.named(&asked, confirmed(&["9.0.0"], Vec::new()));
    desk.events();
    desk.command(NetworkCommand::Accept {
        call,
        exchange: KeyExchange::Dh2048,
        public: vec![2; 256],
        version: "9.0.0".to_owned(),
    });
    desk.wait(600 * S);
    assert!(desk.asked().is_empty() && desk.events().is_empty() && desk.phone.calls() == 1);
}

#[test]
fn a_login_that_is_gone_is_said_once_and_nothing_is_asked_after_it() {
    let mut desk = Desk::new(vec![account("main")]);
    let call = desk.call(1, "main/@bobby");
    let asked = desk.one();
    desk.refuse(&asked, error(401, "SESSION_REVOKED", None));
    let events = desk.events();
    assert!(events.len() <= 1 && desk.asked().is_empty(), "{events:?}");
    let call = desk.call(if events.is_empty() { 2 } else { call.0[0] + 1 }, "main/@bobby");
    let why = Refusal::Lost;
    assert!(desk.events().contains(&NetworkEvent::Refused { call, why }));
    assert!(desk.asked().is_empty() && !desk.phone.is_up());
}

#[test]
fn another_group_makes_no_call() {
    let mut desk = Desk::new(vec![account("main")]);
    desk.report(0, Report::Up);
    for asked in desk.asked() {
        if is!(asked, messages::GetDhConfig) {
            let group = types::messages::DhConfig {
                g: 2,
                p: vec![255; 256],
                version: 4,
                random: vec![9; 256],
            };
            desk.answer(&asked, &enums::messages::DhConfig::Config(group));
        }
    }
    let call = desk.call(1, "main/@bobby");
    let why = Refusal::Lost;
    assert_eq!(desk.events(), [NetworkEvent::Refused { call, why }]);
}

#[test]
fn whatever_comes_nothing_panics() {
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng as _, SeedableRng as _};
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut desk = Desk::new(vec![account("main"), account("second")]);
    for round in 0..3_000_u32 {
        match rng.next_u32() % 8 {
            0 => _ = desk.call(rng.next_u32() as u8 % 4, "all/@bobby"),
            1 => desk.update(rng.next_u32() % 3, requested()),
            2 => desk.update(rng.next_u32() % 3, waiting(Some(1))),
            3 => desk.update(rng.next_u32() % 3, accepted(&["9.0.0"])),
            4 => desk.update(rng.next_u32() % 3, confirmed(&["9.0.0"], Vec::new())),
            5 => {
                let mut scraps = vec![0; rng.next_u32() as usize % 60];
                rng.fill_bytes(&mut scraps);
                desk.phone.handle_frame(desk.now, &scraps);
            }
            6 => {
                for asked in desk.asked() {
                    match rng.next_u32() % 3 {
                        0 => desk.named(&asked, waiting(None)),
                        1 => desk.found(&asked),
                        _ => desk.refuse(&asked, error(500, "X", None)),
                    }
                }
            }
            _ => desk.wait(Duration::from_secs(u64::from(rng.next_u32() % 40))),
        }
        desk.events();
        assert!(desk.phone.calls() <= 2, "{round}");
    }
}
