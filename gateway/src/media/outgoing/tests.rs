//! A stream on its way out, with the codecs of the product.

use quartet_proto::rtp::packet::Packet;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::*;
use crate::media::testing::{MS, codec, product};

fn outgoing(name: &str, clock: u32, nack: Nack) -> Outgoing {
    let registry = product();
    let table = registry.codec(name).unwrap();
    let codec = LegCodec {
        clock,
        nack,
        ..codec(name, 7)
    };
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let mut outgoing = Outgoing::new(table, &codec, 8_000, None, rng).unwrap();
    if nack == Nack::Tacit && outgoing.decision().is_some() {
        join(&mut outgoing, 1);
    }
    outgoing
}

/// A packet as it left: number, timestamp and payload.
type Left = (u16, u32, Vec<u8>);

/// Sends frames of 20 ms from then on, one after another; what each brought.
fn send(outgoing: &mut Outgoing, from_ns: u64, count: u64, first_is_fresh: bool) -> Vec<Option<Left>> {
    let mut packet = [0; MAX_PACKET];
    let mut frame = |index: u64| {
        let fresh = first_is_fresh && index == 0;
        let length = outgoing.send_frame(from_ns + index * 20 * MS, &[900; 160], fresh, &mut packet);
        let view = Packet::parse(&packet[..length.unwrap()?]).unwrap();
        Some((view.sequence, view.timestamp, view.payload.to_vec()))
    };
    (0..count).map(&mut frame).collect()
}

/// What is known of the way makes it code in packets of so many frames.
fn join(outgoing: &mut Outgoing, frames: u32) {
    let mut round_trips = [40; 10].into_iter().chain(std::iter::repeat(100));
    for second in 1.. {
        if outgoing.decision().unwrap().frames == frames {
            return;
        }
        let round_trip = round_trips.next().map(Duration::from_millis);
        outgoing.on_way(second * 1_000 * MS, None, round_trip);
    }
}

#[test]
fn frames_of_20_ms_are_joined_when_packets_queue_up() {
    let mut outgoing = outgoing("opus", 48_000, Nack::Tacit);
    let before = send(&mut outgoing, 0, 3, true);
    assert!(before.iter().all(Option::is_some));
    for frames in [2, 3] {
        join(&mut outgoing, frames);
        let sent = send(&mut outgoing, 60 * MS, 12, false);
        let packets: Vec<_> = sent.iter().flatten().collect();
        assert_eq!(packets.len(), 12 / frames as usize);
        assert!(sent[..frames as usize - 1].iter().all(Option::is_none));
        for pair in packets.windows(2) {
            assert_eq!(pair[1].0, pair[0].0.wrapping_add(1));
            assert_eq!(pair[1].1.wrapping_sub(pair[0].1), frames * 960);
        }
        let table = product();
        let samples = table.codec("opus").unwrap().packet_samples(&packets[0].2, 48_000);
        assert_eq!(samples, Some(frames * 960));
    }
}

#[test]
fn a_telephone_and_a_codec_without_a_rate_get_frames_as_they_were_agreed() {
    let mut telephone = outgoing("opus", 48_000, Nack::Off);
    for second in 1..60 {
        let round_trip = Duration::from_millis(if second < 20 { 40 } else { 200 });
        telephone.on_way(second * 1_000 * MS, None, Some(round_trip));
    }
    assert_eq!(telephone.decision().unwrap().frames, 1);
    assert!(send(&mut telephone, 0, 5, true).iter().all(Option::is_some));
    let mut law = outgoing("PCMU", 8_000, Nack::Tacit);
    assert_eq!(law.decision(), None);
    law.on_way(0, Some(0.5), Some(Duration::from_secs(1)));
    assert!(send(&mut law, 0, 5, true).iter().all(Option::is_some));
}

#[test]
fn each_packet_goes_twice_where_many_are_lost_but_not_to_who_asks_for_them() {
    let mut outgoing = outgoing("opus", 48_000, Nack::Tacit);
    outgoing.on_way(0, Some(0.2), None);
    let first = send(&mut outgoing, 0, 3, true)[0].clone().unwrap();
    let mut packet = [0; MAX_PACKET];
    let length = outgoing.resend(&mut packet).expect("two packets later");
    let again = Packet::parse(&packet[..length]).unwrap();
    assert_eq!(
        (again.sequence, again.timestamp, again.payload),
        (first.0, first.1, &first.2[..])
    );
    assert_eq!(outgoing.resend(&mut packet), None);
    // What is known of the peer outlives a change of codec.
    outgoing.on_nack(&[first.0]);
    let codec = LegCodec {
        clock: 48_000,
        nack: Nack::Tacit,
        ..codec("opus", 7)
    };
    let table = product();
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let mut next = Outgoing::new(table.codec("opus").unwrap(), &codec, 8_000, Some(outgoing), rng).unwrap();
    next.on_way(0, Some(0.2), None);
    assert!(!next.decision().unwrap().repeats);
}

#[test]
fn what_waits_when_somebody_else_speaks_is_sent_before() {
    let mut outgoing = outgoing("opus", 48_000, Nack::Tacit);
    send(&mut outgoing, 0, 1, true);
    join(&mut outgoing, 3);
    let waits = send(&mut outgoing, 20 * MS, 2, false);
    assert!(waits.iter().all(Option::is_none));
    // A second of pause.
    let sent = send(&mut outgoing, 1_060 * MS, 3, true);
    let (of_before, next) = (sent[0].as_ref().unwrap(), sent[2].as_ref().unwrap());
    assert_eq!(next.1.wrapping_sub(of_before.1), 48 * 1_040);
}

#[test]
fn a_key_takes_the_place_of_what_waits() {
    let mut outgoing = outgoing("opus", 48_000, Nack::Tacit);
    let first = send(&mut outgoing, 0, 1, true).pop().flatten().unwrap();
    join(&mut outgoing, 3);
    assert_eq!(send(&mut outgoing, 20 * MS, 1, false), [None]);
    assert!(outgoing.press(40 * MS, '5'));
    let mut packet = [0; MAX_PACKET];
    let length = outgoing.send_dtmf(40 * MS, &mut packet).unwrap();
    let event = Packet::parse(&packet[..length]).unwrap();
    assert_eq!(event.timestamp.wrapping_sub(first.1), 2 * 960);
    assert_eq!(event.sequence, first.0.wrapping_add(1));
}

#[test]
fn another_rate_drops_what_waits_and_keeps_the_time() {
    let mut outgoing = outgoing("opus", 48_000, Nack::Tacit);
    let first = send(&mut outgoing, 0, 1, true).pop().flatten().unwrap();
    join(&mut outgoing, 2);
    assert_eq!(send(&mut outgoing, 20 * MS, 1, false), [None]);
    outgoing.set_rate(16_000).unwrap();
    let mut packet = [0; MAX_PACKET];
    let mut frame = |at| outgoing.send_frame(at * MS, &[900; 320], false, &mut packet).unwrap();
    assert_eq!(frame(40), None);
    let length = frame(60).unwrap();
    let next = Packet::parse(&packet[..length]).unwrap();
    assert_eq!(next.timestamp.wrapping_sub(first.1), 2 * 960);
}

#[test]
fn who_has_agreed_to_ask_gets_what_was_sent_before_the_first_question() {
    for (nack, is_kept) in [(Nack::Agreed, true), (Nack::Tacit, false), (Nack::Off, false)] {
        let mut outgoing = outgoing("PCMU", 8_000, nack);
        let left = send(&mut outgoing, 0, 3, true);
        let (first, ..) = left[0].as_ref().unwrap();
        outgoing.on_nack(&[*first]);
        let mut packet = [0; MAX_PACKET];
        assert_eq!(outgoing.resend(&mut packet).is_some(), is_kept, "{nack:?}");
    }
}
