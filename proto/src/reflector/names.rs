//! The names of reflectors in candidates, as socket addresses.
//!
//! A name says which reflector (its number, from 1) and who behind it (four bytes). ICE wants addresses: these are in the discard
//! prefix 100::/64 (RFC 6666), which leads nowhere, so that what is sent there by another way than the reflector's is lost.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// 100::/64
const PREFIX: u64 = 0x0100_0000_0000_0000;

/// The address of a party at a reflector: its number, the party's four bytes, and the reflector's port.
#[must_use]
pub fn address(number: u32, own: [u8; 4], port: u16) -> SocketAddr {
    let host = u64::from(number) << 32 | u64::from(u32::from_le_bytes(own));
    let ip = Ipv6Addr::from_bits(u128::from(PREFIX) << 64 | u128::from(host));
    SocketAddr::new(ip.into(), port)
}

/// What [`address`] was made of; `None` for every other address.
#[must_use]
pub fn of_address(address: IpAddr) -> Option<(u32, [u8; 4])> {
    let IpAddr::V6(ip) = address else { return None };
    let [p0, p1, p2, p3, p4, p5, p6, p7, n0, n1, n2, n3, f0, f1, f2, f3] = ip.octets();
    let is_ours = u64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]) == PREFIX;
    // Numbers as they stand in a name, least significant byte first in the tag.
    is_ours.then_some((u32::from_be_bytes([n0, n1, n2, n3]), [f3, f2, f1, f0]))
}

/// The name of such an address.
#[must_use]
pub fn name(address: IpAddr) -> Option<String> {
    let (number, own) = of_address(address)?;
    Some(format!("reflector-{number}-{}.reflector", u32::from_le_bytes(own)))
}

/// The address of a name; the port comes from its candidate.
#[must_use]
pub fn ip(name: &str) -> Option<IpAddr> {
    let (number, own) = name
        .strip_prefix("reflector-")?
        .strip_suffix(".reflector")?
        .split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(number) || !is_number(own) {
        return None;
    }
    let own: u32 = own.parse().ok()?;
    Some(address(number.parse().ok()?, own.to_le_bytes(), 0).ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_the_same() {
        for (number, own, text) in [
            (1, [1, 0, 0, 0], "reflector-1-1.reflector"),
            (2, [0xff; 4], "reflector-2-4294967295.reflector"),
            (u32::MAX, [4, 3, 2, 1], "reflector-4294967295-16909060.reflector"),
        ] {
            let address = address(number, own, 599);
            assert_eq!(name(address.ip()).as_deref(), Some(text));
            assert_eq!(ip(text), Some(address.ip()));
            assert_eq!(of_address(address.ip()), Some((number, own)));
        }
    }

    #[test]
    fn nothing_else_is_one() {
        for text in [
            "",
            "reflector",
            "reflector--1.reflector",
            "reflector-1-.reflector",
            "reflector-1.reflector",
            "reflector-+1-1.reflector",
            "reflector-1-4294967296.reflector",
            "reflector-1-1.reflector.example",
            "xreflector-1-1.reflector",
        ] {
            assert_eq!(ip(text), None, "{text}");
        }
        for address in ["192.0.2.1", "::1", "2001:db8::1", "100:0:0:1::1", "::ffff:192.0.2.1"] {
            assert_eq!(name(address.parse().unwrap()), None, "{address}");
        }
    }
}
