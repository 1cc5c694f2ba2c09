//! Lists as long as a message can hold, from a phone that is logged in: what each costs in CPU time.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use quartet_proto::sip::MAX_MESSAGE;
use quartet_tests::house::House;
use rand_chacha::ChaCha8Rng;

use crate::options::{Options, below};
use crate::phone::Phone;
use crate::process::cpu;
use crate::{PROGRAM, Verdict};

/// For one message, on any machine: ten thousand times the work of a usual one.
const MAX_CPU: Duration = Duration::from_millis(50);
/// Messages of each kind: the clock of CPU time has steps of 10 ms.
const TIMES: u32 = 10;

/// A field, what is repeated in it or as it, and what separates the parts.
const LISTS: &[(&str, &str, &str)] = &[
    ("Contact: ", "<sip:a>", ","),
    ("Contact: ", "<sip:a@b>;expires=60;+sip.instance=\"<x>\"", ","),
    ("", "m:<sip:a>", "\r\n"),
    ("", "m:*", "\r\n"),
    ("Contact: ", "", ","),
    ("Contact: <sip:a>", "", ";"),
    ("Contact: \"", "\\\"", ""),
    ("Contact: ", "<", ""),
    ("Contact: <sip:a?", "a=b", "&"),
    ("Route: ", "<sip:a;lr>", ","),
    ("Require: ", "a", ","),
    ("", "v:SIP/2.0/UDP a", "\r\n"),
    ("Via: ", "SIP/2.0/UDP a", ","),
    ("", "Authorization: Digest realm=\"quartet\",nonce=\"a\"", "\r\n"),
    ("Authorization: Digest ", "a=b", ","),
    ("X: ", "a", "\r\n "),
    ("", "x:", "\r\n"),
];

pub(crate) async fn run(options: Options) -> Verdict {
    let house = House::new(PROGRAM, "").await;
    let (gateway, pid) = (house.gateway.sip()?, house.gateway.pid());
    let (rng, draws) = (options.rng(50), options.rng(51));
    tokio::task::spawn_blocking(move || attack(gateway, pid, rng, draws)).await?
}

fn attack(gateway: SocketAddr, pid: u32, rng: ChaCha8Rng, mut draws: ChaCha8Rng) -> Verdict {
    let mut phone = Phone::new([127, 0, 0, 2].into(), gateway, "100", rng)?;
    phone.register()?;
    let (mut worst, mut which) = (Duration::ZERO, String::new());
    let mut parts = 0;
    // As many as fit, a part of them, and more than fit.
    for (field, part, separator) in LISTS {
        for size in [MAX_MESSAGE, 2048 + below(&mut draws, 8192) as usize, 60_000] {
            let before = cpu(pid);
            for _ in 0..TIMES {
                let mut request = phone.request("REGISTER", "100");
                phone.authorize(&mut request);
                let room = size - request.text(phone.source.local).len() - field.len() - 8;
                let count = room / (part.len() + separator.len()).max(1);
                parts = parts.max(count);
                let list = vec![*part; count].join(separator);
                request.more += &format!("{field}{list}\r\n");
                let text = request.text(phone.source.local);
                phone.source.send(text.as_bytes());
                // When this is answered the other has been dealt with.
                let mut next = phone.request("OPTIONS", "100");
                phone.ask(&mut next)?;
                let answered = phone.source.drain().iter().any(|m| m.answers(&request));
                ensure!(
                    !answered || text.len() <= MAX_MESSAGE,
                    "{} bytes are answered",
                    text.len()
                );
            }
            let each = cpu(pid).saturating_sub(before) / TIMES;
            if each > worst {
                (worst, which) = (each, format!("{field}{part}{separator:?} in {size} bytes"));
            }
        }
    }
    ensure!(
        worst < MAX_CPU,
        "a message costs {worst:?} of CPU time: a list of {which}"
    );
    phone.register()?;
    Ok(format!(
        "{} kinds of lists of up to {parts} parts; the worst costs {worst:?} ({which})",
        LISTS.len()
    ))
}
