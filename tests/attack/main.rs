//! An attacker against a running gateway: each row of a hostile review once more, with a verdict a row. Loopback only.
//!
//! `cargo test -p quartet-tests --test attack` runs all rows with their defaults in about a minute;
//! `cargo test -p quartet-tests --test attack -- --seed 2 --scale 10 --only logins,door` less, or more. Options:
//! `--rate PACKETS` a second of each flood, `--scale FACTOR` of all rates, `--names N` that are invented, `--sources N`
//! addresses of 127/8 that attack, `--seed N` of names, order and timing, `--seconds S` of each flood, `--only ROW,ROW`.
//! It ends with 1 if a row fails. Each row starts a gateway of its own, a process with its own conf folder.
//!
//! A new row is a file with a `run`, and a line in [`ROWS`]. What a row says must hold at any seed and rate: it compares with
//! what the options of `[limits]` promise, never with what was measured once.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a tool that is also run by hand and speaks to its user"
)]

mod contacts;
mod dialling;
mod dialog;
mod door;
mod fields;
mod flood;
mod logins;
mod media;
mod options;
mod phone;
mod process;
mod secure;
mod sip;
mod source;
mod strangers;

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Instant;

use options::Options;

/// The product, as cargo built it for these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quartet-under-test");

/// What a row has found: its figures, or what does not hold.
type Verdict = anyhow::Result<String>;

type Run = fn(Options) -> Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// The rows, in the order in which they run.
const ROWS: &[(&str, Run)] = &[
    ("logins", |options| Box::pin(logins::run(options))),
    ("dialog", |options| Box::pin(dialog::run(options))),
    ("cancel", |options| Box::pin(dialog::run_cancel(options))),
    ("door", |options| Box::pin(door::run(options))),
    ("fields", |options| Box::pin(fields::run(options))),
    ("contacts", |options| Box::pin(contacts::run(options))),
    ("dialling", |options| Box::pin(dialling::run(options))),
    ("strangers", |options| Box::pin(strangers::run(options))),
    ("media", |options| Box::pin(media::run(options))),
    ("media-socket", |options| Box::pin(media::run_from_the_phone(options))),
    ("secure", |options| Box::pin(secure::run(options))),
];

#[tokio::main]
async fn main() -> ExitCode {
    let names: Vec<_> = ROWS.iter().map(|(name, _)| *name).collect();
    let options = match Options::parse(std::env::args().skip(1), &names) {
        Ok(options) => options,
        Err(error) => {
            println!("{error:#}");
            return ExitCode::from(2);
        }
    };
    let mut failed = Vec::new();
    for (name, run) in ROWS.iter().filter(|(name, _)| options.wants(name)) {
        let begin = Instant::now();
        // A task of its own: what it has started is dropped, and so ended, also when it panics.
        let verdict = tokio::spawn(run(options.clone())).await;
        let verdict = verdict.unwrap_or_else(|panic| Err(anyhow::anyhow!("{panic}")));
        let seconds = begin.elapsed().as_secs_f64();
        match verdict {
            Ok(figures) => println!("{name:<12} holds  {seconds:>5.1} s  {figures}"),
            Err(error) => {
                println!("{name:<12} FAILS  {seconds:>5.1} s  {error:#}");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        println!("attack: all rows hold ({options})");
        return ExitCode::SUCCESS;
    }
    println!("attack: {} rows fail: {} ({options})", failed.len(), failed.join(", "));
    ExitCode::FAILURE
}
