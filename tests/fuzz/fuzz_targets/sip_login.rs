//! What phones that have logged in, and strangers beside them, can do to a SIP endpoint: no panic, no table beyond
//! its limit, nothing in a dialog of an account but from where that account is, one last event for each dialog, and
//! after hanging up and ten minutes nothing is left.
//!
//! NUL ends a record. `0`, `1` (phones of account 100), `2` (of account 101) or `3` (a stranger) begins a datagram
//! from there, see `login.rs`. `+` and a byte lets so many seconds pass. `!` is a command of the TU, and a digit
//! after it counts dialogs back: `!C`all account 100, `!R`ing, `!A`nswer, `!N`o, `!H`ang up, `!K` for ACK, `!I`nfo,
//! `!P`robe, `!U`nlock account 100.
#![no_main]

#[path = "../login.rs"]
mod login;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use login::{Heard, LOCAL, Source, source};
use quartet_proto::net::{FiveTuple, Protocol, Receive};
use quartet_proto::sip::{
    Account, DialogKey, Endpoint, EndpointConfig, Ha1, Limits, MAX_MESSAGE, NameAddr, Reason, OutgoingInvite, SipCommand, SipEvent,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

const MAX_CONTACTS: usize = 2;

/// A dialog as its user sees it.
struct Dialog {
    key: DialogKey,
    account: String,
    /// Where our INVITE went.
    called: Option<IpAddr>,
    is_answered: bool,
    is_over: bool,
}

struct Subject {
    endpoint: Endpoint,
    limits: Limits,
    now: Instant,
    heard: Heard,
    dialogs: Vec<Dialog>,
    /// Addresses that a Record-Route may have named: what comes from there is trusted.
    proxies: BTreeSet<IpAddr>,
}

impl Subject {
    fn new() -> Self {
        let limits = Limits {
            server_transactions: 12,
            server_bytes: 96 << 10,
            client_transactions: 6,
            dialogs: 4,
            nonces: 4,
            failing_sources: 2,
            default_expires: Duration::from_secs(120),
            max_expires: Duration::from_secs(300),
            ..Limits::default()
        };
        let config = EndpointConfig {
            instance: "fuzz".to_owned(),
            user_agent: "fuzz".to_owned(),
            realm: login::REALM.to_owned(),
            trusted_proxies: Vec::new(),
            limits: limits.clone(),
        };
        let mut endpoint = Endpoint::new(config, Box::new(ChaCha8Rng::seed_from_u64(1)));
        let account = |user: &str, algorithms: fn(Ha1) -> Ha1| Account {
            user: user.to_owned(),
            ha1: algorithms(Ha1::of(user, login::REALM, login::PASSWORD)),
            max_contacts: MAX_CONTACTS,
            external_addresses: None,
        };
        endpoint.set_local(vec![(Protocol::Udp, LOCAL)]);
        endpoint.set_accounts(vec![account("100", |_| Ha1::all_of("100", login::REALM, login::PASSWORD)), account("101", |both| Ha1 { sha256: None, ..both })]);
        Self {
            endpoint,
            limits,
            now: Instant::now(),
            heard: Heard::default(),
            dialogs: Vec::new(),
            proxies: BTreeSet::new(),
        }
    }

    /// Takes what the endpoint has to say; `cause` is who has sent something, none if time or the TU did it.
    fn drain(&mut self, cause: Option<Source>) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            assert!(transmit.payload.len() <= MAX_MESSAGE, "a message that we would not take");
            self.heard.take(self.now, transmit.five_tuple.remote, &transmit.payload);
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.on_event(cause, &event);
        }
        let (dialogs, transactions) = (self.endpoint.dialog_count(), self.endpoint.transaction_count());
        assert!(dialogs <= self.limits.dialogs, "{dialogs} dialogs");
        // A CANCEL always has room: there is one for each INVITE of ours at most.
        let most = self.limits.server_transactions + 2 * self.limits.client_transactions;
        assert!(transactions <= most, "{transactions} transactions");
        for user in ["100", "101"] {
            assert!(self.endpoint.contacts(self.now, user).len() <= MAX_CONTACTS);
        }
        assert!(self.endpoint.poll_timeout().is_none_or(|at| at > self.now), "something stays due");
    }

    fn on_event(&mut self, cause: Option<Source>, event: &SipEvent) {
        if let SipEvent::Incoming { dialog, caller, five_tuple, .. } = event {
            assert_eq!(cause.and_then(|c| c.account), Some(caller.name()), "a call without a login");
            assert_eq!(cause.map(|c| c.address), Some(five_tuple.remote));
            let (key, account) = (*dialog, caller.name().to_owned());
            self.dialogs.push(Dialog { key, account, called: None, is_answered: false, is_over: false });
            return;
        }
        if let SipEvent::ContactChanged { user, source, .. } = event {
            let logged_in = cause.is_none_or(|c| c.account == Some(user) && c.address == *source);
            assert!(logged_in, "a registration without a login");
        }
        let Some(key) = event.dialog() else { return };
        let dialog = self.dialogs.iter_mut().find(|d| d.key == key).expect("a dialog that is known");
        assert!(!dialog.is_over, "{event:?} after the last event of its dialog");
        let from_peer =
            cause.is_some_and(|c| c.account == Some(&dialog.account) || self.proxies.contains(&c.address.ip()));
        match event {
            SipEvent::Bye { .. } | SipEvent::Cancelled { .. } | SipEvent::Dtmf { .. } | SipEvent::Reinvite { .. } => {
                assert!(from_peer, "{event:?} from {cause:?}");
            }
            SipEvent::Confirmed { body, .. } => assert!(body.is_none() || from_peer, "{event:?} from {cause:?}"),
            SipEvent::Accepted { .. } | SipEvent::Provisional { .. } => {
                dialog.is_answered |= matches!(event, SipEvent::Accepted { .. });
                assert_eq!(cause.map(|c| c.address.ip()), dialog.called, "a response from elsewhere");
            }
            _ => {}
        }
        dialog.is_over = matches!(
            event,
            SipEvent::Rejected { .. }
                | SipEvent::Cancelled { .. }
                | SipEvent::Bye { .. }
                | SipEvent::Lost { .. }
                | SipEvent::Ended { .. }
        );
    }

    fn datagram(&mut self, from: Source, payload: &[u8]) {
        let text = payload.to_ascii_lowercase();
        let has = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
        if has(b"record-route") {
            let named = (b'0'..=b'3').map(|digit| source(digit).address.ip());
            self.proxies.extend(named.filter(|ip| has(ip.to_string().as_bytes())));
        }
        let five_tuple = FiveTuple::new(Protocol::Udp, LOCAL, from.address);
        let before = (self.endpoint.dialog_count(), self.endpoint.transaction_count());
        self.endpoint.handle_input(self.now, Receive { five_tuple, payload });
        if payload.len() > MAX_MESSAGE {
            assert_eq!(before, (self.endpoint.dialog_count(), self.endpoint.transaction_count()));
            assert!(self.endpoint.poll_transmit().is_none() && self.endpoint.poll_event().is_none());
        }
        self.drain(Some(from));
    }

    fn command(&mut self, command: SipCommand) -> bool {
        let done = self.endpoint.handle_command(self.now, command).is_ok();
        self.drain(None);
        done
    }

    fn call(&mut self) {
        let contact = self.endpoint.contacts(self.now, "100").into_iter().next();
        let (request_uri, destination) =
            contact.map_or(("sip:100@192.0.2.2".to_owned(), source(b'0').address), |c| (c.uri, c.five_tuple.remote));
        let dialog = self.endpoint.new_dialog_key();
        let address: NameAddr = "<sip:100@192.0.2.1>".parse().expect("an address");
        let (called, account) = (Some(destination.ip()), "100".to_owned());
        self.dialogs.push(Dialog { key: dialog, account, called, is_answered: false, is_over: false });
        let placed = self.command(SipCommand::Invite(Box::new(OutgoingInvite {
            trunk: None,
            alternates: Vec::new(),
            routes: Vec::new(),
            dialog,
            request_uri,
            five_tuple: FiveTuple::new(Protocol::Udp, LOCAL, destination),
            origin: destination,
            from: address.clone(),
            to: address,
            identity: None,
            headers: Vec::new(),
            body: (dialog.0 % 2 == 0).then(|| b"offer".to_vec()),
            credentials: None,
            account: Some("100".to_owned()),
        })));
        if !placed {
            self.dialogs.retain(|d| d.key != dialog);
        }
    }

    fn obey(&mut self, letter: u8, digit: u8) {
        match letter {
            b'C' => return self.call(),
            b'U' => return self.endpoint.unlock("100"),
            _ => {}
        }
        let back = usize::from(digit.saturating_sub(b'0'));
        let Some(at) = self.dialogs.len().checked_sub(1 + back) else { return };
        let dialog = self.dialogs[at].key;
        let done = self.command(match letter {
            b'R' => SipCommand::Ring { dialog, status: 180, body: None },
            b'A' => SipCommand::Accept { dialog, body: Some(b"answer".to_vec()), identity: None, headers: Vec::new() },
            b'N' => SipCommand::Reject { dialog, status: 488, reason: None, retry_after: Some(1) },
            b'K' => SipCommand::Ack { dialog, body: None },
            b'I' => SipCommand::Info { dialog, content_type: "a/b".to_owned(), body: b"1".to_vec() },
            b'P' => SipCommand::Probe { dialog },
            _ => {
                let (protocol, text) = ("SIP".to_owned(), "over".to_owned());
                SipCommand::Hangup { dialog, reason: Some(Reason { protocol, cause: 200, text }) }
            }
        });
        match letter {
            b'A' => self.dialogs[at].is_answered |= done,
            // The refusal of a call, not of a re-INVITE: no further event.
            b'N' => self.dialogs[at].is_over |= done && !self.dialogs[at].is_answered,
            _ => {}
        }
    }

    /// Lets time pass from timer to timer.
    fn pass(&mut self, length: Duration) {
        let end = self.now + length;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.drain(None);
        }
        self.now = end;
    }
}

fuzz_target!(|data: &[u8]| {
    let mut subject = Subject::new();
    for record in data.split(|b| *b == 0) {
        match record {
            [b'!', letter, rest @ ..] => subject.obey(*letter, rest.first().copied().unwrap_or(b'0')),
            [b'+', seconds, ..] => subject.pass(Duration::from_secs((*seconds).into())),
            [digit @ b'0'..=b'3', datagram @ ..] => {
                let from = source(*digit);
                if let Some(probe) = subject.heard.probe(subject.now, from, datagram) {
                    subject.datagram(from, &probe);
                }
                let payload = subject.heard.fill(from, datagram);
                subject.datagram(from, &payload);
                subject.pass(Duration::from_millis(100));
            }
            _ => {}
        }
    }
    for at in 0..subject.dialogs.len() {
        let dialog = subject.dialogs[at].key;
        subject.command(SipCommand::Hangup { dialog, reason: None });
    }
    subject.pass(Duration::from_secs(600));
    assert_eq!((subject.endpoint.dialog_count(), subject.endpoint.transaction_count()), (0, 0), "something stayed");
    assert_eq!((subject.endpoint.registered_accounts(subject.now), subject.endpoint.poll_timeout()), (vec![], None));
    assert!(subject.dialogs.iter().all(|d| d.is_over), "a dialog without a last event");
});
