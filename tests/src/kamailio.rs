//! Kamailio from Debian: a registrar and proxy, in front of a gateway or as a PBX beside it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers;

/// How it is set up.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Its host, one of 127.0.0.0/8.
    pub host: Ipv4Addr,
    /// Where the gateway is, and by which transport it is reached.
    pub gateway: SocketAddr,
    pub transport: &'a str,
    /// The password of every account.
    pub password: &'a str,
    /// Whether the gateway's calls have to log in.
    pub login: bool,
}

/// How one is set up that stands before a gateway, and lets phones in under TLS.
#[derive(Clone, Debug)]
pub struct Edge<'a> {
    /// Its host.
    pub host: Ipv4Addr,
    /// Where the gateway is, and by which transport it is reached.
    pub gateway: SocketAddr,
    pub transport: &'a str,
    /// Its certificate and the key, in PEM form.
    pub identity: (String, String),
}

/// A running Kamailio; it is ended and its folder removed when dropped.
#[derive(Debug)]
pub struct Kamailio {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Kamailio {
    /// Starts it, or none (with a visible line) where it is not installed.
    pub fn start(setup: &Setup<'_>) -> Option<Self> {
        let config = include_str!("../peers/kamailio.cfg").replace("@PASSWORD@", setup.password);
        let way = (setup.host, setup.gateway, setup.transport);
        let arguments: &[&str] = if setup.login { &["-A", "WITH_LOGIN"] } else { &[] };
        Self::launch(way, &config, None, arguments)
    }

    /// The same before a gateway.
    pub fn edge(setup: &Edge<'_>) -> Option<Self> {
        let config = include_str!("../peers/kamailio-edge.cfg");
        let way = (setup.host, setup.gateway, setup.transport);
        Self::launch(way, config, Some(&setup.identity), &[])
    }

    fn launch(
        (host, gateway, transport): (Ipv4Addr, SocketAddr, &str),
        config: &str,
        identity: Option<&(String, String)>,
        arguments: &[&str],
    ) -> Option<Self> {
        let program = peers::program("kamailio")?;
        let free = UdpSocket::bind((host, 0)).and_then(|socket| socket.local_addr());
        let address = free.expect("a free port");
        let folder = std::env::temp_dir().join(format!("q-kamailio-{}-{}", std::process::id(), address.port()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        if let Some((certificate, key)) = identity {
            std::fs::write(folder.join("kamailio.pem"), certificate).expect("the certificate");
            std::fs::write(folder.join("kamailio-key.pem"), key).expect("the key");
        }
        let config = config
            .replace("@HOST@", &host.to_string())
            .replace("@ADDRESS@", &address.to_string())
            .replace("@GATEWAY@", &gateway.to_string())
            .replace("@GATEWAY_HOST@", &gateway.ip().to_string())
            .replace("@TRANSPORT@", transport)
            .replace("@FOLDER@", &folder.display().to_string());
        let file = folder.join("kamailio.cfg");
        std::fs::write(&file, config).expect("the configuration");
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let mut command = Command::new(program);
        command.args(["-DD", "-E", "-m", "32", "-M", "4"]).args(arguments);
        let child = command
            .arg("-f")
            .arg(&file)
            .arg("-P")
            .arg(folder.join("pid"))
            .arg("-Y")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("kamailio starts");
        let mut kamailio = Self { child, folder, address };
        kamailio.wait_up();
        Some(kamailio)
    }

    /// Where it is heard.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a signal to all its processes.
    pub fn signal(&self, name: &str) {
        let pids = Command::new("pgrep")
            .arg("-f")
            .arg(self.folder.join("kamailio.cfg"))
            .output()
            .expect("pgrep");
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            // One may have ended since.
            Command::new("kill")
                .args([name, pid])
                .stderr(Stdio::null())
                .status()
                .expect("kill");
        }
    }

    /// Asks it whether it is there, until it is.
    fn wait_up(&mut self) {
        let socket = UdpSocket::bind((self.address.ip(), 0)).expect("a port");
        let local = socket.local_addr().expect("an address");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout");
        let options = format!(
            "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKup;rport\r\nFrom: <sip:test@{0}>;tag=t\r\nTo: <sip:{0}>\r\n\
             Call-ID: up\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            self.address
        );
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            socket.send_to(options.as_bytes(), self.address).ok();
            if socket.recv(&mut [0; 2048]).is_ok() {
                return;
            }
            let ended = self.child.try_wait().expect("its state");
            assert!(
                ended.is_none() && Instant::now() < end,
                "kamailio does not come up: {}",
                self.log()
            );
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        self.signal("-CONT");
        self.signal("-TERM");
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal("-KILL");
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}
