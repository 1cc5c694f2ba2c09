//! An operator changes the conf files of a gateway that runs: all of it comes into force or nothing, and calls go on.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::gateway::Setup;
use quartet::demo::{Hashes, PEER_HZ, PHONE_HZ, hear, phone, phone_row};
use quartet::io::control::ControlRequest;
use quartet_tests::house::{House, HouseSetup, PASSWORD, SOON, ends, hears};
use quartet_tests::wait;
use serde_json::json;

use crate::PROGRAM;

/// Nothing is spoken, so that the tones can be heard all the time.
const QUIET: &str = "[call]\nverify = \"off\"";

fn phones(users: &[&str]) -> String {
    let row = |user: &&str| phone_row(user, PASSWORD, Hashes::Md5AndSha256, "codecs = [\"pcmu\"]");
    users.iter().map(row).collect()
}

async fn registered(house: &House) -> Vec<String> {
    let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
    let rows = phones.as_array().expect("a list").iter();
    rows.map(|row| row["user"].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_and_routes_come_and_go_while_a_call_stands() {
    let mut house = House::new(PROGRAM, QUIET).await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    let _other = house.phone("101", false).await;
    House::talk(&mut desk, &mut anna).await;
    let setup = house.gateway.setup();
    let changes = house
        .gateway
        .reload(Setup {
            phones: phones(&["101", "103"]),
            routes: "[[route]]\nname = \"bob\"\nfrom = \"phones\"\nnumber = \"7\"\nto = \"hub:bob\"\n".into(),
            more: format!(
                "{}\n[cdr]\npath = \"elsewhere.jsonl\"",
                setup.more.replace("\"debug\"", "\"info\"")
            ),
            ..setup
        })
        .await
        .expect("it reloads");
    let expected = json!({ "options": ["log.level"], "restart": ["cdr.path"], "phones_added": 1, "phones_removed": 2,
                           "phones_changed": 1, "routes": true, "ice_servers": false, "trunks": false });
    assert_eq!(changes, expected);
    assert_eq!(registered(&house).await, ["101"], "whoever is gone is no longer called");
    // The call of the phone that is gone goes on.
    hears(desk.line(), PEER_HZ).await;
    hears(anna.line(), PHONE_HZ).await;
    let mut new = house.phone("103", false).await;
    let bob = house.user("bob", Answering::Take, Fault::None).await;
    new.dial("7");
    hears(new.line(), PEER_HZ).await;
    desk.hang_up();
    assert_eq!(ends(&mut anna).await, "answered");
    bob.hang_up();
    house.wait_idle().await;
    assert_eq!(house.records(2).await.len(), 2, "records are where they were");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_mistake_anywhere_nothing_changes() {
    let mut house = House::new(PROGRAM, QUIET).await;
    let desk = house.phone("100", false).await;
    let setup = house.gateway.setup();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address");
    let mistakes = [
        (
            Setup {
                phones: phones(&["101", "101"]),
                ..setup.clone()
            },
            "phones.conf:",
        ),
        (
            Setup {
                routes: "[[route]]\nname = 1".into(),
                ..setup.clone()
            },
            "routes.conf:2:",
        ),
        (
            Setup {
                sip: taken,
                phones: phones(&["100", "101", "103"]),
                ..setup.clone()
            },
            "another program has this port",
        ),
        (
            Setup {
                more: format!("{QUIET}\n[ivr]\nprompts = \"nowhere\""),
                phones: phones(&["100", "101", "103"]),
                ..setup.clone()
            },
            "nowhere",
        ),
    ];
    let before = house.status().await["sip"].clone();
    for (wrong, says) in mistakes {
        let error = house.gateway.reload(wrong).await.expect_err(says).to_string();
        assert!(
            error.contains("all is as before") && error.contains(says),
            "{says}: {error}"
        );
        let lines = || house.gateway.log().matches("not reloaded, all is as before").count();
        let before = lines();
        house.gateway.hang_up();
        wait::until("the log says so", SOON, || (lines() > before).then_some(()));
        assert_eq!(registered(&house).await, ["100"]);
    }
    assert_eq!(house.status().await["sip"], before);
    drop(desk);
    house.gateway.reload(setup).await.expect("it is right again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_of_the_terminal_ends_no_call() {
    let house = House::new(PROGRAM, QUIET).await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    house.gateway.hang_up();
    let reloaded = || {
        house
            .gateway
            .log()
            .contains("conf files reloaded, nothing has changed")
            .then_some(())
    };
    wait::until("the files are read", SOON, reloaded);
    hears(desk.line(), PEER_HZ).await;
    hears(anna.line(), PHONE_HZ).await;
}

/// Whoever asks while the files are being read may have changed them since: they are read again for him.
#[tokio::test(flavor = "multi_thread")]
async fn all_who_ask_at_once_are_answered() {
    let mut house = House::new(PROGRAM, QUIET).await;
    let setup = house.gateway.setup();
    let ask = || house.gateway.ask(&ControlRequest::Reload);
    let answers = tokio::join!(ask(), ask(), ask(), ask());
    for answer in <[_; 4]>::from(answers) {
        assert_eq!(answer.expect("an answer")["phones_added"], 0);
    }
    for _ in 0..20 {
        house.gateway.hang_up();
    }
    let phones = phones(&["100", "101", "102", "103"]);
    house
        .gateway
        .reload(Setup { phones, ..setup })
        .await
        .expect("it reloads");
    house.phone("103", false).await;
}

/// Whether anybody answers there.
fn answers(at: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a limit");
    let here = socket.local_addr().expect("its address");
    let options = format!(
        "OPTIONS sip:{at} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{here}\r\nMax-Forwards: 70\r\nFrom: <sip:a@{here}>;tag=1\r\n\
         To: <sip:{at}>\r\nCall-ID: {here}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(options.as_bytes(), at).expect("sent");
    socket.recv(&mut [0; 1500]).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_sip_address_stays_for_its_calls_alone() {
    let mut house = House::new(PROGRAM, QUIET).await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    let old = house.gateway.sip().expect("an address");
    let setup = house.gateway.setup();
    let sip = SocketAddr::from(([127, 0, 0, 2], 0));
    let changes = house.gateway.reload(Setup { sip, ..setup }).await.expect("it reloads");
    assert_eq!(changes["options"], json!(["sip.listen"]));
    let new = house.gateway.sip().expect("an address");
    assert_eq!((new.ip(), answers(new), answers(old)), (sip.ip(), true, false));
    let _new = house.phone("102", false).await;
    assert_eq!(registered(&house).await, ["100", "102"]);
    hears(desk.line(), PEER_HZ).await;
    desk.hang_up();
    assert_eq!(ends(&mut anna).await, "answered");
    // Bound again by another: it was closed.
    wait::until("the old address is free", SOON, || UdpSocket::bind(old).ok().map(drop));
}

/// Twenty calls, a hundred reloads: no ear hears any of them.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_calls_hear_none_of_a_hundred_reloads() {
    let limits = "calls_per_minute_phone = 60000\ncalls_per_minute_callee = 60000\ncalls_per_minute_route = 60000";
    let more = format!("{QUIET}\n[limits]\ncalls_per_phone = 10\n{limits}");
    let setup = HouseSetup {
        more: &more,
        phone: "codecs = [\"pcmu\"]\nmax_contacts = 10",
        ..HouseSetup::default()
    };
    let mut house = House::build(PROGRAM, setup).await;
    let mut pairs = Vec::new();
    for count in 0..20 {
        let user = house.user(&format!("user{count}"), Answering::Take, Fault::None).await;
        let mut desk = house.phone(["100", "101", "102"][count % 3], false).await;
        desk.dial(&format!("user{count}"));
        pairs.push((desk, user));
    }
    for (desk, user) in &mut pairs {
        desk.wait(&phone::Event::Connected, 2 * SOON)
            .await
            .expect("the call stands");
        hears(desk.line(), PEER_HZ).await;
        hears(user.line(), PHONE_HZ).await;
    }
    let heard = |pairs: &[(phone::Phone, _)]| {
        pairs
            .iter()
            .map(|(desk, _)| desk.line().heard().len())
            .collect::<Vec<_>>()
    };
    let before = heard(&pairs);
    let setup = house.gateway.setup();
    for round in 0..100 {
        let users: &[&str] = if round % 2 == 0 {
            &["100", "101", "103"]
        } else {
            &["100", "101", "102"]
        };
        let more = format!("{more}\n[log]\nlevel = \"{}\"", ["info", "debug"][round % 2]);
        let changed = Setup {
            phones: phones(users),
            more,
            ..setup.clone()
        };
        house.gateway.reload(changed).await.expect("it reloads");
    }
    for ((desk, _), before) in pairs.iter().zip(before) {
        hears(desk.line(), PEER_HZ).await;
        let heard = desk.line().heard();
        let hole = hear::longest_hole_ms(&heard[before..], hear::RATE);
        assert!(hole <= 60, "{hole} ms in {} ms", (heard.len() - before) / 8);
    }
    assert_eq!(house.status().await["calls"], 20);
}
