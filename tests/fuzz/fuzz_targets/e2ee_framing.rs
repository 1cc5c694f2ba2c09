//! The plain text of signalling packets, from a peer that holds the key. The first byte of each part is its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::e2ee::signalling::Framing;

fuzz_target!(|bytes: &[u8]| {
    let (mut framing, mut rest) = (Framing::new(), bytes);
    while let Some((length, after)) = rest.split_first() {
        let (packet, after) = after.split_at(usize::from(*length).min(after.len()));
        let _ = framing.handle_input(packet);
        while framing.poll_transmit().is_some() {}
        rest = after;
    }
});
