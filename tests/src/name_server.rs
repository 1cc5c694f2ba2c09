//! dnsmasq from Debian: a name server with records of the test's own, for one gateway alone.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::namespace::rand_u32;
use crate::peers;
use crate::wrapper::Wrapper;

/// A running name server; it is ended when dropped.
#[derive(Debug)]
pub struct NameServer {
    child: Child,
    file: PathBuf,
}

impl NameServer {
    /// Starts it with these options of dnsmasq, or none (with a visible line) where it is not installed.
    pub fn start(records: &[String]) -> Option<Self> {
        peers::may_make_namespaces()?;
        let program = peers::program("dnsmasq")?;
        // A resolver knows port 53 alone; there are 16 million hosts to choose from.
        let address = loop {
            let [_, a, b, c] = rand_u32().to_be_bytes();
            let host = Ipv4Addr::new(127, a | 0x80, b, c | 1);
            if UdpSocket::bind((host, 53)).is_ok() {
                break host;
            }
        };
        let file = std::env::temp_dir().join(format!("q-resolv-{}-{address}", std::process::id()));
        std::fs::write(&file, format!("nameserver {address}\n")).expect("a temporary file");
        let child = Command::new(program)
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
            ])
            .args(["--bind-interfaces", "--user=root", "--pid-file=", "--log-facility=-"])
            .arg(format!("--listen-address={address}"))
            .args(records)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq starts");
        let end = Instant::now() + Duration::from_secs(10);
        while UdpSocket::bind((address, 53)).is_ok() {
            assert!(Instant::now() < end, "dnsmasq does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, file })
    }

    /// The program with this as its name server.
    pub fn wrapper(&self, program: &str) -> Wrapper {
        let launcher = format!(
            "unshare --mount /bin/sh -c 'mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"'",
            self.file.display()
        );
        Wrapper::new("", &launcher, program)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_file(&self.file).ok();
    }
}
