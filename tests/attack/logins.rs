//! Logins guessed under many names and at a real one, from many sources, while phones refresh their registrations.
//!
//! What the gateway judged is read from what its operator sees: `quartet locked` counts judged failures. The right password
//! is tried only by sources that must be exhausted, and so never draws a 200.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quartet::io::control::ControlRequest;
use quartet_tests::house::{House, HouseSetup, PASSWORD};

use crate::flood::{Flooded, flood};
use crate::options::{Options, below, name};
use crate::phone::{ANSWERED, Phone};
use crate::sip::{Message, Request, authorization};
use crate::source::{Source, attacker};
use crate::{PROGRAM, Verdict};

/// Failures judged at once (`[limits] login_failures`); of one account three times as many.
const AT_ONCE: u64 = 10;
/// Between two that are judged later (`[limits] login_interval`).
const INTERVAL: Duration = Duration::from_secs(10);
/// What repeats in the log is summed up for so long.
const WINDOW: Duration = Duration::from_secs(60);
/// Guesses of a source that have failed before it tries the right password.
const EXHAUSTED: u32 = 30;

struct Guesser {
    source: Source,
    nonce: String,
    count: u32,
}

pub(crate) async fn run(options: Options) -> Verdict {
    let house = House::build(
        PROGRAM,
        HouseSetup {
            log: "info",
            ..HouseSetup::default()
        },
    )
    .await;
    let gateway = house.gateway.sip()?;
    let attack = options.clone();
    let (mut guessers, flooded, responses, refreshed) =
        tokio::task::spawn_blocking(move || attack_and_refresh(&attack, gateway)).await??;
    let locked = house.gateway.ask(&ControlRequest::Locked).await?;
    let judged = check_locked(&locked, &guessers, flooded)?;
    check_log(&house.gateway.log(), &guessers, flooded.took)?;
    let mut last = guessers.pop().context("no guesser")?;
    let who = last.source.local.ip().to_string();
    let asked = tokio::task::spawn_blocking(move || {
        // In a long flood it may have come to rest, while guesses at 100 were not judged whoever made them.
        let mut rng = options.rng(3);
        for _ in 0..EXHAUSTED {
            last.guess(&name(&mut rng, options.names), "x", &mut rng);
        }
        last.log_in().map(|response| (response, last))
    });
    let (response, mut last) = asked.await??;
    ensure!(
        response.status() == 401,
        "an exhausted source logs in: {}",
        response.text
    );
    for who in [who.as_str(), "100"] {
        house
            .gateway
            .ask(&ControlRequest::Unlock { who: who.to_owned() })
            .await
            .with_context(|| format!("{who} is not listed as locked: {locked}"))?;
    }
    let response = tokio::task::spawn_blocking(move || last.log_in()).await??;
    ensure!(
        response.status() == 200,
        "an unlocked source cannot log in: {}",
        response.text
    );
    Ok(format!(
        "{} guesses ({}/s), {judged} judged, {responses} responses, all 401; {refreshed}",
        flooded.count,
        flooded.rate()
    ))
}

type Attacked = (Vec<Guesser>, Flooded, usize, String);

/// The flood, with two phones that refresh all the time: 100 from elsewhere, 102 from an attacker's address.
fn attack_and_refresh(options: &Options, gateway: SocketAddr) -> anyhow::Result<Attacked> {
    let mut rng = options.rng(1);
    let number = (options.sources / 100).clamp(3, 200);
    let mut guessers = (0..number)
        .map(|n| Guesser::new(Source::bind(attacker(n), gateway)?, options, n))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    let phones = [("100", [127, 0, 0, 2].into()), ("102", attacker(0))];
    // Registered before the first guess: from an address where it never was, an account that is guessed at has to wait.
    let mut registered = Vec::new();
    for (user, address) in phones {
        let mut phone = Phone::new(address, gateway, user, options.rng(2))?;
        phone.register()?;
        registered.push(phone);
    }
    let phones: Vec<_> = registered
        .into_iter()
        .map(|phone| refresh(phone, Arc::clone(&stop)))
        .collect();
    let begin = Instant::now();
    let mut seen = Seen::default();
    let flooded = flood(options.rate(), options.duration(), |_| {
        let at = below(&mut rng, number) as usize;
        let guesser = &mut guessers[at];
        // The first guesses at 101 only, every third other at 100 from the beginning, the rest hides behind names at first.
        let hides = at % 3 == 1 && guesser.count < 2 * EXHAUSTED;
        let user = match at {
            0 => "101".to_owned(),
            _ if hides => name(&mut rng, options.names),
            _ => "100".to_owned(),
        };
        // Until the next of them would be judged by right.
        let may_be_right = guesser.count > EXHAUSTED && begin.elapsed() + Duration::from_secs(1) < INTERVAL;
        let is_right = may_be_right && below(&mut rng, 4) == 0;
        let password = if is_right {
            PASSWORD.to_owned()
        } else {
            format!("{:x}", below(&mut rng, u32::MAX))
        };
        guesser.guess(&user, &password, &mut rng);
        seen.take(guesser.source.drain());
    });
    // What is still on its way: the phones' responses come after it.
    stop.store(true, Ordering::Relaxed);
    let mut refreshed = Vec::new();
    for (phone, which) in phones.into_iter().zip(["100, guessed at", "102, beside a guesser"]) {
        let times = phone.join().map_err(|_| anyhow::anyhow!("phone {which} panicked"))?;
        let times = times.with_context(|| format!("phone {which}"))?;
        refreshed.push(times.to_string());
    }
    for guesser in &guessers {
        seen.take(guesser.source.drain());
    }
    let number = seen.check()?;
    Ok((
        guessers,
        flooded,
        number,
        format!("phones refreshed {} times", refreshed.join(" and ")),
    ))
}

/// Refreshes a registration until told to stop; gives how often.
fn refresh(mut phone: Phone, stop: Arc<AtomicBool>) -> JoinHandle<anyhow::Result<u32>> {
    std::thread::spawn(move || {
        let mut times = 0;
        while !stop.load(Ordering::Relaxed) || times == 0 {
            phone.register()?;
            times += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(times)
    })
}

impl Guesser {
    fn new(source: Source, options: &Options, number: u32) -> anyhow::Result<Self> {
        let mut rng = options.rng(1000 + u64::from(number));
        let request = Request::new("REGISTER", source.gateway, "100", "100", &mut rng);
        let response = source.ask(&request, ANSWERED)?;
        let nonce = response.nonce().context("no challenge")?.to_owned();
        Ok(Self {
            source,
            nonce,
            count: 0,
        })
    }

    fn guess(&mut self, user: &str, password: &str, rng: &mut rand_chacha::ChaCha8Rng) {
        let mut request = Request::new("REGISTER", self.source.gateway, user, user, rng);
        self.count += 1;
        request.more = authorization(&request, user, password, &self.nonce, self.count);
        self.source.send(request.text(self.source.local).as_bytes());
    }

    /// Tries the right password of phone 100.
    fn log_in(&mut self) -> anyhow::Result<Message> {
        let mut rng = rand_core::SeedableRng::seed_from_u64(u64::from(self.count));
        let mut request = Request::new("REGISTER", self.source.gateway, "100", "100", &mut rng);
        self.count += 1;
        request.more = authorization(&request, "100", PASSWORD, &self.nonce, self.count);
        self.source.ask(&request, ANSWERED)
    }
}

/// The responses that attackers have drawn.
#[derive(Default)]
struct Seen {
    number: usize,
    nonces: BTreeSet<String>,
    others: BTreeSet<u16>,
}

impl Seen {
    fn take(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.number += 1;
            if message.status() != 401 {
                self.others.insert(message.status());
            }
            self.nonces.extend(message.nonce().map(str::to_owned));
        }
    }

    fn check(&self) -> anyhow::Result<usize> {
        ensure!(
            self.others.is_empty(),
            "a guess draws something else than 401: {:?}",
            self.others
        );
        ensure!(self.number > 0, "no guess is answered");
        ensure!(
            self.nonces.len() == self.number,
            "of {} challenges only {} have a nonce of their own",
            self.number,
            self.nonces.len()
        );
        Ok(self.number)
    }
}

/// Every source is listed, with no more judged failures than it may have; gives how many all have.
fn check_locked(locked: &serde_json::Value, guessers: &[Guesser], flooded: Flooded) -> anyhow::Result<u64> {
    let later = flooded.took.as_secs() / INTERVAL.as_secs() + 1;
    let rows: Vec<_> = locked
        .as_array()
        .context("no list")?
        .iter()
        .map(|row| {
            let source = row["source"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
            (source, row["account"].as_str(), row["failures"].as_u64().unwrap_or(0))
        })
        .collect();
    let mut judged = 0;
    for (source, account, failures) in &rows {
        let at_once = if source.is_some() { AT_ONCE } else { 3 * AT_ONCE };
        ensure!(
            *failures <= at_once + later,
            "{source:?} {account:?} has had {failures} logins judged in {:?}",
            flooded.took
        );
        judged += if source.is_some() { *failures } else { 0 };
    }
    let account = rows.iter().any(|row| row.0.is_none() && row.1 == Some("100"));
    ensure!(account, "phone 100 is guessed at and not listed: {locked}");
    // Every third source spent its failures on names before 100 was locked; the others may have been stopped by that.
    for (_, guesser) in guessers.iter().enumerate().filter(|(at, _)| *at == 0 || at % 3 == 1) {
        let ip = guesser.source.local.ip();
        let listed = rows.iter().any(|row| row.0 == Some(ip));
        ensure!(
            listed || guesser.count < EXHAUSTED || flooded.took + Duration::from_secs(1) > INTERVAL,
            "{ip} has guessed {} times and is not listed",
            guesser.count
        );
    }
    Ok(judged)
}

/// One line for each source and window.
fn check_log(log: &str, guessers: &[Guesser], took: Duration) -> anyhow::Result<()> {
    let windows = took.as_secs() / WINDOW.as_secs();
    for guesser in guessers {
        let begin = format!("login failed: source={} ", guesser.source.local.ip());
        let lines = log.lines().filter(|line| line.contains(&begin)).count() as u64;
        ensure!(
            (1..=1 + 2 * windows).contains(&lines),
            "{lines} lines begin with {begin:?} after {took:?}"
        );
    }
    Ok(())
}
