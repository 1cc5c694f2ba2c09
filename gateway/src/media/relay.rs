//! The servers that a leg may use, as the call names them, and the ways that media takes.

use std::{fmt, path::PathBuf};

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
}

impl Way {
    /// By which way media goes over such a server.
    pub fn over(service: IceService) -> Self {
        match service {
            IceService::Stun => Self::Direct,
            IceService::Turn(via) => Self::Turn(via),
            IceService::Reflector(via) => Self::Reflector(via),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Turn(via) => write!(f, "turn {}", via.word()),
            Self::Reflector(via) => write!(f, "reflector {}", via.word()),
        }
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
    /// Who we are there.
    pub user: RelayUser,
    /// Certificate authorities that are trusted for TLS instead of this machine's.
    pub ca_file: Option<PathBuf>,
    /// The operator names it, so it may be on this machine; a network must not have us talk to what trusts whoever is here.
    pub may_be_here: bool,
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
            host: url.host,
            port: url.port,
            service: url.service,
            user: user.clone(),
            ca_file: server.ca_file.clone(),
            may_be_here: true,
        })
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
