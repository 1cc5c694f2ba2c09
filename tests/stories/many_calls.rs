//! Twenty calls at once, all with audio both ways.

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::{PEER_HZ, PHONE_HZ, hear, phone};
use quartet_tests::house::{House, HouseSetup, SOON};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_calls_at_once_all_with_audio_both_ways() {
    let more = "[call]\nverify = \"off\"\n[limits]\ncalls_per_phone = 10";
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
    for (count, (desk, _)) in pairs.iter().enumerate() {
        desk.dial(&format!("user{count}"));
    }
    for (desk, _) in &mut pairs {
        desk.wait(&phone::Event::Connected, 2 * SOON)
            .await
            .expect("the call stands");
    }
    assert_eq!(house.status().await["calls"], 20);
    for (desk, user) in &pairs {
        for (line, wanted) in [(desk.line(), PEER_HZ), (user.line(), PHONE_HZ)] {
            let end = std::time::Instant::now() + SOON;
            loop {
                let audio = line.heard();
                let last = &audio[audio.len().saturating_sub(hear::RATE as usize / 2)..];
                let tone = hear::tone(last, hear::RATE);
                if tone.is_some_and(|tone| (tone.hz - wanted).abs() <= 5.0 && tone.share > 0.9) {
                    break;
                }
                assert!(std::time::Instant::now() < end, "{tone:?} instead of {wanted} Hz");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        desk.hang_up();
    }
    house.wait_idle().await;
}
