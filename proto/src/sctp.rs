//! One SCTP association over any pipe of packets (over sctp-proto): data channels inside DTLS, signalling of versions 12 and
//! 13. RFC 9260.
//!
//! It answers the peer's INIT, sends one itself after a while, or both. If both ends do, the one with the higher tag goes on and
//! the other answers; ours is high, for most peers' timers are slow. A packet of the handshake is sent again and again until the next
//! has come. One association at a time: what would make another one beside it is dropped.
//!
//! The peer is hostile, and the crate trusts it: it holds whatever is ahead of a gap, lists all gaps in one packet, and goes through
//! all of it for each chunk. So [`gate`] looks at each packet first.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

mod gate;
mod handshake;

use gate::INIT;
use handshake::{Attempt, MAX_ATTEMPTS, VERIFICATION_TAG};
use sctp_proto::{DatagramEvent, Event, Payload, StreamEvent, TransportConfig};

pub use sctp_proto::PayloadProtocolIdentifier as Ppid;

/// What we keep of our own unacknowledged data.
const SEND_BUFFER: usize = 64 * 1024;
/// Messages that wait to be taken.
const MAX_MESSAGES: usize = 64;
/// Packets that wait to be taken.
const MAX_PACKETS: usize = 64;
/// Streams that the peer may announce; the protocols here use the first.
const MAX_STREAMS: u16 = 16;
/// What the crate may go beyond the longest packet: a cookie, the gaps of a SACK.
const SLACK: usize = 1024;
/// The crate wants an address; a pipe has none. From the block for documentation.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);
/// What an association is made with.
#[derive(Clone, Copy, Debug)]
pub struct SctpConfig {
    /// Longest packet that is sent, bytes.
    pub max_packet: u32,
    /// Longest message in either direction, bytes.
    pub max_message: u32,
    /// What may be held of the peer's unread or unordered data, bytes.
    pub receive_buffer: u32,
    /// Longest time until what was lost is sent again; the first time it is 400 ms.
    pub max_rto: Duration,
    /// How long the peer's INIT is waited for before ours is sent; `None`: for ever. Zero: not at all.
    pub begin_after: Option<Duration>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SctpError {
    /// The association is not up (yet).
    #[error("the SCTP association is not open")]
    NotOpen,
    /// Longer than [`SctpConfig::max_message`]: the caller's mistake.
    #[error("message too large for SCTP")]
    TooLarge,
    /// The peer does not take what we sent before.
    #[error("the SCTP association is full")]
    Full,
}

/// A message of the peer's.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The stream it came on.
    pub stream: u16,
    /// What its sender says that it is.
    pub ppid: Ppid,
    /// The message.
    pub bytes: Vec<u8>,
}

/// One association. Drain [`Association::poll_transmit`] and [`Association::poll_message`] after every other call.
pub struct Association {
    config: SctpConfig,
    attempt: Option<Attempt>,
    begin_at: Option<Instant>,
    /// An INIT that is answered if ours is not.
    peer_init: Option<Vec<u8>>,
    connected: bool,
    lost: bool,
    attempts: u32,
    packets: VecDeque<Vec<u8>>,
    messages: VecDeque<Message>,
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association")
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

impl Association {
    /// Waits for the peer, for as long as the config says: if that is no time, its INIT is there to be sent.
    #[must_use]
    pub fn new(now: Instant, config: SctpConfig) -> Self {
        let mut association = Self {
            config,
            attempt: None,
            begin_at: config.begin_after.map(|wait| now + wait),
            peer_init: None,
            connected: false,
            lost: false,
            attempts: 0,
            packets: VecDeque::new(),
            messages: VecDeque::new(),
        };
        if config.begin_after == Some(Duration::ZERO) {
            association.handle_timeout(now);
        }
        association
    }

    /// True while the association is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// True once an association was up, or could not be made, and is no more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Takes a packet of the peer.
    pub fn receive(&mut self, now: Instant, packet: &[u8]) {
        if gate::first_kind(packet) == Some(INIT) {
            return self.receive_init(now, packet);
        }
        let Some(attempt) = &mut self.attempt else { return };
        let had_begun = attempt.gate.has_begun();
        // A late packet for another attempt says nothing of this one.
        if number_at(packet, VERIFICATION_TAG) != Some(attempt.tag) || !attempt.gate.admits(packet) {
            tracing::trace!(length = packet.len(), "SCTP packet dropped");
            return;
        }
        if !had_begun && attempt.gate.has_begun() {
            // It goes on with ours: the INITs that it has sent are void.
            (attempt.began, self.peer_init) = (now, None);
        }
        self.guarded(|this| {
            this.feed(now, packet);
            this.pump(now);
        });
    }

    /// Sends a message on a stream, which opens it.
    ///
    /// # Errors
    /// [`SctpError`]; nothing was sent.
    pub fn send(&mut self, now: Instant, stream: u16, ppid: Ppid, message: &[u8]) -> Result<(), SctpError> {
        if message.len() > self.config.max_message as usize {
            return Err(SctpError::TooLarge);
        }
        let (true, Some(Attempt { association, .. })) = (self.connected, &mut self.attempt) else {
            return Err(SctpError::NotOpen);
        };
        // If the peer has spoken on the stream already it exists.
        let _ = association.open_stream(stream, ppid);
        let mut stream = association.stream(stream).map_err(|_| SctpError::NotOpen)?;
        if stream.buffered_amount().unwrap_or(usize::MAX) > SEND_BUFFER {
            return Err(SctpError::Full);
        }
        stream.write_with_ppi(message, ppid).map_err(|_| SctpError::NotOpen)?;
        self.guarded(|this| this.pump(now));
        Ok(())
    }

    /// Advances time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.guarded(|this| {
            if this.begin_at.is_some_and(|at| at <= now) {
                this.begin(now);
            }
            if this.answer_at().is_some_and(|at| at <= now)
                && let Some(init) = this.peer_init.take()
            {
                this.answer(now, &init);
            }
            if let Some(packet) = this.attempt.as_mut().and_then(|attempt| attempt.repeat_due(now)) {
                push(&mut this.packets, packet);
            }
            this.pump(now);
        });
    }

    /// When [`Association::handle_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let attempt = self.attempt.as_ref();
        let association = attempt.and_then(|attempt| attempt.association.poll_timeout());
        let repeat = attempt.and_then(Attempt::repeat_at);
        let ours = self.begin_at.into_iter().chain(self.answer_at());
        ours.chain(association).chain(repeat).min()
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.packets.pop_front()
    }

    /// The next message of the peer's.
    pub fn poll_message(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    /// Gives a packet to the association that there is.
    fn feed(&mut self, now: Instant, packet: &[u8]) {
        let Some(attempt) = &mut self.attempt else { return };
        let handled = attempt
            .endpoint
            .handle(now, NOWHERE, None, None, packet.to_vec().into());
        if let Some((handle, DatagramEvent::AssociationEvent(event))) = handled
            && handle == attempt.handle
        {
            attempt.association.handle_event(event);
        }
    }

    /// Runs the crate, which has panicked at hostile packets before: the association is then lost, and nothing else.
    fn guarded(&mut self, run: impl FnOnce(&mut Self)) {
        if cfg!(any(test, fuzzing)) {
            // Tests are to see it.
            return run(self);
        }
        if catch_unwind(AssertUnwindSafe(|| run(self))).is_err() {
            tracing::warn!("SCTP broke at a packet of its peer");
            (self.attempt, self.begin_at, self.attempts) = (None, None, MAX_ATTEMPTS);
            (self.connected, self.lost) = (false, true);
        }
    }

    fn pump(&mut self, now: Instant) {
        let Some(attempt) = &mut self.attempt else { return };
        while let Some(transmit) = attempt.endpoint.poll_transmit() {
            for part in parts_of(transmit.payload) {
                attempt.queue(now, &mut self.packets, &self.config, part);
            }
        }
        let association = &mut attempt.association;
        if association.poll_timeout().is_some_and(|at| at <= now) {
            association.handle_timeout(now);
        }
        let mut lost = false;
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => {
                    self.connected = true;
                    (attempt.repeat, self.peer_init, self.begin_at) = (None, None, None);
                }
                Event::Stream(StreamEvent::Readable { id }) => {
                    read(association, id, &self.config, &mut self.messages);
                }
                Event::Stream(StreamEvent::Opened { .. }) => {
                    while let Some(stream) = association.accept_stream() {
                        let id = stream.stream_identifier();
                        read(association, id, &self.config, &mut self.messages);
                    }
                }
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => lost = true,
                // Flow, and the ends of streams, change nothing for a pipe that lives with the call.
                Event::Stream(_) | Event::DataChannelStatsFinal(_) | Event::DatagramReceived | _ => {}
            }
        }
        while let Some(transmit) = attempt.association.poll_transmit(now) {
            for part in parts_of(transmit.payload) {
                attempt.queue(now, &mut self.packets, &self.config, part);
            }
        }
        let mut drained = false;
        while let Some(event) = attempt.association.poll_endpoint_event() {
            drained = true;
            if let Some(event) = attempt.endpoint.handle_event(attempt.handle, event) {
                attempt.association.handle_event(event);
            }
        }
        if lost || drained {
            tracing::debug!("SCTP association lost");
            self.attempt = None;
            (self.connected, self.lost) = (false, true);
        }
    }
}

fn number_at(packet: &[u8], at: usize) -> Option<u32> {
    let bytes = packet.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

fn parts_of(payload: Payload) -> Vec<Vec<u8>> {
    match payload {
        Payload::RawEncode(parts) => parts.iter().map(|part| part.to_vec()).collect(),
        Payload::PartialDecode(_) => Vec::new(),
    }
}

/// A full queue loses the packet, as a network would; SCTP repeats it.
fn push(packets: &mut VecDeque<Vec<u8>>, packet: Vec<u8>) {
    if packets.len() < MAX_PACKETS {
        packets.push_back(packet);
    }
}

impl SctpConfig {
    fn transport(&self) -> TransportConfig {
        TransportConfig::default()
            .with_max_receive_buffer_size(self.receive_buffer)
            .with_max_send_message_size(self.max_message)
            .with_max_receive_message_size(self.max_message)
            .with_max_num_inbound_streams(MAX_STREAMS)
            .with_max_num_outbound_streams(MAX_STREAMS)
            .with_max_init_retransmits(None)
            .with_max_data_retransmits(None)
            .with_rto_initial_ms(400)
            .with_rto_min_ms(400)
            .with_rto_max_ms(self.max_rto.as_millis().try_into().unwrap_or(u64::MAX))
    }
}

/// Reads what waits on a stream.
fn read(association: &mut sctp_proto::Association, id: u16, config: &SctpConfig, messages: &mut VecDeque<Message>) {
    let Ok(mut stream) = association.stream(id) else {
        return;
    };
    while let Ok(Some(chunks)) = stream.read_sctp() {
        let mut bytes = vec![0; chunks.len().min(config.max_message as usize)];
        let Ok(length) = chunks.read(&mut bytes) else {
            continue;
        };
        bytes.truncate(length);
        if messages.len() < MAX_MESSAGES {
            messages.push_back(Message {
                stream: id,
                ppid: chunks.ppi,
                bytes,
            });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
