//! What libopus has and the crate `opus` does not show: how much work its decoder does, and whether a packet has redundancy.

#![allow(unsafe_code, reason = "the C library's own border")]

use core::{ffi::c_int, ptr::NonNull};

use opusic_sys as ffi;
use quartet_plugin::Error;

/// A decoder of libopus.
pub(crate) struct RawDecoder {
    state: NonNull<ffi::OpusDecoder>,
    channels: usize,
}

// SAFETY: a state has no thread of its own, and only `&mut self` reaches it.
unsafe impl Send for RawDecoder {}

impl RawDecoder {
    /// `rate` is one of the five of RFC 6716, `channels` 1 or 2.
    pub(crate) fn new(rate: u32, channels: u32) -> Result<Self, Error> {
        let (rate, count) = (c_int::try_from(rate), c_int::try_from(channels));
        let (rate, count) = (
            rate.map_err(|_| Error::Unsupported)?,
            count.map_err(|_| Error::Unsupported)?,
        );
        let mut code = ffi::OPUS_OK;
        // SAFETY: libopus judges the two numbers, and writes the code.
        let state = unsafe { ffi::opus_decoder_create(rate, count, &raw mut code) };
        let state = NonNull::new(state)
            .filter(|_| code == ffi::OPUS_OK)
            .ok_or_else(|| reason(code))?;
        Ok(Self {
            state,
            channels: channels as usize,
        })
    }

    /// Decodes `packet`, or with `fec` the redundancy in it; makes up sound if there is no packet. How many samples, all
    /// channels counted.
    pub(crate) fn decode(&mut self, packet: Option<&[u8]>, pcm: &mut [i16], fec: bool) -> Result<usize, Error> {
        let (data, length) = packet.map_or((core::ptr::null(), 0), |packet| (packet.as_ptr(), packet.len()));
        let length = c_int::try_from(length).map_err(|_| Error::Malformed)?;
        let room = c_int::try_from(pcm.len() / self.channels).unwrap_or(c_int::MAX);
        if room == 0 {
            return Err(Error::TooSmall);
        }
        // SAFETY: the state is ours and alive; both buffers are as long as said.
        let count = unsafe {
            ffi::opus_decode(
                self.state.as_ptr(),
                data,
                length,
                pcm.as_mut_ptr(),
                room,
                c_int::from(fec),
            )
        };
        let count = usize::try_from(count).map_err(|_| reason(count))?;
        Ok(count * self.channels)
    }

    /// 0 to 10: from 5 on a network makes up what is missing, from 6 and 7 on another makes what came sound better.
    pub(crate) fn set_complexity(&mut self, value: i32) -> Result<(), Error> {
        // SAFETY: the state is ours and alive; this request takes one int.
        let code = unsafe {
            ffi::opus_decoder_ctl(
                self.state.as_ptr(),
                ffi::OPUS_SET_COMPLEXITY_REQUEST,
                c_int::from(value),
            )
        };
        if code == ffi::OPUS_OK {
            Ok(())
        } else {
            Err(reason(code))
        }
    }
}

impl Drop for RawDecoder {
    fn drop(&mut self) {
        // SAFETY: made by `opus_decoder_create`, and not used after this.
        unsafe { ffi::opus_decoder_destroy(self.state.as_ptr()) }
    }
}

/// Whether a packet has redundancy for the one before it.
pub(crate) fn has_redundancy(packet: &[u8]) -> bool {
    let Ok(length) = c_int::try_from(packet.len()) else {
        return false;
    };
    // SAFETY: the packet is as long as said, and not empty: libopus reads its first byte before all else.
    length > 0 && unsafe { ffi::opus_packet_has_lbrr(packet.as_ptr(), length) } == 1
}

/// Turns a code of libopus into ours.
pub(crate) fn reason(code: c_int) -> Error {
    match code {
        ffi::OPUS_BAD_ARG => Error::Argument,
        ffi::OPUS_BUFFER_TOO_SMALL => Error::TooSmall,
        ffi::OPUS_INVALID_PACKET => Error::Malformed,
        ffi::OPUS_ALLOC_FAIL => Error::Resources,
        ffi::OPUS_UNIMPLEMENTED => Error::Unsupported,
        _ => Error::Internal,
    }
}
