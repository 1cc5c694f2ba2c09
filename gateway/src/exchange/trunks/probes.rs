//! Whether the places of trunks are there: each is asked (OPTIONS) now and then, so that no call has to find out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quartet_proto::net::Protocol;

use super::Place;

/// Places of one start or reload are asked this much apart.
const APART: Duration = Duration::from_millis(100);

/// Statuses of one that is not there, or has no room (RFC 3261 §21.4.9, §21.5.4); any other is one of a server that is alive.
const GONE: [u16; 2] = [408, 503];

/// A place that is asked.
#[derive(Debug)]
struct Probe {
    trunk: String,
    place: Place,
    every: Duration,
    /// None: an answer is waited for.
    due: Option<Instant>,
    is_up: bool,
}

/// All of them, by the numbers that the endpoint knows them by.
#[derive(Debug, Default)]
pub(super) struct Probes {
    all: BTreeMap<u64, Probe>,
    last: u64,
}

impl Probes {
    /// These are to be asked from now on: trunk, place, and how often. What is known of one stays.
    pub(super) fn follow(&mut self, now: Instant, wanted: Vec<(String, Place, Duration)>) {
        let is_known = |probe: &Probe, (trunk, place, every): &(String, Place, Duration)| {
            (&probe.trunk, &probe.place, &probe.every) == (trunk, place, every)
        };
        self.all
            .retain(|_, probe| wanted.iter().any(|wanted| is_known(probe, wanted)));
        let mut due = now;
        for new in wanted {
            if self.all.values().any(|probe| is_known(probe, &new)) {
                continue;
            }
            let (trunk, place, every) = new;
            due += APART;
            self.last += 1;
            let probe = Probe {
                trunk,
                place,
                every,
                due: Some(due),
                is_up: true,
            };
            self.all.insert(self.last, probe);
        }
    }

    /// When the next is to be asked.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.all.values().filter_map(|probe| probe.due).min()
    }

    /// The next that is to be asked now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(u64, Place)> {
        let (id, probe) = self
            .all
            .iter_mut()
            .find(|(_, probe)| probe.due.is_some_and(|due| due <= now))?;
        probe.due = None;
        Some((*id, probe.place.clone()))
    }

    /// One could not be asked: that says nothing of it.
    pub(super) fn put_off(&mut self, now: Instant, id: u64) {
        if let Some(probe) = self.all.get_mut(&id) {
            probe.due = Some(now + probe.every);
        }
    }

    /// One has answered with this status, or not at all: 408.
    pub(super) fn on_status(&mut self, now: Instant, id: u64, status: u16) {
        let Some(probe) = self.all.get_mut(&id) else { return };
        probe.due = Some(now + probe.every);
        let is_up = !GONE.contains(&status);
        if std::mem::replace(&mut probe.is_up, is_up) == is_up {
            return;
        }
        let Probe { trunk, place, .. } = probe;
        if is_up {
            tracing::info!(trunk, %place, "answers again");
        } else {
            tracing::warn!(trunk, %place, status, "does not answer; calls go there last");
        }
    }

    /// Whether a place of a trunk is there, as far as is known.
    pub(super) fn is_up(&self, trunk: &str, protocol: Protocol, address: SocketAddr) -> bool {
        let is_it =
            |probe: &&Probe| probe.trunk == trunk && (probe.place.protocol, probe.place.address) == (protocol, address);
        self.all.values().filter(is_it).all(|probe| probe.is_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(port: u16) -> Place {
        Place {
            protocol: Protocol::Udp,
            address: ([192, 0, 2, 1], port).into(),
            host: "192.0.2.1".into(),
            server: None,
        }
    }

    #[test]
    fn each_place_is_asked_again_and_is_down_until_it_answers() {
        let (mut now, every) = (Instant::now(), Duration::from_secs(60));
        let mut probes = Probes::default();
        let wanted = |ports: &[u16]| {
            ports
                .iter()
                .map(|port| ("pbx".to_owned(), place(*port), every))
                .collect()
        };
        probes.follow(now, wanted(&[1, 2]));
        assert_eq!(probes.poll(now), None, "not all at once");
        now += 2 * APART;
        let (first, second) = (probes.poll(now).unwrap(), probes.poll(now).unwrap());
        assert_eq!((&first.1, &second.1), (&place(1), &place(2)));
        assert_eq!(
            (probes.poll(now), probes.poll_timeout()),
            (None, None),
            "both are waited for"
        );
        probes.on_status(now, first.0, 408);
        probes.on_status(now, second.0, 404);
        let is_up = |probes: &Probes, port| probes.is_up("pbx", Protocol::Udp, place(port).address);
        assert_eq!((is_up(&probes, 1), is_up(&probes, 2)), (false, true));
        assert_eq!(probes.poll_timeout(), Some(now + every));
        // What is known outlives a reload, and an answer of what is no more changes nothing.
        probes.follow(now, wanted(&[1, 3]));
        assert!(!is_up(&probes, 1));
        probes.on_status(now, second.0, 408);
        assert!(is_up(&probes, 2));
        now += every;
        while let Some((id, _)) = probes.poll(now) {
            probes.on_status(now, id, 200);
        }
        assert!(is_up(&probes, 1));
    }
}
