//! Phones with SRTP, by keys of the descriptions and by handshake, and phones without.

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::phone::{self, Phone, Srtp};
use quartet::demo::{PEER_HZ, PHONE_HZ};
use quartet_tests::house::{BETWEEN_PHONES, House, HouseSetup, MANY_CALLS, ROUTES, SOON, ended, hears};

use crate::PROGRAM;

async fn house(phone: &str) -> House {
    let setup = HouseSetup {
        more: MANY_CALLS,
        phone: &format!("codecs = [\"pcmu\", \"opus\"]\nverify = \"off\"\n{phone}"),
        routes: &format!("{BETWEEN_PHONES}{ROUTES}"),
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

/// A phone of this house with media of this kind.
async fn phone(house: &House, user: &str, transport: &str, srtp: Srtp) -> Phone {
    let setup = phone::Setup {
        transport: transport.into(),
        srtp,
        ..house.phone_setup(user, true)
    };
    let mut phone = Phone::start(house.registry.clone(), setup).await.expect("it starts");
    let registered = phone.wait(&phone::Event::Registered, SOON).await;
    registered.expect("it registers");
    phone
}

/// How the legs of the only call are encrypted, in the words of its record.
async fn encrypted(house: &House) -> Vec<serde_json::Value> {
    let calls = house.gateway.ask(&quartet::io::control::ControlRequest::Calls).await;
    let calls = calls.expect("told");
    let legs = calls[0]["media"].as_array().expect("legs");
    legs.iter().map(|leg| leg["srtp"].clone()).collect()
}

const SUITE: &str = "AEAD_AES_256_GCM";

/// Both sides hear each other under each of these: what the account says, what the phone does, and what that makes.
#[tokio::test(flavor = "multi_thread")]
async fn media_is_encrypted_as_phone_and_account_want_it() {
    use Srtp::{Off, Optional, Required};
    for (account, wants, expected) in [
        ("off", Optional, Ok(None)),
        ("off", Required, Err("srtp")),
        ("optional", Off, Ok(None)),
        ("optional", Optional, Ok(Some(SUITE))),
        ("optional", Required, Ok(Some(SUITE))),
        ("required", Off, Err("srtp_required")),
        ("required", Optional, Ok(Some(SUITE))),
        ("required", Required, Ok(Some(SUITE))),
    ] {
        let what = format!("srtp = {account}, the phone: {wants:?}");
        let house = house(&format!("srtp = \"{account}\"")).await;
        let mut desk = phone(&house, "100", "rtp", wants).await;
        let anna = house.user("anna", Answering::Take, Fault::None).await;
        desk.dial("anna");
        if let Err(cause) = expected {
            assert_eq!(ended(&mut desk).await, "no_codec", "488, {what}");
            assert_eq!(house.record(1).await["cause"], cause, "{what}");
            continue;
        }
        let stands = desk.wait(&phone::Event::Connected, SOON).await;
        stands.unwrap_or_else(|error| panic!("{what}: {error}\n{}", house.gateway.log()));
        hears(desk.line(), PEER_HZ).await;
        hears(anna.line(), PHONE_HZ).await;
        let legs = encrypted(&house).await;
        assert_eq!(legs[0].as_str(), expected.expect("not refused"), "{what} {legs:?}");
        assert_eq!(legs[1], "DTLS-SRTP", "{what}");
        desk.hang_up();
        house.wait_idle().await;
        assert!(!house.gateway.log().contains("inline:"), "a key in the log");
    }
}

/// Our offer, and phones of different kinds with each other.
#[tokio::test(flavor = "multi_thread")]
async fn phones_of_all_kinds_call_each_other() {
    let house = house("").await;
    let kinds = [
        ("rtp", Srtp::Off, None),
        ("rtp", Srtp::Optional, Some(SUITE)),
        ("rtp", Srtp::Required, Some(SUITE)),
        ("webrtc", Srtp::Off, Some("DTLS-SRTP")),
    ];
    for (transport, srtp, caller) in kinds {
        for (other, theirs, callee) in kinds {
            // Over UDP the gateway offers no handshake by itself.
            if other == "webrtc" {
                continue;
            }
            let what = format!("{transport} {srtp:?} calls {other} {theirs:?}");
            let mut desk = phone(&house, "100", transport, srtp).await;
            let mut called = phone(&house, "101", other, theirs).await;
            desk.dial("101");
            for end in [&mut desk, &mut called] {
                let stands = end.wait(&phone::Event::Connected, SOON).await;
                stands.unwrap_or_else(|error| panic!("{what}: {error}\n{}", house.gateway.log()));
            }
            hears(desk.line(), PHONE_HZ).await;
            hears(called.line(), PHONE_HZ).await;
            let legs = encrypted(&house).await;
            assert_eq!((legs[0].as_str(), legs[1].as_str()), (caller, callee), "{what}");
            desk.hang_up();
            assert_eq!(ended(&mut called).await, "answered", "{what}");
            house.wait_idle().await;
        }
    }
}
