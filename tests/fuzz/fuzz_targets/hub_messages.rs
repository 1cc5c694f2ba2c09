//! Frames of the hub protocol, both directions: no panic, and what is read is written and read again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::hub::{ClientFrame, ServerFrame};

fuzz_target!(|text: &str| {
    if let Ok(frame) = ClientFrame::parse(text) {
        assert_eq!(ClientFrame::parse(&frame.to_text()), Ok(frame));
    }
    if let Ok(frame) = ServerFrame::parse(text) {
        assert_eq!(ServerFrame::parse(&frame.to_text()), Ok(frame));
    }
});
