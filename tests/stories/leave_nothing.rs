//! Calls of many kinds leave nothing behind.

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::phone;
use quartet_tests::house::{House, SOON, connected, ends};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_calls_leave_no_call_no_leg_and_no_socket() {
    calls(50, &[]).await;
}

/// SIP keeps an ended transaction for 32 s; memory is compared when there is none.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; ./check runs it"]
async fn a_hundred_calls_leave_no_memory() {
    let resident = calls(100, &[50, 100]).await;
    let grown = resident[1].saturating_sub(resident[0]);
    eprintln!("resident memory {resident:?} KiB after 50 and 100 calls: grown by {grown} KiB");
    assert!(grown < 1024, "memory grows: {resident:?} KiB");
}

/// Places calls of five kinds; returns resident memory, in KiB, after each count of `measure`.
async fn calls(most: usize, measure: &[usize]) -> Vec<u64> {
    let house = House::new(PROGRAM, "[limits]\nhub_requests_per_minute = 60000\ncalls_per_minute_phone = 60000\ncalls_per_minute_callee = 60000\ncalls_per_minute_route = 60000").await;
    let mut desk = house.phone("100", false).await;
    let mut taker = house.user("taker", Answering::Take, Fault::None).await;
    let _busy = house.user("busy", Answering::Busy, Fault::None).await;
    let mut ringer = house.user("ringer", Answering::Ring, Fault::None).await;
    let mut resident = Vec::new();
    for count in 1..=most {
        match count % 5 {
            0 => {
                desk.dial("busy");
                desk.wait(&phone::Event::Ended("busy"), SOON).await.expect("busy");
            }
            1 => {
                desk.dial("ringer");
                desk.wait(&phone::Event::Ringing, SOON).await.expect("it rings");
                desk.hang_up();
                ends(&mut ringer).await;
            }
            kind => {
                desk.dial("taker");
                connected(&mut desk).await;
                if kind == 2 {
                    taker.hang_up()
                } else {
                    desk.hang_up()
                }
                ends(&mut taker).await;
            }
        }
        if measure.contains(&count) {
            house.wait_quiet().await;
            resident.push(house.memory_kib());
        }
    }
    house.wait_idle().await;
    assert_eq!(house.records(most).await.len(), most, "one record for each call");
    resident
}
