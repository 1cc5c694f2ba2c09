//! Two associations, and a peer that sends nonsense.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::needless_range_loop,
    reason = "a test names what it wants, and a side is an index of several arrays"
)]

use super::*;
use checksum::with_checksum;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

#[path = "../../../tests/fuzz/checksum.rs"]
mod checksum;

#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can be made in no other way; only differences count"
)]
fn origin() -> Instant {
    Instant::now()
}

const BEGIN_AFTER: Duration = Duration::from_secs(1);

fn end(now: Instant, begins: bool) -> Association {
    Association::new(
        now,
        SctpConfig {
            max_packet: 1150,
            max_message: 16 * 1024,
            receive_buffer: 128 * 1024,
            max_rto: Duration::from_secs(4),
            begin_after: begins.then_some(BEGIN_AFTER),
        },
    )
}

/// Carries packets both ways until nobody has one; all that was carried.
pub(crate) fn settle<End>(
    ends: &mut [End; 2],
    poll_transmit: fn(&mut End) -> Option<Vec<u8>>,
    receive: impl Fn(&mut End, &[u8]),
) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..100 {
        let mut quiet = true;
        for side in 0..2 {
            while let Some(packet) = poll_transmit(&mut ends[side]) {
                quiet = false;
                receive(&mut ends[1 - side], &packet);
                all.push(packet);
            }
        }
        if quiet {
            break;
        }
    }
    all
}

fn connected(now: Instant) -> ([Association; 2], Vec<Vec<u8>>) {
    let mut ends = [end(now, true), end(now, false)];
    let later = now + BEGIN_AFTER;
    ends[0].handle_timeout(later);
    let packets = settle(&mut ends, Association::poll_transmit, |end, packet| {
        end.receive(later, packet);
    });
    assert!(ends.iter().all(Association::is_connected));
    (ends, packets)
}

#[test]
fn more_inits_make_no_more_associations() {
    let now = origin();
    let (mut ends, packets) = connected(now);
    let init = packets.iter().find(|packet| packet[12] == INIT).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..1000 {
        let mut other = init.clone();
        rng.fill_bytes(&mut other[16..20]);
        ends[1].receive(now, &other);
    }
    assert!(ends[1].poll_transmit().is_none() && ends[1].is_connected());
    let mut fresh = end(now, false);
    for round in 0..1000u32 {
        let mut other = init.clone();
        other[16..20].copy_from_slice(&(round + 1).to_be_bytes());
        with_checksum(&mut other);
        fresh.receive(now, &other);
    }
    assert_eq!(fresh.attempts, MAX_ATTEMPTS);
}

#[test]
fn mutated_packets_never_panic() {
    let now = origin();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..40 {
        let (mut ends, _) = connected(now);
        let mut now = now + Duration::from_secs(2);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for round in 0..200u32 {
            now += Duration::from_millis(50);
            let side = round as usize % 2;
            let _ = ends[side].send(now, 0, Ppid::Binary, &vec![7; rng.next_u32() as usize % 3000]);
            while let Some(packet) = ends[side].poll_transmit() {
                seen.push(packet.clone());
                ends[1 - side].receive(now, &packet);
            }
            for _ in 0..4 {
                let Some(from) = seen.len().checked_sub(1) else { break };
                let mut bytes = seen[from - rng.next_u32() as usize % seen.len().min(20)].clone();
                for _ in 0..=rng.next_u32() % 4 {
                    let at = 12 + rng.next_u32() as usize % (bytes.len() - 12);
                    bytes[at] = match rng.next_u32() % 3 {
                        0 => rng.next_u32() as u8,
                        1 => (rng.next_u32() % 16) as u8,
                        _ => 192 + (rng.next_u32() % 4) as u8,
                    };
                }
                if rng.next_u32() % 4 == 0 {
                    bytes.truncate(12 + rng.next_u32() as usize % (bytes.len() - 11));
                }
                with_checksum(&mut bytes);
                ends[1 - side].receive(now, &bytes);
            }
            ends[side].handle_timeout(now);
            while ends[side].poll_message().is_some() {}
        }
    }
}
