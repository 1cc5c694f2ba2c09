//! Ends that move, and a network that goes away: what is heard, and how soon.

use std::collections::BTreeMap;

use super::*;

/// How long signalling takes.
const SIGNALLING: Duration = Duration::from_millis(100);

/// Two ends with addresses that come and go; side 0 offers.
struct World {
    ends: [Endpoint; 2],
    addresses: [BTreeMap<u32, SocketAddr>; 2],
    now: Instant,
    wire: VecDeque<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    signals: VecDeque<(Instant, usize, String)>,
    /// Nothing gets through; or no signalling does.
    cut: bool,
    cut_signalling: bool,
    talks: [bool; 2],
    sequence: u16,
    heard: [Vec<Output>; 2],
    /// When media came last.
    media: [Option<Instant>; 2],
    setups: usize,
}

impl World {
    /// Both talk.
    fn new() -> Self {
        let now = origin();
        let mut world = World {
            ends: [endpoint(Role::Offer, 1, now), endpoint(Role::Answer, 2, now)],
            addresses: Default::default(),
            now,
            wire: VecDeque::new(),
            signals: VecDeque::new(),
            cut: false,
            cut_signalling: false,
            talks: [true; 2],
            sequence: 0,
            heard: Default::default(),
            media: [None; 2],
            setups: 0,
        };
        for side in 0..2 {
            world.add(side, 1, address(side));
            let stream = format!("ssrc:{}\n", SSRC[side]);
            world.ends[1 - side].remote_lines(now, &stream).unwrap();
        }
        world.run(Duration::from_secs(3));
        assert!(world.media.iter().all(Option::is_some), "{:?}", world.heard);
        world
    }

    fn add(&mut self, side: usize, path: u32, address: SocketAddr) {
        self.addresses[side].insert(path, address);
        let line = format!(
            "path:{path} component 1 host {} {} mtu 1200",
            address.ip(),
            address.port()
        );
        self.ends[side].path_lines(self.now, &line);
        self.collect();
    }

    /// An interface goes; `told`: this machine says so.
    fn remove(&mut self, side: usize, path: u32, told: bool) {
        self.addresses[side].remove(&path);
        if told {
            self.ends[side].path_lines(self.now, &format!("path:{path} gone"));
        }
        self.collect();
    }

    fn collect(&mut self) {
        for side in 0..2 {
            while let Some(output) = self.ends[side].poll_output() {
                match output {
                    Output::Transmit {
                        path,
                        destination,
                        bytes,
                    } => self.put(side, path, destination, bytes),
                    Output::Local => {
                        let lines = self.ends[side].local_lines();
                        self.setups += usize::from(lines.contains("ice-ufrag:"));
                        self.signals.push_back((self.now + SIGNALLING, 1 - side, lines));
                    }
                    other => self.heard[side].push(other),
                }
            }
        }
    }

    fn put(&mut self, side: usize, path: u32, destination: SocketAddr, bytes: Vec<u8>) {
        if let Some(source) = self.addresses[side].get(&path).filter(|_| !self.cut) {
            self.wire.push_back((self.now + DELAY, *source, destination, bytes));
        }
    }

    fn step(&mut self) {
        while self.wire.front().is_some_and(|first| first.0 <= self.now) {
            let (_, source, destination, mut bytes) = self.wire.pop_front().unwrap();
            for side in 0..2 {
                let mut paths = self.addresses[side].iter();
                let Some(path) = paths
                    .find(|(_, address)| **address == destination)
                    .map(|(path, _)| *path)
                else {
                    continue;
                };
                if let Received::Rtp(_) = self.ends[side].receive(self.now, path, source, &mut bytes) {
                    self.media[side] = Some(self.now);
                }
            }
            self.collect();
        }
        while self.signals.front().is_some_and(|first| first.0 <= self.now) {
            let (_, side, lines) = self.signals.pop_front().unwrap();
            if !self.cut_signalling {
                self.ends[side].remote_lines(self.now, &lines).unwrap();
                self.collect();
            }
        }
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        self.collect();
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(20);
            self.sequence = self.sequence.wrapping_add(1);
            for side in 0..2 {
                let packet = rtp(SSRC[side], self.sequence);
                let mut buffer = packet.clone();
                buffer.resize(packet.len() + TAILROOM, 0);
                if let Ok(Sent::Transmit {
                    length,
                    path,
                    destination,
                }) = self.ends[side].send(self.now, Kind::Rtp, &mut buffer, packet.len())
                    && self.talks[side]
                {
                    buffer.truncate(length);
                    self.put(side, path, destination, buffer);
                }
            }
            // Checks have times of their own.
            for _ in 0..4 {
                self.step();
            }
        }
    }

    /// How long until each side that can hear something does so again.
    fn gap(&mut self) -> Duration {
        let begin = self.now;
        self.media = [None; 2];
        let wanted = |world: &World| (0..2).all(|side| world.media[side].is_some() || !world.talks[1 - side]);
        while !wanted(self) {
            self.run(Duration::from_millis(20));
            assert!(self.now - begin < Duration::from_secs(30), "{:?}", self.heard);
        }
        self.now - begin
    }

    fn failure(&self, side: usize) -> Option<Failure> {
        self.heard[side].iter().find_map(|output| match output {
            Output::Failed(failure) => Some(*failure),
            _ => None,
        })
    }
}

fn elsewhere(side: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, side as u8 + 1], 5_000))
}

/// Either end goes elsewhere, while both talk or one of them; what follows is said of that.
fn moves(cut_signalling: bool, then: impl Fn(&mut World, String)) {
    for side in 0..2 {
        for talks in [[true, true], [true, false], [false, true]] {
            let mut world = World::new();
            (world.talks, world.cut_signalling) = (talks, cut_signalling);
            world.run(Duration::from_secs(5));
            world.remove(side, 1, true);
            world.add(side, 2, elsewhere(side));
            then(&mut world, format!("side {side} moves, {talks:?} talk"));
        }
    }
}

#[test]
fn who_moves_is_heard_and_hears_within_a_second() {
    moves(false, |world, what| {
        let gap = world.gap();
        assert!(gap <= Duration::from_secs(1), "{what}: {gap:?}");
        world.run(Duration::from_secs(60));
        let gap = world.gap();
        assert!(gap <= Duration::from_millis(100), "{gap:?}");
        assert_eq!((world.failure(0), world.failure(1)), (None, None));
    });
}

#[test]
fn who_moves_without_signalling_is_heard_all_the_same() {
    moves(true, |world, what| {
        let gap = world.gap();
        assert!(gap <= Duration::from_secs(7), "{what}: {gap:?}");
    });
}

#[test]
fn a_hole_of_nine_seconds_is_outlived() {
    for talks in [[true, true], [true, false], [false, true]] {
        for signalling in [true, false] {
            let mut world = World::new();
            world.talks = talks;
            world.run(Duration::from_secs(5));
            (world.cut, world.cut_signalling) = (true, !signalling);
            world.run(Duration::from_secs(9));
            world.cut = false;
            let gap = world.gap();
            assert!(gap <= Duration::from_millis(500), "{talks:?} {signalling}: {gap:?}");
            world.cut_signalling = false;
            world.run(Duration::from_secs(60));
            let gap = world.gap();
            assert!(gap <= Duration::from_millis(100), "{talks:?} {signalling}: {gap:?}");
            assert_eq!((world.failure(0), world.failure(1)), (None, None));
        }
    }
}

#[test]
fn a_hole_without_end_ends_the_call_and_not_before_ten_seconds() {
    let mut world = World::new();
    world.cut = true;
    world.run(Duration::from_secs(10));
    assert_eq!((world.failure(0), world.failure(1)), (None, None));
    world.run(Duration::from_secs(4));
    let ice = Some(Failure::Ice);
    assert_eq!((world.failure(0), world.failure(1)), (ice, ice));
}

#[test]
fn a_call_that_goes_well_is_not_restarted() {
    let mut world = World::new();
    world.talks = [false, false];
    world.run(Duration::from_secs(120));
    assert_eq!(world.setups, 2);
    assert_eq!((world.failure(0), world.failure(1)), (None, None));
}

#[test]
fn an_end_that_has_a_second_way_takes_it_when_the_first_is_gone() {
    for talks in [[true, true], [true, false], [false, true]] {
        for side in 0..2 {
            let mut world = World::new();
            world.talks = talks;
            world.add(side, 2, elsewhere(side));
            world.run(Duration::from_secs(5));
            // A network that fails without a word.
            world.remove(side, 1, false);
            let gap = world.gap();
            assert!(gap <= Duration::from_secs(6), "side {side}, {talks:?} talk: {gap:?}");
        }
    }
}
