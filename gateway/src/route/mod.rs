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
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Who is rung.
    pub kind: DestinationKind,
    /// How long.
    pub ring_timeout: Duration,
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
    /// Which numbers.
    pub number: Pattern,
    /// Where they go: one user of a network, or phones.
    pub to: Vec<Target>,
    /// How long it rings there.
    pub ring_timeout: Duration,
    /// The session transport of encrypted legs; `None`: that of the network.
    pub transport: Option<String>,
    /// Whether media of encrypted legs goes over relays alone.
    pub relay_only: bool,
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

    /// Finds where a call goes.
    ///
    /// `number` is what the phone dialled, or the extension that a network's caller asked for (`100` of `100@gw`, empty
    /// of plain `gw`).
    ///
    /// # Errors
    /// [`NoRoute`] if the call is to be refused as unknown.
    pub fn find(&self, origin: &Origin, number: &str) -> Result<Destination, NoRoute> {
        let (route, captures) = self
            .routes
            .iter()
            .filter(|route| route.from.includes(origin))
            .find_map(|route| Some((route, route.number.matches(number)?)))
            .ok_or(NoRoute::NoMatch)?;
        let mut phones = Vec::new();
        for target in &route.to {
            let user = target.user().expand(&captures);
            match target {
                Target::Network { network, .. } => {
                    let network = network.clone();
                    return Ok(self.destination(route, &captures, DestinationKind::User { network, user }));
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
            transport: route.transport.clone(),
            relay_only: route.relay_only,
            route: route.name.clone(),
            captured: captures.first().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests;
