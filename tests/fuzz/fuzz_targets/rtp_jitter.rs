//! A stream of any headers into the receiving buffer: 16 bytes of input a packet, the last four its arrival.
#![no_main]
use libfuzzer_sys::fuzz_target;
use quartet_proto::rtp::{jitter::Buffer, packet::Packet};

fuzz_target!(|bytes: &[u8]| {
    let mut buffer = Buffer::new(16, 8000);
    let mut now = 0u64;
    for chunk in bytes.chunks_exact(16) {
        now += u64::from(u32::from_le_bytes([chunk[12], chunk[13], chunk[14], chunk[15]]));
        if let Ok(packet) = Packet::parse(&chunk[..12]) {
            buffer.push(&packet, now);
        }
        buffer.pop(now);
        assert!(buffer.len() <= 16);
    }
});
