//! An operator looks at a call that is going on: how it sounds, and how what is sent is coded.

use std::process::Command;
use std::time::{Duration, Instant};

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet_tests::house::{House, SOON};
use serde_json::Value;

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn how_a_call_sounds_and_why_it_is_coded_so() {
    let house = House::new(PROGRAM, "[call]\nverify = \"off\"").await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    house.wait_calls("state", "talking", SOON).await;
    let verb = |words: &[&str]| {
        let out = Command::new(PROGRAM)
            .args(words)
            .arg("--conf")
            .arg(house.gateway.folder())
            .output();
        let out = out.expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    let calls = verb(&["calls", "--json"]).1;
    let calls: Value = serde_json::from_str(&calls).expect("a list");
    let id = calls[0]["id"].as_str().expect("an id").to_owned();
    let end = Instant::now() + SOON;
    let call = loop {
        let call: Value = serde_json::from_str(&verb(&["calls", &id, "--json"]).1).expect("a call");
        if call["media"]
            .as_array()
            .is_some_and(|sides| sides.iter().all(|side| side["mos"].is_number()))
        {
            break call;
        }
        assert!(Instant::now() < end, "{call}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let (phone, user) = (&call["media"][0], &call["media"][1]);
    assert_eq!((&phone["side"], &user["side"]), (&"phone".into(), &"network".into()));
    assert_eq!(phone["sent_as"], Value::Null, "G.711 leaves no choice");
    let sent_as = user["sent_as"].as_str().expect("Opus does");
    // It has just begun, and a slow machine may look later.
    let is_known = sent_as.starts_with("24 kbit/s in packets of 20 ms");
    assert!(
        is_known || sent_as.ends_with("ready for 1 % loss: the way is not known yet"),
        "{sent_as}"
    );
    for side in [phone, user] {
        assert!(side["mos"].as_f64() > Some(4.0), "{side}");
        let old = side["mouth_to_ear_ms"].as_u64().expect("media flows");
        assert!((20..200).contains(&old), "{side}");
    }
    let (code, text, error) = verb(&["calls", &id]);
    assert_eq!(code, Some(0), "{error}");
    for line in [
        "side             phone",
        "side             network",
        "sent_as          24 kbit/s",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (code, text, error) = verb(&["calls", "q0"]);
    assert_eq!((code, text.as_str()), (Some(1), ""));
    assert!(
        error.contains("no call q0") && error.contains("quartet calls"),
        "{error}"
    );
    desk.hang_up();
    house.wait_idle().await;
}
