//! baresip and ntgcalls call each other through the gateway.

use std::path::PathBuf;
use std::time::Duration;

use quartet::demo::{Ears, Hashes, PEER_HZ, PHONE_HZ, hear};
use quartet::io::control::Question;
use quartet_tests::baresip::{self, Baresip};
use quartet_tests::house::{House, HouseSetup, PASSWORD};
use quartet_tests::namespace::Namespace;
use quartet_tests::ntgcalls::Ntgcalls;
use quartet_tests::peers;

use crate::PROGRAM;

const SOON: Duration = Duration::from_secs(20);

/// A gateway whose hub is reached over a cable, phones that baresip can be (MD5 only), and the namespace at its far end.
pub(crate) async fn house(more: &str) -> Option<(House, Namespace)> {
    house_with(more, "codecs = [\"pcmu\"]", Vec::new()).await
}

/// The same with other codecs and further plugins.
async fn house_with(more: &str, phone: &str, plugins: Vec<PathBuf>) -> Option<(House, Namespace)> {
    peers::may_make_namespaces()?;
    peers::program("baresip")?;
    peers::python()?;
    let namespace = Namespace::new();
    let house = House::build(
        PROGRAM,
        HouseSetup {
            more,
            hub: namespace.near().into(),
            hashes: Hashes::Md5,
            phone,
            plugins,
        },
    )
    .await;
    Some((house, namespace))
}

pub(crate) async fn desk(house: &House, user: &str, codecs: &str, auto_answer: bool) -> Baresip {
    let setup = baresip::Setup {
        user,
        password: PASSWORD,
        gateway: house.gateway.sip().expect("the SIP address"),
        codecs,
        auto_answer,
        tone_hz: PHONE_HZ as u32,
    };
    let desk = Baresip::start(&setup).expect("baresip is installed");
    // It may have registered before it could tell us: the gateway knows.
    let end = std::time::Instant::now() + SOON;
    loop {
        let phones = house.gateway.ask(&Question::Phones).await.expect("phones");
        if phones
            .as_array()
            .expect("a list")
            .iter()
            .any(|phone| phone["user"] == user)
        {
            return desk;
        }
        assert!(
            std::time::Instant::now() < end,
            "{user} does not register\n{}\n{}",
            desk.log(),
            house.gateway.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The words that ntgcalls showed.
fn words_of(emojis: &serde_json::Value) -> Vec<&'static str> {
    let indices = emojis["indices"].as_array().expect("indices");
    let word = |index: &serde_json::Value| {
        let index = u16::try_from(index.as_u64().expect("a number")).expect("a row");
        quartet_proto::e2ee::fingerprint::Emoji::new(index)
            .expect("a row of the table")
            .word()
    };
    indices.iter().map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_dials_ntgcalls_hears_its_four_words_and_both_talk_for_thirty_seconds() {
    let Some((house, namespace)) = house("").await else {
        return;
    };
    let token = house.invite("anna").await;
    let mut anna = Ntgcalls::start(&namespace, &house.hub(), &token, &["--tone", "600"]).expect("installed");
    let mut desk = desk(&house, "100", "pcmu", false).await;
    let gateway = house.gateway.sip().expect("the SIP address");
    desk.dial(&format!("sip:anna@{gateway}"));
    let emojis = anna.wait_for("emojis", SOON);
    desk.wait_for("CALL_ESTABLISHED", SOON);
    anna.wait_for("connected", SOON);
    let calls = house.gateway.ask(&Question::Calls).await.expect("calls");
    if calls[0]["emojis"] != emojis["emojis"] {
        // A key with a leading zero byte: ntgcalls shows another row, once in 256 calls. The one allowed reason.
        eprintln!(
            "the key begins with a zero byte; ntgcalls shows {} for {}",
            emojis["emojis"], calls[0]["emojis"]
        );
        return;
    }
    // The announcement, then thirty seconds of talk.
    let talk = Duration::from_secs(9 + 30);
    let end = std::time::Instant::now() + talk;
    while std::time::Instant::now() < end {
        desk.read();
        assert!(
            !desk.events.iter().any(|event| event["type"] == "CALL_CLOSED"),
            "{:#?}\n{}",
            desk.events,
            house.gateway.log()
        );
        anna.read();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    desk.command("hangup", "");
    anna.wait_for("discarded", SOON);
    anna.end();
    let record = house.record(1).await;
    assert_eq!(
        (&record["cause"], &record["verdict"]),
        (&"answered".into(), &"announced".into()),
        "{record}"
    );

    let at_desk = desk.heard();
    let ears = Ears::new(house.registry.clone()).expect("the recordings");
    assert_eq!(
        ears.words(&at_desk.samples),
        words_of(&emojis),
        "exactly these four words in order"
    );
    let at_anna = anna.heard();
    assert!(
        ears.words(&at_anna.samples).is_empty(),
        "the far end hears nothing of the announcement"
    );
    for (name, recording, wanted) in [("handset", &at_desk, PEER_HZ), ("far end", &at_anna, PHONE_HZ)] {
        let seconds = recording.seconds();
        assert!(seconds > 36.0, "{name}: only {seconds} s");
        let tone = recording.tone(seconds - 20.0, 10.0).expect("a tone");
        assert!((tone.hz - wanted).abs() <= 5.0 && tone.share > 0.9, "{name}: {tone:?}");
        let rate = hear::RATE as usize;
        let last = &recording.samples[recording.samples.len() - 29 * rate..recording.samples.len() - rate];
        let hole = hear::longest_hole_ms(last, hear::RATE);
        println!(
            "{name}: {} Hz, share {:.3}, longest hole {hole} ms in 28 s",
            tone.hz, tone.share
        );
        assert!(hole <= 60, "{name}: a hole of {hole} ms");
    }
    house.wait_idle().await;
    assert!(!house.gateway.log().contains(" ERROR "), "{}", house.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn ntgcalls_calls_in_two_baresips_ring_and_one_answers() {
    let Some((house, namespace)) = house("").await else {
        return;
    };
    let mut quiet = desk(&house, "100", "pcmu", false).await;
    let mut desk = desk(&house, "101", "pcmu", true).await;
    let token = house.invite("anna").await;
    let mut anna = Ntgcalls::start(&namespace, &house.hub(), &token, &["--dial", "gw"]).expect("installed");
    let emojis = anna.wait_for("emojis", SOON);
    quiet.wait_for("CALL_INCOMING", SOON);
    quiet.wait_for("CALL_CLOSED", SOON);
    desk.wait_for("CALL_ESTABLISHED", SOON);
    anna.wait_for("connected", SOON);
    house.wait_calls("verdict", "announced", SOON).await;
    // Talk goes on for two more seconds, so that the last word is whole in the recording.
    for _ in 0..3 {
        anna.forget();
        anna.wait_for("tone", SOON);
    }
    anna.end();
    desk.wait_for("CALL_CLOSED", SOON);
    let record = house.record(1).await;
    assert_eq!(
        (&record["cause"], &record["direction"]),
        (&"answered".into(), &"incoming".into()),
        "{record}"
    );
    let ears = Ears::new(house.registry.clone()).expect("the recordings");
    let heard = desk.heard();
    assert_eq!(ears.words(&heard.samples), words_of(&emojis));
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ntgcalls_is_killed_in_conversation_and_the_phone_is_told_within_fifteen_seconds() {
    let Some((house, namespace)) = house("[call]\nverify = \"off\"").await else {
        return;
    };
    let token = house.invite("anna").await;
    let mut anna = Ntgcalls::start(&namespace, &house.hub(), &token, &[]).expect("installed");
    let mut desk = desk(&house, "100", "pcmu", false).await;
    desk.dial(&format!("sip:anna@{}", house.gateway.sip().expect("the SIP address")));
    desk.wait_for("CALL_ESTABLISHED", SOON);
    anna.wait_for("connected", SOON);
    anna.kill();
    desk.wait_for("CALL_CLOSED", Duration::from_secs(15));
    assert_eq!(house.record(1).await["cause"], "network");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_is_killed_in_conversation_and_ntgcalls_is_told_within_fifteen_seconds() {
    let Some((house, namespace)) = house("[call]\nverify = \"off\"").await else {
        return;
    };
    let token = house.invite("anna").await;
    let mut anna = Ntgcalls::start(&namespace, &house.hub(), &token, &[]).expect("installed");
    let mut desk = desk(&house, "100", "pcmu", false).await;
    desk.dial(&format!("sip:anna@{}", house.gateway.sip().expect("the SIP address")));
    desk.wait_for("CALL_ESTABLISHED", SOON);
    anna.wait_for("connected", SOON);
    desk.kill();
    anna.wait_for("discarded", Duration::from_secs(15));
    assert_eq!(house.record(1).await["cause"], "media");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn star_nine_on_baresip_ends_the_call_at_both_sides() {
    let Some((house, namespace)) = house("").await else {
        return;
    };
    let token = house.invite("anna").await;
    let mut anna = Ntgcalls::start(&namespace, &house.hub(), &token, &[]).expect("installed");
    let mut desk = desk(&house, "100", "pcmu", false).await;
    desk.dial(&format!("sip:anna@{}", house.gateway.sip().expect("the SIP address")));
    desk.wait_for("CALL_ESTABLISHED", SOON);
    anna.wait_for("connected", SOON);
    desk.keys("*9");
    anna.wait_for("discarded", SOON);
    desk.wait_for("CALL_CLOSED", SOON);
    assert_eq!(house.record(1).await["verdict"], "mismatch");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_c_plugin_built_outside_the_tree_carries_a_call_of_baresip_to_ntgcalls() {
    let folder = std::env::temp_dir().join(format!("q-l16-{}", std::process::id()));
    let plugin = quartet_tests::plugin::build_c(&folder);
    let plugins = vec![plugin.parent().expect("a folder").to_owned()];
    let Some((house, namespace)) = house_with("[call]\nverify = \"off\"", "codecs = [\"L16/16000\"]", plugins).await
    else {
        return;
    };
    let token = house.invite("anna").await;
    let mut anna = Ntgcalls::start(&namespace, &house.hub(), &token, &["--tone", "600"]).expect("installed");
    let mut desk = desk(&house, "100", "L16/16000/1", false).await;
    desk.dial(&format!("sip:anna@{}", house.gateway.sip().expect("the SIP address")));
    desk.wait_for("CALL_ESTABLISHED", SOON);
    anna.wait_for("connected", SOON);
    let heard = anna.wait("440 Hz", SOON, |event| {
        event["event"] == "tone" && near(&event["hz"], PHONE_HZ)
    });
    println!("ntgcalls hears {} Hz, share {}", heard["hz"], heard["share"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    desk.command("hangup", "");
    anna.wait_for("discarded", SOON);
    let recording = desk.heard();
    let tone = recording.tone(recording.seconds() - 2.0, 1.0).expect("a tone");
    assert!((tone.hz - PEER_HZ).abs() <= 5.0 && tone.share > 0.9, "{tone:?}");
    let record = house.record(1).await;
    assert_eq!(record["legs"][0]["codec"], "L16", "{record}");
    house.wait_idle().await;
    std::fs::remove_dir_all(&folder).ok();
}

fn near(hz: &serde_json::Value, wanted: f32) -> bool {
    hz.as_f64().is_some_and(|hz| (hz as f32 - wanted).abs() <= 5.0)
}
