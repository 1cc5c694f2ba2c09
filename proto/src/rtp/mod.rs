//! RTP and RTCP: one sender a stream, a receiving buffer, DTMF, which source is accepted and which stream of it, SRTP
//! (RFC 3550, 3551, 3711, 4733).
//!
//! Times here are `now_ns: u64`, nanoseconds from one origin of the caller, as in the transport contract. Nothing in this
//! folder allocates for a packet, save `srtp` (inside webrtc-srtp).

pub mod dtmf;
pub mod jitter;
pub mod latch;
pub mod packet;
pub mod path;
pub mod repair;
pub mod rtcp;
pub mod sender;
#[cfg(feature = "srtp")]
pub mod srtp;
pub mod stream;

/// Ticks of a clock in nanoseconds, for any span that fits 64 bits.
pub(crate) fn ticks_to_ns(ticks: i64, clock: u32) -> i64 {
    let ns = i128::from(ticks) * 1_000_000_000 / i128::from(clock.max(1));
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// Nanoseconds in ticks of a clock, modulo 2^32 as an RTP timestamp is.
pub(crate) fn ns_to_ticks(ns: u64, clock: u32) -> u32 {
    (u128::from(ns) * u128::from(clock) / 1_000_000_000) as u32
}

/// Adds to a list of at most `max`; if it is full, in place of the one that was heard for the shortest time, if that is shorter. The
/// first stays: no crowd of others makes a call forget whom it began with.
fn remember<T>(list: &mut Vec<T>, heard: T, max: usize, for_ns: impl Fn(&T) -> u64) {
    if list.len() == max {
        let shortest = list.iter().enumerate().skip(1).min_by_key(|(_, other)| for_ns(other));
        match shortest.filter(|(_, other)| for_ns(other) < for_ns(&heard)) {
            Some((place, _)) => drop(list.remove(place)),
            None => return,
        }
    }
    list.push(heard);
}
