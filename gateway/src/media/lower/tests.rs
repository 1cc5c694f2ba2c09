//! A relay that writes the peer before each datagram, over a socket and over a stream.

use quartet_plugin::{
    Error, Event, Output as PathOutput, Packet as PathPacket, Transport as PathTransport, TransportConfig,
};

use super::*;
use crate::media::MediaEvent;
use crate::plugins::{Registry, Role};

/// Six bytes of the peer before each datagram; over a stream one more before that, their number.
struct Wrap<const STREAM: bool> {
    events: Vec<&'static str>,
    failed: bool,
    kept: Vec<(SocketAddr, Vec<u8>)>,
    lent: Vec<u8>,
}

fn head(peer: SocketAddr) -> [u8; 6] {
    let SocketAddr::V4(peer) = peer else { panic!("IPv4") };
    let [a, b, c, d] = peer.ip().octets();
    let [high, low] = peer.port().to_be_bytes();
    [a, b, c, d, high, low]
}

fn peer_of(head: &[u8]) -> SocketAddr {
    (
        [head[0], head[1], head[2], head[3]],
        u16::from_be_bytes([head[4], head[5]]),
    )
        .into()
}

impl<const STREAM: bool> PathTransport for Wrap<STREAM> {
    const NAME: &'static core::ffi::CStr = if STREAM { c"wrap-stream" } else { c"wrap" };
    const HEADROOM: u32 = 6;
    const TAILROOM: u32 = 0;
    const STREAM: bool = STREAM;

    fn create(config: &TransportConfig<'_>) -> Result<Self, Error> {
        assert_eq!(config.options.get("server"), Some("192.0.2.1 3478"));
        Ok(Self {
            events: Vec::new(),
            failed: false,
            kept: Vec::new(),
            lent: Vec::new(),
        })
    }

    fn local(&mut self, _: u64, _: &mut String) -> Result<(), Error> {
        panic!("a path is not asked")
    }

    fn tell(&mut self, _: u64, about: About, lines: &str) -> Result<(), Error> {
        match (about, lines) {
            (About::Paths, "path:1 gone\n") => self.failed = true,
            (About::Paths, _) => self.events = vec!["relay 192.0.2.1 50000", "outer 203.0.113.5 41000", "nonsense"],
            (About::Control, "close\n") => self.kept.push((SERVER, b"bye".to_vec())),
            (About::Remote | About::Control, _) => panic!("{lines}"),
        }
        Ok(())
    }

    fn receive(&mut self, _: u64, packet: &mut PathPacket<'_>) -> Result<Outcome, Error> {
        assert_eq!(packet.src(), Some(SERVER));
        if packet.bytes() == b"over" {
            self.failed = true;
            return Ok(Outcome::Kept);
        }
        if STREAM {
            let mut rest = packet.bytes();
            while let [length, more @ ..] = rest {
                let (message, after) = more.split_at(usize::from(*length));
                self.kept.push((peer_of(message), message[6..].to_vec()));
                rest = after;
            }
            return Ok(Outcome::Kept);
        }
        let peer = peer_of(packet.bytes().get(..6).ok_or(Error::Malformed)?);
        packet.shrink_front(6)?;
        packet.set_src(peer);
        Ok(Outcome::Datagram)
    }

    fn send(&mut self, _: u64, packet: &mut PathPacket<'_>) -> Result<Outcome, Error> {
        let head = head(packet.dst().ok_or(Error::Argument)?);
        packet.grow_front(6)?;
        packet.bytes_mut()[..6].copy_from_slice(&head);
        Ok(Outcome::Transmit)
    }

    fn timeout(&mut self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn poll(&mut self) -> PathOutput<'_> {
        if std::mem::take(&mut self.failed) {
            return PathOutput::Event(Event::Failed("refused"));
        }
        if !self.events.is_empty() {
            return PathOutput::Event(Event::Address(self.events.remove(0)));
        }
        if self.kept.is_empty() {
            return PathOutput::None { deadline_ns: Some(7) };
        }
        let (peer, bytes) = self.kept.remove(0);
        self.lent = bytes;
        if peer == SERVER {
            return PathOutput::Transmit {
                path: 1,
                dst: SERVER,
                bytes: &self.lent,
            };
        }
        PathOutput::Datagram {
            src: peer,
            bytes: &self.lent,
        }
    }
}

quartet_plugin::export_path! {
    symbol: quartet_plugin_test_paths,
    id: "test-paths",
    licence: "MIT",
    summary: "relays of the tests",
    options: [],
    paths: [Wrap<false>, Wrap<true>],
}

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 3478);
const SOCKET: SocketKey = SocketKey(0);
const STREAM: StreamKey = StreamKey(3);

#[derive(Default)]
struct World {
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    streams: Vec<(StreamKey, Vec<u8>)>,
    ended: Vec<StreamKey>,
}

impl MediaIo for World {
    fn transmit(&mut self, leg: Slot, socket: SocketKey, dst: SocketAddr, bytes: &[u8]) -> bool {
        assert_eq!((leg, socket), (Slot(5), SOCKET));
        self.datagrams.push((dst, bytes.to_vec()));
        true
    }

    fn write(&mut self, _: Slot, stream: StreamKey, bytes: &[u8]) -> bool {
        self.streams.push((stream, bytes.to_vec()));
        true
    }

    fn hang_up(&mut self, _: Slot, stream: StreamKey) {
        self.ended.push(stream);
    }

    fn event(&mut self, event: MediaEvent) {
        panic!("{event:?}");
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A leg's lower side with a socket and a relay.
fn lower(below: Below, relay_only: bool) -> (Lower, String) {
    let registry = Registry::from_static(&[("quartet_plugin_test_paths", &quartet_plugin_test_paths)]);
    let mut lower = Lower::new(Slot(5), relay_only);
    let lines = lower.add_sockets(&[BoundSocket {
        key: SOCKET,
        component: 1,
        local: at("10.0.0.2:4000"),
        outer: None,
    }]);
    let name = if matches!(below, Below::Stream(_)) {
        "wrap-stream"
    } else {
        "wrap"
    };
    let table = registry.path(name).unwrap();
    assert_eq!(table.is_stream(), name == "wrap-stream");
    lower.add_relay(
        0,
        NewRelay {
            machine: table.create(Role::Offer, 0, "server:192.0.2.1 3478\n").unwrap(),
            way: Way::Direct,
            below,
            local: at("10.0.0.2:4000"),
            server: SERVER,
        },
    );
    (lower, lines)
}

fn lines(lower: &mut Lower, world: &mut World) -> String {
    let mut all = String::new();
    while let Some(risen) = lower.poll(world) {
        match risen {
            Risen::Lines(lines) => all.push_str(&lines),
            Risen::Datagram(_) => panic!("a datagram"),
        }
    }
    all
}

const HOST: &str = "path:1 component 1 host 10.0.0.2 4000 mtu 1200\n";
const RELAY: &str = "path:2 component 1 relay 192.0.2.1 50000 base 192.0.2.1 50000 mtu 1172\n";

#[test]
fn a_relay_is_one_more_path() {
    let (mut lower, told) = lower(Below::Socket(SOCKET), false);
    let mut world = World::default();
    assert_eq!(told, HOST);
    let outer = HOST.replace("1200\n", "1200 outer 203.0.113.5 41000\n");
    assert_eq!(lines(&mut lower, &mut world), format!("{RELAY}{outer}"));
    assert_eq!((lower.is_stirred(), lower.deadline()), (false, Some(7)));
    let peer = at("198.51.100.9:9");
    // What a session sends by it, in place and copied, goes to the server.
    let mut packet = Packet::new(100, 10);
    packet.fill(b"speech");
    (packet.path, packet.dst) = (2, peer);
    assert!(lower.hand_down(0, &mut packet, &mut world));
    assert!(lower.transmit(0, (2, peer), b"check", &mut world));
    assert!(lower.transmit(0, (1, peer), b"straight", &mut world));
    assert!(!lower.transmit(0, (3, peer), b"nowhere", &mut world));
    let wrapped = |bytes: &[u8]| [&head(peer), bytes].concat();
    assert_eq!(
        world.datagrams,
        [
            (SERVER, wrapped(b"speech")),
            (SERVER, wrapped(b"check")),
            (peer, b"straight".to_vec())
        ]
    );
    // What comes from the server is a peer's; from elsewhere the same bytes are only what they are.
    packet.fill(&wrapped(b"answer"));
    packet.src = SERVER;
    assert!(lower.receive(0, SOCKET, &mut packet));
    assert_eq!((packet.bytes(), packet.path, packet.src), (&b"answer"[..], 2, peer));
    packet.fill(&wrapped(b"answer"));
    packet.src = at("192.0.2.1:3479");
    assert!(lower.receive(0, SOCKET, &mut packet));
    assert_eq!((packet.len(), packet.path), (12, 1));
    // It fails: the path is gone, and the socket remains.
    packet.fill(b"over");
    packet.src = SERVER;
    assert!(!lower.receive(0, SOCKET, &mut packet));
    assert_eq!(lines(&mut lower, &mut world), "path:2 gone\n");
    assert!(!lower.transmit(0, (2, peer), b"check", &mut world));
    assert!(lower.transmit(0, (1, peer), b"check", &mut world));
    assert_eq!(lower.deadline(), None);
}

#[test]
fn where_nothing_goes_straight_the_session_learns_of_relays_alone() {
    let (mut lower, told) = lower(Below::Socket(SOCKET), true);
    let mut world = World::default();
    assert_eq!(told, "");
    assert_eq!(lines(&mut lower, &mut world), RELAY);
    let mut packet = Packet::new(100, 10);
    packet.fill(b"straight");
    packet.src = at("198.51.100.9:9");
    assert!(!lower.receive(0, SOCKET, &mut packet), "a stranger finds nobody there");
}

#[test]
fn a_piece_of_a_stream_may_hold_several_datagrams() {
    let (mut lower, _) = lower(Below::Stream(STREAM), true);
    let mut world = World::default();
    lines(&mut lower, &mut world);
    let peer = at("198.51.100.9:9");
    let message = |text: &[u8]| [&[6 + text.len() as u8][..], &head(peer), text].concat();
    let mut piece = Packet::new(100, 10);
    piece.fill(&[message(b"one"), message(b"two")].concat());
    lower.receive_stream(0, STREAM, &mut piece);
    let mut risen = Vec::new();
    while let Some(Risen::Datagram(packet)) = lower.poll(&mut world) {
        assert_eq!((packet.path, packet.src), (2, peer));
        risen.push(packet.bytes().to_vec());
        lower.give_back(packet);
    }
    assert_eq!(risen, [b"one", b"two"]);
    assert!(lower.transmit(0, (2, peer), b"three", &mut world));
    assert_eq!(world.streams.len(), 1);
    lower.close(0, &mut world);
    assert_eq!(world.streams[1], (STREAM, b"bye".to_vec()));
    assert_eq!(lower.stream_gone(0, STREAM, &mut world), "path:2 gone\n");
    assert_eq!(world.ended, [STREAM]);
}

#[test]
fn a_socket_that_goes_takes_its_relays_along_and_another_takes_their_place() {
    let (mut lower, _) = lower(Below::Socket(SOCKET), false);
    let mut world = World::default();
    lines(&mut lower, &mut world);
    assert!(lower.has_relay(Way::Direct, SERVER) && !lower.has_relay(Way::Direct, at("192.0.2.9:1")));
    let other = BoundSocket {
        key: SocketKey(SOCKET.0 + 1),
        component: 1,
        local: at("10.0.0.3:4000"),
        outer: None,
    };
    assert_eq!(
        lower.add_sockets(&[other]),
        "path:3 component 1 host 10.0.0.3 4000 mtu 1200\n"
    );
    let gone = lower.remove_sockets(0, &[SOCKET], &mut world);
    assert_eq!(gone, "path:1 gone\npath:2 gone\n");
    assert!(!lower.has_relay(Way::Direct, SERVER));
    assert!(!lower.transmit(0, (1, SERVER), b"lost", &mut world));
    assert_eq!(lower.paths.place(3), Some(Place::Socket(other.key)));
    // A socket at the place of the old one is another path.
    let again = BoundSocket { key: SOCKET, ..other };
    assert_eq!(
        lower.add_sockets(&[again]),
        "path:4 component 1 host 10.0.0.3 4000 mtu 1200\n"
    );
    assert_eq!(lower.remove_sockets(0, &[SocketKey(9)], &mut world), "");
    assert_eq!(lower.ways().words(), ["direct"]);
}

#[test]
fn relays_are_bounded() {
    let registry = Registry::from_static(&[("quartet_plugin_test_paths", &quartet_plugin_test_paths)]);
    let mut lower = Lower::new(Slot(5), true);
    for _ in 0..100 {
        let machine = registry
            .path("wrap")
            .unwrap()
            .create(Role::Offer, 0, "server:192.0.2.1 3478\n");
        lower.add_relay(
            0,
            NewRelay {
                machine: machine.unwrap(),
                way: Way::Direct,
                below: Below::Socket(SOCKET),
                local: at("10.0.0.2:4000"),
                server: SERVER,
            },
        );
    }
    assert_eq!(lower.relays.len(), MAX_RELAYS);
}
