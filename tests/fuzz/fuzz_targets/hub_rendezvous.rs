//! Conversations with the rendezvous, a frame a line: the first character says whose it is, `0` the gateway's, `1` anna's,
//! `2` bob's, `3` a stranger's, and `x` and a digit ends a connection. No panic, and in the end nothing is left.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet::hub::{ConnKey, Directory, Limits, Rendezvous, RendezvousConfig};
use quartet_proto::hub::{Name, Token};

/// Anna's token is 43 `A`, bob's 42 `B` and an `A`.
const TOKENS: [(&str, &str); 2] = [
    ("anna", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ("bob", "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"),
];

fuzz_target!(|text: &str| {
    let mut now = Instant::now();
    let name = |text| Name::new(text).expect("a valid name");
    let directory = Directory::default();
    for (user, token) in TOKENS {
        directory.insert(name(user), Token::from_text(token).expect("a valid token").hash());
    }
    let config = RendezvousConfig {
        gateway: name("gw"),
        limits: Limits::default(),
        ice_servers: vec![],
        epoch: (now, 0),
    };
    let mut hub = Rendezvous::new(config, Arc::new(directory));
    hub.connect_local(ConnKey(0));
    for conn in 1..=3 {
        hub.connect(now, ConnKey(conn), ([192, 0, 2, conn as u8], 1).into());
    }
    for (user, token) in TOKENS {
        let hello =
            format!(r#"{{"id":1,"verb":"hello","protocol":{{"min":1,"max":1}},"client":"fuzz","token":"{token}"}}"#);
        hub.handle_input(now, ConnKey(1 + u64::from(user == "bob")), &hello);
        assert!(hub.is_online(&name(user)));
    }
    for line in text.lines() {
        let mut characters = line.chars();
        match characters.next() {
            Some('x') => hub.disconnect(now, ConnKey(u64::from(characters.next().unwrap_or('3')) % 4)),
            Some(conn) => hub.handle_input(now, ConnKey(u64::from(conn) % 4), characters.as_str()),
            None => now += Duration::from_secs(31),
        }
        now += Duration::from_millis(500);
        hub.handle_timeout(now);
        while hub.poll_transmit().is_some() {}
        while hub.poll_close().is_some() {}
    }
    for conn in 0..=3 {
        hub.disconnect(now, ConnKey(conn));
    }
    assert_eq!((hub.sessions(), hub.calls(), hub.poll_timeout()), (0, 0, None));
});
