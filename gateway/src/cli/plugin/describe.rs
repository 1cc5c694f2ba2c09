//! What a plugin is, in words and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::plugins::{CodecReport, CodecTable, FmtpRole, Loaded, Registry, TransportTable};

/// What `inspect` prints, for eyes and for programs.
pub(super) fn description(loaded: &Loaded, registry: &Registry) -> Value {
    let facts = &loaded.facts;
    let glibc = facts.glibc.map(|(major, minor)| format!("{major}.{minor}"));
    let version = |(major, minor): (u16, u16)| format!("{major}.{minor}");
    let host = version((quartet_plugin::abi::ABI_MAJOR, quartet_plugin::abi::ABI_MINOR));
    let mut text = format!(
        "{} {} ({})  {}, plugin ABI {} (this gateway {host})   needs {}, glibc {}; exports {} symbol{}\n  {}\n",
        loaded.id,
        loaded.version,
        loaded.licence,
        loaded.kind.word(),
        version(facts.abi),
        if facts.libraries.is_empty() {
            "no library".to_owned()
        } else {
            facts.libraries.join(" ")
        },
        glibc.as_deref().unwrap_or("any"),
        facts.exports,
        if facts.exports == 1 { "" } else { "s" },
        loaded.summary,
    );
    let codecs: Vec<Value> = registry
        .codecs()
        .iter()
        .zip(&loaded.reports)
        .map(|(codec, report)| {
            text.push_str(&codec_lines(codec, report));
            codec_json(codec, report)
        })
        .collect();
    let mut transports = |tables: &[TransportTable], layer: &str| -> Vec<Value> {
        let describe = |table: &TransportTable| {
            let (name, head, tail) = (table.name(), table.headroom(), table.tailroom());
            let _ = writeln!(text, "  {name}  {layer}  room {head} before, {tail} behind");
            json!({ "name": name, "headroom": head, "tailroom": tail })
        };
        tables.iter().map(describe).collect()
    };
    let sessions = transports(registry.transports(), "session");
    let paths = transports(registry.paths(), "path");
    for (at, option) in loaded.options.iter().enumerate() {
        let word = if at == 0 { "options" } else { "" };
        let (name, kind, default_value, help) = (&option.name, &option.kind, &option.default_value, &option.help);
        let _ = writeln!(text, "  {word:11} {name:12} {kind:5} {default_value:8} {help}");
    }
    let mut warnings = Vec::new();
    if facts.exports > 1 {
        warnings.push("exports more than its descriptor: build with -fvisibility=hidden and -Wl,--exclude-libs,ALL");
    }
    if loaded.fast_math {
        warnings.push("linked with -ffast-math, which changes how the thread that loads it reckons");
    }
    for warning in &warnings {
        let _ = writeln!(text, "  warning     {warning}");
    }
    let options: Vec<Value> = loaded
        .options
        .iter()
        .map(|row| json!({ "name": row.name, "type": row.kind, "default_value": row.default_value, "help": row.help }))
        .collect();
    json!({
        "id": loaded.id, "version": loaded.version, "licence": loaded.licence, "summary": loaded.summary,
        "kind": loaded.kind.word(), "abi": version(facts.abi), "host_abi": host, "libraries": facts.libraries,
        "glibc": glibc, "exports": facts.exports, "symbol": facts.symbol, "codecs": codecs, "transports": sessions, "paths": paths,
        "options": options, "warnings": warnings, "text": text,
    })
}

fn codec_lines(codec: &CodecTable, report: &CodecReport) -> String {
    let number = codec
        .payload_type()
        .map_or("dynamic".to_owned(), |number| format!("static {number}"));
    let rates: Vec<String> = codec
        .rates()
        .iter()
        .map(|rate| format!("{}", f64::from(*rate) / 1000.0))
        .collect();
    let ms = |us: Option<&u32>| f64::from(us.copied().unwrap_or_default()) / 1000.0;
    let (least, most) = (ms(codec.frame_us().iter().min()), ms(codec.frame_us().iter().max()));
    let offer = codec.fmtp(FmtpRole::Offer, "").unwrap_or_default();
    let offer = if offer.is_empty() { "none".to_owned() } else { offer };
    let sample = match report.sample_difference {
        None => "none".to_owned(),
        Some(0) => "exact".to_owned(),
        Some(difference) => format!("off by {difference}"),
    };
    let us = |time: Duration| time.as_nanos() as f64 / 1000.0;
    let share = us(report.encode + report.decode) / f64::from(report.frame_us) * 100.0;
    format!(
        "  {}/{}/{}  {number}  pcm {} kHz  packets {least}..{most} ms  offer: {offer}\n  \
         self-check  tone {:.4}   sample: {sample}   {} ms frame at {} kHz: encode {:.1} us, decode {:.1} us  ({share:.2} % of a core both ways)\n",
        codec.name(),
        codec.clock(),
        codec.channels(),
        rates.join(" "),
        report.tone,
        f64::from(report.frame_us) / 1000.0,
        f64::from(report.sample_rate) / 1000.0,
        us(report.encode),
        us(report.decode),
    )
}

fn codec_json(codec: &CodecTable, report: &CodecReport) -> Value {
    json!({
        "name": codec.name(), "clock": codec.clock(), "channels": codec.channels(), "payload_type": codec.payload_type(),
        "rates": codec.rates(), "frame_us": codec.frame_us(), "max_packet": codec.max_packet(),
        "offer": codec.fmtp(FmtpRole::Offer, "").unwrap_or_default(), "tone": report.tone,
        "sample_difference": report.sample_difference, "encode_ns": report.encode.as_nanos() as u64,
        "decode_ns": report.decode.as_nanos() as u64, "timed_frame_us": report.frame_us, "timed_rate": report.sample_rate,
    })
}
