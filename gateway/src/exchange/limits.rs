//! How many calls one caller may begin, one callee receives and one route takes in a minute.

use std::collections::BTreeMap;
use std::time::Instant;

use quartet_proto::rate::{Rate, RateLimiter};

use crate::config;

/// Names remembered before those at rest are forgotten; a busy gateway has some hundred that are not.
const FORGET_FROM: usize = 4096;

/// The limiters of all names of one kind.
#[derive(Debug)]
struct Limiters {
    rate: Rate,
    of: BTreeMap<String, RateLimiter>,
    forget_at: usize,
}

impl Limiters {
    fn per_minute(count: u32) -> Self {
        Self {
            rate: Rate::per_minute(count),
            of: BTreeMap::new(),
            forget_at: FORGET_FROM,
        }
    }

    fn may(&self, now: Instant, name: &str) -> bool {
        self.of
            .get(name)
            .is_none_or(|limiter| limiter.wait(now, self.rate).is_zero())
    }

    fn take(&mut self, now: Instant, name: &str) -> bool {
        if self.of.len() >= self.forget_at {
            self.of.retain(|_, limiter| !limiter.is_rested(now));
            self.forget_at = FORGET_FROM.max(2 * self.of.len());
        }
        self.of
            .entry(name.to_owned())
            .or_default()
            .take(now, self.rate, 1)
            .is_ok()
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct CallLimits {
    callers: Limiters,
    callees: Limiters,
    routes: Limiters,
}

impl CallLimits {
    pub(super) fn new(limits: &config::Limits) -> Self {
        Self {
            callers: Limiters::per_minute(limits.calls_per_minute_phone),
            callees: Limiters::per_minute(limits.calls_per_minute_callee),
            routes: Limiters::per_minute(limits.calls_per_minute_route),
        }
    }

    /// Counts a call that somebody asks for, whatever becomes of it; `false`: one too many.
    pub(super) fn take_caller(&mut self, now: Instant, caller: &str) -> bool {
        self.callers.take(now, caller)
    }

    /// Whether this callee may be called once more.
    pub(super) fn may_call(&self, now: Instant, callee: &str) -> bool {
        self.callees.may(now, callee)
    }

    /// Counts a call along a route to these callees; `false`, and nothing is counted, if the route has taken too many.
    pub(super) fn take_route<'a>(&mut self, now: Instant, route: &str, callees: impl Iterator<Item = &'a str>) -> bool {
        if !self.routes.take(now, route) {
            return false;
        }
        for callee in callees {
            self.callees.take(now, callee);
        }
        true
    }
}
