//! Attempts to call a handset on many kinds of network: do both hear each other, how soon, by which way, and if not, why?
//!
//! `./trial connect` makes 1,080, three networks at a time; `-- --attempts 5 --cells lan,udp-blocked` others. Options: `--attempts N` of
//! each cell, `--cells NAME,NAME`, `--lanes N` at a time, `--seed N`. Half of the calls come from the office, half from the handset.
//! A cell is a process of its own, in a simulated network of its own (`quartet_tests::network`): the gateway and its phone in an
//! office, an unmodified ntgcalls at the handset, and in the internet a hub, our reflector and coturn. Of an attempt that misses, what the
//! gateway had logged until then is in `target/connect`.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a tool that is also run by hand and speaks to its user"
)]

mod cells;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quartet_tests::lanes;
use quartet_tests::network::{Network, capture};
use quartet_tests::peers;
use serde_json::{Value, json};

use self::cells::{CELLS, Cell, HANDSET, OFFICE, OFFICE_AT, Wanted};
use self::world::{Attempt, World};

struct Options {
    attempts: u64,
    cells: Vec<&'static Cell>,
    lanes: usize,
    seed: u64,
    /// This process is one cell, and says its outcome to another.
    is_lane: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            attempts: 60,
            cells: CELLS.iter().collect(),
            lanes: 3,
            seed: 1,
            is_lane: false,
        };
        let cell = |name: &str| {
            let names = || CELLS.iter().map(|cell| cell.name).collect::<Vec<_>>().join(", ");
            Cell::named(name).with_context(|| format!("there is no cell {name}; there are {}", names()))
        };
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--attempts" => options.attempts = value.parse()?,
                "--cells" => options.cells = value.split(',').map(cell).collect::<Result<_, _>>()?,
                "--lanes" => options.lanes = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--lane" => {
                    options.cells = vec![cell(&value)?];
                    options.is_lane = true;
                }
                _ => anyhow::bail!("unknown option {word}; the head of tests/connect/main.rs lists them"),
            }
        }
        ensure!(options.attempts > 0 && options.lanes > 0, "at least one");
        Ok(options)
    }
}

/// What a lane says at its end.
fn outcome(attempts: u64, good: u64, late: &[String]) -> Value {
    json!({ "attempts": attempts, "good": good, "misses": late })
}

/// One cell, in this process. Its last line is its outcome.
fn run_cell(cell: &'static Cell, options: &Options) -> anyhow::Result<()> {
    let network = Network::new(&cell.places(), options.seed, cell.hides());
    // Threads that are started later are where this one is.
    network[OFFICE].enter();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let told = runtime.block_on(attempts(cell, network, options))?;
    println!("{told}");
    Ok(())
}

async fn attempts(cell: &'static Cell, network: Network, options: &Options) -> anyhow::Result<Value> {
    let mut world = World::new(cell, network, options.seed).await?;
    let (mut times, mut misses) = (Vec::new(), Vec::new());
    for count in 0..options.attempts {
        let is_calling = count >= options.attempts / 2;
        let attempt = world.attempt(count, is_calling).await?;
        times.extend(attempt.times.heard());
        if let Some(why) = miss(cell, &attempt) {
            let role = if is_calling { "calling" } else { "called" };
            let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
            println!("{:<20} {role} {count} misses: {why}", cell.name);
            keep_log(cell, count, &world.log())?;
            misses.push(why);
        }
        if cell.hides() && attempt.times.heard().is_some() {
            let held = capture::check(&world.network.captured(), HANDSET, OFFICE_AT);
            held.map_err(|error| anyhow::anyhow!("{} {count}: {error}", cell.name))?;
        }
    }
    times.sort_unstable();
    let seconds = |at: Option<&Duration>| at.map_or(0.0, Duration::as_secs_f64);
    println!(
        "{:<20} {} of {} within {:.1} s, heard both ways after {:.2} s (median), {:.2} s at the latest",
        cell.name,
        options.attempts - misses.len() as u64,
        options.attempts,
        cell.limit.as_secs_f64(),
        seconds(times.get(times.len() / 2)),
        seconds(times.last()),
    );
    Ok(outcome(
        options.attempts,
        options.attempts - misses.len() as u64,
        &misses,
    ))
}

/// Keeps what the gateway has logged by an attempt that misses.
fn keep_log(cell: &Cell, count: u64, log: &str) -> std::io::Result<()> {
    let folder = peers::root().join("target/connect");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(format!("{}-{count}.log", cell.name)), log)
}

/// Why an attempt is not what is wanted, if so.
fn miss(cell: &Cell, attempt: &Attempt) -> Option<String> {
    let record = &attempt.record;
    let leg = &record["legs"][1];
    let cause = record["cause"].as_str().unwrap_or("no cause");
    let ways = || format!("cause {cause}, path {}, tried {}", leg["path"], leg["tried"]);
    let Some(heard) = attempt.times.heard() else {
        // Told in time is as good as connected where that is all that can be had.
        let is_told = cell.wanted == Wanted::Told && !["answered", "no cause"].contains(&cause);
        return (!is_told).then(|| format!("not heard: {}; {:?}; {}", ways(), attempt.times, attempt.said));
    };
    if heard > cell.limit {
        return Some(format!(
            "heard after {:.2} s only: set up in {} ms, {}",
            heard.as_secs_f64(),
            leg["setup_ms"],
            ways()
        ));
    }
    let is_other = !cell.path.is_empty() && leg["path"] != cell.path;
    is_other.then(|| format!("not by {}: {}", cell.path, ways()))
}

/// Runs all cells, so many at a time; the outcome of each.
fn run_lanes(options: &Options) -> anyhow::Result<Vec<(&'static Cell, Value)>> {
    let (attempts, seed) = (options.attempts.to_string(), options.seed.to_string());
    let outcomes = std::sync::Mutex::new(Vec::new());
    let run = |cell: &'static Cell| -> anyhow::Result<()> {
        let said = lanes::run_again(&["--lane", cell.name, "--attempts", &attempts, "--seed", &seed])?;
        println!("{}", said.lines);
        let outcome = said.outcome.unwrap_or_else(|| {
            println!("{} broke off: {}", cell.name, said.status);
            outcome(options.attempts, 0, &["it broke off".to_owned()])
        });
        outcomes.lock().expect("nobody panics with it").push((cell, outcome));
        Ok(())
    };
    lanes::for_each(&options.cells, options.lanes, run)?;
    Ok(outcomes.into_inner().expect("nobody panics with it"))
}

/// What is not as wanted, in words.
fn judge(outcomes: &[(&Cell, Value)]) -> Vec<String> {
    let count = |outcome: &Value, name: &str| outcome[name].as_u64().unwrap_or(0);
    let mut wrong = Vec::new();
    let mut missed = 0;
    for (cell, outcome) in outcomes {
        let (attempts, good) = (count(outcome, "attempts"), count(outcome, "good"));
        let wanted = match cell.wanted {
            Wanted::Guaranteed => {
                missed += attempts - good;
                continue;
            }
            Wanted::Share(share) => share,
            Wanted::Told => 1.0,
        };
        if (good as f64) < (attempts as f64 * wanted).floor() {
            wrong.push(format!(
                "{}: {good} of {attempts}, wanted {:.0} %",
                cell.name,
                wanted * 100.0
            ));
        }
    }
    if missed > 1 {
        wrong.push(format!(
            "{missed} attempts of the guaranteed networks missed, wanted at most 1"
        ));
    }
    wrong
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            println!("{error:#}");
            return ExitCode::from(2);
        }
    };
    if !lanes::can_run() || peers::program("turnserver").is_none() {
        return ExitCode::SUCCESS;
    }
    if options.is_lane {
        return match run_cell(options.cells[0], &options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{}: {error:#}", options.cells[0].name);
                ExitCode::FAILURE
            }
        };
    }
    let begin = Instant::now();
    let said = format!("--attempts {} --seed {}", options.attempts, options.seed);
    match run_lanes(&options) {
        Ok(outcomes) => {
            let wrong = judge(&outcomes);
            let attempts = options.attempts * outcomes.len() as u64;
            let minutes = begin.elapsed().as_secs().div_ceil(60);
            if wrong.is_empty() {
                println!(
                    "connect: holds, {attempts} attempts on {} networks ({said}), {minutes} minutes",
                    outcomes.len()
                );
                ExitCode::SUCCESS
            } else {
                println!(
                    "connect: FAILS, {} ({said}), {attempts} attempts, {minutes} minutes",
                    wrong.join("; ")
                );
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("connect: FAILS, {error:#} ({said})");
            ExitCode::FAILURE
        }
    }
}
