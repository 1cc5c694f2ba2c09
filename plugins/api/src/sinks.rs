//! Where a plugin's `tracing`, `log` and panic messages go: to the host's log.
//!
//! A shared library has its own copies of these crates, so without this its lines are lost. Installed once, by `init`,
//! and only in a library of its own.

use core::fmt::{self, Write};
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::span;

use crate::host::{self, Level};

/// The first part of the plugin's module path: its own lines pass up to DEBUG, as ours do.
static MODULE: OnceLock<&'static str> = OnceLock::new();

/// Sends everything to the host from now on.
pub(crate) fn install(module: &'static str) {
    let module = module.split("::").next().unwrap_or(module);
    let _ = MODULE.set(module);
    // Each of the three fails only if the plugin has installed its own before: then that one stays.
    let _ = tracing::subscriber::set_global_default(TracingSink);
    if log::set_logger(&LogSink).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
    std::panic::set_hook(Box::new(|panic| {
        let mut line = Line::new();
        let _ = write!(line, "panic in plugin: {panic}");
        host::log(Level::Error, line.text());
    }));
}

/// Libraries print what they like below WARN, secrets included; only our own and the plugin's own lines pass then, down to DEBUG.
fn passes(level: Level, target: &str) -> bool {
    let own = MODULE.get().copied().unwrap_or_default();
    match level {
        Level::Error | Level::Warn => true,
        Level::Info | Level::Debug => target.starts_with("quartet_") || (!own.is_empty() && target.starts_with(own)),
        Level::Trace => false,
    }
}

struct TracingSink;

const fn tracing_level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

impl tracing::Subscriber for TracingSink {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && passes(tracing_level(*metadata.level()), metadata.target())
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::DEBUG)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::new();
        let _ = write!(line, "{}:", event.metadata().target());
        event.record(&mut line);
        host::log(tracing_level(*event.metadata().level()), line.text());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct LogSink;

const fn log_level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug => Level::Debug,
        log::Level::Trace => Level::Trace,
    }
}

impl log::Log for LogSink {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        passes(log_level(metadata.level()), metadata.target())
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = Line::new();
            let _ = write!(line, "{}: {}", record.target(), record.args());
            host::log(log_level(record.level()), line.text());
        }
    }

    fn flush(&self) {}
}

/// One log line on the stack; what does not fit is cut off.
struct Line {
    bytes: [u8; 1024],
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Self {
            bytes: [0; 1024],
            len: 0,
        }
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fits = text.len().min(self.bytes.len() - self.len);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.bytes[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        Ok(())
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self, " {value:?}"),
            name => write!(self, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_characters() {
        let mut line = Line::new();
        for _ in 0..2000 {
            line.write_str("é€").unwrap();
        }
        assert!(line.text().len() > 1000 && line.text().starts_with("é€é"));
    }

    #[test]
    fn secrets_of_libraries_stay_inside() {
        assert!(!passes(Level::Info, "dimpl::engine") && passes(Level::Warn, "dimpl::engine"));
        assert!(!passes(Level::Debug, "is::agent"));
        assert!(passes(Level::Debug, "quartet_proto::webrtc"));
        assert!(!passes(Level::Trace, "quartet_proto::webrtc"));
    }
}
