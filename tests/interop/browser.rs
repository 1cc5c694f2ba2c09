//! JsSIP in Chromium: a phone over a WebSocket, whose media is DTLS-SRTP behind ICE.

use std::time::{Duration, Instant};

use quartet::demo::e2ee_peer::{Answering, E2eePeer, Fault};
use quartet::demo::line::Line;
use quartet::demo::{Hashes, PEER_HZ, PHONE_HZ};
use quartet_tests::authority::certify;
use quartet_tests::browser::{Browser, Page, Setup};
use quartet_tests::house::{House, HouseSetup, PASSWORD, hears_within};
use serde_json::json;

use crate::PROGRAM;
use crate::calls::SOON;
use crate::transports::is_called_by;

/// A gateway that takes phones of this page.
async fn house(page: &Page, transport: &str) -> House {
    let identity = certify("127.0.0.1");
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        sip_lines: &format!("origins = [\"{}\"]", page.origin()),
        transports: &[transport],
        identity: Some((identity.certificate.pem(), identity.key.serialize_pem())),
        hashes: Hashes::Md5,
        phone: "codecs = [\"opus\", \"pcmu\"]",
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

/// Has the page change the call.
async fn order(browser: &mut Browser, order: &str) {
    browser.order(json!({ "order": order }));
    browser.wait("done", SOON).await;
}

async fn both_hear(browser: &mut Browser, anna: &E2eePeer, house: &House) {
    let heard = hears_within(anna.line(), PHONE_HZ, SOON).await;
    heard.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", browser.events, house.gateway.log()));
    browser.hears(PEER_HZ, SOON).await;
}

/// Waits until the last half second had none of the page's tone.
async fn silent(line: &Line) {
    let end = Instant::now() + SOON;
    while hears_within(line, PHONE_HZ, Duration::ZERO).await.is_ok() {
        assert!(Instant::now() < end, "the page is on hold and is heard");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jssip_calls_and_is_called_over_ws_and_wss() {
    for transport in ["ws", "wss"] {
        let page = Page::new().await;
        let house = house(&page, transport).await;
        let setup = Setup {
            user: "100",
            password: PASSWORD,
            gateway: house.gateway.sip_over(transport).expect("it is heard there"),
            transport,
            tone_hz: PHONE_HZ as u32,
        };
        let Some(mut browser) = Browser::start(page, &setup) else {
            return;
        };
        browser.wait("registered", SOON).await;
        let mut anna = house.user("anna", Answering::Take, Fault::None).await;
        browser.order(json!({ "order": "dial", "number": "anna" }));
        browser.wait("confirmed", SOON).await;
        both_hear(&mut browser, &anna, &house).await;
        order(&mut browser, "hold").await;
        silent(anna.line()).await;
        order(&mut browser, "resume").await;
        both_hear(&mut browser, &anna, &house).await;
        // Another generation of ICE.
        order(&mut browser, "restart").await;
        both_hear(&mut browser, &anna, &house).await;
        browser.order(json!({ "order": "hangup" }));
        browser.wait("ended", SOON).await;
        house.wait_idle().await;
        let record = house.record(1).await;
        assert_eq!(record["legs"][0]["srtp"], "DTLS-SRTP", "{record}");
        browser.events.clear();
        let answer = async {
            browser.wait("incoming", SOON).await;
            browser.order(json!({ "order": "answer" }));
            browser.wait("confirmed", SOON).await;
        };
        tokio::join!(answer, is_called_by(&mut anna, "100@gw"));
        browser.hears(PEER_HZ, SOON).await;
        // The emojis differ: that ends a call, whichever way the keys come.
        browser
            .order(json!({ "order": "keys", "keys": "*9", "way": if transport == "ws" { "INFO" } else { "RFC2833" } }));
        browser.wait("ended", SOON).await;
        assert_eq!(house.record(2).await["cause"], "mismatch");
        println!("JsSIP in Chromium over {transport}: registered, called, was called, DTLS-SRTP with ICE");
    }
}
