//! A gateway of our own: a real `quartet run` in a process of its own, with conf files in a folder of its own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::io::control::{self, ControlRequest};

/// How long a gateway may take to load its plugins and bind its sockets.
const START: Duration = Duration::from_secs(10);

/// What the conf files of a gateway say; everything else is at its default.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where phones register, port 0 for any.
    pub sip: SocketAddr,
    /// Where else, as `tcp:127.0.0.1:0`.
    pub listen: Vec<String>,
    /// Certificate and key for those under TLS, in PEM form.
    pub identity: Option<(String, String)>,
    /// Its hub.
    pub hub: Hub,
    /// Where the plugins are: folders or files.
    pub plugins: Vec<PathBuf>,
    /// Further lines of its `[sip]`.
    pub sip_lines: String,
    /// Further lines of quartet.conf.
    pub more: String,
    /// phones.conf.
    pub phones: String,
    /// routes.conf.
    pub routes: String,
}

/// Which hub a gateway has.
#[derive(Clone, Debug)]
pub enum Hub {
    /// Its own, which listens here, port 0 for any.
    Here(SocketAddr),
    /// The same under TLS, with the identity of the gateway.
    HereUnderTls(SocketAddr),
    /// One elsewhere.
    Elsewhere {
        /// Its address.
        url: String,
        /// The token of the gateway's account there.
        token: String,
        /// Who vouches for it, in PEM form, if this machine does not know it.
        authority: Option<String>,
    },
}

/// A running gateway; dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Gateway {
    program: PathBuf,
    verb: &'static str,
    setup: Setup,
    child: Child,
    folder: Folder,
    status: Value,
}

/// A folder that is gone with this.
#[derive(Debug)]
struct Folder(PathBuf);

impl Gateway {
    /// Writes the conf files into a fresh folder and starts `program run`; returns once it answers.
    ///
    /// # Errors
    /// If it does not come up; its log stands in the text.
    pub async fn start(program: &Path, setup: &Setup) -> anyhow::Result<Self> {
        Self::start_as("run", program, setup).await
    }

    /// The same for a hub alone, with `program hub`.
    ///
    /// # Errors
    /// If it does not come up; its log stands in the text.
    pub async fn start_hub(program: &Path, setup: &Setup) -> anyhow::Result<Self> {
        Self::start_as("hub", program, setup).await
    }

    async fn start_as(verb: &'static str, program: &Path, setup: &Setup) -> anyhow::Result<Self> {
        let folder = Folder::fresh()?;
        write_conf(&folder.0, setup)?;
        let mut gateway = Self {
            program: program.to_owned(),
            verb,
            setup: setup.clone(),
            child: spawn(program, verb, &folder.0)?,
            folder,
            status: Value::Null,
        };
        gateway.wait_up().await?;
        Ok(gateway)
    }

    /// Kills it, as a crash would: it has no moment to end anything.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, in the same folder and at the same addresses, after [`kill`](Self::kill).
    ///
    /// # Errors
    /// If it does not come up; its log stands in the text.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        if let Ok(sip) = self.sip() {
            self.setup.sip = sip;
        }
        let others = self.status["sip"].as_array().into_iter().flatten().skip(1);
        self.setup.listen = others.filter_map(|text| Some(text.as_str()?.to_owned())).collect();
        if let Ok(hub) = self.hub() {
            self.setup.hub = Hub::Here(hub);
        }
        write_conf(&self.folder.0, &self.setup)?;
        self.child = spawn(&self.program, self.verb, &self.folder.0)?;
        self.wait_up().await
    }

    /// Writes other conf files and has it read them; what it says has changed.
    ///
    /// # Errors
    /// Why it stays as it was.
    pub async fn reload(&mut self, setup: Setup) -> anyhow::Result<Value> {
        write_conf(&self.folder.0, &setup)?;
        self.setup = setup;
        let changes = self.ask(&ControlRequest::Reload).await?;
        self.status = self.ask(&ControlRequest::Status).await?;
        Ok(changes)
    }

    /// What its conf files say.
    pub fn setup(&self) -> Setup {
        self.setup.clone()
    }

    /// Sends it SIGHUP.
    pub fn hang_up(&self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            send(pid, libc::SIGHUP);
        }
    }

    /// Waits until it answers.
    async fn wait_up(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        loop {
            if let Ok(status) = self.ask(&ControlRequest::Status).await {
                self.status = status;
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > until {
                bail!("the gateway did not come up:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it over its control socket.
    ///
    /// # Errors
    /// If it does not answer, or refuses.
    pub async fn ask(&self, question: &ControlRequest) -> anyhow::Result<Value> {
        control::ask(&self.folder.0.join("state/quartet.sock"), question).await
    }

    /// Where phones register.
    ///
    /// # Errors
    /// If the gateway did not say.
    pub fn sip(&self) -> anyhow::Result<SocketAddr> {
        let text = self.status["sip"][0]
            .as_str()
            .and_then(|text| text.strip_prefix("udp:"));
        Ok(text.context("the gateway names no SIP address")?.parse()?)
    }

    /// Where phones register over another transport, as `tls`.
    ///
    /// # Errors
    /// If the gateway did not say.
    pub fn sip_over(&self, transport: &str) -> anyhow::Result<SocketAddr> {
        let all = self.status["sip"].as_array().into_iter().flatten();
        let mut all = all.filter_map(|text| text.as_str()?.strip_prefix(transport)?.strip_prefix(':'));
        Ok(all.next().context("the gateway is not heard over that")?.parse()?)
    }

    /// Where the hub listens.
    ///
    /// # Errors
    /// If the gateway did not say.
    pub fn hub(&self) -> anyhow::Result<SocketAddr> {
        let text = self.status["hub"].as_str().and_then(|text| text.split_once(':'));
        let text = text.filter(|(scheme, _)| ["http", "https"].contains(scheme));
        Ok(text
            .map(|(_, address)| address)
            .context("the gateway names no hub address")?
            .parse()?)
    }

    /// Its folder: conf files, log, state.
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }

    /// Its call records, one JSON value each.
    pub fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.0.join("state/cdr.jsonl")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // A polite end first, so that calls are ended and sockets removed.
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            send(pid, libc::SIGTERM);
        }
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn write_conf(folder: &Path, setup: &Setup) -> anyhow::Result<()> {
    let plugins: Vec<_> = setup.plugins.iter().map(|place| place.display().to_string()).collect();
    let hub = match &setup.hub {
        Hub::Here(address) => format!("listen = \"http:{address}\""),
        Hub::HereUnderTls(address) => format!("listen = \"https:{address}\""),
        Hub::Elsewhere { url, token, authority } => {
            write_private(&folder.join("hub.token"), token)?;
            let mut lines = format!("url = \"{url}\"\ntoken_file = \"hub.token\"");
            if let Some(authority) = authority {
                write_private(&folder.join("hub-ca.pem"), authority)?;
                lines.push_str("\nca_file = \"hub-ca.pem\"");
            }
            lines
        }
    };
    let mut listen = vec![format!("udp:{}", setup.sip)];
    listen.extend(setup.listen.iter().cloned());
    let mut tls = "";
    if let Some((certificate, key)) = &setup.identity {
        write_private(&folder.join("gateway.pem"), certificate)?;
        write_private(&folder.join("gateway-key.pem"), key)?;
        tls = "[tls]\ncertificate = \"gateway.pem\"\nkey = \"gateway-key.pem\"\n";
    }
    let main = format!(
        "[sip]\nlisten = {listen:?}\nrealm = \"quartet\"\n{}\n[media]\nports = \"0\"\n[network.hub]\n{hub}\n\
         [plugins]\npath = {plugins:?}\nrequired = [\"codec-g711\", \"codec-opus\", \"transport-rtp\", \"transport-webrtc\"]\n\
         {tls}{}\n",
        setup.sip_lines, setup.more
    );
    write_private(&folder.join("quartet.conf"), &main)?;
    write_private(&folder.join("phones.conf"), &setup.phones)?;
    write_private(&folder.join("routes.conf"), &setup.routes)?;
    Ok(())
}

fn spawn(program: &Path, verb: &str, folder: &Path) -> anyhow::Result<Child> {
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("log"))?;
    Command::new(program)
        .args([verb, "--until-stdin-closes", "--conf"])
        .arg(folder)
        .env_remove("QUARTET_CONF")
        // Held open by us: if this process dies, however it dies, the gateway ends.
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

#[allow(unsafe_code, reason = "the standard library has no way to send a signal")]
fn send(pid: i32, signal: libc::c_int) {
    // SAFETY: kill takes plain integers; the process is our own child, not yet waited for, so the id is still its own.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Writes a file that only we may read and write, whatever the umask: the gateway refuses others.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

impl Folder {
    fn fresh() -> anyhow::Result<Self> {
        let name = format!("quartet-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let folder = std::env::temp_dir().join(name);
        // It holds password hashes: nobody else may look.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
