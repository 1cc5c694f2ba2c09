//! A gateway on a hub elsewhere, and what becomes of calls when that hub is killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quartet::demo::e2ee_peer::{self, Answering, E2eePeer, Fault};
use quartet::demo::gateway::{Gateway, Hub};
use quartet::demo::{PEER_HZ, PHONE_HZ, phone};
use quartet::io::control::ControlRequest;
use quartet_tests::authority::{Certified, certify};
use quartet_tests::house::{House, HouseSetup, SOON, ends, hears, hub_alone, hub_at, invite, url_of};
use quartet_tests::wire::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs};

use crate::PROGRAM;

/// A gateway `office` on that hub.
async fn office(hub: &Gateway) -> House {
    house_at(hub, url_of(hub), None).await
}

async fn house_at(hub: &Gateway, url: String, authority: Option<String>) -> House {
    let token = invite(hub, "office", true).await;
    let setup = HouseSetup {
        hub: Hub::Elsewhere { url, token, authority },
        more: "[call]\nverify = \"off\"",
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

/// She may be back after a hub's restart later than the gateway, and a call that ended meanwhile does not show it.
async fn wait_both_there(hub: &Gateway) {
    let end = Instant::now() + SOON;
    loop {
        let status = hub.ask(&ControlRequest::Status).await.expect("status");
        if status["hub_sessions"] == 2 {
            return;
        }
        assert!(Instant::now() < end, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn anna(house: &House, hub: &Gateway, answering: Answering) -> E2eePeer {
    let token = invite(hub, "anna", false).await;
    house.user_at(url_of(hub), token, answering, Fault::None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_and_users_of_a_hub_elsewhere_call_each_other() {
    let hub = hub_alone(PROGRAM, "").await;
    let house = office(&hub).await;
    house.wait_hub_up(SOON).await;
    let mut anna = anna(&house, &hub, Answering::Take).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    hears(desk.line(), PEER_HZ).await;
    hears(anna.line(), PHONE_HZ).await;
    desk.hang_up();
    assert_eq!(ends(&mut anna).await, "answered");
    house.wait_idle().await;
    drop(desk);

    let mut desk = house.phone("101", true).await;
    anna.dial("101@office");
    anna.wait("media", SOON, |event| {
        (*event == e2ee_peer::Event::Connected).then_some(())
    })
    .await
    .expect("media");
    hears(desk.line(), PEER_HZ).await;
    anna.hang_up();
    desk.wait(&phone::Event::Ended("answered"), SOON).await.expect("a BYE");
    house.wait_idle().await;
    let record = house.record(2).await;
    assert_eq!(
        (&record["from"], &record["cause"]),
        (&"anna".into(), &"answered".into()),
        "{record}"
    );
    // Accounts are made where the hub is, phones where they are.
    let question = ControlRequest::Invite {
        user: "bob".into(),
        gateway: false,
    };
    let error = house.gateway.ask(&question).await.expect_err("not here").to_string();
    assert!(error.contains("the hub is elsewhere, at ws://127.0.0.1:"), "{error}");
    let error = hub.ask(&ControlRequest::Phones).await.expect_err("no phones");
    assert!(error.to_string().contains("a hub alone"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_is_killed_and_started_again_and_calls_go_on() {
    let mut hub = hub_alone(PROGRAM, "").await;
    let house = office(&hub).await;
    house.wait_hub_up(SOON).await;
    let mut anna = anna(&house, &hub, Answering::Take).await;
    for (count, desk_hangs_up) in [(1, true), (2, false)] {
        wait_both_there(&hub).await;
        let mut desk = house.phone("100", false).await;
        House::talk(&mut desk, &mut anna).await;
        hub.kill().expect("it runs");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(house.status().await["hub_up"], false);
        hears(desk.line(), PEER_HZ).await;
        hears(anna.line(), PHONE_HZ).await;
        hub.start_again().await.expect("it starts again");
        house.wait_hub_up(SOON).await;
        hears(desk.line(), PEER_HZ).await;
        if desk_hangs_up {
            desk.hang_up();
            assert_eq!(ends(&mut anna).await, "answered");
        } else {
            // She may be back later than the gateway.
            anna.hang_up();
            desk.wait(&phone::Event::Ended("answered"), 2 * SOON)
                .await
                .expect("it is told");
        }
        let record = house.record(count).await;
        assert_eq!(record["cause"], "answered", "{record}");
        house.wait_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_stays_away_ends_no_call_and_no_new_one_waits_long() {
    let mut hub = hub_alone(PROGRAM, "").await;
    let house = office(&hub).await;
    house.wait_hub_up(SOON).await;
    let mut anna = anna(&house, &hub, Answering::Take).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    hub.kill().expect("it runs");
    // Longer than the hub may take to answer anything.
    tokio::time::sleep(Duration::from_secs(12)).await;
    hears(desk.line(), PEER_HZ).await;
    hears(anna.line(), PHONE_HZ).await;
    let mut second = house.phone("101", false).await;
    second.dial("anna");
    second
        .wait(&phone::Event::Ended("network"), SOON)
        .await
        .expect("a call that cannot be placed is refused");
    desk.hang_up();
    let record = house.record(2).await;
    assert_eq!(record["cause"], "answered", "{record}");
    house.wait_idle().await;
}

/// Cut in the middle of a call, which the hub knows all along.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_websocket_is_lost_and_calls_go_on() {
    let hub = hub_alone(PROGRAM, "").await;
    let wire = Wire::to(hub.hub().expect("its address")).await;
    let house = house_at(&hub, format!("ws://{}", wire.local()), None).await;
    house.wait_hub_up(SOON).await;
    let mut anna = anna(&house, &hub, Answering::Take).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    wire.cut();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(house.status().await["hub_up"], false);
    hears(desk.line(), PEER_HZ).await;
    anna.hang_up();
    wire.mend();
    desk.wait(&phone::Event::Ended("answered"), 2 * SOON)
        .await
        .expect("it is told when it is back");
    house.wait_hub_up(SOON).await;
    House::talk(&mut desk, &mut anna).await;
    desk.hang_up();
    assert_eq!(ends(&mut anna).await, "answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_hub_does_not_know_is_said_once() {
    let hub = hub_alone(PROGRAM, "").await;
    let house = office(&hub).await;
    house.wait_hub_up(SOON).await;
    let user = "office".to_owned();
    hub.ask(&ControlRequest::Revoke { user })
        .await
        .expect("it is taken back");
    let end = Instant::now() + SOON;
    let refused = |log: &str| log.matches("the hub refuses this gateway").count();
    while refused(&house.gateway.log()) == 0 {
        assert!(Instant::now() < end, "{}", house.gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(refused(&house.gateway.log()), 1);
    let mut desk = house.phone("100", false).await;
    desk.dial("anna");
    desk.wait(&phone::Event::Ended("network"), SOON).await.expect("503");
}

/// TLS before a hub: an authority of its own, and a certificate for this name.
async fn tls_before(hub: &Gateway, name: &str) -> (u16, String) {
    let Certified {
        authority_pem: pem,
        certificate,
        key,
    } = certify(name);
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (port, hub) = (
        listener.local_addr().expect("it is bound").port(),
        hub.hub().expect("its address"),
    );
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let (Ok(mut client), Ok(mut hub)) = (acceptor.accept(client).await, TcpStream::connect(hub).await) {
                    tokio::io::copy_bidirectional(&mut client, &mut hub).await.ok();
                }
            });
        }
    });
    (port, pem)
}

/// A gateway reaches it there, knowing this authority; else `why` stands in its log.
async fn reaches(hub: &Gateway, authority: &str, why: Option<&str>) {
    let port = hub.hub().expect("its address").port();
    let house = house_at(hub, format!("wss://localhost:{port}"), Some(authority.to_owned())).await;
    let Some(why) = why else {
        return house.wait_hub_up(SOON).await;
    };
    let end = Instant::now() + SOON;
    while !house.gateway.log().contains(why) {
        assert!(Instant::now() < end, "{}", house.gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_under_tls_of_its_own_and_with_another_certificate_after_a_reload() {
    let [first, second] = [certify("localhost"), certify("localhost")];
    let pem = |of: &Certified, key: &Certified| Some((of.certificate.pem(), key.key.serialize_pem()));
    let here = Hub::HereUnderTls(([127, 0, 0, 1], 0).into());
    let mut hub = hub_at(PROGRAM, here, pem(&first, &first), "").await;
    let address = hub.hub().expect("its address");
    assert_eq!(
        hub.ask(&ControlRequest::Status).await.expect("status")["hub"],
        format!("https:{address}")
    );
    let question = ControlRequest::Invite {
        user: "anna".into(),
        gateway: false,
    };
    let invited = hub.ask(&question).await.expect("an invitation");
    assert_eq!(invited["hub"], format!("wss://{address}/hub/v1"));
    reaches(&hub, &first.authority_pem, None).await;
    reaches(&hub, &second.authority_pem, Some("invalid peer certificate")).await;

    // Nothing is said in the clear, and who says nothing is sent away.
    let mut plain = TcpStream::connect(address).await.expect("a connection");
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .expect("it is sent");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, plain.read_to_end(&mut answer)).await;
    assert!(read.is_ok() && !answer.starts_with(b"HTTP"), "{answer:?}");

    let mut setup = hub.setup();
    setup.identity = pem(&second, &first);
    let refused = hub
        .reload(setup.clone())
        .await
        .expect_err("they do not belong together");
    assert!(format!("{refused:#}").contains("do not belong together"), "{refused:#}");
    reaches(&hub, &first.authority_pem, None).await;
    setup.identity = pem(&second, &second);
    // Whom it asks for a certificate over SIP says nothing of who reaches the hub.
    setup.more = format!("client_ca = \"gateway.pem\"\n{}", setup.more);
    hub.reload(setup).await.expect("it is taken");
    reaches(&hub, &second.authority_pem, None).await;
    reaches(&hub, &first.authority_pem, Some("invalid peer certificate")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_proves_its_name_or_is_not_told_the_token() {
    let hub = hub_alone(PROGRAM, "").await;
    let (port, authority) = tls_before(&hub, "localhost").await;
    let house = house_at(&hub, format!("wss://localhost:{port}"), Some(authority.clone())).await;
    house.wait_hub_up(SOON).await;
    let mut anna = anna(&house, &hub, Answering::Take).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    hears(desk.line(), PEER_HZ).await;

    let (elsewhere, its_authority) = tls_before(&hub, "hub.example.org").await;
    for (port, authority, why) in [
        // Another name, another authority, and none that this machine knows.
        (elsewhere, Some(its_authority.clone()), "not valid for name"),
        (port, Some(its_authority), "UnknownIssuer"),
        (port, None, "UnknownIssuer"),
    ] {
        let house = house_at(&hub, format!("wss://localhost:{port}"), authority).await;
        let end = Instant::now() + SOON;
        while !house.gateway.log().contains("the hub cannot be reached") {
            assert!(Instant::now() < end, "{}", house.gateway.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(house.gateway.log().contains(why), "{why}: {}", house.gateway.log());
        assert_eq!(house.status().await["hub_up"], false);
    }
}
