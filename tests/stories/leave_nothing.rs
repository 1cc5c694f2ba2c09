//! Calls of many kinds leave nothing behind.

use quartet::demo::e2ee_peer::{self, Answering, Fault};
use quartet::demo::phone;
use quartet_tests::house::{House, SOON};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_calls_leave_no_call_no_leg_and_no_socket() {
    calls(50, None).await;
}

/// SIP keeps an ended transaction for 32 s; memory is compared when there is none.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes; ./check runs it"]
async fn a_hundred_calls_leave_no_memory() {
    calls(100, Some(50)).await;
}

/// Places calls of five kinds, and compares memory after `compare` of them with that at the end.
async fn calls(most: usize, compare: Option<usize>) {
    let house = House::new(PROGRAM, "[limits]\nhub_requests_per_minute = 60000").await;
    let mut desk = house.phone("100", false).await;
    let mut taker = house.user("taker", Answering::Take, Fault::None).await;
    let _busy = house.user("busy", Answering::Busy, Fault::None).await;
    let mut ringer = house.user("ringer", Answering::Ring, Fault::None).await;
    let mut earlier = 0;
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
                ringer
                    .wait("the end", SOON, |e| {
                        matches!(e, e2ee_peer::Event::Ended(_)).then_some(())
                    })
                    .await
                    .expect("end");
            }
            kind => {
                desk.dial("taker");
                desk.wait(&phone::Event::Connected, SOON)
                    .await
                    .expect("the call stands");
                if kind == 2 {
                    taker.hang_up()
                } else {
                    desk.hang_up()
                }
                taker
                    .wait("the end", SOON, |e| {
                        matches!(e, e2ee_peer::Event::Ended(_)).then_some(())
                    })
                    .await
                    .expect("end");
            }
        }
        if Some(count) == compare {
            house.wait_quiet().await;
            earlier = house.memory_kib();
        }
    }
    house.wait_idle().await;
    house.record(most).await;
    assert_eq!(house.gateway.records().len(), most, "one record for each call");
    if let Some(compare) = compare {
        house.wait_quiet().await;
        let grown = house.memory_kib().saturating_sub(earlier);
        eprintln!("memory grew by {grown} KiB from call {compare} to call {most}");
        assert!(
            grown < 1024,
            "memory grew by {grown} KiB from call {compare} to call {most}"
        );
    }
}
