//! Properties of the receiving buffer.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::needless_range_loop,
    reason = "a test names what it wants, and a side is an index of several arrays"
)]

use super::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const MS: u64 = 1_000_000;
const SSRC: u32 = 5;

fn packet(sequence: u16, timestamp: u32) -> Packet<'static> {
    Packet {
        payload_type: 0,
        marker: false,
        sequence,
        timestamp,
        ssrc: SSRC,
        extension: None,
        payload: b"x",
        payload_offset: 12,
    }
}

/// Packet `index` of a stream of 20 ms packets at 8 kHz that begins near both wraps.
fn nth(index: u32) -> Packet<'static> {
    packet(
        65_530u16.wrapping_add(index as u16),
        (u32::MAX - 500).wrapping_add(index * 160),
    )
}

fn sequence(index: u32) -> u16 {
    nth(index).sequence
}

/// What comes out at `now`: sequence numbers, missing ones negative.
fn pop_all(buffer: &mut Buffer, now: u64) -> Vec<i32> {
    let mut out = Vec::new();
    loop {
        match buffer.pop(now) {
            Pop::Packet(frame) => out.push(i32::from(frame.sequence)),
            Pop::Missing { sequence, .. } => out.push(-i32::from(sequence)),
            Pop::Early | Pop::Empty => return out,
        }
    }
}

#[test]
fn what_waits_stays_whole_when_a_larger_packet_comes() {
    let bytes: Vec<u8> = (0..MAX_PAYLOAD + 1).map(|at| at as u8).collect();
    let sized = |index: u32, length: usize| Packet {
        payload: &bytes[..length],
        ..nth(index)
    };
    let mut buffer = Buffer::new(16, 8000);
    let lengths = [0, 160, 176, 177, 60, 900, 1_200, 1_499, MAX_PAYLOAD, 20];
    for (index, length) in (0..).zip(lengths) {
        buffer.push(&sized(index, length), 0);
    }
    assert_eq!(buffer.push(&sized(10, MAX_PAYLOAD + 1), 0), Pushed::Refused);
    for length in lengths {
        let Pop::Packet(frame) = buffer.pop(MS) else {
            panic!("{length} bytes are gone")
        };
        assert_eq!(frame.payload, &bytes[..length]);
    }
}

#[test]
fn at_depth_zero_a_packet_is_due_when_it_arrives() {
    let mut buffer = Buffer::new(16, 8000);
    for index in 0..100 {
        let now = u64::from(index) * 20 * MS + 7 * MS;
        buffer.push(&nth(index), now);
        match buffer.pop(now) {
            Pop::Packet(frame) => {
                assert_eq!(
                    (frame.sequence, frame.timestamp),
                    (nth(index).sequence, nth(index).timestamp)
                );
                assert_eq!(frame.first, index == 0);
                assert_eq!(frame.payload, b"x");
            }
            other => panic!("{index}: {other:?}"),
        }
        assert_eq!(buffer.pop(now), Pop::Empty);
        assert_eq!(buffer.due(), None);
    }
    assert_eq!(buffer.counts().played, 100);
}

#[test]
fn depth_waits_for_what_is_late_and_names_the_time() {
    let mut buffer = Buffer::new(16, 8000);
    buffer.set_depth(60 * MS);
    buffer.push(&nth(0), 0);
    assert_eq!(buffer.due(), Some(60 * MS));
    buffer.push(&nth(2), 40 * MS);
    assert_eq!(buffer.pop(59 * MS), Pop::Early);
    assert_eq!(buffer.push(&nth(1), 55 * MS), Pushed::Stored { delay_ns: 35 * MS });
    assert_eq!(pop_all(&mut buffer, 60 * MS), [i32::from(sequence(0))]);
    assert_eq!(buffer.due(), Some(80 * MS));
    assert_eq!(
        pop_all(&mut buffer, 100 * MS),
        [i32::from(sequence(1)), i32::from(sequence(2))]
    );
}

#[test]
fn a_missing_packet_is_told_when_it_is_due_with_the_next_for_fec() {
    let mut buffer = Buffer::new(16, 8000);
    buffer.set_depth(40 * MS);
    for index in [0, 1, 3, 4] {
        buffer.push(&nth(index), u64::from(index) * 20 * MS);
    }
    assert_eq!(
        pop_all(&mut buffer, 79 * MS),
        [i32::from(sequence(0)), i32::from(sequence(1))]
    );
    assert_eq!(buffer.due(), Some(80 * MS));
    match buffer.pop(80 * MS) {
        Pop::Missing {
            sequence: missing,
            timestamp,
            next: Some(next),
        } => {
            assert_eq!((missing, timestamp), (sequence(2), nth(2).timestamp));
            assert_eq!(next.sequence, sequence(3));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(buffer.push(&nth(2), 81 * MS), Pushed::Late { delay_ns: 41 * MS });
    assert_eq!(
        pop_all(&mut buffer, 120 * MS),
        [i32::from(sequence(3)), i32::from(sequence(4))]
    );
    assert_eq!(
        buffer.counts(),
        Counts {
            played: 4,
            missing: 1,
            late: 1,
            restarts: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn duplicates_and_large_payloads_are_dropped() {
    let mut buffer = Buffer::new(16, 8000);
    buffer.set_depth(40 * MS);
    assert_eq!(buffer.push(&nth(0), 0), Pushed::Restarted);
    assert_eq!(buffer.push(&nth(0), MS), Pushed::Duplicate);
    let large = vec![0; MAX_PAYLOAD + 1];
    assert_eq!(
        buffer.push(
            &Packet {
                payload: &large,
                ..nth(1)
            },
            MS
        ),
        Pushed::Refused
    );
    let largest = vec![7; MAX_PAYLOAD];
    buffer.push(
        &Packet {
            payload: &largest,
            ..nth(1)
        },
        MS,
    );
    assert_eq!(buffer.len(), 2);
    assert!(matches!(buffer.pop(100 * MS), Pop::Packet(_)));
    assert!(matches!(buffer.pop(100 * MS), Pop::Packet(frame) if frame.payload == largest));
}

#[test]
fn a_stream_may_begin_out_of_order() {
    let mut buffer = Buffer::new(16, 8000);
    buffer.set_depth(60 * MS);
    buffer.push(&nth(1), 20 * MS);
    buffer.push(&nth(0), 21 * MS);
    buffer.push(&nth(2), 40 * MS);
    assert_eq!(
        pop_all(&mut buffer, 200 * MS),
        [0, 1, 2].map(|index| i32::from(sequence(index)))
    );
}

#[test]
fn another_source_and_a_believable_jump_begin_anew() {
    let mut buffer = Buffer::new(16, 8000);
    buffer.push(&nth(0), 0);
    assert_eq!(buffer.push(&Packet { ssrc: 6, ..nth(1) }, MS), Pushed::Restarted);
    assert!(matches!(buffer.pop(MS), Pop::Packet(frame) if frame.first && frame.sequence == sequence(1)));
    let far = |index: u16| Packet {
        ssrc: 6,
        ..packet(30_000 + index, 77 + u32::from(index) * 160)
    };
    assert_eq!(buffer.push(&far(0), 2 * MS), Pushed::Refused, "alone it is a stray");
    assert_eq!(buffer.push(&far(5), 2 * MS), Pushed::Refused);
    assert_eq!(
        buffer.push(&far(6), 3 * MS),
        Pushed::Restarted,
        "two in a row are a stream"
    );
    assert!(matches!(buffer.pop(3 * MS), Pop::Packet(frame) if frame.first && frame.timestamp == far(6).timestamp));
}

#[test]
fn a_hole_longer_than_the_buffer_is_not_concealed_packet_by_packet() {
    let mut buffer = Buffer::new(8, 8000);
    buffer.push(&nth(0), 0);
    assert_eq!(pop_all(&mut buffer, 0).len(), 1);
    assert_eq!(buffer.push(&nth(150), 3000 * MS), Pushed::Restarted);
    assert_eq!(pop_all(&mut buffer, 3000 * MS), [i32::from(sequence(150))]);
    assert_eq!(buffer.counts().missing, 149);
}

#[test]
fn silence_is_no_loss() {
    let mut buffer = Buffer::new(16, 8000);
    buffer.set_depth(20 * MS);
    buffer.push(&packet(1, 0), 0);
    buffer.push(&packet(2, 160), 20 * MS);
    assert_eq!(pop_all(&mut buffer, 40 * MS), [1, 2]);
    // 10 s later, with the next sequence number.
    buffer.push(&packet(3, 80_160), 10_020 * MS);
    assert_eq!(buffer.due(), Some(10_040 * MS));
    assert_eq!(pop_all(&mut buffer, 10_040 * MS), [3]);
}

#[test]
fn what_the_caller_concealed_by_itself_does_not_come_again() {
    let mut buffer = Buffer::new(16, 8000);
    buffer.set_depth(20 * MS);
    for index in 0..2 {
        buffer.push(&packet(index, u32::from(index) * 160), u64::from(index) * 20 * MS);
    }
    assert_eq!(pop_all(&mut buffer, 40 * MS), [0, 1]);
    assert_eq!(buffer.expected(), Some(60 * MS));
    buffer.skip();
    assert_eq!(buffer.expected(), Some(80 * MS));
    assert!(matches!(buffer.push(&packet(2, 320), 70 * MS), Pushed::Late { .. }));
    buffer.push(&packet(3, 480), 75 * MS);
    assert_eq!(pop_all(&mut buffer, 80 * MS), [3]);
    buffer.skip();
    // Its time was filled and it never came: no second report.
    buffer.push(&packet(5, 800), 100 * MS);
    assert_eq!(pop_all(&mut buffer, 120 * MS), [5]);
    // The source was silent while the caller filled: speech with the next number is not late.
    for _ in 0..5 {
        buffer.skip();
    }
    assert!(matches!(
        buffer.push(&packet(6, 8000), 1000 * MS),
        Pushed::Stored { .. }
    ));
    assert_eq!(pop_all(&mut buffer, 1020 * MS), [6]);
}

#[test]
fn nobody_taking_packets_does_not_fill_it() {
    let mut buffer = Buffer::new(8, 8000);
    for index in 0..100 {
        buffer.push(&nth(index), u64::from(index) * 20 * MS);
        assert!(buffer.len() <= 8);
    }
    assert_eq!(buffer.counts().overflow, 92);
    let want: Vec<i32> = (92..100).map(|index| i32::from(sequence(index))).collect();
    assert_eq!(pop_all(&mut buffer, 2000 * MS), want);
}

#[test]
fn under_any_arrival_the_output_never_goes_back_and_is_bounded() {
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let slots = 2 + (rng.next_u32() % 40) as usize;
        let mut buffer = Buffer::new(slots, 8000);
        let jitter = u64::from(rng.next_u32() % 200 + 1) * MS;
        let mut arrivals: Vec<(u64, u32)> = Vec::new();
        for index in 0..2000u32 {
            let copies = match rng.next_u32() % 20 {
                0 => 0,
                1 => 2,
                _ => 1,
            };
            for _ in 0..copies {
                arrivals.push((u64::from(index) * 20 * MS + u64::from(rng.next_u32()) % jitter, index));
            }
        }
        arrivals.sort_unstable();
        let mut last: Option<u16> = None;
        let mut played = 0u32;
        for (at, index) in arrivals {
            buffer.set_depth(u64::from(rng.next_u32() % 100) * MS);
            buffer.push(&nth(index), at);
            if rng.next_u32() % 50 == 0 {
                buffer.skip();
            }
            assert!(buffer.len() <= slots);
            loop {
                let (sequence, first) = match buffer.pop(at) {
                    Pop::Packet(frame) => {
                        played += 1;
                        (frame.sequence, frame.first)
                    }
                    Pop::Missing { sequence, next, .. } => {
                        assert!(next.is_none_or(|next| next.sequence == sequence.wrapping_add(1)));
                        (sequence, false)
                    }
                    Pop::Early => {
                        assert!(buffer.due().unwrap() > at);
                        break;
                    }
                    Pop::Empty => break,
                };
                if let Some(last) = last.filter(|_| !first) {
                    assert!(
                        (sequence.wrapping_sub(last) as i16) > 0,
                        "seed {seed}: {last} then {sequence}"
                    );
                }
                last = Some(sequence);
            }
        }
        assert!(played > 200, "seed {seed}: {played}");
    }
}

#[test]
fn random_headers_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut buffer = Buffer::new(32, 48_000);
    let mut now = 0u64;
    let (mut sequence, mut timestamp) = (0u16, 0u32);
    for round in 0..300_000u32 {
        match rng.next_u32() % 16 {
            0 => sequence = rng.next_u32() as u16,
            1 => timestamp = rng.next_u32(),
            2 => now = now.saturating_add(rng.next_u64() >> (rng.next_u32() % 64)),
            _ => {}
        }
        sequence = sequence.wrapping_add((rng.next_u32() % 5) as u16).wrapping_sub(1);
        timestamp = timestamp.wrapping_add(rng.next_u32() % 2000);
        now = now.saturating_add(u64::from(rng.next_u32() % 40) * MS);
        let ssrc = SSRC + u32::from(rng.next_u32() % 500 == 0);
        buffer.push(
            &Packet {
                ssrc,
                ..packet(sequence, timestamp)
            },
            now,
        );
        buffer.set_depth(rng.next_u64() >> (rng.next_u32() % 64));
        let _ = (buffer.due(), buffer.expected());
        if round % 3 == 0 {
            buffer.skip();
        }
        for _ in 0..rng.next_u32() % 4 {
            buffer.pop(now);
        }
        assert!(buffer.len() <= 32);
    }
}

#[test]
fn depth_follows_the_delays() {
    let mut depth = Depth::new();
    for _ in 0..1000 {
        depth.observe(MS);
    }
    assert_eq!(depth.target(), 0);
    for index in 0..2000u64 {
        depth.observe((index % 10) * 10 * MS);
    }
    assert_eq!(depth.target(), 90 * MS);
    for _ in 0..2000 {
        depth.observe(0);
    }
    assert_eq!(depth.target(), 0);
    for _ in 0..2000 {
        depth.observe(u64::MAX);
    }
    assert_eq!(depth.target(), 490 * MS);
}
