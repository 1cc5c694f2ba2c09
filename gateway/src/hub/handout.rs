//! The servers for ICE that the hub tells its clients, with a name and a password for each of them; and reflectors, with a tag for
//! each call.

use std::fmt;

use quartet_proto::hub::{IceServer, Name, PeerTag, Reflector};
use quartet_proto::reflector::Issuer;
use quartet_proto::turn_user::rest_user;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::config::{IceService, IceUrl, Via};

/// Most reflectors of one call.
const MAX_REFLECTORS: usize = 8;

/// A server that clients of the hub may use.
#[derive(Clone)]
pub struct HandedServer {
    /// Its addresses, as browsers write them, and those of reflectors.
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
    /// What this account is told at this time, in seconds since 1970-01-01 UTC; `None`: nothing, they are reflectors.
    pub(super) fn told_to(&self, account: &Name, unix: u64) -> Option<IceServer> {
        let urls: Vec<String> = self
            .urls
            .iter()
            .filter(|url| reflector(url).is_none())
            .cloned()
            .collect();
        if urls.is_empty() {
            return None;
        }
        let user = self
            .secret
            .as_ref()
            .map(|secret| rest_user(secret, account.as_str(), unix));
        let (username, password) = user.unzip();
        Some(IceServer {
            urls,
            username,
            credential: password.map(|password| password.to_string()),
        })
    }
}

/// What both parties of a call are told of reflectors: a tag for each server, good there alone.
pub(super) fn reflectors<R: CryptoRng + ?Sized>(
    servers: &[HandedServer],
    issuer: &mut Issuer,
    unix: u64,
    rng: &mut R,
) -> Vec<Reflector> {
    let mut told = Vec::new();
    for server in servers {
        let urls: Vec<IceUrl> = server.urls.iter().filter_map(|url| reflector(url)).collect();
        let Some(secret) = server.secret.as_ref().filter(|_| !urls.is_empty()) else {
            continue;
        };
        let tag = issuer.issue(secret.as_bytes(), unix, rng);
        told.extend(
            urls.into_iter()
                .zip(told.len() + 1..=MAX_REFLECTORS)
                .map(|(url, id)| Reflector {
                    id: id as u32,
                    host: url.host,
                    port: url.port,
                    tcp: url.service.via() == Via::Tcp,
                    peer_tag: PeerTag(*tag),
                }),
        );
    }
    told
}

/// The address of a reflector, if it is one.
fn reflector(url: &str) -> Option<IceUrl> {
    let url: IceUrl = url.parse().ok()?;
    matches!(url.service, IceService::Reflector(_)).then_some(url)
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
        let told = server.told_to(&name, 1_790_000_000).unwrap();
        assert_eq!(told.username.as_deref(), Some("1790086400:anna"));
        let password = rest_password("Jefe", "1790086400:anna");
        assert_eq!(told.credential.as_deref(), Some(password.as_str()));
        assert!(!format!("{server:?} {told:?}").contains("Jefe"));
        server.secret = None;
        let told = server.told_to(&name, 1_790_000_000).unwrap();
        assert_eq!((told.username, told.credential), (None, None));
        server.urls = vec!["reflector:a.example".into()];
        assert_eq!(server.told_to(&name, 1_790_000_000), None);
    }

    #[test]
    fn a_call_has_a_tag_at_each_reflector() {
        use rand_core::SeedableRng as _;
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let server = |urls: &[&str], secret: Option<&str>| HandedServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            secret: secret.map(|secret| Zeroizing::new(secret.to_owned())),
        };
        let servers = [
            server(&["stun:a.example"], None),
            server(&["reflector:without.secret"], None),
            server(
                &[
                    "turn:a.example",
                    "reflector:a.example",
                    "reflector:a.example:443?transport=tcp",
                ],
                Some("one"),
            ),
            server(&["reflector:192.0.2.1"; 9], Some("two")),
        ];
        let mut issuer = Issuer::default();
        let told = reflectors(&servers, &mut issuer, 1_790_000_000, &mut rng);
        let seen: Vec<_> = told
            .iter()
            .map(|one| (one.id, one.host.as_str(), one.port, one.tcp))
            .collect();
        assert_eq!(
            seen[..3],
            [
                (1, "a.example", 599, false),
                (2, "a.example", 443, true),
                (3, "192.0.2.1", 599, false)
            ]
        );
        assert_eq!(told.len(), MAX_REFLECTORS);
        assert!(told[0].peer_tag == told[1].peer_tag && told[1].peer_tag != told[2].peer_tag);
        assert!(reflectors(&servers, &mut issuer, 1_790_000_000, &mut rng)[0].peer_tag != told[0].peer_tag);
    }
}
