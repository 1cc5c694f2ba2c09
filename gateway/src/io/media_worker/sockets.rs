//! The sockets of media legs: where they are bound, and what the transport is told of them.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mio::net::UdpSocket;
use rand_core::CryptoRng;
use socket2::{Domain, Protocol, Socket, Type};

use crate::media::{Bind, BoundSocket, SocketKey};

/// More sockets than this for one leg are not bound: their numbers must fit the poller's token.
pub(super) const MAX_SOCKETS: usize = 16;
/// Pairs tried where the system names the ports; the odd neighbour may be somebody's.
const TRIES: u32 = 64;
/// Asked of the system per socket: 200 ms of a video call.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// Which ports are ours to bind, for all workers.
pub(super) struct Ports {
    /// Locked a few times for each leg, never for a packet.
    choice: Mutex<Choice>,
}

/// What decides which free port is taken.
struct Choice {
    range: Option<RangeInclusive<u16>>,
    rng: Box<dyn CryptoRng + Send>,
    resting: Resting,
}

/// Ports that were freed lately, the oldest first: packets of the call before still arrive there.
///
/// They rest by number, not by time: up to a half of the range, so that the other half is there to be chosen from.
#[derive(Default)]
struct Resting {
    order: VecDeque<u16>,
    ports: BTreeSet<u16>,
}

impl Resting {
    fn add(&mut self, port: u16, most: usize) {
        if !self.ports.insert(port) {
            self.order.retain(|other| *other != port);
        }
        self.order.push_back(port);
        while self.order.len() > most {
            if let Some(rested) = self.order.pop_front() {
                self.ports.remove(&rested);
            }
        }
    }
}

impl Ports {
    /// `None`: the system chooses. `rng` is what keeps others from knowing the next port by the last one.
    pub(super) fn new(range: Option<RangeInclusive<u16>>, rng: Box<dyn CryptoRng + Send>) -> Self {
        let resting = Resting::default();
        Self {
            choice: Mutex::new(Choice { range, rng, resting }),
        }
    }

    /// Takes another range for sockets that are bound from now on.
    pub(super) fn set_range(&self, range: Option<RangeInclusive<u16>>) {
        self.choice().range = range;
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that these sockets are about to be closed, so that their ports rest before they are used again.
    pub(super) fn free<'a>(&self, sockets: impl IntoIterator<Item = &'a UdpSocket>) {
        for address in sockets.into_iter().filter_map(|socket| socket.local_addr().ok()) {
            self.rest(address.port());
        }
    }

    fn rest(&self, port: u16) {
        let mut choice = self.choice();
        if let Some(length) = choice.range.as_ref().map(ExactSizeIterator::len) {
            choice.resting.add(port, length / 2);
        }
    }

    /// Binds the sockets of a leg, in the order of their keys.
    ///
    /// # Errors
    /// The system's last word if no port is free, or an address is not ours.
    pub(super) fn bind(&self, bind: &Bind) -> io::Result<Vec<UdpSocket>> {
        if bind.components >= 2 {
            let address = bind.addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
            return self.search(2, |port| pair(*address, port));
        }
        let mut sockets = Vec::new();
        for address in bind.addresses.iter().take(MAX_SOCKETS) {
            match self.bind_one(*address) {
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

    /// Binds a socket of a leg whose streams share one port.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub(super) fn bind_one(&self, address: IpAddr) -> io::Result<UdpSocket> {
        self.search(1, |port| socket(address, port))
    }

    /// Tries ports that are multiples of `step` until one will do, from a random one on: with ports in order, whoever has
    /// had a call knew where the next one is to be disturbed. Those that rest come last.
    fn search<T>(&self, step: u16, mut bind: impl FnMut(u16) -> io::Result<T>) -> io::Result<T> {
        let mut last = Err(io::ErrorKind::AddrInUse.into());
        let Some(range) = self.choice().range.clone() else {
            for _ in 0..TRIES {
                last = bind(0);
                if !is_in_use(&last) {
                    break;
                }
            }
            return last;
        };
        let Some(first) = range.start().checked_next_multiple_of(step) else {
            return last;
        };
        let count = (u32::from(range.end().saturating_sub(first)) + 1) / u32::from(step);
        let begin = self.choice().rng.next_u32();
        for resting in [false, true] {
            for at in 0..count {
                let port = first + ((begin % count + at) % count) as u16 * step;
                let rests = self
                    .choice()
                    .resting
                    .ports
                    .range(port..=port + (step - 1))
                    .next()
                    .is_some();
                if rests != resting {
                    continue;
                }
                last = bind(port);
                if !is_in_use(&last) {
                    return last;
                }
            }
        }
        last
    }
}

fn is_in_use<T>(bound: &io::Result<T>) -> bool {
    bound
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Describes a bound socket to the leg.
///
/// # Errors
/// The system's, if the socket has lost its address.
pub(super) fn describe(key: SocketKey, socket: &UdpSocket, bind: &Bind) -> io::Result<BoundSocket> {
    let local = socket.local_addr()?;
    let ip = local.ip();
    let fits = |outer: &&IpAddr| outer.is_ipv4() == ip.is_ipv4() && **outer != ip && !ip.is_loopback();
    Ok(BoundSocket {
        key,
        component: if bind.components >= 2 && key.0 > 0 { 2 } else { 1 },
        local,
        outer: bind.outer.iter().find(fits).copied(),
    })
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

    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn ports(range: Option<RangeInclusive<u16>>) -> Ports {
        Ports::new(range, Box::new(ChaCha8Rng::seed_from_u64(1)))
    }

    fn bind(components: u8) -> Bind {
        Bind {
            addresses: vec![LOCAL],
            components,
            outer: Vec::new(),
        }
    }

    fn port(socket: &UdpSocket) -> u16 {
        socket.local_addr().unwrap().port()
    }

    #[test]
    fn a_pair_is_even_and_odd() {
        for ports in [ports(None), ports(Some(43_001..=43_999))] {
            let sockets = ports.bind(&bind(2)).unwrap();
            let rtp = port(&sockets[0]);
            assert_eq!((rtp % 2, port(&sockets[1])), (0, rtp + 1));
            let described = [0, 1].map(|at| describe(SocketKey(at), &sockets[at], &bind(2)).unwrap());
            let expected = [(0, 1, rtp), (1, 2, rtp + 1)].map(|(key, component, port)| BoundSocket {
                key: SocketKey(key),
                component,
                local: (LOCAL, port).into(),
                outer: None,
            });
            assert_eq!(described, expected);
        }
    }

    #[test]
    fn a_used_up_range_is_an_error_and_free_again_later() {
        let ports = ports(Some(44_100..=44_103));
        let first = ports.bind(&bind(2)).unwrap();
        let second = ports.bind(&bind(2)).unwrap();
        assert_ne!(port(&first[0]), port(&second[0]));
        assert_eq!(ports.bind(&bind(2)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(ports.bind(&bind(2)).is_ok());
        assert!(
            self::ports(Some(44_105..=44_105)).bind(&bind(2)).is_err(),
            "no pair fits"
        );
        assert!(self::ports(Some(u16::MAX..=u16::MAX)).bind(&bind(2)).is_err());
    }

    /// Takes what a range gives without sockets; `taken` is in use.
    fn take(ports: &Ports, step: u16, taken: &BTreeSet<u16>) -> Option<u16> {
        let bind = |port| {
            if taken.contains(&port) {
                Err(io::ErrorKind::AddrInUse.into())
            } else {
                Ok(port)
            }
        };
        ports.search(step, bind).ok()
    }

    #[test]
    fn no_port_tells_the_next_one() {
        const PAIRS: usize = 5_000;
        let ports = ports(Some(20_000..=29_999));
        let mut places = Vec::new();
        for _ in 0..20_000 {
            let port = take(&ports, 2, &BTreeSet::new()).unwrap();
            assert!((20_000..30_000).contains(&port) && port.is_multiple_of(2));
            places.push(usize::from(port - 20_000) / 2);
        }
        // Each distance between two neighbours is as likely as any other: 200 classes of 100 expected each, and for chi square
        // with 199 degrees of freedom 300 is far beyond one in 10,000.
        let mut classes = [0_u32; 200];
        for pair in places.windows(2) {
            let distance = (pair[1] + PAIRS - pair[0]) % PAIRS;
            classes[distance * classes.len() / PAIRS] += 1;
        }
        let chi_square: f64 = classes
            .iter()
            .map(|count| (f64::from(*count) - 100.0).powi(2) / 100.0)
            .sum();
        assert!(chi_square < 300.0, "{chi_square}");
        let guessed = places
            .windows(3)
            .filter(|three| three[2] + three[0] == 2 * three[1])
            .count();
        assert!(guessed < 30, "{guessed} of 20,000 follow from the two before");
    }

    #[test]
    fn a_range_is_used_to_the_last_port() {
        for step in [1, 2] {
            let ports = ports(Some(20_001..=20_999));
            let mut taken = BTreeSet::new();
            while let Some(port) = take(&ports, step, &taken) {
                taken.insert(port);
            }
            let expected: BTreeSet<u16> = (20_001_u16..=20_999).filter(|port| port.is_multiple_of(step)).collect();
            assert_eq!(taken, expected);
        }
    }

    #[test]
    fn a_freed_port_rests_while_there_are_others_and_is_used_when_there_are_none() {
        let ports = ports(Some(20_000..=20_039));
        let mut last: VecDeque<u16> = VecDeque::new();
        for _ in 0..200 {
            let port = take(&ports, 2, &BTreeSet::new()).unwrap();
            assert!(!last.contains(&port), "{port} was freed {last:?}");
            last.push_back(port);
            if last.len() > 10 {
                last.pop_front();
            }
            (port..port + 2).for_each(|port| ports.rest(port));
        }
        assert_eq!(ports.choice().resting.order.len(), 20);
        let mut taken = BTreeSet::new();
        while let Some(port) = take(&ports, 2, &taken) {
            taken.insert(port);
        }
        assert_eq!(taken.len(), 20);
        // Used although it rested: it rests anew.
        let oldest = ports.choice().resting.order[0];
        ports.rest(oldest);
        assert_eq!(ports.choice().resting.order.back(), Some(&oldest));
        assert_eq!(ports.choice().resting.order.len(), 20);
    }

    #[test]
    fn nothing_is_sent_to_a_whole_network() {
        // Which addresses are broadcast ones only the system knows; a socket must not be allowed to use them.
        for socket in ports(None).bind(&bind(2)).unwrap() {
            assert!(!socket2::SockRef::from(&socket).broadcast().unwrap());
            let network: SocketAddr = "127.255.255.255:9".parse().unwrap();
            let sent = socket.send_to(b"x", network);
            assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn the_wildcard_and_strange_addresses_are_refused() {
        let ports = ports(None);
        for address in ["0.0.0.0", "::", "203.0.113.9"] {
            let bind = Bind {
                addresses: vec![address.parse().unwrap()],
                components: 1,
                outer: Vec::new(),
            };
            assert!(ports.bind(&bind).is_err(), "{address}");
        }
        assert!(
            ports
                .bind(&Bind {
                    addresses: vec![],
                    components: 1,
                    outer: Vec::new()
                })
                .is_err()
        );
        let some = Bind {
            addresses: vec!["203.0.113.9".parse().unwrap(), LOCAL],
            components: 1,
            outer: Vec::new(),
        };
        assert_eq!(ports.bind(&some).unwrap().len(), 1);
    }
}
