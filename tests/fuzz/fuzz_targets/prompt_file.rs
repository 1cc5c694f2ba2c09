//! An operator's recording: the first byte chooses the container.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet::ivr::recording::{Format, MAX_SECONDS, read};

fuzz_target!(|data: &[u8]| {
    let Some((kind, file)) = data.split_first() else { return };
    let format = if kind % 2 == 0 { Format::OggOpus } else { Format::Wav };
    // As long as its first byte says, so that positions meet contents.
    let mut decode = |packet: &[u8], pcm: &mut [i16]| Ok(usize::from(packet[0]).min(pcm.len()));
    if let Ok(sound) = read(format, file, &mut decode) {
        assert!(!sound.samples.is_empty() && sound.samples.len() <= (MAX_SECONDS * sound.rate) as usize);
    }
});
