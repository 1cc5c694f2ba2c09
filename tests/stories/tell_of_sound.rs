//! What the two sides tell each other of their sound, over the data channel of the call.

use quartet::demo::e2ee_peer::{Answering, Event, Fault};
use quartet_proto::e2ee::MediaState;
use quartet_tests::house::{House, SOON};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_told_that_the_handset_hears_the_words_and_when_it_is_over() {
    let house = House::new(PROGRAM, "").await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    let is = |wanted: MediaState| move |event: &Event| (*event == Event::Sound(wanted.clone())).then_some(());
    let words = MediaState {
        muted: true,
        spoken: Some("en".into()),
    };
    anna.wait("the words are heard", SOON, is(words))
        .await
        .expect("it is told");
    let talks = MediaState::default();
    anna.wait("the phone talks", 2 * SOON, is(talks))
        .await
        .expect("it is told");
    desk.hang_up();
    house.wait_idle().await;
}
