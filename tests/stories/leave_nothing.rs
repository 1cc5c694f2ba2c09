//! A hundred calls of many kinds leave nothing behind.

use quartet::demo::e2ee_peer::{self, Answering, Fault};
use quartet::demo::phone;
use quartet_tests::house::{House, SOON};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_leave_no_call_no_leg_no_socket_and_no_memory() {
    let house = House::new(PROGRAM, "[limits]\nhub_requests_per_minute = 60000").await;
    let mut desk = house.phone("100", false).await;
    let mut taker = house.user("taker", Answering::Take, Fault::None).await;
    let _busy = house.user("busy", Answering::Busy, Fault::None).await;
    let mut ringer = house.user("ringer", Answering::Ring, Fault::None).await;
    let mut at_fifty = 0;
    for count in 1..=100 {
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
        if count == 50 {
            house.wait_idle().await;
            at_fifty = house.memory_kib();
        }
    }
    house.wait_idle().await;
    let grown = house.memory_kib().saturating_sub(at_fifty);
    assert!(grown < 1024, "memory grew by {grown} KiB from call 50 to call 100");
    assert_eq!(house.gateway.records().len(), 100);
}
