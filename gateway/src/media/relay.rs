//! The servers that a leg may use, as the call names them, and the ways that media takes.

use std::{borrow::Cow, fmt, path::PathBuf};

use zeroize::Zeroizing;

use quartet_proto::reflector::Tag;

use crate::config::{IceServer, IceUrl};
pub use crate::config::{IceService, Via};

/// By which way media goes to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a socket of ours, whatever is in between.
    Direct,
    /// Over a TURN server.
    Turn(Via),
    /// Over a reflector.
    Reflector(Via),
    /// Over a relay of an operator's plugin.
    Plugin(Via),
}

impl Way {
    /// By which way media goes over such a server.
    pub fn over(service: IceService) -> Self {
        match service {
            IceService::Stun => Self::Direct,
            IceService::Turn(via) => Self::Turn(via),
            IceService::Reflector(via) => Self::Reflector(via),
            IceService::Plugin(via) => Self::Plugin(via),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Turn(via) => write!(f, "turn {}", via.word()),
            Self::Reflector(via) => write!(f, "reflector {}", via.word()),
            Self::Plugin(via) => write!(f, "plugin {}", via.word()),
        }
    }
}

/// What became of a way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Tried {
    /// There is none of the kind.
    #[default]
    No,
    /// The server has given us nothing, for this reason.
    Failed(Reason),
    /// The server has not answered.
    Asked,
    /// We have an address there, which the peer was told.
    Ready,
}

/// Why a server has given nothing, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Credentials,
    Refused,
    Timeout,
    Closed,
    Other,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Other => "failed",
        }
    }
}

/// The ways that a leg has tried; of several of a kind the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways([Tried; WAYS.len()]);

/// In the order of [`Ways`].
const WAYS: [Way; 9] = [
    Way::Direct,
    Way::Turn(Via::Udp),
    Way::Turn(Via::Tcp),
    Way::Turn(Via::Tls),
    Way::Reflector(Via::Udp),
    Way::Reflector(Via::Tcp),
    Way::Reflector(Via::Tls),
    Way::Plugin(Via::Udp),
    Way::Plugin(Via::Tcp),
];

impl Ways {
    /// A server is asked.
    pub(crate) fn note_asked(&mut self, way: Way) {
        self.note(way, Tried::Asked);
    }

    /// There is an address.
    pub(crate) fn note_ready(&mut self, way: Way) {
        self.note(way, Tried::Ready);
    }

    /// A server that was asked gives none, or no more.
    pub(crate) fn note_failed(&mut self, way: Way, why: &str) {
        let known = [Reason::Credentials, Reason::Refused, Reason::Timeout, Reason::Closed];
        let why = known
            .into_iter()
            .find(|known| known.word() == why)
            .unwrap_or(Reason::Other);
        for (known, tried) in WAYS.iter().zip(&mut self.0) {
            if *known == way && *tried == Tried::Asked {
                *tried = Tried::Failed(why);
            }
        }
    }

    fn note(&mut self, way: Way, more: Tried) {
        for (known, tried) in WAYS.iter().zip(&mut self.0) {
            if *known == way {
                *tried = (*tried).max(more);
            }
        }
    }

    /// The ways in words: `turn udp`, or `turn tcp (timeout)` if the server gave nothing.
    pub fn words(&self) -> Vec<String> {
        let words = WAYS.iter().zip(&self.0).filter_map(|(way, tried)| match tried {
            Tried::No => None,
            Tried::Failed(why) => Some(format!("{way} ({})", why.word())),
            Tried::Asked => Some(format!("{way} (no answer)")),
            Tried::Ready => Some(way.to_string()),
        });
        words.collect()
    }
}

/// Who a leg is to a server.
#[derive(Clone, PartialEq, Eq)]
pub enum RelayUser {
    /// Nobody: it asks for no name.
    Nobody,
    /// A user with a password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// A user whose password is in a file.
    PasswordFile {
        /// The name.
        username: String,
        /// The file.
        file: PathBuf,
    },
    /// One of those that share a secret with the server, which is in this file: name and password are made for each call.
    SecretFile(PathBuf),
    /// A party of a call that a reflector serves.
    Party {
        /// The reflector's number in candidates.
        number: u32,
        /// The call's tag there.
        tag: Zeroizing<Tag>,
    },
}

/// A server that a leg may use: one that says as which address it sees us, or a relay.
#[derive(Clone, PartialEq, Eq)]
pub struct Relay {
    /// Host name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What it does.
    pub service: IceService,
    /// The path plugin that speaks with it.
    pub path: Cow<'static, str>,
    /// Who we are there.
    pub user: RelayUser,
    /// Certificate authorities that are trusted for TLS instead of this machine's.
    pub ca_file: Option<PathBuf>,
    /// The operator names it, so it may be on this machine; a network must not have us talk to what trusts whoever is here.
    pub may_be_here: bool,
}

/// The path that speaks with such a server.
fn path_of(service: IceService) -> &'static str {
    match (service, service.via()) {
        (IceService::Stun, _) => "stun",
        (IceService::Turn(_), Via::Udp) => "turn",
        (IceService::Turn(_), Via::Tcp | Via::Tls) => "turn-stream",
        (IceService::Reflector(_), Via::Udp) => "reflector",
        (IceService::Reflector(_), Via::Tcp | Via::Tls) => "reflector-stream",
        // Its operator says which: [`Relay::under`].
        (IceService::Plugin(_), _) => "",
    }
}

impl Relay {
    /// Those that the operator means by one server: one for each of its addresses, but for reflectors, which serve only calls that
    /// a hub has given a tag.
    pub fn of_server(server: &IceServer) -> impl Iterator<Item = Self> {
        let user = match (&server.secret_file, &server.username, &server.password_file) {
            (Some(file), ..) => RelayUser::SecretFile(file.clone()),
            (None, Some(username), Some(file)) => RelayUser::PasswordFile {
                username: username.clone(),
                file: file.clone(),
            },
            (None, ..) => RelayUser::Nobody,
        };
        let urls = server.urls.iter().filter_map(|url| url.parse::<IceUrl>().ok());
        let usable = urls.filter(|url| !matches!(url.service, IceService::Reflector(_)));
        usable.map(move |url| Self {
            ca_file: server.ca_file.clone(),
            may_be_here: true,
            ..Self::at(url, user.clone())
        })
    }

    /// One that a network names.
    pub fn at(server: IceUrl, user: RelayUser) -> Self {
        Self {
            path: path_of(server.service).into(),
            host: server.host,
            port: server.port,
            service: server.service,
            user,
            ca_file: None,
            may_be_here: false,
        }
    }

    /// The one under a session that stands on a path of the operator's.
    pub fn under(path: &str, server: IceUrl) -> Self {
        Self {
            path: path.to_owned().into(),
            may_be_here: true,
            ..Self::at(server, RelayUser::Nobody)
        }
    }
}

impl fmt::Debug for Relay {
    /// Prints neither name nor password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relay({:?} {}:{})", self.service, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_that_were_tried_are_told_in_words() {
        let mut ways = Ways::default();
        assert!(ways.words().is_empty());
        ways.note_ready(Way::Direct);
        ways.note_asked(Way::Direct);
        for via in [Via::Udp, Via::Tcp, Via::Tls] {
            ways.note_asked(Way::Turn(via));
        }
        ways.note_ready(Way::Turn(Via::Udp));
        // Another server of the kind gives nothing.
        ways.note_failed(Way::Turn(Via::Udp), "timeout");
        ways.note_failed(Way::Turn(Via::Tcp), "credentials");
        ways.note_failed(Way::Reflector(Via::Udp), "never asked");
        assert_eq!(
            ways.words(),
            ["direct", "turn udp", "turn tcp (credentials)", "turn tls (no answer)"]
        );
        ways.note_failed(Way::Turn(Via::Tls), "something of a stranger's plugin");
        assert_eq!(ways.words()[3], "turn tls (failed)");
    }

    #[test]
    fn a_server_of_the_operators_is_one_relay_for_each_address() {
        let server = |username: Option<&str>, password: Option<&str>, secret: Option<&str>| IceServer {
            urls: vec![
                "stun:a.example".into(),
                "turns:a.example:443".into(),
                "reflector:a.example".into(),
            ],
            username: username.map(str::to_owned),
            password_file: password.map(PathBuf::from),
            secret_file: secret.map(PathBuf::from),
            ca_file: Some("ca".into()),
        };
        let relays: Vec<_> = Relay::of_server(&server(Some("me"), Some("p"), None)).collect();
        let seen: Vec<_> = relays
            .iter()
            .map(|relay| (relay.host.as_str(), relay.port, relay.service))
            .collect();
        assert_eq!(
            seen,
            [
                ("a.example", 3478, IceService::Stun),
                ("a.example", 443, IceService::Turn(Via::Tls))
            ]
        );
        let user = RelayUser::PasswordFile {
            username: "me".into(),
            file: "p".into(),
        };
        assert!(
            relays
                .iter()
                .all(|relay| relay.user == user && relay.ca_file == Some("ca".into()))
        );
        let first = |server| Relay::of_server(&server).next().map(|relay| relay.user);
        assert!(first(server(None, None, Some("s"))) == Some(RelayUser::SecretFile("s".into())));
        assert!(first(server(None, None, None)) == Some(RelayUser::Nobody));
        assert!(!format!("{relays:?}").contains("me"), "{relays:?}");
    }
}
