//! Keys in every form. The first byte picks: telephone events, 9 bytes each (SSRC, timestamp and 7 of payload), or the body
//! of a SIP INFO behind its content type's number. What comes out is a key, and no more of them than went in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::rtp::dtmf::{Press, Receiver, code, digit};
use quartet_proto::sip::dtmf_info;

const KEYS: &str = "0123456789*#ABCD";

fn events(bytes: &[u8]) {
    let mut receiver = Receiver::new();
    let mut timestamp = 0u32;
    for chunk in bytes.chunks(9) {
        let [ssrc, ticks, payload @ ..] = chunk else { return };
        // Timestamps near one another, or anywhere.
        timestamp = match ticks {
            0..=127 => timestamp.wrapping_add(u32::from(*ticks) * 80),
            128..=191 => timestamp.wrapping_sub(u32::from(*ticks) * 160),
            _ => u32::from_be_bytes([*ticks; 4]),
        };
        let length = payload.len().min(usize::from(ssrc >> 4));
        let Some(key) = receiver.receive(u32::from(ssrc & 3), timestamp, &payload[..length]) else {
            continue;
        };
        assert_eq!(digit(payload[0]), Some(key));
        let again = receiver.receive(u32::from(ssrc & 3), timestamp, &payload[..length]);
        assert_eq!(again, None, "one press is one key");
    }
    // After anything, a whole press of a stream of its own is one key, whatever its length and what is lost of it.
    let [first, second, third, ..] = *bytes else { return };
    let key = char::from(KEYS.as_bytes()[usize::from(first % 16)]);
    let press = Press::new(key, u16::from(second) + 1, u16::from(third) * 200).expect("it is a key");
    let kept = press.enumerate().filter(|(index, _)| *index == 0 || first >> (index % 8) & 1 == 1);
    let heard: Vec<char> = kept.take(1_000).filter_map(|(_, step)| receiver.receive(9, 77, &step.payload)).collect();
    assert_eq!(heard, [key]);
}

fuzz_target!(|bytes: &[u8]| {
    match bytes {
        [0..=127, rest @ ..] => events(rest),
        [kind, body @ ..] => {
            let kind = ["application/dtmf-relay", "application/dtmf", "Application/DTMF-Relay", "text/plain"]
                [usize::from(kind % 4)];
            let key = dtmf_info::key(kind, body);
            assert!(key.is_none_or(|key| KEYS.contains(key) && code(key).is_some()), "{key:?}");
            assert!(kind != "text/plain" || key.is_none());
        }
        [] => {}
    }
});
