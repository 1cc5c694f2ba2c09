//! Packets and messages, byte for byte, and hostile ones.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn origin() -> Instant {
    Instant::now()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn drain(framing: &mut Framing) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| framing.poll_transmit()).collect()
}

fn texts(messages: Vec<Message>) -> Vec<String> {
    messages
        .into_iter()
        .map(|message| String::from_utf8(message.json).unwrap())
        .collect()
}

#[test]
fn a_message_is_delivered_and_acknowledged() {
    let (now, mut a, mut b) = (origin(), Framing::new(), Framing::new());
    assert_eq!(a.send(now, b"{}".to_vec(), true), Ok(1));
    let sent = drain(&mut a);
    assert_eq!(sent, [b"\x40\0\0\x01\x7f\0\0\0\x02{}".to_vec()]);
    assert_eq!(b.handle_input(&sent[0]).map(texts), Ok(vec!["{}".to_owned()]));
    let answer = drain(&mut b);
    assert_eq!(answer, [b"\0\0\0\x01\xfe\x40\0\0\x01\xff".to_vec()]);
    assert_eq!(a.waiting_since(), Some(now));
    assert_eq!(a.handle_input(&answer[0]), Ok(vec![]));
    assert_eq!(a.waiting_since(), None);
    assert_eq!(a.poll_timeout(), None);
    assert!(drain(&mut a).is_empty(), "an acknowledgement is not acknowledged");
}

#[test]
fn a_lost_message_is_repeated_in_a_packet_of_its_own_counter() {
    let (now, mut a, mut b) = (origin(), Framing::new(), Framing::new());
    a.send(now, b"1".to_vec(), true).unwrap();
    drain(&mut a);
    let due = now + Duration::from_millis(600);
    assert_eq!(a.poll_timeout(), Some(due));
    a.handle_timeout(due - Duration::from_millis(1));
    assert!(drain(&mut a).is_empty());
    a.handle_timeout(due);
    let sent = drain(&mut a);
    assert_eq!(sent, [b"\0\0\0\x02\xfe\x40\0\0\x01\x7f\0\0\0\x011".to_vec()]);
    assert_eq!(b.handle_input(&sent[0]).map(texts), Ok(vec!["1".to_owned()]));
    drain(&mut b);
    // The acknowledgement was lost: the repeat is acknowledged again, and not delivered again.
    a.handle_timeout(a.poll_timeout().unwrap());
    let sent = drain(&mut a);
    assert_eq!(b.handle_input(&sent[0]), Ok(vec![]));
    let answer = drain(&mut b);
    assert_eq!(answer, [b"\0\0\0\x02\xfe\x40\0\0\x01\xff".to_vec()]);
    a.handle_input(&answer[0]).unwrap();
    assert_eq!(a.poll_timeout(), None);
}

#[test]
fn the_pauses_between_repeats_grow_to_three_seconds() {
    let (mut now, mut a) = (origin(), Framing::new());
    a.send(now, b"1".to_vec(), true).unwrap();
    drain(&mut a);
    for pause in [600, 1200, 2000, 3000, 3000, 3000] {
        let due = a.poll_timeout().unwrap();
        assert_eq!(due - now, Duration::from_millis(pause));
        now = due;
        a.handle_timeout(now);
        assert_eq!(drain(&mut a).len(), 1);
    }
}

#[test]
fn a_later_packet_carries_all_that_waits_oldest_first() {
    let (now, mut a, mut b) = (origin(), Framing::new(), Framing::new());
    for text in ["1", "2", "3"] {
        a.send(now, text.into(), true).unwrap();
    }
    let sent = drain(&mut a);
    let all = ["1", "2", "3"].map(str::to_owned).to_vec();
    assert_eq!(b.handle_input(&sent[2]).map(texts), Ok(all));
    assert_eq!(b.handle_input(&sent[0]), Ok(vec![]), "they came earlier");
    assert_eq!(b.handle_input(&sent[1]), Ok(vec![]));
}

/// What official clients remember of the messages they have taken.
#[derive(Default)]
struct Official {
    taken: BTreeSet<u32>,
    delivered: Vec<u32>,
}

impl Official {
    fn handle_input(&mut self, plain: &[u8]) {
        let mut first = true;
        for item in read(plain).unwrap() {
            let counter = item.seq & COUNTER;
            if let Body::Json(_) = item.body {
                if std::mem::take(&mut first) {
                    self.taken.retain(|taken| *taken >= counter);
                }
                if self.taken.insert(counter) {
                    self.delivered.push(counter);
                }
            }
        }
    }
}

#[test]
fn an_official_client_takes_each_message_once_whatever_is_lost() {
    let mut rng = ChaCha20Rng::seed_from_u64(12);
    for _ in 0..200 {
        let (mut now, mut a, mut b) = (origin(), Framing::new(), Framing::new());
        let mut official = Official::default();
        let mut sent = Vec::new();
        for _ in 0..200 {
            if sent.len() < 12 && rng.next_u32() % 3 == 0 {
                sent.push(a.send(now, b"{}".to_vec(), true).unwrap());
            }
            for plain in drain(&mut a) {
                if rng.next_u32() % 10 < 6 {
                    official.handle_input(&plain);
                    b.handle_input(&plain).unwrap();
                    drain(&mut b).iter().for_each(|acknowledgement| {
                        if rng.next_u32() % 10 < 6 {
                            a.handle_input(acknowledgement).unwrap();
                        }
                    });
                }
            }
            now += Duration::from_millis(400);
            a.handle_timeout(now);
        }
        assert_eq!(official.delivered, sent, "each once, and in order");
    }
}

#[test]
fn acknowledgements_travel_behind_a_message() {
    let (now, mut a, mut b) = (origin(), Framing::new(), Framing::new());
    a.send(now, b"1".to_vec(), true).unwrap();
    b.handle_input(&drain(&mut a)[0]).unwrap();
    b.send(now, b"2".to_vec(), true).unwrap();
    let sent = drain(&mut b);
    assert_eq!(sent, [b"\x40\0\0\x01\x7f\0\0\0\x012\x40\0\0\x01\xff".to_vec()]);
    a.handle_input(&sent[0]).unwrap();
    assert_eq!(a.waiting_since(), None);
}

#[test]
fn the_replay_window_is_64_wide() {
    let mut window = Window::default();
    for (counter, new) in [
        (1, true),
        (1, false),
        (70, true),
        (7, true),
        (7, false),
        (6, false),
        (71, true),
        (7, false),
    ] {
        assert_eq!(window.accept(counter), new, "counter {counter}");
    }
    assert!(window.accept(COUNTER));
    assert!(!window.accept(71));
    assert!(window.accept(COUNTER - 63));
    assert!(!window.accept(COUNTER - 64));
}

#[test]
fn malformed_packets_have_no_effect() {
    let mut framing = Framing::new();
    let bad: [&[u8]; 12] = [
        b"",
        b"\0\0\0\x01",
        b"\0\0\0\0\xfe",
        b"\0\0\0\x01\xff",
        b"\0\0\0\x01\x20",
        b"\0\0\0\x01\x7f\0\0\0",
        b"\0\0\0\x01\x7f\0\0\0\x02{",
        b"\0\0\0\x01\x7f\xff\xff\xff\xff{}",
        b"\0\0\0\x01\xfe\0\0\0\x02\xfe",
        b"\0\0\0\x01\xfe\0",
        b"\x80\0\0\x01\x7f\0\0\0\x01x\0\0\0\x02\xff",
        b"\0\0\0\x01\xfe\x80\0\0\x01\x7f\0\0\0\x01x",
    ];
    for packet in bad {
        assert_eq!(framing.handle_input(packet), Err(PacketError::Malformed), "{packet:?}");
    }
    assert!(drain(&mut framing).is_empty());
    // The counter 1 is still free, alone in its packet, and wants no acknowledgement.
    let packet = b"\x80\0\0\x01\x7f\0\0\0\x01x";
    assert_eq!(framing.handle_input(packet).map(texts), Ok(vec!["x".to_owned()]));
    assert_eq!(framing.handle_input(packet), Err(PacketError::Replayed));
    assert!(drain(&mut framing).is_empty());
}

#[test]
fn what_is_not_vital_is_given_up() {
    let (now, mut a) = (origin(), Framing::new());
    a.send(now, b"1".to_vec(), false).unwrap();
    a.send(now, b"2".to_vec(), true).unwrap();
    assert_eq!(a.waiting_since(), Some(now));
    a.forget(2);
    assert_eq!(a.waiting_since(), None);
    assert!(a.poll_timeout().is_some());
    a.handle_timeout(now + seconds(30));
    assert_eq!(a.poll_timeout(), None);
}

#[test]
fn the_queue_is_bounded_and_packets_stay_small() {
    let (now, mut a) = (origin(), Framing::new());
    assert_eq!(
        a.send(now, vec![b' '; MAX_SENT_JSON + 1], true),
        Err(FramingError::TooLong)
    );
    for _ in 0..MAX_UNACKNOWLEDGED {
        a.send(now, vec![b' '; 5000], true).unwrap();
    }
    assert_eq!(a.send(now, b"{}".to_vec(), true), Err(FramingError::QueueFull));
    drain(&mut a);
    a.handle_timeout(now + seconds(5));
    let (mut now, mut b, mut delivered) = (now + seconds(5), Framing::new(), 0);
    while let Some(due) = a.poll_timeout() {
        now = due.max(now);
        a.handle_timeout(now);
        for plain in drain(&mut a) {
            assert!(plain.len() + HASH <= MAX_SENT);
            delivered += b.handle_input(&plain).unwrap().len();
            drain(&mut b)
                .iter()
                .for_each(|plain| _ = a.handle_input(plain).unwrap());
        }
    }
    assert_eq!(delivered, MAX_UNACKNOWLEDGED);
    // The largest message can be repeated too.
    let mut a = Framing::new();
    a.send(now, vec![b' '; MAX_SENT_JSON], true).unwrap();
    drain(&mut a);
    a.handle_timeout(now + seconds(5));
    assert_eq!(drain(&mut a).len(), 1);
}

#[test]
fn random_packets_never_panic() {
    let now = origin();
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let mut framing = Framing::new();
    framing.send(now, b"{\"@type\":\"x\"}".to_vec(), true).unwrap();
    let good = framing.poll_transmit().unwrap();
    for round in 0..50_000u32 {
        let mut packet = if round % 2 == 0 {
            good.clone()
        } else {
            b"\0\0\0\x05\xfe\x40\0\0\x01\xff".to_vec()
        };
        for _ in 0..rng.next_u32() % 6 {
            let place = rng.next_u32() as usize % packet.len();
            match rng.next_u32() % 3 {
                0 => packet[place] = rng.next_u32() as u8,
                1 => packet.truncate(place.max(1)),
                _ => packet.insert(place, [0, 0x7f, 0xfe, 0xff][rng.next_u32() as usize % 4]),
            }
        }
        let _ = framing.handle_input(&packet);
        framing.handle_timeout(now + seconds(u64::from(round)));
        drain(&mut framing);
        assert!(framing.delivered.len() <= REMEMBERED && framing.acknowledgements.is_empty());
    }
}
