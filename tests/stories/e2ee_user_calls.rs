//! An E2EE user calls in: phones ring, one answers, or none does.

use quartet::demo::e2ee_peer::{self, Answering, Fault};
use quartet::demo::{Ears, PEER_HZ, PHONE_HZ, phone};
use quartet_tests::house::{House, SOON, connected, ends, hears};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn two_phones_ring_one_answers_the_other_stops() {
    let house = House::new(PROGRAM, "").await;
    let mut quiet = house.phone("100", false).await;
    let mut desk = house.phone("101", false).await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    anna.dial("gw");
    let called = phone::Event::Called("anna".into());
    quiet.wait(&called, SOON).await.expect("one rings");
    desk.wait(&called, SOON).await.expect("the other rings");
    desk.answer();
    anna.wait("ringing", SOON, |event| {
        (*event == e2ee_peer::Event::Ringing).then_some(())
    })
    .await
    .expect("it rings");
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
    quiet
        .wait(&phone::Event::Ended("hangup"), SOON)
        .await
        .expect("the other stops ringing");
    let ears = Ears::new(house.registry.clone()).expect("the recordings");
    let words: Vec<_> = emojis.iter().map(|emoji| emoji.word()).collect();
    let end = std::time::Instant::now() + 2 * SOON;
    while ears.words(&desk.line().heard()) != words {
        assert!(
            std::time::Instant::now() < end,
            "heard {:?}, not {words:?}",
            ears.words(&desk.line().heard())
        );
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    hears(desk.line(), PEER_HZ).await;
    hears(anna.line(), PHONE_HZ).await;
    anna.hang_up();
    desk.wait(&phone::Event::Ended("answered"), SOON).await.expect("a BYE");
    let record = house.record(1).await;
    assert_eq!(
        (&record["cause"], &record["direction"]),
        (&"answered".into(), &"incoming".into()),
        "{record}"
    );
    house.wait_idle().await;
}

/// Calls in; returns how the caller saw it end.
async fn refused(house: &House, to: &str) -> &'static str {
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    anna.dial(to);
    ends(&mut anna).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers() {
    let house = House::new(PROGRAM, "").await;
    let _desk = house.phone("100", false).await;
    assert_eq!(refused(&house, "gw").await, "missed");
    assert_eq!(house.record(1).await["cause"], "missed");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_phone_is_busy() {
    let house = House::new(PROGRAM, "").await;
    let mut desk = house.phone("102", true).await;
    let mut ben = house.user("ben", Answering::Take, Fault::None).await;
    ben.dial("102@gw");
    desk.wait(&phone::Event::Connected, SOON)
        .await
        .expect("the first call stands");
    ben.wait("media", SOON, |event| {
        (*event == e2ee_peer::Event::Connected).then_some(())
    })
    .await
    .expect("media");
    assert_eq!(refused(&house, "102@gw").await, "busy");
    assert_eq!(house.record(1).await["cause"], "busy");
    ben.hang_up();
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_phone_is_registered() {
    let house = House::new(PROGRAM, "").await;
    assert_eq!(refused(&house, "gw").await, "missed");
    let record = house.record(1).await;
    let seen =
        ["from", "to", "direction", "route", "cause", "verdict"].map(|key| record[key].as_str().unwrap_or_default());
    assert_eq!(
        seen,
        ["anna", "gw", "incoming", "the front desk", "offline", "unheard"],
        "a refused call is kept too"
    );
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_no_phone_has() {
    let house = House::new(PROGRAM, "").await;
    assert_eq!(refused(&house, "nobody@gw").await, "declined");
    let record = house.record(1).await;
    assert_eq!(
        (&record["to"], &record["cause"]),
        (&"nobody@gw".into(), &"declined".into()),
        "{record}"
    );
    house.wait_idle().await;
}

/// How many samples are loud enough for speech.
fn loud(heard: &[i16]) -> usize {
    heard.iter().filter(|sample| sample.unsigned_abs() > 500).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_picks_up_hears_that_it_takes_long_and_why_it_was_in_vain() {
    let house = House::new(PROGRAM, "[call]\nconnect_timeout = \"12s\"\n").await;
    let mut desk = house.phone("102", false).await;
    // Nothing that she says can be read: there is a key, and never any media.
    let mut anna = house.user("anna", Answering::Take, Fault::AlteredPackets).await;
    anna.dial("102@gw");
    desk.wait(&phone::Event::Called("anna".into()), SOON)
        .await
        .expect("it rings");
    desk.answer();
    desk.wait(&phone::Event::Connected, SOON)
        .await
        .expect("it is off the hook");
    let picked_up = std::time::Instant::now();
    while loud(&desk.line().heard()) < 1_000 {
        assert!(picked_up.elapsed() < 2 * SOON, "silence");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let silent = picked_up.elapsed().as_millis();
    assert!((5_500..9_000).contains(&silent), "{silent} ms");
    let record = house.record(1).await;
    assert_eq!(record["cause"], "media", "{record}");
    let told = loud(&desk.line().heard());
    desk.wait(&phone::Event::Ended("answered"), SOON).await.expect("a BYE");
    let why = loud(&desk.line().heard()) - told;
    assert!(why > 1_000, "{why} loud samples after the end");
    house.wait_idle().await;
}
