//! How many logins are judged: guessing is slow from wherever it is tried, and nobody's guesses keep a phone out.
//!
//! A failure is taken from two buckets: that of its source, and that of its account over all sources. While one of them is
//! empty, no credentials of that source, or for that account, are judged. A source that has logged in rightly to an account
//! lately is outside both, for that account, and has a bucket of its own. So neither another phone behind the same NAT nor
//! guesses from all over the world can keep it out. A phone that is registered has, at its own address and port, one more
//! bucket of its own: a neighbour behind the same NAT that guesses at its account does not share that.
//!
//! The table of sources is bounded. When all in it are busy failing, those that come then share the bucket of their network, and when
//! there are too many networks, one for all: having many addresses makes guessing no faster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::rate::{Rate, RateLimiter, source_of};
use crate::sip::Limits;

/// How long a right login keeps its source apart from strangers.
const KNOWN: Duration = Duration::from_secs(3600);
/// Sources kept apart for one account; beyond, the one that logged in longest ago becomes a stranger.
const MAX_KNOWN: usize = 16;
/// Failures of a source that are recognised when they come once more: over UDP a request whose response was lost is retransmitted.
const MAX_REMEMBERED: usize = 16;

/// Networks whose sources found no place in the table; beyond, all share one bucket.
const MAX_NETWORKS: usize = 1_024;

/// Somebody whose logins are not judged for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The address, or the /64 of IPv6, that fails; `None`: an account that fails from wherever.
    pub source: Option<IpAddr>,
    /// The account; `None`: whatever the source tries.
    pub account: Option<String>,
    /// Failures since it last was at rest.
    pub failures: u32,
    /// When the next login is judged.
    pub until: Instant,
}

/// The failures of one source, of one account, or of both together.
#[derive(Clone, Debug, Default)]
struct Bucket {
    limiter: RateLimiter,
    failures: u32,
}

impl Bucket {
    fn fail(&mut self, now: Instant, rate: Rate) -> u32 {
        if self.limiter.is_rested(now) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        // It was asked before: only what may be judged can fail.
        let _ = self.limiter.take(now, rate, 1);
        self.failures
    }

    fn locked(&self, now: Instant, rate: Rate) -> Option<(u32, Instant)> {
        let wait = self.limiter.wait(now, rate);
        (!wait.is_zero()).then(|| (self.failures, now + wait))
    }
}

/// What is kept of a source that fails.
#[derive(Clone, Debug)]
struct Source {
    bucket: Bucket,
    /// Tags of its last failures, to recognise retransmissions.
    failed: Vec<u64>,
    /// Its place in `by_rest`.
    rest: Instant,
}

/// A source that has logged in to an account.
#[derive(Clone, Debug)]
struct Known {
    source: IpAddr,
    until: Instant,
    bucket: Bucket,
}

/// Rate limiters of logins, per source, per account, and per known source of an account. Sources are those of [`crate::rate::source_of`].
pub(super) struct LoginLimiter {
    of_source: Rate,
    of_account: Rate,
    max_sources: usize,
    sources: BTreeMap<IpAddr, Source>,
    /// When each source is at rest, to forget the calmest first.
    by_rest: BTreeSet<(Instant, IpAddr)>,
    /// Of sources that found no place.
    networks: BTreeMap<IpAddr, Bucket>,
    /// Only of accounts that exist: strangers cannot fill it.
    accounts: BTreeMap<String, Bucket>,
    known: BTreeMap<String, Vec<Known>>,
    /// Of registered phones, by account and by where they are reached; only of those that fail.
    bound: BTreeMap<(String, SocketAddr), Bucket>,
}

/// Where credentials come from, and whose they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    /// The source, of [`crate::rate::source_of`].
    pub(super) source: IpAddr,
    /// The account; `None` if there is none of that name.
    pub(super) account: Option<&'a str>,
    /// Where a phone of the account is registered, if it comes from just there.
    pub(super) bound: Option<SocketAddr>,
}

/// What a source and what an account may fail.
fn rates(limits: &Limits) -> (Rate, Rate) {
    let rate = |failures| Rate::every(limits.login_interval, failures);
    (
        rate(limits.login_failures),
        rate(limits.login_failures.saturating_mul(3)),
    )
}

impl LoginLimiter {
    pub(super) fn new(limits: &Limits) -> Self {
        let (of_source, of_account) = rates(limits);
        Self {
            of_source,
            of_account,
            max_sources: limits.failing_sources.max(1),
            sources: BTreeMap::new(),
            by_rest: BTreeSet::new(),
            networks: BTreeMap::new(),
            accounts: BTreeMap::new(),
            known: BTreeMap::new(),
            bound: BTreeMap::new(),
        }
    }

    /// Takes other rates; who has failed keeps that.
    pub(super) fn set_limits(&mut self, limits: &Limits) {
        (self.of_source, self.of_account) = rates(limits);
    }

    /// Whether credentials may be judged now; `tag` is drawn from them.
    ///
    /// What only the account's bucket refuses is charged to the source, as a name that nobody has would be: else it would learn
    /// from its own bucket which names there are.
    ///
    /// # Errors
    /// How often the source has failed, or the account there.
    pub(super) fn may_judge(&mut self, now: Instant, attempt: Attempt<'_>, tag: u64) -> Result<(), u32> {
        let Attempt { source, account, bound } = attempt;
        let ask = |bucket: &Bucket, rate| bucket.locked(now, rate).map_or(Ok(()), |(failures, _)| Err(failures));
        if let Some((account, at)) = account.zip(bound) {
            let bucket = self.bound.get(&(account.to_owned(), at));
            return bucket.map_or(Ok(()), |bucket| ask(bucket, self.of_source));
        }
        if let Some(known) = account.and_then(|account| self.known(now, source, account)) {
            return ask(&known.bucket, self.of_source);
        }
        let of_source = self.sources.get(&source).map(|source| &source.bucket);
        if let Some(bucket) = of_source.or_else(|| self.networks.get(&self.network_of(now, source))) {
            ask(bucket, self.of_source)?;
        }
        match account.and_then(|account| self.accounts.get(account)) {
            Some(bucket) => ask(bucket, self.of_account).map_err(|_| self.remember(now, source, tag, true)),
            None => Ok(()),
        }
    }

    /// Whether this very failure was counted already; `tag` is drawn from the credentials.
    pub(super) fn is_retransmission(&self, source: IpAddr, tag: u64) -> bool {
        self.sources.get(&source).is_some_and(|s| s.failed.contains(&tag))
    }

    /// Counts a failure; gives how many there were of this source, this one included.
    pub(super) fn failed(&mut self, now: Instant, attempt: Attempt<'_>, tag: u64) -> u32 {
        let Attempt { source, account, bound } = attempt;
        let (of_source, of_account) = (self.of_source, self.of_account);
        let is_known = |known: &&mut Known| known.source == source && known.until > now;
        let known = account.and_then(|account| self.known.get_mut(account)?.iter_mut().find(is_known));
        let is_bound = account.is_some() && bound.is_some();
        let bound = account.zip(bound).map(|(account, at)| (account.to_owned(), at));
        let of_its_own = match known {
            _ if bound.is_some() => {
                self.bound.retain(|_, bucket| !bucket.limiter.is_rested(now));
                bound.map(|bound| self.bound.entry(bound).or_default().fail(now, of_source))
            }
            Some(known) => Some(known.bucket.fail(now, of_source)),
            None => {
                if let Some(account) = account {
                    self.accounts
                        .entry(account.to_owned())
                        .or_default()
                        .fail(now, of_account);
                }
                None
            }
        };
        // At an account that is known there too: else a source would learn from its own bucket which accounts those are.
        let of_source = self.remember(now, source, tag, !is_bound);
        of_its_own.unwrap_or(of_source)
    }

    /// Remembers a failure of a source, and whether it counts against that; gives how many do.
    fn remember(&mut self, now: Instant, source: IpAddr, tag: u64, counts: bool) -> u32 {
        while self.sources.len() >= self.max_sources
            && let Some(&(rest, calmest)) = self.by_rest.first()
            && rest <= now
        {
            self.by_rest.pop_first();
            self.sources.remove(&calmest);
        }
        if self.sources.len() >= self.max_sources && !self.sources.contains_key(&source) {
            let network = self.network_of(now, source);
            self.networks.retain(|_, bucket| !bucket.limiter.is_rested(now));
            let bucket = self.networks.entry(network).or_default();
            return if counts {
                bucket.fail(now, self.of_source)
            } else {
                bucket.failures
            };
        }
        let entry = self.sources.entry(source).or_insert_with(|| Source {
            bucket: Bucket::default(),
            failed: Vec::new(),
            rest: now,
        });
        if entry.failed.len() >= MAX_REMEMBERED {
            entry.failed.remove(0);
        }
        entry.failed.push(tag);
        if counts {
            entry.bucket.fail(now, self.of_source);
        }
        let failures = entry.bucket.failures;
        self.by_rest.remove(&(entry.rest, source));
        entry.rest = entry.bucket.limiter.rested_at().map_or(now, |rest| rest.max(now));
        self.by_rest.insert((entry.rest, source));
        failures
    }

    /// Whose bucket a source shares that finds no place: of its /24 of IPv4, or its /48 of IPv6, or all others'.
    fn network_of(&self, now: Instant, source: IpAddr) -> IpAddr {
        let network = wide(source);
        let busy = self.networks.values().filter(|bucket| !bucket.limiter.is_rested(now));
        let is_full = self.networks.len() >= MAX_NETWORKS && busy.count() >= MAX_NETWORKS;
        if is_full && !self.networks.contains_key(&network) {
            return IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        }
        network
    }

    /// Notes a right login.
    pub(super) fn succeeded(&mut self, now: Instant, source: IpAddr, account: &str) {
        self.keep_known(now, source, account, now + KNOWN);
    }

    /// Keeps a source apart from strangers, for this account, until then at least.
    pub(super) fn keep_known(&mut self, now: Instant, source: IpAddr, account: &str, until: Instant) {
        let all = self.known.entry(account.to_owned()).or_default();
        all.retain(|known| known.until > now);
        if let Some(known) = all.iter_mut().find(|known| known.source == source) {
            known.until = known.until.max(until);
            return;
        }
        if all.len() >= MAX_KNOWN {
            let oldest = all.iter().enumerate().min_by_key(|(_, known)| known.until);
            if let Some(at) = oldest.map(|(at, _)| at) {
                all.remove(at);
            }
        }
        all.push(Known {
            source,
            until,
            bucket: Bucket::default(),
        });
    }

    /// Forgets accounts that are no more.
    pub(super) fn keep_accounts(&mut self, exists: impl Fn(&str) -> bool) {
        self.accounts.retain(|account, _| exists(account));
        self.known.retain(|account, _| exists(account));
        self.bound.retain(|(account, _), _| exists(account));
    }

    /// Who is locked now.
    pub(super) fn locked(&self, now: Instant) -> Vec<Locked> {
        let row = |source: Option<IpAddr>, account: Option<&String>, locked: Option<(u32, Instant)>| {
            locked.map(|(failures, until)| Locked {
                source,
                account: account.cloned(),
                failures,
                until,
            })
        };
        let sources = self.sources.iter();
        let sources = sources.filter_map(|(ip, s)| row(Some(*ip), None, s.bucket.locked(now, self.of_source)));
        let accounts = self.accounts.iter();
        let accounts = accounts.filter_map(|(name, b)| row(None, Some(name), b.locked(now, self.of_account)));
        let known = self
            .known
            .iter()
            .flat_map(|(name, all)| all.iter().map(move |known| (name, known)));
        let known = known.filter_map(|(name, k)| row(Some(k.source), Some(name), k.bucket.locked(now, self.of_source)));
        let bound = self.bound.iter().filter_map(|((name, at), bucket)| {
            let source = source_of(at.ip());
            row(Some(source), Some(name), bucket.locked(now, self.of_source))
        });
        let networks = self.networks.iter();
        let networks = networks.filter_map(|(ip, b)| row(Some(*ip), None, b.locked(now, self.of_source)));
        sources
            .chain(networks)
            .chain(accounts)
            .chain(known)
            .chain(bound)
            .collect()
    }

    /// Forgets the failures of a source.
    pub(super) fn unlock_source(&mut self, source: IpAddr) {
        if let Some(entry) = self.sources.remove(&source) {
            self.by_rest.remove(&(entry.rest, source));
        }
        self.networks.remove(&wide(source));
        for known in self.known.values_mut().flatten().filter(|known| known.source == source) {
            known.bucket = Bucket::default();
        }
        self.bound.retain(|(_, at), _| source_of(at.ip()) != source);
    }

    /// Forgets the failures of an account.
    pub(super) fn unlock_account(&mut self, account: &str) {
        self.accounts.remove(account);
        self.bound.retain(|(name, _), _| name != account);
        for known in self.known.get_mut(account).into_iter().flatten() {
            known.bucket = Bucket::default();
        }
    }

    /// Sources and accounts that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        assert_eq!(self.by_rest.len(), self.sources.len());
        assert!(self.networks.len() <= MAX_NETWORKS + 1);
        (self.sources.len(), self.accounts.len())
    }

    fn known(&self, now: Instant, source: IpAddr, account: &str) -> Option<&Known> {
        let mut all = self.known.get(account)?.iter();
        all.find(|known| known.source == source && known.until > now)
    }
}

/// The network of a source: a /24 of IPv4, a /48 of IPv6.
fn wide(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !0xff)),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 80 << 80)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these attempts are judged, each with another name that nobody has.
    fn judged(limiter: &mut LoginLimiter, now: Instant, sources: impl Iterator<Item = IpAddr>) -> usize {
        let mut count = 0;
        for (tag, source) in (0..).zip(sources) {
            let attempt = Attempt {
                source,
                account: None,
                bound: None,
            };
            if limiter.may_judge(now, attempt, tag).is_ok() {
                limiter.failed(now, attempt, tag);
                count += 1;
            }
        }
        count
    }

    fn v6(net: u32, subnet: u16) -> IpAddr {
        let (high, low) = ((net >> 16) as u16, net as u16);
        IpAddr::V6(Ipv6Addr::new(0x2001, high, low, subnet, 0, 0, 0, 0))
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a test needs some instant to count from
    fn a_source_learns_from_its_own_logins_neither_who_exists_nor_who_is_known_there() {
        let now = Instant::now();
        for guessed in [None, Some("100"), Some("200")] {
            let mut limiter = LoginLimiter::new(&Limits::default());
            let home = IpAddr::from([203, 0, 113, 1]);
            limiter.succeeded(now, home, "100");
            let attempt = |account| Attempt {
                source: home,
                account,
                bound: None,
            };
            for tag in 0..14 {
                if limiter.may_judge(now, attempt(guessed), tag).is_ok() {
                    limiter.failed(now, attempt(guessed), tag);
                }
            }
            assert!(limiter.may_judge(now, attempt(Some("300")), 99).is_err(), "{guessed:?}");
            // Nobody's guesses at others keep out who is known.
            let is_served = limiter.may_judge(now, attempt(Some("100")), 99).is_ok();
            assert_eq!(is_served, guessed != Some("100"), "{guessed:?}");
        }
    }

    /// Seen: somebody's first login was told as the thirtieth, and banned for it.
    #[test]
    #[allow(clippy::disallowed_methods)] // a test needs some instant to count from
    fn a_source_is_told_its_own_failures_not_those_of_the_account() {
        let now = Instant::now();
        let mut limiter = LoginLimiter::new(&Limits::default());
        let attempt = |source: u8| Attempt {
            source: IpAddr::from([198, 51, 100, source]),
            account: Some("100"),
            bound: None,
        };
        for tag in 0..30 {
            let source = attempt(tag as u8);
            assert_eq!(limiter.may_judge(now, source, tag), Ok(()));
            limiter.failed(now, source, tag);
        }
        for count in 1..=3 {
            assert_eq!(limiter.may_judge(now, attempt(200), 100 + u64::from(count)), Err(count));
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a test needs some instant to count from
    fn very_many_sources_make_guessing_no_faster() {
        let now = Instant::now();
        let limits = Limits::default();
        let mut limiter = LoginLimiter::new(&limits);
        let places = limits.failing_sources;
        // The table is full of sources that are busy failing, all of one provider.
        let full = (0..places).flat_map(|at| [v6(at as u32 >> 8, at as u16); 11]);
        assert_eq!(judged(&mut limiter, now, full), places * 10);
        // Whoever comes then shares what its network has, from however many addresses.
        assert_eq!(judged(&mut limiter, now, [v6(1 << 20, 7); 5_000].into_iter()), 10);
        assert_eq!(judged(&mut limiter, now, (0..5_000).map(|at| v6(1 << 20, at))), 0);
        assert_eq!(
            judged(&mut limiter, now, (0..=255).map(|at| IpAddr::from([192, 0, 2, at]))),
            10
        );
        // Another network is not touched by that.
        assert_eq!(
            judged(&mut limiter, now, [IpAddr::from([198, 51, 100, 1]); 10].into_iter()),
            10
        );
        // With very many networks one bucket is left for all others.
        let many = (0..100_000).map(|net| v6((2 << 20) + net, 0));
        assert!(judged(&mut limiter, now, many) <= MAX_NETWORKS + 10);
        assert_eq!(limiter.len(), (places, 0));
        // A phone that has logged in is outside all that.
        let home = IpAddr::from([203, 0, 113, 1]);
        limiter.succeeded(now, home, "100");
        let attempt = Attempt {
            source: home,
            account: Some("100"),
            bound: None,
        };
        assert_eq!(limiter.may_judge(now, attempt, 1), Ok(()));
        // When they rest, the places are free again.
        let later = now + Duration::from_secs(600);
        assert_eq!(judged(&mut limiter, later, [v6(1 << 20, 7); 20].into_iter()), 10);
        assert_eq!(limiter.locked(later).len(), 1);
    }
}
