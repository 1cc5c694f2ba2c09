//! Calls end for many reasons; both sides and the record say the same one.

use quartet::demo::e2ee_peer::{self, Answering, E2eePeer, Fault};
use quartet::demo::phone::{self, Phone};
use quartet_tests::house::{House, SOON, ends};

use crate::PROGRAM;

async fn stands(house: &House) -> (Phone, E2eePeer) {
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    house.wait_calls("state", "talking", SOON).await;
    (desk, anna)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phone_gives_up_before_the_answer() {
    let house = House::new(PROGRAM, "").await;
    let mut anna = house.user("anna", Answering::Ring, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    desk.dial("anna");
    desk.wait(&phone::Event::Ringing, SOON).await.expect("it rings");
    desk.hang_up();
    assert_eq!(ends(&mut anna).await, "hangup");
    assert_eq!(house.record(1).await["cause"], "hangup");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_ends_a_call_by_its_id() {
    let house = House::new(PROGRAM, "").await;
    let mut desk = house.phone("100", false).await;
    let mut anna = house.user("anna", Answering::Ring, Fault::None).await;
    desk.dial("anna");
    desk.wait(&phone::Event::Ringing, SOON).await.expect("it rings");
    let verb = |verb: &[&str]| {
        let out = std::process::Command::new(PROGRAM)
            .args(verb)
            .args(["--json", "--conf"])
            .arg(house.gateway.folder())
            .output()
            .expect("the program runs");
        (
            out.status.code(),
            out.stdout,
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (_, calls, error) = verb(&["calls"]);
    let calls: serde_json::Value = serde_json::from_slice(&calls).expect(&error);
    let id = calls[0]["id"].as_str().expect("an id").to_owned();
    let (code, said, error) = verb(&["hangup", &id]);
    let said: serde_json::Value = serde_json::from_slice(&said).expect(&error);
    assert_eq!((code, &said["id"]), (Some(0), &calls[0]["id"]), "{error}");
    assert_eq!(ends(&mut anna).await, "hangup");
    let record = house.record(1).await;
    assert_eq!(
        (&record["call"], &record["cause"]),
        (&calls[0]["id"], &"operator".into())
    );
    assert_eq!(record["by"], "operator");
    let (code, said, error) = verb(&["hangup", &id]);
    assert_eq!((code, said), (Some(1), Vec::new()), "it is over");
    assert!(error.contains(&id), "{error}");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_is_busy_declines_does_not_answer_or_does_not_exist() {
    let house = House::new(PROGRAM, "").await;
    let mut desk = house.phone("100", false).await;
    for (count, (answering, seen, cause)) in [
        (Answering::Busy, "busy", "busy"),
        (Answering::Decline, "declined", "declined"),
        (Answering::Ring, "missed", "missed"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{count}");
        let _user = house.user(&name, answering, Fault::None).await;
        desk.dial(&name);
        desk.wait(&phone::Event::Ended(seen), SOON).await.expect(cause);
        assert_eq!(house.record(count + 1).await["cause"], cause);
    }
    desk.dial("nobody");
    desk.wait(&phone::Event::Ended("unknown"), SOON).await.expect("404");
    assert_eq!(house.record(4).await["cause"], "unknown");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_hangs_up_during_the_announcement() {
    let house = House::new(PROGRAM, "").await;
    let (desk, mut anna) = stands(&house).await;
    desk.hang_up();
    assert_eq!(ends(&mut anna).await, "answered");
    drop((desk, anna));
    house.wait_idle().await;
    let (mut desk, anna) = stands(&house).await;
    anna.hang_up();
    desk.wait(&phone::Event::Ended("answered"), SOON).await.expect("a BYE");
    assert_eq!(house.record(2).await["cause"], "answered");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_vanishes_from_the_hub() {
    let house = House::new(PROGRAM, "[call]\nverify = \"off\"").await;
    let (mut desk, anna) = stands(&house).await;
    anna.vanish();
    // The hub would wait for it a minute; media notices first, after ten seconds of silence.
    desk.wait(&phone::Event::Ended("answered"), 2 * SOON)
        .await
        .expect("the phone gets a BYE");
    assert_eq!(house.record(1).await["cause"], "ice");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phone_vanishes_in_conversation() {
    let house = House::new(PROGRAM, "[call]\nverify = \"off\"\nrtp_timeout = \"2s\"").await;
    let (desk, mut anna) = stands(&house).await;
    desk.vanish();
    assert_eq!(ends(&mut anna).await, "network");
    assert_eq!(house.record(1).await["cause"], "media");
    house.wait_idle().await;
}

/// A call takes some 100 ms to stand here, so these moments fall before the answer, into the key exchange, across the 200
/// OK and into the conversation.
#[tokio::test(flavor = "multi_thread")]
async fn either_side_hangs_up_at_any_moment_and_nothing_is_left() {
    let house = House::new(PROGRAM, "[limits]\nhub_requests_per_minute = 60000\ncalls_per_minute_phone = 60000\ncalls_per_minute_callee = 60000\ncalls_per_minute_route = 60000").await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    for count in 0..48usize {
        desk.dial("anna");
        anna.wait("a call", SOON, |event| {
            matches!(event, e2ee_peer::Event::Called(_)).then_some(())
        })
        .await
        .expect("the call arrives");
        tokio::time::sleep(std::time::Duration::from_millis(4 * count as u64)).await;
        if count % 2 == 0 {
            desk.hang_up();
        } else {
            anna.hang_up();
            let end = std::time::Instant::now() + SOON;
            while let Some(event) = desk
                .next(end.saturating_duration_since(std::time::Instant::now()))
                .await
            {
                if matches!(event, phone::Event::Ended(_)) {
                    break;
                }
            }
        }
        let cause = house.record(count + 1).await["cause"].clone();
        assert!(
            ["hangup", "answered", "declined", "abandoned"].contains(&cause.as_str().expect("a word")),
            "call {count}: {cause}"
        );
    }
    house.wait_idle().await;
    assert_eq!(house.records(48).await.len(), 48, "one record for each call");
    assert!(!house.gateway.log().contains(" ERROR "), "{}", house.gateway.log());
}
