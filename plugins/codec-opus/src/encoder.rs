//! PCM to Opus packets, as the far side asks for them.

use opus::{Application, Bandwidth, Bitrate, Channels};
use quartet_plugin::{CodecConfig, Encoder, Error, Setting, fmtp_value};

use crate::{channels, reason, redundancy::Coding};

/// The rates that Opus can make, RFC 6716 §2.1.1.
const BITRATES: core::ops::RangeInclusive<i64> = 6_000..=510_000;
const DEFAULT_BITRATE: i64 = 24_000;
const DEFAULT_COMPLEXITY: i64 = 9;
/// At 8 kHz 5 costs 2.7 times as much for 0.04 of PESQ (see docs/performance.md).
const DEFAULT_COMPLEXITY_NARROW: i64 = 1;
const NARROW: u32 = 8_000;
/// With 0 there would be no redundancy at all.
const FIRST_LOSS_PERMILLE: i64 = 10;
/// Shorter packets say only that there is nothing to say (opus_encode: "does not need to be transmitted").
const DTX_BYTES: usize = 2;
/// Longer packets are several frames, and their redundancy is for frames of the same packet: of no use, and seen to spoil
/// the sound (libopus 1.6.1, 80 ms at 16 kHz and 24 kbit/s: 0.06 of a tone's energy comes back, 0.9999 without).
const MAX_FEC_US: u32 = 60_000;

/// One direction of a call.
pub struct OpusEncoder {
    opus: opus::Encoder,
    channels: usize,
    /// What the far side and the operator allow at most.
    max_bitrate: i64,
    dtx: bool,
    fec: Fec,
    coding: Coding,
    loss_permille: i64,
}

/// Redundancy as wanted, as libopus has it now, and the longest packet that gets it.
struct Fec {
    wanted: bool,
    set: bool,
    max_samples: usize,
}

impl Encoder for OpusEncoder {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        let channels = channels(config)?;
        let opus = opus::Encoder::new(config.sample_rate, channels, Application::Voip).map_err(reason)?;
        let remote = Remote::read(config.remote_fmtp);
        let fec = Fec {
            wanted: false,
            set: false,
            max_samples: config.samples_in(MAX_FEC_US),
        };
        let most = config.options.number("bitrate").unwrap_or(*BITRATES.end());
        if !BITRATES.contains(&most) {
            return Err(Error::Argument);
        }
        let max_bitrate = remote.max_bitrate.min(most);
        let mut encoder = Self {
            opus,
            channels: channels as usize,
            max_bitrate,
            dtx: false,
            fec,
            coding: Coding {
                band: bandwidth(remote.playback_rate.min(i64::from(config.sample_rate))),
                bitrate: DEFAULT_BITRATE,
                complexity: DEFAULT_COMPLEXITY,
            },
            loss_permille: if remote.fec { FIRST_LOSS_PERMILLE } else { 0 },
        };
        let band = encoder.coding.band;
        encoder.opus.set_max_bandwidth(band).map_err(reason)?;
        if channels == Channels::Stereo && !remote.stereo {
            encoder.opus.set_force_channels(Some(Channels::Mono)).map_err(reason)?;
        }
        encoder.opus.set_vbr(!remote.constant_rate).map_err(reason)?;
        encoder.set(Setting::Fec, i64::from(remote.fec))?;
        encoder.set(Setting::Dtx, i64::from(remote.dtx))?;
        encoder.set(Setting::Bitrate, DEFAULT_BITRATE)?;
        let usual = if config.sample_rate <= NARROW {
            DEFAULT_COMPLEXITY_NARROW
        } else {
            DEFAULT_COMPLEXITY
        };
        let complexity = config.options.number("complexity").unwrap_or(usual);
        encoder.set(Setting::Complexity, complexity)?;
        Ok(encoder)
    }

    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        if pcm.is_empty() || !pcm.len().is_multiple_of(self.channels) {
            return Err(Error::Argument);
        }
        if out.is_empty() {
            return Err(Error::TooSmall);
        }
        self.apply_fec(pcm.len() <= self.fec.max_samples)?;
        let length = self.opus.encode(pcm, out).map_err(reason)?;
        Ok(if self.dtx && length <= DTX_BYTES { 0 } else { length })
    }

    fn set(&mut self, setting: Setting, value: i64) -> Result<(), Error> {
        match setting {
            Setting::Bitrate => {
                if !BITRATES.contains(&value) {
                    return Err(Error::Argument);
                }
                let value = value.min(self.max_bitrate);
                let bits = i32::try_from(value).map_err(|_| Error::Argument)?;
                self.opus.set_bitrate(Bitrate::Bits(bits)).map_err(reason)?;
                self.coding.bitrate = value;
                return self.tell_loss();
            }
            Setting::Complexity => {
                self.opus.set_complexity(within(value, 10)?).map_err(reason)?;
                self.coding.complexity = value;
                return self.tell_loss();
            }
            Setting::Fec => {
                self.fec.wanted = within(value, 1)? == 1;
                return self.apply_fec(true);
            }
            Setting::LossPermille => {
                self.loss_permille = i64::from(within(value, 1000)?);
                return self.tell_loss();
            }
            Setting::Dtx => {
                self.dtx = within(value, 1)? == 1;
                self.opus.set_dtx(self.dtx)
            }
            _ => return Err(Error::Unsupported),
        }
        .map_err(reason)
    }
}

impl OpusEncoder {
    /// Tells libopus the loss that makes it do what is wanted.
    fn tell_loss(&mut self) -> Result<(), Error> {
        let told = self.coding.told(self.loss_permille);
        self.opus.set_packet_loss_perc(told).map_err(reason)
    }

    /// Tells libopus whether to add redundancy, if that has changed.
    fn apply_fec(&mut self, short: bool) -> Result<(), Error> {
        let on = self.fec.wanted && short;
        if on != self.fec.set {
            self.opus.set_inband_fec(on).map_err(reason)?;
            self.fec.set = on;
        }
        Ok(())
    }
}

pub(crate) fn within(value: i64, most: i32) -> Result<i32, Error> {
    i32::try_from(value)
        .ok()
        .filter(|value| (0..=most).contains(value))
        .ok_or(Error::Argument)
}

/// The narrowest band that has all that a sample rate can carry.
fn bandwidth(rate: i64) -> Bandwidth {
    match rate {
        ..=8_000 => Bandwidth::Narrowband,
        8_001..=12_000 => Bandwidth::Mediumband,
        12_001..=16_000 => Bandwidth::Wideband,
        16_001..=24_000 => Bandwidth::Superwideband,
        _ => Bandwidth::Fullband,
    }
}

/// What the far side wants to receive, RFC 7587 §6.1. Nonsense counts as not said.
struct Remote {
    max_bitrate: i64,
    playback_rate: i64,
    stereo: bool,
    constant_rate: bool,
    fec: bool,
    dtx: bool,
}

impl Remote {
    fn read(fmtp: &str) -> Self {
        let number = |key| fmtp_value(fmtp, key).and_then(|value| value.parse::<i64>().ok());
        let flag = |key| number(key) == Some(1);
        Self {
            max_bitrate: number("maxaveragebitrate")
                .filter(|bits| BITRATES.contains(bits))
                .unwrap_or(*BITRATES.end()),
            playback_rate: number("maxplaybackrate")
                .filter(|rate| (8_000..=48_000).contains(rate))
                .unwrap_or(48_000),
            stereo: flag("stereo"),
            constant_rate: flag("cbr"),
            fec: flag("useinbandfec"),
            dtx: flag("usedtx"),
        }
    }
}
