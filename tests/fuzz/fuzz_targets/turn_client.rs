//! A TURN client, over datagrams or a stream: whatever a server says, it neither panics nor says things without end.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet_proto::turn::{Client, OVERHEAD, Output, Server};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fuzz_target!(|data: &[u8]| {
    let Some((kind, mut rest)) = data.split_first() else { return };
    let stream = kind & 1 == 1;
    let server = Server {
        address: ([192, 0, 2, 1], 3478).into(),
        local: ([192, 0, 2, 2], 40_000).into(),
        stream,
        username: "user",
        password: "password",
    };
    let mut now = *ORIGIN;
    let mut client = Client::new(now, &server, &mut ChaCha8Rng::seed_from_u64(1));
    let mut last = Vec::new();
    let mut out = Vec::new();
    let drain = |client: &mut Client, last: &mut Vec<u8>| {
        for _ in 0..10_000 {
            match client.poll_output() {
                None => return,
                Some(Output::Transmit(bytes)) => *last = bytes,
                Some(Output::Datagram { .. } | Output::Relay(_) | Output::Outer(_) | Output::Failed(_)) => {}
            }
        }
        panic!("it does not stop");
    };
    drain(&mut client, &mut last);
    while let [act, length, more @ ..] = rest {
        let length = usize::from(*length).min(more.len());
        let (piece, after) = more.split_at(length);
        rest = after;
        match act % 6 {
            0 => drop(client.receive(now, piece)),
            // An answer to the last request, by its transaction.
            1 => {
                let mut answer = piece.to_vec();
                let at = answer.len().min(20);
                if let (Some(room), Some(id)) = (answer.get_mut(4..at), last.get(4..at)) {
                    room.copy_from_slice(id);
                }
                drop(client.receive(now, &answer));
            }
            2 => {
                now += Duration::from_millis(u64::from(*act) * 40);
                client.handle_timeout(now);
            }
            3 => {
                let peer = ([203, 0, 113, *act], 5_000).into();
                if client.send(now, peer, piece, &mut out) {
                    assert!(out.len() <= piece.len() + OVERHEAD);
                }
            }
            4 => now = client.poll_timeout().map_or(now, |due| due.max(now)),
            _ => {
                if length == 0 {
                    client.close(now);
                }
            }
        }
        drain(&mut client, &mut last);
    }
});
