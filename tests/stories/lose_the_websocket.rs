//! A lost WebSocket is not a lost call (protocol 2 of the hub).

use std::time::Duration;

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::{PEER_HZ, PHONE_HZ, phone};
use quartet_tests::house::{House, SOON, ends, hears};
use quartet_tests::wire::Wire;

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_while_its_websocket_is_lost_and_is_hung_up_from_either_side_afterwards() {
    let house = House::new(PROGRAM, "[call]\nverify = \"off\"").await;
    let wire = Wire::to(house.gateway.hub().expect("the hub's address")).await;
    let (hub, token) = (format!("ws://{}/hub/v1", wire.local()), house.invite("anna").await);
    let mut anna = house.user_at(hub, token, Answering::Take, Fault::None).await;
    for (count, desk_hangs_up) in [(1, true), (2, false)] {
        let mut desk = house.phone("100", false).await;
        House::talk(&mut desk, &mut anna).await;
        wire.cut();
        // Longer than the hub waits before it tells the other side.
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(house.status().await["calls"], 1);
        hears(desk.line(), PEER_HZ).await;
        hears(anna.line(), PHONE_HZ).await;
        if desk_hangs_up {
            // Nobody can tell her now; she hears of it when she is back.
            desk.hang_up();
            wire.mend();
        } else {
            wire.mend();
            anna.hang_up();
            desk.wait(&phone::Event::Ended("answered"), SOON)
                .await
                .expect("it is told");
        }
        if desk_hangs_up {
            assert_eq!(ends(&mut anna).await, "answered");
        }
        let record = house.record(count).await;
        assert_eq!(record["cause"], "answered", "{record}");
        house.wait_idle().await;
    }
}
