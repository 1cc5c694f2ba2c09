//! The contract in C terms, the same as `include/quartet_plugin.h`: that header documents every function (thread,
//! blocking, ownership) and a test compares sizes and offsets of the two.
//!
//! Rule of growth: append at the end, guarded by `size`; never change a type, an order or a meaning; every struct is a
//! multiple of 8 bytes with explicit reserved fields. [`Option`], [`Sample`], [`Addr`], [`Packet`] and [`Output`] are
//! frozen.

#![allow(
    missing_docs,
    reason = "field by field in include/quartet_plugin.h, which is the contract"
)]

use core::ffi::{c_char, c_void};
use core::mem::{offset_of, size_of};

/// First word of every plugin's descriptor: "QPLG".
pub const MAGIC: u32 = 0x474c_5051;
/// The major version of this contract: another one is another contract.
pub const ABI_MAJOR: u16 = 1;
/// The minor version of this contract: counts appended fields.
pub const ABI_MINOR: u16 = 0;
/// What every exported symbol begins with.
pub const SYMBOL_PREFIX: &str = "quartet_plugin_";

pub const KIND_CODEC: u16 = 1;
pub const KIND_SESSION: u16 = 2;
pub const KIND_PATH: u16 = 3;

pub const E_ARGUMENT: i32 = -1;
pub const E_UNSUPPORTED: i32 = -2;
pub const E_NO_MATCH: i32 = -3;
pub const E_MALFORMED: i32 = -4;
pub const E_TOO_SMALL: i32 = -5;
pub const E_STATE: i32 = -6;
pub const E_RESOURCES: i32 = -7;
pub const E_INTERNAL: i32 = -8;

pub const LOG_ERROR: u32 = 1;
pub const LOG_WARN: u32 = 2;
pub const LOG_INFO: u32 = 3;
pub const LOG_DEBUG: u32 = 4;
pub const LOG_TRACE: u32 = 5;

/// `payload_type` of a codec without a static number.
pub const PAYLOAD_DYNAMIC: u32 = 255;

pub const FMTP_OFFER: u32 = 1;
pub const FMTP_ANSWER: u32 = 2;
pub const FMTP_ACCEPT: u32 = 3;

pub const DECODE_PACKET: u32 = 0;
pub const DECODE_LOST: u32 = 1;
pub const DECODE_FEC: u32 = 2;

pub const SET_BITRATE: u32 = 1;
pub const SET_COMPLEXITY: u32 = 2;
pub const SET_FEC: u32 = 3;
pub const SET_LOSS_PERMILLE: u32 = 4;
pub const SET_DTX: u32 = 5;

pub const ROLE_OFFER: u32 = 1;
pub const ROLE_ANSWER: u32 = 2;

pub const TELL_REMOTE: u32 = 1;
pub const TELL_PATHS: u32 = 2;
pub const TELL_CONTROL: u32 = 3;

/// `receive`, `send`: kept or dropped. `poll`: nothing more.
pub const NONE: i32 = 0;
pub const TRANSMIT: i32 = 1;
pub const RTP: i32 = 2;
pub const RTCP: i32 = 3;
pub const DATA: i32 = 4;
pub const DATAGRAM: i32 = 5;
/// Only from `poll`.
pub const EVENT: i32 = 6;

pub const EVENT_CONNECTED: u32 = 1;
pub const EVENT_FAILED: u32 = 2;
pub const EVENT_LOCAL: u32 = 3;
pub const EVENT_ADDRESS: u32 = 4;
pub const EVENT_STATS: u32 = 5;

/// In `Packet::path` of a DATA message beside the channel number: the message is text, not bytes.
pub const DATA_TEXT: u32 = 0x8000_0000;
/// `Output::deadline_ns`: no deadline.
pub const NO_DEADLINE: u64 = u64::MAX;
/// Flag of a path transport whose lower side is a stream of bytes.
pub const FLAG_STREAM: u32 = 1;

/// What a plugin exports. Never moves; the first 16 bytes can be read from the file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Plugin {
    pub magic: u32,
    pub abi_major: u16,
    pub abi_minor: u16,
    pub size: u32,
    pub needs_minor: u16,
    pub kind: u16,
    pub id: *const c_char,
    pub version: *const c_char,
    pub licence: *const c_char,
    pub summary: *const c_char,
    pub tables: *const *const c_void,
    pub table_count: u64,
    pub options: *const Option,
    pub option_count: u64,
    pub init: core::option::Option<unsafe extern "C" fn(*const Host) -> i32>,
}

/// What the host gives a plugin; lives until the process ends.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Host {
    pub abi_major: u16,
    pub abi_minor: u16,
    pub size: u32,
    pub ctx: *mut c_void,
    pub log: core::option::Option<unsafe extern "C" fn(*mut c_void, u32, *const c_char, usize)>,
    pub random: core::option::Option<unsafe extern "C" fn(*mut c_void, *mut u8, usize)>,
}

/// One row of a plugin's settings.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Option {
    pub name: *const c_char,
    pub kind: *const c_char,
    pub default_value: *const c_char,
    pub help: *const c_char,
}

/// One packet and its PCM, made elsewhere, with the largest allowed difference.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sample {
    pub packet: *const u8,
    pub pcm: *const i16,
    pub packet_len: u32,
    pub pcm_count: u32,
    pub sample_rate: u32,
    pub channels: u32,
    pub tolerance: u32,
    pub reserved0: u32,
    pub reserved: [u64; 2],
}

/// What `encoder_new` and `decoder_new` are told.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CodecConfig {
    pub size: u32,
    pub sample_rate: u32,
    pub channels: u32,
    pub frame_us: u32,
    pub local_fmtp: *const c_char,
    pub remote_fmtp: *const c_char,
    pub options: *const c_char,
}

/// `fmtp` of a codec table.
pub type FmtpFn = unsafe extern "C" fn(u32, *const c_char, *const c_char, *mut c_char, u32) -> i32;
/// `encoder_new`, `decoder_new`.
pub type NewFn = unsafe extern "C" fn(*const CodecConfig, *mut *mut c_void) -> i32;
/// `encode`.
pub type EncodeFn = unsafe extern "C" fn(*mut c_void, *const i16, u32, *mut u8, u32) -> i32;
/// `decode`.
pub type DecodeFn = unsafe extern "C" fn(*mut c_void, u32, *const u8, u32, *mut i16, u32) -> i32;
/// `encoder_set`, `decoder_set`.
pub type SetFn = unsafe extern "C" fn(*mut c_void, u32, i64) -> i32;
/// `encoder_free`, `decoder_free`, `destroy`.
pub type FreeFn = unsafe extern "C" fn(*mut c_void);
/// `packet_samples`.
pub type PacketSamplesFn = unsafe extern "C" fn(*const u8, u32, u32) -> i32;

/// One SDP name that a plugin can encode and decode.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Codec {
    pub size: u32,
    pub flags: u32,
    pub sdp_name: *const c_char,
    pub payload_type: u32,
    pub rtp_clock: u32,
    pub sdp_channels: u32,
    pub max_packet: u32,
    pub sample_rates: *const u32,
    pub frame_us: *const u32,
    pub fmtp: core::option::Option<FmtpFn>,
    pub encoder_new: core::option::Option<NewFn>,
    pub encode: core::option::Option<EncodeFn>,
    pub encoder_set: core::option::Option<SetFn>,
    pub encoder_free: core::option::Option<FreeFn>,
    pub decoder_new: core::option::Option<NewFn>,
    pub decode: core::option::Option<DecodeFn>,
    pub decoder_set: core::option::Option<SetFn>,
    pub decoder_free: core::option::Option<FreeFn>,
    pub packet_samples: core::option::Option<PacketSamplesFn>,
    pub sample: *const Sample,
}

/// An IP address and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Addr {
    pub ip: [u8; 16],
    pub scope: u32,
    pub port: u16,
    pub family: u8,
    pub reserved: u8,
}

/// A packet inside a larger buffer: `headroom` bytes free before `data`, `tailroom` after `data + len`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    pub data: *mut u8,
    pub len: u32,
    pub headroom: u32,
    pub tailroom: u32,
    pub path: u32,
    pub src: Addr,
    pub dst: Addr,
    pub kind: u32,
    pub ecn: u32,
}

/// What `poll` fills.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Output {
    pub packet: Packet,
    pub deadline_ns: u64,
    pub text: *const c_char,
    pub text_len: u32,
    pub event: u32,
    pub reserved: [u64; 4],
}

/// What `create` is told.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TransportConfig {
    pub size: u32,
    pub role: u32,
    pub now_ns: u64,
    pub options: *const c_char,
    pub reserved: [u64; 4],
}

/// `create`.
pub type CreateFn = unsafe extern "C" fn(*const TransportConfig, *mut *mut c_void) -> i32;
/// `local`.
pub type LocalFn = unsafe extern "C" fn(*mut c_void, u64, *mut c_char, u32) -> i32;
/// `tell`.
pub type TellFn = unsafe extern "C" fn(*mut c_void, u64, u32, *const c_char) -> i32;
/// `receive`, `send`.
pub type PacketFn = unsafe extern "C" fn(*mut c_void, u64, *mut Packet) -> i32;
/// `timeout`.
pub type TimeoutFn = unsafe extern "C" fn(*mut c_void, u64) -> i32;
/// `poll`.
pub type PollFn = unsafe extern "C" fn(*mut c_void, *mut Output) -> i32;

/// One way to carry media.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Transport {
    pub size: u32,
    pub flags: u32,
    pub name: *const c_char,
    pub headroom: u32,
    pub tailroom: u32,
    pub create: core::option::Option<CreateFn>,
    pub destroy: core::option::Option<FreeFn>,
    pub local: core::option::Option<LocalFn>,
    pub tell: core::option::Option<TellFn>,
    pub receive: core::option::Option<PacketFn>,
    pub send: core::option::Option<PacketFn>,
    pub timeout: core::option::Option<TimeoutFn>,
    pub poll: core::option::Option<PollFn>,
}

/// A constant of a plugin: tables hold raw pointers, all of them to other constants, so threads may share them.
#[repr(transparent)]
pub struct Shared<T>(pub T);

// SAFETY: only the export macros build values of this type, from `'static` constants without interior mutability.
unsafe impl<T> Sync for Shared<T> {}

/// Structs that may be zero in every bit: integers, raw pointers and optional functions only.
///
/// # Safety
/// The implementor has no field for which all zero bits are invalid.
pub unsafe trait Zeroable: Copy {}

// SAFETY: integers, raw pointers and `Option<fn>` only.
unsafe impl Zeroable for Plugin {}
// SAFETY: as above.
unsafe impl Zeroable for Host {}
// SAFETY: as above.
unsafe impl Zeroable for Codec {}
// SAFETY: as above.
unsafe impl Zeroable for CodecConfig {}
// SAFETY: as above.
unsafe impl Zeroable for Transport {}
// SAFETY: as above.
unsafe impl Zeroable for TransportConfig {}
// SAFETY: as above.
unsafe impl Zeroable for Packet {}
// SAFETY: as above.
unsafe impl Zeroable for Output {}

/// Returns a `T` whose every bit is zero.
#[must_use]
pub const fn zeroed<T: Zeroable>() -> T {
    // SAFETY: `Zeroable` promises that this is a valid value.
    unsafe { core::mem::zeroed() }
}

/// Copies a struct that the other side built with `size` bytes into one of ours; what it does not have is zero.
///
/// No reference to the foreign struct is formed, so it may be shorter than ours.
///
/// # Safety
/// `from` is readable for `size` bytes and aligned to 8.
#[must_use]
pub unsafe fn adopt<T: Zeroable>(from: *const T, size: u32) -> T {
    let mut own = zeroed::<T>();
    let count = (size as usize).min(size_of::<T>());
    // SAFETY: the caller promises `size` readable bytes; `own` is ours and `count` does not exceed it.
    unsafe { core::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut own).cast::<u8>(), count) };
    own
}

const _: () = {
    assert!(size_of::<*const u8>() == 8, "the contract is for 64-bit machines");
    assert!(size_of::<Plugin>() == 88);
    assert!(offset_of!(Plugin, size) == 8 && offset_of!(Plugin, needs_minor) == 12 && offset_of!(Plugin, kind) == 14);
    assert!(offset_of!(Plugin, id) == 16 && offset_of!(Plugin, tables) == 48 && offset_of!(Plugin, init) == 80);
    assert!(size_of::<Host>() == 32 && offset_of!(Host, ctx) == 8 && offset_of!(Host, random) == 24);
    assert!(size_of::<Option>() == 32);
    assert!(size_of::<Sample>() == 56 && offset_of!(Sample, packet_len) == 16);
    assert!(size_of::<CodecConfig>() == 40 && offset_of!(CodecConfig, local_fmtp) == 16);
    assert!(size_of::<Codec>() == 136 && offset_of!(Codec, fmtp) == 48 && offset_of!(Codec, sample) == 128);
    assert!(size_of::<Addr>() == 24 && offset_of!(Addr, port) == 20 && offset_of!(Addr, family) == 22);
    assert!(size_of::<Packet>() == 80 && offset_of!(Packet, src) == 24 && offset_of!(Packet, kind) == 72);
    assert!(size_of::<Output>() == 136 && offset_of!(Output, deadline_ns) == 80 && offset_of!(Output, event) == 100);
    assert!(size_of::<TransportConfig>() == 56 && offset_of!(TransportConfig, options) == 16);
    assert!(size_of::<Transport>() == 88 && offset_of!(Transport, create) == 24 && offset_of!(Transport, poll) == 80);
};
