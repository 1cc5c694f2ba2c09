//! Which candidates of a peer are checked.
#![allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::answers::{Answers, MAX_MAPPED, MAX_WAITING};
use super::sources::{MAX_CHECKED, MAX_OLD, MAX_REFLEXIVE, MAX_SEEN, Sources};
use super::*;
use crate::reflector::names;

const PEER: &str = "ice-ufrag:peer\nice-pwd:0123456789012345678901\n";

/// An agent with these host addresses, and where it sends checks to when the peer names these.
fn checked(hosts: &[&str], remote: &[&str], early: bool) -> Vec<String> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut ice = Ice::new(true, &mut rng);
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
    let mut ice = Ice::new(true, &mut rng);
    ice.add_path(1, PathKind::Relay, "127.0.0.1:40000".parse().unwrap());
    assert!(!ice.is_on_loopback());
    ice.add_path(2, PathKind::Host, "127.0.0.1:40002".parse().unwrap());
    assert!(ice.is_on_loopback());
    ice.remove_path(2);
    assert!(!ice.is_on_loopback());
}

/// Two agents that have each other's lines; the first check of the one at the other.
fn first_check(rng: &mut ChaCha20Rng, now: Instant) -> (Ice, Vec<u8>) {
    let (here, there): (SocketAddr, SocketAddr) =
        ("192.0.2.1:4000".parse().unwrap(), "192.0.2.2:4000".parse().unwrap());
    let mut ours = Ice::new(false, rng);
    let mut theirs = Ice::new(true, rng);
    ours.add_path(1, PathKind::Host, here);
    theirs.add_path(1, PathKind::Host, there);
    let (of_ours, of_theirs) = (ours.take_lines(), theirs.take_lines());
    of_theirs.lines().for_each(|line| ours.remote_line(line, rng).unwrap());
    of_ours.lines().for_each(|line| theirs.remote_line(line, rng).unwrap());
    for step in 0..200 {
        theirs.handle_timeout(now + Duration::from_millis(10 * step));
        if let Some(check) = theirs.poll_transmit() {
            return (ours, check.bytes);
        }
    }
    panic!("no check");
}

#[test]
fn a_check_that_was_seen_is_nobody_elses() {
    let (mut rng, now) = (ChaCha20Rng::seed_from_u64(1), Instant::now());
    let (mut ice, check) = first_check(&mut rng, now);
    let peer: SocketAddr = "192.0.2.2:4000".parse().unwrap();
    assert!(ice.receive(now, 1, peer, &check));
    let answers = |ice: &mut Ice| std::iter::from_fn(|| ice.poll_transmit()).count();
    answers(&mut ice);
    for port in 1_024..4_096 {
        let stranger = SocketAddr::from(([198, 51, 100, 66], port));
        assert!(!ice.receive(now, 1, stranger, &check));
        assert!(!ice.is_checked(1, stranger));
    }
    assert_eq!(answers(&mut ice), 0, "who has seen a check gets nothing for it");
    assert!(ice.is_checked(1, peer));
    // The peer repeats it: it is answered.
    assert!(ice.receive(now, 1, peer, &check));
    assert!(answers(&mut ice) > 0);
}

#[test]
fn an_answer_is_good_once_and_from_where_the_check_went() {
    let now = Instant::now();
    let (here, there): (SocketAddr, SocketAddr) =
        ("192.0.2.1:4000".parse().unwrap(), "192.0.2.2:4000".parse().unwrap());
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut ours = Ice::new(true, &mut rng);
    let mut theirs = Ice::new(false, &mut rng);
    ours.add_path(1, PathKind::Host, here);
    ours.add_path(2, PathKind::Host, "192.0.2.1:4002".parse().unwrap());
    theirs.add_path(1, PathKind::Host, there);
    let lines = [ours.take_lines(), theirs.take_lines()];
    lines[0]
        .lines()
        .for_each(|line| theirs.remote_line(line, &mut rng).unwrap());
    lines[1]
        .lines()
        .for_each(|line| ours.remote_line(line, &mut rng).unwrap());
    let mut step = now;
    let mut exchange = |ours: &mut Ice, theirs: &mut Ice| loop {
        step += Duration::from_millis(10);
        ours.handle_timeout(step);
        let Some(check) = ours.poll_transmit() else { continue };
        if !check.bytes.starts_with(&[0, 1]) || check.path != 1 {
            continue;
        }
        assert!(theirs.receive(step, 1, here, &check.bytes));
        let sent = std::iter::from_fn(|| theirs.poll_transmit()).find(|sent| sent.bytes.starts_with(&[1, 1]));
        break (step, sent.expect("an answer").bytes);
    };
    let (at, answer) = exchange(&mut ours, &mut theirs);
    for port in 1_024..2_048 {
        let stranger = SocketAddr::from(([198, 51, 100, 66], port));
        assert!(!ours.receive(at, 1, stranger, &answer));
        assert!(!ours.is_checked(1, stranger));
    }
    assert!(
        !ours.receive(at, 2, there, &answer),
        "it left from another address of ours"
    );
    // Who forges it has not answered.
    let mut forged = answer.clone();
    forged[30] ^= 1;
    assert!(!ours.receive(at, 1, there, &forged));
    assert!(ours.receive(at, 1, there, &answer));
    assert!(ours.is_checked(1, there));
    assert!(
        !ours.receive(at + Duration::from_millis(700), 1, there, &answer),
        "once"
    );
    let (at, next) = exchange(&mut ours, &mut theirs);
    assert!(ours.receive(at, 1, there, &next));
}

#[test]
fn answers_cost_no_more_than_so_much() {
    let mut answers = Answers::default();
    let from = |n: usize| SocketAddr::from(([192, 0, 2, 1], n as u16));
    for n in 0..5_000_usize {
        let mut check = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        check.extend([0; 4]);
        check.extend((n as u64).to_be_bytes());
        answers.note_check(&check, from(1), from(2));
        let transaction = check[8..20].try_into().unwrap();
        assert!(answers.is_awaited(transaction, from(2), from(1)));
        assert!(!answers.is_awaited(transaction, from(1), from(2)));
        if n % 2 == 0 && answers.may_map(from(n)) {
            answers.note(transaction, Some(from(n)));
            assert!(!answers.is_awaited(transaction, from(2), from(1)));
        }
    }
    assert_eq!(answers.counts(), [MAX_WAITING, MAX_MAPPED]);
    assert!(answers.may_map(from(0)) && !answers.may_map(from(1)));
}

#[test]
fn a_check_that_was_seen_is_nobody_elses_however_long_ago() {
    let mut sources = Sources::default();
    let peer: SocketAddr = "192.0.2.2:4000".parse().unwrap();
    sources.name(peer);
    let peer = (1, peer);
    let transaction = |number: u32| {
        let mut transaction = [7; 12];
        transaction[..4].copy_from_slice(&number.to_be_bytes());
        transaction
    };
    let stranger = (1, SocketAddr::from(([198, 51, 100, 66], 4_000)));
    assert!(sources.may_be_from(transaction(60_000), stranger, false));
    for number in 0..50_000 {
        assert!(sources.may_be_from(transaction(number), peer, false), "{number}");
        sources.note(peer, transaction(number));
    }
    // Those that are remembered, and those that are too many to be.
    for number in (0..50_000).step_by(97) {
        assert!(!sources.may_be_from(transaction(number), stranger, false), "{number}");
    }
    assert_eq!(sources.counts(), [MAX_SEEN, MAX_OLD, 0]);
    // With that many nobody new is heard.
    assert!(!sources.may_be_from(transaction(60_000), stranger, false));
    assert!(
        sources.may_be_from(transaction(60_000), stranger, true),
        "who was heard before"
    );
    assert!(sources.may_be_from(transaction(60_000), peer, false));
}

#[test]
fn sources_that_no_candidate_names_are_few() {
    let mut sources = Sources::default();
    let peer: SocketAddr = "192.0.2.2:4000".parse().unwrap();
    sources.name(peer);
    for port in 0..1_000_u16 {
        let pair = (1, SocketAddr::from(([198, 51, 100, 66], port)));
        let mut transaction = [7; 12];
        transaction[..2].copy_from_slice(&port.to_be_bytes());
        if sources.may_be_from(transaction, pair, false) {
            sources.note(pair, transaction);
        }
    }
    assert_eq!(sources.counts()[2], MAX_REFLEXIVE);
    assert!(sources.may_be_from([9; 12], (1, peer), false), "the peer's own address");
}

/// The user names of checks: theirs, and ours, as `THEIRS:OURS`.
fn user_names(ice: &mut Ice, now: Instant) -> std::collections::BTreeSet<String> {
    let mut names = std::collections::BTreeSet::new();
    for step in 0..40 {
        ice.handle_timeout(now + Duration::from_millis(50 * step));
        while let Some(check) = ice.poll_transmit() {
            let message = is::stun::StunMessage::parse(&check.bytes).unwrap();
            let (theirs, ours) = message.split_username().unwrap();
            names.insert(format!("{theirs}:{ours}"));
        }
    }
    names
}

#[test]
fn a_restart_before_the_first_answer_leaves_both_generations_to_it() {
    let (mut rng, now) = (ChaCha20Rng::seed_from_u64(1), Instant::now());
    let mut ice = Ice::new(true, &mut rng);
    ice.add_path(1, PathKind::Host, "192.0.2.1:4000".parse().unwrap());
    ice.restart(&mut rng);
    ice.remote_line("candidate:1 1 udp 1 192.0.2.9 4000 typ host", &mut rng)
        .unwrap();
    assert!(!ice.has_remote());
    PEER.lines().for_each(|line| ice.remote_line(line, &mut rng).unwrap());
    assert!(ice.has_remote(), "from now on the time to connect counts");
    let lines = ice.take_lines();
    let ours = lines.lines().filter_map(|line| line.strip_prefix("ice-ufrag:"));
    let both: std::collections::BTreeSet<_> = ours.map(|ours| format!("peer:{ours}")).collect();
    assert_eq!(both.len(), 2, "{lines}");
    assert_eq!(user_names(&mut ice, now), both);
}

#[test]
fn a_restart_is_checked_beside_the_generation_before_it() {
    let (mut rng, now) = (ChaCha20Rng::seed_from_u64(1), Instant::now());
    let mut ice = Ice::new(true, &mut rng);
    ice.add_path(1, PathKind::Host, "192.0.2.1:4000".parse().unwrap());
    let fragment = |lines: &str| {
        let line = lines.lines().find_map(|line| line.strip_prefix("ice-ufrag:"));
        line.unwrap_or_default().to_owned()
    };
    let first = fragment(&ice.take_lines());
    let mut tell = |ice: &mut Ice, lines: &str| lines.lines().for_each(|line| ice.remote_line(line, &mut rng).unwrap());
    tell(&mut ice, PEER);
    tell(&mut ice, "candidate:1 1 udp 1 192.0.2.9 4000 typ host");
    assert_eq!(user_names(&mut ice, now), [format!("peer:{first}")].into());
    ice.restart(&mut ChaCha20Rng::seed_from_u64(2));
    let lines = ice.take_lines();
    let second = fragment(&lines);
    assert!(second != first && lines.contains("candidate:"), "{lines}");
    let at = now + Duration::from_secs(10);
    assert_eq!(
        user_names(&mut ice, at),
        [format!("peer:{first}")].into(),
        "not answered"
    );
    // Nothing more is begun before there is an answer; candidates may come before it.
    ice.restart(&mut ChaCha20Rng::seed_from_u64(3));
    assert_eq!(ice.take_lines(), "");
    tell(&mut ice, "candidate:2 1 udp 1 192.0.2.8 4000 typ host");
    // A peer that keeps its credentials answers with them.
    tell(&mut ice, PEER);
    let both = [format!("peer:{first}"), format!("peer:{second}")].into();
    assert_eq!(user_names(&mut ice, now + Duration::from_secs(20)), both);
    assert_eq!(ice.next.as_ref().unwrap().candidates().len(), 2);
    assert_eq!(ice.take_lines(), "");
    // The peer begins one by itself: in the place of ours.
    tell(&mut ice, &PEER.replace("peer", "other"));
    let third = fragment(&ice.take_lines());
    tell(&mut ice, "candidate:3 1 udp 1 192.0.2.7 4000 typ host");
    let names = user_names(&mut ice, now + Duration::from_secs(30));
    assert_eq!(names, [format!("peer:{first}"), format!("other:{third}")].into());
}

#[test]
fn the_pair_in_use_is_never_forgotten() {
    let pair = |port| (1, SocketAddr::from(([192, 0, 2, 2], port)));
    let mut pairs = VecDeque::new();
    remember(&mut pairs, pair(1), None);
    for port in 2..1_000 {
        remember(&mut pairs, pair(port), Some(pair(1)));
        assert!(pairs.contains(&pair(1)) && pairs.len() <= MAX_CHECKED);
    }
    // Others are forgotten by when they were heard last.
    remember(&mut pairs, pair(999 - 62), Some(pair(1)));
    remember(&mut pairs, pair(2_000), Some(pair(1)));
    assert!(pairs.contains(&pair(999 - 62)) && !pairs.contains(&pair(999 - 61)));
}

#[test]
fn a_reflector_has_a_name_in_candidates_and_comes_after_relays_and_streams_after_datagrams() {
    let (mut rng, now) = (ChaCha20Rng::seed_from_u64(1), Instant::now());
    let mut ice = Ice::new(true, &mut rng);
    let here = names::address(1, [1, 2, 3, 4], 599);
    assert!(ice.add_path(1, PathKind::Relay, here));
    assert!(ice.add_path(2, PathKind::Relay, "[2001:db8::1]:4000".parse().unwrap()));
    assert!(ice.add_path(3, PathKind::Relay, "192.0.2.1:4000".parse().unwrap()));
    assert!(ice.add_path(4, PathKind::StreamRelay, "192.0.2.1:4001".parse().unwrap()));
    assert!(ice.add_path(5, PathKind::StreamRelay, names::address(1, [1, 2, 3, 5], 599)));
    let lines = ice.take_lines();
    let candidates: Vec<Vec<&str>> = lines
        .lines()
        .filter(|line| line.starts_with("candidate:"))
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!(
        candidates[0][4..6],
        ["reflector-1-67305985.reflector", "599"],
        "{lines}"
    );
    assert!(!lines.contains("100::"), "{lines}");
    let priority = |at: usize| candidates[at][3].parse::<u32>().unwrap();
    assert!(priority(0) < priority(1) && priority(0) < priority(2), "{lines}");
    assert!(priority(3) < priority(0) && priority(4) < priority(3), "{lines}");
    // The peer's is an address of the same kind, which the reflector's path understands.
    for line in PEER.lines() {
        ice.remote_line(line, &mut rng).unwrap();
    }
    ice.remote_line(
        "candidate:1 1 udp 33554431 reflector-1-7.reflector 599 typ relay raddr reflector-1-7.reflector rport 599",
        &mut rng,
    )
    .unwrap();
    let mut destinations = Vec::new();
    for step in 0..20 {
        ice.handle_timeout(now + Duration::from_millis(50 * step));
        destinations.extend(std::iter::from_fn(|| ice.poll_transmit()).map(|check| (check.path, check.destination)));
    }
    assert!(
        destinations.contains(&(1, names::address(1, [7, 0, 0, 0], 599))),
        "{destinations:?}"
    );
}

/// libwebrtc does not look at a new pair that comes after the one it uses, as long as it has heard something by that within 2.5 s.
#[test]
fn where_we_have_moved_to_comes_before_where_we_were() {
    let (mut rng, mut now) = (ChaCha20Rng::seed_from_u64(1), Instant::now());
    let at = |place: u8| SocketAddr::from(([192, 0, 2, place], 4_000));
    let peer = at(200);
    let (mut ours, mut theirs) = (Ice::new(true, &mut rng), Ice::new(false, &mut rng));
    ours.add_path(1, PathKind::Host, at(1));
    theirs.add_path(1, PathKind::Host, peer);
    let said = ours.take_lines();
    said.lines()
        .for_each(|line| theirs.remote_line(line, &mut rng).unwrap());
    for line in theirs.take_lines().lines() {
        ours.remote_line(line, &mut rng).unwrap();
    }
    let priority = |line: &str| line.split(' ').nth(3).unwrap().parse::<u32>().unwrap();
    let mut highest = said
        .lines()
        .filter(|line| line.starts_with("candidate:"))
        .map(priority)
        .max()
        .unwrap();
    for path in 1..=4 {
        let mut told = Vec::new();
        for _ in 0..200 {
            now += Duration::from_millis(10);
            ours.handle_timeout(now);
            theirs.handle_timeout(now);
            while let Some(check) = ours.poll_transmit() {
                told.extend(is::stun::StunMessage::parse(&check.bytes).unwrap().prio());
                theirs.receive(now, 1, at(path), &check.bytes);
            }
            while let Some(check) = theirs.poll_transmit() {
                if check.destination == at(path) {
                    ours.receive(now, path.into(), peer, &check.bytes);
                }
            }
            while ours.poll_event().is_some() {}
            while theirs.poll_event().is_some() {}
        }
        assert_eq!(ours.selected(), Some((path.into(), peer)));
        if path > 1 {
            let lowest = *told.iter().min().unwrap();
            assert!(lowest > highest, "{lowest} is not above {highest}");
            highest = lowest;
        }
        ours.remove_path(path.into());
        ours.add_path(u32::from(path) + 1, PathKind::Host, at(path + 1));
    }
}
