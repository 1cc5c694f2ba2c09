//! The words that all machines share with the thin shell of sockets around them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How bytes travel below a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// One datagram, one message.
    Udp,
}

/// Bytes that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Receive<'a> {
    /// What they travelled over.
    pub protocol: Protocol,
    /// Our address, as bound (never the wildcard).
    pub local: SocketAddr,
    /// Where they came from.
    pub remote: SocketAddr,
    /// One datagram.
    pub payload: &'a [u8],
}

/// Bytes to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// What they travel over.
    pub protocol: Protocol,
    /// Our address to send from.
    pub local: SocketAddr,
    /// Where they go.
    pub remote: SocketAddr,
    /// One datagram.
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
}
