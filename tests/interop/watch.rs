//! Real phones are told what other phones do (a lamp beside a key), and which calls they have missed.

use std::process::Stdio;

use quartet_tests::browser::Page;
use quartet_tests::house::{BETWEEN_PHONES, House, HouseSetup, ROUTES, connected, ended};
use quartet_tests::pjsua;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;

use crate::PROGRAM;
use crate::browser::{self, browser};
use crate::calls::SOON;

/// RFC 4235: a key of JsSIP's shows whether phone 101 is free, rings or talks; not what it was for.
#[tokio::test(flavor = "multi_thread")]
async fn a_lamp_of_jssip_follows_a_phone() {
    let page = Page::new().await;
    let house = browser::house(&page, "ws").await;
    let Some(mut browser) = browser(page, &house, "ws").await else {
        return;
    };
    let mut desk = house.phone("101", false).await;
    let mut other = house.phone("102", false).await;
    browser.order(json!({ "order": "watch", "number": "101" }));
    let mut shows = async |state: &str, direction: Option<&str>| {
        let told = browser.wait("lamp", SOON).await;
        assert_eq!(
            (told["state"].as_str(), told["direction"].as_str()),
            (Some(state), direction)
        );
    };
    shows("terminated", None).await;
    other.dial("101");
    shows("early", Some("recipient")).await;
    desk.answer();
    shows("confirmed", None).await;
    connected(&mut other).await;
    other.hang_up();
    ended(&mut desk).await;
    shows("terminated", None).await;
    desk.dial("102");
    shows("early", Some("initiator")).await;
    desk.hang_up();
    shows("terminated", None).await;
    // Whether somebody on a network is in a call is nobody's business.
    browser.order(json!({ "order": "watch", "number": "anna" }));
    browser.wait("dark", SOON).await;
    println!("JsSIP: a lamp follows a phone; none follows a user");
}

/// The next count of missed calls that it prints.
async fn missed(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let next = async {
        loop {
            let line = lines.next_line().await.expect("it is read").expect("it runs");
            let told: Value = serde_json::from_str(&line).unwrap_or_default();
            if told["event"] == "missed" {
                return told["calls"].as_str().unwrap_or_default().to_owned();
            }
        }
    };
    tokio::time::timeout(SOON, next).await.expect("it is told")
}

/// RFC 3842: pjsua2 is told of each call that it has missed, and after a restart of what it has missed before.
#[tokio::test(flavor = "multi_thread")]
async fn pjsua_is_told_of_the_calls_that_it_has_missed() {
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        routes: &format!("{}{ROUTES}", BETWEEN_PHONES.replace("3s", "20s")),
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let start = || {
        let gateway = house.gateway.sip().expect("the SIP address");
        let mut phone = pjsua::phone(gateway, "101")?;
        phone.args(["--mwi", "--seconds", "60"]).stdout(Stdio::piped());
        let mut phone = phone.spawn().expect("python runs");
        let lines = BufReader::new(phone.stdout.take().expect("it is read")).lines();
        Some((phone, lines))
    };
    let Some((mut phone, mut lines)) = start() else { return };
    assert_eq!(missed(&mut lines).await, "0/0");
    house.wait_registered("101").await;
    let mut caller = house.phone("100", false).await;
    for count in ["1/0", "2/0"] {
        caller.dial("101");
        house.wait_calls("state", "ringing", SOON).await;
        caller.hang_up();
        ended(&mut caller).await;
        assert_eq!(missed(&mut lines).await, count);
    }
    phone.kill().await.expect("it is killed");
    let Some((_phone, mut lines)) = start() else { return };
    assert_eq!(missed(&mut lines).await, "2/0");
    println!("pjsua2: told of the calls that it has missed");
}
