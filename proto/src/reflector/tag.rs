//! Tags: what may use a reflector, and until when.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Place;

/// Bytes of a tag.
pub const TAG: usize = 16;
/// Bytes that all parties of a call have in common: bytes 0–3 the expiry (u32 BE, seconds since 1970-01-01 UTC), bytes 4–11 the first
/// eight of HMAC-SHA-256 over it under the secret that hub and reflector share.
pub const SHARED: usize = 12;

/// A party of one call at a reflector.
pub type Tag = [u8; TAG];

/// How long a tag is good, in seconds: longer than any call.
const GOOD_FOR: u32 = 24 * 3600;

/// Makes tags, another for each call.
#[derive(Debug, Default)]
pub struct Issuer {
    last: u32,
}

impl Issuer {
    /// The tag of a call that begins at `unix`, in seconds since 1970-01-01 UTC: good for at least a day, at most two. The last four
    /// bytes are chance, in place of which each party puts its own.
    ///
    /// Calls differ by their expiry. They follow each other from a chance one on, so that a hub that begins anew, or another one with the
    /// same secret, seldom meets those of before: with 50 calls at a time once in a thousand bursts. Calls that share theirs are told apart
    /// no less: each party's tag has four bytes of its own.
    pub fn issue<R: CryptoRng + ?Sized>(&mut self, secret: &[u8], unix: u64, rng: &mut R) -> Zeroizing<Tag> {
        let now = u32::try_from(unix).unwrap_or(u32::MAX);
        let first = now.saturating_add(GOOD_FOR);
        let next = self.last.saturating_add(1);
        let fits = (first..=first.saturating_add(GOOD_FOR)).contains(&next);
        self.last = if fits {
            next
        } else {
            first.saturating_add(rng.next_u32() % GOOD_FOR)
        };
        let mut tag = Zeroizing::new([0; TAG]);
        rng.fill_bytes(&mut *tag);
        tag[..SHARED].copy_from_slice(&signed(secret, self.last));
        tag
    }
}

/// Until when a tag is good, in seconds since 1970-01-01 UTC; `None` if no hub signed it. In constant time.
pub(super) fn expiry(secret: &[u8], tag: &Tag) -> Option<u64> {
    let expiry = u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]]);
    let is_signed = bool::from(signed(secret, expiry).ct_eq(&tag[..SHARED]));
    is_signed.then_some(u64::from(expiry))
}

/// What a party is shown at this place, and nobody elsewhere sees.
pub(super) fn cookie(secret: &[u8], tag: &Tag, place: Place) -> [u8; 8] {
    // No expiry has this length.
    let label = b"cookie";
    match place {
        Place::Stream(_) => mac(secret, &[label, tag]),
        Place::Udp { remote, .. } => {
            let port = remote.port().to_be_bytes();
            match remote.ip() {
                IpAddr::V4(ip) => mac(secret, &[label, tag, &ip.octets(), &port]),
                IpAddr::V6(ip) => mac(secret, &[label, tag, &ip.octets(), &port]),
            }
        }
    }
}

fn signed(secret: &[u8], expiry: u32) -> [u8; SHARED] {
    let expiry = expiry.to_be_bytes();
    let mut shared = [0; SHARED];
    shared[..4].copy_from_slice(&expiry);
    shared[4..].copy_from_slice(&mac(secret, &[&expiry]));
    shared
}

/// The first eight bytes of HMAC-SHA-256.
fn mac(secret: &[u8], parts: &[&[u8]]) -> [u8; 8] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes any key");
    parts.iter().for_each(|part| mac.update(part));
    let mut cut = [0; 8];
    cut.copy_from_slice(&mac.finalize().into_bytes()[..8]);
    cut
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn each_call_has_another_tag() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut issuer = Issuer::default();
        let mut shared: Vec<Vec<u8>> = (0..500)
            .map(|call| issuer.issue(b"secret", NOW + call / 100, &mut rng)[..SHARED].to_vec())
            .collect();
        shared.sort();
        shared.dedup();
        assert_eq!(shared.len(), 500);
        // Long after, the expiry follows the clock again.
        let tag = issuer.issue(b"secret", NOW + 900_000, &mut rng);
        let until = expiry(b"secret", &tag).unwrap() - NOW - 900_000;
        assert!((86_400..2 * 86_400).contains(&until), "{until}");
    }

    #[test]
    fn a_hub_that_begins_anew_repeats_few_tags() {
        let mut shared = 0;
        for seed in 0..200 {
            let burst = |offset: u64| {
                let (mut rng, mut issuer) = (ChaCha20Rng::seed_from_u64(2 * seed + offset), Issuer::default());
                let tags = (0..52).map(|_| issuer.issue(b"secret", NOW, &mut rng)[..SHARED].to_vec());
                tags.collect::<std::collections::BTreeSet<_>>()
            };
            let (before, after) = (burst(0), burst(1));
            shared += usize::from(!before.is_disjoint(&after));
        }
        assert!(shared <= 2, "{shared} of 200");
    }

    #[test]
    fn a_day_with_more_calls_than_seconds_has_no_tag_beyond_two_days() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut issuer = Issuer::default();
        for _ in 0..200_000 {
            let tag = issuer.issue(b"", NOW, &mut rng);
            let until = u64::from(u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]]));
            assert!((NOW + 86_400..=NOW + 2 * 86_400).contains(&until));
        }
    }

    #[test]
    fn what_no_hub_signed_is_none() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let tag = Issuer::default().issue(b"secret", NOW, &mut rng);
        assert!(expiry(b"secret", &tag).is_some());
        assert_eq!(expiry(b"another", &tag), None);
        for bit in 0..SHARED * 8 {
            let mut other = *tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(expiry(b"secret", &other), None, "bit {bit}");
        }
        let mut other = *tag;
        other[SHARED] ^= 1;
        assert!(
            expiry(b"secret", &other).is_some(),
            "the party's own bytes are not signed"
        );
    }
}
