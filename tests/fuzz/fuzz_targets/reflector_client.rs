//! A party at a reflector, over datagrams or a stream: whatever the reflector says, it neither panics nor says things without end.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet_proto::reflector::{Client, Options, Output, names};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fuzz_target!(|data: &[u8]| {
    let Some((kind, mut rest)) = data.split_first() else { return };
    let options = Options {
        number: 1,
        port: 599,
        tag: [7; 16].into(),
        stream: kind & 1 == 1,
    };
    let mut now = *ORIGIN;
    let mut client = Client::new(now, &options, &mut ChaCha8Rng::seed_from_u64(1));
    let mut hello = Vec::new();
    while let [act, length, more @ ..] = rest {
        let length = usize::from(*length).min(more.len());
        let (piece, after) = more.split_at(length);
        rest = after;
        match act % 4 {
            0 => drop(client.receive(now, piece)),
            // Something that begins with its tag, which nobody else knows.
            1 => {
                let whole = hello.get(if options.stream { 4..20 } else { 0..16 });
                let packet = [whole.unwrap_or_default(), piece].concat();
                let framed = [&(packet.len() as u32).to_le_bytes()[..], &packet].concat();
                let received = if options.stream { client.receive(now, &framed) } else { client.receive(now, &packet) };
                if let Some((peer, part)) = received {
                    assert!(packet.get(part).is_some() && names::of_address(peer.ip()).is_some());
                }
            }
            2 => {
                now += Duration::from_millis(u64::from(*act) * 40);
                client.handle_timeout(now);
            }
            _ => {
                let peer = names::address(u32::from(*act) % 3, [9; 4], 599);
                if let Some(frame) = client.frame(peer, piece.len()) {
                    assert!((piece.len() + frame.pad).is_multiple_of(4) && frame.header().len() >= 24);
                }
            }
        }
        for count in 0.. {
            assert!(count < 1_000, "it does not stop");
            match client.poll_output() {
                None => break,
                Some(Output::Transmit(bytes)) => hello = bytes,
                Some(Output::Relay(_) | Output::Datagram { .. } | Output::Closed | Output::Silent) => {}
            }
        }
    }
});
