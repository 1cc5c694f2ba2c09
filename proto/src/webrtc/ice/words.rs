//! The words of our description, and those of the peer's that are believed.

use std::borrow::Cow;

use is::{Candidate, CandidateKind, IceCreds, default_local_preference};
use rand_core::CryptoRng;

use super::IceError;
use crate::reflector::names;

/// The candidate as a line of our description. Without its `ufrag`, which not every peer reads.
pub(super) fn line(candidate: &Candidate) -> String {
    let text = candidate.to_sdp_string();
    let text = text.split(" ufrag ").next().unwrap_or(&text);
    let mut line = with_addresses(text, |word| names::name(word.parse().ok()?));
    line.push('\n');
    line
}

/// What an address of ours is beside its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    Usual,
    OverStream,
    /// This machine had moved so often when it came, at least once.
    AfterMoves(u32),
}

/// Local preferences below this one (16 bits, RFC 8445 §5.1.2.1) are for addresses from before a move.
const MOVED: u32 = 0xff00;
/// Makes of the type preference that a check tells of a new address (110, peer-reflexive) that of a host (126): the agent joins both by
/// a bitwise or.
const AS_HOST: u32 = 0x0010_0000;

/// How much a candidate is preferred to others of its kind: a reflector, which everybody's calls share, comes after relays, and what
/// goes over a stream after all that does not.
///
/// An address that this machine has moved to comes before all. Its checks may arrive before its candidate, and libwebrtc does not look
/// at a pair with a lower priority than the one it uses, until it has heard nothing by that for 2.5 s.
pub(super) fn preference(candidate: &Candidate, same_kind: usize, added: Added) -> u32 {
    let usual = default_local_preference(candidate, same_kind);
    let is_reflector = names::of_address(candidate.addr().ip()).is_some();
    let quarters = match added {
        Added::AfterMoves(moves) => return AS_HOST | (MOVED + moves.min(0xff)),
        Added::OverStream => 2,
        // Of a host it has 49152 to 65535.
        Added::Usual if candidate.kind() == CandidateKind::Host => return usual - (0x1_0000 - MOVED),
        Added::Usual => 4,
    };
    usual * (quarters - u32::from(is_reflector)) / 4
}

/// Reads a candidate of the peer's, also one at a reflector, which has a name in place of an address.
pub(super) fn read(line: &str) -> Option<Candidate> {
    let line = with_addresses(line, |word| names::ip(word).map(|ip| ip.to_string()));
    Candidate::from_sdp_string(&line).ok()
}

/// A candidate with its addresses written otherwise, where there is another way: the fifth word, and what stands behind `raddr`.
fn with_addresses(line: &str, otherwise: impl Fn(&str) -> Option<String>) -> String {
    let mut before = "";
    let words = line.split(' ').enumerate().map(|(place, word)| {
        let is_address = place == 4 || std::mem::replace(&mut before, word) == "raddr";
        let other = is_address.then(|| otherwise(word)).flatten();
        other.map_or(Cow::Borrowed(word), Cow::Owned)
    });
    words.collect::<Vec<_>>().join(" ")
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
