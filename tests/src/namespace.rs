//! Network namespaces of the test's own: hosts with nothing but a loopback, and one that is joined to ours by a pair of virtual
//! cables.
//!
//! WebRTC-based peers do not use loopback, so the E2EE client lives at the far end of the cable.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

/// A namespace with a loopback.
#[derive(Debug)]
pub struct Host {
    pub(crate) name: String,
}

impl Host {
    /// Makes one, with a name that nobody uses.
    pub fn new() -> Self {
        for _ in 0..50 {
            let name = format!("q{:08x}", rand_u32());
            if ip(["netns", "add", &name]).is_ok() {
                let host = Self { name };
                ip(["-n", &host.name, "link", "set", "lo", "up"]).expect("a loopback");
                return host;
            }
        }
        panic!("cannot make a network namespace: {:?}", ip(["netns", "list"]));
    }

    /// What stands before a command that is to run inside.
    pub fn launcher(&self) -> String {
        format!("ip netns exec {}", self.name)
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Moves this thread inside, for good, with all that it starts from now on.
    pub fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("a namespace has a file");
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(file.as_fd(), network).expect("root may move into a namespace");
    }

    /// Does something inside, on a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter();
            work()
        };
        let done = std::thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        ip(["netns", "del", &self.name]).ok();
    }
}

/// A namespace with one address; ours at the near end of the cable is [`near`](Self::near).
#[derive(Debug)]
pub struct Namespace {
    host: Host,
    near: Ipv4Addr,
    far: Ipv4Addr,
}

impl Deref for Namespace {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Namespace {
    /// Makes one, with a name and a subnet that nobody uses.
    pub fn new() -> Self {
        let host = Host::new();
        let mut namespace = Self {
            host,
            near: Ipv4Addr::UNSPECIFIED,
            far: Ipv4Addr::UNSPECIFIED,
        };
        for _ in 0..50 {
            let [_, a, b, _] = rand_u32().to_be_bytes();
            (namespace.near, namespace.far) = (Ipv4Addr::new(10, a, b, 1), Ipv4Addr::new(10, a, b, 2));
            if namespace.wire().is_ok() {
                return namespace;
            }
            ip(["link", "del", &format!("{}o", namespace.name)]).ok();
        }
        panic!("cannot lay a cable: {:?}", ip(["link"]));
    }

    fn wire(&self) -> Result<(), String> {
        let (outer, inner) = (format!("{}o", self.name), format!("{}i", self.name));
        let n = self.name.as_str();
        ip([
            "link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", n,
        ])?;
        ip(["addr", "add", &format!("{}/29", self.near), "dev", &outer])?;
        ip(["link", "set", &outer, "up"])?;
        ip(["-n", n, "addr", "add", &format!("{}/29", self.far), "dev", &inner])?;
        ip(["-n", n, "link", "set", &inner, "up"])
    }

    /// Our address on the cable.
    pub fn near(&self) -> Ipv4Addr {
        self.near
    }

    /// The address inside.
    pub fn far(&self) -> Ipv4Addr {
        self.far
    }

    /// Gives both ends of the cable an IPv6 address as well: ours, and the one inside.
    pub fn add_ipv6(&self) -> [Ipv6Addr; 2] {
        let [_, a, b, _] = self.near.octets();
        let [near, far] = [1, 2].map(|end| Ipv6Addr::new(0xfd71, a.into(), b.into(), 0, 0, 0, 0, end));
        let (outer, inner) = (format!("{}o", self.name), format!("{}i", self.name));
        // They are used at once: nobody else could have them.
        let add = |at: &[&str], address: Ipv6Addr, device: &str| {
            let address = format!("{address}/64");
            let words = ["addr", "add", &address, "dev", device, "nodad"];
            ip(at.iter().copied().chain(words)).expect("an address can be added");
        };
        add(&[], near, &outer);
        add(&["-n", &self.name], far, &inner);
        [near, far]
    }

    /// Gives the inside another address in place of the one that it has.
    pub fn move_far(&mut self) {
        let old = self.far;
        self.far = Ipv4Addr::from_bits(old.to_bits() + 1);
        renumber(&["-n", &self.name], &format!("{}i", self.name), old, self.far);
    }

    /// Gives our end of the cable another address in place of the one that it has.
    pub fn move_near(&mut self) {
        let old = self.near;
        self.near = Ipv4Addr::from_bits(old.to_bits() + 4);
        renumber(&[], &format!("{}o", self.name), old, self.near);
    }

    /// Lets no packet through the cable any more, though both ends look as if it were whole.
    pub fn cut(&self) {
        self.hole("add").expect("a route can be added");
    }

    /// Lets packets through again.
    pub fn mend(&self) {
        self.hole("del").expect("a route can be deleted");
    }

    fn hole(&self, what: &str) -> Result<(), String> {
        let (near, far) = (format!("{}/32", self.near), format!("{}/32", self.far));
        ip(["route", what, "blackhole", &far])?;
        ip(["-n", &self.name, "route", what, "blackhole", &near])
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.hole("del").ok();
        ip(["link", "del", &format!("{}o", self.name)]).ok();
    }
}

/// Sees all IPv4 packets that this machine gets.
#[derive(Debug)]
pub struct Sniffer(Socket);

impl Sniffer {
    /// Sees them from now on.
    pub fn new() -> Self {
        // ETH_P_IP, in the order of the network (packet(7)).
        let ipv4 = Protocol::from(i32::from(0x0800_u16.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(ipv4));
        Self(socket.expect("root may look at packets"))
    }

    /// When the first UDP packet from there came; none within that time.
    pub fn first_udp_from(&self, source: Ipv4Addr, limit: Duration) -> Option<Instant> {
        let end = Instant::now() + limit;
        let mut packet = [0; 64];
        self.0.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
        while Instant::now() < end {
            let Ok(length) = (&self.0).read(&mut packet) else {
                continue;
            };
            // RFC 791 §3.1.
            if length >= 20 && packet[9] == 17 && packet[12..16] == source.octets() {
                return Some(Instant::now());
            }
        }
        None
    }
}

impl Default for Sniffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Changes the address of a device; `at` says in which namespace.
fn renumber(at: &[&str], device: &str, old: Ipv4Addr, new: Ipv4Addr) {
    let change = |what: &str, address: Ipv4Addr| {
        let mut arguments = at.to_vec();
        let address = format!("{address}/29");
        arguments.extend(["addr", what, &address, "dev", device]);
        ip(arguments)
    };
    let moved = change("add", new).and_then(|()| change("del", old));
    // The first address of its network takes the others with it when it goes.
    moved.and(change("replace", new)).expect("an address can be changed");
}

pub(crate) fn ip<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let out = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    if out.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

pub(crate) fn rand_u32() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish() as u32
}
