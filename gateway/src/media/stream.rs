//! One stream of a leg: the codec that both sides agreed on, what comes in under it and what goes out.

use super::{
    command::{LegCodec, Report},
    flow::Flow,
    incoming::Incoming,
    outgoing::Outgoing,
};
use crate::plugins::CodecTable;

/// The codec that both sides of a stream agreed on.
pub(crate) struct Agreed {
    pub(crate) table: CodecTable,
    pub(crate) codec: LegCodec,
}

/// One stream of RTP in each direction.
pub(crate) struct Stream {
    pub(crate) agreed: Option<Agreed>,
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Option<Outgoing>,
    /// From this leg's peer to the partner.
    pub(crate) flow: Option<Flow>,
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
            interrupted: true,
        }
    }

    /// Takes the agreed codec and the encoder for it; the caller makes the flows.
    pub(crate) fn agree(&mut self, now_ns: u64, agreed: Agreed, outgoing: Outgoing) {
        self.incoming.agree(now_ns, agreed.table.clock());
        self.agreed = Some(agreed);
        self.outgoing = Some(outgoing);
        self.interrupted = true;
    }

    /// Takes an RTP packet of the peer.
    pub(crate) fn on_rtp(&mut self, now_ns: u64, bytes: &[u8]) {
        let codec = self.agreed.as_ref().map(|agreed| &agreed.codec);
        self.incoming.on_rtp(now_ns, bytes, codec, self.flow.as_mut());
    }

    /// Takes an RTCP packet of the peer.
    pub(crate) fn on_rtcp(&mut self, now_ns: u64, bytes: &[u8]) {
        let ours = self.outgoing.as_ref().map_or(0, Outgoing::ssrc);
        if let Some(missed) = self.incoming.hear_rtcp(now_ns, bytes, ours)
            && let Some(outgoing) = &mut self.outgoing
        {
            outgoing.on_remote_loss(missed);
        }
    }

    /// When something is due without a packet.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let due = [
            self.flow.as_ref().and_then(Flow::deadline),
            self.outgoing.as_ref().and_then(Outgoing::press_due),
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
        let flow = self.flow.as_ref();
        Report {
            late: flow.map_or(0, Flow::late),
            concealed: flow.map_or(0, Flow::concealed),
            depth_ms: flow.map_or(0.0, |flow| flow.depth_ns() as f32 / 1e6),
            ..self.incoming.figures(now_ns)
        }
    }
}
