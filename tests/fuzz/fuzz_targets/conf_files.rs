//! Whatever stands in the conf files: problems or settings, never a panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str, &str)| {
    let (quartet, phones, routes) = texts;
    let _ = quartet::config::load_texts(Path::new("/nonexistent"), [quartet, phones, routes], &[]);
});
