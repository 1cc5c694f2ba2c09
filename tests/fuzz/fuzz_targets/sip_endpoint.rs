//! Any datagrams into a SIP endpoint that has a phone account, a registration elsewhere and a call of its own: no panic,
//! and once all have hung up and time has passed, no dialog is left.
//!
//! NUL ends a datagram. In one, `$T` stands for the tag of our latest answer, `$F` for that of our latest INVITE, `$B` for
//! the branch of our latest request, `$G` for that of our latest REGISTER, `$U` for the user of our Contact at the
//! registrar (a call to it needs no login). One that begins with `!` is a command of the TU:
//! `!R`ing, `!A`nswer, `!N`o, `!H`ang up, `!K` for ACK, `!I`nfo, `!C`all, `!U`nregister, `!W`ait.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet_proto::net::{FiveTuple, Protocol, Receive};
use quartet_proto::sip::{Account, DialogKey, Endpoint, EndpointConfig, Ha1, Limits, NameAddr, OutgoingInvite, SipCommand, SipEvent};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// The endpoint, and what was last heard of it.
struct Subject {
    endpoint: Endpoint,
    now: Instant,
    local: SocketAddr,
    remote: SocketAddr,
    dialogs: Vec<DialogKey>,
    tag: String,
    from: String,
    branch: String,
    registration: String,
    user: String,
}

fn between<'a>(text: &'a str, start: &str, ends: &[char]) -> Option<&'a str> {
    let after = &text[text.find(start)? + start.len()..];
    Some(&after[..after.find(ends)?])
}

impl Subject {
    fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let text = String::from_utf8_lossy(&transmit.payload).into_owned();
            let is_answer = text.starts_with("SIP/");
            if let Some(tag) = between(&text, ";tag=fuzz-", &['\r', ';', '>', ',']).filter(|_| is_answer) {
                self.tag = format!("fuzz-{tag}");
            }
            let Some(branch) = between(&text, "branch=", &['\r', ';']).filter(|_| !is_answer) else {
                continue;
            };
            if let (true, Some(user)) = (text.starts_with("REGISTER"), between(&text, "Contact: <sip:", &['@'])) {
                (self.registration, self.user) = (branch.to_owned(), user.to_owned());
            } else if !text.starts_with("ACK") {
                self.branch = branch.to_owned();
            }
            if let (true, Some(tag)) = (
                text.starts_with("INVITE"),
                between(&text, ";tag=fuzz-", &['\r', ';', '>']),
            ) {
                self.from = format!("fuzz-{tag}");
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            if let SipEvent::Incoming { dialog, .. } = event {
                self.dialogs.push(dialog);
            }
        }
    }

    fn command(&mut self, command: SipCommand) {
        let _ = self.endpoint.handle_command(self.now, command);
        self.drain();
    }

    fn call(&mut self) {
        let dialog = self.endpoint.new_dialog_key();
        self.dialogs.push(dialog);
        let address: NameAddr = "<sip:100@192.0.2.2>".parse().expect("an address");
        self.command(SipCommand::Invite(Box::new(OutgoingInvite {
            trunk: None,
            alternates: Vec::new(),
            routes: Vec::new(),
            dialog,
            request_uri: "sip:100@192.0.2.2".to_owned(),
            five_tuple: FiveTuple::new(Protocol::Udp, self.local, self.remote),
            origin: self.remote,
            from: address.clone(),
            to: address,
            identity: None,
            headers: Vec::new(),
            body: (dialog.0 % 2 == 0).then(|| b"offer".to_vec()),
            credentials: None,
            account: None,
        })));
    }

    fn register(&mut self, expires: Duration) {
        let five_tuple = FiveTuple::new(Protocol::Udp, self.local, self.remote);
        self.command(SipCommand::Register {
            domain: None,
            registration: 1,
            aor: "100".to_owned(),
            five_tuple,
            credentials: None,
            expires,
        });
    }

    fn obey(&mut self, letter: u8) {
        let Some(dialog) = self.dialogs.last().copied() else {
            return;
        };
        match letter {
            b'R' => self.command(SipCommand::Ring {
                dialog,
                status: 180,
                body: None,
            }),
            b'A' => self.command(SipCommand::Accept {
                dialog,
                body: Some(b"answer".to_vec()),
                identity: None,
                headers: Vec::new(),
            }),
            b'N' => self.command(SipCommand::Reject {
                dialog,
                status: 488,
                reason: None,
                retry_after: None,
            }),
            b'H' => self.command(SipCommand::Hangup { dialog, reason: None }),
            b'K' => self.command(SipCommand::Ack { dialog, body: None }),
            b'I' => {
                let content_type = "application/dtmf-relay".to_owned();
                self.command(SipCommand::Info {
                    dialog,
                    content_type,
                    body: b"Signal=1".to_vec(),
                });
            }
            b'P' => self.command(SipCommand::Probe { dialog }),
            b'C' => self.call(),
            b'U' => self.register(Duration::ZERO),
            _ => self.pass(Duration::from_secs(33)),
        }
    }

    /// Lets time pass from timer to timer.
    fn pass(&mut self, length: Duration) {
        let end = self.now + length;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }
}

fuzz_target!(|data: &[u8]| {
    let config = EndpointConfig {
        instance: "fuzz".to_owned(),
        user_agent: "fuzz".to_owned(),
        realm: "fuzz".to_owned(),
        trusted_proxies: Vec::new(),
        limits: Limits::default(),
    };
    let mut subject = Subject {
        endpoint: Endpoint::new(config, Box::new(ChaCha8Rng::seed_from_u64(1))),
        now: Instant::now(),
        local: ([192, 0, 2, 1], 5060).into(),
        remote: ([192, 0, 2, 2], 5060).into(),
        dialogs: Vec::new(),
        tag: String::new(),
        from: String::new(),
        branch: String::new(),
        registration: String::new(),
        user: String::new(),
    };
    let ha1 = Ha1::of("100", "fuzz", "fuzz");
    subject.endpoint.set_accounts(vec![Account {
        user: "100".to_owned(),
        ha1,
        max_contacts: 2,
        external_addresses: None,
    }]);
    subject.register(Duration::from_secs(600));
    subject.call();
    // STUN is the one protocol here that is not text: what begins as it does is one datagram.
    let is_binary = data.first().is_some_and(|first| *first < 4);
    for datagram in data.split(|b| *b == 0 && !is_binary) {
        if let [b'!', letter, ..] = datagram {
            subject.obey(*letter);
            continue;
        }
        let mut payload = Vec::with_capacity(datagram.len());
        let mut rest = datagram;
        while let [first, tail @ ..] = rest {
            let (text, left) = match tail {
                [b'T', left @ ..] if *first == b'$' => (subject.tag.as_bytes(), left),
                [b'F', left @ ..] if *first == b'$' => (subject.from.as_bytes(), left),
                [b'B', left @ ..] if *first == b'$' => (subject.branch.as_bytes(), left),
                [b'G', left @ ..] if *first == b'$' => (subject.registration.as_bytes(), left),
                [b'U', left @ ..] if *first == b'$' => (subject.user.as_bytes(), left),
                _ => (std::slice::from_ref(first), tail),
            };
            payload.extend_from_slice(text);
            rest = left;
        }
        let input = Receive {
            five_tuple: FiveTuple::new(Protocol::Udp, subject.local, subject.remote),
            payload: &payload,
        };
        subject.endpoint.handle_input(subject.now, input);
        subject.drain();
        subject.pass(Duration::from_millis(300));
    }
    for dialog in std::mem::take(&mut subject.dialogs) {
        subject.command(SipCommand::Hangup { dialog, reason: None });
    }
    subject.pass(Duration::from_secs(200));
    assert_eq!(subject.endpoint.dialog_count(), 0, "a dialog stayed");
});
