//! One direction of a bridge: the first byte is the kind of flow, then 4 bytes a packet say how it follows the one before
//! (jittered, lost, repeated, reordered, broken, another stream, a clock set anew) and how long its payload is. Each frame
//! has the sink's length, what is given at once is bounded, and no deadline is over when all was taken.
#![no_main]

#[path = "../scripted.rs"]
#[allow(dead_code)]
mod scripted;

use libfuzzer_sys::fuzz_target;
use quartet::media::fuzzing::Direction;

const MS: u64 = 1_000_000;

/// Takes all that is due.
fn take(flow: &mut Direction, now_ns: u64, frame: usize) -> bool {
    let mut frames = 0;
    loop {
        match flow.poll(now_ns) {
            Ok(Some(length)) => {
                assert_eq!(length, frame);
                frames += 1;
                assert!(frames < 5_000, "it does not end");
            }
            Ok(None) => break,
            // The codec broke its promise: the leg would end.
            Err(_) => return false,
        }
    }
    assert!(flow.deadline().is_none_or(|deadline| deadline > now_ns), "a deadline that is over");
    assert!(flow.depth_ns() <= 620 * MS, "{}", flow.depth_ns());
    true
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let registry = scripted::registry();
    let codec = ["NARROW", "WIDE", "ODD"][usize::from(kind >> 1) % 3];
    let (rate, frame_us) = [(8_000, 20_000), (48_000, 20_000), (16_000, 10_000), (8_000, 60_000)][usize::from(kind >> 4 & 3)];
    let Some(mut flow) = Direction::new(&registry, codec, (rate, frame_us), kind & 1 == 0) else { return };
    let frame = (u64::from(rate) * u64::from(frame_us) / 1_000_000) as usize;
    let (mut now_ns, mut sequence, mut timestamp, mut ssrc) = (MS, 0u16, 0u32, 0u32);
    let mut last = Vec::new();
    for chunk in rest.chunks_exact(4) {
        let [shape, time, length, first] = *chunk else { return };
        let until = now_ns + u64::from(time & 63) * MS * if time >> 6 == 3 { 50 } else { 1 };
        while let Some(deadline) = flow.deadline().filter(|deadline| *deadline <= until) {
            now_ns = deadline.max(now_ns);
            if !take(&mut flow, now_ns, frame) {
                return;
            }
        }
        now_ns = until;
        let step = if codec == "WIDE" { 960 } else { 160 };
        match shape & 15 {
            0 => sequence = sequence.wrapping_add(u16::from(time)),
            1 => sequence = sequence.wrapping_sub(u16::from(time)),
            2 => timestamp = timestamp.wrapping_add(u32::from(time) << 18),
            3 => timestamp = timestamp.wrapping_sub(u32::from(time) << 10),
            4 => ssrc = u32::from(time),
            5 => flow.restart(),
            6 => flow.push(now_ns, &last, 0.5),
            _ => {}
        }
        sequence = sequence.wrapping_add(1);
        timestamp = timestamp.wrapping_add(step);
        let mut packet = vec![0x80, [0, 0, 0, 13][usize::from(shape >> 6)]];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.resize(12 + usize::from(length) * if shape & 0x10 == 0 { 1 } else { 7 }, first);
        if shape & 0x20 != 0 && shape & 0x0F == 7 {
            packet.truncate(usize::from(length % 16));
        }
        flow.push(now_ns, &packet, f32::from(first) / 255.0);
        last = packet;
        if !take(&mut flow, now_ns, frame) {
            return;
        }
    }
});
