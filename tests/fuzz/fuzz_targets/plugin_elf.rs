//! The reader of a plugin's file: whatever the bytes, facts or a sentence, and nothing of it is run.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(reason) = quartet::plugins::facts_of(bytes) {
        assert!(!reason.to_string().is_empty());
    }
});
