//! Names and passwords for TURN servers that share a secret with us: short-lived, and known to nobody before they are used.
//!
//! draft-uberti-behave-turn-rest-00: the user is `expiry:name` with the expiry in seconds of the Unix epoch, the password is
//! base64 of HMAC-SHA-1 over it under the server's secret. coturn calls it `use-auth-secret`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use zeroize::Zeroizing;

/// The password of a user `expiry:name`.
///
/// # Panics
/// Never: HMAC takes a key of any length.
#[must_use]
pub fn rest_password(secret: &str, username: &str) -> Zeroizing<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes any key");
    mac.update(username.as_bytes());
    Zeroizing::new(STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_that_of_rfc_2202() {
        // RFC 2202 §3, case 2, in base64.
        let password = rest_password("Jefe", "what do ya want for nothing?");
        assert_eq!(*password, "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    }
}
