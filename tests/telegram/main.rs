//! Calls to a telegram user (unmodified PyTgCalls over Telethon) one after the other: does each connect, do both hear each other, and
//! does the gateway grow?
//!
//! `cargo test -p quartet-tests --test telegram` makes ten; `-- --calls 100` more. It ends with 1 if a call fails, or, of fifty calls and
//! more, if memory grows by a MiB or a descriptor stays open between the middle and the end.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a tool that is also run by hand and speaks to its user"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quartet::demo::{PEER_HZ, phone};
use quartet_tests::house::hears_within;
use quartet_tests::telegram::office::{GATEWAY, Office, OfficeSetup};
use quartet_tests::usage;

/// The product, as cargo built it for these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quartet-under-test");
/// A call that has not connected by then never does.
const LIMIT: Duration = Duration::from_secs(20);
/// From so many calls on it is measured: until SIP has forgotten the last one half a minute passes.
const MEASURED: usize = 50;
/// How much memory may grow from the middle to the end, in KiB.
const MAX_GROWTH: u64 = 1024;

/// What the gateway and the client of its account use.
#[derive(Clone, Copy, Debug)]
struct Size {
    kib: u64,
    descriptors: usize,
}

fn size(office: &Office) -> anyhow::Result<Size> {
    let family = usage::family(office.house.gateway.pid());
    ensure!(
        family.len() == 2,
        "the gateway and the client of its account: {family:?}"
    );
    let mut size = Size { kib: 0, descriptors: 0 };
    for pid in family {
        size.kib += usage::memory_kib(pid).context("it has ended")?;
        size.descriptors += usage::descriptors(pid).context("it has ended")?;
    }
    Ok(size)
}

/// How long after dialling both have heard the other.
async fn call(
    office: &Office,
    alice: &mut quartet_tests::ntgcalls::Ntgcalls,
    number: usize,
) -> anyhow::Result<Duration> {
    alice.forget();
    let mut desk = office.house.phone("100", false).await;
    let begin = Instant::now();
    desk.dial("tg*alice");
    desk.wait(&phone::Event::Connected, LIMIT).await?;
    alice.try_wait("connected", LIMIT, |event| event["event"] == "connected")?;
    hears_within(desk.line(), PEER_HZ, LIMIT).await?;
    alice.try_wait("440 Hz", LIMIT, |event| {
        event["event"] == "tone" && event["hz"].as_f64().is_some_and(|hz| (hz - 440.0).abs() < 10.0)
    })?;
    let heard = begin.elapsed();
    desk.hang_up();
    alice.try_wait("the end", LIMIT, |event| event["event"] == "ended")?;
    let record = office.house.record(number).await;
    ensure!(record["cause"] == "answered", "{record:#}");
    office.house.wait_idle().await;
    Ok(heard)
}

async fn run(calls: usize) -> anyhow::Result<Option<String>> {
    let setup = OfficeSetup {
        account: "calls_per_hour = 1000",
        more: "[call]\nverify = \"off\"\n",
        log: "info",
        ..OfficeSetup::default()
    };
    let Some(office) = Office::start(PROGRAM, "trial", setup).await else {
        return Ok(None);
    };
    office.up().await;
    let mut alice = office.alice(&["--tone", &PEER_HZ.to_string(), "--max-time", "100000"]);
    let mut times = Vec::new();
    let mut middle = None;
    for number in 1..=calls {
        let heard = call(&office, &mut alice, number).await;
        times.push(heard.with_context(|| format!("call {number} of {calls}"))?);
        if number == calls / 2 && calls >= MEASURED {
            office.house.wait_quiet().await;
            middle = Some(size(&office)?);
        }
    }
    let mut grown = String::new();
    if let Some(middle) = middle {
        office.house.wait_quiet().await;
        let end = size(&office)?;
        let growth = end.kib.saturating_sub(middle.kib);
        ensure!(
            growth < MAX_GROWTH,
            "memory has grown by {growth} KiB: {middle:?}, {end:?}"
        );
        ensure!(
            end.descriptors == middle.descriptors,
            "descriptors: {middle:?}, {end:?}"
        );
        grown = format!(
            "; from the middle on {growth} KiB more, {} descriptors as before",
            end.descriptors
        );
    }
    let requests = office.served.count(GATEWAY, "phone.requestCall");
    ensure!(requests == calls, "{requests} requests for {calls} calls");
    times.sort_unstable();
    Ok(Some(format!(
        "all {calls} connect, heard both ways after {:.2} s (median), {:.2} s at the latest{grown}",
        times[times.len() / 2].as_secs_f64(),
        times[times.len() - 1].as_secs_f64(),
    )))
}

fn calls() -> anyhow::Result<usize> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words[..] {
        [] => Ok(10),
        [option, number] if option == "--calls" => number.parse().context("--calls needs a number"),
        _ => anyhow::bail!("the only option is --calls N"),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match calls() {
        Ok(calls) => run(calls).await,
        Err(error) => {
            println!("{error:#}");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(Some(verdict)) => println!("telegram: holds, {verdict}"),
        Ok(None) => {}
        Err(error) => {
            println!("telegram: FAILS, {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
