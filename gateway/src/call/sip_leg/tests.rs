//! A phone's leg, and a call of such legs, without endpoint and media.

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::call::{self, Call, CallKey, Leg, Parties, Policy};
use crate::cdr::Direction;
use crate::ivr::prompts::Prompts;

/// A phone that has called with a late offer.
pub(in crate::call) fn leg(key: u64) -> SipLeg {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 5060));
    let means = Means {
        key: LegKey(key),
        bind: Bind {
            addresses: vec![address.ip()],
            components: 2,
        },
        home: address.ip(),
        codecs: vec![LocalCodec {
            name: "PCMU".into(),
            clock: 8_000,
            channels: 1,
            payload_type: Some(0),
            fmtp: String::new(),
        }],
        ssrc: 1,
        session_id: 1,
        user: "100".into(),
        language: "en".into(),
        verify: Mode::Confirm,
        peer: Uri::sip("anna", address),
        registry: Arc::new(Registry::default()),
    };
    SipLeg::incoming(means, DialogKey(key), None).expect("a late offer")
}

/// A call in which these legs talk.
pub(in crate::call) fn talking(now: Instant, legs: Vec<SipLeg>) -> Call {
    let parties = Parties {
        from: "100".into(),
        to: "anna".into(),
        route: None,
        direction: Direction::Outgoing,
        network: None,
    };
    let second = Duration::from_secs(1);
    let policy = Policy {
        confirm_timeout: second,
        rtp_timeout: 10 * second,
        ring_timeout: second,
        connect_timeout: second,
    };
    let legs = legs.into_iter().map(Leg::Sip).collect();
    let mut call = Call::new(now, SystemTime::UNIX_EPOCH, CallKey(1), parties, policy, legs);
    call.state = call::State::Talking;
    call.actions.clear();
    call
}

fn rtp(leg: &mut SipLeg, digit: char) {
    leg.handle_media(MediaEvent::Dtmf { leg: LegKey(1), digit });
}

fn info(leg: &mut SipLeg, digit: char) {
    leg.handle_sip(SipEvent::Info {
        dialog: DialogKey(1),
        content_type: "application/dtmf".into(),
        body: digit.to_string().into_bytes(),
    });
}

fn keys(leg: &mut SipLeg) -> String {
    std::iter::from_fn(|| leg.poll_event())
        .filter_map(|event| {
            if let LegEvent::Key { digit, .. } = event {
                Some(digit)
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn a_key_that_is_told_in_both_ways_was_pressed_once() {
    for (first, second) in [
        (rtp as fn(&mut SipLeg, char), info as fn(&mut SipLeg, char)),
        (info, rtp),
    ] {
        let mut leg = leg(1);
        for digit in ['*', '1'] {
            first(&mut leg, digit);
            second(&mut leg, digit);
        }
        assert_eq!(keys(&mut leg), "*1");
    }
}

#[test]
fn either_way_alone_is_heard() {
    for way in [rtp as fn(&mut SipLeg, char), info] {
        let mut leg = leg(1);
        way(&mut leg, '9');
        way(&mut leg, '9');
        assert_eq!(keys(&mut leg), "99");
    }
}

#[test]
fn a_key_is_passed_on_to_the_partner_unless_media_did_it() {
    let mut prompts = Prompts::builtin(Box::new(|| Err("nothing is said here".into())));
    let passed = |press: fn(&mut SipLeg, char), prompts: &mut Prompts| {
        let now = Instant::now();
        let mut pressed = leg(1);
        press(&mut pressed, '5');
        let mut call = talking(now, vec![pressed, leg(2)]);
        call.handle_legs(now, SystemTime::UNIX_EPOCH, prompts);
        std::iter::from_fn(|| call.poll_action())
            .filter_map(|action| {
                if let Action::Media(MediaCommand::SendDtmf { leg, digit }) = action {
                    Some((leg, digit))
                } else {
                    None
                }
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(passed(info, &mut prompts), [(LegKey(2), '5')]);
    assert_eq!(passed(rtp, &mut prompts), []);
}
