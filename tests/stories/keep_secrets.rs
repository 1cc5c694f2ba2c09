//! An operator turns the log up to the last line, and nothing secret stands in it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use quartet::config::{Hashes, PasswordHash};
use quartet::demo::e2ee_peer::{self, Answering, E2eePeer, Fault};
use quartet::demo::hear;
use quartet::demo::line::{Line, Source};
use quartet::demo::{PEER_HZ, REALM};
use quartet::media::{MediaCommand, MediaEvent};
use quartet_proto::hub::Token;
use quartet_tests::house::{House, PASSWORD, plugin_folder};
use quartet_tests::wrapper::{Wrapper, private_file, private_folder};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use crate::PROGRAM;

/// The ICE passwords of both sides, as the user's media line sees them.
#[derive(Clone, Default)]
struct Passwords(Arc<Mutex<BTreeSet<String>>>);

impl Passwords {
    fn note(&self, lines: &str) {
        let found = lines.lines().filter_map(|line| line.strip_prefix("ice-pwd:"));
        self.0
            .lock()
            .expect("no panic holds it")
            .extend(found.map(str::to_owned));
    }
}

/// A user whose media line is listened to.
async fn user(house: &House, token: String, passwords: &Passwords) -> E2eePeer {
    let setup = e2ee_peer::Setup {
        hub: house.hub(),
        token,
        address: [127, 0, 0, 1].into(),
        source: Source::Tone { hz: PEER_HZ },
        answering: Answering::Take,
        fault: Fault::None,
    };
    let registry = Arc::clone(&house.registry);
    let (ours, theirs) = (passwords.clone(), passwords.clone());
    let line = move |tell: tokio::sync::mpsc::UnboundedSender<MediaEvent>| {
        let line = Line::start(Arc::clone(&registry), hear::RATE, move |event| {
            if let MediaEvent::Local { lines, .. } = &event {
                ours.note(lines);
            }
            tell.send(event).ok();
        })?;
        Line::elsewhere(move |command| {
            if let MediaCommand::Remote { lines, .. } = &command {
                theirs.note(lines);
            }
            line.command(command);
        })
    };
    E2eePeer::join_with(Arc::clone(&house.registry), setup, line)
        .await
        .expect("the user joins")
}

/// A secret in the forms that a log line could have it in.
fn forms(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = |separator: &str| {
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        numbers.join(separator)
    };
    let mut forms = vec![hex.to_uppercase(), hex, listed(", "), listed(",")];
    forms.extend(std::str::from_utf8(bytes).ok().map(str::to_owned));
    forms
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_level_of_trace_no_token_password_or_key_is_written() {
    let loud = Wrapper::new("export RUST_LOG=trace,tungstenite=trace,hyper=trace", "", PROGRAM);
    let house = House::new(loud.path().to_str().expect("UTF-8"), "").await;
    let token = house.invite("anna").await;
    let passwords = Passwords::default();
    let mut anna = user(&house, token.clone(), &passwords).await;
    let stranger = Token::generate(&mut ChaCha8Rng::seed_from_u64(1));
    let refused = e2ee_peer::Setup {
        hub: house.hub(),
        token: stranger.to_text().to_string(),
        address: [127, 0, 0, 1].into(),
        source: Source::Silent,
        answering: Answering::Ring,
        fault: Fault::None,
    };
    assert!(E2eePeer::join(Arc::clone(&house.registry), refused).await.is_err());
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    desk.hang_up();
    let record = house.record(1).await;
    house.wait_idle().await;

    let log = house.gateway.log();
    let call = record["call"].as_str().expect("a key").to_owned();
    let (span, header) = (format!("call{{key={call}}}:leg{{"), format!("X-Quartet-Call: {call}"));
    let message = "Authorization: Digest …";
    for told in [
        " TRACE ",
        " DEBUG ",
        "quartet::",
        &span,
        &header,
        message,
        "sip_call_id=",
        "network_call=",
    ] {
        assert!(log.contains(told), "the log is loud: {told}");
    }
    let held_back = log
        .lines()
        .find(|line| line.contains("tungstenite") || line.contains("hyper"));
    assert_eq!(held_back, None, "what libraries say below INFO is not written");

    let mut secrets = vec![token.clone(), stranger.to_text().to_string(), PASSWORD.to_owned()];
    for text in [token.as_str(), &stranger.to_text()] {
        let token = Token::from_text(text).expect("a token");
        secrets.push(text.replace('-', "+").replace('_', "/"));
        secrets.extend(forms(&base64url(text)));
        secrets.extend(forms(&token.hash()));
    }
    let hash = PasswordHash::of("100", REALM, PASSWORD, Hashes::Md5AndSha256);
    secrets.extend(forms(hash.md5.expect("both").bytes()));
    secrets.extend(forms(hash.sha256.expect("both").bytes()));
    let passwords = passwords.0.lock().expect("no panic holds it").clone();
    assert!(
        passwords.len() >= 2,
        "those of both sides were seen: {}",
        passwords.len()
    );
    secrets.extend(passwords);
    for secret in secrets {
        assert!(secret.len() >= 12, "too short to be told from anything: {secret}");
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret} was written");
    }
}

/// Reads base64url without padding. RFC 4648 §5.
fn base64url(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for c in text.bytes() {
        bits = bits << 6 | u32::from(value(c));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn a_crash_leaves_no_core_dump() {
    let folder = private_folder("crash");
    let plugins = plugin_folder();
    let conf = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n[network.hub]\nlisten = \"http:127.0.0.1:0\"\n[plugins]\npath = [{plugins:?}]\n"
    );
    private_file(&folder.join("quartet.conf"), &conf);
    let dumping = Wrapper::new("ulimit -c unlimited", "", PROGRAM);
    let mut gateway = Command::new(dumping.path())
        .args(["run", "--until-stdin-closes", "--conf", "."])
        .current_dir(&folder)
        .env_remove("QUARTET_CONF")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let log = BufReader::new(gateway.stderr.take().expect("piped"));
    let up = log
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("gateway is up"));
    assert!(up.is_some(), "it starts");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.id())).expect("it runs");
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    let core: Vec<&str> = core.expect("Linux tells").split_whitespace().take(2).collect();
    assert_eq!(core, ["0", "0"]);
    let killed = Command::new("kill").args(["-ABRT", &gateway.id().to_string()]).status();
    assert!(killed.expect("kill").success());
    let end = gateway.wait().expect("it ends");
    assert_eq!((end.signal(), end.core_dumped()), (Some(6), false));
    std::fs::remove_dir_all(&folder).ok();
}
