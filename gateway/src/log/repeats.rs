//! Warnings that repeat: so many of one place in the code are written in a minute, the others are counted. Whatever an
//! attacker can have us warn of, it fills no disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long warnings of one place are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Warnings of one place that are written in a window.
const MAX_WRITTEN: u64 = 20;

/// A place in the code: file and line.
type Site = (&'static str, u32);

/// The warnings and errors of one place in the code, in the window that runs.
#[derive(Debug)]
struct Place {
    begin: Instant,
    count: u64,
}

/// A layer that lets only so many warnings of one place pass to those after it.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    places: Mutex<HashMap<Site, Place>>,
}

/// What to do with a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Write,
    /// Write it, and say first how many were left out before.
    WriteAfter(u64),
    /// Write it, and say that more will be left out.
    WriteLast,
    LeaveOut,
}

impl Repeats {
    fn judge(&self, now: Instant, site: Site) -> Verdict {
        // A panic while holding it leaves counts, which are good enough.
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(site).or_insert(Place { begin: now, count: 0 });
        if now.saturating_duration_since(place.begin) >= WINDOW {
            let left_out = place.count.saturating_sub(MAX_WRITTEN);
            *place = Place { begin: now, count: 1 };
            return if left_out > 0 {
                Verdict::WriteAfter(left_out)
            } else {
                Verdict::Write
            };
        }
        place.count += 1;
        match place.count {
            MAX_WRITTEN => Verdict::WriteLast,
            count if count < MAX_WRITTEN => Verdict::Write,
            _ => Verdict::LeaveOut,
        }
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // What is said here, and what its place has summed up, is not counted: that is bounded already.
        if *metadata.level() > Level::WARN || [module_path!(), super::SUMMED].contains(&metadata.target()) {
            return true;
        }
        let (file, line) = (
            metadata.file().unwrap_or(metadata.target()),
            metadata.line().unwrap_or(0),
        );
        match self.judge(Instant::now(), (file, line)) {
            Verdict::Write => true,
            Verdict::WriteAfter(count) => {
                tracing::warn!(
                    place = format!("{file}:{line}"),
                    count,
                    "as many lines like the next were left out"
                );
                true
            }
            Verdict::WriteLast => {
                tracing::warn!(
                    place = format!("{file}:{line}"),
                    "after the next, lines like it are left out for up to a minute"
                );
                true
            }
            Verdict::LeaveOut => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_of_one_warning_is_cut_and_others_are_not() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(Repeats::default()).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..10_000 {
                tracing::warn!(n, "flood");
                tracing::info!(n, "call");
            }
            tracing::warn!("another");
            (0..100).for_each(|n| tracing::warn!(target: crate::log::SUMMED, n, "of its own source"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("flood").count(), 20);
        assert_eq!(text.matches("call").count(), 10_000);
        assert_eq!(text.matches("another").count(), 1);
        assert_eq!(
            text.matches("of its own source").count(),
            100,
            "these are bounded where they are made"
        );
    }

    #[test]
    fn what_was_left_out_is_counted_in_the_next_window() {
        let repeats = Repeats::default();
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let place = || ("some.rs", 7);
        let verdicts: Vec<_> = (0..50).map(|_| repeats.judge(at(0), place())).collect();
        assert_eq!(verdicts[0], Verdict::Write);
        assert_eq!(verdicts[19], Verdict::WriteLast);
        assert!(verdicts[20..].iter().all(|v| *v == Verdict::LeaveOut));
        assert_eq!(repeats.judge(at(59), place()), Verdict::LeaveOut);
        assert_eq!(repeats.judge(at(60), place()), Verdict::WriteAfter(31));
        assert_eq!(repeats.judge(at(61), place()), Verdict::Write);
    }
}
