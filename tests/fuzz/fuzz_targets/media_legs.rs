//! Four legs of a media worker over a scripted transport and plain RTP: orders, datagrams and time in any order, two bytes
//! and what they need each. No panic, no leg that fails twice, no timer that spins, and in the end nothing is left.
#![no_main]

#[path = "../scripted.rs"]
mod scripted;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use quartet::ivr::sound::{Clip, Sound};
use quartet::media::fuzzing::Worker;
use quartet::media::{LegCodec, LegKey, MediaCommand, MediaEvent, MediaFault, Nack, PlayKey};
use quartet_proto::sdp::offer_answer::Receivable;
use quartet_proto::sdp::{Codec, TelephoneEvent};

const MS: u64 = 1_000_000;
const SOCKETS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 40_000),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 40_001),
];

/// A peer's stream, whose packets mostly follow one another.
#[derive(Clone, Copy, Default)]
struct Stream {
    sequence: u16,
    timestamp: u32,
}

impl Stream {
    fn packet(&mut self, shape: u8, jump: u8, payload: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(match shape & 7 {
            0 => u16::from(jump) << 8,
            1 => u16::MAX - u16::from(jump),
            2 => u16::from(jump),
            _ => 1,
        });
        self.timestamp = self.timestamp.wrapping_add(match shape >> 3 & 7 {
            0 => u32::from(jump) << 20,
            1 => 0,
            _ => 160,
        });
        let payload_type = [96, 101, 13, 96][usize::from(shape >> 6)];
        let mut bytes = vec![0x80, payload_type];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(u32::from(jump & 3).to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }
}

fn codec(choice: u8, more: u8) -> LegCodec {
    let (name, clock) = [("NARROW", 8_000), ("WIDE", 48_000), ("ODD", 12_000), ("NONE", 8_000)][usize::from(choice % 4)];
    let event = TelephoneEvent { send_pt: 101, receive_pt: 101, clock: [8_000, 48_000, 0, u32::MAX][usize::from(more >> 2 & 3)] };
    LegCodec {
        name: name.to_owned(),
        clock,
        send_pt: 96,
        receive_pt: 96,
        send_fmtp: String::new(),
        local_fmtp: String::new(),
        ptime_ms: [20, 60, 0, u32::MAX][usize::from(more & 3)],
        telephone_event: (more & 0x80 == 0).then_some(event),
        events: vec![102],
        also: [("NARROW", 8_000, 97), ("WIDE", 48_000, 98), ("NONE", 8_000, 99)]
            .into_iter()
            .filter(|_| choice & 4 != 0)
            .map(|(name, clock, payload_type)| {
                let (name, fmtp) = (name.to_owned(), String::new());
                let receive = Codec { payload_type, name, clock, channels: 1, fmtp };
                Receivable { receive, send_fmtp: String::new() }
            })
            .collect(),
        ssrc: u32::from(choice >> 6),
        nack: [Nack::Off, Nack::Tacit, Nack::Agreed][usize::from(choice >> 3 & 3) % 3],
    }
}

fn clips(bytes: &[u8]) -> Vec<Clip> {
    let clip = |pair: &[u8]| match pair {
        [rate, length] if rate % 2 == 0 => Clip::Sound(Arc::new(Sound {
            rate: [8_000, 16_000, 48_000, 11_025][usize::from(rate >> 1 & 3)],
            samples: vec![1_000; usize::from(*length) * 16],
        })),
        [_, length] => Clip::Silence(Duration::from_millis(u64::from(*length))),
        _ => Clip::Silence(Duration::ZERO),
    };
    bytes.chunks(2).take(4).map(clip).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let mut worker = Worker::new(scripted::registry());
    let mut streams = [Stream::default(); 4];
    let (mut there, mut failed) = (BTreeSet::new(), BTreeSet::new());
    let mut rest = bytes;
    while let [verb, argument, tail @ ..] = rest {
        let place = usize::from(verb >> 6);
        let leg = LegKey(place as u64);
        let length = usize::from(argument & 63).min(tail.len());
        let (part, after) = tail.split_at(length);
        // Only some verbs take bytes.
        rest = if matches!(verb & 15, 1 | 3 | 11..=15) { after } else { tail };
        match verb & 15 {
            0 => {
                // A key is used once in the life of a process, and here again when its leg is gone.
                let transport = ["free", "rtp", "free", "none"][usize::from(argument % 4)];
                if !there.contains(&leg) && worker.open(leg, transport, SOCKETS) {
                    there.insert(leg);
                    failed.remove(&leg);
                }
            }
            1 => {
                let lines = match argument >> 6 {
                    0 => "c:192.0.2.9\nport:4000\n".to_owned(),
                    1 => format!("ssrc:{length}\n"),
                    _ => String::from_utf8_lossy(part).replace('\0', " "),
                };
                worker.command(MediaCommand::Remote { leg, lines });
            }
            2 => worker.command(MediaCommand::Codec { leg, codec: codec(*argument, argument.rotate_left(3)) }),
            3 => worker.command(MediaCommand::Play { leg, play: PlayKey(u64::from(*argument)), clips: clips(part) }),
            4 => worker.command(MediaCommand::StopPlay { leg }),
            5 => worker.command(MediaCommand::Bridge { a: leg, b: LegKey(u64::from(argument % 4)) }),
            6 => worker.command(MediaCommand::Unbridge { a: leg }),
            7 => worker.command(MediaCommand::Hold { leg, on: argument % 2 == 0 }),
            8 => worker.command(MediaCommand::SendDtmf { leg, digit: char::from(argument & 0x7F) }),
            9 => {
                worker.close(leg);
                there.remove(&leg);
            }
            10 => {
                let ms = u64::from(*argument) * if verb & 0x30 == 0 { 40 } else { 1 };
                let served = worker.wait(ms * MS);
                // A deadline that is over again comes back after a millisecond, for each leg.
                assert!(served <= 4 * (ms + 1), "{served} in {ms} ms");
            }
            11 => worker.receive(leg, ([192, 0, 2, 9], 4_000).into(), part),
            _ => {
                let bytes = streams[place].packet(*argument, verb >> 4, part);
                worker.receive(leg, ([192, 0, 2, 9], 4_000).into(), &bytes);
                worker.wait(u64::from(verb >> 4 & 3) * 10 * MS);
            }
        }
        for event in worker.take_events() {
            if let MediaEvent::Failed { leg, fault } = event {
                assert_ne!(fault, MediaFault::Internal);
                // One that was never made may be asked for again.
                assert!(failed.insert(leg) || !there.contains(&leg), "{leg:?} {fault} again");
            }
        }
        worker.take_sent();
    }
    (0..4).for_each(|leg| worker.close(LegKey(leg)));
    assert_eq!(worker.legs(), 0);
    worker.wait(60_000 * MS);
    assert_eq!(worker.wait(3_600_000 * MS), 0, "timers of closed legs fade away");
});
