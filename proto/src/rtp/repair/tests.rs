//! What is asked for, when, and how often.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::super::packet::Packet;
use super::*;

const MS: u64 = 1_000_000;

fn packet(sequence: i64) -> Packet<'static> {
    Packet {
        marker: false,
        payload_type: 111,
        sequence: sequence as u16,
        timestamp: sequence as u32 * 2_880,
        ssrc: 7,
        extension: None,
        payload: &[],
        payload_offset: 12,
    }
}

const RTT: u64 = 40;
const GUARD: u64 = GUARD_NS / MS;

fn timing(wait_ms: u64) -> Timing {
    Timing {
        packet_ns: 60 * MS,
        wait_ns: wait_ms * MS,
        round_trip_ns: Some(RTT * MS),
    }
}

fn named(repair: &mut Repair, now_ns: u64) -> Vec<u16> {
    let mut sequences = Vec::new();
    let ssrc = repair.poll(now_ns, &mut sequences);
    assert_eq!(ssrc.is_some(), !sequences.is_empty());
    sequences
}

/// What happens at a receiver of packets of 60 ms: `lost` says which do not come, and what is asked for comes a round trip later. When each
/// came, counted from when it was due.
fn run(repair: &mut Repair, count: i64, wait_ms: u64, mut lost: impl FnMut(i64, bool) -> bool) -> Vec<Option<u64>> {
    let mut came = vec![None; count as usize];
    let mut answers: Vec<(u64, i64)> = Vec::new();
    for now in 0..count as u64 * 60 + 500 {
        let mut due: Vec<i64> = Vec::new();
        if now.is_multiple_of(60) && (now / 60) < count as u64 && !lost(now as i64 / 60, false) {
            due.push(now as i64 / 60);
        }
        answers.retain(|(at, sequence)| {
            let is_here = *at == now;
            if is_here {
                due.push(*sequence);
            }
            !is_here
        });
        for sequence in due {
            let is_first = came[sequence as usize].is_none();
            let arrival = repair.received(&packet(sequence + 65_500), now * MS, timing(wait_ms));
            if is_first {
                came[sequence as usize] = Some(now - sequence as u64 * 60);
                let is_resent = now > sequence as u64 * 60;
                assert_eq!(arrival == Arrival::Resent, is_resent, "{sequence}");
            }
        }
        if repair.poll_timeout().is_some_and(|due| due <= now * MS) {
            for sequence in named(repair, now * MS) {
                let sequence = i64::from(sequence.wrapping_sub(65_500u16));
                if sequence < count && !lost(sequence, true) {
                    answers.push((now + RTT, sequence));
                }
            }
        }
    }
    came
}

#[test]
fn a_lost_packet_is_asked_for_soon_after_it_was_due() {
    let mut repair = Repair::new();
    let came = run(&mut repair, 100, 150, |sequence, is_resent| {
        !is_resent && sequence % 10 == 5
    });
    for (sequence, came) in came.iter().enumerate() {
        let wanted = if sequence % 10 == 5 { GUARD + RTT } else { 0 };
        assert_eq!(*came, Some(wanted), "{sequence}");
    }
    // At the end it is not known that there are no more.
    let counts = repair.counts();
    assert_eq!(counts.repaired, 10);
    assert!(counts.asked <= 10 + 4 * u64::from(MAX_ASKS), "{counts:?}");
    assert_eq!(
        repair.times(),
        Times {
            first_ns: (GUARD + RTT) * MS,
            again_ns: RTT * MS + AGAIN_NS
        }
    );
}

#[test]
fn a_burst_is_asked_for_while_it_lasts() {
    let mut repair = Repair::new();
    let came = run(&mut repair, 60, 150, |sequence, is_resent| {
        !is_resent && (20..24).contains(&sequence)
    });
    assert!(
        came[20..24].iter().all(|came| *came == Some(GUARD + RTT)),
        "{:?}",
        &came[20..24]
    );
    // One that is longer than what is asked for ahead shows its rest when something has come behind it.
    let came = run(&mut Repair::new(), 60, 400, |sequence, is_resent| {
        !is_resent && (20..28).contains(&sequence)
    });
    assert!(came.iter().all(Option::is_some), "{came:?}");
}

#[test]
fn one_that_is_lost_again_is_asked_for_again_while_there_is_time() {
    let lost_twice = |wait_ms| {
        let mut repair = Repair::new();
        let mut lost = 0;
        let came = run(&mut repair, 60, wait_ms, |sequence, _| {
            lost += i32::from(sequence == 20);
            sequence == 20 && lost <= 2
        });
        came[20]
    };
    assert_eq!(lost_twice(200), Some(GUARD + 2 * RTT + AGAIN_NS / MS));
    let lost = |times: i32, wait_ms| {
        let mut lost = 0;
        let lose = |sequence: i64, _| {
            lost += i32::from(sequence == 20);
            sequence == 20 && lost <= times
        };
        run(&mut Repair::new(), 60, wait_ms, lose)[20]
    };
    assert_eq!(lost(4, 80), None, "it would come too late");
    assert_eq!(lost(3, 300), Some(GUARD + 3 * RTT + 2 * AGAIN_NS / MS));
}

#[test]
fn a_fifth_that_is_lost_becomes_a_fortieth() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut repair = Repair::new();
    let came = run(&mut repair, 2_000, 250, |_, _| rng.next_u32().is_multiple_of(5));
    let lost = came.iter().filter(|came| came.is_none_or(|after| after > 150)).count();
    assert!(lost < 2_000 / 20, "{lost}");
    assert!((0.1..0.3).contains(&repair.loss()), "{}", repair.loss());
    assert!(repair.counts().asked < 1_000, "{:?}", repair.counts());
}

#[test]
fn what_is_only_late_is_not_lost_and_teaches_patience() {
    let mut repair = Repair::new();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut at: Vec<(u64, i64)> = (0..500i64)
        .map(|sequence| (sequence as u64 * 60 + u64::from(rng.next_u32() % 50), sequence))
        .collect();
    at.sort_unstable();
    let mut asked_late = 0;
    for now in 0..500 * 60 + 100 {
        while at.first().is_some_and(|(due, _)| *due <= now) {
            let (_, sequence) = at.remove(0);
            let arrival = repair.received(&packet(sequence), now * MS, timing(150));
            assert_eq!(arrival, Arrival::Sent, "{sequence} at {now}");
        }
        if repair.poll_timeout().is_some_and(|due| due <= now * MS) {
            asked_late += named(&mut repair, now * MS).len() * usize::from(now > 3_000);
        }
    }
    assert!(asked_late < 10, "{asked_late}");
    assert!(repair.loss() < 0.01, "{}", repair.loss());
}

#[test]
fn silence_and_floods_are_asked_for_a_few_times_only() {
    let mut repair = Repair::new();
    repair.received(&packet(1), 0, timing(150));
    let mut asked = 0;
    for now in 0..60_000 {
        asked += named(&mut repair, now * MS).len();
    }
    assert!(asked <= 4 * usize::from(MAX_ASKS), "{asked}");
    assert_eq!(repair.poll_timeout(), None);
    // Holes without end, by somebody who may send what he likes.
    let (mut repair, mut asked, mut sequence) = (Repair::new(), 0, 0);
    for now in 0..10_000 {
        sequence += 1 + now as i64 % 40;
        repair.received(&packet(sequence), now * MS, timing(10_000));
        asked += named(&mut repair, now * MS).len();
        assert!(repair.missing.len() <= MAX_MISSING);
    }
    assert!(asked <= 2 * 10_000 + MAX_BUDGET as usize, "{asked}");
    assert_eq!(repair.missing.capacity(), MAX_MISSING);
}

#[test]
fn another_stream_begins_anew() {
    let mut repair = Repair::new();
    repair.received(&packet(1), 0, timing(150));
    repair.received(&Packet { ssrc: 8, ..packet(500) }, 60 * MS, timing(150));
    assert_eq!(named(&mut repair, 61 * MS), [0u16; 0]);
    repair.restart();
    repair.received(&packet(900), 120 * MS, timing(150));
    assert_eq!(named(&mut repair, 121 * MS), [0u16; 0]);
}

#[test]
fn one_that_was_asked_for_too_soon_comes_again_and_teaches_nothing() {
    let mut repair = Repair::new();
    repair.received(&packet(1), 0, timing(150));
    assert_eq!(named(&mut repair, (60 + GUARD) * MS), [2]);
    // It was on its way; what was asked for comes as well.
    for (at, arrival) in [(60 + GUARD + 10, Arrival::Sent), (60 + GUARD + RTT, Arrival::Again)] {
        assert_eq!(repair.received(&packet(2), at * MS, timing(150)), arrival);
    }
    assert_eq!((repair.counts().repaired, repair.guard_ns), (0, GUARD_NS / 4 * 5));
    assert!(repair.loss() < 0.01);
}
