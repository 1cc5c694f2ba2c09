//! One SCTP association over any pipe of packets (over sctp-proto): data channels inside DTLS, signalling of versions 12 and
//! 13. RFC 9260.
//!
//! Passive, unless told to begin by itself when no INIT has come for a while. One association at a time: what would make another
//! one beside it is dropped.
//!
//! The peer is hostile, and the crate trusts it: it holds whatever is ahead of a gap, lists all gaps in one packet, and goes through
//! all of it for each chunk. So [`gate`] looks at each packet first.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod gate;

use gate::Gate;
use sctp_proto::{
    AssociationHandle, ClientConfig, DatagramEvent, EndpointConfig, Event, Payload, ServerConfig, StreamEvent,
    TransportConfig,
};

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
/// How many INITs may make an association before one is up.
const MAX_ATTEMPTS: u32 = 8;
/// The crate wants an address; a pipe has none. From the block for documentation.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);
/// INIT as the first chunk, behind the common header of 12 bytes.
const INIT: u8 = 1;

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
    /// How long the peer's INIT is waited for before ours is sent; `None`: for ever.
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
    endpoint: sctp_proto::Endpoint,
    association: Option<(AssociationHandle, sctp_proto::Association)>,
    begin_at: Option<Instant>,
    connected: bool,
    lost: bool,
    attempts: u32,
    gate: Gate,
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
    /// Waits for the peer, for as long as the config says.
    #[must_use]
    pub fn new(now: Instant, config: SctpConfig) -> Self {
        let mut endpoint = EndpointConfig::new();
        endpoint.max_payload_size(config.max_packet);
        let mut server = ServerConfig::new();
        server.transport = Arc::new(config.transport());
        Self {
            config,
            // Never without a server configuration: an INIT would then panic.
            endpoint: sctp_proto::Endpoint::new(Arc::new(endpoint), Some(Arc::new(server))),
            association: None,
            begin_at: config.begin_after.map(|wait| now + wait),
            connected: false,
            lost: false,
            attempts: 0,
            gate: Gate::default(),
            packets: VecDeque::new(),
            messages: VecDeque::new(),
        }
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
        let is_init = packet.get(12) == Some(&INIT);
        if is_init && (self.connected || self.attempts >= MAX_ATTEMPTS) {
            // Each would make an association of its own, which nothing here would ever read.
            return;
        }
        if !self.gate.admits(packet) {
            tracing::trace!(length = packet.len(), "SCTP packet dropped");
            return;
        }
        self.guarded(|this| {
            match this.endpoint.handle(now, NOWHERE, None, None, packet.to_vec().into()) {
                Some((handle, DatagramEvent::NewAssociation(association))) => {
                    this.attempts += 1;
                    this.association = Some((handle, association));
                    this.begin_at = None;
                }
                Some((handle, DatagramEvent::AssociationEvent(event))) => {
                    if let Some((of, association)) = &mut this.association
                        && *of == handle
                    {
                        association.handle_event(event);
                    }
                }
                None => {}
            }
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
        let (true, Some((_, association))) = (self.connected, &mut self.association) else {
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
                this.begin_at = None;
                this.attempts += 1;
                let mut client = ClientConfig::new();
                client.transport = Arc::new(this.config.transport());
                this.association = this.endpoint.connect(client, NOWHERE).ok();
            }
            this.pump(now);
        });
    }

    /// When [`Association::handle_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let association = self.association.as_ref();
        let association = association.and_then(|(_, association)| association.poll_timeout());
        self.begin_at.into_iter().chain(association).min()
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.packets.pop_front()
    }

    /// The next message of the peer's.
    pub fn poll_message(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    /// Runs the crate, which has panicked at hostile packets before: the association is then lost, and nothing else.
    fn guarded(&mut self, run: impl FnOnce(&mut Self)) {
        if cfg!(any(test, fuzzing)) {
            // Tests are to see it.
            return run(self);
        }
        if catch_unwind(AssertUnwindSafe(|| run(self))).is_err() {
            tracing::warn!("SCTP broke at a packet of its peer");
            (self.association, self.begin_at, self.attempts) = (None, None, MAX_ATTEMPTS);
            (self.connected, self.lost) = (false, true);
        }
    }

    fn pump(&mut self, now: Instant) {
        let max_packet = self.config.max_packet as usize;
        while let Some(transmit) = self.endpoint.poll_transmit() {
            queue(&mut self.packets, &mut self.gate, max_packet, transmit.payload);
        }
        let Some((handle, association)) = &mut self.association else {
            return;
        };
        if association.poll_timeout().is_some_and(|at| at <= now) {
            association.handle_timeout(now);
        }
        let mut lost = false;
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => self.connected = true,
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
        while let Some(transmit) = association.poll_transmit(now) {
            queue(&mut self.packets, &mut self.gate, max_packet, transmit.payload);
        }
        let mut drained = false;
        while let Some(event) = association.poll_endpoint_event() {
            drained = true;
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                association.handle_event(event);
            }
        }
        if lost || drained {
            tracing::debug!("SCTP association lost");
            self.association = None;
            (self.connected, self.lost) = (false, true);
        }
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

fn queue(packets: &mut VecDeque<Vec<u8>>, gate: &mut Gate, max_packet: usize, payload: Payload) {
    if let Payload::RawEncode(parts) = payload {
        for part in parts {
            gate.note_sent(&part);
            // A full queue loses the packet, as a network would; SCTP repeats it.
            if packets.len() < MAX_PACKETS && part.len() <= max_packet + SLACK {
                packets.push_back(part.to_vec());
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
