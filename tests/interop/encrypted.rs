//! Real phones with each kind of SRTP that they have: they call and are called, and both sides hear.

use quartet::demo::e2ee_peer::{Answering, E2eePeer, Fault};
use quartet::demo::{Hashes, PEER_HZ, PHONE_HZ};
use quartet::io::control::ControlRequest;
use quartet_tests::baresip::{self, Baresip};
use quartet_tests::house::{House, HouseSetup, hears_within};
use quartet_tests::linphone::Linphone;
use quartet_tests::{peers, pjsua};

use crate::PROGRAM;
use crate::calls::SOON;
use crate::transports::is_called_by;

/// What all offer first, and what baresip takes of ours.
const OFFERED: &str = "AES_CM_128_HMAC_SHA1_80";
const TAKEN: &str = "AEAD_AES_256_GCM";

async fn house(account: &str) -> House {
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        hashes: Hashes::Md5,

        phone: &format!("codecs = [\"pcmu\"]\n{account}"),
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

/// How the phone's leg of the only call is encrypted.
async fn encrypted(house: &House) -> Option<String> {
    let calls = house.gateway.ask(&ControlRequest::Calls).await.expect("told");
    calls[0]["media"][0]["srtp"].as_str().map(str::to_owned)
}

/// baresip hears and is heard, with its media encrypted like that.
async fn both_hear(house: &House, desk: &mut Baresip, anna: &E2eePeer, expected: Option<&str>, what: &str) {
    let heard = hears_within(anna.line(), PHONE_HZ, SOON).await;
    heard.unwrap_or_else(|error| panic!("{what}: {error}\n{}\n{}", desk.log(), house.gateway.log()));
    assert_eq!(encrypted(house).await.as_deref(), expected, "{what}");
    desk.hears(PEER_HZ, SOON).await;
    desk.command("hangup", "");
    house.wait_idle().await;
    assert!(!house.gateway.log().contains("inline:"), "{what}: a key in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_each_kind_of_srtp() {
    if peers::program("baresip").is_none() {
        return;
    }
    // What the account says, how the phone is set up; how it is encrypted when it calls, and when it is called.
    for (account, media, caller, callee) in [
        ("srtp = \"optional\"", "mediaenc=srtp", Some(OFFERED), Some(TAKEN)),
        ("srtp = \"required\"", "mediaenc=srtp-mand", Some(OFFERED), Some(TAKEN)),
        ("srtp = \"off\"", "", None, None),
    ] {
        let house = house(account).await;
        let mut anna = house.user("anna", Answering::Take, Fault::None).await;
        let gateway = house.gateway.sip().expect("it is heard there");
        let setup = baresip::Setup {
            media,
            // Reports beside the media and among them.
            rtcp_mux: caller.is_some(),
            ..baresip::Setup::new("100", gateway)
        };
        let mut desk = Baresip::start(&setup).expect("baresip is installed");
        desk.wait_registered(SOON);
        desk.dial(&format!("sip:anna@{gateway}"));
        desk.wait_for("CALL_ESTABLISHED", SOON);
        both_hear(&house, &mut desk, &anna, caller, media).await;
        desk.forget();
        is_called_by(&mut anna, "100@gw").await;
        both_hear(&house, &mut desk, &anna, callee, media).await;
        println!("baresip {media:?} where {account}: called ({caller:?}), was called ({callee:?})");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn linphonec_with_each_kind_of_srtp() {
    if peers::program("linphonec").is_none() {
        return;
    }
    for (account, lines, caller, callee) in [
        ("srtp = \"optional\"", "media_encryption=srtp\n", Some(OFFERED), None),
        (
            "srtp = \"required\"",
            "media_encryption=srtp\nmedia_encryption_mandatory=1\n",
            Some(OFFERED),
            Some(OFFERED),
        ),
    ] {
        let house = house(account).await;
        let mut anna = house.user("anna", Answering::Take, Fault::None).await;
        let mut desk = Linphone::start(&house, "udp", "", lines)
            .await
            .expect("it is installed");
        desk.dial(&house, "anna");
        connected(&house, &desk).await;
        desk.say(PHONE_HZ, 20);
        let heard = hears_within(anna.line(), PHONE_HZ, SOON).await;
        heard.unwrap_or_else(|error| panic!("{lines}: {error}\n{}\n{}", desk.log(), house.gateway.log()));
        assert_eq!(encrypted(&house).await.as_deref(), caller, "{lines}");
        desk.command("terminate");
        house.wait_idle().await;
        anna.dial("100@gw");
        connected(&house, &desk).await;
        desk.say(PHONE_HZ, 20);
        let heard = hears_within(anna.line(), PHONE_HZ, SOON).await;
        heard.unwrap_or_else(|error| panic!("{lines}: {error}\n{}\n{}", desk.log(), house.gateway.log()));
        assert_eq!(encrypted(&house).await.as_deref(), callee, "{lines}");
        println!("linphonec {lines:?} where {account}: called ({caller:?}), was called ({callee:?})");
    }
    // Its handshake runs without ICE, and it is told so.
    let house = house("").await;
    let desk = Linphone::start(&house, "udp", "", "media_encryption=dtls\n").await;
    let mut desk = desk.expect("it is installed");
    desk.dial(&house, "anna");
    assert_eq!(house.record(1).await["cause"], "dtls_terms");
}

/// Waits until the only call stands.
async fn connected(house: &House, desk: &Linphone) {
    let end = std::time::Instant::now() + SOON;
    loop {
        let calls = house.gateway.ask(&ControlRequest::Calls).await.expect("told");
        if calls[0]["state"] == "talking" {
            return;
        }
        assert!(
            std::time::Instant::now() < end,
            "no call: {calls}\n{}\n{}",
            desk.log(),
            house.gateway.log()
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// pjsua2 with and without SRTP: `0`, where both can (`1`), always (`2`).
#[tokio::test(flavor = "multi_thread")]
async fn pjsua_with_each_kind_of_srtp() {
    if peers::python().is_none() {
        return;
    }
    for (account, srtp, caller, callee) in [
        ("off", "0", None, None),
        ("optional", "1", Some(OFFERED), Some(OFFERED)),
        ("required", "2", Some(OFFERED), Some(OFFERED)),
    ] {
        let house = house(&format!("srtp = \"{account}\"")).await;
        let mut anna = house.user("anna", Answering::Take, Fault::None).await;
        let run = async |more: &[&str]| {
            let gateway = house.gateway.sip().expect("it is heard there");
            let mut phone = pjsua::phone(gateway, "100").expect("it is there");
            pjsua::said(phone.args(["--srtp", srtp, "--seconds", "4"]).args(more)).await
        };
        let said = run(&["--dial", "anna"]).await;
        assert!(said.contains("confirmed"), "{srtp}: {said}\n{}", house.gateway.log());
        let record = house.record(1).await;
        assert_eq!(record["legs"][0]["srtp"].as_str(), caller, "{srtp}: {record}");
        let later = async {
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
            anna.dial("100@gw");
        };
        let (said, ()) = tokio::join!(run(&["--answer"]), later);
        assert!(said.contains("confirmed"), "{srtp}: {said}\n{}", house.gateway.log());
        let record = house.record(2).await;
        assert_eq!(record["legs"][0]["srtp"].as_str(), callee, "{srtp}: {record}");
        println!("pjsua2 with srtpUse {srtp} where srtp = {account:?}: called ({caller:?}), was called ({callee:?})");
    }
}
