//! Any datagrams (separated by NUL) into a SIP endpoint with one account: no panic, whatever comes in which order.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet_proto::net::{Protocol, Receive};
use quartet_proto::sip::{Account, Endpoint, EndpointConfig, Ha1, Limits};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

fuzz_target!(|data: &[u8]| {
    let config = EndpointConfig {
        instance: "fuzz".to_owned(),
        user_agent: "fuzz".to_owned(),
        realm: "fuzz".to_owned(),
        limits: Limits::default(),
    };
    let mut endpoint = Endpoint::new(config, Box::new(ChaCha8Rng::seed_from_u64(1)));
    let ha1 = Ha1::of("100", "fuzz", "fuzz");
    endpoint.set_accounts(vec![Account { user: "100".to_owned(), display: None, ha1, max_contacts: 2 }]);
    let mut now = Instant::now();
    for payload in data.split(|b| *b == 0) {
        let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
        endpoint.handle_input(now, Receive { protocol: Protocol::Udp, local, remote, payload });
        now += Duration::from_millis(700);
        endpoint.handle_timeout(now);
        while endpoint.poll_transmit().is_some() {}
        while endpoint.poll_event().is_some() {}
    }
});
