//! The gateway is killed and started again: phones are still registered, and every call has its one record.

use std::collections::BTreeSet;
use std::time::Duration;

use quartet::demo::e2ee_peer::{self, Answering, Fault};
use quartet::demo::phone::{self, Phone};
use quartet::io::control::ControlRequest;
use quartet::store::Store;
use quartet_tests::house::{House, SOON, connected};
use quartet_tests::wait;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::Value;

use crate::PROGRAM;

/// The whole lines of the record file, all of which are JSON.
fn whole_records(house: &House) -> Vec<Value> {
    let text = std::fs::read_to_string(house.gateway.folder().join("state/cdr.jsonl")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// The lines of the record file; none is torn while a gateway runs.
fn records(house: &House) -> Vec<Value> {
    let text = std::fs::read_to_string(house.gateway.folder().join("state/cdr.jsonl")).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {text}");
    whole_records(house)
}

fn calls(records: &[Value]) -> BTreeSet<String> {
    let calls: BTreeSet<_> = records
        .iter()
        .map(|r| r["call"].as_str().expect("a key").to_owned())
        .collect();
    assert_eq!(calls.len(), records.len(), "a call has two lines: {records:?}");
    calls
}

/// The calls that run, as the state file knows them.
fn rows(house: &House) -> Vec<quartet::cdr::Record> {
    let store = Store::open(&house.gateway.folder().join("state/quartet.db")).expect("the state file");
    store.calls().expect("the calls")
}

async fn registered(house: &House) -> Vec<String> {
    let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
    let users = phones.as_array().expect("a list").iter();
    users
        .map(|row| row["user"].as_str().expect("a name").to_owned())
        .collect()
}

/// Waits until the phone has given its call up.
async fn hang_up(desk: &mut Phone) {
    desk.hang_up();
    while desk.next(Duration::from_millis(100)).await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_phone_rings_and_the_call_has_its_record() {
    let mut house = House::new(PROGRAM, "[call]\nverify = \"off\"").await;
    let token = house.invite("anna").await;
    let anna = house.user_with(token.clone(), Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    desk.dial("anna");
    connected(&mut desk).await;
    house.wait_calls("state", "talking", SOON).await;
    let id = house.gateway.ask(&ControlRequest::Calls).await.expect("calls")[0]["id"].clone();
    wait::until("the answered call is in the store", SOON, || {
        rows(&house).first().filter(|call| call.answer.is_some()).map(|_| ())
    });
    house.gateway.kill().expect("killed");
    drop(anna);
    assert_eq!(records(&house), [] as [Value; 0]);
    house.gateway.start_again().await.expect("it comes up again");
    assert_eq!(registered(&house).await, ["100"]);
    let record = house.record(1).await;
    let seen = ["from", "to", "direction", "route", "network", "cause"].map(|key| record[key].as_str().unwrap_or("-"));
    assert_eq!(seen, ["100", "anna", "outgoing", "people on the hub", "hub", "crashed"]);
    assert_eq!(record["call"], id, "the key is what `quartet calls` had shown");
    assert!(record["answer"].is_string(), "{record}");

    hang_up(&mut desk).await;
    let mut anna = house.user_with(token, Answering::Take, Fault::None).await;
    anna.dial("100@gw");
    desk.wait(&phone::Event::Called("anna".into()), SOON)
        .await
        .expect("the phone rings, though it has not registered again");
    desk.answer();
    anna.wait("media", SOON, |event| {
        (*event == e2ee_peer::Event::Connected).then_some(())
    })
    .await
    .expect("they talk");
    house.wait_calls("state", "talking", SOON).await;
    desk.hang_up();
    assert_eq!(house.record(2).await["cause"], "answered");
    house.wait_idle().await;
    assert_eq!(calls(&records(&house)).len(), 2);
    wait::until("no call is left in the store", SOON, || {
        rows(&house).is_empty().then_some(())
    });
    assert!(!house.gateway.log().contains(" ERROR "), "{}", house.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_no_call_has_two_records_and_no_line_is_broken() {
    let mut rng = ChaCha8Rng::seed_from_u64(20_261_128);
    let mut house = House::new(PROGRAM, "[call]\nverify = \"off\"").await;
    let token = house.invite("anna").await;
    let mut desk = house.phone("100", false).await;
    let mut crashed = 0;
    for round in 0..16 {
        let anna = house.user_with(token.clone(), Answering::Take, Fault::None).await;
        let before = calls(&records(&house));
        // A call takes some 100 ms to stand here. Every second one is over, or just ending, when the gateway dies.
        desk.dial("anna");
        tokio::time::sleep(Duration::from_millis(rng.next_u64() % 400)).await;
        if round % 4 == 1 {
            // However busy the machine is, some have begun for good.
            wait::until("the call is in the store", SOON, || {
                (!rows(&house).is_empty()).then_some(())
            });
        }
        if round % 2 == 0 {
            desk.hang_up();
            tokio::time::sleep(Duration::from_millis(rng.next_u64() % 20)).await;
        }
        house.gateway.kill().expect("killed");
        drop(anna);
        let mut expected = calls(&whole_records(&house));
        assert!(expected.is_superset(&before));
        let left: BTreeSet<_> = rows(&house).into_iter().map(|call| call.call).collect();
        crashed += left.difference(&expected).count();
        expected.extend(left);
        house.gateway.start_again().await.expect("it comes up again");
        assert_eq!(calls(&records(&house)), expected, "round {round}");
        assert_eq!(registered(&house).await, ["100"], "round {round}");
        hang_up(&mut desk).await;
    }
    assert!(crashed >= 4, "only {crashed} of 16 calls stood when the gateway died");
    assert!(!house.gateway.log().contains(" ERROR "), "{}", house.gateway.log());
}
