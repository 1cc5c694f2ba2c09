//! Somebody who has run tg2sip takes its settings over, and asks which way a call would go.

use std::path::{Path, PathBuf};
use std::process::Command;

use quartet_tests::house::plugin_folder;
use quartet_tests::wrapper::{private_file, private_folder};
use serde_json::Value;

use crate::PROGRAM;

/// As its documentation shows them, with the two that everybody has to fill in; what is optional is a comment there.
const SETTINGS: &str = "; settings\n\n[logging]\n;core=2                 ; how much\n;console_min_level=0\n\n[sip]\n\
     ;public_address=        ; who we are\n;port=5060\n;id_uri=sip:localhost\ncallback_uri=sip:900@192.0.2.9    ; the PBX\n\
     ;raw_pcm=true\n\n[telegram]\napi_id=12345                    ; of the operator\napi_hash=0123456789abcdef0123456789abcdef\n\n\
     ;device_model=PC\ndatabase_folder=/var/lib/tg2sip\nudp_p2p=false\n;use_proxy=false\n\n[other]\nextra_wait_time=30\n";

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Runs a command on those conf files; ports are such as are free.
fn quartet(conf: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(PROGRAM)
        .args(words)
        .arg("--conf")
        .arg(conf)
        .env_remove("QUARTET_CONF")
        .env("QUARTET__SIP__LISTEN", "udp:127.0.0.1:0")
        .env("QUARTET__NETWORK__HUB__LISTEN", "http:127.0.0.1:0")
        .env("QUARTET__PLUGINS__PATH", plugin_folder())
        .output()
        .expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn the_settings_of_tg2sip_become_conf_files_that_are_in_order() {
    let folder = Folder(private_folder("tg2sip"));
    let (settings, conf) = (folder.0.join("settings.ini"), folder.0.join("conf"));
    private_file(&settings, SETTINGS);
    let import = [
        "import",
        "tg2sip",
        settings.to_str().expect("a path"),
        "--to",
        conf.to_str().expect("a path"),
    ];
    let (code, said, wrong) = quartet(&conf, &import);
    assert_eq!(code, Some(0), "{said}{wrong}");
    assert!(
        said.contains("registers as 900") && said.contains("database_folder"),
        "{said}"
    );
    assert!(!said.contains("0123456789abcdef"), "{said}");
    let (code, said, wrong) = quartet(&conf, &["check"]);
    assert_eq!(code, Some(0), "{said}{wrong}");
    // Nothing is written over.
    let (code, _, wrong) = quartet(&conf, &import);
    assert!(code == Some(1) && wrong.contains("is there already"), "{wrong}");
    // Its dial strings lead to the same people, and nobody is asked.
    for (from, number, to, asks) in [
        (
            "900",
            "tg#Alice",
            "telegram:main/@Alice",
            "contacts.resolveUsername, then phone.requestCall",
        ),
        (
            "900",
            "+4930123456",
            "telegram:main/+4930123456",
            "contacts.resolvePhone",
        ),
        ("900", "123456", "telegram:main/123456", "has not met"),
        ("telegram:@bob,stranger", "main", "phone:900", ""),
    ] {
        let (code, said, wrong) = quartet(&conf, &["route", from, number]);
        assert_eq!(code, Some(0), "{number}: {said}{wrong}");
        assert!(
            said.contains(&format!("goes to {to}")) && said.contains(asks),
            "{number}: {said}"
        );
    }
    assert!(!conf.join("state").exists(), "nothing is made by asking");
    let (code, said, _) = quartet(&conf, &["route", "--json", "telegram:@bob", "second"]);
    let value: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &value["refused"]),
        (Some(1), &"no route matches".into()),
        "{said}"
    );
    assert_eq!(value["routes"][3]["why"], "is for the number main", "{said}");
    let (code, _, wrong) = quartet(&conf, &["route", "901", "tg#alice"]);
    assert!(code == Some(1) && wrong.contains("no phone of phones.conf"), "{wrong}");
}

#[test]
fn settings_without_an_application_are_taken_and_say_so() {
    let folder = Folder(private_folder("tg2sip-empty"));
    let (settings, conf) = (folder.0.join("settings.ini"), folder.0.join("conf"));
    private_file(
        &settings,
        &SETTINGS
            .replace("=12345 ", "= ")
            .replace("api_hash=0123456789abcdef0123456789abcdef", "api_hash="),
    );
    let words = [
        "import",
        "--json",
        "tg2sip",
        settings.to_str().expect("a path"),
        "--to",
        conf.to_str().expect("a path"),
    ];
    let (code, said, wrong) = quartet(&conf, &words);
    assert_eq!(code, Some(0), "{said}{wrong}");
    let value: Value = serde_json::from_str(&said).expect("JSON");
    assert!(value["notes"].to_string().contains("my.telegram.org"), "{said}");
    let (code, said, wrong) = quartet(&conf, &["check"]);
    assert_eq!(code, Some(0), "{said}{wrong}");
    private_file(&settings, "[sip]\nport\n");
    let (code, _, wrong) = quartet(&conf, &words);
    assert!(code == Some(1) && wrong.contains("line 2"), "{wrong}");
}
