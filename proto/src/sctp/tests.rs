//! Two associations, and a peer that sends nonsense.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::needless_range_loop,
    reason = "a test names what it wants, and a side is an index of several arrays"
)]

use super::gate::INIT_ACK;
use super::handshake::{ANSWER_WITHIN, Side};
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

/// Two ends that both begin at once, on a network that loses and delays.
struct Pair {
    now: Instant,
    ends: [Association; 2],
    /// Arrival, number, and whom it is for.
    flying: std::collections::BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sent: u64,
    rng: ChaCha8Rng,
    loss: u32,
    jitter_ms: u32,
    /// The packets of a side that never arrive, by their first chunk.
    never: fn(usize, u8) -> bool,
}

impl Pair {
    fn new(seed: u64, loss: u32, jitter_ms: u32) -> Self {
        let now = origin();
        let config = SctpConfig {
            begin_after: Some(Duration::ZERO),
            max_rto: Duration::from_millis(800),
            ..end(now, false).config
        };
        Self {
            now,
            ends: [Association::new(now, config), Association::new(now, config)],
            flying: Default::default(),
            sent: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            loss,
            jitter_ms,
            never: |_, _| false,
        }
    }

    /// Sends what there is to send.
    fn fly(&mut self) {
        for side in 0..2 {
            while let Some(packet) = self.ends[side].poll_transmit() {
                self.sent += 1;
                let lost = self.rng.next_u32() % 100 < self.loss || (self.never)(side, packet[12]);
                if !lost {
                    let delay = 10 + self.rng.next_u32() % (self.jitter_ms + 1);
                    let at = self.now + Duration::from_millis(delay.into());
                    self.flying.insert((at, self.sent), (1 - side, packet));
                }
            }
        }
    }

    /// To the next thing that happens; `false` if nothing will.
    fn step(&mut self) -> bool {
        self.fly();
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let due = self.ends.iter().filter_map(Association::poll_timeout).min();
        let Some(now) = arrival.into_iter().chain(due).min() else {
            return false;
        };
        self.now = self.now.max(now);
        for end in &mut self.ends {
            if end.poll_timeout().is_some_and(|at| at <= self.now) {
                end.handle_timeout(self.now);
            }
        }
        while let Some(entry) = self.flying.first_entry()
            && entry.key().0 <= self.now
        {
            let (side, packet) = entry.remove();
            self.ends[side].receive(self.now, &packet);
        }
        self.fly();
        true
    }

    /// How long it takes until this is so; `None` if it is not in half a minute.
    fn until(&mut self, is_so: impl Fn(&[Association; 2]) -> bool) -> Option<Duration> {
        let began = self.now;
        while !is_so(&self.ends) {
            if !self.step() || self.now > began + Duration::from_secs(30) {
                return None;
            }
        }
        Some(self.now - began)
    }

    fn connect(&mut self) -> Option<Duration> {
        self.until(|ends| ends.iter().all(Association::is_connected))
    }

    /// A message each way arrives.
    fn talk(&mut self) {
        for side in 0..2 {
            let message = vec![side as u8; 3000];
            self.ends[side].send(self.now, 0, Ppid::Binary, &message).unwrap();
            self.until(|ends| !ends[1 - side].messages.is_empty())
                .expect("it arrives");
            assert_eq!(self.ends[1 - side].poll_message().unwrap().bytes, message);
        }
    }
}

#[test]
fn two_that_begin_at_once_are_one_association_at_once() {
    for seed in 0..100 {
        let mut pair = Pair::new(seed, 0, 0);
        let due = pair.ends.iter().filter_map(Association::poll_timeout).min();
        assert!(due > Some(pair.now), "nothing is due that was just made");
        // Two round trips of 20 ms.
        assert!(pair.connect().unwrap() <= Duration::from_millis(40));
        let ours = |end: &Association| matches!(end.attempt.as_ref().unwrap().side, Side::Ours);
        assert_ne!(ours(&pair.ends[0]), ours(&pair.ends[1]), "one of them has begun it");
        pair.talk();
    }
}

#[test]
fn a_network_that_loses_a_third_is_lived_with() {
    let mut took: Vec<Duration> = Vec::new();
    for seed in 0..500 {
        let mut pair = Pair::new(seed, 30, 200);
        took.push(pair.connect().unwrap_or_else(|| panic!("seed {seed}")));
        pair.talk();
    }
    took.sort_unstable();
    assert!(took[495] < Duration::from_secs(3), "99 of 100 within {:?}", took[495]);
    assert!(took[499] < Duration::from_secs(5), "all within {:?}", took[499]);
}

/// A peer that sends INIT and never answers one is a client for good.
#[test]
fn a_peer_that_answers_no_init_is_answered_itself() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, 0, 0);
        pair.never = |side, kind| side == 0 && kind == INIT;
        // The far side never sees our INIT, as if it did not care for it.
        assert!(pair.connect().unwrap() <= ANSWER_WITHIN + Duration::from_millis(100));
        pair.talk();
    }
}

/// Seen: an INIT-ACK before data moved the window of what is held.
#[test]
fn what_says_where_numbers_begin_again_changes_nothing() {
    let now = origin();
    let (mut ends, packets) = connected(now);
    let ack = packets.iter().find(|packet| packet[12] == INIT_ACK).unwrap();
    for side in 0..2 {
        let before = ends[side].attempt.as_ref().unwrap().gate.has_begun();
        ends[side].receive(now, ack);
        assert!(before && ends[side].is_connected());
    }
}

#[test]
fn a_packet_of_the_handshake_is_not_repeated_for_ever() {
    let mut pair = Pair::new(1, 100, 0);
    let sent = |pair: &mut Pair, seconds| {
        let (before, end) = (pair.sent, pair.now + Duration::from_secs(seconds));
        while pair.now < end && pair.step() {}
        pair.sent - before
    };
    assert!(sent(&mut pair, 10) >= 60, "five times a second from both");
    // After that the crate's own pauses remain.
    assert!(sent(&mut pair, 60) <= 200);
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
