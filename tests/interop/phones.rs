//! Real SIP phones register.

use std::time::Duration;

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::{Hashes, PEER_HZ};
use quartet::io::control::ControlRequest;
use quartet_tests::authority::certify;
use quartet_tests::baresip::{self, Baresip};
use quartet_tests::house::{BETWEEN_PHONES, House, HouseSetup, ROUTES, connected, ended, hears};
use quartet_tests::linphone::Linphone;
use quartet_tests::{peers, pjsua, wait};

use crate::PROGRAM;
use crate::calls::{SOON, desk, house};
use crate::transports::{calls_and_is_called, is_called_by};

#[tokio::test(flavor = "multi_thread")]
async fn baresip_registers_with_md5_and_is_refused_with_a_wrong_password() {
    let Some((house, _namespace)) = house("").await else {
        return;
    };
    let _desk = desk(&house, "100", "pcmu", false).await;
    let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
    assert_eq!(phones[0]["user"], "100", "{phones}");
    let wrong = baresip::Setup {
        password: "wrong",
        auto_answer: false,
        tone_hz: 440,
        ..baresip::Setup::new("101", house.gateway.sip().expect("the SIP address"))
    };
    let phone = Baresip::start(&wrong).expect("baresip is installed");
    wait::until("a failed login in the log", Duration::from_secs(10), || {
        house
            .gateway
            .log()
            .contains("why=WrongPassword failures=1 attempts=1 user=\"101\"")
            .then_some(())
    });
    drop(phone);
}

#[tokio::test(flavor = "multi_thread")]
async fn linphonec_registers_with_sha_256() {
    linphonec("udp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linphonec_registers_over_tcp_and_tls() {
    for transport in ["tcp", "tls"] {
        linphonec(transport).await;
        println!("linphonec over {transport} at 127.0.0.1: registered");
    }
}

/// Has linphonec register over this transport.
async fn linphonec(transport: &str) {
    let identity = certify("127.0.0.1");
    let setup = HouseSetup {
        transports: &["tcp", "tls"],
        identity: Some((identity.certificate.pem(), identity.key.serialize_pem())),
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let Some(_phone) = Linphone::start(&house, transport, &identity.authority_pem, "").await else {
        return;
    };
    let listed = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
    let agent = listed[0]["user_agent"].as_str().unwrap_or_default().to_lowercase();
    assert!(agent.contains("linphone"), "{listed}");
}

/// Seen with a mute key, voice activity detection, a GSM call in between: hung up after ten seconds as "Media failed".
#[tokio::test(flavor = "multi_thread")]
async fn a_pjsua_phone_that_says_nothing_keeps_its_call() {
    let house = House::new(PROGRAM, "[call]\nverify = \"off\"\nrtp_timeout = \"2s\"").await;
    let anna = house.user("anna", Answering::Take, Fault::None).await;
    let gateway = house.gateway.sip().expect("the SIP address");
    let Some(mut phone) = pjsua::phone(gateway, "100") else {
        return;
    };
    let text = pjsua::said(phone.args(["--dial", "anna", "--seconds", "9"])).await;
    let record = house.record(1).await;
    assert_eq!(
        (&record["cause"], &record["by"]),
        (&"answered".into(), &"caller".into()),
        "{record}\n{text}"
    );
    assert!(record["duration_ms"].as_u64() > Some(7_000), "{record}");
    // It really was silent: what it sent is much less than what nine seconds of speech are.
    assert!(record["legs"][0]["received"].as_u64() < Some(200), "{record}");
    assert!(
        text.contains("\"registered\"") && text.contains("\"confirmed\""),
        "{text}"
    );
    drop(anna);
}

/// Seen with a softphone that comes back from another port each time: 403 at the fifth start of an hour.
#[tokio::test(flavor = "multi_thread")]
async fn baresip_that_is_killed_and_started_again_and_again_registers() {
    let Some((house, _namespace)) = house("").await else {
        return;
    };
    for _ in 0..7 {
        let mut phone = desk(&house, "100", "pcmu", false).await;
        phone.wait_registered(Duration::from_secs(10));
        phone.kill();
    }
    let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
    let count = phones.as_array().expect("a list").len();
    // Those that were killed could not take back what they had.
    assert!((2..=4).contains(&count), "{phones}");
}

/// RFC 4028: it wants the session refreshed every 90 s, and does so itself when half of that is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_pjsua_phone_refreshes_its_session() {
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        log: "trace",
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let _anna = house.user("anna", Answering::Take, Fault::None).await;
    let gateway = house.gateway.sip().expect("the SIP address");
    let Some(mut phone) = pjsua::phone(gateway, "100") else {
        return;
    };
    let said = pjsua::said(phone.args(["--dial", "anna", "--timer", "90", "--seconds", "50"])).await;
    let record = house.record(1).await;
    assert_eq!(
        (&record["cause"], &record["by"]),
        (&"answered".into(), &"caller".into()),
        "{said}"
    );
    assert!(record["duration_ms"].as_u64().is_some_and(|ms| ms > 48_000), "{record}");
    let log = house.gateway.log();
    let agreed = log.matches("Session-Expires: 90;refresher=uac").count();
    assert!(agreed >= 3, "the answer, the refresh and its answer: {agreed}\n{log}");
    println!("pjsua2 with a session timer of 90 s: refreshed after 45 s, the call stands");
}

/// Wideband without Opus: its coder is spandsp's.
#[tokio::test(flavor = "multi_thread")]
async fn baresip_speaks_g722() {
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        hashes: Hashes::Md5,
        phone: "codecs = [\"g722\", \"pcmu\"]",
        ..HouseSetup::default()
    };
    if peers::program("baresip").is_none() {
        return;
    }
    let house = House::build(PROGRAM, setup).await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let gateway = house.gateway.sip().expect("the SIP address");
    let setup = baresip::Setup {
        codecs: "G722/16000/1",
        ..baresip::Setup::new("100", gateway)
    };
    let mut desk = Baresip::start(&setup).expect("baresip is installed");
    desk.wait_registered(SOON);
    calls_and_is_called(&house, &mut desk, &mut anna, (gateway, "udp")).await;
    desk.hears(PEER_HZ, SOON).await;
    desk.command("hangup", "");
    for call in [1, 2] {
        assert_eq!(house.record(call).await["legs"][0]["codec"], "G722");
    }
    println!("baresip with G.722: called, was called, both heard");
}

/// What it says before its call is taken (183 with SDP) is heard, and the call goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn pjsua_is_heard_before_it_takes_the_call() {
    const TONE_HZ: f32 = 520.0;
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        routes: &format!("{}{ROUTES}", BETWEEN_PHONES.replace("3s", "20s")),
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let gateway = house.gateway.sip().expect("the SIP address");
    let Some(mut command) = pjsua::phone(gateway, "101") else {
        return;
    };
    let mut callee = command
        .args(["--answer", "--early", "--tone", "520", "--seconds", "6"])
        .spawn()
        .expect("python runs");
    let mut caller = house.phone("100", false).await;
    house.wait_registered("101").await;
    caller.dial("101");
    hears(caller.line(), TONE_HZ).await;
    house.wait_calls("state", "ringing", SOON).await;
    connected(&mut caller).await;
    hears(caller.line(), TONE_HZ).await;
    callee.wait().await.expect("it ends");
    assert_eq!(house.record(1).await["cause"], "answered");
    println!("pjsua2 with early media: heard before and after it took the call");
}

/// RFC 3311: what it offers by UPDATE is answered as what it offers by INVITE.
#[tokio::test(flavor = "multi_thread")]
async fn a_pjsua_phone_offers_its_session_anew_by_update() {
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        log: "trace",
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let anna = house.user("anna", Answering::Take, Fault::None).await;
    let gateway = house.gateway.sip().expect("the SIP address");
    let Some(mut command) = pjsua::phone(gateway, "100") else {
        return;
    };
    let mut phone = command
        .args(["--dial", "anna", "--tone", "520", "--update", "--seconds", "3"])
        .spawn()
        .expect("python runs");
    hears(anna.line(), 520.0).await;
    let is_answered = |log: &str| {
        let mut answers = log
            .lines()
            .filter(|line| line.contains("SIP sent") && line.contains("SIP/2.0 200"));
        answers.any(|line| line.contains(" UPDATE\\r\\n") && line.contains("m=audio"))
    };
    let end = std::time::Instant::now() + SOON;
    while !is_answered(&house.gateway.log()) {
        assert!(std::time::Instant::now() < end, "{}", house.gateway.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    hears(anna.line(), 520.0).await;
    phone.wait().await.expect("it ends");
    assert_eq!(house.record(1).await["cause"], "answered");
    println!("pjsua2: an offer by UPDATE is answered, the call goes on");
}

/// Call forwarding in the phone: 302 with a Contact.
#[tokio::test(flavor = "multi_thread")]
async fn a_pjsua_phone_sends_a_call_on() {
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        routes: &format!("{BETWEEN_PHONES}{ROUTES}"),
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let gateway = house.gateway.sip().expect("the SIP address");
    let Some(mut command) = pjsua::phone(gateway, "101") else {
        return;
    };
    let _phone = command
        .args(["--answer", "--redirect", "102", "--seconds", "20"])
        .spawn()
        .expect("python runs");
    house.wait_registered("101").await;
    let mut other = house.phone("102", true).await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    is_called_by(&mut anna, "101@gw").await;
    hears(other.line(), PEER_HZ).await;
    anna.hang_up();
    ended(&mut other).await;
    assert_eq!(house.record(1).await["cause"], "answered");
    println!("pjsua2: a call is sent on by 302");
}
