//! What calls between PCMU and Opus over DTLS-SRTP cost the gateway, and beside it rtpengine with the same load, if there is one.
//!
//! Build everything first (`cargo build --release`), then `cargo run --release -p quartet-tests --example load`. Options:
//! `--calls 20 --seconds 10 --runs 3 --rtpengine opus|opus/48000/1|none --only quartet|rtpengine --options TOML --hold SECONDS
//! --hub here|elsewhere`: elsewhere, it is killed and started again while all calls stand. `--setups 60` only makes calls and ends
//! them; a user may make some 150 requests a minute of each kind. `--talk 50`: in so many calls both talk without a pause, in the others each
//! sends a packet in ten seconds, which tells that it is there.
//! What the figures mean: docs/performance.md. Linux only.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a tool that is run by hand and speaks to its user"
)]

mod ends;
mod quartet;
mod rtpengine;
mod speech;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::quartet::demo::plugins_of;
use ::quartet::plugins::Registry;
use anyhow::{Context, ensure};
use serde_json::{Value, json};

use self::ends::{Ends, Manner, Stats};
use self::speech::Speech;
use quartet_tests::peers;
use quartet_tests::speech::{score, write_wav};
use quartet_tests::usage::{Cpu, pss_kib};

/// Before the measured interval, so that buffers and decoders are settled.
const SETTLE: Duration = Duration::from_secs(4);

struct Options {
    calls: usize,
    /// In how many of them somebody talks.
    talk: usize,
    seconds: f64,
    runs: usize,
    rtpengine: String,
    only: String,
    more: String,
    hold: u64,
    elsewhere: bool,
    setups: usize,
}

impl Options {
    /// The first call is the probe.
    fn manner(&self, call: usize) -> Manner {
        match call {
            0 => Manner::Probe,
            _ if call < self.talk => Manner::Talk,
            _ => Manner::Listen,
        }
    }
}

/// One run of one subject.
struct Figures {
    cpu: Cpu,
    per_call_minute: f64,
    kib_per_call: f64,
    base_kib: f64,
    setup_cpu_ms: f64,
    setup_ms: Vec<f64>,
    stats: Stats,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = options()?;
    // Each call has sockets at all its ends.
    ::quartet::process::raise_descriptor_limit();
    let here = std::env::current_exe()?;
    // Examples lie in a folder beside the programs.
    let program = here
        .parent()
        .and_then(|folder| folder.parent())
        .context("no folder")?
        .join("quartet");
    let registry = plugins_of(program.parent().context("no folder")?)?;
    let speech = Arc::new(Speech::new(&registry)?);
    if options.setups > 0 {
        return set_up(&program, &registry, &speech, &options).await;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        // By turns, so that a slow minute of the machine meets both.
        if options.rtpengine != "none" && options.only != "quartet" {
            theirs.push(show("rtpengine", rtpengine(&registry, &speech, &options).await?));
        }
        if options.only != "rtpengine" {
            ours.push(show("quartet", quartet(&program, &registry, &speech, &options).await?));
        }
    }
    let summary = |all: &[Figures]| (!all.is_empty()).then(|| summary(all));
    let ratio = (!ours.is_empty() && !theirs.is_empty()).then(|| {
        let middle = |all: &[Figures]| median(all.iter().map(|one| one.per_call_minute).collect());
        round(middle(&ours) / middle(&theirs))
    });
    let last = json!({
        "calls": options.calls, "talking": options.talk.min(options.calls), "seconds": options.seconds, "runs": options.runs, "rtpengine_opus": options.rtpengine,
        "quartet": summary(&ours), "rtpengine": summary(&theirs), "cpu_ratio": ratio,
    });
    println!("{last}");
    Ok(())
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options {
        calls: 20,
        talk: usize::MAX,
        seconds: 10.0,
        runs: 3,
        rtpengine: "opus".into(),
        only: String::new(),
        more: String::new(),
        hold: 0,
        elsewhere: false,
        setups: 0,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--calls" => options.calls = value.parse()?,
            "--talk" => options.talk = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--runs" => options.runs = value.parse()?,
            "--rtpengine" => options.rtpengine = value,
            "--only" => options.only = value,
            "--options" => options.more = value.replace("\\n", "\n"),
            "--hold" => options.hold = value.parse()?,
            "--setups" => options.setups = value.parse()?,
            "--hub" => options.elsewhere = value == "elsewhere",
            _ => anyhow::bail!("unknown option {word}"),
        }
    }
    ensure!(
        options.calls > 0 && options.runs > 0 && options.seconds > 0.0,
        "nothing to do"
    );
    Ok(options)
}

/// What it costs to make a call and to end it, as CPU of the gateway, for calls of the phone and of the user.
async fn set_up(
    program: &Path,
    registry: &Arc<Registry>,
    speech: &Arc<Speech>,
    options: &Options,
) -> anyhow::Result<()> {
    let more = "[limits]\ncalls_per_minute_phone = 60000\ncalls_per_minute_callee = 60000\ncalls_per_minute_route = 60000\n\
                hub_requests_per_minute = 60000";
    let mut ends = Ends::start(Arc::clone(registry), Arc::clone(speech))?;
    let mut subject = quartet::Subject::start(program, Arc::clone(registry), 2, more, false).await?;
    for _ in 0..2 {
        subject.pair(&mut ends, Manner::Talk).await?;
    }
    for _ in 0..options.runs {
        let both = subject.set_up_between_users(options.setups).await? * 1e3 / options.setups as f64;
        println!(
            "a user calls a user: {:.2} CPU ms a leg, {} calls",
            both / 2.0,
            options.setups
        );
        for (by_phone, way) in [(true, "the phone calls"), (false, "the user calls")] {
            let each = subject.set_up(options.setups, by_phone).await? * 1e3 / options.setups as f64;
            println!("{way}: {each:.2} CPU ms a call, {} calls", options.setups);
        }
    }
    Ok(())
}

async fn quartet(
    program: &Path,
    registry: &Arc<Registry>,
    speech: &Arc<Speech>,
    options: &Options,
) -> anyhow::Result<Figures> {
    let mut ends = Ends::start(Arc::clone(registry), Arc::clone(speech))?;
    let mut subject = quartet::Subject::start(
        program,
        Arc::clone(registry),
        options.calls,
        &options.more,
        options.elsewhere,
    )
    .await?;
    for call in 0..options.calls {
        subject.pair(&mut ends, options.manner(call)).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Registrations and the hub's accounts are there already: what grows from here on is calls.
    let (base_kib, before) = (pss_kib(subject.pid()), Cpu::of(subject.pid()));
    let setup_ms = subject.call_all().await?;
    let setup_cpu_ms = Cpu::of(subject.pid()).since(before).total() * 1e3 / options.calls as f64;
    let figures = measure(subject.pid(), &ends, options, base_kib, setup_cpu_ms, setup_ms).await;
    if options.elsewhere {
        let ended = subject.outlive_the_hub().await?;
        let silent = figures.stats.silent;
        ensure!(
            (ended, silent) == (options.calls, 0),
            "hub: {ended} of {} calls outlive their hub, {silent} legs hear nothing",
            options.calls
        );
        println!("hub: holds, all {ended} calls at once hear each other, and outlive their hub");
    }
    show_pesq("quartet", &figures.stats, speech, options.seconds)?;
    let log = subject.log();
    if !log.is_empty() {
        println!("the gateway's log:\n{log}");
    }
    Ok(figures)
}

async fn rtpengine(registry: &Arc<Registry>, speech: &Arc<Speech>, options: &Options) -> anyhow::Result<Figures> {
    let mut ends = Ends::start(Arc::clone(registry), Arc::clone(speech))?;
    let mut subject = rtpengine::Subject::start(&options.rtpengine)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (base_kib, before) = (pss_kib(subject.pid()), Cpu::of(subject.pid()));
    let mut setup_ms = Vec::new();
    for call in 0..options.calls {
        setup_ms.push(subject.call(&mut ends, options.manner(call))?);
    }
    let setup_cpu_ms = Cpu::of(subject.pid()).since(before).total() * 1e3 / options.calls as f64;
    let figures = measure(subject.pid(), &ends, options, base_kib, setup_cpu_ms, setup_ms).await;
    show_pesq("rtpengine", &figures.stats, speech, options.seconds)?;
    Ok(figures)
}

/// How well the ends of the second call hear each other, as PESQ (narrowband): the even one speaks PCMU. Needs 16 s and the peers of
/// `tests/setup`.
fn show_pesq(name: &str, stats: &Stats, speech: &Speech, seconds: f64) -> anyhow::Result<()> {
    if peers::python().is_none() || seconds < 16.0 {
        return Ok(());
    }
    let folder = peers::root().join("target/load");
    std::fs::create_dir_all(&folder)?;
    for (end, (began, heard)) in &stats.heard {
        let to = if end % 2 == 0 { "PCMU" } else { "Opus" };
        let file = |what: &str| folder.join(format!("{name}-{to}-{what}.wav"));
        write_wav(&file("said"), 48_000, &speech.from(*began, seconds as usize))?;
        write_wav(&file("heard"), 8_000, heard)?;
        let figures = score(&file("said"), &file("heard"), 8_000, seconds as u64).map_err(anyhow::Error::from_boxed)?;
        println!("{name} to {to}: {figures}");
    }
    Ok(())
}

/// The interval, once all calls stand.
async fn measure(
    pid: u32,
    ends: &Ends,
    options: &Options,
    base_kib: f64,
    setup_cpu_ms: f64,
    setup_ms: Vec<f64>,
) -> Figures {
    tokio::time::sleep(SETTLE).await;
    if options.hold > 0 {
        println!(
            "process {pid} is in {} calls for {} s more",
            options.calls, options.hold
        );
        tokio::time::sleep(Duration::from_secs(options.hold)).await;
    }
    ends.reset();
    let (began, before) = (std::time::Instant::now(), Cpu::of(pid));
    tokio::time::sleep(Duration::from_secs_f64(options.seconds)).await;
    let (took, cpu) = (began.elapsed().as_secs_f64(), Cpu::of(pid).since(before));
    let calls = options.calls as f64;
    Figures {
        cpu,
        per_call_minute: cpu.total() / (calls * took / 60.0),
        kib_per_call: (pss_kib(pid) - base_kib) / calls,
        base_kib,
        setup_cpu_ms,
        setup_ms,
        stats: ends.stats(),
    }
}

fn show(name: &str, figures: Figures) -> Figures {
    let stats = &figures.stats;
    println!(
        "{name:<10} {:.3} CPU s per call-minute ({:.2} user, {:.2} system), {:.0} KiB a call over {:.0}, set-up {:.1} ms and \
         {:.1} CPU ms, delay to PCMU {:.1} ms, to Opus {:.1} ms; sent {}, received {}, lost {}, silent legs {}, late turns {}",
        figures.per_call_minute,
        figures.cpu.user,
        figures.cpu.system,
        figures.kib_per_call,
        figures.base_kib,
        median(figures.setup_ms.clone()),
        figures.setup_cpu_ms,
        median(stats.delay_pcmu_ms.clone()),
        median(stats.delay_opus_ms.clone()),
        stats.sent,
        stats.received,
        stats.lost,
        stats.silent,
        stats.late_turns,
    );
    figures
}

fn summary(all: &[Figures]) -> Value {
    let of = |pick: fn(&Figures) -> f64| {
        let values: Vec<f64> = all.iter().map(pick).collect();
        let (least, most) = values
            .iter()
            .fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        json!({ "min": round(least), "median": round(median(values)), "max": round(most) })
    };
    json!({
        "cpu_s_per_call_minute": of(|one| one.per_call_minute),
        "user_share": of(|one| one.cpu.user / one.cpu.total().max(1e-9)),
        "kib_per_call": of(|one| one.kib_per_call),
        "setup_ms": of(|one| median(one.setup_ms.clone())),
        "setup_cpu_ms": of(|one| one.setup_cpu_ms),
        "delay_to_pcmu_ms": of(|one| median(one.stats.delay_pcmu_ms.clone())),
        "delay_to_opus_ms": of(|one| median(one.stats.delay_opus_ms.clone())),
        "lost": of(|one| one.stats.lost as f64),
        "silent_legs": of(|one| one.stats.silent as f64),
    })
}

/// Not a number if there are none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
