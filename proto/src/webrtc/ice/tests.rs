//! Which candidates of a peer are checked.
#![allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

const PEER: &str = "ice-ufrag:peer\nice-pwd:0123456789012345678901\n";

/// An agent with these host addresses, and where it sends checks to when the peer names these.
fn checked(hosts: &[&str], remote: &[&str], early: bool) -> Vec<String> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut ice = Ice::new(now, true, &mut rng);
    for (path, host) in (1..).zip(hosts) {
        assert!(ice.add_path(path, PathKind::Host, host.parse().unwrap()), "{host}");
    }
    let candidates: Vec<String> = (1..)
        .zip(remote)
        .map(|(place, address)| {
            let (ip, port) = address.rsplit_once(':').unwrap();
            let ip = ip.trim_matches(['[', ']']);
            format!("candidate:{place} 1 udp {} {ip} {port} typ host", 2_000_000 + place)
        })
        .collect();
    let credentials: Vec<String> = PEER.lines().map(str::to_owned).collect();
    let lines = if early {
        [candidates, credentials]
    } else {
        [credentials, candidates]
    };
    for line in lines.concat() {
        ice.remote_line(&line, &mut rng).unwrap();
    }
    let mut destinations = Vec::new();
    for step in 0..200 {
        ice.handle_timeout(now + Duration::from_millis(50 * step));
        while let Some(check) = ice.poll_transmit() {
            destinations.push(check.destination.to_string());
        }
    }
    destinations.sort();
    destinations.dedup();
    destinations
}

const NOWHERE: [&str; 8] = [
    "0.0.0.0:4000",
    "0.1.2.3:4000",
    "255.255.255.255:4000",
    "224.0.0.251:5353",
    "[::]:4000",
    "[ff02::fb]:5353",
    "[::ffff:224.0.0.1]:4000",
    "192.0.2.9:0",
];
const LOOPBACK: [&str; 4] = ["127.0.0.1:53", "127.8.8.8:53", "[::1]:53", "[::ffff:127.0.0.1]:53"];

#[test]
fn no_check_goes_to_a_group_or_nowhere() {
    for hosts in [
        &["192.0.2.1:40000", "[2001:db8::1]:40000"][..],
        &["127.0.0.1:40000", "[::1]:40000"],
    ] {
        for early in [false, true] {
            assert_eq!(checked(hosts, &NOWHERE, early), [""; 0]);
        }
    }
}

#[test]
fn no_check_goes_to_this_machine_unless_its_peers_are_wanted() {
    let elsewhere = ["192.0.2.1:40000", "[2001:db8::1]:40000"];
    for early in [false, true] {
        assert_eq!(checked(&elsewhere, &LOOPBACK, early), [""; 0]);
        assert_eq!(checked(&elsewhere, &["192.0.2.9:599"], early), ["192.0.2.9:599"]);
        assert_eq!(checked(&["127.0.0.1:40000"], &LOOPBACK[..1], early), ["127.0.0.1:53"]);
    }
}

#[test]
fn a_relay_on_loopback_wants_no_peers_of_this_machine() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut ice = Ice::new(Instant::now(), true, &mut rng);
    ice.add_path(1, PathKind::Relay, "127.0.0.1:40000".parse().unwrap());
    assert!(!ice.is_on_loopback());
    ice.add_path(2, PathKind::Host, "127.0.0.1:40002".parse().unwrap());
    assert!(ice.is_on_loopback());
    ice.remove_path(2);
    assert!(!ice.is_on_loopback());
}
