//! Calls with ntgcalls one after the other, in each signalling version, with the user called and calling: do they connect, do
//! both hear each other, are the emojis the same?
//!
//! `cargo test -p quartet-tests --test calls` makes three of each kind; `-- --calls 25 --versions 13.0.0 --roles called` others.
//! Options: `--calls N` of each kind, `--versions V,V`, `--roles called,calling`, `--loss P` per cent of the signalling packets
//! each way and `--jitter MS` of delay for each, drawn by `--seed N`. It ends with 1 if a call fails.
//! `--stay S` makes no calls: for S seconds there is a gateway with a phone 100 that answers and says 440 Hz, for a client of your
//! own to call from a network namespace; what the phone hears is printed each second.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a tool that is also run by hand and speaks to its user"
)]

use std::fmt::{self, Display};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quartet::demo::gateway::Hub;
use quartet::demo::{PEER_HZ, PHONE_HZ, hear, phone};
use quartet::io::control::ControlRequest;
use quartet_proto::e2ee::versions;
use quartet_tests::house::{House, HouseSetup, MANY_CALLS, hears_within};
use quartet_tests::namespace::Namespace;
use quartet_tests::ntgcalls::Ntgcalls;
use quartet_tests::peers;

/// The product, as cargo built it for these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quartet-under-test");

/// A call that has not connected by then never does.
const LIMIT: Duration = Duration::from_secs(40);

struct Options {
    calls: usize,
    versions: Vec<String>,
    roles: Vec<String>,
    loss: u32,
    jitter: u32,
    seed: u64,
    stay: u64,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut options = Self {
            calls: 3,
            versions: versions().into_iter().map(str::to_owned).collect(),
            roles: list("called,calling"),
            loss: 0,
            jitter: 0,
            seed: 1,
            stay: 0,
        };
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--calls" => options.calls = value.parse()?,
                "--versions" => options.versions = list(&value),
                "--roles" => options.roles = list(&value),
                "--loss" => options.loss = value.parse()?,
                "--jitter" => options.jitter = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--stay" => options.stay = value.parse()?,
                _ => anyhow::bail!("unknown option {word}; the head of tests/calls/main.rs lists them"),
            }
        }
        let is_role = |role: &String| role == "called" || role == "calling";
        ensure!(options.roles.iter().all(is_role), "roles are called and calling");
        Ok(options)
    }

    /// What the peer is started with beside its role.
    fn peer(&self, version: &str, call: usize) -> Vec<String> {
        let seed = self.seed * 1_000_003 + call as u64;
        [
            ("--versions", version.to_owned()),
            ("--max-time", "100000".to_owned()),
            ("--lose-signals", self.loss.to_string()),
            ("--jitter", self.jitter.to_string()),
            ("--seed", seed.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

impl Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (versions, roles) = (self.versions.join(","), self.roles.join(","));
        write!(
            f,
            "--calls {} --versions {versions} --roles {roles} --loss {} --jitter {} --seed {}",
            self.calls, self.loss, self.jitter, self.seed
        )
    }
}

/// How a call has gone.
struct Call {
    /// From dialling until both have heard the other.
    heard: Duration,
    /// The key begins with a zero byte, so that ntgcalls shows other emojis: once in 256 calls.
    other_emojis: bool,
}

/// One call; `user` is there already if it is called.
async fn call(
    house: &House,
    namespace: &Namespace,
    user: Option<&mut Ntgcalls>,
    peer: &[String],
    token: &str,
) -> anyhow::Result<Call> {
    let mut desk = house.phone("100", user.is_none()).await;
    let begin = Instant::now();
    let mut own;
    let user = match user {
        Some(user) => {
            user.forget();
            desk.dial("anna");
            user
        }
        None => {
            let dial = ["--dial", "100@gw"].map(str::to_owned);
            let words: Vec<&str> = peer.iter().chain(&dial).map(String::as_str).collect();
            own = Ntgcalls::start(namespace, &house.hub(), token, &words).context("installed")?;
            &mut own
        }
    };
    desk.wait(&phone::Event::Connected, LIMIT).await?;
    let shown = user.try_wait("emojis", LIMIT, |event| event["event"] == "emojis")?;
    hears_within(desk.line(), PEER_HZ, LIMIT).await?;
    let calls = house.gateway.ask(&ControlRequest::Calls).await?;
    let is_tone = |event: &serde_json::Value| {
        event["event"] == "tone"
            && event["hz"]
                .as_f64()
                .is_some_and(|hz| (hz - f64::from(PHONE_HZ)).abs() <= 5.0)
    };
    user.try_wait("440 Hz", LIMIT, is_tone)?;
    let heard = begin.elapsed();
    desk.hang_up();
    user.try_wait("the end", LIMIT, |event| event["event"] == "discarded")?;
    house.wait_idle().await;
    Ok(Call {
        heard,
        other_emojis: calls[0]["emojis"] != shown["emojis"],
    })
}

/// The house that is called, with its hub in reach of the namespace.
async fn build_house(namespace: &Namespace) -> House {
    let setup = HouseSetup {
        more: &format!("[call]\nverify = \"off\"\n{MANY_CALLS}"),
        hub: Hub::Here((namespace.near(), 0).into()),
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

/// A house to call, for a while.
async fn stay(options: &Options) {
    let namespace = Namespace::new();
    let house = build_house(&namespace).await;
    let mut desk = house.phone("100", true).await;
    let mut registered = Instant::now();
    println!("hub     {}", house.hub());
    println!("token   {}", house.invite("anna").await);
    println!("call    100@gw");
    println!(
        "run     {} YOUR_CLIENT   (its address there is {})",
        namespace.launcher(),
        namespace.far()
    );
    let end = Instant::now() + Duration::from_secs(options.stay);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let audio = desk.line().heard();
        let last = &audio[audio.len().saturating_sub(hear::RATE as usize)..];
        let calls = house.gateway.ask(&ControlRequest::Calls).await;
        let is_idle = calls
            .as_ref()
            .is_ok_and(|calls| calls.as_array().is_some_and(Vec::is_empty));
        if is_idle && registered.elapsed() > Duration::from_secs(120) {
            // It registers once, for a few minutes.
            desk = house.phone("100", true).await;
            registered = Instant::now();
        }
        let states: Vec<String> = calls
            .iter()
            .filter_map(|calls| calls.as_array())
            .flatten()
            .map(|call| format!("{} {}", call["state"], call["emojis"]))
            .collect();
        println!("phone   hears {:?}; calls {states:?}", hear::tone(last, hear::RATE));
    }
}

async fn run(options: &Options) -> anyhow::Result<(usize, usize)> {
    let namespace = Namespace::new();
    let house = build_house(&namespace).await;
    let token = house.invite("anna").await;
    let (mut good, mut bad) = (0, 0);
    for version in &options.versions {
        for role in &options.roles {
            let mut times = Vec::new();
            let (mut other_emojis, mut failed) = (0, 0);
            let start = |count| -> anyhow::Result<Option<Ntgcalls>> {
                let mut words = options.peer(version, count);
                words.extend(["--calls", "0"].map(str::to_owned));
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let started = Ntgcalls::start(&namespace, &house.hub(), &token, &words).context("installed")?;
                Ok(Some(started))
            };
            let mut user = if role == "called" { start(0)? } else { None };
            for count in 1..=options.calls {
                let peer = options.peer(version, count);
                match call(&house, &namespace, user.as_mut(), &peer, &token).await {
                    Ok(call) => {
                        times.push(call.heard);
                        other_emojis += usize::from(call.other_emojis);
                    }
                    Err(error) => {
                        let error = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
                        println!("{version:<7} {role:<7} call {count} fails: {error}");
                        let records = house.gateway.records();
                        println!(
                            "  the gateway's record: {}",
                            records.last().unwrap_or(&serde_json::Value::Null)
                        );
                        failed += 1;
                        drop(user.take());
                        house.wait_idle().await;
                        user = if role == "called" { start(count)? } else { None };
                    }
                }
            }
            times.sort_unstable();
            let seconds = |at: Option<&Duration>| at.map_or(0.0, Duration::as_secs_f64);
            let zero = if other_emojis > 0 {
                format!(", {other_emojis} with a key that begins with a zero byte")
            } else {
                String::new()
            };
            println!(
                "{version:<7} {role:<7} {} of {} connect, heard both ways in {:.2} s (median), {:.2} s at the latest{zero}",
                times.len(),
                options.calls,
                seconds(times.get(times.len() / 2)),
                seconds(times.last()),
            );
            // Of 256 calls one; far more would be our fault.
            ensure!(other_emojis <= 1 + options.calls / 32, "the emojis differ");
            good += times.len();
            bad += failed;
        }
    }
    Ok((good, bad))
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            println!("{error:#}");
            return ExitCode::from(2);
        }
    };
    if peers::may_make_namespaces().is_none() || peers::python().is_none() {
        return ExitCode::SUCCESS;
    }
    if options.stay > 0 {
        stay(&options).await;
        return ExitCode::SUCCESS;
    }
    match run(&options).await {
        Ok((good, 0)) => {
            println!("calls: holds, all {good} connect, and both hear each other ({options})");
            ExitCode::SUCCESS
        }
        Ok((good, bad)) => {
            println!("calls: FAILS, {bad} of {} do not connect ({options})", good + bad);
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("calls: FAILS, {error:#} ({options})");
            ExitCode::FAILURE
        }
    }
}
