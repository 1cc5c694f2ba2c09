//! A plugin that is linked into the program leaves the program's log, panic hook and threads alone.

#![allow(unsafe_code, reason = "calls the descriptor as a host does")]

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use quartet_plugin::abi;
use quartet_plugin::{Codec, CodecConfig, Decoder, Encoder, Error, Level};

quartet_plugin::export_codecs! {
    symbol: quartet_plugin_codec_raw,
    id: "codec-raw",
    licence: "MIT",
    summary: "for this test",
    options: [{ name: "gain", kind: "int", default_value: "3", help: "dB" }],
    codecs: [Raw],
}

struct Raw;

impl Codec for Raw {
    const SDP_NAME: &'static CStr = c"X-RAW";
    const RTP_CLOCK: u32 = 8000;
    const MAX_PACKET: u32 = 320;
    const SAMPLE_RATES: &'static [u32] = &[8000];
    const FRAME_US: &'static [u32] = &[20_000];
    type Encoder = Raw;
    type Decoder = Raw;
}

impl Encoder for Raw {
    fn new(config: &CodecConfig<'_>) -> Result<Self, Error> {
        if config.options.number("gain") == Some(3) {
            Ok(Self)
        } else {
            Err(Error::Unsupported)
        }
    }

    fn encode(&mut self, pcm: &[i16], _: &mut [u8]) -> Result<usize, Error> {
        assert!(pcm.len() != 77, "seventy-seven");
        Ok(pcm.len())
    }
}

impl Decoder for Raw {
    fn new(_: &CodecConfig<'_>) -> Result<Self, Error> {
        Ok(Self)
    }

    fn decode(&mut self, data: &[u8], _: &mut [i16]) -> Result<usize, Error> {
        Ok(data.len())
    }
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static HOOKED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn log(_: *mut c_void, level: u32, text: *const c_char, len: usize) {
    // SAFETY: the plugin lends `len` bytes.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    let mut lines = LINES.lock().expect("no panic holds it");
    lines.push(format!("{level} {}", String::from_utf8_lossy(text)));
}

unsafe extern "C" fn random(_: *mut c_void, out: *mut u8, len: usize) {
    // SAFETY: the plugin lends `len` bytes.
    unsafe { std::ptr::write_bytes(out, 7, len) };
}

fn table() -> abi::Codec {
    let plugin = &quartet_plugin_codec_raw.0;
    assert_eq!(
        (plugin.magic, plugin.kind, plugin.table_count),
        (abi::MAGIC, abi::KIND_CODEC, 1)
    );
    // SAFETY: the macro made one codec table.
    unsafe { (*plugin.tables).cast::<abi::Codec>().read() }
}

/// One test, since a process has one panic hook and one host.
#[test]
fn host_and_program_keep_what_is_theirs() {
    std::panic::set_hook(Box::new(|_| {
        HOOKED.fetch_add(1, Ordering::Relaxed);
    }));
    let host = Box::leak(Box::new(abi::Host {
        abi_major: 1,
        abi_minor: 0,
        size: size_of::<abi::Host>() as u32,
        ctx: std::ptr::null_mut(),
        log: Some(log),
        random: Some(random),
    }));
    let init = quartet_plugin_codec_raw.0.init.unwrap();
    // SAFETY: null is refused; the host is leaked.
    unsafe {
        assert_eq!(init(std::ptr::null()), abi::E_ARGUMENT);
        assert_eq!(quartet_plugin::random(&mut [0; 4]), Err(Error::State));
        assert_eq!(init(host), 0);
        assert_eq!(init(host), 0);
    }
    quartet_plugin::log(Level::Warn, "seen");
    let mut four = [0; 4];
    quartet_plugin::random(&mut four).unwrap();
    assert_eq!(
        (LINES.lock().unwrap().as_slice(), four),
        (["2 seen".to_owned()].as_slice(), [7; 4])
    );
    assert!(
        !tracing::dispatcher::has_been_set(),
        "no subscriber of the plugin's in the program"
    );
    assert_eq!(log::max_level(), log::LevelFilter::Off, "no logger either");

    let table = table();
    let config = abi::CodecConfig {
        size: size_of::<abi::CodecConfig>() as u32,
        sample_rate: 8000,
        channels: 1,
        frame_us: 20_000,
        local_fmtp: std::ptr::null(),
        remote_fmtp: c"\xff\xfe".as_ptr(),
        options: c"gain:3\n".as_ptr(),
    };
    // An older host's config ends before the options: then there are none.
    let older = abi::CodecConfig { size: 32, ..config };
    let (mut handle, mut none) = (std::ptr::null_mut(), std::ptr::null_mut());
    let (new, encode) = (table.encoder_new.unwrap(), table.encode.unwrap());
    let (pcm, mut out) = ([0_i16; 160], [0_u8; 320]);
    // SAFETY: the calls of the contract, each pointer as long as said.
    unsafe {
        assert_eq!(new(&raw const config, &raw mut handle), 0);
        assert_eq!(new(&raw const older, &raw mut none), abi::E_UNSUPPORTED);
        assert_eq!(new(std::ptr::null(), &raw mut none), abi::E_ARGUMENT);
        assert!(none.is_null(), "untouched");
        assert_eq!(encode(handle, pcm.as_ptr(), 160, out.as_mut_ptr(), 320), 160);
        assert_eq!(encode(handle, std::ptr::null(), 0, std::ptr::null_mut(), 0), 0);
        assert_eq!(
            encode(handle, std::ptr::null(), 5, out.as_mut_ptr(), 320),
            abi::E_ARGUMENT
        );
        assert_eq!(
            encode(std::ptr::null_mut(), pcm.as_ptr(), 160, out.as_mut_ptr(), 320),
            abi::E_ARGUMENT
        );
        // A panic is caught here, and told by the program's own hook.
        assert_eq!(encode(handle, pcm.as_ptr(), 77, out.as_mut_ptr(), 320), abi::E_INTERNAL);
        assert_eq!(table.encoder_set.unwrap()(handle, 999, i64::MIN), abi::E_UNSUPPORTED);
        table.encoder_free.unwrap()(handle);
        table.encoder_free.unwrap()(std::ptr::null_mut());
    }
    assert_eq!(HOOKED.load(Ordering::Relaxed), 1);
    let _ = std::panic::take_hook();
}
