//! A session description from the network: whatever is read prints to something that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::sdp::SessionDescription;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(description) = SessionDescription::parse(bytes) {
        assert_eq!(SessionDescription::parse(&description.to_bytes()), Ok(description));
    }
});
