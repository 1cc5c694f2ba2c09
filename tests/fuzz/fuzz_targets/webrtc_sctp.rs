//! SCTP packets of a peer that has passed DTLS: two ends that are connected, and the input says what they send and what
//! becomes of it on the way. The checksum is made right again, which chance would never do.
#![no_main]

#[path = "../checksum.rs"]
mod checksum;

use std::time::{Duration, Instant};

use checksum::with_checksum;
use libfuzzer_sys::fuzz_target;
use quartet_proto::webrtc::sctp::Sctp;

/// Carries what waits both ways until nothing does; gives the last packet to each end.
fn exchange(now: Instant, ends: &mut [Sctp; 2], last: &mut [Vec<u8>; 2]) {
    for _ in 0..64 {
        let mut quiet = true;
        for from in 0..2 {
            while let Some(packet) = ends[from].poll_transmit() {
                ends[1 - from].receive(now, &packet);
                last[1 - from] = packet;
                quiet = false;
            }
            while ends[from].poll_message().is_some() {}
        }
        if quiet {
            return;
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut now = Instant::now();
    let mut ends = [Sctp::new(now, true), Sctp::new(now, false)];
    let mut last = [Vec::new(), Vec::new()];
    exchange(now, &mut ends, &mut last);
    let mut rest = bytes;
    while let [verb, argument, tail @ ..] = rest {
        let to = usize::from(verb & 1);
        let length = usize::from(*argument).min(tail.len());
        match verb >> 1 & 3 {
            // The last packet again, altered from some place on.
            0 | 1 if last[to].len() > 12 => {
                let (place, new) = tail[..length].split_first().unwrap_or((&0, &[]));
                let mut packet = last[to].clone();
                let start = 12 + usize::from(*place) % (packet.len() - 12);
                if verb >> 1 & 1 == 0 {
                    for (old, new) in packet[start..].iter_mut().zip(new) {
                        *old = *new;
                    }
                } else {
                    packet.truncate(start);
                    packet.extend_from_slice(new);
                }
                with_checksum(&mut packet);
                ends[to].receive(now, &packet);
                rest = &tail[length..];
            }
            2 => {
                let _ = ends[to].send(now, length % 2 == 0, &vec![7; usize::from(*argument) * 16]);
                rest = tail;
            }
            _ => {
                now += Duration::from_millis(u64::from(*argument) * 40);
                ends.iter_mut().for_each(|end| end.handle_timeout(now));
                rest = tail;
            }
        }
        exchange(now, &mut ends, &mut last);
    }
});
