//! How much one source, one account, one connection may ask of the hub.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Account;

/// The bounds of a hub. The defaults suit one gateway with some hundred users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections whose hello was accepted.
    pub sessions: usize,
    /// Such connections of one source address (of one /64 for IPv6).
    pub sessions_per_source: usize,
    /// Connections that have not said hello yet; one more takes the place of the oldest.
    pub pending: usize,
    /// The same, of one source address.
    pub pending_per_source: usize,
    /// Connections of one account.
    pub devices_per_account: usize,
    /// Calls at the same time.
    pub calls: usize,
    /// Call requests in a minute for one user, half of them at once; gateways share theirs out among their own callers.
    pub calls_per_minute_callee: u32,
    /// What a person's account and each of its sessions may.
    pub person: AccountLimits,
    /// The same of a gateway's account.
    pub gateway: AccountLimits,
    /// Failed hellos of a source after which it must wait, twice as long each time.
    pub failures_slow: u32,
    /// Failed hellos of a source after which it is locked out.
    pub failures_lock: u32,
    /// How long a failed hello counts, and how long a lock lasts.
    pub failures_window: Duration,
    /// How long a connection may stay without a hello.
    pub hello: Duration,
    /// How long a call may ring. Official clients of Telegram-style calls wait as long.
    pub ring: Duration,
    /// How long an accepted call may wait for the caller's confirmation.
    pub confirm: Duration,
    /// How long a session may be without a connection, and a call wait for its second party after a restart.
    pub resume: Duration,
    /// After how long the other side of its calls is told.
    pub away: Duration,
}

/// How much one account and each of its sessions may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// Calls of one session at the same time, rung or talking.
    pub calls: usize,
    /// Call requests in a minute, of the account.
    pub call_requests_per_minute: u32,
    /// All other requests in a minute, signals apart, of the account.
    pub requests_per_minute: u32,
    /// Signalling packets in a second, of one session; four seconds' worth may come at once.
    pub signals_per_second: u32,
    /// Bytes in a second, of one connection; sixteen seconds' worth may come at once.
    pub bytes_per_second: u32,
    /// Faulty or refused frames in a minute, of one connection, before it is closed.
    pub faults_per_minute: u32,
    /// Events that are kept for a session without a connection, and answers for a client that asks again.
    pub kept: usize,
    /// The bytes of those events.
    pub kept_bytes: usize,
}

impl AccountLimits {
    /// One person, on one device or some.
    pub const PERSON: Self = Self {
        calls: 8,
        call_requests_per_minute: 30,
        requests_per_minute: 600,
        signals_per_second: 50,
        bytes_per_second: 256 * 1024,
        faults_per_minute: 100,
        kept: 256,
        kept_bytes: 256 * 1024,
    };

    /// A gateway with many phones. A call costs some ten requests and twenty signals in its first seconds, and a refused call is
    /// a refused frame.
    #[must_use]
    pub fn of_gateway(calls: usize, call_requests_per_minute: u32) -> Self {
        Self {
            calls,
            call_requests_per_minute,
            requests_per_minute: call_requests_per_minute.saturating_mul(10),
            signals_per_second: 5000,
            bytes_per_second: 4 * 1024 * 1024,
            faults_per_minute: call_requests_per_minute.saturating_mul(2),
            kept: 4096,
            kept_bytes: 4 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// The bounds of an account of either kind.
    #[must_use]
    pub fn of(&self, account: &Account) -> &AccountLimits {
        if account.is_gateway {
            &self.gateway
        } else {
            &self.person
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 4096,
            sessions_per_source: 64,
            pending: 256,
            pending_per_source: 16,
            devices_per_account: 8,
            calls: 4096,
            calls_per_minute_callee: 10,
            person: AccountLimits::PERSON,
            gateway: AccountLimits::of_gateway(1000, 3000),
            failures_slow: 3,
            failures_lock: 10,
            failures_window: Duration::from_secs(900),
            hello: Duration::from_secs(10),
            ring: Duration::from_secs(90),
            confirm: Duration::from_secs(30),
            resume: Duration::from_secs(60),
            away: Duration::from_secs(3),
        }
    }
}

/// What one source address did.
#[derive(Debug, Default)]
struct Source {
    sessions: usize,
    pending: usize,
    failures: u32,
    last_failure: Option<Instant>,
}

/// All source addresses that have connections open or something to answer for. Bounded.
#[derive(Debug, Default)]
pub(super) struct Sources {
    table: BTreeMap<IpAddr, Source>,
}

/// Addresses remembered beyond those with open connections.
const MAX_REMEMBERED: usize = 8192;

impl Sources {
    /// Counts a connection that has not said hello.
    pub(super) fn open(&mut self, now: Instant, source: IpAddr, limits: &Limits) {
        if self.table.len() >= limits.sessions + limits.pending + MAX_REMEMBERED {
            self.forget(now, limits);
        }
        self.table.entry(source).or_default().pending += 1;
    }

    /// Whether the source has all the accepted connections that it may have.
    pub(super) fn is_full(&self, source: IpAddr, limits: &Limits) -> bool {
        let entry = self.table.get(&source);
        entry.is_some_and(|entry| entry.sessions >= limits.sessions_per_source)
    }

    /// Connections of a source that have not said hello.
    pub(super) fn pending(&self, source: IpAddr) -> usize {
        self.table.get(&source).map_or(0, |source| source.pending)
    }

    /// A connection's hello was accepted.
    pub(super) fn greeted(&mut self, source: IpAddr) {
        if let Some(entry) = self.table.get_mut(&source) {
            entry.pending = entry.pending.saturating_sub(1);
            entry.sessions += 1;
        }
    }

    /// A connection is gone.
    pub(super) fn close(&mut self, now: Instant, source: IpAddr, pending: bool, limits: &Limits) {
        let Some(entry) = self.table.get_mut(&source) else {
            return;
        };
        let count = if pending {
            &mut entry.pending
        } else {
            &mut entry.sessions
        };
        *count = count.saturating_sub(1);
        if entry.is_idle(now, limits) {
            self.table.remove(&source);
        }
    }

    /// How long this source must wait before its next hello.
    pub(super) fn hello_wait(&self, now: Instant, source: IpAddr, limits: &Limits) -> Option<Duration> {
        let entry = self.table.get(&source)?;
        let since = now.saturating_duration_since(entry.last_failure?);
        let wait = if entry.failures >= limits.failures_lock {
            limits.failures_window
        } else if entry.failures >= limits.failures_slow {
            Duration::from_secs(1 << (entry.failures - limits.failures_slow).min(10)).min(limits.failures_window)
        } else {
            return None;
        };
        wait.checked_sub(since).filter(|wait| !wait.is_zero())
    }

    /// Counts a failed hello and gives how many there were.
    pub(super) fn failed(&mut self, now: Instant, source: IpAddr, limits: &Limits) -> u32 {
        let entry = self.table.entry(source).or_default();
        if entry
            .last_failure
            .is_some_and(|last| now.saturating_duration_since(last) >= limits.failures_window)
        {
            entry.failures = 0;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.last_failure = Some(now);
        entry.failures
    }

    /// Drops what no longer matters, and if that is not enough, an eighth of the rest, the oldest failures first.
    fn forget(&mut self, now: Instant, limits: &Limits) {
        self.table.retain(|_, entry| !entry.is_idle(now, limits));
        if self.table.len() < limits.sessions + MAX_REMEMBERED {
            return;
        }
        let unused = self.table.iter().filter(|(_, entry)| entry.sessions == 0);
        let mut unused: Vec<_> = unused.map(|(address, entry)| (entry.last_failure, *address)).collect();
        unused.sort_unstable();
        for (_, address) in unused.iter().take(MAX_REMEMBERED / 8) {
            self.table.remove(address);
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

impl Source {
    fn is_idle(&self, now: Instant, limits: &Limits) -> bool {
        let counts = |last| now.saturating_duration_since(last) < limits.failures_window;
        self.sessions + self.pending == 0 && !self.last_failure.is_some_and(counts)
    }
}
