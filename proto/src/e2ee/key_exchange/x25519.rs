//! The hub's preferred exchange: Curve25519, with names, call id and both public values bound into the key.

use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use x25519_dalek::{EphemeralSecret, PublicKey};
use zeroize::Zeroizing;

use super::{Binding, KeyExchangeError, SharedKey};

/// A secret that serves once.
pub(super) struct Secret(EphemeralSecret);

impl Secret {
    /// Draws 32 bytes.
    pub(super) fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> Secret {
        Secret(EphemeralSecret::random_from_rng(rng))
    }

    /// Returns the public value.
    pub(super) fn public(&self) -> Vec<u8> {
        PublicKey::from(&self.0).as_bytes().to_vec()
    }

    /// Computes the key. The secret ends here.
    ///
    /// # Errors
    /// [`KeyExchangeError::Degenerate`] if the peer's point is of small order: the shared secret is all zero.
    pub(super) fn agree(self, peer: PublicKey, context: &Context) -> Result<SharedKey, KeyExchangeError> {
        let shared = self.0.diffie_hellman(&peer);
        if !shared.was_contributory() {
            return Err(KeyExchangeError::Degenerate);
        }
        let mut key = Zeroizing::new([0; SharedKey::LENGTH]);
        Hkdf::<Sha256>::new(Some(&context.salt), shared.as_bytes())
            .expand(&context.info, key.as_mut_slice())
            .expect("256 bytes are below the 8160 that HKDF-SHA-256 gives");
        Ok(SharedKey::new(&key))
    }
}

/// What goes into the key besides the shared secret.
pub(super) struct Context {
    salt: [u8; 32],
    info: Vec<u8>,
}

impl Context {
    /// Collects it. Names are parted by a zero byte, so they may not hold one.
    ///
    /// # Errors
    /// [`KeyExchangeError::Binding`] for such a name.
    pub(super) fn new(caller: &[u8], callee: &[u8], binding: &Binding) -> Result<Context, KeyExchangeError> {
        if binding.caller.contains('\0') || binding.callee.contains('\0') {
            return Err(KeyExchangeError::Binding);
        }
        let salt = Sha256::new()
            .chain_update(caller)
            .chain_update(callee)
            .finalize()
            .into();
        let info = [
            b"quartet call key v1".as_slice(),
            &binding.call_id,
            binding.caller.as_bytes(),
            b"\0",
            binding.callee.as_bytes(),
            b"/x25519",
        ]
        .concat();
        Ok(Context { salt, info })
    }
}

/// Reads the peer's public value.
///
/// # Errors
/// [`KeyExchangeError::Degenerate`] if it is not 32 bytes long. Points of small order show in the shared secret.
pub(super) fn check(public: &[u8]) -> Result<PublicKey, KeyExchangeError> {
    let bytes: [u8; 32] = public.try_into().map_err(|_| KeyExchangeError::Degenerate)?;
    Ok(PublicKey::from(bytes))
}
