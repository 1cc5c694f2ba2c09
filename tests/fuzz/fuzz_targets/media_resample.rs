//! Any PCM at any pair of rates, in pieces of any length: as many samples as announced, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet::media::dsp::{Loudness, Concealer, Resampler, grow, shrink};

fuzz_target!(|input: (u32, u32, Vec<Vec<i16>>)| {
    let (from, to, pieces) = input;
    let (from, to) = (from % 50_000, to % 50_000);
    let mut concealer = Concealer::new(from);
    let mut resampler = Resampler::new(from, to);
    for mut pcm in pieces {
        if pcm.len() % 3 == 0 {
            concealer.lost(&mut pcm)
        } else {
            concealer.heard(&mut pcm)
        }
        if let Some(resampler) = &mut resampler {
            let mut out = vec![0; resampler.most(pcm.len())];
            assert!(resampler.process(&pcm, &mut out) <= out.len());
        }
        let length = pcm.len() / 2;
        let sound = Loudness::default().hear(&pcm);
        let _ = shrink(&mut pcm, from.max(1), sound);
        let _ = grow(&mut pcm, length, from.max(1), sound);
    }
});
