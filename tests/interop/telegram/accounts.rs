//! Several accounts, how often one may call, who may call it, and what phones are told of callers.

use quartet::demo::phone;
use quartet_tests::house::hears;
use quartet_tests::telegram::office::{ALICE, BOB, CAROL, DAVE, GATEWAY, OfficeSetup};

use super::{office, office_with};
use crate::calls::{MACHINE, SOON, desk};

#[tokio::test(flavor = "multi_thread")]
async fn three_accounts_have_three_calls_and_the_fourth_is_busy_or_waits_for_its_turn() {
    let _machine = MACHINE.write().await;
    let setup = OfficeSetup {
        accounts: 3,
        ..OfficeSetup::default()
    };
    let Some(office) = office_with("pool", setup).await else {
        return;
    };
    office.up().await;
    let mut users = [ALICE, BOB, CAROL, DAVE].map(|id| office.user(id, &[]));
    let mut phones = Vec::new();
    // One after the other: which account has which call is told by that.
    let dialled = [("100", "tg*alice"), ("101", "tg*bobby"), ("102", "tg*carol")];
    for ((phone, number), user) in dialled.into_iter().zip(&mut users) {
        let mut phone = office.house.phone(phone, false).await;
        phone.dial(number);
        office.sees(user, "connected");
        let stands = phone.wait(&phone::Event::Connected, SOON).await;
        stands.unwrap_or_else(|error| panic!("{}", office.fails(&error.to_string())));
        phones.push(phone);
    }
    for user in &mut users[..3] {
        office.hears_the_phone(user);
    }
    let asked: usize = (0..3)
        .map(|place| office.served.count(GATEWAY + place, "phone.requestCall"))
        .sum();
    assert_eq!(asked, 3, "one by each account");
    // The fourth is busy, and nobody is asked.
    let mut fourth = office.house.phone("100", false).await;
    fourth.dial("tg*dave");
    let busy = fourth.wait(&phone::Event::Ended("busy"), SOON).await;
    busy.unwrap_or_else(|error| panic!("{}", office.fails(&error.to_string())));
    // One that may wait does so until somebody hangs up.
    fourth.dial("q*dave");
    let queued = fourth.wait(&phone::Event::Ringing, SOON).await;
    queued.unwrap_or_else(|error| panic!("{}", office.fails(&error.to_string())));
    users[3].read();
    assert!(!users[3].events.iter().any(|event| event["event"] == "incoming"));
    phones[1].hang_up();
    office.sees(&mut users[3], "connected");
    office.hears_the_phone(&mut users[3]);
    hears(fourth.line(), 600.0).await;
    assert_eq!(office.served.count(GATEWAY + 1, "phone.requestCall"), 2);
    let status = office.house.status().await;
    assert_eq!(status["telegram"]["main2"], "in a call", "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_calls_so_often_in_an_hour_and_then_the_phone_hears_when_again() {
    let _machine = MACHINE.read().await;
    let setup = OfficeSetup {
        log: "trace",
        ..OfficeSetup::default()
    };
    let Some(office) = office_with("budget", setup).await else {
        return;
    };
    office.up().await;
    let mut desk = desk(&office.house, "100", "pcmu", false).await;
    let mut alice = office.alice(&["--decline"]);
    // As many as the default allows, and one more.
    for number in 1..=31 {
        let status = if number <= 30 { "603" } else { "503" };
        desk.events.clear();
        desk.dial(&office.address("tg*alice"));
        let closed = desk.wait_for("CALL_CLOSED", SOON);
        let said = closed["param"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(status), "{number}: {said}");
        alice.forget();
    }
    assert_eq!(office.served.count(GATEWAY, "phone.requestCall"), 30);
    assert_eq!(office.house.record(31).await["cause"], "limit");
    let log = office.house.gateway.log();
    let answer = log.split("SIP/2.0 503").nth(1).expect("it was sent");
    let seconds = answer
        .split("Retry-After: ")
        .nth(1)
        .and_then(|rest| rest.split(['\\', '\r', '\n']).next());
    let seconds: u32 = seconds
        .and_then(|text| text.trim().parse().ok())
        .expect("a number of seconds");
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    alice.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_told_who_calls_keys_come_by_chat_and_who_is_blocked_is_declined() {
    let _machine = MACHINE.read().await;
    let setup = OfficeSetup {
        account: "block = [\"@carol\"]\ncaller_headers = true\ncaller_display = \"both\"",
        log: "trace",
        ..OfficeSetup::default()
    };
    let Some(office) = office_with("people", setup).await else {
        return;
    };
    office.up().await;
    let mut desk = desk(&office.house, "100", "pcmu", true).await;
    let mut carol = office.user(CAROL, &["--dial", "gateway"]);
    let failed = office.sees(&mut carol, "failed");
    assert_eq!(failed["why"], "CallDeclined", "{failed}");
    let record = office.house.record(1).await;
    assert_eq!(
        (&record["from"], &record["cause"]),
        (&"@carol".into(), &"declined".into()),
        "{record:#}"
    );
    carol.end();
    let mut alice = office.alice(&["--dial", "gateway", "--keys", "12#"]);
    desk.wait_for("CALL_ESTABLISHED", SOON);
    office.sees(&mut alice, "connected");
    office.hears_the_phone(&mut alice);
    for key in ["1", "2", "#"] {
        desk.wait(&format!("the key {key}"), SOON, |event| {
            event["type"] == "CALL_DTMF_START" && event["param"] == key
        });
    }
    let calls = office.calls().await;
    let speaks = calls[0]["media"][1]["speaks"].as_str().unwrap_or_default();
    assert!(
        speaks.starts_with("layers 92 to 92, versions") && speaks.contains("13.0.0"),
        "{calls:#}"
    );
    alice.end();
    let record = office.house.record(2).await;
    assert_eq!(record["legs"][1]["speaks"], speaks, "{record:#}");
    let log = office.house.gateway.log();
    for line in [
        "X-TG-ID: 1001",
        "X-TG-FirstName: Alice",
        "X-TG-Username: alice",
        "X-GW-Context: main",
        "\"Alice (@alice)\" <sip:",
    ] {
        assert!(log.contains(line) || log.contains(&line.replace('"', "\\\"")), "{line}");
    }
}

/// Nobody answers, and the caller gives up.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_takes_is_given_up_by_its_caller() {
    let _machine = MACHINE.read().await;
    let Some(office) = office("missed").await else { return };
    office.up().await;
    let mut desk = desk(&office.house, "100", "pcmu", false).await;
    let mut alice = office.alice(&["--dial", "gateway", "--ring-timeout", "3"]);
    desk.wait_for("CALL_INCOMING", SOON);
    let failed = office.sees(&mut alice, "failed");
    assert_eq!(failed["why"], "TimedOutAnswer", "{failed}");
    desk.wait_for("CALL_CLOSED", SOON);
    let record = office.house.record(1).await;
    assert_eq!(
        (&record["cause"], &record["by"], &record["answer"]),
        (&"hangup".into(), &"caller".into(), &serde_json::Value::Null),
        "{record:#}"
    );
    alice.end();
}
