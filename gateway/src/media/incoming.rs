//! What a leg's peer says: which of its packets are believed, the keys it presses, and how its stream arrives.
//!
//! The transport has judged the source, and SRTP the sender where it is spoken; here one stream of that source is heard at a
//! time ([`StreamFilter`]). What it refuses reaches neither the flow, nor the keys, nor a figure but the count of refusals.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use quartet_proto::rtp::{
    dtmf::Receiver,
    packet::Packet,
    rtcp::{self, Reception},
    stream::{StreamFilter, Verdict},
};
use tracing::debug;
use zeroize::Zeroizing;

use super::{
    command::Report,
    flow::{Flow, Path},
    stream::Agreed,
};

/// Key presses that wait for being told.
const PRESSES: usize = 16;
/// Key presses in a second: RFC 4733 lets a press and the pause after it take 80 ms.
pub(crate) const KEYS_PER_REPORT: u8 = 12;
/// The RTP clock before there is a codec.
const FIRST_CLOCK: u32 = 8_000;

/// What comes from the peer of a leg: its stream, its key presses, its reports.
pub(crate) struct Incoming {
    /// What signalling last said of where the peer sends from.
    place: Zeroizing<String>,
    filter: StreamFilter,
    pub(crate) reception: Reception,
    dtmf: Receiver,
    /// Keys that the peer has pressed, not yet told.
    pressed: VecDeque<char>,
    /// Keys that are told before the next report: more than a person presses are a flood.
    keys_left: u8,
    /// How many refused packets the last report had.
    refused: u64,
    heard_ns: u64,
    received: u64,
    round_trip: Option<Duration>,
    remote_loss: Option<f32>,
}

impl Incoming {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            place: Zeroizing::default(),
            filter: StreamFilter::new(FIRST_CLOCK),
            reception: Reception::new(FIRST_CLOCK),
            dtmf: Receiver::new(),
            pressed: VecDeque::with_capacity(PRESSES),
            keys_left: KEYS_PER_REPORT,
            refused: 0,
            heard_ns: now_ns,
            received: 0,
            round_trip: None,
            remote_loss: None,
        }
    }

    /// A codec was agreed on, whose RTP clock this is.
    pub(crate) fn agree(&mut self, now_ns: u64, clock: u32) {
        self.set_clock(clock);
        self.filter.signalled(now_ns);
    }

    /// The peer has gone over to another codec that was agreed on before, with this RTP clock.
    pub(crate) fn set_clock(&mut self, clock: u32) {
        self.filter.set_clock(clock);
        self.reception.restart(clock);
    }

    /// Signalling has brought lines of the peer's description; an SSRC that they name may come whenever it likes.
    ///
    /// Another comes at once only if they are not those of before: a hold or a refresh must not let a forger in.
    pub(crate) fn signalled(&mut self, now_ns: u64, lines: &str) {
        let place = lines
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("direction:"));
        let place = Zeroizing::new(place.collect::<String>());
        if place != self.place {
            self.filter.signalled(now_ns);
            self.place = place;
        }
        let named = lines.lines().filter_map(|line| line.trim().strip_prefix("ssrc:"));
        for ssrc in named.filter_map(|rest| rest.split_ascii_whitespace().next()?.parse().ok()) {
            self.filter.announce(ssrc);
        }
    }

    /// Takes an RTP packet of the peer's address; its type if it is speech.
    pub(crate) fn on_rtp(
        &mut self,
        now_ns: u64,
        bytes: &[u8],
        agreed: Option<&Agreed>,
        flow: Option<&mut Flow>,
    ) -> Option<u8> {
        let packet = Packet::parse(bytes).ok()?;
        let is_speech = agreed.is_some_and(|agreed| agreed.is_speech(packet.payload_type));
        let verdict = self.filter.receive(&packet, is_speech, now_ns);
        if verdict == Verdict::Refused {
            return None;
        }
        self.reception.received(&packet, now_ns);
        self.received += 1;
        self.heard_ns = now_ns;
        if !is_speech
            && agreed?.is_event(packet.payload_type)
            && let Some(digit) = self.dtmf.receive(packet.ssrc, packet.timestamp, packet.payload)
            && self.pressed.len() < PRESSES
            && self.keys_left > 0
        {
            self.keys_left -= 1;
            self.pressed.push_back(digit);
        }
        if let Some(flow) = flow {
            if verdict == Verdict::Restarted {
                flow.restart();
            }
            flow.push(&packet, now_ns, self.path());
        }
        is_speech.then_some(packet.payload_type)
    }

    /// Takes an RTCP packet of the peer's address; the share of our packets that it misses in 1/256, if it says so.
    pub(crate) fn hear_rtcp(&mut self, now_ns: u64, bytes: &[u8], ours: u32) -> Option<u8> {
        let peer = self.filter.ssrc();
        let feedback = rtcp::read(bytes, now_ns, ours, peer, &mut self.reception).ok()?;
        if feedback.alive {
            self.heard_ns = now_ns;
        }
        if let Some(peer) = peer.filter(|_| feedback.bye) {
            self.filter.bye(peer);
        }
        let told = feedback.ours?;
        self.round_trip = told.round_trip.or(self.round_trip);
        self.remote_loss = Some(f32::from(told.fraction_lost) / 256.0);
        Some(told.fraction_lost)
    }

    /// The next key that the peer has pressed.
    pub(crate) fn pop_key(&mut self) -> Option<char> {
        self.pressed.pop_front()
    }

    /// The figures of what arrives; a new second of keys begins.
    pub(crate) fn figures(&mut self, now_ns: u64) -> Report {
        self.keys_left = KEYS_PER_REPORT;
        let refused = self.filter.refused();
        let more = refused - std::mem::replace(&mut self.refused, refused);
        if more > 0 {
            debug!(packets = more, "packets of another stream refused");
        }
        Report {
            received: self.received,
            refused,
            lost: self.reception.lost_in_all(),
            jitter_ms: self.reception.quality().jitter.as_secs_f32() * 1000.0,
            round_trip: self.round_trip,
            remote_loss: self.remote_loss,
            silent: Duration::from_nanos(now_ns.saturating_sub(self.heard_ns)),
            ..Report::default()
        }
    }

    fn path(&self) -> Path {
        let quality = self.reception.quality();
        let expected = quality.received + quality.lost;
        let loss = if expected == 0 {
            0.0
        } else {
            quality.lost as f32 / expected as f32
        };
        let round_trip_ns = self
            .round_trip
            .map(|round_trip| round_trip.as_nanos().min(u128::from(u64::MAX)) as u64);
        Path { loss, round_trip_ns }
    }
}
