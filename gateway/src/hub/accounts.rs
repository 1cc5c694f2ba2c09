//! Who may say hello: accounts in memory, loaded from the store and changed by invitations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use quartet_proto::hub::{Name, Token};
use rand_core::CryptoRng;
use thiserror::Error;

use crate::store::{Store, StoreError, StoredAccount};

/// Most tokens that are good at the same time for one account; one per device.
const MAX_TOKENS: usize = 16;

/// An account as the rendezvous knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name, without an extension.
    pub user: Name,
    /// Whether it may call as, and be called at, `extension@user`.
    pub extensions: bool,
}

/// Where the rendezvous looks accounts up. Must answer from memory: the signalling thread waits for it.
pub trait Accounts: Send + Sync {
    /// The account whose token has this SHA-256.
    fn by_token(&self, token_hash: &[u8; 32]) -> Option<Account>;

    /// Whether somebody of that name could be called.
    fn exists(&self, user: &str) -> bool;
}

/// All accounts with their token hashes, in memory.
#[derive(Default)]
pub struct Directory {
    tokens: RwLock<BTreeMap<[u8; 32], Name>>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

impl Directory {
    /// Adds a token of an account.
    pub fn insert(&self, user: Name, token_hash: [u8; 32]) {
        self.tokens
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token_hash, user);
    }

    /// Forgets all tokens of an account, and gives their number.
    pub fn remove(&self, user: &str) -> usize {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        let before = tokens.len();
        tokens.retain(|_, owner| owner.as_str() != user);
        before - tokens.len()
    }

    fn count(&self, user: &str) -> usize {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.values().filter(|owner| owner.as_str() == user).count()
    }
}

impl Accounts for Directory {
    fn by_token(&self, token_hash: &[u8; 32]) -> Option<Account> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token_hash).map(|user| Account {
            user: user.clone(),
            extensions: false,
        })
    }

    fn exists(&self, user: &str) -> bool {
        self.count(user) > 0
    }
}

/// Why an invitation was not given or taken back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The operator typed something that is not an account name.
    #[error("{user:?} is no account name: 1 to 64 characters of a-z 0-9 . _ -")]
    Name {
        /// What was typed.
        user: String,
    },
    /// The operator named the gateway's own account.
    #[error(
        "{user} is this gateway's own account and takes no invitation; change `account` in [network.hub] or choose another name"
    )]
    Reserved {
        /// The account.
        user: String,
    },
    /// The account has tokens enough.
    #[error("{user} has {MAX_TOKENS} tokens already; `quartet invite --revoke {user}` takes them all back")]
    TooMany {
        /// The account.
        user: String,
    },
    /// The operator named an account that has no token.
    #[error("{user} has no invitation to take back")]
    Unknown {
        /// The account.
        user: String,
    },
    /// The store failed; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Gives out tokens and takes them back: first in the store, then in memory.
///
/// Its functions wait for the disk; call them from a thread that may.
#[derive(Debug)]
pub struct Invitations {
    store: Mutex<Store>,
    directory: Arc<Directory>,
    reserved: Name,
}

impl Invitations {
    /// Loads all accounts. `reserved` is the gateway's own account, which nobody can be invited as.
    ///
    /// # Errors
    /// [`StoreError`] if the accounts cannot be read.
    pub fn load(store: Store, reserved: Name) -> Result<Self, StoreError> {
        let directory = Arc::new(Directory::default());
        for account in store.accounts()? {
            match Name::new(account.user) {
                Ok(user) => directory.insert(user, account.token_hash),
                Err(error) => tracing::warn!(%error, "an account of the store has no valid name and is left out"),
            }
        }
        Ok(Self {
            store: Mutex::new(store),
            directory,
            reserved,
        })
    }

    /// The accounts in memory, for [`super::Rendezvous::new`].
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// Creates the account if need be and gives one more token for it; earlier ones stay good. `time` is seconds since
    /// 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`InviteError`]; then there is no new token.
    pub fn invite<R: CryptoRng + ?Sized>(&self, user: &str, time: u64, rng: &mut R) -> Result<Token, InviteError> {
        let name = self.account(user)?;
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if self.directory.count(user) >= MAX_TOKENS {
            return Err(InviteError::TooMany { user: user.to_owned() });
        }
        let token = Token::generate(rng);
        store.add_account(&StoredAccount {
            user: user.to_owned(),
            token_hash: token.hash(),
            created: time,
        })?;
        self.directory.insert(name, token.hash());
        Ok(token)
    }

    /// Makes all tokens of an account invalid, and gives their number. Connections that are open stay so until
    /// [`super::Rendezvous::close_account`].
    ///
    /// # Errors
    /// [`InviteError`]; then the tokens are as good as before.
    pub fn revoke(&self, user: &str, time: u64) -> Result<usize, InviteError> {
        self.account(user)?;
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.revoke_account(user, time)? == 0 {
            return Err(InviteError::Unknown { user: user.to_owned() });
        }
        Ok(self.directory.remove(user))
    }

    fn account(&self, user: &str) -> Result<Name, InviteError> {
        let name = Name::new(user).ok().filter(|name| name.extension().is_none());
        let name = name.ok_or_else(|| InviteError::Name { user: user.to_owned() })?;
        if name == self.reserved {
            return Err(InviteError::Reserved { user: user.to_owned() });
        }
        Ok(name)
    }
}
