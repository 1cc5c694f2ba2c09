//! A desk phone registers, or is refused.

use std::sync::Arc;

use quartet::demo::line::Source;
use quartet::demo::phone::{self, Phone};
use quartet::io::control::ControlRequest;
use quartet_tests::house::{House, PASSWORD, SOON};

use crate::PROGRAM;

async fn try_password(house: &House, password: &str) -> phone::Event {
    try_as(house, "100", password).await
}

async fn try_as(house: &House, user: &str, password: &str) -> phone::Event {
    let setup = phone::Setup {
        gateway: house.gateway.sip().expect("the SIP address"),
        user: user.into(),
        password: password.into(),
        codecs: vec!["pcmu".into()],
        source: Source::Silent,
        answers: false,
        transport: "rtp".into(),
        srtp: phone::Srtp::Off,
    };
    let mut phone = Phone::start(Arc::clone(&house.registry), setup)
        .await
        .expect("the phone starts");
    phone.next(SOON).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_slowed_and_keep_no_registered_phone_out() {
    let house = House::new(PROGRAM, "[limits]\nlogin_interval = \"1h\"").await;
    // Phone 100 of this address has logged in before: it has a bucket of its own, and 101 has none.
    assert_eq!(try_password(&house, PASSWORD).await, phone::Event::Registered);
    for failure in 1..=12 {
        let event = try_as(&house, "101", "wrong").await;
        assert_eq!(
            event,
            phone::Event::Refused(401),
            "failure {failure}: a password never draws 403"
        );
    }
    assert_eq!(
        try_as(&house, "101", PASSWORD).await,
        phone::Event::Refused(401),
        "not judged, right or wrong"
    );
    assert_eq!(try_password(&house, PASSWORD).await, phone::Event::Registered);
    let locked = house.gateway.ask(&ControlRequest::Locked).await.expect("locked");
    assert_eq!(locked[0]["source"], "127.0.0.1", "{locked}");
    let unlocked = ControlRequest::Unlock {
        who: "127.0.0.1".into(),
    };
    house.gateway.ask(&unlocked).await.expect("unlocked");
    assert!(house.gateway.ask(&unlocked).await.is_err(), "it is not locked any more");
    assert_eq!(try_as(&house, "101", PASSWORD).await, phone::Event::Registered);
    let log = house.gateway.log();
    let line = "login failed: source=127.0.0.1 why=WrongPassword failures=1 attempts=1 user=\"101\"";
    assert!(log.contains(line), "{log}");
    assert_eq!(log.matches("login failed").count(), 1, "one line a window: {log}");
    assert!(!log.contains("wrong\""), "no password in a log");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_registers_and_the_phone_is_listed() {
    let house = House::new(PROGRAM, "").await;
    assert_eq!(try_password(&house, PASSWORD).await, phone::Event::Registered);
    let _desk = house.phone("101", false).await;
    let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
    let users: Vec<_> = phones
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["user"].clone())
        .collect();
    assert!(users.contains(&"101".into()), "{phones}");
}

fn md5(text: &str) -> String {
    use md5::{Digest, Md5};
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends a REGISTER by hand; returns the whole answer.
fn register(socket: &std::net::UdpSocket, gateway: std::net::SocketAddr, cseq: u32, authorization: &str) -> String {
    let local = socket.local_addr().expect("bound");
    let message = format!(
        "REGISTER sip:{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKreplay{cseq};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:100@{gateway}>;tag=t\r\nTo: <sip:100@{gateway}>\r\nCall-ID: replay\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: <sip:100@{local}>\r\nExpires: 300\r\n{authorization}Content-Length: 0\r\n\r\n"
    );
    socket.send_to(message.as_bytes(), gateway).expect("sent");
    let mut buffer = [0; 4096];
    let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_replayed_with_an_old_nonce_count_is_refused() {
    let house = House::new(PROGRAM, "").await;
    let gateway = house.gateway.sip().expect("the SIP address");
    tokio::task::spawn_blocking(move || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        let challenge = register(&socket, gateway, 1, "");
        assert!(challenge.starts_with("SIP/2.0 401"), "{challenge}");
        let nonce_of = |text: &str| {
            let line = text
                .lines()
                .find(|line| line.contains("algorithm=MD5"))
                .expect("an MD5 challenge")
                .to_owned();
            line.split("nonce=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .expect("a nonce")
                .to_owned()
        };
        let nonce = nonce_of(&challenge);
        let uri = format!("sip:{gateway}");
        let ha1 = md5(&format!("100:quartet:{PASSWORD}"));
        let ha2 = md5(&format!("REGISTER:{uri}"));
        let response = md5(&format!("{ha1}:{nonce}:00000001:abc:auth:{ha2}"));
        let authorization = format!(
            "Authorization: Digest username=\"100\", realm=\"quartet\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"abc\"\r\n"
        );
        let welcome = register(&socket, gateway, 2, &authorization);
        assert!(welcome.starts_with("SIP/2.0 200"), "{welcome}");
        let replayed = register(&socket, gateway, 3, &authorization);
        assert!(
            replayed.starts_with("SIP/2.0 401") && replayed.contains("stale=true"),
            "{replayed}"
        );
        assert_ne!(nonce_of(&replayed), nonce, "a new nonce");
    })
    .await
    .expect("the phone by hand");
    let log = house.gateway.log();
    assert!(!log.contains("login failed"), "the password was right: {log}");
}
