//! Calls over coturn: from relay to ntgcalls, while no packet goes straight.

use std::path::{Path, PathBuf};
use std::time::Instant;

use quartet::demo::gateway::Hub;
use quartet::demo::{Hashes, phone};
use quartet_tests::framed::FramedServer;
use quartet_tests::house::{House, HouseSetup, ROUTES, write_secret};
use quartet_tests::namespace::Namespace;
use quartet_tests::ntgcalls::Ntgcalls;
use quartet_tests::peers;
use quartet_tests::plugin::{build_c_path, build_rust_path};
use quartet_tests::turnserver::{self, TurnServer};

use crate::PROGRAM;
use crate::calls::{MACHINE, SOON, both_hear, talk};
use crate::moves::{BACK, until_both_hear};

/// A file with a secret, gone with the test.
struct SecretFile(PathBuf);

impl SecretFile {
    fn new(namespace: &Namespace, name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("q-{name}-{}-{}", std::process::id(), namespace.far()));
        write_secret(&path, text).expect("a file");
        Self(path)
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

async fn house(namespace: &Namespace, server: &str, relay_only: bool) -> House {
    let route = format!("relay_only = {relay_only}");
    house_with(namespace, &format!("[[ice_server]]\n{server}"), &route, Vec::new()).await
}

async fn house_with(namespace: &Namespace, more: &str, route: &str, plugins: Vec<PathBuf>) -> House {
    let routes = ROUTES.replace("[[route]]", &format!("[[route]]\n{route}"));
    House::build(
        PROGRAM,
        HouseSetup {
            more: &format!("[call]\nverify = \"off\"\n{more}"),
            plugins,
            hub: Hub::Here((namespace.near(), 0).into()),
            hashes: Hashes::Md5,
            routes: &routes,
            ..HouseSetup::default()
        },
    )
    .await
}

/// A phone calls ntgcalls, both hear each other; then ntgcalls calls the phone. Which ways the records name.
async fn talk_both_ways(house: &House, namespace: &Namespace) -> Vec<String> {
    let token = house.invite("anna").await;
    let mut anna = Ntgcalls::start(namespace, &house.hub(), &token, &["--tone", "600"]).expect("installed");
    let mut desk = house.phone("102", true).await;
    desk.dial("anna");
    let stands = desk.wait(&phone::Event::Connected, SOON).await;
    stands.unwrap_or_else(|error| panic!("{error}\n{}", house.gateway.log()));
    both_hear(&desk, &mut anna).await;
    desk.hang_up();
    house.wait_idle().await;
    drop(anna);
    // Nothing of the call before is heard any more when she has media.
    let more = ["--tone", "600", "--dial", "102@gw"];
    let mut anna = Ntgcalls::start(namespace, &house.hub(), &token, &more).expect("installed");
    both_hear(&desk, &mut anna).await;
    anna.end();
    let records = house.records(2).await;
    let path = |record: &serde_json::Value| record["legs"][1]["path"].as_str().unwrap_or_default().to_owned();
    records.iter().map(path).collect()
}

fn installed() -> Option<()> {
    peers::may_make_namespaces()?;
    peers::program("turnserver")?;
    peers::python().map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_over_coturn_alone_by_udp_tcp_and_tls() {
    let _machine = MACHINE.read().await;
    if installed().is_none() {
        return;
    }
    let namespace = Namespace::new();
    let server = TurnServer::start(&namespace, false).expect("installed");
    let password = SecretFile::new(&namespace, "password", turnserver::PASSWORD);
    let ip = server.address;
    let file = |path: &Path| path.display().to_string();
    for (url, more, way) in [
        (format!("turn:{ip}"), String::new(), "turn udp"),
        (format!("turn:{ip}?transport=tcp"), String::new(), "turn tcp"),
        (
            format!("turns:{ip}"),
            format!("ca_file = \"{}\"\n", file(&server.ca_file())),
            "turn tls",
        ),
    ] {
        let options = format!(
            "urls = \"{url}\"\nusername = \"{}\"\npassword_file = \"{}\"\n{more}",
            turnserver::USER,
            file(&password.0)
        );
        let house = house(&namespace, &options, true).await;
        let ways = talk_both_ways(&house, &namespace).await;
        assert_eq!(ways, [way, way], "{}\n{}", server.log(), house.gateway.log());
        let log = house.gateway.log();
        assert!(!log.contains(turnserver::PASSWORD) && !log.contains(" ERROR "), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_over_coturn_by_ipv6() {
    let _machine = MACHINE.read().await;
    if installed().is_none() {
        return;
    }
    let namespace = Namespace::new();
    let [_, far] = namespace.add_ipv6();
    let server = TurnServer::start_at(&namespace, far.into(), turnserver::TLS_PORT, true).expect("installed");
    let secret = SecretFile::new(&namespace, "ipv6", turnserver::SECRET);
    for (transport, way) in [("udp", "turn udp"), ("tcp", "turn tcp")] {
        let options = format!(
            "urls = \"turn:[{far}]?transport={transport}\"\nsecret_file = \"{}\"\n",
            secret.0.display()
        );
        let house = house(&namespace, &options, true).await;
        let ways = talk_both_ways(&house, &namespace).await;
        assert_eq!(ways, [way; 2], "{}\n{}", server.log(), house.gateway.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_a_name_and_a_password_of_its_own_where_the_server_shares_a_secret() {
    let _machine = MACHINE.read().await;
    if installed().is_none() {
        return;
    }
    let namespace = Namespace::new();
    let server = TurnServer::start(&namespace, true).expect("installed");
    let secret = SecretFile::new(&namespace, "secret", turnserver::SECRET);
    let options = format!(
        "urls = [\"stun:{0}\", \"turn:{0}\", \"turn:{0}:9?transport=tcp\"]\nsecret_file = \"{1}\"\n",
        server.address,
        secret.0.display()
    );
    let relayed = house(&namespace, &options, true).await;
    assert_eq!(
        talk_both_ways(&relayed, &namespace).await,
        ["turn udp"; 2],
        "{}",
        relayed.gateway.log()
    );
    // Nobody listens at the last address: records say that it was tried.
    let tried = &relayed.record(1).await["legs"][1]["tried"];
    assert_eq!(*tried, serde_json::json!(["turn udp", "turn tcp (no answer)"]));
    drop(relayed);
    // Where both ways work, the straight one is taken.
    let straight = house(&namespace, &options, false).await;
    assert_eq!(
        talk_both_ways(&straight, &namespace).await,
        ["direct"; 2],
        "{}",
        straight.gateway.log()
    );
}

/// What a reflector and its hub share, and where it listens in the namespace's near end.
fn with_reflector(namespace: &Namespace, secret: &Path, protocol: &str) -> String {
    let port = std::net::TcpListener::bind((namespace.near(), 0)).and_then(|taken| taken.local_addr());
    let (near, port) = (namespace.near(), port.expect("a free port").port());
    let secret = secret.display();
    format!(
        "urls = \"reflector:{near}:{port}?transport={protocol}\"\nsecret_file = \"{secret}\"\n\
         [reflector]\nlisten = [\"{protocol}:{near}:{port}\"]\nsecret_file = \"{secret}\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_over_our_reflector_alone_by_udp_and_tcp() {
    let _machine = MACHINE.read().await;
    if peers::may_make_namespaces().is_none() || peers::python().is_none() {
        return;
    }
    let namespace = Namespace::new();
    let secret = SecretFile::new(&namespace, "reflector", "of the reflector");
    for protocol in ["udp", "tcp"] {
        let options = with_reflector(&namespace, &secret.0, protocol);
        let house = house(&namespace, &options, true).await;
        let ways = talk_both_ways(&house, &namespace).await;
        let way = format!("reflector {protocol}");
        assert_eq!(ways, [way.as_str(); 2], "{}", house.gateway.log());
        let status = house.status().await;
        let log = house.gateway.log();
        assert!(status["reflector"]["passed"].as_u64() > Some(50), "{status}\n{log}");
        assert!(!log.contains("of the reflector") && !log.contains(" ERROR "), "{log}");
    }
}

/// A stranger's relay, under the session of every call: no packet goes straight, and ntgcalls does not know.
#[tokio::test(flavor = "multi_thread")]
async fn media_goes_over_a_strangers_path() {
    let _machine = MACHINE.read().await;
    if peers::may_make_namespaces().is_none() || peers::python().is_none() {
        return;
    }
    let namespace = Namespace::new();
    let folder = std::env::temp_dir().join(format!("q-paths-{}-{}", std::process::id(), namespace.far()));
    let built = [build_c_path(&folder.join("c")), build_rust_path(&folder.join("rust"))];
    let plugins: Vec<PathBuf> = built
        .iter()
        .filter_map(|file| Some(file.parent()?.to_owned()))
        .collect();
    let server = FramedServer::start(namespace.near().into());
    for (path, id) in [("framed-c", "template-path-c"), ("framed", "template-path")] {
        let before = server.passed();
        let more = format!("[plugins.options.{id}]\nrelay = \"{}\"", server.address);
        let route = format!("transport = \"webrtc over {path}\"");
        let house = house_with(&namespace, &more, &route, plugins.clone()).await;
        assert_eq!(
            talk_both_ways(&house, &namespace).await,
            ["plugin udp"; 2],
            "{}",
            house.gateway.log()
        );
        assert!(server.passed() > before + 100, "{}", server.passed());
        assert_eq!(
            house.record(1).await["legs"][1]["tried"],
            serde_json::json!(["plugin udp"])
        );
    }
    std::fs::remove_dir_all(&folder).ok();
}

/// The relays stand on the address that goes, by UDP and by TCP: they are asked for again from the new one, and nobody can tell her.
#[tokio::test(flavor = "multi_thread")]
async fn our_address_changes_and_the_relays_are_asked_for_again() {
    let _machine = MACHINE.write().await;
    if installed().is_none() {
        return;
    }
    for protocol in ["udp", "tcp"] {
        let mut namespace = Namespace::new();
        let server = TurnServer::start(&namespace, false).expect("installed");
        let password = SecretFile::new(&namespace, "moving", turnserver::PASSWORD);
        let options = format!(
            "urls = \"turn:{}?transport={protocol}\"\nusername = \"{}\"\npassword_file = \"{}\"\n",
            server.address,
            turnserver::USER,
            password.0.display()
        );
        let house = house(&namespace, &options, true).await;
        let (mut desk, mut anna) = talk(&house, &namespace, &house.hub()).await;
        namespace.move_near();
        let what = format!("{protocol}: we have moved");
        until_both_hear(&what, Instant::now(), &desk, &mut anna, BACK).await;
        desk.hang_up();
        desk.wait(&phone::Event::Ended("answered"), SOON)
            .await
            .expect("it ends");
        house.wait_idle().await;
        let record = house.record(1).await;
        assert_eq!(record["legs"][1]["path"], format!("turn {protocol}"), "{record}");
    }
}
