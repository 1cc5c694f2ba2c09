//! Any line to the control socket: no panic, and a question that is understood is the same when it is written and
//! read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet::io::control::{ControlRequest, Reply};

fuzz_target!(|line: &[u8]| {
    // The socket is read as text: what is none is refused before the parser.
    let Ok(line) = std::str::from_utf8(line) else { return };
    if let Ok(question) = serde_json::from_str::<ControlRequest>(line) {
        let text = serde_json::to_string(&question).expect("a question can be written");
        assert!(!text.contains('\n'), "a question is one line");
        assert_eq!(serde_json::from_str::<ControlRequest>(&text).expect("our own line"), question);
    }
    if let Ok(reply) = serde_json::from_str::<Reply>(line) {
        let text = serde_json::to_string(&reply).expect("a reply can be written");
        assert!(!text.contains('\n'), "a reply is one line");
        // Numbers with a fraction may differ in their last bit, so only that it is read.
        serde_json::from_str::<Reply>(&text).expect("our own line");
    }
});
