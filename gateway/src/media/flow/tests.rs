//! One direction under virtual time.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::media::{
    dsp::tones::{level, strength},
    testing::{MS, Speaker, decoder},
};

fn flow(peer_has_jitter_buffer: bool) -> Flow {
    Flow::new(FlowSettings {
        decoder: decoder("T-NARROW", 8_000),
        decoder_rate: 8_000,
        clock: 8_000,
        payload_type: 96,
        sink_rate: 8_000,
        sink_frame_us: 20_000,
        peer_has_jitter_buffer,
    })
    .unwrap()
}

#[derive(Clone, Debug)]
struct Out {
    at_ns: u64,
    pcm: Vec<i16>,
    fresh: bool,
}

/// Feeds a flow with packets, each at its time, and runs its timers between and for a while after.
fn run(flow: &mut Flow, mut packets: Vec<(u64, Vec<u8>)>) -> Vec<Out> {
    packets.sort_by_key(|(at, _)| *at);
    let end = packets.last().map_or(0, |(at, _)| *at) + 1_000 * MS;
    let mut out = Vec::new();
    let mut poll = |flow: &mut Flow, now_ns: u64| {
        while let Some(heard) = flow.poll(now_ns).unwrap() {
            out.push(Out {
                at_ns: now_ns,
                pcm: heard.pcm.to_vec(),
                fresh: heard.fresh,
            });
        }
        assert!(
            flow.deadline().is_none_or(|deadline| deadline > now_ns),
            "a deadline that is over"
        );
    };
    let mut packets = packets.into_iter().peekable();
    loop {
        let packet = packets.peek().map_or(u64::MAX, |(at, _)| *at);
        let timer = flow.deadline().unwrap_or(u64::MAX);
        let now_ns = packet.min(timer);
        if now_ns > end {
            return out;
        }
        if packet <= timer
            && let Some((_, bytes)) = packets.next()
        {
            flow.push(&Packet::parse(&bytes).unwrap(), now_ns, Path::default(), Arrival::Sent);
        }
        poll(flow, now_ns);
    }
}

/// An even stream from 1 s on.
fn stream(speaker: &mut Speaker, count: u64, packet_ms: u64) -> Vec<(u64, Vec<u8>)> {
    (0..count)
        .map(|index| ((1_000 + index * packet_ms) * MS, speaker.packet()))
        .collect()
}

fn sound(out: &[Out]) -> Vec<i16> {
    out.iter().flat_map(|out| out.pcm.iter().copied()).collect()
}

#[test]
fn on_arrival_without_a_timer_towards_a_good_buffer() {
    let mut flow = flow(true);
    let out = run(&mut flow, stream(&mut Speaker::new(8_000, 20, 440.0), 100, 20));
    assert_eq!(out.len(), 100);
    for (index, out) in out.iter().enumerate() {
        assert_eq!((out.at_ns, out.fresh), ((1_000 + index as u64 * 20) * MS, index == 0));
    }
    assert!(strength(&sound(&out), 8_000, 440.0) > 0.99);
    assert_eq!(flow.concealed, 0);
}

#[test]
fn a_depth_towards_a_telephone_that_shrinks_when_all_is_well() {
    let mut flow = flow(false);
    let out = run(&mut flow, stream(&mut Speaker::new(8_000, 20, 440.0), 500, 20));
    assert_eq!(out[0].at_ns, 1_040 * MS);
    assert!(flow.depth_ns <= 30 * MS, "{}", flow.depth_ns);
    assert!(strength(&sound(&out[..490]), 8_000, 440.0) > 0.9);
    assert!(out.windows(2).all(|pair| pair[1].at_ns - pair[0].at_ns == 20 * MS));
    assert_eq!(out.iter().filter(|out| out.fresh).count(), 1);
}

#[test]
fn lost_packets_leave_no_hole() {
    for peer_has_jitter_buffer in [true, false] {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut packets = stream(&mut Speaker::new(8_000, 20, 440.0), 500, 20);
        let mut index = 0;
        packets.retain(|_| {
            index += 1;
            !(10..=490).contains(&index) || !rng.next_u32().is_multiple_of(10)
        });
        let lost = 500 - packets.len();
        let mut flow = flow(peer_has_jitter_buffer);
        let out = run(&mut flow, packets);
        let frames = if peer_has_jitter_buffer { &out[..] } else { &out[..480] };
        assert!(lost > 30);
        assert!(
            strength(&sound(frames), 8_000, 440.0) > 0.85,
            "{}",
            strength(&sound(frames), 8_000, 440.0)
        );
        for (index, out) in frames.iter().enumerate() {
            assert!(
                level(&out.pcm) > -24.0,
                "peer_has_jitter_buffer {peer_has_jitter_buffer}: a hole at {index}: {}",
                level(&out.pcm)
            );
        }
        assert!(flow.concealed >= lost as u64);
        if peer_has_jitter_buffer {
            assert_eq!(out.len(), 500);
        }
    }
}

#[test]
fn a_long_packet_leaves_as_spaced_frames() {
    for peer_has_jitter_buffer in [true, false] {
        let mut flow = flow(peer_has_jitter_buffer);
        let out = run(&mut flow, stream(&mut Speaker::new(8_000, 60, 440.0), 50, 60));
        for pair in out[..147].windows(2) {
            assert_eq!(pair[1].at_ns - pair[0].at_ns, 20 * MS);
        }
        assert!(strength(&sound(&out[..147]), 8_000, 440.0) > 0.9);
        if peer_has_jitter_buffer {
            assert_eq!(out.len(), 150);
        }
    }
}

#[test]
fn short_packets_are_joined() {
    let out = run(&mut flow(true), stream(&mut Speaker::new(8_000, 10, 440.0), 100, 10));
    assert_eq!(out.len(), 50);
    assert!(strength(&sound(&out), 8_000, 440.0) > 0.99);
}

#[test]
fn packets_in_the_wrong_order_are_put_right() {
    let mut packets = stream(&mut Speaker::new(8_000, 20, 440.0), 200, 20);
    for pair in packets.chunks_mut(2) {
        let first = pair[0].0;
        pair[0].0 = first + 25 * MS;
    }
    let mut flow = flow(false);
    let out = run(&mut flow, packets);
    assert!(strength(&sound(&out[..190]), 8_000, 440.0) > 0.95);
    assert!(flow.concealed <= 6, "the end alone: {}", flow.concealed);
    assert_eq!(flow.late, 0);
}

#[test]
fn jitter_makes_the_buffer_deeper_and_calm_makes_it_shallow() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut speaker = Speaker::new(8_000, 20, 440.0);
    // Two minutes of calm: below 100 ms the rule is in no hurry to forget.
    let mut packets = stream(&mut speaker, 7_500, 20);
    for (index, (at, _)) in packets.iter_mut().enumerate() {
        if index < 1_500 {
            *at += u64::from(rng.next_u32() % 80) * MS;
        }
    }
    let calm = packets.split_off(1_500);
    let mut flow = flow(false);
    let early = run_part(&mut flow, packets);
    let (late_half, depth) = (flow.late, flow.depth_ns);
    assert!(early > 1_400);
    assert!((50 * MS..=130 * MS).contains(&depth), "{depth}");
    assert!(late_half < 60, "{late_half}");
    run_part(&mut flow, calm);
    assert!(flow.depth_ns <= 80 * MS, "{}", flow.depth_ns);
    assert_eq!(flow.late - late_half, 0);
}

/// Like [`run`], without a while after; how many frames came.
fn run_part(flow: &mut Flow, mut packets: Vec<(u64, Vec<u8>)>) -> usize {
    packets.sort_by_key(|(at, _)| *at);
    let mut count = 0;
    for (at, bytes) in packets {
        while let Some(deadline) = flow.deadline().filter(|deadline| *deadline <= at) {
            while flow.poll(deadline).unwrap().is_some() {
                count += 1;
            }
        }
        flow.push(&Packet::parse(&bytes).unwrap(), at, Path::default(), Arrival::Sent);
        while flow.poll(at).unwrap().is_some() {
            count += 1;
        }
    }
    count
}

#[test]
fn a_phone_that_jitters_is_buffered_even_towards_a_good_buffer() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut packets = stream(&mut Speaker::new(8_000, 20, 440.0), 1_000, 20);
    for (at, _) in &mut packets {
        *at += u64::from(rng.next_u32() % 60) * MS;
    }
    let mut flow = flow(true);
    run_part(&mut flow, packets);
    assert!(flow.depth_ns >= 30 * MS);
    assert!(flow.late < 100, "{}", flow.late);
    let mut speaker = Speaker::new(8_000, 20, 440.0);
    speaker.ssrc = 9;
    let calm = stream(&mut speaker, 1_500, 20)
        .into_iter()
        .map(|(at, bytes)| (at + 21_000 * MS, bytes))
        .collect();
    run_part(&mut flow, calm);
    assert_eq!(flow.depth_ns, 0);
}

#[test]
fn clocks_set_anew_and_new_streams_are_heard_at_once() {
    for peer_has_jitter_buffer in [true, false] {
        let mut speaker = Speaker::new(8_000, 20, 440.0);
        let mut packets = Vec::new();
        for index in 0..400_u64 {
            match index {
                100 => speaker.timestamp = speaker.timestamp.wrapping_add(5_000_000),
                200 => speaker.timestamp = speaker.timestamp.wrapping_sub(9_000_000),
                300 => (speaker.ssrc, speaker.sequence, speaker.timestamp) = (8, 40_000, 5),
                _ => {}
            }
            packets.push(((1_000 + index * 20) * MS, speaker.packet()));
        }
        let out = run(&mut flow(peer_has_jitter_buffer), packets);
        for start in [100, 200, 300] {
            let from = (1_000 + start * 20) * MS;
            let soon: Vec<Out> = out
                .iter()
                .filter(|out| (from..from + 140 * MS).contains(&out.at_ns))
                .cloned()
                .collect();
            assert!(
                soon.len() >= 4,
                "peer_has_jitter_buffer {peer_has_jitter_buffer}, at {start}: {}",
                soon.len()
            );
            assert!(strength(&sound(&soon), 8_000, 440.0) > 0.8);
        }
        assert!(out.len() >= 390, "{}", out.len());
    }
}

#[test]
fn a_silent_source_has_no_timer_and_comes_back_fresh() {
    for peer_has_jitter_buffer in [true, false] {
        let mut flow = flow(peer_has_jitter_buffer);
        let mut speaker = Speaker::new(8_000, 20, 440.0);
        let mut packets = stream(&mut speaker, 50, 20);
        speaker.pause(3_000);
        packets.extend(
            stream(&mut speaker, 50, 20)
                .into_iter()
                .map(|(at, bytes)| (at + 4_000 * MS, bytes)),
        );
        let out = run(&mut flow, packets);
        assert_eq!(flow.deadline(), None);
        let back: Vec<&Out> = out.iter().filter(|out| out.fresh).collect();
        assert_eq!(back.len(), 2, "peer_has_jitter_buffer {peer_has_jitter_buffer}");
        assert!(
            back[1].at_ns >= 5_000 * MS && back[1].at_ns <= 5_060 * MS,
            "{}",
            back[1].at_ns
        );
        let between = out
            .iter()
            .filter(|out| (2_200 * MS..5_000 * MS).contains(&out.at_ns))
            .count();
        assert_eq!(between, 0);
    }
}

#[test]
fn a_line_that_falls_silent_is_not_dead_at_once() {
    for silent_ms in [400_u32, 3_000] {
        let mut flow = flow(false);
        let mut speaker = Speaker::new(8_000, 20, 440.0);
        let mut packets = stream(&mut speaker, 50, 20);
        // The room behind the voice.
        for index in 0..25 {
            let room: Vec<u8> = (0..160_i16).flat_map(|at| (at % 7 * 16 - 48).to_le_bytes()).collect();
            let bytes = speaker.bytes(96, speaker.timestamp, &room);
            speaker.pause(20);
            packets.push(((2_000 + index * 20) * MS, bytes));
        }
        speaker.pause(silent_ms);
        packets.extend(
            stream(&mut speaker, 50, 20)
                .into_iter()
                .map(|(at, bytes)| (at + (1_500 + u64::from(silent_ms)) * MS, bytes)),
        );
        let out = run(&mut flow, packets);
        let heard = |from: u64, to: u64| {
            let frames: Vec<&Out> = out
                .iter()
                .filter(|out| (from * MS..to * MS).contains(&out.at_ns))
                .collect();
            assert!(
                frames.windows(2).all(|pair| pair[1].at_ns - pair[0].at_ns == 20 * MS),
                "{silent_ms}"
            );
            assert!(frames.iter().all(|out| !out.fresh));
            frames
        };
        // Nobody speaks from 2.5 s on, and for 120 ms the decoder makes something up.
        let noise = heard(2_760, 2_500 + u64::from(silent_ms.min(800)));
        assert!(noise.len() >= 6, "{silent_ms}: {}", noise.len());
        assert!(
            noise.iter().all(|out| (-60.0..-45.0).contains(&level(&out.pcm))),
            "{silent_ms}"
        );
        let back = out.iter().filter(|out| out.fresh).nth(1).unwrap().at_ns;
        let again = (2_500 + u64::from(silent_ms)) * MS;
        assert!((again..again + 80 * MS).contains(&back), "{back}");
        let last = out.iter().rfind(|out| out.at_ns < back).unwrap();
        if silent_ms == 3_000 {
            assert!((4_000 * MS..4_300 * MS).contains(&last.at_ns) && level(&last.pcm) < -60.0);
        } else {
            assert!(back - last.at_ns < 40 * MS, "the noise goes on until speech comes");
        }
    }
}

#[test]
fn a_hole_is_heard_once_and_nothing_is_late_after_it() {
    // Packets of 60 ms, as official apps send; some holes are longer than the buffer.
    for lost in [1, 2, 3, 5, 10, 45, 80] {
        for peer_has_jitter_buffer in [true, false] {
            let mut flow = flow(peer_has_jitter_buffer);
            let mut packets = stream(&mut Speaker::new(8_000, 60, 440.0), 200, 60);
            packets.drain(50..50 + lost);
            let back = packets[50].0;
            let out = run(&mut flow, packets);
            let after: Vec<&Out> = out.iter().filter(|out| out.at_ns >= back + 120 * MS).collect();
            let rest = (150 - lost as u64) * 60 * MS;
            let last = out.last().unwrap().at_ns;
            assert!(
                last <= back + rest + 300 * MS,
                "{lost} lost: over {} ms late",
                (last - back - rest) / MS
            );
            for (index, out) in after.iter().enumerate().take(after.len() - 20) {
                assert!(
                    level(&out.pcm) > -24.0,
                    "{lost} lost, {peer_has_jitter_buffer}: a hole {index} frames after it"
                );
            }
        }
    }
}

#[test]
fn keys_between_the_speech_are_no_loss() {
    let mut speaker = Speaker::new(8_000, 20, 440.0);
    let mut packets = Vec::new();
    for index in 0..100_u64 {
        let at = (1_000 + index * 20) * MS;
        if (40..50).contains(&index) {
            let timestamp = speaker.timestamp;
            packets.push((at, speaker.bytes(101, timestamp, &[5, 10, 0, 160])));
        } else {
            if index == 50 {
                speaker.pause(200);
            }
            packets.push((at, speaker.packet()));
        }
    }
    let mut flow = flow(true);
    let out = run(&mut flow, packets);
    assert_eq!((out.len(), flow.concealed, flow.late), (90, 0, 0));
}

#[test]
fn a_rate_that_the_sink_does_not_know_is_brought_to_its_own() {
    let mut flow = Flow::new(FlowSettings {
        decoder: decoder("T-NARROW", 8_000),
        decoder_rate: 8_000,
        clock: 8_000,
        payload_type: 96,
        sink_rate: 16_000,
        sink_frame_us: 20_000,
        peer_has_jitter_buffer: true,
    })
    .unwrap();
    let out = run(&mut flow, stream(&mut Speaker::new(8_000, 20, 440.0), 50, 20));
    assert_eq!((out.len(), out[0].pcm.len()), (50, 320));
    assert!(strength(&sound(&out[1..]), 16_000, 440.0) > 0.99);
}

#[test]
fn a_decoder_that_breaks_is_an_error() {
    let mut flow = flow(true);
    let bytes = Speaker::new(8_000, 20, 440.0).bytes(96, 0, b"panic!");
    flow.push(&Packet::parse(&bytes).unwrap(), MS, Path::default(), Arrival::Sent);
    assert!(flow.poll(MS).is_err());
}

#[test]
fn random_streams_never_panic_and_stay_bounded() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for round in 0..40_u64 {
        let mut flow = flow(round % 2 == 0);
        let mut speaker = Speaker::new(8_000, [10, 20, 60][round as usize % 3], 440.0);
        let mut now_ns = 0;
        for _ in 0..500 {
            let wild = rng.next_u32() % 16;
            match wild {
                0 => speaker.timestamp = rng.next_u32(),
                1 => speaker.sequence = speaker.sequence.wrapping_add(rng.next_u32() as u16 % 200),
                2 => speaker.ssrc = rng.next_u32() % 2,
                3 => now_ns += u64::from(rng.next_u32() % 3_000) * MS,
                _ => now_ns += u64::from(rng.next_u32() % 40) * MS,
            }
            let payload = [0_u8; 2_000];
            let timestamp = speaker.timestamp;
            let bytes = match wild {
                4 => speaker.bytes(
                    rng.next_u32() as u8 & 0x7F,
                    timestamp,
                    &payload[..rng.next_u32() as usize % 2_000],
                ),
                5 => speaker.bytes(96, timestamp, &payload[..rng.next_u32() as usize % 1_500]),
                _ => speaker.packet(),
            };
            flow.push(
                &Packet::parse(&bytes).unwrap(),
                now_ns,
                Path {
                    loss: 0.5,
                    round_trip_ns: Some(rng.next_u64()),
                    ..Path::default()
                },
                Arrival::Sent,
            );
            let mut frames = 0;
            while flow.poll(now_ns).unwrap().is_some() {
                frames += 1;
            }
            assert!(frames < 200, "{frames}");
            assert!(flow.depth_ns <= SLOTS as u64 * 60 * MS + 20 * MS);
        }
    }
}

#[test]
fn what_piled_up_while_the_network_stood_still_does_not_stay_behind() {
    for (packet_ms, stall_ms) in [(20, 300), (20, 900), (20, 1_200), (60, 700), (60, 1_300), (60, 3_000)] {
        let name = format!("packets of {packet_ms} ms, {stall_ms} ms");
        let mut flow = flow(false);
        let mut speaker = Speaker::new(8_000, packet_ms as usize, 440.0);
        let mut packets = stream(&mut speaker, 12_000 / packet_ms, packet_ms);
        // What is sent from 5 s on comes at once when the network goes on.
        let end = (5_000 + stall_ms) * MS;
        for (at, _) in &mut packets {
            if (5_000 * MS..end).contains(at) {
                *at = end;
            }
        }
        let later = packets.split_off(packets.partition_point(|(at, _)| *at <= end));
        run_part(&mut flow, packets);
        let max_ms = |flow: &mut Flow, packets: &[(u64, Vec<u8>)]| {
            let depths = packets.iter().map(|packet| {
                run_part(flow, vec![packet.clone()]);
                flow.depth_ns / MS
            });
            depths.max().unwrap()
        };
        let at = |ms: u64| later.partition_point(|(at, _)| *at < end + ms * MS);
        run_part(&mut flow, later[..at(500)].to_vec());
        let (soon, then) = (
            max_ms(&mut flow, &later[at(500)..at(2_000)]),
            max_ms(&mut flow, &later[at(2_000)..]),
        );
        assert!(soon <= 230 && then <= 150, "{name}: {soon}, {then}");
        // All else is heard.
        assert!(flow.late * packet_ms < stall_ms, "{name}: {} late", flow.late);
    }
}
