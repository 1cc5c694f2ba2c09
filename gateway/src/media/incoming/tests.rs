//! A telephone in a bridge, and somebody who forges its address, under virtual time.

use std::time::Duration;

use quartet_proto::rtp::{
    packet::{HEADER, Packet},
    rtcp::{self, MAX_REPORT, Reception},
    sender::Sender,
};
use quartet_proto::sdp::{Codec, offer_answer::Receivable};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::media::{
    LegCodec, LegKey, MediaCommand, MediaEvent, Report,
    dsp::tones::{level, strength},
    testing::{MS, Room, Speaker, codec},
};

const PHONE: u64 = 1;
const PEER: u64 = 2;
const HZ: f32 = 440.0;

/// A telephone and an E2EE peer that hears it on arrival.
fn bridged() -> Room {
    let mut room = Room::new();
    room.leg(PHONE, "rtp", "T-NARROW");
    room.leg(PEER, "mux", "T-NARROW");
    room.command(MediaCommand::Bridge {
        a: LegKey(PHONE),
        b: LegKey(PEER),
    });
    room.wait(2_000 * MS);
    room
}

fn speaker(ssrc: u32, hz: f32) -> Speaker {
    let mut speaker = Speaker::new(8_000, 20, hz);
    speaker.ssrc = ssrc;
    speaker.sequence = (ssrc as u16).wrapping_mul(7_919);
    speaker.timestamp = ssrc.wrapping_mul(2_654_435_761);
    speaker
}

fn speak(room: &mut Room, speaker: &mut Speaker, packets: usize) {
    for _ in 0..packets {
        let bytes = speaker.packet();
        room.receive(PHONE, &bytes);
        room.wait(20 * MS);
    }
}

fn last_report(room: &mut Room) -> Report {
    room.wait(1_000 * MS);
    *room.reports(PHONE).last().unwrap()
}

fn keys(room: &Room) -> usize {
    let dtmf = |event: &&MediaEvent| matches!(event, MediaEvent::Dtmf { .. });
    room.world.events.iter().filter(dtmf).count()
}

/// The longest time in which the peer heard nothing, in frames of 20 ms.
fn hole(room: &Room, from_ns: u64) -> usize {
    let heard = room.heard(PEER, from_ns);
    let frames = heard.chunks_exact(160).map(|frame| level(frame) > -30.0);
    let spoken = frames.filter(|spoken| *spoken).count();
    ((room.world.now_ns - from_ns) / (20 * MS)) as usize - spoken
}

#[test]
fn a_forged_ssrc_is_not_heard_pressed_or_counted() {
    let (mut room, mut alone) = (bridged(), bridged());
    let (mut phone, mut same) = (speaker(7, HZ), speaker(7, HZ));
    speak(&mut room, &mut phone, 50);
    speak(&mut alone, &mut same, 50);
    let from = room.world.now_ns;
    let mut forger = speaker(66, 1_000.0);
    for round in 0..200_u32 {
        for _ in 0..3 {
            let bytes = forger.packet();
            room.receive(PHONE, &bytes);
        }
        let timestamp = round * 2_000;
        let bytes = forger.bytes(101, timestamp, &[9, 0x8A, 0, 160]);
        room.receive(PHONE, &bytes);
        speak(&mut room, &mut phone, 1);
        speak(&mut alone, &mut same, 1);
    }
    assert!(
        room.heard(PEER, from) == alone.heard(PEER, from),
        "not the same, sample for sample"
    );
    assert!(strength(&room.heard(PEER, from), 8_000, HZ) > 0.99);
    assert_eq!(keys(&room), 0);
    let (report, untouched) = (last_report(&mut room), last_report(&mut alone));
    assert_eq!(report.refused, 800);
    assert_eq!(Report { refused: 0, ..report }, untouched);
}

#[test]
fn a_forged_packet_far_away_throws_nothing_out() {
    let (mut room, mut alone) = (bridged(), bridged());
    let (mut phone, mut same) = (speaker(7, HZ), speaker(7, HZ));
    speak(&mut room, &mut phone, 50);
    speak(&mut alone, &mut same, 50);
    let from = room.world.now_ns;
    for (sequence, ticks) in [
        (30_000, 0),
        (5_000, 0),
        (100, 0),
        (65, 0),
        (20, 0),
        (u16::MAX - 200, 0),
        (1, 80_000_u32),
        (1, u32::MAX - 80_000),
    ] {
        for _ in 0..5 {
            let mut forged = speaker(7, 1_000.0);
            forged.sequence = phone.sequence.wrapping_add(sequence);
            forged.timestamp = phone.timestamp.wrapping_add(ticks);
            let bytes = forged.packet();
            room.receive(PHONE, &bytes);
            speak(&mut room, &mut phone, 2);
            speak(&mut alone, &mut same, 2);
        }
    }
    assert!(
        room.heard(PEER, from) == alone.heard(PEER, from),
        "not the same, sample for sample"
    );
    let report = last_report(&mut room);
    assert_eq!(Report { refused: 0, ..report }, last_report(&mut alone));
    assert_eq!(report.refused, 40);
}

#[test]
fn a_stream_that_begins_anew_under_its_own_ssrc_is_heard_from_the_second_packet() {
    for (sequence, ticks) in [(20_000, 0), (0, 1 << 30), (20_000, 1 << 30)] {
        let mut room = bridged();
        let mut phone = speaker(7, HZ);
        speak(&mut room, &mut phone, 50);
        let from = room.world.now_ns;
        phone.sequence = phone.sequence.wrapping_add(sequence);
        phone.timestamp = phone.timestamp.wrapping_add(ticks);
        speak(&mut room, &mut phone, 50);
        assert!(hole(&room, from) <= 1, "{sequence} {ticks}: {}", hole(&room, from));
    }
}

#[test]
fn music_of_a_pbx_under_another_ssrc_is_missed_for_a_syllable() {
    let mut room = bridged();
    let (mut phone, mut music) = (speaker(7, HZ), speaker(8, HZ));
    speak(&mut room, &mut phone, 50);
    let from = room.world.now_ns;
    speak(&mut room, &mut music, 50);
    assert!((1..=10).contains(&hole(&room, from)), "{} frames", hole(&room, from));
    // And the telephone again, as soon as it speaks.
    let from = room.world.now_ns;
    phone.pause(1_000);
    speak(&mut room, &mut phone, 50);
    assert_eq!(hole(&room, from), 1);
}

#[test]
fn a_transfer_is_heard_at_once() {
    let mut room = bridged();
    let (mut phone, mut other) = (speaker(7, HZ), speaker(8, HZ));
    speak(&mut room, &mut phone, 50);
    room.command(MediaCommand::Remote {
        leg: LegKey(PHONE),
        lines: "port:4002\n".to_owned(),
    });
    speak(&mut room, &mut phone, 3);
    let from = room.world.now_ns;
    speak(&mut room, &mut other, 50);
    assert_eq!(hole(&room, from), 0);
}

#[test]
fn an_ssrc_that_the_description_names_is_heard_at_once() {
    let mut room = bridged();
    let (mut peer, mut renewed) = (speaker(7, HZ), speaker(4_000_000_000, HZ));
    speak(&mut room, &mut peer, 50);
    room.command(MediaCommand::Remote {
        leg: LegKey(PHONE),
        lines: "candidate:1 1 udp 1 192.0.2.1 4000 typ host\nssrc:4000000000 cname:x\n".to_owned(),
    });
    speak(&mut room, &mut peer, 500);
    let from = room.world.now_ns;
    speak(&mut room, &mut renewed, 50);
    assert_eq!(hole(&room, from), 0);
}

#[test]
fn a_goodbye_makes_room_at_once() {
    let mut room = bridged();
    let (mut phone, mut other) = (speaker(7, HZ), speaker(8, HZ));
    speak(&mut room, &mut phone, 50);
    let mut bye = [0; 64];
    let length = rtcp::write_bye(&mut bye, 7).unwrap();
    room.receive(PHONE, &bye[..length]);
    let from = room.world.now_ns;
    speak(&mut room, &mut other, 50);
    assert_eq!(hole(&room, from), 0);
}

/// A report about our stream: everything lost, a long way.
fn report_of(ssrc: u32, sender_report: bool) -> Vec<u8> {
    let mut forger = Sender::new(ssrc, &mut ChaCha8Rng::seed_from_u64(1));
    if sender_report {
        forger.next(160, 0, false, &mut [0; HEADER]).unwrap();
    }
    let mut view = Reception::new(8_000);
    for sequence in [1_u8, 200] {
        let bytes = [0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, PHONE as u8];
        view.received(&Packet::parse(&bytes).unwrap(), 1);
    }
    let mut out = [0; MAX_REPORT];
    let length = rtcp::write(&mut out, 5, &forger, 0, &mut view, "x").unwrap();
    out[..length].to_vec()
}

#[test]
fn forged_reports_and_goodbyes_change_nothing() {
    let mut room = bridged();
    let mut phone = speaker(7, HZ);
    speak(&mut room, &mut phone, 50);
    let before = last_report(&mut room);
    let mut bye = [0; 64];
    let length = rtcp::write_bye(&mut bye, 66).unwrap();
    for _ in 0..30 {
        for packet in [&report_of(66, false), &report_of(66, true), &bye[..length].to_vec()] {
            room.receive(PHONE, packet);
        }
        room.wait(100 * MS);
    }
    let report = last_report(&mut room);
    assert_eq!((report.remote_loss, report.round_trip), (None, None));
    assert!(
        report.silent >= before.silent + Duration::from_secs(3),
        "nor do they keep a dead call alive: {:?}",
        report.silent
    );
    room.receive(PHONE, &report_of(7, true));
    let report = last_report(&mut room);
    assert!(report.remote_loss > Some(0.9) && report.silent < Duration::from_secs(2));
}

#[test]
fn a_phone_that_only_listens_is_alive_by_its_reports() {
    let mut room = bridged();
    room.wait(5_000 * MS);
    room.receive(PHONE, &report_of(66, false));
    let report = last_report(&mut room);
    assert!(report.silent < Duration::from_secs(2) && report.remote_loss.is_some());
}

#[test]
fn a_new_codec_lets_a_new_stream_in() {
    let mut room = bridged();
    let (mut phone, mut resumed) = (speaker(7, HZ), speaker(8, HZ));
    speak(&mut room, &mut phone, 50);
    room.command(MediaCommand::Codec {
        leg: LegKey(PHONE),
        codec: LegCodec {
            receive_pt: 98,
            ..codec("T-NARROW", PHONE as u32)
        },
    });
    resumed.payload_type = 98;
    let from = room.world.now_ns;
    speak(&mut room, &mut resumed, 50);
    assert_eq!(hole(&room, from), 0);
}

/// Seen: a phone that had been called listed other codecs beside in its first hold, and for a second anybody was heard and pressed keys.
#[test]
fn a_hold_or_a_refresh_that_lists_other_codecs_beside_lets_nobody_in() {
    let mut room = bridged();
    let (mut phone, mut forger) = (speaker(7, HZ), speaker(66, 1_000.0));
    speak(&mut room, &mut phone, 50);
    room.command(MediaCommand::Codec {
        leg: LegKey(PHONE),
        codec: LegCodec {
            events: vec![99],
            ptime_ms: 30,
            ..codec("T-NARROW", PHONE as u32)
        },
    });
    let from = room.world.now_ns;
    for _ in 0..50 {
        let forged = forger.packet();
        room.receive(PHONE, &forged);
        speak(&mut room, &mut phone, 1);
    }
    let heard = room.heard(PEER, from);
    assert!(strength(&heard, 8_000, HZ) > 0.9 && strength(&heard, 8_000, 1_000.0) < 0.1);
}

/// What a phone that answered with two codecs may do at any time.
fn with_another_codec() -> Room {
    let mut room = bridged();
    let mut agreed = codec("T-NARROW", PHONE as u32);
    agreed.also = vec![Receivable {
        receive: Codec {
            payload_type: 97,
            name: "T-WIDE".into(),
            clock: 16_000,
            channels: 1,
            fmtp: String::new(),
        },
        send_fmtp: String::new(),
    }];
    agreed.events = vec![99];
    room.command(MediaCommand::Codec {
        leg: LegKey(PHONE),
        codec: agreed,
    });
    room
}

#[test]
fn a_phone_that_sends_another_codec_of_its_answer_is_heard() {
    let mut room = with_another_codec();
    let mut wide = Speaker::new(16_000, 20, HZ);
    wide.payload_type = 97;
    for round in 0..3 {
        let from = room.world.now_ns;
        speak(&mut room, &mut wide, 50);
        let heard = room.heard(PEER, from);
        assert!(heard.len() > 48 * 160, "{round}: {}", heard.len());
        assert!(strength(&heard[heard.len() / 2..], 8_000, HZ) > 0.95, "{round}");
        // And back, as it likes.
        let mut narrow = speaker(7, HZ);
        (narrow.sequence, narrow.timestamp) = (wide.sequence, wide.timestamp);
        let from = room.world.now_ns;
        speak(&mut room, &mut narrow, 50);
        let heard = room.heard(PEER, from);
        assert!(strength(&heard[heard.len() / 2..], 8_000, HZ) > 0.95, "{round}");
        (wide.sequence, wide.timestamp) = (narrow.sequence, narrow.timestamp);
    }
}

#[test]
fn a_phone_that_changes_with_every_packet_harms_nothing() {
    let mut room = with_another_codec();
    let mut phone = speaker(7, HZ);
    for packet in 0..1_000 {
        phone.payload_type = 96 + (packet % 3) as u8;
        speak(&mut room, &mut phone, 1);
    }
    phone.payload_type = 96;
    let calm = room.world.now_ns;
    speak(&mut room, &mut phone, 100);
    let heard = room.heard(PEER, calm);
    assert!(strength(&heard[heard.len() / 2..], 8_000, HZ) > 0.95);
    let failed = |event: &MediaEvent| matches!(event, MediaEvent::Failed { .. });
    assert!(!room.world.events.iter().any(failed));
}

#[test]
fn keys_come_under_every_number_that_was_agreed() {
    for (payload_type, expected) in [(101, 1), (99, 1), (98, 0)] {
        let mut room = with_another_codec();
        let mut phone = speaker(7, HZ);
        speak(&mut room, &mut phone, 10);
        let timestamp = phone.timestamp;
        for end in [0, 0, 0x80, 0x80, 0x80] {
            let bytes = phone.bytes(payload_type, timestamp, &[9, 0x0A | end, 3, 32]);
            room.receive(PHONE, &bytes);
            room.wait(20 * MS);
        }
        assert_eq!(keys(&room), expected, "{payload_type}");
    }
}

#[test]
fn a_refresh_or_a_hold_lets_no_forger_in() {
    let mut room = bridged();
    let mut phone = speaker(7, HZ);
    let tell = |room: &mut Room, lines: &str| {
        room.command(MediaCommand::Remote {
            leg: LegKey(PHONE),
            lines: lines.to_owned(),
        });
    };
    tell(&mut room, "c:192.0.2.9\nport:4000\ndirection:sendrecv\n");
    room.wait(2_000 * MS);
    speak(&mut room, &mut phone, 50);
    for direction in ["sendrecv", "sendonly", "sendrecv"] {
        tell(&mut room, &format!("c:192.0.2.9\nport:4000\ndirection:{direction}\n"));
        let mut forger = speaker(66, 1_000.0);
        let bytes = forger.bytes(101, 800, &[9, 0x8A, 0, 160]);
        room.receive(PHONE, &bytes);
        speak(&mut room, &mut phone, 5);
    }
    assert_eq!(keys(&room), 0);
    assert_eq!(last_report(&mut room).refused, 3);
    // The place is another: whoever speaks first there may be another.
    tell(&mut room, "c:192.0.2.9\nport:4002\n");
    speak(&mut room, &mut speaker(8, HZ), 5);
    assert_eq!(last_report(&mut room).refused, 3);
}
