//! The person at the handset verifies the emojis: again, they match, they differ, no answer.

use std::time::Duration;

use quartet::demo::Ears;
use quartet::demo::e2ee_peer::{self, Answering, E2eePeer, Fault};
use quartet::demo::phone::{self, Phone};
use quartet_proto::e2ee::fingerprint::Emoji;
use quartet_tests::house::{House, SOON, connected, ends};

use crate::PROGRAM;

/// A call that stands, and its emojis.
async fn call(house: &House) -> (Phone, E2eePeer, [Emoji; 4]) {
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    desk.dial("anna");
    let emojis = anna
        .wait("emojis", SOON, |event| {
            if let e2ee_peer::Event::Emojis(e) = event {
                Some(*e)
            } else {
                None
            }
        })
        .await
        .expect("a key");
    connected(&mut desk).await;
    (desk, anna, emojis)
}

/// Waits until the handset has heard the four words after `from`.
async fn hear_words(ears: &Ears, desk: &Phone, emojis: &[Emoji; 4], from: usize, again: bool) {
    let words: Vec<_> = emojis.iter().map(|emoji| emoji.word()).collect();
    let end = std::time::Instant::now() + Duration::from_secs(15);
    loop {
        let audio = desk.line().heard();
        let audio = &audio[from.min(audio.len())..];
        let heard = if again {
            ears.words_again(audio)
        } else {
            ears.words(audio)
        };
        if heard == words {
            return;
        }
        assert!(std::time::Instant::now() < end, "heard {heard:?}, not {words:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn star_one_repeats_to_the_handset_only_and_star_nine_ends_the_call() {
    let house = House::new(PROGRAM, "").await;
    let ears = Ears::new(house.registry.clone()).expect("the recordings");
    let (mut desk, mut anna, emojis) = call(&house).await;
    hear_words(&ears, &desk, &emojis, 0, false).await;
    let before = desk.line().heard().len();
    desk.line().key('*');
    desk.line().key('1');
    hear_words(&ears, &desk, &emojis, before, true).await;
    let at_anna = anna.line().heard();
    assert!(
        ears.words(&at_anna).is_empty() && ears.words_again(&at_anna).is_empty(),
        "the far end hears none of it"
    );
    desk.line().key('*');
    desk.line().key('9');
    desk.wait(&phone::Event::Ended("answered"), SOON)
        .await
        .expect("the handset gets a BYE");
    assert_eq!(ends(&mut anna).await, "network");
    let record = house.record(1).await;
    assert_eq!(
        (&record["cause"], &record["verdict"]),
        (&"mismatch".into(), &"mismatch".into()),
        "{record}"
    );
    assert!(house.gateway.log().contains("emojis differ"), "an operator is warned");
    house.wait_idle().await;
}

/// Confirm mode, with one key; returns the verdict in the record.
async fn confirm(key: Option<char>) -> serde_json::Value {
    let house = House::new(PROGRAM, "[call]\nverify = \"confirm\"\nconfirm_timeout = \"1s\"").await;
    let ears = Ears::new(house.registry.clone()).expect("the recordings");
    let (desk, mut anna, emojis) = call(&house).await;
    hear_words(&ears, &desk, &emojis, 0, false).await;
    match key {
        Some('2') => {
            let before = desk.line().heard().len();
            desk.line().key('2');
            hear_words(&ears, &desk, &emojis, before, true).await;
            desk.line().key('1');
        }
        Some(key) => desk.line().key(key),
        None => {}
    }
    let verdict = match key {
        Some('9') => "mismatch",
        Some(_) => "verified",
        None => "unverified",
    };
    if verdict == "mismatch" {
        assert_eq!(ends(&mut anna).await, "network");
    } else {
        house.wait_calls("verdict", verdict, Duration::from_secs(20)).await;
        desk.hang_up();
        assert_eq!(ends(&mut anna).await, "answered");
    }
    house.record(1).await["verdict"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_confirm_mode_one_verifies() {
    assert_eq!(confirm(Some('1')).await, "verified");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_confirm_mode_two_repeats() {
    assert_eq!(confirm(Some('2')).await, "verified");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_confirm_mode_nine_ends() {
    assert_eq!(confirm(Some('9')).await, "mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_confirm_mode_silence_stays_unverified() {
    assert_eq!(confirm(None).await, "unverified");
}
