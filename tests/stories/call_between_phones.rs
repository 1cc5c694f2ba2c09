//! A small office has no PBX: its phones call each other through the gateway, where a route says so.

use quartet::demo::PHONE_HZ;
use quartet::demo::phone;
use quartet::io::control::ControlRequest;
use quartet_tests::house::{BETWEEN_PHONES, House, HouseSetup, ROUTES, SOON, connected, ended, hears};

use crate::PROGRAM;

async fn house() -> House {
    house_with(&format!("{BETWEEN_PHONES}{ROUTES}")).await
}

async fn house_with(routes: &str) -> House {
    let setup = HouseSetup {
        more: "[call]\nverify = \"confirm\"\nrtp_timeout = \"3s\"",
        routes,
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_phones_talk_and_nobody_speaks_of_emojis() {
    let house = house().await;
    let mut caller = house.phone("100", false).await;
    let mut callee = house.phone("101", true).await;
    caller.dial("101");
    callee
        .wait(&phone::Event::Called("100".into()), SOON)
        .await
        .expect("it rings");
    caller.wait(&phone::Event::Ringing, SOON).await.expect("it is told");
    for phone in [&mut caller, &mut callee] {
        connected(phone).await;
    }
    hears(caller.line(), PHONE_HZ).await;
    hears(callee.line(), PHONE_HZ).await;
    // The keys of the emojis mean nothing here, and the other side gets them.
    "*9".chars().for_each(|key| caller.line().key(key));
    let calls = house.gateway.ask(&ControlRequest::Calls).await.expect("calls");
    assert_eq!(calls[0]["state"], "talking", "{calls}");
    hears(callee.line(), PHONE_HZ).await;
    callee.hang_up();
    assert_eq!(ended(&mut caller).await, "answered");
    let record = house.record(1).await;
    let of = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (of("from"), of("to"), of("cause"), of("by"), of("verdict")),
        (
            "100".into(),
            "101".into(),
            "answered".into(),
            "callee".into(),
            "off".into()
        ),
        "{record}"
    );
    assert_eq!(of("route"), "between phones");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_is_not_there_rings_in_vain_is_unknown_or_is_one_s_own() {
    let house = house().await;
    let mut caller = house.phone("100", false).await;
    for (count, (number, heard, cause)) in [
        ("101", "missed", "offline"),
        ("199", "unknown", "unknown"),
        ("100", "busy", "busy"),
    ]
    .into_iter()
    .enumerate()
    {
        caller.dial(number);
        assert_eq!(ended(&mut caller).await, heard, "{number}");
        assert_eq!(house.record(count + 1).await["cause"], cause, "{number}");
    }
    let _silent = house.phone("101", false).await;
    caller.dial("101");
    assert_eq!(ended(&mut caller).await, "missed");
    assert_eq!(house.record(4).await["cause"], "missed");
}

/// What a PBX says before anybody takes the call: that the number is not in use, or music.
#[tokio::test(flavor = "multi_thread")]
async fn a_phone_hears_the_other_before_it_takes_the_call() {
    // Nothing here waits for a call to be missed.
    let house = house_with(&format!("{}{ROUTES}", BETWEEN_PHONES.replace("3s", "60s"))).await;
    let mut caller = house.phone("100", false).await;
    let mut callee = house.phone("101", false).await;
    caller.dial("101");
    caller.wait(&phone::Event::Ringing, SOON).await.expect("it is told");
    callee.be_heard();
    hears(caller.line(), PHONE_HZ).await;
    // Keys for whoever speaks there.
    hears(callee.line(), PHONE_HZ).await;
    let calls = house.gateway.ask(&ControlRequest::Calls).await.expect("calls");
    assert_eq!(calls[0]["state"], "ringing", "{calls}");
    callee.answer();
    for phone in [&mut caller, &mut callee] {
        connected(phone).await;
    }
    hears(caller.line(), PHONE_HZ).await;
    callee.hang_up();
    assert_eq!(ended(&mut caller).await, "answered");
    house.wait_idle().await;
    // It does not take it.
    caller.dial("101");
    caller.wait(&phone::Event::Ringing, SOON).await.expect("it is told");
    callee.be_heard();
    hears(caller.line(), PHONE_HZ).await;
    callee.hang_up();
    ended(&mut caller).await;
    assert_eq!(house.record(2).await["answer"], serde_json::Value::Null);
    house.wait_idle().await;
}
