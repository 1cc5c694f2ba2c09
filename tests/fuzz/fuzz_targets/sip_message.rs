//! Any bytes as a SIP message: read without panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::sip::message::Message;

fuzz_target!(|data: &[u8]| {
    let _ = Message::parse(data);
});
