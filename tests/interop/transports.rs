//! Phones over each transport that they have: they register, call, and are called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quartet::demo::e2ee_peer::{self, Answering, E2eePeer, Fault};
use quartet::demo::{Hashes, PHONE_HZ};
use quartet_tests::authority::{Certified, certify};
use quartet_tests::baresip::{self, Baresip};
use quartet_tests::house::{House, HouseSetup, hears};
use quartet_tests::{peers, pjsua};
use tokio::net::UdpSocket;

use crate::PROGRAM;
use crate::calls::SOON;

/// A gateway that is heard over everything at one address, and the certificate that it shows there.
async fn house(ip: IpAddr) -> (House, Certified) {
    let identity = certify(&ip.to_string());
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        sip: ip,
        transports: &["tcp", "tls"],
        identity: Some((identity.certificate.pem(), identity.key.serialize_pem())),
        hashes: Hashes::Md5,
        phone: "codecs = [\"pcmu\"]",
        ..HouseSetup::default()
    };
    (House::build(PROGRAM, setup).await, identity)
}

fn at(house: &House, transport: &str) -> SocketAddr {
    house.gateway.sip_over(transport).expect("it is heard there")
}

async fn anna(house: &House) -> E2eePeer {
    house.user("anna", Answering::Take, Fault::None).await
}

/// Phone 100, which calls Anna there and hangs up, and is called by her.
pub(crate) async fn calls_and_is_called(
    house: &House,
    desk: &mut Baresip,
    anna: &mut E2eePeer,
    (server, transport): (SocketAddr, &str),
) {
    desk.dial(&format!("sip:anna@{server};transport={transport}"));
    desk.wait_for("CALL_ESTABLISHED", SOON);
    hears(anna.line(), PHONE_HZ).await;
    desk.command("hangup", "");
    house.wait_idle().await;
    desk.forget();
    is_called_by(anna, "100@gw").await;
}

/// A phone, which takes the call.
pub(crate) async fn is_called_by(anna: &mut E2eePeer, number: &str) {
    anna.dial(number);
    let connected = |event: &e2ee_peer::Event| (*event == e2ee_peer::Event::Connected).then_some(());
    anna.wait("the call", SOON, connected)
        .await
        .expect("the phone takes it");
    hears(anna.line(), PHONE_HZ).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_calls_and_is_called_over_tcp_and_tls() {
    if peers::program("baresip").is_none() {
        return;
    }
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        for transport in ["tcp", "tls"] {
            let (house, identity) = house(ip).await;
            let mut anna = anna(&house).await;
            let gateway = at(&house, transport);
            let setup = baresip::Setup {
                transport,
                authority: Some(&identity.authority_pem),
                ..baresip::Setup::new("100", gateway)
            };
            let mut desk = Baresip::start(&setup).expect("baresip is installed");
            desk.wait_registered(SOON);
            calls_and_is_called(&house, &mut desk, &mut anna, (gateway, transport)).await;
            println!("baresip over {transport} at {ip}: registered, called, was called");
        }
    }
}

/// Passes datagrams on between a phone and the gateway, as a NAT does, until a STUN request of the phone has had its answer.
async fn pass_on_until_kept_alive(outside: UdpSocket, inside: UdpSocket, gateway: SocketAddr) {
    /// A Binding request and its success, RFC 8489 §5.
    const KINDS: [[u8; 2]; 2] = [[0, 1], [1, 1]];
    let (mut phone, mut asked) = (None, None);
    let (mut up, mut down) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            got = outside.recv_from(&mut up) => {
                let (length, source) = got.expect("the phone's side is open");
                phone = Some(source);
                if up[..2] == KINDS[0] {
                    asked = up.get(4..20).map(<[u8]>::to_vec);
                }
                inside.send_to(&up[..length], gateway).await.expect("it goes up");
            }
            got = inside.recv_from(&mut down) => {
                let (length, _) = got.expect("the gateway's side is open");
                let Some(phone) = phone else { continue };
                outside.send_to(&down[..length], phone).await.expect("it goes down");
                if down[..2] == KINDS[1] && asked.as_deref() == down.get(4..20) {
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_keeps_a_flow_over_udp() {
    if peers::program("baresip").is_none() {
        return;
    }
    let (house, _identity) = house(Ipv4Addr::LOCALHOST.into()).await;
    let outside = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let inside = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let setup = baresip::Setup {
        outbound: true,
        ..baresip::Setup::new("100", outside.local_addr().expect("it is bound"))
    };
    let gateway = house.gateway.sip().expect("it is heard there");
    let kept = tokio::spawn(pass_on_until_kept_alive(outside, inside, gateway));
    let mut desk = tokio::task::block_in_place(|| Baresip::start(&setup)).expect("baresip is installed");
    tokio::task::block_in_place(|| desk.wait_registered(SOON));
    let kept = tokio::time::timeout(SOON, kept).await;
    kept.expect("its keep-alive is answered").expect("nothing breaks");
    println!("baresip over udp with outbound: its STUN request was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn pjsua_calls_and_is_called_over_tcp_and_tls() {
    if peers::python().is_none() {
        return;
    }
    // Its build from PyPI knows no IPv6.
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST)] {
        for transport in ["tcp", "tls"] {
            let (house, identity) = house(ip).await;
            let mut anna = anna(&house).await;
            let authority = house.gateway.folder().join("ca.pem");
            std::fs::write(&authority, &identity.authority_pem).expect("the authority");
            let run = async |more: &[&str]| {
                let mut phone = pjsua::phone(at(&house, transport), "100").expect("it is there");
                phone
                    .args(["--transport", transport, "--local", &ip.to_string()])
                    .args(["--seconds", "4"])
                    .args(more);
                if transport == "tls" {
                    phone.arg("--ca").arg(&authority);
                }
                pjsua::said(&mut phone).await
            };
            let text = run(&["--dial", "anna"]).await;
            let events = ["registered", "confirmed"];
            assert!(
                events.iter().all(|event| text.contains(event)),
                "{transport} {ip}: {text}"
            );
            house.wait_idle().await;
            let later = async {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                anna.dial("100@gw");
            };
            let (text, ()) = tokio::join!(run(&["--answer"]), later);
            let events = ["registered", "incoming", "confirmed"];
            assert!(
                events.iter().all(|event| text.contains(event)),
                "{transport} {ip}: {text}"
            );
            println!("pjsua2 over {transport} at {ip}: registered, called, was called");
        }
    }
}
