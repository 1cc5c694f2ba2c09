//! A home router's address translation (RFC 4787): the inside has one public address, and who may answer depends on its kind.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket, UdpPacket};

/// How a router maps and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// One public port for each inner one; in come those who were sent to.
    PortRestricted,
    /// Another public port for each peer; in comes that peer.
    Symmetric,
}

type End = (Ipv4Addr, u16);

#[derive(Debug)]
struct Mapping {
    inner: End,
    /// Who was sent to.
    peers: Vec<End>,
    used: Duration,
}

/// A datagram's mapping is forgotten after so long without a packet.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// One router.
#[derive(Debug)]
pub(super) struct Nat {
    kind: NatKind,
    public: Ipv4Addr,
    /// The public port of each inner one, on a symmetric one for each peer.
    ports: HashMap<(IpProtocol, End, Option<End>), u16>,
    mappings: HashMap<(IpProtocol, u16), Mapping>,
    next: u16,
}

impl Nat {
    pub(super) fn new(kind: NatKind, public: Ipv4Addr) -> Self {
        Self {
            kind,
            public,
            ports: HashMap::new(),
            mappings: HashMap::new(),
            next: 20_000,
        }
    }

    /// Makes the packet one of the public address; not what has no ports.
    pub(super) fn outward(&mut self, now: Duration, packet: &mut [u8]) -> Option<()> {
        let (protocol, source, peer) = ends(packet)?;
        let key = (protocol, source, (self.kind == NatKind::Symmetric).then_some(peer));
        let known = self.ports.get(&key).copied().filter(|port| {
            let mapping = &self.mappings[&(protocol, *port)];
            protocol == IpProtocol::Tcp || now.saturating_sub(mapping.used) <= FORGOTTEN
        });
        let port = known.unwrap_or_else(|| {
            self.next = self.next.checked_add(7).unwrap_or(20_000);
            self.ports.insert(key, self.next);
            let mapping = Mapping {
                inner: source,
                peers: Vec::new(),
                used: now,
            };
            self.mappings.insert((protocol, self.next), mapping);
            self.next
        });
        let mapping = self.mappings.get_mut(&(protocol, port))?;
        mapping.used = now;
        if !mapping.peers.contains(&peer) {
            mapping.peers.push(peer);
        }
        rewrite(packet, Some((self.public, port)), None)
    }

    /// Makes the packet one to the inside, if it may come in.
    pub(super) fn inward(&mut self, now: Duration, packet: &mut [u8]) -> Option<()> {
        let (protocol, peer, (_, port)) = ends(packet)?;
        let mapping = self.mappings.get_mut(&(protocol, port))?;
        let is_alive = protocol == IpProtocol::Tcp || now.saturating_sub(mapping.used) <= FORGOTTEN;
        if !is_alive || !mapping.peers.contains(&peer) {
            return None;
        }
        mapping.used = now;
        let inner = mapping.inner;
        rewrite(packet, None, Some(inner))
    }
}

/// Protocol, source and destination of a packet that has ports and is whole.
pub(super) fn ends(packet: &[u8]) -> Option<(IpProtocol, End, End)> {
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    let (protocol, source, target) = (ip.next_header(), ip.src_addr(), ip.dst_addr());
    if ip.frag_offset() > 0 || ip.more_frags() {
        return None;
    }
    let is_udp = protocol == IpProtocol::Udp && UdpPacket::new_checked(ip.payload()).is_ok();
    let is_tcp = protocol == IpProtocol::Tcp && TcpPacket::new_checked(ip.payload()).is_ok();
    // Both have them first.
    let (&[a, b, c, d], _) = ip.payload().split_first_chunk().filter(|_| is_udp || is_tcp)?;
    let (from, to) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some((protocol, (source, from), (target, to)))
}

/// Gives a packet that has [`ends`] another source or another destination, and its checksums.
fn rewrite(packet: &mut [u8], source: Option<End>, target: Option<End>) -> Option<()> {
    let mut ip = Ipv4Packet::new_checked(packet).ok()?;
    if let Some((address, port)) = source {
        ip.set_src_addr(address);
        ip.payload_mut()[..2].copy_from_slice(&port.to_be_bytes());
    }
    if let Some((address, port)) = target {
        ip.set_dst_addr(address);
        ip.payload_mut()[2..4].copy_from_slice(&port.to_be_bytes());
    }
    ip.fill_checksum();
    let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
    if ip.next_header() == IpProtocol::Udp {
        UdpPacket::new_checked(ip.payload_mut()).ok()?.fill_checksum(&from, &to);
    } else {
        TcpPacket::new_checked(ip.payload_mut()).ok()?.fill_checksum(&from, &to);
    }
    Some(())
}

#[cfg(test)]
pub(super) mod tests {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Ipv4Repr, UdpRepr};

    use super::*;

    const INSIDE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 2), 4000);
    const PUBLIC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const ANNA: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 5), 5000);
    const BOB: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 6), 5000);
    const NOW: Duration = Duration::from_secs(60);

    pub(in crate::network) fn datagram(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
        let udp = UdpRepr {
            src_port: from.1,
            dst_port: to.1,
        };
        let ip = Ipv4Repr {
            src_addr: from.0,
            dst_addr: to.0,
            next_header: IpProtocol::Udp,
            payload_len: 8 + payload.len(),
            hop_limit: 64,
        };
        let mut bytes = vec![0; 20 + 8 + payload.len()];
        let sums = ChecksumCapabilities::default();
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes), &sums);
        let (source, target) = (from.0.into(), to.0.into());
        let fill = |room: &mut [u8]| room.copy_from_slice(payload);
        udp.emit(
            &mut UdpPacket::new_unchecked(&mut bytes[20..]),
            &source,
            &target,
            payload.len(),
            fill,
            &sums,
        );
        bytes
    }

    /// How the outside sees a packet to that peer.
    fn seen(nat: &mut Nat, now: Duration, to: (Ipv4Addr, u16)) -> (Ipv4Addr, u16) {
        let mut packet = datagram(INSIDE, to, b"hello");
        nat.outward(now, &mut packet).expect("it goes out");
        let (_, from, target) = ends(&packet).expect("whole");
        assert_eq!(target, to);
        assert_eq!(packet, datagram(from, to, b"hello"), "with its checksums");
        from
    }

    fn comes_in(nat: &mut Nat, now: Duration, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> bool {
        let mut packet = datagram(from, to, b"hello");
        let came = nat.inward(now, &mut packet);
        if came.is_some() {
            assert_eq!(packet, datagram(from, INSIDE, b"hello"));
        }
        came.is_some()
    }

    #[test]
    fn one_port_for_all_and_those_come_in_who_were_sent_to() {
        let mut nat = Nat::new(NatKind::PortRestricted, PUBLIC);
        let seen_by_anna = seen(&mut nat, NOW, ANNA);
        assert_eq!(seen_by_anna.0, PUBLIC);
        assert!(comes_in(&mut nat, NOW, ANNA, seen_by_anna));
        assert!(!comes_in(&mut nat, NOW, BOB, seen_by_anna));
        assert_eq!(seen(&mut nat, NOW, BOB), seen_by_anna);
        assert!(comes_in(&mut nat, NOW, BOB, seen_by_anna));
        let later = NOW + FORGOTTEN + Duration::from_secs(1);
        assert!(!comes_in(&mut nat, later, ANNA, seen_by_anna));
        assert_ne!(seen(&mut nat, later, ANNA), seen_by_anna);
    }

    #[test]
    fn another_port_for_each_peer() {
        let mut nat = Nat::new(NatKind::Symmetric, PUBLIC);
        let (seen_by_anna, seen_by_bob) = (seen(&mut nat, NOW, ANNA), seen(&mut nat, NOW, BOB));
        assert_ne!(seen_by_anna, seen_by_bob);
        assert!(comes_in(&mut nat, NOW, ANNA, seen_by_anna));
        assert!(!comes_in(&mut nat, NOW, BOB, seen_by_anna));
        assert_eq!(seen(&mut nat, NOW, ANNA), seen_by_anna);
    }
}
