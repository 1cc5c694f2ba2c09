//! The host names of `external_address`, looked up every minute: behind a line whose address changes they follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

/// How often, and how long one answer may take.
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What names have which addresses.
pub(super) type Found = BTreeMap<String, Vec<IpAddr>>;

/// Follows the addresses of names; dropping it ends that.
#[derive(Debug)]
pub(super) struct Names {
    wanted: watch::Sender<BTreeSet<String>>,
    /// What is known; woken when it changes.
    pub(super) found: watch::Receiver<Found>,
}

impl Names {
    /// Begins with these.
    pub(super) fn follow(names: BTreeSet<String>) -> Self {
        let (wanted, of_us) = watch::channel(names);
        let (told, found) = watch::channel(Found::new());
        tokio::spawn(look_up(of_us, told));
        Self { wanted, found }
    }

    /// Goes on with these.
    pub(super) fn set(&self, names: BTreeSet<String>) {
        self.wanted.send_if_modified(|wanted| {
            let is_other = *wanted != names;
            *wanted = names;
            is_other
        });
    }
}

async fn look_up(mut wanted: watch::Receiver<BTreeSet<String>>, told: watch::Sender<Found>) {
    let mut missed = BTreeSet::new();
    loop {
        let names = wanted.borrow_and_update().clone();
        let mut found = told.borrow().clone();
        found.retain(|name, _| names.contains(name));
        missed.retain(|name| names.contains(name));
        let answers = join_all(names.iter().map(|name| addresses(name))).await;
        for (name, answer) in names.iter().zip(answers) {
            match answer {
                Ok(addresses) => {
                    missed.remove(name);
                    if found.get(name) != Some(&addresses) {
                        let list: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
                        tracing::info!("{name} of external_address is {}", list.join(" and "));
                    }
                    found.insert(name.clone(), addresses);
                }
                // What was known stays: a name server that is down moves nobody.
                Err(error) if missed.insert(name.clone()) => {
                    tracing::warn!(
                        "{name} of external_address cannot be looked up ({error}); it is tried every minute"
                    );
                }
                Err(_) => {}
            }
        }
        told.send_if_modified(|known| {
            let is_other = *known != found;
            *known = found;
            is_other
        });
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_UP_EVERY), if !names.is_empty() => {}
        }
    }
}

/// In a stable order: name servers turn their lists.
async fn addresses(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, tokio::net::lookup_host((name, 0))).await;
    let mut all: Vec<_> = answer
        .map_err(|_| std::io::ErrorKind::TimedOut)??
        .map(|at| at.ip())
        .collect();
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_followed_and_unknown_ones_are_none() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let mut names = Names::follow(set(&["localhost", "no-such-name.invalid"]));
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, names.found.changed())
            .await
            .unwrap()
            .unwrap();
        let found = names.found.borrow_and_update().clone();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["localhost"]);
        assert!(found["localhost"].iter().all(IpAddr::is_loopback), "{found:?}");
        names.set(set(&[]));
        tokio::time::timeout(limit, names.found.changed())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(*names.found.borrow(), Found::new());
    }
}
