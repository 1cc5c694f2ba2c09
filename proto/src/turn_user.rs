//! Names and passwords for TURN servers that share a secret with us: short-lived, and known to nobody before they are used.
//!
//! draft-uberti-behave-turn-rest-00: the user is `expiry:name` with the expiry in seconds of the Unix epoch, the password is
//! base64 of HMAC-SHA-1 over it under the server's secret. coturn calls it `use-auth-secret`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use zeroize::Zeroizing;

/// How long a name and password are good, in seconds: longer than any call.
const GOOD_FOR: u64 = 24 * 3600;

/// A user of this name and its password, good for a day from `unix` on, in seconds since 1970-01-01 UTC.
#[must_use]
pub fn rest_user(secret: &str, name: &str, unix: u64) -> (String, Zeroizing<String>) {
    let username = format!("{}:{name}", unix.saturating_add(GOOD_FOR));
    let password = rest_password(secret, &username);
    (username, password)
}

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
    fn a_user_is_good_for_a_day() {
        let (username, password) = rest_user("Jefe", "anna", 1_790_000_000);
        assert_eq!(username, "1790086400:anna");
        assert_eq!(password, rest_password("Jefe", &username));
        assert_eq!(rest_user("Jefe", "anna", u64::MAX).0, "18446744073709551615:anna");
    }

    #[test]
    fn the_password_is_that_of_rfc_2202() {
        // RFC 2202 §3, case 2, in base64.
        let password = rest_password("Jefe", "what do ya want for nothing?");
        assert_eq!(*password, "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    }
}
