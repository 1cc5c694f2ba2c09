//! Two gateways are each other's trunk: by address, by digest, by registration, over TLS, and when one place of it is dead.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use quartet::demo::e2ee_peer::{self, Answering, Fault};
use quartet::demo::phone::Phone;
use quartet::demo::{Hashes, PEER_HZ, PHONE_HZ};
use quartet_tests::authority::certify;
use quartet_tests::house::{
    BETWEEN_PHONES, House, HouseSetup, PASSWORD, ROUTES, SOON, SecretFile, connected, ended, hears,
};

use crate::PROGRAM;

/// Where calls of a trunk go, and which calls go to one.
const TRUNK_ROUTES: &str = r#"
[[route]]
name = "out"
from = "phones"
number = "9{number}"
to = "trunk:other:{number}"
ring_timeout = "3s"
[[route]]
name = "users out"
from = "network:hub"
number = "9{number}"
to = "trunk:other:{number}"
ring_timeout = "3s"
"#;

/// The other gateway: whoever calls over its trunk `one` reaches its phone 101, or its user by name.
async fn other(more: &str, identity: Option<(String, String)>) -> House {
    let by_trunk = r#"
[[route]]
name = "phones by trunk"
from = "trunk:one"
number = "{user:[0-9]{3}}"
to = "phone:{user}"
ring_timeout = "3s"
[[route]]
name = "users by trunk"
from = "trunk:one"
number = "{user}"
to = "hub:{user}"
ring_timeout = "3s"
"#;
    let by_trunk = if more.is_empty() { "" } else { by_trunk };
    let routes = format!("{by_trunk}{BETWEEN_PHONES}{ROUTES}");
    let setup = HouseSetup {
        more,
        transports: if identity.is_some() { &["tcp", "tls"] } else { &["tcp"] },
        identity,
        hashes: Hashes::Md5,
        routes: &routes,
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

/// A gateway with the trunk `other`.
async fn with_trunk(trunk: &str) -> House {
    let routes = format!(
        "{TRUNK_ROUTES}\n[[route]]\nname = \"in\"\nfrom = \"trunk:other\"\nto = \"phone:100\"\nring_timeout = \"3s\"\n{ROUTES}"
    );
    let more = format!("[[trunk]]\nname = \"other\"\n{trunk}");
    let setup = HouseSetup {
        more: &more,
        transports: &["tcp", "tls"],
        identity: {
            let own = certify("127.0.0.1");
            Some((own.certificate.pem(), own.key.serialize_pem()))
        },
        routes: &routes,
        ..HouseSetup::default()
    };
    House::build(PROGRAM, setup).await
}

const ALLOWED: &str =
    "[[trunk]]\nname = \"one\"\naddress = \"udp:127.0.0.1:9\"\nallow = [\"127.0.0.1\"]\nmay_assert = \"{any}\"\n";

async fn talks(caller: &mut Phone, number: &str, callee: &mut Phone) {
    caller.dial(number);
    for phone in [&mut *caller, callee] {
        connected(phone).await;
    }
    hears(caller.line(), PHONE_HZ).await;
    hears(callee.line(), PHONE_HZ).await;
    caller.hang_up();
    assert_eq!(ended(callee).await, "answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_calls_phones_and_users_behind_a_trunk_that_knows_its_address() {
    let other = other(ALLOWED, None).await;
    let mut desk = other.phone("101", true).await;
    let anna = other.user("anna", Answering::Take, Fault::None).await;
    let over = [
        ("udp", other.gateway.sip().expect("an address")),
        ("tcp", other.gateway.sip_over("tcp").expect("an address")),
    ];
    for (before, (transport, at)) in (0..).step_by(3).zip(over) {
        let house = with_trunk(&format!("address = \"{transport}:{at}\"\nnumber = \"4930\"\n")).await;
        let mut caller = house.phone("100", false).await;
        talks(&mut caller, "9101", &mut desk).await;
        house.wait_idle().await;
        caller.dial("9anna");
        connected(&mut caller).await;
        hears(anna.line(), PHONE_HZ).await;
        caller.hang_up();
        house.wait_idle().await;
        other.wait_idle().await;
        let last = other.record(before + 2).await;
        assert_eq!(
            (&last["from"], &last["route"]),
            (&"one".into(), &"users by trunk".into()),
            "{last}"
        );
        assert!(
            last["shown"].is_null(),
            "the other has a phone of that number, which nobody else is: {last}"
        );
        // A user of the hub calls with the trunk's number.
        let mut ben = house.user("ben", Answering::Take, Fault::None).await;
        ben.dial("9101@gw");
        let connected = |event: &e2ee_peer::Event| (*event == e2ee_peer::Event::Connected).then_some(());
        ben.wait("the call", SOON, connected).await.expect("it stands");
        hears(desk.line(), PEER_HZ).await;
        hears(ben.line(), PHONE_HZ).await;
        drop(ben);
        assert_eq!(ended(&mut desk).await, "answered");
        other.wait_idle().await;
        let last = other.record(before + 3).await;
        assert_eq!(last["shown"], "4930", "{last}");
    }
}

/// What does not fit a datagram goes over TCP, to who listens there, and by datagram to who does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_invite_goes_over_tcp_where_it_is_taken() {
    let setup = HouseSetup {
        more: ALLOWED,
        transports: &["tcp"],
        routes: "[[route]]\nname = \"all\"\nfrom = \"trunk:one\"\nto = \"phone:101\"\nring_timeout = \"3s\"\n",
        ..HouseSetup::default()
    };
    let other = House::build(PROGRAM, setup).await;
    let mut desk = other.phone("101", true).await;
    let over = [other.gateway.sip_over("tcp"), other.gateway.sip()].map(|at| at.expect("an address"));
    for at in over {
        // Where the one listens by TCP, nobody listens by UDP, and the other way round.
        let house = with_trunk(&format!("address = \"udp:{at}\"\n")).await;
        let mut caller = house.phone("100", false).await;
        talks(&mut caller, &format!("9{}", "0123456789".repeat(22)), &mut desk).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_wants_a_login_gets_it() {
    let other = other("", None).await;
    let mut desk = other.phone("101", true).await;
    let password = SecretFile::new(PASSWORD);
    let house = with_trunk(&format!(
        "address = \"udp:{}\"\nusername = \"102\"\npassword_file = \"{}\"\n",
        other.gateway.sip().expect("an address"),
        password.path().display()
    ))
    .await;
    let mut caller = house.phone("100", false).await;
    talks(&mut caller, "9101", &mut desk).await;
    let wrong = SecretFile::new("wrong");
    let refused = with_trunk(&format!(
        "address = \"udp:{}\"\nusername = \"102\"\npassword_file = \"{}\"\n",
        other.gateway.sip().expect("an address"),
        wrong.path().display()
    ))
    .await;
    let mut caller = refused.phone("100", false).await;
    caller.dial("9101");
    assert_eq!(ended(&mut caller).await, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_we_register_with_calls_us_where_we_are() {
    let other = other("", None).await;
    let password = SecretFile::new(PASSWORD);
    let mut house = with_trunk(&format!(
        "address = \"tcp:{}\"\nusername = \"102\"\npassword_file = \"{}\"\nregister = true\n",
        other.gateway.sip_over("tcp").expect("an address"),
        password.path().display()
    ))
    .await;
    let end = Instant::now() + SOON;
    while house.status().await["trunks"][0]["registered"] != true {
        assert!(
            Instant::now() < end,
            "{}\n{}",
            house.status().await,
            house.gateway.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut desk = house.phone("100", true).await;
    let mut caller = other.phone("101", false).await;
    talks(&mut caller, "102", &mut desk).await;
    let record = house.record(1).await;
    assert_eq!(
        (&record["from"], &record["route"]),
        (&"other".into(), &"in".into()),
        "{record}"
    );
    // Another option of it changes nothing of where we are, not even for a moment.
    let mut setup = house.gateway.setup();
    setup.more = setup
        .more
        .replace("register = true", "register = true\nprobe = \"30s\"");
    house.gateway.reload(setup).await.expect("it is another trunk");
    talks(&mut caller, "102", &mut desk).await;
    // Who is no more registered is not there.
    let mut setup = house.gateway.setup();
    setup.more = setup.more.replace("register = true", "register = false");
    house.gateway.reload(setup).await.expect("it is another trunk");
    let end = Instant::now() + SOON;
    while other.status().await["phones"] != 1 {
        assert!(Instant::now() < end, "{}", other.status().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_past_places_that_are_silent_or_refuse_connections() {
    let other = other(ALLOWED, None).await;
    let mut desk = other.phone("101", true).await;
    // Nobody answers here, and nobody listens there.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let closed: SocketAddr = TcpListener::bind("127.0.0.1:0")
        .and_then(|it| it.local_addr())
        .expect("a port");
    let house = with_trunk(&format!(
        "address = [\"udp:{}\", \"tcp:{closed}\", \"udp:{}\"]\n",
        silent.local_addr().expect("an address"),
        other.gateway.sip().expect("an address")
    ))
    .await;
    let mut caller = house.phone("100", false).await;
    let begun = Instant::now();
    caller.dial("9101");
    connected(&mut caller).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    hears(desk.line(), PHONE_HZ).await;
    caller.hang_up();
    assert_eq!(ended(&mut desk).await, "answered");
    // None is there.
    let nowhere = with_trunk(&format!("address = [\"tcp:{closed}\"]\n")).await;
    let mut caller = nowhere.phone("100", false).await;
    caller.dial("9101");
    assert_eq!(ended(&mut caller).await, "missed");
    assert_eq!(nowhere.record(1).await["cause"], "offline");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_tls_the_name_of_a_trunk_is_verified() {
    let certified = certify("127.0.0.1");
    let identity = (certified.certificate.pem(), certified.key.serialize_pem());
    let other = other(ALLOWED, Some(identity)).await;
    let mut desk = other.phone("101", true).await;
    let at = other.gateway.sip_over("tls").expect("an address");
    let authority = SecretFile::new(&certified.authority_pem);
    let house = with_trunk(&format!(
        "address = \"tls:{at}\"\nca_file = \"{}\"\n",
        authority.path().display()
    ))
    .await;
    let mut caller = house.phone("100", false).await;
    talks(&mut caller, "9101", &mut desk).await;
    // An authority of the same name that has signed something else.
    let stranger = SecretFile::new(&certify("127.0.0.1").authority_pem);
    // Whom another trunk at the same address trusts is its own affair.
    let house = with_trunk(&format!(
        "address = \"tls:{at}\"\nca_file = \"{}\"\n[[trunk]]\nname = \"zz\"\naddress = \"tls:{at}\"\nca_file = \"{}\"\n",
        authority.path().display(),
        stranger.path().display()
    ))
    .await;
    let mut caller = house.phone("100", false).await;
    talks(&mut caller, "9101", &mut desk).await;
    let house = with_trunk(&format!(
        "address = \"tls:{at}\"\nca_file = \"{}\"\n",
        stranger.path().display()
    ))
    .await;
    let mut caller = house.phone("100", false).await;
    caller.dial("9101");
    assert_eq!(ended(&mut caller).await, "missed");
    assert!(
        house.gateway.log().contains("TLS with a trunk"),
        "{}",
        house.gateway.log()
    );
}
