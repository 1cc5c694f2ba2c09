//! Nonces that prove themselves (time, random bytes, HMAC), so that a challenge costs no memory; only the counts of those
//! that were used rightly are remembered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of the time (milliseconds for 34 years), of the random number and of the HMAC in a nonce: 24 characters in all, for
/// a short challenge. To forge one is to guess 72 bits, a request each.
const TIME: usize = 5;
const RANDOM: usize = 4;
const MAC: usize = 9;

/// Counts below the highest that are still accepted: requests of one phone overtake each other (RFC 7616 §3.4).
const WINDOW: u32 = 64;

/// A nonce: milliseconds since our first request, and a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nonce(u64, u64);

/// The counts of one nonce that were used.
#[derive(Clone, Copy, Debug)]
struct Counts {
    highest: u32,
    /// Bit n: `highest - n` was used.
    used: u64,
}

/// What a count is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Fresh,
    /// It was used before, or is too far below the highest. Perhaps a replay, perhaps an old phone that does not count: a
    /// new nonce serves both right.
    Reused,
}

/// Makes nonces and knows them again.
pub(super) struct Nonces {
    secret: Zeroizing<[u8; 32]>,
    lifetime: Duration,
    /// Nonces remembered at once.
    max: usize,
    epoch: Option<Instant>,
    /// By age, oldest first.
    used: BTreeMap<Nonce, Counts>,
    /// Nonces not younger than this are no longer remembered, hence stale.
    forgotten: Option<Nonce>,
}

impl Nonces {
    pub(super) fn new(lifetime: Duration, max: usize, rng: &mut dyn CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        Self {
            secret,
            lifetime,
            max: max.max(1),
            epoch: None,
            used: BTreeMap::new(),
            forgotten: None,
        }
    }

    /// A new nonce for this address and port; it is good from nowhere else, so nobody can fail in another's name, not even a
    /// neighbour who forges a phone's own address, for he does not hear what is sent there.
    pub(super) fn issue(&mut self, now: Instant, source: SocketAddr, rng: &mut dyn CryptoRng) -> String {
        let mut random = [0; 8];
        rng.fill_bytes(&mut random[8 - RANDOM..]);
        let nonce = Nonce(self.millis(now), u64::from_be_bytes(random));
        self.write(nonce, source)
    }

    /// Reads a nonce of ours; `None` if it is not, was given to another address or port, or is too old.
    pub(super) fn read(&mut self, now: Instant, text: &str, source: SocketAddr) -> Option<Nonce> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let nonce = Nonce(number(bytes.get(..TIME)?), number(bytes.get(TIME..TIME + RANDOM)?));
        let written = self.write(nonce, source);
        let ours = bool::from(written.as_bytes().ct_eq(text.as_bytes()));
        let lifetime = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX);
        let young = self.millis(now).saturating_sub(nonce.0) < lifetime;
        (ours && young && self.forgotten.is_none_or(|f| nonce > f)).then_some(nonce)
    }

    /// Notes a count of a nonce that a right response came with. Without a count the nonce is good for one response.
    pub(super) fn count(&mut self, nonce: Nonce, count: Option<u32>) -> Count {
        let new = Counts {
            highest: count.unwrap_or(u32::MAX),
            used: if count.is_some() { 1 } else { u64::MAX },
        };
        let Some(counts) = self.used.get_mut(&nonce) else {
            self.used.insert(nonce, new);
            while self.used.len() > self.max {
                self.forgotten = self.used.pop_first().map(|(nonce, _)| nonce).max(self.forgotten);
            }
            return Count::Fresh;
        };
        let Some(count) = count else { return Count::Reused };
        if let Some(ahead) = count.checked_sub(counts.highest).filter(|ahead| *ahead > 0) {
            counts.used = counts.used.checked_shl(ahead).unwrap_or(0) | 1;
            counts.highest = count;
            return Count::Fresh;
        }
        let behind = counts.highest - count;
        if behind >= WINDOW || counts.used & (1 << behind) != 0 {
            return Count::Reused;
        }
        counts.used |= 1 << behind;
        Count::Fresh
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.used.len()
    }

    fn millis(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        u64::try_from(now.saturating_duration_since(epoch).as_millis()).unwrap_or(u64::MAX)
    }

    fn write(&self, nonce: Nonce, source: SocketAddr) -> String {
        let mut bytes = Vec::with_capacity(TIME + RANDOM + MAC);
        bytes.extend_from_slice(&nonce.0.to_be_bytes()[8 - TIME..]);
        bytes.extend_from_slice(&nonce.1.to_be_bytes()[8 - RANDOM..]);
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.secret).expect("HMAC takes keys of any length");
        mac.update(&bytes);
        match source.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&source.port().to_be_bytes());
        bytes.extend_from_slice(&mac.finalize().into_bytes()[..MAC]);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5060);

    fn nonces(max: usize) -> (Nonces, ChaCha8Rng, Instant) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        #[allow(clippy::disallowed_methods)] // a test needs some instant to count from
        let now = Instant::now();
        (Nonces::new(Duration::from_secs(300), max, &mut rng), rng, now)
    }

    #[test]
    fn counts_may_overtake_each_other_and_serve_once() {
        let (mut nonces, mut rng, now) = nonces(10);
        let text = nonces.issue(now, HERE, &mut rng);
        assert_eq!(text.len(), 24);
        let nonce = nonces.read(now, &text, HERE).unwrap();
        for (count, expected) in [
            (1, Count::Fresh),
            (1, Count::Reused),
            (5, Count::Fresh),
            (3, Count::Fresh),
            (3, Count::Reused),
            (4, Count::Fresh),
            (0, Count::Fresh),
            (0, Count::Reused),
            (68, Count::Fresh),
            (4, Count::Reused),
            (5, Count::Reused),
            (6, Count::Fresh),
            (u32::MAX, Count::Fresh),
            (69, Count::Reused),
            (u32::MAX, Count::Reused),
        ] {
            assert_eq!(nonces.count(nonce, Some(count)), expected, "{count}");
        }
        let text = nonces.issue(now, HERE, &mut rng);
        let nonce = nonces.read(now, &text, HERE).unwrap();
        assert_eq!(nonces.count(nonce, None), Count::Fresh);
        assert_eq!(nonces.count(nonce, None), Count::Reused);
        assert_eq!(nonces.count(nonce, Some(7)), Count::Reused);
    }

    #[test]
    fn a_nonce_is_ours_fresh_and_of_this_address() {
        let (mut nonces, mut rng, now) = nonces(2);
        let text = nonces.issue(now, HERE, &mut rng);
        assert!(nonces.read(now, &text, HERE).is_some());
        for elsewhere in ["127.0.0.2:5060", "127.0.0.1:5061", "[::1]:5060"] {
            assert!(nonces.read(now, &text, elsewhere.parse().unwrap()).is_none());
        }
        assert!(nonces.read(now + Duration::from_secs(301), &text, HERE).is_none());
        for at in 0..24 {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert!(nonces.read(now, std::str::from_utf8(&other).unwrap(), HERE).is_none());
        }
        for bad in ["", "A", "é", &text[..23], &format!("{text}A"), &format!("{text}AAAA")] {
            assert!(nonces.read(now, bad, HERE).is_none(), "{bad}");
        }
        // Those beyond the bound are stale, not good again.
        for second in 1..=3 {
            let now = now + Duration::from_secs(second);
            let text = nonces.issue(now, HERE, &mut rng);
            let nonce = nonces.read(now, &text, HERE).unwrap();
            assert_eq!(nonces.count(nonce, Some(1)), Count::Fresh);
        }
        assert_eq!(nonces.len(), 2);
        assert!(nonces.read(now, &text, HERE).is_none());
    }
}
