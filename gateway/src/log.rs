//! Where log lines go, and what may stand in them.
//!
//! Lines go to standard error, where systemd and containers look for them. Keys, passwords and tokens are logged at no
//! level; numbers, names and addresses of people only through [`Redacted`]. Libraries keep no such rule: below INFO they
//! print messages as they pass, tokens in them (tungstenite), so what they say there is written for nobody.

mod one_line;
mod repeats;
mod summary;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt as lines, reload};

use one_line::OneLine;
use repeats::Repeats;
pub use summary::Summaries;

/// A text on one line, as the log shows it: for whatever else a terminal shows of what strangers say.
pub fn one_line(text: &str) -> std::borrow::Cow<'_, str> {
    one_line::escaped(text, false)
}

/// The target of lines that their place has summed up: as many a minute as there are sources of them, and no more than that
/// place keeps apart. They are all written, for fail2ban and its like.
pub const SUMMED: &str = "quartet::summed";

/// Our own crates, by the first part of a line's target. Lines of plugins are written by ours, which let libraries inside a
/// plugin say INFO and above only.
const OURS: [&str; 3] = ["quartet", "quartet_proto", "quartet_plugin"];

/// Whether DEBUG lines of ours are written, so that [`Redacted`] shows what it holds.
static SHOW: AtomicBool = AtomicBool::new(false);

/// Which lines are written; not set while the variable says so.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

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
/// `level` is that of `[log]`. It is overridden by `$RUST_LOG`. Libraries say warnings only, unless `level` is lower or trace; no
/// directive of the variable lets them say more than INFO.
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
    let is_fixed = std::env::var_os("RUST_LOG").is_some_and(|text| !text.is_empty());
    let (filter, handle) = reload::Layer::new(filter);
    subscriber(filter, io::stderr, io::stderr().is_terminal())
        .try_init()
        .map_err(|_| LogError::Twice)?;
    if !is_fixed {
        FILTER.set(handle).ok();
    }
    SHOW.store(tracing::enabled!(Level::DEBUG), Ordering::Relaxed);
    Ok(())
}

/// Writes lines of this level and above from now on; false if `$RUST_LOG` says what is written.
pub fn set_level(level: Level) -> bool {
    let filter = EnvFilter::new(directives(level));
    let set = FILTER.get().is_some_and(|handle| handle.reload(filter).is_ok());
    SHOW.store(tracing::enabled!(Level::DEBUG), Ordering::Relaxed);
    set
}

/// Writes the lines that both the filter and [`may_be_written`] let pass.
fn subscriber<W>(filter: impl Layer<Registry> + Send + Sync, writer: W, ansi: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::registry()
        .with(filter)
        .with(lines::layer().with_writer(OneLine::new(writer, ansi)).with_ansi(ansi))
        .with(Repeats::default())
        .with(FilterFn::new(may_be_written))
}

/// Whether a line may ever be written, whatever the level and the variable say. An allow-list: a library that comes in
/// tomorrow is held back as well.
fn may_be_written(line: &Metadata<'_>) -> bool {
    let module = line.target().split("::").next().unwrap_or_default();
    *line.level() <= Level::INFO || OURS.contains(&module)
}

/// Our own crates at `level`, the libraries at warnings.
fn directives(level: Level) -> String {
    let libraries = if level == Level::TRACE {
        Level::INFO
    } else {
        level.min(Level::WARN)
    };
    let ours: Vec<String> = OURS.iter().map(|name| format!("{name}={level}")).collect();
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
    use std::sync::{Arc, Mutex};

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

    /// Where the lines of a test go.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written under a filter, of lines of every level and of several origins.
    fn written(filter: &str) -> String {
        let lines = Written::default();
        let writer = lines.clone();
        let subscriber = subscriber(EnvFilter::try_new(filter).unwrap(), move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            macro_rules! each {
                ($($target:literal)*) => {$(
                    tracing::trace!(target: $target, "trace of {}", $target);
                    tracing::debug!(target: $target, "debug of {}", $target);
                    tracing::info!(target: $target, "info of {}", $target);
                    tracing::error!(target: $target, "error of {}", $target);
                    tracing::trace_span!(target: $target, "span", token = $target).in_scope(|| {
                        tracing::error!(target: "quartet", "within");
                    });
                )*};
            }
            each!("tungstenite::protocol" "hyper::proto" "log" "quartet_evil" "quartet::io" "quartet_proto::hub" "quartet");
        });
        let written = lines.0.lock().unwrap().clone();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn no_directive_lets_a_library_say_what_passes_through_it() {
        for filter in [
            "trace",
            "tungstenite=trace,hyper=trace,log=trace,quartet_evil=trace,quartet=trace,quartet_proto=trace",
            "[span]=trace,trace",
            "[span{token}]=trace,info,quartet=trace,quartet_proto=trace",
        ] {
            let text = written(filter);
            for library in ["tungstenite::protocol", "hyper::proto", "log", "quartet_evil"] {
                for level in ["trace", "debug"] {
                    assert!(!text.contains(&format!("{level} of {library}\n")), "{filter}:\n{text}");
                }
                assert!(!text.contains(&format!("token=\"{library}\"")), "{filter}:\n{text}");
                assert!(text.contains(&format!("error of {library}\n")), "{filter}:\n{text}");
            }
            for ours in ["quartet", "quartet::io", "quartet_proto::hub"] {
                for level in ["trace", "debug", "info"] {
                    assert!(text.contains(&format!("{level} of {ours}\n")), "{filter}:\n{text}");
                }
            }
        }
        assert!(written("trace").contains("info of hyper::proto\n"));
        let text = written("warn");
        assert!(
            !text.contains("info of") && text.contains("error of quartet\n"),
            "the filter still holds:\n{text}"
        );
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
