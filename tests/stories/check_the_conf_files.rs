//! An operator makes mistakes in all three files and sees all of them in one run, with file and line.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use quartet_tests::house::plugin_folder;
use quartet_tests::wrapper::{copy_program, keep_from_others, private_file, private_folder};

use crate::PROGRAM;

/// Writes the three files and runs `quartet check` on them; the exit code and all that was printed. The ports are such as are free.
fn check(name: &str, quartet: &str, phones: &str, routes: &str) -> (Option<i32>, String) {
    let plugins = plugin_folder().display().to_string();
    let free = [
        ("QUARTET__SIP__LISTEN", "udp:127.0.0.1:0"),
        ("QUARTET__NETWORK__HUB__LISTEN", "http:127.0.0.1:0"),
        ("QUARTET__PLUGINS__PATH", &plugins),
    ];
    with_files(name, [quartet, phones, routes], &["check"], &free)
}

/// Starts a gateway on loopback that stops at once; the exit code and all that was printed.
fn start(name: &str, hub_port: u16, more: &str, phones: &str) -> (Option<i32>, String) {
    let plugins = plugin_folder();
    let quartet = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n[network.hub]\nlisten = \"http:127.0.0.1:{hub_port}\"\n[plugins]\npath = [{plugins:?}]\n{more}"
    );
    with_files(name, [&quartet, phones, ""], &["run", "--until-stdin-closes"], &[])
}

fn with_files(
    name: &str,
    [quartet, phones, routes]: [&str; 3],
    verb: &[&str],
    variables: &[(&str, &str)],
) -> (Option<i32>, String) {
    let folder = private_folder(name);
    for (file, text) in [
        ("quartet.conf", quartet),
        ("phones.conf", phones),
        ("routes.conf", routes),
    ] {
        private_file(&folder.join(file), text);
    }
    let out = Command::new(PROGRAM)
        .args(verb)
        .arg("--conf")
        .arg(&folder)
        .env_remove("QUARTET_CONF")
        .envs(variables.iter().copied())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("it runs");
    std::fs::remove_dir_all(&folder).ok();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code(), text)
}

#[test]
fn every_kind_of_mistake_is_shown_in_one_run_with_file_and_line() {
    let hash = "password_hash = { md5 = \"0123456789abcdef0123456789abcdef\" }";
    let (code, text) = check(
        "bad",
        "[sip]\nreaml = \"x\"\n[media]\nworkers = \"two\"\n[call]\nrtp_timeout = \"0s\"\n[ivr]\nprompts = \"nowhere\"\n",
        &format!("[[phone]]\nuser = \"100\"\n{hash}\n[[phone]]\nuser = \"100\"\n{hash}\n"),
        "[[route]]\nname = \"a\"\nfrom = \"network:hub\"\nnumber = \"\"\nto = \"phone:999\"\n[[route]\n",
    );
    assert_eq!(code, Some(1), "{text}");
    for expected in [
        "quartet.conf:2:", // unknown key
        "realm",           // and the nearest one
        "quartet.conf:4:", // wrong type
        "quartet.conf:6:", // out of range
        "quartet.conf:8:", // missing file
        "phones.conf:5:",  // duplicate
        "routes.conf:6:",  // syntax
    ] {
        assert!(text.contains(expected), "no {expected} in:\n{text}");
    }
    let (code, text) = check(
        "dangling",
        "",
        "",
        "[[route]]\nname = \"a\"\nfrom = \"network:hub\"\nnumber = \"\"\nto = \"phone:999\"\n",
    );
    assert_eq!(code, Some(1));
    assert!(text.contains("routes.conf:5:") && text.contains("999"), "{text}");
}

#[test]
fn good_files_are_ok() {
    let (code, text) = check("good", "[sip]\nrealm = \"office\"\n", "", "");
    assert_eq!((code, text.starts_with("ok:")), (Some(0), true), "{text}");
}

#[test]
fn the_conf_files_that_come_with_it_are_ok() {
    let conf = quartet_tests::peers::root().join("conf");
    let text = |file: &str| std::fs::read_to_string(conf.join(file)).expect("it comes with it");
    let files = ["quartet.conf", "phones.conf", "routes.conf"].map(text);
    let (code, text) = check("shipped", &files[0], &files[1], &files[2]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_strangers_folder_is_refused_by_every_verb_that_reads_it() {
    // A program that nobody else can write, whatever the umask that this one was built under.
    let place = private_folder("program");
    let program = place.join("quartet");
    copy_program(Path::new(PROGRAM), &program);
    keep_from_others(&place, &program);
    let conf = place.join("conf");
    std::fs::create_dir(&conf).expect("a folder");
    let quartet = "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n[network.hub]\nlisten = \"http:127.0.0.1:0\"\n[plugins]\nrequired = []\n";
    for (file, text) in [("quartet.conf", quartet), ("phones.conf", ""), ("routes.conf", "")] {
        private_file(&conf.join(file), text);
    }
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode");
    };
    mode(&conf, 0o700);
    let run = |verb: &[&str]| {
        // As ./conf, where nobody named it.
        let out = Command::new(&program)
            .args(verb)
            .current_dir(&place)
            .env_remove("QUARTET_CONF")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.code(), text)
    };
    let (code, text) = run(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    let phones = conf.join("phones.conf");
    for (path, open, who) in [
        (&phones, 0o606, "everybody"),
        (&phones, 0o620, "group "),
        (&conf, 0o707, "everybody"),
        (&conf, 0o770, "group "),
        (&place, 0o777, "and everybody"),
    ] {
        let shut = std::fs::metadata(path).expect("it is there").permissions().mode();
        mode(path, open);
        for verb in [
            &["check"][..],
            &["run", "--until-stdin-closes"],
            &["status"],
            &["plugin", "list"],
        ] {
            let (code, text) = run(verb);
            // Who may write the place of the program may write the program: then the rest is no way in.
            let expected = "could change what the gateway does; forbid it: chmod go-w ";
            if *path == place {
                assert!(!text.contains("could change"), "{text}");
                continue;
            }
            assert_eq!(code, Some(1), "{verb:?}: {text}");
            let named = format!("{}: can be written by", path.display());
            assert!(
                text.contains(&named) && text.contains(who) && text.contains(expected),
                "{verb:?}: {text}"
            );
        }
        mode(path, shut);
    }
    let plugin = place.join("libcodec_g711.so");
    std::fs::copy(plugin_folder().join("libcodec_g711.so"), &plugin).expect("a copy");
    mode(&plugin, 0o757);
    let (code, text) = run(&["check"]);
    let said = format!("{}: can be written by everybody (mode 0757)", plugin.display());
    assert!(code == Some(1) && text.contains(&said), "{text}");
    mode(&plugin, 0o755);
    let state = conf.join("state");
    std::fs::create_dir_all(&state).expect("a folder");
    mode(&state, 0o700);
    let kept = ["quartet.db", "quartet.db-wal", "quartet.db-journal", "cdr.jsonl"].map(|name| state.join(name));
    kept.iter().for_each(|file| private_file(file, ""));
    for path in kept.iter().chain([&state]) {
        let shut = std::fs::metadata(path).expect("it is there").permissions().mode();
        mode(path, shut | 0o002);
        let said = format!("{}: can be written by everybody", path.display());
        let said_at_the_start = said.replacen(": can", " can", 1);
        for (verb, said) in [
            (&["check"][..], &said),
            (&["run", "--until-stdin-closes"], &said_at_the_start),
        ] {
            let (code, text) = run(verb);
            assert!(code == Some(1) && text.contains(said), "{verb:?}: {text}");
        }
        mode(path, shut);
    }
    // In a folder with the sticky bit everybody may put a journal beside the state file, and SQLite would play it.
    mode(&state, 0o1777);
    for verb in [&["check"][..], &["run", "--until-stdin-closes"]] {
        let (code, text) = run(verb);
        assert!(
            code == Some(1) && text.contains("everybody (mode 1777)"),
            "{verb:?}: {text}"
        );
    }
    mode(&state, 0o700);
    // The same for the records, and whatever is no regular file.
    let (records, quartet_conf) = (place.join("records"), conf.join("quartet.conf"));
    let text_before = std::fs::read_to_string(&quartet_conf).expect("it is there");
    let elsewhere = format!(
        "{text_before}\n[cdr]\npath = \"{}\"\n",
        records.join("cdr.jsonl").display()
    );
    private_file(&quartet_conf, &elsewhere);
    std::fs::create_dir_all(&records).expect("a folder");
    mode(&records, 0o1777);
    for verb in [&["check"][..], &["run", "--until-stdin-closes"]] {
        let (code, text) = run(verb);
        let said = text.contains("everybody (mode 1777)") && text.contains("/records");
        assert!(code == Some(1) && said, "{verb:?}: {text}");
    }
    private_file(&quartet_conf, &text_before);
    let phones_before = std::fs::read_to_string(&phones).expect("it is there");
    std::fs::remove_file(&phones).expect("removed");
    let made = Command::new("mkfifo").arg(&phones).status().expect("mkfifo");
    assert!(made.success());
    let (code, text) = run(&["check"]);
    assert!(code == Some(1) && text.contains("it is no regular file"), "{text}");
    std::fs::remove_file(&phones).expect("removed");
    private_file(&phones, &phones_before);
    if std::os::unix::fs::chown(&state, Some(12_345), None).is_ok() {
        let (code, text) = run(&["run", "--until-stdin-closes"]);
        assert!(code == Some(1) && text.contains("belongs to user 12345"), "{text}");
        assert_eq!(
            run(&["check"]).0,
            Some(0),
            "root checks for the user that the gateway runs as"
        );
    }
    std::fs::remove_dir_all(&state).expect("removed");
    if std::os::unix::fs::chown(&conf, Some(12_345), None).is_ok() {
        let (code, text) = run(&["run", "--until-stdin-closes"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains("belongs to user 12345") && text.contains("chown -h root"),
            "{text}"
        );
    }
    std::fs::remove_dir_all(&place).ok();
}

#[test]
fn what_nothing_here_provides_is_said_at_the_start() {
    let phone = "[[phone]]\nuser = \"100\"\npassword_hash = { md5 = \"0123456789abcdef0123456789abcdef\" }\n\
                 codecs = [\"g729\", \"pcmu\"]\nlanguage = \"de\"\n";
    let (code, text) = start("unserved", 0, "[plugins.options.codec-opuss]\nbitrate = 9\n", phone);
    assert_eq!(code, Some(0), "{text}");
    for expected in [
        "[plugins.options.codec-opuss] is for no plugin",
        "no plugin serves the codec g729",
        "no recordings in the language de",
    ] {
        assert!(text.contains(expected), "no {expected} in:\n{text}");
    }
    assert!(!text.contains("codec pcmu"), "{text}");
}

#[test]
fn what_cannot_be_served_keeps_it_from_starting_with_a_sentence() {
    let rows = [
        // It may come, as a floating address does.
        (
            "foreign",
            "[media]\naddresses = [\"192.0.2.1\"]\n",
            0,
            "this machine does not have that address; choose one of its own in [media] addresses",
        ),
        (
            "folder",
            "[cdr]\npath = \"/proc/nowhere/cdr.jsonl\"\n",
            1,
            "of [cdr] path",
        ),
    ];
    for (name, more, ends, expected) in rows {
        let (code, text) = start(name, 0, more, "");
        assert_eq!(code, Some(ends), "{name}: {text}");
        assert!(text.contains(expected), "{name}: no {expected} in:\n{text}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let (code, text) = start("taken", port, "", "");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another program has this port"), "{text}");
}

/// What would keep the gateway from starting here, or from doing what the files say.
#[test]
fn the_machine_is_looked_at_as_well() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let plugins = plugin_folder();
    let quartet = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\", \"udp:192.0.2.1:5060\"]\n[network.hub]\nlisten = \"http:127.0.0.1:0\"\n\
         [plugins]\npath = [{plugins:?}]\nrequired = [\"codec-g711\", \"codec-none\"]\n[plugins.options.codec-opus]\nbitrate = \"much\"\n"
    );
    let phones = "[[phone]]\nuser = \"100\"\npassword_hash = { md5 = \"0123456789abcdef0123456789abcdef\" }\n\
                  codecs = [\"g729\", \"pcmu\"]\nlanguage = \"de\"\n";
    let (code, text) = with_files("machine", [&quartet, phones, ""], &["check"], &[]);
    assert_eq!(code, Some(1), "{text}");
    for (expected, is_warning) in [
        (
            format!("quartet.conf:2: cannot listen on udp:127.0.0.1:{port} (Address already in use"),
            false,
        ),
        ("quartet.conf:2: cannot listen on udp:192.0.2.1:5060".to_owned(), true),
        (
            "required plugin codec-none is not there: not found in".to_owned(),
            false,
        ),
        ("its option \"bitrate\" is int, not \"much\"".to_owned(), true),
        ("no plugin serves the codec g729".to_owned(), true),
        ("no recordings in the language de".to_owned(), true),
    ] {
        let line = text.lines().find(|line| line.contains(&expected));
        let line = line.unwrap_or_else(|| panic!("no {expected} in:\n{text}"));
        assert_eq!(line.starts_with("warning: "), is_warning, "{line}");
    }
    assert!(
        !text.contains("codec pcmu") && !text.contains("codec-g711 is not there"),
        "{text}"
    );
}

#[test]
fn what_is_written_for_another_program_is_told_how_it_is_written_here() {
    let (code, text) = check(
        "foreign",
        "[media]\nports = \"24999-20000\"\n",
        "[[phone]]\nuser = \"100\"\npassword = \"1234\"\n",
        "[[route]]\nname = \"a\"\nfrom = \"phones\"\nnumber = \"_9X.\"\nto = \"hub:anna\"\n\
         [[route]]\nname = \"b\"\nfrom = \"phones\"\nnumber = \"^9(\\\\d+)$\"\nto = \"hub:anna\"\n",
    );
    assert_eq!(code, Some(1), "{text}");
    for expected in [
        "ports is reversed; write \"20000-24999\"",
        "phones.conf:3: no password stands here: run `quartet passwd USER`",
        "routes.conf:4: number is \"_9X.\", a pattern of Asterisk; here it is written \"9[0-9]{rest}\"",
        "routes.conf:9: number is \"^9(\\d+)$\", a regular expression",
    ] {
        assert!(text.contains(expected), "no {expected} in:\n{text}");
    }
    assert!(!text.contains("1234"), "{text}");
}

/// The folder of a gateway that runs: its ports are its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateways_files_can_be_checked() {
    let house = quartet_tests::house::House::new(PROGRAM, "").await;
    let conf = house.gateway.folder();
    let check = || {
        let out = Command::new(PROGRAM)
            .args(["check", "--json", "--conf"])
            .arg(conf)
            .output()
            .expect("it runs");
        serde_json::from_slice::<serde_json::Value>(&out.stdout).expect("JSON")
    };
    let (sip, hub) = (
        house.gateway.sip().expect("an address"),
        house.gateway.hub().expect("an address"),
    );
    let text = std::fs::read_to_string(conf.join("quartet.conf")).expect("the file");
    let text = text
        .replace("udp:127.0.0.1:0", &format!("udp:{sip}"))
        .replace("http:127.0.0.1:0", &format!("http:{hub}"));
    private_file(&conf.join("quartet.conf"), &text);
    assert_eq!(check()["ok"], true, "{}", check());
    // In a folder that others may enter, hashes are not for all eyes.
    let mode =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode");
    mode(conf, 0o755);
    mode(&conf.join("phones.conf"), 0o644);
    let found = check();
    let warning = found["warnings"][0].as_str().unwrap_or_default();
    assert!(
        found["ok"] == true && warning.contains("can be read by everybody (mode 0644)"),
        "{found}"
    );
}
