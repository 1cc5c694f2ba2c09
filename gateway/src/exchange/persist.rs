//! What of the exchange outlives the process: where phones are registered. Records of calls are the calls' own business.
//!
//! A REGISTER that changes nothing but the end of its binding, and that by little, is not written: phones refresh far more
//! often than gateways crash, and a binding that ends a little early is refreshed before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use quartet_proto::sip::{Contact, SavedBinding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Exchange;
use crate::cdr::{Clock, Record};
use crate::config::PasswordHash;
use crate::store::{self, StoredBinding};

/// A refresh is written when the end of the binding has moved by more than this part of its term.
const WRITTEN_PART: u32 = 10;

/// Something that outlives the process has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An account has these bindings now, and no others; the one registered last at the end.
    Bindings {
        /// The account.
        user: String,
        /// All of them.
        bindings: Vec<SavedBinding>,
        /// The mark of the account's password.
        credential: u32,
    },
    /// A call runs; this is to be its record if the process dies.
    Running(Box<Record<Instant>>),
    /// A call has ended, or was refused before it ran.
    Ended(Box<Record<Instant>>),
}

impl Change {
    /// The change as it is stored: here the wall clock comes in.
    pub fn at(self, clock: &Clock) -> store::Change {
        match self {
            Self::Bindings {
                user,
                bindings,
                credential,
            } => store::Change::Bindings {
                user,
                bindings: bindings
                    .into_iter()
                    .map(|binding| to_stored(binding, clock, credential))
                    .collect(),
            },
            Self::Running(record) => store::Change::Running(record.at(clock)),
            Self::Ended(record) => store::Change::Ended(record.at(clock)),
        }
    }
}

impl Exchange {
    /// Takes the key by which a name that is no account keeps its challenge over restarts.
    pub fn set_challenge_key(&mut self, key: Zeroizing<[u8; 32]>) {
        self.endpoint.set_challenge_key(key);
    }

    /// Takes back the bindings that an earlier process stored. What does not hold any more is removed from the store.
    pub fn restore(&mut self, clock: &Clock, stored: BTreeMap<String, Vec<StoredBinding>>) {
        let now = clock.now;
        for (user, bindings) in stored {
            let count = bindings.len();
            let credential = self.credential(&user);
            // What is capped now would be capped anew at each start.
            let capped = bindings
                .iter()
                .any(|binding| left(binding, clock).is_some_and(|(_, capped)| capped));
            let saved: Vec<_> = bindings
                .into_iter()
                .filter(|binding| Some(binding.credential) == credential)
                .filter_map(|binding| from_stored(binding, clock))
                .collect();
            self.endpoint.restore_bindings(now, &user, saved.clone());
            let restored = self.endpoint.bindings(&user);
            if restored.len() == count && restored == saved && !capped {
                self.stored.insert(user, restored);
            } else {
                self.write_bindings(&user, restored);
            }
        }
    }

    /// The bindings of an account have changed: hands them over if that is worth a write.
    pub(super) fn store_bindings(&mut self, now: Instant, user: &str) {
        let bindings = self.endpoint.bindings(user);
        let stored = self.stored.get(user).map(Vec::as_slice).unwrap_or_default();
        let known = |binding: &SavedBinding| stored.iter().any(|stored| is_as_good(stored, binding, now));
        if stored.len() != bindings.len() || !bindings.iter().all(known) {
            self.write_bindings(user, bindings);
        }
    }

    /// Writes all bindings anew: the wall clock, by which their ends are stored, has been set.
    pub fn store_all_bindings(&mut self) {
        for (user, bindings) in self.stored.clone() {
            self.write_bindings(&user, bindings);
        }
    }

    fn write_bindings(&mut self, user: &str, bindings: Vec<SavedBinding>) {
        let credential = self.credential(user).unwrap_or_default();
        self.changes.push_back(Change::Bindings {
            user: user.to_owned(),
            bindings: bindings.clone(),
            credential,
        });
        if bindings.is_empty() {
            self.stored.remove(user);
        } else {
            self.stored.insert(user.to_owned(), bindings);
        }
    }

    /// The mark of an account's password; `None` if there is no such account.
    fn credential(&self, user: &str) -> Option<u32> {
        let phone = self.settings.phones.iter().find(|phone| phone.user == user)?;
        Some(credential(&phone.password_hash))
    }
}

/// Tells a password that was changed from one that was not: who registered with the old one shall not be called on the
/// strength of it.
///
/// Two bytes of a hash: the state file must not be worth stealing, and to whoever guesses passwords these are of no use, as one
/// guess in 65,536 fits them anyway.
fn credential(password: &PasswordHash) -> u32 {
    let mut hash = Sha256::new();
    hash.update(b"quartet: the password of a binding");
    if let Some(md5) = &password.md5 {
        hash.update(b"md5");
        hash.update(md5.bytes());
    }
    if let Some(sha256) = &password.sha256 {
        hash.update(b"sha256");
        hash.update(sha256.bytes());
    }
    if let Some(sha512_256) = &password.sha512_256 {
        hash.update(b"sha512_256");
        hash.update(sha512_256.bytes());
    }
    let digest = hash.finalize();
    u32::from(u16::from_be_bytes([digest[0], digest[1]]))
}

/// Whether a stored binding does as well as this one after a crash: the same phone at the same place, until about the same
/// time. (An older `CSeq` will do: the nonces of logins before the crash are worth nothing, so none can be repeated.)
fn is_as_good(stored: &SavedBinding, binding: &SavedBinding, now: Instant) -> bool {
    let same = SavedBinding {
        contact: Contact {
            expires: binding.contact.expires,
            ..stored.contact.clone()
        },
        cseq: binding.cseq,
        ..stored.clone()
    };
    let (before, after) = (stored.contact.expires, binding.contact.expires);
    let moved = after.saturating_duration_since(before) + before.saturating_duration_since(after);
    same == *binding && moved <= after.saturating_duration_since(now) / WRITTEN_PART
}

/// A binding as it is stored: its end by the wall clock, which the next process shares with this one.
fn to_stored(binding: SavedBinding, clock: &Clock, credential: u32) -> StoredBinding {
    let SavedBinding {
        contact,
        sip_instance,
        source,
        call_id,
        cseq,
    } = binding;
    let expires = clock.at(contact.expires).duration_since(SystemTime::UNIX_EPOCH);
    StoredBinding {
        contact: contact.uri,
        sip_instance,
        five_tuple: contact.five_tuple,
        source: source.remote,
        origin: Some(contact.origin.ip()),
        call_id,
        cseq,
        user_agent: contact.user_agent,
        path: contact.path,
        credential,
        expires: expires.unwrap_or_default().as_secs(),
        seconds_left: u32::try_from(contact.expires.saturating_duration_since(clock.now).as_secs()).ok(),
    }
}

/// How long a stored binding still lasts, `None` if it has ended; and whether the wall clock would have it last longer.
///
/// That is never more than was left of it when it was written: the clock may be wrong on a machine that has just started.
fn left(binding: &StoredBinding, clock: &Clock) -> Option<(Duration, bool)> {
    let wall = clock.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_secs(binding.expires).checked_sub(wall)?;
    let written = binding.seconds_left.map(|seconds| Duration::from_secs(seconds.into()));
    // A second is lost where the end is rounded.
    let capped = written.filter(|written| left > *written + Duration::from_secs(1));
    Some((capped.unwrap_or(left), capped.is_some()))
}

/// A stored binding with its end by our clock; `None` if it has ended.
fn from_stored(binding: StoredBinding, clock: &Clock) -> Option<SavedBinding> {
    let (left, _) = left(&binding, clock)?;
    // Behind a proxy the port is not kept: it is of a connection, or of a NAT, that a restart may well outlast.
    let is_direct = binding.origin.is_none_or(|origin| origin == binding.source.ip());
    let below = binding.origin.map(|origin| SocketAddr::new(origin, 0));
    let origin = below.filter(|_| !is_direct).unwrap_or(binding.source);
    Some(SavedBinding {
        contact: Contact {
            uri: binding.contact,
            five_tuple: binding.five_tuple,
            origin,
            expires: clock.now.checked_add(left)?,
            user_agent: binding.user_agent,
            path: binding.path,
        },
        sip_instance: binding.sip_instance,
        source: binding.five_tuple.with_remote(binding.source),
        call_id: binding.call_id,
        cseq: binding.cseq,
    })
}

#[cfg(test)]
mod tests;
