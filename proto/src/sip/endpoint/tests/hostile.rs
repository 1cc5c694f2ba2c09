//! Hostile bytes and hostile words: mutated messages, injected headers, floods, strangers in dialogs.

use super::*;
use crate::sip::OutgoingInvite;
use crate::sip::dialog::{Dialog, routes_of};
use crate::sip::message::{Message, Method};

/// What honest endpoints send, as material for mutation.
fn corpus() -> Vec<Vec<u8>> {
    let mut world = World::new(70);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let (ours, _) = world.confirmed();
    world.hangup(PHONE, ours);
    let early = world.ring_phone(None);
    world.second();
    world.hangup(GATEWAY, early);
    world.second();
    let extra = "REGISTER sip:x SIP/2.0\r\nv: SIP/2.0/UDP [::1];branch=z9hG4bKq\r\nf: <tel:+1>;tag=1\r\nt: <sip:100@x>\r\n\
        i: 1\r\nCSeq: 1 REGISTER\r\nm: <sip:a@b>;+sip.instance=\"<urn:uuid:1>\", *\r\nl: 0\r\n\r\n";
    world
        .packets
        .iter()
        .map(|p| p.clone().into_bytes())
        .chain([extra.as_bytes().to_vec()])
        .collect()
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut ChaCha8Rng) {
    const WORDS: [&str; 12] = [
        "\r\n",
        "\r\n\r\n",
        "\"",
        "<",
        ">",
        ";",
        ",",
        ":",
        "%0",
        "\u{1F436}",
        "99999999999999999999",
        "\r\n ",
    ];
    let mut pick = |below: usize| usize::try_from(rng.next_u64() % (below.max(1) as u64)).unwrap();
    for _ in 0..=pick(6) {
        let at = pick(bytes.len() + 1).min(bytes.len());
        match pick(6) {
            0 if !bytes.is_empty() => {
                let byte = u8::try_from(pick(256)).unwrap();
                let at = at.min(bytes.len() - 1);
                bytes[at] = byte;
            }
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..(at + pick(20)).min(bytes.len()))),
            3 => drop(bytes.splice(at..at, WORDS[pick(WORDS.len())].bytes())),
            4 => {
                let other = &corpus[pick(corpus.len())];
                let from = pick(other.len());
                let part = other[from..(from + pick(80)).min(other.len())].to_vec();
                drop(bytes.splice(at..at, part));
            }
            _ => {
                let line = pick(40);
                let text = String::from_utf8_lossy(bytes).into_owned();
                let lines: Vec<&str> = text
                    .split("\r\n")
                    .enumerate()
                    .filter(|(n, _)| *n != line)
                    .map(|(_, l)| l)
                    .collect();
                *bytes = lines.join("\r\n").into_bytes();
            }
        }
    }
}

#[test]
pub(super) fn twenty_thousand_mutations_never_panic_nor_fill_the_tables() {
    let corpus = corpus();
    let mut world = World::new(71);
    let limits = Limits {
        server_transactions: 200,
        dialogs: 50,
        nonces: 50,
        failing_sources: 50,
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        ..config("gw01")
    };
    world.nodes[GATEWAY].endpoint = Endpoint::new(config, Box::new(ChaCha8Rng::seed_from_u64(70)));
    world.gateway().set_accounts(vec![account("100", "secret")]);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let mut rng = ChaCha8Rng::seed_from_u64(72);
    for round in 0..20_000 {
        let mut bytes = corpus[usize::try_from(rng.next_u64()).unwrap() % corpus.len()].clone();
        mutate(&mut bytes, &corpus, &mut rng);
        let node = if round % 4 == 0 { PHONE } else { GATEWAY };
        world.inject(node, "198.51.100.7:5060", &bytes);
        if round % 50 == 0 {
            world.second();
            let e = &world.nodes[GATEWAY].endpoint;
            assert!(e.server_transactions.len() <= 200 && e.dialogs.len() <= 50);
            let (nonces, (sources, accounts)) = e.guard.len();
            assert!(nonces <= 50 && sources <= 50 && accounts <= 1);
            world.packets.clear();
            world.ladder.clear();
        }
    }
    for key in 0..30_000 {
        for node in [GATEWAY, PHONE] {
            let _ = world.command(
                node,
                SipCommand::Hangup {
                    dialog: DialogKey(key),
                    reason: None,
                },
            );
        }
    }
    world.run(Duration::from_secs(700));
    world.assert_empty();
}

#[test]
pub(super) fn no_text_of_a_command_can_start_a_header() {
    let evil = "x\r\nX-Evil: 1\r\n\r\nbody\0\u{1b}\u{85}";
    let mut world = World::new(73);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    world.packets.clear();
    let name = NameAddr {
        display: Some(evil.to_owned()),
        uri: Uri {
            user: Some(evil.to_owned()),
            host: evil.to_owned(),
            headers: Some(evil.to_owned()),
            ..Uri::sip_host("a", "b")
        },
        params: vec![
            crate::sip::Param {
                name: evil.to_owned(),
                value: Some(evil.to_owned()),
            },
            crate::sip::Param {
                name: "ok".to_owned(),
                value: Some(evil.to_owned()),
            },
        ],
    };
    let five_tuple = world.way(world.nodes[GATEWAY].address, world.nodes[PHONE].address);
    let reason = || {
        Some(Reason {
            protocol: evil.to_owned(),
            cause: 1,
            text: evil.to_owned(),
        })
    };
    let dialog = world.gateway().new_dialog_key();
    let invite = |request_uri: &str| {
        SipCommand::Invite(Box::new(OutgoingInvite {
            trunk: None,
            alternates: Vec::new(),
            routes: Vec::new(),
            dialog,
            request_uri: request_uri.to_owned(),
            five_tuple,
            origin: five_tuple.remote,
            from: name.clone(),
            to: name.clone(),
            identity: Some(name.clone()),
            headers: Vec::new(),
            body: None,
            credentials: None,
            account: None,
        }))
    };
    assert_eq!(
        world.command(GATEWAY, invite("sip:a@b\r\nX-Evil: 1")),
        Err(SipError::BadUri)
    );
    world.command(GATEWAY, invite("sip:a@b")).unwrap();
    world
        .command(
            GATEWAY,
            SipCommand::Hangup {
                dialog,
                reason: reason(),
            },
        )
        .unwrap();
    world.second();
    world.dial("200", None);
    world.second();
    let called = world.incoming(GATEWAY);
    let answer = SipCommand::Accept {
        dialog: called,
        body: None,
        identity: Some(name.clone()),
        headers: Vec::new(),
    };
    world.command(GATEWAY, answer).unwrap();
    world.second();
    let info = SipCommand::Info {
        dialog: called,
        content_type: evil.to_owned(),
        body: b"x".to_vec(),
    };
    let _ = world.command(GATEWAY, info);
    world
        .command(
            GATEWAY,
            SipCommand::Hangup {
                dialog: called,
                reason: reason(),
            },
        )
        .unwrap();
    world.second();
    assert!(world.packets.len() > 8);
    for packet in &world.packets {
        let head = packet.split("\r\n\r\n").next().unwrap();
        assert!(head.split("\r\n").all(|l| !l.starts_with("X-Evil")), "{packet}");
        assert!(
            head.split("\r\n").all(|l| l.chars().all(|c| !c.is_control())),
            "{packet:?}"
        );
    }
}

/// A lone CR in what we repeat of a request must not split our answer for lenient readers.
#[test]
pub(super) fn nothing_repeated_from_a_request_splits_our_answer() {
    let mut world = World::new(74);
    let message = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\rX-Evil: 1\r\nFrom: <sip:a@b>;tag=1\rX-Evil: 1\r\n\
        To: <sip:a@b>\rX-Evil: 1\r\nCall-ID: 1\rX-Evil: 1\r\nCSeq: 1 OPTIONS\r\nTimestamp: 1\rX-Evil: 1\r\n\r\n";
    world.inject(GATEWAY, "198.51.100.7:5060", message.as_bytes());
    let answer = world.packets.last().unwrap().replace("\r\n", "\n");
    assert!(!answer.contains('\r'), "{answer:?}");
}

#[test]
pub(super) fn strangers_cannot_touch_a_dialog() {
    let mut world = World::new(75);
    let (ours, theirs) = world.confirmed();
    world.hangup(PHONE, ours);
    let bye = world.packets.last().unwrap().clone();
    world.wire.clear();
    let attack = |change: &dyn Fn(&str) -> String| change(&bye).replace("branch=z9hG4bK", "branch=z9hG4bKx");
    let wrong_from = attack(&|b| {
        b.replace(
            "From: \"Anna\" <sip:100@quartet.example>;tag=",
            "From: <sip:1@x>;tag=no",
        )
    });
    let wrong_call = attack(&|b| b.replace("Call-ID: ", "Call-ID: no"));
    let no_tag = attack(&|b| b.replace(";tag=gw01-", ";tag=gw02-"));
    for message in [wrong_from, wrong_call, no_tag] {
        world.inject(GATEWAY, "198.51.100.7:5060", message.as_bytes());
        assert!(world.packets.last().unwrap().starts_with("SIP/2.0 481"), "{message}");
    }
    assert_eq!(world.events(GATEWAY), []);
    world.run(Duration::from_secs(1));
    assert_eq!(
        world.events(GATEWAY),
        [SipEvent::Bye {
            dialog: theirs,
            reason: None
        }]
    );
}

#[test]
pub(super) fn a_call_is_its_logins_whatever_it_shows_and_a_merged_call_is_one_call() {
    let mut world = World::new(76);
    let five_tuple = world.way(world.nodes[PHONE].address, world.nodes[GATEWAY].address);
    let dialog = world.nodes[PHONE].endpoint.new_dialog_key();
    let command = SipCommand::Invite(Box::new(OutgoingInvite {
        trunk: None,
        alternates: Vec::new(),
        routes: Vec::new(),
        dialog,
        request_uri: "sip:200@192.0.2.1".to_owned(),
        five_tuple,
        origin: five_tuple.remote,
        from: address("<sip:101@quartet.example>"),
        to: address("<sip:200@quartet.example>"),
        identity: None,
        headers: Vec::new(),
        body: None,
        credentials: credentials("100", "secret"),
        account: None,
    }));
    world.command(PHONE, command).unwrap();
    world.second();
    let shown = world.incoming(GATEWAY);
    let events = world.events(GATEWAY);
    let [SipEvent::Incoming { caller, from, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((caller.name(), from.uri.dialled().as_str()), ("100", "101"));
    world.hangup(GATEWAY, shown);
    world.second();
    world.events(PHONE);
    world.dial("200", Some(b"offer"));
    world.second();
    let invite = world.packets.iter().rfind(|p| p.starts_with("INVITE")).unwrap().clone();
    world.inject(
        GATEWAY,
        "192.0.2.9:5060",
        invite.replace("branch=z9hG4bK", "branch=z9hG4bKother").as_bytes(),
    );
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 482"));
    let merged = world.incoming(GATEWAY);
    world.hangup(GATEWAY, merged);
    world.second();
    world.assert_empty();
}

#[test]
pub(super) fn who_uses_the_tags_of_another_does_not_keep_his_call_out() {
    let mut world = World::new(78);
    let call = |cseq: u32, source: &'static str, user: &'static str| {
        move |auth: &str| {
            format!(
                "INVITE sip:200@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{user}{cseq}{}\r\nFrom: <sip:{user}@x>;tag=t\r\n\
                 To: <sip:200@x>\r\nCall-ID: c\r\nCSeq: {cseq} INVITE\r\nContact: <sip:{user}@{source}>\r\n{auth}Content-Length: 0\r\n\r\n",
                auth.len()
            )
        }
    };
    let dial = |world: &mut World, source: &'static str, user: &'static str| {
        let what = ("INVITE", "sip:200@192.0.2.1");
        world.log_in(source, (user, "secret"), what, call(7, source, user))
    };
    assert!(dial(&mut world, "192.0.2.9:5060", "101").starts_with("SIP/2.0 100"));
    // With the same tags and number: his own call.
    assert!(dial(&mut world, "192.0.2.2:5060", "100").starts_with("SIP/2.0 100"));
    // The same caller's by another way is one call.
    let again =
        call(7, "192.0.2.8:5060", "100")("Authorization: Digest username=\"100\", realm=\"quartet.example\"\r\n");
    world.inject(GATEWAY, "192.0.2.8:5060", again.as_bytes());
    assert!(world.packets.last().unwrap().starts_with("SIP/2.0 482"));
}

#[test]
pub(super) fn full_tables_say_when_to_come_back() {
    let mut world = World::new(77);
    let limits = Limits {
        dialogs: 1,
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        ..config("gw01")
    };
    world.nodes[GATEWAY].endpoint = Endpoint::new(config, Box::new(ChaCha8Rng::seed_from_u64(70)));
    world.gateway().set_accounts(vec![account("100", "secret")]);
    world.dial("200", Some(b"offer"));
    world.second();
    let second = world.dial("201", Some(b"offer"));
    world.second();
    let rejected = SipEvent::Rejected {
        dialog: second,
        status: 503,
        reason: "Service Unavailable".to_owned(),
        retry_after: Some(5),
        redirect: None,
    };
    assert_eq!(world.events(PHONE), [rejected]);
}

#[test]
pub(super) fn a_phone_cannot_have_us_send_to_groups_or_to_ourselves() {
    for hop in [
        "127.0.0.1:17777",
        "[::ffff:127.0.0.1]:17777",
        "224.0.1.75",
        "255.255.255.255",
        "0.0.0.0",
    ] {
        let mut world = World::new(80);
        let (_, theirs) = world.confirmed();
        if let Some(dialog) = world.gateway().dialogs.get_mut(theirs) {
            // A trunk's Contact and its proxies are followed, but not there.
            dialog.is_registered = false;
            dialog.target = format!("sip:x@{hop}").parse().unwrap();
            let goes_to = |dialog: &mut Dialog| dialog.request(Method::Info, Vec::new()).five_tuple.remote;
            assert_eq!(goes_to(dialog), dialog.peer.remote, "{hop}");
            dialog.target = "sip:x@198.51.100.5".parse().unwrap();
            assert_eq!(goes_to(dialog), "198.51.100.5:5060".parse().unwrap());
            dialog.routes = vec![address(&format!("<sip:{hop};lr>"))];
        }
        world.hangup(GATEWAY, theirs);
        assert_eq!(world.ladder(), "gateway -> phone: BYE");
        // Nor is it kept of a message.
        let text = format!(
            "INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\n\
             Call-ID: 1\r\nCSeq: 1 INVITE\r\nRecord-Route: <sip:{hop};lr>, <sip:198.51.100.5;lr>\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let Ok(Message::Request(invite)) = Message::parse(text.as_bytes()) else {
            panic!("{text}");
        };
        let peer = FiveTuple::new(
            Protocol::Udp,
            "192.0.2.1:5060".parse().unwrap(),
            "192.0.2.2:5060".parse().unwrap(),
        );
        let kept = routes_of(&invite.headers, peer);
        assert_eq!(kept, [address("<sip:198.51.100.5;lr>")]);
        let local = FiveTuple::new(
            Protocol::Udp,
            "127.0.0.1:5060".parse().unwrap(),
            "127.0.0.1:5070".parse().unwrap(),
        );
        assert_eq!(
            routes_of(&invite.headers, local).len(),
            1 + usize::from(hop.contains("127.0.0.1"))
        );
    }
}

#[test]
pub(super) fn behind_a_nat_requests_follow_the_phone_not_its_contact() {
    let mut world = World::new(79);
    let (_, theirs) = world.confirmed();
    if let Some(dialog) = world.gateway().dialogs.get_mut(theirs) {
        dialog.target = "sip:x@10.0.0.5:5060".parse().unwrap();
    }
    world.hangup(GATEWAY, theirs);
    assert_eq!(world.ladder(), "gateway -> phone: BYE");
    // With a proxy between, the route decides.
    let (_, theirs) = world.confirmed();
    if let Some(dialog) = world.gateway().dialogs.get_mut(theirs) {
        dialog.routes = vec![address("<sip:192.0.2.3;lr>"), address("<sip:proxy.example;lr>")];
    }
    world.hangup(GATEWAY, theirs);
    assert_eq!(world.ladder(), "gateway -> other: BYE");
    let bye = world.packets.last().unwrap();
    assert!(
        bye.contains("Route: <sip:192.0.2.3;lr>\r\nRoute: <sip:proxy.example;lr>\r\n"),
        "{bye}"
    );
}
