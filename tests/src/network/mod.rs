//! A simulated network: hosts in namespaces of their own, each behind a cable with conditions and perhaps a router, joined by a core
//! that loses and delays nothing.
//!
//! Linux can do that by itself with `netem`, which not every kernel has; here packets go through TUN devices and one thread. What is
//! done to a packet, in this order: the sender's firewall, the sender's NAT, its link up, the receiver's link down, its NAT.

pub mod capture;
mod link;
mod nat;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use smoltcp::phy::{Device as _, Medium, RxToken as _, TunTapInterface, TxToken as _};
use smoltcp::time::Instant as Stamp;
use smoltcp::wire::{IpProtocol, Ipv4Packet};

use self::link::Link;
pub use self::link::{Conditions, Outage};
pub use self::nat::NatKind;
use self::nat::{Nat, ends};
use crate::namespace::{Host, ip, rand_u32};

/// A host to be, and how it is joined to the network.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its addresses; behind a NAT one.
    pub addresses: Vec<Ipv4Addr>,
    /// Its router, and the public address of that.
    pub nat: Option<(NatKind, Ipv4Addr)>,
    /// What its firewall lets out.
    pub firewall: Firewall,
    /// From it to the core, and from which time on.
    pub up: Vec<(Duration, Conditions)>,
    /// From the core to it.
    pub down: Vec<(Duration, Conditions)>,
}

/// What may leave a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// Everything.
    Open,
    /// TCP alone.
    NoUdp,
    /// TCP to port 443 alone.
    Only443,
}

impl Firewall {
    fn lets_out(self, packet: &[u8]) -> bool {
        match (self, ends(packet)) {
            (Self::Open, _) => true,
            (Self::NoUdp, Some((protocol, ..))) => protocol == IpProtocol::Tcp,
            (Self::Only443, Some((protocol, _, (_, port)))) => protocol == IpProtocol::Tcp && port == 443,
            (Self::NoUdp | Self::Only443, None) => false,
        }
    }
}

/// A packet as it went through the core.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Which place sent it and which gets it, by their numbers.
    pub from: usize,
    pub to: usize,
    /// When, from the beginning of the network.
    pub at: Duration,
    pub bytes: Vec<u8>,
}

/// A running network; it is gone when dropped.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Arc<Host>>,
    waker: Waker,
    captured: Arc<Mutex<Vec<Captured>>>,
    thread: Option<JoinHandle<()>>,
}

impl Deref for Network {
    type Target = [Arc<Host>];

    fn deref(&self) -> &[Arc<Host>] {
        &self.hosts
    }
}

/// The longest packet.
const MTU: usize = 1500;

/// Packets that a capture holds at most.
const MAX_CAPTURED: usize = 200_000;

const WAKE: Token = Token(usize::MAX);

impl Network {
    /// Builds it; `seed` fixes what is lost and how long each packet takes.
    pub fn new(places: &[Place], seed: u64, captures: bool) -> Self {
        let hosts: Vec<Arc<Host>> = places.iter().map(|_| Arc::new(Host::new())).collect();
        let names: Vec<String> = hosts.iter().map(|host| host.name.clone()).collect();
        let captured = Arc::new(Mutex::new(Vec::new()));
        let mut core = Core::new(places, seed);
        core.captured = captures.then(|| Arc::clone(&captured));
        let places = places.to_vec();
        let (ready, wakers) = channel();
        let thread = std::thread::spawn(move || {
            // The devices stay on the thread that makes them.
            let devices: Vec<_> = names
                .iter()
                .zip(&places)
                .map(|(name, place)| wire(name, place))
                .collect();
            let poll = Poll::new().expect("a poll");
            for (number, device) in devices.iter().enumerate() {
                let descriptor = device.as_raw_fd();
                let registry = poll.registry();
                let registered = registry.register(&mut SourceFd(&descriptor), Token(number), Interest::READABLE);
                registered.expect("a device can be polled");
            }
            let waker = Waker::new(poll.registry(), WAKE).expect("a waker");
            ready.send(waker).ok();
            run(poll, devices, core);
        });
        Self {
            hosts,
            waker: wakers.recv().expect("the network is built"),
            captured,
            thread: Some(thread),
        }
    }

    /// What has gone through the core since this was asked for last.
    pub fn captured(&self) -> Vec<Captured> {
        std::mem::take(&mut *self.captured.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.waker.wake().ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Makes the device of the host of that name: all that it sends goes there. It is gone when it is dropped.
fn wire(n: &str, place: &Place) -> TunTapInterface {
    let name = format!("q{:08x}t", rand_u32());
    let device = TunTapInterface::new(&name, Medium::Ip).expect("root may make a TUN device");
    let run = |words: &[&str]| ip(words.iter().copied()).unwrap_or_else(|error| panic!("ip {words:?}: {error}"));
    run(&["link", "set", &name, "netns", n]);
    // Programs judge an interface by its name: one that is called tun is a VPN.
    run(&["-n", n, "link", "set", &name, "name", "eth0", "mtu", &MTU.to_string()]);
    for address in &place.addresses {
        run(&["-n", n, "addr", "add", &format!("{address}/32"), "dev", "eth0"]);
    }
    run(&["-n", n, "link", "set", "eth0", "up"]);
    run(&["-n", n, "route", "add", "default", "dev", "eth0"]);
    device
}

/// One thread: packets from the devices through the core and to the devices.
fn run(mut poll: Poll, mut devices: Vec<TunTapInterface>, mut core: Core) {
    let begin = Instant::now();
    let mut events = Events::with_capacity(64);
    loop {
        let next = core.next().map(|at| at.saturating_sub(begin.elapsed()));
        if let Err(error) = poll.poll(&mut events, next) {
            assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "{error}");
        }
        if events.iter().any(|event| event.token() == WAKE) {
            return;
        }
        for (number, device) in devices.iter_mut().enumerate() {
            while let Some((packet, _)) = device.receive(Stamp::ZERO) {
                let now = begin.elapsed();
                packet.consume(|bytes| core.handle_packet(now, number, bytes.to_vec()));
            }
        }
        while let Some((number, packet)) = core.poll_delivery(begin.elapsed()) {
            if let Some(token) = devices[number].transmit(Stamp::ZERO) {
                token.consume(packet.len(), |buffer| buffer.copy_from_slice(&packet));
            }
        }
    }
}

/// A place as the core knows it.
#[derive(Debug)]
struct End {
    addresses: Vec<Ipv4Addr>,
    firewall: Firewall,
    nat: Option<Nat>,
    up: Link,
    down: Link,
}

impl End {
    fn new(place: &Place, seed: u64, number: usize) -> Self {
        let public = place.nat.map(|(_, public)| vec![public]);
        let seed = seed.wrapping_mul(1000).wrapping_add(2 * number as u64);
        Self {
            addresses: public.unwrap_or_else(|| place.addresses.clone()),
            firewall: place.firewall,
            nat: place.nat.map(|(kind, public)| Nat::new(kind, public)),
            up: Link::new(place.up.clone(), seed),
            down: Link::new(place.down.clone(), seed + 1),
        }
    }
}

/// Where a packet is on its way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Station {
    /// It leaves the sender's link.
    Core { from: usize },
    /// It leaves the receiver's.
    End { to: usize },
}

/// A packet on its way: until when, its number, and where it is then.
type Waiting = (Duration, u64, Station, Vec<u8>);

/// All that decides; fed with packets and the time.
#[derive(Debug)]
struct Core {
    places: Vec<End>,
    /// By time, and among equals in order.
    waiting: BinaryHeap<Reverse<Waiting>>,
    count: u64,
    captured: Option<Arc<Mutex<Vec<Captured>>>>,
}

impl Core {
    fn new(places: &[Place], seed: u64) -> Self {
        let end = |(number, place)| End::new(place, seed, number);
        Self {
            places: places.iter().enumerate().map(end).collect(),
            waiting: BinaryHeap::new(),
            count: 0,
            captured: None,
        }
    }

    /// When a packet is due next.
    fn next(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse((at, ..))| *at)
    }

    fn wait(&mut self, at: Duration, station: Station, packet: Vec<u8>) {
        self.count += 1;
        self.waiting.push(Reverse((at, self.count, station, packet)));
    }

    /// A packet that a host sends.
    fn handle_packet(&mut self, now: Duration, from: usize, mut packet: Vec<u8>) {
        let end = &mut self.places[from];
        let may_leave = packet.first().is_some_and(|first| first >> 4 == 4) && end.firewall.lets_out(&packet);
        let is_out = match &mut end.nat {
            _ if !may_leave => false,
            Some(nat) => nat.outward(now, &mut packet).is_some(),
            None => true,
        };
        if is_out {
            for at in end.up.pass(now, &packet) {
                self.wait(at, Station::Core { from }, packet.clone());
            }
        }
    }

    /// The next packet that a host gets, and which.
    fn poll_delivery(&mut self, now: Duration) -> Option<(usize, Vec<u8>)> {
        while self.next().is_some_and(|at| at <= now) {
            let Reverse((at, _, station, mut packet)) = self.waiting.pop()?;
            match station {
                Station::Core { from } => self.cross(at, from, packet),
                Station::End { to } => {
                    let came = match &mut self.places[to].nat {
                        Some(nat) => nat.inward(at, &mut packet).is_some(),
                        None => true,
                    };
                    if came {
                        return Some((to, packet));
                    }
                }
            }
        }
        None
    }

    /// From the sender's link to the receiver's.
    fn cross(&mut self, now: Duration, from: usize, bytes: Vec<u8>) {
        let target = Ipv4Packet::new_unchecked(&bytes).dst_addr();
        let Some(to) = self.places.iter().position(|end| end.addresses.contains(&target)) else {
            return;
        };
        for at in self.places[to].down.pass(now, &bytes) {
            self.wait(at, Station::End { to }, bytes.clone());
        }
        if let Some(captured) = &self.captured {
            let mut captured = captured.lock().unwrap_or_else(PoisonError::into_inner);
            if captured.len() < MAX_CAPTURED {
                captured.push(Captured {
                    from,
                    to,
                    at: now,
                    bytes,
                });
            }
        }
    }
}
