//! The words that all machines share with the thin shell of sockets around them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// What carries the messages of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// One datagram, one message; may lose, double and reorder them.
    Udp,
    /// A connection.
    Tcp,
    /// A connection under TLS.
    Tls,
    /// A WebSocket (RFC 7118).
    Ws,
    /// A WebSocket under TLS.
    Wss,
}

impl Protocol {
    const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Whether each message arrives once and in order, or the connection is gone (RFC 3261 §17: timers A, E and G rest).
    #[must_use]
    pub fn is_reliable(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls | Self::Ws | Self::Wss => true,
        }
    }

    /// Whether it is a WebSocket.
    #[must_use]
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Whether we can open a connection to a peer: nobody but a browser opens a WebSocket.
    #[must_use]
    pub fn can_connect(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// Whether a message ends where its `Content-Length` says, and not with a datagram or a frame (RFC 3261 §18.3).
    #[must_use]
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// The `transport` parameter of a URI; none where it goes without saying (RFC 3261 §19.1.1, RFC 7118 §5.2).
    #[must_use]
    pub fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Udp => None,
            Self::Tcp => Some("tcp"),
            Self::Tls => Some("tls"),
            Self::Ws | Self::Wss => Some("ws"),
        }
    }

    /// The name in a `Via` header (RFC 3261 §20.42).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The word before an address in a conf file and in a sentence: [`Protocol::name`] in lower case.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// The name was no protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a transport protocol")]
pub struct UnknownProtocol;

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// Reads [`Protocol::name`], in either case.
    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let mut found = Self::ALL
            .into_iter()
            .filter(|known| known.name().eq_ignore_ascii_case(text));
        found.next().ok_or(UnknownProtocol)
    }
}

/// Names one connection as long as it lives; never used again after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// One of an earlier process: it is never open.
    pub const GONE: Self = Self(0);

    /// The n-th that a peer has opened to us, counted from 1.
    #[must_use]
    pub fn accepted(n: u64) -> Self {
        Self(n.wrapping_mul(2))
    }

    /// The n-th that we have opened, counted from 0.
    #[must_use]
    pub fn opened(n: u64) -> Self {
        Self(n.wrapping_mul(2) | 1)
    }
}

/// Whom a connection that we open under TLS must prove to lead to: several servers may be at one address. The shell knows its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u64);

/// A way between us and a peer: the protocol and both addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FiveTuple {
    /// What carries the messages.
    pub protocol: Protocol,
    /// Our address, as bound (never the wildcard).
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection, where there is one: the same two addresses may meet in another one later.
    pub connection: Option<ConnectionId>,
    /// Whom a connection leads to that we open, where that is known.
    pub server: Option<ServerId>,
}

impl FiveTuple {
    /// A way without a connection.
    #[must_use]
    pub fn new(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            protocol,
            local,
            remote,
            connection: None,
            server: None,
        }
    }

    /// The same way to another address of the peer.
    #[must_use]
    pub fn with_remote(self, remote: SocketAddr) -> Self {
        Self { remote, ..self }
    }

    /// Who is at the other end, whichever address of ours it came to.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer {
            protocol: self.protocol,
            remote: self.remote,
            connection: self.connection,
        }
    }
}

/// The other end of a [`FiveTuple`]: on a stream the connection is part of who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    protocol: Protocol,
    remote: SocketAddr,
    connection: Option<ConnectionId>,
}

/// Our addresses as those outside see them, where a NAT or a cloud stands between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// What stands for ours; the first of a family is taken.
    pub addresses: Vec<IpAddr>,
    /// Who is not outside, beside this machine itself.
    pub local_networks: Vec<IpNet>,
}

impl External {
    /// Which address a peer is told in place of `local`: an outer one if the peer is outside and there is one of the family.
    #[must_use]
    pub fn shown(&self, local: IpAddr, peer: IpAddr) -> IpAddr {
        self.shown_of(&self.addresses, local, peer)
    }

    /// The same with other addresses of ours.
    #[must_use]
    pub fn shown_of(&self, addresses: &[IpAddr], local: IpAddr, peer: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        let is_inside = peer.is_loopback() || self.local_networks.iter().any(|network| network.contains(&peer));
        let mut fitting = addresses.iter().filter(|address| address.is_ipv4() == local.is_ipv4());
        match fitting.next() {
            Some(address) if !is_inside => *address,
            _ => local,
        }
    }
}

/// Bytes that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Receive<'a> {
    /// The way they came.
    pub five_tuple: FiveTuple,
    /// One message.
    pub payload: &'a [u8],
}

/// Bytes to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The way they go.
    pub five_tuple: FiveTuple,
    /// One message.
    pub payload: Vec<u8>,
}

/// True if an address that a peer names can be sent to: it is that of one machine, and with `loopback` it may be ours.
///
/// Whoever names where a stream of ours goes must not have it reach a whole network, nor the services of this machine that
/// trust whoever comes from it. A broadcast address of a network cannot be told from a machine's here; a socket without
/// SO_BROADCAST does not send there. RFC 6890.
#[must_use]
pub fn is_destination(ip: IpAddr, loopback: bool) -> bool {
    // An IPv4 address in the clothes of IPv6 is what is inside.
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::BROADCAST) => false,
        // 0/8 is "this network": most systems take 0.0.0.0 for themselves.
        IpAddr::V4(ip) if ip.octets()[0] == 0 || ip.is_multicast() => false,
        IpAddr::V4(ip) => loopback || !ip.is_loopback(),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => loopback,
        // ::/96 holds the unspecified address, and IPv4 addresses in a form that was given up.
        IpAddr::V6(ip) => !ip.is_multicast() && ip.segments()[..6] != [0; 6],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_nowhere_are_no_destinations_and_loopback_is_where_it_is_allowed() {
        let cases = [
            (
                "192.0.2.1 10.0.0.5 169.254.1.1 100.64.0.1 223.255.255.255 240.0.0.1",
                true,
                true,
            ),
            (
                "2001:db8::1 fe80::1 fc00::1 ::ffff:192.0.2.1 64:ff9b::192.0.2.1",
                true,
                true,
            ),
            ("127.0.0.1 127.0.0.0 127.255.255.255 127.9.9.9 ::1", true, false),
            ("::ffff:127.0.0.1 ::ffff:127.8.0.1", true, false),
            (
                "0.0.0.0 0.0.0.1 0.255.255.255 :: ::ffff:0.0.0.0 ::ffff:0.1.2.3",
                false,
                false,
            ),
            ("::2 ::127.0.0.1 ::192.0.2.1", false, false),
            ("224.0.0.1 239.255.255.250 255.255.255.255", false, false),
            (
                "ff02::1 ff00:: ffff::1 ::ffff:224.0.0.5 ::ffff:255.255.255.255",
                false,
                false,
            ),
        ];
        for (addresses, from_loopback, from_elsewhere) in cases {
            for address in addresses.split(' ') {
                let ip: IpAddr = address.parse().unwrap();
                assert_eq!(is_destination(ip, true), from_loopback, "{address}");
                assert_eq!(is_destination(ip, false), from_elsewhere, "{address}");
            }
        }
    }

    #[test]
    fn those_outside_are_told_the_outer_address_of_the_family() {
        let external = External {
            addresses: ["203.0.113.5", "2001:db8::5", "203.0.113.6"]
                .map(|ip| ip.parse().unwrap())
                .to_vec(),
            local_networks: ["10.0.0.0/24", "fd00::/8"]
                .map(|network| network.parse().unwrap())
                .to_vec(),
        };
        for (local, peer, shown) in [
            ("10.0.0.2", "198.51.100.7", "203.0.113.5"),
            ("10.0.0.2", "10.0.1.7", "203.0.113.5"),
            ("fd00::2", "2001:db8:9::7", "2001:db8::5"),
            ("10.0.0.2", "10.0.0.7", "10.0.0.2"),
            ("10.0.0.2", "::ffff:10.0.0.7", "10.0.0.2"),
            ("fd00::2", "fd01::7", "fd00::2"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ] {
            let [local, peer, shown] = [local, peer, shown].map(|ip| ip.parse::<IpAddr>().unwrap());
            assert_eq!(external.shown(local, peer), shown, "{local} to {peer}");
            assert_eq!(External::default().shown(local, peer), local);
        }
    }
}
