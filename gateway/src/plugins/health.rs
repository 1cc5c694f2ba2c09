//! Counts what goes wrong in a plugin, and bars one that fails too often.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::PluginError;

/// So many faults within [`WINDOW_MS`] bar a plugin: one may be bad luck, ten in a minute are a pattern.
const FAULTS: usize = 10;
const WINDOW_MS: u64 = 60_000;

/// What one plugin has done so far; all handles on it share this.
#[derive(Debug)]
pub(super) struct Health {
    id: String,
    start: Instant,
    handles: AtomicU64,
    faults: AtomicU64,
    malformed: AtomicU64,
    barred: AtomicBool,
    /// When the last faults came, milliseconds after `start` and one, 0 for never: a ring by fault number.
    times: [AtomicU64; FAULTS],
}

/// The counters of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Handles made.
    pub handles: u64,
    /// Broken promises: code -8, an unknown code, a count over the buffer.
    pub faults: u64,
    /// Packets and texts that the plugin called malformed: the peers' doing.
    pub malformed: u64,
    /// No new calls go to this plugin.
    pub barred: bool,
}

impl Health {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            start: Instant::now(),
            handles: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            barred: AtomicBool::new(false),
            times: [const { AtomicU64::new(0) }; FAULTS],
        }
    }

    /// Says whether a new handle may be made.
    pub(super) fn admit(&self) -> Result<(), PluginError> {
        if self.barred.load(Ordering::Relaxed) {
            return Err(PluginError::Barred);
        }
        self.handles.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Turns a negative result into an error and counts it.
    pub(super) fn judge(&self, code: i32, call: &'static str) -> PluginError {
        let error = PluginError::from_code(code);
        match error {
            PluginError::Faulty => self.fault(call, code, None),
            PluginError::Malformed => {
                self.malformed.fetch_add(1, Ordering::Relaxed);
            }
            PluginError::Argument
            | PluginError::Unsupported
            | PluginError::NoMatch
            | PluginError::TooSmall
            | PluginError::State
            | PluginError::Resources
            | PluginError::Barred => {}
        }
        error
    }

    /// Notes a broken promise: a result, and what there was room for, if it is more than that.
    pub(super) fn fault(&self, call: &'static str, result: i32, room: Option<usize>) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.fault_at(call, result, room, now);
    }

    fn fault_at(&self, call: &'static str, result: i32, room: Option<usize>, now: u64) {
        let number = self.faults.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            plugin = self.id,
            call,
            result,
            room,
            "plugin broke its promise; this leg ends"
        );
        let slot = usize::try_from((number + 1) % FAULTS as u64).unwrap_or_default();
        self.times[usize::try_from(number % FAULTS as u64).unwrap_or_default()].store(now, Ordering::Relaxed);
        let oldest = self.times[slot].load(Ordering::Relaxed);
        if oldest != 0 && now.saturating_sub(oldest) < WINDOW_MS && !self.barred.swap(true, Ordering::Relaxed) {
            tracing::error!(
                plugin = self.id,
                "plugin failed too often: no new calls until the next start"
            );
        }
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            handles: self.handles.load(Ordering::Relaxed),
            faults: self.faults.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
            barred: self.barred.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_faults_in_a_minute_bar_the_plugin() {
        let health = Health::new("codec-x");
        for n in 0..9 {
            health.fault_at("encode", -8, None, 1 + n * 5_000);
            assert_eq!(health.admit(), Ok(()));
        }
        health.fault_at("encode", -8, None, 59_999);
        assert_eq!(health.admit(), Err(PluginError::Barred));
        assert!(health.counters().barred);
    }

    #[test]
    fn slow_faults_do_not() {
        let health = Health::new("codec-x");
        for n in 0..100 {
            health.fault_at("encode", -8, None, 1 + n * 7_000);
        }
        assert_eq!(health.admit(), Ok(()));
        assert_eq!(health.counters().faults, 100);
    }

    #[test]
    fn peers_faults_are_not_the_plugins() {
        let health = Health::new("codec-x");
        for _ in 0..100 {
            assert_eq!(health.judge(-4, "decode"), PluginError::Malformed);
            assert_eq!(health.judge(-2, "decode"), PluginError::Unsupported);
        }
        assert_eq!(
            health.counters(),
            Counters {
                malformed: 100,
                ..Counters::default()
            }
        );
        assert_eq!(health.judge(-77, "decode"), PluginError::Faulty);
        assert_eq!(health.counters().faults, 1);
    }
}
