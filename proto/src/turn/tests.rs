//! Clients and a server of another hand (`turn-server-proto`) over a wire in memory, under virtual time.

use std::collections::VecDeque;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use turn_server_proto::api::{SocketAllocateError, TurnServerApi as _, TurnServerPollRet};
use turn_server_proto::server::TurnServer;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// One client, one server, and the peers behind it.
struct World {
    client: Client,
    server: TurnServer,
    origin: Instant,
    now: Instant,
    stream: bool,
    /// To the server's listener, from the client; and back.
    up: VecDeque<(Instant, Vec<u8>)>,
    down: VecDeque<(Instant, Vec<u8>)>,
    /// What peers have got, and from where.
    heard: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// What the client has got of peers.
    risen: Vec<(SocketAddr, Vec<u8>)>,
    relay: Option<SocketAddr>,
    outer: Option<SocketAddr>,
    failed: Option<TurnFailure>,
    relays: u16,
    capacity: u16,
    /// Per mille of the datagrams to the server that are lost. It does not repeat an answer, as RFC 8656 §7.2 wants: those arrive.
    loss: u32,
    rng: ChaCha20Rng,
    /// Pieces of a stream are no longer than this.
    cut: usize,
    /// Nothing of the server's arrives.
    is_dead: bool,
}

const SERVER: &str = "192.0.2.1:3478";
const CLIENT: &str = "198.51.100.7:40000";

impl World {
    fn new(stream: bool, password: &str) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        #[allow(clippy::disallowed_methods, reason = "the base of a virtual clock")]
        let origin = Instant::now();
        let server = Server {
            address: at(SERVER),
            local: at(CLIENT),
            stream,
            username: "gateway",
            password,
        };
        let client = Client::new(origin, &server, &mut rng);
        let transport = if stream { TransportType::Tcp } else { TransportType::Udp };
        let mut there = TurnServer::new(transport, at(SERVER), "test".into());
        there.add_user("gateway".into(), "right".into());
        Self {
            client,
            server: there,
            origin,
            now: origin,
            stream,
            up: VecDeque::new(),
            down: VecDeque::new(),
            heard: Vec::new(),
            risen: Vec::new(),
            relay: None,
            outer: None,
            failed: None,
            relays: 0,
            capacity: 10,
            loss: 0,
            rng,
            cut: usize::MAX,
            is_dead: false,
        }
    }

    fn there(&self) -> AgentInstant {
        AgentInstant::from_nanos(self.now.duration_since(self.origin).as_nanos() as i64)
    }

    fn is_lost(&mut self) -> bool {
        !self.stream && self.rng.next_u32() % 1000 < self.loss
    }

    /// Takes what the client has made.
    fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Transmit(bytes) => self.upwards(bytes),
                Output::Datagram { peer, bytes } => self.risen.push((peer, bytes)),
                Output::Relay(address) => assert_eq!(self.relay.replace(address), None),
                Output::Outer(address) => self.outer = Some(address),
                Output::Failed(why) => assert_eq!(self.failed.replace(why), None),
            }
        }
    }

    fn upwards(&mut self, bytes: Vec<u8>) {
        if !self.is_lost() {
            self.up.push_back((self.now + 10 * MS, bytes));
        }
    }

    /// What the server sends: to the client, or to a peer from a relayed address.
    fn downwards(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        // The server of that crate sends the answer to a Binding request to itself.
        if to != at(CLIENT) && to != from {
            self.heard.push((to, from, bytes));
            return;
        }
        let mut bytes = bytes;
        if self.stream {
            // The server of that crate does not pad; one of RFC 8656 does.
            framing::pad(&mut bytes);
        }
        if !self.is_dead {
            self.down.push_back((self.now + 10 * MS, bytes));
        }
    }

    fn feed_server(&mut self, from: SocketAddr, to: SocketAddr, mut bytes: Vec<u8>) {
        if self.stream && to == at(SERVER) && bytes[0] >> 6 == 1 {
            bytes.truncate(4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])));
        }
        let transport = if self.stream && to == at(SERVER) {
            TransportType::Tcp
        } else {
            TransportType::Udp
        };
        let there = self.there();
        if let Some(answer) = self.server.recv(Transmit::new(bytes, transport, from, to), there) {
            let answer = answer.build();
            self.downwards(answer.from, answer.to, answer.data.to_vec());
        }
        self.poll_server();
    }

    fn poll_server(&mut self) {
        let there = self.there();
        loop {
            match self.server.poll(there) {
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    self.relays += 1;
                    let relay = SocketAddr::new(at(SERVER).ip(), 50_000 + self.relays);
                    let answer = if self.relays <= self.capacity {
                        Ok(relay)
                    } else {
                        Err(SocketAllocateError::InsufficientCapacity)
                    };
                    self.server.allocated_socket(
                        transport,
                        listen_addr,
                        client_addr,
                        allocation_transport,
                        family,
                        answer,
                        there,
                    );
                }
                TurnServerPollRet::SocketClose { .. } => self.relays -= 1,
                TurnServerPollRet::WaitUntil(_)
                | TurnServerPollRet::TcpConnect { .. }
                | TurnServerPollRet::TcpClose { .. } => break,
            }
        }
        while let Some(sent) = self.server.poll_transmit(there) {
            self.downwards(sent.from, sent.to, sent.data.to_vec());
        }
    }

    /// Lets time pass, in steps of a millisecond or to the client's deadline.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.drain();
            let wire = [&self.up, &self.down]
                .into_iter()
                .filter_map(|way| Some(way.front()?.0));
            let next = wire.chain(self.client.poll_timeout()).min();
            self.now = next.map_or(end, |next| next.clamp(self.now + MS / 10, end));
            while self.up.front().is_some_and(|(due, _)| *due <= self.now) {
                let (_, bytes) = self.up.pop_front().unwrap();
                self.feed_server(at(CLIENT), at(SERVER), bytes);
            }
            while self.down.front().is_some_and(|(due, _)| *due <= self.now) {
                let (_, bytes) = self.down.pop_front().unwrap();
                let cut = if self.stream { self.cut } else { usize::MAX };
                for piece in bytes.chunks(cut.min(bytes.len().max(1))) {
                    if let Some((peer, part)) = self.client.receive(self.now, piece) {
                        self.risen.push((peer, piece[part].to_vec()));
                    }
                    self.drain();
                }
            }
            if self.client.poll_timeout().is_some_and(|due| due <= self.now) {
                self.client.handle_timeout(self.now);
            }
            self.poll_server();
        }
        self.drain();
    }

    fn send(&mut self, peer: &str, datagram: &[u8]) {
        let mut out = Vec::new();
        if self.client.send(self.now, at(peer), datagram, &mut out) {
            assert!(out.len() <= datagram.len() + OVERHEAD);
            self.upwards(out);
        }
        self.drain();
    }

    fn peer_sends(&mut self, peer: &str, datagram: &[u8]) {
        let relay = self.relay.unwrap();
        self.feed_server(at(peer), relay, datagram.to_vec());
    }
}

const PEER: &str = "203.0.113.9:5000";
const CHECK: &[u8] = &[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];

#[test]
fn datagrams_go_both_ways_over_datagrams_and_over_every_cut_of_a_stream() {
    for (stream, cut) in [(false, usize::MAX), (true, usize::MAX), (true, 1), (true, 7)] {
        let mut world = World::new(stream, "right");
        world.cut = cut;
        world.run(500 * MS);
        let relay = world.relay.expect("an allocation");
        // The first waits for leave, and is not lost.
        world.send(PEER, CHECK);
        world.run(200 * MS);
        assert_eq!(world.heard, [(at(PEER), relay, CHECK.to_vec())]);
        // Speech gets a channel, which adds four bytes.
        for size in [1, 2, 3, 160, 201, 1_100] {
            let speech: Vec<u8> = std::iter::once(0x80).chain((1..size).map(|at| at as u8)).collect();
            world.heard.clear();
            world.risen.clear();
            world.send(PEER, &speech);
            world.run(200 * MS);
            assert_eq!(world.heard, [(at(PEER), relay, speech.clone())], "{size} over {stream}");
            world.peer_sends(PEER, &speech);
            world.run(200 * MS);
            assert_eq!(world.risen, [(at(PEER), speech)], "{size} over {stream}");
        }
        let mut out = Vec::new();
        assert!(world.client.send(world.now, at(PEER), &[0x80; 160], &mut out));
        assert_eq!(out.len(), 164);
        assert_eq!(world.failed, None);
    }
}

#[test]
fn an_allocation_outlives_an_hour() {
    let mut world = World::new(false, "right");
    world.run(500 * MS);
    world.send(PEER, &[0x80; 20]);
    for _ in 0..70 {
        world.run(Duration::from_secs(60));
        world.heard.clear();
        world.send(PEER, &[0x80; 20]);
        world.run(200 * MS);
        assert_eq!(world.heard.len(), 1, "after {:?}", world.now - world.origin);
    }
    assert_eq!((world.failed, world.relays), (None, 1));
    // It is given back.
    world.client.close(world.now);
    world.run(200 * MS);
    assert_eq!(world.relays, 0);
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn a_third_of_what_goes_to_the_server_may_be_lost() {
    for seed in 0..20 {
        let mut world = World::new(false, "right");
        world.rng = ChaCha20Rng::seed_from_u64(seed);
        world.loss = 300;
        world.run(Duration::from_secs(15));
        assert!(
            world.relay.is_some(),
            "seed {seed} {:?} {:?}",
            world.failed,
            world.client.refusal
        );
        for _ in 0..20 {
            world.send(PEER, &[0x80; 20]);
            world.run(500 * MS);
        }
        assert!(world.heard.len() > 5, "seed {seed}: {}", world.heard.len());
    }
}

#[test]
fn why_there_is_no_relay_is_told() {
    let mut world = World::new(false, "wrong");
    world.run(Duration::from_secs(30));
    assert_eq!((world.relay, world.failed), (None, Some(TurnFailure::Credentials)));

    let mut world = World::new(false, "right");
    world.capacity = 0;
    world.run(Duration::from_secs(30));
    assert_eq!(world.failed, Some(TurnFailure::Refused(508)));

    let mut world = World::new(false, "right");
    world.is_dead = true;
    world.run(Duration::from_secs(30));
    assert_eq!(world.failed, Some(TurnFailure::Timeout));
    assert!(world.now - world.origin < Duration::from_secs(31));

    let mut world = World::new(true, "right");
    world.run(500 * MS);
    world.client.closed();
    world.drain();
    assert_eq!(world.failed, Some(TurnFailure::Closed));
    let mut world = World::new(true, "right");
    world.client.receive(world.now, b"\x80TTP/1.1 400 Bad Request\r\n\r\n");
    world.drain();
    assert_eq!(world.failed, Some(TurnFailure::Closed));
}

#[test]
fn what_waits_and_whom_leave_is_asked_for_is_bounded() {
    let mut world = World::new(false, "right");
    world.run(500 * MS);
    for peer in 0..200_u8 {
        for _ in 0..3 {
            world.send(&format!("203.0.113.{peer}:5000"), CHECK);
        }
    }
    assert_eq!(world.client.waiting.len(), MAX_WAITING);
    assert!(world.client.asked.len() <= MAX_PEERS);
    // A peer of another family cannot be reached from here.
    world.send("[2001:db8::9]:5", CHECK);
    assert!(world.client.waiting.iter().all(|(peer, _)| peer.is_ipv4()));
}

#[test]
fn strangers_and_old_answers_change_nothing() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    #[allow(clippy::disallowed_methods, reason = "the base of a virtual clock")]
    let now = Instant::now();
    let mut binding = Binding::new(now, &mut rng);
    let request = binding.poll_transmit().unwrap().to_vec();
    let mut answer = request.clone();
    (answer[0], answer[1], answer[3]) = (1, 1, 12);
    answer.extend([
        0,
        0x20,
        0,
        8,
        0,
        1,
        0x12 ^ 0x21,
        0x34 ^ 0x12,
        0x21 ^ 203,
        0x12,
        0xA4 ^ 113,
        0x42 ^ 9,
    ]);
    let mut other = answer.clone();
    other[12] ^= 1;
    assert_eq!(binding.receive(&other), Answer::Other);
    assert_eq!(binding.receive(&request), Answer::Other);
    assert_eq!(binding.receive(&answer[..19]), Answer::Other);
    assert_eq!(binding.receive(&answer), Answer::Outer(at("203.0.113.9:4660")));
    assert_eq!(binding.receive(&answer), Answer::Other, "it has been answered");
    assert!(binding.is_over());
    // Unanswered it gives up.
    let mut binding = Binding::new(now, &mut rng);
    let (mut sent, mut last) = (1, now);
    while let Some(due) = binding.poll_timeout() {
        last = due;
        binding.handle_timeout(due);
        sent += usize::from(binding.poll_transmit().is_some());
    }
    assert_eq!(sent, 8);
    assert!(last - now < Duration::from_secs(14), "{:?}", last - now);
}
