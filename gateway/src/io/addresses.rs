//! The addresses of this machine, read anew whenever the system says that something has changed: DHCP, a link that goes up or
//! down, a VPN, a floating address.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio::sync::watch;

/// What tells of links, IPv4 and IPv6 addresses (rtnetlink(7): RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Looked at so often in any case: a port that another program had may be free now, and where there is no netlink nothing is told.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// One change of the network is many messages.
const SETTLE: Duration = Duration::from_millis(20);

/// The addresses at one moment, link-local ones left out; loopback last, so that the first is the one to offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineAddresses {
    /// All of them: what can be bound.
    pub all: Vec<IpAddr>,
    /// With those of a link alone: where this machine is reached by itself.
    pub here: Vec<IpAddr>,
    /// Those of links that are up: what can be offered.
    pub up: Vec<IpAddr>,
    /// The networks of all of them.
    pub networks: Vec<IpNet>,
}

impl MachineAddresses {
    /// Reads them.
    ///
    /// # Errors
    /// The system's, if it does not tell.
    pub fn read() -> anyhow::Result<Self> {
        let mut interfaces = if_addrs::get_if_addrs().context("cannot read the addresses of this machine")?;
        let here = interfaces.iter().map(if_addrs::Interface::ip).collect();
        interfaces.retain(|interface| !interface.is_link_local());
        interfaces.sort_by_key(|interface| {
            let ip = interface.ip();
            (ip.is_loopback(), ip.is_ipv6(), ip)
        });
        let all_of = |interfaces: &mut dyn Iterator<Item = &if_addrs::Interface>| {
            let mut all: Vec<IpAddr> = interfaces.map(if_addrs::Interface::ip).collect();
            all.dedup();
            all
        };
        Ok(Self {
            all: all_of(&mut interfaces.iter()),
            here,
            up: all_of(&mut interfaces.iter().filter(|interface| interface.is_oper_up())),
            networks: interfaces.iter().filter_map(network).collect(),
        })
    }
}

fn network(interface: &if_addrs::Interface) -> Option<IpNet> {
    let length = match &interface.addr {
        if_addrs::IfAddr::V4(v4) => v4.prefixlen,
        if_addrs::IfAddr::V6(v6) => v6.prefixlen,
    };
    IpNet::new(interface.ip(), length).ok().map(|network| network.trunc())
}

/// Follows the addresses, from the moment of this call on; the receiver is woken whenever it is time to look at them.
///
/// # Errors
/// If the addresses cannot be read.
pub fn follow() -> anyhow::Result<watch::Receiver<MachineAddresses>> {
    // Before they are read, so that no change is missed.
    let mut alarm = alarm()
        .inspect_err(|error| {
            tracing::warn!(%error, "the system does not tell of new addresses; they are looked for every {LOOK_EVERY:?}");
        })
        .ok();
    let (sender, receiver) = watch::channel(MachineAddresses::read()?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = rings(alarm.as_mut()) => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            match MachineAddresses::read() {
                Ok(addresses) => _ = sender.send_replace(addresses),
                Err(error) => tracing::debug!(%error, "addresses"),
            }
        }
    });
    Ok(receiver)
}

fn alarm() -> std::io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
    Ok(socket)
}

/// Waits until something has changed: what it was is read elsewhere, and an error says that messages were lost, a change as well.
/// For ever without an alarm.
async fn rings(alarm: Option<&mut TokioSocket>) {
    match alarm {
        Some(alarm) => drop(alarm.recv(&mut Vec::with_capacity(8192)).await),
        None => std::future::pending().await,
    }
}
