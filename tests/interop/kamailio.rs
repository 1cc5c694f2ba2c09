//! Kamailio as the PBX beside a gateway: by address, by digest, by registration, and with one of two that has stopped.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::{Hashes, PEER_HZ, PHONE_HZ};
use quartet_tests::authority::certify;
use quartet_tests::baresip::{self, Baresip};
use quartet_tests::house::{House, HouseSetup, PASSWORD, ROUTES, SecretFile, hears};
use quartet_tests::kamailio::{self, Kamailio};
use quartet_tests::name_server::NameServer;
use quartet_tests::network::{Firewall, NatKind, Network, Place};
use quartet_tests::peers;

use crate::PROGRAM;
use crate::calls::SOON;
use crate::transports::{calls_and_is_called, is_called_by};

const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 5), Ipv4Addr::new(127, 0, 0, 6)];

/// Where calls of Kamailio's phones go, and those to them.
const ROUTES_OF_TRUNK: &str = r#"
[[route]]
name = "from the PBX"
from = "trunk:pbx"
number = "{user}"
to = "hub:{user}"
ring_timeout = "5s"
[[route]]
name = "to the PBX"
from = "network:hub"
number = "7{number}"
to = "trunk:pbx:{number}"
ring_timeout = "5s"
"#;

/// A gateway whose trunk has these lines beside its name.
async fn house(trunk: &str) -> House {
    house_of(PROGRAM, trunk).await
}

async fn house_of(program: &str, trunk: &str) -> House {
    let more = format!(
        "[call]\nverify = \"off\"\n[[trunk]]\nname = \"pbx\"\ncodecs = [\"pcmu\"]\nmay_assert = \"{{any}}\"\n{trunk}"
    );
    let routes = format!("{ROUTES_OF_TRUNK}{ROUTES}");
    let setup = HouseSetup {
        more: &more,
        transports: &["tcp"],
        hashes: Hashes::Md5,
        routes: &routes,
        ..HouseSetup::default()
    };
    House::build(program, setup).await
}

fn pbx(host: Ipv4Addr, gateway: SocketAddr, transport: &str, login: bool) -> Option<Kamailio> {
    Kamailio::start(&kamailio::Setup {
        host,
        gateway,
        transport,
        password: PASSWORD,
        login,
    })
}

/// A phone of Kamailio's.
fn desk(pbx: &Kamailio, user: &str) -> Option<Baresip> {
    let setup = baresip::Setup::new(user, pbx.address());
    let mut desk = Baresip::start(&setup)?;
    desk.wait_registered(SOON);
    Some(desk)
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_of_kamailio_call_users_and_are_called_by_address_over_udp_and_tcp() {
    for transport in ["udp", "tcp"] {
        // Its calls come from its host; where it listens is written once it does.
        let mut house = house(&format!(
            "address = \"udp:{}:9\"\nallow = [\"{}\"]\n",
            HOSTS[0], HOSTS[0]
        ))
        .await;
        let mut anna = house.user("anna", Answering::Take, Fault::None).await;
        let gateway = house.gateway.sip_over(transport).expect("it is heard there");
        let Some(pbx) = pbx(HOSTS[0], gateway, transport, false) else {
            return;
        };
        let mut setup = house.gateway.setup();
        setup.more = setup.more.replace(
            &format!("udp:{}:9", HOSTS[0]),
            &format!("{transport}:{}", pbx.address()),
        );
        house.gateway.reload(setup).await.expect("the trunk is elsewhere");
        let Some(mut desk) = desk(&pbx, "4930") else { return };
        desk.dial(&format!("sip:8anna@{}", pbx.address()));
        desk.wait_for("CALL_ESTABLISHED", SOON);
        hears(anna.line(), PHONE_HZ).await;
        desk.command("hangup", "");
        house.wait_idle().await;
        let record = house.record(1).await;
        assert_eq!(
            (&record["from"], &record["cause"]),
            (&"pbx".into(), &"answered".into()),
            "{record}"
        );
        assert_eq!(record["shown"], "4930", "{record}");
        desk.forget();
        is_called_by(&mut anna, "74930@gw").await;
        desk.hears(PEER_HZ, SOON).await;
        println!("Kamailio as a trunk over {transport}: its phone called and was called");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kamailio_has_the_gateway_log_in_and_register() {
    let file = SecretFile::new(PASSWORD);
    let login = format!(
        "username = \"quartet\"\npassword_file = \"{}\"\n",
        file.path().display()
    );
    let mut house = house(&format!("address = \"udp:{}:9\"\n{login}register = true\n", HOSTS[0])).await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let Some(pbx) = pbx(HOSTS[0], house.gateway.sip().expect("an address"), "udp", true) else {
        return;
    };
    let mut setup = house.gateway.setup();
    setup.more = setup
        .more
        .replace(&format!("udp:{}:9", HOSTS[0]), &format!("udp:{}", pbx.address()));
    setup.routes = setup.routes.replace(
        "number = \"{user}\"\nto = \"hub:{user}\"\nring_timeout = \"5s\"",
        "to = \"hub:anna\"",
    );
    house.gateway.reload(setup).await.expect("the trunk is elsewhere");
    let end = Instant::now() + 2 * SOON;
    while house.status().await["trunks"][0]["registered"] != true {
        assert!(Instant::now() < end, "{}\n{}", house.gateway.log(), pbx.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let Some(mut desk) = desk(&pbx, "100") else { return };
    // Over the registration, and with a login that Kamailio asks for.
    desk.dial(&format!("sip:quartet@{}", pbx.address()));
    desk.wait_for("CALL_ESTABLISHED", SOON);
    hears(anna.line(), PHONE_HZ).await;
    desk.command("hangup", "");
    house.wait_idle().await;
    desk.forget();
    is_called_by(&mut anna, "7100@gw").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kamailio_that_has_stopped_is_passed() {
    let mut house = house(&format!("address = [\"udp:{}:9\", \"udp:{}:9\"]\n", HOSTS[0], HOSTS[1])).await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let gateway = house.gateway.sip().expect("an address");
    let mut both = Vec::new();
    let mut setup = house.gateway.setup();
    for host in HOSTS {
        let Some(pbx) = pbx(host, gateway, "udp", false) else {
            return;
        };
        setup.more = setup
            .more
            .replace(&format!("udp:{host}:9"), &format!("udp:{}", pbx.address()));
        both.push(pbx);
    }
    house.gateway.reload(setup).await.expect("the trunks are elsewhere");
    let Some(_desk) = desk(&both[1], "100") else { return };
    both[0].signal("-STOP");
    let begun = Instant::now();
    is_called_by(&mut anna, "7100@gw").await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    println!(
        "the first Kamailio is stopped: the call stood {:?} after it was dialled",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kamailio_is_found_by_the_records_of_its_domain() {
    // Where it will be heard is known before it is: a gateway asks for names at its start.
    let gateway_is_anywhere = SocketAddr::from((HOSTS[0], 9));
    let Some(pbx) = pbx(HOSTS[0], gateway_is_anywhere, "tcp", false) else {
        return;
    };
    let port = pbx.address().port();
    let records = [
        "--naptr-record=pbx.test,20,10,s,SIP+D2U,,_sip._udp.pbx.test".to_owned(),
        "--naptr-record=pbx.test,10,10,s,SIP+D2T,,_sip._tcp.pbx.test".to_owned(),
        // One that nobody hears ranks first, and is passed.
        format!("--srv-host=_sip._tcp.pbx.test,dead.pbx.test,{port},1,0"),
        format!("--srv-host=_sip._tcp.pbx.test,live.pbx.test,{port},2,0"),
        "--srv-host=_sip._udp.pbx.test,dead.pbx.test,9,1,0".to_owned(),
        format!("--host-record=dead.pbx.test,{}", HOSTS[1]),
        format!("--host-record=live.pbx.test,{}", HOSTS[0]),
    ];
    let Some(names) = NameServer::start(&records) else {
        return;
    };
    let program = names.wrapper(PROGRAM);
    let program = program.path();
    let house = house_of(program.to_str().expect("UTF-8"), "address = \"sip:pbx.test\"\n").await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let wanted = [
        format!("tcp:{}:{port}", HOSTS[1]),
        format!("tcp:{}:{port}", HOSTS[0]),
        format!("udp:{}:9", HOSTS[1]),
    ];
    let end = Instant::now() + SOON;
    while house.status().await["trunks"][0]["places"] != serde_json::json!(wanted) {
        assert!(
            Instant::now() < end,
            "{}\n{}",
            house.status().await["trunks"],
            house.gateway.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let Some(_desk) = desk(&pbx, "100") else { return };
    is_called_by(&mut anna, "7100@gw").await;
    println!("Kamailio was found by NAPTR, SRV and A records of its domain");
}

const OFFICE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const EDGE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const HOME: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn place(address: Ipv4Addr, nat: Option<(NatKind, Ipv4Addr)>) -> Place {
    Place {
        addresses: vec![address],
        nat,
        firewall: Firewall::Open,
        up: Vec::new(),
        down: Vec::new(),
    }
}

/// A phone behind a NAT, which speaks TLS with a Kamailio at the edge, which speaks with the gateway by `transport`.
async fn a_phone_behind_the_edge(network: &Network, transport: &str) {
    let identity = certify(&OFFICE.to_string());
    let setup = HouseSetup {
        more: "[call]\nverify = \"off\"",
        sip: OFFICE.into(),
        sip_lines: &format!("trusted_proxies = [\"{EDGE}\"]"),
        transports: &["tls"],
        identity: Some((identity.certificate.pem(), identity.key.serialize_pem())),
        hashes: Hashes::Md5,
        phone: "codecs = [\"pcmu\"]",
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let token = house.invite("anna").await;
    let whose = (Answering::Take, Fault::None);
    let mut anna = house.user_from(OFFICE.into(), house.hub(), token, whose).await;
    let edge_identity = certify(&EDGE.to_string());
    let edge = network[1].run(|| {
        Kamailio::edge(&kamailio::Edge {
            host: EDGE,
            gateway: house.gateway.sip_over(transport).expect("it is heard there"),
            transport,
            identity: (edge_identity.certificate.pem(), edge_identity.key.serialize_pem()),
        })
        .expect("kamailio is installed")
    });
    let mut desk = network[2].run(|| {
        let setup = baresip::Setup {
            transport: "tls",
            authority: Some(&edge_identity.authority_pem),
            ..baresip::Setup::new("100", edge.address())
        };
        let mut desk = Baresip::start(&setup).expect("baresip is installed");
        desk.wait_registered(SOON);
        desk
    });
    calls_and_is_called(&house, &mut desk, &mut anna, (edge.address(), "tls")).await;
    desk.hears(PEER_HZ, SOON).await;
    anna.hang_up();
    desk.wait_for("CALL_CLOSED", SOON);
    house.wait_idle().await;
    for count in [1, 2] {
        let record = house.record(count).await;
        assert_eq!(record["cause"], "answered", "{record}\n{}", edge.log());
    }
    eprintln!("a phone behind a NAT, over TLS to Kamailio and from there by {transport}: called, was called");
}

#[test]
fn phones_behind_nats_and_an_edge_under_tls_are_heard() {
    if ["baresip", "kamailio"]
        .iter()
        .any(|name| peers::program(name).is_none())
        || peers::may_make_namespaces().is_none()
    {
        return;
    }
    for (transport, nat) in [("udp", NatKind::PortRestricted), ("tls", NatKind::Symmetric)] {
        let places = [place(OFFICE, None), place(EDGE, None), place(HOME, Some((nat, ROUTER)))];
        let network = Network::new(&places, 7, false);
        network[0].run(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(a_phone_behind_the_edge(&network, transport));
        });
    }
}
