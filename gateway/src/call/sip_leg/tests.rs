//! A phone's leg, and a call of such legs, without endpoint and media.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quartet_proto::net::{External, FiveTuple, Protocol};
use quartet_proto::sdp::{LocalCodec, MediaKind};
use quartet_proto::sip::Uri;

use super::*;
use crate::call::{self, Call, CallKey, Instance, Leg, Parties, Policy};
use crate::cdr::Direction;
use crate::config::VerifyMode;
use crate::media::Bind;
use crate::plugins::Registry;

/// A phone that has called with a late offer.
pub(in crate::call) fn leg(key: u64) -> SipLeg {
    let signalling_peer_ip = [127, 0, 0, 1].into();
    SipLeg::incoming(config(key, signalling_peer_ip), DialogKey(key), None).expect("a late offer")
}

fn config(key: u64, signalling_peer_ip: IpAddr) -> SipLegConfig {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 5060));
    SipLegConfig {
        key: LegKey(key),
        call: None,
        media: MediaWay {
            transport: "rtp".into(),
            bind: Bind {
                addresses: vec![address.ip()],
                components: 2,
                outer: Vec::new(),
            },
        },
        dtls: None,
        offers_dtls: false,
        srtp: quartet_proto::sdp::Srtp::Off,
        signalling_peer_ip,
        external: External::default(),
        codecs: vec![LocalCodec {
            name: "PCMU".into(),
            clock: 8_000,
            channels: 1,
            payload_type: Some(0),
            fmtp: String::new(),
        }],
        same_worker_as: None,
        ssrc: 1,
        session_id: 1,
        user: "100".into(),
        language: "en".into(),
        verify: VerifyMode::Confirm,
        caller_headers: Vec::new(),
        trunk: None,
        peer: Uri::sip("anna", address),
        registry: Arc::new(Registry::default()),
    }
}

/// A call in which these legs talk.
pub(in crate::call) fn talking(now: Instant, legs: Vec<SipLeg>) -> Call {
    let parties = Parties::new(Direction::Outgoing, "100", "anna");
    let second = Duration::from_secs(1);
    let policy = Policy {
        confirm_timeout: second,
        rtp_timeout: 10 * second,
        wait: Duration::ZERO,
        ring_timeout: second,
        connect_timeout: second,
    };
    let legs = legs.into_iter().map(Leg::Sip).collect();
    let mut call = Call::new(
        now,
        CallKey::new(Instance::draw(&mut crate::io::signalling::generator()), 1),
        parties,
        policy,
        legs,
    );
    call.state = call::State::Talking;
    call.actions.clear();
    call
}

fn rtp(leg: &mut SipLeg, digit: char) {
    leg.handle_media(Instant::now(), MediaEvent::Dtmf { leg: LegKey(1), digit });
}

fn info(leg: &mut SipLeg, digit: char) {
    leg.handle_sip(
        Instant::now(),
        SipEvent::Dtmf {
            dialog: DialogKey(1),
            digit,
        },
    );
}

fn keys(leg: &mut SipLeg) -> String {
    std::iter::from_fn(|| leg.poll_event())
        .filter_map(|event| {
            if let LegEvent::Dtmf { digit, .. } = event {
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

/// One forged key in RTP made a phone that says its keys by INFO dumb for the rest of the call.
#[test]
fn a_key_in_one_way_silences_no_other_way() {
    let mut leg = leg(1);
    rtp(&mut leg, '7');
    for digit in "*1772".chars() {
        info(&mut leg, digit);
    }
    assert_eq!(keys(&mut leg), "7*172", "one 7 may be the forged one's other half");
    for _ in 0..100 {
        rtp(&mut leg, '3');
    }
    assert_eq!(keys(&mut leg).len(), 100);
    // Later it is another press.
    let later = Instant::now() + keys::SAME_KEY;
    let event = SipEvent::Dtmf {
        dialog: DialogKey(1),
        digit: '3',
    };
    leg.handle_sip(later, event);
    assert_eq!(keys(&mut leg), "3");
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
    let forwarded = |press: fn(&mut SipLeg, char)| {
        let now = Instant::now();
        let mut pressed = leg(1);
        press(&mut pressed, '5');
        let mut call = talking(now, vec![pressed, leg(2)]);
        call.handle_legs(now);
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
    assert_eq!(forwarded(info), [(LegKey(2), '5')]);
    assert_eq!(forwarded(rtp), []);
}

fn audio(connection: &str, port: u16) -> Vec<u8> {
    format!("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc={connection}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n").into_bytes()
}

const NOWHERE: [(&str, u16); 5] = [
    ("IN IP4 255.255.255.255", 4_000),
    ("IN IP4 239.1.1.1/1", 4_000),
    ("IN IP6 ff02::1", 4_000),
    ("IN IP4 127.0.0.1", 4_000),
    ("IN IP4 192.0.2.9", 53),
];

/// A phone elsewhere that has been answered and confirmed, with this answer to our offer.
fn answered(body: Vec<u8>) -> SipLeg {
    let signalling_peer_ip = [192, 0, 2, 9].into();
    let mut leg = SipLeg::incoming(config(1, signalling_peer_ip), DialogKey(1), None).unwrap();
    let lines = "c:192.0.2.1\nport:4000\nrtcp-port:4001\n".to_owned();
    leg.handle_media(Instant::now(), MediaEvent::Local { leg: LegKey(1), lines });
    leg.handle_command(LegCommand::Answer { display: None });
    while leg.poll_action().is_some() {}
    leg.handle_sip(
        Instant::now(),
        SipEvent::Confirmed {
            dialog: DialogKey(1),
            body: Some(body),
        },
    );
    leg
}

/// What a leg tells SIP and media, in short.
fn told(leg: &mut SipLeg) -> Vec<String> {
    std::iter::from_fn(|| leg.poll_action())
        .filter_map(|action| match action {
            Action::Sip(SipCommand::Reject { status, reason, .. }) => Some(format!(
                "{status} {}",
                reason.map_or(String::new(), |reason| reason.text)
            )),
            Action::Sip(SipCommand::Hangup { reason, .. }) => {
                Some(format!("BYE {}", reason.map_or(String::new(), |reason| reason.text)))
            }
            Action::Media(MediaCommand::Remote { lines, .. }) => Some(lines),
            Action::Media(MediaCommand::Hold { on, .. }) => Some(format!("hold {on}")),
            Action::Sip(_)
            | Action::Media(_)
            | Action::Network(..)
            | Action::Compute(..)
            | Action::Speak { .. }
            | Action::Running(_)
            | Action::Record(_) => None,
        })
        .collect()
}

#[test]
fn media_for_a_group_or_for_ourselves_is_refused_by_name() {
    let why = "Media address or port cannot be used";
    for (connection, port) in NOWHERE {
        let body = audio(connection, port);
        let refused = SipLeg::incoming(config(1, [192, 0, 2, 9].into()), DialogKey(1), Some(&body));
        let cause = refused.map(|_| ()).unwrap_err();
        assert_eq!((cause, cause.status()), (Cause::MediaAddress, 488), "{connection}");
        assert_eq!(cause.reason().text, why);
        // As an answer to our offer it ends the call.
        let mut leg = answered(body.clone());
        assert_eq!(told(&mut leg), [format!("BYE {why}")], "{connection}");
        assert!(matches!(leg.poll_event(), Some(LegEvent::Ended(Cause::MediaAddress))));
        // In the middle of a call the session stays as it was.
        let mut leg = answered(audio("IN IP4 192.0.2.9", 4_000));
        assert_eq!(told(&mut leg).len(), 1);
        leg.handle_sip(
            Instant::now(),
            SipEvent::Reinvite {
                dialog: DialogKey(1),
                body: Some(body),
            },
        );
        assert_eq!(told(&mut leg), [format!("488 {why}")], "{connection}");
    }
}

#[test]
fn the_hold_of_old_is_no_address_and_no_refusal() {
    let mut leg = answered(audio("IN IP4 0.0.0.0", 4_000));
    assert_eq!(
        told(&mut leg),
        ["signalled-from:192.0.2.9\ndirection:sendonly\n", "hold true"]
    );
    assert!(matches!(leg.poll_event(), Some(LegEvent::Held)) && leg.holds());
    assert!(matches!(leg.poll_event(), Some(LegEvent::Connected)));
}

fn with_g711() -> SipLegConfig {
    let mut config = config(1, [192, 0, 2, 9].into());
    config.registry = Arc::new(Registry::from_static(&[(
        "quartet_plugin_codec_g711",
        &codec_g711::quartet_plugin_codec_g711,
    )]));
    config
}

/// Seen: "No version or codec in common" for all of these.
#[test]
fn what_is_wrong_with_an_offer_is_said_in_a_word_of_its_own() {
    let session = "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n";
    for (body, word, text) in [
        (format!("{session}m=audio 4000 RTP/AVP 0\r\n"), "", ""),
        (
            format!("{session}m=audio 4000 RTP/SAVP 0\r\n"),
            "srtp",
            "SRTP is off here, or this media profile is not served",
        ),
        (
            format!("{session}m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n"),
            "srtp",
            "SRTP is off here, or this media profile is not served",
        ),
        (
            format!("{session}m=video 4000 RTP/AVP 96\r\n"),
            "no_audio",
            "No audio in the description",
        ),
        (session.to_owned(), "no_audio", "No audio in the description"),
        (
            format!("{session}m=audio 0 RTP/AVP 0\r\n"),
            "no_audio",
            "No audio in the description",
        ),
        (
            format!("{session}m=audio 4000 RTP/AVP 18\r\n"),
            "no_codec",
            "No codec in common",
        ),
        (
            format!(
                "{}m=audio 4000 RTP/AVP 0\r\n",
                session.replace("192.0.2.9", "phone.example")
            ),
            "media_address",
            "Media address or port cannot be used",
        ),
        (
            format!("{session}m=audio many RTP/AVP 0\r\n"),
            "description",
            "Description cannot be used",
        ),
    ] {
        let refused = SipLeg::incoming(with_g711(), DialogKey(1), Some(body.as_bytes()));
        let cause = refused.map(|_| ()).err();
        let said = cause
            .map(|cause| (cause.word(), cause.reason().text))
            .unwrap_or_default();
        assert_eq!((said.0, said.1.as_str()), (word, text), "{body}");
    }
}

/// A NAT may have given the phone's media another port meanwhile: what it asks for again is to be looked for again.
#[test]
fn the_same_offer_again_opens_the_latch_again() {
    let body = audio("IN IP4 10.0.0.5", 4_000);
    let mut leg = SipLeg::incoming(with_g711(), DialogKey(1), Some(&body)).unwrap();
    let lines = "c:192.0.2.1\nport:4000\nrtcp-port:4001\n".to_owned();
    leg.handle_media(Instant::now(), MediaEvent::Local { leg: LegKey(1), lines });
    leg.handle_command(LegCommand::Answer { display: None });
    let (dialog, body) = (DialogKey(1), Some(body));
    leg.handle_sip(Instant::now(), SipEvent::Confirmed { dialog, body: None });
    let before = told(&mut leg);
    assert_eq!(before.len(), 1, "{before:?}");
    leg.handle_sip(Instant::now(), SipEvent::Reinvite { dialog, body });
    assert_eq!(told(&mut leg), before);
    // Another network, before it says anything of media.
    let origin = "203.0.113.5:5060".parse().unwrap();
    leg.handle_sip(Instant::now(), SipEvent::Moved { dialog, origin });
    assert_eq!(told(&mut leg), [before[0].replace("192.0.2.9", "203.0.113.5")]);
}

#[test]
fn a_phone_of_this_machine_may_name_loopback() {
    let body = audio("IN IP4 127.0.0.1", 4_000);
    let refused = SipLeg::incoming(config(1, [127, 0, 0, 1].into()), DialogKey(1), Some(&body));
    // There is no codec in these tests: that is found after the address.
    assert_eq!(refused.map(|_| ()).unwrap_err(), Cause::NoCodec);
}

#[test]
fn a_phone_and_a_user_of_the_same_name_are_two() {
    let now = Instant::now();
    let mut call = talking(now, vec![leg(1)]);
    assert!(call.has_phone("100") && !call.is_from_outside("100"));
    (call.parties.direction, call.parties.from) = (Direction::Incoming, "101".into());
    assert!(call.is_from_outside("101") && !call.has_phone("101"));
}

#[test]
fn only_a_phone_that_is_called_rings_and_not_by_any_response() {
    let rings = |leg: &mut SipLeg, status| {
        let (dialog, body) = (DialogKey(1), None);
        leg.handle_sip(Instant::now(), SipEvent::Provisional { dialog, status, body });
        std::iter::from_fn(|| leg.poll_event()).any(|event| matches!(event, LegEvent::Ringing))
    };
    assert!(!rings(&mut leg(1), 180), "it calls");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 5060));
    let contact = Contact {
        uri: "sip:100@127.0.0.1".into(),
        five_tuple: FiveTuple::new(Protocol::Udp, address, address),
        origin: address,
        expires: Instant::now(),
        user_agent: None,
        path: Vec::new(),
    };
    let name = || NameAddr::new(None, Uri::sip("anna", address));
    let mut called = SipLeg::outgoing(config(1, address.ip()), DialogKey(1), contact, name(), name());
    let lines = "c:127.0.0.1\nport:4000\nrtcp-port:4001\n".to_owned();
    called.handle_media(Instant::now(), MediaEvent::Local { leg: LegKey(1), lines });
    assert_eq!(
        [101, 179, 180, 183].map(|status| rings(&mut called, status)),
        [false, false, true, true]
    );
}

/// The description of the last 200.
fn described(leg: &mut SipLeg) -> SessionDescription {
    let body = std::iter::from_fn(|| leg.poll_action()).filter_map(|action| {
        let Action::Sip(SipCommand::Accept { body, .. }) = action else {
            return None;
        };
        body
    });
    SessionDescription::parse(&body.last().expect("a 200 with a description")).unwrap()
}

/// A late offer in the middle of a call is of that call: its lines, its numbers, its version (RFC 3264 §8).
#[test]
fn our_later_offer_remembers_the_dialog() {
    let mut config = with_g711();
    config.codecs.push(LocalCodec {
        name: "opus".into(),
        clock: 48_000,
        channels: 2,
        payload_type: None,
        fmtp: String::new(),
    });
    let first = "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=video 5000 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n\
        m=audio 4000 RTP/AVP 96 0 110 99\r\na=rtpmap:96 speex/16000\r\na=rtpmap:110 telephone-event/8000\r\na=rtpmap:99 opus/48000/2\r\n";
    let mut leg = SipLeg::incoming(config, DialogKey(1), Some(first.as_bytes())).unwrap();
    let lines = "c:192.0.2.1\nport:4000\nrtcp-port:4001\n".to_owned();
    leg.handle_media(Instant::now(), MediaEvent::Local { leg: LegKey(1), lines });
    leg.handle_command(LegCommand::Answer { display: None });
    let answer = described(&mut leg);
    let dialog = DialogKey(1);
    leg.handle_sip(Instant::now(), SipEvent::Confirmed { dialog, body: None });
    // The same again is the same version.
    let body = Some(first.as_bytes().to_vec());
    leg.handle_sip(Instant::now(), SipEvent::Reinvite { dialog, body });
    assert_eq!(described(&mut leg), answer);
    leg.handle_sip(Instant::now(), SipEvent::Reinvite { dialog, body: None });
    let offer = described(&mut leg);
    assert_eq!(offer.origin.session_id, answer.origin.session_id);
    assert_eq!(offer.origin.version, answer.origin.version + 1);
    let lines: Vec<_> = offer
        .media
        .iter()
        .map(|media| (media.kind.clone(), media.port != 0))
        .collect();
    assert_eq!(lines, [(MediaKind::Video, false), (MediaKind::Audio, true)]);
    let numbers: Vec<_> = offer.media[1]
        .codecs
        .iter()
        .map(|codec| (codec.payload_type, codec.name.to_ascii_lowercase(), codec.clock))
        .collect();
    assert!(numbers.contains(&(0, "pcmu".into(), 8_000)), "{numbers:?}");
    assert!(
        numbers.contains(&(99, "opus".into(), 48_000)),
        "the phone's number: {numbers:?}"
    );
    assert!(numbers.contains(&(110, "telephone-event".into(), 8_000)), "{numbers:?}");
    let reused = |(number, ..): &&(u8, String, u32)| [96, 97].contains(number);
    assert!(
        !numbers.iter().any(|codec| reused(&codec)),
        "they were something else: {numbers:?}"
    );
}

/// The lines of a description that name a generation of ICE.
fn of_ice(body: Vec<u8>) -> String {
    let text = String::from_utf8(body).expect("text");
    let of_ice = |line: &&str| ["a=ice-ufrag", "a=candidate"].iter().any(|name| line.starts_with(name));
    text.lines().filter(of_ice).collect::<Vec<_>>().join(" ")
}

/// What a leg of DTLS says: SIP and media, in short.
fn acts(leg: &mut SipLeg) -> Vec<String> {
    std::iter::from_fn(|| leg.poll_action())
        .map(|action| match action {
            Action::Sip(SipCommand::Accept { body, .. }) => format!("answer {}", of_ice(body.expect("a description"))),
            Action::Sip(SipCommand::Reinvite { body, .. }) => format!("offer {}", of_ice(body)),
            Action::Sip(SipCommand::Reject { status, .. }) => format!("{status}"),
            Action::Media(MediaCommand::Open { transport, role, .. }) => format!("open {transport} {role:?}"),
            Action::Media(MediaCommand::Remote { lines, .. }) => {
                let ufrag = lines.lines().find_map(|line| line.strip_prefix("ice-ufrag:"));
                format!("remote {}", ufrag.unwrap_or_default())
            }
            Action::Sip(_)
            | Action::Media(_)
            | Action::Network(..)
            | Action::Compute(..)
            | Action::Speak { .. }
            | Action::Running(_)
            | Action::Record(_) => String::new(),
        })
        .filter(|text| !text.is_empty())
        .collect()
}

fn browser(ufrag: &str) -> Vec<u8> {
    format!(
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\na=rtcp-mux\r\n"
    )
    .into_bytes()
}

/// A browser has its media by handshake; it counts as connected once that is over, and a new generation of ICE is answered with one of
/// ours.
#[test]
fn a_browser_is_connected_with_its_media_and_may_begin_ice_anew() {
    let (mut config, now) = (with_g711(), Instant::now());
    config.dtls = Some(MediaWay {
        transport: "webrtc".into(),
        ..config.media.clone()
    });
    let mut leg = SipLeg::incoming(config, DialogKey(1), Some(&browser("their1"))).unwrap();
    let says = |leg: &mut SipLeg, lines: &str| {
        let (leg_key, lines) = (LegKey(1), lines.to_owned());
        leg.handle_media(now, MediaEvent::Local { leg: leg_key, lines });
    };
    assert_eq!(acts(&mut leg), ["open webrtc Answer"]);
    leg.handle_command(LegCommand::Answer { display: None });
    says(
        &mut leg,
        "ice-ufrag:ours1\nice-pwd:x\nfingerprint:sha-256 CC\nsetup:passive",
    );
    assert!(acts(&mut leg).is_empty(), "there is no candidate yet");
    says(&mut leg, "candidate:1 1 udp 1 192.0.2.1 4000 typ host");
    let first = "answer a=ice-ufrag:ours1 a=candidate:1 1 udp 1 192.0.2.1 4000 typ host";
    assert_eq!(acts(&mut leg), ["remote their1", first]);
    let (dialog, body) = (DialogKey(1), None);
    leg.handle_sip(now, SipEvent::Confirmed { dialog, body });
    assert!(leg.poll_event().is_none(), "nobody would hear what is said now");
    leg.handle_media(now, MediaEvent::Connected { leg: LegKey(1) });
    assert!(matches!(leg.poll_event(), Some(LegEvent::Connected)));
    let offer = |leg: &mut SipLeg, body: Vec<u8>| {
        let body = Some(body);
        leg.handle_sip(now, SipEvent::Reinvite { dialog, body });
    };
    offer(&mut leg, browser("their1"));
    assert_eq!(acts(&mut leg), ["remote their1", first], "hold, or a refresh");
    offer(&mut leg, browser("their2"));
    assert_eq!(acts(&mut leg), ["remote their2"], "our transport is asked first");
    says(&mut leg, "ice-ufrag:ours2\nice-pwd:y");
    says(&mut leg, "candidate:1 1 udp 1 192.0.2.1 4000 typ host");
    let second = first.replace("ours1", "ours2");
    assert_eq!(acts(&mut leg), ["remote their2".to_owned(), second.clone()]);
    // Our transport has begun a generation by itself: the phone is offered it, and whatever it asks meanwhile is of the one it knows.
    says(&mut leg, "ice-ufrag:ours3\nice-pwd:z");
    assert!(acts(&mut leg).is_empty());
    offer(&mut leg, browser("their2"));
    assert_eq!(acts(&mut leg), ["remote their2".to_owned(), second]);
    says(&mut leg, "candidate:1 1 udp 1 192.0.2.1 4000 typ host");
    assert_eq!(
        acts(&mut leg),
        [first.replace("ours1", "ours3").replace("answer", "offer")]
    );
    let body = Some(browser("their3"));
    leg.handle_sip(now, SipEvent::Reaccepted { dialog, body });
    assert_eq!(acts(&mut leg), ["remote their3"]);
    // Begun by both at once.
    says(&mut leg, "ice-ufrag:ours4\nice-pwd:z");
    offer(&mut leg, browser("their4"));
    assert_eq!(acts(&mut leg), ["remote their4"]);
    says(&mut leg, "candidate:1 1 udp 1 192.0.2.1 4000 typ host");
    assert_eq!(
        acts(&mut leg),
        ["remote their4".to_owned(), first.replace("ours1", "ours4")]
    );
    assert!(leg.poll_event().is_none());
    // Another profile in mid-call is none of this leg's.
    offer(&mut leg, audio("IN IP4 192.0.2.9", 4_000));
    assert_eq!(acts(&mut leg), ["488"]);
}

/// It is time to say that the call goes on, to a phone that takes no UPDATE: it is offered what there is.
#[test]
fn a_refresh_offers_the_session_again_and_takes_what_the_phone_says() {
    let mut leg = SipLeg::incoming(with_g711(), DialogKey(1), Some(&audio("IN IP4 192.0.2.9", 4_000))).unwrap();
    let (now, dialog) = (Instant::now(), DialogKey(1));
    let lines = "c:192.0.2.1\nport:4000\nrtcp-port:4001\n".to_owned();
    leg.handle_media(now, MediaEvent::Local { leg: LegKey(1), lines });
    leg.handle_command(LegCommand::Answer { display: None });
    leg.handle_sip(now, SipEvent::Confirmed { dialog, body: None });
    let before = told(&mut leg);
    let offered = |leg: &mut SipLeg| {
        leg.handle_sip(now, SipEvent::Refresh { dialog });
        std::iter::from_fn(|| leg.poll_action()).any(|action| {
            matches!(&action, Action::Sip(SipCommand::Reinvite { body, .. }) if body.windows(7).any(|part| part == b"m=audio"))
        })
    };
    assert!(offered(&mut leg));
    let answer = |leg: &mut SipLeg, body: &[u8]| {
        let body = Some(body.to_vec());
        leg.handle_sip(now, SipEvent::Reaccepted { dialog, body });
        told(leg)
    };
    let moved = answer(&mut leg, &audio("IN IP4 192.0.2.9", 5_000));
    assert_eq!(
        moved,
        [before[0]
            .replace("port:4000", "port:5000")
            .replace("rtcp-port:4001", "rtcp-port:5001")]
    );
    // An answer to nothing is nothing; one that cannot be used ends the call, for the phone goes by it.
    assert_eq!(answer(&mut leg, &audio("IN IP4 192.0.2.9", 6_000)), [""; 0]);
    assert!(matches!(leg.poll_event(), Some(LegEvent::Connected)));
    assert!(offered(&mut leg));
    assert_eq!(answer(&mut leg, b"nonsense"), ["BYE Description cannot be used"]);
    assert!(matches!(leg.poll_event(), Some(LegEvent::Ended(Cause::Description))));
}
