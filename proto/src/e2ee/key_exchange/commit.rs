//! The commitment: SHA-256 of the public value as it will be sent.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::KeyExchangeError;

/// Returns the commitment to a public value.
pub fn commitment(public: &[u8]) -> [u8; 32] {
    Sha256::digest(public).into()
}

/// Holds a revealed value against the commitment.
///
/// # Errors
/// [`KeyExchangeError::Commitment`] if it is another value.
pub(super) fn check(expected: &[u8; 32], revealed: &[u8]) -> Result<(), KeyExchangeError> {
    let same = commitment(revealed).ct_eq(expected);
    if bool::from(same) {
        Ok(())
    } else {
        Err(KeyExchangeError::Commitment)
    }
}
