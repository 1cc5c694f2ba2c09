//! What a leg's peer hears: frames in, RTP packets out. Speech from whoever has the word, and key presses.
//!
//! The stream lives as long as its SSRC: the sender stays when the codec, the partner or the announcement changes. How it is coded
//! follows the way that it takes ([`Controller`]).

mod history;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use quartet_proto::rtp::{
    dtmf::Press,
    packet::HEADER,
    rtcp::{self, Reception, RtcpError},
    sender::Sender,
};
use quartet_proto::sdp::TelephoneEvent;
use rand_core::CryptoRng;

use self::history::History;
use super::{
    command::{LegCodec, Nack},
    quality::{Controller, Decision, Features, Rules},
};
use crate::plugins::{CodecSettings, CodecTable, Encoder, PluginError, Setting};

/// How long a key is pressed, and the pause after it, in steps of 20 ms.
const PRESS_STEPS: u32 = 8;
const STEP_NS: u64 = 20_000_000;
const PAUSE_STEPS: u64 = 3;
/// Presses that wait at most; more are dropped.
const PRESSES: usize = 32;
/// What a packet of ours has at most: the contract allows a codec 1400.
pub(crate) const MAX_PACKET: usize = HEADER + 1400;
/// The frame of which several make a packet, and how many of them at most.
const JOINED_US: u32 = 20_000;
const MAX_JOINED: u32 = 3;
/// How many packets later one is repeated: most losses are shorter, and a peer that waits for packets at all still waits for it.
const REPEATED_AFTER: u16 = 2;

/// What goes to the peer of a leg: encoded frames, key presses, reports.
pub(crate) struct Outgoing {
    table: CodecTable,
    encoder: Encoder,
    sender: Sender,
    payload_type: u8,
    rate: u32,
    frame_us: u32,
    frame_ticks: u32,
    /// The fmtp texts, for an encoder of another rate.
    fmtp: (String, String),
    /// When the sender's present timestamp is on the wall.
    due_ns: u64,
    event: Option<TelephoneEvent>,
    presses: VecDeque<char>,
    pressing: Option<Pressing>,
    controller: Box<dyn Controller>,
    /// What it has decided; `None` for a codec without a bit rate.
    decision: Option<Decision>,
    /// The share of our packets that the peer misses, as it last said.
    remote_loss: Option<f32>,
    /// Frames may be joined.
    may_join: bool,
    /// What waits for the rest of its packet.
    waiting: Vec<i16>,
    /// From when the peer has first asked for a packet.
    history: Option<History>,
    /// Whether it may.
    nack: Nack,
    /// Whether it has.
    asks: bool,
}

/// A press that is being told.
struct Pressing {
    steps: Press,
    timestamp: u32,
    clock_ticks: u32,
    next_ns: u64,
    over: bool,
}

impl Outgoing {
    /// Starts a stream, or goes on with one under the same SSRC.
    ///
    /// # Errors
    /// [`PluginError`] if the codec makes no encoder.
    pub(crate) fn new(
        table: &CodecTable,
        codec: &LegCodec,
        rate: u32,
        before: Option<Self>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, PluginError> {
        let frame_us = frame_us(table, codec);
        let may_join = codec.nack == Nack::Tacit
            && frame_us == JOINED_US
            && (2..=MAX_JOINED).all(|frames| table.frame_us().contains(&(frames * frame_us)));
        let before = before.filter(|before| before.sender.ssrc() == codec.ssrc);
        let (sender, due_ns, history, controller, remote_loss, asks) = match before {
            Some(before) => (
                before.sender,
                before.due_ns,
                before.history,
                before.controller,
                before.remote_loss,
                before.asks,
            ),
            None => (
                Sender::new(codec.ssrc, rng),
                0,
                None,
                Box::new(Rules::new()) as Box<dyn Controller>,
                None,
                false,
            ),
        };
        let fmtp = (codec.local_fmtp.clone(), codec.send_fmtp.clone());
        let mut outgoing = Self {
            encoder: encoder(table, rate, frame_us, &fmtp)?,
            table: table.clone(),
            sender,
            payload_type: codec.send_pt,
            rate,
            frame_us,
            frame_ticks: samples(table.clock(), frame_us) as u32,
            fmtp,
            due_ns,
            event: codec.telephone_event,
            presses: VecDeque::with_capacity(PRESSES),
            pressing: None,
            controller,
            decision: None,
            remote_loss,
            may_join,
            waiting: Vec::with_capacity(samples(rate, frame_us * MAX_JOINED)),
            history: match codec.nack {
                Nack::Off => None,
                Nack::Tacit => history,
                Nack::Agreed => Some(history.unwrap_or_else(History::new)),
            },
            nack: codec.nack,
            asks,
        };
        outgoing.tune();
        Ok(outgoing)
    }

    /// Encodes at another rate from now on.
    ///
    /// # Errors
    /// [`PluginError`] if the codec makes no encoder; the old one stays.
    pub(crate) fn set_rate(&mut self, rate: u32) -> Result<(), PluginError> {
        if rate != self.rate {
            self.encoder = encoder(&self.table, rate, self.frame_us, &self.fmtp)?;
            self.drop_waiting();
            self.rate = rate;
            self.waiting.reserve(samples(rate, self.frame_us * MAX_JOINED));
            self.tune();
        }
        Ok(())
    }

    /// Samples a second that [`Outgoing::speak`] takes.
    pub(crate) fn rate(&self) -> u32 {
        self.rate
    }

    /// Duration of a frame.
    pub(crate) fn frame_us(&self) -> u32 {
        self.frame_us
    }

    /// Samples of a frame.
    pub(crate) fn frame(&self) -> usize {
        samples(self.rate, self.frame_us)
    }

    /// The stream's SSRC.
    pub(crate) fn ssrc(&self) -> u32 {
        self.sender.ssrc()
    }

    /// Takes one frame and makes a packet in `packet`, of it and of those that wait; its length, or `None` if there is nothing to send.
    ///
    /// `fresh`: the frame follows the clock on the wall, not the frame before (another speaker, or a pause).
    ///
    /// # Errors
    /// [`PluginError`] if the encoder broke.
    pub(crate) fn send_frame(
        &mut self,
        now_ns: u64,
        pcm: &[i16],
        fresh: bool,
        packet: &mut [u8; MAX_PACKET],
    ) -> Result<Option<usize>, PluginError> {
        let frame_ns = u64::from(self.frame_us) * 1000;
        let mut made = None;
        if fresh {
            made = self.send_waiting(packet)?;
            let missed = now_ns.saturating_sub(self.due_ns) / frame_ns;
            if self.due_ns > 0 && missed > 0 {
                self.sender.skip((missed as u32).wrapping_mul(self.frame_ticks));
            }
            self.due_ns = now_ns;
        }
        self.due_ns += frame_ns;
        if self.pressing.as_ref().is_some_and(|pressing| !pressing.over) {
            self.sender.skip(self.frame_ticks);
            return Ok(made);
        }
        self.waiting.extend_from_slice(pcm);
        if made.is_none() && self.waiting_frames() >= self.joined() {
            made = self.send_waiting(packet)?;
        }
        Ok(made)
    }

    /// Frames that a packet has now.
    fn joined(&self) -> u32 {
        let decided = self.decision.filter(|_| self.may_join).map(|decision| decision.frames);
        decided.unwrap_or(1).clamp(1, MAX_JOINED)
    }

    fn waiting_frames(&self) -> u32 {
        (self.waiting.len() / self.frame().max(1)) as u32
    }

    /// What waits is not sent.
    fn drop_waiting(&mut self) {
        self.sender.skip(self.waiting_frames().wrapping_mul(self.frame_ticks));
        self.waiting.clear();
    }

    /// Makes the packet of what waits.
    fn send_waiting(&mut self, packet: &mut [u8; MAX_PACKET]) -> Result<Option<usize>, PluginError> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let ticks = self.waiting_frames().wrapping_mul(self.frame_ticks);
        let room = HEADER + self.table.max_packet().min(MAX_PACKET - HEADER);
        let encoded = self.encoder.encode(&self.waiting, &mut packet[HEADER..room]);
        self.waiting.clear();
        let length = match encoded {
            Ok(length) => length,
            Err(error) if error.is_final() => return Err(error),
            Err(_) => 0,
        };
        if length == 0 {
            self.sender.skip(ticks);
            return Ok(None);
        }
        let packet = &mut packet[..HEADER + length];
        let is_made = self.sender.next(ticks, self.payload_type, false, packet).is_ok();
        if let Some(history) = self.history.as_mut().filter(|_| is_made) {
            history.keep(packet);
            if self.decision.is_some_and(|decision| decision.repeats) {
                history.ask(&[self.sender.sequence().wrapping_sub(1 + REPEATED_AFTER)]);
            }
        }
        Ok(is_made.then_some(packet.len()))
    }

    /// The peer asks for packets. Unless it was agreed on, what was sent before the first question is not there any more: most never ask.
    pub(crate) fn on_nack(&mut self, sequences: &[u16]) {
        if self.nack != Nack::Off && !sequences.is_empty() {
            self.asks = true;
            self.history.get_or_insert_with(History::new).ask(sequences);
        }
    }

    /// Whether packets that were asked for wait.
    pub(crate) fn is_asked(&self) -> bool {
        self.history.as_ref().is_some_and(History::is_asked)
    }

    /// A packet that was asked for, in `packet`; its length.
    pub(crate) fn resend(&mut self, packet: &mut [u8; MAX_PACKET]) -> Option<usize> {
        self.history.as_mut()?.pop(packet)
    }

    /// Presses a key after those that wait; false if events are not negotiated, or it is no key.
    pub(crate) fn press(&mut self, now_ns: u64, digit: char) -> bool {
        if self.event.is_none() || self.presses.len() == PRESSES || quartet_proto::rtp::dtmf::code(digit).is_none() {
            return false;
        }
        self.presses.push_back(digit);
        if self.pressing.is_none() {
            self.begin_press(now_ns);
        }
        true
    }

    /// When the next packet of a press is due.
    pub(crate) fn press_due(&self) -> Option<u64> {
        self.pressing.as_ref().map(|pressing| pressing.next_ns)
    }

    /// Makes the next packet of a press in `packet`; its length, or `None` if none is due.
    pub(crate) fn send_dtmf(&mut self, now_ns: u64, packet: &mut [u8; MAX_PACKET]) -> Option<usize> {
        let pressing = self.pressing.as_mut().filter(|pressing| pressing.next_ns <= now_ns)?;
        let Some(step) = pressing.steps.next() else {
            if !std::mem::replace(&mut pressing.over, true) {
                // The pause: the next press may not look like a part of this one.
                pressing.next_ns += PAUSE_STEPS * STEP_NS;
                let passed = self.sender.timestamp().wrapping_sub(pressing.timestamp);
                if passed < pressing.clock_ticks {
                    self.sender.skip(pressing.clock_ticks - passed);
                    self.due_ns = now_ns;
                }
            } else {
                self.begin_press(now_ns);
            }
            return None;
        };
        pressing.next_ns += STEP_NS;
        let length = HEADER + step.payload.len();
        packet[HEADER..length].copy_from_slice(&step.payload);
        let payload_type = self.event?.send_pt;
        self.sender
            .event(pressing.timestamp, payload_type, step.marker, &mut packet[..length])
            .ok()
            .map(|()| length)
    }

    fn begin_press(&mut self, now_ns: u64) {
        self.pressing = None;
        let (Some(event), Some(digit)) = (self.event, self.presses.pop_front()) else {
            return;
        };
        let interval = (event.clock / 50).min(u32::from(u16::MAX)) as u16;
        let total = (event.clock / 50 * PRESS_STEPS).min(u32::from(u16::MAX)) as u16;
        let Some(steps) = Press::new(digit, interval, total) else {
            return;
        };
        self.drop_waiting();
        let clock_ticks = steps.total();
        let timestamp = self.sender.timestamp();
        self.pressing = Some(Pressing {
            steps,
            timestamp,
            clock_ticks,
            next_ns: now_ns,
            over: false,
        });
    }

    /// Writes a sender or receiver report; its length.
    ///
    /// # Errors
    /// [`RtcpError`] if there is no room: a bug.
    pub(crate) fn write_rtcp(
        &self,
        now_ns: u64,
        reception: &mut Reception,
        cname: &str,
        packet: &mut [u8],
    ) -> Result<usize, RtcpError> {
        let clock = i64::from(self.table.clock());
        let waiting_ns = u64::from(self.waiting_frames()) * u64::from(self.frame_us) * 1000;
        let due_ns = self.due_ns.saturating_sub(waiting_ns);
        let behind = now_ns.min(1 << 62) as i64 - due_ns.min(1 << 62) as i64;
        let ticks = (i128::from(behind) * i128::from(clock) / 1_000_000_000) as u32;
        rtcp::write(
            packet,
            now_ns,
            &self.sender,
            self.sender.timestamp().wrapping_add(ticks),
            reception,
            cname,
        )
    }

    /// Something is known anew of the way to the peer: the share of our packets that it misses, or how long one takes there and back.
    pub(crate) fn on_way(&mut self, now_ns: u64, loss: Option<f32>, round_trip: Option<Duration>) {
        self.remote_loss = loss.or(self.remote_loss);
        if let Some(before) = self.decision {
            let made = self.decide(now_ns, round_trip);
            if made.bitrate != before.bitrate {
                let _ = self.encoder.set(Setting::Bitrate, i64::from(made.bitrate));
            }
            if made.loss_permille != before.loss_permille {
                let _ = self.encoder.set(Setting::LossPermille, i64::from(made.loss_permille));
            }
            if made.repeats {
                self.history.get_or_insert_with(History::new);
            }
            self.decision = Some(made);
        }
    }

    /// How the stream is coded, and why; `None` if the codec leaves no choice.
    pub(crate) fn decision(&self) -> Option<Decision> {
        let frames = self.joined();
        self.decision.map(|decision| Decision { frames, ..decision })
    }

    fn decide(&mut self, now_ns: u64, round_trip: Option<Duration>) -> Decision {
        self.controller.decide(&Features {
            now_ns,
            round_trip,
            loss: self.remote_loss,
            asks: self.asks || self.nack != Nack::Tacit,
            rate: self.rate,
        })
    }

    /// Settings that a codec without them refuses, which is no fault.
    fn tune(&mut self) {
        let made = self.decide(self.due_ns, None);
        let adapts = self.encoder.set(Setting::Bitrate, i64::from(made.bitrate)).is_ok();
        let _ = self.encoder.set(Setting::Fec, 1);
        let _ = self.encoder.set(Setting::LossPermille, i64::from(made.loss_permille));
        self.decision = adapts.then_some(made);
    }
}

/// So many samples, or ticks, there are at this rate in a time.
fn samples(rate: u32, us: u32) -> usize {
    (u64::from(rate) * u64::from(us) / 1_000_000) as usize
}

/// The duration of a leg's frames: what was agreed, if the codec makes such packets, else 20 ms, else its best.
fn frame_us(table: &CodecTable, codec: &LegCodec) -> u32 {
    let listed = |frame: &u32| table.frame_us().contains(frame);
    let agreed = codec.ptime_ms.saturating_mul(1000);
    [agreed, 20_000]
        .into_iter()
        .find(listed)
        .or_else(|| table.frame_us().first().copied())
        .unwrap_or(20_000)
}

fn encoder(table: &CodecTable, rate: u32, frame_us: u32, fmtp: &(String, String)) -> Result<Encoder, PluginError> {
    let (local_fmtp, remote_fmtp) = (fmtp.0.as_str(), fmtp.1.as_str());
    table.encoder(&CodecSettings {
        sample_rate: rate,
        channels: 1,
        frame_us,
        local_fmtp,
        remote_fmtp,
    })
}
