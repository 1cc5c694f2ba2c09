//! A reflector with real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant, SystemTime};

use quartet_proto::reflector::{Client, HELLO, Issuer, Options, Output, Tag};

use super::*;
use crate::io::signalling::generator;

const SECRET: &str = "between hub and reflector";

fn open(name: &str) -> (ReflectorServer, [SocketAddr; 2]) {
    let file = std::env::temp_dir().join(format!("quartet-reflector-{}-{name}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let opened = options.create(true).truncate(true).write(true).mode(0o600).open(&file);
    opened.unwrap().write_all(SECRET.as_bytes()).unwrap();
    let listen = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"].map(|text| text.parse().unwrap());
    let settings = Reflector {
        listen: listen.into(),
        secret_file: Some(file.clone()),
    };
    let server = ReflectorServer::open(&settings).unwrap().unwrap();
    std::fs::remove_file(file).unwrap();
    let [(_, udp), (_, tcp)] = server.addresses[..] else {
        panic!("{:?}", server.addresses);
    };
    (server, [udp, tcp])
}

fn client(tag: &Tag, stream: bool) -> Client {
    let options = Options {
        number: 1,
        port: 599,
        tag: Zeroizing::new(*tag),
        stream,
    };
    Client::new(Instant::now(), &options, &mut generator())
}

fn transmits(client: &mut Client) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(output) = client.poll_output() {
        if let Output::Transmit(part) = output {
            bytes.extend(part);
        }
    }
    bytes
}

fn packet(from: &Client, to: &Client, payload: &[u8]) -> Vec<u8> {
    let frame = from.frame(to.address(), payload.len()).unwrap();
    let mut packet = frame.header().to_vec();
    packet.extend(payload);
    packet.resize(packet.len() + frame.pad, 0);
    packet
}

fn issue() -> Zeroizing<Tag> {
    let unix = unix_seconds(SystemTime::now());
    Issuer::default().issue(SECRET.as_bytes(), unix, &mut generator())
}

#[test]
fn datagrams_and_connections_reach_each_other() {
    let (server, [udp, tcp]) = open("both");
    let tag = issue();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(tcp).unwrap();
    let timeout = Some(Duration::from_secs(20));
    socket.set_read_timeout(timeout).unwrap();
    stream.set_read_timeout(timeout).unwrap();
    let (mut a, mut b) = (client(&tag, false), client(&tag, true));
    let mut room = [0; 2_000];
    socket.send_to(&transmits(&mut a), udp).unwrap();
    let (length, _) = socket.recv_from(&mut room).unwrap();
    a.receive(Instant::now(), &room[..length]);
    assert_eq!(length, HELLO);
    // It is shown something, and says it back.
    socket.send_to(&transmits(&mut a), udp).unwrap();
    assert_eq!(socket.recv_from(&mut room).unwrap().0, HELLO);
    stream.write_all(&transmits(&mut b)).unwrap();
    stream.read_exact(&mut room[..4 + HELLO]).unwrap();
    b.receive(Instant::now(), &room[..4 + HELLO]);
    assert!(!transmits(&mut b).is_empty());
    // From the datagram's side.
    socket.send_to(&packet(&a, &b, b"there"), udp).unwrap();
    stream.read_exact(&mut room[..4 + 32]).unwrap();
    b.receive(Instant::now(), &room[..4 + 32]);
    let got = Output::Datagram {
        peer: a.address(),
        bytes: b"there".to_vec(),
    };
    assert_eq!(b.poll_output(), Some(got));
    // And back.
    stream.write_all(&packet(&b, &a, b"back")).unwrap();
    let (length, _) = socket.recv_from(&mut room).unwrap();
    let (peer, part) = a.receive(Instant::now(), &room[..length]).unwrap();
    assert_eq!((peer, &room[part]), (b.address(), &b"back"[..]));
    // The connection ends, and with it the party.
    drop(stream);
    let end = Instant::now() + Duration::from_secs(20);
    while server.status()["connections"] != 0 || server.status()["parties"] != 1 {
        assert!(Instant::now() < end, "{}", server.status());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.status()["passed"], 2);
}

#[test]
fn a_connection_that_says_nothing_or_nonsense_is_closed() {
    let (_server, [_, tcp]) = open("nonsense");
    let begin = Instant::now();
    let mut silent = TcpStream::connect(tcp).unwrap();
    let mut talks = TcpStream::connect(tcp).unwrap();
    talks.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    for stream in [&mut talks, &mut silent] {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // A reset says the same.
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
    }
    assert!(begin.elapsed() >= Duration::from_secs(5), "the silent one had its time");
}

#[test]
fn one_source_has_a_share_of_the_connections() {
    let (server, [_, tcp]) = open("share");
    let streams: Vec<TcpStream> = (0..thread::MAX_OF_SOURCE + 20)
        .map(|_| TcpStream::connect(tcp).unwrap())
        .collect();
    let mut closed = 0;
    for mut stream in streams {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        closed += usize::from(matches!(stream.read(&mut [0; 8]), Ok(0)));
        if closed == 20 {
            break;
        }
    }
    assert!(closed >= 20, "{closed}, {}", server.status());
}

#[test]
fn a_crowd_without_tags_makes_room_for_who_has_one() {
    let (server, [_, tcp]) = open("crowd");
    let tag = issue();
    let hello = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&transmits(&mut client(&tag, true))).unwrap();
        stream.read_exact(&mut [0; 4 + HELLO])
    };
    let mut first = TcpStream::connect(tcp).unwrap();
    hello(&mut first).unwrap();
    let mut crowd = Vec::new();
    for round in 0..4 {
        crowd.extend((0..thread::MAX_OF_SOURCE).map(|_| TcpStream::connect(tcp).unwrap()));
        let mut late = TcpStream::connect(tcp).unwrap();
        hello(&mut late).unwrap_or_else(|error| panic!("{round}: {error}, {}", server.status()));
    }
    first.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let ended = first.read(&mut [0; 8]);
    assert!(
        matches!(&ended, Err(error) if error.kind() == io::ErrorKind::WouldBlock),
        "{ended:?}"
    );
}

#[test]
fn another_secret_is_taken_while_parties_are_here() {
    let (server, [udp, _]) = open("secret");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut room = [0; 2_000];
    let mut hello = |bytes: &[u8]| {
        socket.send_to(bytes, udp).unwrap();
        socket.recv_from(&mut room).is_ok()
    };
    let hello_of = |tag: &Tag| transmits(&mut client(tag, false));
    let answered = |hello: &mut dyn FnMut() -> bool| {
        let end = Instant::now() + Duration::from_secs(20);
        while !hello() {
            assert!(Instant::now() < end, "{}", server.status());
        }
    };
    let here = hello_of(&issue());
    answered(&mut || hello(&here));
    server.set_secret(Zeroizing::new(b"another".to_vec()));
    let unix = unix_seconds(SystemTime::now());
    let new = hello_of(&Issuer::default().issue(b"another", unix, &mut generator()));
    answered(&mut || hello(&new));
    // A tag of before is good no more, but for a party that is here.
    assert!(!hello(&hello_of(&issue())));
    answered(&mut || hello(&here));
}
