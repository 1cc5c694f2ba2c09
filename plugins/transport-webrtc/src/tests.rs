//! Two handles of the plugin through its exported table, over a net of 10 ms.

use core::net::SocketAddr;
use std::collections::VecDeque;

use quartet_plugin::{Kind, Role, abi};

use crate::driver::{Driver, Polled};

const MS: u64 = 1_000_000;

struct Pair {
    ends: [Driver; 2],
    now: u64,
    wire: VecDeque<(u64, usize, Vec<u8>)>,
    events: [Vec<Polled>; 2],
    media: [Vec<(i32, Vec<u8>)>; 2],
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, side as u8 + 1], 40_000))
}

impl Pair {
    fn new() -> Self {
        let now = 7_000_000_000;
        let plugin = &crate::quartet_plugin_transport_webrtc.0;
        let mut ends = [
            Driver::new(plugin, Role::Offer, now),
            Driver::new(plugin, Role::Answer, now),
        ];
        for (side, end) in ends.iter_mut().enumerate() {
            let line = format!("path:3 component 1 host {} 40000 mtu 1200", address(side).ip());
            assert_eq!(end.tell(now, abi::TELL_PATHS, &line), 0);
        }
        Pair {
            ends,
            now,
            wire: VecDeque::new(),
            events: Default::default(),
            media: Default::default(),
        }
    }

    fn signal(&mut self) {
        for side in 0..2 {
            let lines = self.ends[side].local(self.now) + &format!("ssrc:{}\n", side + 1);
            assert_eq!(self.ends[1 - side].tell(self.now, abi::TELL_REMOTE, &lines), 0);
        }
    }

    fn run(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds * MS;
        while self.now < end {
            let mut next = end;
            for side in 0..2 {
                let (all, deadline) = self.ends[side].poll();
                next = next.min(deadline.unwrap_or(end));
                for polled in all {
                    match polled {
                        Polled::Transmit(path, destination, bytes) => {
                            assert_eq!((path, destination), (3, address(1 - side)));
                            self.wire.push_back((self.now + 10 * MS, 1 - side, bytes));
                        }
                        Polled::Data(..) | Polled::Event(..) => self.events[side].push(polled),
                    }
                }
            }
            next = next.min(self.wire.front().map_or(end, |first| first.0));
            self.now = self.now.max(next);
            while self.wire.front().is_some_and(|first| first.0 <= self.now) {
                let (_, side, bytes) = self.wire.pop_front().unwrap();
                let (code, bytes, _, _) = self.ends[side].receive(self.now, 3, address(1 - side), &bytes);
                assert!(code >= 0, "{code}");
                if code != abi::NONE {
                    self.media[side].push((code, bytes));
                }
            }
            for end in &mut self.ends {
                end.timeout(self.now);
            }
        }
    }

    fn send(&mut self, side: usize, kind: Kind, bytes: &[u8]) -> i32 {
        let (code, bytes, path, destination) = self.ends[side].send(self.now, kind, bytes);
        if code == abi::TRANSMIT {
            assert_eq!((path, destination), (3, Some(address(1 - side))));
            self.wire.push_back((self.now + 10 * MS, 1 - side, bytes));
        }
        code
    }

    fn has(&self, side: usize, event: u32, text: &str) -> bool {
        self.events[side].contains(&Polled::Event(event, text.to_owned()))
    }
}

fn rtp(side: usize) -> Vec<u8> {
    let mut bytes = vec![0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, side as u8 + 1];
    bytes.extend_from_slice(b"sound");
    bytes
}

#[test]
fn two_handles_connect_and_carry_everything() {
    let mut pair = Pair::new();
    assert_eq!(pair.send(0, Kind::Rtp, &rtp(0)), abi::E_STATE);
    pair.signal();
    pair.run(4000);
    for side in 0..2 {
        assert!(
            pair.has(side, abi::EVENT_LOCAL, "") && pair.has(side, abi::EVENT_CONNECTED, ""),
            "{:?}",
            pair.events
        );
        assert_eq!(pair.send(side, Kind::Rtp, &rtp(side)), abi::TRANSMIT);
        let report = [0x80, 201, 0, 1, 0, 0, 0, side as u8 + 1];
        assert_eq!(pair.send(side, Kind::Rtcp, &report), abi::TRANSMIT);
        assert_eq!(pair.send(side, Kind::Data, b"{\"muted\":false}"), abi::NONE);
        assert_eq!(pair.send(side, Kind::Datagram, b"x"), abi::E_UNSUPPORTED);
    }
    pair.run(1000);
    for side in 0..2 {
        let report = vec![0x80, 201, 0, 1, 0, 0, 0, 2 - side as u8];
        assert_eq!(pair.media[side], [(abi::RTP, rtp(1 - side)), (abi::RTCP, report)]);
        assert!(
            pair.events[side].contains(&Polled::Data(0, true, b"{\"muted\":false}".to_vec())),
            "{side}"
        );
        assert_eq!(pair.ends[side].local(pair.now), "", "only new lines");
    }
    pair.ends[0].tell(pair.now, abi::TELL_CONTROL, "close\n");
    pair.run(1000);
    assert!(pair.has(1, abi::EVENT_FAILED, "closed"));
    assert_eq!(pair.ends[1].poll(), (vec![], None));
}

#[test]
fn no_answer_is_the_cause_ice() {
    let mut pair = Pair::new();
    let lines = pair.ends[0].local(pair.now);
    assert_eq!(pair.ends[1].tell(pair.now, abi::TELL_REMOTE, &lines), 0);
    pair.run(26_000);
    assert!(pair.has(1, abi::EVENT_FAILED, "ice"), "{:?}", pair.events[1]);
}

#[test]
fn a_restart_brings_new_lines() {
    let mut pair = Pair::new();
    pair.signal();
    pair.run(2000);
    pair.ends[0].tell(pair.now, abi::TELL_CONTROL, "ice-restart\n");
    pair.events = Default::default();
    pair.run(1);
    assert!(pair.has(0, abi::EVENT_LOCAL, ""));
    pair.signal();
    pair.run(20_000);
    assert_eq!(pair.send(0, Kind::Rtp, &rtp(0)), abi::TRANSMIT);
    pair.run(100);
    assert_eq!(pair.media[1].len(), 1);
}

#[test]
fn broken_lines_are_the_peers_fault() {
    let mut pair = Pair::new();
    let now = pair.now;
    assert_eq!(
        pair.ends[0].tell(now, abi::TELL_REMOTE, "fingerprint:md5 00\n"),
        abi::E_MALFORMED
    );
    assert_eq!(pair.ends[0].tell(now, abi::TELL_REMOTE, "x-unknown:1\n"), 0);
    assert_eq!(pair.ends[0].tell(now, abi::TELL_CONTROL, "x-unknown\n"), 0);
}
