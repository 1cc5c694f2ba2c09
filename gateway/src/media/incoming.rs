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
    repair::{Arrival, MAX_NAMED, Repair, Timing},
    rtcp::{self, Reception},
    stream::{StreamFilter, Verdict},
};
use tracing::debug;
use zeroize::Zeroizing;

use super::{
    command::Report,
    depth::{Path, Repaired},
    flow::Flow,
    stream::Agreed,
};

/// Key presses that wait for being told.
const PRESSES: usize = 16;
/// Key presses in a second: RFC 4733 lets a press and the pause after it take 80 ms.
pub(crate) const KEYS_PER_REPORT: u8 = 12;
/// From this share of lost packets on ...
const LOSSY: f32 = 0.01;
/// ... at least this one is told, in 1/256: below 2 ntgcalls and official clients leave their FEC out (see docs/quality.md).
const MIN_FRACTION_LOST: u8 = 3;
/// The RTP clock before there is a codec.
const FIRST_CLOCK: u32 = 8_000;

/// What comes from the peer of a leg: its stream, its key presses, its reports.
pub(crate) struct Incoming {
    /// What signalling last said of where the peer sends from.
    place: Zeroizing<String>,
    filter: StreamFilter,
    pub(crate) reception: Reception,
    /// What asks for lost packets, if the peer sends them again.
    repair: Option<Repair>,
    /// The packets to ask for; kept for its room.
    named: Vec<u16>,
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
            repair: None,
            named: Vec::with_capacity(MAX_NAMED),
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

    /// A codec was agreed on, whose RTP clock this is; `is_new`: what the peer sends is another than before; `repairs`: it sends again what
    /// it is asked for.
    pub(crate) fn agree(&mut self, now_ns: u64, clock: u32, is_new: bool, repairs: bool) {
        self.set_clock(clock);
        // A hold or a refresh, though it lists other codecs beside, must not let a forger in.
        if is_new {
            self.filter.signalled(now_ns);
        }
        if repairs != self.repair.is_some() {
            self.repair = repairs.then(Repair::new);
        }
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
        let arrival = self.arrival(&packet, verdict, now_ns, flow.as_deref());
        if arrival == Arrival::Again {
            return None;
        }
        if arrival == Arrival::Sent {
            self.reception.received(&packet, now_ns);
        }
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
            flow.push(&packet, now_ns, self.path(), arrival);
        }
        is_speech.then_some(packet.payload_type)
    }

    /// Whether a packet has come by itself.
    fn arrival(&mut self, packet: &Packet<'_>, verdict: Verdict, now_ns: u64, flow: Option<&Flow>) -> Arrival {
        let Some(repair) = &mut self.repair else {
            return Arrival::Sent;
        };
        if verdict == Verdict::Restarted {
            repair.restart();
        }
        let round_trip_ns = self.round_trip.map(in_ns);
        let timing = Timing {
            packet_ns: flow.map_or(0, Flow::packet_ns),
            wait_ns: flow.map_or(0, Flow::wait_ns),
            round_trip_ns,
        };
        let arrival = repair.received(packet, now_ns, timing);
        // So long as something is lost the peer is to protect what it sends.
        self.reception
            .set_min_fraction_lost(if repair.loss() > LOSSY { MIN_FRACTION_LOST } else { 0 });
        arrival
    }

    /// When lost packets are to be asked for.
    pub(crate) fn repair_due(&self) -> Option<u64> {
        self.repair.as_ref()?.poll_timeout()
    }

    /// Writes what asks for lost packets, if it is time; its length. `ours`: our SSRC, and its name.
    pub(crate) fn write_nack(&mut self, now_ns: u64, ours: (u32, &str), packet: &mut [u8]) -> Option<usize> {
        let repair = self.repair.as_mut()?;
        let peer = repair.poll(now_ns, &mut self.named)?;
        rtcp::write_nack(packet, ours.0, ours.1, peer, &self.named).ok()
    }

    /// Takes an RTCP packet of the peer's address; what the peer says of our stream.
    pub(crate) fn hear_rtcp(&mut self, now_ns: u64, bytes: &[u8], ours: u32) -> Option<rtcp::Feedback> {
        let peer = self.filter.ssrc();
        let feedback = rtcp::read(bytes, now_ns, ours, peer, &mut self.reception).ok()?;
        if feedback.alive {
            self.heard_ns = now_ns;
        }
        if let Some(peer) = peer.filter(|_| feedback.bye) {
            self.filter.bye(peer);
        }
        if let Some(told) = feedback.ours {
            self.round_trip = told.round_trip.or(self.round_trip);
            self.remote_loss = Some(f32::from(told.fraction_lost) / 256.0);
        }
        Some(feedback)
    }

    /// Something has taken so long to the peer and back.
    pub(crate) fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = Some(round_trip);
    }

    /// Whether anything has come.
    pub(crate) fn has_received(&self) -> bool {
        self.received > 0
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
        let repair = self.repair.as_ref().map(Repair::counts).unwrap_or_default();
        Report {
            received: self.received,
            refused,
            lost: self.reception.lost_in_all(),
            asked: repair.asked,
            repaired: repair.repaired,
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
        let lost = if expected == 0 {
            0.0
        } else {
            quality.lost as f32 / expected as f32
        };
        Path {
            loss: self.repair.as_ref().map_or(lost, Repair::loss),
            round_trip_ns: self.round_trip.map(in_ns),
            repair: self.repair.as_ref().map(|repair| Repaired {
                times: repair.times(),
                success: repair.success(),
            }),
            ..Path::default()
        }
    }
}

fn in_ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
