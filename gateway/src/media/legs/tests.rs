//! Two legs and what the call tells them, under virtual time.

use std::time::Duration;

use quartet_proto::rtp::packet::is_rtcp;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::{
    ivr::sound::{Clip, Sound},
    media::{
        MediaFault, PlayKey,
        dsp::tones::{Tone, strength},
        testing::{MS, Room, Sent, Speaker, codec},
    },
};

const HANDSET: u64 = 1;
const PEER: u64 = 2;

/// A telephone at 8 kHz and an E2EE peer that can do 8 and 16, bridged.
fn bridged() -> Room {
    let mut room = Room::new();
    room.leg(HANDSET, "rtp", "T-NARROW");
    room.leg(PEER, "mux", "T-BOTH");
    room.command(MediaCommand::Bridge {
        a: LegKey(HANDSET),
        b: LegKey(PEER),
    });
    room
}

/// Both speak for a while: the handset 440 Hz, the peer 1000.
struct Talk {
    handset: Speaker,
    peer: Speaker,
}

impl Talk {
    fn new() -> Self {
        // The peer's clock runs at 16 kHz and its packets hold 8 kHz samples, as Opus' do at 48.
        Self {
            handset: Speaker::new(8_000, 20, 440.0),
            peer: Speaker::new(8_000, 20, 1_000.0),
        }
    }

    fn go_on(&mut self, room: &mut Room, packets: usize) {
        for _ in 0..packets {
            let bytes = self.handset.packet();
            room.receive(HANDSET, &bytes);
            let bytes = self.peer.packet();
            self.peer.pause(20);
            room.receive(PEER, &bytes);
            room.wait(20 * MS);
        }
    }
}

fn prompt(hz: f32, ms: usize) -> Vec<Clip> {
    let mut samples = vec![0; 16 * ms];
    Tone::new(16_000, hz, -10.0).fill(&mut samples);
    vec![
        Clip::Sound(Arc::new(Sound { rate: 16_000, samples })),
        Clip::Silence(Duration::from_millis(40)),
    ]
}

fn rtp_of(room: &Room, key: u64) -> Vec<&Sent> {
    let slot = room.legs.slot(LegKey(key)).unwrap();
    room.world
        .sent
        .iter()
        .filter(|sent| sent.leg == slot && sent.rtp().is_some())
        .collect()
}

#[test]
fn each_hears_the_other() {
    let mut room = bridged();
    let from = room.world.now_ns;
    Talk::new().go_on(&mut room, 200);
    let (handset, peer) = (room.heard(HANDSET, from + 200 * MS), room.heard(PEER, from));
    assert!(
        strength(&handset, 8_000, 1_000.0) > 0.9,
        "{}",
        strength(&handset, 8_000, 1_000.0)
    );
    assert!(strength(&peer, 8_000, 440.0) > 0.99);
    assert_eq!(peer.len(), 200 * 160);
    let packets = rtp_of(&room, PEER);
    for pair in packets.windows(2) {
        let (first, second) = (pair[0].rtp().unwrap(), pair[1].rtp().unwrap());
        assert_eq!(second.sequence, first.sequence.wrapping_add(1));
        assert_eq!(
            second.timestamp,
            first.timestamp.wrapping_add(320),
            "the clock is 16 kHz"
        );
        assert!(!second.marker && second.ssrc == PEER as u32);
    }
}

#[test]
fn without_a_common_rate_it_is_resampled() {
    let mut room = Room::new();
    room.leg(HANDSET, "rtp", "T-NARROW");
    room.leg(PEER, "mux", "T-WIDE");
    room.command(MediaCommand::Bridge {
        a: LegKey(PEER),
        b: LegKey(HANDSET),
    });
    let mut speaker = Speaker::new(8_000, 20, 440.0);
    for _ in 0..50 {
        let bytes = speaker.packet();
        room.receive(HANDSET, &bytes);
        room.wait(20 * MS);
    }
    let heard = room.heard(PEER, 0);
    assert_eq!(heard.len(), 50 * 320);
    assert!(strength(&heard[320..], 16_000, 440.0) > 0.99);
}

#[test]
fn an_announcement_is_heard_instead_of_the_peer_and_by_nobody_else() {
    let mut room = bridged();
    let mut talk = Talk::new();
    talk.go_on(&mut room, 50);
    let from = room.world.now_ns;
    room.command(MediaCommand::Play {
        leg: LegKey(HANDSET),
        play: PlayKey(5),
        clips: prompt(2_000.0, 960),
    });
    talk.go_on(&mut room, 50);
    assert!(room.world.events.contains(&MediaEvent::Played {
        leg: LegKey(HANDSET),
        play: PlayKey(5)
    }));
    let during = room.heard(HANDSET, from + 20 * MS);
    assert!(strength(&during[..160 * 40], 8_000, 2_000.0) > 0.98);
    assert!(
        strength(&room.heard(PEER, from), 8_000, 440.0) > 0.98,
        "the other direction goes on"
    );
    let after = room.world.now_ns;
    talk.go_on(&mut room, 50);
    assert!(strength(&room.heard(HANDSET, after + 60 * MS), 8_000, 1_000.0) > 0.9);
    // One stream for the telephone all along: numbers rise by one, time by what passed.
    let packets = rtp_of(&room, HANDSET);
    for pair in packets.windows(2) {
        let (first, second) = (pair[0].rtp().unwrap(), pair[1].rtp().unwrap());
        assert_eq!(second.sequence, first.sequence.wrapping_add(1));
        let ticks = second.timestamp.wrapping_sub(first.timestamp);
        assert!(ticks % 160 == 0 && (160..=640).contains(&ticks), "{ticks}");
    }
}

#[test]
fn a_new_announcement_replaces_the_old_and_stop_ends_it() {
    let mut room = bridged();
    let leg = LegKey(HANDSET);
    room.command(MediaCommand::Play {
        leg,
        play: PlayKey(1),
        clips: prompt(2_000.0, 10_000),
    });
    room.wait(200 * MS);
    room.command(MediaCommand::Play {
        leg,
        play: PlayKey(2),
        clips: prompt(3_000.0, 200),
    });
    let from = room.world.now_ns + 1;
    room.wait(300 * MS);
    assert!(strength(&room.heard(HANDSET, from)[..1_500], 8_000, 3_000.0) > 0.95);
    room.command(MediaCommand::Play {
        leg,
        play: PlayKey(3),
        clips: prompt(3_000.0, 10_000),
    });
    room.wait(100 * MS);
    room.command(MediaCommand::StopPlay { leg });
    let sent = room.world.sent.len();
    room.wait(500 * MS);
    assert_eq!(
        rtp_of(&room, HANDSET)
            .iter()
            .filter(|packet| packet.at_ns > room.world.now_ns - 400 * MS)
            .count(),
        0
    );
    assert!(room.world.sent.len() <= sent + 2, "reports alone");
    let played: Vec<_> = room
        .world
        .events
        .iter()
        .filter(|event| matches!(event, MediaEvent::Played { .. }))
        .collect();
    assert_eq!(played, [&MediaEvent::Played { leg, play: PlayKey(2) }]);
}

#[test]
fn an_announcement_waits_until_the_leg_can_speak() {
    let mut room = Room::new();
    room.open(HANDSET, "rtp");
    let leg = LegKey(HANDSET);
    room.command(MediaCommand::Play {
        leg,
        play: PlayKey(1),
        clips: prompt(1_000.0, 100),
    });
    room.wait(300 * MS);
    room.command(MediaCommand::Codec {
        leg,
        codec: codec("T-BOTH", 3),
    });
    room.wait(300 * MS);
    assert!(room.world.sent.is_empty());
    room.command(MediaCommand::Remote {
        leg,
        lines: "port:5\n".to_owned(),
    });
    room.wait(300 * MS);
    let heard = room.heard(HANDSET, 0);
    assert_eq!(heard.len(), 320 * 7, "an announcement alone is spoken at 16 kHz");
    assert!(strength(&heard[..1_600], 16_000, 1_000.0) > 0.98);
}

#[test]
fn a_key_is_told_once_and_pressed_for_the_partner() {
    let mut room = bridged();
    let mut talk = Talk::new();
    talk.go_on(&mut room, 10);
    let timestamp = talk.handset.timestamp;
    for step in 1..=8_u16 {
        let [high, low] = (step * 160).to_be_bytes();
        let end = if step > 5 { 0x80 } else { 0 };
        let bytes = talk.handset.bytes(101, timestamp, &[10, end | 10, high, low]);
        room.receive(HANDSET, &bytes);
        room.wait(20 * MS);
    }
    talk.handset.pause(160);
    talk.go_on(&mut room, 30);
    let keys: Vec<_> = room
        .world
        .events
        .iter()
        .filter(|event| matches!(event, MediaEvent::Dtmf { .. }))
        .collect();
    assert_eq!(
        keys,
        [&MediaEvent::Dtmf {
            leg: LegKey(HANDSET),
            digit: '*'
        }]
    );
    let told: Vec<_> = rtp_of(&room, PEER);
    let told: Vec<_> = told
        .iter()
        .map(|sent| sent.rtp().unwrap())
        .filter(|rtp| rtp.payload_type == 101)
        .collect();
    assert!(
        told.len() >= 6
            && told
                .iter()
                .all(|rtp| rtp.payload[0] == 10 && rtp.timestamp == told[0].timestamp)
    );
    assert_eq!(told.iter().filter(|rtp| rtp.payload[1] & 0x80 != 0).count(), 3);
    assert!(
        strength(&room.heard(PEER, room.world.now_ns - 300 * MS), 8_000, 440.0) > 0.95,
        "speech goes on after it"
    );
}

#[test]
fn keys_without_an_agreement_go_nowhere_and_several_wait_their_turn() {
    let mut room = Room::new();
    room.leg(HANDSET, "rtp", "T-NARROW");
    let leg = LegKey(HANDSET);
    for digit in "12x1".chars() {
        room.command(MediaCommand::SendDtmf { leg, digit });
    }
    room.wait(2_000 * MS);
    let told: Vec<_> = rtp_of(&room, HANDSET);
    let mut presses: Vec<_> = told
        .iter()
        .map(|sent| sent.rtp().unwrap())
        .map(|rtp| (rtp.timestamp, rtp.payload[0]))
        .collect();
    presses.dedup();
    assert_eq!(presses.iter().map(|(_, code)| *code).collect::<Vec<_>>(), [1, 2, 1]);
    let mut without = codec("T-NARROW", 4);
    without.telephone_event = None;
    room.command(MediaCommand::Codec { leg, codec: without });
    let sent = rtp_of(&room, HANDSET).len();
    room.command(MediaCommand::SendDtmf { leg, digit: '1' });
    room.wait(500 * MS);
    assert_eq!(rtp_of(&room, HANDSET).len(), sent);
}

#[test]
fn hold_silences_what_the_held_one_hears_and_unbridging_both_directions() {
    let mut room = bridged();
    let mut talk = Talk::new();
    talk.go_on(&mut room, 20);
    for (held, begin, end) in [
        (
            true,
            MediaCommand::Hold {
                leg: LegKey(PEER),
                on: true,
            },
            MediaCommand::Hold {
                leg: LegKey(PEER),
                on: false,
            },
        ),
        (
            false,
            MediaCommand::Unbridge { a: LegKey(PEER) },
            MediaCommand::Bridge {
                a: LegKey(PEER),
                b: LegKey(HANDSET),
            },
        ),
    ] {
        room.command(begin);
        let from = room.world.now_ns + 1;
        talk.go_on(&mut room, 20);
        assert!(room.heard(PEER, from).is_empty());
        // Who holds may play music to the other.
        assert_ne!(room.heard(HANDSET, from).is_empty(), held);
        room.command(end);
        let from = room.world.now_ns + 1;
        talk.go_on(&mut room, 20);
        assert!(!room.heard(HANDSET, from).is_empty() && !room.heard(PEER, from).is_empty());
    }
}

#[test]
fn a_leg_that_breaks_ends_alone() {
    let mut room = bridged();
    let mut talk = Talk::new();
    talk.go_on(&mut room, 10);
    room.receive(HANDSET, b"panic!");
    let failed = MediaEvent::Failed {
        leg: LegKey(HANDSET),
        fault: MediaFault::Plugin,
    };
    assert!(room.world.events.contains(&failed));
    talk.go_on(&mut room, 10);
    assert_eq!(room.world.events.iter().filter(|event| **event == failed).count(), 1);
    room.leg(3, "rtp", "T-NARROW");
    room.command(MediaCommand::Bridge {
        a: LegKey(3),
        b: LegKey(PEER),
    });
    let from = room.world.now_ns;
    let bytes = talk.handset.packet();
    room.receive(3, &bytes);
    assert!(!room.heard(PEER, from).is_empty());
    let bytes = talk.handset.bytes(96, 0, b"panic!");
    room.receive(3, &bytes);
    let failed = MediaEvent::Failed {
        leg: LegKey(3),
        fault: MediaFault::Plugin,
    };
    assert!(
        room.world.events.contains(&failed),
        "a decoder that breaks ends the leg it decodes for"
    );
}

#[test]
fn failures_have_their_cause() {
    let mut room = Room::new();
    assert!(!room.open(HANDSET, "pigeon"));
    room.leg(PEER, "mux", "T-SMOKE");
    room.open(3, "mux");
    room.command(MediaCommand::Remote {
        leg: LegKey(3),
        lines: "x-fail\n".to_owned(),
    });
    room.open(4, "mux");
    room.command(MediaCommand::Remote {
        leg: LegKey(4),
        lines: "port:nowhere\n".to_owned(),
    });
    let causes: Vec<(u64, &str)> = room
        .world
        .events
        .iter()
        .filter_map(|event| {
            if let MediaEvent::Failed { leg, fault } = event {
                Some((leg.0, fault.word()))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(causes, [(1, "plugin"), (2, "codec"), (3, "ice"), (4, "transport")]);
}

#[test]
fn reports_come_at_the_beginning_and_once_a_second_and_reach_the_peer() {
    let mut room = bridged();
    Talk::new().go_on(&mut room, 520);
    let reports = room.reports(HANDSET);
    assert_eq!(reports.len(), 11);
    assert!(reports[0].way.is_some() && reports[0].sent <= 1, "{:?}", reports[0]);
    let last = reports[10];
    assert!((495..=505).contains(&last.received), "{last:?}");
    assert_eq!((last.lost, last.unsent), (0, 0));
    assert!(last.jitter_ms < 1.0 && last.silent < Duration::from_millis(25) && last.sent > 450);
    let slot = room.legs.slot(LegKey(HANDSET)).unwrap();
    let told = room
        .world
        .sent
        .iter()
        .filter(|sent| sent.leg == slot && is_rtcp(&sent.bytes))
        .count();
    assert!((2..=5).contains(&told), "{told}");
    room.wait(3_000 * MS);
    let silent = room.reports(HANDSET).last().unwrap().silent;
    assert!(silent > Duration::from_secs(2));
}

#[test]
fn two_rooms_measure_the_round_trip() {
    let (mut near, mut far) = (bridged(), bridged());
    let mut talk = Talk::new();
    let mut wire: Vec<(u64, bool, Vec<u8>)> = Vec::new();
    let (mut near_seen, mut far_seen) = (0, 0);
    for _ in 0..9_000 {
        if near.world.now_ns % (20 * MS) == 0 {
            let bytes = talk.handset.packet();
            near.receive(HANDSET, &bytes);
            let bytes = talk.handset.packet();
            far.receive(HANDSET, &bytes);
        }
        near.wait(MS);
        far.wait(MS);
        let now_ns = near.world.now_ns;
        for (room, seen, to_far) in [(&near, &mut near_seen, true), (&far, &mut far_seen, false)] {
            let slot = room.legs.slot(LegKey(PEER)).unwrap();
            for sent in &room.world.sent[*seen..] {
                if sent.leg == slot {
                    wire.push((now_ns + 35 * MS, to_far, sent.bytes.clone()));
                }
            }
            *seen = room.world.sent.len();
        }
        wire.retain(|(at, to_far, bytes)| {
            if *at <= now_ns {
                if *to_far {
                    far.receive(PEER, bytes)
                } else {
                    near.receive(PEER, bytes)
                }
            }
            *at > now_ns
        });
    }
    let reports = near.reports(PEER);
    let round_trip = reports.iter().rev().find_map(|report| report.round_trip);
    let ms = round_trip.unwrap().as_millis();
    assert!((65..=80).contains(&ms), "{ms}");
}

#[test]
fn closing_says_goodbye_and_frees_the_slot() {
    let mut room = bridged();
    Talk::new().go_on(&mut room, 10);
    let slot = room.legs.slot(LegKey(HANDSET)).unwrap();
    room.close(HANDSET);
    let last: Vec<_> = room.world.sent.iter().rev().take(2).collect();
    assert_eq!(last[0].bytes, b"goodbye");
    assert!(is_rtcp(&last[1].bytes));
    assert_eq!((room.legs.len(), room.legs.next_slot()), (1, slot));
    assert_eq!(room.legs.slot(LegKey(HANDSET)), None);
    room.leg(HANDSET + 10, "rtp", "T-NARROW");
    assert_eq!(room.legs.slot(LegKey(HANDSET + 10)), Some(slot));
    room.wait(2_000 * MS);
    room.close(HANDSET + 10);
    room.close(PEER);
    assert_eq!(room.legs.len(), 0);
    room.wait(10_000 * MS);
    assert_eq!(room.legs.deadline(), None, "timers of closed legs fade away");
}

#[test]
fn a_changed_codec_keeps_the_stream() {
    let mut room = bridged();
    let mut talk = Talk::new();
    talk.go_on(&mut room, 20);
    let before = rtp_of(&room, PEER).last().unwrap().rtp().unwrap().sequence;
    room.command(MediaCommand::Codec {
        leg: LegKey(PEER),
        codec: codec("T-NARROW", PEER as u32),
    });
    let from = room.world.now_ns;
    talk.go_on(&mut room, 20);
    let packets = rtp_of(&room, PEER);
    let after = packets.iter().find(|sent| sent.at_ns >= from).unwrap().rtp().unwrap();
    assert_eq!((after.sequence, after.marker), (before.wrapping_add(1), false));
    assert!(strength(&room.heard(PEER, from), 8_000, 440.0) > 0.98);
}

#[test]
fn a_flood_of_data_messages_tells_the_call_nothing() {
    let mut room = bridged();
    let before = room.world.events.len();
    for _ in 0..1_000 {
        room.receive(PEER, b"data");
    }
    assert_eq!(room.world.events.len(), before);
}

#[test]
fn a_flood_of_keys_is_cut_and_a_new_agreement_keeps_them_alive() {
    let mut room = bridged();
    let keys = |room: &Room| {
        room.world
            .events
            .iter()
            .filter(|event| matches!(event, MediaEvent::Dtmf { .. }))
            .count()
    };
    let press = |room: &mut Room, ssrc: u32, sequence: u16, timestamp: u32| {
        let mut packet = vec![0x80, 101, (sequence >> 8) as u8, sequence as u8];
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([9, 0x8a, 0, 160]);
        room.receive(HANDSET, &packet);
    };
    for n in 0..1_000_u16 {
        press(&mut room, 7, n, u32::from(n) * 160 + 0x8000_0000);
    }
    assert_eq!(keys(&room), usize::from(crate::media::incoming::KEYS_PER_REPORT));
    room.wait(2_000 * MS);
    // Another codec: another stream, whose clock may begin anywhere.
    room.command(MediaCommand::Codec {
        leg: LegKey(HANDSET),
        codec: LegCodec {
            receive_pt: 98,
            ..codec("T-NARROW", HANDSET as u32)
        },
    });
    press(&mut room, 8, 0, 5);
    press(&mut room, 8, 1, 10_000);
    assert_eq!(keys(&room), usize::from(crate::media::incoming::KEYS_PER_REPORT) + 2);
}

#[test]
fn random_orders_and_datagrams_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut room = Room::new();
    let mut speaker = Speaker::new(8_000, 20, 440.0);
    for _ in 0..20_000 {
        let leg = LegKey(u64::from(rng.next_u32() % 4));
        let other = LegKey(u64::from(rng.next_u32() % 4));
        match rng.next_u32() % 24 {
            0 => drop(room.open(leg.0, ["rtp", "mux", "none"][rng.next_u32() as usize % 3])),
            1 => room.command(MediaCommand::Remote {
                leg,
                lines: "port:7\n".to_owned(),
            }),
            2 => {
                let name = ["T-NARROW", "T-WIDE", "T-BOTH", "x"][rng.next_u32() as usize % 4];
                let mut codec = codec(name, rng.next_u32() % 3);
                codec.ptime_ms = rng.next_u32() % 50;
                room.command(MediaCommand::Codec { leg, codec });
            }
            3 => room.command(MediaCommand::Play {
                leg,
                play: PlayKey(1),
                clips: prompt(500.0, rng.next_u32() as usize % 200),
            }),
            4 => room.command(MediaCommand::StopPlay { leg }),
            5 => room.command(MediaCommand::Bridge { a: leg, b: other }),
            6 => room.command(MediaCommand::Unbridge { a: leg }),
            7 => room.command(MediaCommand::Hold {
                leg,
                on: rng.next_u32() % 2 == 0,
            }),
            8 => room.command(MediaCommand::SendDtmf {
                leg,
                digit: char::from(rng.next_u32() as u8 & 0x7F),
            }),
            9 if rng.next_u32() % 4 == 0 => room.close(leg.0),
            10 => room.wait(u64::from(rng.next_u32() % 2_000) * MS),
            11 => {
                let mut bytes = [0_u8; 80];
                rng.fill_bytes(&mut bytes);
                bytes[0] = 0x80 | bytes[0] & 0x3F;
                room.receive(leg.0, &bytes[..rng.next_u32() as usize % 81]);
            }
            12 => {
                let timestamp = speaker.timestamp;
                let bytes = speaker.bytes(101, timestamp, &rng.next_u32().to_be_bytes());
                room.receive(leg.0, &bytes);
            }
            _ => {
                let bytes = speaker.packet();
                room.receive(leg.0, &bytes);
                room.wait(u64::from(rng.next_u32() % 25) * MS);
            }
        }
        room.world.sent.clear();
    }
    assert!(!room.world.events.iter().any(|event| matches!(
        event,
        MediaEvent::Failed {
            fault: MediaFault::Internal,
            ..
        }
    )));
}

/// `cargo test --release -p quartet --lib cost_of -- --ignored --nocapture`
#[test]
#[ignore = "measures, and only an optimised build is worth measuring"]
fn cost_of_a_bridged_packet() {
    let mut room = bridged();
    room.world.forget = true;
    let mut speaker = Speaker::new(8_000, 20, 440.0);
    let mut peer = Speaker::new(8_000, 20, 1_000.0);
    let mut packets = || {
        let bytes = (speaker.packet(), peer.packet());
        peer.pause(20);
        bytes
    };
    let minute: Vec<_> = (0..3_000).map(|_| packets()).collect();
    let begin = std::time::Instant::now();
    for (handset, peer) in &minute {
        room.receive(HANDSET, handset);
        room.receive(PEER, peer);
        room.wait(20 * MS);
    }
    let took = begin.elapsed();
    println!(
        "{took:?} for a call-minute, {} packets out: {:?} each",
        room.world.forgotten,
        took / room.world.forgotten as u32
    );
    assert!(took < Duration::from_millis(50));
}
