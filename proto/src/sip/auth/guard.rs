//! The server side: challenges, checks responses, counts failures. Bounded, however many strangers ask.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::digest::{Algorithm, field, fields};
use super::login_limiter::{Attempt, Locked, LoginLimiter};
use super::nonces::{Count, Nonces};
use super::{Account, Ha1};
use crate::rate::source_of;
use crate::sip::message::{Param, Request, Uri};
use crate::sip::{Limits, LoginFailure};

/// Longest account name remembered of a failure.
const MAX_NAME: usize = 64;

/// What a request's credentials are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sip) enum Verdict {
    /// They are this account's.
    Authenticated(String),
    /// There are none for us, or their nonce is too old or was used (`stale`): challenge.
    Challenge {
        /// The password may well be right.
        stale: bool,
    },
    /// They are wrong, or were not judged: challenge.
    Failed {
        /// As tried.
        user: String,
        /// In which way.
        why: LoginFailure,
        /// Failures of this source so far.
        failures: u32,
    },
    /// This user's digest is right, but was made for somebody else's host: 400.
    UriMismatch(String),
}

/// The algorithms of a challenge: for each of [`Algorithm::ALL`] whether it is there.
type Shape = [bool; Algorithm::ALL.len()];

/// Chances in that draw of what more than half of the accounts are; whatever else there is has one. So coarse that an account
/// more or less hardly ever changes it: who asks for the same names before and after would learn which of them are nobody's.
const CHANCES_OF_MOST: u8 = 4;

/// The guard.
pub(in crate::sip) struct Guard {
    realm: String,
    nonces: Nonces,
    limiter: LoginLimiter,
    /// Draws the challenge of a name that is no account.
    challenge_key: Zeroizing<[u8; 32]>,
    /// What names that are no account draw from, and the how-many-eth of its kind each chance is.
    shapes: Vec<(Shape, u8)>,
}

impl Guard {
    pub(in crate::sip) fn new(realm: String, limits: &Limits, rng: &mut dyn CryptoRng) -> Self {
        let mut challenge_key = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *challenge_key);
        Self {
            realm,
            nonces: Nonces::new(limits.nonce_lifetime, limits.nonces, rng),
            limiter: LoginLimiter::new(limits),
            challenge_key,
            shapes: Vec::new(),
        }
    }

    /// Takes the key that draws the challenges of names that are no account; else it is one of this process.
    pub(in crate::sip) fn set_challenge_key(&mut self, key: Zeroizing<[u8; 32]>) {
        self.challenge_key = key;
    }

    /// Takes how many failed logins are judged, and how fast.
    pub(in crate::sip) fn set_limits(&mut self, limits: &Limits) {
        self.limiter.set_limits(limits);
    }

    /// Takes the accounts there are from now on.
    pub(in crate::sip) fn set_accounts(&mut self, accounts: &BTreeMap<String, Account>) {
        self.limiter.keep_accounts(|user| accounts.contains_key(user));
        let mut counts = BTreeMap::<Shape, usize>::new();
        for account in accounts.values() {
            *counts.entry(shape_of(&account.ha1)).or_default() += 1;
        }
        self.shapes = counts
            .into_iter()
            .flat_map(|(shape, count)| {
                let chances = if 2 * count > accounts.len() { CHANCES_OF_MOST } else { 1 };
                (0..chances).map(move |chance| (shape, chance))
            })
            .collect();
    }

    /// `WWW-Authenticate` values, the strongest first, with a nonce that is good from this origin alone: behind a proxy of ours it is that
    /// of the phone, so that nobody can fail as another there.
    ///
    /// They are short, since strangers get them for the asking. The algorithm is named although none means MD5 (RFC 7616
    /// §3.3): Linphone gives up at a challenge without beside one with SHA-256.
    pub(in crate::sip) fn challenges(
        &mut self,
        now: Instant,
        user: &str,
        account: Option<&Account>,
        stale: bool,
        origin: SocketAddr,
        rng: &mut dyn CryptoRng,
    ) -> Vec<String> {
        // Drawn for every name: how long it takes must not tell which of them are nobody's.
        let drawn = std::hint::black_box(self.shape_of_unknown(user));
        let shape = account.map_or(drawn, |account| shape_of(&account.ha1));
        let nonce = self.nonces.issue(now, origin, rng);
        let realm = crate::sip::message::quote(&self.realm);
        let stale = if stale { ",stale=true" } else { "" };
        let asked = Algorithm::ALL.into_iter().zip(shape).rev().filter(|(_, there)| *there);
        asked
            .map(|(algorithm, _)| {
                let name = algorithm.name();
                format!("Digest realm={realm},nonce=\"{nonce}\",algorithm={name},qop=\"auth\"{stale}")
            })
            .collect()
    }

    /// Judges the credentials of a request, as far as its origin and the account allow. `is_bound` tells whether a phone of an
    /// account is registered just where it comes from, `is_ours` whether a host is a name or an address of ours.
    pub(in crate::sip) fn check(
        &mut self,
        now: Instant,
        accounts: &BTreeMap<String, Account>,
        request: &Request,
        origin: SocketAddr,
        is_bound: impl Fn(&str) -> bool,
        is_ours: impl Fn(&str) -> bool,
    ) -> Verdict {
        let Some(fields) = self.ours(request) else {
            return Verdict::Challenge { stale: false };
        };
        let nonce = field(&fields, "nonce").and_then(|nonce| self.nonces.read(now, nonce, origin));
        let Some(nonce) = nonce else {
            return Verdict::Challenge { stale: true };
        };
        let name = field(&fields, "username").unwrap_or_default();
        let account = accounts.get(name);
        let known = account.map(|account| account.user.as_str());
        let home = source_of(origin.ip());
        let tag = tag_of(&fields);
        let attempt = Attempt {
            source: home,
            account: known,
            bound: known.filter(|user| is_bound(user)).map(|_| origin),
        };
        if self.limiter.is_retransmission(home, tag) {
            return Verdict::Challenge { stale: false };
        }
        let failed = |why, failures| Verdict::Failed {
            user: name.chars().take(MAX_NAME).collect(),
            why,
            failures,
        };
        // Also of one that is not judged: how long it takes must not tell that an account has had its failures.
        let judgement = std::hint::black_box(judge(&fields, account, request.method_name()));
        if let Err(failures) = self.limiter.may_judge(now, attempt, tag) {
            return failed(LoginFailure::NotJudged, failures);
        }
        match (judgement, account) {
            (Judgement::Right { .. }, Some(account)) if !uri_fits(&fields, request, is_ours) => {
                Verdict::UriMismatch(account.user.clone())
            }
            (Judgement::Right { count }, Some(account)) => match self.nonces.count(nonce, count) {
                Count::Fresh => {
                    self.limiter.succeeded(now, home, &account.user);
                    Verdict::Authenticated(account.user.clone())
                }
                Count::Reused => Verdict::Challenge { stale: true },
            },
            (Judgement::Right { .. } | Judgement::Wrong, _) => {
                let why = if account.is_none() {
                    LoginFailure::UnknownUser
                } else {
                    LoginFailure::WrongPassword
                };
                failed(why, self.limiter.failed(now, attempt, tag))
            }
        }
    }

    /// Notes that an account is registered from this address until then: strangers' guesses must not keep it out when it
    /// refreshes.
    pub(in crate::sip) fn registered(&mut self, now: Instant, user: &str, origin: IpAddr, until: Instant) {
        self.limiter.keep_known(now, source_of(origin), user, until);
    }

    /// Whose logins are not judged now.
    pub(in crate::sip) fn locked(&self, now: Instant) -> Vec<Locked> {
        self.limiter.locked(now)
    }

    /// Forgets the failures of a source, or of an account.
    pub(in crate::sip) fn unlock(&mut self, who: &str) {
        if let Ok(source) = who.parse() {
            self.limiter.unlock_source(source_of(source));
        }
        self.limiter.unlock_account(who);
    }

    /// What an account of this name would be challenged for: drawn from what the accounts are, always the same for one name.
    ///
    /// The chance with the highest draw has it (rendezvous hashing): so one chance more or less moves its own share of the
    /// names alone.
    fn shape_of_unknown(&self, user: &str) -> Shape {
        let draw = |&&([md5, sha256, sha512_256], chance): &&(Shape, u8)| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&*self.challenge_key).expect("HMAC takes keys of any length");
            // What was drawn before there was SHA-512/256 is drawn still: a name that changed would be nobody's.
            mac.update(&[u8::from(md5), u8::from(sha256) | u8::from(sha512_256) << 1, chance]);
            mac.update(user.as_bytes());
            mac.finalize().into_bytes()
        };
        let highest = self.shapes.iter().max_by_key(draw);
        highest.map_or([true, true, false], |(shape, _)| *shape)
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

    /// The user that a request's credentials for our realm name, whatever they are worth.
    pub(in crate::sip) fn named(&self, request: &Request) -> Option<String> {
        let fields = self.ours(request)?;
        field(&fields, "username").map(str::to_owned)
    }

    /// Nonces, and sources and accounts with failures, for tests of their bounds.
    #[cfg(test)]
    pub(in crate::sip) fn len(&self) -> (usize, (usize, usize)) {
        (self.nonces.len(), self.limiter.len())
    }
}

/// Which challenges an account has.
fn shape_of(ha1: &Ha1) -> Shape {
    [ha1.md5.is_some(), ha1.sha256.is_some(), ha1.sha512_256.is_some()]
}

enum Judgement {
    Right { count: Option<u32> },
    Wrong,
}

/// Compares the response with the one expected; the work is the same for unknown accounts.
fn judge(fields: &[Param], account: Option<&Account>, method: &str) -> Judgement {
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
        sha512_256: Some(Zeroizing::new([0; 32])),
    };
    let known = account.and_then(|a| algorithm.ha1(&a.ha1));
    let is_known = known.is_some();
    let Some(ha1) = known.or_else(|| algorithm.ha1(&nobody)) else {
        return Judgement::Wrong;
    };
    let expected = algorithm.response(&ha1, text("nonce"), qop, method, text("uri"));
    let given = text("response").to_ascii_lowercase();
    let same = bool::from(expected.as_bytes().ct_eq(given.as_bytes()));
    if same && is_known {
        Judgement::Right { count: qop.and(count) }
    } else {
        Judgement::Wrong
    }
}

/// Recognises credentials that come once more. Those of a right login never get here again: their count is used.
fn tag_of(fields: &[Param]) -> u64 {
    let mut hash = Sha256::new();
    for name in ["username", "nonce", "nc", "cnonce", "uri", "response"] {
        hash.update(field(fields, name).unwrap_or_default());
        hash.update([0]);
    }
    let hash = hash.finalize();
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Whether the digest was made for us. A proxy, or the phone itself, may have rewritten the request URI since (RFC 3261 §22.4),
/// so any host will do that means us here: that of the request line, those of From and To, which no proxy changes, and what
/// `is_ours` knows. Replays are stopped by the nonce count, not here.
fn uri_fits(fields: &[Param], request: &Request, is_ours: impl Fn(&str) -> bool) -> bool {
    let uri = field(fields, "uri").and_then(|u| u.parse::<Uri>().ok());
    let meant = [&request.uri, &request.to.uri, &request.from.uri];
    uri.is_some_and(|uri| meant.iter().any(|meant| meant.host == uri.host) || is_ours(&uri.host))
}
