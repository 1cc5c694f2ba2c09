//! The service goes away in a call, relays alone carry media, and somebody is in the middle.

use std::process::Stdio;
use std::time::{Duration, Instant};

use grammers_tl_types::{enums::PhoneConnection, types};
use quartet::demo::PEER_HZ;
use quartet_proto::reflector::Issuer;
use quartet_tests::telegram::Fault;
use quartet_tests::turnserver::{self, TurnServer};
use quartet_tests::wrapper::private_file;
use quartet_tests::{house::write_secret, peers, wait};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use quartet_tests::telegram::office::{GATEWAY, Office};

use super::office;
use crate::PROGRAM;
use crate::calls::{MACHINE, SOON, desk, words_of};

/// Where our reflector is, and what it shares with the service.
const PORT: u16 = 599;
const SECRET: &str = "of the reflector";
/// How long the service is gone: longer than any time limit of media.
const OUTAGE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_gone_for_half_a_minute_and_hears_of_the_end_when_it_is_back() {
    let _machine = MACHINE.read().await;
    let Some(office) = office("outage").await else { return };
    office.up().await;
    let mut desk = desk(&office.house, "100", "pcmu", false).await;
    let mut alice = office.alice(&[]);
    desk.dial(&office.address("tg*alice"));
    office.sees(&mut alice, "connected");
    office.hears_the_phone(&mut alice);
    office.served.shut_out(Some(GATEWAY));
    let end = Instant::now() + OUTAGE;
    while Instant::now() < end {
        alice.forget();
        office.hears_the_phone(&mut alice);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    desk.command("hangup", "");
    desk.wait_for("CALL_CLOSED", SOON);
    let record = office.house.record(1).await;
    assert_eq!(record["cause"], "answered", "{record:#}");
    assert!(record["legs"][1]["lost"].as_u64() < Some(100), "{record:#}");
    assert_eq!(office.served.count(GATEWAY, "phone.discardCall"), 0);
    office.served.shut_out(None);
    let ended = alice.try_wait("the end", Duration::from_secs(90), |event| event["event"] == "ended");
    ended.unwrap_or_else(|error| panic!("{}", office.fails(&error.to_string())));
    assert_eq!(office.served.count(GATEWAY, "phone.discardCall"), 1);
    alice.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_shows_other_emojis_and_star_nine_ends_the_call() {
    let _machine = MACHINE.read().await;
    let Some(office) = office("between").await else { return };
    office.up().await;
    let mut desk = desk(&office.house, "100", "pcmu", false).await;
    let mut alice = office.alice(&[]);
    put_somebody_between(&office);
    desk.dial(&office.address("tg*alice"));
    let hers = office.sees(&mut alice, "emojis");
    office.sees(&mut alice, "connected");
    office.hears_the_phone(&mut alice);
    let calls = office.calls().await;
    assert_ne!(calls[0]["emojis"], hers["emojis"], "the key is another");
    assert_ne!(calls[0]["words"], serde_json::json!(words_of(&hers)));
    // The person at the handset compares, and says so.
    office.house.wait_calls("verdict", "announced", SOON).await;
    desk.keys("*9");
    desk.wait_for("CALL_CLOSED", SOON);
    let record = office.house.record(1).await;
    assert_eq!(
        (&record["cause"], &record["verdict"]),
        (&"mismatch".into(), &"mismatch".into()),
        "{record:#}"
    );
    office.sees(&mut alice, "ended");
    let heard = office.served.centre().service.overheard.len();
    assert!(heard > 4, "signalling went through the middle: {heard}");
    alice.end();
}

/// Has somebody in the middle of the next call: in a version that seals whole packets, for in the newer ones what is sealed lies in SCTP.
fn put_somebody_between(office: &Office) {
    let service = &mut office.served.centre().service;
    service.versions = Some(vec!["9.0.0".to_owned()]);
    service.faults.push_back(Fault::Between);
}

/// A call that has no way but relays; whoever is in the middle of its signalling, and reads what is asked of the service, looks for
/// our address.
async fn call_over_relays(office: &Office, connections: Vec<PhoneConnection>, way: &str, number: usize) {
    {
        let service = &mut office.served.centre().service;
        service.p2p = false;
        service.connections = connections;
        service.overheard.clear();
    }
    put_somebody_between(office);
    let mut desk = desk(&office.house, "100", "pcmu", false).await;
    let mut alice = office.alice(&["--tone", &PEER_HZ.to_string()]);
    desk.dial(&office.address("tg*alice"));
    office.sees(&mut alice, "connected");
    for _ in 0..3 {
        alice.forget();
        office.hears_the_phone(&mut alice);
    }
    desk.command("hangup", "");
    let record = office.house.record(number).await;
    // Not what she says of the end: the end of a call over a relay by TCP takes ntgcalls with it.
    let is_told = || (office.served.count(GATEWAY, "phone.discardCall") == number).then_some(());
    wait::until("the service's ear", SOON, is_told);
    alice.end();
    assert_eq!(
        record["legs"][1]["path"],
        way,
        "{record:#}\n{}",
        office.house.gateway.log()
    );
    assert!(record["legs"][1]["received"].as_u64() > Some(20), "{record:#}");
    let near = office.namespace.near();
    let centre = office.served.centre();
    let ours: Vec<_> = centre
        .service
        .overheard
        .iter()
        .filter(|heard| heard.by == GATEWAY)
        .collect();
    assert!(ours.len() > 3, "{}", ours.len());
    let told = ours.iter().map(|heard| &heard.plain).chain(&centre.service.bodies);
    let texts = [
        near.to_string().into_bytes(),
        near.octets().to_vec(),
        b"127.0.0.1".to_vec(),
    ];
    for said in told {
        for text in &texts {
            let is_there = said.windows(text.len()).any(|part| part == text);
            assert!(!is_there, "{way}: {}", String::from_utf8_lossy(said));
        }
    }
}

/// Our reflector alone, at the far end of the cable: the gateway uses none of its own machine that the network names.
struct Reflector(std::process::Child);

impl Reflector {
    fn start(office: &Office) -> Self {
        let folder = office.folder.join("reflector");
        std::fs::create_dir_all(&folder).expect("a folder");
        let far = office.namespace.far();
        write_secret(&folder.join("secret"), SECRET).expect("written");
        let conf = format!(
            "[reflector]\nlisten = [\"udp:{far}:{PORT}\", \"tcp:{far}:{PORT}\"]\nsecret_file = \"secret\"\n\
             [control]\npath = \"control.sock\"\n[store]\npath = \"store\"\n[cdr]\npath = \"cdr\"\n"
        );
        private_file(&folder.join("quartet.conf"), &conf);
        for name in ["phones.conf", "routes.conf"] {
            private_file(&folder.join(name), "");
        }
        let mut command = office.namespace.command(PROGRAM);
        command.args(["reflector", "--conf"]).arg(&folder);
        let child = command.stderr(Stdio::null()).spawn().expect("it runs");
        wait::until("the reflector", SOON, || std::net::TcpStream::connect((far, PORT)).ok());
        Self(child)
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_media_may_not_go_straight_relays_carry_it_and_nobody_is_told_our_address() {
    let _machine = MACHINE.read().await;
    if peers::may_make_namespaces().is_none() || peers::program("turnserver").is_none() {
        return;
    }
    let Some(office) = office("relays").await else { return };
    let _reflector = Reflector::start(&office);
    office.up().await;
    office.served.centre().service.keeps_bodies = true;
    let unix = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time").as_secs();
    let mut issuer = Issuer::default();
    for (number, tcp) in [(1, false), (2, true)] {
        let tag = issuer.issue(SECRET.as_bytes(), unix, &mut ChaCha8Rng::seed_from_u64(number));
        let reflector = types::PhoneConnection {
            tcp,
            id: 7_000 + number as i64,
            ip: office.namespace.far().to_string(),
            ipv6: String::new(),
            port: i32::from(PORT),
            peer_tag: tag.to_vec(),
        };
        let way = if tcp { "reflector tcp" } else { "reflector udp" };
        call_over_relays(&office, vec![reflector.into()], way, number as usize).await;
    }
    let server = TurnServer::start(&office.namespace, false).expect("installed");
    let turn = types::PhoneConnectionWebrtc {
        turn: true,
        stun: true,
        id: 9,
        ip: server.address.to_string(),
        ipv6: String::new(),
        port: i32::from(turnserver::PORT),
        username: turnserver::USER.to_owned(),
        password: turnserver::PASSWORD.to_owned(),
    };
    call_over_relays(&office, vec![turn.into()], "turn udp", 3).await;
    let log = office.house.gateway.log();
    assert!(!log.contains(turnserver::PASSWORD) && !log.contains(" ERROR "), "{log}");
}
