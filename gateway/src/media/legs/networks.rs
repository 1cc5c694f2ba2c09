//! A user on a bad network, whose client sends 60 ms packets and answers NACK, heard by a telephone, under virtual time.

use std::time::Duration;

use quartet_proto::rtp::packet::is_rtcp;
use quartet_proto::rtp::rtcp::{self, Reception};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::media::{
    LegCodec, LegKey, MediaCommand, Nack, Report,
    dsp::tones::strength,
    testing::{MS, Room, Speaker, codec},
};

const PHONE: u64 = 1;
const USER: u64 = 2;
const PACKET_MS: u64 = 60;
const SECONDS: u64 = 120;

/// One way; packets keep their order.
#[derive(Clone, Copy)]
struct Way {
    delay_ms: f64,
    jitter_ms: f64,
    loss: f64,
    burst: f64,
}

struct Link {
    way: Way,
    rng: ChaCha8Rng,
    loses: bool,
    last_ns: u64,
}

impl Link {
    fn new(way: Way, seed: u64) -> Self {
        Self {
            way,
            rng: ChaCha8Rng::seed_from_u64(seed),
            loses: false,
            last_ns: 0,
        }
    }

    fn share(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }

    /// When a packet comes out, if it does.
    fn pass(&mut self, now_ns: u64) -> Option<u64> {
        let drawn = self.share();
        let Way { loss, burst, .. } = self.way;
        self.loses = if burst > 1.0 && self.loses {
            drawn >= 1.0 / burst
        } else if burst > 1.0 {
            drawn < loss / (burst * (1.0 - loss))
        } else {
            drawn < loss
        };
        if self.loses {
            return None;
        }
        let normal: f64 = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        let ms = (self.way.delay_ms + normal * self.way.jitter_ms).max(0.0);
        self.last_ns = self.last_ns.max(now_ns + (ms * 1e6) as u64);
        Some(self.last_ns)
    }
}

/// What the gateway says of the user's stream at the end, and the mean depth in ms.
fn talk(way: Way, seed: u64) -> (Report, f32) {
    let mut room = Room::new();
    room.leg(PHONE, "rtp", "T-NARROW");
    room.leg(USER, "mux", "T-NARROW");
    room.command(MediaCommand::Codec {
        leg: LegKey(USER),
        codec: LegCodec {
            nack: Nack::Tacit,
            ..codec("T-NARROW", USER as u32)
        },
    });
    room.command(MediaCommand::Bridge {
        a: LegKey(PHONE),
        b: LegKey(USER),
    });
    let (mut down, mut up) = (Link::new(way, seed), Link::new(way, seed + 1_000));
    let mut speaker = Speaker::new(8_000, PACKET_MS as usize, 440.0);
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let first = speaker.sequence;
    // What is on its way: when, to us, what.
    let mut wire: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut asks: Vec<(u64, Vec<u16>)> = Vec::new();
    let mut pings: Vec<(u64, u64)> = Vec::new();
    let mut seen = 0;
    let slot = room.legs.slot(LegKey(USER)).unwrap();
    for ms in 0..SECONDS * 1_000 {
        let now_ns = room.world.now_ns;
        if ms % PACKET_MS == 0 {
            let bytes = speaker.packet();
            sent.push(bytes.clone());
            wire.extend(down.pass(now_ns).map(|at| (at, bytes)));
        }
        if ms % 1_000 == 0
            && let Some(there) = up.pass(now_ns)
            && let Some(back) = down.pass(there)
        {
            pings.push((back, now_ns));
        }
        while let Some(at) = wire.iter().position(|(at, _)| *at <= now_ns) {
            let (_, bytes) = wire.remove(at);
            room.receive(USER, &bytes);
        }
        while let Some(at) = pings.iter().position(|(at, _)| *at <= now_ns) {
            let (_, began) = pings.remove(at);
            let round_trip = Duration::from_nanos(now_ns - began);
            room.legs
                .leg(slot)
                .unwrap()
                .audio_mut()
                .on_round_trip(now_ns, round_trip);
        }
        room.wait(MS);
        for made in &room.world.sent[seen..] {
            if made.leg == slot && is_rtcp(&made.bytes) {
                let feedback = rtcp::read(&made.bytes, 0, speaker.ssrc, None, &mut Reception::new(8_000)).unwrap();
                if !feedback.asked.is_empty() {
                    asks.extend(up.pass(made.at_ns).map(|at| (at, feedback.asked)));
                }
            }
        }
        seen = room.world.sent.len();
        while let Some(at) = asks.iter().position(|(at, _)| *at <= room.world.now_ns) {
            let (at, asked) = asks.remove(at);
            for number in asked.iter().map(|number| number.wrapping_sub(first)) {
                if let Some(again) = sent.get(usize::from(number)) {
                    wire.extend(down.pass(at).map(|at| (at, again.clone())));
                }
            }
        }
    }
    let reports = room.reports(USER);
    let depth = reports.iter().map(|report| report.depth_ms).sum::<f32>() / reports.len() as f32;
    (*reports.last().unwrap(), depth)
}

const fn way(delay_ms: u32, jitter_ms: u32, loss_percent: u32, burst: u32) -> Way {
    Way {
        delay_ms: delay_ms as f64,
        jitter_ms: jitter_ms as f64,
        loss: loss_percent as f64 / 100.0,
        burst: burst as f64,
    }
}

/// What may be made up at most, in percent, at which depth, and how much may be stretched in two minutes, in milliseconds.
#[test]
fn little_is_missing_at_little_delay_and_stretched_seldom() {
    for (name, way, made_up, depth_ms, stretched_ms) in [
        ("clean", way(20, 0, 0, 1), 0.0, 30.0, 50),
        ("5 % lost", way(20, 0, 5, 1), 0.6, 140.0, 400),
        ("20 % lost", way(20, 0, 20, 1), 2.5, 220.0, 700),
        ("20 % in bursts", way(20, 0, 20, 4), 5.0, 220.0, 700),
        ("far, 20 % lost", way(100, 0, 20, 1), 13.0, 360.0, 700),
        ("jitter", way(150, 100, 0, 1), 1.2, 490.0, 2_000),
        ("a bad radio network", way(60, 18, 3, 4), 2.5, 190.0, 2_500),
    ] {
        for seed in 1..4 {
            let (report, depth) = talk(way, seed);
            let missing = report.concealed as f32 * PACKET_MS as f32 / SECONDS as f32 / 10.0;
            let said = format!("{name}, seed {seed}: {missing:.2} % made up, {depth:.0} ms deep, {report:?}");
            assert!(missing <= made_up && depth <= depth_ms, "{said}");
            assert!(report.stretched_ms <= stretched_ms, "{said}");
        }
    }
}

/// Clocks that are off by 100 parts in a million each way, for ten minutes: no hole, no click, and the depth stays.
#[test]
fn clocks_that_drift_are_followed_unheard() {
    const PACKETS: u64 = 30_000;
    for (name, drift_ns) in [("fast", -2_000_i64), ("slow", 2_000)] {
        let mut room = Room::new();
        room.leg(PHONE, "rtp", "T-NARROW");
        room.leg(USER, "mux", "T-NARROW");
        room.command(MediaCommand::Bridge {
            a: LegKey(PHONE),
            b: LegKey(USER),
        });
        let began_ns = room.world.now_ns;
        let mut phone = Speaker::new(8_000, 20, 440.0);
        let mut user = Speaker::new(8_000, 20, 1_000.0);
        for packet in 0..PACKETS {
            let at_ns = began_ns + packet * (20 * MS).saturating_add_signed(drift_ns);
            room.wait(at_ns.saturating_sub(room.world.now_ns));
            let bytes = phone.packet();
            room.receive(PHONE, &bytes);
            let bytes = user.packet();
            room.receive(USER, &bytes);
        }
        for (to, hz) in [(PHONE, 1_000.0), (USER, 440.0)] {
            let heard = room.heard(to, began_ns + 2_000 * MS);
            // What was said since, but for what waits and what a clock is off.
            let said = (PACKETS as usize - 100) * 160;
            assert!(
                heard.len().abs_diff(said) < 4_000,
                "{name} to {to}: {} of {said}",
                heard.len()
            );
            for (at, second) in heard.chunks_exact(8_000).enumerate() {
                let pure = strength(second, 8_000, hz);
                assert!(pure > 0.98, "{name} to {to}, second {at}: {pure}");
            }
        }
        let depths: Vec<f32> = room
            .reports(USER)
            .iter()
            .skip(30)
            .map(|report| report.depth_ms)
            .collect();
        let (least, most) = depths
            .iter()
            .fold((f32::MAX, 0.0_f32), |(a, b), depth| (a.min(*depth), b.max(*depth)));
        assert!(
            depths.len() > 500 && most - least <= 30.0,
            "{name}: {least} to {most} ms"
        );
        assert_eq!(room.reports(USER).last().unwrap().concealed, 0, "{name}");
    }
}
