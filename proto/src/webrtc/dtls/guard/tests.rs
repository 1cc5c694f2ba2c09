//! What passes, number by number; the machines behind it are in the endpoint's tests.

use super::*;
use crate::webrtc::dtls::testing::fragment;

/// Long enough for any message.
const BODY: [u8; 60] = [9; 60];
/// What a client's key exchange holds: a length and as many bytes.
const POINT: [u8; 33] = [32; 33];

/// A list of one certificate of one byte.
const CERTIFICATES: [u8; 7] = [0, 0, 4, 0, 0, 1, 9];
/// A curve, a point on it, and a signature of one byte.
const SIGNED_POINT: [u8; 41] = {
    let mut body = [9; 41];
    (body[0], body[1], body[2], body[3]) = (3, 0, 29, 32);
    (body[36], body[37], body[38], body[39]) = (4, 3, 0, 1);
    body
};

fn record(kind: u8, epoch: u8, fragment: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 1, 0, fragment.len() as u8];
    record.extend_from_slice(fragment);
    record
}

fn whole(kind: u8, number: u16, body: &[u8]) -> Vec<u8> {
    record(HANDSHAKE, 0, &fragment(kind, number, body.len(), 0, body))
}

/// Feeds messages that each have their turn.
fn fed(client: bool, messages: &[(u8, u16)]) -> Guard {
    let mut guard = Guard::new(client);
    for (kind, number) in messages {
        let body: &[u8] = match *kind {
            HELLO_VERIFY_REQUEST => &[0xFE, 0xFF, 1, 9],
            CLIENT_KEY_EXCHANGE => &POINT,
            CERTIFICATE_VERIFY => &[4, 3, 0, 1, 9],
            SERVER_HELLO_DONE => b"",
            CERTIFICATE => &CERTIFICATES,
            SERVER_KEY_EXCHANGE => &SIGNED_POINT,
            CERTIFICATE_REQUEST => &[1, 64, 0, 2, 4, 3, 0, 0],
            _ => &BODY,
        };
        let message = whole(*kind, *number, body);
        assert_eq!(guard.handle_input(&message), [message], "{kind}");
        // As DTLS that has read it does.
        match *kind {
            CERTIFICATE => guard.certificate_read(),
            SERVER_HELLO_DONE => {
                guard.sent(&[record(HANDSHAKE, 0, b"x"), record(CHANGE_CIPHER_SPEC, 0, &[1])].concat())
            }
            _ => {}
        }
    }
    guard
}

#[test]
fn of_bytes_that_came_twice_the_later_count_and_a_contradiction_begins_anew() {
    let mut guard = Guard::new(false);
    let body: Vec<u8> = (0..60).collect();
    let hello = whole(CLIENT_HELLO, 0, &body);
    for forged in [
        fragment(CLIENT_HELLO, 0, 60, 0, b"false"),
        fragment(CLIENT_HELLO, 0, 61, 0, b"false"),
        fragment(CLIENT_HELLO, 0, MAX_MESSAGE, 9, b"false"),
        fragment(CLIENT_HELLO, 0, 60, 59, b"e"),
    ] {
        assert!(guard.handle_input(&record(HANDSHAKE, 0, &forged)).is_empty());
    }
    let halves = [
        fragment(CLIENT_HELLO, 0, 60, 0, &body[..36]),
        fragment(CLIENT_HELLO, 0, 60, 24, &body[24..]),
    ];
    assert_eq!(
        guard.handle_input(&record(HANDSHAKE, 0, &halves.concat())),
        std::slice::from_ref(&hello)
    );
    assert_eq!(
        guard.handle_input(&hello),
        [hello],
        "a repeated message is handed on again"
    );
    assert!(guard.waiting.is_empty());
}

#[test]
fn impossible_fragments_are_dropped() {
    let mut guard = Guard::new(false);
    for (length, offset, bytes) in [
        (4, 5, &b""[..]),
        (4, 4, b""),
        (4, 0, b""),
        (4, 2, b"xyz"),
        (MAX_MESSAGE + 1, 0, b"x"),
        (0xFF_FFFF, 0xFF_FFFF, b"x"),
    ] {
        let fragment = fragment(CLIENT_HELLO, 0, length, offset, bytes);
        assert!(guard.handle_input(&record(HANDSHAKE, 0, &fragment)).is_empty());
        assert!(guard.waiting.is_empty(), "{length} {offset}");
    }
}

#[test]
fn what_is_too_short_for_its_type_does_not_pass_and_takes_no_turn() {
    for (client, kind, shortest) in [
        (false, CLIENT_HELLO, MIN_CLIENT_HELLO),
        (true, SERVER_HELLO, MIN_SERVER_HELLO),
        (true, HELLO_VERIFY_REQUEST, 4),
    ] {
        let mut guard = Guard::new(client);
        for length in 0..shortest {
            assert!(
                guard.handle_input(&whole(kind, 0, &BODY[..length])).is_empty(),
                "{kind} {length}"
            );
        }
        assert_eq!(guard.next, 0);
    }
    let mut guard = fed(true, &[(SERVER_HELLO, 0)]);
    for body in [
        &[][..],
        &[0],
        &[0; 3],
        &[0; 6],
        &[0, 0, 6, 0, 0, 0, 0, 0, 0],
        &[0, 0, 4, 0, 0, 2, 9],
        &BODY,
    ] {
        assert!(guard.handle_input(&whole(CERTIFICATE, 1, body)).is_empty(), "{body:?}");
    }
    assert_eq!(guard.next, 1);
    let mut guard = fed(true, &[(SERVER_HELLO, 0), (CERTIFICATE, 1)]);
    let [unsigned, mut empty] = [&SIGNED_POINT[..36], &SIGNED_POINT[..40]].map(<[u8]>::to_vec);
    empty[39] = 0;
    for body in [unsigned, empty, BODY.to_vec(), [&SIGNED_POINT[..], b"x"].concat()] {
        assert!(
            guard.handle_input(&whole(SERVER_KEY_EXCHANGE, 2, &body)).is_empty(),
            "{body:?}"
        );
    }
    assert_eq!(guard.next, 2);
    let mut guard = fed(true, &[(SERVER_HELLO, 0), (CERTIFICATE, 1), (SERVER_KEY_EXCHANGE, 2)]);
    for body in [
        &[1, 64, 0, 0, 0, 0][..],
        &[0, 0, 2, 4, 3, 0, 0],
        &[1, 64, 0, 2, 4, 3],
        &[1, 64, 0, 1, 4, 0, 0],
        &BODY,
    ] {
        assert!(
            guard.handle_input(&whole(CERTIFICATE_REQUEST, 3, body)).is_empty(),
            "{body:?}"
        );
    }
    assert_eq!((guard.next, guard.certificate_requested), (3, false));
}

#[test]
fn a_cookie_moves_the_numbers_once_and_a_broken_one_does_not() {
    let mut guard = Guard::new(true);
    for broken in [
        &b""[..],
        &[0xFE, 0xFF],
        &[0xFE, 0xFF, 0],
        &[0xFE, 0xFF, 2, 9],
        &[3, 3, 1, 9],
        &[0xFE, 0xFF, 1, 9, 9],
    ] {
        assert!(
            guard.handle_input(&whole(HELLO_VERIFY_REQUEST, 0, broken)).is_empty(),
            "{broken:?}"
        );
    }
    assert_eq!((guard.first, guard.next), (0, 0));
    let mut guard = fed(true, &[(HELLO_VERIFY_REQUEST, 0)]);
    for (kind, number) in [
        (SERVER_HELLO, 0),
        (HELLO_VERIFY_REQUEST, 1),
        (CERTIFICATE, 1),
        (CERTIFICATE, 2),
    ] {
        assert!(
            guard.handle_input(&whole(kind, number, &BODY)).is_empty(),
            "{kind} {number}"
        );
    }
    fed(
        true,
        &[
            (HELLO_VERIFY_REQUEST, 0),
            (SERVER_HELLO, 1),
            (CERTIFICATE, 2),
            (SERVER_KEY_EXCHANGE, 3),
        ],
    );
    let mut guard = fed(true, &[(SERVER_HELLO, 0)]);
    assert!(
        guard
            .handle_input(&whole(HELLO_VERIFY_REQUEST, 0, &[0xFE, 0xFF, 1, 9]))
            .is_empty()
    );
}

#[test]
fn encrypted_records_pass_after_change_cipher_spec_and_that_after_the_flight() {
    let server = [(SERVER_HELLO, 0), (CERTIFICATE, 1), (SERVER_KEY_EXCHANGE, 2)];
    let asking = [&server[..], &[(CERTIFICATE_REQUEST, 3), (SERVER_HELLO_DONE, 4)]].concat();
    let short = [&server[..], &[(SERVER_HELLO_DONE, 3)]].concat();
    let client = [
        (CLIENT_HELLO, 0),
        (CERTIFICATE, 1),
        (CLIENT_KEY_EXCHANGE, 2),
        (CERTIFICATE_VERIFY, 3),
    ];
    let (change, finished) = (record(CHANGE_CIPHER_SPEC, 0, &[1]), record(HANDSHAKE, 1, &[7; 40]));
    for (is_client, flight) in [(true, &asking[..]), (true, &short), (false, &client)] {
        for length in 0..=flight.len() {
            let mut guard = fed(is_client, &flight[..length]);
            assert!(guard.handle_input(&finished).is_empty());
            assert!(guard.handle_input(&record(CHANGE_CIPHER_SPEC, 0, &[2])).is_empty());
            let records = guard.handle_input(&[&change[..], &finished, &change].concat());
            let complete: &[Vec<u8>] = if length == flight.len() {
                &[change.clone(), finished.clone()]
            } else {
                &[]
            };
            assert_eq!(records, complete, "{is_client} {length}");
            for kind in [ALERT, HANDSHAKE, APPLICATION_DATA] {
                let passed = guard.handle_input(&record(kind, 1, &[7; 40])).len();
                assert_eq!(passed, complete.len() / 2, "{is_client} {length}");
                assert!(guard.handle_input(&record(kind, 2, &[7; 40])).is_empty());
            }
            assert!(guard.handle_input(&record(CHANGE_CIPHER_SPEC, 1, &[1])).is_empty());
            assert!(guard.handle_input(&record(ALERT, 0, &[2, 40])).is_empty());
        }
    }
    // The server asks for a certificate or not: no message comes after its last.
    let mut guard = fed(true, &short);
    assert!(guard.handle_input(&whole(SERVER_HELLO_DONE, 4, b"")).is_empty());
}

#[test]
fn change_cipher_spec_has_no_turn_after_a_message_that_dtls_has_not_read() {
    let change = record(CHANGE_CIPHER_SPEC, 0, &[1]);
    let mut client = fed(true, &[(SERVER_HELLO, 0), (CERTIFICATE, 1), (SERVER_KEY_EXCHANGE, 2)]);
    assert!(client.handle_input(&whole(SERVER_HELLO_DONE, 3, b"x")).is_empty());
    let done = whole(SERVER_HELLO_DONE, 3, b"");
    assert_eq!(client.handle_input(&[&done[..], &change].concat()), [done]);
    client.sent(&record(HANDSHAKE, 0, b"repeated hello"));
    assert!(client.handle_input(&change).is_empty());
    let mut server = Guard::new(false);
    for (kind, number, body) in [(CLIENT_HELLO, 0, &BODY[..]), (CERTIFICATE, 1, &CERTIFICATES)] {
        assert_eq!(server.handle_input(&whole(kind, number, body)).len(), 1);
    }
    for (kind, number, body) in [
        (CLIENT_KEY_EXCHANGE, 2, &[][..]),
        (CLIENT_KEY_EXCHANGE, 2, &[0]),
        (CLIENT_KEY_EXCHANGE, 2, &[1, 9]),
        (CLIENT_KEY_EXCHANGE, 2, &[0; 33]),
        (CLIENT_KEY_EXCHANGE, 2, &[33; 33]),
    ] {
        assert!(server.handle_input(&whole(kind, number, body)).is_empty(), "{body:?}");
    }
    assert_eq!(server.handle_input(&whole(CLIENT_KEY_EXCHANGE, 2, &POINT)).len(), 1);
    for body in [
        &[][..],
        &[4],
        &[4, 3, 0],
        &[4, 3, 0, 0],
        &[4, 3, 0, 2, 9],
        &[4, 3, 0, 0, 9],
    ] {
        assert!(
            server.handle_input(&whole(CERTIFICATE_VERIFY, 3, body)).is_empty(),
            "{body:?}"
        );
    }
    let verify = whole(CERTIFICATE_VERIFY, 3, &[4, 3, 0, 1, 9]);
    assert_eq!(
        server.handle_input(&[&verify[..], &change].concat()),
        std::slice::from_ref(&verify)
    );
    // The true certificate, and the rest of its flight.
    server.handle_input(&whole(CERTIFICATE, 1, &CERTIFICATES));
    server.certificate_read();
    assert_eq!(server.handle_input(&[&verify[..], &change].concat()), [verify, change]);
}
