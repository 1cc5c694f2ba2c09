//! What strangers draw: short responses, few of them, and never so many that phones are kept from theirs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quartet::demo::Hashes;
use quartet_tests::house::{House, HouseSetup};
use rand_chacha::ChaCha8Rng;

use crate::flood::flood;
use crate::options::{Options, below, name, one_of};
use crate::phone::{ANSWERED, Phone};
use crate::sip::Request;
use crate::source::{Source, attacker};
use crate::{PROGRAM, Verdict};

/// Responses to one source in a second, and at once.
const PER_SECOND: f64 = 20.0;
const AT_ONCE: f64 = 60.0;

const METHODS: &[&str] = &[
    "OPTIONS",
    "REGISTER",
    "INVITE",
    "BYE",
    "CANCEL",
    "ACK",
    "INFO",
    "UPDATE",
    "MESSAGE",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "PRACK",
    "PUBLISH",
    "WHAT",
];

pub(crate) async fn run(options: Options) -> Verdict {
    let mut ratios = Vec::new();
    // One challenge, two, or three.
    for (hashes, most) in [(Hashes::Md5, 3.0), (Hashes::Md5AndSha256, 4.0), (Hashes::All, 5.0)] {
        let house = House::build(
            PROGRAM,
            HouseSetup {
                hashes,
                ..HouseSetup::default()
            },
        )
        .await;
        let (gateway, attack) = (house.gateway.sip()?, options.clone());
        let ratio = tokio::task::spawn_blocking(move || amplification(&attack, gateway)).await??;
        ensure!(
            ratio.0 <= most,
            "{} bytes come back for each byte of {}",
            ratio.0,
            ratio.1
        );
        ratios.push(format!("{:.2}", ratio.0));
    }
    let house = House::new(PROGRAM, "").await;
    let (gateway, attack) = (house.gateway.sip()?, options.clone());
    let drawn = tokio::task::spawn_blocking(move || responses(&attack, gateway)).await??;
    // Another, so that no source has drawn anything there yet.
    let house = House::new(PROGRAM, "").await;
    let (gateway, attack) = (house.gateway.sip()?, options.clone());
    let phones = tokio::task::spawn_blocking(move || beside_phones(&attack, gateway)).await??;
    Ok(format!(
        "bytes out for each in {}; {drawn}; {phones}",
        ratios.join(", ")
    ))
}

/// The requests of one method: a usual one, and as short as it can be.
fn requests(method: &'static str, source: &Source, rng: &mut ChaCha8Rng) -> [String; 3] {
    let number = below(rng, u32::MAX);
    let request = Request::new(method, source.gateway, "100", "100", rng);
    let mut within = Request::new(method, source.gateway, "100", "100", rng);
    within.to += ";tag=none";
    let short = format!(
        "{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK{number};rport\r\nf:<sip:a>;tag=a\r\nt:<sip:a>\r\ni:{number}\r\n\
         CSeq:1 {method}\r\n\r\n"
    );
    [request.text(source.local), within.text(source.local), short]
}

/// The most bytes out for each byte in, and of which method.
fn amplification(options: &Options, gateway: SocketAddr) -> anyhow::Result<(f64, &'static str)> {
    let mut rng = options.rng(70);
    let (mut worst, mut answered) = ((0.0, ""), 0);
    for method in METHODS {
        for kind in 0..3 {
            // Each from elsewhere, so that none goes unanswered for having drawn too much.
            let source = Source::bind(attacker(below(&mut rng, options.sources)), gateway)?;
            let sent = &requests(method, &source, &mut rng)[kind];
            source.send(sent.as_bytes());
            // When this one is answered, so is the other.
            let probe = Source::bind(attacker(below(&mut rng, options.sources)), gateway)?;
            let next = Request::new("OPTIONS", gateway, "a", "b", &mut rng);
            probe.ask(&next, ANSWERED)?;
            let bytes: usize = source.drain().iter().map(|m| m.text.len()).sum();
            answered += usize::from(bytes > 0);
            let ratio = bytes as f64 / sent.len() as f64;
            if ratio > worst.0 {
                worst = (ratio, *method);
            }
        }
    }
    ensure!(answered > METHODS.len(), "only {answered} requests are answered at all");
    Ok(worst)
}

/// Few sources that flood with all methods: how many responses each draws.
fn responses(options: &Options, gateway: SocketAddr) -> anyhow::Result<String> {
    let mut rng = options.rng(71);
    let sources = (0..5)
        .map(|n| Source::bind(attacker(n), gateway))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut drawn = vec![0u32; sources.len()];
    let begin = Instant::now();
    let flooded = flood(options.rate(), options.duration() / 2, |_| {
        let at = below(&mut rng, sources.len() as u32) as usize;
        let all = requests(one_of::<&str>(&mut rng, METHODS), &sources[at], &mut rng);
        sources[at].send(all[below(&mut rng, 3) as usize].as_bytes());
        drawn[at] += sources[at].drain().len() as u32;
    });
    for (at, source) in sources.iter().enumerate() {
        // What is still on its way.
        while source.receive(Duration::from_millis(100)).is_some() {
            drawn[at] += 1;
        }
    }
    let most = AT_ONCE + PER_SECOND * begin.elapsed().as_secs_f64() + 1.0;
    let each = drawn.iter().max().copied().unwrap_or(0);
    ensure!(
        f64::from(each) <= most,
        "a source draws {each} responses in {:?}",
        begin.elapsed()
    );
    ensure!(
        drawn.iter().all(|n| f64::from(*n) >= AT_ONCE / 2.0),
        "sources draw {drawn:?} responses only"
    );
    Ok(format!(
        "a source draws {each} of {most:.0} responses to {} requests",
        flooded.count / sources.len() as u32
    ))
}

/// Very many sources that ask OPTIONS, beside a registered phone that does, and new ones that register.
fn beside_phones(options: &Options, gateway: SocketAddr) -> anyhow::Result<String> {
    let mut phone = Phone::new([127, 0, 0, 2].into(), gateway, "100", options.rng(72))?;
    phone.register()?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let asks = std::thread::spawn(move || {
        let (mut times, mut latest) = (0, Duration::ZERO);
        while !stopped.load(Ordering::Relaxed) {
            let begin = Instant::now();
            let mut request = phone.request("OPTIONS", "100");
            phone.ask(&mut request)?;
            (times, latest) = (times + 1, latest.max(begin.elapsed()));
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::Ok((times, latest))
    });
    let draws = [options.rng(73), options.rng(74)];
    let registers = std::thread::spawn(move || {
        for (number, (user, rng)) in ["101", "102"].into_iter().zip(draws).enumerate() {
            let address = [127, 0, 1, 1 + number as u8].into();
            Phone::new(address, gateway, user, rng)?.register()?;
        }
        anyhow::Ok(())
    });
    let mut rng = options.rng(75);
    let mut failed = 0;
    let flooded = flood(options.rate(), options.duration(), |_| {
        // A socket for each: no process has so many open as there are sources.
        let Ok(source) = Source::bind(attacker(below(&mut rng, options.sources)), gateway) else {
            failed += 1;
            return;
        };
        let user = name(&mut rng, options.names);
        let request = Request::new("OPTIONS", gateway, &user, &user, &mut rng);
        source.send(request.text(source.local).as_bytes());
    });
    stop.store(true, Ordering::Relaxed);
    let panicked = |_| anyhow::anyhow!("a phone panicked");
    let asked = asks.join().map_err(panicked)?;
    let registered = registers.join().map_err(panicked)?;
    ensure!(failed * 10 < flooded.count, "{failed} sockets could not be made");
    let (times, latest) = asked.context("a registered phone, beside the flood")?;
    registered.context("a new phone, beside the flood")?;
    Ok(format!(
        "beside {} sources ({}/s) a phone is answered {times} times, at latest in {} ms",
        options.sources,
        flooded.rate(),
        latest.as_millis()
    ))
}
