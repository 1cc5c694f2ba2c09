//! Two legs that hear each other: two flows, and who is heard in an ear.
//!
//! An announcement goes before the partner; after it the partner is heard again. The partner's flow runs on meanwhile, so
//! that it is in step when its turn comes; the other direction does not notice.

use tracing::warn;

use super::{
    command::MediaEvent,
    command::{MediaFault, Sink},
    flow::{Flow, FlowSettings},
    leg::{MediaIo, MediaLeg, Slot},
    legs::Legs,
};
use crate::plugins::CodecSettings;

impl Legs {
    /// Joins two legs; earlier bridges of both end.
    pub(super) fn bridge(&mut self, a: Slot, b: Slot) -> Result<(), MediaFault> {
        // What they say goes on without a break.
        if self.leg(a).is_some_and(|leg| leg.partner == Some(b)) {
            return Ok(());
        }
        self.unbridge(a);
        self.unbridge(b);
        for (slot, partner) in [(a, b), (b, a)] {
            if let Some(leg) = self.leg(slot) {
                leg.partner = Some(partner);
            }
        }
        self.join(a)
    }

    /// Parts a leg from its partner, if it has one.
    pub(super) fn unbridge(&mut self, slot: Slot) {
        let partner = self.leg(slot).and_then(|leg| leg.partner);
        for slot in [Some(slot), partner].into_iter().flatten() {
            if let Some(leg) = self.leg(slot) {
                leg.partner = None;
                let audio = leg.audio_mut();
                audio.flow = None;
                audio.interrupted = true;
            }
        }
    }

    /// Makes both flows of a leg's bridge, once both legs have a codec; again after a codec has changed.
    pub(super) fn join(&mut self, slot: Slot) -> Result<(), MediaFault> {
        let Some(partner) = self.leg(slot).and_then(|leg| leg.partner) else {
            return Ok(());
        };
        self.make_flow(slot, partner)?;
        self.make_flow(partner, slot)
    }

    /// Makes the flow from one leg to the other.
    fn make_flow(&mut self, source: Slot, sink: Slot) -> Result<(), MediaFault> {
        let Ok([Some(source), Some(sink)]) = self.slots.get_disjoint_mut([source.0, sink.0]) else {
            return Ok(());
        };
        self.at = source.slot;
        source.audio_mut().flow = flow(source, sink)?;
        sink.audio_mut().interrupted = true;
        Ok(())
    }

    /// Makes the flow of a leg anew if its peer has changed to another codec. The one thing that allocates while a call goes on.
    pub(super) fn follow_source(&mut self, now_ns: u64, slot: Slot) -> Result<(), MediaFault> {
        let Some(leg) = self.leg(slot) else { return Ok(()) };
        let (changed, partner) = (leg.audio_mut().take_change(now_ns), leg.partner);
        match partner.filter(|_| changed) {
            Some(partner) => self.make_flow(slot, partner),
            None => Ok(()),
        }
    }

    /// Lets the partner hear what is due of the leg's flow.
    pub(super) fn forward_due(&mut self, now_ns: u64, slot: Slot, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        let Self { slots, scratch, at, .. } = self;
        let Some(partner) = slots.get(slot.0).and_then(Option::as_ref).and_then(|leg| leg.partner) else {
            return Ok(());
        };
        let Ok([Some(source), Some(sink)]) = slots.get_disjoint_mut([slot.0, partner.0]) else {
            return Ok(());
        };
        let source_slot = source.slot;
        let Some(flow) = &mut source.audio_mut().flow else {
            return Ok(());
        };
        loop {
            *at = source_slot;
            let heard = match flow.poll(now_ns) {
                Ok(Some(heard)) => heard,
                Ok(None) => return Ok(()),
                Err(_) => return Err(MediaFault::Plugin),
            };
            if sink.play.is_some() || sink.hold || !sink.connected {
                sink.audio_mut().interrupted = true;
                continue;
            }
            *at = sink.slot;
            let fresh = std::mem::take(&mut sink.audio_mut().interrupted) || heard.fresh;
            sink.send_frame(now_ns, heard.pcm, fresh, scratch, io)?;
        }
    }

    /// Tells the call which keys a leg's person has pressed, and presses them for the partner's.
    pub(super) fn tell_keys(&mut self, now_ns: u64, slot: Slot, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        while let Some((key, partner, digit)) = self.leg(slot).and_then(|leg| {
            let digit = leg.audio_mut().incoming.pop_key()?;
            Some((leg.key, leg.partner, digit))
        }) {
            io.event(MediaEvent::Dtmf { leg: key, digit });
            if let Some(sink) = partner.and_then(|partner| self.leg(partner)).filter(|sink| !sink.hold)
                && let Some(outgoing) = &mut sink.audio_mut().outgoing
            {
                outgoing.press(now_ns, digit);
            }
        }
        Ok(())
    }
}

/// The flow between two legs, if both have a codec.
fn flow(source: &MediaLeg, sink: &mut MediaLeg) -> Result<Option<Flow>, MediaFault> {
    let peer_has_jitter_buffer = sink.sink == Sink::Adaptive;
    let sink = sink.audio_mut();
    let (Some(from), Some(to), Some(outgoing)) = (&source.audio().agreed, &sink.agreed, &mut sink.outgoing) else {
        return Ok(None);
    };
    let source = from.source();
    let (decoder_rate, sink_rate) = rates(source.table.rates(), to.table.rates());
    let codec = |error| {
        warn!(from = from.codec.name, to = to.codec.name, %error, "no common sample rate");
        MediaFault::Codec
    };
    outgoing.set_rate(sink_rate).map_err(codec)?;
    let settings = CodecSettings {
        sample_rate: decoder_rate,
        channels: 1,
        frame_us: 20_000,
        local_fmtp: source.local_fmtp,
        remote_fmtp: source.send_fmtp,
    };
    Ok(Flow::new(FlowSettings {
        decoder: source.table.decoder(&settings).map_err(codec)?,
        decoder_rate,
        clock: source.table.clock(),
        payload_type: source.receive_pt,
        sink_rate,
        sink_frame_us: outgoing.frame_us(),
        peer_has_jitter_buffer,
    }))
}

/// The rates of a flow: the highest that both codecs know, so that nothing is resampled; else each one's highest.
fn rates(source: &[u32], sink: &[u32]) -> (u32, u32) {
    let common = source.iter().copied().filter(|rate| sink.contains(rate)).max();
    let highest = |rates: &[u32]| rates.iter().copied().max().unwrap_or(8_000);
    common.map_or_else(|| (highest(source), highest(sink)), |rate| (rate, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_runs_at_the_highest_common_rate() {
        const OPUS: &[u32] = &[48_000, 24_000, 16_000, 12_000, 8_000];
        for (source, sink, expected) in [
            (OPUS, &[8_000][..], (8_000, 8_000)),
            (&[16_000], OPUS, (16_000, 16_000)),
            (OPUS, OPUS, (48_000, 48_000)),
            (&[8_000], &[16_000], (8_000, 16_000)),
            (&[], &[16_000], (8_000, 16_000)),
        ] {
            assert_eq!(rates(source, sink), expected);
        }
    }
}
