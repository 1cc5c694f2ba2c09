//! Logging in and out: by code, password and picture, by a proxy, at another data centre.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grammers_session::types::DcOption;
use grammers_tl_types::{Serializable as _, functions};
use quartet::config::SocksProxy;
use quartet::networks::telegram::client::access::Access;
use quartet::networks::telegram::client::login::{LoginSetup, log_in, log_out};
use quartet::networks::telegram::client::session::Login;
use quartet::networks::telegram::frame::Order;
use quartet_tests::peers;
use quartet_tests::telegram::{CODE, DataCentre, Fault, Served, User, auth_key};

use tokio::sync::mpsc;

use super::party::{Folder, Party, Script, access, setup};

#[tokio::test]
async fn an_account_logs_in_by_code_and_password_and_out_again() {
    let folder = Folder::new("login");
    let mut users = vec![User::new(1_003, "Gateway"), User::new(1_004, "Other")];
    users[1].password = Some("a secret".to_owned());
    let mut centre = DataCentre::new(users, 1);
    centre.know(auth_key("main"));
    centre.know(auth_key("other"));
    let served = Served::start(centre, [127, 0, 0, 1].into()).await.expect("it listens");
    // By code alone; the first one is wrong.
    folder.prepare("main", served.address(), None);
    let main = access(&folder, "main");
    let mut person = Script::new(&["+15551003", "11111", CODE]);
    let who = log_in(setup(&main), &mut person).await.expect("logged in");
    assert_eq!(who, "@gateway");
    assert_eq!(person.told.len(), 2, "{:?}", person.told);
    // By code and password, the first of which is wrong.
    folder.prepare("other", served.address(), None);
    let access = access(&folder, "other");
    let mut person = Script::new(&["+15551004", CODE, "a guess", "a secret"]);
    let who = log_in(setup(&access), &mut person).await.expect("logged in");
    assert_eq!(who, "@other");
    // What is wrong is said.
    for (fault, says) in [
        (
            Fault::Error("auth.sendCode", 420, "FLOOD_WAIT_40".to_owned()),
            "pause of 40 seconds",
        ),
        (
            Fault::Error("auth.sendCode", 400, "API_ID_INVALID".to_owned()),
            "my.telegram.org",
        ),
        (
            Fault::Error("auth.sendCode", 400, "PHONE_NUMBER_BANNED".to_owned()),
            "banned",
        ),
    ] {
        served.centre().service.faults.push_back(fault);
        let error = log_in(setup(&access), &mut Script::new(&["+15551004"])).await;
        let error = error.expect_err("refused").to_string();
        assert!(error.contains(says), "{error}");
    }
    // A restart needs no login; and then somebody logs out.
    let mut party = Party::start(&folder, "other");
    party.up().await;
    drop(party);
    assert!(log_out(&access).await.expect("logged out"));
    assert!(!log_out(&access).await.expect("nothing to do"));
    assert_eq!(served.count(1_004, "auth.logOut"), 1);
}

/// Whoever is logged in elsewhere accepts each link that is shown.
async fn look(served: &Served, mut shown: mpsc::UnboundedReceiver<String>, other: &Party) {
    while let Some(link) = shown.recv().await {
        let token = link.strip_prefix("tg://login?token=").expect("a link of the service");
        let token = URL_SAFE_NO_PAD.decode(token).expect("base64url");
        let body = functions::auth::AcceptLoginToken { token }.to_bytes();
        let before = served.count(1_003, "auth.acceptLoginToken");
        other
            .orders
            .send(Order::Request { number: 900, body })
            .await
            .expect("it runs");
        while served.count(1_003, "auth.acceptLoginToken") == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn an_account_logs_in_by_a_picture_that_another_device_looks_at() {
    let folder = Folder::new("picture");
    let mut centre = DataCentre::new(vec![User::new(1_003, "Gateway")], 3);
    centre.log_in(auth_key("app"), 1_003);
    for key in ["main", "elsewhere", "guarded"] {
        centre.know(auth_key(key));
    }
    let served = Served::start(centre, [127, 0, 0, 1].into()).await.expect("it listens");
    folder.prepare("app", served.address(), Some(1_003));
    let mut other = Party::start(&folder, "app");
    other.up().await;
    for (name, answers) in [
        ("main", &[][..]),
        ("elsewhere", &[]),
        ("guarded", &["a guess", "a secret"]),
    ] {
        if name == "elsewhere" {
            // The same centre, under another number and with another key.
            served.centre().know(auth_key("elsewhere 4"));
            let login = Login::open(&folder.session(name), &folder.key()).expect("a login");
            login.set_centre(centre_at(&served, 4, "elsewhere 4")).expect("written");
            served.centre().service.faults.push_back(Fault::LinkElsewhere(4));
        }
        if name == "guarded" {
            served.centre().set_password(1_003, "a secret");
        }
        folder.prepare(name, served.address(), None);
        let (shown, link) = mpsc::unbounded_channel();
        let mut person = Script::new(answers);
        person.shown = Some(shown);
        let access = access(&folder, name);
        let by_qr = LoginSetup {
            by_qr: true,
            ..setup(&access)
        };
        let who = tokio::select! {
            who = log_in(by_qr, &mut person) => who.unwrap_or_else(|error| panic!("{name}: {error:#}")),
            () = look(&served, link, &other) => panic!("nothing is shown any more"),
        };
        assert_eq!(who, "@gateway", "{name}");
        let home = Login::open(&folder.session(name), &folder.key())
            .expect("a login")
            .home();
        assert_eq!(home, if name == "elsewhere" { 4 } else { 2 });
    }
    // A picture that nobody looks at is shown anew a few times, and what the service refuses is said.
    let refused = Fault::Error("auth.exportLoginToken", 400, "API_ID_INVALID".to_owned());
    served.centre().service.faults.push_back(refused);
    let access = access(&folder, "main");
    let by_qr = LoginSetup {
        by_qr: true,
        ..setup(&access)
    };
    let error = log_in(by_qr, &mut Script::new(&[]))
        .await
        .expect_err("refused")
        .to_string();
    assert!(error.contains("my.telegram.org"), "{error}");
}

fn centre_at(served: &Served, id: i32, key: &str) -> DcOption {
    let SocketAddr::V4(ipv4) = served.address() else {
        panic!("an IPv4 address")
    };
    DcOption {
        id,
        ipv4,
        ipv6: "[::1]:1".parse().expect("an address"),
        auth_key: Some(auth_key(key)),
    }
}

#[tokio::test]
async fn an_account_that_lives_at_another_data_centre_is_logged_in_there() {
    let folder = Folder::new("moved");
    let mut centre = DataCentre::new(vec![User::new(1_003, "Gateway")], 4);
    centre.know(auth_key("main"));
    centre.know(auth_key("main 4"));
    let served = Served::start(centre, [127, 0, 0, 1].into()).await.expect("it listens");
    let login = Login::open(&folder.session("main"), &folder.key()).expect("a login");
    login.set_centre(centre_at(&served, 4, "main 4")).expect("written");
    drop(login);
    folder.prepare("main", served.address(), None);
    let moved = Fault::Error("auth.sendCode", 303, "PHONE_MIGRATE_4".to_owned());
    served.centre().service.faults.push_back(moved.clone());
    let access = access(&folder, "main");
    let who = log_in(setup(&access), &mut Script::new(&["+15551003", CODE])).await;
    assert_eq!(who.expect("logged in"), "@gateway");
    assert_eq!(Login::open(&access.session, &access.key).expect("a login").home(), 4);
    let mut party = Party::start(&folder, "main");
    party.up().await;
    // From one to the next for ever: said, not followed.
    for _ in 0..3 {
        served.centre().service.faults.push_back(moved.clone());
    }
    let error = log_in(setup(&access), &mut Script::new(&["+15551003"])).await;
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("from one data centre to the next"), "{error}");
}

/// A process that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_service_is_reached_by_a_proxy_that_wants_a_password() {
    let Some(microsocks) = peers::program("microsocks") else {
        return;
    };
    let folder = Folder::new("proxy");
    let mut centre = DataCentre::new(vec![User::new(1_003, "Gateway")], 5);
    centre.log_in(auth_key("main"), 1_003);
    let served = Served::start(centre, [127, 0, 0, 1].into()).await.expect("it listens");
    folder.prepare("main", served.address(), Some(1_003));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    drop(taken);
    let mut command = std::process::Command::new(microsocks);
    command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-u", "anna", "-P", "s3cret"]);
    let _proxy = Running(command.stderr(std::process::Stdio::null()).spawn().expect("it runs"));
    let by = |text: &str| Access {
        proxy: Some(SocksProxy {
            place: format!("localhost:{port}"),
            login: Some(SocksProxy::read_login(text).expect("a login")),
        }),
        ..access(&folder, "main")
    };
    let mut wrong = Party::with(by("anna:wrong"));
    let waited = tokio::time::timeout(Duration::from_secs(3), wrong.up()).await;
    assert!(
        waited.is_err() && served.count(1_003, "updates.getState") == 0,
        "it has gone straight"
    );
    drop(wrong);
    let mut party = Party::with(by("anna:s3cret"));
    party.up().await;
    assert!(served.count(1_003, "updates.getState") > 0);
}
