//! The export macros and what they build on.

use core::ffi::c_char;

use crate::abi;

/// Builds a plugin's descriptor.
#[must_use]
#[allow(
    clippy::too_many_arguments,
    reason = "called by the macros only, once per field of the descriptor"
)]
pub const fn descriptor(
    kind: u16,
    strings: [&'static str; 4],
    tables: &'static [abi::Shared<*const core::ffi::c_void>],
    options: &'static [abi::Shared<abi::Option>],
    init: unsafe extern "C" fn(*const abi::Host) -> i32,
) -> abi::Plugin {
    let [id, version, licence, summary] = strings;
    let mut at = 0;
    while at < strings.len() {
        let text = strings[at].as_bytes();
        assert!(
            text.len() > 1 && text[text.len() - 1] == 0,
            "empty text in the plugin's description"
        );
        at += 1;
    }
    abi::Plugin {
        magic: abi::MAGIC,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        size: size_of::<abi::Plugin>() as u32,
        needs_minor: 0,
        kind,
        id: id.as_ptr().cast::<c_char>(),
        version: version.as_ptr().cast::<c_char>(),
        licence: licence.as_ptr().cast::<c_char>(),
        summary: summary.as_ptr().cast::<c_char>(),
        tables: tables.as_ptr().cast(),
        table_count: tables.len() as u64,
        options: options.as_ptr().cast(),
        option_count: options.len() as u64,
        init: Some(init),
    }
}

/// Says whether a symbol is `quartet_plugin_` and the id, with `_` for `-`.
#[must_use]
pub const fn same_name(symbol: &str, id: &str) -> bool {
    let (symbol, id, prefix) = (symbol.as_bytes(), id.as_bytes(), abi::SYMBOL_PREFIX.as_bytes());
    if symbol.len() != prefix.len() + id.len() {
        return false;
    }
    let mut at = 0;
    while at < symbol.len() {
        let want = if at < prefix.len() {
            prefix[at]
        } else {
            match id[at - prefix.len()] {
                b'-' => b'_',
                other => other,
            }
        };
        if symbol[at] != want {
            return false;
        }
        at += 1;
    }
    true
}

/// Exports a codec plugin: its one symbol, its strings, its options and its codecs.
///
/// ```
/// # use quartet_plugin::{Codec, CodecConfig, Decoder, Encoder, Error};
/// # struct Raw;
/// # impl Encoder for Raw {
/// #     fn new(_: &CodecConfig<'_>) -> Result<Self, Error> { Ok(Raw) }
/// #     fn encode(&mut self, _: &[i16], _: &mut [u8]) -> Result<usize, Error> { Ok(0) }
/// # }
/// # impl Decoder for Raw {
/// #     fn new(_: &CodecConfig<'_>) -> Result<Self, Error> { Ok(Raw) }
/// #     fn decode(&mut self, _: &[u8], _: &mut [i16]) -> Result<usize, Error> { Ok(0) }
/// # }
/// # impl Codec for Raw {
/// #     const SDP_NAME: &'static core::ffi::CStr = c"X-RAW";
/// #     const RTP_CLOCK: u32 = 8000;
/// #     const MAX_PACKET: u32 = 320;
/// #     const SAMPLE_RATES: &'static [u32] = &[8000];
/// #     const FRAME_US: &'static [u32] = &[20_000];
/// #     type Encoder = Raw;
/// #     type Decoder = Raw;
/// # }
/// quartet_plugin::export_codecs! {
///     symbol: quartet_plugin_codec_raw,
///     id: "codec-raw",
///     licence: "MIT",
///     summary: "16-bit samples as they are",
///     options: [{ name: "gain", kind: "int", default_value: "0", help: "dB added before encoding" }],
///     codecs: [Raw],
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_codecs {
    (
        symbol: $symbol:ident, id: $id:literal, licence: $licence:literal, summary: $summary:literal,
        options: $options:tt, codecs: [$($codec:ty),+ $(,)?] $(,)?
    ) => {
        $crate::export_plugin! {
            $symbol, $id, $licence, $summary, $options, $crate::abi::KIND_CODEC,
            [$($crate::private::CodecTable::<$codec>::TABLE),+]
        }
    };
}

/// Exports a session transport plugin: its one symbol, its strings, its options and its transports.
///
/// The same words as [`export_codecs!`], with `transports: [..]` in place of `codecs: [..]`.
#[macro_export]
macro_rules! export_transport {
    (
        symbol: $symbol:ident, id: $id:literal, licence: $licence:literal, summary: $summary:literal,
        options: $options:tt, transports: [$($transport:ty),+ $(,)?] $(,)?
    ) => {
        $crate::export_plugin! {
            $symbol, $id, $licence, $summary, $options, $crate::abi::KIND_SESSION,
            [$($crate::private::TransportTable::<$transport>::TABLE),+]
        }
    };
}

/// Exports a path plugin: datagrams above and below, under any session. A relay is one.
///
/// The same words as [`export_transport!`]; `receive` gives [`Outcome::Datagram`](crate::Outcome::Datagram) for what is for the
/// layer above.
#[macro_export]
macro_rules! export_path {
    (
        symbol: $symbol:ident, id: $id:literal, licence: $licence:literal, summary: $summary:literal,
        options: $options:tt, paths: [$($path:ty),+ $(,)?] $(,)?
    ) => {
        $crate::export_plugin! {
            $symbol, $id, $licence, $summary, $options, $crate::abi::KIND_PATH,
            [$($crate::private::TransportTable::<$path>::TABLE),+]
        }
    };
}

/// What all export macros expand to.
#[doc(hidden)]
#[macro_export]
macro_rules! export_plugin {
    (
        $symbol:ident, $id:literal, $licence:literal, $summary:literal,
        [$({ name: $name:literal, kind: $type:literal, default_value: $default_value:literal, help: $help:literal }),* $(,)?],
        $kind:expr, [$($table:expr),+]
    ) => {
        #[cfg(panic = "abort")]
        compile_error!("a Quartet plugin must unwind: remove panic = \"abort\" from its profile, or one panic ends every call");

        const _: () = assert!(
            $crate::private::same_name(stringify!($symbol), $id),
            "the symbol must be quartet_plugin_ and the id, with _ for -"
        );

        /// The descriptor that a host looks for.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals, unsafe_code, reason = "the contract names the symbol")]
        pub static $symbol: $crate::abi::Shared<$crate::abi::Plugin> = {
            #[allow(unsafe_code, reason = "the contract's C entry")]
            unsafe extern "C" fn init(host: *const $crate::abi::Host) -> i32 {
                // SAFETY: passed on from the host.
                unsafe { $crate::private::init(host, module_path!()) }
            }
            const TABLES: &[$crate::abi::Shared<*const ::core::ffi::c_void>] =
                &[$($crate::abi::Shared(&raw const $table.0 as *const ::core::ffi::c_void)),+];
            const OPTIONS: &[$crate::abi::Shared<$crate::abi::Option>] = &[$($crate::abi::Shared($crate::abi::Option {
                name: concat!($name, "\0").as_ptr().cast(),
                kind: concat!($type, "\0").as_ptr().cast(),
                default_value: concat!($default_value, "\0").as_ptr().cast(),
                help: concat!($help, "\0").as_ptr().cast(),
            })),*];
            $crate::abi::Shared($crate::private::descriptor(
                $kind,
                [
                    concat!($id, "\0"),
                    concat!(env!("CARGO_PKG_VERSION"), "\0"),
                    concat!($licence, "\0"),
                    concat!($summary, "\0"),
                ],
                TABLES,
                OPTIONS,
                init,
            ))
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbol_and_id_belong_together() {
        assert!(same_name("quartet_plugin_codec_g711", "codec-g711"));
        assert!(!same_name("quartet_plugin_codec_g711", "codec-g722"));
        assert!(!same_name("quartet_plugin_codec", "codec-g711"));
        assert!(!same_name("plugin_codec_g711xxxxxxxx", "codec-g711"));
    }
}
