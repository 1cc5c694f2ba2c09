//! The words of our description, and those of the peer's that are believed.

use is::{Candidate, IceCreds};
use rand_core::CryptoRng;

use super::IceError;

/// The candidate as a line of our description. Without its `ufrag`, which not every peer reads.
pub(super) fn line(candidate: &Candidate) -> String {
    let text = candidate.to_sdp_string();
    let text = text.split(" ufrag ").next().unwrap_or(&text);
    format!("{text}\n")
}

/// 8 letters and 24: more than the 24 and 128 bits that RFC 8445 §5.3 wants.
pub(super) fn credentials<R: CryptoRng + ?Sized>(rng: &mut R) -> IceCreds {
    IceCreds {
        ufrag: letters(8, rng),
        pass: letters(24, rng),
    }
}

fn letters<R: CryptoRng + ?Sized>(count: usize, rng: &mut R) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..count)
        .map(|_| char::from(ALPHABET[(rng.next_u32() % 64) as usize]))
        .collect()
}

pub(super) fn checked_text(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Result<String, IceError> {
    let fine = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'+' || letter == b'/';
    // Some peers use '-' and '_' as base64url does, or pad with '='; STUN does not mind.
    let fine = |letter: u8| fine(letter) || matches!(letter, b'-' | b'_' | b'=');
    if lengths.contains(&text.len()) && text.bytes().all(fine) {
        Ok(text.to_owned())
    } else {
        Err(IceError::Credentials)
    }
}
