//! From the bytes of a recording to linear PCM: Ogg Opus and WAV.
//!
//! This reads containers only. Opus packets are decoded by whoever is handed in, which in the gateway is the loaded codec
//! plugin.
//!
//! RFC 7845 (Ogg encapsulation of Opus).

use std::{
    error::Error,
    io::{Cursor, ErrorKind},
};

use ogg::{OggReadError, PacketReader};

use super::sound::Sound;

/// Samples a second that Opus recordings are decoded to: what wideband telephones play.
pub const OPUS_RATE: u32 = 16_000;

/// The longest recording that is accepted.
pub const MAX_SECONDS: u32 = 60;

/// Granule positions and pre-skip count at this rate, whatever the decoder's. RFC 7845 §4.
const GRANULE_RATE: u32 = 48_000;
const GRANULES_PER_SAMPLE: u64 = (GRANULE_RATE / OPUS_RATE) as u64;

/// The longest Opus packet is 120 ms. RFC 6716 §3.2.5.
const PACKET_SAMPLES: usize = (OPUS_RATE as usize) * 120 / 1_000;

/// Decodes one Opus packet into mono samples at [`OPUS_RATE`] and returns how many there are.
pub type Decode<'a> = dyn FnMut(&[u8], &mut [i16]) -> Result<usize, Box<dyn Error + Send + Sync>> + 'a;

/// How a recording is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Opus in an Ogg container.
    OggOpus,
    /// RIFF WAVE.
    Wav,
}

/// Why a recording cannot be played. Always the file's fault, except for [`RecordingError::Decoder`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The pages of the Ogg file are damaged.
    #[error("is damaged or no Ogg file ({0}); encode it again, for example with opusenc")]
    Container(#[source] OggReadError),
    /// There is an Ogg file, but it begins with something else than Opus.
    #[error("holds no Opus stream; encode it with opusenc")]
    NotOpus,
    /// Several streams in one file, or more channels than two.
    #[error("must hold one stream of one or two channels; encode it with opusenc --downmix-mono")]
    Layout,
    /// The end of the file is missing.
    #[error("is cut off; copy or encode it again")]
    CutOff,
    /// Positions in the file contradict its contents.
    #[error("gives positions that do not fit what it holds; encode it again, for example with opusenc")]
    Position,
    /// There is nothing to hear.
    #[error("holds no sound; record it again, or remove the file")]
    Empty,
    /// It would take too much memory.
    #[error("is longer than {MAX_SECONDS} seconds; shorten it")]
    TooLong,
    /// A packet does not decode, or no decoder could be opened.
    #[error("cannot be decoded ({0}); encode it again, and see that the plugin codec-opus is loaded")]
    Decoder(#[source] Box<dyn Error + Send + Sync>),
    /// The WAV file is damaged or of an unusual kind.
    #[error("is damaged or no plain WAV file ({0}); save it as mono, 16 bit, 8000 or 16000 Hz")]
    Wav(#[from] hound::Error),
    /// The WAV file is well, but not what a telephone needs.
    #[error("has {channels} channels, {bits} bits, {rate} Hz; save it as mono, 16 bit, 8000 or 16000 Hz")]
    WavKind {
        /// Channels that it has.
        channels: u16,
        /// Bits a sample that it has.
        bits: u16,
        /// Samples a second that it has.
        rate: u32,
    },
}

impl From<OggReadError> for RecordingError {
    fn from(error: OggReadError) -> Self {
        if let OggReadError::ReadError(reading) = &error
            && reading.kind() == ErrorKind::UnexpectedEof
        {
            return Self::CutOff;
        }
        Self::Container(error)
    }
}

/// Reads a whole recording.
///
/// `decode` is asked only for Ogg Opus, packet by packet in order, and must be fresh: nothing decoded with it before.
///
/// # Errors
/// If the file is damaged, cut off, too long, of a kind that is not read, or refused by the decoder.
pub fn read(format: Format, bytes: &[u8], decode: &mut Decode<'_>) -> Result<Sound, RecordingError> {
    match format {
        Format::OggOpus => read_ogg_opus(bytes, decode),
        Format::Wav => read_wav(bytes),
    }
}

/// What the identification header says that matters here. RFC 7845 §5.1.
struct OpusHead {
    /// How much of the beginning is the codec settling, at [`GRANULE_RATE`].
    pre_skip: u64,
    /// Gain in dB times 256, to be applied after decoding.
    gain: i16,
}

impl OpusHead {
    fn parse(packet: &[u8]) -> Result<Self, RecordingError> {
        let fixed: &[u8; 19] = packet.first_chunk().ok_or(RecordingError::NotOpus)?;
        // A higher minor version, in the low half, only adds.
        if !fixed.starts_with(b"OpusHead") || fixed[8] > 15 {
            return Err(RecordingError::NotOpus);
        }
        // Mapping family 0 is one stream of one or two channels; a mono decoder mixes two down.
        if !matches!(fixed[9], 1 | 2) || fixed[18] != 0 {
            return Err(RecordingError::Layout);
        }
        Ok(Self {
            pre_skip: u64::from(u16::from_le_bytes([fixed[10], fixed[11]])),
            gain: i16::from_le_bytes([fixed[16], fixed[17]]),
        })
    }
}

fn read_ogg_opus(bytes: &[u8], decode: &mut Decode<'_>) -> Result<Sound, RecordingError> {
    let mut reader = PacketReader::new(Cursor::new(bytes));
    let first = reader.read_packet()?.ok_or(RecordingError::Empty)?;
    let head = OpusHead::parse(&first.data)?;
    let tags = reader.read_packet()?.ok_or(RecordingError::CutOff)?;
    if !tags.data.starts_with(b"OpusTags") {
        return Err(RecordingError::NotOpus);
    }

    let mut pcm = Vec::new();
    let mut frame = [0; PACKET_SAMPLES];
    let mut positions = Positions::default();
    loop {
        let packet = reader.read_packet()?.ok_or(RecordingError::CutOff)?;
        if packet.stream_serial() != first.stream_serial() {
            return Err(RecordingError::Layout);
        }
        // A decoder takes an empty packet as a lost one.
        if packet.data.is_empty() {
            return Err(RecordingError::Decoder("a packet is empty".into()));
        }
        let count = decode(&packet.data, &mut frame).map_err(RecordingError::Decoder)?;
        pcm.extend_from_slice(frame.get(..count).ok_or(RecordingError::Position)?);
        if pcm.len() > (MAX_SECONDS * OPUS_RATE) as usize {
            return Err(RecordingError::TooLong);
        }
        if packet.last_in_page() {
            positions.page(
                packet.absgp_page(),
                pcm.len() as u64 * GRANULES_PER_SAMPLE,
                packet.last_in_stream(),
            )?;
        }
        if packet.last_in_stream() {
            break;
        }
    }
    if reader.read_packet()?.is_some() {
        return Err(RecordingError::Layout);
    }

    let (skip, length) = positions.trim(head.pre_skip)?;
    let end = skip.checked_add(length).ok_or(RecordingError::Position)?;
    // Less than was promised: packets are missing inside.
    let mut samples = pcm.get(skip..end).ok_or(RecordingError::CutOff)?.to_vec();
    if samples.is_empty() {
        return Err(RecordingError::Empty);
    }
    amplify(&mut samples, head.gain);
    Ok(Sound {
        rate: OPUS_RATE,
        samples,
    })
}

/// Where the recording begins and ends, from the granule positions of its pages. RFC 7845 §4.
#[derive(Default)]
struct Positions {
    /// Position of the first decoded sample; not 0 if the file was cut out of a longer one.
    start: Option<u64>,
    /// Position after the last page so far.
    end: u64,
}

impl Positions {
    /// Takes the position of one page; `decoded` is how much has been decoded up to its end.
    fn page(&mut self, granule: u64, decoded: u64, last: bool) -> Result<(), RecordingError> {
        // Positions are signed on the wire.
        if granule > i64::MAX as u64 || granule < self.end {
            return Err(RecordingError::Position);
        }
        if self.start.is_none() {
            let start = granule.checked_sub(decoded);
            // Only a last page may say less than it holds: the rest is to be cut off. RFC 7845 §4.4, §4.5.
            self.start = Some(if last {
                start.unwrap_or(0)
            } else {
                start.ok_or(RecordingError::Position)?
            });
        }
        self.end = granule;
        Ok(())
    }

    /// How many samples at [`OPUS_RATE`] to leave out at the beginning, and how many then to take.
    fn trim(&self, pre_skip: u64) -> Result<(usize, usize), RecordingError> {
        let start = self.start.unwrap_or(0);
        let length = self.end.checked_sub(start).and_then(|all| all.checked_sub(pre_skip));
        let samples = |granules: u64| usize::try_from(granules / GRANULES_PER_SAMPLE).ok();
        let length = length.and_then(samples).ok_or(RecordingError::Position)?;
        Ok((samples(pre_skip).ok_or(RecordingError::Position)?, length))
    }
}

/// Applies the output gain of the header. RFC 7845 §5.1, item 5.
fn amplify(samples: &mut [i16], gain: i16) {
    if gain == 0 {
        return;
    }
    let factor = 10f32.powf(f32::from(gain) / (20.0 * 256.0));
    for sample in samples {
        // A float cast saturates.
        *sample = (f32::from(*sample) * factor).round() as i16;
    }
}

fn read_wav(bytes: &[u8]) -> Result<Sound, RecordingError> {
    let reader = hound::WavReader::new(Cursor::new(bytes))?;
    let hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: bits,
        sample_format,
    } = reader.spec();
    let plain = channels == 1 && bits == 16 && sample_format == hound::SampleFormat::Int;
    if !plain || !matches!(rate, 8_000 | 16_000) {
        return Err(RecordingError::WavKind { channels, bits, rate });
    }
    if reader.duration() > MAX_SECONDS * rate {
        return Err(RecordingError::TooLong);
    }
    let samples = reader.into_samples().collect::<Result<Vec<i16>, _>>()?;
    if samples.is_empty() {
        return Err(RecordingError::Empty);
    }
    Ok(Sound { rate, samples })
}

#[cfg(test)]
mod tests;
