//! Tests of [`super`]: good, bad and broken recordings.

use ogg::{PacketWriteEndInfo, PacketWriter};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const PROMPT: &[u8] = include_bytes!("../../../prompts/en/compare.opus");

/// libopus itself, where the gateway has the plugin.
fn libopus() -> impl FnMut(&[u8], &mut [i16]) -> Result<usize, Box<dyn Error + Send + Sync>> {
    let mut decoder = opus::Decoder::new(OPUS_RATE, opus::Channels::Mono).expect("libopus opens a decoder");
    move |packet, pcm| Ok(decoder.decode(packet, pcm, false)?)
}

fn read_opus(bytes: &[u8]) -> Result<Sound, RecordingError> {
    read(Format::OggOpus, bytes, &mut libopus())
}

fn read_wave(bytes: &[u8]) -> Result<Sound, RecordingError> {
    read(Format::Wav, bytes, &mut |_, _| Err("a WAV file has no packets".into()))
}

/// The parts of an Ogg Opus file, to be put together rightly or wrongly.
#[derive(Clone)]
struct Parts {
    head: Vec<u8>,
    tags: Vec<u8>,
    /// Packets, each with the granule position of the page that it ends.
    packets: Vec<(Vec<u8>, u64)>,
    ended: bool,
}

const PRE_SKIP: u16 = 312;

impl Parts {
    /// A tone of 440 Hz, this many samples at 16 kHz, in packets of 20 ms, a page each.
    fn tone(samples: usize) -> Self {
        let mut encoder = opus::Encoder::new(OPUS_RATE, opus::Channels::Mono, opus::Application::Audio).unwrap();
        let padded = (samples + usize::from(PRE_SKIP) / 3).next_multiple_of(320);
        let wave: Vec<i16> = (0..padded).map(|n| (8_000.0 * phase(n).sin()) as i16).collect();
        let mut packets = Vec::new();
        for (n, frame) in wave.chunks(320).enumerate() {
            let mut packet = vec![0; 1_500];
            let length = encoder.encode(frame, &mut packet).unwrap();
            packet.truncate(length);
            packets.push((packet, (n as u64 + 1) * 960));
        }
        packets.last_mut().unwrap().1 = samples as u64 * 3 + u64::from(PRE_SKIP);
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend(PRE_SKIP.to_le_bytes());
        head.extend(16_000u32.to_le_bytes());
        head.extend([0, 0, 0]);
        Self {
            head,
            tags: b"OpusTags\0\0\0\0\0\0\0\0".to_vec(),
            packets,
            ended: true,
        }
    }

    fn file(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = PacketWriter::new(&mut bytes);
        writer
            .write_packet(self.head.clone(), 1, PacketWriteEndInfo::EndPage, 0)
            .unwrap();
        writer
            .write_packet(self.tags.clone(), 1, PacketWriteEndInfo::EndPage, 0)
            .unwrap();
        for (n, (packet, granule)) in self.packets.iter().enumerate() {
            let last = self.ended && n + 1 == self.packets.len();
            let info = if last {
                PacketWriteEndInfo::EndStream
            } else {
                PacketWriteEndInfo::EndPage
            };
            writer.write_packet(packet.clone(), 1, info, *granule).unwrap();
        }
        bytes
    }
}

fn phase(sample: usize) -> f64 {
    sample as f64 * 440.0 * std::f64::consts::TAU / f64::from(OPUS_RATE)
}

/// How much of the sound's energy is a tone of 440 Hz, 0 to 1.
fn share_of_tone(samples: &[i16]) -> f64 {
    let (mut real, mut imaginary, mut energy) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let sample = f64::from(*sample);
        real += sample * phase(n).cos();
        imaginary += sample * phase(n).sin();
        energy += sample * sample;
    }
    2.0 * (real * real + imaginary * imaginary) / (energy * samples.len() as f64)
}

#[test]
fn a_prompt_lasts_as_long_as_its_last_page_says() {
    let sound = read_opus(PROMPT).unwrap();
    let head = PROMPT.windows(8).position(|bytes| bytes == b"OpusHead").unwrap();
    let pre_skip = u16::from_le_bytes([PROMPT[head + 10], PROMPT[head + 11]]);
    let page = PROMPT.windows(4).rposition(|bytes| bytes == b"OggS").unwrap();
    let granule = u64::from_le_bytes(PROMPT[page + 6..page + 14].try_into().unwrap());
    assert_eq!(sound.samples.len() as u64, (granule - u64::from(pre_skip)) / 3);
    assert_eq!(sound.rate, 16_000);
    let seconds = sound.duration().as_secs_f64();
    assert!((1.5..3.5).contains(&seconds), "{seconds}");
}

#[test]
fn a_tone_comes_out_as_it_went_in() {
    for samples in [1, 319, 320, 321, 4_000, 16_000] {
        let sound = read_opus(&Parts::tone(samples).file()).unwrap();
        assert_eq!(sound.samples.len(), samples);
        if samples > 1_000 {
            let share = share_of_tone(&sound.samples[400..]);
            assert!(share > 0.98, "{samples}: {share}");
        }
    }
}

#[test]
fn a_file_cut_out_of_a_longer_one_is_as_long_as_its_part() {
    let mut parts = Parts::tone(4_000);
    for (_, granule) in &mut parts.packets {
        *granule += 1_000_000;
    }
    assert_eq!(read_opus(&parts.file()).unwrap().samples.len(), 4_000);
}

#[test]
fn the_gain_of_the_header_is_applied() {
    let mut parts = Parts::tone(8_000);
    let peak = |parts: &Parts| {
        read_opus(&parts.file()).unwrap().samples[2_000..]
            .iter()
            .copied()
            .max()
            .unwrap()
    };
    let before = f64::from(peak(&parts));
    parts.head[16..18].copy_from_slice(&(-6i16 * 256).to_le_bytes());
    let ratio = f64::from(peak(&parts)) / before;
    assert!((ratio - 0.501).abs() < 0.01, "{ratio}");
    parts.head[16..18].copy_from_slice(&i16::MAX.to_le_bytes());
    assert_eq!(peak(&parts), i16::MAX, "too much gain clips");
}

/// Changes a good file, and tells what the reader says to it.
fn answer(change: impl FnOnce(&mut Parts)) -> String {
    let mut parts = Parts::tone(1_000);
    change(&mut parts);
    match read_opus(&parts.file()) {
        Ok(sound) => format!("{} samples", sound.samples.len()),
        Err(error) => format!("{error:?}")
            .split(['(', ' '])
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

#[test]
fn each_mistake_has_its_answer() {
    assert_eq!(answer(|_| {}), "1000 samples");
    assert_eq!(answer(|parts| parts.head[8] = 0x0f), "1000 samples");
    assert_eq!(answer(|parts| parts.head[8] = 0x10), "NotOpus");
    assert_eq!(answer(|parts| parts.head[0] = b'V'), "NotOpus");
    assert_eq!(answer(|parts| parts.head.truncate(18)), "NotOpus");
    assert_eq!(answer(|parts| parts.tags.clear()), "NotOpus");
    assert_eq!(answer(|parts| parts.head[9] = 2), "1000 samples");
    assert_eq!(answer(|parts| parts.head[9] = 3), "Layout");
    assert_eq!(answer(|parts| parts.head[18] = 1), "Layout");
    assert_eq!(answer(|parts| parts.ended = false), "CutOff");
    assert_eq!(answer(|parts| parts.packets.clear()), "CutOff");
    assert_eq!(answer(|parts| drop(parts.packets.remove(1))), "CutOff");
    assert_eq!(answer(|parts| parts.packets[2].0.clear()), "Decoder");
    assert_eq!(answer(|parts| parts.packets[2].0 = vec![3; 1]), "Decoder");
    assert_eq!(answer(|parts| parts.packets[0].1 = 1), "Position");
    assert_eq!(answer(|parts| parts.packets[2].1 = 5), "Position");
    assert_eq!(answer(|parts| parts.packets.last_mut().unwrap().1 = 10_000), "CutOff");
    assert_eq!(
        answer(|parts| parts.packets.last_mut().unwrap().1 = u64::MAX - 1),
        "Position"
    );
    assert_eq!(answer(|parts| parts.head[10..12].fill(255)), "Position");
    assert_eq!(
        answer(|parts| parts.head[10..12].copy_from_slice(&3_312u16.to_le_bytes())),
        "Empty"
    );
}

#[test]
fn two_streams_in_one_file_are_refused() {
    let mut twice = Parts::tone(1_000).file();
    twice.extend(Parts::tone(1_000).file());
    assert!(matches!(
        read_opus(&twice),
        Err(RecordingError::Layout | RecordingError::Container(_))
    ));
}

#[test]
fn an_endless_recording_is_refused() {
    let mut parts = Parts::tone(320);
    let packet = parts.packets[0].0.clone();
    parts.packets = (1..=3_001).map(|n| (packet.clone(), n * 960)).collect();
    assert!(matches!(read_opus(&parts.file()), Err(RecordingError::TooLong)));
}

#[test]
fn a_decoder_that_lies_is_not_believed() {
    let file = Parts::tone(1_000).file();
    let lie = read(Format::OggOpus, &file, &mut |_, pcm| Ok(pcm.len() + 1));
    assert!(matches!(lie, Err(RecordingError::Position)));
    let mute = read(Format::OggOpus, &file, &mut |_, _| Ok(0));
    assert!(matches!(mute, Err(RecordingError::CutOff)));
}

#[test]
fn a_truncated_prompt_is_an_error_wherever_it_is_cut() {
    for length in (0..PROMPT.len()).step_by(7).chain(PROMPT.len() - 40..PROMPT.len()) {
        let error = read_opus(&PROMPT[..length]).expect_err("a part is no whole");
        assert!(error.to_string().contains(';'), "says what to do: {error}");
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..400 {
        let mut bytes = PROMPT.to_vec();
        let place = rng.random_range(0..bytes.len());
        bytes[place] ^= rng.random_range(1..=255u8);
        assert!(
            read_opus(&bytes).is_err(),
            "a page with byte {place} changed has another checksum"
        );
    }
}

#[test]
fn changed_packets_and_positions_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let good = Parts::tone(2_000);
    for _ in 0..2_000 {
        let mut parts = good.clone();
        for _ in 0..rng.random_range(1..4) {
            let place = rng.random_range(0..parts.packets.len());
            match rng.random_range(0..5) {
                0 => mutate(&mut parts.head, &mut rng),
                1 => mutate(&mut parts.tags, &mut rng),
                2 => mutate(&mut parts.packets[place].0, &mut rng),
                3 => parts.packets[place].1 = rng.next_u64() >> rng.random_range(0..64),
                _ => parts.packets.swap(0, place),
            }
        }
        if let Ok(sound) = read_opus(&parts.file()) {
            assert!(!sound.samples.is_empty());
            assert!(sound.samples.len() <= 60 * 16_000);
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    match rng.random_range(0..3) {
        0 => bytes.truncate(rng.random_range(0..=bytes.len())),
        1 => bytes.push(rng.random()),
        _ => {
            if let Some(last) = bytes.len().checked_sub(1) {
                bytes[rng.random_range(0..=last)] = rng.random();
            }
        }
    }
}

/// A WAV file of this many samples of each channel.
fn wave(channels: u16, rate: u32, bits: u16, samples: usize) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: bits,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for n in 0..samples * usize::from(channels) {
        writer.write_sample((n % 100) as i8).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

#[test]
fn a_plain_wav_file_is_taken_as_it_is() {
    for rate in [8_000, 16_000] {
        let sound = read_wave(&wave(1, rate, 16, 300)).unwrap();
        assert_eq!(sound.rate, rate);
        assert_eq!(sound.samples, (0..300).map(|n| n % 100).collect::<Vec<i16>>());
    }
}

#[test]
fn other_wav_files_are_refused_with_advice() {
    for (channels, rate, bits) in [
        (2, 16_000, 16),
        (1, 44_100, 16),
        (1, 48_000, 16),
        (1, 16_000, 24),
        (1, 8_000, 8),
    ] {
        let error = read_wave(&wave(channels, rate, bits, 10))
            .expect_err("not what a telephone needs")
            .to_string();
        assert!(
            error.starts_with(&format!(
                "has {channels} channels, {bits} bits, {rate} Hz; save it as mono"
            )),
            "{error}"
        );
    }
    assert!(matches!(read_wave(&wave(1, 16_000, 16, 0)), Err(RecordingError::Empty)));
    assert!(matches!(
        read_wave(&wave(1, 8_000, 16, 480_001)),
        Err(RecordingError::TooLong)
    ));
    assert!(matches!(read_wave(PROMPT), Err(RecordingError::Wav(_))));
}

#[test]
fn broken_wav_files_never_panic() {
    let good = wave(1, 16_000, 16, 300);
    for length in 0..good.len() {
        assert!(read_wave(&good[..length]).is_err());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..rng.random_range(1..5) {
            let place = rng.random_range(0..80.min(bytes.len()));
            bytes[place] = rng.random();
        }
        let _ = read_wave(&bytes);
    }
}
