//! How well do a phone and a user hear each other on bad networks? Speech of forty seconds on each, both ways, judged by PESQ.
//!
//! `./trial sound` makes them all, two at a time. Options: `--seconds N`, `--cells NAME,NAME`, `--lanes N` at a time, `--seed N`,
//! `--words yes`: the four words of the check instead, how alike they are to their recordings at the phone. `--codec pcmu|opus` of the phone, `--slack X` that PESQ may be lower than wanted. A cell is a process of its own, in a simulated
//! network of its own: the gateway, its phone, and an unmodified ntgcalls. What each said and heard is in `target/sound`.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a tool that is also run by hand and speaks to its user"
)]

mod cells;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use quartet::demo::Ears;
use quartet::demo::gateway::Hub;
use quartet::demo::line::place::Tell;
use quartet::demo::line::{Line, Source};
use quartet::demo::phone;
use quartet::io::control::ControlRequest;
use quartet::plugins::Registry;
use quartet_tests::house::{House, HouseSetup, registry};
use quartet_tests::lanes;
use quartet_tests::network::{Captured, Conditions, Firewall, Network, Place};
use quartet_tests::ntgcalls::Ntgcalls;
use quartet_tests::peers;
use quartet_tests::speech::{RATE, resampled, score, words, write_wav};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::cells::{CELLS, CUT, Cell, Leg};

/// The product, as cargo built it for these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quartet-under-test");

const OFFICE: usize = 0;
const HANDSET: usize = 1;
const PHONE: usize = 2;
const OFFICE_AT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const HANDSET_AT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PHONE_AT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// What may be sent while a cut leaves 48 kbit/s, from the fourth second on.
const MAX_CUT: u64 = 40;

/// Calls whose words are judged together: of four words, which packets are lost decides.
const ANNOUNCED: usize = 3;

/// How long the announcement may take.
const ANNOUNCEMENT: Duration = Duration::from_secs(12);

/// Until the call stands.
const SOON: Duration = Duration::from_secs(20);

struct Options {
    seconds: u64,
    cells: Vec<&'static Cell>,
    lanes: usize,
    seed: u64,
    codec: String,
    /// The announcement is judged, and no talk.
    words: bool,
    /// So much less than is wanted will do.
    slack: f64,
    /// This process is one cell, and says its outcome to another.
    is_lane: bool,
}

impl Options {
    /// At which speech is compared: what the phone's codec carries of it.
    fn rate(&self) -> u32 {
        if self.codec == "opus" { 16_000 } else { 8_000 }
    }

    fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            seconds: 40,
            cells: CELLS.iter().collect(),
            lanes: 2,
            seed: 1,
            codec: "pcmu".to_owned(),
            words: false,
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
                "--words" => options.words = value == "yes",
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

fn places(cell: &Cell) -> [Place; 3] {
    let always = |conditions| vec![(Duration::ZERO, conditions)];
    let mut bad = always(cell.conditions);
    if let Some(cut) = cell.cut {
        bad.extend([(CUT.0, cut), (CUT.1, cell.conditions)]);
    }
    let place = |address, leg| {
        let way = if leg == Some(cell.leg) {
            bad.clone()
        } else {
            always(Conditions::default())
        };
        Place {
            addresses: vec![address],
            nat: None,
            firewall: Firewall::Open,
            up: way.clone(),
            down: way,
        }
    };
    [
        place(OFFICE_AT, None),
        place(HANDSET_AT, Some(Leg::User)),
        place(PHONE_AT, Some(Leg::Phone)),
    ]
}

/// One cell, in this process. Its last line is its outcome.
fn run_cell(cell: &'static Cell, options: &Options) -> anyhow::Result<()> {
    let network = Network::new(&places(cell), options.seed, cell.cut.is_some());
    let desk = network[PHONE].run(phone_runtime)?;
    network[OFFICE].enter();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    println!("{}", runtime.block_on(talk(cell, &network, &desk, options))?);
    desk.shutdown_background();
    Ok(())
}

/// What runs on it is where its threads are.
fn phone_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// A file of this cell's.
fn file(cell: &Cell, name: &str) -> PathBuf {
    peers::root().join(format!("target/sound/{}-{name}.wav", cell.name))
}

async fn talk(cell: &Cell, network: &Network, desk: &Runtime, options: &Options) -> anyhow::Result<Value> {
    std::fs::create_dir_all(peers::root().join("target/sound"))?;
    let registry = registry();
    let said = words(&registry, options.seconds as usize * RATE as usize).map_err(anyhow::Error::from_boxed)?;
    let spoken = file(cell, "said");
    write_wav(&spoken, RATE, &said)?;
    let rate = options.rate();
    let narrow = resampled(&said, RATE, rate);
    let phone = format!("codecs = [\"{}\"]", options.codec);
    let house = House::build(
        PROGRAM,
        HouseSetup {
            more: if options.words { "" } else { "[call]\nverify = \"off\"" },
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
    let anna =
        || anyhow::Ok(Ntgcalls::try_start(&network[HANDSET], &house.hub(), &token, &words).context("installed")??);
    let setup = phone::Setup {
        codecs: vec![options.codec.clone()],
        source: Source::Sound(narrow.into()),
        ..house.phone_setup("100", false)
    };
    let line = {
        let registry = Arc::clone(&registry);
        move |tell: Tell| Line::start(registry, rate, move |event| drop(tell.send(event)))
    };
    let mut desk = desk
        .spawn(phone::Phone::start_with(Arc::clone(&registry), setup, line))
        .await??;
    desk.wait(&phone::Event::Registered, SOON).await?;
    if options.words {
        return announced(&house, &mut desk, anna, registry).await;
    }
    let mut anna = anna()?;
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
    write_wav(&heard, rate, &desk.line().heard())?;
    desk.hang_up();
    desk.wait(&phone::Event::Ended("answered"), SOON).await?;
    anna.end();
    let recorded = file(cell, "peer");
    std::fs::copy(anna.recording(), &recorded)?;
    let record = house.record(1).await;
    let score = |recording: &Path| score(&spoken, recording, rate, options.seconds).map_err(anyhow::Error::from_boxed);
    Ok(json!({
        "phone": score(&heard)?,
        "peer": score(&recorded)?,
        "leg": record["legs"][usize::from(cell.leg == Leg::User)],
        "sent": cell.cut.map(|_| sent(&network.captured())),
    }))
}

/// How alike each of the four words of some calls is to its recording, where it is heard.
async fn announced(
    house: &House,
    desk: &mut phone::Phone,
    start_anna: impl Fn() -> anyhow::Result<Ntgcalls>,
    registry: Arc<Registry>,
) -> anyhow::Result<Value> {
    let ears = Ears::new(registry)?;
    let (mut words, mut alike) = (Vec::new(), Vec::new());
    for _ in 0..ANNOUNCED {
        let mut anna = start_anna()?;
        desk.dial("anna");
        // The phone's own messages are lost as well.
        desk.wait(&phone::Event::Connected, 2 * SOON).await?;
        let calls = house.gateway.ask(&ControlRequest::Calls).await?;
        let four: Vec<String> = serde_json::from_value(calls[0]["words"].clone())?;
        ensure!(four.len() == 4, "{calls}");
        // The whole of it, said once.
        tokio::time::sleep(ANNOUNCEMENT).await;
        let heard = desk.line().heard();
        alike.extend(four.iter().map(|word| ears.likeness(&heard, word)));
        words.extend(four);
        desk.hang_up();
        desk.wait(&phone::Event::Ended("answered"), SOON).await?;
        anna.end();
        house.wait_idle().await;
    }
    Ok(json!({ "words": words, "alike": alike }))
}

/// What is wrong with that: over a leg that loses packets as much is missing as is lost, and else nothing.
fn judge_words(cell: &Cell, outcome: &Value) -> Vec<String> {
    let alike: Vec<f64> = serde_json::from_value(outcome["alike"].clone()).unwrap_or_default();
    let mean = alike.iter().sum::<f64>() / alike.len().max(1) as f64;
    let least = alike.iter().copied().fold(1.0, f64::min);
    let (figure, wanted) = match cell.leg {
        Leg::User => (least, 0.95),
        Leg::Phone => (mean, (1.0 - cell.conditions.loss).sqrt() - 0.05),
    };
    if alike.len() == 4 * ANNOUNCED && figure >= wanted {
        return Vec::new();
    }
    vec![format!("{alike:.3?}: {figure:.3}, wanted {wanted:.3}")]
}

/// What the gateway has sent to the handset over UDP in each second since the network began: kbit/s with all headers, and packets.
fn sent(captured: &[Captured]) -> Vec<(u64, u64)> {
    let mut seconds = Vec::new();
    for packet in captured {
        let is_udp = packet.bytes.get(9) == Some(&17);
        if (packet.from, packet.to, is_udp) == (OFFICE, HANDSET, true) {
            let second = packet.at.as_secs() as usize;
            seconds.resize(seconds.len().max(second + 1), (0, 0));
            seconds[second].0 += packet.bytes.len() as u64 * 8;
            seconds[second].1 += 1;
        }
    }
    seconds.iter_mut().for_each(|(bits, _)| *bits /= 1000);
    seconds
}

/// What is wrong with that around a cut.
fn judge_cut(sent: &Value) -> Vec<String> {
    let kbit = |second: u64| sent[second as usize][0].as_u64().unwrap_or(0);
    let packets = |second: u64| sent[second as usize][1].as_u64().unwrap_or(0);
    let mut wrong = Vec::new();
    let (from, to) = (CUT.0.as_secs(), CUT.1.as_secs());
    let most = (from + 3..to).map(kbit).max().unwrap_or(0);
    if most > MAX_CUT {
        wrong.push(format!("{most} kbit/s while there are 48"));
    }
    // Two frames in a packet at most: then speech has all of its rate.
    if !(to..=to + 15).any(|second| packets(second) >= 24) {
        wrong.push("15 s after the cut speech has not the rate that it had".to_owned());
    }
    wrong
}

/// What is not as wanted in a cell.
fn judge(cell: &Cell, options: &Options, outcome: &Value) -> Vec<String> {
    let figure = |side: &str, name: &str| outcome[side][name].as_f64().unwrap_or(0.0);
    let wanted = if options.codec == "opus" { cell.opus } else { cell.pcmu };
    let mut least = vec![
        ("phone", "pesq", wanted[0]),
        ("peer", "pesq", wanted[1]),
        ("peer", "worst", cell.worst),
    ];
    least.retain(|(side, name, wanted)| figure(side, name) < wanted - options.slack);
    let mut wrong: Vec<_> = least
        .iter()
        .map(|(side, name, wanted)| format!("to the {side}: {name} {}, wanted {wanted}", figure(side, name)))
        .collect();
    let holes = cell.holes * options.seconds as f64 / 40.0;
    if figure("phone", "holes") > holes {
        wrong.push(format!(
            "to the phone: holes of {} s, at most {holes}",
            figure("phone", "holes")
        ));
    }
    if cell.cut.is_some() {
        wrong.extend(judge_cut(&outcome["sent"]));
    }
    wrong
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
            "--words",
            if options.words { "yes" } else { "no" },
        ];
        let said = lanes::run_again(&words)?;
        let outcome = said
            .outcome
            .with_context(|| format!("{} broke off: {}; {}", cell.name, said.status, said.lines))?;
        let wrongs = if options.words {
            println!("{:<14} {outcome}", cell.name);
            judge_words(cell, &outcome)
        } else {
            println!(
                "{:<14} phone {} peer {} {} {}",
                cell.name, outcome["phone"], outcome["peer"], outcome["leg"], outcome["sent"]
            );
            judge(cell, options, &outcome)
        };
        let said = wrongs.into_iter().map(|said| format!("{} {said}", cell.name));
        wrong.lock().expect("nobody panics with it").extend(said);
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
