//! From the safe codec traits to the C table: null checks, slices, caught panics.

use core::ffi::{c_char, c_void};
use core::marker::PhantomData;
use std::borrow::Cow;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Codec, CodecConfig, Decoder, Encoder, Error, FmtpRole, Options, Sample, Setting, abi};

/// Builds the constant table of a codec.
pub struct CodecTable<C>(PhantomData<C>);

impl<C: Codec> CodecTable<C> {
    const RATES: &'static [u32; 17] = &ended_by_zero(C::SAMPLE_RATES);
    const FRAMES: &'static [u32; 17] = &ended_by_zero(C::FRAME_US);
    const SAMPLE: Option<&'static abi::Shared<abi::Sample>> = match C::SAMPLE {
        Some(sample) => Some(&abi::Shared(sample_row(&sample))),
        None => None,
    };

    /// The table.
    pub const TABLE: &'static abi::Shared<abi::Codec> = &abi::Shared(abi::Codec {
        size: size_of::<abi::Codec>() as u32,
        flags: 0,
        sdp_name: C::SDP_NAME.as_ptr(),
        payload_type: match C::PAYLOAD_TYPE {
            Some(number) => number as u32,
            None => abi::PAYLOAD_DYNAMIC,
        },
        rtp_clock: C::RTP_CLOCK,
        sdp_channels: C::SDP_CHANNELS,
        max_packet: C::MAX_PACKET,
        sample_rates: Self::RATES.as_ptr(),
        frame_us: Self::FRAMES.as_ptr(),
        fmtp: Some(fmtp::<C>),
        encoder_new: Some(encoder_new::<C::Encoder>),
        encode: Some(encode::<C::Encoder>),
        encoder_set: Some(encoder_set::<C::Encoder>),
        encoder_free: Some(free::<C::Encoder>),
        decoder_new: Some(decoder_new::<C::Decoder>),
        decode: Some(decode::<C::Decoder>),
        decoder_set: Some(decoder_set::<C::Decoder>),
        decoder_free: Some(free::<C::Decoder>),
        packet_samples: match C::PACKET_SAMPLES {
            Some(_) => Some(packet_samples::<C>),
            None => None,
        },
        sample: match Self::SAMPLE {
            Some(sample) => &raw const sample.0,
            None => core::ptr::null(),
        },
    });
}

const fn ended_by_zero(list: &[u32]) -> [u32; 17] {
    assert!(
        !list.is_empty() && list.len() <= 16,
        "one to sixteen rates and frame lengths"
    );
    let mut out = [0; 17];
    let mut at = 0;
    while at < list.len() {
        assert!(list[at] != 0, "0 ends the list, it is no rate and no frame length");
        out[at] = list[at];
        at += 1;
    }
    out
}

const fn sample_row(sample: &Sample) -> abi::Sample {
    abi::Sample {
        packet: sample.packet.as_ptr(),
        pcm: sample.pcm.as_ptr(),
        packet_len: sample.packet.len() as u32,
        pcm_count: sample.pcm.len() as u32,
        sample_rate: sample.sample_rate,
        channels: sample.channels,
        tolerance: sample.tolerance,
        reserved0: 0,
        reserved: [0; 2],
    }
}

/// Runs plugin code; a panic becomes code -8 and its payload is forgotten, since dropping it may panic again.
pub(crate) fn guard(call: impl FnOnce() -> Result<i32, Error>) -> i32 {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => value.max(0),
        Ok(Err(error)) => error.code(),
        Err(payload) => {
            core::mem::forget(payload);
            abi::E_INTERNAL
        }
    }
}

/// A count as the border's positive result; one that does not fit is the plugin's bug.
pub(crate) fn count(value: usize) -> Result<i32, Error> {
    i32::try_from(value).map_err(|_| Error::Internal)
}

/// Reads a text of the host's; null is the empty one.
///
/// # Safety
/// `text` is null, or ends with a 0 byte and stays as it is for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// Forms a slice; (null, 0) is the empty one, (null, n) an error.
///
/// # Safety
/// `data` is null or readable for `len` elements for `'a`.
unsafe fn slice<'a, T>(data: *const T, len: u32) -> Result<&'a [T], Error> {
    match (data.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Error::Argument),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { core::slice::from_raw_parts(data, len as usize) }),
    }
}

/// Forms a mutable slice; (null, 0) is the empty one, (null, n) an error.
///
/// # Safety
/// `data` is null, or valid for `len` elements and nobody else's for `'a`.
unsafe fn slice_mut<'a, T>(data: *mut T, len: u32) -> Result<&'a mut [T], Error> {
    match (data.is_null(), len) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(Error::Argument),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { core::slice::from_raw_parts_mut(data, len as usize) }),
    }
}

/// Copies a text to the host's buffer and returns its length.
///
/// # Safety
/// `out` is null or writable for `cap` bytes.
pub(crate) unsafe fn write_text(text: &str, out: *mut c_char, cap: u32) -> Result<i32, Error> {
    if text.len() > cap as usize {
        return Err(Error::TooSmall);
    }
    if !text.is_empty() {
        if out.is_null() {
            return Err(Error::Argument);
        }
        // SAFETY: `out` has room for `cap` bytes, by the caller's promise, and the text is not longer.
        unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), out.cast(), text.len()) };
    }
    count(text.len())
}

unsafe extern "C" fn fmtp<C: Codec>(
    role: u32,
    options: *const c_char,
    remote: *const c_char,
    out: *mut c_char,
    cap: u32,
) -> i32 {
    guard(|| {
        // SAFETY: the host passes null or texts that end with 0 and live through the call.
        let (options, remote) = unsafe { (text(options), text(remote)) };
        let role = match role {
            abi::FMTP_OFFER => FmtpRole::Offer,
            abi::FMTP_ANSWER => FmtpRole::Answer(&remote),
            abi::FMTP_ACCEPT => FmtpRole::Accept(&remote),
            _ => return Err(Error::Unsupported),
        };
        let accept = matches!(role, FmtpRole::Accept(_));
        let ours = C::fmtp(role, Options::new(&options))?;
        if accept {
            return Ok(0);
        }
        // SAFETY: the host passes `cap` writable bytes.
        unsafe { write_text(&ours, out, cap) }
    })
}

/// Makes a handle with `make` and stores it; on an error `out` is untouched.
///
/// # Safety
/// `config` and `out` are null or as the contract says.
unsafe fn handle_new<T>(
    config: *const abi::CodecConfig,
    out: *mut *mut c_void,
    make: fn(&CodecConfig<'_>) -> Result<T, Error>,
) -> i32 {
    guard(|| {
        if config.is_null() || out.is_null() {
            return Err(Error::Argument);
        }
        // SAFETY: the host's config begins with its size and is readable for that many bytes.
        let raw = unsafe { abi::adopt(config, config.cast::<u32>().read()) };
        // SAFETY: the texts are null or end with 0, and live through the call.
        let (local, remote, options) = unsafe { (text(raw.local_fmtp), text(raw.remote_fmtp), text(raw.options)) };
        let handle = make(&CodecConfig {
            sample_rate: raw.sample_rate,
            channels: raw.channels,
            frame_us: raw.frame_us,
            local_fmtp: &local,
            remote_fmtp: &remote,
            options: Options::new(&options),
        })?;
        // SAFETY: the host passes a place for one pointer.
        unsafe { out.write(Box::into_raw(Box::new(handle)).cast()) };
        Ok(0)
    })
}

/// Returns the handle behind the host's pointer.
///
/// # Safety
/// `handle` is null, or came from `handle_new::<T>`, is not freed and not in use by another call.
pub(crate) unsafe fn handle<'a, T>(handle: *mut c_void) -> Result<&'a mut T, Error> {
    // SAFETY: the caller's promise.
    unsafe { handle.cast::<T>().as_mut() }.ok_or(Error::Argument)
}

/// Frees a handle; null is fine.
pub(crate) unsafe extern "C" fn free<T>(handle: *mut c_void) {
    if handle.is_null() {
        return;
    }
    guard(|| {
        // SAFETY: the host frees a handle once, and it came from `Box::into_raw` of the same type.
        drop(unsafe { Box::from_raw(handle.cast::<T>()) });
        Ok(0)
    });
}

unsafe extern "C" fn encoder_new<E: Encoder>(config: *const abi::CodecConfig, out: *mut *mut c_void) -> i32 {
    // SAFETY: passed on from the host.
    unsafe { handle_new(config, out, E::new) }
}

unsafe extern "C" fn decoder_new<D: Decoder>(config: *const abi::CodecConfig, out: *mut *mut c_void) -> i32 {
    // SAFETY: passed on from the host.
    unsafe { handle_new(config, out, D::new) }
}

unsafe extern "C" fn encode<E: Encoder>(
    encoder: *mut c_void,
    pcm: *const i16,
    pcm_count: u32,
    out: *mut u8,
    cap: u32,
) -> i32 {
    guard(|| {
        // SAFETY: the host passes its handle, `pcm_count` samples and `cap` writable bytes, for this call only.
        let (encoder, pcm, out) = unsafe { (handle::<E>(encoder)?, slice(pcm, pcm_count)?, slice_mut(out, cap)?) };
        count(encoder.encode(pcm, out)?)
    })
}

unsafe extern "C" fn decode<D: Decoder>(
    decoder: *mut c_void,
    mode: u32,
    data: *const u8,
    len: u32,
    pcm: *mut i16,
    pcm_count: u32,
) -> i32 {
    guard(|| {
        // SAFETY: the host passes its handle, `len` bytes and room for `pcm_count` samples, for this call only.
        let (decoder, data, pcm) = unsafe { (handle::<D>(decoder)?, slice(data, len)?, slice_mut(pcm, pcm_count)?) };
        count(match mode {
            abi::DECODE_PACKET if data.is_empty() => return Err(Error::Malformed),
            abi::DECODE_PACKET => decoder.decode(data, pcm)?,
            abi::DECODE_LOST => decoder.conceal(pcm)?,
            abi::DECODE_FEC if data.is_empty() => return Err(Error::Malformed),
            abi::DECODE_FEC => decoder.fec(data, pcm)?,
            _ => return Err(Error::Unsupported),
        })
    })
}

fn setting(key: u32) -> Result<Setting, Error> {
    match key {
        abi::SET_BITRATE => Ok(Setting::Bitrate),
        abi::SET_COMPLEXITY => Ok(Setting::Complexity),
        abi::SET_FEC => Ok(Setting::Fec),
        abi::SET_LOSS_PERMILLE => Ok(Setting::LossPermille),
        abi::SET_DTX => Ok(Setting::Dtx),
        _ => Err(Error::Unsupported),
    }
}

unsafe extern "C" fn encoder_set<E: Encoder>(encoder: *mut c_void, key: u32, value: i64) -> i32 {
    guard(|| {
        // SAFETY: the host passes its own handle.
        unsafe { handle::<E>(encoder)? }.set(setting(key)?, value)?;
        Ok(0)
    })
}

unsafe extern "C" fn decoder_set<D: Decoder>(decoder: *mut c_void, key: u32, value: i64) -> i32 {
    guard(|| {
        // SAFETY: the host passes its own handle.
        unsafe { handle::<D>(decoder)? }.set(setting(key)?, value)?;
        Ok(0)
    })
}

unsafe extern "C" fn packet_samples<C: Codec>(data: *const u8, len: u32, rate: u32) -> i32 {
    guard(|| {
        let samples = C::PACKET_SAMPLES.ok_or(Error::Unsupported)?;
        // SAFETY: the host passes `len` readable bytes, for this call only.
        let data = unsafe { slice(data, len)? };
        count(samples(data, rate)? as usize)
    })
}
