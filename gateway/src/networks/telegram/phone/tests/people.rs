//! Who calls and what is known of it, what the other app speaks, keys by chat, and calls that wait for their turn.

use super::*;
use crate::config::CallerDisplay;

/// Bob calls, as the service describes him: what the core is told.
fn called_by(account: Account, describe: impl FnOnce(&mut types::User)) -> CallRequest {
    let mut desk = Desk::new(vec![account]);
    let enums::User::User(mut bob) = user(BOB.0, BOB.1, "Bobby") else {
        panic!("a user")
    };
    describe(&mut bob);
    let mut body = vec![enums::User::User(bob)].to_bytes();
    let phone_call = requested();
    body.extend(enums::Update::from(types::UpdatePhoneCall { phone_call }).to_bytes());
    desk.report(0, Report::Update(body));
    match desk.events().pop() {
        Some(NetworkEvent::Requested(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn patterns(texts: &[&str]) -> Vec<crate::route::Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn displays_routes_and_a_pbx_are_told_who_calls() {
    let full = |bob: &mut types::User| {
        bob.first_name = Some("Bob ".to_owned());
        bob.last_name = Some("Builder".to_owned());
        bob.phone = Some("4930123456".to_owned());
        bob.contact = true;
    };
    let request = called_by(account("main"), full);
    assert_eq!(request.from, "@bobby");
    assert_eq!(request.caller.also, ["1002", "+4930123456", "contact"]);
    assert_eq!(request.caller.display.as_deref(), Some("Bob Builder"));
    assert!(request.caller.headers.is_empty(), "only on request");
    assert_eq!(
        request.caller.speaks.as_deref(),
        Some("layers 65 to 92, versions 3.0.0 9.0.0 13.0.0")
    );
    let told = Account {
        tells_headers: true,
        display: CallerDisplay::Both,
        ..account("main")
    };
    let request = called_by(told, full);
    assert_eq!(request.caller.display.as_deref(), Some("Bob Builder (@bobby)"));
    let headers: Vec<String> = request
        .caller
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    assert_eq!(
        headers,
        [
            "X-GW-Context: main",
            "X-TG-ID: 1002",
            "X-TG-FirstName: Bob",
            "X-TG-LastName: Builder",
            "X-TG-Username: bobby",
            "X-TG-Phone: +4930123456"
        ]
    );
    // Of whom nothing is known but the number.
    let request = called_by(account("main"), |bob| bob.username = None);
    assert_eq!((request.from.as_str(), request.caller.display), ("1002", None));
    assert_eq!(request.caller.also, ["1002", "stranger"]);
    // Of an account with several names each counts.
    let several = |bob: &mut types::User| {
        bob.username = None;
        let name = |username: &str, active| types::Username {
            editable: false,
            active,
            deletable: false,
            expired: false,
            username: username.to_owned(),
        };
        let names = [name("Bobby", true), name("robert", true), name("sold", false)];
        bob.usernames = Some(names.into_iter().map(Into::into).collect());
    };
    let request = called_by(account("main"), several);
    assert_eq!(request.from, "@bobby");
    assert_eq!(request.caller.also, ["1002", "@robert", "stranger"]);
    let by_user = Account {
        display: CallerDisplay::User,
        ..account("main")
    };
    assert_eq!(called_by(by_user, full).caller.display, None);
    assert!(!format!("{:?}", called_by(account("main"), full).caller).contains("Builder"));
    // What is no name and no number is none, and a name that hides something shows it.
    let request = called_by(account("main"), |bob| {
        bob.username = Some("a\r\nb".to_owned());
        bob.phone = Some("1;tag=2".to_owned());
        bob.first_name = Some(format!("\u{202e}x{}", "y".repeat(1_000)));
    });
    assert_eq!(request.caller.also, ["1002", "stranger"]);
    let shown = request.caller.display.expect("a name");
    assert!(shown.starts_with("\\u{202e}xy") && shown.len() == 64, "{shown}");
}

#[test]
fn who_may_call_is_said_by_two_lists() {
    for (allow, block, contact, refused) in [
        (&[][..], &[][..], false, false),
        (&["contact"], &[], true, false),
        (&["contact"], &[], false, true),
        (&["@bobby"], &[], false, false),
        (&["@anna", "1002"], &[], false, false),
        (&[], &["stranger"], false, true),
        (&[], &["stranger"], true, false),
        (&["@bobby"], &["1002"], true, true),
        (&["+49{rest}"], &[], true, true),
    ] {
        let lists = Account {
            allow: patterns(allow),
            block: patterns(block),
            ..account("main")
        };
        let request = called_by(lists, |bob| bob.contact = contact);
        assert_eq!(
            request.caller.is_refused, refused,
            "{allow:?} {block:?} contact: {contact}"
        );
    }
}

#[test]
fn what_a_hostile_app_says_of_itself_is_cut() {
    let many: Vec<String> = (0..1_000)
        .map(|n| format!("{n}.0.0"))
        .chain(["<b>".to_owned()])
        .collect();
    let enums::PhoneCallProtocol::Protocol(hostile) = calls::protocol(&many, true);
    let words = calls::words(&hostile);
    assert_eq!(
        words,
        "layers 65 to 92, versions 0.0.0 1.0.0 2.0.0 3.0.0 4.0.0 5.0.0 6.0.0 7.0.0"
    );
    let enums::PhoneCallProtocol::Protocol(none) = protocol(&["\r\nX: y", "99999999999999999"]);
    assert_eq!(calls::words(&none), "layers 65 to 92, versions none");
}

#[test]
fn an_app_that_speaks_nothing_of_ours_is_named() {
    let mut desk = Desk::new(vec![account("main")]);
    let call = desk.called();
    desk.update(0, accepted(&["99.0.0"]));
    let what = "layers 65 to 92, versions 99.0.0".to_owned();
    let why = Refusal::Incompatible;
    assert_eq!(
        desk.all_events(),
        [NetworkEvent::Speaks { call, what }, NetworkEvent::Refused { call, why }]
    );
}

fn message(of: i64, out: bool, text: &str) -> Report {
    // Three flag words less: a message of which nothing is known.
    let mut bytes = types::Message::CONSTRUCTOR_ID.to_le_bytes().to_vec();
    bytes.extend([0; 8]);
    bytes.extend(0_i32.to_le_bytes());
    bytes.extend(enums::Peer::from(types::PeerUser { user_id: of }).to_bytes());
    bytes.extend(0_i32.to_le_bytes());
    bytes.extend(text.to_owned().to_bytes());
    let Ok(enums::Message::Message(mut message)) = enums::Message::from_bytes(&bytes) else {
        panic!("a message")
    };
    message.out = out;
    let update = types::UpdateNewMessage {
        message: message.into(),
        pts: 1,
        pts_count: 1,
    };
    let mut body = Vec::<enums::User>::new().to_bytes();
    body.extend(enums::Update::from(update).to_bytes());
    Report::Update(body)
}

#[test]
fn keys_that_the_other_writes_during_the_call_are_pressed() {
    let mut desk = Desk::new(vec![account("main")]);
    let call = desk.called();
    desk.report(0, message(BOB.0, false, "1"));
    desk.update(0, accepted(&["9.0.0"]));
    desk.events();
    desk.command(NetworkCommand::Confirm {
        call,
        public: vec![3; 256],
        fingerprint: 1,
    });
    let asked = desk.one();
    desk.named(&asked, confirmed(&["9.0.0"], Vec::new()));
    desk.events();
    for (of, out, text, digits) in [
        (BOB.0, false, "12#", Some("12#")),
        (BOB.0, false, " *9\n", Some("*9")),
        (BOB.0, false, "ABCD", Some("ABCD")),
        (BOB.0, false, &"7".repeat(32), Some(&*"7".repeat(32))),
        (BOB.0, false, &"7".repeat(33), None),
        (BOB.0, false, "call me at 5", None),
        (BOB.0, false, "E", None),
        (BOB.0, false, "", None),
        (BOB.0, true, "1", None),
        (4_711, false, "1", None),
    ] {
        desk.report(0, message(of, out, text));
        let keys = digits.map(|digits| NetworkEvent::Keys {
            call,
            digits: digits.to_owned(),
        });
        assert_eq!(desk.events(), keys.into_iter().collect::<Vec<_>>(), "{of} {out} {text}");
    }
    desk.discard(call, DiscardReason::Hangup);
    desk.report(0, message(BOB.0, false, "1"));
    assert!(desk.events().is_empty(), "the call is over");
}

/// Whom the account has looked up is remembered although the call came to nothing: the next start need not ask.
#[test]
fn a_user_who_was_met_is_kept_at_once() {
    let mut desk = Desk::new(vec![account("main")]);
    let (_, asked) = desk.asked_for();
    desk.refuse(&asked, error(403, "USER_PRIVACY_RESTRICTED", None));
    let frames = std::iter::from_fn(|| desk.phone.poll_frame());
    let kept: Vec<Vec<u8>> = frames
        .filter_map(|frame| match Frame::<Order>::parse(&frame)?.word {
            Order::Keep(kept) => Some(kept),
            Order::Request { .. } => None,
        })
        .collect();
    let [kept] = &kept[..] else { panic!("{}", kept.len()) };
    assert!(String::from_utf8_lossy(kept).contains("@bobby"));
}

#[test]
fn a_call_waits_for_its_turn_as_long_as_it_may() {
    let mut desk = Desk::new(vec![account("main")]);
    let first = desk.called();
    let (second, third) = (
        desk.call_with(2, "all/@bobby", 30 * S),
        desk.call_with(3, "all/@bobby", 5 * S),
    );
    let queued = |call| NetworkEvent::Queued { call };
    assert_eq!(desk.events(), [queued(second), queued(third)]);
    assert!(desk.asked().is_empty());
    let fourth = desk.call(4, "all/@bobby");
    let busy = |call| NetworkEvent::Refused {
        call,
        why: Refusal::Busy,
    };
    assert_eq!(desk.events(), [busy(fourth)], "this one may not wait");
    desk.wait(5 * S);
    assert_eq!(desk.events(), [busy(third)]);
    desk.discard(first, DiscardReason::Hangup);
    let asked: Vec<_> = desk
        .asked()
        .into_iter()
        .filter(|asked| is!(asked, phone::RequestCall))
        .collect();
    let [asked] = &asked[..] else { panic!("one") };
    desk.named(asked, waiting(None));
    assert_eq!(desk.phone.calls(), 1);
    // One that is given up while it waits leaves nothing behind.
    let fifth = desk.call_with(5, "all/@bobby", 30 * S);
    desk.events();
    desk.discard(fifth, DiscardReason::Missed);
    desk.discard(second, DiscardReason::Hangup);
    let asked = desk.asked();
    assert!(asked.iter().all(|asked| is!(asked, phone::DiscardCall)) && desk.phone.calls() == 0);
    // An account that is gone places nothing.
    let _sixth = desk.call(6, "main/@bobby");
    let seventh = desk.call_with(7, "main/@bobby", 30 * S);
    desk.events();
    desk.report(0, Report::Out("SESSION_REVOKED".to_owned()));
    let why = Refusal::Lost;
    assert!(desk.events().contains(&NetworkEvent::Refused { call: seventh, why }));
    assert_eq!(desk.phone.calls(), 0);
}

#[test]
fn what_a_call_would_ask_for_is_known_without_asking() {
    let config = || PhoneConfig {
        accounts: vec![account("main"), account("second")],
        pools: [("all".to_owned(), vec![0, 1])].into(),
    };
    let kept = [br#"{"calls":[],"names":{"@bobby":[1002,99]}}"#.to_vec(), Vec::new()];
    let asked = |to: &str| {
        let plans = plan(config(), &kept, to)?;
        let words = plans.into_iter().map(|plan| match plan.asks {
            Ok(asks) => format!("{}: {}", plan.account, asks.join(", ")),
            Err(why) => format!("{} {why}", plan.account),
        });
        Ok::<_, String>(words.collect::<Vec<_>>())
    };
    assert_eq!(
        asked("all/@Bobby").unwrap(),
        [
            "main: phone.requestCall",
            "second: contacts.resolveUsername, phone.requestCall"
        ]
    );
    assert_eq!(asked("main/1002").unwrap(), ["main: phone.requestCall"]);
    assert!(asked("second/1002").unwrap()[0].contains("has not met"));
    assert!(asked("main/+4930123456").unwrap()[0].contains("dial_numbers"));
    assert!(asked("third/@bobby").unwrap_err().contains("no account"));
    assert!(asked("bobby").unwrap_err().contains("names no user"));
}
