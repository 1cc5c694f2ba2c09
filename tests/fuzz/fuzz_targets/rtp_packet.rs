//! An RTP packet from anybody: read, its extension walked.
#![no_main]
use libfuzzer_sys::fuzz_target;
use quartet_proto::rtp::packet::Packet;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = Packet::parse(bytes) {
        assert_eq!(&bytes[packet.payload_range()], packet.payload);
        let _ = packet.elements().count();
    }
});
