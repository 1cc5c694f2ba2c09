//! Real SIP phones register.

use std::io::Write;
use std::time::Duration;

use quartet::io::control::ControlRequest;
use quartet_tests::house::{House, PASSWORD};
use quartet_tests::{peers, wait};

use crate::PROGRAM;
use crate::calls::{desk, house};

#[tokio::test(flavor = "multi_thread")]
async fn baresip_registers_with_md5_and_is_refused_with_a_wrong_password() {
    let Some((house, _namespace)) = house("").await else {
        return;
    };
    let _desk = desk(&house, "100", "pcmu", false).await;
    let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
    assert_eq!(phones[0]["user"], "100", "{phones}");
    let wrong = quartet_tests::baresip::Setup {
        user: "101",
        password: "wrong",
        gateway: house.gateway.sip().expect("the SIP address"),
        codecs: "pcmu",
        auto_answer: false,
        tone_hz: 440,
    };
    let phone = quartet_tests::baresip::Baresip::start(&wrong).expect("baresip is installed");
    wait::until("a failed login in the log", Duration::from_secs(10), || {
        house
            .gateway
            .log()
            .contains("why=WrongPassword failures=1 attempts=1 user=\"101\"")
            .then_some(())
    });
    drop(phone);
}

#[tokio::test(flavor = "multi_thread")]
async fn linphonec_registers_with_sha_256() {
    let Some(program) = peers::program("linphonec") else {
        return;
    };
    let house = House::new(PROGRAM, "").await;
    let gateway = house.gateway.sip().expect("the SIP address");
    let home = house.gateway.folder().join("linphone");
    for folder in [".local/share/linphone", ".config/linphone"] {
        std::fs::create_dir_all(home.join(folder)).expect("linphonec's home");
    }
    let settings = "[sip]\nsip_port=-1\nsip_tcp_port=0\nsip_tls_port=0\nbind_address=127.0.0.1\nuse_ipv6=0\nguess_hostname=0\n\
                    register_only_when_network_is_up=0\n[net]\nfirewall_policy=0\n[sound]\nechocancellation=0\n[video]\nenabled=0\n";
    let file = home.join("linphone.rc");
    std::fs::write(&file, settings).expect("linphone.rc");
    let mut phone = std::process::Command::new(program)
        .arg("-c")
        .arg(&file)
        .args(["-d", "0"])
        .env("HOME", &home)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("linphonec starts");
    let mut commands = phone.stdin.take().expect("piped");
    writeln!(
        commands,
        "soundcard use files\nregister sip:100@{gateway} sip:{gateway} {PASSWORD}"
    )
    .expect("it listens");
    let end = std::time::Instant::now() + Duration::from_secs(20);
    let listed = loop {
        let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
        if phones[0]["user"] == "100" || std::time::Instant::now() > end {
            break phones;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    phone.kill().ok();
    phone.wait().ok();
    assert_eq!(listed[0]["user"], "100", "{}", house.gateway.log());
    assert!(
        listed[0]["user_agent"]
            .as_str()
            .is_some_and(|agent| agent.to_lowercase().contains("linphone")),
        "{listed}"
    );
}
