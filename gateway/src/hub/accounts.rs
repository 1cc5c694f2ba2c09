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
    /// Whether it is a gateway's: it calls as, and is called at, `extension@user`, and has more and bounds its own callers.
    pub is_gateway: bool,
}

impl Account {
    /// A person's.
    #[must_use]
    pub fn person(user: Name) -> Self {
        Self {
            user,
            is_gateway: false,
        }
    }
}

/// Where the rendezvous looks accounts up. Must answer from memory: the signalling thread waits for it.
pub trait Accounts: Send + Sync {
    /// The account whose token has this SHA-256.
    fn by_token(&self, token_hash: &[u8; 32]) -> Option<Account>;

    /// The account of that name, if it could be called.
    fn by_name(&self, user: &str) -> Option<Account>;
}

/// All accounts with their token hashes, in memory.
#[derive(Default)]
pub struct Directory {
    tables: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    by_token: BTreeMap<[u8; 32], Account>,
    /// With the number of its tokens.
    by_name: BTreeMap<Name, (Account, usize)>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

impl Directory {
    /// Adds a token of an account.
    pub fn insert(&self, account: Account, token_hash: [u8; 32]) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if tables.by_token.insert(token_hash, account.clone()).is_none() {
            let entry = tables.by_name.entry(account.user.clone());
            entry.or_insert((account, 0)).1 += 1;
        }
    }

    /// Forgets all tokens of an account, and gives their number.
    pub fn remove(&self, user: &str) -> usize {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.by_token.retain(|_, owner| owner.user.as_str() != user);
        let removed = Name::new(user).ok().and_then(|user| tables.by_name.remove(&user));
        removed.map_or(0, |(_, count)| count)
    }

    /// The account of that name, and how many tokens are good for it.
    fn find(&self, user: &str) -> Option<(Account, usize)> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.by_name.get(&Name::new(user).ok()?).cloned()
    }
}

impl Accounts for Directory {
    fn by_token(&self, token_hash: &[u8; 32]) -> Option<Account> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.by_token.get(token_hash).cloned()
    }

    fn by_name(&self, user: &str) -> Option<Account> {
        self.find(user).map(|(account, _)| account)
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
    /// The operator asked for a token of the other kind.
    #[error(
        "{user} is {}; choose another name, or take its tokens back first with `quartet invite --revoke {user}`",
        if *.is_gateway { "a gateway's account and takes no person" } else { "a person's account and takes no gateway" }
    )]
    Kind {
        /// The account.
        user: String,
        /// Whether it is a gateway's.
        is_gateway: bool,
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
    reserved: Option<Name>,
}

impl Invitations {
    /// Loads all accounts. `reserved` is the account of the gateway in this process, which nobody can be invited as.
    ///
    /// # Errors
    /// [`StoreError`] if the accounts cannot be read.
    pub fn load(store: Store, reserved: Option<Name>) -> Result<Self, StoreError> {
        let directory = Arc::new(Directory::default());
        for StoredAccount {
            user,
            token_hash,
            is_gateway,
            ..
        } in store.accounts()?
        {
            match Name::new(user) {
                Ok(user) => directory.insert(Account { user, is_gateway }, token_hash),
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

    /// Creates the account of a person or a gateway if need be and gives one more token for it; earlier ones stay good. `time` is
    /// seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`InviteError`]; then there is no new token.
    pub fn invite<R: CryptoRng + ?Sized>(
        &self,
        user: &str,
        is_gateway: bool,
        time: u64,
        rng: &mut R,
    ) -> Result<Token, InviteError> {
        let account = Account {
            user: self.account(user)?,
            is_gateway,
        };
        let user = user.to_owned();
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match self.directory.find(&user) {
            Some((known, _)) if known != account => {
                let is_gateway = known.is_gateway;
                return Err(InviteError::Kind { user, is_gateway });
            }
            Some((_, tokens)) if tokens >= MAX_TOKENS => return Err(InviteError::TooMany { user }),
            Some(_) | None => {}
        }
        let token = Token::generate(rng);
        store.add_account(&StoredAccount {
            user,
            is_gateway,
            token_hash: token.hash(),
            created: time,
        })?;
        self.directory.insert(account, token.hash());
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
        if self.reserved.as_ref() == Some(&name) {
            return Err(InviteError::Reserved { user: user.to_owned() });
        }
        Ok(name)
    }
}
