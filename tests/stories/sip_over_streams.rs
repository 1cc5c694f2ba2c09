//! Phones register and are called over TCP, TLS and WebSockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::io::control::ControlRequest;
use quartet::store::Store;
use quartet_proto::sip::SipEvent;
use quartet_tests::authority::{Certified, certify};
use quartet_tests::house::{House, HouseSetup, PASSWORD, SOON};
use quartet_tests::sip_stream::{Client, SipStream, StreamPhone};
use quartet_tests::wait;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use crate::PROGRAM;

const ALL: [&str; 4] = ["tcp", "tls", "ws", "wss"];

async fn house(sip: IpAddr, identity: &Certified) -> House {
    let setup = HouseSetup {
        sip,
        transports: &ALL,
        identity: Some((identity.certificate.pem(), identity.key.serialize_pem())),
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

fn at(house: &House, transport: &str) -> SocketAddr {
    house.gateway.sip_over(transport).expect("it is heard there")
}

async fn registered(house: &House, client: &Client, transport: &str, user: &str) -> StreamPhone {
    let stream = client
        .connect(transport, at(house, transport))
        .await
        .expect("it connects");
    let mut phone = StreamPhone::new(stream, user, PASSWORD);
    let granted = phone.register(Duration::from_secs(300)).await;
    let granted = granted.unwrap_or_else(|error| panic!("{transport}: {error}\n{}", house.gateway.log()));
    assert_eq!(
        granted,
        Ok(Duration::from_secs(300)),
        "{transport}\n{}",
        house.gateway.log()
    );
    phone
}

/// Waits for a call.
async fn is_called(phone: &mut StreamPhone) -> io::Result<bool> {
    while let Some(event) = phone.next(SOON).await? {
        if let SipEvent::Incoming { .. } = event {
            return Ok(true);
        }
    }
    Ok(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_registers_and_is_called_over_each_transport_and_both_families() {
    for ip in [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
        let identity = certify(&ip.to_string());
        let house = house(ip, &identity).await;
        let client = Client::trusting(&identity.authority_pem);
        for transport in ALL {
            let mut phone = registered(&house, &client, transport, "100").await;
            let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
            let contact = phones[0]["contact"].as_str().unwrap_or_default().to_owned();
            assert!(contact.contains(";transport="), "{phones}");
            let mut anna = house.user("anna", Answering::Take, Fault::None).await;
            anna.dial("100@gw");
            assert!(
                is_called(&mut phone).await.expect("it is connected"),
                "{transport} {ip}"
            );
            drop((anna, phone));
            house.wait_idle().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_phone_whose_connection_is_gone_ends_at_once() {
    let identity = certify("127.0.0.1");
    let house = house([127, 0, 0, 1].into(), &identity).await;
    let client = Client::trusting(&identity.authority_pem);
    let phone = registered(&house, &client, "wss", "101").await;
    drop(phone);
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let begun = std::time::Instant::now();
    anna.dial("101@gw");
    assert_eq!(quartet_tests::house::ends(&mut anna).await, "missed");
    assert_eq!(house.record(1).await["cause"], "offline");
    assert!(begun.elapsed() < Duration::from_secs(3), "not after a ringing of 3 s");
}

/// One `OPTIONS` that needs no login.
fn options(n: u32) -> String {
    format!(
        "OPTIONS sip:quartet SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK-{n};rport\r\nFrom: <sip:a@x>;tag={n}\r\n\
         To: <sip:x>\r\nCall-ID: c{n}\r\nCSeq: {n} OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

async fn statuses(stream: &mut SipStream, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let next = tokio::time::timeout(SOON, stream.next()).await.expect("in time");
        let Some(message) = next.expect("a message") else { break };
        let text = String::from_utf8_lossy(&message).into_owned();
        // Answers to keep-alives come between.
        if text.trim().is_empty() {
            continue;
        }
        let cseq = text.lines().find(|line| line.starts_with("CSeq")).unwrap_or_default();
        all.push(
            format!("{} {cseq}", text.lines().next().unwrap_or_default())
                .trim()
                .to_owned(),
        );
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_cut_out_of_the_stream_wherever_its_segments_end() {
    let identity = certify("127.0.0.1");
    let house = house([127, 0, 0, 1].into(), &identity).await;
    let client = Client::trusting(&identity.authority_pem);
    for transport in ["tcp", "tls"] {
        let mut stream = client
            .connect(transport, at(&house, transport))
            .await
            .expect("connected");
        // Three at once, with keep-alives between.
        let three = format!("{}\r\n{}\r\n\r\n{}", options(1), options(2), options(3));
        stream.send(three.as_bytes()).await.expect("sent");
        let expected: Vec<_> = (1..=3).map(|n| format!("SIP/2.0 200 OK CSeq: {n} OPTIONS")).collect();
        assert_eq!(statuses(&mut stream, 3).await, expected);
        stream.send(b"\r\n\r\n").await.expect("sent");
        let pong = tokio::time::timeout(SOON, stream.next()).await.expect("in time");
        assert_eq!(pong.expect("connected").as_deref(), Some(&b"\r\n"[..]));
        // One in as many segments as it has bytes.
        for byte in options(4).bytes() {
            stream.send(&[byte]).await.expect("sent");
        }
        assert_eq!(statuses(&mut stream, 1).await, ["SIP/2.0 200 OK CSeq: 4 OPTIONS"]);
        // The last has no length: it gets its answer, and then the stream ends.
        let endless = options(5).replace("Content-Length: 0\r\n", "");
        stream.send(endless.as_bytes()).await.expect("sent");
        let got = statuses(&mut stream, 2).await;
        assert_eq!(got, ["SIP/2.0 400 Missing Content-Length CSeq: 5 OPTIONS"]);
    }
    // What is no SIP is closed without a word.
    for junk in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_bytes(), &[b'a'; 20_000]] {
        let mut stream = client.connect("tcp", at(&house, "tcp")).await.expect("connected");
        stream.send(junk).await.expect("sent");
        let end = tokio::time::timeout(SOON, stream.next()).await.expect("in time");
        assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_of_elsewhere_and_other_protocols_are_turned_away() {
    let identity = certify("127.0.0.1");
    let setup = HouseSetup {
        transports: &["ws"],
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let trusting = Client::trusting(&identity.authority_pem);
    let ws = at(&house, "ws");
    let page = |origin: &str| Client {
        origin: Some(origin.into()),
        ..trusting.clone()
    };
    assert!(page("https://evil.example").connect("ws", ws).await.is_err());
    assert!(page(&format!("http://{ws}")).connect("ws", ws).await.is_ok());
    let other = Client {
        subprotocol: Some("xmpp".into()),
        ..trusting.clone()
    };
    assert!(other.connect("ws", ws).await.is_err());
    assert!(trusting.connect("ws", ws).await.is_ok(), "a program has no origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_binding_is_there_and_calls_go_where_the_connection_comes_back() {
    let identity = certify("127.0.0.1");
    let mut house = house([127, 0, 0, 1].into(), &identity).await;
    let client = Client::trusting(&identity.authority_pem);
    let before = registered(&house, &client, "tls", "100").await;
    let state = house.gateway.folder().join("state/quartet.db");
    wait::until("the binding is in the store", SOON, || {
        let bindings = Store::open(&state).ok()?.bindings().ok()?;
        bindings.contains_key("100").then_some(())
    });
    house.gateway.kill().expect("killed");
    drop(before);
    house.gateway.start_again().await.expect("it comes back");
    let phones = house.gateway.ask(&ControlRequest::Phones).await.expect("phones");
    assert_eq!(phones[0]["user"], "100", "{phones}");
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    anna.dial("100@gw");
    assert_eq!(
        quartet_tests::house::ends(&mut anna).await,
        "missed",
        "nobody is there yet"
    );
    let mut after = registered(&house, &client, "tls", "100").await;
    anna.dial("100@gw");
    assert!(is_called(&mut after).await.expect("it is connected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_at_a_reload_and_a_broken_one_leaves_the_old() {
    let [first, second] = [certify("127.0.0.1"), certify("127.0.0.1")];
    let mut house = house([127, 0, 0, 1].into(), &first).await;
    let tls = at(&house, "tls");
    let stands = registered(&house, &Client::trusting(&first.authority_pem), "tls", "100").await;
    let mut setup = house.gateway.setup();
    // The key of another certificate.
    setup.identity = Some((second.certificate.pem(), first.key.serialize_pem()));
    let refused = house
        .gateway
        .reload(setup.clone())
        .await
        .expect_err("they do not belong together");
    assert!(
        format!("{refused:#}").contains("which do not belong together"),
        "{refused:#}"
    );
    assert!(Client::trusting(&first.authority_pem).connect("tls", tls).await.is_ok());
    setup.identity = Some((second.certificate.pem(), second.key.serialize_pem()));
    house.gateway.reload(setup.clone()).await.expect("it is taken");
    assert!(
        Client::trusting(&first.authority_pem)
            .connect("tls", tls)
            .await
            .is_err()
    );
    registered(&house, &Client::trusting(&second.authority_pem), "tls", "101").await;
    // Who was connected stays so.
    let mut stands = stands;
    assert!(
        stands
            .register(Duration::from_secs(200))
            .await
            .expect("it is connected")
            .is_ok()
    );
    // Only those with a certificate of ours.
    std::fs::write(house.gateway.folder().join("clients.pem"), &first.authority_pem).expect("written");
    setup.more = format!("client_ca = \"clients.pem\"\n{}", setup.more);
    house.gateway.reload(setup).await.expect("it is taken");
    let stranger = Client::trusting(&second.authority_pem);
    // In TLS 1.3 the client has done its part before the server looks.
    let mut refused = stranger.connect("tls", tls).await.expect("the client's part");
    let end = tokio::time::timeout(SOON, refused.next()).await.expect("in time");
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    let known = Client {
        identity: Some((first.certificate.pem(), first.key.serialize_pem())),
        ..stranger
    };
    registered(&house, &known, "tls", "102").await;
}

/// As many connections as strangers may hold and more, each with half a message, from many hosts of this machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_says_half_a_word_keeps_no_phone_out() {
    let identity = certify("127.0.0.1");
    let house = house([127, 0, 0, 1].into(), &identity).await;
    let client = Client::trusting(&identity.authority_pem);
    let before = house.memory_kib();
    let mut crowd = Vec::new();
    for n in 0..1200_u32 {
        let transport = ALL[n as usize % ALL.len()];
        let socket = TcpSocket::new_v4().expect("a socket");
        let host = Ipv4Addr::from(0x7f01_0001 + n % 40);
        socket.bind(SocketAddr::new(host.into(), 0)).expect("a port");
        let mut stream = socket.connect(at(&house, transport)).await.expect("connected");
        let half = &options(n).into_bytes()[..60];
        stream.write_all(half).await.ok();
        crowd.push(stream);
        if n % 300 == 299 {
            for transport in ALL {
                let begun = std::time::Instant::now();
                drop(registered(&house, &client, transport, "100").await);
                assert!(
                    begun.elapsed() < Duration::from_secs(2),
                    "{transport}: {:?}",
                    begun.elapsed()
                );
            }
        }
    }
    let grown = house.memory_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB");
    let open = house.status().await["sip_connections"].as_u64().expect("a number");
    assert!(open <= 512 + 8, "{open}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_does_not_take_all_places() {
    let setup = HouseSetup {
        transports: &["tcp"],
        more: "[limits]\nsip_connections = 40\n",
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let client = Client::trusting("");
    let mut all = Vec::new();
    for _ in 0..80 {
        all.push(registered(&house, &client, "tcp", "100").await);
    }
    let _other = registered(&house, &client, "tcp", "101").await;
    let is_few = |status: &serde_json::Value| status["sip_connections"].as_u64().is_some_and(|count| count <= 12);
    let end = std::time::Instant::now() + SOON;
    while !is_few(&house.status().await) {
        assert!(std::time::Instant::now() < end, "{}", house.status().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The latest is still heard.
    let latest = all.last_mut().expect("there are some");
    assert_eq!(
        latest
            .register(Duration::from_secs(300))
            .await
            .expect("it is connected"),
        Ok(Duration::from_secs(300))
    );
}
