//! Conversations with the rendezvous, a frame a line, from the gateway and two strangers in turn: no panic, nothing left.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet::hub::{ConnKey, Directory, Limits, Rendezvous, RendezvousConfig};
use quartet_proto::hub::Name;

fuzz_target!(|text: &str| {
    let mut now = Instant::now();
    let gateway = Name::new("gw").expect("a valid name");
    let config = RendezvousConfig { gateway, limits: Limits::default(), ice_servers: vec![], epoch: (now, 0) };
    let mut hub = Rendezvous::new(config, Arc::new(Directory::default()));
    hub.connect_local(ConnKey(0));
    for conn in 1..3 {
        hub.connect(now, ConnKey(conn), ([192, 0, 2, conn as u8], 1).into());
    }
    for (line, frame) in text.lines().enumerate() {
        hub.handle_input(now, ConnKey(line as u64 % 3), frame);
        now += Duration::from_millis(500);
        hub.handle_timeout(now);
        while hub.poll_transmit().is_some() {}
    }
    for conn in 0..3 {
        hub.disconnect(now, ConnKey(conn));
    }
    assert_eq!((hub.sessions(), hub.calls(), hub.poll_timeout()), (0, 0, None));
});
