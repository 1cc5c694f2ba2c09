//! The client side: credentials for a challenge.

use rand_core::CryptoRng;

use super::digest::{Algorithm, field, fields, hex};
use super::{Credentials, Ha1};
use crate::sip::message::quote;

/// The value of `Authorization` for the best of several challenges (SHA-512/256 before SHA-256 before MD5); `None` if we can use none.
pub(in crate::sip) fn authorization<'a>(
    challenges: impl Iterator<Item = &'a str>,
    credentials: &Credentials,
    method: &str,
    uri: &str,
    rng: &mut dyn CryptoRng,
) -> Option<String> {
    let known = challenges.filter_map(|value| {
        let fields = fields(value)?;
        Algorithm::of(field(&fields, "algorithm")).map(|algorithm| (algorithm, fields))
    });
    let (algorithm, fields) = known.max_by_key(|(algorithm, _)| *algorithm)?;
    let (realm, nonce) = (field(&fields, "realm").unwrap_or_default(), field(&fields, "nonce")?);
    let qop = match field(&fields, "qop") {
        Some(offered) => Some(
            offered
                .split(',')
                .find(|q| q.trim_matches(crate::sip::message::LWS).eq_ignore_ascii_case("auth"))?,
        ),
        None => None,
    };
    let mut cnonce = [0; 16];
    rng.fill_bytes(&mut cnonce);
    let (nc, cnonce) = ("00000001", hex(&cnonce));
    let ha1 = Ha1::by(&[algorithm], &credentials.user, realm, &credentials.password);
    let ha1 = algorithm.ha1(&ha1)?;
    let response = algorithm.response(&ha1, nonce, qop.map(|_| (nc, cnonce.as_str())), method, uri);
    let mut out = format!(
        "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}",
        quote(&credentials.user),
        quote(realm),
        quote(nonce),
        quote(uri),
        algorithm.name()
    );
    if let Some(opaque) = field(&fields, "opaque") {
        out.push_str(&format!(", opaque={}", quote(opaque)));
    }
    if qop.is_some() {
        out.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
    }
    Some(out)
}
