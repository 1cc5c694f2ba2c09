//! baresip, a real SIP phone from Debian, without a sound card: it plays a tone and records what it hears.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use quartet::demo::PHONE_HZ;

use crate::house::PASSWORD;
use crate::peers;
use crate::recording::Recording;

/// A running baresip; it is ended and its folder removed when dropped.
#[derive(Debug)]
pub struct Baresip {
    child: Child,
    folder: PathBuf,
    control: TcpStream,
    buffer: Vec<u8>,
    /// Every event so far.
    pub events: Vec<Value>,
}

/// How a phone is set up.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Account and password.
    pub user: &'a str,
    pub password: &'a str,
    /// The gateway.
    pub gateway: SocketAddr,
    /// `udp`, `tcp` or `tls`, and for this one whom it trusts, in PEM form.
    pub transport: &'a str,
    pub authority: Option<&'a str>,
    /// baresip's names: `pcmu`, `pcma`, `opus`, `L16/16000/1`.
    pub codecs: &'a str,
    /// Whether it answers calls by itself.
    pub auto_answer: bool,
    /// The tone it plays.
    pub tone_hz: u32,
    /// Whether it keeps a flow to the gateway (RFC 5626), over UDP by STUN.
    pub outbound: bool,
    /// Further parameters of its account: `mediaenc=srtp-mand`, `medianat=ice`.
    pub media: &'a str,
    /// Whether reports go with the media.
    pub rtcp_mux: bool,
}

impl<'a> Setup<'a> {
    /// Over UDP, with PCMU: it takes calls, and plays the phones' tone.
    pub fn new(user: &'a str, gateway: SocketAddr) -> Self {
        Self {
            user,
            password: PASSWORD,
            gateway,
            transport: "udp",
            authority: None,
            codecs: "pcmu",
            auto_answer: true,
            tone_hz: PHONE_HZ as u32,
            outbound: false,
            media: "",
            rtcp_mux: false,
        }
    }
}

impl Baresip {
    /// Starts it, or none (with a visible line) where it is not installed. It registers by itself.
    pub fn start(setup: &Setup<'_>) -> Option<Self> {
        let program = peers::program("baresip")?;
        // A port that was free may be somebody else's when it comes to bind it.
        let mut tries = (0..3).filter_map(|_| Self::try_start(&program, setup));
        Some(tries.next().expect("baresip starts and listens for commands"))
    }

    fn try_start(program: &Path, setup: &Setup<'_>) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("q-baresip-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir_all(folder.join("rec")).expect("a temporary folder can be made");
        let (sip, control) = (free_port(), free_port());
        let sip = SocketAddr::new(address_towards(setup.gateway), sip);
        std::fs::write(folder.join("config"), config(&folder, sip, control, setup)).expect("config");
        std::fs::write(folder.join("contacts"), "").expect("contacts");
        let account = format!(
            "<sip:{}@{};transport={}>;auth_user={};auth_pass={};regint=60;audio_codecs={}{}{};{}\n",
            setup.user,
            setup.gateway,
            setup.transport,
            setup.user,
            setup.password,
            setup.codecs,
            if setup.auto_answer { ";answermode=auto" } else { "" },
            if setup.outbound {
                format!(
                    ";sipnat=outbound;outbound=\"sip:{};transport={}\"",
                    setup.gateway, setup.transport
                )
            } else {
                String::new()
            },
            setup.media,
        );
        std::fs::write(folder.join("accounts"), account).expect("accounts");
        let log = std::fs::File::create(folder.join("log")).expect("log");
        let mut child = Command::new(program)
            .arg("-f")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("baresip starts");
        let end = Instant::now() + Duration::from_secs(20);
        let control = loop {
            if let Ok(control) = TcpStream::connect(("127.0.0.1", control)) {
                break control;
            }
            if Instant::now() > end || child.try_wait().ok().flatten().is_some() {
                child.kill().ok();
                child.wait().ok();
                std::fs::remove_dir_all(&folder).ok();
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        control
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout can be set");
        Some(Self {
            child,
            folder,
            control,
            buffer: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Gives a command, as its menu knows it.
    pub fn command(&mut self, command: &str, parameters: &str) {
        let text = json!({ "command": command, "params": parameters, "token": "1" }).to_string();
        write!(self.control, "{}:{text},", text.len()).expect("baresip takes commands");
    }

    /// Waits until it is registered, which may have been before it could tell us: then it says so when asked.
    pub fn wait_registered(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        while !self.events.iter().any(|event| event["type"] == "REGISTER_OK") && !self.log().contains("200 OK") {
            assert!(
                Instant::now() < end,
                "baresip does not register: {:#?}\n{}",
                self.events,
                self.log()
            );
            self.read();
        }
    }

    /// Dials.
    pub fn dial(&mut self, target: &str) {
        self.command("dial", target);
    }

    /// Sends keys as telephone events.
    pub fn keys(&mut self, keys: &str) {
        for key in keys.chars() {
            self.command("sndcode", &key.to_string());
        }
    }

    /// Waits for an event of that type.
    pub fn wait_for(&mut self, kind: &str, limit: Duration) -> Value {
        self.wait(kind, limit, |event| event["type"] == kind)
    }

    /// Waits for an event, old or new.
    pub fn wait(&mut self, what: &str, limit: Duration, matches: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = self.events.iter().find(|event| matches(event)) {
                return found.clone();
            }
            assert!(
                Instant::now() < end,
                "baresip: no {what} within {limit:?}; events {:#?}\n{}",
                self.events,
                self.log()
            );
            self.read();
        }
    }

    /// Forgets the events so far.
    pub fn forget(&mut self) {
        self.read();
        self.events.clear();
    }

    /// Reads what has come.
    pub fn read(&mut self) {
        let mut chunk = [0; 65_536];
        if let Ok(length) = self.control.read(&mut chunk) {
            self.buffer.extend(&chunk[..length]);
        }
        while let Some(colon) = self.buffer.iter().position(|byte| *byte == b':') {
            let length: usize = String::from_utf8_lossy(&self.buffer[..colon])
                .parse()
                .expect("a netstring's length");
            if self.buffer.len() < colon + length + 2 {
                break;
            }
            let text = self.buffer[colon + 1..colon + 1 + length].to_vec();
            self.buffer.drain(..colon + length + 2);
            let value: Value = serde_json::from_slice(&text).expect("baresip speaks JSON");
            if value["event"] == true {
                self.events.push(value);
            }
        }
    }

    /// What the person at this phone has heard in the latest call.
    pub fn heard(&self) -> Recording {
        Recording::read(&self.latest().expect("baresip has recorded"))
    }

    /// The recording of the latest call.
    fn latest(&self) -> Option<PathBuf> {
        std::fs::read_dir(self.folder.join("rec"))
            .expect("the recordings' folder")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok())
    }

    /// Waits until the last half second of what the person hears from now on is this tone.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn hears(&self, wanted: f32, limit: Duration) {
        const STRETCH: f32 = 0.5;
        let before = self.latest().map(|path| (Recording::read(&path).seconds(), path));
        let end = Instant::now() + limit;
        loop {
            let tone = self.latest().and_then(|path| {
                let heard = Recording::read(&path);
                let from = before
                    .as_ref()
                    .filter(|(_, of)| *of == path)
                    .map_or(0.0, |(seconds, _)| *seconds);
                let at = heard.seconds() - STRETCH;
                if at >= from { heard.tone(at, STRETCH) } else { None }
            });
            if tone.is_some_and(|tone| (tone.hz - wanted).abs() <= 5.0 && tone.share > 0.9) {
                return;
            }
            assert!(Instant::now() < end, "{tone:?} instead of {wanted} Hz\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A port free for UDP and TCP, and the one after it too (baresip takes TCP port + 1).
fn free_port() -> u16 {
    loop {
        let Ok(udp) = UdpSocket::bind("127.0.0.1:0") else {
            continue;
        };
        let Ok(port) = udp.local_addr().map(|address| address.port()) else {
            continue;
        };
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if port < 65_000 && free(port) && free(port + 1) {
            return port;
        }
    }
}

/// Our address of those that reach this one: what is sent there comes from it.
fn address_towards(peer: SocketAddr) -> IpAddr {
    let any: IpAddr = match peer.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).expect("a port");
    socket.connect(peer).expect("there is a way");
    socket.local_addr().expect("it is bound").ip()
}

fn config(folder: &Path, sip: SocketAddr, control: u16, setup: &Setup<'_>) -> String {
    let modules = "/usr/lib/baresip/modules";
    let rec = folder.join("rec");
    let tone = setup.tone_hz;
    let mut trust = String::new();
    if let Some(authority) = setup.authority {
        let file = folder.join("ca.pem");
        std::fs::write(&file, authority).expect("the authority");
        trust = format!("sip_cafile {}\nsip_verify_server yes\n", file.display());
    }
    format!(
        "poll_method epoll\nsip_listen {sip}\nnet_interface {}\n{trust}module_path {modules}\n\
         module opus.so\nmodule g711.so\nmodule g722.so\nmodule l16.so\nmodule ausine.so\nmodule aubridge.so\nmodule sndfile.so\n\
         module srtp.so\nrtcp_mux {}\n\
         module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{control}\n\
         audio_source ausine,{tone}\naudio_player aubridge,sink\naudio_alert aubridge,alert\naudio_level no\n\
         ausrc_srate 48000\nauplay_srate 48000\nausrc_channels 2\nauplay_channels 2\n\
         ausrc_format s16\nauplay_format s16\nauenc_format s16\naudec_format s16\naudio_txmode thread\n\
         audio_buffer 20-160\njitter_buffer_delay 5-10\nsnd_path {}\n",
        sip.ip(),
        if setup.rtcp_mux { "yes" } else { "no" },
        rec.display()
    )
}
