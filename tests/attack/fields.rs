//! Large header fields, from strangers and from a phone: little is kept of them, and nothing over 16 KiB is looked at.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use quartet_proto::sip::MAX_MESSAGE;
use quartet_tests::house::{House, SOON};
use rand_chacha::ChaCha8Rng;

use crate::flood::{Flooded, flood};
use crate::options::{Options, below, name};
use crate::phone::{ANSWERED, Phone};
use crate::sip::{Request, authorization};
use crate::source::{Source, attacker};
use crate::{PROGRAM, Verdict};

const LARGE: usize = 15 * 1024;
const TOO_LARGE: usize = 55 * 1024;
/// What is kept of a request at most: a phone's REGISTER of nearly this size is kept as long as its transaction.
const KEPT: usize = 7 * 1024;
/// The gateway's tables may hold 64 MiB.
const MAX_GROWTH_KIB: u64 = 80 * 1024;
/// After strangers' requests nothing is kept but what the allocator does not give back: as much as 1,024 datagrams of 16 KiB
/// that waited at once, and half as much between them.
const MAX_LEFT_KIB: u64 = 24 * 1024;

pub(crate) async fn run(options: Options) -> Verdict {
    let house = House::new(PROGRAM, "").await;
    let gateway = house.gateway.sip()?;
    tokio::task::spawn_blocking(move || check_border(gateway)).await??;
    let before = house.memory_kib();
    let attack = options.clone();
    let (flooded, peak) = watch(&house, move || strangers(&attack, gateway)).await?;
    ensure!(
        peak.saturating_sub(before) < MAX_GROWTH_KIB,
        "strangers' fields make the gateway grow from {before} to {peak} KiB"
    );
    let end = Instant::now() + SOON;
    let mut left = house.memory_kib();
    while left > before + MAX_LEFT_KIB {
        ensure!(
            Instant::now() < end,
            "of {before} KiB, then {peak}, {left} are left after strangers' fields"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        left = house.memory_kib();
    }
    let attack = options.clone();
    let (registered, phone_peak) = watch(&house, move || phone(&attack, gateway)).await?;
    ensure!(
        phone_peak.saturating_sub(left) < MAX_GROWTH_KIB,
        "a phone's fields make the gateway grow from {left} to {phone_peak} KiB"
    );
    Ok(format!(
        "{} of strangers ({}/s) +{} KiB, then +{}; {registered} REGISTERs of a phone +{} KiB",
        flooded.count,
        flooded.rate(),
        peak.saturating_sub(before),
        left.saturating_sub(before),
        phone_peak.saturating_sub(left)
    ))
}

/// Runs something on a thread of its own; gives the most memory that the gateway had meanwhile.
async fn watch<T: Send + 'static>(
    house: &House,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<(T, u64)> {
    let mut work = tokio::task::spawn_blocking(work);
    let mut peak = 0;
    loop {
        peak = peak.max(house.memory_kib());
        tokio::select! {
            done = &mut work => return Ok((done??, peak.max(house.memory_kib()))),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}

/// The longest message that is looked at, and one a byte longer.
fn check_border(gateway: SocketAddr) -> anyhow::Result<()> {
    for (number, size) in [(0, MAX_MESSAGE), (1, MAX_MESSAGE + 1)] {
        let source = Source::bind(attacker(number), gateway)?;
        let mut rng = rand_core::SeedableRng::seed_from_u64(u64::from(number));
        let mut request = Request::new("OPTIONS", gateway, "a", "b", &mut rng);
        let room = size - request.text(source.local).len() - "X: \r\n".len();
        request.more = format!("X: {}\r\n", "a".repeat(room));
        let text = request.text(source.local);
        ensure!(text.len() == size, "{} bytes instead of {size}", text.len());
        source.send(text.as_bytes());
        let next = Request::new("OPTIONS", gateway, "a", "c", &mut rng);
        source.send(next.text(source.local).as_bytes());
        let first = source.receive(ANSWERED);
        let is_answered = first.as_ref().is_some_and(|m| m.answers(&request));
        ensure!(first.is_some(), "the request after one of {size} bytes is not answered");
        ensure!(
            is_answered == (size <= MAX_MESSAGE),
            "of {size} bytes: answered {is_answered}"
        );
    }
    Ok(())
}

/// Large and too large requests from some sources; the too large ones draw nothing.
fn strangers(options: &Options, gateway: SocketAddr) -> anyhow::Result<Flooded> {
    let mut rng = options.rng(40);
    let sources = (0..20)
        .map(|n| Source::bind(attacker(100 + n), gateway))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let first = Request::new("REGISTER", gateway, "100", "100", &mut rng);
    let nonces = sources
        .iter()
        .map(|source| Ok(source.ask(&first, ANSWERED)?.nonce().unwrap_or_default().to_owned()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut answered_too_large = 0;
    let flooded = flood(options.rate(), options.duration(), |_| {
        let at = below(&mut rng, sources.len() as u32) as usize;
        // The first five send only what is too large.
        let size = if at < 5 { TOO_LARGE } else { LARGE };
        let text = large(gateway, size, &nonces[at], options, &mut rng).text(sources[at].local);
        sources[at].send(text.as_bytes());
        let drawn = sources[at].drain().len();
        answered_too_large += if at < 5 { drawn } else { 0 };
    });
    for source in &sources[..5] {
        let probe = Request::new("OPTIONS", gateway, "a", "b", &mut rng);
        // All before it has been read when it is answered.
        source.ask(&probe, ANSWERED)?;
        answered_too_large += source.drain().iter().filter(|m| !m.answers(&probe)).count();
    }
    ensure!(
        answered_too_large == 0,
        "{answered_too_large} requests of {TOO_LARGE} bytes are answered"
    );
    Ok(flooded)
}

/// A login, or another request, with a large field somewhere.
fn large(gateway: SocketAddr, size: usize, nonce: &str, options: &Options, rng: &mut ChaCha8Rng) -> Request {
    let methods = ["REGISTER", "INVITE", "OPTIONS"];
    let method = methods[below(rng, 3) as usize];
    let user = name(rng, options.names);
    let mut request = Request::new(method, gateway, &user, &user, rng);
    let long = char::from(b'a' + below(rng, 26) as u8).to_string().repeat(size - 700);
    match below(rng, 7) {
        0 => request.call_id += &long,
        1 => request.from = format!("\"{long}\" {}", request.from),
        2 => request.to = format!("<sip:{long}@{gateway}>"),
        3 => request.branch += &long,
        4 => request.more = authorization(&request, &long, "x", nonce, below(rng, 1 << 20)),
        5 => request.more = format!("User-Agent: {long}\r\n"),
        _ => request.body = long,
    }
    request
}

/// Registrations by a phone, each a transaction that is kept as large as may be; how many were answered 200.
fn phone(options: &Options, gateway: SocketAddr) -> anyhow::Result<u32> {
    let mut phone = Phone::new([127, 0, 0, 2].into(), gateway, "100", options.rng(41))?;
    phone.register()?;
    let (mut taken, mut others, mut number) = (0, BTreeSet::new(), 0);
    let mut count = |phone: &Phone| {
        for message in phone.source.drain() {
            match message.status() {
                200 => taken += 1,
                status => _ = others.insert(status),
            }
        }
    };
    flood(options.rate(), options.duration(), |_| {
        let mut request = phone.request("REGISTER", "100");
        request.from = format!("\"{}\" {}", "c".repeat(KEPT), request.from);
        phone.authorize(&mut request);
        phone.source.send(request.text(phone.source.local).as_bytes());
        number += 1;
        count(&phone);
    });
    count(&phone);
    ensure!(
        taken > 0,
        "none of {number} REGISTERs is taken, but answered {others:?}"
    );
    Ok(taken)
}
