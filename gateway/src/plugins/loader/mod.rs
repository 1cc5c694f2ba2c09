//! The border to foreign code: opens a library, copies its tables into our own, and makes the calls.
//!
//! The only unsafe code of this crate. Everything that leaves this module is safe to use: strings are owned, tables are
//! complete (a missing function is `None`, required ones are there), handles free themselves.

#![allow(unsafe_code, reason = "the border to foreign code")]

pub(super) mod calls;
pub(super) mod elf;
mod float;
pub(super) mod guarded;
mod host;
pub(super) mod last_words;
pub(super) mod usage;

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use quartet_plugin::abi;

use self::calls::{CodecCalls, SampleData, TransportCalls};
use super::health::Health;
use super::refusal::{PluginError, Reason};
use super::registry::Kind;
use super::watch::{self, Function};

/// Not in libloading: the library stays mapped whatever happens (glibc, musl: bits/dlfcn.h).
const RTLD_NODELETE: i32 = 0x1000;
/// More tables or options than any real plugin has: the count is garbage.
const MAX_ROWS: u64 = 64;
/// Longer than any real text of a descriptor.
const MAX_TEXT: usize = 4096;

/// A setting that a plugin offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginOption {
    /// Its name in `[plugins.options.<id>]`.
    pub name: String,
    /// `int`, `bool` or `text`.
    pub kind: String,
    /// The value if nothing is set; empty for none.
    pub default_value: String,
    /// What it does, in a line.
    pub help: String,
}

/// A plugin whose code is in the process; stays there until the process ends.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) licence: String,
    pub(super) summary: String,
    pub(super) options: Vec<PluginOption>,
    pub(super) tables: Tables,
    /// Loading switched flush-to-zero on in this thread; undone, but the plugin was linked with -ffast-math.
    pub(super) fast_math: bool,
    init: Option<unsafe extern "C" fn(*const abi::Host) -> i32>,
}

/// The adopted tables, by kind.
#[derive(Debug)]
pub(super) enum Tables {
    Codecs(Vec<CodecTable>),
    Sessions(Vec<TransportTable>),
    Paths(Vec<TransportTable>),
}

/// What a codec table says, checked.
#[derive(Debug)]
pub struct CodecTable {
    pub(super) name: String,
    pub(super) payload_type: Option<u8>,
    pub(super) clock: u32,
    pub(super) channels: u32,
    pub(super) max_packet: u32,
    pub(super) rates: Vec<u32>,
    pub(super) frame_us: Vec<u32>,
    pub(super) sample: Option<SampleData>,
    pub(super) calls: CodecCalls,
}

/// What a transport table says, checked.
#[derive(Debug)]
pub struct TransportTable {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) headroom: u32,
    pub(super) tailroom: u32,
    pub(super) flags: u32,
    pub(super) calls: TransportCalls,
}

/// Opens the library and reads its descriptor; `init` is not called yet.
///
/// `facts` come from the same file, whose magic, versions and kind have been checked. Constructors of the library run.
pub(super) fn open(path: &Path, facts: &elf::FileFacts) -> Result<Image, Reason> {
    let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let entered = watch::enter(watch::number(&facts.id), Function::Load);
    let (library, fast_math) = float::kept(|| {
        // SAFETY: runs the constructors of a library that the operator has put into a plugin folder: trusted code.
        unsafe { Library::open(Some(path.as_os_str()), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }
    });
    drop(entered);
    let library = library.map_err(|error| Reason::Open(chain(&error)))?;
    // SAFETY: the symbol is data, and its type is only assumed where it is read, below.
    let symbol = unsafe { library.get::<*const abi::Plugin>(facts.symbol.as_str()) };
    let descriptor = *symbol.map_err(|error| Reason::Open(chain(&error)))?;
    // Never unloaded: the tables stay valid for good.
    std::mem::forget(library);
    let mut image = adopt(descriptor, &facts.symbol)?;
    image.fast_math = fast_math;
    Ok(image)
}

/// Reads the descriptor of a plugin that is linked into the test.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn open_static(symbol: &str, plugin: &'static abi::Plugin) -> Result<Image, Reason> {
    adopt(plugin, symbol)
}

/// Calls the plugin's `init`, once.
pub(super) fn init(image: &mut Image) -> Result<(), Reason> {
    let Some(init) = image.init.take() else { return Ok(()) };
    let host = host::for_plugin(&image.id);
    let _entered = watch::enter(watch::number(&image.id), Function::Init);
    // SAFETY: the first call into the plugin, from one thread; the host struct lives until the process ends.
    let (code, fast_math) = float::kept(|| unsafe { init(host) });
    image.fast_math |= fast_math;
    if code < 0 {
        Err(Reason::Init(PluginError::from_code(code)))
    } else {
        Ok(())
    }
}

/// An error and its causes: libloading's own text says only "dlopen failed".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn table(what: impl Into<String>) -> Reason {
    Reason::Table(what.into())
}

/// Copies the descriptor and all it points to.
fn adopt(descriptor: *const abi::Plugin, symbol: &str) -> Result<Image, Reason> {
    if descriptor.is_null() || !descriptor.is_aligned() {
        return Err(table(format!("the symbol {symbol} is no aligned object")));
    }
    // SAFETY: the file showed the magic word at this address and `size` behind it; offsets never move (contract §1).
    let plugin = unsafe { abi::adopt(descriptor, descriptor.cast::<u32>().add(2).read()) };
    if plugin.magic != abi::MAGIC {
        return Err(Reason::Magic(symbol.to_owned()));
    }
    if (plugin.size as usize) < size_of::<abi::Plugin>() {
        return Err(table(format!(
            "its descriptor says {} bytes, less than ABI 1.0 has",
            plugin.size
        )));
    }
    let id = text(plugin.id, "id")?;
    let good = !id.is_empty() && id.len() <= 63 && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !good {
        return Err(table(format!(
            "its id \"{}\" is not of the letters a-z, 0-9 and -",
            id.escape_debug()
        )));
    }
    if *symbol != format!("{}{}", abi::SYMBOL_PREFIX, id.replace('-', "_")) {
        return Err(table(format!("its id is {id}, but its symbol is {symbol}")));
    }
    Ok(Image {
        version: text(plugin.version, "version")?,
        licence: text(plugin.licence, "licence")?,
        summary: text(plugin.summary, "summary")?,
        options: options(&plugin)?,
        tables: tables(watch::number(&id), &plugin)?,
        fast_math: false,
        init: plugin.init,
        id,
    })
}

fn text(at: *const c_char, what: &str) -> Result<String, Reason> {
    if at.is_null() {
        return Err(table(format!("its {what} is null")));
    }
    // SAFETY: the contract promises a text that ends with 0 and stays; a wrong pointer is a fault of trusted code.
    let bytes = unsafe { CStr::from_ptr(at) }.to_bytes();
    match str::from_utf8(bytes) {
        Ok(text) if text.len() <= MAX_TEXT => Ok(text.to_owned()),
        Ok(_) => Err(table(format!("its {what} is longer than {MAX_TEXT} bytes"))),
        Err(_) => Err(table(format!("its {what} is not UTF-8"))),
    }
}

fn options(plugin: &abi::Plugin) -> Result<Vec<PluginOption>, Reason> {
    if plugin.option_count > MAX_ROWS || (plugin.option_count > 0 && plugin.options.is_null()) {
        return Err(table(format!(
            "it says {} options, which cannot be",
            plugin.option_count
        )));
    }
    let mut rows = Vec::new();
    for at in 0..usize::try_from(plugin.option_count).unwrap_or_default() {
        // SAFETY: the contract promises `option_count` rows; their size is frozen.
        let row = unsafe { plugin.options.add(at).read() };
        rows.push(PluginOption {
            name: text(row.name, "option's name")?,
            kind: text(row.kind, "option's type")?,
            default_value: text(row.default_value, "option's default_value")?,
            help: text(row.help, "option's help")?,
        });
    }
    Ok(rows)
}

fn tables(number: u64, plugin: &abi::Plugin) -> Result<Tables, Reason> {
    if plugin.table_count == 0 || plugin.table_count > MAX_ROWS || plugin.tables.is_null() {
        return Err(table(format!("it says {} tables, which cannot be", plugin.table_count)));
    }
    let mut pointers: Vec<*const c_void> = Vec::new();
    for at in 0..usize::try_from(plugin.table_count).unwrap_or_default() {
        // SAFETY: the contract promises `table_count` pointers.
        let pointer = unsafe { plugin.tables.add(at).read() };
        if pointer.is_null() || !pointer.cast::<u64>().is_aligned() {
            return Err(table(format!("its table {} is null or not aligned", at + 1)));
        }
        pointers.push(pointer);
    }
    match plugin.kind {
        abi::KIND_CODEC => pointers
            .into_iter()
            .map(|at| codec_table(number, at.cast()))
            .collect::<Result<_, _>>()
            .map(Tables::Codecs),
        abi::KIND_SESSION => transports(number, pointers, Kind::Session).map(Tables::Sessions),
        abi::KIND_PATH => transports(number, pointers, Kind::Path).map(Tables::Paths),
        other => Err(Reason::Kind(other)),
    }
}

/// A list that ends with 0, of one to sixteen numbers.
fn list(at: *const u32, what: &str) -> Result<Vec<u32>, Reason> {
    let mut out = Vec::new();
    while !at.is_null() && out.len() <= 16 {
        // SAFETY: the contract promises a list that ends with 0; not read past it.
        let number = unsafe { at.add(out.len()).read() };
        if number == 0 {
            break;
        }
        out.push(number);
    }
    if out.is_empty() || out.len() > 16 {
        Err(table(format!("its {what} are not one to sixteen numbers and 0")))
    } else {
        Ok(out)
    }
}

fn codec_table(plugin: u64, at: *const abi::Codec) -> Result<CodecTable, Reason> {
    // SAFETY: a table begins with its size and is readable for that many bytes (contract §2).
    let raw = unsafe { abi::adopt(at, at.cast::<u32>().read()) };
    let name = text(raw.sdp_name, "SDP name")?;
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+".contains(&b)) {
        return Err(table(format!(
            "\"{}\" is no encoding name for SDP",
            name.escape_debug()
        )));
    }
    let calls = CodecCalls::new(plugin, &raw).map_err(|missing| table(format!("codec {name} lacks {missing}")))?;
    let payload_type = match raw.payload_type {
        abi::PAYLOAD_DYNAMIC => None,
        number @ 0..=127 => u8::try_from(number).ok(),
        other => {
            return Err(table(format!(
                "codec {name} has payload type {other}, not 0..127 or 255 for dynamic"
            )));
        }
    };
    if raw.max_packet == 0 || raw.max_packet > 1400 {
        return Err(table(format!(
            "codec {name} has packets of up to {} bytes, not 1..1400",
            raw.max_packet
        )));
    }
    if !(1..=2).contains(&raw.sdp_channels) || raw.rtp_clock == 0 || raw.rtp_clock > 192_000 {
        return Err(table(format!(
            "codec {name} has {} channels at an RTP clock of {}",
            raw.sdp_channels, raw.rtp_clock
        )));
    }
    let rates = list(raw.sample_rates, &format!("sample rates of {name}"))?;
    let frame_us = list(raw.frame_us, &format!("frame lengths of {name}"))?;
    if let Some(rate) = rates.iter().find(|rate| !(8_000..=192_000).contains(*rate)) {
        return Err(table(format!(
            "codec {name} has a sample rate of {rate}, not 8000..192000"
        )));
    }
    for us in &frame_us {
        let whole = |hz: u32| (u64::from(hz) * u64::from(*us)).is_multiple_of(1_000_000);
        if *us > 120_000 || !whole(raw.rtp_clock) || !rates.iter().copied().all(whole) {
            return Err(table(format!(
                "codec {name} has frames of {us} us, which are over 120 ms or not whole samples and clock ticks"
            )));
        }
    }
    let sample = sample(raw.sample, &name)?;
    Ok(CodecTable {
        name,
        payload_type,
        clock: raw.rtp_clock,
        channels: raw.sdp_channels,
        max_packet: raw.max_packet,
        rates,
        frame_us,
        sample,
        calls,
    })
}

fn sample(at: *const abi::Sample, codec: &str) -> Result<Option<SampleData>, Reason> {
    if at.is_null() {
        return Ok(None);
    }
    // SAFETY: the struct is frozen; the contract promises one if the pointer is set.
    let raw = unsafe { at.read() };
    let fits = !raw.packet.is_null() && !raw.pcm.is_null() && raw.packet_len <= 1400 && raw.pcm_count <= 100_000;
    if !fits || raw.packet_len == 0 || raw.pcm_count == 0 {
        return Err(table(format!("the sample of codec {codec} is empty or too large")));
    }
    // SAFETY: the contract promises `packet_len` bytes and `pcm_count` values, constant.
    let (packet, pcm) = unsafe {
        (
            std::slice::from_raw_parts(raw.packet, raw.packet_len as usize).to_vec(),
            std::slice::from_raw_parts(raw.pcm, raw.pcm_count as usize).to_vec(),
        )
    };
    let (sample_rate, channels, tolerance) = (raw.sample_rate, raw.channels, raw.tolerance);
    Ok(Some(SampleData {
        packet,
        pcm,
        sample_rate,
        channels,
        tolerance,
    }))
}

fn transports(plugin: u64, pointers: Vec<*const c_void>, kind: Kind) -> Result<Vec<TransportTable>, Reason> {
    pointers
        .into_iter()
        .map(|at| transport_table(plugin, at.cast(), kind))
        .collect()
}

fn transport_table(plugin: u64, at: *const abi::Transport, kind: Kind) -> Result<TransportTable, Reason> {
    // SAFETY: a table begins with its size and is readable for that many bytes (contract §3).
    let raw = unsafe { abi::adopt(at, at.cast::<u32>().read()) };
    let name = text(raw.name, "transport name")?;
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(table(format!("\"{}\" is no name for a transport", name.escape_debug())));
    }
    if raw.headroom > 512 || raw.tailroom > 512 {
        return Err(table(format!(
            "transport {name} wants {} + {} bytes of room, over 512",
            raw.headroom, raw.tailroom
        )));
    }
    let calls =
        TransportCalls::new(plugin, &raw).map_err(|missing| table(format!("transport {name} lacks {missing}")))?;
    Ok(TransportTable {
        kind,
        name,
        headroom: raw.headroom,
        tailroom: raw.tailroom,
        flags: raw.flags,
        calls,
    })
}

/// What tables of one plugin share: its settings as text, and its health.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: CString,
    pub(super) health: Arc<Health>,
}
