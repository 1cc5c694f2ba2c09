//! coturn, the TURN server of Debian, in a namespace.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::authority::certify;
use crate::namespace::{Host, Namespace};
use crate::peers;

/// Its ports; the namespace is the test's own.
pub const PORT: u16 = 3478;
pub const TLS_PORT: u16 = 5349;
/// Who may use it.
pub const USER: &str = "gateway";
pub const PASSWORD: &str = "mind the gap";
/// Or who shares this with it.
pub const SECRET: &str = "north wind";

/// A running server; it is ended when dropped.
#[derive(Debug)]
pub struct TurnServer {
    child: Child,
    folder: PathBuf,
    /// Where it is reached.
    pub address: IpAddr,
}

impl TurnServer {
    /// Starts it at the far end of the cable, with users ([`USER`]) or with a secret ([`SECRET`]); none, with a visible line, where
    /// it is not installed.
    pub fn start(namespace: &Namespace, shares_secret: bool) -> Option<Self> {
        Self::start_at(namespace, namespace.far().into(), TLS_PORT, shares_secret)
    }

    /// The same on any host, with an address and a port for TLS of its own.
    pub fn start_at(host: &Host, address: IpAddr, tls_port: u16, shares_secret: bool) -> Option<Self> {
        let program = peers::program("turnserver")?;
        let folder = std::env::temp_dir().join(format!("q-coturn-{}-{address}-{shares_secret}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let certified = certify(&address.to_string());
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
        write("ca.pem", &certified.authority_pem);
        write("cert.pem", &certified.certificate.pem());
        write("key.pem", &certified.key.serialize_pem());
        let mut command = host.command(program);
        command.args([
            "-n",
            "--no-cli",
            "--no-dtls",
            "--no-rfc5780",
            "-r",
            "test",
            "--simple-log",
        ]);
        command.args(["-L", &address.to_string(), "-E", &address.to_string()]);
        command.args(["-p", &PORT.to_string(), "--tls-listening-port", &tls_port.to_string()]);
        for (option, name) in [
            ("--cert", "cert.pem"),
            ("--pkey", "key.pem"),
            ("--userdb", "db"),
            ("--pidfile", "pid"),
        ] {
            command.arg(option).arg(folder.join(name));
        }
        command.arg("--log-file").arg(folder.join("log"));
        if shares_secret {
            command.args(["--use-auth-secret", "--static-auth-secret", SECRET]);
        } else {
            command.args(["--lt-cred-mech", "-u", &format!("{USER}:{PASSWORD}")]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut server = Self {
            child: child.expect("the namespace runs a program"),
            folder,
            address,
        };
        let end = Instant::now() + Duration::from_secs(10);
        let listens = || TcpStream::connect_timeout(&SocketAddr::from((address, PORT)), Duration::from_secs(1)).is_ok();
        while !host.run(listens) {
            let ended = server.child.try_wait().expect("it can be looked at");
            assert!(
                ended.is_none() && Instant::now() < end,
                "coturn does not listen: {}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    /// Its process: `ip netns exec` becomes the program itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file of its certificate authority.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}
