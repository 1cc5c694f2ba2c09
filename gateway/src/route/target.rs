//! Whose calls a route is for, and where it sends them.

use std::fmt;
use std::str::FromStr;

use super::Origin;
use super::pattern::Captures;

/// Whose calls a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Any phone: `phones`.
    Phones,
    /// One phone: `phone:USER`.
    Phone(String),
    /// Anybody on a network: `network:NAME`.
    Network(String),
    /// Anybody behind a trunk: `trunk:NAME`.
    Trunk(String),
}

impl Callers {
    /// Says whether a call of `origin` is meant.
    pub fn includes(&self, origin: &Origin) -> bool {
        match (self, origin) {
            (Self::Phones, Origin::Phone(_)) => true,
            (Self::Phone(user), Origin::Phone(caller)) => user == caller,
            (Self::Network(name), Origin::Network(network)) => name == network,
            (Self::Trunk(name), Origin::Trunk(trunk)) => name == trunk,
            (Self::Phones | Self::Phone(_), Origin::Network(_) | Origin::Trunk(_))
            | (Self::Network(_), Origin::Phone(_) | Origin::Trunk(_))
            | (Self::Trunk(_), Origin::Phone(_) | Origin::Network(_)) => false,
        }
    }
}

impl FromStr for Callers {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.split_once(':') {
            None if text == "phones" => Ok(Self::Phones),
            Some(("phone", user)) if !user.is_empty() => Ok(Self::Phone(user.to_owned())),
            Some(("network", name)) if !name.is_empty() => Ok(Self::Network(name.to_owned())),
            Some(("trunk", name)) if !name.is_empty() => Ok(Self::Trunk(name.to_owned())),
            _ => Err(TargetError::Callers),
        }
    }
}

impl fmt::Display for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phones => f.write_str("phones"),
            Self::Phone(user) => write!(f, "phone:{user}"),
            Self::Network(name) => write!(f, "network:{name}"),
            Self::Trunk(name) => write!(f, "trunk:{name}"),
        }
    }
}

/// Where a route sends a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A user of a network: `NETWORK:USER`.
    Network {
        /// The network's name.
        network: String,
        /// Its user.
        user: Template,
    },
    /// A phone of phones.conf: `phone:USER`.
    Phone(Template),
    /// A number behind a trunk: `trunk:NAME:NUMBER`.
    Trunk {
        /// The trunk's name.
        trunk: String,
        /// What is dialled there.
        number: Template,
    },
}

impl Target {
    /// The user, with the captures still to be filled in.
    pub fn user(&self) -> &Template {
        match self {
            Self::Network { user, .. } | Self::Phone(user) | Self::Trunk { number: user, .. } => user,
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.split_once(':') {
            Some(("phone", user)) => Ok(Self::Phone(user.parse()?)),
            Some(("trunk", rest)) => {
                let (trunk, number) = rest.split_once(':').ok_or(TargetError::Trunk)?;
                Ok(Self::Trunk {
                    trunk: trunk.to_owned(),
                    number: number.parse()?,
                })
            }
            Some((network, user)) if is_network(network) => Ok(Self::Network {
                network: network.to_owned(),
                user: user.parse()?,
            }),
            _ => Err(TargetError::Target),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { network, user } => write!(f, "{network}:{user}"),
            Self::Phone(user) => write!(f, "phone:{user}"),
            Self::Trunk { trunk, number } => write!(f, "trunk:{trunk}:{number}"),
        }
    }
}

/// Whether a network may have this name: a lower-case letter, then letters, digits and `-`.
fn is_network(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(rest)
}

/// A text in which `{name}` stands for what the number captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Capture(String),
}

impl Template {
    /// The names it needs, in the order of the text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Capture(name) => Some(name.as_str()),
        })
    }

    /// The text itself, if it needs no capture.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Fills the captures in. One that is missing becomes nothing; the conf check refuses such a route.
    pub fn expand(&self, captures: &Captures) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text.as_str(),
                Part::Capture(name) => captures.get(name).unwrap_or_default(),
            })
            .collect()
    }
}

impl FromStr for Template {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() {
            return Err(TargetError::NoUser);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            if at > 0 {
                parts.push(Part::Literal(rest[..at].to_owned()));
            }
            let inside = rest[at..].strip_prefix('{').ok_or(TargetError::Brace)?;
            let end = inside.find('}').ok_or(TargetError::Brace)?;
            let name = &inside[..end];
            if !super::pattern::is_name(name) {
                return Err(TargetError::Name(name.to_owned()));
            }
            parts.push(Part::Capture(name.to_owned()));
            rest = &inside[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(text),
            Part::Capture(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// Why `from` or `to` of a route cannot be read: our configuration. The text is the rest of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// An unknown kind of origin.
    #[error("must be \"phones\", \"phone:USER\", \"trunk:NAME\" or \"network:NAME\"")]
    Callers,
    /// An unknown kind of target.
    #[error("must be \"NETWORK:USER\", \"phone:USER\" or \"trunk:NAME:NUMBER\"")]
    Target,
    /// The kind without a user.
    #[error("names no user after the colon")]
    NoUser,
    /// A brace without its other half.
    #[error("has a brace without its other half; a capture is written {{name}}")]
    Brace,
    /// Something between braces that is no name.
    #[error("has \"{{{0}}}\", which is no capture; a name is a lower-case letter, then letters, digits and _")]
    Name(String),
    /// A trunk without a number.
    #[error("names a trunk without a number; write \"trunk:NAME:NUMBER\", as \"trunk:pbx:{{number}}\"")]
    Trunk,
}
