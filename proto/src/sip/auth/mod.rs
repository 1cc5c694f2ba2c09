//! Digest authentication, RFC 3261 §22 and RFC 7616: as server (`guard`) and as client (`client`). MD5, SHA-256 and SHA-512/256, qop=auth.

mod client;
mod digest;
mod guard;
mod login_limiter;
mod nonces;

use std::fmt;
use std::net::IpAddr;

use zeroize::Zeroizing;

pub(in crate::sip) use client::authorization;
use digest::Algorithm;
pub(in crate::sip) use guard::{Guard, Verdict};
pub use login_limiter::Locked;

/// Hashes of `user:realm:password`, one per algorithm: what a password file holds instead of the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ha1 {
    /// MD5, 16 bytes.
    pub md5: Option<Zeroizing<[u8; 16]>>,
    /// SHA-256, 32 bytes.
    pub sha256: Option<Zeroizing<[u8; 32]>>,
    /// SHA-512/256, 32 bytes.
    pub sha512_256: Option<Zeroizing<[u8; 32]>>,
}

impl Ha1 {
    /// Hashes a password for an account of a realm by MD5 and SHA-256, as phones know them.
    #[must_use]
    pub fn of(user: &str, realm: &str, password: &str) -> Self {
        Self::by(&[Algorithm::Md5, Algorithm::Sha256], user, realm, password)
    }

    /// Hashes it by SHA-512/256 too.
    #[must_use]
    pub fn all_of(user: &str, realm: &str, password: &str) -> Self {
        Self::by(&Algorithm::ALL, user, realm, password)
    }

    fn by(algorithms: &[Algorithm], user: &str, realm: &str, password: &str) -> Self {
        let mut ha1 = Self::default();
        for algorithm in algorithms {
            algorithm.insert(&mut ha1, user, realm, password);
        }
        ha1
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ha1")
            .field("md5", &self.md5.is_some())
            .field("sha256", &self.sha256.is_some())
            .field("sha512_256", &self.sha512_256.is_some())
            .finish()
    }
}

/// Somebody who may log in.
#[derive(Clone, Debug)]
pub struct Account {
    /// The digest user, the address of record and the From user.
    pub user: String,
    /// What the password is checked against; the challenge names only what stands here.
    pub ha1: Ha1,
    /// Contacts registered at once; beyond, see [`replace_oldest`](crate::sip::Limits::replace_oldest).
    pub max_contacts: usize,
    /// Our addresses as its phones see them, if they see others than the rest.
    pub external_addresses: Option<Vec<IpAddr>>,
}

/// A user and a password, for challenges to our own requests.
#[derive(Clone)]
pub struct Credentials {
    /// The digest user.
    pub user: String,
    /// In clear; erased when dropped.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
