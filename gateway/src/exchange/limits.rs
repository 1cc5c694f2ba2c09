//! How many calls one caller may begin, one callee receives and one route takes in a minute. Of a callee's, one caller alone
//! has half: the other half reaches him from others, whatever that one does.
//!
//! Names are those of one side: a phone and a user of a network may have the same, and neither may use up what is the other's.

use std::collections::BTreeMap;
use std::time::Instant;

use quartet_proto::rate::{Rate, RateLimiter};

use crate::cdr::Direction;
use crate::config;

/// Names remembered before those at rest are forgotten; a busy gateway has some hundred that are not.
const FORGET_FROM: usize = 4096;

/// The limiters of all names of one kind, by the direction of their calls.
#[derive(Debug)]
struct Limiters {
    rate: Rate,
    of: BTreeMap<(Direction, String), RateLimiter>,
    forget_at: usize,
}

impl Limiters {
    fn per_minute(count: u32) -> Self {
        Self::at(Rate::per_minute(count))
    }

    /// For one caller's share of a callee's: as many at once, and half as many a minute.
    fn share_of(count: u32) -> Self {
        Self::at(Rate::half_of_per_minute(count))
    }

    /// Takes another rate; what was used up stays so.
    fn set_rate(&mut self, other: &Self) {
        self.rate = other.rate;
    }

    fn at(rate: Rate) -> Self {
        Self {
            rate,
            of: BTreeMap::new(),
            forget_at: FORGET_FROM,
        }
    }

    fn may(&self, now: Instant, direction: Direction, name: &str) -> bool {
        self.of
            .get(&(direction, name.to_owned()))
            .is_none_or(|limiter| limiter.wait(now, self.rate).is_zero())
    }

    fn take(&mut self, now: Instant, direction: Direction, name: &str) -> bool {
        if self.of.len() >= self.forget_at {
            self.of.retain(|_, limiter| !limiter.is_rested(now));
            self.forget_at = FORGET_FROM.max(2 * self.of.len());
        }
        self.of
            .entry((direction, name.to_owned()))
            .or_default()
            .take(now, self.rate, 1)
            .is_ok()
    }
}

/// How many calls there are and how many began lately, by account, callee and route.
#[derive(Debug)]
pub(super) struct CallLimits {
    callers: Limiters,
    callees: Limiters,
    /// By caller and callee.
    pairs: Limiters,
    routes: Limiters,
    /// Calls that never rang and that no limit has refused, each of which is kept by itself.
    listed: Limiters,
}

impl CallLimits {
    pub(super) fn new(limits: &config::Limits) -> Self {
        Self {
            callers: Limiters::per_minute(limits.calls_per_minute_phone),
            callees: Limiters::per_minute(limits.calls_per_minute_callee),
            pairs: Limiters::share_of(limits.calls_per_minute_callee),
            routes: Limiters::per_minute(limits.calls_per_minute_route),
            listed: Limiters::per_minute(limits.calls_per_minute_route),
        }
    }

    /// Takes other limits; what was used up stays so.
    pub(super) fn reload(&mut self, limits: &config::Limits) {
        let new = Self::new(limits);
        self.callers.set_rate(&new.callers);
        self.callees.set_rate(&new.callees);
        self.pairs.set_rate(&new.pairs);
        self.routes.set_rate(&new.routes);
        self.listed.set_rate(&new.listed);
    }

    /// Whether one more call that never rang is kept by itself: a hub, or a gateway on ours, draws as many callers as it wants.
    pub(super) fn is_listed(&mut self, now: Instant, direction: Direction) -> bool {
        self.listed.take(now, direction, "")
    }

    /// Counts a call that somebody asks for, whatever becomes of it; `false`: one too many.
    pub(super) fn take_caller(&mut self, now: Instant, direction: Direction, caller: &str) -> bool {
        self.callers.take(now, direction, caller)
    }

    /// Whether this callee may be called once more by this caller.
    pub(super) fn may_call(&self, now: Instant, direction: Direction, caller: &str, callee: &str) -> bool {
        self.callees.may(now, direction, callee) && self.pairs.may(now, direction, &pair(caller, callee))
    }

    /// Counts a caller's call along a route to these callees; `false`, and nothing is counted, if the route has taken too many.
    pub(super) fn take_route<'a>(
        &mut self,
        now: Instant,
        direction: Direction,
        route: &str,
        caller: &str,
        callees: impl Iterator<Item = &'a str>,
    ) -> bool {
        if !self.routes.take(now, direction, route) {
            return false;
        }
        for callee in callees {
            self.callees.take(now, direction, callee);
            self.pairs.take(now, direction, &pair(caller, callee));
        }
        true
    }
}

/// The name of two: neither has a line end in it.
fn pair(caller: &str, callee: &str) -> String {
    format!("{caller}\n{callee}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use Direction::{Incoming, Outgoing};

    fn limits() -> CallLimits {
        CallLimits {
            callers: Limiters::per_minute(30),
            callees: Limiters::per_minute(10),
            pairs: Limiters::share_of(10),
            routes: Limiters::per_minute(300),
            listed: Limiters::per_minute(300),
        }
    }

    #[test]
    fn half_at_once_then_so_many_a_minute() {
        let begin = Instant::now();
        let mut limits = limits();
        let taken: Vec<_> = (0..60)
            .filter(|second| limits.take_caller(begin + Duration::from_secs(*second), Outgoing, "100"))
            .collect();
        assert_eq!((taken.len(), &taken[..15]), (44, &(0..15).collect::<Vec<_>>()[..]));
        let mut rung = 0;
        while limits.may_call(begin, Outgoing, "100", "anna") {
            assert!(limits.take_route(begin, Outgoing, "people", "100", ["anna"].into_iter()));
            rung += 1;
        }
        assert_eq!(rung, 5);
        let more = (0..1000)
            .filter(|n| limits.take_route(begin, Outgoing, "people", "100", [format!("{n}").as_str()].into_iter()));
        assert_eq!(more.count(), 150 - 5);
        assert!(
            limits.may_call(begin, Outgoing, "100", "999"),
            "a full route counts no callee"
        );
    }

    #[test]
    fn a_user_of_a_network_uses_up_nothing_of_the_phone_of_the_same_name() {
        let now = Instant::now();
        let mut limits = limits();
        while limits.take_caller(now, Incoming, "100") {}
        assert!(limits.take_caller(now, Outgoing, "100"));
        while limits.may_call(now, Outgoing, "100", "101") {
            limits.take_route(now, Outgoing, "people", "100", ["101"].into_iter());
        }
        assert!(limits.may_call(now, Incoming, "100", "101"));
    }

    #[test]
    fn one_caller_leaves_others_half_of_a_callees_minute() {
        let begin = Instant::now();
        let mut limits = limits();
        let mut calls = |caller: &str, second: u64| {
            let at = begin + Duration::from_secs(second);
            limits.may_call(at, Outgoing, caller, "anna")
                && limits.take_route(at, Outgoing, "people", caller, ["anna"].into_iter())
        };
        let (mut flood, mut other) = (0, 0);
        for second in 0..600 {
            flood += usize::from(calls("100", second));
            if second % 20 == 10 {
                other += usize::from(calls("101", second));
            }
        }
        assert_eq!((flood, other), (5 + 49, 30), "nobody else is refused");
    }

    #[test]
    fn names_at_rest_are_forgotten() {
        let begin = Instant::now();
        let mut limits = limits();
        for second in 0..100_u64 {
            for n in 0..1000 {
                let at = begin + Duration::from_secs(second);
                limits.take_caller(at, Outgoing, &format!("{second}-{n}"));
            }
        }
        assert!(
            limits.callers.of.len() <= 2 * FORGET_FROM,
            "{}",
            limits.callers.of.len()
        );
    }
}
