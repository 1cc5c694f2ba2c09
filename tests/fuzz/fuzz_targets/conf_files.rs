//! Whatever stands in the three conf files (NUL between them), or in the settings of tg2sip: problems or settings, never a panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: &str| {
    let _ = quartet::cli::import_tg2sip(texts);
    let mut texts = texts.splitn(3, '\0');
    let [quartet, phones, routes] = std::array::from_fn(|_| texts.next().unwrap_or_default());
    let _ = quartet::config::load_texts(Path::new("/nonexistent"), [quartet, phones, routes], &[]);
});
