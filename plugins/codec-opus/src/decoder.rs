//! Opus packets to PCM, concealment and redundancy included.

use quartet_plugin::{CodecConfig, Decoder, Error};

use crate::{channels, reason};

/// One direction of a call.
pub struct OpusDecoder {
    opus: opus::Decoder,
    channels: usize,
    /// How many values 2.5 ms have: concealment comes in multiples of it.
    grain: usize,
}

impl Decoder for OpusDecoder {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        let channels = channels(config)?;
        let opus = opus::Decoder::new(config.sample_rate, channels).map_err(reason)?;
        Ok(Self {
            opus,
            channels: channels as usize,
            grain: config.samples_in(2_500),
        })
    }

    fn decode(&mut self, data: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        if data.is_empty() {
            return Err(Error::Malformed);
        }
        self.run(data, pcm, false)
    }

    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, Error> {
        if pcm.is_empty() || !pcm.len().is_multiple_of(self.grain) {
            return Err(Error::Unsupported);
        }
        self.run(&[], pcm, false)
    }

    fn fec(&mut self, next: &[u8], pcm: &mut [i16]) -> Result<usize, Error> {
        if next.is_empty() {
            return Err(Error::Malformed);
        }
        if pcm.is_empty() || !pcm.len().is_multiple_of(self.grain) {
            return Err(Error::Unsupported);
        }
        self.run(next, pcm, true)
    }
}

impl OpusDecoder {
    fn run(&mut self, data: &[u8], pcm: &mut [i16], fec: bool) -> Result<usize, Error> {
        if pcm.len() < self.channels {
            return Err(Error::TooSmall);
        }
        let count = self.opus.decode(data, pcm, fec).map_err(reason)?;
        Ok(count * self.channels)
    }
}
