//! An office whose desk phones call users of the telegram network, by unmodified Telethon and PyTgCalls, over a data centre of our own.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use quartet::demo::gateway::Hub;
use quartet::demo::{Hashes, PHONE_HZ};
use quartet::io::control::ControlRequest;

use super::{CODE, DataCentre, Served, User, auth_key, prepare_login, public_pem};
use crate::house::{House, HouseSetup, MANY_CALLS, write_secret};
use crate::namespace::Namespace;
use crate::ntgcalls::Ntgcalls;
use crate::peers;

/// How long anything may take that other programs do.
const SOON: Duration = Duration::from_secs(20);

pub const ALICE: i64 = 1_001;
pub const BOB: i64 = 1_002;
pub const CAROL: i64 = 1_003;
pub const DAVE: i64 = 1_004;
/// Accounts of the gateway, from this number on.
pub const GATEWAY: i64 = 2_001;

const ROUTES: &str = r#"
[[route]]
name = "people at telegram"
from = "phones"
number = "tg*{user}"
to = "telegram:office/@{user}"
[[route]]
name = "with a wait"
from = "phones"
number = "q*{user}"
to = "telegram:office/@{user}"
wait = "30s"
[[route]]
name = "the front desk"
from = "network:telegram"
number = "main"
to = "phone:100"
"#;

/// What may differ from office to office.
pub struct OfficeSetup<'a> {
    /// Accounts of the gateway, the first of which is `main`.
    pub accounts: usize,
    /// Further options of each.
    pub account: &'a str,
    /// Further sections.
    pub more: &'a str,
    /// The level of its log.
    pub log: &'a str,
}

impl Default for OfficeSetup<'_> {
    fn default() -> Self {
        Self {
            accounts: 1,
            account: "",
            more: "",
            log: "debug",
        }
    }
}

/// A gateway with accounts in one pool, a data centre, and the namespace of its users.
pub struct Office {
    /// The gateway.
    pub house: House,
    /// Where its users are.
    pub namespace: Namespace,
    /// The service.
    pub served: Served,
    /// What is gone with it.
    pub folder: PathBuf,
}

impl Drop for Office {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// The name of an account by its place.
fn account(place: usize, first: &str) -> String {
    if place == 0 {
        first.to_owned()
    } else {
        format!("{first}{}", place + 1)
    }
}

impl Office {
    /// Starts all; none, with a visible line, where a peer is missing.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn start(program: &str, name: &str, setup: OfficeSetup<'_>) -> Option<Self> {
        peers::may_make_namespaces()?;
        peers::program("baresip")?;
        peers::python()?;
        let namespace = Namespace::new();
        let near: IpAddr = namespace.near().into();
        let people = [(ALICE, "Alice"), (BOB, "Bobby"), (CAROL, "Carol"), (DAVE, "Dave")];
        let mut users: Vec<User> = people.into_iter().map(|(id, name)| User::new(id, name)).collect();
        users.extend((0..setup.accounts).map(|place| User::new(GATEWAY + place as i64, &account(place, "Gateway"))));
        let mut centre = DataCentre::new(users, 5);
        for place in 0..setup.accounts {
            centre.log_in(auth_key(&account(place, "main")), GATEWAY + place as i64);
        }
        let served = Served::start(centre, near).await.expect("it listens");
        let folder = std::env::temp_dir().join(format!("quartet-tg-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (key, hash) = (folder.join("key"), folder.join("hash"));
        write_secret(&hash, "0123456789abcdef").expect("written");
        let mut conf = String::new();
        let names: Vec<String> = (0..setup.accounts).map(|place| account(place, "main")).collect();
        for (place, name) in names.iter().enumerate() {
            let session = folder.join(format!("{name}.session"));
            prepare_login(&session, &key, served.address(), name, Some(GATEWAY + place as i64));
            writeln!(
                conf,
                "[network.telegram.{name}]\napi_id = 1\napi_hash_file = {hash:?}\nsession_file = {session:?}\nsession_key_file = {key:?}\n{}",
                setup.account
            )
            .expect("a text");
        }
        let more = format!(
            "{conf}[telegram_pool.office]\naccounts = {names:?}\n{MANY_CALLS}{}",
            setup.more
        );
        let setup = HouseSetup {
            more: &more,
            log: setup.log,
            hub: Hub::Here((namespace.near(), 0).into()),
            hashes: Hashes::Md5,
            phone: "codecs = [\"pcmu\", \"opus\"]",
            routes: ROUTES,
            ..HouseSetup::default()
        };
        let house = House::build(program, setup).await;
        Some(Self {
            house,
            namespace,
            served,
            folder,
        })
    }

    /// Alice, with unmodified clients.
    pub fn alice(&self, more: &[&str]) -> Ntgcalls {
        self.user(ALICE, more)
    }

    /// A user of that number.
    pub fn user(&self, id: i64, more: &[&str]) -> Ntgcalls {
        let key = self.folder.join("dc.pem");
        std::fs::write(&key, public_pem()).expect("written");
        let (dc, phone) = (self.served.address().to_string(), format!("+1555{id}"));
        let key = key.display().to_string();
        let arguments = ["--dc", &dc, "--key", &key, "--phone", &phone, "--code", CODE];
        let arguments: Vec<&str> = arguments.iter().chain(more).copied().collect();
        let started = Ntgcalls::run(&self.namespace, "telegram_user.py", &arguments, &id.to_string());
        started.expect("installed").unwrap_or_else(|error| panic!("{error}"))
    }

    /// What `quartet calls` says.
    pub async fn calls(&self) -> serde_json::Value {
        self.house.gateway.ask(&ControlRequest::Calls).await.expect("calls")
    }

    /// What somebody at a phone dials.
    pub fn address(&self, number: &str) -> String {
        format!("sip:{number}@{}", self.house.gateway.sip().expect("the SIP address"))
    }

    /// Until all accounts are up: then their first requests have been made.
    pub async fn up(&self) {
        let is_up = |status: &serde_json::Value| {
            let accounts = status["telegram"].as_object();
            accounts.is_some_and(|accounts| !accounts.is_empty() && accounts.values().all(|word| word == "up"))
        };
        let end = std::time::Instant::now() + SOON;
        while !is_up(&self.house.status().await) || self.served.count(GATEWAY, "messages.getDhConfig") == 0 {
            assert!(std::time::Instant::now() < end, "{}", self.house.gateway.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for what a user sees.
    pub fn sees(&self, user: &mut Ntgcalls, event: &str) -> serde_json::Value {
        let seen = user.try_wait(event, SOON, |seen| seen["event"] == event);
        seen.unwrap_or_else(|error| panic!("{}", self.fails(&error.to_string())))
    }

    /// Waits until a user hears the phone's tone.
    pub fn hears_the_phone(&self, user: &mut Ntgcalls) {
        let is_it = |hz: f64| (hz - f64::from(PHONE_HZ)).abs() < 10.0;
        let hears = |event: &serde_json::Value| event["event"] == "tone" && event["hz"].as_f64().is_some_and(is_it);
        let heard = user.try_wait("the phone's tone", SOON, hears);
        heard.unwrap_or_else(|error| panic!("{}", self.fails(&error.to_string())));
    }

    /// What is to be read when something fails.
    pub fn fails(&self, what: &str) -> String {
        let requests = &self.served.centre().service.requests;
        format!("{what}\n{requests:#?}\n{}", self.house.gateway.log())
    }
}
