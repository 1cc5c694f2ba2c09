//! A peer, or a hub in between, that breaks the rules: the call fails closed, with its cause, and no audio flows.

use quartet::demo::e2ee_peer::{self, Answering, Fault};
use quartet::demo::{PEER_HZ, hear, phone};
use quartet_tests::house::{House, SOON};

use crate::PROGRAM;

/// The user calls in with a fault; the phone takes the call. Returns the cause in the record.
async fn calls_in(fault: Fault) -> serde_json::Value {
    let house = House::new(PROGRAM, "").await;
    let desk = house.phone("102", true).await;
    let mut anna = house.user("anna", Answering::Take, fault).await;
    anna.dial("102@gw");
    anna.wait("the end", 4 * SOON, |event| {
        matches!(event, e2ee_peer::Event::Ended(_)).then_some(())
    })
    .await
    .expect("the call ends");
    let record = house.record(1).await;
    assert!(anna.line().heard().is_empty(), "the hostile peer hears nothing");
    // At most, why it was in vain.
    let heard = desk.line().heard();
    let tones = heard
        .chunks(hear::RATE as usize / 2)
        .filter_map(|half| hear::tone(half, hear::RATE));
    let of_it = tones.filter(|tone| (tone.hz - PEER_HZ).abs() <= 5.0 && tone.share > 0.5);
    assert_eq!(of_it.count(), 0, "the handset hears nothing of it");
    house.wait_idle().await;
    record["cause"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_value_that_does_not_fit_its_commitment() {
    assert_eq!(calls_in(Fault::OtherPublic).await, "key_exchange");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fingerprint_of_another_key() {
    assert_eq!(calls_in(Fault::OtherFingerprint).await, "key_exchange");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_media_certificate_that_was_not_announced() {
    assert_eq!(calls_in(Fault::OtherCertificate).await, "fingerprint");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signalling_packet_altered() {
    assert_eq!(calls_in(Fault::AlteredPackets).await, "signalling");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signalling_packet_altered_is_repeated_and_the_call_connects() {
    for number in [0, 1] {
        let house = House::new(PROGRAM, "[call]\nverify = \"off\"").await;
        let mut desk = house.phone("102", true).await;
        let mut anna = house.user("anna", Answering::Take, Fault::AlteredPacket(number)).await;
        anna.dial("102@gw");
        anna.wait("media", 2 * SOON, |event| {
            (*event == e2ee_peer::Event::Connected).then_some(())
        })
        .await
        .expect("media");
        desk.wait(&phone::Event::Connected, SOON).await.expect("the phone");
        house.wait_calls("state", "talking", SOON).await;
        anna.hang_up();
        assert_eq!(house.record(1).await["cause"], "answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_dials_a_peer_with_another_certificate_hears_nothing() {
    let house = House::new(PROGRAM, "").await;
    let mut desk = house.phone("100", false).await;
    let _anna = house.user("anna", Answering::Take, Fault::OtherCertificate).await;
    desk.dial("anna");
    desk.wait(&phone::Event::Ended("network"), 4 * SOON)
        .await
        .expect("a refusal with 500");
    assert_eq!(house.record(1).await["cause"], "fingerprint");
    assert!(desk.line().heard().is_empty());
    house.wait_idle().await;
}
