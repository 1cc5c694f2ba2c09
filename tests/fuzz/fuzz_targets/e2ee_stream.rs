//! Signalling over SCTP, and whoever carries it: it is in clear, so that the hub can write any packet. Two ends; the input says
//! what they send and what becomes of it on the way. The bytes are also taken for gzip.
#![no_main]

#[path = "../checksum.rs"]
mod checksum;

use std::time::{Duration, Instant};

use checksum::with_checksum;
use libfuzzer_sys::fuzz_target;
use quartet_proto::e2ee::signalling::{Link, decompress};
use quartet_proto::e2ee::{Role, SharedKey, Version};

/// Carries what waits both ways until nothing does; gives the last packet to each end.
fn exchange(now: Instant, ends: &mut [Link; 2], last: &mut [Vec<u8>; 2]) {
    for _ in 0..64 {
        let mut quiet = true;
        for from in 0..2 {
            while let Some(packet) = ends[from].poll_transmit() {
                let received = ends[1 - from].handle_input(now, &packet);
                assert!(
                    received
                        .messages
                        .iter()
                        .all(|message| message.json.len() <= 64 * 1024)
                );
                last[1 - from] = packet;
                quiet = false;
            }
        }
        if quiet {
            return;
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    assert!(decompress(bytes).is_none_or(|json| json.len() <= 64 * 1024));
    let (mut now, key) = (Instant::now(), SharedKey::new(&[7; 256]));
    let mut ends = [Role::Caller, Role::Callee].map(|role| Link::new(now, role, Version::V13, key.clone()));
    let mut last = [Vec::new(), Vec::new()];
    let mut rest = bytes;
    // The first byte: whether they are connected before anything happens.
    if rest.split_off_first().is_some_and(|first| first % 2 == 0) {
        now += Duration::from_millis(300);
        ends.iter_mut().for_each(|end| end.handle_timeout(now));
        exchange(now, &mut ends, &mut last);
    }
    while let [verb, argument, tail @ ..] = rest {
        let to = usize::from(verb & 1);
        let length = usize::from(*argument).min(tail.len());
        rest = &tail[length..];
        match verb >> 1 & 3 {
            // The last packet again, altered from some place on, or one of the input's own.
            0 if last[to].len() > 12 => {
                let (place, new) = tail[..length].split_first().unwrap_or((&0, &[]));
                let mut packet = last[to].clone();
                let start = 12 + usize::from(*place) % (packet.len() - 12);
                packet.truncate(start);
                packet.extend_from_slice(new);
                with_checksum(&mut packet);
                ends[to].handle_input(now, &packet);
            }
            1 => {
                let mut packet = [&[0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0], &tail[..length]].concat();
                with_checksum(&mut packet);
                ends[to].handle_input(now, &packet);
            }
            2 => _ = ends[to].send(now, tail[..length].to_vec(), true),
            _ => {
                now += Duration::from_millis(u64::from(*argument) * 40);
                ends.iter_mut().for_each(|end| end.handle_timeout(now));
            }
        }
        exchange(now, &mut ends, &mut last);
    }
});
