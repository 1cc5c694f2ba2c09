//! Makes of the servers that a call names what a media worker can reach: their addresses, whom to trust, and who we are there.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quartet_proto::net::is_destination;
use quartet_proto::turn_user::rest_user;
use tokio_rustls::rustls::ClientConfig;
use zeroize::Zeroizing;

use super::addresses::MachineAddresses;
use super::media_worker::{Dial, Media};
use super::startup::unix_seconds;
use super::tls;
use crate::media::{LegKey, Relay, RelayUser, Via};
use crate::permissions::read_secret;

/// How long a name server may take: a call that has waited longer has its other ways.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(5);
/// The name under which a server with a secret knows this gateway.
const REST_NAME: &str = "quartet";

/// Looks servers up for legs, each beside all else.
pub(super) struct Relays {
    media: Arc<Media>,
    /// What TLS needs, by `ca_file`; read when first wanted and after each reload.
    trust: Arc<Mutex<BTreeMap<Option<PathBuf>, Arc<ClientConfig>>>>,
}

impl Relays {
    pub(super) fn new(media: Arc<Media>) -> Self {
        Self {
            media,
            trust: Arc::default(),
        }
    }

    /// Files may have changed.
    pub(super) fn reload(&self) {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Lets a leg use a server as soon as that is looked up.
    pub(super) fn add(&self, leg: LegKey, relay: Relay) {
        let (media, trust) = (Arc::clone(&self.media), Arc::clone(&self.trust));
        tokio::spawn(async move {
            let shown = format!("{relay:?}");
            match dials(relay, &trust).await {
                Ok(dials) => dials.into_iter().for_each(|dial| media.dial(leg, dial)),
                Err(error) => tracing::warn!("no {shown}: {error:#}"),
            }
        });
    }
}

/// The addresses of a server, at most one of each family.
async fn dials(relay: Relay, trust: &Mutex<BTreeMap<Option<PathBuf>, Arc<ClientConfig>>>) -> anyhow::Result<Vec<Dial>> {
    let tls = match relay.service.via() {
        Via::Tls => Some(trusted(relay.ca_file, trust).await?),
        Via::Udp | Via::Tcp => None,
    };
    let mut addresses: Vec<SocketAddr> = match relay.host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, relay.port)],
        Err(_) => {
            let answer = tokio::net::lookup_host((relay.host.as_str(), relay.port));
            tokio::time::timeout(LOOK_UP_WITHIN, answer).await??.collect()
        }
    };
    // Read now, not kept: they come and go.
    let ours = MachineAddresses::read().unwrap_or_default().here;
    let is_here = |ip: IpAddr| ours.contains(&ip.to_canonical());
    addresses.retain(|address| {
        is_destination(address.ip(), relay.may_be_here) && (relay.may_be_here || !is_here(address.ip()))
    });
    anyhow::ensure!(!addresses.is_empty(), "its name leads to no address that may be used");
    let named = |username: &str, password: &str| format!("username:{username}\npassword:{password}\n");
    let user = Zeroizing::new(match relay.user {
        RelayUser::Nobody => String::new(),
        RelayUser::Password { username, password } => named(&username, &password),
        RelayUser::PasswordFile { username, file } => named(&username, &secret_in(file, "password_file").await?),
        RelayUser::SecretFile(file) => {
            let secret = secret_in(file, "secret_file").await?;
            let (username, password) = rest_user(&secret, REST_NAME, unix_seconds(SystemTime::now()));
            named(&username, &password)
        }
        RelayUser::Party { number, tag } => format!("number:{number}\ntag:{:032x}\n", u128::from_be_bytes(*tag)),
    });
    let families = [true, false].map(|v4| addresses.iter().find(|address| address.is_ipv4() == v4));
    let dial = |address: &SocketAddr| Dial {
        address: *address,
        name: relay.host.clone(),
        service: relay.service,
        path: relay.path.clone(),
        user: user.clone(),
        tls: tls.clone(),
    };
    Ok(families.into_iter().flatten().map(dial).collect())
}

/// What is in a file, said again if it is not to be used any more.
async fn secret_in(file: PathBuf, option: &'static str) -> anyhow::Result<Zeroizing<String>> {
    let read = move || read_secret(&file).map_err(|why| anyhow::anyhow!("{option} names {}, {why}", file.display()));
    tokio::task::spawn_blocking(read).await?
}

async fn trusted(
    ca_file: Option<PathBuf>,
    trust: &Mutex<BTreeMap<Option<PathBuf>, Arc<ClientConfig>>>,
) -> anyhow::Result<Arc<ClientConfig>> {
    let known = || trust.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = known().get(&ca_file) {
        return Ok(Arc::clone(config));
    }
    let path = ca_file.clone();
    let read = move || tls::client_config(path.as_deref(), "[[ice_server]] ca_file");
    let config = tokio::task::spawn_blocking(read).await??;
    known().insert(ca_file, Arc::clone(&config));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::IceService;

    #[tokio::test]
    async fn a_server_that_a_network_names_is_not_this_machine() {
        let dials = async |host: &str, may_be_here| {
            let relay = Relay {
                host: host.to_owned(),
                port: 3478,
                service: IceService::Turn(Via::Udp),
                path: "turn".into(),
                user: RelayUser::Nobody,
                ca_file: None,
                may_be_here,
            };
            dials(relay, &Mutex::default()).await.map(|dials| dials.len()).ok()
        };
        for here in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"] {
            assert_eq!(dials(here, false).await, None, "{here}");
            assert!(dials(here, true).await.is_some(), "{here}");
        }
        // By any of its addresses.
        for address in MachineAddresses::read().unwrap().all {
            assert_eq!(dials(&address.to_string(), false).await, None, "{address}");
        }
        for nowhere in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::"] {
            assert_eq!(
                (dials(nowhere, true).await, dials(nowhere, false).await),
                (None, None),
                "{nowhere}"
            );
        }
        assert_eq!(dials("192.0.2.1", false).await, Some(1));
    }
}
