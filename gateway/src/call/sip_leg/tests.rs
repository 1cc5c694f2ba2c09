//! A phone's leg by itself, without endpoint and media.

use super::*;

/// A phone that has called with a late offer.
pub(in crate::call) fn leg() -> SipLeg {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 5060));
    let means = Means {
        key: LegKey(1),
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
    SipLeg::incoming(means, DialogKey(1), None).expect("a late offer")
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
            if let LegEvent::Key(key) = event {
                Some(key)
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
        let mut leg = leg();
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
        let mut leg = leg();
        way(&mut leg, '9');
        way(&mut leg, '9');
        assert_eq!(keys(&mut leg), "99");
    }
}
