//! Forged DTLS with the peer's address as its source: each kind of record, before each record of the handshake, at the
//! client and at the server.
//!
//! What has no turn is survived. What has its turn and is not the peer's ends the session as `dtls`: nobody can tell it from
//! the true message, and it is no sign of another certificate.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::*;
use crate::webrtc::dtls::testing::fragment;
use crate::webrtc::dtls::{Dtls, DtlsOutput};

const CLIENT: usize = 0;
const SERVER: usize = 1;
/// The plaintext messages that a client and a server wait for, in their order; then ChangeCipherSpec and Finished.
const FLIGHTS: [&[u8]; 2] = [&[2, 11, 12, 13, 14], &[1, 11, 16, 15]];

fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}

/// Cuts a datagram into its records, if it is DTLS.
fn records(datagram: &[u8]) -> Vec<Vec<u8>> {
    let (mut records, mut rest) = (Vec::new(), datagram);
    while is_dtls(rest) {
        let length = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
        let (record, after) = rest.split_at(length);
        records.push(record.to_vec());
        rest = after;
    }
    records
}

fn record(kind: u8, epoch: u8, fragment: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 77, 0, 0];
    record[11..].copy_from_slice(&(fragment.len() as u16).to_be_bytes());
    record.extend_from_slice(fragment);
    record
}

fn message(kind: u8, number: u16, body: &[u8]) -> Vec<u8> {
    record(22, 0, &fragment(kind, number, body.len(), 0, body))
}

/// A message for each type: such as another handshake had, else such as RFC 5246 and RFC 6347 describe.
fn bodies() -> BTreeMap<u8, Vec<u8>> {
    let seen = Rc::new(RefCell::new(BTreeMap::new()));
    let mut pair = Pair::new(0, 30);
    let keep = Rc::clone(&seen);
    pair.between = Box::new(move |to, datagram| {
        let records = records(&datagram).into_iter();
        for record in records.filter(|record| record[0] == 22 && record[4] == 0) {
            keep.borrow_mut().insert(record[13], record[25..].to_vec());
        }
        vec![(to, datagram)]
    });
    pair.signal(|_, lines| lines);
    pair.run(Duration::from_secs(5), |pair| pair.both_connected());
    let mut bodies = seen.take();
    let known: Vec<u8> = bodies.keys().copied().collect();
    assert_eq!(known, [1, 2, 11, 12, 13, 14, 15, 16]);
    // The true one has no names of authorities, and nothing else in it would differ.
    let request = bodies.get_mut(&13).unwrap();
    let names = request.len() - 2;
    request.splice(names.., [0, 4, 0, 2, 0x30, 0]);
    bodies.insert(0, Vec::new());
    bodies.insert(3, vec![0xFE, 0xFF, 2, 7, 7]);
    bodies.insert(4, vec![0, 0, 0, 9, 0, 1, 7]);
    bodies.insert(20, vec![7; 12]);
    for unknown in [5, 21, 22, 23, 24, 99, 255] {
        bodies.insert(unknown, vec![7; 9]);
    }
    bodies
}

/// What is forged: a name, and the datagrams in the order in which they come.
type Forged = (String, Vec<Vec<u8>>);

/// Forged records that no state takes, or that it takes and that are not authentic.
fn forged_records() -> Vec<Forged> {
    let mut forged: Vec<Forged> = Vec::new();
    let mut add = |name: &str, datagram: Vec<u8>| forged.push((name.to_owned(), vec![datagram]));
    let garbage = |kind| record(kind, 1, &[0x5A; 40]);
    for description in [0, 10, 20, 40, 42, 100] {
        for level in [1, 2] {
            add("plaintext alert", record(21, 0, &[level, description]));
        }
    }
    add("alert of one byte", record(21, 0, &[2]));
    add("empty alert", record(21, 0, &[]));
    add("ChangeCipherSpec", record(20, 0, &[1]));
    add("ChangeCipherSpec of two bytes", record(20, 0, &[1, 1]));
    add("empty ChangeCipherSpec", record(20, 0, &[]));
    for kind in 20..=26 {
        add("plaintext", record(kind, 0, &[0x5A; 40]));
        add("encrypted garbage", garbage(kind));
        add("another epoch", record(kind, 2, &[0x5A; 40]));
        add("short encrypted garbage", record(kind, 1, &[1; 3]));
        add("no bytes", record(kind, 0, &[]));
        add("no encrypted bytes", record(kind, 1, &[]));
    }
    add("unknown record", record(63, 0, &[2, 40]));
    add(
        "ChangeCipherSpec and garbage",
        [record(20, 0, &[1]), garbage(22)].concat(),
    );
    add(
        "ChangeCipherSpec and alert",
        [record(20, 0, &[1]), garbage(21)].concat(),
    );
    add("half a message header", record(22, 0, &[14, 0, 0, 0, 0]));
    add(
        "a message longer than its record",
        record(22, 0, &fragment(14, 0, 9, 0, &[7; 9])[..15]),
    );
    add(
        "a record longer than its datagram",
        record(22, 0, &[7; 40])[..30].to_vec(),
    );
    add("a header alone", record(22, 0, &[])[..13].to_vec());
    add("a byte", vec![22]);
    add("many records", record(21, 0, &[2, 40]).repeat(60));
    let mut tls = record(22, 0, &fragment(2, 0, 9, 0, &[7; 9]));
    tls[1..3].copy_from_slice(&[3, 3]);
    add("another version", tls);
    forged
}

/// Forged handshake messages around the number whose turn it is, and whether one has its turn.
fn forged_messages(side: usize, turn: usize, bodies: &BTreeMap<u8, Vec<u8>>) -> Vec<(Forged, bool)> {
    let mut forged = Vec::new();
    let wanted = FLIGHTS[side].get(turn).copied();
    for (kind, body) in bodies {
        for number in BTreeSet::from([0, turn as u16, turn as u16 + 1, 1000]) {
            let mut expected = usize::from(number) == turn && wanted == Some(*kind);
            if side == CLIENT && usize::from(number) == turn {
                // HelloVerifyRequest comes before ServerHello, ServerHelloDone instead of CertificateRequest.
                expected |= turn == 0 && *kind == 3 || turn == 3 && *kind == 14;
                // Nothing in it could differ: the true one.
                expected &= !(turn == 4 && *kind == 14);
            }
            let name = format!("message {kind} number {number}");
            forged.push(((name, vec![message(*kind, number, body)]), expected));
            let length = body.len() + 5;
            let part = record(22, 0, &fragment(*kind, number, length, 0, body));
            let name = format!("part of message {kind} number {number}");
            forged.push(((name, vec![part]), false));
            for length in 0..4 {
                // Without a body ServerHelloDone is whole.
                if usize::from(number) == turn && (*kind, length) != (14, 0) {
                    let name = format!("broken message {kind} number {number} of {length} bytes");
                    forged.push(((name, vec![message(*kind, number, &vec![0; length])]), false));
                }
            }
        }
    }
    let instead = (side == CLIENT && turn == 3).then_some(14);
    for kind in wanted.into_iter().chain(instead) {
        let name = format!("broken message {kind}");
        forged.push(((name, vec![message(kind, turn as u16, &[0xFF; 5])]), false));
    }
    forged
}

/// Runs until both are connected or have failed, with somebody on the wire.
fn run(seed: u64, between: impl FnMut(usize, Vec<u8>) -> Vec<(usize, Vec<u8>)> + 'static) -> Pair {
    let mut pair = Pair::new(0, seed);
    pair.between = Box::new(between);
    pair.signal(|_, lines| lines);
    pair.run(Duration::from_secs(30), |pair| {
        pair.both_connected() || (0..2).all(|side| pair.failure(side).is_some())
    });
    pair
}

/// Connects with forged datagrams before the records at some places of those that reach `side`; all comes record by record.
fn with_forged(side: usize, places: std::ops::Range<usize>, forged: Vec<Vec<u8>>) -> Pair {
    let mut seen = 0;
    run(31, move |to, datagram| {
        if to != side || !is_dtls(&datagram) {
            return vec![(to, datagram)];
        }
        let mut all = Vec::new();
        for record in records(&datagram) {
            if places.contains(&seen) {
                all.extend(forged.clone());
            }
            seen += 1;
            all.push(record);
        }
        all.into_iter().map(|record| (side, record)).collect()
    })
}

/// Whether what follows in the same datagram would still be read.
fn is_whole(datagram: &[u8]) -> bool {
    datagram.len() >= 13 && datagram.len() == 13 + usize::from(u16::from_be_bytes([datagram[11], datagram[12]]))
}

fn assert_survived(mut pair: Pair, name: &str) {
    assert_eq!((pair.failure(0), pair.failure(1)), (None, None), "{name}");
    assert!(pair.both_connected(), "{name}: {:?}", pair.heard);
    // The data channel too: its packets come through DTLS.
    for side in 0..2 {
        pair.send(side, Kind::Rtp, &rtp(SSRC[side], 1)).unwrap();
        pair.run(Duration::from_secs(2), |_| false);
        pair.send(side, Kind::Data { text: true }, b"state").unwrap();
    }
    pair.run(Duration::from_secs(2), |_| false);
    for side in 0..2 {
        assert_eq!(pair.media[side].len(), 1, "{name}");
        assert_eq!(pair.texts(side), ["state"], "{name}");
        assert_eq!(pair.failure(side), None, "{name}");
    }
}

fn assert_dtls(pair: &Pair, side: usize, name: &str) {
    assert_eq!(pair.failure(side), Some(Failure::Dtls), "{name}");
    assert_ne!(
        pair.failure(1 - side),
        Some(Failure::Fingerprint),
        "{name}: the other side"
    );
    assert!(!pair.heard[side].contains(&Output::Connected), "{name}");
    assert!(pair.ends[side].srtp.is_none(), "{name}");
}

/// All records of a handshake that a side receives, and two of the data channel after it.
fn places(side: usize) -> std::ops::Range<usize> {
    0..FLIGHTS[side].len() + 4
}

#[test]
fn forged_records_are_survived_in_every_state() {
    for side in [CLIENT, SERVER] {
        for place in places(side) {
            for forged in forged_records() {
                let name = format!("side {side} place {place}: {} {:?}", forged.0, forged.1);
                assert_survived(with_forged(side, place..place + 1, forged.1.clone()), &name);
            }
        }
    }
}

#[test]
fn a_forged_message_ends_the_handshake_as_dtls_if_it_is_its_turn_and_never_else() {
    let bodies = bodies();
    let mut ended = [0, 0];
    for side in [CLIENT, SERVER] {
        for place in places(side) {
            for (forged, expected) in forged_messages(side, place, &bodies) {
                let name = format!("side {side} place {place}: {}", forged.0);
                let pair = with_forged(side, place..place + 1, forged.1.clone());
                if expected {
                    ended[side] += 1;
                    assert_dtls(&pair, side, &name);
                } else {
                    assert_survived(pair, &name);
                }
            }
        }
    }
    // HelloVerifyRequest, ServerHello, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone; and the four of
    // the client.
    assert_eq!(ended, [6, 4]);
}

/// All messages of a flight at once that no state can read, and ChangeCipherSpec after them.
fn unreadable_flight(side: usize, from: usize) -> Vec<u8> {
    let flight = FLIGHTS[side].iter().enumerate().skip(from);
    let mut datagram: Vec<u8> = flight
        .flat_map(|(number, kind)| message(*kind, number as u16, &[0xFF; 5]))
        .collect();
    datagram.extend(record(20, 0, &[1]));
    datagram
}

#[test]
fn what_cannot_be_read_takes_no_turn_of_change_cipher_spec() {
    for side in [CLIENT, SERVER] {
        for from in 0..FLIGHTS[side].len() {
            for place in places(side) {
                let datagram = unreadable_flight(side, from);
                let mut alone = records(&datagram);
                for (name, forged) in [
                    ("at once", vec![datagram.clone()]),
                    ("again and again", vec![datagram; 40]),
                    ("one by one", alone.clone()),
                    ("and garbage", {
                        alone.push(record(22, 1, &[0x5A; 40]));
                        alone
                    }),
                ] {
                    let name = format!("side {side} from {from} place {place}: {name}");
                    assert_survived(with_forged(side, place..place + 1, forged), &name);
                }
            }
        }
    }
}

#[test]
fn a_flood_of_what_has_no_turn_is_survived() {
    let bodies = bodies();
    for side in [CLIENT, SERVER] {
        let all = 0..FLIGHTS[side].len();
        let unexpected = |turn: usize| {
            let messages = forged_messages(side, turn, &bodies).into_iter();
            // A broken message takes the turn of the true one, which is still taken; but what comes next then has its turn.
            messages
                .filter(|(forged, expected)| !expected && !forged.0.starts_with("broken"))
                .flat_map(|(forged, _)| forged.1)
        };
        for place in places(side) {
            let records = forged_records().into_iter().flat_map(|forged| forged.1);
            let mut forged: Vec<_> = records.chain(unexpected(place.min(all.end))).collect();
            // One datagram of many records is as good as many.
            forged.push(
                forged
                    .iter()
                    .filter(|datagram| is_whole(datagram))
                    .flatten()
                    .copied()
                    .collect(),
            );
            assert_survived(
                with_forged(side, place..place + 1, forged),
                &format!("side {side} place {place}"),
            );
        }
        let records = forged_records().into_iter().flat_map(|forged| forged.1).collect();
        assert_survived(
            with_forged(side, 0..99, records),
            &format!("side {side}, before each record"),
        );
    }
}

#[test]
fn what_comes_while_ice_checks_begins_no_handshake_but_a_client_hello() {
    let bodies = bodies();
    for side in [CLIENT, SERVER] {
        let mut forged = forged_records();
        forged.extend(forged_messages(side, 0, &bodies).into_iter().map(|(forged, _)| forged));
        for (name, datagrams) in forged {
            let begins = side == SERVER && name == "message 1 number 0";
            let mut checked = false;
            // After the first check: the address counts as the peer's, and no pair is nominated.
            let pair = run(32, move |to, datagram| {
                let first = to == side && datagram[..2] == [0, 1] && !checked;
                checked |= first;
                let after = datagrams.iter().filter(|_| first).cloned();
                std::iter::once(datagram)
                    .chain(after)
                    .map(|datagram| (to, datagram))
                    .collect()
            });
            if begins {
                assert_dtls(&pair, side, &name);
            } else {
                assert_survived(pair, &name);
            }
        }
    }
}

/// A machine of an attacker's, which knows both fingerprints, for it reads the signalling.
struct Attacker {
    dtls: Dtls,
    now: Instant,
}

impl Attacker {
    fn new(now: Instant, active: bool, victim: &str) -> Self {
        let mut dtls = Dtls::new(now).unwrap();
        dtls.expect(victim).unwrap();
        dtls.start(now, active).unwrap();
        Attacker { dtls, now }
    }

    /// Takes a datagram, if there is one, and answers; says whether it has keys.
    fn answer(&mut self, datagram: &[u8]) -> (Vec<Vec<u8>>, bool) {
        self.dtls.receive(self.now, datagram).unwrap();
        let (mut packets, mut keys) = (Vec::new(), false);
        while let Some(output) = self.dtls.poll_output() {
            match output {
                DtlsOutput::Packet(packet) => packets.push(packet),
                DtlsOutput::Keys { .. } => keys = true,
                _ => {}
            }
        }
        (packets, keys)
    }
}

/// Two endpoints, and machines of an attacker's as server and as client of them.
fn pair_and_attackers(seed: u64) -> (Pair, [Attacker; 2]) {
    let mut pair = Pair::new(0, seed);
    let fingerprints = RefCell::new(Vec::new());
    pair.signal(|_, lines| {
        let line = lines.lines().find_map(|line| line.strip_prefix("fingerprint:"));
        fingerprints.borrow_mut().push(line.unwrap().to_owned());
        lines
    });
    let fingerprints = fingerprints.into_inner();
    let attackers = [CLIENT, SERVER].map(|side| Attacker::new(pair.now, side == SERVER, &fingerprints[side]));
    (pair, attackers)
}

#[test]
fn a_man_in_the_middle_who_completes_the_handshake_is_told_by_his_fingerprint() {
    for victims in [&[CLIENT][..], &[SERVER], &[CLIENT, SERVER]] {
        let (mut pair, attackers) = pair_and_attackers(33);
        let keys = Rc::new(RefCell::new([false; 2]));
        let (mut attackers, has_keys, faced) = (attackers, Rc::clone(&keys), victims.to_vec());
        let mut hello = true;
        pair.between = Box::new(move |to, datagram| {
            let from = 1 - to;
            if !is_dtls(&datagram) {
                return vec![(to, datagram)];
            }
            let mut all = Vec::new();
            if std::mem::take(&mut hello) && faced.contains(&SERVER) {
                all.extend(
                    attackers[SERVER]
                        .answer(&[])
                        .0
                        .into_iter()
                        .map(|packet| (SERVER, packet)),
                );
            }
            if faced.contains(&from) {
                let (packets, keys) = attackers[from].answer(&datagram);
                has_keys.borrow_mut()[from] |= keys;
                all.extend(packets.into_iter().map(|packet| (from, packet)));
            }
            all
        });
        pair.run(Duration::from_secs(30), |_| false);
        for &victim in victims {
            assert_eq!(pair.failure(victim), Some(Failure::Fingerprint), "{victims:?}");
            assert!(!pair.heard[victim].contains(&Output::Connected), "{victims:?}");
            assert!(
                pair.ends[victim].srtp.is_none() && pair.media[victim].is_empty(),
                "{victims:?}"
            );
        }
        // A client's flight is complete before it is verified; the server says nothing more.
        assert_eq!(*keys.borrow(), [victims.contains(&CLIENT), false], "{victims:?}");
    }
}

#[test]
fn a_forged_flight_with_another_certificate_is_no_man_in_the_middle() {
    // A server's whole flight, signed with its own key, but nobody goes on with the handshake.
    let (mut pair, mut attackers) = pair_and_attackers(34);
    let mut hello = false;
    pair.between = Box::new(move |to, datagram| {
        let mut all = vec![(to, datagram.clone())];
        if is_dtls(&datagram) && !std::mem::replace(&mut hello, true) {
            let (packets, _) = attackers[CLIENT].answer(&datagram);
            all.extend(packets.into_iter().map(|packet| (CLIENT, packet)));
        }
        all
    });
    pair.run(Duration::from_secs(30), |pair| pair.failure(CLIENT).is_some());
    assert_dtls(&pair, CLIENT, "a flight of another server");
}

#[test]
fn a_flight_may_come_in_any_pieces() {
    type Cut = fn(u8, u16, &[u8]) -> Vec<Vec<u8>>;
    let cuts: [(&str, Cut); 4] = [
        ("fragments of 30 bytes", |kind, number, body| {
            let part = |(at, part): (usize, &[u8])| record(22, 0, &fragment(kind, number, body.len(), at * 30, part));
            body.chunks(30).enumerate().map(part).collect()
        }),
        (
            "fragments from the last to the first, and again",
            |kind, number, body| {
                let part =
                    |(at, part): (usize, &[u8])| record(22, 0, &fragment(kind, number, body.len(), at * 50, part));
                let parts: Vec<_> = body.chunks(50).enumerate().map(part).collect();
                parts.iter().rev().chain(&parts).cloned().collect()
            },
        ),
        ("fragments that overlap", |kind, number, body| {
            let half = body.len() / 2;
            let (first, second) = (&body[..(half + 9).min(body.len())], &body[half.saturating_sub(9)..]);
            let at = half.saturating_sub(9);
            vec![
                record(22, 0, &fragment(kind, number, body.len(), at, second)),
                record(22, 0, &fragment(kind, number, body.len(), 0, first)),
            ]
        }),
        ("everything twice", |kind, number, body| {
            vec![message(kind, number, body); 2]
        }),
    ];
    for (name, cut) in cuts {
        let pair = run(35, move |to, datagram| {
            let mut all = Vec::new();
            for record in records(&datagram) {
                if record[0] != 22 || record[4] != 0 {
                    all.push(record);
                } else if record.len() == 25 {
                    // A message without a body has no pieces.
                    all.push(record);
                } else {
                    all.extend(cut(
                        record[13],
                        u16::from_be_bytes([record[17], record[18]]),
                        &record[25..],
                    ));
                }
            }
            if all.is_empty() {
                all.push(datagram);
            }
            all.into_iter().map(|datagram| (to, datagram)).collect()
        });
        assert_survived(pair, name);
    }
    // Several messages in one record, as one library writes them.
    let pair = run(36, |to, datagram| {
        let records = records(&datagram);
        let (plain, rest): (Vec<_>, Vec<_>) = records.iter().partition(|record| record[0] == 22 && record[4] == 0);
        let messages: Vec<u8> = plain.iter().flat_map(|record| &record[13..]).copied().collect();
        let mut merged = Vec::new();
        if !messages.is_empty() {
            merged = record(22, 0, &messages);
        }
        merged.extend(rest.into_iter().flatten());
        vec![(to, if records.is_empty() { datagram } else { merged })]
    });
    assert_survived(pair, "one record");
    // Records that overtook each other are lost, and come again.
    let mut reversed = false;
    let pair = run(37, move |to, datagram| {
        let mut records = records(&datagram);
        if records.len() > 2 && !std::mem::replace(&mut reversed, true) {
            records.reverse();
            return records.into_iter().map(|record| (to, record)).collect();
        }
        vec![(to, datagram)]
    });
    assert_survived(pair, "reversed");
}
