//! Phones that dial as fast as they can: one at one user, one at many names, all at one user.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use quartet::demo::e2ee_peer::{Answering, E2eePeer, Event, Fault};
use quartet_tests::house::{House, HouseSetup};

use crate::flood::flood;
use crate::options::{Options, below, name};
use crate::phone::Phone;
use crate::sip::Request;
use crate::{PROGRAM, Verdict};

/// `[limits] calls_per_minute_callee`; half of them at once.
const CALLS_PER_MINUTE: f64 = 10.0;
/// What log and records may grow by in a second of a flood, and once for what is told at once.
const MAX_BYTES_PER_SECOND: f64 = 20_000.0;
const MAX_BYTES_AT_ONCE: f64 = 20_000.0;

/// How often each response was drawn, by status and by what goes with it.
type Drawn = BTreeMap<(u16, &'static str), u32>;

pub(crate) async fn run(options: Options) -> Verdict {
    // What one phone may begin, and how many calls it may have, is what stops it first.
    let alone = run_stages(&options, Answering::Ring, &[Stage::OneAtOne, Stage::OneAtMany]).await?;
    // Together they may begin many times what their callee receives. It declines, so none of them is busy for long.
    let together = run_stages(&options, Answering::Decline, &[Stage::AllAtOne]).await?;
    Ok(format!("one phone: {alone}; all: {together}"))
}

/// Who dials whom.
#[derive(Clone, Copy)]
enum Stage {
    OneAtOne,
    OneAtMany,
    AllAtOne,
}

async fn run_stages(options: &Options, answering: Answering, stages: &'static [Stage]) -> Verdict {
    let setup = HouseSetup {
        log: "info",
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let gateway = house.gateway.sip()?;
    let mut anna = house.user("anna", answering, Fault::None).await;
    let (begin, bytes) = (Instant::now(), written(&house));
    let attack = options.clone();
    let (mut drawn, count) = tokio::task::spawn_blocking(move || attack_all(&attack, gateway, stages)).await??;
    let took = begin.elapsed();
    let (grown, seconds) = ((written(&house) - bytes) as f64, took.as_secs_f64());
    ensure!(
        grown < MAX_BYTES_AT_ONCE + MAX_BYTES_PER_SECOND * seconds,
        "log and records grow by {grown} bytes in {took:?}"
    );
    let rung = rings(&mut anna).await;
    let most = CALLS_PER_MINUTE / 2.0 + CALLS_PER_MINUTE * seconds / 60.0 + 1.0;
    ensure!(
        (1.0..=most).contains(&f64::from(rung)),
        "the user is rung {rung} times in {took:?}; at most {most:.1} are allowed"
    );
    let of_own_number = (486, "Reason");
    for needed in [(480, "Reason"), of_own_number] {
        let may_lack = needed == of_own_number && answering == Answering::Decline;
        ensure!(
            may_lack || drawn.contains_key(&needed),
            "no call is refused with {needed:?}: {drawn:?}"
        );
    }
    // What rang and nobody took is 480 as well.
    let missed = drawn.remove(&(480, "")).unwrap_or(0);
    ensure!(missed <= rung, "{missed} of {rung} are 480 without a Reason");
    ensure!(
        !drawn.contains_key(&(480, "Retry-After")),
        "a refusal says when to dial again: {drawn:?}"
    );
    house.wait_idle().await;
    let shown: Vec<_> = drawn
        .iter()
        .map(|((status, with), n)| format!("{status} {with} x{n}"))
        .collect();
    Ok(format!(
        "{count} INVITEs ({}/s), rung {rung} of {most:.1}, {:.1} KB/s written, {}",
        (f64::from(count) / seconds) as u32,
        grown / seconds / 1e3,
        shown.join(", ")
    ))
}

/// How often this user was called.
async fn rings(user: &mut E2eePeer) -> u32 {
    let mut rung = 0;
    while let Some(event) = user.next(Duration::from_millis(20)).await {
        rung += u32::from(matches!(event, Event::Called(_)));
    }
    rung
}

/// Bytes of log and records so far.
fn written(house: &House) -> u64 {
    let size = |file: &str| std::fs::metadata(house.gateway.folder().join(file)).map_or(0, |meta| meta.len());
    size("log") + size("state/cdr.jsonl")
}

fn attack_all(options: &Options, gateway: SocketAddr, stages: &[Stage]) -> anyhow::Result<(Drawn, u32)> {
    let mut phones = Vec::new();
    for (number, user) in ["100", "101", "102"].into_iter().enumerate() {
        let address = [127, 0, 0, 2 + number as u8].into();
        let mut phone = Phone::new(address, gateway, user, options.rng(60 + number as u64))?;
        phone.register()?;
        phones.push(phone);
    }
    let (mut rng, mut drawn, mut count) = (options.rng(69), Drawn::new(), 0);
    let part = options.duration() / 2 / stages.len() as u32;
    for stage in stages {
        let flooded = flood(options.rate(), part, |_| {
            let (at, to) = match stage {
                Stage::OneAtOne => (0, "anna".to_owned()),
                Stage::OneAtMany => (1, name(&mut rng, options.names)),
                Stage::AllAtOne => (below(&mut rng, 3) as usize, "anna".to_owned()),
            };
            dial(&mut phones[at], &to, &mut drawn);
        });
        count += flooded.count;
    }
    for phone in &mut phones {
        take(phone, &mut drawn);
        // It can still do what phones do.
        phone.register()?;
    }
    Ok((drawn, count))
}

fn dial(phone: &mut Phone, to: &str, drawn: &mut Drawn) {
    let media = phone.source.local;
    let mut invite = phone.invite(to, media);
    phone.authorize(&mut invite);
    phone.source.send(invite.text(phone.source.local).as_bytes());
    take(phone, drawn);
}

/// Counts what has come, and acknowledges refusals.
fn take(phone: &Phone, drawn: &mut Drawn) {
    for message in phone.source.drain() {
        let is_invite = message.field("CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
        if !is_invite || message.status() < 200 {
            continue;
        }
        let with = match (message.field("Retry-After"), message.field("Reason")) {
            (Some(_), _) => "Retry-After",
            (None, Some(_)) => "Reason",
            (None, None) => "",
        };
        *drawn.entry((message.status(), with)).or_default() += 1;
        if let Some(invite) = answered(phone, &message) {
            phone.acknowledge(&invite, &message);
        }
    }
}

/// The INVITE that a response is for, as far as its ACK needs it.
fn answered(phone: &Phone, message: &crate::sip::Message) -> Option<Request> {
    let field = |name: &str| message.field(name).map(str::to_owned);
    let branch = crate::sip::between(message.field("Via")?, "branch=", ";")?;
    Some(Request {
        method: "INVITE",
        uri: format!("sip:{}", phone.source.gateway),
        from: field("From")?,
        to: field("To")?,
        call_id: field("Call-ID")?,
        cseq: message.field("CSeq")?.split(' ').next()?.parse().ok()?,
        branch: branch.to_owned(),
        via: None,
        more: String::new(),
        body: String::new(),
    })
}
