//! JsSIP in Chromium: a phone over a WebSocket, whose media is DTLS-SRTP behind ICE.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use quartet::demo::e2ee_peer::{Answering, E2eePeer, Fault};
use quartet::demo::line::Line;
use quartet::demo::{Hashes, PEER_HZ, PHONE_HZ};
use quartet_tests::authority::certify;
use quartet_tests::baresip::{self, Baresip};
use quartet_tests::browser::{Browser, Page, Setup};
use quartet_tests::house::{BETWEEN_PHONES, House, HouseSetup, PASSWORD, ROUTES, hears_within};
use quartet_tests::peers;
use serde_json::json;

use crate::PROGRAM;
use crate::calls::SOON;
use crate::transports::is_called_by;

/// A gateway that takes phones of this page.
pub(crate) async fn house(page: &Page, transport: &str) -> House {
    house_at(page, transport, Ipv4Addr::LOCALHOST.into()).await
}

async fn house_at(page: &Page, transport: &str, ip: IpAddr) -> House {
    let identity = certify(&ip.to_string());
    let setup = HouseSetup {
        sip: ip,
        more: "[call]\nverify = \"off\"",
        sip_lines: &format!("origins = [\"{}\"]", page.origin()),
        transports: &[transport],
        identity: Some((identity.certificate.pem(), identity.key.serialize_pem())),
        hashes: Hashes::Md5,
        phone: "codecs = [\"opus\", \"g722\", \"pcmu\"]",
        routes: &format!("{BETWEEN_PHONES}{ROUTES}"),
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

/// A browser that is registered there; none where there is none.
pub(crate) async fn browser(page: Page, house: &House, transport: &str) -> Option<Browser> {
    let setup = Setup {
        user: "100",
        password: PASSWORD,
        gateway: house.gateway.sip_over(transport).expect("it is heard there"),
        transport,
        tone_hz: PHONE_HZ as u32,
    };
    let mut browser = Browser::start(page, &setup)?;
    browser.wait("registered", SOON).await;
    Some(browser)
}

pub(crate) async fn dials(browser: &mut Browser, number: &str) {
    browser.order(json!({ "order": "dial", "number": number }));
    browser.wait("confirmed", SOON).await;
}

/// Takes the next call.
async fn answers(browser: &mut Browser) {
    browser.wait("incoming", SOON).await;
    browser.order(json!({ "order": "answer" }));
    browser.wait("confirmed", SOON).await;
}

async fn hangs_up(browser: &mut Browser, house: &House) {
    browser.order(json!({ "order": "hangup" }));
    browser.wait("ended", SOON).await;
    house.wait_idle().await;
    browser.events.clear();
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
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    for (transport, ip) in [("ws", v4), ("wss", v4), ("wss", v6)] {
        let page = Page::new().await;
        let house = house_at(&page, transport, ip).await;
        let Some(mut browser) = browser(page, &house, transport).await else {
            return;
        };
        let mut anna = house.user("anna", Answering::Take, Fault::None).await;
        dials(&mut browser, "anna").await;
        both_hear(&mut browser, &anna, &house).await;
        order(&mut browser, "hold").await;
        silent(anna.line()).await;
        order(&mut browser, "resume").await;
        both_hear(&mut browser, &anna, &house).await;
        // Another generation of ICE.
        order(&mut browser, "restart").await;
        both_hear(&mut browser, &anna, &house).await;
        hangs_up(&mut browser, &house).await;
        let record = house.record(1).await;
        assert_eq!(record["legs"][0]["srtp"], "DTLS-SRTP", "{record}");
        tokio::join!(answers(&mut browser), is_called_by(&mut anna, "100@gw"));
        browser.hears(PEER_HZ, SOON).await;
        // The emojis differ: that ends a call, whichever way the keys come.
        browser
            .order(json!({ "order": "keys", "keys": "*9", "way": if transport == "ws" { "INFO" } else { "RFC2833" } }));
        browser.wait("ended", SOON).await;
        assert_eq!(house.record(2).await["cause"], "mismatch");
        println!("JsSIP in Chromium over {transport} at {ip}: registered, called, was called, DTLS-SRTP with ICE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jssip_and_baresip_call_each_other() {
    const DESK_HZ: u32 = 520;
    if peers::program("baresip").is_none() {
        return;
    }
    let page = Page::new().await;
    let house = house(&page, "wss").await;
    let Some(mut browser) = browser(page, &house, "wss").await else {
        return;
    };
    let gateway = house.gateway.sip().expect("it is heard there");
    for (codecs, media) in [
        ("G722/16000/1", "mediaenc=srtp"),
        ("opus/48000/2", "mediaenc=srtp"),
        ("pcmu", "ptime=30"),
    ] {
        let setup = baresip::Setup {
            codecs,
            media,
            tone_hz: DESK_HZ,
            ..baresip::Setup::new("101", gateway)
        };
        let mut desk = Baresip::start(&setup).expect("baresip is installed");
        desk.wait_registered(SOON);
        for is_called in [true, false] {
            if is_called {
                dials(&mut browser, "101").await;
            } else {
                desk.dial(&format!("sip:100@{gateway}"));
                answers(&mut browser).await;
            }
            desk.hears(PHONE_HZ, SOON).await;
            browser.hears(DESK_HZ as f32, SOON).await;
            hangs_up(&mut browser, &house).await;
        }
        println!("JsSIP over wss and baresip with {codecs} and {media}: both called, both heard");
    }
}

/// Its old call is gone; with the next connection it is a phone as before.
#[tokio::test(flavor = "multi_thread")]
async fn jssip_outlives_a_gateway_that_was_killed() {
    let page = Page::new().await;
    let mut house = house(&page, "ws").await;
    let Some(mut browser) = browser(page, &house, "ws").await else {
        return;
    };
    let anna = house.user("anna", Answering::Take, Fault::None).await;
    dials(&mut browser, "anna").await;
    both_hear(&mut browser, &anna, &house).await;
    drop(anna);
    house.gateway.kill().expect("it is killed");
    house.gateway.start_again().await.expect("it is up again");
    browser.wait("registered", 4 * SOON).await;
    hangs_up(&mut browser, &house).await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    dials(&mut browser, "anna").await;
    both_hear(&mut browser, &anna, &house).await;
    hangs_up(&mut browser, &house).await;
    tokio::join!(answers(&mut browser), is_called_by(&mut anna, "100@gw"));
    browser.hears(PEER_HZ, SOON).await;
}
