//! SIP sockets: one UDP socket for each address, read by a small task, written by the signalling task.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quartet_proto::net::{FiveTuple, Protocol, Transmit};
use quartet_proto::sip::MAX_MESSAGE;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{cannot_listen, is_not_there_yet};

/// A byte more than the endpoint takes: what is longer is cut here, and dropped there.
const DATAGRAM: usize = MAX_MESSAGE + 1;

/// One datagram, and where it was received.
#[derive(Debug)]
pub struct Datagram {
    /// The way it came.
    pub five_tuple: FiveTuple,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// The sockets that are bound.
#[derive(Debug)]
pub struct SipSockets {
    listen: Vec<SocketAddr>,
    received: mpsc::Sender<Datagram>,
    /// By the address that is bound.
    sockets: BTreeMap<SocketAddr, Bound>,
    /// What could not be bound, as it was last said.
    missing: BTreeSet<SocketAddr>,
}

#[derive(Debug)]
struct Bound {
    /// What was asked for: the port may have been left to the system.
    wanted: SocketAddr,
    /// No longer wanted: only for the calls that began there.
    is_retired: bool,
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl SipSockets {
    /// Binds each address; a wildcard becomes one socket for each address of this machine, so that what we write into a
    /// message is always an address at which we can be reached. Every datagram goes to `received`.
    ///
    /// An address that this machine does not have is waited for ([`follow`](Self::follow)).
    ///
    /// # Errors
    /// If one cannot be bound for another reason; the text names it and what to change.
    pub fn bind(listen: Vec<SocketAddr>, machine: &[IpAddr], received: mpsc::Sender<Datagram>) -> anyhow::Result<Self> {
        let mut sockets = Self {
            listen,
            received,
            sockets: BTreeMap::new(),
            missing: BTreeSet::new(),
        };
        for (wanted, error) in sockets.bind_new(machine) {
            if !is_not_there_yet(&error) {
                return Err(cannot_listen("udp", wanted, &error, "[sip] listen"));
            }
        }
        Ok(sockets)
    }

    /// The addresses of this machine may have changed: binds the new ones and closes what is gone.
    pub fn follow(&mut self, machine: &[IpAddr]) {
        let wanted = expand(&self.listen, machine);
        let before: BTreeSet<_> = self.sockets.keys().copied().collect();
        // An address that was named stays bound: it works again when it comes back.
        self.sockets
            .retain(|_, bound| bound.is_retired || wanted.contains(&bound.wanted));
        for bound in self.sockets.values_mut() {
            bound.is_retired &= !wanted.contains(&bound.wanted);
        }
        self.bind_new(machine);
        let now: BTreeSet<_> = self.sockets.keys().copied().collect();
        for gone in before.difference(&now) {
            tracing::info!("udp:{gone} is gone; phones are no longer heard there");
        }
        for new in now.difference(&before) {
            tracing::info!("udp:{new} is new; phones are heard there");
        }
    }

    /// Listens elsewhere from now on. What is no longer wanted is retired: it stays for the calls that use it
    /// ([`close_unused`](Self::close_unused)).
    ///
    /// # Errors
    /// As [`bind`](Self::bind); nothing has changed then.
    pub fn listen_on(&mut self, listen: Vec<SocketAddr>, machine: &[IpAddr]) -> anyhow::Result<()> {
        let before: BTreeSet<_> = self.sockets.keys().copied().collect();
        let old = (std::mem::replace(&mut self.listen, listen), self.missing.clone());
        for (wanted, error) in self.bind_new(machine) {
            if !is_not_there_yet(&error) {
                (self.listen, self.missing) = old;
                self.sockets.retain(|address, _| before.contains(address));
                return Err(cannot_listen("udp", wanted, &error, "[sip] listen"));
            }
        }
        let wanted = expand(&self.listen, machine);
        for bound in self.sockets.values_mut() {
            bound.is_retired = !wanted.contains(&bound.wanted);
        }
        Ok(())
    }

    /// Closes the retired sockets that are not used any more; true if there were such.
    pub fn close_unused(&mut self, is_used: impl Fn((Protocol, SocketAddr)) -> bool) -> bool {
        let before = self.sockets.len();
        self.sockets
            .retain(|address, bound| !bound.is_retired || is_used((Protocol::Udp, *address)));
        self.sockets.len() != before
    }

    /// Binds what is wanted and not bound, and says once what cannot be; the errors.
    fn bind_new(&mut self, machine: &[IpAddr]) -> Vec<(SocketAddr, io::Error)> {
        let bound: BTreeSet<_> = self.sockets.values().map(|bound| bound.wanted).collect();
        let mut errors = Vec::new();
        let mut missing = BTreeSet::new();
        for wildcard in self
            .listen
            .iter()
            .filter(|address| expand(&[**address], machine).is_empty())
        {
            missing.insert(*wildcard);
            if !self.missing.contains(wildcard) {
                tracing::warn!(
                    "this machine has no address for udp:{wildcard} of [sip] listen; phones are heard there once it has one"
                );
            }
        }
        for wanted in expand(&self.listen, machine).difference(&bound) {
            let Err(error) = self.bind_one(*wanted) else { continue };
            missing.insert(*wanted);
            if !self.missing.contains(wanted) {
                tracing::warn!(
                    "{}; it is tried again",
                    cannot_listen("udp", *wanted, &error, "[sip] listen")
                );
            }
            errors.push((*wanted, error));
        }
        self.missing = missing;
        errors
    }

    fn bind_one(&mut self, wanted: SocketAddr) -> io::Result<()> {
        let socket = std::net::UdpSocket::bind(wanted)?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let local = socket.local_addr()?;
        let reader = tokio::spawn(read(local, Arc::clone(&socket), self.received.clone())).abort_handle();
        self.sockets.insert(
            local,
            Bound {
                wanted,
                is_retired: false,
                socket,
                reader,
            },
        );
        Ok(())
    }

    /// The addresses really bound.
    pub fn addresses(&self) -> impl Iterator<Item = (Protocol, SocketAddr)> + '_ {
        self.all(false)
    }

    /// Those that only the calls there still use.
    pub fn retired(&self) -> impl Iterator<Item = (Protocol, SocketAddr)> + '_ {
        self.all(true)
    }

    fn all(&self, retired: bool) -> impl Iterator<Item = (Protocol, SocketAddr)> + '_ {
        let sockets = self
            .sockets
            .iter()
            .filter(move |(_, bound)| bound.is_retired == retired);
        sockets.map(|(address, _)| (Protocol::Udp, *address))
    }

    /// Sends one datagram. A full socket drops it: SIP retransmits over UDP.
    pub fn send(&self, transmit: &Transmit) {
        let FiveTuple {
            protocol,
            local,
            remote,
            ..
        } = transmit.five_tuple;
        let Some(bound) = self.sockets.get(&local).filter(|_| protocol == Protocol::Udp) else {
            return tracing::debug!(?protocol, %local, "no such SIP socket");
        };
        if let Err(error) = bound.socket.try_send_to(&transmit.payload, remote) {
            tracing::debug!(%remote, %error, "SIP datagram not sent");
        }
    }
}

async fn read(local: SocketAddr, socket: Arc<UdpSocket>, received: mpsc::Sender<Datagram>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, remote)) => {
                let datagram = Datagram {
                    five_tuple: FiveTuple::new(Protocol::Udp, local, remote),
                    payload: buffer[..length].to_vec(),
                };
                if received.send(datagram).await.is_err() {
                    return;
                }
            }
            // An ICMP error of an earlier send; the socket lives on.
            Err(error) => tracing::trace!(%local, %error, "SIP socket"),
        }
    }
}

/// Replaces wildcards by the addresses of this machine that fit them.
pub(super) fn expand(listen: &[SocketAddr], machine: &[IpAddr]) -> BTreeSet<SocketAddr> {
    let mut all = BTreeSet::new();
    for address in listen {
        if address.ip().is_unspecified() {
            let fitting = machine.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
            all.extend(fitting.map(|ip| SocketAddr::new(*ip, address.port())));
        } else {
            all.insert(*address);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::addresses::MachineAddresses;

    fn addresses(sockets: &SipSockets) -> Vec<SocketAddr> {
        sockets.addresses().map(|(_, address)| address).collect()
    }

    #[tokio::test]
    async fn a_wildcard_becomes_real_addresses_and_datagrams_pass() {
        let (sender, mut received) = mpsc::channel(8);
        let machine = MachineAddresses::read().unwrap().all;
        let sockets = SipSockets::bind(vec!["0.0.0.0:0".parse().unwrap()], &machine, sender).unwrap();
        let addresses = addresses(&sockets);
        let loopback = *addresses.iter().find(|a| a.ip().is_loopback()).unwrap();
        assert!(addresses.iter().all(|a| !a.ip().is_unspecified() && a.port() != 0));
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        peer.send_to(b"ping", loopback).await.unwrap();
        let got = received.recv().await.unwrap();
        assert_eq!(
            (got.five_tuple.local, got.five_tuple.remote, got.payload.as_slice()),
            (loopback, peer.local_addr().unwrap(), &b"ping"[..])
        );
        let answer = Transmit {
            five_tuple: got.five_tuple,
            payload: b"pong".to_vec(),
        };
        sockets.send(&answer);
        let mut buffer = [0; 16];
        let (length, from) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&b"pong"[..], loopback));
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = SipSockets::bind(vec![address], &[], mpsc::channel(8).0).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_comes_is_bound_one_that_goes_is_closed_and_the_rest_stands() {
        let [one, two, other] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|ip| ip.parse().unwrap());
        let listen = vec!["0.0.0.0:0".parse().unwrap(), SocketAddr::new(other, 0)];
        let mut sockets = SipSockets::bind(listen, &[], mpsc::channel(8).0).unwrap();
        let named = addresses(&sockets);
        assert_eq!(
            named.iter().map(SocketAddr::ip).collect::<Vec<_>>(),
            [other],
            "before DHCP"
        );
        sockets.follow(&[one, two]);
        let both = addresses(&sockets);
        assert_eq!(both.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [one, two, other]);
        sockets.follow(&[two, one]);
        assert_eq!(addresses(&sockets), both, "the ports are the same");
        sockets.follow(&[two]);
        assert_eq!(addresses(&sockets), both[1..]);
    }

    #[tokio::test]
    async fn other_addresses_are_bound_all_or_none_and_old_ones_stay_while_they_are_used() {
        let all = |sockets: &SipSockets| {
            let ips = |addresses: Vec<(Protocol, SocketAddr)>| {
                addresses
                    .iter()
                    .map(|(_, a)| a.ip().to_string())
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            (ips(sockets.addresses().collect()), ips(sockets.retired().collect()))
        };
        let pair = |now: &str, retired: &str| (now.to_owned(), retired.to_owned());
        let at = |ips: &str| {
            ips.split(' ')
                .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0))
                .collect::<Vec<_>>()
        };
        let mut sockets = SipSockets::bind(at("127.0.0.1 127.0.0.2"), &[], mpsc::channel(8).0).unwrap();
        let before = addresses(&sockets);
        let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut wrong = at("127.0.0.2 127.0.0.3");
        wrong.push(taken.local_addr().unwrap());
        assert!(sockets.listen_on(wrong, &[]).is_err());
        assert_eq!(
            (addresses(&sockets), sockets.retired().count()),
            (before.clone(), 0),
            "nothing has changed"
        );
        sockets.listen_on(at("127.0.0.2 127.0.0.3"), &[]).unwrap();
        assert_eq!(all(&sockets), pair("127.0.0.2 127.0.0.3", "127.0.0.1"));
        sockets.follow(&[]);
        assert!(!sockets.close_unused(|address| address == (Protocol::Udp, before[0])));
        assert_eq!(all(&sockets), pair("127.0.0.2 127.0.0.3", "127.0.0.1"));
        // It is wanted again, at the same port.
        sockets.listen_on(at("127.0.0.1"), &[]).unwrap();
        assert_eq!(addresses(&sockets), before[..1]);
        assert!(sockets.close_unused(|_| false));
        assert_eq!(all(&sockets), pair("127.0.0.1", ""));
    }

    /// 192.0.2.0/24 is nobody's (RFC 5737): as a floating address that another machine has now.
    #[tokio::test]
    async fn an_address_that_is_not_here_yet_is_waited_for() {
        let floating: SocketAddr = "192.0.2.77:5060".parse().unwrap();
        let mut sockets = SipSockets::bind(vec![floating], &[], mpsc::channel(8).0).unwrap();
        assert_eq!(addresses(&sockets), []);
        sockets.follow(&[]);
        assert_eq!(sockets.missing, BTreeSet::from([floating]));
    }
}
