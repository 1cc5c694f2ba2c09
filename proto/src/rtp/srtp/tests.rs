//! Both ends of a session, and what an attacker may send to one.

use super::*;
use crate::rtp::packet::Packet;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const PROFILES: [Profile; 4] = [
    Profile::Aes128CmSha1_80,
    Profile::Aes128CmSha1_32,
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
];
const SSRC: u32 = 0x0102_0304;

fn pair(profile: Profile) -> (Outbound, Inbound) {
    let (a, mut b) = (Outbound::new(profile, &master(profile)), inbound(profile));
    assert!(b.announce(SSRC));
    (a.unwrap(), b)
}

fn master(profile: Profile) -> Vec<u8> {
    let (key, salt) = profile.key_and_salt();
    vec![1; key + salt]
}

fn inbound(profile: Profile) -> Inbound {
    Inbound::new(profile, &master(profile)).unwrap()
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 111, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4];
    bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(b"a frame of sound");
    bytes
}

fn rtcp() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 1, 2, 3, 4]
}

fn sealed(session: &mut Outbound, packet: &[u8], rtcp: bool) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0);
    let length = if rtcp {
        session.protect_rtcp(&mut buffer, packet.len())
    } else {
        session.protect_rtp(&mut buffer, packet.len())
    };
    buffer.truncate(length.unwrap());
    buffer
}

#[test]
fn both_kinds_survive_the_trip_in_every_profile() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let mut wire = sealed(&mut a, &rtp(7), false);
        assert_eq!(wire.len(), rtp(7).len() + profile.tag());
        assert!(!wire.windows(5).any(|window| window == b"sound"));
        let mut again = wire.clone();
        let length = b.unprotect_rtp(&mut wire).unwrap();
        assert_eq!(&wire[..length], rtp(7));
        assert_eq!(Packet::parse(&wire[..length]).unwrap().payload, b"a frame of sound");
        assert_eq!(b.unprotect_rtp(&mut again), Err(SrtpError::Refused), "a replay");

        let mut wire = sealed(&mut a, &rtcp(), true);
        assert_eq!(wire.len(), rtcp().len() + 4 + profile.rtcp_tag());
        let length = b.unprotect_rtcp(&mut wire).unwrap();
        assert_eq!(&wire[..length], rtcp());
    }
}

#[test]
fn sequence_numbers_may_wrap_twice() {
    let (mut a, mut b) = pair(Profile::AeadAes256Gcm);
    for index in 0..140_000u32 {
        let mut wire = sealed(&mut a, &rtp(index as u16), false);
        b.unprotect_rtp(&mut wire).unwrap();
    }
}

#[test]
fn short_rtcp_never_reaches_the_cipher() {
    for profile in PROFILES {
        let (_, mut b) = pair(profile);
        for length in 0..profile.shortest_rtcp() {
            let mut bytes = vec![0xFF; length];
            for (place, byte) in bytes.iter_mut().zip([0x80, 200, 0, 1, 1, 2, 3, 4]) {
                *place = byte;
            }
            assert_eq!(
                b.unprotect_rtcp(&mut bytes),
                Err(SrtpError::Malformed),
                "{profile:?} {length}"
            );
        }
        let mut bytes = vec![0xFF; profile.shortest_rtcp()];
        bytes[..8].copy_from_slice(&[0x80, 200, 0, 1, 1, 2, 3, 4]);
        assert_eq!(b.unprotect_rtcp(&mut bytes), Err(SrtpError::Refused));
    }
    assert_eq!(Profile::Aes128CmSha1_80.shortest_rtcp(), 22);
    assert_eq!(Profile::AeadAes128Gcm.shortest_rtcp(), 28);
}

#[test]
fn rtcp_that_claims_to_be_in_clear_is_refused() {
    for profile in PROFILES {
        let (_, mut b) = pair(profile);
        let mut forged = rtcp();
        forged.extend_from_slice(&[0u8; 40]);
        assert_eq!(b.unprotect_rtcp(&mut forged), Err(SrtpError::Refused), "{profile:?}");
    }
}

#[test]
fn only_announced_streams_are_looked_at_and_few_can_be() {
    let (mut a, mut b) = pair(Profile::Aes128CmSha1_80);
    let mut stranger = rtp(1);
    stranger[11] = 5;
    let mut wire = sealed(&mut a, &stranger, false);
    assert_eq!(b.unprotect_rtp(&mut wire), Err(SrtpError::UnknownStream));
    for ssrc in 1..MAX_STREAMS as u32 {
        assert!(b.announce(ssrc));
    }
    assert!(b.announce(1), "known already");
    assert!(!b.announce(99));
}

#[test]
fn extensions_that_overrun_are_refused_before_the_crate_panics() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        for (words, body) in [
            (1u8, vec![0x2F, 0, 0, 0]),
            (1, vec![0, 0, 0, 0x2F]),
            (1, vec![0xF0, 0, 0, 0]),
            (9, vec![0x20, 0, 0, 0]),
        ] {
            let mut bytes = vec![0x90, 111, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 0xBE, 0xDE, 0, words];
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(&vec![0; profile.tag()]);
            assert_eq!(b.unprotect_rtp(&mut bytes), Err(SrtpError::Malformed), "{body:?}");
            let length = bytes.len();
            bytes.resize(length + MAX_OVERHEAD, 0);
            assert_eq!(a.protect_rtp(&mut bytes, length), Err(SrtpError::Malformed));
        }
        let mut good = vec![
            0x90, 111, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 0xBE, 0xDE, 0, 2, 0x22, 1, 2, 3, 0x30, 7, 0, 0,
        ];
        good.extend_from_slice(b"sound");
        let mut wire = sealed(&mut a, &good, false);
        let length = b.unprotect_rtp(&mut wire).unwrap();
        assert_eq!(&wire[..length], good);
    }
}

#[test]
fn no_room_changes_nothing() {
    let (mut a, _) = pair(Profile::AeadAes128Gcm);
    let mut packet = rtp(1);
    let length = packet.len();
    assert_eq!(a.protect_rtp(&mut packet, length), Err(SrtpError::NoRoom));
    assert_eq!(a.protect_rtp(&mut packet, usize::MAX), Err(SrtpError::NoRoom));
    assert_eq!(a.protect_rtcp(&mut packet, length), Err(SrtpError::NoRoom));
    assert_eq!(packet, rtp(1));
    assert!(matches!(
        Outbound::new(Profile::AeadAes128Gcm, &[0; 27]),
        Err(SrtpError::Keys)
    ));
}

#[test]
fn mutated_packets_never_panic_and_never_pass() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        for round in 0..30_000u32 {
            let is_rtcp = round % 2 == 0;
            let good = if is_rtcp {
                sealed(&mut a, &rtcp(), true)
            } else {
                sealed(&mut a, &rtp(round as u16), false)
            };
            let mut bytes = good.clone();
            for _ in 0..=rng.next_u32() % 3 {
                let at = rng.next_u32() as usize % bytes.len();
                bytes[at] ^= (rng.next_u32() as u8).max(1);
            }
            bytes.truncate(rng.next_u32() as usize % (bytes.len() + 8));
            if bytes == good {
                continue;
            }
            let result = if is_rtcp {
                b.unprotect_rtcp(&mut bytes)
            } else {
                b.unprotect_rtp(&mut bytes)
            };
            assert!(result.is_err(), "{profile:?} {round}");
        }
    }
}

#[test]
fn forged_packets_do_not_move_the_window() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        for sequence in [40_000, 60_000, 20_000] {
            let mut forged = rtp(sequence);
            forged.extend_from_slice(&[0; 16]);
            assert_eq!(b.unprotect_rtp(&mut forged), Err(SrtpError::Refused));
            let mut forged = rtcp();
            forged.extend_from_slice(&[0xC0; 40]);
            assert_eq!(b.unprotect_rtcp(&mut forged), Err(SrtpError::Refused));
        }
        let mut wire = sealed(&mut a, &rtp(7), false);
        assert!(b.unprotect_rtp(&mut wire).is_ok(), "{profile:?}");
        let mut wire = sealed(&mut a, &rtcp(), true);
        let mut again = wire.clone();
        assert!(b.unprotect_rtcp(&mut wire).is_ok(), "{profile:?}");
        assert_eq!(b.unprotect_rtcp(&mut again), Err(SrtpError::Refused), "a replay");
    }
}

/// RFC 4585: what the peer misses is sent again under the same number.
#[test]
fn a_packet_that_is_sent_again_is_the_same_to_the_letter() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let sequences = (65_500..65_560u32).map(|sequence| sequence as u16);
        let wire: Vec<_> = sequences
            .clone()
            .map(|sequence| sealed(&mut a, &rtp(sequence), false))
            .collect();
        for (at, sequence) in sequences.clone().enumerate() {
            // Also from behind the turn of the numbers.
            assert_eq!(
                sealed(&mut a, &rtp(sequence), false),
                wire[at],
                "{profile:?} {sequence}"
            );
        }
        let mut open = |at: usize| b.unprotect_rtp(&mut wire[at].clone());
        (0..60).filter(|at| at % 3 != 0).for_each(|at| _ = open(at).unwrap());
        (0..60).filter(|at| at % 3 == 0).for_each(|at| _ = open(at).unwrap());
        // And the next one is the next one.
        let mut next = sealed(&mut a, &rtp(24), false);
        assert!(b.unprotect_rtp(&mut next).is_ok());
    }
}

/// A phone announces no stream, and may draw another at any time: what knows the key is its.
#[test]
fn a_stream_that_nobody_announced_proves_itself_or_costs_nothing() {
    for profile in PROFILES {
        let (mut a, mut b) = (pair(profile).0, inbound(profile));
        b.learn(&master(profile)).unwrap();
        let of = |ssrc: u32, sequence| {
            let mut packet = rtp(sequence);
            packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
            packet
        };
        // A crowd of strangers.
        for ssrc in 0..10_000u32 {
            let mut forged = of(ssrc, 1);
            forged.extend_from_slice(&[0; 16]);
            assert_eq!(b.unprotect_rtp(&mut forged), Err(SrtpError::UnknownStream));
        }
        assert!(b.streams.is_empty() && b.learns.as_ref().is_some_and(|learning| learning.tried <= MAX_TRIED));
        // Over a turn of the numbers as well.
        for number in 65_000..132_000u32 {
            let mut wire = sealed(&mut a, &of(7, number as u16), false);
            let mut again = wire.clone();
            let length = b.unprotect_rtp(&mut wire).unwrap();
            assert_eq!(&wire[..length], of(7, number as u16));
            assert_eq!(b.unprotect_rtp(&mut again), Err(SrtpError::Refused), "a replay");
        }
        let mut report = rtcp();
        report[4..8].copy_from_slice(&9u32.to_be_bytes());
        let mut wire = sealed(&mut a, &report, true);
        assert!(b.unprotect_rtcp(&mut wire).is_ok(), "a report may come first");
        for ssrc in 1_000..1_000 + MAX_LEARNT as u32 {
            let mut wire = sealed(&mut a, &of(ssrc, 1), false);
            assert_eq!(b.unprotect_rtp(&mut wire).is_ok(), ssrc < 1_000 + MAX_LEARNT as u32 - 2);
        }
        assert_eq!(b.streams.len(), MAX_LEARNT);
    }
}
