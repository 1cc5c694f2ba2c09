//! Where a SIP domain is: which records of the DNS to ask for, and in which order to try what they name (RFC 3263, RFC 2782).
//!
//! Nothing is asked here: the records come from whoever looks names up.

use std::net::SocketAddr;

use rand_core::Rng;

use crate::net::Protocol;

/// A record that says by which transports a domain takes calls (RFC 3403).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Naptr {
    /// Lower is first, and what is further behind is not looked at before.
    pub order: u16,
    /// Lower is first among those of one order.
    pub preference: u16,
    /// `s`: the replacement is a name of services.
    pub flags: String,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`.
    pub service: String,
    /// The name to ask next.
    pub replacement: String,
}

/// A record that says on which host and port a service is (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Srv {
    /// Lower is first.
    pub priority: u16,
    /// How often it is taken among those of one priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// The host; `.` or nothing: the service is not there.
    pub target: String,
}

/// A host of a domain, with its addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Lower is first: of what the domain prefers, and of [`Srv::priority`].
    pub rank: (u16, u16),
    /// Of [`Srv::weight`].
    pub weight: u16,
    /// How bytes travel.
    pub protocol: Protocol,
    /// Its addresses, the first first.
    pub addresses: Vec<SocketAddr>,
}

impl Target {
    fn ways(&self) -> impl Iterator<Item = (Protocol, SocketAddr)> + '_ {
        self.addresses.iter().map(|address| (self.protocol, *address))
    }
}

/// The standard port (RFC 3261 §19.1.2).
#[must_use]
pub fn standard_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Udp | Protocol::Tcp => 5060,
        Protocol::Tls => 5061,
        Protocol::Ws => 80,
        Protocol::Wss => 443,
    }
}

/// The name whose SRV records say where a domain takes calls over this transport; none for WebSockets, which have no such records.
#[must_use]
pub fn service_name(protocol: Protocol, domain: &str) -> Option<String> {
    let service = match protocol {
        Protocol::Udp => "_sip._udp",
        Protocol::Tcp => "_sip._tcp",
        Protocol::Tls => "_sips._tcp",
        Protocol::Ws | Protocol::Wss => return None,
    };
    Some(format!("{service}.{domain}."))
}

/// What a domain of unknown transport is asked, in order: transports and names of SRV records. What its NAPTR records prefer (RFC 3263 §4.1),
/// or everything where there is none that we know.
#[must_use]
pub fn services(mut records: Vec<Naptr>, domain: &str) -> Vec<(Protocol, String)> {
    records.sort_unstable();
    let of = |record: &Naptr| {
        let protocol = match record.service.to_ascii_uppercase().as_str() {
            "SIP+D2U" => Protocol::Udp,
            "SIP+D2T" => Protocol::Tcp,
            "SIPS+D2T" => Protocol::Tls,
            _ => return None,
        };
        let is_service = record.flags.eq_ignore_ascii_case("s") && !is_none(&record.replacement);
        is_service.then(|| (protocol, record.replacement.clone()))
    };
    let told: Vec<_> = records.iter().filter_map(of).collect();
    if !told.is_empty() {
        return told;
    }
    let all = [Protocol::Udp, Protocol::Tcp, Protocol::Tls];
    all.into_iter()
        .filter_map(|protocol| Some((protocol, service_name(protocol, domain)?)))
        .collect()
}

/// Whether a name is no name: RFC 2782 says so by the root.
#[must_use]
pub fn is_none(name: &str) -> bool {
    matches!(name, "" | ".")
}

/// All addresses by rank, and of one rank the one that is most often first.
#[must_use]
pub fn by_rank(targets: &[Target]) -> Vec<(Protocol, SocketAddr)> {
    let mut all: Vec<&Target> = targets.iter().collect();
    all.sort_by_key(|target| (target.rank, std::cmp::Reverse(target.weight)));
    all.iter().flat_map(|target| target.ways()).collect()
}

/// In which order hosts are tried: by rank, and those of one rank by chance, each as often as its weight says (RFC 2782, "Weight").
pub fn in_order(targets: &[Target], rng: &mut impl Rng) -> Vec<(Protocol, SocketAddr)> {
    let mut left: Vec<&Target> = targets.iter().collect();
    // Those that weigh nothing come first, so that they have a small chance.
    left.sort_by_key(|target| (target.rank, target.weight));
    let mut order = Vec::new();
    while let Some(first) = left.first() {
        let rank = first.rank;
        let alike = left.iter().take_while(|target| target.rank == rank);
        let sum: u32 = alike.clone().map(|target| u32::from(target.weight)).sum();
        let drawn = rng.next_u32() % (sum + 1);
        let mut running = 0;
        let place = alike.clone().position(|target| {
            running += u32::from(target.weight);
            running >= drawn
        });
        let target = left.remove(place.unwrap_or(0));
        order.extend(target.ways());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    fn naptr(order: u16, preference: u16, flags: &str, service: &str, replacement: &str) -> Naptr {
        Naptr {
            order,
            preference,
            flags: flags.into(),
            service: service.into(),
            replacement: replacement.into(),
        }
    }

    fn target(rank: (u16, u16), weight: u16, address: &str) -> Target {
        Target {
            rank,
            weight,
            protocol: Protocol::Udp,
            addresses: vec![address.parse().unwrap()],
        }
    }

    #[test]
    fn a_domain_says_which_transports_it_prefers() {
        // The example of RFC 3263 §4.1, in another order, with one that is nobody's.
        let records = vec![
            naptr(90, 50, "s", "SIP+D2U", "_sip._udp.example.com."),
            naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com."),
            naptr(90, 50, "S", "sip+d2t", "_sip._tcp.example.com."),
            naptr(10, 50, "s", "SIP+D2S", "_sip._sctp.example.com."),
            naptr(10, 50, "u", "E2U+sip", "!^.*$!sip:info@example.com!"),
            naptr(10, 50, "s", "SIP+D2U", "."),
        ];
        let expected = [
            (Protocol::Tls, "_sips._tcp.example.com.".to_owned()),
            (Protocol::Tcp, "_sip._tcp.example.com.".to_owned()),
            (Protocol::Udp, "_sip._udp.example.com.".to_owned()),
        ];
        assert_eq!(services(records, "example.com"), expected);
        let all: Vec<_> = services(Vec::new(), "example.com")
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(
            all,
            [
                "_sip._udp.example.com.",
                "_sip._tcp.example.com.",
                "_sips._tcp.example.com."
            ]
        );
    }

    #[test]
    fn what_ranks_first_is_first_and_weights_share() {
        let targets = [
            target((0, 20), 0, "192.0.2.9:5060"),
            target((0, 10), 75, "192.0.2.1:5060"),
            target((0, 10), 25, "192.0.2.2:5060"),
            target((1, 0), 9, "192.0.2.8:5060"),
        ];
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut first = 0;
        for _ in 0..1_000 {
            let order: Vec<_> = in_order(&targets, &mut rng)
                .into_iter()
                .map(|(_, address)| address.ip().to_string())
                .collect();
            first += usize::from(order[0] == "192.0.2.1");
            assert_eq!(order[2..], ["192.0.2.9", "192.0.2.8"]);
            assert_ne!(order[0], order[1]);
        }
        assert!((700..800).contains(&first), "{first} of 1000");
    }

    #[test]
    fn those_that_weigh_nothing_are_tried_all_the_same() {
        let targets = [target((0, 0), 0, "192.0.2.1:1"), target((0, 0), 0, "192.0.2.2:2")];
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        assert_eq!(in_order(&targets, &mut rng).len(), 2);
        assert!(in_order(&[], &mut rng).is_empty());
    }
}
