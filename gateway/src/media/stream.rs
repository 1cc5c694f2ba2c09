//! One stream of a leg: the codec that both sides agreed on, what comes in under it and what goes out.

use std::time::Duration;

use quartet_proto::sdp::offer_answer::Receivable;

use super::{
    command::{LegCodec, Nack, Report},
    flow::Flow,
    incoming::Incoming,
    outgoing::Outgoing,
};
use crate::plugins::CodecTable;

/// The peer changes between codecs that it may send at most so often; packets of another are not heard meanwhile.
const CHANGE_NS: u64 = 200_000_000;

/// The codecs that both sides of a stream agreed on.
pub(crate) struct Agreed {
    pub(crate) table: CodecTable,
    pub(crate) codec: LegCodec,
    /// What the peer may send instead, as far as it can be decoded.
    also: Vec<(CodecTable, Receivable)>,
    /// Which of them it sends; `None`: the codec itself.
    sent: Option<usize>,
}

/// What the peer sends.
pub(crate) struct Source<'a> {
    pub(crate) table: &'a CodecTable,
    pub(crate) receive_pt: u8,
    pub(crate) send_fmtp: &'a str,
    pub(crate) local_fmtp: &'a str,
}

impl Agreed {
    pub(crate) fn new(table: CodecTable, codec: LegCodec, also: Vec<(CodecTable, Receivable)>) -> Self {
        Self {
            table,
            codec,
            also,
            sent: None,
        }
    }

    /// What the peer sends.
    pub(crate) fn source(&self) -> Source<'_> {
        match self.sent.and_then(|at| self.also.get(at)) {
            Some((table, other)) => Source {
                table,
                receive_pt: other.receive.payload_type,
                send_fmtp: &other.send_fmtp,
                local_fmtp: &other.receive.fmtp,
            },
            None => Source {
                table: &self.table,
                receive_pt: self.codec.receive_pt,
                send_fmtp: &self.codec.send_fmtp,
                local_fmtp: &self.codec.local_fmtp,
            },
        }
    }

    /// Whether this is a type of speech that the peer may send.
    pub(crate) fn is_speech(&self, payload_type: u8) -> bool {
        self.codec.receive_pt == payload_type
            || self
                .also
                .iter()
                .any(|(_, other)| other.receive.payload_type == payload_type)
    }

    /// Whether this is a type of events that the peer may send.
    pub(crate) fn is_event(&self, payload_type: u8) -> bool {
        let main = self.codec.telephone_event.map(|event| event.receive_pt);
        main == Some(payload_type) || self.codec.events.contains(&payload_type)
    }

    /// Takes what the peer sends from now on; the caller makes the flow.
    fn change(&mut self, payload_type: u8) {
        let is_it = |(_, other): &(CodecTable, Receivable)| other.receive.payload_type == payload_type;
        self.sent = if self.codec.receive_pt == payload_type {
            None
        } else {
            self.also.iter().position(is_it)
        };
    }
}

/// One stream of RTP in each direction.
pub(crate) struct Stream {
    pub(crate) agreed: Option<Agreed>,
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Option<Outgoing>,
    /// From this leg's peer to the partner.
    pub(crate) flow: Option<Flow>,
    /// The peer sends another of its codecs, of this payload type: the flow has to be made for it.
    changed: Option<u8>,
    changed_ns: Option<u64>,
    /// Someone else has spoken, or nobody: the partner's next frame follows the clock on the wall.
    pub(crate) interrupted: bool,
}

impl Stream {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            agreed: None,
            incoming: Incoming::new(now_ns),
            outgoing: None,
            flow: None,
            changed: None,
            changed_ns: None,
            interrupted: true,
        }
    }

    /// Takes the agreed codec and the encoder for it; the caller makes the flows.
    pub(crate) fn agree(&mut self, now_ns: u64, agreed: Agreed, outgoing: Outgoing) {
        let main = |agreed: &Agreed| (agreed.codec.name.clone(), agreed.codec.clock, agreed.codec.receive_pt);
        let is_new = self.agreed.as_ref().map(main) != Some(main(&agreed));
        self.incoming
            .agree(now_ns, agreed.table.clock(), is_new, agreed.codec.nack != Nack::Off);
        self.changed = None;
        self.agreed = Some(agreed);
        self.outgoing = Some(outgoing);
        self.interrupted = true;
    }

    /// Takes an RTP packet of the peer.
    pub(crate) fn on_rtp(&mut self, now_ns: u64, bytes: &[u8]) {
        let agreed = self.agreed.as_ref();
        let speech = self.incoming.on_rtp(now_ns, bytes, agreed, self.flow.as_mut());
        let sent = agreed.map(|agreed| agreed.source().receive_pt);
        let may_change = self.changed_ns.is_none_or(|at| now_ns.saturating_sub(at) >= CHANGE_NS);
        self.changed = speech.filter(|speech| may_change && sent != Some(*speech));
    }

    /// Whether the peer has changed to another codec; the flow then has to be made anew.
    pub(crate) fn take_change(&mut self, now_ns: u64) -> bool {
        let (Some(payload_type), Some(agreed)) = (self.changed.take(), &mut self.agreed) else {
            return false;
        };
        self.changed_ns = Some(now_ns);
        let before = agreed.source().table.clock();
        agreed.change(payload_type);
        let clock = agreed.source().table.clock();
        if clock != before {
            self.incoming.set_clock(clock);
        }
        true
    }

    /// Takes an RTCP packet of the peer.
    pub(crate) fn on_rtcp(&mut self, now_ns: u64, bytes: &[u8]) {
        let ours = self.outgoing.as_ref().map_or(0, Outgoing::ssrc);
        if let Some(feedback) = self.incoming.hear_rtcp(now_ns, bytes, ours)
            && let Some(outgoing) = &mut self.outgoing
        {
            if let Some(told) = feedback.ours {
                outgoing.on_way(now_ns, Some(f32::from(told.fraction_lost) / 256.0), told.round_trip);
            }
            outgoing.on_nack(&feedback.asked);
        }
    }

    /// Something has taken so long to the peer and back.
    pub(crate) fn on_round_trip(&mut self, now_ns: u64, round_trip: Duration) {
        self.incoming.set_round_trip(round_trip);
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.on_way(now_ns, None, Some(round_trip));
        }
    }

    /// What goes to the peer, once there is a codec, and what comes from it.
    pub(crate) fn both_ways(&mut self) -> Option<(&mut Outgoing, &mut Incoming)> {
        Some((self.outgoing.as_mut()?, &mut self.incoming))
    }

    /// When something is due without a packet.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let due = [
            self.flow.as_ref().and_then(Flow::deadline),
            self.outgoing.as_ref().and_then(Outgoing::press_due),
            self.outgoing.as_ref().filter(|outgoing| outgoing.is_asked()).map(|_| 0),
            self.incoming.repair_due(),
        ];
        due.into_iter().flatten().min()
    }

    /// Ends everything that makes packets.
    pub(crate) fn stop(&mut self) {
        self.outgoing = None;
        self.flow = None;
    }

    /// The figures of what the peer sends; what is sent to it the leg counts.
    pub(crate) fn figures(&mut self, now_ns: u64) -> Report {
        let outgoing = self.outgoing.as_ref();
        let report = Report {
            decision: outgoing.and_then(Outgoing::decision),
            frame_ms: outgoing.map_or(0, |outgoing| outgoing.frame_us() / 1000),
            ..self.incoming.figures(now_ns)
        };
        match &self.flow {
            Some(flow) => flow.figures(report),
            None => report,
        }
    }
}
