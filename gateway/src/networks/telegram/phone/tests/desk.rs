//! An account whose service the test is: requests of the machine, answers, updates.

use grammers_tl_types::{Deserializable as _, Identifiable as _, enums, types};

use super::super::*;
use crate::networks::telegram::frame::RpcError;
use crate::networks::{CallerDetails, Offer};

pub(super) const KEY: (i64, i64) = (77, 4_711);
pub(super) const BOB: (i64, i64) = (1_002, 99);
pub(super) const S: Duration = Duration::from_secs(1);

pub(super) struct Desk {
    pub(super) phone: Phone,
    pub(super) now: Instant,
}

/// A request of the machine.
pub(super) struct Asked {
    pub(super) account: u32,
    pub(super) number: u64,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn constructor(&self) -> u32 {
        u32::from_le_bytes(self.body[..4].try_into().unwrap())
    }
}

macro_rules! is {
    ($asked:expr, $($function:ident)::+) => {
        $asked.constructor() == functions::$($function)::+::CONSTRUCTOR_ID
    };
}
pub(super) use is;

pub(super) fn account(name: &str) -> Account {
    Account {
        name: name.to_owned(),
        calls_per_hour: 30,
        lookups_per_day: 20,
        ..Account::default()
    }
}

pub(super) fn user(id: i64, access_hash: i64, name: &str) -> enums::User {
    // Two flag words, the id and one word more: a user of whom nothing is known.
    let mut bytes = types::User::CONSTRUCTOR_ID.to_le_bytes().to_vec();
    bytes.extend([0; 16]);
    let Ok(enums::User::User(mut user)) = enums::User::from_bytes(&bytes) else {
        panic!("a user");
    };
    (user.id, user.access_hash, user.username) = (id, Some(access_hash), Some(name.to_owned()));
    user.into()
}

pub(super) fn waiting(receive_date: Option<i32>) -> enums::PhoneCall {
    types::PhoneCallWaiting {
        video: false,
        id: KEY.0,
        access_hash: KEY.1,
        date: 0,
        admin_id: 1,
        participant_id: BOB.0,
        protocol: protocol(&["9.0.0"]),
        receive_date,
    }
    .into()
}

pub(super) fn protocol(versions: &[&str]) -> enums::PhoneCallProtocol {
    let versions: Vec<String> = versions.iter().map(|version| (*version).to_owned()).collect();
    calls::protocol(&versions, true)
}

pub(super) fn accepted(versions: &[&str]) -> enums::PhoneCall {
    types::PhoneCallAccepted {
        video: false,
        id: KEY.0,
        access_hash: KEY.1,
        date: 0,
        admin_id: 1,
        participant_id: BOB.0,
        g_b: vec![2; 256],
        protocol: protocol(versions),
    }
    .into()
}

pub(super) fn confirmed(versions: &[&str], connections: Vec<enums::PhoneConnection>) -> enums::PhoneCall {
    types::PhoneCall {
        p2p_allowed: false,
        video: false,
        conference_supported: false,
        id: KEY.0,
        access_hash: KEY.1,
        date: 0,
        admin_id: 1,
        participant_id: BOB.0,
        g_a_or_b: vec![3; 256],
        key_fingerprint: 5,
        protocol: protocol(versions),
        connections,
        start_date: 0,
        custom_parameters: None,
    }
    .into()
}

pub(super) fn discarded(reason: Option<enums::PhoneCallDiscardReason>) -> enums::PhoneCall {
    types::PhoneCallDiscarded {
        need_rating: false,
        need_debug: false,
        video: false,
        id: KEY.0,
        reason,
        duration: None,
    }
    .into()
}

pub(super) fn requested() -> enums::PhoneCall {
    types::PhoneCallRequested {
        video: false,
        id: KEY.0,
        access_hash: KEY.1,
        date: 0,
        admin_id: BOB.0,
        participant_id: 1,
        g_a_hash: vec![7; 32],
        protocol: protocol(&["3.0.0", "9.0.0", "13.0.0"]),
    }
    .into()
}

pub(super) fn error(code: i32, name: &str, value: Option<u32>) -> RpcError {
    RpcError {
        code,
        name: name.to_owned(),
        value,
    }
}

impl Desk {
    /// Its accounts are connected, and know their group.
    pub(super) fn new(accounts: Vec<Account>) -> Self {
        let count = accounts.len();
        let phone = Phone::new(PhoneConfig {
            accounts,
            pools: [("all".to_owned(), (0..count).collect())].into(),
        });
        let now = Instant::now();
        let mut desk = Self { phone, now };
        for account in 0..count {
            desk.report(account as u32, Report::Up);
        }
        for asked in desk.asked() {
            assert!(is!(asked, help::GetConfig) || is!(asked, messages::GetDhConfig));
            if is!(asked, messages::GetDhConfig) {
                let group = types::messages::DhConfig {
                    g: 3,
                    p: e2ee::key_exchange::known_group().to_vec(),
                    version: 3,
                    random: vec![9; 256],
                };
                desk.answer(&asked, &enums::messages::DhConfig::Config(group));
            }
        }
        desk
    }

    pub(super) fn report(&mut self, account: u32, word: Report) {
        self.phone.handle_frame(self.now, &Frame { account, word }.to_bytes());
    }

    pub(super) fn answer(&mut self, asked: &Asked, object: &impl grammers_tl_types::Serializable) {
        let (number, body) = (asked.number, object.to_bytes());
        self.report(asked.account, Report::Answer { number, body });
    }

    pub(super) fn refuse(&mut self, asked: &Asked, error: RpcError) {
        let number = asked.number;
        self.report(asked.account, Report::Error { number, error });
    }

    pub(super) fn update(&mut self, account: u32, call: enums::PhoneCall) {
        let mut body = vec![user(BOB.0, BOB.1, "Bobby")].to_bytes();
        body.extend(enums::Update::from(types::UpdatePhoneCall { phone_call: call }).to_bytes());
        self.report(account, Report::Update(body));
    }

    pub(super) fn asked(&mut self) -> Vec<Asked> {
        let frames = std::iter::from_fn(|| self.phone.poll_frame());
        let orders = frames.filter_map(|frame| Frame::<Order>::parse(&frame));
        orders
            .filter_map(|frame| match frame.word {
                Order::Request { number, body } => Some(Asked {
                    account: frame.account,
                    number,
                    body,
                }),
                Order::Keep(_) => None,
            })
            .collect()
    }

    /// The one request there is.
    pub(super) fn one(&mut self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1);
        asked.remove(0)
    }

    /// What the core is told, but for what the other app speaks.
    pub(super) fn events(&mut self) -> Vec<NetworkEvent> {
        let mut events = self.all_events();
        events.retain(|event| !matches!(event, NetworkEvent::Speaks { .. }));
        events
    }

    pub(super) fn all_events(&mut self) -> Vec<NetworkEvent> {
        std::iter::from_fn(|| self.phone.poll_event()).collect()
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        while self.phone.poll_timeout().is_some_and(|at| at <= self.now) {
            self.phone.handle_timeout(self.now);
        }
    }

    pub(super) fn command(&mut self, command: NetworkCommand) {
        self.phone.handle_command(self.now, command);
    }

    pub(super) fn call(&mut self, number: u8, to: &str) -> NetworkCall {
        self.call_with(number, to, Duration::ZERO)
    }

    pub(super) fn call_with(&mut self, number: u8, to: &str, wait: Duration) -> NetworkCall {
        let call = NetworkCall([number; 16]);
        self.command(NetworkCommand::Request(CallRequest {
            call,
            from: String::new(),
            to: to.to_owned(),
            offers: vec![Offer {
                exchange: KeyExchange::Dh2048,
                commitment: [7; 32],
            }],
            versions: vec!["9.0.0".to_owned(), "13.0.0".to_owned()],
            p2p: true,
            caller: CallerDetails::default(),
            wait,
        }));
        call
    }

    /// A call to @bob that the service has named.
    pub(super) fn called(&mut self) -> NetworkCall {
        let (call, asked) = self.asked_for();
        self.named(&asked, waiting(None));
        call
    }

    /// A call to @bobby, whom the account has not met, that the service is asked for.
    pub(super) fn asked_for(&mut self) -> (NetworkCall, Asked) {
        let call = self.call(1, "main/@bobby");
        let asked = self.one();
        assert!(is!(asked, contacts::ResolveUsername));
        self.found(&asked);
        let asked = self.one();
        assert!(is!(asked, phone::RequestCall));
        (call, asked)
    }

    pub(super) fn found(&mut self, asked: &Asked) {
        let found = types::contacts::ResolvedPeer {
            peer: types::PeerUser { user_id: BOB.0 }.into(),
            chats: Vec::new(),
            users: vec![user(BOB.0, BOB.1, "Bobby")],
        };
        self.answer(asked, &enums::contacts::ResolvedPeer::Peer(found));
    }

    pub(super) fn named(&mut self, asked: &Asked, phone_call: enums::PhoneCall) {
        let answer = types::phone::PhoneCall {
            phone_call,
            users: Vec::new(),
        };
        self.answer(asked, &enums::phone::PhoneCall::Call(answer));
    }

    pub(super) fn discard(&mut self, call: NetworkCall, reason: DiscardReason) {
        let duration = Duration::from_secs(5);
        self.command(NetworkCommand::Discard { call, reason, duration });
    }
}
