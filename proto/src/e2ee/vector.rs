//! The vector of docs/hub-protocol.md, made by the code that it describes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::key_exchange::tests::Known;
use super::key_exchange::{Binding, NO_SERVER_RANDOM, answer, begin};
use super::signalling::Link;
use super::{KeyExchange, Role, Version};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn vector() -> String {
    let (a, b): (Vec<u8>, Vec<u8>) = ((0x10..0x30).collect(), (0x40..0x60).collect());
    let binding = Binding {
        call_id: *b"0123456789abcdef",
        caller: "anna".into(),
        callee: "100@gw".into(),
    };
    let committed = begin(KeyExchange::X25519, &mut Known(a.clone()), &NO_SERVER_RANDOM).run();
    let commitment = committed.commitment();
    let answered = answer(
        KeyExchange::X25519,
        commitment,
        &mut Known(b.clone()),
        &NO_SERVER_RANDOM,
    )
    .run();
    let b_public = answered.public().to_vec();
    let caller = committed.on_accept(&b_public, &binding).unwrap().run().unwrap();
    let callee = answered.on_confirm(&caller.public, caller.fingerprint, &binding);
    let callee = callee.unwrap().run().unwrap();
    assert_eq!(callee.key.as_bytes(), caller.key.as_bytes());
    let json = br#"{"@type":"MediaState","muted":true}"#;
    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    let now = std::time::Instant::now();
    let mut link = Link::new(now, Role::Caller, Version::V9, caller.key.clone());
    link.send(now, json.to_vec(), true).unwrap();
    let packet = link.poll_transmit().unwrap();
    let mut peer = Link::new(now, Role::Callee, Version::V9, callee.key);
    let received = peer.handle_input(now + Duration::from_millis(1), &packet).messages;
    assert_eq!(received[0].json, json);
    let mut plain = vec![0x40, 0, 0, 1, 0x7f, 0, 0, 0, json.len() as u8];
    plain.extend_from_slice(json);
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name:<12}{value}").unwrap();
    line("call", format!("{}  (\"0123456789abcdef\")", hex(&binding.call_id)));
    line("caller", "anna".into());
    line("callee", "100@gw".into());
    line("a", hex(&a));
    line("A", hex(&caller.public));
    line("commitment", hex(&commitment));
    line("b", hex(&b));
    line("B", hex(&b_public));
    for (count, part) in caller.key.as_bytes().chunks(64).enumerate() {
        line(if count == 0 { "key" } else { "" }, hex(part));
    }
    line("fingerprint", caller.fingerprint.to_string());
    let rows: Vec<String> = caller.emojis.iter().map(|emoji| emoji.index().to_string()).collect();
    let shown: Vec<&str> = caller.emojis.iter().map(|emoji| emoji.symbol()).collect();
    line("emojis", format!("{}  ({})", rows.join(" "), shown.join(" ")));
    line("JSON", String::from_utf8_lossy(json).into_owned());
    line("plain", hex(&plain));
    line("packet", hex(&packet));
    text
}

#[test]
fn the_vector_of_the_manual_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hub-protocol.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once("## 12. A call, byte for byte").unwrap();
    let (words, rest) = rest.split_once("```\n").unwrap();
    let (kept, after) = rest.split_once("```").unwrap();
    let vector = vector();
    if std::env::var_os("UPDATE").is_some() {
        let page = format!("{before}## 12. A call, byte for byte{words}```\n{vector}```{after}");
        std::fs::write(&file, page).unwrap();
        return;
    }
    assert!(kept == vector, "run UPDATE=1 cargo test -p quartet-proto vector");
}
