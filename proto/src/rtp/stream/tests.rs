//! A telephone, another source behind it, and somebody who forges its address, under virtual time.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::*;

const MS: u64 = 1_000_000;
const STEP: u64 = 20 * MS;

/// Packets of 20 ms at 8 kHz.
#[derive(Clone, Copy)]
struct Source {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

impl Source {
    fn new(ssrc: u32) -> Self {
        let seed = ssrc.wrapping_mul(0x9E37_79B9);
        Self {
            ssrc,
            sequence: (seed >> 16) as u16,
            timestamp: seed,
        }
    }

    fn packet(&mut self) -> Packet<'static> {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        Packet {
            payload_type: 0,
            marker: false,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            extension: None,
            payload: &[],
            payload_offset: 12,
        }
    }

    /// Time without packets: the clock goes on.
    fn pause(&mut self, ns: u64) {
        self.timestamp = self.timestamp.wrapping_add((ns / MS * 8) as u32);
    }
}

struct Line {
    filter: StreamFilter,
    now_ns: u64,
}

impl Line {
    fn new() -> Self {
        Self {
            filter: StreamFilter::new(8000),
            now_ns: 1_000 * MS,
        }
    }

    /// A telephone that has spoken for a second.
    fn talking() -> (Self, Source) {
        let (mut line, mut phone) = (Self::new(), Source::new(7));
        assert_eq!(line.hear(&mut phone), Verdict::Restarted);
        for _ in 0..50 {
            line.now_ns += STEP;
            assert_eq!(line.hear(&mut phone), Verdict::Valid);
        }
        (line, phone)
    }

    fn hear(&mut self, source: &mut Source) -> Verdict {
        self.filter.receive(&source.packet(), true, self.now_ns)
    }

    /// Lets this source send alone; how long it was not heard, `None` if to the end.
    fn until_heard(&mut self, source: &mut Source, limit_ns: u64) -> Option<u64> {
        let from = self.now_ns;
        while self.now_ns < from + limit_ns {
            self.now_ns += STEP;
            if self.hear(source) != Verdict::Refused {
                return Some(self.now_ns - from);
            }
        }
        None
    }
}

#[test]
fn another_ssrc_is_not_heard_while_the_stream_is_alive() {
    let (mut line, mut phone) = Line::talking();
    let mut forger = Source::new(66);
    for _ in 0..500 {
        line.now_ns += STEP / 4;
        assert_eq!(line.hear(&mut forger), Verdict::Refused);
        line.now_ns += STEP / 4;
        assert_eq!(line.hear(&mut forger), Verdict::Refused);
        line.now_ns += STEP / 2;
        assert_eq!(line.hear(&mut phone), Verdict::Valid);
    }
    assert_eq!((line.filter.ssrc(), line.filter.refused()), (Some(7), 1_000));
}

#[test]
fn loss_below_the_limit_opens_no_door() {
    let (mut line, mut phone) = Line::talking();
    let mut forger = Source::new(66);
    for _ in 0..50 {
        // Nine packets lost, while somebody else sends.
        for _ in 0..9 {
            line.now_ns += STEP;
            phone.packet();
            assert_eq!(line.hear(&mut forger), Verdict::Refused);
        }
        line.now_ns += STEP - 1;
        assert_eq!(line.hear(&mut forger), Verdict::Refused);
        assert_eq!(line.hear(&mut phone), Verdict::Valid);
    }
}

#[test]
fn a_source_that_changes_its_ssrc_without_a_word_is_missed_for_a_syllable() {
    let (mut line, _) = Line::talking();
    let mut music = Source::new(8);
    assert_eq!(line.until_heard(&mut music, 1_000 * MS), Some(MIN_SILENT_NS));
    line.now_ns += STEP;
    assert_eq!(line.hear(&mut music), Verdict::Valid);
}

#[test]
fn long_packets_are_waited_for_longer() {
    let (mut line, mut phone) = (Line::new(), Source::new(7));
    for _ in 0..20 {
        phone.pause(80 * MS);
        line.now_ns += 100 * MS;
        line.hear(&mut phone);
    }
    let mut other = Source::new(8);
    assert_eq!(line.until_heard(&mut other, 2_000 * MS), Some(500 * MS));
    // And never longer than a second.
    for _ in 0..20 {
        other.pause(380 * MS);
        line.now_ns += 400 * MS;
        line.hear(&mut other);
    }
    assert_eq!(line.until_heard(&mut Source::new(9), 2_000 * MS), Some(MAX_SILENT_NS));
}

#[test]
fn a_lone_packet_begins_no_stream_in_silence() {
    let (mut line, _) = Line::talking();
    line.now_ns += 60_000 * MS;
    let mut stray = Source::new(8);
    assert_eq!(line.hear(&mut stray), Verdict::Refused);
    stray.sequence += 1;
    assert_eq!(line.hear(&mut stray), Verdict::Refused, "not in sequence");
    assert_eq!(line.hear(&mut stray), Verdict::Restarted);
}

#[test]
fn signalling_lets_a_new_ssrc_in_at_once_and_one_only() {
    let (mut line, mut phone) = Line::talking();
    let mut transferred = Source::new(8);
    let mut forger = Source::new(66);
    line.filter.signalled(line.now_ns);
    line.now_ns += STEP;
    assert_eq!(line.hear(&mut phone), Verdict::Valid, "still on its way");
    assert_eq!(line.hear(&mut transferred), Verdict::Restarted);
    for _ in 0..20 {
        line.now_ns += STEP;
        assert_eq!(line.hear(&mut phone), Verdict::Refused, "the last of the old one");
        assert_eq!(line.hear(&mut forger), Verdict::Refused);
        assert_eq!(line.hear(&mut transferred), Verdict::Valid);
    }
}

#[test]
fn what_slips_in_after_signalling_is_gone_a_second_later_if_the_phone_goes_on() {
    let (mut line, mut phone) = Line::talking();
    let mut forger = Source::new(66);
    line.filter.signalled(line.now_ns);
    assert_eq!(line.hear(&mut forger), Verdict::Restarted);
    let from = line.now_ns;
    let back = loop {
        line.now_ns += STEP;
        line.hear(&mut forger);
        if line.hear(&mut phone) == Verdict::Restarted {
            break line.now_ns - from;
        }
    };
    assert_eq!(back, SIGNALLED_NS);
    for _ in 0..200 {
        line.now_ns += STEP;
        assert_eq!(line.hear(&mut forger), Verdict::Refused);
        assert_eq!(line.hear(&mut phone), Verdict::Valid);
    }
}

#[test]
fn the_door_that_signalling_opens_closes_by_itself() {
    let (mut line, mut phone) = Line::talking();
    line.filter.signalled(line.now_ns);
    for _ in 0..50 {
        line.now_ns += STEP;
        line.hear(&mut phone);
    }
    let mut forger = Source::new(66);
    assert_eq!(line.hear(&mut forger), Verdict::Refused);
    assert_eq!(line.hear(&mut forger), Verdict::Refused);
}

#[test]
fn the_first_stream_uses_the_door_up() {
    let (mut line, mut phone) = (Line::new(), Source::new(7));
    line.filter.signalled(line.now_ns);
    assert_eq!(
        line.hear(&mut phone),
        Verdict::Restarted,
        "no probation at the start of a call"
    );
    assert_eq!(line.hear(&mut Source::new(66)), Verdict::Refused);
}

#[test]
fn an_announced_ssrc_comes_at_once_whenever_it_does() {
    let (mut line, mut peer) = Line::talking();
    assert!(line.filter.announce(8));
    for _ in 0..500 {
        line.now_ns += STEP;
        assert_eq!(line.hear(&mut peer), Verdict::Valid);
    }
    assert_eq!(line.hear(&mut Source::new(9)), Verdict::Refused, "not this one");
    let mut renewed = Source::new(8);
    assert_eq!(line.hear(&mut renewed), Verdict::Restarted);
    for _ in 0..100 {
        line.now_ns += STEP;
        assert_eq!(line.hear(&mut peer), Verdict::Refused, "announced once is taken once");
        assert_eq!(line.hear(&mut renewed), Verdict::Valid);
    }
    for ssrc in 100..116 {
        assert!(line.filter.announce(ssrc));
    }
    assert!(!line.filter.announce(116), "bounded");
}

#[test]
fn a_bye_ends_the_stream_at_once_and_that_of_another_does_nothing() {
    let (mut line, mut phone) = Line::talking();
    let mut next = Source::new(8);
    line.filter.bye(8);
    assert_eq!(line.hear(&mut next), Verdict::Refused);
    line.filter.bye(7);
    // RTCP has its own socket: the last packet may be read after the BYE.
    assert_eq!(line.hear(&mut phone), Verdict::Valid);
    assert_eq!(line.hear(&mut next), Verdict::Restarted);
    assert_eq!(line.hear(&mut phone), Verdict::Refused);
}

#[test]
fn a_forged_bye_is_forgotten_when_the_stream_goes_on() {
    let (mut line, mut phone) = Line::talking();
    let mut forger = Source::new(66);
    line.filter.bye(7);
    for _ in 0..2 {
        line.now_ns += STEP;
        assert_eq!(line.hear(&mut phone), Verdict::Valid);
    }
    assert_eq!(line.hear(&mut forger), Verdict::Refused);
    // With a packet right behind it the forger is heard, until the second packet of the phone.
    line.filter.bye(7);
    assert_eq!(line.hear(&mut forger), Verdict::Restarted);
    let mut heard = Vec::new();
    for _ in 0..4 {
        line.now_ns += STEP;
        heard.push((line.hear(&mut forger), line.hear(&mut phone)));
    }
    assert_eq!(heard[0], (Verdict::Valid, Verdict::Refused));
    assert_eq!(heard[1], (Verdict::Valid, Verdict::Restarted));
    assert_eq!(heard[2..], [(Verdict::Refused, Verdict::Valid); 2]);
}

#[test]
fn a_phone_with_silence_suppression_is_heard_again_over_a_forger() {
    let (mut line, mut phone) = Line::talking();
    let mut forger = Source::new(66);
    for _ in 0..20 {
        phone.pause(5_000 * MS);
        assert!(line.until_heard(&mut forger, 5_000 * MS).is_some());
        for _ in 0..200 {
            line.now_ns += STEP;
            assert_eq!(line.hear(&mut forger), Verdict::Valid);
        }
        assert_eq!(line.hear(&mut phone), Verdict::Refused);
        line.now_ns += STEP;
        assert_eq!(line.hear(&mut forger), Verdict::Valid);
        assert_eq!(
            line.hear(&mut phone),
            Verdict::Restarted,
            "the second packet in sequence"
        );
        for _ in 0..20 {
            line.now_ns += STEP;
            assert_eq!(line.hear(&mut forger), Verdict::Refused);
            assert_eq!(line.hear(&mut phone), Verdict::Valid);
        }
    }
}

#[test]
fn many_forgers_in_a_pause_do_not_make_the_phone_forgotten() {
    let (mut line, mut phone) = Line::talking();
    for ssrc in 100..120 {
        assert!(line.until_heard(&mut Source::new(ssrc), 1_000 * MS).is_some());
    }
    assert_eq!(line.filter.displaced.len(), MAX_DISPLACED);
    let mut last = Source::new(119);
    last.sequence += 100;
    line.hear(&mut last);
    line.hear(&mut phone);
    assert_eq!(line.hear(&mut phone), Verdict::Restarted);
}

/// Seen: four short streams that came before the phone kept it out of the list, so that a forger of its pauses stayed.
#[test]
fn those_who_were_there_before_do_not_make_the_phone_forgotten() {
    let mut line = Line::new();
    for ssrc in 100..110 {
        assert!(line.until_heard(&mut Source::new(ssrc), 1_000 * MS).is_some());
    }
    let mut phone = Source::new(7);
    assert!(line.until_heard(&mut phone, 1_000 * MS).is_some());
    for pause in 0..10 {
        for _ in 0..200 {
            line.now_ns += STEP;
            assert_eq!(line.hear(&mut phone), Verdict::Valid);
        }
        let mut forger = Source::new(200 + pause);
        phone.pause(1_000 * MS);
        assert!(line.until_heard(&mut forger, 1_000 * MS).is_some());
        line.hear(&mut phone);
        assert_eq!(line.hear(&mut phone), Verdict::Restarted);
    }
}

/// Seen: six streams that were each forged for longer than a phone had been heard before made it forgotten.
#[test]
fn whom_a_call_began_with_is_not_forgotten_for_any_number_of_long_streams() {
    let (mut line, mut phone) = Line::talking();
    for ssrc in 100..130 {
        let mut forger = Source::new(ssrc);
        assert!(line.until_heard(&mut forger, 1_000 * MS).is_some());
        for _ in 0..125 {
            line.now_ns += STEP;
            assert_eq!(line.hear(&mut forger), Verdict::Valid);
        }
    }
    phone.pause(90_000 * MS);
    line.hear(&mut phone);
    assert_eq!(line.hear(&mut phone), Verdict::Restarted);
}

/// Seen: four streams of many packets in a short time pushed the phone's out.
#[test]
fn it_is_time_that_counts_and_not_packets() {
    let (mut line, mut phone) = Line::talking();
    for ssrc in 100..110 {
        let mut forger = Source::new(ssrc);
        assert!(line.until_heard(&mut forger, 1_000 * MS).is_some());
        for _ in 0..2_000 {
            line.now_ns += MS / 10;
            line.hear(&mut forger);
        }
    }
    phone.pause(line.now_ns - 2_000 * MS);
    line.hear(&mut phone);
    assert_eq!(line.hear(&mut phone), Verdict::Restarted);
}

/// A second of a flood: so many forged SSRCs, each once, between two packets of the source; how long it was not heard.
fn until_heard_in_a_flood(line: &mut Line, source: &mut Source, a_packet: u32) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let from = line.now_ns;
    while line.hear(source) == Verdict::Refused {
        for _ in 0..a_packet {
            line.now_ns += STEP / u64::from(a_packet);
            assert_eq!(line.hear(&mut Source::new(rng.next_u32())), Verdict::Refused);
        }
        assert!(line.now_ns - from < 5_000 * MS, "{a_packet}");
    }
    line.now_ns - from
}

#[test]
fn a_flood_of_ssrcs_does_not_keep_a_real_change_out() {
    // 50, 300, 1,000 and 3,000 a second.
    for (a_packet, within) in [(1, 220), (6, 260), (20, 400), (60, 1_000)] {
        let (mut line, _) = Line::talking();
        let waited = until_heard_in_a_flood(&mut line, &mut Source::new(8), a_packet);
        assert!(
            waited <= within * MS,
            "{a_packet} between two packets: {} ms",
            waited / MS
        );
    }
}

/// As many SSRCs as there are places, the same again and again.
#[test]
fn a_flood_of_the_same_ssrcs_does_not_keep_a_real_change_out() {
    let (mut line, _) = Line::talking();
    let mut forged: Vec<Source> = (100..164).map(Source::new).collect();
    let mut music = Source::new(8);
    let from = line.now_ns;
    forged.iter_mut().for_each(|forger| _ = line.hear(forger));
    while line.hear(&mut music) == Verdict::Refused {
        for forger in &mut forged {
            line.now_ns += STEP / 64;
            // Never in sequence.
            forger.sequence = forger.sequence.wrapping_add(7);
            assert_eq!(line.hear(forger), Verdict::Refused);
        }
        assert!(line.now_ns - from < 2_000 * MS);
    }
}

/// Seen: a forger spoke in the phone's first pause, then kept it out with SSRCs at random.
#[test]
fn no_flood_keeps_a_phone_from_its_place_after_a_pause() {
    for a_packet in [6, 60, 600] {
        let (mut line, mut phone) = Line::talking();
        let mut forger = Source::new(66);
        phone.pause(1_000 * MS);
        assert!(line.until_heard(&mut forger, 1_000 * MS).is_some());
        let waited = until_heard_in_a_flood(&mut line, &mut phone, a_packet);
        assert!(waited <= STEP, "not its second packet, but after {} ms", waited / MS);
    }
}

#[test]
fn a_packet_far_away_needs_a_second_one() {
    let cases: [(i32, i32); 9] = [
        (MAX_DROPOUT as i32, 0),
        (-(MAX_MISORDER as i32) - 3, 0),
        (30_000, 0),
        (-30_000, 0),
        (100, 0),
        (2_000, 0),
        (0, 8_000 * 2),
        (0, -8_000 * 2),
        (0, i32::MAX),
    ];
    for (sequence, ticks) in cases {
        let (mut line, mut phone) = Line::talking();
        let mut forged = phone;
        forged.sequence = forged.sequence.wrapping_add(sequence as u16);
        forged.timestamp = forged.timestamp.wrapping_add(ticks as u32);
        let mut far = forged;
        for _ in 0..20 {
            line.now_ns += STEP;
            assert_eq!(line.hear(&mut far), Verdict::Refused, "{sequence} {ticks}");
            assert_eq!(line.hear(&mut phone), Verdict::Valid, "{sequence} {ticks}");
        }
        // The source itself has jumped: the second packet is believed.
        line.now_ns += STEP;
        assert_eq!(line.hear(&mut far), Verdict::Refused, "{sequence} {ticks}");
        line.now_ns += STEP;
        assert_eq!(line.hear(&mut far), Verdict::Restarted, "{sequence} {ticks}");
        line.now_ns += STEP;
        assert_eq!(line.hear(&mut far), Verdict::Valid, "{sequence} {ticks}");
    }
}

#[test]
fn what_a_network_does_is_not_far() {
    let (mut line, mut phone) = Line::talking();
    // Reordered, repeated.
    let mut burst: Vec<Packet<'static>> = (0..16).map(|_| phone.packet()).collect();
    burst.reverse();
    for packet in &burst {
        assert_eq!(line.filter.receive(packet, true, line.now_ns), Verdict::Valid);
        assert_eq!(line.filter.receive(packet, true, line.now_ns), Verdict::Valid);
    }
    // Two seconds of loss.
    for _ in 0..100 {
        phone.packet();
    }
    line.now_ns += 2_000 * MS;
    assert_eq!(line.hear(&mut phone), Verdict::Valid);
    // An hour of silence with a clock that goes on, and one with a clock that stands still.
    for clock in [true, false] {
        line.now_ns += 3_600_000 * MS;
        if clock {
            phone.pause(3_600_000 * MS);
        }
        assert_ne!(line.hear(&mut phone), Verdict::Refused);
    }
    // A key pressed for five seconds: its packets keep the timestamp of the beginning.
    let timestamp = phone.timestamp;
    for _ in 0..250 {
        line.now_ns += STEP;
        let packet = Packet {
            timestamp,
            ..phone.packet()
        };
        assert_eq!(line.filter.receive(&packet, false, line.now_ns), Verdict::Valid);
    }
    line.now_ns += STEP;
    assert_eq!(line.hear(&mut phone), Verdict::Valid);
}

#[test]
fn a_new_clock_is_no_jump() {
    let (mut line, mut phone) = Line::talking();
    line.filter.set_clock(48_000);
    for _ in 0..100 {
        line.now_ns += STEP;
        phone.timestamp = phone.timestamp.wrapping_add(800);
        assert_eq!(line.hear(&mut phone), Verdict::Valid);
    }
}

#[test]
fn under_any_packets_it_stays_bounded_and_a_stream_that_is_alive_is_heard() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..200 {
        let (mut line, mut phone) = Line::talking();
        let mut refused = 0;
        for _ in 0..300 {
            for _ in 0..rng.next_u32() % 8 {
                let mut forger = Source::new(rng.next_u32() % 6 + 100);
                forger.sequence = rng.next_u32() as u16 % 4;
                forger.timestamp = rng.next_u32();
                let speech = rng.next_u32().is_multiple_of(2);
                line.filter.receive(&forger.packet(), speech, line.now_ns);
                line.filter.bye(rng.next_u32() % 6 + 100);
            }
            line.now_ns += STEP;
            let verdict = line.hear(&mut phone);
            refused += u32::from(verdict == Verdict::Refused);
            assert!(line.filter.probation.len() <= MAX_PROBATION && line.filter.displaced.len() <= MAX_DISPLACED);
        }
        assert_eq!(refused, 0);
    }
    let mut filter = StreamFilter::new(0);
    for _ in 0..100_000 {
        let mut source = Source::new(rng.next_u32() % 3);
        source.sequence = rng.next_u32() as u16;
        source.timestamp = rng.next_u32();
        match rng.next_u32() % 8 {
            0 => filter.signalled(rng.next_u64()),
            1 => drop(filter.announce(rng.next_u32() % 4)),
            2 => filter.bye(rng.next_u32() % 3),
            3 => filter.set_clock(rng.next_u32()),
            _ => drop(filter.receive(&source.packet(), rng.next_u32().is_multiple_of(2), rng.next_u64())),
        }
    }
}
