//! Guessing passwords is slow, from wherever it is tried, and keeps nobody out.

use super::*;
use crate::rate::source_of;

/// Somebody who guesses, by hand: asks for a nonce, then answers the challenge.
struct Guesser {
    source: String,
    nonce: String,
    n: u64,
}

impl Guesser {
    fn new(source: &str) -> Self {
        let (source, nonce) = (format!("{source}:5060"), String::new());
        Self { source, nonce, n: 0 }
    }

    fn ask(&mut self, world: &mut World, user: &str, authorization: &str) -> String {
        self.n += 1;
        let request = format!(
            "REGISTER sip:{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}x{};rport\r\nFrom: <sip:{user}@{REALM}>;tag=t\r\n\
             To: <sip:{user}@{REALM}>\r\nCall-ID: {}-{}\r\nCSeq: {} REGISTER\r\nMax-Forwards: 70\r\n\
             Contact: <sip:{user}@{}>\r\n{authorization}Content-Length: 0\r\n\r\n",
            self.source,
            self.source.replace(['.', ':', '[', ']'], ""),
            self.n,
            self.source,
            self.n,
            self.n,
            self.source
        );
        let before = world.packets.len();
        world.inject(GATEWAY, &self.source.clone(), request.as_bytes());
        let response = world.packets.get(before).cloned().unwrap_or_default();
        if let Some(nonce) = response
            .split("nonce=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
        {
            self.nonce = nonce.to_owned();
        }
        response
    }

    /// One login; the first line of the response.
    fn guess(&mut self, world: &mut World, user: &str, password: &str) -> String {
        if self.nonce.is_empty() {
            self.ask(world, user, "");
        }
        let challenge = format!("Digest realm=\"{REALM}\", nonce=\"{}\", qop=\"auth\"", self.nonce);
        let mut rng = ChaCha8Rng::seed_from_u64(self.n);
        let who = credentials(user, password).unwrap();
        let (one, uri) = (std::iter::once(challenge.as_str()), format!("sip:{REALM}"));
        let answer = crate::sip::auth::authorization(one, &who, "REGISTER", &uri, &mut rng).unwrap();
        let response = self.ask(world, user, &format!("Authorization: {answer}\r\n"));
        response.lines().next().unwrap_or_default().to_owned()
    }
}

/// Judged guesses, and those that were not.
fn judged(events: Vec<SipEvent>) -> (usize, usize) {
    let (mut judged, mut not) = (0, 0);
    for event in events {
        if let SipEvent::LoginFailed { why, .. } = event {
            match why {
                LoginFailure::UnknownUser | LoginFailure::WrongPassword => judged += 1,
                LoginFailure::NotJudged => not += 1,
            }
        }
    }
    (judged, not)
}

/// A world in which responses to strangers are not rare: this is about what is judged.
fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    let limits = Limits {
        responses_per_second: 1_000_000,
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        ..config("gw01")
    };
    world.nodes[GATEWAY].endpoint = Endpoint::new(config, Box::new(ChaCha8Rng::seed_from_u64(seed)));
    let address = world.nodes[GATEWAY].address;
    world.gateway().set_local(vec![(Protocol::Udp, address)]);
    world
        .gateway()
        .set_accounts(vec![account("100", "secret"), account("101", "secret")]);
    world
}

#[test]
fn ten_failures_of_a_source_then_one_login_in_ten_seconds_is_judged() {
    let mut world = world(1);
    let mut guesser = Guesser::new("198.51.100.9");
    for n in 0..1001 {
        let response = guesser.guess(&mut world, "100", &format!("{n}"));
        assert_eq!(
            response, "SIP/2.0 401 Unauthorized",
            "guess {n}: never 403, judged or not"
        );
        world.run(Duration::from_millis(100));
    }
    assert_eq!(judged(world.events(GATEWAY)), (10 + 10, 1001 - 20));
    let locked = world.nodes[GATEWAY].endpoint.locked(world.now);
    assert_eq!(locked.len(), 1);
    assert_eq!(locked[0].source, Some("198.51.100.9".parse().unwrap()));
    assert!(locked[0].until <= world.now + Duration::from_secs(10) && locked[0].failures == 20);
    // The right password is judged when its turn comes, and not before.
    assert_eq!(guesser.guess(&mut world, "100", "secret"), "SIP/2.0 401 Unauthorized");
    world.run(Duration::from_secs(10));
    assert_eq!(guesser.guess(&mut world, "100", "secret"), "SIP/2.0 200 OK");
}

#[test]
fn invented_names_shield_no_guess() {
    let mut world = world(2);
    let mut guesser = Guesser::new("198.51.100.9");
    for n in 0..100 {
        guesser.guess(&mut world, &format!("x{n}"), "a");
    }
    for n in 0..7000 {
        assert_eq!(
            guesser.guess(&mut world, "100", &format!("{n:04}")),
            "SIP/2.0 401 Unauthorized"
        );
    }
    assert_eq!(judged(world.events(GATEWAY)), (10, 7090));
    assert_eq!(
        world.gateway().server_transactions.len(),
        0,
        "and nothing is remembered of them"
    );
}

#[test]
fn ten_thousand_guesses_at_one_account_take_more_than_a_day_from_wherever_they_come() {
    let mut world = world(3);
    let begin = world.now;
    // So many that no source's own bucket is what slows them, so few that no nonce grows old in between.
    let mut guessers: Vec<_> = (1..=60).map(|n| Guesser::new(&format!("198.51.100.{n}"))).collect();
    let mut total = 0;
    let mut at = 0;
    while total < 10_000 {
        assert!(at < 1_000_000, "only {total} were judged");
        // As soon as one is judged again, whoever may tries.
        for _ in 0..3 {
            guessers[at % 60].guess(&mut world, "100", &format!("{at}"));
            at += 1;
        }
        total += judged(world.events(GATEWAY)).0;
        world.packets.clear();
        world.ladder.clear();
        world.run(Duration::from_secs(if total < 30 { 1 } else { 5 }));
    }
    assert!(
        world.now - begin > Duration::from_secs(24 * 3600),
        "{:?}",
        world.now - begin
    );
    let locked = world.nodes[GATEWAY].endpoint.locked(world.now);
    assert!(
        locked
            .iter()
            .any(|l| l.source.is_none() && l.account.as_deref() == Some("100")),
        "{locked:?}"
    );
}

#[test]
fn guesses_from_its_own_nat_or_from_everywhere_keep_no_phone_out() {
    let mut world = world(4);
    let phone = world.nodes[PHONE].address.ip().to_string();
    let registered = |world: &mut World| {
        world.register(PHONE, "100", "secret", 600);
        world.second();
        matches!(world.events(PHONE)[..], [SipEvent::Registered { .. }])
    };
    assert!(registered(&mut world));
    let mut beside = Guesser::new(&phone);
    let mut others: Vec<_> = (1..50).map(|n| Guesser::new(&format!("198.51.100.{n}"))).collect();
    for round in 0..200 {
        // Somebody behind the same NAT under another name, and many at this account from elsewhere.
        beside.guess(&mut world, "101", &format!("{round}"));
        beside.guess(&mut world, &format!("x{round}"), "x");
        for other in &mut others {
            other.guess(&mut world, "100", &format!("{round}"));
        }
        world.packets.clear();
        assert!(registered(&mut world), "in round {round}");
        world.run(Duration::from_secs(30));
    }
    // A phone that is registered for long is known as long, though the last hour saw no login.
    world.register(PHONE, "100", "secret", 7200);
    world.second();
    world.events(PHONE);
    world.run(Duration::from_secs(7000));
    (0..100).for_each(|n| _ = beside.guess(&mut world, "101", &format!("z{n}")));
    assert!(registered(&mut world));
}

/// Seen: a neighbour behind the same NAT guessed at the phone's own account, twenty times a second, and took each login that
/// was judged of that address.
#[test]
fn a_neighbour_who_guesses_at_its_account_keeps_a_registered_phone_not_out() {
    let mut world = world(14);
    let phone = world.nodes[PHONE].address.ip().to_string();
    let registered = |world: &mut World| {
        world.register(PHONE, "100", "secret", 600);
        world.second();
        matches!(world.events(PHONE)[..], [SipEvent::Registered { .. }])
    };
    assert!(registered(&mut world));
    let mut beside = Guesser::new(&phone);
    beside.source = format!("{phone}:61000");
    for round in 0..50 {
        for n in 0..20 {
            beside.guess(&mut world, "100", &format!("{round} {n}"));
        }
        world.packets.clear();
        assert!(registered(&mut world), "in round {round}");
        world.dial("200", Some(b"offer"));
        world.run(Duration::from_millis(200));
        assert!(world.called(GATEWAY).is_some(), "it calls in round {round}");
        let theirs = world.incoming(GATEWAY);
        let (status, reason) = (486, None);
        let reject = SipCommand::Reject {
            dialog: theirs,
            status,
            reason,
            retry_after: None,
        };
        world.command(GATEWAY, reject).unwrap();
        world.run(Duration::from_secs(5));
        world.events(GATEWAY);
        world.events(PHONE);
    }
    // The neighbour itself is judged once in ten seconds, whatever the phone does.
    let judged = (0..200).filter(|n| {
        let before = world.events(GATEWAY).len();
        beside.guess(&mut world, "100", &format!("x{n}"));
        let failed = |event: &SipEvent| {
            matches!(
                event,
                SipEvent::LoginFailed {
                    why: LoginFailure::WrongPassword,
                    ..
                }
            )
        };
        before == 0 && world.events(GATEWAY).iter().any(failed)
    });
    assert!(judged.count() <= 2);
    // Of its own place the phone has no more than any source has.
    let mut wrong = Guesser::new(&phone);
    wrong.source = world.nodes[PHONE].address.to_string();
    let judged = (0..50).filter(|n| {
        wrong.guess(&mut world, "100", &format!("y{n}"));
        let why = |event: &SipEvent| {
            matches!(
                event,
                SipEvent::LoginFailed {
                    why: LoginFailure::WrongPassword,
                    ..
                }
            )
        };
        world.events(GATEWAY).iter().any(why)
    });
    assert_eq!(judged.count(), 10);
    let locked = world.nodes[GATEWAY].endpoint.locked(world.now);
    assert!(locked.iter().any(|l| l.account.as_deref() == Some("100")), "{locked:?}");
    world.gateway().unlock("100");
    assert!(registered(&mut world));
}

/// What the account's bucket refused cost the source nothing, while a name that nobody has cost it: so it learnt which there are.
#[test]
fn a_name_that_exists_costs_its_guesser_what_one_that_does_not_costs() {
    let left = |name: &str| {
        let mut world = world(5);
        // From all over the world, until no guess at the account is judged.
        for n in 0..40 {
            let mut guesser = Guesser::new(&format!("203.0.113.{n}"));
            guesser.guess(&mut world, "100", "wrong");
        }
        judged(world.events(GATEWAY));
        let mut guesser = Guesser::new("198.51.100.7");
        for _ in 0..10 {
            guesser.guess(&mut world, name, "wrong");
        }
        judged(world.events(GATEWAY));
        guesser.guess(&mut world, "nobody", "wrong");
        judged(world.events(GATEWAY))
    };
    assert_eq!(left("100"), (0, 1));
    assert_eq!(left("100"), left("999"));
}

#[test]
fn who_knows_one_password_guesses_no_faster_at_another() {
    let mut world = world(5);
    let mut insider = Guesser::new("198.51.100.9");
    let mut count = 0;
    for n in 0..500 {
        // Its own right logins in between change nothing.
        assert_eq!(insider.guess(&mut world, "101", "secret"), "SIP/2.0 200 OK", "{n}");
        insider.guess(&mut world, "100", &format!("{n}"));
        count += judged(world.events(GATEWAY)).0;
        world.run(Duration::from_millis(100));
    }
    assert!(count <= 10 + 5, "{count}");
    // Behind the victim's own NAT: a bucket more, and no more than that.
    let phone = world.nodes[PHONE].address.ip().to_string();
    world.register(PHONE, "100", "secret", 60);
    world.second();
    let mut beside = Guesser::new(&phone);
    beside.source = format!("{phone}:61000");
    let mut count = 0;
    for n in 0..3000 {
        beside.guess(&mut world, "100", &format!("{n}"));
        if n % 300 == 0 {
            world.register(PHONE, "100", "secret", 60);
        }
        world.run(Duration::from_millis(100));
        count += judged(world.events(GATEWAY)).0;
    }
    assert!((30..=10 + 31).contains(&count), "{count} in five minutes");
}

#[test]
fn a_failure_that_comes_twice_counts_once() {
    let mut world = world(6);
    let mut guesser = Guesser::new("198.51.100.9");
    guesser.ask(&mut world, "100", "");
    let authorization = format!(
        "Authorization: Digest username=\"100\", realm=\"{REALM}\", nonce=\"{}\", uri=\"sip:{REALM}\", response=\"{}\"\r\n",
        guesser.nonce,
        "0".repeat(32)
    );
    (0..20).for_each(|_| _ = guesser.ask(&mut world, "100", &authorization));
    assert_eq!(judged(world.events(GATEWAY)), (1, 0));
}

#[test]
fn an_ipv6_customer_is_one_source() {
    let mut world = world(7);
    let address = "[2001:db8::1]:5060".parse().unwrap();
    world.nodes[GATEWAY].address = address;
    for n in 0..100 {
        Guesser::new(&format!("[2001:db8:1:2::{n:x}]")).guess(&mut world, "100", "x");
    }
    assert_eq!(judged(world.events(GATEWAY)), (10, 90));
    let source = source_of("2001:db8:1:2::".parse().unwrap());
    assert_eq!(world.nodes[GATEWAY].endpoint.locked(world.now)[0].source, Some(source));
}

#[test]
fn the_operator_unlocks_a_source_or_an_account() {
    let mut world = world(8);
    let mut guesser = Guesser::new("198.51.100.9");
    (0..20).for_each(|n| _ = guesser.guess(&mut world, "100", &format!("{n}")));
    world.gateway().unlock("198.51.100.10");
    assert_eq!(guesser.guess(&mut world, "100", "secret"), "SIP/2.0 401 Unauthorized");
    world.gateway().unlock("198.51.100.9");
    let now = world.now;
    assert!(world.gateway().locked(now).is_empty());
    assert_eq!(guesser.guess(&mut world, "100", "secret"), "SIP/2.0 200 OK");
    for n in 0..40 {
        Guesser::new(&format!("203.0.113.{n}")).guess(&mut world, "100", &format!("{n}"));
    }
    let mut late = Guesser::new("203.0.113.99");
    assert_eq!(late.guess(&mut world, "100", "secret"), "SIP/2.0 401 Unauthorized");
    world.gateway().unlock("100");
    assert_eq!(late.guess(&mut world, "100", "secret"), "SIP/2.0 200 OK");
}

#[test]
fn unknown_names_are_challenged_as_the_accounts_are_and_always_alike() {
    let mut world = world(9);
    let mut accounts: Vec<_> = (0..4).map(|n| account(&format!("10{n}"), "secret")).collect();
    accounts[0].ha1.sha256 = None;
    accounts[1].ha1.sha256 = None;
    accounts[2].ha1.md5 = None;
    let shape = |world: &mut World, user: &str| {
        let response = Guesser::new("198.51.100.9").ask(world, user, "");
        let md5 = response.contains("algorithm=MD5");
        (md5, response.contains("algorithm=SHA-256"))
    };
    let mut seen = BTreeMap::new();
    for round in 0..2 {
        world.gateway().set_challenge_key([7; 32].into());
        world.gateway().set_accounts(accounts.clone());
        for n in 0..400 {
            let user = format!("nobody{n}");
            let found = shape(&mut world, &user);
            if round == 0 {
                seen.insert(user, found);
            } else {
                // Also after a restart.
                assert_eq!(seen[&user], found);
            }
        }
        let fresh = self::world(10).nodes.remove(GATEWAY).endpoint;
        world.nodes[GATEWAY].endpoint = fresh;
    }
    let of = |shape| seen.values().filter(|s| **s == shape).count();
    let (md5, sha, both) = (of((true, false)), of((false, true)), of((true, true)));
    let third = |count| (100..170).contains(&count);
    assert!(
        md5 + sha + both == 400 && third(md5) && third(sha) && third(both),
        "{md5} {sha} {both}"
    );
    // Most are of one kind, and so are most names.
    accounts.extend((4..20).map(|n| account(&format!("1{n:02}"), "secret")));
    world.gateway().set_accounts(accounts);
    let both = seen
        .keys()
        .filter(|user| shape(&mut world, user) == (true, true))
        .count();
    assert!((230..310).contains(&both), "{both}");
}

#[test]
fn a_change_of_accounts_does_not_tell_which_names_are_nobodys() {
    let mut world = world(9);
    let mut accounts: Vec<_> = (0..12).map(|n| account(&format!("1{n:02}"), "secret")).collect();
    for (n, account) in accounts.iter_mut().enumerate() {
        match n % 3 {
            0 => account.ha1.sha256 = None,
            1 => account.ha1.md5 = None,
            _ => {}
        }
    }
    let names: Vec<_> = (0..100).map(|n| format!("nobody{n}")).collect();
    let mut shapes = |accounts: &[Account]| -> Vec<(bool, bool)> {
        world.gateway().set_accounts(accounts.to_vec());
        let shape = |user: &String| {
            let response = Guesser::new("198.51.100.9").ask(&mut world, user, "");
            (
                response.contains("algorithm=MD5"),
                response.contains("algorithm=SHA-256"),
            )
        };
        names.iter().map(shape).collect()
    };
    let before = shapes(&accounts);
    accounts[3] = account("103", "another");
    accounts[3].ha1.sha256 = None;
    assert_eq!(shapes(&accounts), before, "a password was changed");
    accounts.push(account("113", "secret"));
    assert_eq!(shapes(&accounts), before, "an account was added");
    accounts.remove(0);
    assert_eq!(shapes(&accounts), before, "an account was removed");
}
