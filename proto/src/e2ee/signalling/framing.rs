//! Acknowledged framing, as in versions 8.0.0 and 9.0.0: messages that arrive once, out of packets that may be lost,
//! repeated and reordered. Messages are **not** put back in order.
//!
//! A packet's plain text is one message or more: `seq` (u32, big-endian), a type, a body. Bit 31 of `seq` says that the
//! message is alone in its packet, bit 30 that it wants an acknowledgement; the rest is a counter from 1, common to all
//! messages and packets of a sender. The counter of a packet's first message guards against replay.
//!
//! Each packet of ours carries all that is unacknowledged, oldest first. Official clients forget which messages below the first
//! of a packet they have seen: a later message alone in its packet would have them take a repeat of an earlier one for new, and
//! an answer that comes twice for an offer. And so no message overtakes another.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::cipher::{HASH, MAX_SENT};
use super::replay::Window;

#[cfg(test)]
mod tests;

/// How long after each sending a message is sent again; later as after the last. Official clients wait for 3 to 5 s from the
/// first on: too long for a call over a network that loses a third of what it carries.
const REPEAT_AFTER: [Duration; 4] = [
    Duration::from_millis(600),
    Duration::from_millis(1_200),
    Duration::from_millis(2_000),
    Duration::from_millis(3_000),
];
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
    sent: usize,
}

impl Unacknowledged {
    /// When it is to be sent again.
    fn due(&self) -> Instant {
        let last = REPEAT_AFTER.len() - 1;
        self.last + REPEAT_AFTER[self.sent.min(last)]
    }
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
        self.unacknowledged.push_back(Unacknowledged {
            seq,
            json,
            vital,
            first: now,
            last: now,
            sent: 0,
        });
        self.send_all(now);
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
        if self.unacknowledged.iter().any(|message| now >= message.due()) {
            for message in &mut self.unacknowledged {
                message.sent += 1;
            }
            self.send_all(now);
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
        self.unacknowledged.iter().map(Unacknowledged::due).min()
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

    /// Sends a packet of all that is unacknowledged, oldest first. What has no room in it waits until what is before it has
    /// arrived.
    fn send_all(&mut self, now: Instant) {
        let mut plain = Vec::new();
        let is_first = self.unacknowledged.len() == 1 && self.unacknowledged[0].sent == 0;
        if !is_first {
            let Some(counter) = self.next_counter() else { return };
            write_header(&mut plain, counter, EMPTY);
        }
        for message in &mut self.unacknowledged {
            message.last = now;
        }
        for message in &self.unacknowledged {
            if plain.len() + HEADER + 4 + message.json.len() > MAX_SENT - HASH {
                break;
            }
            write_json(&mut plain, message.seq, &message.json);
        }
        self.acknowledge_into(&mut plain);
        self.outbox.push_back(plain);
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
