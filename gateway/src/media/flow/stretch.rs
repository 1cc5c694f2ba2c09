//! The depth of a paced flow: measured with each packet, and brought nearer to where it should be.

use super::{Flow, MAX_DEPTH_NS, MIN_DEPTH_NS, SLOTS};
use crate::media::dsp::{self, Sound};

/// The longest period that stretching drops: with so much waiting behind the buffer, dropping one makes nothing late.
const SPARE_NS: u64 = 10_000_000;
/// Farther than this on the deep side is far too deep: three times as fast where nobody pauses.
const FAR_NS: u64 = 60_000_000;
/// Stretching moves at most this share of time, in percent.
const STRETCH_PERCENT: u64 = 8;
/// What is nearer than this share of it sways by itself.
const SWAY_ABOVE: u64 = 4;
const SWAY_BELOW: u64 = 32;
/// A buffer that is less shallow than this share of what it should be can wait for a pause, and one that is too deep for so long.
const NEAR: u64 = 2;
const MAX_WAIT_NS: u64 = 3_000_000_000;

impl Flow {
    /// Measures the depth, and brings it nearer to where it should be by one period of the voice if it is time.
    pub(super) fn stretch(&mut self, samples: usize, now_ns: u64) -> usize {
        // This packet was taken now; the fastest packet of its place would have come when the next one is expected, less a
        // packet. It is heard after what waits, but had to be here before.
        let taken_ns = self.next_out_ns + self.packet_ns();
        // More than the buffer can hold only a clock says that was set anew.
        let have = taken_ns
            .saturating_sub(self.buffer.expected().unwrap_or(taken_ns))
            .min(SLOTS as u64 * self.packet_ns());
        let waiting_ns = self.fifo.len() as u64 * 1_000_000_000 / u64::from(self.sink_rate.max(1));
        self.depth_ns = have + waiting_ns;
        let want = self.rule.chosen().clamp(MIN_DEPTH_NS, MAX_DEPTH_NS);
        let sound = self.loudness.hear(&self.scratch[..samples]);
        if sound == Sound::Quiet {
            self.quiet_ns = now_ns;
            self.noise.hear(&self.scratch[..samples]);
        }
        // In a voice it is heard, and what it is for can mostly wait for the next pause.
        let is_shallow = have + (want / NEAR).max(self.frame_ns) < want;
        let is_worth_it = is_shallow || now_ns.saturating_sub(self.quiet_ns) > MAX_WAIT_NS;
        if sound == Sound::Voice && (!is_worth_it || now_ns < self.stretch_after_ns) {
            return samples;
        }
        // What is dropped comes out of what waits; when that is used up, packets are taken a frame earlier from then on.
        let (changed, percent) =
            if have >= want + self.frame_ns.max(want / SWAY_ABOVE) || (have >= want && waiting_ns >= SPARE_NS) {
                let percent = if have > want + FAR_NS {
                    3 * STRETCH_PERCENT
                } else {
                    STRETCH_PERCENT
                };
                (dsp::shrink(&mut self.scratch[..samples], self.rate, sound), percent)
            } else if have + want / SWAY_BELOW < want {
                (dsp::grow(&mut self.scratch, samples, self.rate, sound), STRETCH_PERCENT)
            } else {
                return samples;
            };
        let Some(changed) = changed else { return samples };
        let moved_ns = self.ns(samples.abs_diff(changed));
        if sound == Sound::Voice {
            self.stretch_after_ns = now_ns + moved_ns * 100 / percent;
        }
        self.stretched_ns += moved_ns;
        changed
    }
}
