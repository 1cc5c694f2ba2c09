//! Any bytes as a SIP message, and its body as one of several parts: read without panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::sip::message::{Message, sdp_of};

fuzz_target!(|data: &[u8]| {
    // As a log shows it.
    let _ = quartet_proto::sip::blanked(data);
    match Message::parse(data) {
        Ok(Message::Request(request)) => _ = sdp_of(&request.headers, &request.body),
        Ok(Message::Response(response)) => _ = sdp_of(&response.headers, &response.body),
        Err(_) => {}
    }
});
