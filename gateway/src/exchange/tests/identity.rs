//! Who calls, and whom: what is proved, what may be shown, and how names and numbers are spelt.

use super::*;

/// Who the callee sees, and what the record says of it.
fn seen(from: &str, headers: &[(&'static str, &str)]) -> (String, String, Option<String>) {
    let mut world = World::with_phones("may_assert = [\"2[0-9]{2}\", \"+49{rest}\"]", ROUTES).registered();
    world.dial_as("anna", from, headers);
    assert_eq!(world.exchange.call_count(), 1, "{from} {headers:?}");
    world.exchange.stop(world.now);
    world.drain();
    let record = world.records.remove(0);
    (world.user.caller.clone(), record.from, record.shown)
}

fn shows(from: &str, headers: &[(&'static str, &str)], number: &str) {
    let shown = (number != "100").then(|| number.to_owned());
    let callee = format!("{number}@gw");
    assert_eq!(
        seen(from, headers),
        (callee, "100".to_owned(), shown),
        "{from} {headers:?}"
    );
}

#[test]
fn a_call_with_right_credentials_goes_on_whatever_from_shows() {
    for from in [
        "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
        "<sip:900@192.0.2.99>",
        "<sip:192.0.2.7>",
        "<tel:+1-201-555-0123>",
    ] {
        shows(from, &[], "100");
    }
}

#[test]
fn a_pbx_calls_as_its_extensions() {
    shows("<sip:237@pbx.example>", &[], "237");
    shows("<sip:237;phone-context=x@pbx.example>", &[], "237");
    shows("<sip:300@pbx.example>", &[], "100");
    let asserted = (
        "P-Asserted-Identity",
        "\"Desk\" <sip:238@pbx.example>, <tel:+49-30-1234>",
    );
    shows("<sip:237@pbx.example>", &[asserted], "238");
    let preferred = ("P-Preferred-Identity", "<sip:239@pbx.example>");
    shows("<sip:100@pbx.example>", &[preferred], "239");
    shows("<sip:100@pbx.example>", &[preferred, asserted], "238");
    let other = ("P-Asserted-Identity", "<sip:999@pbx.example>");
    shows("<sip:237@pbx.example>", &[other], "237");
    let tel = ("P-Asserted-Identity", "<tel:+49-(0)30-1234>");
    shows("<sip:100@pbx.example>", &[tel], "490301234");
    // Not as another phone, in whatever spelling.
    let mut world = World::with_phones("may_assert = [\"{any}\"]", ROUTES).registered();
    world.dial_as("anna", "<sip:+101@pbx.example>", &[]);
    assert_eq!(world.user.caller, "100@gw");
}

#[test]
fn a_caller_that_wants_privacy_is_not_shown() {
    for privacy in ["id", "user;id", "header; critical", "ID"] {
        let seen = seen("<sip:237@pbx.example>", &[("Privacy", privacy)]);
        assert_eq!(seen, ("gw".into(), "100".into(), Some(String::new())), "{privacy}");
    }
    let asserted = ("P-Asserted-Identity", "<sip:238@pbx.example>");
    shows("<sip:237@pbx.example>", &[("Privacy", "none"), asserted], "238");
}

#[test]
fn nobody_registers_for_another() {
    let mut world = World::new("");
    let phone = &mut world.phones[0];
    let command = SipCommand::Register {
        domain: None,
        registration: 1,
        aor: "101".into(),
        five_tuple: phone.way(),
        credentials: phone.credentials(),
        expires: 3_000 * SECOND,
    };
    phone.endpoint.handle_command(world.now, command).unwrap();
    world.drain();
    assert!(world.exchange.phones(world.now).is_empty());
    let refused = |event: &SipEvent| matches!(event, SipEvent::RegisterFailed { .. });
    assert!(world.phones[0].events.iter().any(refused), "{:?}", world.ladder);
}

#[test]
fn a_name_is_dialled_in_any_spelling() {
    for dialled in [
        "anna",
        "Anna",
        "ANNA",
        "%61nna",
        "an%6Ea",
        "A%4eNA",
        "anna;phone-context=x",
    ] {
        let mut world = World::new("").registered();
        world.dial(dialled);
        assert_eq!(world.exchange.calls(world.now)[0].to, "anna", "{dialled}");
        assert!(world.user.leg.is_some(), "{dialled}");
    }
}

#[test]
fn a_pbx_is_told_the_number_that_was_dialled() {
    let routes = "[[route]]\nname = \"one\"\nfrom = \"network:hub\"\nnumber = \"7{n:[0-9]{3}}\"\nto = \"phone:100\"\n\
        [[route]]\nname = \"own\"\nfrom = \"network:hub\"\nnumber = \"{n}\"\nto = \"phone:{n}\"\n";
    let mut world = World::with_phones("", routes).registered();
    let before = world.exchange.phones(world.now)[0].contact.clone();
    world.user_dials("7237@gw");
    let to_of = |invite: &str| {
        invite
            .lines()
            .find(|line| line.starts_with("To:"))
            .map(str::to_owned)
            .unwrap()
    };
    assert!(
        world.last_invite.starts_with("INVITE sip:237@192.0.2.7"),
        "{}",
        world.last_invite
    );
    assert_eq!(to_of(&world.last_invite), "To: <sip:237@192.0.2.1:5060>");
    // A phone that is meant itself is called at the contact that it gave, and so is each of several.
    let mut world = World::with_phones("", routes).registered();
    world.user_dials("100@gw");
    assert!(
        world.last_invite.starts_with(&format!("INVITE {before} ")),
        "{}",
        world.last_invite
    );
    assert_eq!(to_of(&world.last_invite), "To: <sip:100@192.0.2.1:5060>");
    let both =
        "[[route]]\nname = \"all\"\nfrom = \"network:hub\"\nnumber = \"{n}\"\nto = [\"phone:101\", \"phone:100\"]\n";
    let mut world = World::with_phones("", both).registered();
    world.user_dials("237@gw");
    assert!(
        world.last_invite.starts_with(&format!("INVITE {before} ")),
        "{}",
        world.last_invite
    );
}
