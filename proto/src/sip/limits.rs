//! The bounds of an endpoint: what it remembers of strangers is finite.

use std::time::Duration;

/// Bounds and times, with safe defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Server transactions kept at once; beyond: 503.
    pub server_transactions: usize,
    /// Client transactions kept at once; beyond: commands are refused.
    pub client_transactions: usize,
    /// Dialogs at once; beyond: 503, and commands are refused.
    pub dialogs: usize,
    /// Nonces in use whose counts are kept; beyond, the oldest become stale.
    pub nonces: usize,
    /// Pairs of account and source whose failures are kept.
    pub failures: usize,
    /// Failed logins whose transactions are kept at once; beyond: 403, and nothing is remembered.
    pub failed_logins: usize,
    /// The same for one source.
    pub failed_logins_of_source: usize,
    /// A nonce is good for this long.
    pub nonce_lifetime: Duration,
    /// From this failure on, answers to failed logins wait for `slow_delay`.
    pub failures_slow: u32,
    /// From this failure on, logins are refused until the window has passed.
    pub failures_lock: u32,
    /// Failures older than this are forgotten.
    pub window: Duration,
    /// How long a slowed answer waits.
    pub slow_delay: Duration,
    /// Shortest registration; shorter ones get 423.
    pub min_expires: Duration,
    /// Registration without a wish.
    pub default_expires: Duration,
    /// Longest registration granted.
    pub max_expires: Duration,
    /// OPTIONS outside a dialog answered per source and second.
    pub options_per_second: u32,
    /// Told in `Retry-After` when tables are full.
    pub retry_after: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            server_transactions: 50_000,
            client_transactions: 20_000,
            dialogs: 10_000,
            nonces: 20_000,
            failures: 4_096,
            failed_logins: 1_000,
            failed_logins_of_source: 32,
            nonce_lifetime: Duration::from_secs(300),
            failures_slow: 5,
            failures_lock: 10,
            window: Duration::from_secs(60),
            slow_delay: Duration::from_secs(1),
            min_expires: Duration::from_secs(60),
            default_expires: Duration::from_secs(3600),
            max_expires: Duration::from_secs(7200),
            options_per_second: 20,
            retry_after: 5,
        }
    }
}
