//! The lines that name our paths to a transport: `path:1 component 1 host 192.0.2.7 40000 mtu 1200`, `path:3 gone`.

use std::net::{IpAddr, SocketAddr};

/// What a path's address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A socket of this machine.
    Host,
    /// An address on a relay.
    Relay,
    /// The same, where the way to the relay is a stream: what is lost on it holds up what comes behind.
    StreamRelay,
}

/// One line about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathLine {
    /// The path is there.
    Added {
        /// Its number.
        path: u32,
        /// 1 for RTP, 2 for RTCP without rtcp-mux.
        component: u8,
        /// What the address belongs to.
        kind: Kind,
        /// The address as the peer would see it without a NAT.
        address: SocketAddr,
        /// Largest datagram, if it was said.
        mtu: Option<u16>,
        /// The address as those outside see it, if that is known to be another: a NAT passes it on to `address`.
        outer: Option<SocketAddr>,
    },
    /// The path is no more.
    Gone {
        /// Its number.
        path: u32,
    },
}

/// Reads a line; `None` if it is not about a path or not understood. Words behind the known ones are skipped.
#[must_use]
pub fn parse(line: &str) -> Option<PathLine> {
    let mut words = line.trim().strip_prefix("path:")?.split_ascii_whitespace();
    let path = words.next()?.parse().ok()?;
    match words.next()? {
        "gone" => return Some(PathLine::Gone { path }),
        "component" => {}
        _ => return None,
    }
    let component = words.next()?.parse().ok()?;
    let mut kind = match words.next()? {
        "host" => Kind::Host,
        "relay" => Kind::Relay,
        _ => return None,
    };
    let ip: IpAddr = words.next()?.parse().ok()?;
    let address = SocketAddr::new(ip, words.next()?.parse().ok()?);
    let (mut mtu, mut outer) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "mtu" => mtu = words.next()?.parse().ok(),
            "outer" => {
                let ip: Option<IpAddr> = words.next()?.parse().ok();
                outer = ip.zip(words.next()?.parse().ok()).map(SocketAddr::from);
            }
            "via" => {
                if matches!((kind, words.next()?), (Kind::Relay, "tcp")) {
                    kind = Kind::StreamRelay;
                }
            }
            _ => {}
        }
    }
    Some(PathLine::Added {
        path,
        component,
        kind,
        address,
        mtu,
        outer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_contract_shows() {
        let address = "192.0.2.7:40000".parse().unwrap();
        assert_eq!(
            parse("path:3 component 1 host 192.0.2.7 40000 mtu 1200"),
            Some(PathLine::Added {
                path: 3,
                component: 1,
                kind: Kind::Host,
                address,
                mtu: Some(1200),
                outer: None,
            })
        );
        let address = "[2001:db8::1]:5".parse().unwrap();
        assert_eq!(
            parse("path:4 component 2 relay 2001:db8::1 5"),
            Some(PathLine::Added {
                path: 4,
                component: 2,
                kind: Kind::Relay,
                address,
                mtu: None,
                outer: None,
            })
        );
        let kind = |line| match parse(line) {
            Some(PathLine::Added { kind, .. }) => kind,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            kind("path:4 component 1 relay 192.0.2.7 5 mtu 1172 via tcp"),
            Kind::StreamRelay
        );
        assert_eq!(
            kind("path:4 component 1 relay 192.0.2.7 5 mtu 1172 via pigeon"),
            Kind::Relay
        );
        assert_eq!(kind("path:4 component 1 host 192.0.2.7 5 via tcp"), Kind::Host);
        assert_eq!(parse("path:3 gone"), Some(PathLine::Gone { path: 3 }));
    }

    #[test]
    fn reads_the_outer_address_among_words_of_later_versions() {
        let outer = |line: &str| match parse(line) {
            Some(PathLine::Added { outer, mtu, .. }) => (outer.map(|outer| outer.to_string()), mtu),
            _ => panic!("{line}"),
        };
        let begin = "path:3 component 1 host 10.0.0.2 40000";
        let text = Some("203.0.113.5:41000".to_owned());
        assert_eq!(
            outer(&format!("{begin} mtu 1200 outer 203.0.113.5 41000")),
            (text.clone(), Some(1200))
        );
        assert_eq!(
            outer(&format!("{begin} colour red outer 203.0.113.5 41000 mtu 1200")),
            (text, Some(1200))
        );
        assert_eq!(outer(&format!("{begin} outer nowhere 41000")), (None, None));
        assert_eq!(parse(&format!("{begin} outer 203.0.113.5")), None);
    }

    #[test]
    fn skips_what_it_does_not_understand() {
        for line in [
            "",
            "path:",
            "path:x gone",
            "path:1",
            "path:1 component",
            "path:1 component 1 carrier-pigeon 192.0.2.7 1",
            "path:1 component 1 host example.net 1",
            "path:1 component 1 host 192.0.2.7 70000",
            "path:1 component 300 host 192.0.2.7 7",
            "candidate:1 1 udp 1 192.0.2.7 1 typ host",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
