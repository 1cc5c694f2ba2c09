//! One data channel: SCTP inside DTLS (over sctp-proto), and the opening words of DCEP. RFC 8831, RFC 8832, RFC 9260.
//!
//! Passive: the peer sends INIT in either role. A peer as passive as we are would leave both waiting, so the side that opens
//! the channel begins by itself after a while. One association at a time; what would make another one is dropped.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ServerConfig, StreamEvent, TransportConfig,
};

/// Fits a DTLS record into 1200 bytes.
const MAX_PACKET: u32 = 1150;
/// Largest message in either direction. MediaState has some 120 bytes.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// What the association may hold of the peer's unread or unordered data.
const RECEIVE_BUFFER: u32 = 128 * 1024;
/// What we keep of our own unacknowledged data.
const SEND_BUFFER: usize = 64 * 1024;
/// Messages and packets that wait to be taken.
const MAX_QUEUE: usize = 64;
/// Streams that the peer may use; the protocol needs one.
const MAX_STREAMS: u16 = 16;
/// How many INITs may make an association before one is up.
const MAX_ATTEMPTS: u32 = 8;
/// How long the opening side waits for the peer's INIT. The peer of the proof sends it at once.
const BEGIN_AFTER: Duration = Duration::from_secs(1);
/// The stream of the one channel, in both the protocol and ntgcalls.
const CHANNEL: u16 = 0;
/// The crate wants an address; SCTP over DTLS has none. From the block for documentation.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);
/// INIT as the first chunk, behind the common header of 12 bytes.
const INIT: u8 = 1;
const DCEP_ACK: u8 = 2;
const DCEP_OPEN: u8 = 3;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SctpError {
    /// The channel is not open (yet).
    #[error("the data channel is not open")]
    NotOpen,
    /// Larger than [`MAX_MESSAGE`]: the caller's mistake.
    #[error("message too large for the data channel")]
    TooLarge,
    /// The peer does not take what we sent before.
    #[error("the data channel is full")]
    Full,
}

/// A message of the peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The stream, which is the number of the channel.
    pub channel: u16,
    /// Text rather than bytes.
    pub text: bool,
    /// The message.
    pub bytes: Vec<u8>,
}

/// One SCTP association with one data channel. Drain [`Sctp::poll_transmit`] and [`Sctp::poll_message`] after every other call.
pub struct Sctp {
    endpoint: sctp_proto::Endpoint,
    association: Option<(AssociationHandle, Association)>,
    opens: bool,
    begin_at: Option<Instant>,
    connected: bool,
    open_sent: bool,
    attempts: u32,
    packets: VecDeque<Vec<u8>>,
    messages: VecDeque<Message>,
}

impl std::fmt::Debug for Sctp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sctp")
            .field("connected", &self.connected)
            .field("opens", &self.opens)
            .finish()
    }
}

fn transport() -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(RECEIVE_BUFFER)
        .with_max_send_message_size(MAX_MESSAGE as u32)
        .with_max_receive_message_size(MAX_MESSAGE as u32)
        .with_max_num_inbound_streams(MAX_STREAMS)
        .with_max_num_outbound_streams(MAX_STREAMS)
        .with_max_init_retransmits(None)
        .with_rto_initial_ms(400)
        .with_rto_min_ms(400)
        .with_rto_max_ms(4000)
}

impl Sctp {
    /// Waits for the peer; with `opens` (the caller's side) it opens the channel, and begins by itself if nobody does.
    #[must_use]
    pub fn new(now: Instant, opens: bool) -> Self {
        let mut config = EndpointConfig::new();
        config.max_payload_size(MAX_PACKET);
        let mut server = ServerConfig::new();
        server.transport = Arc::new(transport());
        Sctp {
            // Never without a server configuration: an INIT would then panic.
            endpoint: sctp_proto::Endpoint::new(Arc::new(config), Some(Arc::new(server))),
            association: None,
            opens,
            begin_at: opens.then(|| now + BEGIN_AFTER),
            connected: false,
            open_sent: false,
            attempts: 0,
            packets: VecDeque::new(),
            messages: VecDeque::new(),
        }
    }

    /// True once the association is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Takes a packet out of DTLS.
    pub fn receive(&mut self, now: Instant, packet: &[u8]) {
        let is_init = packet.get(12) == Some(&INIT);
        if is_init && (self.connected || self.attempts >= MAX_ATTEMPTS) {
            // Each would make an association of its own, which nothing here would ever read.
            return;
        }
        match self.endpoint.handle(now, NOWHERE, None, None, packet.to_vec().into()) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.attempts += 1;
                self.association = Some((handle, association));
                self.begin_at = None;
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((of, association)) = &mut self.association
                    && *of == handle
                {
                    association.handle_event(event);
                }
            }
            None => {}
        }
        self.pump(now);
    }

    /// Sends a message on the channel.
    ///
    /// # Errors
    /// [`SctpError`]; nothing was sent.
    pub fn send(&mut self, now: Instant, text: bool, message: &[u8]) -> Result<(), SctpError> {
        if message.len() > MAX_MESSAGE {
            return Err(SctpError::TooLarge);
        }
        let (true, Some((_, association))) = (self.connected, &mut self.association) else {
            return Err(SctpError::NotOpen);
        };
        let mut stream = association.stream(CHANNEL).map_err(|_| SctpError::NotOpen)?;
        if stream.buffered_amount().unwrap_or(usize::MAX) > SEND_BUFFER {
            return Err(SctpError::Full);
        }
        // SCTP has no empty messages; RFC 8831 §6.6 has identifiers for them, with one byte that is not read.
        let (kind, bytes) = match (text, message.is_empty()) {
            (true, false) => (PayloadProtocolIdentifier::String, message),
            (true, true) => (PayloadProtocolIdentifier::StringEmpty, &[0][..]),
            (false, false) => (PayloadProtocolIdentifier::Binary, message),
            (false, true) => (PayloadProtocolIdentifier::BinaryEmpty, &[0][..]),
        };
        stream.write_with_ppi(bytes, kind).map_err(|_| SctpError::NotOpen)?;
        self.pump(now);
        Ok(())
    }

    /// Advances time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.begin_at.is_some_and(|at| at <= now) {
            self.begin_at = None;
            self.attempts += 1;
            let mut config = ClientConfig::new();
            config.transport = Arc::new(transport());
            self.association = self.endpoint.connect(config, NOWHERE).ok();
        }
        self.pump(now);
    }

    /// When [`Sctp::handle_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let association = self
            .association
            .as_ref()
            .and_then(|(_, association)| association.poll_timeout());
        self.begin_at.into_iter().chain(association).min()
    }

    /// The next packet to put into DTLS.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.packets.pop_front()
    }

    /// The next message of the peer's.
    pub fn poll_message(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    fn pump(&mut self, now: Instant) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            queue(&mut self.packets, transmit.payload);
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
                Event::Stream(StreamEvent::Readable { id }) => read(association, id, &mut self.messages),
                Event::Stream(StreamEvent::Opened { .. }) => {
                    while let Some(stream) = association.accept_stream() {
                        let id = stream.stream_identifier();
                        read(association, id, &mut self.messages);
                    }
                }
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => lost = true,
                // Flow, and the ends of streams, change nothing for a channel that lives with the call.
                Event::Stream(_) | Event::DataChannelStatsFinal(_) | Event::DatagramReceived | _ => {}
            }
        }
        if self.opens && self.connected && !self.open_sent {
            self.open_sent = true;
            open(association);
        }
        while let Some(transmit) = association.poll_transmit(now) {
            queue(&mut self.packets, transmit.payload);
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
            self.connected = false;
        }
    }
}

/// Opens the channel "data": reliable, ordered. RFC 8832 §5.1.
fn open(association: &mut Association) {
    let mut message = vec![DCEP_OPEN, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0];
    message.extend_from_slice(b"data");
    // If the peer has spoken on the stream already it exists, and the OPEN goes there.
    let opened = association
        .open_stream(CHANNEL, PayloadProtocolIdentifier::String)
        .is_ok();
    if let Ok(mut stream) = association.stream(CHANNEL)
        && stream
            .write_with_ppi(&message, PayloadProtocolIdentifier::Dcep)
            .is_err()
    {
        tracing::debug!(opened, "data channel not opened");
    }
}

/// Reads what waits on a stream; answers an OPEN.
fn read(association: &mut Association, id: u16, messages: &mut VecDeque<Message>) {
    let Ok(mut stream) = association.stream(id) else {
        return;
    };
    while let Ok(Some(chunks)) = stream.read_sctp() {
        let kind = chunks.ppi;
        let mut bytes = vec![0; chunks.len().min(MAX_MESSAGE)];
        let Ok(length) = chunks.read(&mut bytes) else {
            continue;
        };
        bytes.truncate(length);
        let text = match kind {
            PayloadProtocolIdentifier::Dcep => {
                if bytes.first() == Some(&DCEP_OPEN) {
                    // If it does not get through, the peer repeats nothing, and sends all the same (RFC 8832 §6).
                    let _ = stream.write_with_ppi(&[DCEP_ACK], PayloadProtocolIdentifier::Dcep);
                }
                continue;
            }
            PayloadProtocolIdentifier::String => true,
            PayloadProtocolIdentifier::Binary => false,
            PayloadProtocolIdentifier::StringEmpty | PayloadProtocolIdentifier::BinaryEmpty => {
                bytes.clear();
                kind == PayloadProtocolIdentifier::StringEmpty
            }
            _ => continue,
        };
        if messages.len() < MAX_QUEUE {
            messages.push_back(Message {
                channel: id,
                text,
                bytes,
            });
        }
    }
}

fn queue(packets: &mut VecDeque<Vec<u8>>, payload: Payload) {
    if let Payload::RawEncode(parts) = payload {
        for part in parts {
            // A full queue loses the packet, as a network would; SCTP repeats it.
            if packets.len() < MAX_QUEUE {
                packets.push_back(part.to_vec());
            }
        }
    }
}

#[cfg(test)]
mod tests;
