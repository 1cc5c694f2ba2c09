//! The networks of the trial: who sits behind what, and what is wanted there.

use std::net::Ipv4Addr;
use std::time::Duration;

use quartet_tests::network::{Conditions, Firewall, NatKind, Outage, Place};

/// The places of a network, by their numbers.
pub(crate) const OFFICE: usize = 0;
pub(crate) const HANDSET: usize = 1;
pub(crate) const INTERNET: usize = 2;

/// Where the gateway and the handset are without a NAT, and what is in the internet.
pub(crate) const OFFICE_AT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(crate) const HANDSET_AT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const HUB_AT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const RELAY_AT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);

/// The relays that the hub tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relays {
    /// All of them but TLS: what a network with everything has.
    All,
    /// One alone, and nothing goes straight: its URL, with `IP` for the address.
    Only(&'static str),
    /// TURN over TLS beside the others.
    WithTls,
}

/// Who the handset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    /// ntgcalls.
    Native,
    /// A gateway of ours with a phone.
    Ours,
}

/// How many attempts must be how good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// All but one of all these cells together hear each other in time.
    Guaranteed,
    /// This share does.
    Share(f64),
    /// Each is connected or has ended with its cause.
    Told,
}

/// One network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    /// Each way, on the handset's side.
    pub(crate) conditions: Conditions,
    /// Of both.
    pub(crate) nat: Option<NatKind>,
    /// Of the office.
    pub(crate) firewall: Firewall,
    pub(crate) relays: Relays,
    pub(crate) far: Far,
    /// From when the callee takes the call until each hears the other.
    pub(crate) limit: Duration,
    pub(crate) wanted: Wanted,
    /// How the record must call the way of the media; nothing: any.
    pub(crate) path: &'static str,
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const CLEAN: Conditions = Conditions::CLEAN;

const BASE: Cell = Cell {
    name: "",
    conditions: CLEAN,
    nat: None,
    firewall: Firewall::Open,
    relays: Relays::All,
    far: Far::Native,
    limit: guarantee(CLEAN),
    wanted: Wanted::Guaranteed,
    path: "direct",
};

/// One second and eight round trips.
const fn guarantee(conditions: Conditions) -> Duration {
    ms(1000 + 16 * conditions.delay.as_millis() as u64)
}

const fn on(name: &'static str, conditions: Conditions) -> Cell {
    Cell {
        name,
        conditions,
        limit: guarantee(conditions),
        path: "",
        ..BASE
    }
}

const fn over(name: &'static str, url: &'static str, path: &'static str) -> Cell {
    Cell {
        name,
        relays: Relays::Only(url),
        path,
        ..BASE
    }
}

const LOSSY: Conditions = Conditions { loss: 0.3, ..CLEAN };

/// All of them.
pub(crate) const CELLS: [Cell; 18] = [
    Cell {
        path: "direct",
        ..on(
            "lan",
            Conditions {
                delay: Duration::from_micros(200),
                ..CLEAN
            },
        )
    },
    Cell {
        path: "direct",
        ..on(
            "wifi",
            Conditions {
                delay: ms(3),
                jitter: ms(2),
                loss: 0.005,
                burst: 2.0,
                rate: 40_000_000,
                queue: ms(120),
                ..CLEAN
            },
        )
    },
    Cell {
        path: "direct",
        ..on(
            "lte-good",
            Conditions {
                delay: ms(25),
                jitter: ms(4),
                loss: 0.001,
                rate: 10_000_000,
                ..CLEAN
            },
        )
    },
    Cell {
        name: "nat-port-restricted",
        nat: Some(NatKind::PortRestricted),
        ..BASE
    },
    Cell {
        name: "nat-symmetric",
        nat: Some(NatKind::Symmetric),
        path: "turn udp",
        ..BASE
    },
    Cell {
        name: "udp-blocked",
        firewall: Firewall::NoUdp,
        path: "turn tcp",
        ..BASE
    },
    Cell {
        name: "only-443",
        firewall: Firewall::Only443,
        relays: Relays::WithTls,
        path: "turn tls",
        ..BASE
    },
    over("turn-udp", "turn:IP", "turn udp"),
    over("turn-tcp", "turn:IP?transport=tcp", "turn tcp"),
    over("turn-tls", "turns:IP:443", "turn tls"),
    over("reflector-udp", "reflector:IP:599", "reflector udp"),
    over("reflector-tcp", "reflector:IP:599?transport=tcp", "reflector tcp"),
    Cell {
        wanted: Wanted::Share(0.99),
        ..on("lte-bad", Conditions::LTE_BAD)
    },
    Cell {
        limit: ms(6000),
        wanted: Wanted::Share(1.0),
        ..on(
            "satellite",
            Conditions {
                delay: ms(290),
                jitter: ms(6),
                loss: 0.005,
                burst: 3.0,
                rate: 2_000_000,
                queue: ms(800),
                ..CLEAN
            },
        )
    },
    Cell {
        limit: ms(8000),
        wanted: Wanted::Share(0.9),
        ..on("loss-30", LOSSY)
    },
    Cell {
        limit: ms(30_000),
        wanted: Wanted::Share(0.99),
        far: Far::Ours,
        ..on("loss-30-ours", LOSSY)
    },
    Cell {
        limit: ms(30_000),
        wanted: Wanted::Told,
        ..on(
            "train",
            Conditions {
                delay: ms(45),
                jitter: ms(12),
                loss: 0.02,
                burst: 4.0,
                rate: 3_000_000,
                queue: ms(500),
                outage: Some(Outage {
                    first: ms(6000),
                    period: ms(15_000),
                    length: ms(2500),
                }),
                ..CLEAN
            },
        )
    },
    Cell {
        limit: ms(30_000),
        wanted: Wanted::Told,
        // Another 12 of every 36 seconds are as good as a line can be.
        ..on(
            "congested",
            Conditions {
                jitter: ms(2),
                rate: 48_000,
                queue: ms(400),
                loss: 0.01,
                ..CLEAN
            },
        )
    },
];

impl Cell {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        CELLS.iter().find(|cell| cell.name == name)
    }

    /// Nothing goes straight.
    pub(crate) fn hides(&self) -> bool {
        matches!(self.relays, Relays::Only(_))
    }

    /// What the hub tells of, without TLS: that needs to be told whom to trust.
    pub(crate) fn urls(&self) -> Vec<String> {
        let urls = match self.relays {
            Relays::Only(url) if url.starts_with("turns:") => vec![],
            Relays::Only(url) => vec![url],
            Relays::All | Relays::WithTls => vec![
                "stun:IP",
                "turn:IP",
                "turn:IP?transport=tcp",
                "reflector:IP:599",
                "reflector:IP:599?transport=tcp",
            ],
        };
        urls.into_iter()
            .map(|url| url.replace("IP", &RELAY_AT.to_string()))
            .collect()
    }

    /// Whether the gateway knows of TURN over TLS.
    pub(crate) fn has_tls(&self) -> bool {
        matches!(self.relays, Relays::WithTls) || matches!(self.relays, Relays::Only(url) if url.starts_with("turns:"))
    }

    /// What the office or the handset knows as its address.
    pub(crate) fn address(&self, place: usize) -> Ipv4Addr {
        match (place, self.nat) {
            (OFFICE, None) => OFFICE_AT,
            (OFFICE, Some(_)) => Ipv4Addr::new(10, 1, 0, 2),
            (_, None) => HANDSET_AT,
            (_, Some(_)) => Ipv4Addr::new(10, 2, 0, 2),
        }
    }

    pub(crate) fn places(&self) -> [Place; 3] {
        let place = |addresses: &[Ipv4Addr], public: Ipv4Addr, conditions: Vec<(Duration, Conditions)>| Place {
            addresses: addresses.to_vec(),
            nat: self.nat.map(|kind| (kind, public)),
            firewall: Firewall::Open,
            up: conditions.clone(),
            down: conditions,
        };
        [
            Place {
                firewall: self.firewall,
                ..place(&[self.address(OFFICE)], OFFICE_AT, vec![])
            },
            place(&[self.address(HANDSET)], HANDSET_AT, self.timeline()),
            Place {
                nat: None,
                ..place(&[HUB_AT, RELAY_AT], RELAY_AT, vec![])
            },
        ]
    }

    /// A congested line is that for 12 seconds of each 36.
    fn timeline(&self) -> Vec<(Duration, Conditions)> {
        if self.name != "congested" {
            return vec![(Duration::ZERO, self.conditions)];
        }
        let good = Conditions {
            rate: 2_000_000,
            loss: 0.0,
            ..self.conditions
        };
        let rounds = 0..400u64;
        rounds
            .flat_map(|round| {
                [
                    (ms(round * 36_000), good),
                    (ms(round * 36_000 + 8000), self.conditions),
                    (ms(round * 36_000 + 20_000), good),
                ]
            })
            .collect()
    }
}
