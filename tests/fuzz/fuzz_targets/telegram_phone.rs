//! A hostile service against the phone of an account: what it answers, says by itself, and leaves unanswered. No panic, no call without
//! an end, and one call at a time. Input: a kind, a length, and so many bytes of an object, again and again.
#![no_main]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quartet::networks::telegram::frame::{Frame, Order, Report, RpcError};
use quartet::networks::telegram::{Account, Phone, PhoneConfig};
use quartet::networks::{CallRequest, CallerDetails, KeyExchange, Network, NetworkCall, NetworkCommand, NetworkEvent, Offer};

fn request(number: u8) -> NetworkCommand {
    NetworkCommand::Request(CallRequest {
        call: NetworkCall([number; 16]),
        from: String::new(),
        to: "main/@alice".to_owned(),
        offers: vec![Offer {
            exchange: KeyExchange::Dh2048,
            commitment: [7; 32],
        }],
        versions: vec!["9.0.0".to_owned()],
        p2p: true,
        caller: CallerDetails::default(),
        wait: Duration::ZERO,
    })
}

fuzz_target!(|bytes: &[u8]| {
    let account = Account {
        name: "main".to_owned(),
        calls_per_hour: 1_000,
        lookups_per_day: 1_000,
        dials_numbers: true,
        ..Account::default()
    };
    let mut phone = Phone::new(PhoneConfig {
        accounts: vec![account],
        pools: BTreeMap::new(),
    });
    let (mut now, mut rest, mut asked) = (Instant::now(), bytes, Vec::new());
    phone.handle_frame(now, &Frame { account: 0, word: Report::Up }.to_bytes());
    while let [kind, length, body @ ..] = rest {
        let (body, after) = body.split_at(body.len().min(usize::from(*length) * 4));
        rest = after;
        let number = asked.pop().unwrap_or_default();
        let body = body.to_vec();
        let word = match kind % 8 {
            0 => Some(Report::Answer { number, body }),
            1 => Some(Report::Update(body)),
            2 => Some(Report::Error {
                number,
                error: RpcError {
                    code: i32::from(*length),
                    name: String::from_utf8_lossy(&body).into_owned(),
                    value: None,
                },
            }),
            3 => Some(Report::Kept(body)),
            4 => {
                phone.handle_command(now, request(*length));
                None
            }
            5 => {
                now += Duration::from_secs(u64::from(*length));
                phone.handle_timeout(now);
                None
            }
            6 => {
                phone.handle_frame(now, &body);
                None
            }
            _ => Some(Report::Away),
        };
        if let Some(word) = word {
            phone.handle_frame(now, &Frame { account: 0, word }.to_bytes());
        }
        while let Some(frame) = phone.poll_frame() {
            if let Some(Frame { word: Order::Request { number, .. }, .. }) = Frame::<Order>::parse(&frame) {
                asked.push(number);
            }
        }
        while let Some(event) = phone.poll_event() {
            if let NetworkEvent::Requested(CallRequest { call, .. }) = event {
                phone.handle_command(now, NetworkCommand::Received { call });
            }
        }
        assert!(phone.calls() <= 1);
    }
});
