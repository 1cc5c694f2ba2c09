//! The servers for ICE that the hub tells its clients, with a name and a password for each of them.

use std::fmt;

use quartet_proto::hub::{IceServer, Name};
use quartet_proto::turn_user::rest_user;
use zeroize::Zeroizing;

/// A server that clients of the hub may use.
#[derive(Clone)]
pub struct HandedServer {
    /// Its addresses, as browsers write them.
    pub urls: Vec<String>,
    /// What it shares with the hub; `None`: it asks for no name.
    pub secret: Option<Zeroizing<String>>,
}

impl fmt::Debug for HandedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

impl HandedServer {
    /// What this account is told at this time, in seconds since 1970-01-01 UTC.
    pub(super) fn told_to(&self, account: &Name, unix: u64) -> IceServer {
        let user = self
            .secret
            .as_ref()
            .map(|secret| rest_user(secret, account.as_str(), unix));
        let (username, password) = user.unzip();
        IceServer {
            urls: self.urls.clone(),
            username,
            credential: password.map(|password| password.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use quartet_proto::turn_user::rest_password;

    use super::*;

    #[test]
    fn a_password_is_made_for_an_account_and_a_day() {
        let name = Name::new("anna").unwrap();
        let mut server = HandedServer {
            urls: vec!["turn:a.example".into()],
            secret: Some(Zeroizing::new("Jefe".into())),
        };
        let told = server.told_to(&name, 1_790_000_000);
        assert_eq!(told.username.as_deref(), Some("1790086400:anna"));
        let password = rest_password("Jefe", "1790086400:anna");
        assert_eq!(told.credential.as_deref(), Some(password.as_str()));
        assert!(!format!("{server:?} {told:?}").contains("Jefe"));
        server.secret = None;
        let told = server.told_to(&name, 1_790_000_000);
        assert_eq!((told.username, told.credential), (None, None));
    }
}
