//! A hostile hub against the gateway's adapter and against a client of a hub elsewhere, a frame a line, or what becomes of the
//! connection: no panic, and nothing waits for ever.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet::networks::hub::{Adapter, Client};
use quartet::networks::{Link, Network};
use quartet_proto::hub::{ClientName, Name, Token};

fn feed(network: &mut dyn Network, text: &str) {
    let mut now = Instant::now();
    for frame in text.lines() {
        match frame {
            "away" => network.handle_link(now, Link::Away),
            "up" => network.handle_link(now, Link::Up),
            "anew" => network.handle_link(now, Link::Anew),
            frame => network.handle_frame(now, frame.as_bytes()),
        }
        now += Duration::from_secs(1);
        network.handle_timeout(now);
        while network.poll_frame().is_some() || network.poll_event().is_some() {}
    }
    network.handle_link(now, Link::Down);
}

fuzz_target!(|text: &str| {
    let name = Name::new("gw").expect("a valid name");
    let mut adapter = Adapter::new(name.clone());
    feed(&mut adapter, text);
    assert_eq!((adapter.calls(), adapter.pending()), (0, 0));
    let token = Token::from_text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").expect("a token");
    let mut client = Client::new(token, ClientName::new("fuzz").expect("a valid name"), name);
    feed(&mut client, text);
    assert_eq!((client.calls(), client.pending()), (0, 0));
});
