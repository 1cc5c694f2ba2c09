//! One network with all that stands in it, and one attempt after the other.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use quartet::demo::gateway::{Gateway, Hub, Setup};
use quartet::demo::{PEER_HZ, PHONE_HZ, hear, phone};
use quartet_tests::house::{House, HouseSetup, MANY_CALLS, ROUTES, invite, write_secret};
use quartet_tests::namespace::Host;
use quartet_tests::network::Network;
use quartet_tests::ntgcalls::Ntgcalls;
use quartet_tests::turnserver::{self, TurnServer};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::cells::{Cell, Far, HANDSET, HUB_AT, INTERNET, OFFICE, RELAY_AT};

/// The product, as cargo built it for these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quartet-under-test");

/// An attempt that has come to nothing by then is given up.
const LIMIT: Duration = Duration::from_secs(40);

/// How often the handset may try to reach the hub.
const STARTS: usize = 5;

const OUT_OF_STEP: &str = "the two ends are out of step";

const REFLECTOR_SECRET: &str = "of the reflector";

/// All that a cell needs.
pub(crate) struct World {
    /// How long a call goes on after each has heard the other.
    lasts: Duration,
    seed: u64,
    // Those inside it end before the network.
    ours: Option<OurEnd>,
    native: Option<Ntgcalls>,
    house: House,
    records: usize,
    token: String,
    _hub: Gateway,
    _relay: TurnServer,
    _secrets: Secrets,
    pub(crate) network: Network,
}

/// How an attempt has gone.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) times: Times,
    /// The record of the call.
    pub(crate) record: Value,
    /// What the handset said, if not both have heard.
    pub(crate) said: String,
}

/// When a call was taken, and when each end first heard the other, as [`now`] has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    taken: Option<f64>,
    office: Option<f64>,
    handset: Option<f64>,
}

impl Times {
    /// From when the callee took the call until each has heard the other.
    pub(crate) fn heard(&self) -> Option<Duration> {
        let both = self.office?.max(self.handset?);
        Some(Duration::from_secs_f64((both - self.taken?).max(0.0)))
    }
}

/// Seconds of the wall clock, which all processes share.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The files of the secrets; gone with this.
struct Secrets(PathBuf);

impl Secrets {
    fn new(seed: u64) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = std::env::temp_dir().join(format!("q-connect-{}-{seed}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let secrets = Self(folder);
        for (name, text) in [("turn", turnserver::SECRET), ("reflector", REFLECTOR_SECRET)] {
            write_secret(&secrets.at(name), text)?;
        }
        Ok(secrets)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A row of servers for each kind of secret.
    fn servers(&self, urls: &[String], more: &str) -> String {
        let mut text = String::new();
        for (name, is_mine) in [("reflector", true), ("turn", false)] {
            let urls: Vec<&String> = urls
                .iter()
                .filter(|url| url.starts_with("reflector:") == is_mine)
                .collect();
            if !urls.is_empty() {
                let file = self.at(name);
                text += &format!("[[ice_server]]\nurls = {urls:?}\nsecret_file = {file:?}\n{more}");
            }
        }
        text
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

impl World {
    /// Builds it. The threads of this runtime must be in the office.
    pub(crate) async fn new(cell: &'static Cell, network: Network, seed: u64) -> anyhow::Result<Self> {
        let secrets = Secrets::new(seed)?;
        let internet = &network[INTERNET];
        let relay = TurnServer::start_at(internet, RELAY_AT.into(), 443, true).context("installed")?;
        let hub = start_hub(internet, cell, &secrets)?;
        let token = invite(&hub, "anna", false).await;
        let office = office_conf(cell, &secrets, &relay);
        let office_token = invite(&hub, "office", true).await;
        let house = build_house(cell.address(OFFICE), &office, office_token, &routes_of(cell)).await;
        let ours = match cell.far {
            Far::Ours => Some(OurEnd::start(
                &network[HANDSET],
                cell.address(HANDSET),
                invite(&hub, "home", true).await,
            )?),
            Far::Native => None,
        };
        Ok(Self {
            lasts: Duration::from_secs(u64::from(!cell.path.is_empty())),
            seed,
            ours,
            native: None,
            house,
            records: 0,
            token,
            _hub: hub,
            _relay: relay,
            _secrets: secrets,
            network,
        })
    }

    /// What the gateway has logged.
    pub(crate) fn log(&self) -> String {
        self.house.gateway.log()
    }

    /// One call, from the office or, if `is_calling`, from the handset.
    pub(crate) async fn attempt(&mut self, count: u64, is_calling: bool) -> anyhow::Result<Attempt> {
        let (times, said) = if self.ours.is_some() {
            (self.call_ours().await?, String::new())
        } else if is_calling {
            self.native = None;
            self.native_calls(count).await?
        } else {
            self.call_native(count).await?
        };
        self.records += 1;
        let record = self.house.record(self.records).await;
        self.house.wait_idle().await;
        Ok(Attempt { times, record, said })
    }

    fn start_native(&self, count: u64, more: &[&str]) -> anyhow::Result<Ntgcalls> {
        let seed = (self.seed * 10_000 + count).to_string();
        let mut words = vec!["--max-time", "100000", "--seed", &seed];
        words.extend(more);
        // On a bad network it may give up before the hub knows it; what is tried here comes afterwards.
        let start =
            || Ntgcalls::try_start(&self.network[HANDSET], &hub_url(), &self.token, &words).context("installed");
        for _ in 1..STARTS {
            if let Ok(started) = start()? {
                return Ok(started);
            }
        }
        Ok(start()??)
    }

    async fn call_native(&mut self, count: u64) -> anyhow::Result<(Times, String)> {
        let mut user = match self.native.take() {
            Some(user) => user,
            None => self.start_native(count, &["--calls", "0"])?,
        };
        user.forget();
        let mut desk = self.house.phone("100", false).await;
        desk.dial("anna");
        let taken = poll_event(&mut user, "accepted", LIMIT).await;
        let outcome = talk(&desk, &mut user, taken, self.lasts).await;
        if outcome.0.heard().is_some() && user.runs() {
            self.native = Some(user);
        }
        Ok(outcome)
    }

    async fn native_calls(&self, count: u64) -> anyhow::Result<(Times, String)> {
        let mut desk = self.house.phone("100", true).await;
        let mut user = self.start_native(count, &["--dial", "100@office"])?;
        let taken = taken_at(&mut desk).await;
        Ok(talk(&desk, &mut user, taken, self.lasts).await)
    }

    async fn call_ours(&self) -> anyhow::Result<Times> {
        let ours = self.ours.as_ref().context("there is one")?;
        ours.take_a_call()?;
        let mut desk = self.house.phone("100", false).await;
        anyhow::ensure!(ours.next().await? == Told::Ready, OUT_OF_STEP);
        desk.dial("home");
        let Told::Called(taken) = ours.next().await? else {
            bail!(OUT_OF_STEP)
        };
        let office = first_tone(desk.line(), PHONE_HZ, now() + LIMIT.as_secs_f64()).await;
        let Told::Heard(handset) = ours.next().await? else {
            bail!(OUT_OF_STEP)
        };
        desk.hang_up();
        anyhow::ensure!(ours.next().await? == Told::Over, OUT_OF_STEP);
        Ok(Times { taken, office, handset })
    }
}

/// When the phone, which takes each call at once, was called; if it was.
async fn taken_at(desk: &mut phone::Phone) -> Option<f64> {
    let is_called = |event: &phone::Event| matches!(event, phone::Event::Called(_)).then(now);
    desk.wait_for("a call", LIMIT, is_called).await.ok()
}

/// Listens at both ends of a call that was taken, and hangs up. Gives what the handset said as well, unless all is well.
async fn talk(desk: &phone::Phone, user: &mut Ntgcalls, taken: Option<f64>, lasts: Duration) -> (Times, String) {
    let end = now() + LIMIT.as_secs_f64();
    let left = || Duration::from_secs_f64((end - now()).max(0.0));
    let (mut office, mut handset) = (None, None);
    if taken.is_some() {
        let over = async { _ = poll_event(user, "discarded", LIMIT).await };
        office = tokio::select! {
            heard = first_tone(desk.line(), PEER_HZ, end) => heard,
            () = over => None,
        };
    }
    if office.is_some() {
        handset = poll_event(user, "sound", left()).await;
    }
    let times = Times { taken, office, handset };
    if times.heard().is_some() {
        tokio::time::sleep(lasts).await;
        desk.hang_up();
        poll_event(user, "discarded", LIMIT).await;
        return (times, String::new());
    }
    desk.hang_up();
    user.read();
    let words = user
        .events
        .iter()
        .filter(|event| event["event"] != "tone")
        .map(|event| match event.is_object() {
            true => format!("{} {}", event["event"], event["state"]),
            false => event.to_string(),
        });
    (times, words.collect::<Vec<_>>().join(", "))
}

/// When the handset said that event, if it does.
async fn poll_event(user: &mut Ntgcalls, name: &str, limit: Duration) -> Option<f64> {
    let end = now() + limit.as_secs_f64();
    loop {
        user.read();
        let find = |wanted: &str| user.events.iter().find(|event| event["event"] == wanted);
        if let Some(event) = find(name) {
            return event["at"].as_f64();
        }
        let is_over = find("discarded").is_some() || find("refused").is_some();
        if now() > end || is_over || !user.runs() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// When a line first heard a tenth of a second of that tone, if it does by `end`.
async fn first_tone(line: &quartet::demo::line::Line, hz: f32, end: f64) -> Option<f64> {
    loop {
        let audio = line.heard();
        let last = &audio[audio.len().saturating_sub(hear::RATE as usize / 10)..];
        let tone = hear::tone(last, hear::RATE);
        if tone.is_some_and(|tone| (tone.hz - hz).abs() <= 10.0 && tone.share > 0.5) {
            return Some(now());
        }
        if now() > end {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn hub_url() -> String {
    format!("ws://{HUB_AT}:443/hub/v1")
}

/// A hub on its own, and our relay in the same process.
fn start_hub(internet: &Host, cell: &Cell, secrets: &Secrets) -> anyhow::Result<Gateway> {
    let secret = secrets.at("reflector");
    let reflector =
        format!("[reflector]\nlisten = [\"udp:{RELAY_AT}:599\", \"tcp:{RELAY_AT}:599\"]\nsecret_file = {secret:?}\n");
    let setup = Setup {
        sip: ([127, 0, 0, 1], 0).into(),
        listen: Vec::new(),
        identity: None,
        hub: Hub::Here((HUB_AT, 443).into()),
        plugins: Vec::new(),
        sip_lines: String::new(),
        more: format!(
            "[log]\nlevel = \"debug\"\n{MANY_CALLS}{reflector}{}",
            secrets.servers(&cell.urls(), "")
        ),
        phones: String::new(),
        routes: String::new(),
    };
    internet.run(|| runtime()?.block_on(Gateway::start_hub(Path::new(PROGRAM), &setup)))
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// What a gateway's own conf says of servers: those over TLS, since it must be told whom to trust.
fn office_conf(cell: &Cell, secrets: &Secrets, relay: &TurnServer) -> String {
    let ca = format!("ca_file = {:?}\n", relay.ca_file());
    let tls = if cell.has_tls() {
        secrets.servers(&[format!("turns:{RELAY_AT}:443")], &ca)
    } else {
        String::new()
    };
    format!("[call]\nverify = \"off\"\n{MANY_CALLS}{tls}")
}

fn routes_of(cell: &Cell) -> String {
    // On a bad network it takes a while until it rings.
    let routes = ROUTES.replace("\"3s\"", "\"30s\"");
    let routes = routes.replace("[[route]]", &format!("[[route]]\nrelay_only = {}", cell.hides()));
    match cell.far {
        Far::Native => routes,
        Far::Ours => routes.replace("\"hub:{user}\"", "\"hub:100@home\""),
    }
}

/// A gateway whose phones are at its own address: then it does not offer loopback to users.
async fn build_house(at: Ipv4Addr, more: &str, token: String, routes: &str) -> House {
    let house = House::build(
        PROGRAM,
        HouseSetup {
            more,
            sip: at.into(),
            hub: Hub::Elsewhere {
                url: hub_url(),
                token,
                authority: None,
            },
            routes,
            ..HouseSetup::default()
        },
    )
    .await;
    house.wait_hub_up(LIMIT).await;
    house
}

/// A gateway of ours at the handset's place with a phone that takes each call, on a thread that is there.
struct OurEnd {
    /// Each asks for one call to be taken; the thread ends when this is dropped.
    orders: Option<mpsc::Sender<()>>,
    told: Mutex<mpsc::Receiver<Told>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Drop for OurEnd {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// What it says of a call, in this order.
#[derive(Debug, PartialEq)]
enum Told {
    Ready,
    Called(Option<f64>),
    Heard(Option<f64>),
    Over,
}

impl OurEnd {
    fn start(host: &Arc<Host>, at: Ipv4Addr, token: String) -> anyhow::Result<Self> {
        let (orders, queue) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let inside = Arc::clone(host);
        let thread = std::thread::spawn(move || {
            inside.enter();
            runtime()?.block_on(take_calls(at, token, &queue, &tell))
        });
        Ok(Self {
            orders: Some(orders),
            told: Mutex::new(told),
            thread: Some(thread),
        })
    }

    fn take_a_call(&self) -> anyhow::Result<()> {
        let orders = self.orders.as_ref().context("there until the end")?;
        orders.send(()).context("the handset's end runs")
    }

    async fn next(&self) -> anyhow::Result<Told> {
        let end = now() + 3.0 * LIMIT.as_secs_f64();
        loop {
            let next = self.told.lock().expect("nobody panics with it").try_recv();
            match next {
                Ok(told) => return Ok(told),
                Err(mpsc::TryRecvError::Empty) if now() < end => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => bail!("the handset's end says nothing: {error}"),
            }
        }
    }
}

async fn take_calls(
    at: Ipv4Addr,
    token: String,
    orders: &mpsc::Receiver<()>,
    tell: &mpsc::Sender<Told>,
) -> anyhow::Result<()> {
    let house = build_house(at, &format!("[call]\nverify = \"off\"\n{MANY_CALLS}"), token, ROUTES).await;
    loop {
        match orders.try_recv() {
            Ok(()) => {}
            Err(mpsc::TryRecvError::Empty) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
        }
        let mut desk = house.phone("100", true).await;
        desk.line().say(quartet::demo::line::Source::Tone { hz: PHONE_HZ });
        tell.send(Told::Ready)?;
        let taken = taken_at(&mut desk).await;
        tell.send(Told::Called(taken))?;
        let heard = match taken {
            Some(_) => first_tone(desk.line(), PHONE_HZ, now() + LIMIT.as_secs_f64()).await,
            None => None,
        };
        tell.send(Told::Heard(heard))?;
        house.wait_idle().await;
        tell.send(Told::Over)?;
    }
}
