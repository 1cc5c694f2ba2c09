//! The Opus decoder: any packet is PCM of the length that its head says, or malformed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_plugin::{Codec, CodecConfig, Decoder, Error, Options, Setting};

fuzz_target!(|packet: &[u8]| {
    let (options, fmtp) = (Options::new(""), "");
    let config =
        CodecConfig { sample_rate: 16_000, channels: 1, frame_us: 20_000, local_fmtp: fmtp, remote_fmtp: fmtp, options };
    let mut decoder = codec_opus::OpusDecoder::new(&config).expect("16 kHz is served");
    let mut pcm = [0; 1920];
    let samples = codec_opus::Opus::PACKET_SAMPLES.expect("Opus has it");
    match decoder.decode(packet, &mut pcm) {
        Ok(count) => assert_eq!(samples(packet, 16_000), Ok(count as u32)),
        Err(error) => assert_eq!(error, Error::Malformed),
    }
    // With the networks as well, and what they make up after anything.
    decoder.set(Setting::Complexity, 7).expect("it has them");
    let _ = decoder.fec(packet, &mut pcm[..320]);
    let _ = decoder.decode(packet, &mut pcm);
    assert_eq!(decoder.conceal(&mut pcm[..320]), Ok(320));
});
