//! linphonec, a real SIP phone from Debian, without a sound card.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use quartet::io::control::ControlRequest;

use crate::house::{House, PASSWORD, SOON};
use crate::{peers, speech};

/// A running linphonec; it is ended and its folder removed when dropped.
#[derive(Debug)]
pub struct Linphone {
    child: Child,
    commands: ChildStdin,
    home: PathBuf,
    over: String,
}

impl Linphone {
    /// Starts it, or none (with a visible line) where it is not installed, and waits until phone 100 is registered. `authority` is whom it
    /// trusts under TLS, in PEM form; `more` are further lines of `[sip]`.
    pub async fn start(house: &House, transport: &str, authority: &str, more: &str) -> Option<Self> {
        let program = peers::program("linphonec")?;
        let gateway = house.gateway.sip_over(transport).expect("the SIP address");
        let home = house.gateway.folder().join("linphone");
        for folder in [".local/share/linphone", ".config/linphone"] {
            std::fs::create_dir_all(home.join(folder)).expect("linphonec's home");
        }
        let authority_file = home.join("ca.pem");
        std::fs::write(&authority_file, authority).expect("the authority");
        // -1: a port of the system's; 0: none. Its TLS knows no certificates of addresses: the chain is verified, the name is not.
        let port = |of: &str| if of == transport { -1 } else { 0 };
        let settings = format!(
            "[sip]\n{more}sip_port={}\nsip_tcp_port={}\nsip_tls_port={}\nroot_ca={}\nverify_server_cn=0\nbind_address=127.0.0.1\nuse_ipv6=0\n\
             guess_hostname=0\nregister_only_when_network_is_up=0\n[net]\nfirewall_policy=0\n[rtp]\naudio_rtp_port=-1\n\
             [sound]\nechocancellation=0\n[video]\nenabled=0\n",
            port("udp"),
            port("tcp"),
            port("tls"),
            authority_file.display()
        );
        let file = home.join("linphone.rc");
        std::fs::write(&file, settings).expect("linphone.rc");
        let log = std::fs::File::create(home.join("log")).expect("a log");
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .args(["-a", "-d", "0"])
            .env("HOME", &home)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("linphonec starts");
        let commands = child.stdin.take().expect("piped");
        let over = if transport == "udp" {
            String::new()
        } else {
            format!(";transport={transport}")
        };
        let mut phone = Self {
            child,
            commands,
            home,
            over,
        };
        phone.command("soundcard use files");
        let over = &phone.over;
        let register = format!("register sip:100@{gateway} <sip:{gateway}{over}> {PASSWORD}");
        phone.command(&register);
        let end = std::time::Instant::now() + 2 * SOON;
        loop {
            let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
            if phones[0]["user"] == "100" {
                return Some(phone);
            }
            assert!(
                std::time::Instant::now() < end,
                "linphonec does not register: {}\n{}",
                phone.log(),
                house.gateway.log()
            );
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// Gives a command, as its prompt knows it.
    pub fn command(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("it listens");
    }

    /// Dials.
    pub fn dial(&mut self, house: &House, number: &str) {
        let gateway = house.gateway.sip().expect("the SIP address");
        let over = self.over.clone();
        self.command(&format!("call sip:{number}@{gateway}{over}"));
    }

    /// Says a tone for a while; once the call stands.
    pub fn say(&mut self, hz: f32, seconds: usize) {
        const RATE: u32 = 16_000;
        let sample = |at: usize| {
            let phase = at as f32 * hz * std::f32::consts::TAU / RATE as f32;
            (phase.sin() * 8_000.0) as i16
        };
        let samples: Vec<_> = (0..seconds * RATE as usize).map(sample).collect();
        let file = self.home.join("tone.wav");
        speech::write_wav(&file, RATE, &samples).expect("a file");
        self.command(&format!("play {}", file.display()));
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        read(&self.home.join("log"))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

impl Drop for Linphone {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.home).ok();
    }
}
