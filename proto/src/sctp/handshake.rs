//! How an association comes to be: INIT of ours, of the peer's, or of both, and the packets that are sent until it is up. RFC 9260 §5.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sctp_proto::{AssociationHandle, ClientConfig, DatagramEvent, EndpointConfig, ServerConfig};

use super::gate::{self, COOKIE_ACK, COOKIE_ECHO, Gate, INIT, INIT_ACK};
use super::{Association, NOWHERE, SLACK, SctpConfig, number_at, parts_of, push};

/// How many INITs, of both sides, may make an association before one is up.
pub(super) const MAX_ATTEMPTS: u32 = 16;
/// Where the tag of an INIT or its ACK stands in its packet: behind the common header and the chunk's own.
const INITIATE_TAG: usize = 16;
/// Where the tag of the one stands that a packet is for.
pub(super) const VERIFICATION_TAG: usize = 4;
/// A tag that few peers' are higher than.
const HIGH_TAG: u32 = 0xF000_0000;
/// How many tags are drawn to find one: one in sixteen is high.
const MAX_DRAWS: u32 = 64;
/// How long a peer that sends INIT itself has to answer ours. One that never does is answered then.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(1_000);
/// How long an association may take to be up that the peer has begun: after it ours is tried again, in case the peer has gone over
/// to answering as well.
const COMPLETE_WITHIN: Duration = Duration::from_millis(1_500);
/// How often a packet of the handshake is sent, and how many times. RFC 9260 has a second for the first, and then doubles it.
const REPEAT_EVERY: Duration = Duration::from_millis(200);
const MAX_REPEATS: u32 = 40;
/// The last one, which says that all is well, and which nothing answers.
const MAX_ACK_REPEATS: u32 = 2;

/// An association that is up, or may come to be.
pub(super) struct Attempt {
    pub(super) side: Side,
    /// Ours, which is in every packet for it.
    pub(super) tag: u32,
    /// When INIT was sent, or answered.
    pub(super) began: Instant,
    pub(super) endpoint: sctp_proto::Endpoint,
    pub(super) handle: AssociationHandle,
    pub(super) association: sctp_proto::Association,
    pub(super) gate: Gate,
    pub(super) repeat: Option<Repeat>,
}

/// Who has begun.
pub(super) enum Side {
    /// We have.
    Ours,
    /// The peer has, with this packet.
    Peers(Vec<u8>),
}

/// A packet of the handshake, until the next has come.
pub(super) struct Repeat {
    packet: Vec<u8>,
    at: Instant,
    left: u32,
}

impl Association {
    /// The peer begins, or does so again.
    pub(super) fn receive_init(&mut self, now: Instant, packet: &[u8]) {
        if self.connected || !gate::is_init(packet) {
            // Another would make an association of its own, which nothing here would ever read.
            return;
        }
        let waits = match self.attempt.as_ref().map(|attempt| (attempt, &attempt.side)) {
            Some((_, Side::Peers(init))) if init == packet => {
                return self.guarded(|this| {
                    this.feed(now, packet);
                    this.pump(now);
                });
            }
            Some((attempt, Side::Ours)) => {
                let is_lower = attempt.gate.has_begun() || number_at(packet, INITIATE_TAG) < Some(attempt.tag);
                is_lower && now < attempt.answer_by()
            }
            Some((_, Side::Peers(_))) | None => false,
        };
        if waits {
            self.peer_init = Some(packet.to_vec());
            return;
        }
        self.guarded(|this| {
            this.answer(now, packet);
            this.pump(now);
        });
    }

    /// When the peer has had its time to go on with what we have begun, and has begun itself instead.
    pub(super) fn answer_at(&self) -> Option<Instant> {
        let attempt = self.attempt.as_ref().filter(|_| self.peer_init.is_some())?;
        Some(attempt.answer_by())
    }

    /// Begins an association, in place of any other.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begin_at = None;
        if self.attempts >= MAX_ATTEMPTS {
            return;
        }
        for draw in 1..=MAX_DRAWS {
            let mut endpoint = self.endpoint();
            let mut client = ClientConfig::new();
            client.transport = Arc::new(self.config.transport());
            let Ok((handle, mut association)) = endpoint.connect(client, NOWHERE) else {
                return;
            };
            let init = association.poll_transmit(now);
            let init = init.and_then(|transmit| parts_of(transmit.payload).into_iter().next());
            let Some(init) = init else { return };
            let tag = number_at(&init, INITIATE_TAG).unwrap_or_default();
            if tag < HIGH_TAG && draw < MAX_DRAWS {
                continue;
            }
            self.attempts += 1;
            let mut attempt = Attempt {
                side: Side::Ours,
                tag,
                began: now,
                endpoint,
                handle,
                association,
                gate: Gate::default(),
                repeat: None,
            };
            attempt.queue(now, &mut self.packets, &self.config, init);
            self.attempt = Some(attempt);
            return;
        }
    }

    /// Answers an INIT, in place of any association that is not up.
    pub(super) fn answer(&mut self, now: Instant, init: &[u8]) {
        if self.attempts >= MAX_ATTEMPTS {
            return;
        }
        let mut endpoint = self.endpoint();
        let made = endpoint.handle(now, NOWHERE, None, None, init.to_vec().into());
        if let Some((handle, DatagramEvent::NewAssociation(association))) = made {
            self.attempts += 1;
            self.peer_init = None;
            self.begin_at = self.config.begin_after.map(|_| now + COMPLETE_WITHIN);
            self.attempt = Some(Attempt {
                side: Side::Peers(init.to_vec()),
                // As soon as its INIT-ACK is made.
                tag: 0,
                began: now,
                endpoint,
                handle,
                association,
                gate: Gate::after_init(init),
                repeat: None,
            });
        }
    }

    fn endpoint(&self) -> sctp_proto::Endpoint {
        let mut config = EndpointConfig::new();
        config.max_payload_size(self.config.max_packet);
        let mut server = ServerConfig::new();
        server.transport = Arc::new(self.config.transport());
        // Never without a server configuration: an INIT would then panic.
        sctp_proto::Endpoint::new(Arc::new(config), Some(Arc::new(server)))
    }
}

impl Attempt {
    /// When a packet of the handshake is sent again.
    pub(super) fn repeat_at(&self) -> Option<Instant> {
        let repeat = self.repeat.as_ref().filter(|repeat| repeat.left > 0)?;
        Some(repeat.at)
    }

    /// That packet, if it is due.
    pub(super) fn repeat_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let repeat = self.repeat.as_mut()?;
        if repeat.left == 0 || repeat.at > now {
            return None;
        }
        (repeat.at, repeat.left) = (now + REPEAT_EVERY, repeat.left - 1);
        Some(repeat.packet.clone())
    }

    /// Until when the peer may go on with what we have begun.
    fn answer_by(&self) -> Instant {
        let within = if self.gate.has_begun() {
            COMPLETE_WITHIN
        } else {
            ANSWER_WITHIN
        };
        self.began + within
    }

    /// Sends a packet of ours, and goes on sending it if it is of the handshake.
    pub(super) fn queue(
        &mut self,
        now: Instant,
        packets: &mut VecDeque<Vec<u8>>,
        config: &SctpConfig,
        packet: Vec<u8>,
    ) {
        self.gate.note_sent(&packet);
        if packet.len() > config.max_packet as usize + SLACK {
            return;
        }
        if let (Some(INIT_ACK), Some(tag)) = (gate::only_kind(&packet), number_at(&packet, INITIATE_TAG)) {
            self.tag = tag;
        }
        let left = match gate::only_kind(&packet) {
            Some(INIT | INIT_ACK | COOKIE_ECHO) => MAX_REPEATS,
            Some(COOKIE_ACK) => MAX_ACK_REPEATS,
            Some(_) | None => 0,
        };
        let at = now + REPEAT_EVERY;
        match &mut self.repeat {
            // The crate repeats it by itself.
            Some(repeat) if repeat.packet == packet => repeat.at = at,
            Some(_) | None if left > 0 => {
                let packet = packet.clone();
                self.repeat = Some(Repeat { packet, at, left });
            }
            Some(_) | None => {}
        }
        push(packets, packet);
    }
}
