//! The host names of `external_address` and of trunks, looked up every minute: behind a line whose address changes they follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use quartet_proto::net::Protocol;
use quartet_proto::sip::locate::{self, Naptr, Srv, Target};
use tokio::sync::watch;
use tokio::time::timeout;

use super::sip::place_name;
use crate::config::TrunkAddress;
use crate::exchange::Names as Wanted;

/// How often, and how long all answers for one name may take.
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long one name server may take.
const NAME_SERVER_WITHIN: Duration = Duration::from_secs(1);

/// How long the address of one host may take.
const HOST_WITHIN: Duration = Duration::from_secs(3);

/// Hosts of one domain that are looked up.
const MAX_HOSTS: usize = 16;

/// What names have which addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) hosts: BTreeMap<String, Vec<IpAddr>>,
    pub(super) trunks: BTreeMap<TrunkAddress, Vec<Target>>,
}

/// Follows the addresses of names; dropping it ends that.
#[derive(Debug)]
pub(super) struct Names {
    wanted: watch::Sender<Wanted>,
    /// What is known; woken when it changes.
    pub(super) found: watch::Receiver<Found>,
}

impl Names {
    /// Begins with these.
    pub(super) fn follow(names: Wanted) -> Self {
        let (wanted, of_us) = watch::channel(names);
        let (told, found) = watch::channel(Found::default());
        tokio::spawn(look_up(of_us, told));
        Self { wanted, found }
    }

    /// Goes on with these.
    pub(super) fn set(&self, names: Wanted) {
        self.wanted.send_if_modified(|wanted| {
            let is_other = *wanted != names;
            *wanted = names;
            is_other
        });
    }
}

async fn look_up(mut wanted: watch::Receiver<Wanted>, told: watch::Sender<Found>) {
    let (mut missed_hosts, mut missed_trunks) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let names = wanted.borrow_and_update().clone();
        let mut found = told.borrow().clone();
        let (hosts, trunks) = tokio::join!(
            join_all(names.hosts.iter().map(|name| addresses(name))),
            join_all(names.trunks.iter().map(|it| targets(it, found.trunks.contains_key(it)))),
        );
        let hosts = names.hosts.into_iter().zip(hosts).collect();
        take("external_address", hosts, &mut found.hosts, &mut missed_hosts, |all| {
            all.iter().map(IpAddr::to_string).collect()
        });
        let trunks = names.trunks.into_iter().zip(trunks).collect();
        take("[[trunk]]", trunks, &mut found.trunks, &mut missed_trunks, |all| {
            locate::by_rank(all).into_iter().map(place_name).collect()
        });
        let is_idle = found == Found::default() && missed_hosts.is_empty() && missed_trunks.is_empty();
        told.send_if_modified(|known| {
            let is_other = *known != found;
            *known = found;
            is_other
        });
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_UP_EVERY), if !is_idle => {}
        }
    }
}

/// Takes the answers for all names of one option. What was known of one stays where there is no answer: a name server that is down moves nobody.
fn take<K: Ord + Clone + Display, V: PartialEq>(
    option: &str,
    answers: BTreeMap<K, io::Result<V>>,
    known: &mut BTreeMap<K, V>,
    missed: &mut BTreeSet<K>,
    shown: impl Fn(&V) -> Vec<String>,
) {
    known.retain(|name, _| answers.contains_key(name));
    missed.retain(|name| answers.contains_key(name));
    for (name, answer) in answers {
        match answer {
            Ok(answer) => {
                missed.remove(&name);
                if known.get(&name) != Some(&answer) {
                    tracing::info!("{name} of {option} is {}", shown(&answer).join(" and "));
                }
                known.insert(name, answer);
            }
            Err(error) => {
                if missed.insert(name.clone()) {
                    tracing::warn!("{name} of {option} cannot be looked up ({error}); it is tried every minute");
                }
            }
        }
    }
}

/// Where a trunk's name or domain is (RFC 3263 §4).
async fn targets(address: &TrunkAddress, is_known: bool) -> io::Result<Vec<Target>> {
    if let (Some(protocol), Some(port)) = (address.protocol, address.port) {
        return plain(protocol, &address.host, port).await;
    }
    match timeout(ANSWER_WITHIN, ask(address)).await {
        Ok(Ok(targets)) => Ok(targets),
        // Where no name server answers there may still be a file of hosts; but that moves nobody, and chooses no transport.
        failed => match address.protocol.filter(|_| !is_known) {
            Some(protocol) => plain(protocol, &address.host, locate::standard_port(protocol)).await,
            None => failed?,
        },
    }
}

async fn ask(address: &TrunkAddress) -> io::Result<Vec<Target>> {
    let resolver = resolver()?;
    let services = match address.protocol {
        Some(protocol) => locate::service_name(protocol, &address.host)
            .map(|name| (protocol, name))
            .into_iter()
            .collect(),
        None => locate::services(naptr(&resolver, &address.host).await?, &address.host),
    };
    // Without SRV records it is the host of that name, by what is preferred.
    let preferred = services.first().map_or(Protocol::Udp, |(protocol, _)| *protocol);
    let mut records = Vec::new();
    for (preference, (protocol, name)) in (0..).zip(services) {
        let told = srv(&resolver, &name).await?;
        records.extend(told.into_iter().map(|record| (preference, protocol, record)));
    }
    if records.is_empty() {
        return plain(preferred, &address.host, locate::standard_port(preferred)).await;
    }
    records.sort_unstable_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
    records.retain(|(.., record)| !locate::is_none(&record.target));
    records.truncate(MAX_HOSTS);
    let hosts = records.iter().map(|(.., record)| addresses(&record.target));
    let found = join_all(hosts).await;
    let target = |((preference, protocol, record), ips): ((u16, Protocol, Srv), io::Result<Vec<IpAddr>>)| {
        // One that is not there leaves the others.
        let ips = ips.ok()?;
        Some(Target {
            rank: (preference, record.priority),
            weight: record.weight,
            protocol,
            addresses: ips.into_iter().map(|ip| SocketAddr::new(ip, record.port)).collect(),
        })
    };
    let mut targets: Vec<_> = records.into_iter().zip(found).filter_map(target).collect();
    targets.sort_unstable();
    if targets.is_empty() {
        return Err(io::Error::other("its SRV records name no host that there is"));
    }
    Ok(targets)
}

/// Anew each time: it reads the system's configuration when it begins.
fn resolver() -> io::Result<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().map_err(io::Error::other)?;
    builder.options_mut().timeout = NAME_SERVER_WITHIN;
    builder.build().map_err(io::Error::other)
}

/// A host by its addresses.
async fn plain(protocol: Protocol, host: &str, port: u16) -> io::Result<Vec<Target>> {
    let ips = addresses(host).await?;
    Ok(vec![Target {
        rank: (0, 0),
        weight: 0,
        protocol,
        addresses: ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(),
    }])
}

async fn naptr(resolver: &TokioResolver, domain: &str) -> io::Result<Vec<Naptr>> {
    let read = |data: &RData| {
        let RData::NAPTR(it) = data else { return None };
        Some(Naptr {
            order: it.order,
            preference: it.preference,
            flags: String::from_utf8_lossy(&it.flags).into_owned(),
            service: String::from_utf8_lossy(&it.services).into_owned(),
            replacement: it.replacement.to_ascii(),
        })
    };
    records(resolver, &format!("{domain}."), RecordType::NAPTR, read).await
}

async fn srv(resolver: &TokioResolver, name: &str) -> io::Result<Vec<Srv>> {
    let read = |data: &RData| {
        let RData::SRV(it) = data else { return None };
        Some(Srv {
            priority: it.priority,
            weight: it.weight,
            port: it.port,
            target: it.target.to_ascii(),
        })
    };
    records(resolver, name, RecordType::SRV, read).await
}

/// All records of a kind that a name has; none is no error.
async fn records<T>(
    resolver: &TokioResolver,
    name: &str,
    kind: RecordType,
    read: impl Fn(&RData) -> Option<T>,
) -> io::Result<Vec<T>> {
    match resolver.lookup(name, kind).await {
        Ok(answer) => Ok(answer
            .answers()
            .iter()
            .filter_map(|record| read(&record.data))
            .collect()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// In a stable order: name servers turn their lists.
async fn addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    let answer = timeout(HOST_WITHIN, tokio::net::lookup_host((name, 0))).await;
    let mut all: Vec<_> = answer??.map(|at| at.ip()).collect();
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_followed_and_unknown_ones_are_none() {
        let set = |names: &[&str]| Wanted {
            hosts: names.iter().map(|name| (*name).to_owned()).collect(),
            trunks: ["tcp:localhost:5070".parse().unwrap()].into(),
        };
        let mut names = Names::follow(set(&["localhost", "no-such-name.invalid"]));
        let limit = Duration::from_secs(30);
        timeout(limit, names.found.changed()).await.unwrap().unwrap();
        let found = names.found.borrow_and_update().clone();
        assert_eq!(found.hosts.keys().collect::<Vec<_>>(), ["localhost"]);
        assert!(found.hosts["localhost"].iter().all(IpAddr::is_loopback), "{found:?}");
        let ways = locate::by_rank(found.trunks.values().next().unwrap());
        assert!(
            ways.contains(&(Protocol::Tcp, "127.0.0.1:5070".parse().unwrap())),
            "{ways:?}"
        );
        names.set(Wanted::default());
        timeout(limit, names.found.changed()).await.unwrap().unwrap();
        assert_eq!(*names.found.borrow(), Found::default());
    }
}
