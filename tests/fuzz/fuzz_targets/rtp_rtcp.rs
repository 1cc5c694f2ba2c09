//! A compound RTCP packet from anybody.
#![no_main]
use libfuzzer_sys::fuzz_target;
use quartet_proto::rtp::rtcp::{Reception, named, read};

fuzz_target!(|bytes: &[u8]| {
    let _ = read(bytes, 1, 1, None, &mut Reception::new(8000));
    assert!(named(bytes).count() <= bytes.len());
});
