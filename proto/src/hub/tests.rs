//! Frames of both directions: the exact text, round trips, bounds, and that no mutation of a frame panics.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::*;
use crate::e2ee::KeyExchange;

const CALL: &str = "AAECAwQFBgcICQoLDA0ODw";

fn call() -> CallId {
    CallId(std::array::from_fn(|i| i as u8))
}

fn request() -> CallRequest {
    CallRequest {
        call: call(),
        from: None,
        to: Name::new("100@gw").unwrap(),
        exchanges: vec![OfferedExchange {
            name: KeyExchange::X25519.into(),
            commitment: Commitment([7; 32]),
        }],
        library_versions: vec![Version::new("9.0.0").unwrap()],
        udp_p2p: true,
    }
}

fn requests() -> Vec<Request> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    vec![
        Request::Hello(Hello {
            protocol: PROTOCOL,
            client: ClientName::new("test 1").unwrap(),
            token: Token::generate(&mut rng),
            resume: None,
            receives: true,
        }),
        Request::CallRequest(request()),
        Request::CallReceived(CallReceived { call: call() }),
        Request::CallAccept(CallAccept {
            call: call(),
            exchange: KeyExchange::Dh2048.into(),
            library_version: Version::new("8.0.0").unwrap(),
            public: PublicValue::new(vec![3; 256]).unwrap(),
            ice_servers: Vec::new(),
            reflectors: Vec::new(),
        }),
        Request::CallConfirm(CallConfirm {
            call: call(),
            public: PublicValue::new(vec![4; 32]).unwrap(),
            fingerprint: i64::MIN,
            ice_servers: Vec::new(),
            reflectors: Vec::new(),
        }),
        Request::CallSignal(CallSignal {
            call: call(),
            packet: Packet::new(vec![5; 100]).unwrap(),
        }),
        Request::CallDiscard(CallDiscard {
            call: call(),
            reason: DiscardReason::Declined,
            duration: 12,
            lost: false,
        }),
        Request::Hello(Hello {
            protocol: PROTOCOL,
            client: ClientName::new("test 2").unwrap(),
            token: Token::generate(&mut rng),
            resume: Some(Resume {
                session: SessionId([9; 16]),
                secret: Token::generate(&mut rng),
                last_seq: 7,
                beside: true,
            }),
            receives: false,
        }),
        Request::CallRejoin(CallRejoin {
            call: call(),
            peer: Name::new("100@gw").unwrap(),
        }),
        Request::IceServers,
        Request::Ping,
        Request::Later(Later::Presence),
        Request::Later(Later::Contacts),
        Request::Later(Later::Block),
        Request::Later(Later::InviteCreate),
        Request::Later(Later::InviteRevoke),
    ]
}

fn server_frames() -> Vec<ServerFrame> {
    let welcome = Welcome {
        protocol: 1,
        range: PROTOCOL,
        account: Name::new("anna").unwrap(),
        limits: WireLimits {
            frame: 1,
            signal: 2,
            ring: 3,
            calls: 4,
            requests_per_minute: 5,
        },
        ice_servers: vec![IceServer {
            urls: vec!["stun:x".into()],
            username: None,
            credential: Some("c".into()),
        }],
        time: 1_790_000_000,
        session: Some(SessionId([8; 16])),
        resume_secret: Some(Token::generate(&mut ChaCha8Rng::seed_from_u64(8))),
        resumed: true,
    };
    let mut request = request();
    request.from = Some(Name::new("anna").unwrap());
    let failure = Failure {
        code: ErrorCode::RateLimited,
        message: "slow down".into(),
        retry_after: Some(3),
    };
    vec![
        ServerFrame::Answer {
            id: Some(1),
            outcome: Ok(Reply::Welcome(Box::new(welcome))),
        },
        ServerFrame::Answer {
            id: Some(MAX_ID),
            outcome: Ok(Reply::Done),
        },
        ServerFrame::Answer {
            id: None,
            outcome: Err(failure),
        },
        ServerFrame::Event {
            event: Event::CallRequest(request),
            seq: None,
        },
        ServerFrame::Event {
            event: Event::CallTaken(CallTaken { call: call() }),
            seq: None,
        },
        ServerFrame::Event {
            event: Event::CallReceived(CallReceived { call: call() }),
            seq: None,
        },
        ServerFrame::Event {
            event: Event::CallSignal(CallSignal {
                call: call(),
                packet: Packet::new(vec![9]).unwrap(),
            }),
            seq: Some(1),
        },
        ServerFrame::Event {
            event: Event::CallAway(CallLink { call: call() }),
            seq: Some(2),
        },
        ServerFrame::Event {
            event: Event::CallBack(CallLink { call: call() }),
            seq: Some(MAX_ID),
        },
        ServerFrame::Answer {
            id: Some(3),
            outcome: Ok(Reply::IceServers(IceServers { ice_servers: vec![] })),
        },
    ]
}

#[test]
fn frames_survive_a_round_trip() {
    for (id, request) in requests().into_iter().enumerate() {
        let frame = ClientFrame { id: id as u64, request };
        assert_eq!(ClientFrame::parse(&frame.to_text()), Ok(frame.clone()));
    }
    for frame in server_frames() {
        assert_eq!(
            ServerFrame::parse(&frame.to_text()),
            Ok(frame.clone()),
            "{}",
            frame.to_text()
        );
    }
}

#[test]
fn the_text_is_as_documented() {
    let text = ClientFrame {
        id: 7,
        request: Request::CallReceived(CallReceived { call: call() }),
    }
    .to_text();
    assert_eq!(text, format!(r#"{{"id":7,"verb":"call.received","call":"{CALL}"}}"#));
    let text = ServerFrame::Answer {
        id: Some(7),
        outcome: Ok(Reply::Done),
    }
    .to_text();
    assert_eq!(text, r#"{"answer":7,"result":{}}"#);
    let failure = Failure::new(ErrorCode::Order, "no");
    let text = ServerFrame::Answer {
        id: None,
        outcome: Err(failure),
    }
    .to_text();
    assert_eq!(text, r#"{"answer":null,"error":{"code":"order","message":"no"}}"#);
    let discard = CallDiscard {
        call: call(),
        reason: DiscardReason::Busy,
        duration: 0,
        lost: false,
    };
    let text = ServerFrame::Event {
        event: Event::CallDiscard(discard),
        seq: None,
    }
    .to_text();
    assert_eq!(
        text,
        format!(r#"{{"verb":"call.discard","call":"{CALL}","reason":"busy","duration":0}}"#)
    );
    let public = PublicValue::new(vec![0]).unwrap();
    let confirm = CallConfirm {
        call: call(),
        public,
        fingerprint: -5,
        ice_servers: Vec::new(),
        reflectors: Vec::new(),
    };
    let text = ClientFrame {
        id: 1,
        request: Request::CallConfirm(confirm),
    }
    .to_text();
    assert_eq!(
        text,
        format!(r#"{{"id":1,"verb":"call.confirm","call":"{CALL}","public":"AA","fingerprint":"-5"}}"#)
    );
}

#[test]
fn unknown_fields_are_ignored() {
    let text = format!(r#"{{"id":1,"verb":"call.received","call":"{CALL}","later":{{"deep":[1,2]}}}}"#);
    let frame = ClientFrame::parse(&text).unwrap();
    assert_eq!(frame.request, Request::CallReceived(CallReceived { call: call() }));
    let text = r#"{"answer":3,"result":{"devices":2},"later":true}"#;
    assert_eq!(
        ServerFrame::parse(text),
        Ok(ServerFrame::Answer {
            id: Some(3),
            outcome: Ok(Reply::Done)
        })
    );
}

#[test]
fn bad_requests_are_told_apart() {
    let check = |text: &str, id: Option<u64>, code: ErrorCode| {
        let rejected = ClientFrame::parse(text).expect_err(text);
        assert_eq!((rejected.id, rejected.error.code()), (id, code), "{text}");
    };
    check("", None, ErrorCode::Malformed);
    check("[]", None, ErrorCode::Malformed);
    check("{}", None, ErrorCode::Malformed);
    check(r#"{"id":-1,"verb":"ping"}"#, None, ErrorCode::Malformed);
    check(r#"{"id":1.5,"verb":"ping"}"#, None, ErrorCode::Malformed);
    check(r#"{"id":9007199254740992,"verb":"ping"}"#, None, ErrorCode::Malformed);
    check(r#"{"id":1}"#, Some(1), ErrorCode::Malformed);
    check(r#"{"id":1,"verb":"dance"}"#, Some(1), ErrorCode::UnknownVerb);
    check(r#"{"id":1,"verb":"call.taken"}"#, Some(1), ErrorCode::UnknownVerb);
    check(r#"{"id":1,"id":2,"verb":"ping"}"#, None, ErrorCode::Malformed);
    check(r#"{"id":1,"verb":"call.received"}"#, Some(1), ErrorCode::Malformed);
    check(
        r#"{"id":1,"verb":"call.received","call":"short"}"#,
        Some(1),
        ErrorCode::Malformed,
    );
    check(
        &format!(r#"{{"id":1,"verb":"call.received","call":"{CALL}=="}}"#),
        Some(1),
        ErrorCode::Malformed,
    );
    check(
        &format!(r#"{{"id":1,"verb":"call.received","call":"{CALL}","call":"{CALL}"}}"#),
        Some(1),
        ErrorCode::Malformed,
    );
    check(&"x".repeat(MAX_FRAME + 1), None, ErrorCode::TooLarge);
    check(&"[".repeat(MAX_FRAME), None, ErrorCode::Malformed);
}

#[test]
fn sizes_are_bounded() {
    let text = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value: serde_json::Value = serde_json::from_str(
            &ClientFrame {
                id: 1,
                request: Request::CallRequest(request()),
            }
            .to_text(),
        )
        .unwrap();
        change(&mut value);
        ClientFrame::parse(&value.to_string()).is_ok()
    };
    assert!(text(&|_| ()));
    assert!(!text(&|value| value["to"] = "a".repeat(65).into()));
    assert!(!text(&|value| value["to"] = "Anna".into()));
    assert!(!text(&|value| value["to"] = "a@b@c".into()));
    assert!(!text(&|value| value["exchanges"] = serde_json::json!([])));
    assert!(!text(
        &|value| value["exchanges"] = vec![value["exchanges"][0].clone(); MAX_EXCHANGES + 1].into()
    ));
    assert!(text(
        &|value| value["exchanges"] = vec![value["exchanges"][0].clone(); MAX_EXCHANGES].into()
    ));
    assert!(text(&|value| value["exchanges"][0]["name"] = "later-1".into()));
    assert!(!text(&|value| value["exchanges"][0]["commitment"] = "AAAA".into()));
    assert!(!text(
        &|value| value["library_versions"] = vec!["9.0.0"; MAX_VERSIONS + 1].into()
    ));
    assert!(!text(&|value| value["library_versions"] = vec!["9.0.0 beta"].into()));

    assert!(Packet::new(vec![0; MAX_SIGNAL]).is_some());
    assert!(Packet::new(vec![0; MAX_SIGNAL + 1]).is_none() && Packet::new(vec![]).is_none());
    let packet = Packet::new(vec![1; MAX_SIGNAL]).unwrap();
    let frame = ClientFrame {
        id: 1,
        request: Request::CallSignal(CallSignal { call: call(), packet }),
    }
    .to_text();
    assert!(frame.len() < MAX_FRAME);
    assert!(ClientFrame::parse(&frame).is_ok());
    let longer = frame.replacen("\"packet\":\"", "\"packet\":\"AAAA", 1);
    assert_eq!(
        ClientFrame::parse(&longer).unwrap_err().error.code(),
        ErrorCode::Malformed
    );
}

#[test]
fn names_are_strict() {
    for good in ["a", "anna", "100@gw", "a.b_c-d@x.y", &"z".repeat(64)] {
        assert!(Name::new(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "@",
        "a@",
        "@a",
        "a@b@c",
        "Anna",
        "an na",
        "ä",
        "a\0",
        "a*b",
        &"z".repeat(65),
    ] {
        assert!(Name::new(bad).is_err(), "{bad}");
    }
    let name = Name::new("100@gw").unwrap();
    assert_eq!((name.extension(), name.account()), (Some("100"), "gw"));
    assert_eq!(Name::new("gw").unwrap().account(), "gw");
}

#[test]
fn errors_and_debug_never_repeat_a_token() {
    let token = Token::generate(&mut ChaCha8Rng::seed_from_u64(2));
    let text = token.to_text();
    assert_eq!(Token::from_text(&text), Some(token.clone()));
    assert!(Token::from_text("AAAA").is_none());
    assert_eq!(text.len(), 43);
    let wrong = [
        format!(r#"{{"id":1,"verb":"hello","protocol":"{}"}}"#, *text),
        format!(
            r#"{{"id":1,"verb":"hello","protocol":{{"min":1,"max":1}},"client":"x","token":["{}"]}}"#,
            *text
        ),
        format!(
            r#"{{"id":1,"verb":"hello","protocol":{{"min":1,"max":1}},"client":"x","token":"{}A"}}"#,
            *text
        ),
        format!(r#"{{"id":"{}","verb":"hello"}}"#, *text),
        format!(r#"{{"id":1,"verb":"{}"}}"#, *text),
    ];
    for frame in wrong {
        let rejected = ClientFrame::parse(&frame).unwrap_err();
        assert!(!format!("{rejected} {rejected:?}").contains(&*text), "{frame}");
    }
    let hello = requests().remove(0);
    let Request::Hello(inner) = &hello else {
        panic!("the first is the hello")
    };
    assert!(!format!("{hello:?}").contains(&*inner.token.to_text()));
}

#[test]
fn a_token_is_no_option_of_a_command_line() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    assert!((0..2000).all(|_| !Token::generate(&mut rng).to_text().starts_with('-')));
}

#[test]
fn protocol_ranges_meet() {
    let range = |min, max| ProtocolRange { min, max };
    assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
    assert_eq!(range(1, 1).common(range(2, 2)), None);
    assert_eq!(range(3, 1).common(range(1, 3)), None);
}

#[test]
fn server_frames_are_one_thing_only() {
    for bad in [
        "{}",
        r#"{"answer":1}"#,
        r#"{"answer":1,"result":{},"error":{"code":"order"}}"#,
        r#"{"answer":1,"verb":"call.taken","result":{}}"#,
        r#"{"answer":1,"result":[]}"#,
        r#"{"answer":1,"result":{"account":"a"}}"#,
        r#"{"verb":"hello"}"#,
    ] {
        assert!(ServerFrame::parse(bad).is_err(), "{bad}");
    }
    let without_from = ClientFrame {
        id: 1,
        request: Request::CallRequest(request()),
    }
    .to_text();
    assert!(matches!(
        ServerFrame::parse(&without_from),
        Err(MessageError::Field { .. })
    ));
}

#[test]
fn codes_survive_a_round_trip_and_later_ones_are_kept() {
    for code in [
        "malformed",
        "order",
        "offline",
        "limit",
        "repeated_call",
        "not_offered",
        "brand_new",
    ] {
        assert_eq!(ErrorCode::from(code.to_owned()).as_str(), code);
    }
    assert_eq!(ErrorCode::from("x".repeat(100)).as_str().len(), 32);
}

#[test]
fn mutated_frames_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut texts: Vec<String> = requests()
        .into_iter()
        .map(|request| ClientFrame { id: 1, request }.to_text())
        .collect();
    texts.extend(server_frames().iter().map(ServerFrame::to_text));
    for round in 0..20_000 {
        let mut bytes = texts[round % texts.len()].clone().into_bytes();
        for _ in 0..=rng.next_u32() % 4 {
            let at = rng.next_u32() as usize % bytes.len();
            match rng.next_u32() % 4 {
                0 => bytes[at] = rng.next_u32() as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, b"{}[]\",:0\\"[rng.next_u32() as usize % 9]),
                _ => bytes.extend_from_within(at..),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(frame) = ClientFrame::parse(&text) {
            assert_eq!(ClientFrame::parse(&frame.to_text()), Ok(frame));
        }
        if let Ok(frame) = ServerFrame::parse(&text) {
            assert_eq!(ServerFrame::parse(&frame.to_text()), Ok(frame));
        }
    }
}

/// What a part of the schema says of frames.
fn validator(part: &str) -> jsonschema::Validator {
    let mut schema = schema::schema();
    schema.as_object_mut().unwrap().remove("anyOf");
    schema["$ref"] = format!("#/$defs/{part}").into();
    jsonschema::validator_for(&schema).expect("the schema is one")
}

#[test]
fn the_schema_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hub-protocol.schema.json");
    let text = format!("{:#}\n", schema::schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == text,
        "docs/hub-protocol.schema.json is older than the types; UPDATE=1 writes it anew"
    );
}

#[test]
fn every_frame_is_one_of_the_schema() {
    let (request, answer, event) = (validator("request"), validator("answer"), validator("event"));
    let check = |validator: &jsonschema::Validator, text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{text}: {errors:?}");
    };
    for (id, body) in (0..).zip(requests()) {
        check(&request, &ClientFrame { id, request: body }.to_text());
    }
    for frame in server_frames() {
        let validator = match frame {
            ServerFrame::Answer { .. } => &answer,
            ServerFrame::Event { .. } => &event,
        };
        check(validator, &frame.to_text());
    }
    // It refuses what the parser refuses.
    for text in [
        r#"{"verb":"ping"}"#,
        r#"{"id":-1,"verb":"ping"}"#,
        r#"{"id":9007199254740992,"verb":"ping"}"#,
        r#"{"id":1,"verb":"nonsense"}"#,
        r#"{"id":1,"verb":"call.received","call":"short"}"#,
        r#"{"id":1,"verb":"call.rejoin","call":"AAAAAAAAAAAAAAAAAAAAAA","peer":"Anna"}"#,
        r#"{"id":1,"verb":"call.discard","call":"AAAAAAAAAAAAAAAAAAAAAA","reason":"bored"}"#,
        r#"{"id":1,"verb":"call.signal","call":"AAAAAAAAAAAAAAAAAAAAAA","packet":""}"#,
    ] {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert!(!request.is_valid(&value) && ClientFrame::parse(text).is_err(), "{text}");
    }
    for text in [
        r#"{"answer":1}"#,
        r#"{"answer":1,"result":{},"error":{"code":"order"}}"#,
        r#"{"result":{}}"#,
    ] {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert!(!answer.is_valid(&value) && ServerFrame::parse(text).is_err(), "{text}");
    }
}
