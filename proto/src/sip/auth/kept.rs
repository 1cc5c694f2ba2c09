//! Failed logins that are remembered as transactions: a few, so that who knows no password cannot fill the table of those
//! who do.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use crate::sip::Limits;
use crate::sip::timers::TRYING;

/// The failed logins whose transactions are still there.
#[derive(Clone, Debug, Default)]
pub(in crate::sip) struct Kept {
    recent: VecDeque<(Instant, IpAddr)>,
}

impl Kept {
    /// True if one more of this source may be kept, which then counts for as long as a transaction lives.
    pub(in crate::sip) fn admit(&mut self, now: Instant, source: IpAddr, limits: &Limits) -> bool {
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) > TRYING + limits.slow_delay)
        {
            self.recent.pop_front();
        }
        let of_source = self.recent.iter().filter(|(_, ip)| *ip == source).count();
        let room = self.recent.len() < limits.failed_logins && of_source < limits.failed_logins_of_source;
        if room {
            self.recent.push_back((now, source));
        }
        room
    }
}
