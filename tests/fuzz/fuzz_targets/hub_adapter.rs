//! A hostile hub against the gateway's adapter, a frame a line, or what becomes of the connection: no panic, and nothing waits for ever.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet::networks::{Link, Network as _};
use quartet::networks::hub::Adapter;
use quartet_proto::hub::Name;

fuzz_target!(|text: &str| {
    let mut now = Instant::now();
    let mut adapter = Adapter::new(Name::new("gw").expect("a valid name"));
    for frame in text.lines() {
        match frame {
            "away" => adapter.handle_link(now, Link::Away),
            "up" => adapter.handle_link(now, Link::Up),
            "anew" => adapter.handle_link(now, Link::Anew),
            frame => adapter.handle_frame(now, frame.as_bytes()),
        }
        now += Duration::from_secs(1);
        adapter.handle_timeout(now);
        while adapter.poll_frame().is_some() || adapter.poll_event().is_some() {}
    }
    adapter.handle_link(now, Link::Down);
    assert_eq!((adapter.calls(), adapter.pending()), (0, 0));
});
