//! Accounts of the telegram network against a data centre of our own: they log in, call each other, and lose what they have.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quartet::networks::telegram::client::login::{LoginSetup, Person, log_in, log_out};
use quartet::networks::telegram::client::{ClientSetup, run};
use quartet::networks::telegram::frame::{Frame, Order, Report};
use quartet::networks::telegram::{Account, Phone, PhoneConfig};
use quartet::networks::{
    CallRequest, DiscardReason, KeyExchange, Network as _, NetworkCall, NetworkCommand, NetworkEvent, Offer, Refusal,
};
use quartet_tests::telegram::{CODE, DataCentre, Fault, Served, User, auth_key, prepare_login};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quartet-telegram-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn session(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.session"))
    }

    fn key(&self) -> PathBuf {
        self.0.join("key")
    }

    /// Makes a login of that name.
    fn prepare(&self, name: &str, address: SocketAddr, me: Option<i64>) {
        prepare_login(&self.session(name), &self.key(), address, name, me);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Says one thing after another.
struct Script {
    answers: VecDeque<&'static str>,
    told: Vec<String>,
}

impl Script {
    fn new(answers: &[&'static str]) -> Self {
        Self {
            answers: answers.iter().copied().collect(),
            told: Vec::new(),
        }
    }
}

impl Person for Script {
    fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        let answer = self.answers.pop_front();
        answer
            .map(str::to_owned)
            .ok_or_else(|| anyhow::anyhow!("nobody answers {question}"))
    }

    fn ask_secret(&mut self, question: &str) -> anyhow::Result<zeroize::Zeroizing<String>> {
        self.ask(question).map(zeroize::Zeroizing::new)
    }

    fn tell(&mut self, sentence: &str) {
        self.told.push(sentence.to_owned());
    }
}

fn setup<'a>(session: &'a Path, key: &'a Path) -> LoginSetup<'a> {
    LoginSetup {
        api_id: 1,
        api_hash: "0123",
        session,
        key,
    }
}

/// An account: the machine and the client beneath it.
struct Party {
    phone: Phone,
    orders: mpsc::UnboundedSender<Order>,
    reports: mpsc::Receiver<Vec<u8>>,
    /// What the client has said of the login.
    said: Vec<Report>,
}

impl Party {
    fn start(folder: &Folder, name: &str) -> Self {
        let (orders, taken) = mpsc::unbounded_channel();
        let (out, reports) = mpsc::channel(64);
        let setup = ClientSetup {
            account: 0,
            api_id: 1,
            session: folder.session(name),
            key: folder.key(),
        };
        tokio::spawn(run(setup, taken, out));
        let phone = Phone::new(PhoneConfig {
            accounts: vec![Account {
                name: "main".to_owned(),
                calls_per_hour: 30,
                lookups_per_day: 20,
                dials_numbers: false,
            }],
            ..PhoneConfig::default()
        });
        Self {
            phone,
            orders,
            reports,
            said: Vec::new(),
        }
    }

    /// Carries between machine and client until the machine tells something that is wanted.
    async fn wait<T>(&mut self, mut wanted: impl FnMut(&mut Self, Option<NetworkEvent>) -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            while let Some(frame) = self.phone.poll_frame() {
                let order = Frame::<Order>::parse(&frame).expect("an order");
                self.orders.send(order.word).expect("the client runs");
            }
            while let Some(event) = self.phone.poll_event() {
                if let Some(found) = wanted(self, Some(event)) {
                    return found;
                }
            }
            if let Some(found) = wanted(self, None) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            let frame = timeout(left, self.reports.recv())
                .await
                .expect("something comes")
                .expect("it runs");
            if let Some(frame) = Frame::<Report>::parse(&frame) {
                self.said.push(frame.word);
            }
            self.phone.handle_frame(Instant::now(), &frame);
        }
    }

    async fn up(&mut self) {
        self.wait(|party, _| party.phone.is_up().then_some(())).await;
    }

    async fn event(&mut self) -> NetworkEvent {
        self.wait(|_, event| event).await
    }

    fn command(&mut self, command: NetworkCommand) {
        self.phone.handle_command(Instant::now(), command);
    }

    fn call(&mut self, number: u8, to: &str, public: &[u8]) -> NetworkCall {
        let call = NetworkCall([number; 16]);
        self.command(NetworkCommand::Request(CallRequest {
            call,
            from: String::new(),
            to: to.to_owned(),
            offers: vec![Offer {
                exchange: KeyExchange::Dh2048,
                commitment: Sha256::digest(public).into(),
            }],
            versions: vec!["9.0.0".to_owned(), "13.0.0".to_owned()],
            p2p: true,
        }));
        call
    }
}

#[tokio::test]
async fn an_account_logs_in_by_code_and_password_and_out_again() {
    let folder = Folder::new("login");
    let mut users = vec![User::new(1_003, "Gateway"), User::new(1_004, "Other")];
    users[1].password = Some("a secret".to_owned());
    let mut centre = DataCentre::new(users, 1);
    centre.know(auth_key("main"));
    centre.know(auth_key("other"));
    let served = Served::start(centre, [127, 0, 0, 1].into()).await.expect("it listens");
    let key = folder.key();
    // By code alone; the first one is wrong.
    folder.prepare("main", served.address(), None);
    let session = folder.session("main");
    let mut person = Script::new(&["+15551003", "11111", CODE]);
    let who = log_in(setup(&session, &key), &mut person).await.expect("logged in");
    assert_eq!(who, "@gateway");
    assert_eq!(person.told.len(), 2, "{:?}", person.told);
    // By code and password, the first of which is wrong.
    folder.prepare("other", served.address(), None);
    let session = folder.session("other");
    let mut person = Script::new(&["+15551004", CODE, "a guess", "a secret"]);
    let who = log_in(setup(&session, &key), &mut person).await.expect("logged in");
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
        let error = log_in(setup(&session, &key), &mut Script::new(&["+15551004"])).await;
        let error = error.expect_err("refused").to_string();
        assert!(error.contains(says), "{error}");
    }
    // A restart needs no login; and then somebody logs out.
    let mut party = Party::start(&folder, "other");
    party.up().await;
    drop(party);
    assert!(log_out(1, &session, &key).await.expect("logged out"));
    assert!(!log_out(1, &session, &key).await.expect("nothing to do"));
    assert_eq!(served.count(1_004, "auth.logOut"), 1);
}

/// A data centre with two accounts that are logged in.
async fn two(folder: &Folder) -> (Served, Party, Party) {
    let mut centre = DataCentre::new(vec![User::new(1_001, "Alice"), User::new(1_003, "Gateway")], 2);
    centre.log_in(auth_key("alice"), 1_001);
    centre.log_in(auth_key("main"), 1_003);
    let served = Served::start(centre, [127, 0, 0, 1].into()).await.expect("it listens");
    folder.prepare("alice", served.address(), Some(1_001));
    folder.prepare("main", served.address(), Some(1_003));
    let (mut gateway, mut alice) = (Party::start(folder, "main"), Party::start(folder, "alice"));
    gateway.up().await;
    alice.up().await;
    (served, gateway, alice)
}

#[tokio::test]
async fn two_accounts_call_each_other_step_by_step() {
    let folder = Folder::new("call");
    let (served, mut gateway, mut alice) = two(&folder).await;
    let (ours, theirs) = (vec![3; 256], vec![2; 256]);
    let call = gateway.call(1, "main/@alice", &ours);
    // The account's own name is the one of the settings.
    let NetworkEvent::Requested(request) = both(&mut gateway, &mut alice).await else {
        panic!("it is told");
    };
    let there = request.call;
    assert_eq!((request.from.as_str(), request.to.as_str()), ("@gateway", "main"));
    alice.command(NetworkCommand::Received { call: there });
    assert_eq!(both(&mut alice, &mut gateway).await, NetworkEvent::Received { call });
    alice.command(NetworkCommand::Accept {
        call: there,
        exchange: KeyExchange::Dh2048,
        public: theirs.clone(),
        version: "13.0.0".to_owned(),
    });
    let accepted = both(&mut alice, &mut gateway).await;
    assert!(
        matches!(&accepted, NetworkEvent::Accepted { public, version, .. } if *public == theirs && version == "13.0.0")
    );
    let fingerprint = -7;
    gateway.command(NetworkCommand::Confirm {
        call,
        public: ours.clone(),
        fingerprint,
    });
    assert!(matches!(gateway.event().await, NetworkEvent::Servers { .. }));
    let confirmed = alice.event().await;
    assert!(matches!(&confirmed, NetworkEvent::Confirmed { public, fingerprint: -7, .. } if *public == ours));
    assert!(matches!(alice.event().await, NetworkEvent::Servers { .. }));
    let packet = vec![9; 100];
    gateway.command(NetworkCommand::Signal {
        call,
        packet: packet.clone(),
    });
    let signal = both(&mut gateway, &mut alice).await;
    assert_eq!(signal, NetworkEvent::Signal { call: there, packet });
    alice.command(NetworkCommand::Discard {
        call: there,
        reason: DiscardReason::Hangup,
        duration: Duration::from_secs(3),
    });
    let reason = DiscardReason::Hangup;
    assert_eq!(
        both(&mut alice, &mut gateway).await,
        NetworkEvent::Discarded { call, reason }
    );
    assert_eq!(served.count(1_003, "phone.requestCall"), 1);
    assert!(served.centre().closed.is_empty());
}

/// Lets the first say what it has to, and waits for what the second tells.
async fn both(first: &mut Party, second: &mut Party) -> NetworkEvent {
    tokio::select! {
        event = second.event() => event,
        told = first.event() => panic!("{told:?}"),
    }
}

#[tokio::test]
async fn each_fault_of_the_service_ends_a_call_with_its_reason_and_one_request() {
    let folder = Folder::new("faults");
    let (served, mut gateway, _alice) = two(&folder).await;
    for (number, (fault, why)) in [
        ("USER_PRIVACY_RESTRICTED", Refusal::Forbidden),
        ("USER_IS_BLOCKED", Refusal::Forbidden),
        ("CALL_OCCUPY_FAILED", Refusal::Busy),
        ("PARTICIPANT_VERSION_OUTDATED", Refusal::Incompatible),
    ]
    .into_iter()
    .enumerate()
    {
        let error = Fault::Error("phone.requestCall", 400, fault.to_owned());
        served.centre().service.faults.push_back(error);
        let before = served.count(1_003, "phone.requestCall");
        let call = gateway.call(number as u8 + 1, "main/@alice", &[1]);
        assert_eq!(gateway.event().await, NetworkEvent::Refused { call, why }, "{fault}");
        assert_eq!(served.count(1_003, "phone.requestCall"), before + 1, "{fault}");
    }
    let call = gateway.call(90, "main/@nobody", &[1]);
    let why = Refusal::UnknownUser;
    assert_eq!(gateway.event().await, NetworkEvent::Refused { call, why });
    // A pause is honoured without a further request.
    let flood = Fault::Error("phone.requestCall", 420, "FLOOD_WAIT_50".to_owned());
    served.centre().service.faults.push_back(flood);
    gateway.call(91, "main/@alice", &[1]);
    let retry_after = Duration::from_secs(50);
    assert!(matches!(
        gateway.event().await,
        NetworkEvent::Refused { why: Refusal::RateLimited { retry_after: said }, .. } if said == retry_after
    ));
    let before = served.centre().service.requests.len();
    gateway.call(92, "main/@alice", &[1]);
    assert!(matches!(
        gateway.event().await,
        NetworkEvent::Refused {
            why: Refusal::RateLimited { .. },
            ..
        }
    ));
    assert_eq!(served.centre().service.requests.len(), before);
}

#[tokio::test]
async fn a_connection_that_is_gone_comes_back_and_a_session_that_is_revoked_does_not() {
    let folder = Folder::new("gone");
    let (served, mut gateway, mut alice) = two(&folder).await;
    served.open(false);
    served.open(true);
    // The next call arrives over a new connection.
    let end = Instant::now() + SOON;
    loop {
        let call = alice.call(1, "main/@gateway", &[1]);
        let told = timeout(Duration::from_secs(3), both(&mut alice, &mut gateway)).await;
        if let Ok(NetworkEvent::Requested(request)) = told {
            gateway.command(NetworkCommand::Discard {
                call: request.call,
                reason: DiscardReason::Hangup,
                duration: Duration::ZERO,
            });
            break;
        }
        alice.command(NetworkCommand::Discard {
            call,
            reason: DiscardReason::Hangup,
            duration: Duration::ZERO,
        });
        assert!(Instant::now() < end, "it does not come back");
    }
    served.centre().revoke(1_003);
    gateway.call(2, "main/@alice", &[1]);
    let out = |party: &mut Party, _| {
        let gone = party
            .said
            .iter()
            .any(|word| matches!(word, Report::Out(why) if why == "AUTH_KEY_UNREGISTERED"));
        gone.then_some(())
    };
    gateway.wait(out).await;
    assert!(!gateway.phone.is_up());
}
