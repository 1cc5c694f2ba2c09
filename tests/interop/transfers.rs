//! Real phones transfer a call with an E2EE user: blind and attended. Her session stands; the new handset hears her and is heard.

use std::time::Instant;

use quartet::demo::e2ee_peer::{Answering, E2eePeer, Fault};
use quartet::demo::phone::Phone;
use quartet::demo::{Hashes, PEER_HZ, PHONE_HZ, hear};
use quartet::io::control::ControlRequest;
use quartet_tests::baresip::{self, Baresip};
use quartet_tests::browser::Page;
use quartet_tests::house::{BETWEEN_PHONES, House, HouseSetup, ROUTES, ended, hears};
use quartet_tests::linphone::Linphone;
use quartet_tests::{peers, pjsua};
use serde_json::json;

use crate::PROGRAM;
use crate::browser::{self, browser, dials};
use crate::calls::SOON;

/// What the phone says that hands its call on; the one that takes it says [`PHONE_HZ`].
const FIRST_HZ: u32 = 520;

/// Seconds in which nothing comes to who is transferred; the clocks of both sides are read a little apart.
const MAX_HOLE: f32 = 0.3;

async fn house() -> House {
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        hashes: Hashes::Md5,
        routes: &format!("{BETWEEN_PHONES}{ROUTES}"),
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

/// When it is, and how much Anna has heard.
fn now(anna: &E2eePeer) -> Option<(Instant, usize)> {
    Some((Instant::now(), anna.line().heard().len()))
}

/// Anna talks with the phone that takes the call, and nobody else is left.
async fn talks_with(house: &House, desk: &mut Phone, anna: &E2eePeer, before: Option<(Instant, usize)>) {
    hears(anna.line(), PHONE_HZ).await;
    if let Some((at, had)) = before {
        // What she has not heard since is a hole.
        let (since, heard) = (at.elapsed().as_secs_f32(), anna.line().heard().len() - had);
        let hole = since - heard as f32 / hear::RATE as f32;
        assert!(hole < MAX_HOLE, "Anna heard nothing for {hole} s");
    }
    hears(desk.line(), PEER_HZ).await;
    let calls = house.gateway.ask(&ControlRequest::Calls).await.expect("told");
    assert_eq!(calls.as_array().map(Vec::len), Some(1), "{calls}");
    anna.hang_up();
    ended(desk).await;
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_transfers_blind() {
    if peers::program("baresip").is_none() {
        return;
    }
    let house = house().await;
    let gateway = house.gateway.sip().expect("it is heard there");
    let setup = baresip::Setup {
        tone_hz: FIRST_HZ,
        ..baresip::Setup::new("100", gateway)
    };
    let mut first = Baresip::start(&setup).expect("baresip is installed");
    first.wait_registered(SOON);
    let mut second = house.phone("101", true).await;
    let anna = house.user("anna", Answering::Take, Fault::None).await;
    first.dial(&format!("sip:anna@{gateway}"));
    first.wait_for("CALL_ESTABLISHED", SOON);
    hears(anna.line(), FIRST_HZ as f32).await;
    let before = now(&anna);
    first.command("transfer", &format!("sip:101@{gateway}"));
    first.wait_for("CALL_CLOSED", SOON);
    talks_with(&house, &mut second, &anna, before).await;
    let record = house.record(1).await;
    assert_eq!(
        (&record["to"], &record["cause"]),
        (&json!("anna"), &json!("answered")),
        "{record}"
    );
    assert_eq!(record["transfers"], json!(["101"]), "{record}");
    println!("baresip: blind transfer");
}

#[tokio::test(flavor = "multi_thread")]
async fn jssip_transfers_blind_and_attended() {
    for is_attended in [false, true] {
        let page = Page::new().await;
        let house = browser::house(&page, "wss").await;
        let Some(mut first) = browser(page, &house, "wss").await else {
            return;
        };
        let mut second = house.phone("101", true).await;
        let anna = house.user("anna", Answering::Take, Fault::None).await;
        dials(&mut first, "anna").await;
        first.hears(PEER_HZ, SOON).await;
        if is_attended {
            dials(&mut first, "101").await;
            first.hears(PHONE_HZ, SOON).await;
        }
        let before = now(&anna);
        let order = if is_attended { "join" } else { "transfer" };
        first.order(json!({ "order": order, "number": "101" }));
        for _ in 0..=usize::from(is_attended) {
            first.wait("ended", SOON).await;
        }
        talks_with(&house, &mut second, &anna, before).await;
        println!("JsSIP: {order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn linphonec_transfers_blind_and_attended() {
    for is_attended in [false, true] {
        let house = house().await;
        let Some(mut first) = Linphone::start(&house, "udp", "", "").await else {
            return;
        };
        let mut second = house.phone("101", true).await;
        let anna = house.user("anna", Answering::Take, Fault::None).await;
        first.dial(&house, "anna");
        house.wait_calls("state", "talking", SOON).await;
        if is_attended {
            first.command("pause");
            first.dial(&house, "101");
            house.wait_talking(2).await;
        }
        let gateway = house.gateway.sip().expect("the SIP address");
        first.command(&if is_attended {
            "transfer 1 --to-call 2".to_owned()
        } else {
            format!("transfer sip:101@{gateway}")
        });
        talks_with(&house, &mut second, &anna, None).await;
        println!(
            "linphonec: {}",
            if is_attended {
                "attended transfer"
            } else {
                "blind transfer"
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pjsua_transfers_blind_and_attended() {
    if peers::python().is_none() {
        return;
    }
    for way in ["--transfer", "--join"] {
        let house = house().await;
        let mut second = house.phone("101", true).await;
        let anna = house.user("anna", Answering::Take, Fault::None).await;
        let gateway = house.gateway.sip().expect("the SIP address");
        let mut first = pjsua::phone(gateway, "100").expect("it is there");
        let mut first = first
            .args(["--dial", "anna", way, "101", "--seconds", "4"])
            .spawn()
            .expect("python runs");
        house.wait_calls("state", "talking", SOON).await;
        talks_with(&house, &mut second, &anna, None).await;
        first.wait().await.expect("it ends");
        println!("pjsua2: {way}");
    }
}
