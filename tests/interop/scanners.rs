//! The scanners that everybody's telephone is scanned with (sipvicious): which accounts there are, and a password by trying.

use std::net::SocketAddr;
use std::time::Duration;

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::{Hashes, PHONE_HZ};
use quartet_tests::house::{House, HouseSetup, PASSWORD, connected, ended, hears};
use quartet_tests::peers;

use crate::PROGRAM;

/// How long one of them may go on.
const LONG: Duration = Duration::from_secs(20);

/// Runs one against the gateway; what it has printed until it ended, or until it was ended.
async fn scan(name: &str, gateway: SocketAddr, arguments: &[&str]) -> Option<String> {
    let program = peers::program(name)?;
    let mut command = tokio::process::Command::new("timeout");
    command
        .arg(LONG.as_secs().to_string())
        .arg(program)
        .args(arguments)
        .args(["-p", &gateway.port().to_string(), &gateway.ip().to_string()])
        // It keeps what it has found below its home.
        .env("HOME", "/nonexistent")
        .kill_on_drop(true);
    let out = command.output().await.expect("it runs");
    Some(String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn sipvicious_learns_no_account_and_no_password_and_nobody_waits() {
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        hashes: Hashes::Md5,
        phone: "codecs = [\"pcmu\"]",
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let gateway = house.gateway.sip().expect("it is heard there");
    let anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("101", false).await;
    let before = house.memory_kib();
    let Some(found) = scan("svmap", gateway, &[]).await else {
        return;
    };
    assert!(found.contains(&format!("{gateway} ")), "it finds a device: {found}");
    assert!(
        !found.to_lowercase().contains("quartet"),
        "a stranger is not told what it is: {found}"
    );
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        let told = scan("svwar", gateway, &["-m", method, "-e", "95-105", "--force"]).await;
        let told = told.expect("it is installed");
        // It says of each what it takes for an account: of all alike, or of none.
        let named = |user: u32| told.lines().any(|line| line.starts_with(&format!("| {user} ")));
        let accounts = (100..103).filter(|user| named(*user)).count();
        let nobodys = (95..100).chain(103..106).filter(|user| named(*user)).count();
        let is_none = (accounts, nobodys) == (0, 0) && told.contains("found nothing");
        assert!(is_none || (accounts, nobodys) == (3, 8), "{method}: {told}");
    }
    let words = house.gateway.folder().join("words");
    let many: String = (0..2_000).map(|n| format!("word{n}\n")).collect();
    std::fs::write(&words, format!("{many}{PASSWORD}\n")).expect("written");
    let words = words.display().to_string();
    let guess = ["-u", "100", "-d", words.as_str()];
    let speak = async {
        // While it guesses.
        for _ in 0..3 {
            desk.dial("anna");
            connected(&mut desk).await;
            hears(anna.line(), PHONE_HZ).await;
            desk.hang_up();
            assert_eq!(ended(&mut desk).await, "answered");
        }
    };
    let (guessed, ()) = tokio::join!(scan("svcrack", gateway, &guess), speak);
    let guessed = guessed.expect("it is installed");
    assert!(!guessed.contains(PASSWORD), "{guessed}");
    assert!(
        house.gateway.log().contains("login failed: source=127.0.0.1"),
        "it is told of"
    );
    let grown = house.memory_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    println!("sipvicious: no name and no password found, calls beside it stood");
}
