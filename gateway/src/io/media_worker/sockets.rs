//! The sockets of media legs: where they are bound, and what the transport is told of them.

use std::{
    fmt::Write,
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::atomic::{AtomicU32, Ordering},
};

use mio::net::UdpSocket;
use socket2::{Domain, Protocol, Socket, Type};

use crate::media::Bind;

/// More sockets than this for one leg are not bound: their numbers must fit the poller's token.
pub(super) const MOST_PATHS: usize = 16;
/// Pairs tried where the system names the ports; the odd neighbour may be somebody's.
const TRIES: u32 = 64;
/// Asked of the system per socket: 200 ms of a video call.
const RECEIVE_BUFFER: usize = 256 * 1024;
/// What fits any path without fragments.
const MTU: u32 = 1_200;

/// Which ports are ours to bind, for all workers.
#[derive(Debug)]
pub(super) struct Ports {
    range: Option<RangeInclusive<u16>>,
    /// Where the next search begins, so that a port rests before it is used again.
    next: AtomicU32,
}

impl Ports {
    /// `None`: the system chooses.
    pub(super) fn new(range: Option<RangeInclusive<u16>>) -> Self {
        Self {
            range,
            next: AtomicU32::new(0),
        }
    }

    /// Binds the sockets of a leg, in the order of their paths.
    ///
    /// # Errors
    /// The system's last word if no port is free, or an address is not ours.
    pub(super) fn bind(&self, bind: &Bind) -> io::Result<Vec<UdpSocket>> {
        if bind.components >= 2 {
            let address = bind.addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
            return self.search(2, |port| pair(*address, port));
        }
        let mut sockets = Vec::new();
        for address in bind.addresses.iter().take(MOST_PATHS) {
            match self.search(1, |port| socket(*address, port)) {
                Ok(socket) => sockets.push(socket),
                // One address of several may have gone with its interface.
                Err(error) if bind.addresses.len() > 1 => tracing::debug!(%address, %error, "no media socket"),
                Err(error) => return Err(error),
            }
        }
        if sockets.is_empty() {
            Err(io::ErrorKind::AddrNotAvailable.into())
        } else {
            Ok(sockets)
        }
    }

    /// Tries ports that are multiples of `step` until one will do.
    fn search<T>(&self, step: u16, mut bind: impl FnMut(u16) -> io::Result<T>) -> io::Result<T> {
        let Some(range) = &self.range else {
            let mut last = Err(io::ErrorKind::AddrInUse.into());
            for _ in 0..TRIES {
                last = bind(0);
                match &last {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                    Ok(_) | Err(_) => break,
                }
            }
            return last;
        };
        let first = range.start().next_multiple_of(step);
        let count = (u32::from(range.end().saturating_sub(first)) + 1) / u32::from(step);
        let begin = self.next.fetch_add(1, Ordering::Relaxed);
        let mut last = Err(io::ErrorKind::AddrInUse.into());
        for at in 0..count {
            let place = (begin.wrapping_add(at) % count) as u16;
            last = bind(first + place * step);
            match &last {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Ok(_) | Err(_) => return last,
            }
        }
        last
    }
}

/// Describes bound sockets in the transport's words, `path:` lines by number from 1.
///
/// # Errors
/// The system's, if a socket has lost its address.
pub(super) fn describe(sockets: &[UdpSocket], components: u8) -> io::Result<String> {
    let mut lines = String::new();
    for (at, socket) in sockets.iter().enumerate() {
        let component = if components >= 2 { at + 1 } else { 1 };
        let local = socket.local_addr()?;
        let _ = writeln!(
            lines,
            "path:{} component {component} host {} {} mtu {MTU}",
            at + 1,
            local.ip(),
            local.port()
        );
    }
    Ok(lines)
}

/// RTP on an even port, RTCP on the odd one after it. RFC 3550 §11.
fn pair(address: IpAddr, port: u16) -> io::Result<Vec<UdpSocket>> {
    let rtp = socket(address, port)?;
    let bound = rtp.local_addr()?.port();
    if bound % 2 != 0 {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    Ok(vec![rtp, socket(address, bound + 1)?])
}

fn socket(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    if address.is_unspecified() {
        // Answers would leave from an address of the system's choice, and a peer that checks drops them.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // The system may give less, which is no fault.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn bind(components: u8) -> Bind {
        Bind {
            addresses: vec![LOCAL],
            components,
        }
    }

    fn port(socket: &UdpSocket) -> u16 {
        socket.local_addr().unwrap().port()
    }

    #[test]
    fn a_pair_is_even_and_odd() {
        for ports in [Ports::new(None), Ports::new(Some(43_001..=43_999))] {
            let sockets = ports.bind(&bind(2)).unwrap();
            let rtp = port(&sockets[0]);
            assert_eq!((rtp % 2, port(&sockets[1])), (0, rtp + 1));
            let lines = describe(&sockets, 2).unwrap();
            let expected = format!(
                "path:1 component 1 host 127.0.0.1 {rtp} mtu 1200\npath:2 component 2 host 127.0.0.1 {} mtu 1200\n",
                rtp + 1
            );
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn a_used_up_range_is_an_error_and_free_again_later() {
        let ports = Ports::new(Some(44_100..=44_103));
        let first = ports.bind(&bind(2)).unwrap();
        let second = ports.bind(&bind(2)).unwrap();
        assert_ne!(port(&first[0]), port(&second[0]));
        assert_eq!(ports.bind(&bind(2)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(ports.bind(&bind(2)).is_ok());
        assert!(
            Ports::new(Some(44_105..=44_105)).bind(&bind(2)).is_err(),
            "no pair fits"
        );
    }

    #[test]
    fn the_wildcard_and_strange_addresses_are_refused() {
        let ports = Ports::new(None);
        for address in ["0.0.0.0", "::", "203.0.113.9"] {
            let bind = Bind {
                addresses: vec![address.parse().unwrap()],
                components: 1,
            };
            assert!(ports.bind(&bind).is_err(), "{address}");
        }
        assert!(
            ports
                .bind(&Bind {
                    addresses: vec![],
                    components: 1
                })
                .is_err()
        );
        let some = Bind {
            addresses: vec!["203.0.113.9".parse().unwrap(), LOCAL],
            components: 1,
        };
        assert_eq!(ports.bind(&some).unwrap().len(), 1);
    }
}
