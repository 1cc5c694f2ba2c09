//! A house: a real gateway process, its phones, and E2EE users on its hub, all on loopback.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quartet::config::Plugins;
use quartet::demo::e2ee_peer::{self, Answering, E2eePeer, Fault};
use quartet::demo::gateway::{self, Gateway, Hub};
use quartet::demo::hear;
use quartet::demo::line::{Line, Source};
use quartet::demo::phone::{self, Phone};
use quartet::demo::{Hashes, PEER_HZ, PHONE_HZ, phone_row};
use quartet::io::control::ControlRequest;
use quartet::plugins::Registry;
use serde_json::Value;

use crate::usage::memory_kib;

/// Further lines of quartet.conf: how often somebody may call is met by no test that is not about that.
pub const MANY_CALLS: &str = "[limits]\ncalls_per_minute_phone = 60000\ncalls_per_minute_callee = 60000\n\
     calls_per_minute_route = 60000\n";

/// A file that only its owner may read, as the gateway wants secrets.
///
/// # Errors
/// The system's.
pub fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// A route by which the phones of a house call each other.
pub const BETWEEN_PHONES: &str = r#"
[[route]]
name = "between phones"
from = "phones"
number = "{user:[0-9]{3}}"
to = "phone:{user}"
ring_timeout = "3s"
"#;

/// How long anything on this machine may take.
pub const SOON: Duration = Duration::from_secs(10);

/// The password of every phone.
pub const PASSWORD: &str = "correct-horse";

/// A file outside any house with a secret in it, gone when dropped.
#[derive(Debug)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// Writes it, for this user alone.
    pub fn new(secret: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "q-secret-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        write_secret(&path, secret).expect("written");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// A running gateway with phones 100, 101 and 102, and what its tests need.
pub struct House {
    pub registry: Arc<Registry>,
    pub gateway: Gateway,
}

/// What may differ from house to house.
pub struct HouseSetup<'a> {
    /// Further lines of quartet.conf.
    pub more: &'a str,
    /// The level of its log.
    pub log: &'a str,
    /// Where phones register.
    pub sip: IpAddr,
    /// Further lines of `[sip]`.
    pub sip_lines: &'a str,
    /// Over what else: `tcp`, `tls`, `ws`, `wss`.
    pub transports: &'a [&'a str],
    /// Certificate and key of those under TLS, in PEM form.
    pub identity: Option<(String, String)>,
    /// Its hub.
    pub hub: Hub,
    /// What the phones' accounts can be challenged for.
    pub hashes: Hashes,
    /// Further lines of each phone.
    pub phone: &'a str,
    /// Where further plugins are.
    pub plugins: Vec<PathBuf>,
    /// Where calls go.
    pub routes: &'a str,
}

impl Default for HouseSetup<'_> {
    fn default() -> Self {
        Self {
            more: "",
            log: "debug",
            sip: [127, 0, 0, 1].into(),
            sip_lines: "",
            transports: &[],
            identity: None,
            hub: Hub::Here(([127, 0, 0, 1], 0).into()),
            hashes: Hashes::Md5AndSha256,
            phone: "codecs = [\"pcmu\", \"opus\"]",
            plugins: Vec::new(),
            routes: ROUTES,
        }
    }
}

/// The folder where cargo has put the plugins: beside the test's own program.
pub fn plugin_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a test has a program");
    program.parent().expect("which stands in a folder").to_owned()
}

/// The first-party plugins.
pub fn registry() -> Arc<Registry> {
    let required = ["codec-g711", "codec-opus", "transport-rtp", "transport-webrtc"]
        .map(str::to_owned)
        .to_vec();
    let settings = Plugins {
        path: vec![plugin_folder()],
        required,
        ..Plugins::default()
    };
    Arc::new(Registry::load(&settings).expect("the first-party plugins load"))
}

/// Routes: phones call users of the hub; users call phones 100 and 101, or the phone that they name.
pub const ROUTES: &str = r#"
[[route]]
name = "people on the hub"
from = "phones"
number = "{user}"
to = "hub:{user}"
ring_timeout = "3s"
[[route]]
name = "the front desk"
from = "network:hub"
number = ""
to = ["phone:100", "phone:101"]
ring_timeout = "3s"
[[route]]
name = "a phone by its number"
from = "network:hub"
number = "{user}"
to = "phone:{user}"
ring_timeout = "3s"
"#;

impl House {
    /// Starts the gateway; `more` are further lines of quartet.conf.
    pub async fn new(program: &str, more: &str) -> Self {
        Self::build(
            program,
            HouseSetup {
                more,
                ..HouseSetup::default()
            },
        )
        .await
    }

    /// Starts a gateway that differs in more.
    pub async fn build(program: &str, setup: HouseSetup<'_>) -> Self {
        let HouseSetup {
            more,
            log,
            sip,
            sip_lines,
            transports,
            identity,
            hub,
            hashes,
            phone,
            plugins,
            routes,
        } = setup;
        let phones: String = ["100", "101", "102"]
            .iter()
            .map(|user| phone_row(user, PASSWORD, hashes, phone))
            .collect();
        // The plugins are in the folder of this test; the gateway looks beside its own program, which is another.
        let plugins = [plugin_folder()].into_iter().chain(plugins).collect();
        let setup = gateway::Setup {
            sip: (sip, 0).into(),
            listen: transports
                .iter()
                .map(|transport| format!("{transport}:{}", SocketAddr::new(sip, 0)))
                .collect(),
            identity,
            hub,
            plugins,
            sip_lines: sip_lines.into(),
            more: format!("[log]\nlevel = \"{log}\"\n{more}"),
            phones,
            routes: routes.into(),
        };
        let gateway = Gateway::start(Path::new(program), &setup)
            .await
            .expect("the gateway starts");
        Self {
            registry: registry(),
            gateway,
        }
    }

    /// A hub account's token.
    pub async fn invite(&self, user: &str) -> String {
        invite(&self.gateway, user, false).await
    }

    /// The hub's address for clients.
    pub fn hub(&self) -> String {
        url_of(&self.gateway)
    }

    /// An E2EE user who says 600 Hz.
    pub async fn user(&self, name: &str, answering: Answering, fault: Fault) -> E2eePeer {
        let token = self.invite(name).await;
        self.user_with(token, answering, fault).await
    }

    /// An E2EE user who has its token already.
    pub async fn user_with(&self, token: String, answering: Answering, fault: Fault) -> E2eePeer {
        self.user_at(self.hub(), token, answering, fault).await
    }

    /// The same, who reaches the hub at another address.
    pub async fn user_at(&self, hub: String, token: String, answering: Answering, fault: Fault) -> E2eePeer {
        self.user_from([127, 0, 0, 1].into(), hub, token, (answering, fault))
            .await
    }

    /// The same, at this address of his.
    pub async fn user_from(
        &self,
        address: IpAddr,
        hub: String,
        token: String,
        (answering, fault): (Answering, Fault),
    ) -> E2eePeer {
        let setup = e2ee_peer::Setup {
            hub,
            token,
            address,
            source: Source::Tone { hz: PEER_HZ },
            answering,
            fault,
        };
        E2eePeer::join(Arc::clone(&self.registry), setup)
            .await
            .expect("the user joins the hub")
    }

    /// A phone that says 440 Hz, registered.
    pub async fn phone(&self, user: &str, answers: bool) -> Phone {
        let mut phone = Phone::start(Arc::clone(&self.registry), self.phone_setup(user, answers))
            .await
            .expect("the phone starts");
        phone
            .wait(&phone::Event::Registered, SOON)
            .await
            .expect("the phone registers");
        phone
    }

    /// How such a phone is set up.
    pub fn phone_setup(&self, user: &str, answers: bool) -> phone::Setup {
        phone::Setup {
            gateway: self.gateway.sip().expect("the SIP address"),
            user: user.into(),
            password: PASSWORD.into(),
            codecs: vec!["pcmu".into()],
            source: Source::Tone { hz: PHONE_HZ },
            answers,
            transport: "rtp".into(),
            srtp: phone::Srtp::Off,
        }
    }

    /// The phone dials anna, who takes the call: both have media.
    pub async fn talk(desk: &mut Phone, anna: &mut E2eePeer) {
        desk.dial("anna");
        connected(desk).await;
        anna.wait("media", SOON, |event| {
            (*event == e2ee_peer::Event::Connected).then_some(())
        })
        .await
        .expect("media");
    }

    /// What `quartet status` says.
    pub async fn status(&self) -> Value {
        self.gateway.ask(&ControlRequest::Status).await.expect("status")
    }

    /// Waits until the hub elsewhere knows the gateway.
    pub async fn wait_hub_up(&self, limit: Duration) {
        self.wait_until(
            ControlRequest::Status,
            limit,
            "the hub does not know the gateway",
            |status| status["hub_up"] == true,
        )
        .await;
    }

    /// Waits until nothing of any call is left.
    pub async fn wait_idle(&self) {
        self.wait_until(ControlRequest::Status, SOON, "something of a call is left", |status| {
            ["calls", "legs", "media_sockets"].iter().all(|name| status[name] == 0)
        })
        .await;
    }

    /// Waits until SIP has forgotten all transactions as well.
    pub async fn wait_quiet(&self) {
        self.wait_idle().await;
        self.wait_until(ControlRequest::Status, 6 * SOON, "transactions stay", |status| {
            status["sip_transactions"] == 0
        })
        .await;
    }

    /// The record of the latest of `count` calls, once there are so many.
    pub async fn record(&self, count: usize) -> Value {
        self.records(count).await.swap_remove(count - 1)
    }

    /// All records, once there are so many: they are written by a thread of their own, so a call that is over may
    /// lack its own for a moment.
    pub async fn records(&self, count: usize) -> Vec<Value> {
        let end = std::time::Instant::now() + SOON;
        loop {
            let records = self.gateway.records();
            if records.len() >= count {
                return records;
            }
            assert!(
                std::time::Instant::now() < end,
                "only {} records\n{}",
                records.len(),
                self.gateway.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a column of the only call has this value.
    pub async fn wait_calls(&self, column: &str, value: &str, limit: Duration) {
        let what = format!("{column} is not {value}");
        self.wait_until(ControlRequest::Calls, limit, &what, |calls| calls[0][column] == value)
            .await;
    }

    /// Waits until a phone has registered.
    pub async fn wait_registered(&self, user: &str) {
        let what = format!("{user} is not registered");
        self.wait_until(ControlRequest::Phones, SOON, &what, |phones| {
            rows(phones).any(|phone| phone["user"] == user)
        })
        .await;
    }

    /// Waits until so many calls stand.
    pub async fn wait_talking(&self, count: usize) {
        self.wait_until(ControlRequest::Calls, SOON, &format!("not {count} calls"), |calls| {
            rows(calls).filter(|call| call["state"] == "talking").count() == count
        })
        .await;
    }

    /// Asks the gateway again and again until this holds of what it says; `what` is wrong until then.
    async fn wait_until(&self, request: ControlRequest, limit: Duration, what: &str, holds: impl Fn(&Value) -> bool) {
        let end = std::time::Instant::now() + limit;
        loop {
            let told = self.gateway.ask(&request).await.expect("the gateway answers");
            if holds(&told) {
                return;
            }
            assert!(
                std::time::Instant::now() < end,
                "{what}: {told}\n{}",
                self.gateway.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Resident memory of the gateway's own, in KiB: not the pages of its program, which the system drops and reads again.
    pub fn memory_kib(&self) -> u64 {
        memory_kib(self.gateway.pid()).expect("it runs")
    }
}

/// The rows of what the gateway lists.
fn rows(listed: &Value) -> impl Iterator<Item = &Value> {
    listed.as_array().into_iter().flatten()
}

/// A hub alone, at a port of its own.
pub async fn hub_alone(program: &str, more: &str) -> Gateway {
    hub_at(program, Hub::Here(([127, 0, 0, 1], 0).into()), None, more).await
}

/// The same there, with such a certificate and key.
pub async fn hub_at(program: &str, hub: Hub, identity: Option<(String, String)>, more: &str) -> Gateway {
    let setup = gateway::Setup {
        sip: ([127, 0, 0, 1], 0).into(),
        listen: Vec::new(),
        identity,
        hub,
        plugins: Vec::new(),
        sip_lines: String::new(),
        more: format!("[log]\nlevel = \"debug\"\n{more}"),
        phones: String::new(),
        routes: String::new(),
    };
    Gateway::start_hub(Path::new(program), &setup)
        .await
        .expect("the hub starts")
}

/// Where clients reach a hub, or the hub of a gateway.
pub fn url_of(hub: &Gateway) -> String {
    format!("ws://{}/hub/v1", hub.hub().expect("the hub's address"))
}

/// A token of an account on a hub, or on the hub of a gateway.
pub async fn invite(hub: &Gateway, user: &str, gateway: bool) -> String {
    let user = user.to_owned();
    let answer = hub
        .ask(&ControlRequest::Invite { user, gateway })
        .await
        .expect("invite");
    answer["token"].as_str().expect("a token").to_owned()
}

/// How an E2EE user sees its call end.
pub async fn ends(user: &mut E2eePeer) -> &'static str {
    let cause = |event: &e2ee_peer::Event| {
        if let e2ee_peer::Event::Ended(cause) = event {
            Some(*cause)
        } else {
            None
        }
    };
    user.wait("the end", SOON, cause).await.expect("the user is told")
}

/// Waits until a phone's call stands.
pub async fn connected(phone: &mut Phone) {
    let stands = phone.wait(&phone::Event::Connected, SOON).await;
    stands.expect("the call stands");
}

/// How a phone sees its call end.
pub async fn ended(phone: &mut Phone) -> &'static str {
    let cause = |event: &phone::Event| {
        if let phone::Event::Ended(cause) = event {
            Some(*cause)
        } else {
            None
        }
    };
    phone.wait_for("the end", SOON, cause).await.expect("the phone is told")
}

/// Waits until the last half second that a line has heard is this tone.
pub async fn hears(line: &Line, wanted: f32) {
    let heard = hears_within(line, wanted, SOON).await;
    heard.unwrap_or_else(|error| panic!("{error}"));
}

/// The same where it need not come.
///
/// # Errors
/// If it does not come in time; the text says what was heard.
pub async fn hears_within(line: &Line, wanted: f32, limit: Duration) -> Result<(), std::io::Error> {
    let end = std::time::Instant::now() + limit;
    loop {
        let audio = line.heard();
        let tone = hear::tone(
            &audio[audio.len().saturating_sub(hear::RATE as usize / 2)..],
            hear::RATE,
        );
        if tone.is_some_and(|tone| (tone.hz - wanted).abs() <= 5.0 && tone.share > 0.9) {
            return Ok(());
        }
        if std::time::Instant::now() >= end {
            return Err(std::io::Error::other(format!("{tone:?} instead of {wanted} Hz")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
