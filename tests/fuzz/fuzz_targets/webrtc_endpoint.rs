//! Lines and datagrams into a session that has not begun: two bytes of length, then that many bytes; odd lengths are lines.
#![no_main]
use libfuzzer_sys::fuzz_target;
use quartet_proto::webrtc::{Endpoint, Role};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

fuzz_target!(|bytes: &[u8]| {
    let now = std::time::Instant::now();
    let rng = Box::new(ChaCha8Rng::seed_from_u64(1));
    let mut endpoint = Endpoint::new(Role::Answer, rng, now).expect("a certificate");
    endpoint.path_lines(now, "path:1 component 1 host 10.0.0.1 40000 mtu 1200");
    let mut rest = bytes;
    while let [high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let mut part = tail[..length].to_vec();
        if length % 2 == 1 {
            let _ = endpoint.remote_lines(now, &String::from_utf8_lossy(&part));
        } else {
            endpoint.receive(now, 1, ([10, 0, 0, 2], 5).into(), &mut part);
        }
        while endpoint.poll_output().is_some() {}
        rest = &tail[length..];
    }
});
