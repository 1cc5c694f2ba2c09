//! The header and the Rust types are the same contract: a C program prints sizes, offsets and constants, and helps with
//! the key finder.

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use quartet_plugin::abi::*;
use quartet_plugin::fmtp_value;

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Compiles a C program over the header and returns what it prints.
fn run(name: &str, body: &str, arguments: &[&str]) -> String {
    let folder = folder(name);
    let (source, program) = (folder.join("main.c"), folder.join("main"));
    let text = format!(
        "#include <stdio.h>\n#include \"quartet_plugin.h\"\nint main(int argc, char **argv) {{\n(void)argc; (void)argv;\n{body}return 0;\n}}\n"
    );
    std::fs::write(&source, text).expect("the source is written");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let built = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-I"])
        .arg(include)
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .output()
        .expect("a C compiler is there: libopus needs one too");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let output = Command::new(&program).args(arguments).output().expect("it runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("it prints ASCII")
}

#[test]
fn sizes_and_offsets_agree() {
    let (mut c, mut rust) = (String::new(), String::new());
    macro_rules! compare {
        ($c:literal, $rust:ty: $($field:ident $(= $own:ident)?),*) => {
            writeln!(c, "printf(\"{0} %zu\\n\", sizeof(struct {0}));", $c).unwrap();
            writeln!(rust, "{} {}", $c, size_of::<$rust>()).unwrap();
            $(
                writeln!(c, "printf(\"{0}.{1} %zu\\n\", offsetof(struct {0}, {1}));", $c, stringify!($field)).unwrap();
                writeln!(rust, "{}.{} {}", $c, stringify!($field), compare!(@ $rust, $field $(, $own)?)).unwrap();
            )*
        };
        (@ $rust:ty, $field:ident) => { offset_of!($rust, $field) };
        (@ $rust:ty, $field:ident, $own:ident) => { offset_of!($rust, $own) };
    }
    compare!("quartet_host", Host: abi_major, abi_minor, size, ctx, log, random);
    compare!("quartet_option", Option: name, type = kind, default_value, help);
    compare!("quartet_plugin", Plugin: magic, abi_major, abi_minor, size, needs_minor, kind, id, version, licence, summary,
        tables, table_count, options, option_count, init);
    compare!("quartet_codec_config", CodecConfig: size, sample_rate, channels, frame_us, local_fmtp, remote_fmtp, options);
    compare!("quartet_sample", Sample: packet, pcm, packet_len, pcm_count, sample_rate, channels, tolerance, reserved0, reserved);
    compare!("quartet_codec", Codec: size, flags, sdp_name, payload_type, rtp_clock, sdp_channels, max_packet, sample_rates,
        frame_us, fmtp, encoder_new, encode, encoder_set, encoder_free, decoder_new, decode, decoder_set, decoder_free,
        packet_samples, sample);
    compare!("quartet_addr", Addr: ip, scope, port, family, reserved);
    compare!("quartet_packet", Packet: data, len, headroom, tailroom, path, src, dst, kind, ecn);
    compare!("quartet_output", Output: packet, deadline_ns, text, text_len, event, reserved);
    compare!("quartet_transport_config", TransportConfig: size, role, now_ns, options, reserved);
    compare!("quartet_transport", Transport: size, flags, name, headroom, tailroom, create, destroy, local, tell, receive,
        send, timeout, poll);
    assert_eq!(run("layout", &c, &[]), rust);
}

#[test]
fn constants_agree() {
    let (mut c, mut rust) = (String::new(), String::new());
    macro_rules! compare {
        ($($name:ident),* $(,)?) => {$(
            writeln!(c, "printf(\"{0} %lld\\n\", (long long)QUARTET_{0});", stringify!($name)).unwrap();
            writeln!(rust, "{} {}", stringify!($name), i64::from($name)).unwrap();
        )*};
    }
    compare!(
        MAGIC,
        ABI_MAJOR,
        ABI_MINOR,
        KIND_CODEC,
        KIND_SESSION,
        KIND_PATH,
        E_ARGUMENT,
        E_UNSUPPORTED,
        E_NO_MATCH,
        E_MALFORMED,
        E_TOO_SMALL,
        E_STATE,
        E_RESOURCES,
        E_INTERNAL,
        LOG_ERROR,
        LOG_WARN,
        LOG_INFO,
        LOG_DEBUG,
        LOG_TRACE,
        PAYLOAD_DYNAMIC,
        FMTP_OFFER,
        FMTP_ANSWER,
        FMTP_ACCEPT,
        DECODE_PACKET,
        DECODE_LOST,
        DECODE_FEC,
        SET_BITRATE,
        SET_COMPLEXITY,
        SET_FEC,
        SET_LOSS_PERMILLE,
        SET_DTX,
        ROLE_OFFER,
        ROLE_ANSWER,
        TELL_REMOTE,
        TELL_PATHS,
        TELL_CONTROL,
        NONE,
        TRANSMIT,
        RTP,
        RTCP,
        DATA,
        DATAGRAM,
        EVENT,
        EVENT_CONNECTED,
        EVENT_FAILED,
        EVENT_LOCAL,
        EVENT_ADDRESS,
        EVENT_STATS,
        DATA_TEXT,
        FLAG_STREAM,
    );
    writeln!(c, "printf(\"%d\\n\", QUARTET_NO_DEADLINE == UINT64_MAX);").unwrap();
    writeln!(rust, "{}", i32::from(NO_DEADLINE == u64::MAX)).unwrap();
    assert_eq!(run("constants", &c, &[]), rust);
}

#[test]
fn both_key_finders_agree() {
    let body = "size_t n = 0; for (int i = 1; i < argc; i++) { const char *v = quartet_fmtp_value(argv[i], \"usedtx\", &n);\n\
                if (v) printf(\"[%.*s]\\n\", (int)n, v); else printf(\"none\\n\"); }\n";
    let texts = [
        "",
        "usedtx=1",
        "a=1;usedtx=1",
        "a=1; UseDTX = 1 ;b=2",
        "xusedtx=1",
        "usedtx",
        "usedtxx=1",
        "usedtx=",
        ";;;",
        "=;=",
        "usedtx=1=2",
        " usedtx=7",
        "a;usedtx;b",
        "usedt",
        "a=usedtx",
    ];
    let rust: String = texts
        .iter()
        .map(|text| fmtp_value(text, "usedtx").map_or("none\n".to_owned(), |value| format!("[{}]\n", value.trim())))
        .collect();
    // C leaves the blanks in front of the value.
    let c = run("fmtp", body, &texts).replace("[ ", "[");
    assert_eq!(c, rust);
}
