//! Settles a call's media with the peer: credentials, candidates and channels, in JSON messages under the call's key.
//!
//! One machine per call joins [`signalling`](super::signalling) (what a packet is) with the messages in it. It knows
//! codecs by their SDP names and a transport by its lines; it runs neither. Messages arrive in any order, once each.
//!
//! The caller offers its channels at once. The callee answers, then offers its own; only where no offer comes for two
//! seconds it begins, so that offers seldom cross.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;
use tracing::debug;

use super::signalling::{FramingError, Link};
use super::{Role, SharedKey, Version};
use channels::{Agreement, Channels};
pub use event::{LocalMedia, MediaState, NegotiationError, NegotiationEvent};
use lines::LocalLines;
use messages::{Message, NegotiateChannels};
use remote::Remote;

mod channels;
mod event;
mod lines;
mod messages;
#[cfg(test)]
mod recorded;
mod remote;
#[cfg(test)]
mod tests;

/// Agreement and acknowledgements must come within this time, until media is up: as long as media itself may take.
pub const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(25);
/// The callee offers by itself when the caller's offer has not come by then.
const OFFER_TIMEOUT: Duration = Duration::from_secs(2);
/// When agreement is still missing, and how often from then on, the peer is sent a message of no importance: official clients
/// repeat theirs after 3 s at the earliest, and sooner behind an acknowledgement than by themselves.
const NUDGE_AFTER: Duration = Duration::from_millis(3_050);
const NUDGE_EVERY: Duration = Duration::from_millis(200);
/// Packets in a row that do not open, before the call is given up.
const MAX_FORGED_IN_A_ROW: u32 = 64;
/// Messages that wait for our side to start.
const MAX_EARLY_MESSAGES: usize = 64;
/// Candidates in one message of ours.
const CANDIDATES_PER_MESSAGE: usize = 16;

/// The negotiation of one call.
///
/// `now` must not go backwards. After each `handle_*`, `start`, `add_local` and `set_state` drain `poll_transmit` and
/// `poll_event` before the next. After [`NegotiationEvent::Failed`] everything is ignored.
pub struct Negotiation {
    role: Role,
    link: Link,
    rng: Box<dyn CryptoRng + Send>,
    local: LocalLines,
    /// Set by `start`.
    started: Option<Started>,
    /// Messages that came before `start`.
    early: Vec<super::signalling::Message>,
    remote: Remote,
    /// What the peer was last told.
    state: MediaState,
    media_up: bool,
    dropped: u64,
    opened: u64,
    forged: u64,
    forged_in_a_row: u32,
    failed: bool,
    events: VecDeque<NegotiationEvent>,
}

/// What exists once our side has started.
struct Started {
    at: Instant,
    channels: Channels,
    /// The counter of our offer that is open.
    offer: Option<u32>,
    nudge_at: Instant,
    /// The counter of the last nudge.
    nudge: Option<u32>,
    told: Option<Agreement>,
}

impl Negotiation {
    /// Makes the machine of one call, under its key.
    pub fn new(
        now: Instant,
        role: Role,
        version: Version,
        key: SharedKey,
        rng: Box<dyn CryptoRng + Send>,
    ) -> Negotiation {
        debug!(?role, %version, "negotiation begins");
        Negotiation {
            role,
            link: Link::new(now, role, version, key),
            rng,
            local: LocalLines::default(),
            started: None,
            early: Vec::new(),
            remote: Remote::default(),
            state: MediaState::default(),
            media_up: false,
            dropped: 0,
            opened: 0,
            forged: 0,
            forged_in_a_row: 0,
            failed: false,
            events: VecDeque::new(),
        }
    }

    /// Sends our setup and candidates, as the caller our offer too, and starts the clock: agreement must come in 25 s.
    ///
    /// A second start is ignored.
    pub fn start(&mut self, now: Instant, local: LocalMedia) {
        if self.failed || self.started.is_some() {
            return;
        }
        let channels = Channels::new(self.role, local.codecs, local.ssrc);
        self.started = Some(Started {
            at: now,
            channels,
            offer: None,
            nudge_at: now + NUDGE_AFTER,
            nudge: None,
            told: None,
        });
        let candidates = self.local.take(&local.lines);
        self.send_setup(now);
        if self.role == Role::Caller {
            self.send_offer(now);
        }
        self.send_candidates(now, &candidates);
        for message in std::mem::take(&mut self.early) {
            self.take(now, message);
        }
        self.tell();
    }

    /// Adds lines of our transport that came later: candidates, or new credentials, which restart ICE.
    pub fn add_local(&mut self, now: Instant, lines: &str) {
        if self.failed || self.started.is_none() {
            return;
        }
        let candidates = self.local.take(lines);
        self.send_setup(now);
        self.send_candidates(now, &candidates);
    }

    /// Tells the peer over signalling of our sound. With a data channel open, [`MediaState::to_text`] goes there instead.
    pub fn set_state(&mut self, now: Instant, state: MediaState) {
        self.state = state.clone();
        if !self.failed {
            self.send(now, &Message::MediaState(state), false);
        }
    }

    /// Media is up: signalling has no deadline from here on, whatever becomes of it.
    pub fn set_media_up(&mut self) {
        self.media_up = true;
    }

    /// Takes one packet of the peer. What is not authentic, or came before, is dropped and counted.
    pub fn handle_input(&mut self, now: Instant, packet: &[u8]) {
        if self.failed {
            return;
        }
        let received = self.link.handle_input(now, packet);
        self.opened += u64::from(received.opened);
        self.forged += u64::from(received.forged);
        self.dropped += u64::from(received.forged + received.dropped);
        if received.opened > 0 {
            self.forged_in_a_row = 0;
        }
        if received.forged > 0 {
            debug!(length = packet.len(), "packet is not authentic");
            self.forged_in_a_row += received.forged;
            if self.forged_in_a_row >= MAX_FORGED_IN_A_ROW {
                self.fail(NegotiationError::Tampered);
            }
        }
        for message in received.messages {
            self.take(now, message);
        }
        self.tell();
    }

    /// Takes one text of the data channel: the peer's media state comes there once the channel is open.
    pub fn handle_data(&mut self, text: &[u8]) {
        if let Some(Message::MediaState(state)) = Message::read(text).filter(|_| !self.failed) {
            // It is later than all that came, or will come, over signalling.
            self.remote.is_latest_media_state(u32::MAX);
            self.events.push_back(NegotiationEvent::MediaState(state));
        }
    }

    /// Repeats, offers and gives up, as far as the time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.failed {
            return;
        }
        self.link.handle_timeout(now);
        if self.offer_due().is_some_and(|due| now >= due) {
            self.send_offer(now);
        }
        if self.nudge_due().is_some_and(|due| now >= due) {
            self.nudge(now);
        }
        if self.deadline().is_some_and(|due| now >= due) {
            let unacknowledged = self
                .link
                .waiting_since()
                .is_some_and(|since| now >= since + NEGOTIATION_TIMEOUT);
            self.fail(match (self.opened, self.forged) {
                (0, 0) => NegotiationError::Silent,
                (0, _) => NegotiationError::Tampered,
                _ if unacknowledged => NegotiationError::Unacknowledged,
                _ => NegotiationError::NoAgreement,
            });
        }
    }

    /// Returns the next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        if self.failed {
            return None;
        }
        self.link.poll_transmit()
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<NegotiationEvent> {
        self.events.pop_front()
    }

    /// Returns when [`Negotiation::handle_timeout`] is due. `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.failed {
            return None;
        }
        let link = self.link.poll_timeout();
        [link, self.offer_due(), self.nudge_due(), self.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns how many packets were dropped: altered, malformed, repeated by the network.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// When the callee offers by itself.
    fn offer_due(&self) -> Option<Instant> {
        let started = self.started.as_ref()?;
        (!started.channels.has_offered()).then_some(started.at + OFFER_TIMEOUT)
    }

    /// When the peer is asked for what is still missing.
    fn nudge_due(&self) -> Option<Instant> {
        let started = self.started.as_ref()?;
        let wanted = self.link.is_acknowledged() && !self.is_agreed();
        wanted.then_some(started.nudge_at)
    }

    fn is_agreed(&self) -> bool {
        let told = self.started.as_ref().is_some_and(|started| started.told.is_some());
        told && self.remote.has_setup()
    }

    /// When the call is given up: agreement is missing, or an important message is unacknowledged.
    fn deadline(&self) -> Option<Instant> {
        let started = self.started.as_ref().filter(|_| !self.media_up)?;
        let agreement = (!self.is_agreed()).then_some(started.at);
        [agreement, self.link.waiting_since()]
            .into_iter()
            .flatten()
            .min()
            .map(|since| since + NEGOTIATION_TIMEOUT)
    }

    fn fail(&mut self, why: NegotiationError) {
        if !self.failed {
            debug!(%why, dropped = self.dropped, "negotiation failed");
            self.failed = true;
            self.events.push_back(NegotiationEvent::Failed(why));
        }
    }

    fn send(&mut self, now: Instant, message: &Message, vital: bool) -> Option<u32> {
        match self.link.send(now, message.write(), vital) {
            Ok(counter) => {
                debug!(counter, kind = message.kind(), "message sent");
                Some(counter)
            }
            Err(why @ (FramingError::QueueFull | FramingError::TooLong | FramingError::CounterUsedUp)) => {
                debug!(%why, vital, "message not sent");
                if vital {
                    self.fail(NegotiationError::Overflow);
                }
                None
            }
        }
    }

    fn send_setup(&mut self, now: Instant) {
        if let Some(setup) = self.local.new_setup(self.role) {
            self.send(now, &Message::InitialSetup(setup), true);
        }
    }

    fn send_candidates(&mut self, now: Instant, candidates: &[String]) {
        for some in candidates.chunks(CANDIDATES_PER_MESSAGE) {
            self.send(now, &Message::Candidates(some.to_vec()), false);
        }
    }

    fn send_offer(&mut self, now: Instant) {
        let Some(started) = self.started.as_mut() else { return };
        let offer = started.channels.offer(&mut *self.rng);
        debug!(id = offer.exchange_id, "channels offered");
        let counter = self.send(now, &Message::NegotiateChannels(offer), true);
        if let Some(started) = self.started.as_mut() {
            started.offer = counter;
        }
    }

    fn nudge(&mut self, now: Instant) {
        let state = self.state.clone();
        let counter = self.send(now, &Message::MediaState(state), false);
        let Some(started) = self.started.as_mut() else { return };
        started.nudge_at = now + NUDGE_EVERY;
        if let Some(overtaken) = std::mem::replace(&mut started.nudge, counter) {
            self.link.forget(overtaken);
        }
    }

    /// Takes a message that arrived for the first time.
    fn take(&mut self, now: Instant, message: super::signalling::Message) {
        if self.failed {
            return;
        }
        if self.started.is_none() {
            if self.early.len() < MAX_EARLY_MESSAGES {
                self.early.push(message);
            }
            return;
        }
        let counter = message.counter;
        let message = Message::read(&message.json);
        debug!(counter, kind = message.as_ref().map(Message::kind), "message received");
        match message {
            Some(Message::InitialSetup(setup)) => {
                if let Err(why) = self.remote.take_setup(counter, setup, self.role.peer()) {
                    self.fail(why);
                }
            }
            Some(Message::Candidates(candidates)) => {
                candidates.iter().for_each(|line| self.remote.take_candidate(line))
            }
            Some(Message::NegotiateChannels(channels)) => self.take_channels(now, counter, channels),
            Some(Message::MediaState(state)) if self.remote.is_latest_media_state(counter) => {
                self.events.push_back(NegotiationEvent::MediaState(state));
            }
            // Overtaken, or of an unknown type.
            Some(Message::MediaState(_)) | None => {}
        }
    }

    fn take_channels(&mut self, now: Instant, counter: u32, channels: NegotiateChannels) {
        let Some(started) = self.started.as_mut() else { return };
        debug!(counter, id = channels.exchange_id, "channels");
        let reply = match started.channels.take(counter, channels) {
            Ok(reply) => reply,
            Err(why) => return self.fail(why),
        };
        if let Some(dropped) = started.offer.take_if(|_| reply.dropped) {
            self.link.forget(dropped);
        }
        if let Some(answer) = reply.answer {
            self.send(now, &Message::NegotiateChannels(answer), true);
        }
        if reply.offer {
            self.send_offer(now);
        }
    }

    /// Tells what has become known: lines of the transport, and channels when both offers are answered.
    fn tell(&mut self) {
        if self.failed {
            return;
        }
        let Some(started) = self.started.as_mut() else { return };
        if let Some(ssrc) = started.channels.remote_ssrc() {
            self.remote.take_stream(ssrc);
        }
        if let Some(lines) = self.remote.take_lines() {
            self.events.push_back(NegotiationEvent::Remote { lines });
        }
        let agreement = started.channels.agreement();
        if agreement.is_some() && agreement != started.told {
            started.told = agreement.clone();
            if let Some(Agreement {
                send,
                receive,
                telephone_event,
                remote_ssrc,
            }) = agreement
            {
                self.events.push_back(NegotiationEvent::Channels {
                    send,
                    receive,
                    telephone_event,
                    remote_ssrc,
                });
            }
        }
    }
}

impl fmt::Debug for Negotiation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Negotiation")
            .field("role", &self.role)
            .field("started", &self.started.is_some())
            .field("failed", &self.failed)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}
