//! A desk phone dials an E2EE user, hears the four emojis, and they talk.

use std::time::Duration;

use quartet::demo::e2ee_peer::{self, Answering, Fault};
use quartet::demo::hear;
use quartet::demo::{Ears, PEER_HZ, PHONE_HZ};
use quartet_tests::house::{House, SOON, connected, hears};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn the_handset_hears_the_four_words_and_both_hear_each_other() {
    let house = House::new(PROGRAM, "").await;
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
    let ears = Ears::new(house.registry.clone()).expect("the recordings");
    let words: Vec<_> = emojis.iter().map(|emoji| emoji.word()).collect();
    let end = std::time::Instant::now() + Duration::from_secs(15);
    while ears.words(&desk.line().heard()) != words {
        assert!(
            std::time::Instant::now() < end,
            "heard {:?}, not {words:?}",
            ears.words(&desk.line().heard())
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Two seconds of talk after the announcement.
    let talked = desk.line().heard().len() + 2 * hear::RATE as usize;
    while desk.line().heard().len() < talked {
        assert!(std::time::Instant::now() < end + SOON, "nothing more is heard");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let at_desk = desk.line().heard();
    let tone = hear::tone(&at_desk[at_desk.len() - hear::RATE as usize..], hear::RATE).expect("a tone at the handset");
    assert!((tone.hz - PEER_HZ).abs() <= 5.0 && tone.share > 0.9, "{tone:?}");
    let at_anna = anna.line().heard();
    let tone = hear::tone(&at_anna[at_anna.len() - hear::RATE as usize..], hear::RATE).expect("a tone at anna");
    assert!((tone.hz - PHONE_HZ).abs() <= 5.0 && tone.share > 0.9, "{tone:?}");
    assert!(
        ears.words(&at_anna).is_empty(),
        "the far end hears nothing of the announcement"
    );
    desk.hang_up();
    anna.wait("the end", SOON, |event| {
        matches!(event, e2ee_peer::Event::Ended("answered")).then_some(())
    })
    .await
    .expect("anna is told");
    let record = house.record(1).await;
    assert_eq!(
        (&record["cause"], &record["verdict"]),
        (&"answered".into(), &"announced".into()),
        "{record}"
    );
    house.wait_idle().await;
    assert!(!house.gateway.log().contains(" ERROR "), "{}", house.gateway.log());
}

/// The phone says nothing while it rings: that is no silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_may_ring_longer_than_a_phone_may_be_silent() {
    let house = House::new(PROGRAM, "[call]\nverify = \"off\"\nrtp_timeout = \"1s\"").await;
    let rings = Answering::TakeAfter(Duration::from_millis(2500));
    let mut anna = house.user("anna", rings, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    desk.dial("anna");
    connected(&mut desk).await;
    hears(desk.line(), PEER_HZ).await;
    hears(anna.line(), PHONE_HZ).await;
    desk.hang_up();
    anna.wait("the end", SOON, |event| {
        matches!(event, e2ee_peer::Event::Ended("answered")).then_some(())
    })
    .await
    .expect("it was a call");
    house.wait_idle().await;
}
