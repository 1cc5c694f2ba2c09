//! A telephone that speaks every 20 ms, and between its packets whatever somebody sends from its address under other SSRCs
//! and under its own: 8 bytes of input a packet or a BYE. As long as they do not know its SSRC it is heard, every packet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::rtp::packet::Packet;
use quartet_proto::rtp::stream::{StreamFilter, Verdict};

const PHONE: u32 = 7;

fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Packet<'static> {
    Packet { payload_type: 0, marker: false, sequence, timestamp, ssrc, extension: None, payload: &[], payload_offset: 12 }
}

fuzz_target!(|bytes: &[u8]| {
    let mut filter = StreamFilter::new(8000);
    let (mut now_ns, mut sequence, mut timestamp) = (0u64, 65_500u16, u32::MAX - 5_000);
    let (mut known, mut signalled) = (false, false);
    for chunk in bytes.chunks_exact(8) {
        let [verb, ssrc, first, second, third, fourth, high, low] = *chunk else { return };
        let forged = u16::from_be_bytes([high, low]);
        let stamp = u32::from_be_bytes([first, second, third, fourth]);
        let before = filter.ssrc();
        match verb % 8 {
            // The telephone itself.
            0..=3 => {
                now_ns += 20_000_000;
                sequence = sequence.wrapping_add(1);
                timestamp = timestamp.wrapping_add(160);
                let verdict = filter.receive(&packet(PHONE, sequence, timestamp), true, now_ns);
                let expected = if before.is_none() { Verdict::Restarted } else { Verdict::Valid };
                assert!(known || signalled || verdict == expected, "{verdict:?}");
            }
            // Another SSRC, within the 20 ms; who comes first is the telephone.
            4 | 5 if before.is_some() => {
                let ssrc = PHONE + 1 + u32::from(ssrc % 6);
                let verdict = filter.receive(&packet(ssrc, forged, stamp), verb & 8 == 0, now_ns);
                assert!(known || signalled || verdict == Verdict::Refused);
                filter.bye(ssrc);
            }
            6 if ssrc & 1 == 0 => {
                // It knows the SSRC, or signalling speaks, or the telephone is silent: anything may happen.
                known = true;
                filter.receive(&packet(PHONE, forged, stamp), true, now_ns);
                filter.bye(PHONE);
                now_ns += u64::from(ssrc) * 10_000_000;
            }
            6 => {
                signalled = true;
                filter.signalled(now_ns);
                filter.announce(u32::from(first));
            }
            _ => filter.set_clock(8_000),
        }
    }
});
