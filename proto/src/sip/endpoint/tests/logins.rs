//! REGISTER and digest: who gets in, who does not, and for how long.

use super::*;

fn changes(events: &[SipEvent]) -> Vec<ContactChange> {
    events
        .iter()
        .filter_map(|e| {
            if let SipEvent::ContactChanged { change, .. } = e {
                Some(*change)
            } else {
                None
            }
        })
        .collect()
}

fn failures(events: &[SipEvent]) -> Vec<(LoginFailure, u32)> {
    events
        .iter()
        .filter_map(|e| {
            if let SipEvent::LoginFailed { why, failures, .. } = e {
                Some((*why, *failures))
            } else {
                None
            }
        })
        .collect()
}

#[test]
pub(super) fn a_phone_registers_refreshes_and_takes_back() {
    let mut world = World::new(1);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    assert_eq!(
        world.ladder(),
        "phone -> gateway: REGISTER\ngateway -> phone: 401 Unauthorized\nphone -> gateway: REGISTER\ngateway -> phone: 200 OK"
    );
    assert!(
        world.packets[2].contains("algorithm=SHA-256"),
        "the better hash is taken: {}",
        world.packets[2]
    );
    let contacts = world.nodes[GATEWAY].endpoint.contacts(world.now, "100");
    assert_eq!(contacts.len(), 1);
    assert_eq!(contacts[0].five_tuple.remote, world.nodes[PHONE].address);
    assert!(contacts[0].uri.starts_with("sip:ph01-"), "{}", contacts[0].uri);
    let expires = Duration::from_secs(600);
    assert_eq!(
        world.events(PHONE),
        [SipEvent::Registered {
            registration: 1,
            expires
        }]
    );
    world.register(PHONE, "100", "secret", 600);
    world.second();
    world.register(PHONE, "100", "secret", 0);
    world.second();
    use ContactChange::{Added, Refreshed, Removed};
    assert_eq!(changes(&world.events(GATEWAY)), [Added, Refreshed, Removed]);
    assert!(world.gateway().outbound_registrations.is_empty());
    let now = world.now;
    assert!(world.gateway().registered_accounts(now).is_empty());
    world.assert_empty();
}

#[test]
pub(super) fn the_strongest_hash_that_both_know_is_taken() {
    let mut world = World::new(1);
    let mut strong = account("100", "secret");
    strong.ha1 = Ha1::all_of("100", REALM, "secret");
    world.gateway().set_accounts(vec![strong]);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let asked: Vec<_> = world.packets[1].match_indices("algorithm=").collect();
    let names = asked
        .iter()
        .map(|(at, _)| world.packets[1][at + 10..].split(',').next().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["SHA-512-256", "SHA-256", "MD5"]);
    assert!(
        world.packets[2].contains("algorithm=SHA-512-256"),
        "{}",
        world.packets[2]
    );
    assert_eq!(changes(&world.events(GATEWAY)), [ContactChange::Added]);
    world.register(OTHER, "100", "wrong", 600);
    world.second();
    assert_eq!(failures(&world.events(GATEWAY)), [(LoginFailure::WrongPassword, 1)]);
    // A name that is nobody's is asked for the same.
    world.packets.clear();
    world.register(OTHER, "nobody", "secret", 600);
    world.second();
    assert_eq!(world.packets[1].matches("algorithm=").count(), 3);
}

#[test]
pub(super) fn only_the_hashes_an_account_has_are_asked_for() {
    let mut world = World::new(2);
    let mut old = account("100", "secret");
    old.ha1.sha256 = None;
    world.gateway().set_accounts(vec![old]);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    assert_eq!(world.packets[1].matches("WWW-Authenticate: Digest").count(), 1);
    assert!(!world.packets[1].contains("SHA-256"));
    assert_eq!(changes(&world.events(GATEWAY)), [ContactChange::Added]);
    world.packets.clear();
    world.register(OTHER, "nobody", "secret", 600);
    world.second();
    let challenge = &world.packets[1];
    assert_eq!(
        challenge.matches("WWW-Authenticate: Digest").count(),
        1,
        "an unknown user looks like the others"
    );
    assert!(!challenge.contains("SHA-256"));
    assert_eq!(failures(&world.events(GATEWAY)), [(LoginFailure::UnknownUser, 1)]);
    assert_eq!(
        world.events(OTHER),
        [SipEvent::RegisterFailed {
            registration: 1,
            status: 401
        }]
    );
}

#[test]
pub(super) fn a_binding_expires_unless_refreshed() {
    let mut world = World::new(3);
    world.register(PHONE, "100", "secret", 60);
    world.run(Duration::from_secs(59));
    assert_eq!(world.nodes[GATEWAY].endpoint.contacts(world.now, "100").len(), 1);
    world.run(Duration::from_secs(2));
    assert_eq!(
        changes(&world.events(GATEWAY)),
        [ContactChange::Added, ContactChange::Expired]
    );
    world.register(PHONE, "100", "secret", 59);
    world.second();
    let events = world.events(PHONE);
    assert_eq!(
        events.last(),
        Some(&SipEvent::RegisterFailed {
            registration: 1,
            status: 423
        })
    );
    assert!(world.packets.last().unwrap().contains("Min-Expires: 60"));
}

/// The second REGISTER of a login, with another branch.
fn recorded(world: &World, branch: &str) -> String {
    let packet = world
        .packets
        .iter()
        .find(|p| p.contains("Authorization: "))
        .expect("a login")
        .clone();
    let start = packet.find("branch=").unwrap() + 7;
    let end = start + packet[start..].find(';').unwrap();
    format!("{}z9hG4bK{branch}{}", &packet[..start], &packet[end..])
}

#[test]
pub(super) fn a_recorded_login_is_worth_nothing() {
    let mut world = World::new(5);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let login = recorded(&world, "replay");
    world.events(GATEWAY);
    // From elsewhere it is not even a login: the nonce was given to another address. So nobody can fail in a phone's name.
    world.inject(GATEWAY, "198.51.100.66:5060", login.as_bytes());
    assert!(world.packets.last().unwrap().contains("stale=true"));
    assert_eq!(failures(&world.events(GATEWAY)), []);
    let login = recorded(&world, "again");
    world.inject(GATEWAY, "192.0.2.2:5060", login.as_bytes());
    // From its own address its count is used up: no failure, since the password is right, but another nonce.
    assert_eq!(failures(&world.events(GATEWAY)), []);
    let answer = world.packets.last().unwrap();
    assert!(
        answer.contains("401 Unauthorized") && answer.contains("stale=true"),
        "{answer}"
    );
    // Much later the nonce itself is too old: that is no failure, only a new challenge.
    world.run(Duration::from_secs(301));
    let login = recorded(&world, "late");
    world.inject(GATEWAY, "192.0.2.2:5060", login.as_bytes());
    assert!(world.packets.last().unwrap().contains("stale=true"));
    assert_eq!(failures(&world.events(GATEWAY)), []);
}

#[test]
pub(super) fn a_nonce_of_another_life_is_stale_not_wrong() {
    let mut world = World::new(6);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let login = recorded(&world, "other");
    world.nodes[GATEWAY].endpoint = World::new(7).nodes.remove(GATEWAY).endpoint;
    world.inject(GATEWAY, "192.0.2.2:5060", login.as_bytes());
    assert!(world.packets.last().unwrap().contains("stale=true"));
    assert_eq!(failures(&world.events(GATEWAY)), []);
}

/// A REGISTER with an answer to the challenge in `answer`, as phones write it.
fn logged_in(world: &mut World, cseq: u32, fields: &str) -> String {
    let register = |auth: &str| {
        let branch = if auth.is_empty() { "a" } else { "b" };
        format!(
            "REGISTER sip:quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{branch}{cseq};rport\r\n\
             From: <sip:100@quartet.example>;tag=t\r\nTo: <sip:100@quartet.example>\r\nCall-ID: reg-1\r\n\
             CSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n{auth}{fields}Content-Length: 0\r\n\r\n"
        )
    };
    let request = ("REGISTER", "sip:quartet.example");
    world.log_in("192.0.2.9:5060", ("100", "secret"), request, register)
}

#[test]
pub(super) fn several_contacts_and_the_star() {
    let mut world = World::new(8);
    let both = "Contact: <sip:a@192.0.2.9:5060>;+sip.instance=\"<urn:uuid:1>\", \"B, b\" <sip:b@192.0.2.9:5070>;expires=120\r\n";
    let answer = logged_in(&mut world, 2, both);
    assert!(answer.starts_with("SIP/2.0 200 OK"), "{answer}");
    assert!(answer.contains("Contact: <sip:a@192.0.2.9:5060>;expires=3600"));
    assert!(answer.contains("Contact: <sip:b@192.0.2.9:5070>;expires=120"));
    let contacts = world.nodes[GATEWAY].endpoint.contacts(world.now, "100");
    assert_eq!(contacts[0].five_tuple.remote, "192.0.2.9:5070".parse().unwrap());
    // An overtaken one changes nothing.
    assert!(logged_in(&mut world, 1, "Contact: <sip:a@192.0.2.9:5060>;expires=0\r\n").starts_with("SIP/2.0 500"));
    // The same phone at another address replaces itself; asking without Contact lists.
    let moved = "m: <sip:a2@192.0.2.9:5099>;+sip.instance=\"<urn:uuid:1>\"\r\n";
    let answer = logged_in(&mut world, 3, moved);
    assert!(answer.contains("a2@") && !answer.contains("sip:a@"), "{answer}");
    assert_eq!(logged_in(&mut world, 4, "").matches("Contact: ").count(), 2);
    assert!(logged_in(&mut world, 5, "Contact: *\r\n").starts_with("SIP/2.0 400 Contact * Needs Expires 0"));
    assert_eq!(
        logged_in(&mut world, 6, "Contact: *\r\nExpires: 0\r\n")
            .matches("Contact: ")
            .count(),
        0
    );
    use ContactChange::{Added, Refreshed, Removed};
    assert_eq!(
        changes(&world.events(GATEWAY)),
        [Added, Added, Refreshed, Removed, Removed]
    );
}

#[test]
pub(super) fn too_many_contacts_are_refused_all_at_once() {
    let mut world = World::new(9);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let four = "Contact: <sip:a@192.0.2.9>, <sip:b@192.0.2.9>, <sip:c@192.0.2.9>, <sip:d@192.0.2.9>\r\n";
    assert!(logged_in(&mut world, 2, four).starts_with("SIP/2.0 403 Too Many Contacts"));
    assert_eq!(world.nodes[GATEWAY].endpoint.contacts(world.now, "100").len(), 1);
    let huge = "Contact: <sip:a@192.0.2.9>\r\nExpires: 100000000000000000000\r\n";
    assert!(logged_in(&mut world, 3, huge).contains("expires=7200"));
}

/// Three devices may be registered; `port` and program tell them apart.
fn registers(world: &mut World, port: u16, contact: &str, agent: &str) -> String {
    let source = format!("192.0.2.9:{port}");
    let register = |auth: &str| {
        let cseq = if auth.is_empty() { 1 } else { 2 };
        format!(
            "REGISTER sip:quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{contact}{cseq};rport\r\n\
             From: <sip:100@x>;tag=t\r\nTo: <sip:100@x>\r\nCall-ID: {contact}\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <sip:{contact}@{source}>\r\nUser-Agent: {agent}\r\n{auth}\r\n"
        )
    };
    let request = ("REGISTER", "sip:quartet.example");
    world.log_in(&source, ("100", "secret"), request, register)
}

fn registered(world: &World) -> Vec<String> {
    let contacts = world.nodes[GATEWAY].endpoint.contacts(world.now, "100");
    contacts
        .into_iter()
        .map(|contact| contact.uri[4..].split('@').next().unwrap().to_owned())
        .collect()
}

#[test]
pub(super) fn a_softphone_that_restarts_again_and_again_is_never_refused_and_ousts_nobody_else() {
    let mut world = World::new(9);
    assert!(registers(&mut world, 5060, "desk", "DeskPhone/1").starts_with("SIP/2.0 200"));
    for restart in 1..=5 {
        let answer = registers(&mut world, 40_000 + restart, &format!("soft{restart}"), "SoftPhone/2");
        assert!(answer.starts_with("SIP/2.0 200"), "{restart}: {answer}");
    }
    assert_eq!(registered(&world), ["soft5", "soft4", "desk"]);
    // Another program: the oldest of all.
    assert!(registers(&mut world, 50_000, "new", "Other/3").starts_with("SIP/2.0 200"));
    assert_eq!(registered(&world), ["new", "soft5", "soft4"]);
}

#[test]
pub(super) fn an_operator_may_have_a_device_too_many_refused() {
    let mut world = World::new(9);
    let limits = Limits {
        replace_oldest: false,
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        ..config("gw01")
    };
    world.replace_gateway(config);
    for device in 1..=3 {
        assert!(
            registers(&mut world, 40_000 + device, &format!("d{device}"), "SoftPhone/2").starts_with("SIP/2.0 200")
        );
    }
    assert!(registers(&mut world, 40_004, "d4", "SoftPhone/2").starts_with("SIP/2.0 403 Too Many Contacts"));
    assert_eq!(registered(&world), ["d3", "d2", "d1"]);
    // One that comes back where it was is the same device.
    assert!(registers(&mut world, 40_001, "d1again", "SoftPhone/2").starts_with("SIP/2.0 200"));
    assert_eq!(registered(&world), ["d1again", "d3", "d2"]);
}

#[test]
pub(super) fn a_phone_behind_a_nat_is_reached_where_it_came_from() {
    let mut world = World::new(10);
    let answer = logged_in(&mut world, 2, "Contact: <sip:a@10.0.0.5:5060>\r\n");
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let contacts = world.nodes[GATEWAY].endpoint.contacts(world.now, "100");
    assert_eq!(contacts[0].five_tuple.remote, "192.0.2.9:5060".parse().unwrap());
    assert_eq!(contacts[0].uri, "sip:a@10.0.0.5:5060");
}

#[test]
pub(super) fn an_account_that_is_removed_loses_its_contacts() {
    let mut world = World::new(11);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    world.events(GATEWAY);
    world.gateway().set_accounts(vec![account("101", "secret")]);
    world.drain(GATEWAY);
    assert_eq!(changes(&world.events(GATEWAY)), [ContactChange::Removed]);
}

#[test]
pub(super) fn the_tables_of_strangers_are_bounded() {
    let mut world = World::new(12);
    let limits = Limits {
        nonces: 10,
        failing_sources: 10,
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        ..config("gw01")
    };
    world.replace_gateway(config);
    for n in 0..50 {
        world.register(PHONE, "100", "secret", 600);
        world.nodes[OTHER].address = format!("198.51.100.{n}:5060").parse().unwrap();
        world.register(OTHER, &format!("user{n}"), "guess", 600);
        world.second();
    }
    let (nonces, (sources, accounts)) = world.gateway().guard.len();
    assert!(
        nonces <= 10 && sources <= 10 && accounts == 0,
        "{nonces} nonces, {sources} sources"
    );
    let registered = world
        .events(PHONE)
        .iter()
        .filter(|e| matches!(e, SipEvent::Registered { .. }))
        .count();
    assert_eq!(registered, 50, "and the honest phone never noticed");
}

#[test]
pub(super) fn a_phone_without_nonce_counts_still_gets_in_once_per_nonce() {
    let mut world = World::new(13);
    let mut login = String::new();
    for round in 0..2 {
        let branch = format!("old{round}");
        let plain = |auth: &str| {
            format!(
                "REGISTER sip:quartet.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{branch}{};rport\r\n\
                 From: <sip:100@x>;tag=t\r\nTo: <sip:100@x>\r\nCall-ID: old\r\nCSeq: {} REGISTER\r\n{auth}\r\n",
                auth.len(),
                10 + round
            )
        };
        if round == 0 {
            world.inject(GATEWAY, "192.0.2.9:5060", plain("").as_bytes());
            let challenge = world.packets.last().unwrap().clone();
            let value = challenge.lines().rfind(|l| l.starts_with("WWW-")).unwrap();
            let value = value
                .strip_prefix("WWW-Authenticate: ")
                .unwrap()
                .replace(",qop=\"auth\"", "");
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let (one, who) = (std::iter::once(value.as_str()), credentials("100", "secret").unwrap());
            let answer =
                crate::sip::auth::authorization(one, &who, "REGISTER", "sip:quartet.example", &mut rng).unwrap();
            assert!(!answer.contains("qop"));
            login = format!("Authorization: {answer}\r\n");
        }
        world.inject(GATEWAY, "192.0.2.9:5060", plain(&login).as_bytes());
        let expected = if round == 0 { "200 OK" } else { "stale=true" };
        assert!(world.packets.last().unwrap().contains(expected));
    }
}

/// Seen with SIPp, whose digest URI has no user, and behind proxies that rewrite the request URI (RFC 3261 §22.4): any host of ours
/// will do; one made for somebody else's is still refused.
#[test]
pub(super) fn a_digest_uri_of_any_name_of_ours_will_do() {
    for (uri, expected) in [
        ("sip:192.0.2.1", "SIP/2.0 100"),
        ("sip:200@192.0.2.1", "SIP/2.0 100"),
        ("sip:201@192.0.2.1", "SIP/2.0 100"),
        ("sip:200@192.0.2.1:5062;transport=udp", "SIP/2.0 100"),
        ("sip:200@pbx.example", "SIP/2.0 100"),
        ("sip:200@PBX.example", "SIP/2.0 100"),
        ("sip:quartet.example", "SIP/2.0 100"),
        ("tel:200", "SIP/2.0 400 Digest URI Mismatch"),
        ("sip:200@pbx.example.org", "SIP/2.0 400 Digest URI Mismatch"),
        ("sip:192.0.2.9", "SIP/2.0 400 Digest URI Mismatch"),
    ] {
        let mut world = World::new(14);
        let invite = |auth: &str| {
            format!(
                "INVITE sip:200@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{}\r\n\
                 From: <sip:100@pbx.example>;tag=t\r\nTo: <sip:200@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
                 Contact: <sip:100@192.0.2.9>\r\n{auth}\r\n",
                auth.len()
            )
        };
        let answer = world.log_in("192.0.2.9:5060", ("100", "secret"), ("INVITE", uri), invite);
        assert!(answer.starts_with(expected), "{uri}: {answer}");
    }
}
