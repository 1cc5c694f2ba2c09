//! Phones behind NATs, their neighbours, and who forges what either sends.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::*;

const MS: u64 = 1_000_000;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn nobody_is_accepted_before_signalling() {
    let mut latch = Latch::new();
    assert!(!latch.accept(0, at("192.0.2.9:1"), 7));
    assert_eq!(latch.destination(), None);
}

#[test]
fn the_first_source_is_kept_against_strangers() {
    let mut latch = Latch::new();
    latch.signal(at("10.0.0.5:4000"), None, false);
    assert_eq!(latch.destination(), Some(at("10.0.0.5:4000")));
    assert!(latch.accept(0, at("198.51.100.1:61000"), 7));
    assert!(!latch.accept(0, at("198.51.100.1:61001"), 7));
    assert!(!latch.accept(0, at("203.0.113.66:4000"), 7));
    assert!(latch.accept(0, at("198.51.100.1:61000"), 7));
    assert_eq!(latch.destination(), Some(at("198.51.100.1:61000")));
}

#[test]
fn the_signalled_address_beats_a_guess_and_is_final() {
    let mut latch = Latch::new();
    latch.signal(at("192.0.2.5:4000"), None, false);
    assert!(latch.accept(0, at("203.0.113.66:9"), 7));
    assert!(latch.accept(0, at("192.0.2.5:4000"), 7));
    assert!(!latch.accept(0, at("203.0.113.66:9"), 7));
    assert_eq!(latch.destination(), Some(at("192.0.2.5:4000")));
}

#[test]
fn a_new_remote_moves_only_to_the_address_it_names() {
    let mut latch = Latch::new();
    latch.signal(at("192.0.2.5:4000"), None, false);
    assert!(latch.accept(0, at("192.0.2.5:4000"), 7));
    latch.signal(at("192.0.2.6:5000"), None, false);
    assert_eq!(latch.destination(), Some(at("192.0.2.6:5000")));
    assert!(
        latch.accept(0, at("192.0.2.5:4000"), 7),
        "the old source, until the new one is heard"
    );
    assert!(!latch.accept(0, at("203.0.113.66:9"), 7));
    assert!(latch.accept(0, at("192.0.2.6:5000"), 7));
    assert!(!latch.accept(0, at("192.0.2.5:4000"), 7));
}

#[test]
fn the_same_remote_again_keeps_the_latch() {
    let mut latch = Latch::new();
    latch.signal(at("10.0.0.5:4000"), None, false);
    assert!(latch.accept(0, at("198.51.100.1:61000"), 7));
    latch.signal(at("10.0.0.5:4000"), None, false);
    assert_eq!(latch.destination(), Some(at("198.51.100.1:61000")));
    assert!(!latch.accept(0, at("198.51.100.2:61000"), 7));
}

#[test]
fn a_guess_is_only_taken_from_where_the_signalling_comes_from() {
    let home = Some("198.51.100.1".parse().unwrap());
    let mut latch = Latch::new();
    latch.signal(at("10.0.0.5:4000"), home, false);
    assert!(
        !latch.accept(0, at("203.0.113.66:4000"), 7),
        "a stranger, before the phone"
    );
    assert!(latch.accept(0, at("198.51.100.1:61000"), 7));
    let mut other = Latch::new();
    other.signal(at("192.0.2.5:4000"), home, false);
    assert!(
        other.accept(0, at("192.0.2.5:4002"), 7),
        "the signalled machine, another port"
    );
}

#[test]
fn a_nat_may_give_another_port_after_signalling_and_only_then() {
    let home = Some("198.51.100.1".parse().unwrap());
    let mut latch = Latch::new();
    latch.signal(at("10.0.0.5:4000"), home, false);
    assert!(latch.accept(0, at("198.51.100.1:61000"), 7));
    assert!(!latch.accept(0, at("198.51.100.1:62000"), 7));
    // Resumed after a hold, the same address.
    latch.signal(at("10.0.0.5:4000"), home, false);
    assert!(!latch.accept(0, at("203.0.113.66:4000"), 7));
    assert!(latch.accept(0, at("198.51.100.1:62000"), 7));
    assert_eq!(latch.destination(), Some(at("198.51.100.1:62000")));
    assert!(!latch.accept(0, at("198.51.100.1:61000"), 7));
    // Another private port.
    latch.signal(at("10.0.0.5:4002"), home, false);
    assert_eq!(latch.destination(), Some(at("10.0.0.5:4002")));
    assert!(latch.accept(0, at("198.51.100.1:62000"), 7), "on its way still");
    assert!(latch.accept(0, at("198.51.100.1:63000"), 7));
    assert_eq!(latch.destination(), Some(at("198.51.100.1:63000")));
    // Nothing changed: the next word of the known source closes the door.
    latch.signal(at("10.0.0.5:4002"), home, false);
    assert!(latch.accept(0, at("198.51.100.1:63000"), 7));
    assert!(!latch.accept(0, at("198.51.100.1:64000"), 7));
}

#[test]
fn a_neighbour_who_sends_all_the_time_gains_nothing_by_a_new_port() {
    let (home, phone, neighbour) = (
        Some("198.51.100.1".parse().unwrap()),
        at("198.51.100.1:61000"),
        at("198.51.100.1:62000"),
    );
    let ms = |ms: u64| ms * 1_000_000;
    let mut latch = Latch::new();
    latch.signal(at("10.0.0.5:4000"), home, false);
    assert!(latch.accept(0, phone, 7));
    latch.signal(at("10.0.0.5:4002"), home, false);
    for packet in 0..100 {
        assert!(!latch.accept(ms(20 * packet), neighbour, 66));
        assert!(latch.accept(ms(20 * packet), phone, 7), "it goes on from where it was");
    }
    // Its NAT gives it another port: the same stream, at once.
    latch.signal(at("10.0.0.5:4000"), home, false);
    assert!(latch.accept(ms(2_000), at("198.51.100.1:63000"), 7));
    assert!(!latch.accept(ms(3_000), neighbour, 66));
    // Another stream, when the old one is over.
    latch.signal(at("10.0.0.5:4002"), home, false);
    assert!(!latch.accept(ms(2_100), at("198.51.100.1:64000"), 8));
    assert!(latch.accept(ms(2_200), at("198.51.100.1:64000"), 8));
}

#[test]
fn a_stream_that_is_forged_beside_a_living_one_is_nobodys_way_in() {
    let home = Some("198.51.100.1".parse().unwrap());
    let (phone, neighbour) = (at("198.51.100.1:61000"), at("198.51.100.1:62000"));
    let ms = |ms: u64| ms * 1_000_000;
    let mut latch = Latch::new();
    latch.signal(at("10.0.0.5:4000"), home, true);
    for packet in 0..10 {
        assert!(latch.accept(ms(20 * packet), phone, 7));
        // With the phone's own address written on it.
        latch.accept(ms(20 * packet) + 1, phone, 66);
    }
    assert_eq!(latch.ssrc(), Some(7));
    latch.signal(at("10.0.0.5:4000"), home, true);
    assert!(!latch.accept(ms(200), neighbour, 66));
    assert!(latch.accept(ms(200), phone, 7));
    // The phone begins another stream: when the old one has not come for a minute it is the new one that may move.
    for second in 1..=61 {
        assert!(latch.accept(ms(1_000 * second), phone, 8));
        latch.signal(at("10.0.0.5:4000"), home, false);
        let moves = second == 61;
        assert_eq!(
            latch.accept(ms(1_000 * second + 1), at("198.51.100.1:63000"), 8),
            moves,
            "{second}"
        );
    }
}

#[test]
fn a_neighbour_gains_nothing_while_the_phone_is_muted() {
    let (home, phone, neighbour) = (
        Some("198.51.100.1".parse().unwrap()),
        at("198.51.100.1:61000"),
        at("198.51.100.1:62000"),
    );
    let s = |s: u64| s * 1_000_000_000;
    let signal = |latch: &mut Latch, resumes| latch.signal(at("10.0.0.5:4000"), home, resumes);
    let mut latch = Latch::new();
    signal(&mut latch, true);
    assert!(latch.accept(0, phone, 7));
    // Refreshed, however long it is silent; resumed within what a NAT remembers.
    for (now, resumes) in [(s(10), false), (s(100), false), (s(129), false)] {
        signal(&mut latch, resumes);
        assert!(!latch.accept(now, neighbour, 66));
    }
    assert!(latch.accept(s(130), phone, 7));
    signal(&mut latch, true);
    assert!(!latch.accept(s(159), neighbour, 66));
    // Later it may be the phone, behind another port and with another stream; if it was not, the phone shows it.
    for (now, back) in [(s(200), phone), (s(300), at("198.51.100.1:63000"))] {
        signal(&mut latch, true);
        assert!(latch.accept(now, neighbour, 66));
        signal(&mut latch, false);
        assert!(latch.accept(now, neighbour, 66));
        assert!(latch.accept(now, back, 7), "it goes on");
        assert!(!latch.accept(now, neighbour, 66));
        assert_eq!(latch.destination(), Some(back));
    }
    // It was the phone: its next stream behind its next port is taken too.
    signal(&mut latch, true);
    assert!(latch.accept(s(400), at("198.51.100.1:64000"), 8));
    signal(&mut latch, true);
    assert!(latch.accept(s(500), at("198.51.100.1:65000"), 9));
    assert!(!latch.accept(s(500), neighbour, 66));
}

/// A phone behind a NAT, and somebody who knows what it has named.
#[test]
fn the_signalled_address_takes_no_living_stream_over() {
    let home = Some("198.51.100.1".parse().unwrap());
    let (phone, named) = (at("198.51.100.1:61000"), at("10.0.0.5:4000"));
    let ms = |ms: u64| ms * 1_000_000;
    let mut latch = Latch::new();
    latch.signal(named, home, true);
    for packet in 0..1_000 {
        let now = ms(20 * packet);
        assert!(latch.accept(now, phone, 7), "{packet}");
        // In the first seconds it may be the phone, and a neighbour was first.
        if packet > 200 {
            assert!(!latch.accept(now + 1, named, 66), "{packet}");
        }
        assert_eq!(latch.destination(), Some(phone));
    }
    // The phone is silent: it may have moved there. If not, it goes on when the other is silent.
    for packet in 0..100 {
        assert!(latch.accept(ms(20_500 + packet), named, 66));
    }
    assert!(
        latch.accept(ms(20_600), phone, 7),
        "however often the other has spoken, and speaks"
    );
    assert_eq!(latch.destination(), Some(phone));
    // Nor does he who knows its stream.
    for ssrc in [66, 7] {
        assert!(!latch.accept(ms(20_601), named, ssrc));
    }
    // When it is silent its stream may have moved there.
    assert!(latch.accept(ms(20_820), named, 7));
    assert_eq!(latch.destination(), Some(named));
}

/// Seen: a forged stream that was heard in a pause of the phone kept its place against the phone.
#[test]
fn a_phone_that_sends_from_where_it_names_is_always_heard_from_there() {
    let (home, phone) = (Some("198.51.100.1".parse().unwrap()), at("198.51.100.1:4000"));
    let ms = |ms: u64| ms * 1_000_000;
    let mut latch = Latch::new();
    latch.signal(phone, home, true);
    assert!(latch.accept(0, phone, 7));
    for packet in 0..1_000 {
        let now = ms(10_000 + 20 * packet);
        assert!(latch.accept(now, phone, 66), "the filter behind this judges it");
        assert!(latch.accept(now + 1, phone, 7));
        assert_eq!(latch.ssrc(), Some(7));
    }
}

/// Seen: it moved behind the same NAT after a refresh, and the phone was deaf.
#[test]
fn a_stream_that_is_forged_in_a_pause_moves_nowhere() {
    let home = Some("198.51.100.1".parse().unwrap());
    let (phone, neighbour) = (at("198.51.100.1:61000"), at("198.51.100.1:62000"));
    let s = |s: u64| s * 1_000_000_000;
    for resumes in [false, true] {
        let mut latch = Latch::new();
        latch.signal(at("10.0.0.5:4000"), home, true);
        assert!(latch.accept(0, phone, 7));
        assert!(latch.accept(s(5), phone, 66), "in its silence");
        latch.signal(at("10.0.0.5:4000"), home, resumes);
        assert!(!latch.accept(s(6), neighbour, 66));
        assert!(latch.accept(s(7), phone, 7));
        assert_eq!(latch.destination(), Some(phone));
        // Where it names another place, the neighbour may be it; the phone has its place back when it goes on.
        latch.signal(at("10.0.0.5:4002"), home, false);
        assert!(latch.accept(s(8), neighbour, 66));
        assert!(latch.accept(s(9), at("198.51.100.1:63000"), 7));
        assert!(!latch.accept(s(9), neighbour, 66));
    }
}

#[test]
fn one_packet_with_the_named_address_deafens_nobody() {
    let home = Some("198.51.100.1".parse().unwrap());
    let (phone, named) = (at("198.51.100.1:61000"), at("198.51.100.1:4000"));
    let ms = |ms: u64| ms * 1_000_000;
    let mut latch = Latch::new();
    latch.signal(named, home, true);
    assert!(latch.accept(0, phone, 7));
    assert!(latch.accept(ms(10), named, 66), "the phone, for all that is known");
    for packet in 1..100 {
        let is_back = 20 * packet >= 210;
        assert_eq!(latch.accept(ms(20 * packet), phone, 7), is_back, "{packet}");
    }
    assert_eq!(latch.destination(), Some(phone));
}

#[test]
fn who_names_another_place_and_the_old_one_again_is_where_he_was() {
    let home = Some("198.51.100.1".parse().unwrap());
    let (phone, neighbour) = (at("198.51.100.1:61000"), at("198.51.100.1:62000"));
    let s = |s: u64| s * 1_000_000_000;
    let mut latch = Latch::new();
    latch.signal(at("10.0.0.5:4000"), home, true);
    assert!(latch.accept(0, phone, 7));
    for port in [4_002, 4_000] {
        latch.signal(SocketAddr::from(([10, 0, 0, 5], port)), home, false);
        assert!(latch.accept(s(1), phone, 7));
    }
    assert_eq!(latch.destination(), Some(phone));
    latch.signal(at("10.0.0.5:4002"), home, false);
    latch.signal(at("10.0.0.5:4000"), home, false);
    // The neighbour speaks in its silence; when it goes on, it is heard, and hears.
    assert!(latch.accept(s(3), neighbour, 66));
    assert!(latch.accept(s(4), phone, 7));
    assert_eq!(latch.destination(), Some(phone));
    assert!(!latch.accept(s(4), neighbour, 66));
}

#[test]
fn late_packets_of_the_place_that_was_left_take_nothing_back() {
    let mut latch = Latch::new();
    latch.signal(at("192.0.2.5:4000"), None, true);
    assert!(latch.accept(0, at("192.0.2.5:4000"), 7));
    latch.signal(at("192.0.2.6:5000"), None, false);
    assert!(latch.accept(0, at("192.0.2.6:5000"), 8));
    latch.signal(at("192.0.2.6:5000"), None, false);
    assert!(!latch.accept(0, at("192.0.2.5:4000"), 7));
    assert_eq!(latch.destination(), Some(at("192.0.2.6:5000")));
}

#[test]
fn two_streams_forged_in_a_pause_deafen_nobody() {
    // The phone names P and sends from Q; N is another port of its address.
    let (p, q, n) = (at("192.0.2.7:4000"), at("192.0.2.7:61000"), at("192.0.2.7:9"));
    let mut latch = Latch::new();
    latch.signal(p, Some(p.ip()), false);
    for packet in 0..400 {
        assert!(latch.accept(packet * 20 * MS, q, 7));
    }
    assert!(latch.accept(9_000 * MS, p, 66));
    latch.signal(p, Some(p.ip()), false);
    assert!(!latch.accept(9_100 * MS, n, 66), "the same stream, from elsewhere");
    assert!(latch.accept(9_400 * MS, p, 67));
    assert!(latch.accept(9_410 * MS, q, 7), "the phone goes on");
    assert!(!latch.accept(9_420 * MS, p, 67));
    assert_eq!(latch.destination(), Some(q));
}

#[test]
fn who_was_there_by_chance_before_the_phone_keeps_nothing_of_it() {
    let (phone, neighbour) = (at("192.0.2.7:4000"), at("192.0.2.7:9"));
    let mut latch = Latch::new();
    latch.signal(phone, Some(phone.ip()), false);
    assert!(latch.accept(0, neighbour, 66));
    for packet in 1..400 {
        assert!(latch.accept(packet * 20 * MS, phone, 7));
        assert!(!latch.accept(packet * 20 * MS, neighbour, 66));
    }
    for pause in 1..20 {
        let now_ns = 8_000 * MS + pause * 1_000 * MS;
        assert!(
            !latch.accept(now_ns, neighbour, 66),
            "nor in its silence, now that it has been heard for longer"
        );
        assert!(
            latch.accept(now_ns + 20 * MS, phone, 7 + pause as u32),
            "it goes on, whatever it sends"
        );
        assert!(!latch.accept(now_ns + 40 * MS, neighbour, 66));
        assert_eq!(latch.destination(), Some(phone));
    }
}

/// Whatever a neighbour sends, and whoever forges the phone's address, in whatever order: the phone is heard when it goes on.
///
/// `phone`: where it sends from. What is stated in docs/security.md is left out: nobody sends before the phone from where it does not
/// name, nor from where it names in the first three seconds; and the phone has spoken for a second.
fn nobody_gains(phone: SocketAddr, seed: u64) {
    let named = at("192.0.2.7:4000");
    let others = [named, at("192.0.2.7:9"), at("192.0.2.7:10"), at("203.0.113.66:4000")];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut one_of = |count: u32| rng.next_u32() % count;
    let mut latch = Latch::new();
    latch.signal(named, Some(named.ip()), false);
    let mut now_ns = 0;
    let mut settled_ns = EARLY_NS;
    for _ in 0..60 {
        assert!(latch.accept(now_ns, phone, 7));
        now_ns += 20 * MS;
    }
    let mut story = Vec::new();
    for _ in 0..60 {
        now_ns += [1, 20, 150, 250, 3_000][one_of(5) as usize] * MS;
        match one_of(8) {
            0 => {
                let resumes = one_of(2) == 0;
                latch.signal(named, Some(named.ip()), resumes);
                // The next one to be heard is the phone, and the three seconds begin.
                if resumes {
                    assert!(latch.accept(now_ns, phone, 7), "{phone} {seed} {story:?}");
                    settled_ns = now_ns + EARLY_NS;
                }
                story.push((now_ns / MS, "signal", u32::from(resumes)));
            }
            1 => {
                // It may take one packet, not two.
                latch.accept(now_ns, phone, 7);
                assert!(latch.accept(now_ns, phone, 7), "{phone} {seed} {story:?}");
                assert_eq!(latch.destination(), Some(phone), "{seed} {story:?}");
                story.push((now_ns / MS, "phone", 7));
            }
            _ => {
                let (other, ssrc) = (others[one_of(4) as usize], 60 + one_of(3));
                let is_phone = other == phone;
                let is_stated = other == named && now_ns < settled_ns;
                if !is_phone && !is_stated {
                    let taken = latch.accept(now_ns, other, ssrc);
                    story.push((now_ns / MS, if taken { "taken" } else { "refused" }, ssrc));
                }
            }
        }
    }
    assert!(latch.accept(now_ns, phone, 7), "{phone} {seed} {story:?}");
    assert_eq!(latch.destination(), Some(phone), "{seed} {story:?}");
}

#[test]
fn no_order_of_forgeries_keeps_a_phone_from_going_on() {
    for seed in 0..20_000 {
        nobody_gains(at("192.0.2.7:4000"), seed);
        nobody_gains(at("192.0.2.7:61000"), seed);
    }
}

#[test]
fn a_stream_that_seems_to_move_goes_on_where_it_was() {
    // Somebody knows its SSRC and speaks first after a refresh.
    let (phone, other) = (at("192.0.2.7:61000"), at("192.0.2.7:9"));
    let mut latch = Latch::new();
    latch.signal(at("192.0.2.7:4000"), Some(phone.ip()), false);
    assert!(latch.accept(0, phone, 7));
    latch.signal(at("192.0.2.7:4000"), Some(phone.ip()), false);
    assert!(latch.accept(20 * MS, other, 7));
    assert!(!latch.accept(900 * MS, phone, 7), "it may have been on its way");
    assert!(latch.accept(1_040 * MS, phone, 7), "it was not");
    assert!(!latch.accept(1_060 * MS, other, 7));
    assert_eq!(latch.destination(), Some(phone));
}

#[test]
fn who_names_the_address_of_another_was_not_there_for_good() {
    let (phone, named) = (at("192.0.2.7:61000"), at("10.0.0.5:4000"));
    let mut latch = Latch::new();
    latch.signal(named, Some(phone.ip()), false);
    assert!(latch.accept(0, phone, 7));
    assert!(latch.accept(1_000 * MS, named, 66), "so soon it may be the phone");
    assert!(!latch.accept(1_020 * MS, phone, 7));
    assert!(latch.accept(1_400 * MS, phone, 7));
    for packet in 150..500 {
        assert!(latch.accept(packet * 20 * MS, phone, 7));
        assert!(!latch.accept(packet * 20 * MS, named, 66));
    }
}

#[test]
fn what_is_refused_begins_nothing() {
    let named = at("192.0.2.7:4000");
    let mut latch = Latch::new();
    latch.signal(named, Some(named.ip()), false);
    assert!(!latch.accept(0, at("203.0.113.66:9"), 66));
    assert!(latch.accept(4_000 * MS, named, 7));
    assert!(latch.accept(4_400 * MS, named, 7));
    latch.signal(named, Some(named.ip()), false);
    assert!(latch.accept(4_420 * MS, at("192.0.2.7:9"), 7), "who knows its SSRC");
    assert!(latch.accept(4_440 * MS, named, 7), "it was there so soon");
}

#[test]
fn many_short_streams_push_no_long_one_out() {
    let (named, phone) = (at("192.0.2.7:4000"), at("192.0.2.7:61000"));
    let mut latch = Latch::new();
    latch.signal(named, Some(named.ip()), false);
    let mut now_ns = 0;
    // Each resumes the call, and another is heard from another port after the silence that is wanted.
    for ssrc in 100..140 {
        now_ns += 31_000 * MS;
        latch.signal(named, Some(named.ip()), true);
        assert!(latch.accept(now_ns, SocketAddr::new(named.ip(), 9_000 + ssrc as u16), ssrc));
    }
    now_ns += 31_000 * MS;
    latch.signal(named, Some(named.ip()), true);
    for _ in 0..200 {
        now_ns += 20 * MS;
        assert!(latch.accept(now_ns, phone, 7));
    }
    now_ns += 31_000 * MS;
    latch.signal(named, Some(named.ip()), true);
    assert!(latch.accept(now_ns, at("192.0.2.7:9"), 200));
    assert!(latch.accept(now_ns + MS, phone, 7));
}

#[test]
fn who_came_first_and_said_little_does_not_outlive_a_media_server() {
    // It is at another address than its signalling, or begins late.
    for (named, begins_ms) in [("10.0.0.5:4000", 100), ("192.0.2.7:4000", 4_000)] {
        let (server, first, home) = (at(named), at("192.0.2.7:9"), at("192.0.2.7:5060").ip());
        let mut latch = Latch::new();
        latch.signal(server, Some(home), false);
        for packet in 0..5 {
            assert!(latch.accept(packet * 20 * MS, first, 66));
        }
        let mut now_ns = begins_ms * MS;
        for _ in 0..100 {
            now_ns += 20 * MS;
            assert!(latch.accept(now_ns, server, 7), "{named}");
        }
        now_ns += 550 * MS;
        assert!(!latch.accept(now_ns, first, 66), "{named}");
        assert!(latch.accept(now_ns + MS, server, 7), "{named}");
    }
}

/// Seen: whoever had once been heard at the place that a phone had named, in its silence, could come back from anywhere when the phone had
/// moved and begun a new stream.
#[test]
fn who_was_heard_for_another_silence_alone_comes_back_from_nowhere() {
    let ip = "192.0.2.7".parse().unwrap();
    let (named, phone) = (SocketAddr::new(ip, 4_000), SocketAddr::new(ip, 61_000));
    for stops in [true, false] {
        let mut latch = Latch::new();
        latch.signal(named, Some(ip), true);
        for packet in 0..300 {
            assert!(latch.accept(packet * 20 * MS, phone, 7));
        }
        let mut now_ns = 7_000 * MS;
        for _ in 0..125 {
            now_ns += 20 * MS;
            assert!(latch.accept(now_ns, named, 66), "the phone, for all that is known");
        }
        let next = SocketAddr::new(ip, 4_002);
        latch.signal(next, Some(ip), false);
        now_ns += if stops { 1_000 * MS } else { 20 * MS };
        let moved = SocketAddr::new(ip, 61_002);
        for packet in 0..300 {
            now_ns += 20 * MS;
            assert!(latch.accept(now_ns, moved, 8), "{packet}");
            // After the three seconds in which the named place is believed.
            if packet > 200 {
                for from in [named, next, SocketAddr::new(ip, 9)] {
                    assert!(!latch.accept(now_ns, from, 66), "{packet} {from}");
                }
            }
        }
        assert_eq!(latch.destination(), Some(moved));
    }
}

/// Seen: one packet forged in a phone's silence, and after a refresh its stream came from a neighbour's port.
#[test]
fn who_was_heard_for_anothers_silence_moves_nowhere_after_a_refresh() {
    let ip = "192.0.2.7".parse().unwrap();
    let (named, phone) = (SocketAddr::new(ip, 4_000), SocketAddr::new(ip, 61_000));
    for resumes in [false, true] {
        let mut latch = Latch::new();
        latch.signal(named, Some(ip), true);
        for packet in 0..300 {
            assert!(latch.accept(packet * 20 * MS, phone, 7));
        }
        assert!(latch.accept(7_000 * MS, named, 66), "the phone, for all that is known");
        latch.signal(named, Some(ip), resumes);
        for packet in 0..50 {
            assert!(!latch.accept((8_000 + packet * 20) * MS, SocketAddr::new(ip, 9), 66));
        }
        assert!(latch.accept(10_000 * MS, phone, 7));
        assert_eq!(latch.destination(), Some(phone));
    }
}

/// Seen: a phone that named another place and sent on from the old one was late for ever, so that a neighbour kept its place.
#[test]
fn who_names_another_place_and_stays_where_he_was_is_not_late() {
    let ip = Some("192.0.2.7".parse().unwrap());
    for (home, named) in [(None, 4_000), (ip, 4_000), (None, 61_000), (ip, 61_000)] {
        let (phone, neighbour) = (at("192.0.2.7:61000"), at("192.0.2.7:9"));
        let mut latch = Latch::new();
        latch.signal(SocketAddr::new(phone.ip(), named), home, true);
        assert!(latch.accept(0, phone, 7));
        latch.signal(at("192.0.2.7:4002"), home, false);
        for packet in 0..300 {
            assert!(latch.accept(packet * 20 * MS, phone, 7));
        }
        assert!(
            latch.accept(7_000 * MS, neighbour, 66),
            "the phone, for all that is known"
        );
        assert!(latch.accept(8_000 * MS, phone, 7));
        assert!(!latch.accept(8_000 * MS, neighbour, 66));
        assert_eq!(latch.destination(), Some(phone));
    }
}
