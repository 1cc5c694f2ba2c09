//! Two associations without DTLS between them.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::needless_range_loop,
    reason = "a test names what it wants, and a side is an index of several arrays"
)]

use super::*;

#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can be made in no other way; only differences count"
)]
fn origin() -> Instant {
    Instant::now()
}

fn settle(ends: &mut [Sctp; 2], now: Instant) -> Vec<Vec<u8>> {
    crate::sctp::tests::settle(ends, Sctp::poll_transmit, |end, packet| end.receive(now, packet))
}

fn connected(now: Instant) -> ([Sctp; 2], Vec<Vec<u8>>) {
    let mut ends = [Sctp::new(now, true), Sctp::new(now, false)];
    let later = now + BEGIN_AFTER;
    ends[0].handle_timeout(later);
    let packets = settle(&mut ends, later);
    assert!(ends.iter().all(Sctp::is_connected));
    (ends, packets)
}

#[test]
fn messages_of_both_kinds_and_none_at_all_arrive() {
    let now = origin();
    let (mut ends, _) = connected(now);
    let now = now + Duration::from_secs(2);
    for side in 0..2 {
        for (text, bytes) in [(true, &b"words"[..]), (false, &[0, 255]), (true, b""), (false, b"")] {
            ends[side].send(now, text, bytes).unwrap();
            settle(&mut ends, now);
            let message = ends[1 - side].poll_message();
            assert_eq!(
                message,
                Some(Message {
                    channel: 0,
                    text,
                    bytes: bytes.to_vec()
                })
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let now = origin();
    let mut alone = Sctp::new(now, false);
    assert_eq!(alone.send(now, true, b"x"), Err(SctpError::NotOpen));
    assert_eq!(alone.poll_timeout(), None);
    let (mut ends, _) = connected(now);
    assert_eq!(
        ends[0].send(now, true, &vec![0; MAX_MESSAGE + 1]),
        Err(SctpError::TooLarge)
    );
    let filled = (0..20).find_map(|_| ends[0].send(now, false, &vec![0; MAX_MESSAGE]).err());
    assert_eq!(filled, Some(SctpError::Full));
}
