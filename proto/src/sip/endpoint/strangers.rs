//! How many responses a source draws that is not registered: whoever writes a victim's address on a request must not have
//! us flood the victim, and no number of such sources may silence us for the others.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::rate::{Rate, RateLimiter, source_of};

/// Rate limiters; sources share one where a secret hash has it. So the table has no end to be filled to, and who wants to
/// starve everybody must send for all of them at once.
const LIMITERS: usize = 16_384;
/// Seconds' worth of responses that may be sent at once: all phones of an office behind one NAT start together.
const BURST: u32 = 3;
/// How long a hash holds: who happens to share a limiter with a flood shares it no longer.
const REKEY: Duration = Duration::from_secs(60);
/// Bytes of response for each byte of request: a challenge is longer than the shortest request.
const MAX_AMPLIFICATION: usize = 3;

/// The limiters of all sources.
pub(super) struct StrangerLimiter {
    key: Zeroizing<[u8; 32]>,
    /// When the next key comes.
    rekey_at: Option<Instant>,
    rate: Rate,
    limiters: Vec<RateLimiter>,
}

impl StrangerLimiter {
    pub(super) fn new(key: Zeroizing<[u8; 32]>, responses_per_second: u32) -> Self {
        Self {
            key,
            rekey_at: None,
            rate: Rate::every(
                Duration::from_secs(1) / responses_per_second.max(1),
                responses_per_second.saturating_mul(BURST),
            ),
            limiters: vec![RateLimiter::default(); LIMITERS],
        }
    }

    /// Counts a response to this source; `false` if it has drawn enough for now.
    pub(super) fn may_respond(&mut self, now: Instant, source: IpAddr) -> bool {
        if now >= *self.rekey_at.get_or_insert(now + REKEY) {
            self.rekey_at = Some(now + REKEY);
            let next = Hmac::<Sha256>::new_from_slice(&*self.key).expect("HMAC takes keys of any length");
            self.key
                .copy_from_slice(&next.chain_update(b"next").finalize().into_bytes());
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.key).expect("HMAC takes keys of any length");
        match source_of(source) {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        let hash = mac.finalize().into_bytes();
        let at = usize::from(u16::from_be_bytes([hash[0], hash[1]])) % LIMITERS;
        self.limiters
            .get_mut(at)
            .is_some_and(|limiter| limiter.take(now, self.rate, 1).is_ok())
    }
}

/// Whether a response is short enough for its request, with one challenge or with several.
pub(super) fn is_in_proportion(request: usize, response: usize, challenges: usize) -> bool {
    response <= request.saturating_mul(MAX_AMPLIFICATION + challenges.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn who_shares_a_limiter_with_a_flood_does_not_for_long() {
        let begin = Instant::now();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let mut limiter = StrangerLimiter::new(Zeroizing::new([7; 32]), 20);
        let flood = address(0x7f01_0001);
        while limiter.may_respond(begin, flood) {}
        let is_starved = |limiter: &mut StrangerLimiter, now, n| !limiter.may_respond(now, address(n));
        let sharers: Vec<u32> = (1..200_000).filter(|n| is_starved(&mut limiter, begin, *n)).collect();
        assert!((2..60).contains(&sharers.len()), "{sharers:?}");
        // One each minute, or none.
        let later = begin + REKEY;
        while limiter.may_respond(later, flood) {}
        let still = sharers.iter().filter(|n| is_starved(&mut limiter, later, **n)).count();
        assert_eq!(still, 0);
    }
}
