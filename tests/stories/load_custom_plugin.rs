//! A stranger writes a codec plugin outside our tree, in C and in Rust, and a call runs through it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use quartet::demo::e2ee_peer::{self, Answering, Fault};
use quartet::demo::line::Source;
use quartet::demo::phone::{self, Phone};
use quartet::demo::{PEER_HZ, PHONE_HZ};
use quartet::plugins::{PluginSettings, Registry};
use quartet_tests::house::{House, HouseSetup, PASSWORD, SOON, hears, plugin_folder};
use quartet_tests::plugin::{build_c, build_rust};

use crate::PROGRAM;

/// A folder outside the tree; removed when dropped.
struct Outside(PathBuf);

impl Outside {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("q-outside-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A call from a phone that speaks nothing but this plugin's codec.
async fn carries_a_call(plugin: &Path, codec: &str) {
    let folder = plugin.parent().expect("a folder").to_owned();
    let phone = format!("codecs = [\"{codec}\"]");
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        phone: &phone,
        plugins: vec![folder.clone()],
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let settings = PluginSettings {
        path: vec![plugin_folder(), folder],
        ..PluginSettings::default()
    };
    let registry = Arc::new(Registry::load(&settings).expect("plugins"));
    let setup = phone::Setup {
        gateway: house.gateway.sip().expect("the SIP address"),
        user: "100".into(),
        password: PASSWORD.into(),
        codecs: vec![codec.into()],
        source: Source::Tone { hz: PHONE_HZ },
        answers: false,
    };
    let mut desk = Phone::start(registry, setup).await.expect("the phone");
    desk.wait(&phone::Event::Registered, SOON).await.expect("registered");
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    desk.dial("anna");
    desk.wait(&phone::Event::Connected, SOON)
        .await
        .expect("the call stands");
    anna.wait("media", SOON, |event| {
        (*event == e2ee_peer::Event::Connected).then_some(())
    })
    .await
    .expect("media");
    hears(desk.line(), PEER_HZ).await;
    hears(anna.line(), PHONE_HZ).await;
    desk.hang_up();
    let record = house.record(1).await;
    assert_eq!(record["legs"][0]["codec"], "L16", "{record}");
    house.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_c_plugin_built_outside_the_tree_carries_a_call() {
    let outside = Outside::new("c");
    carries_a_call(&build_c(&outside.0), "L16/16000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_plugin_built_outside_the_tree_carries_a_call() {
    let outside = Outside::new("rust");
    carries_a_call(&build_rust(&outside.0), "L16/8000").await;
}

#[test]
fn inspect_and_test_say_what_a_plugin_is_in_a_child_process() {
    let outside = Outside::new("inspect");
    let plugin = build_c(&outside.0);
    let run = |verb: &str, file: &Path| {
        let out = Command::new(PROGRAM)
            .args(["plugin", verb])
            .arg(file)
            .output()
            .expect("it runs");
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
        )
    };
    let (code, text) = run("inspect", &plugin);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("L16/16000/1") && text.contains("exports 1 symbol"),
        "{text}"
    );
    let (code, text) = run("test", &plugin);
    assert_eq!(code, Some(0), "{text}");
    // A plugin whose constructor ends the process takes the child with it, not us.
    let source = std::fs::read_to_string(outside.0.join("l16.c")).expect("the source");
    let deadly =
        format!("{source}\n#include <stdlib.h>\n__attribute__((constructor)) static void die(void) {{ abort(); }}\n");
    std::fs::write(outside.0.join("l16.c"), deadly).expect("written");
    std::fs::remove_file(&plugin).expect("removed");
    assert!(
        Command::new("make")
            .arg("-s")
            .current_dir(&outside.0)
            .status()
            .expect("make")
            .success()
    );
    let (code, text) = run("inspect", &plugin);
    assert_eq!(code, Some(1), "{text}");
}
