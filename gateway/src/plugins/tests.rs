//! Plugins built on the spot from the C template, whole and spoiled: each refusal says what is wrong and what to do.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::signal::Xorshift;
use super::{
    CodecSettings, Kind, LoadError, Outcome, Output, Packet, PluginError, Reason, Registry, Role, conformance, facts_of,
};
use crate::config::Plugins;

const TEMPLATE: &str = include_str!("../../../plugins/template-codec-c/l16.c");
const PATH: &str = include_str!("tests/wrap.c");

/// A folder of this test's own; removed when dropped.
struct Workshop(PathBuf);

impl Workshop {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("quartet-plugins-{}-{name}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        Self(folder)
    }

    /// Builds a source; the linker takes undefined symbols.
    fn build(&self, file: &str, source: &str) -> PathBuf {
        self.build_with(file, source, &[])
    }

    fn build_with(&self, file: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (c, so) = (self.0.join(format!("{file}.c")), self.0.join(format!("{file}.so")));
        std::fs::write(&c, source).unwrap();
        let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/api/include");
        let status = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-w", "-I"])
            .arg(header)
            .arg("-o")
            .arg(&so)
            .arg(c)
            .args(flags)
            .status()
            .unwrap();
        assert!(status.success(), "cc builds {file}");
        // Whatever the umask.
        std::fs::set_permissions(&so, std::fs::Permissions::from_mode(0o755)).unwrap();
        so
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn sentence(file: &Path) -> String {
    let refusal = Registry::load_file(file, &Plugins::default()).expect_err("it must be refused");
    assert!(
        refusal.sentence.contains(&file.display().to_string()),
        "the file is named: {}",
        refusal.sentence
    );
    refusal.sentence
}

#[test]
fn the_template_loads_and_codes() {
    let shop = Workshop::new("good");
    let registry = Registry::load_file(&shop.build("good", TEMPLATE), &Plugins::default()).unwrap();
    let codec = registry.codec_at("l16", 16_000).expect("the SDP name in any case");
    let settings = CodecSettings {
        sample_rate: 16_000,
        channels: 1,
        frame_us: 20_000,
        local_fmtp: "",
        remote_fmtp: "",
    };
    let (mut encoder, mut decoder) = (codec.encoder(&settings).unwrap(), codec.decoder(&settings).unwrap());
    let pcm: Vec<i16> = (0..320).map(|i| (i * 100) as i16).collect();
    let (mut packet, mut back) = ([0; 1400], [0; 2000]);
    let length = encoder.encode(&pcm, &mut packet).unwrap();
    let count = decoder.decode(&packet[..length], &mut back).unwrap();
    assert_eq!(&back[..count], pcm);
    assert_eq!(decoder.conceal(&mut back[..320]), Err(PluginError::Unsupported));
    assert!(registry.codec_at("l16", 8_000).is_none());
}

#[test]
fn a_path_is_loaded_beside_the_sessions() {
    let shop = Workshop::new("path");
    let registry = Registry::load_file(&shop.build("path", PATH), &Plugins::default()).unwrap();
    assert_eq!(registry.loaded()[0].kind, Kind::Path);
    assert!(registry.transport("wrap").is_none(), "no session");
    let path = registry.path("wrap").unwrap();
    let mut machine = path.create(Role::Offer, 0, "").unwrap();
    let mut packet = Packet::rimmed(100, path.headroom());
    packet.fill(b"datagram");
    (packet.path, packet.dst) = (3, ([192, 0, 2, 7], 9).into());
    assert_eq!(machine.send(1, &mut packet), Ok(Outcome::Transmit));
    assert_eq!((packet.bytes(), packet.path), (&b"Wdatagram"[..], 3));
    packet.fill(b"Wdatagram");
    assert_eq!(machine.receive(2, &mut packet), Ok(Outcome::Datagram));
    assert_eq!(packet.bytes(), b"datagram");
    packet.fill(b"datagram");
    assert_eq!(machine.receive(3, &mut packet), Err(PluginError::Malformed));
    assert_eq!(machine.poll(), Output::None { deadline_ns: None });
    for finding in conformance::run(&registry, 4, 1) {
        assert!(finding.verdict.is_ok(), "{:?}", finding.verdict);
    }
}

#[test]
fn what_a_packet_becomes_is_that_of_its_layer() {
    let shop = Workshop::new("layer");
    // A session has no datagrams above, a path no RTP.
    let session = PATH.replace("QUARTET_KIND_PATH", "QUARTET_KIND_SESSION");
    let path = PATH.replace("return QUARTET_DATAGRAM", "return QUARTET_RTP");
    for (name, source) in [("session", session), ("path", path)] {
        let registry = Registry::load_file(&shop.build(name, &source), &Plugins::default()).unwrap();
        let table = registry.transport("wrap").or_else(|| registry.path("wrap")).unwrap();
        let mut machine = table.create(Role::Offer, 0, "").unwrap();
        let mut packet = Packet::rimmed(100, table.headroom());
        packet.fill(b"Wdatagram");
        assert_eq!(machine.receive(1, &mut packet), Err(PluginError::Faulty), "{name}");
    }
}

#[test]
fn each_spoiled_plugin_is_refused_with_cause_and_remedy() {
    let shop = Workshop::new("bad");
    for (name, good, bad, words) in [
        (
            "magic",
            ".magic = QUARTET_MAGIC",
            ".magic = 7",
            "does not begin with the magic word",
        ),
        (
            "major",
            ".abi_major = QUARTET_ABI_MAJOR",
            ".abi_major = 2",
            "built for plugin ABI 2.",
        ),
        (
            "minor",
            ".kind = QUARTET_KIND_CODEC",
            ".needs_minor = 9, .kind = QUARTET_KIND_CODEC",
            "needs plugin ABI 1.9",
        ),
        ("kind", ".kind = QUARTET_KIND_CODEC", ".kind = 4", "its kind is 4"),
        ("null", "    .encode = encode,\n", "", "encode"),
        (
            "symbol",
            "QUARTET_EXPORT const",
            "__attribute__((visibility(\"hidden\"))) const",
            "exports no symbol quartet_plugin_",
        ),
        (
            "sample",
            "{0, 0x1234, -1, -32768}",
            "{0, 0x1234, -1, 5}",
            "self-check of L16",
        ),
        ("deaf", "return (int32_t)(2 * count);", "return 0;", "self-check of L16"),
        (
            "over",
            "return (int32_t)(2 * count);",
            "return (int32_t)(4000 * count);",
            "self-check of L16",
        ),
        (
            "broken",
            "return (int32_t)(len / 2);",
            "return QUARTET_E_INTERNAL;",
            "self-check of L16",
        ),
        (
            "packet",
            ".max_packet = 2 * MAX_SAMPLES",
            ".max_packet = 9000",
            "has packets of up to 9000 bytes",
        ),
        (
            "init",
            ".id = \"template-codec-c\"",
            ".init = bad_init, .id = \"template-codec-c\"",
            "its init failed",
        ),
    ] {
        let source = "static int32_t bad_init(const struct quartet_host *h) { return QUARTET_E_RESOURCES; }\nextern const struct quartet_plugin quartet";
        let template = if name == "init" {
            TEMPLATE.replacen("extern const struct quartet_plugin quartet", source, 1)
        } else {
            TEMPLATE.to_owned()
        };
        assert!(template.contains(good), "the template has no {good}");
        let sentence = sentence(&shop.build(name, &template.replacen(good, bad, 1)));
        assert!(sentence.contains(words), "{name}: {sentence}");
    }
}

#[test]
fn two_symbols_an_undefined_one_and_no_library_are_refused() {
    let shop = Workshop::new("elf");
    let second = "QUARTET_EXPORT const struct quartet_plugin quartet_plugin_other = {.magic = QUARTET_MAGIC};\n";
    let sentence_of = |name: &str, source: String| sentence(&shop.build(name, &source));
    assert!(sentence_of("two", format!("{TEMPLATE}{second}")).contains("one library is one plugin"));
    let undefined = TEMPLATE.replacen(
        "  (void)handle;\n",
        "  extern void nowhere_to_be_found(void); nowhere_to_be_found();\n",
        1,
    );
    assert!(sentence_of("undefined", undefined).contains("nowhere_to_be_found"));
    let text = shop.0.join("text.so");
    std::fs::write(&text, "this is a text").unwrap();
    assert!(sentence(&text).contains("no shared library"));
    let whole = std::fs::read(shop.build("whole", TEMPLATE)).unwrap();
    for length in [0, 3, 64, 200, whole.len() / 2] {
        let cut = shop.0.join(format!("cut{length}.so"));
        std::fs::write(&cut, &whole[..length]).unwrap();
        let sentence = sentence(&cut);
        assert!(sentence.contains("is not used"), "{length}: {sentence}");
    }
    let missing = shop.0.join("missing.so");
    assert!(sentence(&missing).contains("cannot be read"));
}

#[test]
fn the_gateway_goes_on_without_a_bad_plugin_unless_it_is_required() {
    let shop = Workshop::new("folder");
    shop.build("good", TEMPLATE);
    std::fs::write(shop.0.join("bad.so"), "text").unwrap();
    let mut settings = Plugins {
        path: vec![shop.0.clone()],
        ..Plugins::default()
    };
    let registry = Registry::load(&settings).unwrap();
    assert!(registry.codec("L16").is_some());
    assert!(
        registry
            .refused()
            .iter()
            .any(|refusal| refusal.file.ends_with("bad.so"))
    );
    settings.required = vec!["template-codec-c".into()];
    assert!(Registry::load(&settings).is_ok());
    settings.required = vec!["codec-missing".into()];
    let error = Registry::load(&settings).expect_err("it is required");
    assert!(
        matches!(error, LoadError::Required { .. }) && error.to_string().contains("codec-missing"),
        "{error}"
    );
}

#[test]
fn a_plugin_that_others_may_write_is_not_opened() {
    if crate::permissions::Trusted::is_everybody() {
        return;
    }
    let shop = Workshop::new("writable");
    // Its constructor runs if it is opened.
    let source =
        format!("{TEMPLATE}\n#include <stdlib.h>\n__attribute__((constructor)) static void die(void) {{ abort(); }}\n");
    let file = shop.build("writable", &source);
    let settings = Plugins {
        path: vec![shop.0.clone()],
        ..Plugins::default()
    };
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    for (path, open, shut) in [(&file, 0o757, 0o755), (&shop.0, 0o707, 0o700)] {
        mode(path, open);
        let registry = Registry::load(&settings).unwrap();
        assert!(registry.loaded().iter().all(|loaded| loaded.file != file));
        let refused: Vec<_> = registry
            .refused()
            .iter()
            .filter(|refusal| refusal.file == file)
            .collect();
        let faults = super::plugin_faults(&settings);
        assert!(
            refused.len() == 1 && faults.len() == 1 && faults[0].path == *path,
            "{faults:?}"
        );
        let sentence = &refused[0].sentence;
        // For `quartet plugin inspect` and `test` as well, which run it too.
        let alone = Registry::load_file(&file, &settings).expect_err("it is not opened");
        assert_eq!(&alone.sentence, sentence);
        let expected = format!(
            "is not used: {} can be written by everybody (mode {open:04o})",
            path.display()
        );
        assert!(
            sentence.contains(&expected) && sentence.contains("chmod go-w"),
            "{sentence}"
        );
        mode(path, shut);
    }
    assert_eq!(super::plugin_faults(&settings), []);
}

#[test]
fn options_are_rows_and_unknown_ones_are_refused() {
    let shop = Workshop::new("options");
    let rows = "static const struct quartet_option rows[] = {{\"gain\", \"int\", \"3\", \"how loud\"}};\nstatic const void *const tables";
    let source = TEMPLATE.replacen("static const void *const tables", rows, 1).replacen(
        ".table_count = 1,",
        ".table_count = 1, .options = rows, .option_count = 1,",
        1,
    );
    let file = shop.build("options", &source);
    let with = |key: &str, value: &str| {
        let options = [(
            "template-codec-c".to_owned(),
            [(key.to_owned(), value.to_owned())].into(),
        )]
        .into();
        Registry::load_file(
            &file,
            &Plugins {
                options,
                ..Plugins::default()
            },
        )
    };
    assert!(with("gain", "7").is_ok());
    assert!(
        with("gian", "7")
            .expect_err("unknown")
            .sentence
            .contains("no option \"gian\"")
    );
    assert!(
        with("gain", "loud")
            .expect_err("no int")
            .sentence
            .contains("not \"loud\"")
    );
}

#[test]
fn a_codec_that_breaks_its_promise_in_a_call_loses_the_handle() {
    let shop = Workshop::new("faulty");
    // Good until it meets the value 77.
    let source = TEMPLATE.replacen(
        "  (void)handle;\n",
        "  (void)handle; if (pcm[0] == 77) return 999999;\n",
        1,
    );
    let registry = Registry::load_file(&shop.build("faulty", &source), &Plugins::default()).unwrap();
    let codec = registry.codec("L16").unwrap();
    let settings = CodecSettings {
        sample_rate: 16_000,
        channels: 1,
        frame_us: 20_000,
        local_fmtp: "",
        remote_fmtp: "",
    };
    let mut out = [0; 1400];
    for round in 0..10 {
        let mut encoder = codec
            .encoder(&settings)
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(encoder.encode(&[1; 320], &mut out).is_ok());
        assert!(encoder.encode(&[77; 320], &mut out).is_err());
        assert!(encoder.encode(&[1; 320], &mut out).is_err(), "the handle is lost");
    }
    assert!(
        codec.encoder(&settings).is_err(),
        "after ten faults in a minute it takes no new calls"
    );
}

#[test]
fn no_spoiled_file_panics_the_reader() {
    let shop = Workshop::new("mutated");
    let whole = std::fs::read(shop.build("whole", TEMPLATE)).unwrap();
    assert!(facts_of(whole.as_slice()).is_ok());
    let mut random = Xorshift::new(20);
    for _ in 0..5_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(8) {
            // Mostly in the headers and tables, where it hurts.
            let bound = [64, 1024, bytes.len()][random.below(3)];
            let at = random.below(bound);
            bytes[at] = [0, 0xff, (random.next() >> 32) as u8][random.below(3)];
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        if let Err(reason) = facts_of(bytes.as_slice()) {
            assert!(!reason.to_string().is_empty());
        }
    }
}

#[test]
fn of_two_plugins_with_one_id_the_first_is_used() {
    let shop = Workshop::new("twice");
    let (first, second) = (shop.build("a", TEMPLATE), shop.build("b", TEMPLATE));
    let settings = Plugins {
        path: vec![first.clone(), second.clone()],
        ..Plugins::default()
    };
    let registry = Registry::load(&settings).unwrap();
    let loaded: Vec<_> = registry
        .loaded()
        .iter()
        .filter(|plugin| plugin.id == "template-codec-c")
        .collect();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].file, first);
    let sentence = &registry
        .refused()
        .iter()
        .find(|refusal| refusal.file == second)
        .unwrap()
        .sentence;
    assert!(sentence.contains("a.so") && sentence.contains("b.so"), "{sentence}");
}

#[test]
fn another_plugin_with_the_same_codec_is_refused() {
    let shop = Workshop::new("same-codec");
    let first = shop.build("a", TEMPLATE);
    let renamed = TEMPLATE
        .replace("template-codec-c", "codec-other")
        .replace("template_codec_c", "codec_other");
    let settings = Plugins {
        path: vec![first, shop.build("b", &renamed)],
        ..Plugins::default()
    };
    let registry = Registry::load(&settings).unwrap();
    let refused = registry.refused().iter().map(|refusal| refusal.sentence.as_str());
    assert!(
        refused
            .clone()
            .any(|sentence| sentence.contains("codec L16/16000 is also in")),
        "{:?}",
        refused.collect::<Vec<_>>()
    );
}

/// gcc links a constructor with `-ffast-math` that makes the thread take denormal numbers for 0.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_plugin_of_fast_math_leaves_our_numbers_alone() {
    let shop = Workshop::new("fast");
    let file = shop.build_with("fast", TEMPLATE, &["-ffast-math"]);
    let registry = Registry::load_file(&file, &Plugins::default()).unwrap();
    let half = std::hint::black_box(f32::MIN_POSITIVE) / std::hint::black_box(2.0);
    assert!(half > 0.0, "denormal numbers are still numbers");
    // Where the compiler does not link it (newer gcc, clang), there is nothing to see.
    println!("seen: {}", registry.loaded()[0].fast_math);
}

#[test]
fn the_checks_pass_a_good_plugin_and_find_a_bad_one() {
    let shop = Workshop::new("checks");
    let failures = |file: &Path| -> Vec<u32> {
        let registry = Registry::load_file(file, &Plugins::default()).unwrap();
        let checks = conformance::checks(registry.loaded()[0].kind).iter();
        checks
            // 16 takes long; 21 counts what the whole process has allocated, and other tests run beside this one. Both are run by
            // the story of `quartet plugin test`, in a process of their own.
            .filter(|check| ![16, 21].contains(&check.number))
            .filter(|check| {
                conformance::run(&registry, check.number, 3)
                    .iter()
                    .any(|finding| finding.verdict.is_err())
            })
            .map(|check| check.number)
            .collect()
    };
    assert_eq!(failures(&shop.build("good", TEMPLATE)), [0_u32; 0]);
    for (name, good, bad, check) in [
        // Writes one byte behind what it was given. With the room at the unreadable page it would end the process.
        (
            "over",
            "  if (cap < 2 * count) return QUARTET_E_TOO_SMALL;",
            "  if (cap < 2 * count) { if (cap == 2) out[2] = 0; return QUARTET_E_TOO_SMALL; }",
            9,
        ),
        (
            "rates",
            "config->sample_rate != RATE || config->channels != 1",
            "config->channels != 1",
            4,
        ),
        (
            "touches",
            "return QUARTET_E_UNSUPPORTED;\n  *out = &the_handle;",
            "{ *out = 0; return QUARTET_E_UNSUPPORTED; }\n  *out = &the_handle;",
            4,
        ),
        (
            "lost",
            "if (mode != QUARTET_DECODE_PACKET) return QUARTET_E_UNSUPPORTED;",
            "if (mode != QUARTET_DECODE_PACKET) return 1;",
            11,
        ),
        (
            "room",
            "if (count != 160 && count != 320 && count != 640) return QUARTET_E_ARGUMENT;",
            "if (count == 1) return QUARTET_E_INTERNAL; if (count != 160 && count != 320 && count != 640) return QUARTET_E_ARGUMENT;",
            10,
        ),
        ("licence", ".licence = \"CC0-1.0\"", ".licence = \" \"", 1),
    ] {
        assert!(TEMPLATE.contains(good), "the template has no {good}");
        let file = shop.build(name, &TEMPLATE.replacen(good, bad, 1));
        assert_eq!(failures(&file), [check], "{name}");
    }
}

#[test]
fn reasons_end_as_sentences() {
    let refusal = super::Refusal::new(Path::new("x.so"), &Reason::NoSymbol);
    assert!(
        refusal
            .sentence
            .starts_with("plugin x.so is not used: it exports no symbol")
    );
    assert!(refusal.sentence.ends_with('.'));
}
