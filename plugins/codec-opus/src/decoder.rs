//! Opus packets to PCM, concealment and redundancy included.

use quartet_plugin::{CodecConfig, Decoder, Error, Setting};

use crate::{channels, encoder::within, libopus};

/// One direction of a call.
pub struct OpusDecoder {
    opus: libopus::RawDecoder,
    /// How many values 2.5 ms have: concealment comes in multiples of it.
    grain: usize,
}

impl Decoder for OpusDecoder {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        channels(config)?;
        Ok(Self {
            opus: libopus::RawDecoder::new(config.sample_rate, config.channels)?,
            grain: config.samples_in(2_500),
        })
    }

    fn decode(&mut self, data: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        if data.is_empty() {
            return Err(Error::Malformed);
        }
        self.opus.decode(Some(data), pcm, false)
    }

    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, Error> {
        self.whole(pcm)?;
        self.opus.decode(None, pcm, false)
    }

    fn fec(&mut self, next: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        if next.is_empty() {
            return Err(Error::Malformed);
        }
        self.whole(pcm)?;
        // libopus would make it up, as if there were some.
        if !libopus::has_redundancy(next) {
            return Err(Error::Unsupported);
        }
        self.opus.decode(Some(next), pcm, true)
    }

    fn set(&mut self, setting: Setting, value: i64) -> Result<(), Error> {
        match setting {
            Setting::Complexity => self.opus.set_complexity(within(value, 10)?),
            Setting::Bitrate | Setting::Fec | Setting::LossPermille | Setting::Dtx | _ => Err(Error::Unsupported),
        }
    }
}

impl OpusDecoder {
    fn whole(&self, pcm: &[i16]) -> Result<(), Error> {
        if pcm.is_empty() || !pcm.len().is_multiple_of(self.grain) {
            return Err(Error::Unsupported);
        }
        Ok(())
    }
}
