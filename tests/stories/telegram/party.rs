//! An account, and who logs it in.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use quartet::networks::telegram::client::access::Access;
use quartet::networks::telegram::client::login::{LoginSetup, Person};
use quartet::networks::telegram::client::{ClientSetup, run};
use quartet::networks::telegram::frame::{Frame, Order, Report};
use quartet::networks::telegram::{Account, Phone, PhoneConfig};
use quartet::networks::{
    CallRequest, CallerDetails, KeyExchange, Network as _, NetworkCall, NetworkCommand, NetworkEvent, Offer,
};
use quartet_tests::telegram::prepare_login;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quartet-telegram-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(super) fn session(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.session"))
    }

    pub(super) fn key(&self) -> PathBuf {
        self.0.join("key")
    }

    /// Makes a login of that name.
    pub(super) fn prepare(&self, name: &str, address: SocketAddr, me: Option<i64>) {
        prepare_login(&self.session(name), &self.key(), address, name, me);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Says one thing after another.
pub(super) struct Script {
    answers: VecDeque<&'static str>,
    pub(super) told: Vec<String>,
    /// Links that it was shown go there.
    pub(super) shown: Option<mpsc::UnboundedSender<String>>,
}

impl Script {
    pub(super) fn new(answers: &[&'static str]) -> Self {
        Self {
            answers: answers.iter().copied().collect(),
            told: Vec::new(),
            shown: None,
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

    fn show(&mut self, link: &str) {
        if let Some(shown) = &self.shown {
            shown.send(link.to_owned()).expect("somebody looks");
        }
    }
}

/// How an account of that name reaches the service.
pub(super) fn access(folder: &Folder, name: &str) -> Access {
    Access {
        api_id: 1,
        session: folder.session(name),
        key: folder.key(),
        proxy: None,
        is_test: false,
    }
}

pub(super) fn setup(access: &Access) -> LoginSetup<'_> {
    LoginSetup {
        access,
        api_hash: "0123",
        by_qr: false,
    }
}

/// An account: the machine and the client beneath it.
pub(super) struct Party {
    pub(super) phone: Phone,
    pub(super) orders: mpsc::Sender<Order>,
    reports: mpsc::Receiver<Vec<u8>>,
    /// What the client has said.
    pub(super) said: Vec<Report>,
}

impl Party {
    pub(super) fn start(folder: &Folder, name: &str) -> Self {
        Self::with(access(folder, name))
    }

    pub(super) fn with(access: Access) -> Self {
        let (orders, taken) = mpsc::channel(64);
        let (out, reports) = mpsc::channel(64);
        let setup = ClientSetup { account: 0, access };
        tokio::spawn(run(setup, taken, out));
        let phone = Phone::new(PhoneConfig {
            accounts: vec![Account {
                name: "main".to_owned(),
                calls_per_hour: 30,
                lookups_per_day: 20,
                ..Account::default()
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
    pub(super) async fn wait<T>(&mut self, mut wanted: impl FnMut(&mut Self, Option<NetworkEvent>) -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            while let Some(frame) = self.phone.poll_frame() {
                let order = Frame::<Order>::parse(&frame).expect("an order");
                self.orders.send(order.word).await.expect("the client runs");
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

    pub(super) async fn up(&mut self) {
        self.wait(|party, _| party.phone.is_up().then_some(())).await;
    }

    /// What the core is told next, but for what the other app speaks.
    pub(super) async fn event(&mut self) -> NetworkEvent {
        let is_telling = |event: &NetworkEvent| !matches!(event, NetworkEvent::Speaks { .. });
        self.wait(|_, event| event.filter(is_telling)).await
    }

    pub(super) fn command(&mut self, command: NetworkCommand) {
        self.phone.handle_command(Instant::now(), command);
    }

    pub(super) fn call(&mut self, number: u8, to: &str, public: &[u8]) -> NetworkCall {
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
            caller: CallerDetails::default(),
            wait: Duration::ZERO,
        }));
        call
    }
}
