//! What a call needs of Opus: tones at every rate and length, loss, and obedience to the far side.

use core::f64::consts::TAU;

use quartet_plugin::{Codec as _, CodecConfig, Decoder as _, Encoder as _, Error, FmtpRole, Options, Setting};

use crate::{OUR_FMTP, Opus, OpusDecoder, OpusEncoder, libopus, packet_samples};

fn config(sample_rate: u32, channels: u32, remote_fmtp: &'static str) -> CodecConfig<'static> {
    let options = Options::new("complexity:5\n");
    CodecConfig {
        sample_rate,
        channels,
        frame_us: 20_000,
        local_fmtp: OUR_FMTP,
        remote_fmtp,
        options,
    }
}

fn tone(rate: u32, count: usize) -> Vec<i16> {
    (0..count)
        .map(|n| ((TAU * 1000.0 * n as f64 / f64::from(rate)).sin() * 12_000.0) as i16)
        .collect()
}

fn share(pcm: &[i16], rate: u32) -> f64 {
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let phase = TAU * 1000.0 * n as f64 / f64::from(rate);
        re += f64::from(*sample) * phase.cos();
        im += f64::from(*sample) * phase.sin();
        energy += f64::from(*sample).powi(2);
    }
    2.0 * (re * re + im * im) / (energy * pcm.len() as f64)
}

/// Encodes a second and returns the packets.
fn packets(encoder: &mut OpusEncoder, pcm: &[i16], frame: usize) -> Vec<Vec<u8>> {
    let mut out = [0; 1275];
    let encode = |pcm: &[i16]| {
        let length = encoder.encode(pcm, &mut out).unwrap();
        out[..length].to_vec()
    };
    pcm.chunks_exact(frame).map(encode).collect()
}

#[test]
fn a_tone_passes_at_every_rate_and_length() {
    for rate in Opus::SAMPLE_RATES {
        for us in Opus::FRAME_US {
            let config = config(*rate, 1, OUR_FMTP);
            let frame = config.samples_in(*us);
            let mut encoder = OpusEncoder::new(&config).unwrap();
            let mut decoder = OpusDecoder::new(&config).unwrap();
            let mut heard = Vec::new();
            let mut room = vec![0; *rate as usize * 120 / 1000];
            for packet in packets(&mut encoder, &tone(*rate, *rate as usize), frame) {
                assert_eq!(packet_samples(&packet, *rate), Ok(frame as u32));
                let count = decoder.decode(&packet, &mut room).unwrap();
                assert_eq!(count, frame);
                heard.extend_from_slice(&room[..count]);
            }
            let share = share(&heard[heard.len() / 2..], *rate);
            assert!(share > 0.9, "{rate} Hz, {us} us: {share}");
        }
    }
}

#[test]
fn redundancy_brings_back_a_lost_packet() {
    let config = config(16_000, 1, OUR_FMTP);
    let mut encoder = OpusEncoder::new(&config).unwrap();
    encoder.set(Setting::LossPermille, 200).unwrap();
    let packets = packets(&mut encoder, &tone(16_000, 16_000), 320);
    let mut decoder = OpusDecoder::new(&config).unwrap();
    let mut pcm = [0; 320];
    for packet in &packets[..30] {
        decoder.decode(packet, &mut pcm).unwrap();
    }
    assert_eq!(decoder.fec(&packets[31], &mut pcm), Ok(320));
    assert!(share(&pcm, 16_000) > 0.9);
    assert_eq!(decoder.conceal(&mut pcm), Ok(320));
    assert_eq!(decoder.conceal(&mut pcm[..319]), Err(Error::Unsupported));
    assert_eq!(decoder.decode(&[], &mut pcm), Err(Error::Malformed));
}

#[test]
fn obeys_the_far_side() {
    let size = |fmtp| {
        let mut encoder = OpusEncoder::new(&config(48_000, 1, fmtp)).unwrap();
        encoder.set(Setting::Bitrate, 64_000).unwrap();
        let noise: Vec<i16> = (0..48_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 17) as i16 / 3)
            .collect();
        packets(&mut encoder, &noise, 960).iter().map(Vec::len).sum::<usize>() * 8
    };
    assert!(size("") > 50_000);
    assert!(size("maxaveragebitrate=16000") < 22_000);
    assert!(size("maxaveragebitrate=nonsense") > 50_000);
    let bound = CodecConfig {
        options: Options::new("bitrate:16000\n"),
        ..config(48_000, 1, "")
    };
    let mut encoder = OpusEncoder::new(&bound).unwrap();
    encoder.set(Setting::Bitrate, 64_000).unwrap();
    let sizes = packets(&mut encoder, &voice(48_000, 1.0), 960);
    assert!(
        sizes.iter().map(Vec::len).sum::<usize>() * 8 < 22_000,
        "the operator's bound"
    );
    // Only the narrow band is coded, whatever the rate of the handle: RFC 6716 table 2, configurations of the TOC byte.
    let mut encoder = OpusEncoder::new(&config(48_000, 1, "maxplaybackrate=8000")).unwrap();
    let toc = packets(&mut encoder, &tone(48_000, 9_600), 960)[5][0] >> 3;
    assert!(toc < 4 || (16..20).contains(&toc), "{toc}");
}

#[test]
fn silence_sends_nothing_with_dtx() {
    let silent = |fmtp| {
        let mut encoder = OpusEncoder::new(&config(16_000, 1, fmtp)).unwrap();
        packets(&mut encoder, &[0; 32_000], 320)
            .iter()
            .filter(|packet| packet.is_empty())
            .count()
    };
    assert!(silent("usedtx=1") > 60);
    assert_eq!(silent(""), 0);
}

#[test]
fn refuses_what_it_does_not_serve() {
    for (rate, channels) in [(44_100, 1), (0, 1), (16_000, 0), (16_000, 3), (u32::MAX, 1)] {
        assert!(OpusEncoder::new(&config(rate, channels, "")).is_err());
        assert!(OpusDecoder::new(&config(rate, channels, "")).is_err());
    }
    let mut encoder = OpusEncoder::new(&config(16_000, 2, "stereo=1")).unwrap();
    let mut out = [0; 1275];
    for count in [0, 1, 319, 641] {
        assert_eq!(
            encoder.encode(&vec![0; count], &mut out),
            Err(Error::Argument),
            "{count}"
        );
    }
    assert_eq!(encoder.encode(&[0; 640], &mut []), Err(Error::TooSmall));
    for setting in [
        Setting::Bitrate,
        Setting::Complexity,
        Setting::Fec,
        Setting::LossPermille,
        Setting::Dtx,
    ] {
        for value in [i64::MIN, -1, i64::MAX] {
            assert_eq!(encoder.set(setting, value), Err(Error::Argument), "{setting:?} {value}");
        }
        assert_eq!(
            encoder.set(setting, if setting == Setting::Bitrate { 32_000 } else { 1 }),
            Ok(())
        );
    }
}

#[test]
fn fmtp_never_fails() {
    let options = Options::new("");
    assert_eq!(Opus::fmtp(FmtpRole::Offer, options).unwrap(), OUR_FMTP);
    assert_eq!(
        Opus::fmtp(FmtpRole::Answer("useinbandfec=;;=x"), options).unwrap(),
        OUR_FMTP
    );
    assert!(Opus::fmtp(FmtpRole::Accept("\u{fffd}"), options).is_ok());
}

#[test]
fn the_sample_decodes_as_elsewhere() {
    let sample = Opus::SAMPLE.unwrap();
    let mut decoder = OpusDecoder::new(&config(sample.sample_rate, 1, "")).unwrap();
    let mut pcm = vec![0; sample.pcm.len()];
    assert_eq!(decoder.decode(sample.packet, &mut pcm), Ok(sample.pcm.len()));
    let difference = pcm.iter().zip(sample.pcm).map(|(a, b)| u32::from(a.abs_diff(*b))).max();
    assert!(difference <= Some(sample.tolerance), "{difference:?}");
}

#[test]
fn random_packets_are_harmless() {
    let mut state = 7_u64;
    let mut decoder = OpusDecoder::new(&config(16_000, 1, "")).unwrap();
    let mut pcm = [0; 1920];
    for _ in 0..20_000 {
        let mut packet = [0; 64];
        for byte in &mut packet {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        let length = 1 + (state >> 32) as usize % 63;
        match decoder.decode(&packet[..length], &mut pcm) {
            Ok(count) => assert_eq!(Ok(count as u32), packet_samples(&packet[..length], 16_000)),
            Err(error) => assert_eq!(error, Error::Malformed),
        }
    }
}

#[test]
fn an_option_out_of_range_is_refused() {
    for (options, good) in [
        ("bitrate:5999\n", false),
        ("bitrate:6000\n", true),
        ("bitrate:510001\n", false),
        ("complexity:-1\n", false),
        ("complexity:11\n", false),
        ("complexity:10\n", true),
    ] {
        let config = CodecConfig {
            options: Options::new(options),
            ..config(8_000, 1, "")
        };
        assert_eq!(
            OpusEncoder::new(&config).map(drop),
            if good { Ok(()) } else { Err(Error::Argument) },
            "{options}"
        );
    }
}

/// Something with the pitch, the formants and the syllables of speech.
fn voice(rate: u32, seconds: f64) -> Vec<i16> {
    let mut state = 1_u32;
    let (mut phase, mut low, mut pcm) = (0.0_f64, [[0.0_f64; 2]; 3], Vec::new());
    for n in 0..(seconds * f64::from(rate)) as usize {
        let t = n as f64 / f64::from(rate);
        let pitch = 120.0 + 30.0 * (TAU * 0.7 * t).sin();
        phase += pitch / f64::from(rate);
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 16) / 65_536.0 - 0.5;
        let pulse = if phase >= 1.0 { 1.0 } else { 0.0 } + 0.02 * noise;
        phase %= 1.0;
        let mut sum = 0.0;
        for (formant, memory) in low.iter_mut().enumerate() {
            let hz = [500.0, 1_500.0, 2_500.0][formant] * (1.0 + 0.2 * (TAU * 1.9 * t + formant as f64).sin());
            let radius = (-TAU / 2.0 * 80.0 / f64::from(rate)).exp();
            let out =
                pulse + 2.0 * radius * (TAU * hz / f64::from(rate)).cos() * memory[0] - radius * radius * memory[1];
            *memory = [out, memory[0]];
            sum += out;
        }
        let syllable = (TAU * 2.0 * t).sin().max(0.0);
        pcm.push((sum * syllable * 3_000.0).clamp(-30_000.0, 30_000.0) as i16);
    }
    pcm
}

/// The share of packets with redundancy, of a voice that speaks half the time.
fn redundant(rate: u32, frame_us: u32, settings: &[(Setting, i64)]) -> f64 {
    let mut encoder = OpusEncoder::new(&config(rate, 1, OUR_FMTP)).unwrap();
    for (setting, value) in settings {
        encoder.set(*setting, *value).unwrap();
    }
    let frame = config(rate, 1, "").samples_in(frame_us);
    let packets = packets(&mut encoder, &voice(rate, 0.6), frame);
    let with = packets.iter().filter(|packet| libopus::has_redundancy(packet)).count();
    with as f64 / packets.len() as f64
}

#[test]
fn loss_brings_redundancy_in_every_cell_that_can_have_it() {
    for rate in [8_000, 12_000, 16_000, 24_000, 48_000] {
        for bitrate in [20_000, 24_000, 32_000, 40_000] {
            for complexity in [0, 1, 2, 4, 5, 6, 10] {
                for percent in [2, 5, 6, 9, 10, 14, 15] {
                    let settings = [
                        (Setting::Complexity, complexity),
                        (Setting::Bitrate, bitrate),
                        (Setting::LossPermille, percent * 10),
                    ];
                    let share = redundant(rate, 20_000, &settings);
                    // At 20 kbit/s and the least complexities libopus has none, whatever it is told.
                    let none = bitrate == 20_000 && complexity < 2;
                    assert!(
                        (share > 0.4) != none,
                        "{rate} Hz, {bitrate} bit/s, complexity {complexity}, {percent} % lost: {share}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_new_encoder_protects_what_it_sends_at_the_rates_of_telephones() {
    for rate in [8_000, 16_000] {
        assert!(redundant(rate, 20_000, &[]) > 0.4, "{rate}");
        assert!(redundant(rate, 60_000, &[]) > 0.4, "{rate}");
        assert_eq!(redundant(rate, 80_000, &[]), 0.0, "{rate}");
        assert_eq!(redundant(rate, 20_000, &[(Setting::LossPermille, 0)]), 0.0, "{rate}");
    }
}

/// Decodes a voice coded in the wide band, of which the packets of `is_lost` are missing.
fn heard_without(rate: u32, complexity: i64, is_lost: impl Fn(usize) -> bool) -> Vec<i16> {
    let mut encoder = OpusEncoder::new(&config(16_000, 1, "")).unwrap();
    let config = config(rate, 1, "");
    let mut decoder = OpusDecoder::new(&config).unwrap();
    decoder.set(Setting::Complexity, complexity).unwrap();
    let frame = config.samples_in(20_000);
    let mut heard = Vec::new();
    let mut room = vec![0; frame];
    let packets = packets(&mut encoder, &voice(16_000, 3.0), 320);
    for (number, packet) in packets.iter().enumerate() {
        let count = if is_lost(number) {
            decoder.conceal(&mut room)
        } else {
            decoder.decode(packet, &mut room)
        };
        assert_eq!(count, Ok(frame));
        heard.extend_from_slice(&room);
    }
    heard
}

#[test]
fn a_network_makes_up_what_is_missing_from_complexity_5_on() {
    for rate in [8_000, 16_000, 48_000] {
        let whole = heard_without(rate, 0, |_| false);
        assert!(
            whole == heard_without(rate, 5, |_| false),
            "{rate} Hz: where nothing is lost nothing changes"
        );
        let lost = |number: usize| number % 10 == 4;
        let plain = heard_without(rate, 0, lost);
        assert!(plain == heard_without(rate, 4, lost), "{rate} Hz");
        assert!(plain != heard_without(rate, 5, lost), "{rate} Hz");
    }
    let better = |complexity| heard_without(16_000, complexity, |_| false);
    assert!(better(5) != better(7), "what came is made to sound better");
}

#[test]
fn without_redundancy_there_is_nothing_to_restore() {
    let config = config(16_000, 1, "");
    let mut encoder = OpusEncoder::new(&config).unwrap();
    let packets = packets(&mut encoder, &voice(16_000, 1.0), 320);
    let mut decoder = OpusDecoder::new(&config).unwrap();
    let mut pcm = [0; 320];
    for packet in &packets[..10] {
        decoder.decode(packet, &mut pcm).unwrap();
    }
    assert_eq!(decoder.fec(&packets[11], &mut pcm), Err(Error::Unsupported));
    for value in [-1, 11] {
        assert_eq!(decoder.set(Setting::Complexity, value), Err(Error::Argument));
    }
    assert_eq!(decoder.set(Setting::Bitrate, 24_000), Err(Error::Unsupported));
}
