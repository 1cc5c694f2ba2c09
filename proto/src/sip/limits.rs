//! The bounds of an endpoint: what it remembers of strangers is finite.

use std::time::Duration;

/// Bounds and times, with safe defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Server transactions kept at once; beyond: 503.
    pub server_transactions: usize,
    /// Bytes that they may hold together; beyond: 503.
    pub server_bytes: usize,
    /// Client transactions kept at once; beyond: commands are refused.
    pub client_transactions: usize,
    /// Dialogs at once; beyond: 503, and commands are refused.
    pub dialogs: usize,
    /// Nonces in use whose counts are kept; beyond, the oldest become stale.
    pub nonces: usize,
    /// Sources whose failed logins are counted; beyond, the calmest is forgotten.
    pub failing_sources: usize,
    /// A nonce is good for this long.
    pub nonce_lifetime: Duration,
    /// Failed logins of one source that are judged at once; of one account over all sources three times as many.
    pub login_failures: u32,
    /// After those, one login is judged in each of these.
    pub login_interval: Duration,
    /// Shortest registration; shorter ones get 423.
    pub min_expires: Duration,
    /// Registration that asks for no length.
    pub default_expires: Duration,
    /// Longest registration granted.
    pub max_expires: Duration,
    /// A contact beyond an account's [`max_contacts`](super::Account::max_contacts) takes the place of the oldest; else it gets 403.
    pub replace_oldest: bool,
    /// Responses to one source that is not registered, in a second; three seconds' worth at once.
    pub responses_per_second: u32,
    /// Told in `Retry-After` when tables are full.
    pub retry_after: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            server_transactions: 50_000,
            server_bytes: 64 << 20,
            client_transactions: 20_000,
            dialogs: 10_000,
            nonces: 20_000,
            failing_sources: 4_096,
            nonce_lifetime: Duration::from_secs(300),
            login_failures: 10,
            login_interval: Duration::from_secs(10),
            min_expires: Duration::from_secs(60),
            default_expires: Duration::from_secs(3600),
            max_expires: Duration::from_secs(7200),
            replace_oldest: true,
            responses_per_second: 20,
            retry_after: 5,
        }
    }
}
