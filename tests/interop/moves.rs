//! Ends that move to another address, and a network that goes away, while a phone talks with ntgcalls.

use std::time::{Duration, Instant};

use quartet::demo::phone;
use quartet_tests::house::House;
use quartet_tests::namespace::Namespace;
use quartet_tests::ntgcalls::Ntgcalls;

use crate::calls::{MACHINE, SOON, both_hear, house, talk};

/// From now until each hears the other: the peer says once a second what it hears.
async fn until_both_hear(what: &str, desk: &phone::Phone, anna: &mut Ntgcalls, limit: Duration) {
    let begin = Instant::now();
    both_hear(desk, anna).await;
    let took = begin.elapsed();
    eprintln!("{what}: both hear each other after {took:.1?}");
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
    namespace.move_far();
    // What was on its way is heard out first.
    tokio::time::sleep(Duration::from_secs(1)).await;
    until_both_hear("she has moved", &desk, &mut anna, Duration::from_secs(5)).await;
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
    tokio::time::sleep(Duration::from_secs(1)).await;
    until_both_hear("we have moved", &desk, &mut anna, Duration::from_secs(5)).await;
    tokio::time::sleep(SOON).await;
    until_both_hear("later", &desk, &mut anna, Duration::from_secs(3)).await;
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
    until_both_hear("a hole", &desk, &mut anna, Duration::from_secs(4)).await;
    tokio::time::sleep(SOON).await;
    until_both_hear("later", &desk, &mut anna, Duration::from_secs(3)).await;
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
