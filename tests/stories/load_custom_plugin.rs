//! A stranger writes a codec plugin outside our tree, in C and in Rust, and a call runs through it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quartet::config::Plugins;
use quartet::demo::e2ee_peer::{Answering, E2eePeer, Fault};
use quartet::demo::gateway::Setup;
use quartet::demo::line::Source;
use quartet::demo::phone::{self, Phone};
use quartet::demo::{PEER_HZ, PHONE_HZ};
use quartet::plugins::{CodecSettings, PluginError, Registry};
use quartet_tests::house::{House, HouseSetup, PASSWORD, SOON, hears, plugin_folder};
use quartet_tests::plugin::{
    build_c, build_c_path, build_c_transport, build_rust, build_rust_path, build_rust_transport, cargo_build,
    lay_out_rust,
};
use quartet_tests::wrapper::{keep_from_others, private_folder};

use crate::PROGRAM;

/// A folder outside the tree; removed when dropped.
struct Outside(PathBuf);

impl Outside {
    fn new(name: &str) -> Self {
        Self(private_folder(name))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A call between a phone that speaks nothing but this plugin's codec, and a user.
async fn call_over(plugin: &Path, codec: &str) -> (House, Phone, E2eePeer) {
    call_with(plugin, codec, "rtp").await
}

/// The same with the transport of the phone's media.
async fn call_with(plugin: &Path, codec: &str, transport: &str) -> (House, Phone, E2eePeer) {
    let folder = plugin.parent().expect("a folder").to_owned();
    let phone = format!("codecs = [\"{codec}\"]\ntransport = \"{transport}\"");
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        phone: &phone,
        plugins: vec![folder.clone()],
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let settings = Plugins {
        path: vec![plugin_folder(), folder],
        ..Plugins::default()
    };
    let registry = Arc::new(Registry::load(&settings).expect("plugins"));
    let setup = phone::Setup {
        gateway: house.gateway.sip().expect("the SIP address"),
        user: "100".into(),
        password: PASSWORD.into(),
        codecs: vec![codec.into()],
        source: Source::Tone { hz: PHONE_HZ },
        answers: false,
        transport: transport.into(),
        srtp: phone::Srtp::Off,
    };
    let mut desk = Phone::start(registry, setup).await.expect("the phone");
    desk.wait(&phone::Event::Registered, SOON).await.expect("registered");
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    House::talk(&mut desk, &mut anna).await;
    (house, desk, anna)
}

async fn carries_a_call(plugin: &Path, codec: &str) {
    let (house, desk, anna) = call_over(plugin, codec).await;
    hears(desk.line(), PEER_HZ).await;
    hears(anna.line(), PHONE_HZ).await;
    desk.hang_up();
    let record = house.record(1).await;
    assert_eq!(record["legs"][0]["codec"], "L16", "{record}");
    house.wait_idle().await;
}

/// A stranger's session transport: the phone and its leg speak it, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_transport_carries_a_phones_call() {
    let (in_c, in_rust) = (Outside::new("transport-c"), Outside::new("transport-rust"));
    let templates = [
        (build_c_transport(&in_c.0), "masked-c"),
        (build_rust_transport(&in_rust.0), "masked"),
    ];
    for (plugin, transport) in templates {
        let (house, desk, anna) = call_with(&plugin, "pcmu", transport).await;
        hears(desk.line(), PEER_HZ).await;
        hears(anna.line(), PHONE_HZ).await;
        desk.hang_up();
        let record = house.record(1).await;
        assert_eq!(record["cause"], "answered", "{record}");
        house.wait_idle().await;
    }
}

/// What authors copy passes what authors are asked for.
#[test]
fn the_templates_of_a_path_pass_all_checks() {
    let (in_c, in_rust) = (Outside::new("path-c"), Outside::new("path-rust"));
    for plugin in [build_c_path(&in_c.0), build_rust_path(&in_rust.0)] {
        let (code, text) = plugin_test(&plugin);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("asks 10 times, then timeout after 10 s"), "{text}");
    }
}

/// And one that goes on for ever, or sends elsewhere, does not.
#[test]
fn what_is_wrong_with_a_path_is_named() {
    let outside = Outside::new("path-wrong");
    build_c_path(&outside.0);
    let source = outside.0.join("framed.c");
    let template = std::fs::read_to_string(&source).expect("the source");
    for (good, bad, said) in [
        (
            "if (now_ns >= f->answer_by) fail(f, \"timeout\");",
            "if (now_ns >= f->answer_by) f->answer_by += GIVE_UP;",
            "its server is silent for 60 s, and it does not say FAILED",
        ),
        (
            "fail(f, \"closed\");",
            "f->below = path;",
            "what is below it has gone, and it goes on sending",
        ),
        (
            "output->packet.dst = f->server;",
            "output->packet.dst = f->server; output->packet.dst.port++;",
            "it sends to 198.51.100.1:1025 by path 1; its server is 198.51.100.1:1024 by path 1",
        ),
    ] {
        std::fs::write(&source, &template).expect("written");
        change(&source, good, bad);
        let plugin = outside.0.join("libtemplate_path_c.so");
        std::fs::remove_file(&plugin).expect("removed");
        let made = Command::new("make").arg("-s").current_dir(&outside.0).status();
        assert!(made.expect("make").success());
        keep_from_others(&outside.0, &plugin);
        let (code, text) = plugin_test(&plugin);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

/// A route names the transport of its encrypted legs; one that nobody has is said at the start, and in the record of a call.
#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_no_plugin_has_is_said() {
    let mut house = House::new(PROGRAM, "").await;
    let setup = house.gateway.setup();
    let anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    for (count, transport, said) in [
        (1, "pigeon", "no plugin has the transport pigeon"),
        (2, "webrtc over pigeon", "no plugin has the path pigeon"),
        (
            3,
            "webrtc over turn",
            "it is not said where the server of the path turn is",
        ),
    ] {
        let named = format!("to = \"hub:{{user}}\"\ntransport = \"{transport}\"");
        let routes = setup.routes.replacen("to = \"hub:{user}\"", &named, 1);
        let setup = Setup {
            routes,
            ..setup.clone()
        };
        house.gateway.reload(setup).await.expect("it reloads");
        assert!(house.gateway.log().contains(said), "{}", house.gateway.log());
        desk.dial("anna");
        let record = house.record(count).await;
        assert_eq!(
            (&record["cause"], &record["by"]),
            (&"plugin".into(), &"gateway".into()),
            "{record}"
        );
        house.wait_idle().await;
    }
    drop((desk, anna));
}

/// What the gateway has logged when it has ended because of this in the encoder of its plugin, some seconds after the start.
async fn last_words_of(name: &str, wrong: &str) -> String {
    let outside = Outside::new(name);
    build_c(&outside.0);
    let source = outside.0.join("l16.c");
    let text = std::fs::read_to_string(&source).expect("the source");
    let heads =
        "#define _GNU_SOURCE\n#include <errno.h>\n#include <stdlib.h>\n#include <string.h>\n#include <time.h>\n";
    std::fs::write(&source, format!("{heads}{text}")).expect("written");
    // Not while it is loaded and tried, and not in the phone of this test, which has the plugin as well.
    let later = format!(
        "static time_t begun; if (!begun) begun = time(0); \
         if (time(0) - begun > 3 && strstr(program_invocation_short_name, \"quartet-under\")) {{ {wrong} }} \
         return (int32_t)(2 * count);"
    );
    change(&source, "return (int32_t)(2 * count);", &later);
    let plugin = outside.0.join("libtemplate_codec_c.so");
    std::fs::remove_file(&plugin).expect("removed");
    let made = Command::new("make").arg("-s").current_dir(&outside.0).status();
    assert!(made.expect("make").success());
    keep_from_others(&outside.0, &plugin);
    let (house, _desk, _anna) = call_over(&plugin, "L16/16000").await;
    // A child that has ended and is not waited for has no memory left.
    let statm = format!("/proc/{}/statm", house.gateway.pid());
    let ended = || {
        std::fs::read_to_string(&statm)
            .is_ok_and(|statm| statm.starts_with("0 "))
            .then_some(())
    };
    quartet_tests::wait::until("the gateway ends", Duration::from_secs(30), ended);
    house.gateway.log()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_never_returns_is_named_and_ends_the_gateway() {
    let log = last_words_of("spins", "for (volatile int i = 0;; i++) {}").await;
    let line = |text: &str| {
        log.lines()
            .any(|line| line.contains(text) && line.contains("template-codec-c") && line.contains("encode"))
    };
    assert!(line("does not return; its worker gets no new calls"), "{log}");
    assert!(line("has not returned for 10 s: the gateway ends"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_crashes_leaves_its_name() {
    // An exit that says "all is well" would not be noticed by what restarts the gateway.
    let ends = [
        ("crashes", "*(volatile int *)0 = 1;", "crashed"),
        ("aborts", "abort();", "crashed"),
        ("exits", "exit(0);", "ended the process"),
    ];
    for (name, wrong, how) in ends {
        let log = last_words_of(name, wrong).await;
        let words = format!("quartet: plugin template-codec-c {how} in encode\n");
        assert_eq!(log.matches(&words).count(), 1, "{wrong}: {log}");
    }
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

/// What `quartet plugin test` says of it, and its exit code.
fn plugin_test(plugin: &Path) -> (Option<i32>, String) {
    let out = Command::new(PROGRAM)
        .args(["plugin", "test"])
        .arg(plugin)
        .output()
        .expect("it runs");
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
}

/// What an author does wrong, and what the test says of it, once and with its cause.
#[test]
fn what_an_author_did_wrong_is_named() {
    let outside = Outside::new("wrong");
    build_c(&outside.0);
    let source = outside.0.join("l16.c");
    let template = std::fs::read_to_string(&source).expect("the source");
    let encode = "return (int32_t)(2 * count);";
    let rows = [
        (
            encode,
            "{ void *volatile at = malloc(64); free(at); } return (int32_t)(2 * count);",
            "FAIL 31",
            "encode calls malloc or its like 200 times",
        ),
        (
            encode,
            "usleep(3000); return (int32_t)(2 * count);",
            "FAIL 26",
            "encode gives its thread away 200 times in 200 frames",
        ),
        (
            encode,
            "printf(\"hello\\n\"); return (int32_t)(2 * count);",
            "FAIL 25",
            "standard output, which is the gateway's: \"hello\"",
        ),
        (
            encode,
            "return 5000;",
            "is not used",
            "(encode returned 5000, room 1280)",
        ),
        (
            ".encode = encode,",
            ".encode = 1 ? 0 : encode,",
            "is not used",
            "codec L16 lacks encode;",
        ),
        (
            "{ (void)handle; }",
            "{ (void)handle; if (!malloc(64)) abort(); }",
            "FAIL 21",
            "200 handles leave",
        ),
    ];
    for (before, after, begins, says) in rows {
        let heads = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n";
        std::fs::write(&source, format!("{heads}{}", template.replacen(before, after, 1))).expect("written");
        let plugin = outside.0.join("libtemplate_codec_c.so");
        std::fs::remove_file(&plugin).expect("removed");
        let made = Command::new("make").arg("-s").current_dir(&outside.0).status();
        assert!(made.expect("make").success(), "{after}");
        let (code, text) = plugin_test(&plugin);
        assert_eq!(code, Some(1), "{after}: {text}");
        let lines: Vec<_> = text.lines().filter(|line| line.contains(says)).collect();
        assert!(lines.len() == 1 && lines[0].contains(begins), "{after}: {text}");
        // What keeps it from being loaded is the one line there is.
        assert!(begins != "is not used" || text.lines().count() == 1, "{after}: {text}");
    }
}

/// A panic while it is loaded is told with its text.
#[test]
fn a_panic_of_a_rust_plugin_is_told_with_its_text() {
    let outside = Outside::new("panics");
    lay_out_rust(&outside.0);
    let source = outside.0.join("src/lib.rs");
    change(
        &source,
        "        if ![80, 160, 320, 480].contains(&pcm.len()) {",
        "        assert!(pcm.is_empty(), \"no table for this rate\");\n        if ![80, 160, 320, 480].contains(&pcm.len()) {",
    );
    let plugin = cargo_build(&outside.0).expect("it builds");
    let (_, text) = plugin_test(&plugin);
    assert!(
        text.lines().count() == 1 && text.contains("no table for this rate"),
        "{text}"
    );
}

/// What an author tries first: the template as it is.
#[test]
fn all_templates_pass_plugin_test() {
    let (in_c, in_rust) = (Outside::new("test-c"), Outside::new("test-rust"));
    let (transport_in_c, transport_in_rust) = (Outside::new("test-transport-c"), Outside::new("test-transport-rust"));
    for plugin in [
        build_c(&in_c.0),
        build_rust(&in_rust.0),
        build_c_transport(&transport_in_c.0),
        build_rust_transport(&transport_in_rust.0),
    ] {
        let (code, text) = plugin_test(&plugin);
        assert_eq!(code, Some(0), "{}: {text}", plugin.display());
        assert!(text.ends_with("all checks passed\n"), "{text}");
    }
}

/// Changes a text of the template; it must be there.
fn change(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).expect("the file is there");
    assert!(text.contains(from), "the template has no {from}");
    std::fs::write(file, text.replacen(from, to, 1)).expect("written");
}

/// Where the log of a test goes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic holds it").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_in_a_rust_plugin_costs_one_handle_and_its_lines_reach_our_log() {
    let outside = Outside::new("panic");
    lay_out_rust(&outside.0);
    let (manifest, source) = (outside.0.join("Cargo.toml"), outside.0.join("src/lib.rs"));
    change(
        &manifest,
        "[dependencies]",
        "[dependencies]\ntracing = \"0.1\"\nlog = \"0.4\"",
    );
    let talk = "if pcm[0] == 77 {\n\
                tracing::info!(seven = 7, \"by tracing\");\n\
                tracing::trace!(\"too fine\");\n\
                log::warn!(\"by log\");\n\
                panic!(\"seventy-{}\", \"seven\");\n\
                }\n\
                if ![80";
    change(&source, "if ![80", talk);
    let file = cargo_build(&outside.0).unwrap_or_else(|text| panic!("{text}"));
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let registry = Registry::load_file(&file, &Plugins::default()).expect("it loads");
        let codec = registry.codec("L16").expect("its codec");
        let settings = CodecSettings {
            sample_rate: 8000,
            channels: 1,
            frame_us: 20_000,
            local_fmtp: "",
            remote_fmtp: "",
        };
        let (mut first, mut second) = (codec.encoder(&settings).unwrap(), codec.encoder(&settings).unwrap());
        let mut out = [0; 1400];
        assert_eq!(first.encode(&[77; 160], &mut out), Err(PluginError::Faulty));
        assert_eq!(first.encode(&[0; 160], &mut out), Err(PluginError::Faulty), "lost");
        assert_eq!(second.encode(&[0; 160], &mut out), Ok(320), "another call goes on");
        assert_eq!(registry.counters()[0].faults, 1);
    });
    let text = String::from_utf8_lossy(&lines.0.lock().expect("no panic holds it")).into_owned();
    for part in ["by tracing seven=7", "by log", "panic in plugin", "seventy-seven"] {
        let told = text.lines().find(|line| line.contains(part));
        assert!(
            told.is_some_and(|line| line.contains("template-codec")),
            "{part}: {text}"
        );
    }
    assert!(!text.contains("too fine"));
}

#[test]
fn a_rust_plugin_that_aborts_on_panic_does_not_build() {
    let outside = Outside::new("abort");
    lay_out_rust(&outside.0);
    change(
        &outside.0.join("Cargo.toml"),
        "[workspace]",
        "[workspace]\n[profile.dev]\npanic = \"abort\"",
    );
    let text = cargo_build(&outside.0).expect_err("it must not build");
    assert!(text.contains("a Quartet plugin must unwind"), "{text}");
}

#[test]
fn a_plugin_that_writes_outside_its_buffer_fails_the_test_and_harms_nobody() {
    let outside = Outside::new("overrun");
    let plugin = build_c(&outside.0);
    change(
        &outside.0.join("l16.c"),
        "return (int32_t)(2 * count);",
        "out[cap] = 1; return (int32_t)(2 * count);",
    );
    std::fs::remove_file(&plugin).expect("removed");
    let made = Command::new("make").arg("-s").current_dir(&outside.0).status();
    assert!(made.expect("make").success());
    let out = Command::new(PROGRAM)
        .args(["--json", "plugin", "test", "--check", "7"])
        .arg(&plugin)
        .output()
        .expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((out.status.code(), &report["failed"]), (Some(1), &1.into()), "{report}");
    let seen = report["checks"][0]["seen"].as_str().unwrap_or_default();
    assert!(seen.contains("signal 11"), "{report}");
    let out = Command::new(PROGRAM)
        .args(["plugin", "test", "--check", "99"])
        .arg(&plugin)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.starts_with("there is no check 99"), "{text}");
}
