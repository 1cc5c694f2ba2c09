//! Requests forged from another address into a call, by somebody who has read all its signalling.

use anyhow::{Context, ensure};
use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::{PEER_HZ, PHONE_HZ};
use quartet::io::control::ControlRequest;
use quartet_tests::house::{House, SOON, hears};
use rand_chacha::ChaCha8Rng;
use std::time::{Duration, Instant};

use crate::options::{Options, below};
use crate::phone::{ANSWERED, Phone, PhoneCall, sdp};
use crate::sip::{Request, branch};
use crate::source::{Source, attacker};
use crate::{PROGRAM, Verdict};

/// Each kind once; the second text is the body's type, the third the body.
const FORGED: &[(&str, &str, &str)] = &[
    ("BYE", "", ""),
    ("INVITE", "application/sdp", "SDP"),
    ("INVITE", "", ""),
    ("UPDATE", "application/sdp", "SDP"),
    ("INFO", "application/dtmf-relay", "Signal=1\r\nDuration=100\r\n"),
    ("INFO", "application/dtmf-relay", "Signal=*\r\nDuration=100\r\n"),
    ("INFO", "application/dtmf-relay", "Signal=9\r\nDuration=100\r\n"),
    ("REFER", "", ""),
    ("OPTIONS", "", ""),
    ("MESSAGE", "text/plain", "hello"),
    ("PRACK", "", ""),
    ("ACK", "", ""),
    ("ACK", "application/sdp", "SDP"),
    ("CANCEL", "", ""),
];

/// The call stands.
pub(crate) async fn run(options: Options) -> Verdict {
    let house = House::new(PROGRAM, "").await;
    let gateway = house.gateway.sip()?;
    let anna = house.user("anna", Answering::Take, Fault::None).await;
    let rng = options.rng(20);
    let call = tokio::task::spawn_blocking(move || {
        let mut phone = Phone::new([127, 0, 0, 2].into(), gateway, "100", rng)?;
        phone.register()?;
        let call = phone.dial("anna", PHONE_HZ)?;
        anyhow::Ok((phone, call))
    });
    let (phone, call) = call.await??;
    house.wait_calls("state", "talking", SOON).await;
    let before = row(&house).await?;
    let mut rng = options.rng(21);
    let forged = tokio::task::spawn_blocking(move || {
        let seen = forge_all(&phone, &call, &mut rng)?;
        let logged_in = forge_as_another_phone(&call, &mut rng, &phone)?;
        anyhow::Ok((phone, call, seen, logged_in))
    });
    let (phone, call, seen, logged_in) = forged.await??;
    let after = row(&house).await?;
    ensure!(before == after, "the call was {before:?} and is {after:?}");
    let call = tokio::task::spawn_blocking(move || call.hears(PEER_HZ).map(|()| call)).await??;
    hears(anna.line(), PHONE_HZ).await;
    let last = row(&house).await?;
    ensure!(
        last.0 == before.0 && last.1 == "talking" && last.2 == "announced",
        "the call became {last:?}"
    );
    drop((phone, call));
    Ok(format!(
        "{seen} forged requests refused, {logged_in} as another phone; the call stands and is heard"
    ))
}

/// The call rings: a CANCEL with the INVITE's own branch and Via, from elsewhere.
pub(crate) async fn run_cancel(options: Options) -> Verdict {
    let house = House::new(PROGRAM, "[call]\nverify = \"off\"\n").await;
    let gateway = house.gateway.sip()?;
    let rings = Answering::TakeAfter(Duration::from_millis(1500));
    let anna = house.user("anna", rings, Fault::None).await;
    let (rng, mut draws) = (options.rng(22), options.rng(23));
    let attacked = tokio::task::spawn_blocking(move || {
        let mut phone = Phone::new([127, 0, 0, 2].into(), gateway, "100", rng)?;
        phone.register()?;
        let media = std::net::UdpSocket::bind((phone.source.local.ip(), 0))?;
        let mut invite = phone.invite("anna", media.local_addr()?);
        phone.authorize(&mut invite);
        phone.source.send(invite.text(phone.source.local).as_bytes());
        let end = Instant::now() + SOON;
        while phone.source.receive(SOON).context("it does not ring")?.status() != 180 {
            ensure!(Instant::now() < end, "it does not ring");
        }
        let source = Source::bind(attacker(below(&mut draws, 1000)), gateway)?;
        let mut cancel = invite.clone();
        cancel.method = "CANCEL";
        cancel.via = Some(phone.source.local);
        (cancel.more, cancel.body) = (String::new(), String::new());
        source.send(cancel.text(source.local).as_bytes());
        let final_response = std::iter::from_fn(|| phone.source.receive(SOON))
            .find(|m| m.answers(&invite) && m.status() >= 200)
            .context("no final response")?;
        ensure!(
            final_response.status() == 200,
            "a stranger's CANCEL with the call's branch ends it: {}",
            final_response.status()
        );
        let late = source.drain();
        anyhow::Ok(late.first().map_or(0, crate::sip::Message::status))
    });
    let status = attacked.await??;
    drop(anna);
    Ok(format!("a forged CANCEL draws {status} and the call is answered"))
}

/// Its key, its state and what is known of the emojis.
async fn row(house: &House) -> anyhow::Result<(String, String, String)> {
    let calls = house.gateway.ask(&ControlRequest::Calls).await?;
    let text = |column: &str| calls[0][column].as_str().map(str::to_owned).unwrap_or_default();
    let id = calls[0]["id"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("the call is gone\n{}", house.gateway.log()))?;
    Ok((id, text("state"), text("verdict")))
}

/// Each kind of request in drawn order, as the phone's and, with the tags turned round, as the gateway's; how many.
fn forge_all(phone: &Phone, call: &PhoneCall, rng: &mut ChaCha8Rng) -> anyhow::Result<usize> {
    let mut kinds = FORGED.to_vec();
    for at in (1..kinds.len()).rev() {
        kinds.swap(at, below(rng, at as u32 + 1) as usize);
    }
    for (number, (method, kind, body)) in kinds.iter().enumerate() {
        for is_turned in [false, true] {
            for via in [None, Some(phone.source.local)] {
                // A source for each, so that none goes unanswered for having drawn too much.
                let source = Source::bind(attacker(below(rng, 1000)), phone.source.gateway)?;
                let mut request = forged(call, method, kind, body, &source, rng);
                request.cseq += number as u32 + below(rng, 1000);
                request.via = via;
                if is_turned {
                    std::mem::swap(&mut request.from, &mut request.to);
                }
                if *method == "ACK" {
                    source.send(request.text(source.local).as_bytes());
                    continue;
                }
                if *method == "CANCEL" {
                    (request.branch, request.cseq) = (call.invite.branch.clone(), call.invite.cseq);
                }
                let status = source.ask(&request, ANSWERED)?.status();
                ensure!(
                    matches!(status, 401 | 405 | 481 | 501),
                    "a forged {method} {body:?} is answered {status}"
                );
            }
        }
    }
    Ok(4 * kinds.len())
}

/// Somebody with an account of his own is no more of the call's.
fn forge_as_another_phone(call: &PhoneCall, rng: &mut ChaCha8Rng, phone: &Phone) -> anyhow::Result<u32> {
    let mut other = Phone::new(attacker(2000), phone.source.gateway, "101", another_rng(rng))?;
    other.register()?;
    let mut number = 0;
    for (method, kind, body) in FORGED.iter().filter(|row| !matches!(row.0, "ACK" | "CANCEL")) {
        let mut request = forged(call, method, kind, body, &other.source, rng);
        number += 1;
        request.cseq += 5000 + number;
        other.authorize(&mut request);
        let status = other.source.ask(&request, ANSWERED)?.status();
        ensure!(
            matches!(status, 401 | 405 | 481 | 501),
            "{method} {body:?} of another phone is answered {status}"
        );
    }
    // Its logins were right, and none has counted as one that failed.
    other.register()?;
    Ok(number)
}

fn another_rng(rng: &mut ChaCha8Rng) -> ChaCha8Rng {
    rand_core::SeedableRng::seed_from_u64(u64::from(below(rng, u32::MAX)))
}

/// A request within the call's dialog; media, if any, shall go to the attacker.
fn forged(
    call: &PhoneCall,
    method: &'static str,
    kind: &str,
    body: &str,
    source: &Source,
    rng: &mut ChaCha8Rng,
) -> Request {
    let mut request = call.ack.clone();
    (request.method, request.branch, request.cseq) = (method, branch(rng), request.cseq + 1);
    if !kind.is_empty() {
        request.more = format!("Content-Type: {kind}\r\n");
        request.body = if body == "SDP" {
            sdp(source.local)
        } else {
            body.to_owned()
        };
    }
    if method == "REFER" {
        request.more += &format!("Refer-To: <sip:attack@{}>\r\n", source.local);
    }
    request
}
