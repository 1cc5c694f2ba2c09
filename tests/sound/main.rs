//! How well do a phone and a user hear each other on bad networks? Speech of forty seconds on each of ten, both ways, judged by PESQ.
//!
//! `./trial sound` makes them all, two at a time. Options: `--seconds N`, `--cells NAME,NAME`, `--lanes N` at a time, `--seed N`,
//! `--codec pcmu|opus` of the phone, `--slack X` that PESQ may be lower than wanted. A cell is a process of its own, in a simulated network of its own: the gateway and its phone in an
//! office, an unmodified ntgcalls at the other end. What each said and heard is in `target/sound`.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a tool that is also run by hand and speaks to its user"
)]

mod cells;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use quartet::demo::gateway::Hub;
use quartet::demo::line::Source;
use quartet::demo::{hear, phone};
use quartet_tests::house::{House, HouseSetup, registry};
use quartet_tests::lanes;
use quartet_tests::network::{Conditions, Firewall, Network, Place};
use quartet_tests::ntgcalls::Ntgcalls;
use quartet_tests::peers;
use quartet_tests::speech::{RATE, words, write_wav};
use serde_json::{Value, json};

use self::cells::{CELLS, Cell};

/// The product, as cargo built it for these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quartet-under-test");

const OFFICE: usize = 0;
const HANDSET: usize = 1;
const OFFICE_AT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const HANDSET_AT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Until the call stands.
const SOON: Duration = Duration::from_secs(20);

struct Options {
    seconds: u64,
    cells: Vec<&'static Cell>,
    lanes: usize,
    seed: u64,
    codec: String,
    /// So much less than is wanted will do.
    slack: f64,
    /// This process is one cell, and says its outcome to another.
    is_lane: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            seconds: 40,
            cells: CELLS.iter().collect(),
            lanes: 2,
            seed: 1,
            codec: "pcmu".to_owned(),
            slack: 0.0,
            is_lane: false,
        };
        let cell = |name: &str| {
            let names = || CELLS.iter().map(|cell| cell.name).collect::<Vec<_>>().join(", ");
            Cell::named(name).with_context(|| format!("there is no cell {name}; there are {}", names()))
        };
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--seconds" => options.seconds = value.parse()?,
                "--cells" => options.cells = value.split(',').map(cell).collect::<Result<_, _>>()?,
                "--lanes" => options.lanes = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--codec" => options.codec = value,
                "--slack" => options.slack = value.parse()?,
                "--lane" => {
                    options.cells = vec![cell(&value)?];
                    options.is_lane = true;
                }
                _ => anyhow::bail!("unknown option {word}; the head of tests/sound/main.rs lists them"),
            }
        }
        ensure!(
            options.seconds >= 16 && options.lanes > 0,
            "at least 16 seconds, and one lane"
        );
        Ok(options)
    }
}

fn places(cell: &Cell) -> [Place; 2] {
    let place = |address, conditions| Place {
        addresses: vec![address],
        nat: None,
        firewall: Firewall::Open,
        up: vec![(Duration::ZERO, conditions)],
        down: vec![(Duration::ZERO, conditions)],
    };
    [
        place(OFFICE_AT, Conditions::default()),
        place(HANDSET_AT, cell.conditions),
    ]
}

/// One cell, in this process. Its last line is its outcome.
fn run_cell(cell: &'static Cell, options: &Options) -> anyhow::Result<()> {
    let network = Network::new(&places(cell), options.seed, false);
    network[OFFICE].enter();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    println!("{}", runtime.block_on(talk(cell, &network, options))?);
    Ok(())
}

/// A file of this cell's.
fn file(cell: &Cell, name: &str) -> PathBuf {
    peers::root().join(format!("target/sound/{}-{name}.wav", cell.name))
}

async fn talk(cell: &Cell, network: &Network, options: &Options) -> anyhow::Result<Value> {
    std::fs::create_dir_all(peers::root().join("target/sound"))?;
    let registry = registry();
    let said = words(&registry, options.seconds as usize * RATE as usize).map_err(anyhow::Error::from_boxed)?;
    let spoken = file(cell, "said");
    write_wav(&spoken, RATE, &said)?;
    let mean = |c: &[i16]| (c.iter().map(|s| i32::from(*s)).sum::<i32>() / c.len() as i32) as i16;
    let narrow: Vec<i16> = said.chunks((RATE / hear::RATE) as usize).map(mean).collect();
    let phone = format!("codecs = [\"{}\"]", options.codec);
    let house = House::build(
        PROGRAM,
        HouseSetup {
            more: "[call]\nverify = \"off\"",
            sip: OFFICE_AT.into(),
            hub: Hub::Here((OFFICE_AT, 0).into()),
            phone: &phone,
            ..HouseSetup::default()
        },
    )
    .await;
    let token = house.invite("anna").await;
    let play = spoken.display().to_string();
    let words = ["--play", &play, "--max-time", "300"];
    let mut anna = Ntgcalls::try_start(&network[HANDSET], &house.hub(), &token, &words).context("installed")??;
    let setup = phone::Setup {
        codecs: vec![options.codec.clone()],
        source: Source::Sound(narrow.into()),
        ..house.phone_setup("100", false)
    };
    let mut desk = phone::Phone::start(registry, setup).await?;
    desk.wait(&phone::Event::Registered, SOON).await?;
    desk.dial("anna");
    desk.wait(&phone::Event::Connected, SOON).await?;
    let before = desk.line().heard().len();
    let end = tokio::time::Instant::now() + SOON;
    while desk.line().heard().len() < before + 100 {
        ensure!(tokio::time::Instant::now() < end, "nothing is heard");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What was on its way at the end is heard as well.
    tokio::time::sleep(Duration::from_secs(options.seconds + 4)).await;
    let heard = file(cell, "phone");
    write_wav(&heard, hear::RATE, &desk.line().heard())?;
    desk.hang_up();
    desk.wait(&phone::Event::Ended("answered"), SOON).await?;
    anna.end();
    let recorded = file(cell, "peer");
    std::fs::copy(anna.recording(), &recorded)?;
    let record = house.record(1).await;
    let score = |recording: &Path| score(&spoken, recording, options.seconds);
    Ok(json!({ "phone": score(&heard)?, "peer": score(&recorded)?, "leg": record["legs"][1] }))
}

/// What `score.py` says.
fn score(said: &Path, heard: &Path, seconds: u64) -> anyhow::Result<Value> {
    let python = peers::python().context("installed")?;
    let output = Command::new(python)
        .arg(peers::root().join("tests/peers/score.py"))
        .args([said, heard])
        .args([hear::RATE.to_string(), seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs all cells, so many at a time; what is not as wanted.
fn run_lanes(options: &Options) -> anyhow::Result<Vec<String>> {
    let (seconds, seed) = (options.seconds.to_string(), options.seed.to_string());
    let wrong = Mutex::new(Vec::new());
    let run = |cell: &'static Cell| -> anyhow::Result<()> {
        let words = [
            "--lane",
            cell.name,
            "--codec",
            &options.codec,
            "--seconds",
            &seconds,
            "--seed",
            &seed,
        ];
        let said = lanes::run_again(&words)?;
        let outcome = said
            .outcome
            .with_context(|| format!("{} broke off: {}; {}", cell.name, said.status, said.lines))?;
        println!(
            "{:<14} phone {} peer {} {}",
            cell.name, outcome["phone"], outcome["peer"], outcome["leg"]
        );
        for (side, wanted) in [("phone", cell.phone), ("peer", cell.peer)] {
            let pesq = outcome[side]["pesq"].as_f64().unwrap_or(0.0);
            if pesq < wanted - options.slack {
                let said = format!("{} to the {side}: {pesq}, wanted {wanted}", cell.name);
                wrong.lock().expect("nobody panics with it").push(said);
            }
        }
        Ok(())
    };
    lanes::for_each(&options.cells, options.lanes, run)?;
    Ok(wrong.into_inner().expect("nobody panics with it"))
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            println!("{error:#}");
            return ExitCode::from(2);
        }
    };
    if !lanes::can_run() {
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
    let said = format!(
        "{} networks, {} s of speech each, {} phone, --seed {}",
        options.cells.len(),
        options.seconds,
        options.codec,
        options.seed
    );
    match run_lanes(&options) {
        Ok(wrong) if wrong.is_empty() => {
            println!("sound: holds ({said})");
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            println!("sound: FAILS, {} ({said})", wrong.join("; "));
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("sound: FAILS, {error:#} ({said})");
            ExitCode::FAILURE
        }
    }
}
