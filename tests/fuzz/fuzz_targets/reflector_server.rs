//! A reflector: whatever comes from wherever, no place gets more than came from it before it has shown that it is there, and a
//! call has no more parties than its bound.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet_proto::net::ConnectionId;
use quartet_proto::reflector::{Framing, Issuer, Place, Server, Verdict};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
const UNIX: u64 = 1_790_000_000;

fuzz_target!(|data: &[u8]| {
    let secret = b"secret".to_vec();
    let tag = Issuer::default().issue(&secret, UNIX, &mut ChaCha8Rng::seed_from_u64(1));
    let mut now = *ORIGIN;
    let mut server = Server::new(Zeroizing::new(secret), (now, UNIX));
    let mut framing = Framing::of_server();
    let (mut got, mut gave) = (BTreeMap::new(), BTreeMap::new());
    let mut rest = data;
    while let [act, from, length, more @ ..] = rest {
        let length = usize::from(*length).min(more.len());
        let (piece, after) = more.split_at(length);
        rest = after;
        let place = if from & 0x80 == 0 {
            let remote = ([192, 0, 2, from & 7], 4_000).into();
            Place::Udp { socket: 0, remote }
        } else {
            Place::Stream(ConnectionId(u64::from(from & 7)))
        };
        let mut packet = piece.to_vec();
        match act % 8 {
            0 => {
                now += Duration::from_millis(u64::from(*act) * 40);
                server.handle_timeout(now);
                continue;
            }
            1 => {
                server.handle_closed(ConnectionId(u64::from(from & 7)));
                continue;
            }
            2 => {
                framing.push(piece);
                while framing.next().is_ok_and(|packet| packet.is_some()) {}
                framing = Framing::of_server();
                continue;
            }
            3 => {}
            // With a signed tag, and the own bytes of one of a few.
            _ => packet.splice(..0, tag[..12].iter().copied()).for_each(drop),
        }
        let verdict = server.handle_input(now, place, &packet);
        *got.entry(place).or_insert(0) += packet.len();
        match verdict {
            Verdict::Drop(_) => {}
            Verdict::Answer(answer) => {
                *gave.entry(place).or_insert(0) += answer.len();
            }
            Verdict::Pass(to) => *gave.entry(to).or_insert(0) += packet.len(),
        }
        // Neither chance nor a coverage-guided guess finds what an answer shows, so nobody at a UDP address has shown anything, unless
        // by the answer to a check.
        let has_checks = data.windows(4).any(|four| four == [0x21, 0x12, 0xa4, 0x42]);
        if !has_checks {
            for (to, bytes) in gave.iter().filter(|(to, _)| matches!(to, Place::Udp { .. })) {
                assert!(got.get(to).is_some_and(|got| got >= bytes), "{to:?}");
            }
        }
        assert!(server.parties() <= 8);
    }
});
