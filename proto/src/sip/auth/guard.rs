//! The server side: challenges, checks answers, counts failures. Bounded, however many strangers ask.
//!
//! Nonces prove themselves (time, random bytes, HMAC), so a challenge costs no memory; only nonces that were answered
//! rightly are remembered, with the highest count seen.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::digest::{Algorithm, field, fields, hex};
use super::kept::Kept;
use super::{Account, Ha1};
use crate::sip::message::{Method, Param, Request, Uri};
use crate::sip::{Limits, LoginFailure};

/// Longest account name remembered of a failure.
const MAX_NAME: usize = 64;

/// What a request's credentials are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sip) enum Verdict {
    /// They are this account's.
    Welcome(String),
    /// There are none for us, or their nonce is too old (`stale`): challenge.
    Challenge {
        /// The password may well be right.
        stale: bool,
    },
    /// They are wrong.
    Failed {
        /// As tried.
        user: String,
        /// In which way.
        why: LoginFailure,
        /// Failures so far.
        failures: u32,
    },
    /// They were not looked at.
    Locked {
        /// As tried.
        user: String,
        /// Failures so far.
        failures: u32,
        /// Until the lock opens.
        retry_after: Duration,
    },
    /// They contradict the request: 400.
    Contradiction,
    /// One failure more than is kept of anybody: 403, and nothing is remembered.
    Flood,
}

/// A nonce: milliseconds since our first request, and a random number.
type Nonce = (u64, u64);

/// The guard.
pub(in crate::sip) struct Guard {
    secret: Zeroizing<[u8; 32]>,
    realm: String,
    limits: Limits,
    epoch: Option<Instant>,
    /// Highest count seen of each nonce in use, oldest nonce first.
    nonces: BTreeMap<Nonce, u32>,
    /// Nonces not younger than this are no longer remembered, hence stale.
    forgotten: Option<Nonce>,
    failures: BTreeMap<(String, IpAddr), VecDeque<Instant>>,
    kept: Kept,
}

impl Guard {
    pub(in crate::sip) fn new(realm: String, limits: Limits, rng: &mut dyn CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let (nonces, failures) = (BTreeMap::new(), BTreeMap::new());
        Self {
            secret,
            realm,
            limits,
            epoch: None,
            nonces,
            forgotten: None,
            failures,
            kept: Kept::default(),
        }
    }

    /// `WWW-Authenticate` values, SHA-256 first. An unknown account looks like one with both hashes.
    pub(in crate::sip) fn challenges(
        &mut self,
        now: Instant,
        account: Option<&Account>,
        stale: bool,
        source: IpAddr,
        rng: &mut dyn CryptoRng,
    ) -> Vec<String> {
        let has = |algorithm: Algorithm| {
            account.is_none_or(|a| match algorithm {
                Algorithm::Md5 => a.ha1.md5.is_some(),
                Algorithm::Sha256 => a.ha1.sha256.is_some(),
            })
        };
        let mut id = [0; 8];
        rng.fill_bytes(&mut id);
        let issued = self.millis(now);
        let nonce = self.write_nonce((issued, u64::from_be_bytes(id)), source);
        let realm = crate::sip::message::quote(&self.realm);
        let stale = if stale { ", stale=true" } else { "" };
        [Algorithm::Sha256, Algorithm::Md5]
            .into_iter()
            .filter(|a| has(*a))
            .map(|a| {
                format!(
                    "Digest realm={realm}, nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
                    a.name()
                )
            })
            .collect()
    }

    /// Judges the credentials of a request.
    pub(in crate::sip) fn check(
        &mut self,
        now: Instant,
        accounts: &BTreeMap<String, Account>,
        request: &Request,
        source: SocketAddr,
    ) -> Verdict {
        let Some(fields) = self.ours(request) else {
            return Verdict::Challenge { stale: false };
        };
        let user: String = field(&fields, "username")
            .unwrap_or_default()
            .chars()
            .take(MAX_NAME)
            .collect();
        let who = (user, source.ip());
        let failures = self.failures_of(&who, now);
        if let Some(first) = self.locked_since(&who) {
            let retry_after = (first + self.limits.window).saturating_duration_since(now);
            return Verdict::Locked {
                user: who.0,
                failures,
                retry_after,
            };
        }
        let Some(nonce) = field(&fields, "nonce")
            .and_then(|n| self.read_nonce(n, source.ip()))
            .filter(|n| self.is_fresh(now, *n))
        else {
            return Verdict::Challenge { stale: true };
        };
        let account = accounts.get(field(&fields, "username").unwrap_or_default());
        let why = match judge(&fields, account, request.method) {
            Judgement::Right { .. } if !uri_fits(&fields, request) => return Verdict::Contradiction,
            Judgement::Right { count } => match self.count(nonce, count) {
                Counted::Fresh => {
                    self.failures.remove(&who);
                    return Verdict::Welcome(account.map_or(who.0, |a| a.user.clone()));
                }
                Counted::Once => return Verdict::Challenge { stale: true },
                Counted::Replayed => LoginFailure::Replayed,
            },
            Judgement::Wrong if account.is_none() => LoginFailure::UnknownUser,
            Judgement::Wrong => LoginFailure::WrongPassword,
        };
        if !self.kept.admit(now, source.ip(), &self.limits) {
            return Verdict::Flood;
        }
        let failures = self.add_failure(&who, now);
        Verdict::Failed {
            user: who.0,
            why,
            failures,
        }
    }

    /// The credentials for our realm, if any.
    fn ours(&self, request: &Request) -> Option<Vec<Param>> {
        let values = request.headers.all("Authorization");
        let mut all = values
            .filter_map(fields)
            .filter(|f| field(f, "realm") == Some(&self.realm));
        let first = all.next()?;
        // Of several, the one with a hash we know.
        let known = |f: &Vec<Param>| Algorithm::of(field(f, "algorithm")).is_some();
        Some(if known(&first) {
            first
        } else {
            all.find(known).unwrap_or(first)
        })
    }

    fn millis(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        u64::try_from(now.saturating_duration_since(epoch).as_millis()).unwrap_or(u64::MAX)
    }

    /// Of the nonce and the address that it was given to: a stranger's failures must not count for that address.
    fn mac(&self, nonce: Nonce, source: IpAddr) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.secret).expect("HMAC takes keys of any length");
        mac.update(&nonce.0.to_be_bytes());
        mac.update(&nonce.1.to_be_bytes());
        match source {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        let mut out = [0; 16];
        out.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        out
    }

    fn write_nonce(&self, nonce: Nonce, source: IpAddr) -> String {
        format!("{:016x}{:016x}{}", nonce.0, nonce.1, hex(&self.mac(nonce, source)))
    }

    fn read_nonce(&self, text: &str, source: IpAddr) -> Option<Nonce> {
        let part = |range: std::ops::Range<usize>| u64::from_str_radix(text.get(range)?, 16).ok();
        let nonce = (part(0..16)?, part(16..32)?);
        let written = self.write_nonce(nonce, source);
        bool::from(written.as_bytes().ct_eq(text.as_bytes())).then_some(nonce)
    }

    fn is_fresh(&mut self, now: Instant, nonce: Nonce) -> bool {
        let lifetime = u64::try_from(self.limits.nonce_lifetime.as_millis()).unwrap_or(u64::MAX);
        let young = self.millis(now).saturating_sub(nonce.0) < lifetime;
        young && self.forgotten.is_none_or(|f| nonce > f)
    }

    /// Notes a count of a nonce; each must be higher than the one before.
    fn count(&mut self, nonce: Nonce, count: Option<u32>) -> Counted {
        let Some(last) = self.nonces.get_mut(&nonce) else {
            // Without a count the nonce is good for one answer.
            self.nonces.insert(nonce, count.unwrap_or(u32::MAX));
            while self.nonces.len() > self.limits.nonces.max(1) {
                self.forgotten = self.nonces.pop_first().map(|(nonce, _)| nonce).max(self.forgotten);
            }
            return Counted::Fresh;
        };
        match count {
            Some(count) if count > *last => {
                *last = count;
                Counted::Fresh
            }
            Some(_) => Counted::Replayed,
            None => Counted::Once,
        }
    }

    fn failures_of(&mut self, who: &(String, IpAddr), now: Instant) -> u32 {
        let window = self.limits.window;
        let Some(times) = self.failures.get_mut(who) else {
            return 0;
        };
        times.retain(|t| now.saturating_duration_since(*t) < window);
        let left = times.len();
        if left == 0 {
            self.failures.remove(who);
        }
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    fn locked_since(&self, who: &(String, IpAddr)) -> Option<Instant> {
        let times = self.failures.get(who)?;
        let lock = self.limits.failures_lock.max(1) as usize;
        if times.len() < lock {
            None
        } else {
            times.front().copied()
        }
    }

    fn add_failure(&mut self, who: &(String, IpAddr), now: Instant) -> u32 {
        let full = self.failures.len() >= self.limits.failures.max(1);
        if full && !self.failures.contains_key(who) {
            let window = self.limits.window;
            self.failures
                .retain(|_, times| times.back().is_some_and(|t| now.saturating_duration_since(*t) < window));
            if self.failures.len() >= self.limits.failures.max(1) {
                let oldest = self.failures.iter().min_by_key(|(_, times)| times.back().copied());
                if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                    self.failures.remove(&key);
                }
            }
        }
        self.failures.entry(who.clone()).or_default().push_back(now);
        self.failures_of(who, now)
    }

    /// Entries of both tables, for tests of their bounds.
    #[cfg(test)]
    pub(in crate::sip) fn len(&self) -> (usize, usize) {
        (self.nonces.len(), self.failures.len())
    }
}

enum Counted {
    Fresh,
    /// A nonce without counts, used again: perhaps an old phone, perhaps a replay; a new nonce serves both right.
    Once,
    Replayed,
}

enum Judgement {
    Right { count: Option<u32> },
    Wrong,
}

/// Compares the response with the one expected; the work is the same for unknown accounts.
fn judge(fields: &[Param], account: Option<&Account>, method: Method) -> Judgement {
    let text = |name: &str| field(fields, name).unwrap_or_default();
    let Some(algorithm) = Algorithm::of(field(fields, "algorithm")) else {
        return Judgement::Wrong;
    };
    let count = u32::from_str_radix(text("nc"), 16)
        .ok()
        .filter(|_| text("nc").len() == 8);
    let qop = match field(fields, "qop") {
        None => None,
        Some(qop) if qop.eq_ignore_ascii_case("auth") && count.is_some() && !text("cnonce").is_empty() => {
            Some((text("nc"), text("cnonce")))
        }
        Some(_) => return Judgement::Wrong,
    };
    let nobody = Ha1 {
        md5: Some(Zeroizing::new([0; 16])),
        sha256: Some(Zeroizing::new([0; 32])),
    };
    let known = account.and_then(|a| algorithm.ha1(&a.ha1));
    let is_known = known.is_some();
    let Some(ha1) = known.or_else(|| algorithm.ha1(&nobody)) else {
        return Judgement::Wrong;
    };
    let expected = algorithm.response(&ha1, text("nonce"), qop, method.name(), text("uri"));
    let given = text("response").to_ascii_lowercase();
    let same = bool::from(expected.as_bytes().ct_eq(given.as_bytes()));
    if same && is_known {
        Judgement::Right { count: qop.and(count) }
    } else {
        Judgement::Wrong
    }
}

/// Whether the digest was made for this request: same host as the request line, and same user if it names one (SIPp
/// leaves it out). Replays are stopped by the nonce count, not here.
fn uri_fits(fields: &[Param], request: &Request) -> bool {
    let uri = field(fields, "uri").and_then(|u| u.parse::<Uri>().ok());
    uri.is_some_and(|u| u.host == request.uri.host && (u.user.is_none() || u.user == request.uri.user))
}
