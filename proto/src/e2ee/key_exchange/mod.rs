//! The key exchange: commit, answer, reveal.
//!
//! Each state consumes itself, so a secret serves one exchange and a wrong order does not compile. The jobs are handed
//! out as [`Job`]s. Caller: [`begin`] → [`Committed`] → `on_accept` → [`Agreed`], whose `public` is then revealed together
//! with the fingerprint. Callee: [`answer`] → [`Answered`] → `on_confirm` → [`Agreed`].
//!
//! The commitment is what makes four emojis enough: the caller's value is fixed before it sees the callee's, so whoever
//! sits between gets one guess. It is checked before the revealed value is used for anything.

use rand_core::CryptoRng;

use super::fingerprint::{self, Emoji};
use super::{Job, KeyExchange, SharedKey};

mod commit;
mod dh2048;
#[cfg(test)]
pub(super) mod tests;
mod x25519;

pub use commit::commitment;
pub use dh2048::{is_known_group, known_group};

/// The 256 bytes a network's server may add to our randomness in `dh2048`; all zero on a hub.
pub const NO_SERVER_RANDOM: [u8; 256] = [0; 256];

/// What `x25519` binds into the key besides the public values. `dh2048` has no such binding and ignores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The id of the call on its network.
    pub call_id: [u8; 16],
    /// The caller's account, as the callee was told it.
    pub caller: String,
    /// The callee's account, as the caller dialled it.
    pub callee: String,
}

/// Why an exchange ended without a key. Each is the peer's fault, or that of whoever sits between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyExchangeError {
    /// The revealed value is not the one the caller committed to.
    #[error("the revealed public value does not match the commitment")]
    Commitment,
    /// The public value has the wrong length, lies outside the allowed range or is of small order.
    #[error("the peer's public value is degenerate")]
    Degenerate,
    /// Both ends hold a key, but not the same.
    #[error("the key fingerprints differ")]
    Fingerprint,
    /// An account name holds a zero byte and cannot be bound.
    #[error("an account name cannot be bound into the key")]
    Binding,
}

/// A key that both ends hold.
#[derive(Debug, Clone)]
pub struct Agreed {
    /// The key of the call.
    pub key: SharedKey,
    /// Our own public value. The caller reveals it now; the callee has sent it already.
    pub public: Vec<u8>,
    /// The fingerprint of the key; the caller sends it along.
    pub fingerprint: i64,
    /// What the two people compare.
    pub emojis: [Emoji; 4],
}

/// A secret of either group, before the other's public value is known.
enum Secret {
    X25519(x25519::Secret),
    Dh2048(Box<dh2048::Secret>),
}

impl Secret {
    /// Draws a secret; the job computes its public value. Both are fresh for each call.
    fn draw<R: CryptoRng + ?Sized>(
        exchange: KeyExchange,
        rng: &mut R,
        server_random: &[u8; 256],
    ) -> Job<(Secret, Vec<u8>)> {
        match exchange {
            KeyExchange::X25519 => {
                let secret = x25519::Secret::draw(rng);
                Job::new(move || {
                    let public = secret.public();
                    (Secret::X25519(secret), public)
                })
            }
            KeyExchange::Dh2048 => {
                let seed = dh2048::Seed::draw(rng, server_random);
                Job::new(move || {
                    let (secret, public) = seed.into_secret();
                    (Secret::Dh2048(Box::new(secret)), public)
                })
            }
        }
    }

    fn exchange(&self) -> KeyExchange {
        match self {
            Secret::X25519(_) => KeyExchange::X25519,
            Secret::Dh2048(_) => KeyExchange::Dh2048,
        }
    }

    /// Checks what can be checked cheaply, and returns the job of the shared key.
    fn agree(
        self,
        peer: &[u8],
        publics: Publics<'_>,
        binding: &Binding,
    ) -> Result<Job<Result<SharedKey, KeyExchangeError>>, KeyExchangeError> {
        match self {
            Secret::X25519(secret) => {
                let peer = x25519::check(peer)?;
                let context = x25519::Context::new(publics.caller, publics.callee, binding)?;
                Ok(Job::new(move || secret.agree(peer, &context)))
            }
            Secret::Dh2048(secret) => {
                let peer = dh2048::check(peer)?;
                Ok(Job::new(move || Ok(secret.agree(&peer))))
            }
        }
    }
}

/// Both public values, as they were sent.
#[derive(Clone, Copy)]
struct Publics<'a> {
    caller: &'a [u8],
    callee: &'a [u8],
}

/// The caller's state while its commitment is out and its public value is not.
pub struct Committed {
    secret: Secret,
    public: Vec<u8>,
    commitment: [u8; 32],
}

/// Begins an exchange as the caller: the job yields the commitment to offer.
///
/// `server_random` is XORed into the exponent of `dh2048`; [`NO_SERVER_RANDOM`] on a hub. Values whose first byte is zero
/// are drawn again, because one peer implementation sends and hashes them shortened.
pub fn begin<R: CryptoRng + ?Sized>(exchange: KeyExchange, rng: &mut R, server_random: &[u8; 256]) -> Job<Committed> {
    let draw = Secret::draw(exchange, rng, server_random);
    Job::new(move || {
        let (secret, public) = draw.run();
        let commitment = commitment(&public);
        Committed {
            secret,
            public,
            commitment,
        }
    })
}

impl Committed {
    /// Returns SHA-256 of the public value that [`Agreed::public`] will reveal.
    pub fn commitment(&self) -> [u8; 32] {
        self.commitment
    }

    /// Returns the group it was begun in.
    pub fn exchange(&self) -> KeyExchange {
        self.secret.exchange()
    }

    /// Takes the callee's public value. The job yields the key, and only then may our own value be revealed.
    ///
    /// # Errors
    /// [`KeyExchangeError::Degenerate`] or [`KeyExchangeError::Binding`], here or from the job; the secret is gone.
    pub fn on_accept(
        self,
        peer_public: &[u8],
        binding: &Binding,
    ) -> Result<Job<Result<Agreed, KeyExchangeError>>, KeyExchangeError> {
        let Committed { secret, public, .. } = self;
        let job = secret.agree(
            peer_public,
            Publics {
                caller: &public,
                callee: peer_public,
            },
            binding,
        )?;
        Ok(Job::new(move || {
            let key = job.run()?;
            let (fingerprint, emojis) = (fingerprint::of_key(&key), fingerprint::emojis(&key, &public));
            Ok(Agreed {
                key,
                public,
                fingerprint,
                emojis,
            })
        }))
    }
}

impl std::fmt::Debug for Committed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The public value stays out as well: it is secret until the callee has answered.
        f.debug_struct("Committed")
            .field("exchange", &self.exchange())
            .finish_non_exhaustive()
    }
}

/// The callee's state while it waits for the caller to reveal.
pub struct Answered {
    secret: Secret,
    public: Vec<u8>,
    commitment: [u8; 32],
}

/// Answers an exchange as the callee: the job yields the public value to send.
///
/// `commitment` is the caller's, kept to be held against what it reveals. `server_random` as for [`begin`].
pub fn answer<R: CryptoRng + ?Sized>(
    exchange: KeyExchange,
    commitment: [u8; 32],
    rng: &mut R,
    server_random: &[u8; 256],
) -> Job<Answered> {
    let draw = Secret::draw(exchange, rng, server_random);
    Job::new(move || {
        let (secret, public) = draw.run();
        Answered {
            secret,
            public,
            commitment,
        }
    })
}

impl Answered {
    /// Returns the public value to send with the accept.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Returns the group it was answered in.
    pub fn exchange(&self) -> KeyExchange {
        self.secret.exchange()
    }

    /// Takes what the caller revealed: the commitment is checked before anything is computed with it, the fingerprint
    /// by the job.
    ///
    /// # Errors
    /// [`KeyExchangeError::Commitment`], [`KeyExchangeError::Degenerate`] or [`KeyExchangeError::Binding`] at once,
    /// [`KeyExchangeError::Fingerprint`] from the job; the secret is gone.
    pub fn on_confirm(
        self,
        peer_public: &[u8],
        fingerprint: i64,
        binding: &Binding,
    ) -> Result<Job<Result<Agreed, KeyExchangeError>>, KeyExchangeError> {
        let Answered {
            secret,
            public,
            commitment,
        } = self;
        commit::check(&commitment, peer_public)?;
        let caller_public = peer_public.to_vec();
        let job = secret.agree(
            peer_public,
            Publics {
                caller: peer_public,
                callee: &public,
            },
            binding,
        )?;
        Ok(Job::new(move || {
            let key = job.run()?;
            let ours = fingerprint::of_key(&key);
            if ours != fingerprint {
                return Err(KeyExchangeError::Fingerprint);
            }
            let emojis = fingerprint::emojis(&key, &caller_public);
            Ok(Agreed {
                key,
                public,
                fingerprint: ours,
                emojis,
            })
        }))
    }
}

impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answered")
            .field("exchange", &self.exchange())
            .finish_non_exhaustive()
    }
}
