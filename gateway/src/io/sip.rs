//! SIP sockets: one UDP socket for each address, read by a small task, written by the signalling task.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use quartet_proto::net::{FiveTuple, Protocol, Transmit};
use quartet_proto::sip::MAX_MESSAGE;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::cannot_listen;

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
    sockets: BTreeMap<SocketAddr, Arc<UdpSocket>>,
}

impl SipSockets {
    /// Binds each address; a wildcard becomes one socket for each address of this machine, so that what we write into a
    /// message is always an address at which we can be reached.
    ///
    /// # Errors
    /// If one cannot be bound; the text names it and what to change.
    pub async fn bind(listen: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut sockets = BTreeMap::new();
        for address in expand(listen)? {
            let socket = UdpSocket::bind(address)
                .await
                .map_err(|error| cannot_listen("udp", address, &error, "[sip] listen"))?;
            sockets.insert(socket.local_addr()?, Arc::new(socket));
        }
        Ok(Self { sockets })
    }

    /// The addresses really bound.
    pub fn addresses(&self) -> impl Iterator<Item = (Protocol, SocketAddr)> + '_ {
        self.sockets.keys().map(|address| (Protocol::Udp, *address))
    }

    /// Starts to read; every datagram goes to `received`.
    pub fn read(&self, received: &mpsc::Sender<Datagram>) {
        for (local, socket) in &self.sockets {
            tokio::spawn(read(*local, Arc::clone(socket), received.clone()));
        }
    }

    /// Sends one datagram. A full socket drops it: SIP retransmits over UDP.
    pub fn send(&self, transmit: &Transmit) {
        let FiveTuple {
            protocol,
            local,
            remote,
            ..
        } = transmit.five_tuple;
        let Some(socket) = self.sockets.get(&local).filter(|_| protocol == Protocol::Udp) else {
            return tracing::debug!(?protocol, %local, "no such SIP socket");
        };
        if let Err(error) = socket.try_send_to(&transmit.payload, remote) {
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
fn expand(listen: &[SocketAddr]) -> anyhow::Result<Vec<SocketAddr>> {
    let mut all = Vec::new();
    for address in listen {
        if !address.ip().is_unspecified() {
            all.push(*address);
            continue;
        }
        all.extend(
            machine_addresses()?
                .into_iter()
                .filter(|ip| ip.is_ipv4() == address.is_ipv4())
                .map(|ip| SocketAddr::new(ip, address.port())),
        );
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// The addresses of this machine, link-local ones left out; loopback last, so that the first is the one to offer.
///
/// # Errors
/// The system's, if it does not tell.
pub fn machine_addresses() -> anyhow::Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = if_addrs::get_if_addrs()
        .context("cannot read the addresses of this machine")?
        .into_iter()
        .filter(|interface| !interface.is_link_local())
        .map(|interface| interface.ip())
        .collect();
    all.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6(), *ip));
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wildcard_becomes_real_addresses_and_datagrams_pass() {
        let sockets = SipSockets::bind(&["0.0.0.0:0".parse().unwrap()]).await.unwrap();
        let addresses: Vec<SocketAddr> = sockets.addresses().map(|(_, address)| address).collect();
        let loopback = *addresses.iter().find(|a| a.ip().is_loopback()).unwrap();
        assert!(addresses.iter().all(|a| !a.ip().is_unspecified() && a.port() != 0));
        let (sender, mut received) = mpsc::channel(8);
        sockets.read(&sender);
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
        let error = SipSockets::bind(&[address]).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
