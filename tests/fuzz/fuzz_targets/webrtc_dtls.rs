//! A DTLS handshake between two machines of ours, and somebody on the wire who can do everything but cipher.
//!
//! The first byte says whether an end was told another fingerprint than its peer's. Then a step for each record that one
//! sends: a verb, and what it needs. When the input ends all arrives as it was sent. Keys never differ, and nobody has any of
//! a peer whose certificate was not announced; what is altered or forged is never taken for another certificate.
#![no_main]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet_proto::webrtc::dtls::{Dtls, DtlsError, DtlsOutput};

/// Records that are carried, longest.
const MAX_STEPS: usize = 400;

/// An end: the machine, its keys, and how it ended.
struct End {
    dtls: Dtls,
    keys: Option<Vec<u8>>,
    ended: Option<DtlsError>,
    /// Whether it was told the true fingerprint.
    told: bool,
}

impl End {
    fn note(&mut self, result: Result<(), DtlsError>) {
        if let Err(error) = result {
            let seen = self.ended.replace(error).is_some();
            assert!(
                !self.told || error != DtlsError::Fingerprint,
                "a forged certificate is no certificate"
            );
            assert!(!seen || self.dtls.poll_output().is_none(), "it says more after its end");
        }
    }
}

struct Wire {
    ends: [End; 2],
    now: Instant,
    /// To whom, and the record.
    records: VecDeque<(usize, Vec<u8>)>,
}

/// Cuts what we sent into records.
fn records(datagram: &[u8]) -> Vec<Vec<u8>> {
    let (mut records, mut rest) = (Vec::new(), datagram);
    while !rest.is_empty() {
        let (record, after) = rest.split_at(13 + usize::from(u16::from_be_bytes([rest[11], rest[12]])));
        records.push(record.to_vec());
        rest = after;
    }
    records
}

impl Wire {
    fn new(now: Instant, told: [bool; 2]) -> Wire {
        let mut ends = told.map(|told| End {
            dtls: Dtls::new(now).expect("a certificate"),
            keys: None,
            ended: None,
            told,
        });
        let lines = [ends[1].dtls.fingerprint(), ends[0].dtls.fingerprint()];
        let other = format!("sha-256 {}", ["11"; 32].join(":"));
        for (side, end) in ends.iter_mut().enumerate() {
            end.dtls
                .expect(if told[side] { &lines[side] } else { &other })
                .expect("a good line");
            end.dtls.start(now, side == 0).expect("it begins");
        }
        let records = VecDeque::new();
        let mut wire = Wire { ends, now, records };
        wire.collect();
        wire
    }

    fn deliver(&mut self, to: usize, datagram: &[u8]) {
        let result = self.ends[to].dtls.receive(self.now, datagram).map(drop);
        self.ends[to].note(result);
        self.collect();
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for end in &mut self.ends {
            let result = end.dtls.handle_timeout(self.now);
            end.note(result);
        }
        self.collect();
    }

    fn collect(&mut self) {
        for side in 0..2 {
            while let Some(output) = self.ends[side].dtls.poll_output() {
                let end = &mut self.ends[side];
                match output {
                    DtlsOutput::Packet(packet) => {
                        let records = records(&packet).into_iter().map(|record| (1 - side, record));
                        self.records.extend(records);
                    }
                    DtlsOutput::Keys { material, .. } => {
                        assert!(end.told && end.ended.is_none(), "keys of somebody else");
                        assert!(end.keys.replace(material.to_vec()).is_none(), "keys twice");
                    }
                    DtlsOutput::Data(data) => {
                        assert!(end.keys.is_some() && data == b"hello", "data of somebody else");
                    }
                    DtlsOutput::Closed => panic!("nobody has closed"),
                }
            }
        }
        if let [Some(one), Some(other)] = self.ends.each_ref().map(|end| end.keys.as_ref()) {
            assert!(one == other, "the keys differ");
        }
    }

    /// What a step of the input does with a record. Returns the rest of the input.
    fn step<'a>(&mut self, to: usize, record: Vec<u8>, input: &'a [u8]) -> &'a [u8] {
        let [verb, argument, tail @ ..] = input else {
            self.deliver(to, &record);
            return &[];
        };
        let (length, at) = (usize::from(*argument).min(tail.len()), usize::from(*argument));
        match verb % 10 {
            0 => self.deliver(to, &record),
            1 => {}
            2 => {
                self.deliver(to, &record);
                self.deliver(to, &record);
            }
            // Altered from some place on; the true one is lost, or comes after it.
            3 | 4 => {
                let mut altered = record.clone();
                let start = at % altered.len();
                let count = tail.first().map_or(0, |count| usize::from(count & 15)).min(tail.len());
                for (old, new) in altered[start..].iter_mut().zip(tail.iter().skip(1).take(count)) {
                    *old ^= new;
                }
                self.deliver(to, &altered);
                if verb % 10 == 4 {
                    self.deliver(to, &record);
                }
                return tail.get(1 + count..).unwrap_or_default();
            }
            // A datagram of the input's own, to either end.
            5 | 6 => {
                let forged = [&tail[..length], if verb & 16 == 0 { &[] } else { &record[..] }].concat();
                self.deliver(if verb % 10 == 5 { to } else { 1 - to }, &forged);
                self.deliver(to, &record);
                return &tail[length..];
            }
            // A handshake message or another record, with a header that is right.
            7 => {
                let (kind, epoch) = (20 + (verb / 10) % 6, tail.first().map_or(0, |byte| byte & 1));
                let mut forged = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 1, *argument, 0, length as u8];
                forged.extend_from_slice(&tail[..length]);
                self.deliver(to, &forged);
                self.deliver(to, &record);
                return &tail[length..];
            }
            8 => {
                self.records.push_back((to, record));
                self.wait(Duration::from_millis(u64::from(*argument) * 20));
            }
            // The right contents under another message number, type or offset.
            _ => {
                let mut altered = record.clone();
                if let Some(byte) = altered.get_mut(13 + at % 12) {
                    *byte = tail.first().copied().unwrap_or(0);
                }
                self.deliver(to, &altered);
                self.deliver(to, &record);
                return tail.get(1..).unwrap_or_default();
            }
        }
        tail
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (first, mut input) = bytes.split_first().unwrap_or((&0, &[]));
    let told = [first & 1 == 0, first & 2 == 0];
    let mut wire = Wire::new(Instant::now(), told);
    let mut greeted = false;
    for _ in 0..MAX_STEPS {
        match wire.records.pop_front() {
            Some((to, record)) => input = wire.step(to, record, input),
            None => {
                let open = wire.ends.iter().all(|end| end.keys.is_some() && end.ended.is_none());
                if open && !std::mem::replace(&mut greeted, true) {
                    for end in &mut wire.ends {
                        end.dtls.send(b"hello").expect("it is open");
                    }
                    wire.collect();
                    continue;
                }
                let next = wire.ends.iter().filter_map(|end| end.dtls.poll_timeout()).min();
                let wait = next.map_or(Duration::ZERO, |at| at.saturating_duration_since(wire.now));
                if wait.is_zero() || wait > Duration::from_secs(60) {
                    break;
                }
                wire.wait(wait);
            }
        }
    }
    if bytes.len() <= 1 && told == [true; 2] {
        assert!(wire.ends.iter().all(|end| end.keys.is_some()), "nobody was on the wire");
    }
});
