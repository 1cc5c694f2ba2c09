//! Twenty calls at once, all with audio both ways.

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::{PEER_HZ, PHONE_HZ, phone};
use quartet_tests::house::{House, HouseSetup, SOON, hears};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_calls_at_once_all_with_audio_both_ways() {
    let more = "[call]\nverify = \"off\"\n[limits]\ncalls_per_phone = 10\ncalls_per_minute_phone = 60000\ncalls_per_minute_callee = 60000\ncalls_per_minute_route = 60000";
    let phone = "codecs = [\"pcmu\"]
max_contacts = 10";
    let house = House::build(
        PROGRAM,
        HouseSetup {
            more,
            phone,
            ..HouseSetup::default()
        },
    )
    .await;
    let mut pairs = Vec::new();
    for count in 0..20 {
        let user = house.user(&format!("user{count}"), Answering::Take, Fault::None).await;
        let desk = house.phone(["100", "101", "102"][count % 3], false).await;
        pairs.push((desk, user));
    }
    for (count, (desk, _)) in pairs.iter_mut().enumerate() {
        desk.dial(&format!("user{count}"));
    }
    for (desk, _) in &mut pairs {
        desk.wait(&phone::Event::Connected, 2 * SOON)
            .await
            .expect("the call stands");
    }
    assert_eq!(house.status().await["calls"], 20);
    for (desk, user) in &pairs {
        hears(desk.line(), PEER_HZ).await;
        hears(user.line(), PHONE_HZ).await;
        desk.hang_up();
    }
    house.wait_idle().await;
}
