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
/// Bytes of response for each byte of request: a challenge is longer than the shortest request.
const MAX_AMPLIFICATION: usize = 3;

/// The limiters of all sources.
pub(super) struct StrangerLimiter {
    key: Zeroizing<[u8; 32]>,
    rate: Rate,
    limiters: Vec<RateLimiter>,
}

impl StrangerLimiter {
    pub(super) fn new(key: Zeroizing<[u8; 32]>, responses_per_second: u32) -> Self {
        Self {
            key,
            rate: Rate::every(
                Duration::from_secs(1) / responses_per_second.max(1),
                responses_per_second.saturating_mul(BURST),
            ),
            limiters: vec![RateLimiter::default(); LIMITERS],
        }
    }

    /// Counts a response to this source; `false` if it has drawn enough for now.
    pub(super) fn may_respond(&mut self, now: Instant, source: IpAddr) -> bool {
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
