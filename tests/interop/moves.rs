//! Ends that move to another address, and a network that goes away, while a phone talks with ntgcalls.

use std::time::{Duration, Instant, SystemTime};

use quartet::demo::{PEER_HZ, PHONE_HZ, hear, phone};
use quartet_tests::house::House;
use quartet_tests::namespace::{Namespace, Sniffer};
use quartet_tests::ntgcalls::Ntgcalls;

use crate::calls::{MACHINE, SOON, house, near, talk};

/// In so long both hear each other again.
pub(crate) const BACK: Duration = Duration::from_secs(2);

/// How long sound must last to be back.
const STEADY: Duration = Duration::from_secs(1);

/// An ear at the phone, whose line hears nothing where nothing arrives.
struct Ear {
    samples: usize,
    /// When a packet last came.
    grew: Instant,
    /// Since when the tone is there.
    since: Option<Instant>,
}

impl Ear {
    fn listen(&mut self, desk: &phone::Phone) {
        let audio = desk.line().heard();
        let now = Instant::now();
        if audio.len() > self.samples {
            (self.samples, self.grew) = (audio.len(), now);
        }
        let last = &audio[audio.len().saturating_sub(hear::RATE as usize / 10)..];
        let tone = hear::tone(last, hear::RATE).filter(|tone| (tone.hz - PEER_HZ).abs() <= 10.0 && tone.share > 0.5);
        let hears = tone.is_some() && self.grew.elapsed() < Duration::from_millis(100);
        self.since = if hears { self.since.or(Some(now)) } else { None };
    }
}

/// From that moment until each hears the other, for a second at least.
pub(crate) async fn until_both_hear(
    what: &str,
    from: Instant,
    desk: &phone::Phone,
    anna: &mut Ntgcalls,
    limit: Duration,
) {
    // Her events have the time of the wall clock.
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        - from.elapsed();
    let wall = wall.as_secs_f64();
    let mut ear = Ear {
        samples: 0,
        grew: from,
        since: None,
    };
    let took = loop {
        ear.listen(desk);
        anna.read();
        // Each second she says since when she has heard what she hears; nothing if not to the end of that second.
        let tone = anna.events.iter().rev().find(|event| event["event"] == "tone");
        let lasting = tone.filter(|event| near(&event["hz"], PHONE_HZ) && event["at"].as_f64() > Some(wall + 1.0));
        let hers = lasting.and_then(|event| event["since"].as_f64());
        let hers = hers.map(|since| Duration::from_secs_f64((since - wall).max(0.0)));
        let ours = ear.since.map(|since| since.saturating_duration_since(from));
        if let Some((ours, hers)) = ours.zip(hers)
            && from.elapsed() >= ours.max(hers) + STEADY
        {
            eprintln!("{what}: the phone hears her after {ours:.1?}, and she the phone after {hers:.1?}");
            break ours.max(hers);
        }
        assert!(
            from.elapsed() < limit + 10 * STEADY,
            "{what}: {ours:?}, {hers:?}, {:#?}",
            anna.events
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(took <= limit, "{what}: {took:?}");
}

/// A call that ends well after what it has been through.
async fn ends_well(house: &House, desk: &mut phone::Phone, anna: &mut Ntgcalls) {
    anna.end();
    let told = desk.wait(&phone::Event::Ended("answered"), 3 * SOON).await;
    told.expect("the phone is told");
    let record = house.record(1).await;
    assert_eq!(record["cause"], "answered", "{record}");
    house.wait_idle().await;
}

/// The phone is told, and the record says why, when nothing has come for so long as makes a far end gone.
async fn ends_for_silence(house: &House, desk: &mut phone::Phone, begin: Instant) {
    let told = desk.wait(&phone::Event::Ended("answered"), SOON).await;
    told.expect("the phone is told");
    let took = begin.elapsed();
    assert!((10..15).contains(&took.as_secs()), "{took:?}");
    let record = house.record(1).await;
    assert_eq!(record["cause"], "ice", "{record}");
}

async fn talking() -> Option<(House, Namespace, phone::Phone, Ntgcalls)> {
    let (house, namespace) = house("[call]\nverify = \"off\"").await?;
    let (desk, anna) = talk(&house, &namespace, &house.hub()).await;
    Some((house, namespace, desk, anna))
}

/// As a mobile does that leaves its Wi-Fi: nothing that was open works any more.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_ntgcalls_changes_and_the_call_goes_on() {
    let _machine = MACHINE.write().await;
    let Some((house, mut namespace, mut desk, mut anna)) = talking().await else {
        return;
    };
    let sniffer = Sniffer::new();
    namespace.move_far();
    let moved = Instant::now();
    let at = namespace.far();
    let seen = tokio::task::spawn_blocking(move || sniffer.first_udp_from(at, 3 * SOON));
    let seen = seen
        .await
        .expect("it does not panic")
        .expect("she sends from her new address");
    eprintln!(
        "she has moved: ntgcalls sends from there after {:.1?}",
        seen.saturating_duration_since(moved)
    );
    until_both_hear("she has moved", seen, &desk, &mut anna, BACK).await;
    // She comes back to the hub from there, hangs up, and it is told.
    ends_well(&house, &mut desk, &mut anna).await;
}

/// Nobody tells her: the way to the hub was over the address that has gone.
#[tokio::test(flavor = "multi_thread")]
async fn our_address_changes_and_the_call_goes_on() {
    let _machine = MACHINE.write().await;
    let Some((house, mut namespace, desk, mut anna)) = talking().await else {
        return;
    };
    namespace.move_near();
    until_both_hear("we have moved", Instant::now(), &desk, &mut anna, BACK).await;
    tokio::time::sleep(SOON).await;
    until_both_hear("later", Instant::now(), &desk, &mut anna, BACK).await;
    desk.hang_up();
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_of_nine_seconds_is_outlived_and_one_without_end_ends_the_call() {
    let _machine = MACHINE.write().await;
    let Some((house, namespace, mut desk, mut anna)) = talking().await else {
        return;
    };
    namespace.cut();
    tokio::time::sleep(Duration::from_secs(9)).await;
    namespace.mend();
    until_both_hear("a hole", Instant::now(), &desk, &mut anna, BACK).await;
    tokio::time::sleep(SOON).await;
    until_both_hear("later", Instant::now(), &desk, &mut anna, BACK).await;
    let begin = Instant::now();
    namespace.cut();
    ends_for_silence(&house, &mut desk, begin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_end_that_stands_still_ends_the_call_and_not_before_ten_seconds() {
    let _machine = MACHINE.read().await;
    let Some((house, _namespace, mut desk, anna)) = talking().await else {
        return;
    };
    let begin = Instant::now();
    anna.stop();
    ends_for_silence(&house, &mut desk, begin).await;
}
