//! Names on the wire: accounts, key exchanges, signalling versions, client programs.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::MAX_NAME;
use crate::e2ee::KeyExchange;

/// Why a text is not a name. The other side, or whoever typed it, is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// An account name or `extension@account` has other characters, is empty or too long.
    #[error("needs 1 to 64 characters of a-z 0-9 . _ - with at most one @ between two names")]
    Account,
    /// A key exchange's name has other characters, is empty or too long.
    #[error("needs 1 to 32 characters of a-z 0-9 . _ -")]
    Exchange,
    /// A signalling version has other characters, is empty or too long.
    #[error("needs 1 to 16 characters of a-z 0-9 . -")]
    Version,
    /// The name of a client program is too long or has control characters.
    #[error("needs at most 64 printable characters")]
    Client,
}

fn fits(text: &str, max: usize, extra: &[u8]) -> bool {
    (1..=max).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || extra.contains(&byte))
}

/// An account (`anna`) or one extension of an account (`100@gw`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError::Account`] if it is not one.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let fine = match text.split_once('@') {
            Some((extension, account)) => !account.contains('@') && !extension.is_empty() && !account.is_empty(),
            None => true,
        };
        if fine && fits(&text, MAX_NAME, b"._-@") {
            Ok(Self(text))
        } else {
            Err(NameError::Account)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account: what stands behind the `@`, or all of it.
    #[must_use]
    pub fn account(&self) -> &str {
        self.0.split_once('@').map_or(self.0.as_str(), |(_, account)| account)
    }

    /// The extension before the `@`, if there is one.
    #[must_use]
    pub fn extension(&self) -> Option<&str> {
        self.0.split_once('@').map(|(extension, _)| extension)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// A key exchange's name on the wire, known to us or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExchangeName(String);

impl ExchangeName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError::Exchange`] if it cannot be one.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if fits(&text, 32, b"._-") {
            Ok(Self(text))
        } else {
            Err(NameError::Exchange)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The exchange of that name; `None` if this program does not know it.
    #[must_use]
    pub fn known(&self) -> Option<KeyExchange> {
        KeyExchange::from_name(&self.0)
    }
}

impl From<KeyExchange> for ExchangeName {
    fn from(exchange: KeyExchange) -> Self {
        Self(exchange.name().to_owned())
    }
}

impl TryFrom<String> for ExchangeName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<ExchangeName> for String {
    fn from(name: ExchangeName) -> Self {
        name.0
    }
}

/// A version of the calls' signalling, such as `9.0.0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    /// Checks a version.
    ///
    /// # Errors
    /// [`NameError::Version`] if it cannot be one.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if fits(&text, 16, b".-") {
            Ok(Self(text))
        } else {
            Err(NameError::Version)
        }
    }

    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Version {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

/// What a client program calls itself; for logs only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientName(String);

impl ClientName {
    /// Checks a client's name.
    ///
    /// # Errors
    /// [`NameError::Client`] if it is longer than 64 characters or not printable.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let fine = text.chars().count() <= 64 && !text.chars().any(char::is_control);
        if fine { Ok(Self(text)) } else { Err(NameError::Client) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<ClientName> for String {
    fn from(name: ClientName) -> Self {
        name.0
    }
}
