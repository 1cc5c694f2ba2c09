//! Conversations with the rendezvous, a frame a line: the first character says whose it is, `0` the gateway's, `1` anna's,
//! `2` bob's, `3` a stranger's, and `x` and a digit ends a connection; `r` and a digit has bob come back on another one and name as
//! many events as the digit says. No panic, and in the end nothing is left.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet::hub::{Account, ConnKey, Directory, Limits, Rendezvous, RendezvousConfig};
use quartet_proto::hub::{Name, Reply, Resume, ServerFrame, Token, Welcome};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

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
        directory.insert(Account::person(name(user)), Token::from_text(token).expect("a valid token").hash());
    }
    let config = RendezvousConfig {
        gateway: Some(name("gw")),
        limits: Limits::default(),
        ice_servers: vec![],
        epoch: (now, 0),
    };
    let mut hub = Rendezvous::new(config, Arc::new(directory), Box::new(ChaCha20Rng::seed_from_u64(3)));
    hub.connect_local(ConnKey(0));
    for conn in 1..=3 {
        hub.connect(now, ConnKey(conn), ([192, 0, 2, conn as u8], 1).into());
    }
    let (mut resume, mut bob) = (None, ConnKey(2));
    for (user, token) in TOKENS {
        let max = if user == "bob" { 2 } else { 1 };
        let hello = format!(
            r#"{{"id":1,"verb":"hello","protocol":{{"min":1,"max":{max}}},"client":"fuzz","token":"{token}"}}"#
        );
        hub.handle_input(now, ConnKey(1 + u64::from(user == "bob")), &hello);
        assert!(hub.is_online(&name(user)));
    }
    for (count, line) in text.lines().enumerate() {
        while let Some((_, text)) = hub.poll_transmit() {
            if let Ok(ServerFrame::Answer {
                outcome: Ok(Reply::Welcome(welcome)),
                ..
            }) = ServerFrame::parse(&text)
            {
                let Welcome {
                    session, resume_secret, ..
                } = *welcome;
                resume = session.zip(resume_secret).or(resume);
            }
        }
        let mut characters = line.chars();
        let mut digit = || u64::from(characters.next().and_then(|c| c.to_digit(10)).unwrap_or(3));
        let of = |digit: u64| if digit % 4 == 2 { bob } else { ConnKey(digit % 4) };
        match line.as_bytes().first() {
            Some(b'x') => {
                digit();
                hub.disconnect(now, of(digit()));
            }
            Some(b'r') => {
                digit();
                bob = ConnKey(10 + count as u64);
                hub.connect(now, bob, ([192, 0, 2, 2], 1).into());
                let resume = resume.clone().map(|(session, secret)| Resume {
                    session,
                    secret,
                    last_seq: digit(),
                    beside: digit() % 2 == 1,
                });
                let resume = serde_json::to_string(&resume).expect("it is written");
                let token = TOKENS[1].1;
                let hello = format!(
                    r#"{{"id":{count},"verb":"hello","protocol":{{"min":2,"max":2}},"client":"fuzz","token":"{token}","resume":{resume}}}"#
                );
                hub.handle_input(now, bob, &hello);
            }
            Some(_) => {
                let to = of(digit());
                hub.handle_input(now, to, line.get(1..).unwrap_or_default());
            }
            None => now += Duration::from_secs(31),
        }
        now += Duration::from_millis(500);
        hub.handle_timeout(now);
        while hub.poll_close().is_some() {}
    }
    for conn in [ConnKey(0), ConnKey(1), ConnKey(2), ConnKey(3), bob] {
        hub.disconnect(now, conn);
    }
    hub.handle_timeout(now + Duration::from_secs(3));
    hub.handle_timeout(now + Duration::from_secs(61));
    assert_eq!((hub.sessions(), hub.calls(), hub.poll_timeout()), (0, 0, None));
});
