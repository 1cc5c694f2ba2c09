//! Where log lines go, and what may stand in them.
//!
//! Lines go to standard error, where systemd and containers look for them. Keys, passwords and tokens are logged at no
//! level; numbers, names and addresses of people only through [`Redacted`]. Libraries print what passes through them, tokens
//! included, below INFO: no setting and no variable lets them.

mod repeats;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use repeats::Repeats;

/// Whether DEBUG lines of ours are written, so that [`Redacted`] shows what it holds.
static SHOW: AtomicBool = AtomicBool::new(false);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// `$RUST_LOG` cannot be read: our operator's mistake.
    #[error(
        "the variable RUST_LOG is \"{text}\", which is no log filter ({error}); it is as \"info\" or \"quartet=debug\""
    )]
    Filter {
        /// What it says.
        text: String,
        /// What the reader of filters says.
        error: tracing_subscriber::filter::ParseError,
    },
    /// It was set up before in this process: a bug.
    #[error("logging is set up twice")]
    Twice,
}

/// Sets logging up for the process, once, before the first thread.
///
/// `level` is that of `[log]`. `$RUST_LOG` goes before it. Libraries say warnings only, unless `level` is lower or trace.
///
/// # Errors
/// [`LogError`] if `$RUST_LOG` is wrong or logging is set up already.
pub fn init(level: Level) -> Result<(), LogError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|error| LogError::Filter {
            text: text.clone(),
            error,
        })?,
        _ => EnvFilter::new(directives(level)),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(|metadata| is_harmless(metadata.target(), *metadata.level())))
        .with(Repeats::default())
        .with(lines)
        .try_init()
        .map_err(|_| LogError::Twice)?;
    SHOW.store(tracing::enabled!(Level::DEBUG), Ordering::Relaxed);
    Ok(())
}

/// Whether lines of this target and level hold nothing secret: ours at every level, those of libraries from INFO up.
fn is_harmless(target: &str, level: Level) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    let ours = ["quartet", "quartet_proto", "quartet_plugin", "plugin"].contains(&name);
    ours || level <= Level::INFO
}

/// Our own crates at `level`, the libraries at warnings.
fn directives(level: Level) -> String {
    let libraries = if level == Level::TRACE {
        Level::INFO
    } else {
        level.min(Level::WARN)
    };
    let ours = ["quartet", "quartet_proto", "quartet_plugin"];
    let ours: Vec<String> = ours.iter().map(|name| format!("{name}={level}")).collect();
    format!("{libraries},{}", ours.join(",")).to_lowercase()
}

/// Something about a person: a number, a name, an address. It is shown only while DEBUG lines are written; otherwise `…`
/// stands for it.
///
/// `info!(from = %Redacted(&caller), "call")`
pub struct Redacted<T>(pub T);

impl<T: fmt::Display> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if SHOW.load(Ordering::Relaxed) {
            self.0.fmt(f)
        } else {
            f.write_str("…")
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if SHOW.load(Ordering::Relaxed) {
            self.0.fmt(f)
        } else {
            f.write_str("…")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_hidden_until_debug() {
        // One test for both states: they are of the whole process, and no other test asks.
        let shown = || (format!("{}", Redacted("anna")), format!("{:?}", Redacted("anna")));
        assert_eq!(shown(), ("…".to_owned(), "…".to_owned()));
        SHOW.store(true, Ordering::Relaxed);
        assert_eq!(shown(), ("anna".to_owned(), "\"anna\"".to_owned()));
        SHOW.store(false, Ordering::Relaxed);
    }

    #[test]
    fn no_library_says_what_passes_through_it() {
        for target in [
            "tungstenite::protocol",
            "tokio_tungstenite",
            "hyper::proto::h1",
            "axum::serve",
            "dimpl",
            "is::agent",
            "sctp_proto",
            "webrtc_srtp",
            "rustls",
            "quartetto",
            "",
        ] {
            assert!(
                !is_harmless(target, Level::TRACE) && !is_harmless(target, Level::DEBUG),
                "{target}"
            );
            assert!(
                is_harmless(target, Level::INFO) && is_harmless(target, Level::ERROR),
                "{target}"
            );
        }
        for target in ["quartet", "quartet::exchange", "quartet_proto::sip", "plugin"] {
            assert!(is_harmless(target, Level::TRACE), "{target}");
        }
    }

    #[test]
    fn libraries_are_quieter_than_we_are() {
        for (level, expected) in [
            (
                Level::ERROR,
                "error,quartet=error,quartet_proto=error,quartet_plugin=error",
            ),
            (Level::INFO, "warn,quartet=info,quartet_proto=info,quartet_plugin=info"),
            (
                Level::DEBUG,
                "warn,quartet=debug,quartet_proto=debug,quartet_plugin=debug",
            ),
            (
                Level::TRACE,
                "info,quartet=trace,quartet_proto=trace,quartet_plugin=trace",
            ),
        ] {
            assert_eq!(directives(level), expected);
            assert!(EnvFilter::try_new(directives(level)).is_ok());
        }
    }
}
