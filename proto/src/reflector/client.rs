//! One party of a call at one reflector.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::stream::{Framing, OPENING};
use super::tag::{SHARED, TAG, Tag};
use super::{HEADER, HELLO, IS_ANSWER, IS_HELLO, STREAM_HEADER, names};

/// Between hellos until one is answered.
const HELLO_INTERVAL: Duration = Duration::from_millis(500);
/// A reflector that answers no hello for so long is none, or has gone.
const MAX_SILENCE: Duration = Duration::from_secs(30);
/// Between those that keep the way open.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// What waits to be taken at most, in packets.
const MAX_WAITING: usize = 256;
/// The last bytes of a hello, until an answer brings others.
const FIRST: [u8; 8] = 123_u64.to_be_bytes();

/// What a party is told of its reflector.
#[derive(Debug)]
pub struct Options {
    /// The number in its name.
    pub number: u32,
    /// Its port, which stands in candidates.
    pub port: u16,
    /// What the network gave to both parties.
    pub tag: Zeroizing<Tag>,
    /// Whether it is reached by a stream.
    pub stream: bool,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the reflector.
    Transmit(Vec<u8>),
    /// It has answered: this is our address there.
    Relay(SocketAddr),
    /// A datagram of a stream, and whose.
    Datagram {
        /// The sender's address at the reflector.
        peer: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// The stream is over or no reflector's.
    Closed,
    /// It does not answer.
    Silent,
}

/// What stands before and behind a datagram.
#[derive(Debug)]
pub struct Frame {
    header: [u8; STREAM_HEADER],
    /// Where in it to begin.
    begin: usize,
    /// Zeros behind.
    pub pad: usize,
}

impl Frame {
    /// What stands before it.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header[self.begin..]
    }
}

/// The machine. Drain [`Client::poll_output`] after every other call.
pub struct Client {
    number: u32,
    port: u16,
    tag: Zeroizing<Tag>,
    is_stream: bool,
    framing: Framing,
    hello_at: Instant,
    answer_by: Instant,
    is_answered: bool,
    /// The last bytes of a hello.
    shown: [u8; 8],
    /// A hello has gone out since the last answer.
    is_asking: bool,
    is_closed: bool,
    outputs: VecDeque<Output>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A party with four bytes of its own; says hello at once.
    pub fn new<R: CryptoRng + ?Sized>(now: Instant, options: &Options, rng: &mut R) -> Self {
        let mut tag = options.tag.clone();
        while tag[SHARED..] == options.tag[SHARED..] || tag[SHARED..] == [0; 4] {
            rng.fill_bytes(&mut tag[SHARED..]);
        }
        let mut client = Self {
            number: options.number,
            port: options.port,
            tag,
            is_stream: options.stream,
            framing: Framing::of_client(),
            hello_at: now,
            answer_by: now + MAX_SILENCE,
            is_answered: false,
            shown: FIRST,
            is_asking: false,
            is_closed: false,
            outputs: VecDeque::new(),
        };
        if options.stream {
            client.outputs.push_back(Output::Transmit(OPENING.to_vec()));
        }
        client.handle_timeout(now);
        client
    }

    /// Our address at the reflector.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        names::address(self.number, own(&self.tag), self.port)
    }

    /// What to put round a datagram of this length for a peer; `None` if that is not at this reflector.
    #[must_use]
    pub fn frame(&self, peer: SocketAddr, length: usize) -> Option<Frame> {
        let (number, four) = names::of_address(peer.ip())?;
        if number != self.number || self.is_closed {
            return None;
        }
        let pad = length.next_multiple_of(4) - length;
        let mut header = [0; STREAM_HEADER];
        let whole = u32::try_from(HEADER + length + pad).ok()?;
        header[..4].copy_from_slice(&whole.to_le_bytes());
        let packet = &mut header[4..];
        packet[..SHARED].copy_from_slice(&self.tag[..SHARED]);
        packet[SHARED..TAG].copy_from_slice(&four);
        packet[TAG..TAG + 4].copy_from_slice(&self.tag[SHARED..]);
        packet[TAG + 4..].copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        let begin = if self.is_stream { 0 } else { 4 };
        Some(Frame { header, begin, pad })
    }

    /// Takes a datagram of the reflector, or a piece of its stream. Of a datagram: the peer's address and where its own begins and
    /// ends; those of a stream are polled.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Option<(SocketAddr, Range<usize>)> {
        if !self.is_stream {
            return self.packet(now, bytes);
        }
        let mut framing = std::mem::take(&mut self.framing);
        framing.push(bytes);
        loop {
            match framing.next() {
                Ok(Some(packet)) => {
                    if let Some((peer, part)) = self.packet(now, packet)
                        && self.outputs.len() < MAX_WAITING
                    {
                        let bytes = packet[part].to_vec();
                        self.outputs.push_back(Output::Datagram { peer, bytes });
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.closed();
                    break;
                }
            }
        }
        self.framing = framing;
        None
    }

    /// The stream has ended.
    pub fn closed(&mut self) {
        self.end(Output::Closed);
    }

    fn end(&mut self, why: Output) {
        if !self.is_closed {
            self.is_closed = true;
            self.outputs.push_back(why);
        }
    }

    /// Says hello when it is time, and gives up when it has done so in vain.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.answer_by {
            self.end(Output::Silent);
        }
        if self.is_closed || now < self.hello_at {
            return;
        }
        let mut hello = Vec::with_capacity(4 + HELLO);
        if self.is_stream {
            hello.extend((HELLO as u32).to_le_bytes());
        }
        hello.extend(*self.tag);
        hello.extend(IS_HELLO);
        hello.extend(self.shown);
        self.outputs.push_back(Output::Transmit(hello));
        // One that is not answered is followed by more, in case it was lost.
        self.hello_at = now + HELLO_INTERVAL;
        self.is_asking = true;
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Client::handle_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_closed).then_some(self.hello_at.min(self.answer_by))
    }

    fn packet(&mut self, now: Instant, packet: &[u8]) -> Option<(SocketAddr, Range<usize>)> {
        let (tag, rest) = packet.split_first_chunk::<TAG>()?;
        if *tag != *self.tag {
            return None;
        }
        if let Some(bytes) = rest.strip_prefix(&IS_ANSWER) {
            self.answered(now, bytes.first_chunk());
            return None;
        }
        let (from, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > rest.len() {
            return None;
        }
        Some((names::address(self.number, *from, self.port), HEADER..HEADER + length))
    }

    fn answered(&mut self, now: Instant, shown: Option<&[u8; 8]>) {
        self.answer_by = now + MAX_SILENCE;
        if std::mem::take(&mut self.is_asking) {
            self.hello_at = now + KEEPALIVE;
            if let Some(other) = shown.filter(|other| **other != self.shown) {
                // It wants to see that we are really here.
                self.shown = *other;
                self.hello_at = now;
                self.handle_timeout(now);
            }
        }
        if !std::mem::replace(&mut self.is_answered, true) {
            let address = self.address();
            self.outputs.push_back(Output::Relay(address));
        }
    }
}

fn own(tag: &Tag) -> [u8; 4] {
    [tag[12], tag[13], tag[14], tag[15]]
}
