//! Many phones over connections: each registers and refreshes; is any lost, and what does one cost?
//!
//! `cargo test -p quartet-tests --test phones` takes 100 phones over TCP, TLS, WS and WSS each for ten seconds;
//! `-- --phones 1000 --seconds 600 --refresh 60 --transports tcp,tls` others. `--program FILE` takes another gateway than that of the tests. It ends
//! with 1 if a refresh fails, a connection breaks, or a phone is not listed at the end.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a tool that is also run by hand and speaks to its user"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quartet::demo::gateway::{Gateway, Hub, Setup};
use quartet::demo::{Hashes, phone_row};
use quartet::io::control::ControlRequest;
use quartet_tests::authority::certify;
use quartet_tests::house::{PASSWORD, plugin_folder};
use quartet_tests::sip_stream::{Client, StreamPhone};
use quartet_tests::usage::{Cpu, memory_kib};

/// The product, as cargo built it for these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quartet-under-test");

/// Phones that connect at once: all of an office begin together, and a door has so many places for strangers of one source.
const AT_ONCE: usize = 32;

struct Options {
    phones: usize,
    seconds: u64,
    refresh: u64,
    transports: Vec<String>,
    program: String,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            phones: 100,
            seconds: 10,
            refresh: 4,
            transports: ["tcp", "tls", "ws", "wss"].map(str::to_owned).to_vec(),
            program: PROGRAM.into(),
        };
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--phones" => options.phones = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--refresh" => options.refresh = value.parse()?,
                "--transports" => options.transports = value.split(',').map(str::to_owned).collect(),
                "--program" => options.program = value,
                _ => anyhow::bail!("unknown option {word}; the head of tests/phones/main.rs lists them"),
            }
        }
        ensure!(options.phones > 0 && options.refresh > 0, "there is nothing to do");
        Ok(options)
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let run = async {
        let options = Options::parse(std::env::args().skip(1))?;
        for transport in &options.transports {
            series(transport, &options).await?;
        }
        anyhow::Ok(())
    };
    match runtime.block_on(run) {
        Ok(()) => {
            println!("holds: no phone was lost");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILS: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn user(n: usize) -> String {
    format!("p{n}")
}

async fn series(transport: &str, options: &Options) -> anyhow::Result<()> {
    let identity = certify("127.0.0.1");
    let mut phones = String::new();
    for n in 0..options.phones {
        write!(phones, "{}", phone_row(&user(n), PASSWORD, Hashes::Md5AndSha256, ""))?;
    }
    let setup = Setup {
        sip: ([127, 0, 0, 1], 0).into(),
        listen: vec![format!("{transport}:127.0.0.1:0")],
        identity: Some((identity.certificate.pem(), identity.key.serialize_pem())),
        hub: Hub::Here(([127, 0, 0, 1], 0).into()),
        plugins: vec![plugin_folder()],
        sip_lines: String::new(),
        more: String::new(),
        phones,
        routes: String::new(),
    };
    let gateway = Gateway::start(Path::new(&options.program), &setup).await?;
    let at = gateway.sip_over(transport)?;
    let (memory, begun) = (memory_kib(gateway.pid()).context("it runs")?, Instant::now());
    let client = Client::trusting(&identity.authority_pem);
    let mut tasks = Vec::new();
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let end = begun + Duration::from_secs(options.seconds);
    for n in 0..options.phones {
        let (client, transport, gate) = (client.clone(), transport.to_owned(), gate.clone());
        let refresh = Duration::from_secs(options.refresh);
        tasks.push(tokio::spawn(async move {
            let place = gate.acquire().await?;
            let stream = client.connect(&transport, at).await.context("connecting")?;
            let mut phone = StreamPhone::new(stream, &user(n), PASSWORD);
            let mut registers = 0_u32;
            let expires = (refresh * 2).max(Duration::from_secs(60));
            let refused = |status: u16| anyhow::anyhow!("a REGISTER got {status}");
            phone.register(expires).await?.map_err(refused)?;
            drop(place);
            registers += 1;
            loop {
                let next = Instant::now() + refresh;
                while Instant::now() < next.min(end) {
                    phone
                        .next(next.min(end).saturating_duration_since(Instant::now()))
                        .await?;
                }
                if Instant::now() >= end {
                    return anyhow::Ok((phone, registers));
                }
                phone.register(expires).await?.map_err(refused)?;
                registers += 1;
            }
        }));
    }
    let mut kept = Vec::new();
    let mut registers = 0;
    for task in tasks {
        let (phone, count) = task.await?.with_context(|| gateway.log())?;
        kept.push(phone);
        registers += count;
    }
    let cpu = Cpu::of(gateway.pid()).total();
    let grown = memory_kib(gateway.pid()).context("it runs")?.saturating_sub(memory);
    let listed = gateway.ask(&ControlRequest::Phones).await?;
    let listed = listed.as_array().map_or(0, Vec::len);
    ensure!(
        listed == options.phones,
        "{listed} of {} phones are registered",
        options.phones
    );
    let status = gateway.ask(&ControlRequest::Status).await?;
    ensure!(status["sip_connections"] == options.phones, "connections: {status}");
    println!(
        "{transport}: {} phones, {registers} registrations in {} s, none lost; {:.1} KiB a phone, {:.2} ms of CPU a registration (start included)",
        options.phones,
        options.seconds,
        grown as f64 / options.phones as f64,
        cpu * 1000.0 / f64::from(registers)
    );
    Ok(())
}
