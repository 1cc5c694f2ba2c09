//! The safe side of a codec plugin: three traits.

use core::ffi::CStr;

use crate::{Error, Options};

/// One SDP name, with what the negotiation must know about it.
///
/// The plugin knows PCM only: timestamps, sequence numbers, jitter and resampling stay in the host.
pub trait Codec: 'static {
    /// The encoding name of `a=rtpmap`, for instance `c"PCMU"`.
    const SDP_NAME: &'static CStr;
    /// The static payload number of RFC 3551, or `None` for a dynamic one.
    const PAYLOAD_TYPE: Option<u8> = None;
    /// The RTP clock in Hz; need not be a sample rate (G.722 says 8000, Opus always 48000).
    const RTP_CLOCK: u32;
    /// The channel count that SDP shows (Opus always says 2); handles are told theirs in [`CodecConfig::channels`].
    const SDP_CHANNELS: u32 = 1;
    /// The largest packet that `encode` writes, at most 1400.
    const MAX_PACKET: u32;
    /// The PCM rates in Hz, best first, one to sixteen.
    const SAMPLE_RATES: &'static [u32];
    /// The packet durations that `encode` can make, in microseconds, best first, one to sixteen.
    const FRAME_US: &'static [u32];
    /// One packet and its PCM from elsewhere: the host plays it through the decoder when it loads the plugin.
    const SAMPLE: Option<Sample> = None;
    /// How many samples per channel a packet holds at `rate`, without decoding it.
    ///
    /// `None`: the host reckons one byte for each tick of the RTP clock, as in G.711.
    const PACKET_SAMPLES: PacketSamples = None;

    /// The encoder.
    type Encoder: Encoder;
    /// The decoder.
    type Decoder: Decoder;

    /// Writes our `a=fmtp` value for an offer or an answer, or judges the remote answer. Pure, from any thread.
    ///
    /// # Errors
    /// [`Error::NoMatch`] if the remote words cannot be met. Words that the RFC says to ignore are no error.
    fn fmtp(role: FmtpRole<'_>, options: Options<'_>) -> Result<String, Error> {
        let _ = (role, options);
        Ok(String::new())
    }
}

/// See [`Codec::PACKET_SAMPLES`]: packet and rate in, samples per channel out.
pub type PacketSamples = Option<fn(&[u8], u32) -> Result<u32, Error>>;

/// Which step of the negotiation `fmtp` is asked about.
#[derive(Debug, Clone, Copy)]
pub enum FmtpRole<'a> {
    /// Write what we offer.
    Offer,
    /// Write our answer to this remote offer.
    Answer(&'a str),
    /// The remote answer to our offer: fine, or [`Error::NoMatch`]. The text returned is ignored.
    Accept(&'a str),
}

/// What a handle is made for; it keeps its rate and channels for life.
#[derive(Debug, Clone, Copy)]
pub struct CodecConfig<'a> {
    /// One of [`Codec::SAMPLE_RATES`].
    pub sample_rate: u32,
    /// How many channels are interleaved in the PCM.
    pub channels: u32,
    /// The packet duration to begin with; `encode` may be called with any listed one.
    pub frame_us: u32,
    /// What we said we want to receive: the decoder obeys it.
    pub local_fmtp: &'a str,
    /// What the far side wants to receive: the encoder obeys it.
    pub remote_fmtp: &'a str,
    /// The operator's settings.
    pub options: Options<'a>,
}

impl CodecConfig<'_> {
    /// Returns how many samples, all channels counted, one frame of `frame_us` microseconds has.
    #[must_use]
    pub const fn samples_in(&self, frame_us: u32) -> usize {
        (self.sample_rate as u64 * frame_us as u64 / 1_000_000) as usize * self.channels as usize
    }
}

/// What the host may change while a handle lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// Target in bit/s.
    Bitrate,
    /// 0 to 10; for a decoder, deep concealment on (5 and more) or off.
    Complexity,
    /// In-band redundancy: 0 or 1.
    Fec,
    /// Expected packet loss in parts per thousand.
    LossPermille,
    /// Discontinuous transmission: 0 or 1.
    Dtx,
}

/// PCM in, packets out. One handle per direction and call; one thread at a time, not always the same one.
pub trait Encoder: Sized + Send + 'static {
    /// Makes the handle; the place to allocate.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a rate or a channel count that is not served.
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error>;

    /// Encodes one packet of a listed duration and returns its length; 0 means "send nothing" (DTX).
    ///
    /// `pcm` is interleaved. No allocation, no lock.
    ///
    /// # Errors
    /// [`Error::Argument`] for a length that is no listed duration, [`Error::TooSmall`] if `out` is too small.
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, Error>;

    /// Changes a setting.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the encoder has no such thing, [`Error::Argument`] for a value out of range.
    fn set(&mut self, setting: Setting, value: i64) -> Result<(), Error> {
        let _ = (setting, value);
        Err(Error::Unsupported)
    }
}

/// Packets in, PCM out. One handle per direction and call; one thread at a time, not always the same one.
pub trait Decoder: Sized + Send + 'static {
    /// Makes the handle; the place to allocate.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a rate or a channel count that is not served.
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error>;

    /// Decodes one packet of any duration and returns how many samples it wrote, all channels counted.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a broken or empty packet, [`Error::TooSmall`] if `pcm` is too small.
    fn decode(&mut self, data: &[u8], pcm: &mut [i16]) -> Result<usize, Error>;

    /// Fills the whole of `pcm` in place of a packet that did not come.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: the host conceals by itself.
    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, Error> {
        let _ = pcm;
        Err(Error::Unsupported)
    }

    /// Fills the whole of `pcm` with the packet before `next`, from the redundancy inside `next`.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: there is none, the host conceals.
    fn fec(&mut self, next: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        let _ = (next, pcm);
        Err(Error::Unsupported)
    }

    /// Changes a setting; only [`Setting::Complexity`] has a meaning today.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the decoder has no such thing.
    fn set(&mut self, setting: Setting, value: i64) -> Result<(), Error> {
        let _ = (setting, value);
        Err(Error::Unsupported)
    }
}

/// One packet and the PCM that an independent decoder makes of it.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// The packet.
    pub packet: &'static [u8],
    /// Its PCM.
    pub pcm: &'static [i16],
    /// The rate of the PCM in Hz.
    pub sample_rate: u32,
    /// The channels of the PCM.
    pub channels: u32,
    /// The largest allowed difference of a sample; 0 for exact codecs.
    pub tolerance: u32,
}
