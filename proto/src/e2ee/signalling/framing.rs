//! Acknowledged framing, as in versions 8.0.0 and 9.0.0: messages that arrive once, out of packets that may be lost,
//! repeated and reordered. Messages are **not** put back in order.
//!
//! A packet's plain text is one message or more: `seq` (u32, big-endian), a type, a body. Bit 31 of `seq` says that the
//! message is alone in its packet, bit 30 that it wants an acknowledgement; the rest is a counter from 1, common to all
//! messages and packets of a sender. The counter of a packet's first message guards against replay.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::cipher::{HASH, MAX_SENT};

/// A message is not repeated sooner than this after it was last sent.
const REPEAT_AFTER: Duration = Duration::from_secs(3);
/// What is unacknowledged is looked at this long after it was last sent.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// A message that may be lost is forgotten this long after it was first sent.
const FORGET_AFTER: Duration = Duration::from_secs(30);
/// The longest JSON that is taken.
const MAX_JSON: usize = 1024 * 1024;
/// The longest JSON that is sent: it fits one packet, with its header and a packet's opening.
pub const MAX_SENT_JSON: usize = MAX_SENT - HASH - HEADER * 2 - 4;
/// Messages of one packet beyond this: the packet is refused.
const MAX_MESSAGES: usize = 1024;
/// Our messages that may wait for acknowledgement at once.
const MAX_UNACKNOWLEDGED: usize = 128;
/// Acknowledgements of one packet; more go into the next.
const MAX_ACKNOWLEDGEMENTS: usize = 256;
/// How many delivered counters are remembered; older ones count as delivered.
const REMEMBERED: usize = 512;

const HEADER: usize = 5;
const ALONE: u32 = 1 << 31;
const WANTS_ACKNOWLEDGEMENT: u32 = 1 << 30;
const COUNTER: u32 = WANTS_ACKNOWLEDGEMENT - 1;

const JSON: u8 = 0x7f;
const EMPTY: u8 = 0xfe;
const ACKNOWLEDGEMENT: u8 = 0xff;

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// Longer than [`MAX_SENT_JSON`]: a bug on our side.
    #[error("the message is too long to be sent")]
    TooLong,
    /// The peer has not acknowledged for long.
    #[error("too many messages are unacknowledged")]
    QueueFull,
    /// A thousand million packets: the call is to be begun anew.
    #[error("the counter is used up")]
    CounterUsedUp,
}

/// Why a packet's content is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The peer broke the framing.
    #[error("the packet is malformed")]
    Malformed,
    /// Seen before, or too old to tell: the network repeats packets, or somebody does.
    #[error("the packet was seen before")]
    Replayed,
}

/// A message that arrived for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's counter: greater is later.
    pub counter: u32,
    /// The JSON text.
    pub json: Vec<u8>,
}

/// One of ours that waits for its acknowledgement.
struct Unacknowledged {
    seq: u32,
    json: Vec<u8>,
    vital: bool,
    first: Instant,
    last: Instant,
}

/// The framing of one end of a call. `now` must not go backwards; drain `poll_transmit` after each call.
#[derive(Default)]
pub struct Framing {
    last_counter: u32,
    unacknowledged: VecDeque<Unacknowledged>,
    /// Whole `seq`s to acknowledge with the next packet.
    acknowledgements: Vec<u32>,
    seen: Window,
    delivered: BTreeSet<u32>,
    /// Counters up to here count as delivered.
    delivered_below: u32,
    outbox: VecDeque<Vec<u8>>,
}

impl Framing {
    /// Makes the framing of a new call.
    pub fn new() -> Framing {
        Framing::default()
    }

    /// Sends a message, to be repeated until it is acknowledged. Returns its counter.
    ///
    /// A `vital` one counts in [`Framing::waiting_since`]; the others are given up after 30 s.
    ///
    /// # Errors
    /// [`FramingError`]; nothing was sent.
    pub fn send(&mut self, now: Instant, json: Vec<u8>, vital: bool) -> Result<u32, FramingError> {
        if json.len() > MAX_SENT_JSON {
            return Err(FramingError::TooLong);
        }
        if self.unacknowledged.len() >= MAX_UNACKNOWLEDGED {
            return Err(FramingError::QueueFull);
        }
        let counter = self.next_counter().ok_or(FramingError::CounterUsedUp)?;
        let seq = counter | WANTS_ACKNOWLEDGEMENT;
        let mut plain = Vec::with_capacity(HEADER * 2 + 4 + json.len());
        write_json(&mut plain, seq, &json);
        // What waits already may travel along: it may have been lost.
        self.repeat_into(now, &mut plain);
        self.acknowledge_into(&mut plain);
        self.outbox.push_back(plain);
        self.unacknowledged.push_back(Unacknowledged {
            seq,
            json,
            vital,
            first: now,
            last: now,
        });
        Ok(counter)
    }

    /// Stops repeating one of our messages: it has been overtaken.
    pub fn forget(&mut self, counter: u32) {
        self.unacknowledged.retain(|message| message.seq & COUNTER != counter);
    }

    /// Takes the plain text of one packet; returns the messages in it that are new, in the packet's order.
    ///
    /// # Errors
    /// [`PacketError`]; the packet had no effect.
    pub fn handle_input(&mut self, plain: &[u8]) -> Result<Vec<Message>, PacketError> {
        let items = read(plain).ok_or(PacketError::Malformed)?;
        let first = items.first().ok_or(PacketError::Malformed)?;
        if !self.seen.accept(first.seq & COUNTER) {
            return Err(PacketError::Replayed);
        }
        let mut messages = Vec::new();
        for item in items {
            match item.body {
                Body::Empty => {}
                Body::Acknowledgement => self.unacknowledged.retain(|message| message.seq != item.seq),
                Body::Json(json) => {
                    if item.seq & WANTS_ACKNOWLEDGEMENT != 0 && !self.acknowledgements.contains(&item.seq) {
                        self.acknowledgements.push(item.seq);
                    }
                    let counter = item.seq & COUNTER;
                    if self.deliver(counter) {
                        messages.push(Message {
                            counter,
                            json: json.to_vec(),
                        });
                    }
                }
            }
        }
        Ok(messages)
    }

    /// Repeats what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.unacknowledged
            .retain(|message| message.vital || now < message.first + FORGET_AFTER);
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        while self
            .unacknowledged
            .iter()
            .any(|message| now >= message.last + REPEAT_AFTER)
        {
            let Some(counter) = self.next_counter() else { return };
            let mut plain = Vec::new();
            write_header(&mut plain, counter, EMPTY);
            self.repeat_into(now, &mut plain);
            self.acknowledge_into(&mut plain);
            self.outbox.push_back(plain);
        }
    }

    /// Returns the plain text of the next packet, to be sealed and sent.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        if let Some(plain) = self.outbox.pop_front() {
            return Some(plain);
        }
        if self.acknowledgements.is_empty() {
            return None;
        }
        let mut plain = Vec::new();
        write_header(&mut plain, self.next_counter()?, EMPTY);
        self.acknowledge_into(&mut plain);
        Some(plain)
    }

    /// Returns when [`Framing::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.unacknowledged
            .iter()
            .map(|message| message.last + CHECK_EVERY)
            .min()
    }

    /// Returns when the oldest vital message was sent that is still unacknowledged.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.unacknowledged
            .iter()
            .filter(|message| message.vital)
            .map(|message| message.first)
            .min()
    }

    fn next_counter(&mut self) -> Option<u32> {
        let counter = self.last_counter + 1;
        if counter > COUNTER {
            return None;
        }
        self.last_counter = counter;
        Some(counter)
    }

    /// Appends what has waited for three seconds, as far as the packet has room.
    fn repeat_into(&mut self, now: Instant, plain: &mut Vec<u8>) {
        for message in self
            .unacknowledged
            .iter_mut()
            .filter(|message| now >= message.last + REPEAT_AFTER)
        {
            if plain.len() + HEADER + 4 + message.json.len() <= MAX_SENT - HASH {
                write_json(plain, message.seq, &message.json);
                message.last = now;
            }
        }
    }

    fn acknowledge_into(&mut self, plain: &mut Vec<u8>) {
        let room = (MAX_SENT - HASH).saturating_sub(plain.len()) / HEADER;
        let count = self.acknowledgements.len().min(room).min(MAX_ACKNOWLEDGEMENTS);
        for seq in self.acknowledgements.drain(..count) {
            write_header(plain, seq, ACKNOWLEDGEMENT);
        }
    }

    /// Tells whether a message has not been delivered yet, and remembers it.
    fn deliver(&mut self, counter: u32) -> bool {
        if counter <= self.delivered_below || !self.delivered.insert(counter) {
            return false;
        }
        if self.delivered.len() > REMEMBERED
            && let Some(oldest) = self.delivered.pop_first()
        {
            self.delivered_below = oldest;
        }
        true
    }
}

impl std::fmt::Debug for Framing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Messages hold credentials.
        f.debug_struct("Framing")
            .field("last_counter", &self.last_counter)
            .field("unacknowledged", &self.unacknowledged.len())
            .finish_non_exhaustive()
    }
}

/// Which packets were seen: the largest counter and the 63 before it.
#[derive(Default)]
struct Window {
    largest: u32,
    /// Bit n: `largest - n` was seen.
    bits: u64,
}

impl Window {
    /// Tells whether a counter is new, and remembers it.
    fn accept(&mut self, counter: u32) -> bool {
        if counter > self.largest {
            self.bits = self.bits.checked_shl(counter - self.largest).unwrap_or(0) | 1;
            self.largest = counter;
            return true;
        }
        let Some(bit) = 1u64.checked_shl(self.largest - counter) else {
            return false;
        };
        let new = self.bits & bit == 0;
        self.bits |= bit;
        new
    }
}

struct Item<'a> {
    seq: u32,
    body: Body<'a>,
}

enum Body<'a> {
    Json(&'a [u8]),
    Empty,
    Acknowledgement,
}

/// Reads all messages of a packet. `None` if any part of it is malformed.
fn read(mut plain: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut items = Vec::new();
    while !plain.is_empty() {
        let (seq, rest) = plain.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let (seq, first) = (u32::from_be_bytes(*seq), items.is_empty());
        let (body, rest) = match *kind {
            JSON => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = usize::try_from(u32::from_be_bytes(*length))
                    .ok()
                    .filter(|length| *length <= MAX_JSON)?;
                let (json, rest) = rest.split_at_checked(length)?;
                (Body::Json(json), rest)
            }
            EMPTY if first => (Body::Empty, rest),
            ACKNOWLEDGEMENT if !first => (Body::Acknowledgement, rest),
            _ => return None,
        };
        let alone = seq & ALONE != 0 && !matches!(body, Body::Acknowledgement);
        if seq & COUNTER == 0 || items.len() == MAX_MESSAGES || alone && !(first && rest.is_empty()) {
            return None;
        }
        items.push(Item { seq, body });
        plain = rest;
    }
    Some(items)
}

fn write_header(plain: &mut Vec<u8>, seq: u32, kind: u8) {
    plain.extend_from_slice(&seq.to_be_bytes());
    plain.push(kind);
}

fn write_json(plain: &mut Vec<u8>, seq: u32, json: &[u8]) {
    write_header(plain, seq, JSON);
    let length = u32::try_from(json.len()).expect("a message we send is at most 16 KiB long");
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(json);
}

#[cfg(test)]
mod tests {
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
        assert_eq!(a.poll_timeout(), Some(now + seconds(5)));
        a.handle_timeout(now + seconds(4));
        assert!(drain(&mut a).is_empty());
        a.handle_timeout(now + seconds(5));
        let sent = drain(&mut a);
        assert_eq!(sent, [b"\0\0\0\x02\xfe\x40\0\0\x01\x7f\0\0\0\x011".to_vec()]);
        assert_eq!(b.handle_input(&sent[0]).map(texts), Ok(vec!["1".to_owned()]));
        drain(&mut b);
        // The acknowledgement was lost: the repeat is acknowledged again, and not delivered again.
        a.handle_timeout(now + seconds(10));
        let sent = drain(&mut a);
        assert_eq!(b.handle_input(&sent[0]), Ok(vec![]));
        let answer = drain(&mut b);
        assert_eq!(answer, [b"\0\0\0\x02\xfe\x40\0\0\x01\xff".to_vec()]);
        a.handle_input(&answer[0]).unwrap();
        assert_eq!(a.poll_timeout(), None);
    }

    #[test]
    fn a_later_packet_carries_what_waited_three_seconds() {
        let (now, mut a, mut b) = (origin(), Framing::new(), Framing::new());
        a.send(now, b"1".to_vec(), true).unwrap();
        a.send(now + seconds(2), b"2".to_vec(), true).unwrap();
        a.send(now + seconds(4), b"3".to_vec(), true).unwrap();
        let sent = drain(&mut a);
        assert_eq!(
            b.handle_input(&sent[2]).map(texts),
            Ok(vec!["3".to_owned(), "1".to_owned()])
        );
        assert_eq!(
            b.handle_input(&sent[0]),
            Ok(vec![]),
            "the message came earlier, behind another"
        );
        assert_eq!(b.handle_input(&sent[1]).map(texts), Ok(vec!["2".to_owned()]));
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
        let repeats = drain(&mut a);
        assert!(repeats.len() > 1);
        assert!(repeats.iter().all(|plain| plain.len() + HASH <= MAX_SENT));
        let mut b = Framing::new();
        let delivered: usize = repeats.iter().map(|plain| b.handle_input(plain).unwrap().len()).sum();
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
}
