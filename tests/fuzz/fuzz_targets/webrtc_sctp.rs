//! SCTP packets of a peer that has passed DTLS: two bytes of length, then that many bytes.
#![no_main]
use libfuzzer_sys::fuzz_target;
use quartet_proto::webrtc::sctp::Sctp;

fuzz_target!(|bytes: &[u8]| {
    let now = std::time::Instant::now();
    let mut sctp = Sctp::new(now, true);
    let mut rest = bytes;
    while let [high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        sctp.receive(now, &tail[..length]);
        rest = &tail[length..];
    }
});
