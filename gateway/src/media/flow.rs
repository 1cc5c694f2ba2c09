//! One direction of a bridge, from the packets of its source to the frames for its sink: put in order, decode, conceal,
//! stretch, change the rate.
//!
//! It is clocked by its source, in one of two ways. *On arrival* (depth 0): a packet's sound leaves when the packet comes; a
//! gap in the numbers is made up then. *Paced*: the first frame leaves the depth after its packet, the others follow at the
//! sink's even pace, and what is missing when its turn comes is made up; the distance to the source is measured with every
//! packet and held at the depth by stretching, which takes the drift of the source's clock as well. Either way a packet longer
//! than the sink's frames leaves as several, spaced, and while the source is silent nothing is due and nothing leaves.

mod effort;
mod fifo;
mod stretch;
#[cfg(test)]
mod tests;
mod way;

use quartet_proto::rtp::{
    jitter::{Buffer, Pop, Pushed},
    packet::Packet,
    repair::Arrival,
};

use self::{effort::Effort, fifo::Fifo};
use super::{
    command::Report,
    depth::{DepthRule, Path},
    dsp::{ComfortNoise, Concealer, Loudness, Resampler},
};
use crate::plugins::{Decoder, PluginError};

/// Packets that the buffer holds at most.
const SLOTS: usize = 64;
/// Longest packet that is decoded.
const MAX_PACKET_MS: usize = 120;
/// Room for one period of stretching.
const PERIOD_MS: usize = 10;
/// Depth towards a sink without a good buffer of its own, before anything is known of the path.
const FIRST_DEPTH_NS: u64 = 40_000_000;
/// Such a flow is never shallower than this: one step of the rule.
const MIN_DEPTH_NS: u64 = 10_000_000;
const MAX_DEPTH_NS: u64 = 500_000_000;
/// For so long a new stream is only watched.
const WATCH_NS: u64 = 1_000_000_000;
/// What forward error correction restores of a packet.
const FEC_NS: u64 = 20_000_000;
/// Longer loss is silence: no speech is made up any more, and the flow rests until its source speaks again.
const MAX_CONCEALMENT_NS: u64 = 120_000_000;
/// What piled up while the network stood still is heard as far as it is less than this behind where it should be: a talk in
/// which everything comes a second late is no talk.
const MAX_BEHIND_NS: u64 = 120_000_000;
/// A transit time that changes by this much between neighbours is a clock set anew, not jitter.
const CLOCK_SET_NS: u64 = 1_000_000_000;

/// What a flow is made for.
pub(crate) struct FlowSettings {
    /// The source's decoder.
    pub(crate) decoder: Decoder,
    /// The rate it was made for.
    pub(crate) decoder_rate: u32,
    /// The RTP clock of the source.
    pub(crate) clock: u32,
    /// The payload type of the source's speech; other types are no speech.
    pub(crate) payload_type: u8,
    /// The rate of the sink's encoder.
    pub(crate) sink_rate: u32,
    /// The duration of the sink's frames.
    pub(crate) sink_frame_us: u32,
    /// The sink has a good receiving buffer of its own.
    pub(crate) peer_has_jitter_buffer: bool,
}

/// A frame whose time has come.
pub(crate) struct Heard<'a> {
    /// As many samples as the sink's frames have.
    pub(crate) pcm: &'a [i16],
    /// The source was silent before: the frame follows the clock on the wall, not the frame before.
    pub(crate) fresh: bool,
}

/// One direction of a bridge: packets in, frames out when they are due.
///
/// After [`Flow::push`], and whenever [`Flow::deadline`] has passed, call [`Flow::poll`] until it gives nothing more.
pub(crate) struct Flow {
    buffer: Buffer,
    rule: DepthRule,
    peer_has_jitter_buffer: bool,
    /// Paced rather than on arrival.
    paced: bool,
    decoder: Decoder,
    effort: Effort,
    rate: u32,
    clock: u32,
    payload_type: u8,
    concealer: Concealer,
    /// Whether the codec conceals by itself; unknown until the first loss.
    codec_conceals: Option<bool>,
    resampler: Option<Resampler>,
    /// One packet's sound at the decoder's rate.
    scratch: Box<[i16]>,
    /// The same at the sink's rate, where that is another one.
    resampled: Box<[i16]>,
    fifo: Fifo,
    /// The frame that was given out last.
    out: Box<[i16]>,
    sink_rate: u32,
    frame_ns: u64,
    /// When the next frame leaves; on arrival, the next of a long packet.
    next_out_ns: u64,
    /// Samples of the last packet, at the decoder's rate.
    packet_samples: usize,
    /// Timestamp that would follow without a pause.
    expected: Option<u32>,
    /// Timestamp and arrival of the packet that came last.
    latest: Option<(u32, u64)>,
    /// How long sound has been made up without a packet.
    made_up_ns: u64,
    /// The source is silent: nothing is due until it speaks.
    resting: bool,
    fresh: bool,
    /// How far behind its fastest packets the source is heard, paced.
    depth_ns: u64,
    stretch_after_ns: u64,
    /// Until then a source that sends packets again counts as one that loses some.
    lossy_until_ns: u64,
    late: u64,
    concealed: u64,
    restored: u64,
    holes: u64,
    stretched_ns: u64,
    loudness: Loudness,
    /// When there was last a pause in what is heard.
    quiet_ns: u64,
    /// What is heard of a source that has fallen silent, and when its next frame leaves; at the sink's rate.
    noise: ComfortNoise,
    noise_ns: Option<u64>,
}

impl Flow {
    /// `None` if no resampler joins the two rates.
    pub(crate) fn new(settings: FlowSettings) -> Option<Self> {
        let FlowSettings {
            mut decoder,
            decoder_rate: rate,
            clock,
            payload_type,
            sink_rate,
            sink_frame_us,
            peer_has_jitter_buffer,
        } = settings;
        let resampler = if rate == sink_rate {
            None
        } else {
            Some(Resampler::new(rate, sink_rate)?)
        };
        let per_ms = |rate: u32, ms: usize| (rate as usize * ms).div_ceil(1000);
        let longest = per_ms(rate, MAX_PACKET_MS + PERIOD_MS);
        let resampled = resampler.as_ref().map_or(0, |resampler| resampler.most(longest));
        let frame = (u64::from(sink_rate) * u64::from(sink_frame_us) / 1_000_000) as usize;
        Some(Self {
            buffer: Buffer::new(SLOTS, clock),
            rule: DepthRule::new(),
            peer_has_jitter_buffer,
            paced: !peer_has_jitter_buffer,
            effort: Effort::new(&mut decoder, rate),
            decoder,
            rate,
            clock,
            payload_type,
            concealer: Concealer::new(rate),
            codec_conceals: None,
            resampler,
            scratch: vec![0; longest].into(),
            resampled: vec![0; resampled].into(),
            fifo: Fifo::new(per_ms(sink_rate, MAX_PACKET_MS + PERIOD_MS + 1) + frame),
            out: vec![0; frame.max(1)].into(),
            sink_rate,
            frame_ns: u64::from(sink_frame_us) * 1000,
            next_out_ns: 0,
            packet_samples: per_ms(rate, 20),
            expected: None,
            latest: None,
            made_up_ns: 0,
            resting: true,
            fresh: true,
            depth_ns: if peer_has_jitter_buffer { 0 } else { FIRST_DEPTH_NS },
            stretch_after_ns: 0,
            lossy_until_ns: 0,
            late: 0,
            concealed: 0,
            restored: 0,
            holes: 0,
            stretched_ns: 0,
            loudness: Loudness::default(),
            quiet_ns: 0,
            noise: ComfortNoise::new(sink_rate),
            noise_ns: None,
        })
    }

    /// The source begins anew with its next packet, under whatever number: what waits of before is dropped.
    pub(crate) fn restart(&mut self) {
        self.buffer.reset();
    }

    /// Takes a packet of the source, speech or not: what is no speech keeps its place in the order. One that was asked for tells
    /// nothing about how late others are.
    pub(crate) fn push(&mut self, packet: &Packet<'_>, now_ns: u64, path: Path, arrival: Arrival) {
        let speech = packet.payload_type == self.payload_type;
        if speech {
            if self.clock_was_set(packet.timestamp, now_ns) {
                self.buffer.reset();
            }
            self.latest = Some((packet.timestamp, now_ns));
        }
        match self.buffer.push(packet, now_ns) {
            Pushed::Stored { delay_ns } if speech => self.rule.observe_as(arrival, delay_ns),
            Pushed::Late { delay_ns } if speech => {
                self.late += 1;
                self.rule.observe_as(arrival, delay_ns);
            }
            Pushed::Restarted => {
                self.expected = None;
                self.resting = true;
                self.stretch_after_ns = now_ns + WATCH_NS;
            }
            Pushed::Stored { .. } | Pushed::Late { .. } | Pushed::Duplicate | Pushed::Refused => {}
        }
        let path = Path {
            fec: self.fec_share(),
            ..path
        };
        self.rule.choose_at(now_ns, path, self.packet_ns());
        self.effort.follow(&mut self.decoder, path.loss);
        if self.peer_has_jitter_buffer {
            self.choose_way(now_ns, path);
        }
        if self.paced && self.resting && !self.buffer.is_empty() {
            // Its silence has been heard.
            self.buffer.skip_missing();
            self.begin(now_ns);
        }
    }

    /// The next frame whose time has come, or `None` until the next push or the deadline.
    ///
    /// # Errors
    /// [`PluginError`] if the codec broke; the flow is of no use any more.
    pub(crate) fn poll(&mut self, now_ns: u64) -> Result<Option<Heard<'_>>, PluginError> {
        loop {
            if self.murmur(now_ns) {
                return Ok(Some(Heard {
                    pcm: &self.out,
                    fresh: false,
                }));
            }
            if self.fifo.len() >= self.out.len() {
                // On arrival, a packet does not wait for the rest of the one before.
                let crowded = !self.paced && !self.buffer.is_empty();
                if now_ns < self.next_out_ns && !crowded {
                    return Ok(None);
                }
                self.next_out_ns = self.next_out_ns.min(now_ns) + self.frame_ns;
                self.fifo.pop(&mut self.out);
                let fresh = std::mem::take(&mut self.fresh);
                return Ok(Some(Heard { pcm: &self.out, fresh }));
            }
            if self.paced && (self.resting || now_ns < self.next_out_ns) {
                return Ok(None);
            }
            if !self.take(now_ns)? && self.noise_ns.is_none() {
                return Ok(None);
            }
        }
    }

    /// When to poll again without a packet; `None` while nothing is due.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let due = self.fifo.len() >= self.out.len() || (self.paced && !self.resting);
        let frame = due.then_some(self.next_out_ns);
        [frame, self.noise_ns].into_iter().flatten().min()
    }

    /// The figures of what is heard.
    pub(crate) fn figures(&self, report: Report) -> Report {
        Report {
            late: self.late,
            concealed: self.concealed,
            restored: self.restored,
            holes: self.holes,
            stretched_ms: self.stretched_ns / 1_000_000,
            depth_ms: self.depth_ns as f32 / 1e6,
            packet_ms: (self.packet_ns() / 1_000_000) as u32,
            ..report
        }
    }

    /// The source speaks after silence: its first frame leaves the depth after this packet.
    fn begin(&mut self, now_ns: u64) {
        let known = self.stretch_after_ns <= now_ns;
        let depth = if known {
            self.rule.chosen()
        } else {
            self.rule.chosen().max(FIRST_DEPTH_NS)
        };
        self.depth_ns = depth.clamp(MIN_DEPTH_NS, MAX_DEPTH_NS);
        self.next_out_ns = now_ns + self.depth_ns;
        self.resting = false;
        self.made_up_ns = 0;
        self.fresh = true;
    }

    /// Makes a frame of noise if it is time, until the source is heard again.
    fn murmur(&mut self, now_ns: u64) -> bool {
        let Some(due_ns) = self.noise_ns else { return false };
        let ends = !self.paced || (!self.resting && due_ns + self.frame_ns > self.next_out_ns);
        if !ends && now_ns < due_ns {
            return false;
        }
        let made = !ends && self.noise.fill(&mut self.out);
        self.noise_ns = made.then_some(due_ns + self.frame_ns);
        made
    }

    /// Takes one packet, or makes one up; false if there is nothing to take.
    fn take(&mut self, now_ns: u64) -> Result<bool, PluginError> {
        let behind_ns = if self.fresh { self.buffer.waiting_ns() } else { 0 };
        // The turn of a packet is decided here: for the buffer all that it has is due.
        match self.buffer.pop(u64::MAX) {
            Pop::Packet(frame) if frame.payload_type != self.payload_type => {}
            // Nothing is heard yet, so nobody hears the seam.
            Pop::Packet(frame) if self.paced && self.fresh && behind_ns > self.depth_ns + MAX_BEHIND_NS => {
                self.expected = Some(frame.timestamp.wrapping_add(self.ticks(self.packet_samples)));
                self.late += 1;
            }
            Pop::Packet(frame) => {
                let timestamp = frame.timestamp;
                let ticks = self
                    .expected
                    .map_or(0, |expected| timestamp.wrapping_sub(expected) as i32);
                // A pause of the source of 5 ms and more; less is rounding. Paced, the pace goes on through it.
                self.fresh |= frame.first || self.resting || (!self.paced && ticks >= (self.clock / 200) as i32);
                let samples = match self.decoder.decode(frame.payload, &mut self.scratch) {
                    Ok(samples) => samples.min(self.scratch.len()),
                    Err(error) if error.is_final() => return Err(error),
                    Err(_) => 0,
                };
                if samples == 0 {
                    // A broken packet: as good as lost.
                    self.expected = Some(timestamp.wrapping_add(self.ticks(self.packet_samples)));
                    self.conceal(now_ns, None)?;
                    return Ok(true);
                }
                self.packet_samples = samples;
                self.expected = Some(timestamp.wrapping_add(self.ticks(samples)));
                self.made_up_ns = 0;
                self.resting = false;
                if self.codec_conceals != Some(true) {
                    self.concealer.heard(&mut self.scratch[..samples]);
                }
                let samples = if self.paced {
                    self.stretch(samples, now_ns)
                } else {
                    samples
                };
                self.append(samples, now_ns);
            }
            Pop::Missing { next, .. } => {
                if self.resting {
                    return Ok(true);
                }
                let mut made = None;
                if let Some(next) = next.filter(|next| next.payload_type == self.payload_type) {
                    made = match self.decoder.fec(next.payload, &mut self.scratch[..self.packet_samples]) {
                        Ok(samples) => {
                            self.restored += 1;
                            Some(samples)
                        }
                        Err(error) if error.is_final() => return Err(error),
                        Err(_) => None,
                    };
                }
                self.follow_missing();
                self.conceal(now_ns, made)?;
            }
            Pop::Early | Pop::Empty if !self.paced => return Ok(false),
            Pop::Early | Pop::Empty => {
                // Should it come after all, it is too late.
                self.buffer.skip();
                self.follow_missing();
                self.conceal(now_ns, None)?;
                return Ok(!self.resting);
            }
        }
        Ok(true)
    }

    fn follow_missing(&mut self) {
        let ticks = self.ticks(self.packet_samples);
        self.expected = self.expected.map(|expected| expected.wrapping_add(ticks));
    }

    /// Makes up one packet's sound, unless `made` says that it lies in the scratch already.
    fn conceal(&mut self, now_ns: u64, made: Option<usize>) -> Result<(), PluginError> {
        if self.resting {
            return Ok(());
        }
        self.holes += u64::from(self.made_up_ns == 0);
        self.made_up_ns += self.packet_ns();
        // With packets behind the hole the pace goes on: they are for their own time.
        if self.made_up_ns > MAX_CONCEALMENT_NS && (!self.paced || self.buffer.is_empty()) {
            self.resting = true;
            // Never a hard stop.
            self.noise_ns = (self.paced && self.noise.begin()).then_some(self.next_out_ns);
            return Ok(());
        }
        self.concealed += 1;
        let samples = self.packet_samples.min(self.scratch.len());
        if made != Some(samples) {
            let pcm = &mut self.scratch[..samples];
            let codec = if self.codec_conceals == Some(false) {
                Ok(0)
            } else {
                self.decoder.conceal(pcm)
            };
            match codec {
                Ok(filled) if filled == samples => self.codec_conceals = Some(true),
                Err(error) if error.is_final() => return Err(error),
                Ok(_) | Err(_) => {
                    self.codec_conceals = Some(false);
                    self.concealer.lost(pcm);
                }
            }
        }
        self.append(samples, now_ns);
        Ok(())
    }

    /// Brings the first samples of the scratch to the sink's rate and queues them.
    fn append(&mut self, samples: usize, now_ns: u64) {
        if !self.paced && self.fifo.len() < self.out.len() {
            self.next_out_ns = now_ns;
        }
        match &mut self.resampler {
            None => self.fifo.push(&self.scratch[..samples]),
            Some(resampler) => {
                let count = resampler.process(&self.scratch[..samples], &mut self.resampled);
                self.fifo.push(&self.resampled[..count]);
            }
        }
    }

    fn clock_was_set(&self, timestamp: u32, now_ns: u64) -> bool {
        let Some((before, arrival_ns)) = self.latest else {
            return false;
        };
        let ticks = i64::from(timestamp.wrapping_sub(before) as i32);
        let media = ticks * 1_000_000_000 / i64::from(self.clock.max(1));
        let wall = now_ns.saturating_sub(arrival_ns).min(1 << 60) as i64;
        wall.abs_diff(media) > CLOCK_SET_NS
    }

    /// Duration of a packet of the source.
    pub(crate) fn packet_ns(&self) -> u64 {
        self.ns(self.packet_samples)
    }

    /// How much of a lost packet the next one restores: a frame of 20 ms, however many there are in a packet (RFC 6716 §2.1.7).
    fn fec_share(&self) -> f32 {
        (FEC_NS as f32 / self.packet_ns().max(1) as f32).min(1.0)
    }

    /// How long a packet that comes now by itself waits until it is heard; 0 if it is heard at once.
    pub(crate) fn wait_ns(&self) -> u64 {
        if self.paced { self.depth_ns } else { 0 }
    }

    fn ns(&self, samples: usize) -> u64 {
        samples as u64 * 1_000_000_000 / u64::from(self.rate.max(1))
    }

    fn ticks(&self, samples: usize) -> u32 {
        (samples as u64 * u64::from(self.clock) / u64::from(self.rate.max(1))) as u32
    }
}
