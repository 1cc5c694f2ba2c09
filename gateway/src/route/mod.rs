//! From a dialled number or a caller to a destination.
//!
//! Sans-IO and without state: [`Routes`] is built once from routes.conf and asked once per call. It knows no SIP and no
//! network; it does not know either whether a phone is registered or a hub user exists.
//!
//! **Invariant:** the first route that matches decides, also when it leads nowhere; a call without a route is refused.

mod foreign;
mod pattern;
mod target;

use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) use foreign::foreign;
pub use pattern::{Captures, Pattern, PatternError};
pub use target::{Callers, Target, TargetError, Template};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A phone, by its login name.
    Phone(String),
    /// Somebody on a network, by the network's name.
    Network(String),
    /// Somebody behind a trunk, by the trunk's name.
    Trunk(String),
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Who is rung.
    pub kind: DestinationKind,
    /// How long.
    pub ring_timeout: Duration,
    /// How long before that the call may wait for its turn.
    pub wait: Duration,
    /// The session transport of encrypted legs; `None`: that of the network.
    pub transport: Option<String>,
    /// Whether media of encrypted legs goes over relays alone.
    pub relay_only: bool,
    /// The name of the route that said so.
    pub route: String,
    /// What the number captured first: what was dialled, for a PBX that is called as one phone.
    pub captured: Option<String>,
}

/// Who is rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationKind {
    /// A user of a network.
    User {
        /// The network's name.
        network: String,
        /// The user's.
        user: String,
    },
    /// Phones of phones.conf, at the same time; at least one, none twice.
    Phones(Vec<String>),
    /// A number behind a trunk.
    Trunk {
        /// The trunk's name.
        trunk: String,
        /// What is dialled there.
        number: String,
    },
}

/// Why a call goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRoute {
    /// The caller dialled something that no route is for: the caller's mistake, or a route is missing in routes.conf.
    #[error("no route matches")]
    NoMatch,
    /// The route that matched leads to a phone that phones.conf does not have: the caller's mistake.
    #[error("route \"{route}\" leads to phone \"{user}\", which does not exist")]
    UnknownPhone {
        /// The route that matched.
        route: String,
        /// The phone it leads to.
        user: String,
    },
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique.
    pub name: String,
    /// Whose calls it is for.
    pub from: Callers,
    /// Which callers of those; none: all.
    pub caller: Vec<Pattern>,
    /// Which numbers.
    pub number: Pattern,
    /// Where they go: one user of a network, or phones.
    pub to: Vec<Target>,
    /// How long it rings there.
    pub ring_timeout: Duration,
    /// How long before that the call may wait for its turn.
    pub wait: Duration,
    /// The session transport of encrypted legs; `None`: that of the network.
    pub transport: Option<String>,
    /// Whether media of encrypted legs goes over relays alone.
    pub relay_only: bool,
}

/// Why a route is not for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFor {
    /// By its `from`.
    From,
    /// By its `caller`.
    Caller,
    /// By its `number`.
    Number,
}

impl Rule {
    /// What the number captures, if the route is for this call.
    ///
    /// # Errors
    /// The first of its conditions that does not hold.
    pub fn takes(&self, origin: &Origin, caller: &[&str], number: &str) -> Result<Captures, NotFor> {
        if !self.from.includes(origin) {
            return Err(NotFor::From);
        }
        if !is_one_of(&self.caller, caller) {
            return Err(NotFor::Caller);
        }
        // As it was dialled; else in lower case, for nobody says "ANNA" and means another.
        let as_dialled = self.number.matches(number);
        let captures = as_dialled.or_else(|| self.number.matches(&number.to_ascii_lowercase()));
        captures.ok_or(NotFor::Number)
    }
}

/// Whether one of these spellings fits one of these patterns; without a pattern all do.
pub fn is_one_of(patterns: &[Pattern], spellings: &[&str]) -> bool {
    let fits = |pattern: &Pattern| spellings.iter().any(|spelling| pattern.matches(spelling).is_some());
    patterns.is_empty() || patterns.iter().any(fits)
}

/// The routes of one gateway.
#[derive(Clone, Debug)]
pub struct Routes {
    routes: Vec<Rule>,
    phones: BTreeSet<String>,
}

impl Routes {
    /// Takes the routes in their order and the phones that exist.
    pub fn new(routes: Vec<Rule>, phones: BTreeSet<String>) -> Self {
        Self { routes, phones }
    }

    /// All routes, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.routes
    }

    /// Finds where a call goes.
    ///
    /// `number` is what the phone dialled, or the extension that a network's caller asked for (`100` of `100@gw`, empty
    /// of plain `gw`). `caller` is all that the caller is called.
    ///
    /// # Errors
    /// [`NoRoute`] if the call is to be refused as unknown.
    pub fn find(&self, origin: &Origin, caller: &[&str], number: &str) -> Result<Destination, NoRoute> {
        let (route, captures) = self
            .routes
            .iter()
            .find_map(|route| Some((route, route.takes(origin, caller, number).ok()?)))
            .ok_or(NoRoute::NoMatch)?;
        let mut phones = Vec::new();
        for target in &route.to {
            let user = target.user().expand(&captures);
            match target {
                Target::Network { network, .. } => {
                    let network = network.clone();
                    return Ok(self.destination(route, &captures, DestinationKind::User { network, user }));
                }
                Target::Trunk { trunk, .. } => {
                    let (trunk, number) = (trunk.clone(), user);
                    return Ok(self.destination(route, &captures, DestinationKind::Trunk { trunk, number }));
                }
                Target::Phone(_) if !self.phones.contains(&user) => {
                    return Err(NoRoute::UnknownPhone {
                        route: route.name.clone(),
                        user,
                    });
                }
                Target::Phone(_) if phones.contains(&user) => {}
                Target::Phone(_) => phones.push(user),
            }
        }
        Ok(self.destination(route, &captures, DestinationKind::Phones(phones)))
    }

    fn destination(&self, route: &Rule, captures: &Captures, kind: DestinationKind) -> Destination {
        Destination {
            kind,
            ring_timeout: route.ring_timeout,
            wait: route.wait,
            transport: route.transport.clone(),
            relay_only: route.relay_only,
            route: route.name.clone(),
            captured: captures.first().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests;
