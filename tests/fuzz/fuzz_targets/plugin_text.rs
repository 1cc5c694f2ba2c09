//! The texts that plugins read: a=fmtp values and option lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_plugin::{Codec, FmtpRole, Options, fmtp_value};

fuzz_target!(|text: &str| {
    let options = Options::new(text);
    let _ = (options.number("bitrate"), options.get("complexity"), fmtp_value(text, "usedtx"));
    assert!(codec_opus::Opus::fmtp(FmtpRole::Answer(text), options).is_ok());
});
