//! A session of RTP: one byte says what comes, the next how long it is. Lines about the far side, about our paths,
//! what to do; datagrams from some sources; packets to send. Nothing is sent to where nothing may be sent, no packet is
//! changed without a key, and once it is known where the signalling comes from no stranger is heard.
#![no_main]

#[path = "../scripted.rs"]
#[allow(dead_code)]
mod scripted;

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use quartet::plugins::{About, Outcome, Output, Packet, PacketKind, Role};
use quartet_proto::net::is_destination;

/// Sources of datagrams: the phone, its other port, its NAT, a stranger, and ourselves.
const SOURCES: [&str; 8] = [
    "198.51.100.1:5000",
    "198.51.100.1:5001",
    "203.0.113.5:61000",
    "203.0.113.5:61001",
    "203.0.113.66:5000",
    "127.0.0.1:5000",
    "[2001:db8::1]:5000",
    "[::ffff:198.51.100.1]:5000",
];

/// Every address that the lines name, in any word.
fn named(lines: &str) -> impl Iterator<Item = IpAddr> {
    let words = lines.split(|letter: char| letter.is_whitespace());
    let words = words.flat_map(|word| [word, word.split_once(':').map_or("", |(_, rest)| rest)]);
    words
        .filter_map(|word| word.parse().ok())
        .map(|ip: IpAddr| ip.to_canonical())
}

fuzz_target!(|bytes: &[u8]| {
    let registry = scripted::registry();
    let table = registry.transport("rtp").expect("it is linked in");
    let mut session = table.create(Role::Answer, 0, "").expect("it needs nothing");
    let (mut known, mut home, mut strict, mut closed) = (Vec::new(), false, None, false);
    let mut has_keys = false;
    let mut packet = Packet::new(2_048, 64);
    let mut rest = bytes;
    while let [verb, length, tail @ ..] = rest {
        let (part, after) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = after;
        let lines = String::from_utf8_lossy(part).replace('\0', " ");
        match verb % 8 {
            0 | 1 => {
                home |= lines.lines().any(|line| {
                    let word = line.trim().strip_prefix("signalled-from:");
                    word.is_some_and(|word| word.trim().parse::<IpAddr>().is_ok())
                });
                known.extend(named(&lines));
                let names_keys = lines.lines().any(|line| line.trim().starts_with("crypto:"));
                has_keys |= names_keys;
                let told = session.tell(0, About::Remote, &lines);
                assert!(
                    told.is_ok() || names_keys,
                    "broken lines are skipped, but for those of keys"
                );
            }
            2 => session.tell(0, About::Paths, &lines).expect("broken lines are skipped"),
            3 if verb & 0x80 != 0 => {
                closed |= lines.lines().any(|line| line.trim() == "close");
                session
                    .tell(0, About::Control, &lines)
                    .expect("broken lines are skipped");
            }
            3 | 4 => {
                let kind = if verb & 0x40 == 0 {
                    PacketKind::Rtp
                } else {
                    PacketKind::Rtcp
                };
                packet.fill(part);
                packet.kind = Some(kind);
                if let Ok(outcome) = session.send(0, &mut packet) {
                    assert!(has_keys || packet.bytes() == part);
                    if outcome == Outcome::Kept {
                        assert_eq!(kind, PacketKind::Rtcp, "a report that would tell who is heard");
                        continue;
                    }
                    assert_eq!(outcome, Outcome::Transmit);
                    assert!(!closed);
                    // What was learnt from a source may be loopback, what was named only for those who come from there.
                    assert!(
                        is_destination(packet.dst.ip(), true) && packet.dst.port() != 0,
                        "{}",
                        packet.dst
                    );
                }
            }
            _ => {
                let source: SocketAddr = SOURCES[usize::from(verb >> 5)].parse().expect("an address");
                packet.fill(part);
                (packet.src, packet.path) = (source, u32::from(verb >> 3 & 3));
                if let Ok(outcome) = session.receive(0, &mut packet) {
                    assert!(has_keys || packet.bytes() == part);
                    assert!(matches!(outcome, Outcome::Rtp | Outcome::Rtcp | Outcome::Kept));
                    if outcome != Outcome::Kept {
                        assert!(!closed);
                        // Before the signalling is known the first one heard may be anybody, and stays.
                        let strict = *strict.get_or_insert(home);
                        assert!(
                            !strict || known.contains(&source.ip().to_canonical()),
                            "a stranger: {source}"
                        );
                    }
                }
            }
        }
        let mut outputs = 0;
        while !matches!(session.poll(), Output::None { .. }) {
            outputs += 1;
            assert!(
                outputs < 4,
                "it only says that it is connected, and that it has new lines"
            );
        }
        let _ = session.local(0);
    }
});
