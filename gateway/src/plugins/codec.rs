//! Safe handles on codecs: every count that comes back is checked, and a plugin that breaks its promise loses the handle.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use quartet_plugin::{Setting, abi};

use super::loader::calls::{DecoderHandle, EncoderHandle, NewCodec, SampleData};
use super::loader::{self, Shared};
use super::refusal::PluginError;
use super::table::Table;

/// One SDP name that a loaded plugin encodes and decodes. Cheap to clone.
pub type CodecTable = Table<loader::CodecTable>;

/// Which step of the negotiation [`CodecTable::fmtp`] is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FmtpRole {
    /// Write what we offer; the remote text is ignored.
    Offer,
    /// Write our answer to the remote offer.
    Answer,
    /// Judge the remote answer to our offer; the result is empty.
    Accept,
}

/// What a codec handle is made for; it keeps rate and channels for life.
#[derive(Debug, Clone, Copy)]
pub struct CodecSettings<'a> {
    /// One of [`CodecTable::rates`].
    pub sample_rate: u32,
    /// How many channels are interleaved in the PCM.
    pub channels: u32,
    /// The packet duration to begin with.
    pub frame_us: u32,
    /// What we said we want to receive.
    pub local_fmtp: &'a str,
    /// What the far side wants to receive.
    pub remote_fmtp: &'a str,
}

/// A text for a plugin that does not fit is tried again up to this size (contract §1).
pub(super) const MAX_TEXT: usize = 65_536;

impl CodecTable {
    /// Returns the encoding name of `a=rtpmap`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.row().name
    }

    /// Returns the static payload number, `None` if it is dynamic.
    #[must_use]
    pub fn payload_type(&self) -> Option<u8> {
        self.row().payload_type
    }

    /// Returns the RTP clock in Hz.
    #[must_use]
    pub fn clock(&self) -> u32 {
        self.row().clock
    }

    /// Returns the channel count that SDP shows.
    #[must_use]
    pub fn channels(&self) -> u32 {
        self.row().channels
    }

    /// Returns the most bytes that one packet has: the room to offer [`Encoder::encode`].
    #[must_use]
    pub fn max_packet(&self) -> usize {
        self.row().max_packet as usize
    }

    /// Returns the PCM rates in Hz, best first.
    #[must_use]
    pub fn rates(&self) -> &[u32] {
        &self.row().rates
    }

    /// Returns the packet durations that the encoder makes, in microseconds, best first.
    #[must_use]
    pub fn frame_us(&self) -> &[u32] {
        &self.row().frame_us
    }

    pub(super) fn sample(&self) -> Option<&SampleData> {
        self.row().sample.as_ref()
    }

    pub(super) fn calls(&self) -> &loader::calls::CodecCalls {
        &self.row().calls
    }

    /// Returns the options as the plugin gets them.
    pub(super) fn options(&self) -> &CStr {
        &self.shared().options
    }

    /// Writes our `a=fmtp` value, or judges the remote one.
    ///
    /// # Errors
    /// [`PluginError::NoMatch`] if the remote words cannot be met.
    pub fn fmtp(&self, role: FmtpRole, remote: &str) -> Result<String, PluginError> {
        let (word, remote) = match role {
            FmtpRole::Offer => (abi::FMTP_OFFER, None),
            FmtpRole::Answer => (abi::FMTP_ANSWER, Some(c_text(remote))),
            FmtpRole::Accept => (abi::FMTP_ACCEPT, Some(c_text(remote))),
        };
        let shared = &self.shared();
        let mut out = vec![0; 512];
        loop {
            let Some(result) = self.calls().fmtp(word, &shared.options, remote.as_deref(), &mut out) else {
                return Ok(String::new());
            };
            match usize::try_from(result) {
                Ok(_) if role == FmtpRole::Accept => return Ok(String::new()),
                Ok(len) if len <= out.len() => {
                    out.truncate(len);
                    return String::from_utf8(out).map_err(|_| {
                        shared.health.fault("fmtp", result, None);
                        PluginError::Faulty
                    });
                }
                Ok(_) => {
                    shared.health.fault("fmtp", result, Some(out.len()));
                    return Err(PluginError::Faulty);
                }
                Err(_) if result == abi::E_TOO_SMALL && out.len() < MAX_TEXT => out.resize(MAX_TEXT, 0),
                Err(_) => return Err(shared.health.judge(result, "fmtp")),
            }
        }
    }

    /// Makes an encoder for one direction of one call.
    ///
    /// # Errors
    /// [`PluginError::Unsupported`] for a rate or channel count that is not served, [`PluginError::Barred`] if the
    /// plugin failed too often.
    pub fn encoder(&self, settings: &CodecSettings<'_>) -> Result<Encoder, PluginError> {
        let shared = &self.shared();
        shared.health.admit()?;
        let handle = self.with_new(settings, |new| self.calls().encoder(new));
        let handle = handle.map_err(|code| shared.health.judge(code, "encoder_new"))?;
        Ok(Encoder {
            handle,
            max_packet: self.max_packet(),
            state: State::new(shared),
        })
    }

    /// Makes a decoder for one direction of one call.
    ///
    /// # Errors
    /// [`PluginError::Unsupported`] for a rate or channel count that is not served, [`PluginError::Barred`] if the
    /// plugin failed too often.
    pub fn decoder(&self, settings: &CodecSettings<'_>) -> Result<Decoder, PluginError> {
        let shared = &self.shared();
        shared.health.admit()?;
        let handle = self.with_new(settings, |new| self.calls().decoder(new));
        let handle = handle.map_err(|code| shared.health.judge(code, "decoder_new"))?;
        Ok(Decoder {
            handle,
            state: State::new(shared),
        })
    }

    /// Calls with the settings in the words of the contract.
    pub(super) fn with_new<T>(&self, settings: &CodecSettings<'_>, call: impl FnOnce(&NewCodec<'_>) -> T) -> T {
        let (local, remote) = (c_text(settings.local_fmtp), c_text(settings.remote_fmtp));
        call(&NewCodec {
            sample_rate: settings.sample_rate,
            channels: settings.channels,
            frame_us: settings.frame_us,
            local_fmtp: &local,
            remote_fmtp: &remote,
            options: self.options(),
        })
    }

    /// Returns how many samples per channel a packet holds at `rate`, without decoding it; `None` for a broken packet.
    ///
    /// A codec without an opinion has one byte for each tick of its clock, as G.711.
    #[must_use]
    pub fn packet_samples(&self, data: &[u8], rate: u32) -> Option<u32> {
        match self.calls().packet_samples(data, rate) {
            Some(result) => u32::try_from(result).ok().filter(|samples| *samples > 0),
            None => {
                let ticks = u64::try_from(data.len()).ok()?;
                u32::try_from(ticks * u64::from(rate) / u64::from(self.clock()))
                    .ok()
                    .filter(|samples| *samples > 0)
            }
        }
    }
}

/// A text that ends with 0; one with a 0 inside is cut there.
fn c_text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// What both kinds of handle remember: whether the plugin has broken its promise on it.
#[derive(Debug)]
struct State {
    faulty: bool,
    shared: Arc<Shared>,
}

impl State {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            faulty: false,
            shared: Arc::clone(shared),
        }
    }

    fn usable(&self) -> Result<(), PluginError> {
        if self.faulty { Err(PluginError::Faulty) } else { Ok(()) }
    }

    /// Judges a result: a count up to `most`, or an error.
    fn judge(&mut self, result: i32, most: usize, call: &'static str) -> Result<usize, PluginError> {
        match usize::try_from(result) {
            Ok(count) if count <= most => Ok(count),
            Ok(_) => {
                self.faulty = true;
                self.shared.health.fault(call, result, Some(most));
                Err(PluginError::Faulty)
            }
            Err(_) => {
                let error = self.shared.health.judge(result, call);
                self.faulty = error == PluginError::Faulty;
                Err(error)
            }
        }
    }
}

/// Returns the word of the contract; `None` for a setting newer than this gateway.
fn word(setting: Setting) -> Option<u32> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the contract may grow")]
    match setting {
        Setting::Bitrate => Some(abi::SET_BITRATE),
        Setting::Complexity => Some(abi::SET_COMPLEXITY),
        Setting::Fec => Some(abi::SET_FEC),
        Setting::LossPermille => Some(abi::SET_LOSS_PERMILLE),
        Setting::Dtx => Some(abi::SET_DTX),
        _ => None,
    }
}

/// PCM in, packets out, for one direction of one call. Freed when dropped.
///
/// After [`PluginError::Faulty`] every call answers the same without entering the plugin.
#[derive(Debug)]
pub struct Encoder {
    handle: EncoderHandle,
    max_packet: usize,
    state: State,
}

impl Encoder {
    /// Encodes one packet of a listed duration; 0 means "send nothing".
    ///
    /// Offer [`CodecTable::max_packet`] bytes: some codecs take less room for a lower bit rate.
    ///
    /// # Errors
    /// [`PluginError::Argument`] for a duration that is not listed, [`PluginError::TooSmall`], [`PluginError::Faulty`].
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, PluginError> {
        self.state.usable()?;
        let most = out.len().min(self.max_packet);
        let result = self.handle.encode(pcm, &mut out[..most]);
        self.state.judge(result, most, "encode")
    }

    /// Changes a setting while the encoder runs.
    ///
    /// # Errors
    /// [`PluginError::Unsupported`] if the codec has no such thing, [`PluginError::Argument`] for a value out of range.
    pub fn set(&mut self, setting: Setting, value: i64) -> Result<(), PluginError> {
        self.state.usable()?;
        let key = word(setting).ok_or(PluginError::Unsupported)?;
        let result = self.handle.set(key, value);
        self.state.judge(result, usize::MAX, "encoder_set").map(|_| ())
    }
}

/// Packets in, PCM out, for one direction of one call. Freed when dropped.
///
/// After [`PluginError::Faulty`] every call answers the same without entering the plugin.
#[derive(Debug)]
pub struct Decoder {
    handle: DecoderHandle,
    state: State,
}

impl Decoder {
    /// Decodes one packet and returns how many samples it has, all channels counted. Offer room for 120 ms.
    ///
    /// # Errors
    /// [`PluginError::Malformed`] for a broken packet, [`PluginError::TooSmall`], [`PluginError::Faulty`].
    pub fn decode(&mut self, data: &[u8], pcm: &mut [i16]) -> Result<usize, PluginError> {
        self.state.usable()?;
        let result = self.handle.decode(abi::DECODE_PACKET, data, pcm);
        self.state.judge(result, pcm.len(), "decode")
    }

    /// Fills all of `pcm` in place of a packet that did not come.
    ///
    /// # Errors
    /// [`PluginError::Unsupported`]: conceal it yourself.
    pub fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, PluginError> {
        self.state.usable()?;
        let result = self.handle.decode(abi::DECODE_LOST, &[], pcm);
        self.exactly(result, pcm.len(), "decode lost")
    }

    /// Fills all of `pcm` with the packet before `next`, from the redundancy in `next`.
    ///
    /// # Errors
    /// [`PluginError::Unsupported`]: there is none, conceal.
    pub fn fec(&mut self, next: &[u8], pcm: &mut [i16]) -> Result<usize, PluginError> {
        self.state.usable()?;
        let result = self.handle.decode(abi::DECODE_FEC, next, pcm);
        self.exactly(result, pcm.len(), "decode fec")
    }

    /// Changes a setting while the decoder runs.
    ///
    /// # Errors
    /// [`PluginError::Unsupported`] if the codec has no such thing.
    pub fn set(&mut self, setting: Setting, value: i64) -> Result<(), PluginError> {
        self.state.usable()?;
        let key = word(setting).ok_or(PluginError::Unsupported)?;
        let result = self.handle.set(key, value);
        self.state.judge(result, usize::MAX, "decoder_set").map(|_| ())
    }

    /// Concealment and FEC fill exactly what was asked for.
    fn exactly(&mut self, result: i32, count: usize, call: &'static str) -> Result<usize, PluginError> {
        let filled = self.state.judge(result, count, call)?;
        if filled == count {
            return Ok(count);
        }
        self.state.faulty = true;
        self.state.shared.health.fault(call, result, Some(count));
        Err(PluginError::Faulty)
    }
}
