//! All legs of one worker: orders, packets and timers go to the leg they are for, and a leg that breaks is alone in that.
//!
//! It is fed and polled like every machine, with one difference: a packet leaves through [`MediaIo`] within the call that
//! made it, because it lies in a buffer that the next one uses again.

mod below;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use quartet_proto::rtp::packet::HEADER;
use rand_core::CryptoRng;
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::{
    command::{LegCodec, LegKey, MediaCommand, MediaEvent, MediaFault, Role, Sink},
    leg::{MediaIo, MediaLeg, Scratch, Slot},
    outgoing::{MAX_PACKET, Outgoing},
    paths::{BoundSocket, SocketKey},
    play::Play,
    stream::Agreed,
};
use crate::plugins::{About, Packet, Registry};

/// Room round a packet for what transports add; more than any of ours asks for.
const ROOM: usize = 128;
/// Samples of the longest frame: 120 ms at 48 kHz.
const MAX_FRAME: usize = 5_760;
/// A deadline that is over again once served comes back after this.
const MIN_RESCHEDULE_NS: u64 = 1_000_000;
/// The rate of announcements: encoders that nobody else has chosen a rate for take it, or what is nearest above.
const PROMPT_RATE: u32 = 16_000;

/// How a leg is opened.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    /// The session transport.
    pub(crate) transport: &'a str,
    pub(crate) sink: Sink,
    pub(crate) role: Role,
    /// `name:value` lines of the transport.
    pub(crate) options: &'a str,
    /// Whether the session is told of relays alone.
    pub(crate) relay_only: bool,
}

/// All legs of one worker. Legs are known by key to the call and by slot to the sockets.
pub(crate) struct Legs {
    pub(super) slots: Vec<Option<MediaLeg>>,
    keys: BTreeMap<LegKey, Slot>,
    vacant: Vec<usize>,
    /// When which leg wants to be served; stale entries are recognised by [`MediaLeg::scheduled_ns`].
    timers: BinaryHeap<Reverse<(u64, Slot)>>,
    registry: Arc<Registry>,
    pub(super) rng: Box<dyn CryptoRng + Send>,
    pub(super) scratch: Scratch,
    /// Who is being served, to know whose fault a panic is.
    pub(super) at: Slot,
}

impl Legs {
    pub(crate) fn new(registry: Arc<Registry>, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self {
            slots: Vec::new(),
            keys: BTreeMap::new(),
            vacant: Vec::new(),
            timers: BinaryHeap::with_capacity(64),
            registry,
            rng,
            scratch: Scratch {
                rtp: Box::new([0; MAX_PACKET]),
                packet: Packet::new(ROOM + MAX_PACKET + HEADER + ROOM, ROOM),
                pcm: vec![0; MAX_FRAME].into(),
            },
            at: Slot(usize::MAX),
        }
    }

    /// How many legs there are, failed ones included.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The slot that the next leg gets.
    pub(crate) fn next_slot(&self) -> Slot {
        Slot(self.vacant.last().copied().unwrap_or(self.slots.len()))
    }

    /// The slot of a leg.
    pub(crate) fn slot(&self, key: LegKey) -> Option<Slot> {
        self.keys.get(&key).copied()
    }

    /// Makes a leg at [`Legs::next_slot`] over the sockets that are bound for it.
    ///
    /// `false` if there is none afterwards: the call has been told why.
    pub(crate) fn open(
        &mut self,
        now_ns: u64,
        key: LegKey,
        opening: Opening<'_>,
        sockets: &[BoundSocket],
        io: &mut impl MediaIo,
    ) -> bool {
        let Opening {
            transport,
            sink,
            role,
            options,
            relay_only,
        } = opening;
        let made = match self.registry.transport(transport) {
            None => {
                warn!(transport, "no plugin has this transport");
                None
            }
            Some(table) => {
                let made = table.create(role, now_ns, options);
                made.inspect_err(|error| warn!(transport, %error, "no transport for a leg"))
                    .ok()
            }
        };
        let Some(made) = made else {
            let fault = MediaFault::Plugin;
            io.event(MediaEvent::Failed { leg: key, fault });
            return false;
        };
        if self.keys.contains_key(&key) {
            return false;
        }
        let cname = format!("{:016x}", self.rng.next_u64());
        let slot = self.next_slot();
        self.put(MediaLeg::new((key, slot), made, (sink, relay_only), cname, now_ns));
        self.serve_leg(now_ns, slot, io, |leg, io| {
            leg.add_sockets(now_ns, sockets)?;
            leg.report_local(now_ns, io)?;
            leg.drain(now_ns, io)
        });
        true
    }

    /// Takes an order other than `Open`, `Relay`, `Rebind` and `Close`, which concern sockets as well.
    pub(crate) fn command(&mut self, now_ns: u64, command: MediaCommand, io: &mut impl MediaIo) {
        let Some(slot) = self.slot(command.leg()) else {
            debug!(?command, "order for an unknown leg");
            return;
        };
        match command {
            MediaCommand::Open { .. }
            | MediaCommand::Relay { .. }
            | MediaCommand::Rebind { .. }
            | MediaCommand::Close { .. } => {}
            MediaCommand::Restart { .. } => self.serve_leg(now_ns, slot, io, |leg, io| leg.restart(now_ns, io)),
            MediaCommand::Remote { lines, .. } => {
                let lines = Zeroizing::new(lines);
                self.serve_leg(now_ns, slot, io, |leg, io| {
                    leg.audio_mut().incoming.signalled(now_ns, &lines);
                    leg.tell_session(now_ns, About::Remote, &lines)?;
                    leg.drain(now_ns, io)?;
                    // A transport may have learnt what to answer.
                    leg.report_local(now_ns, io)
                });
            }
            MediaCommand::Codec { codec, .. } => {
                self.serve(now_ns, slot, io, |legs, _| legs.set_codec(now_ns, slot, codec));
            }
            MediaCommand::Play { play, clips, .. } => {
                self.serve(now_ns, slot, io, |legs, _| {
                    if let Some(leg) = legs.leg(slot).filter(|leg| leg.is_alive()) {
                        let running = leg.play.take().and_then(|running| running.due());
                        let mut play = Play::new(play, clips);
                        if let Some(due) = running {
                            // In step with the one it replaces.
                            play.start(due);
                        }
                        leg.play = Some(play);
                        leg.audio_mut().interrupted = true;
                    }
                    Ok(())
                });
            }
            MediaCommand::StopPlay { .. } => {
                if let Some(leg) = self.leg(slot) {
                    leg.play = None;
                    leg.audio_mut().interrupted = true;
                }
            }
            MediaCommand::Bridge { b, .. } => match self.slot(b) {
                Some(other) if other != slot => {
                    self.serve(now_ns, slot, io, |legs, _| legs.bridge(slot, other));
                }
                Some(_) | None => warn!("a bridge needs two legs of one worker"),
            },
            MediaCommand::Unbridge { .. } => self.unbridge(slot),
            MediaCommand::Hold { on, .. } => {
                if let Some(leg) = self.leg(slot) {
                    leg.hold = on;
                    leg.audio_mut().interrupted = true;
                }
            }
            MediaCommand::State { text, .. } => self.serve(now_ns, slot, io, |legs, io| {
                let Self { slots, scratch, .. } = legs;
                let Some(leg) = slots.get_mut(slot.0).and_then(Option::as_mut) else {
                    return Ok(());
                };
                leg.state = Some(text);
                leg.send_state(now_ns, scratch, io)
            }),
            MediaCommand::SendDtmf { digit, .. } => {
                self.serve(now_ns, slot, io, |legs, _| {
                    if let Some(outgoing) = legs.leg(slot).and_then(|leg| leg.audio_mut().outgoing.as_mut()) {
                        outgoing.press(now_ns, digit);
                    }
                    Ok(())
                });
            }
        }
    }

    /// Takes a datagram that arrived on one of a leg's sockets.
    pub(crate) fn receive(
        &mut self,
        now_ns: u64,
        (slot, socket): (Slot, SocketKey),
        packet: &mut Packet,
        io: &mut impl MediaIo,
    ) {
        self.serve_leg(now_ns, slot, io, |leg, io| leg.receive(now_ns, socket, packet, io));
    }

    /// When to call [`Legs::timeout`].
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Serves every leg whose time has come.
    pub(crate) fn timeout(&mut self, now_ns: u64, io: &mut impl MediaIo) {
        while let Some(Reverse((at, slot))) = self.timers.peek().copied()
            && at <= now_ns
        {
            self.timers.pop();
            let Some(leg) = self.leg(slot).filter(|leg| leg.scheduled_ns == at) else {
                continue;
            };
            leg.scheduled_ns = u64::MAX;
            self.serve_leg(now_ns, slot, io, |leg, io| leg.transport_timeout(now_ns, io));
        }
    }

    /// Frees a leg, after a goodbye. Its sockets are the caller's, who frees them when this returns and then says
    /// [`MediaEvent::Closed`].
    pub(crate) fn close(&mut self, now_ns: u64, slot: Slot, io: &mut impl MediaIo) {
        self.unbridge(slot);
        let goodbye = catch_unwind(AssertUnwindSafe(|| {
            let Some(leg) = self.slots.get_mut(slot.0).and_then(Option::as_mut) else {
                return;
            };
            // Whatever goes wrong here, the leg is at its end.
            let _ = leg.say_goodbye(now_ns, &mut self.scratch, io);
        }));
        if goodbye.is_err() {
            warn!("a leg broke while it was closed");
        }
        self.take(slot);
    }

    /// Takes a leg out that goes on in another worker, with its sockets.
    pub(crate) fn release(&mut self, slot: Slot) -> Option<MediaLeg> {
        self.unbridge(slot);
        self.take(slot)
    }

    /// Takes a leg of another worker in, at [`Legs::next_slot`].
    pub(crate) fn adopt(&mut self, now_ns: u64, mut leg: MediaLeg) {
        let slot = self.next_slot();
        leg.move_to(slot);
        self.put(leg);
        self.schedule(now_ns, slot);
    }

    fn put(&mut self, leg: MediaLeg) {
        let (key, slot) = (leg.key, leg.slot);
        if self.vacant.pop().is_some() {
            self.slots[slot.0] = Some(leg);
        } else {
            self.slots.push(Some(leg));
        }
        self.keys.insert(key, slot);
    }

    fn take(&mut self, slot: Slot) -> Option<MediaLeg> {
        let leg = self.slots.get_mut(slot.0).and_then(Option::take)?;
        self.keys.remove(&leg.key);
        self.vacant.push(slot.0);
        Some(leg)
    }

    pub(super) fn leg(&mut self, slot: Slot) -> Option<&mut MediaLeg> {
        self.slots.get_mut(slot.0).and_then(Option::as_mut)
    }

    /// Does something with a leg, then whatever has become due for it; a fault or a panic ends the leg it happened in.
    fn serve<O: MediaIo>(
        &mut self,
        now_ns: u64,
        slot: Slot,
        io: &mut O,
        act: impl FnOnce(&mut Self, &mut O) -> Result<(), MediaFault>,
    ) {
        self.at = slot;
        let served = catch_unwind(AssertUnwindSafe(|| {
            act(self, io)?;
            self.go_on(now_ns, slot, io)
        }));
        let fault = match served {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault),
            Err(_) => Some(MediaFault::Internal),
        };
        if let Some(fault) = fault {
            self.fail(self.at, fault, io);
        }
        self.schedule(now_ns, slot);
        if let Some(partner) = self.leg(slot).and_then(|leg| leg.partner) {
            self.schedule(now_ns, partner);
        }
    }

    /// [`serve`](Self::serve) for what concerns this leg alone; nothing, if there is none.
    fn serve_leg<O: MediaIo>(
        &mut self,
        now_ns: u64,
        slot: Slot,
        io: &mut O,
        act: impl FnOnce(&mut MediaLeg, &mut O) -> Result<(), MediaFault>,
    ) {
        self.serve(now_ns, slot, io, |legs, io| {
            legs.leg(slot).map_or(Ok(()), |leg| act(leg, io))
        });
    }

    /// What a leg does by itself: keys to tell, frames for its partner, its announcement, its presses, its reports.
    fn go_on(&mut self, now_ns: u64, slot: Slot, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        self.tell_keys(now_ns, slot, io)?;
        self.follow_source(now_ns, slot)?;
        self.forward_due(now_ns, slot, io)?;
        self.at = slot;
        let chance = if self.leg(slot).is_some_and(|leg| leg.deadline() <= now_ns) {
            self.rng.next_u32()
        } else {
            0
        };
        let Self { slots, scratch, .. } = self;
        let Some(leg) = slots
            .get_mut(slot.0)
            .and_then(Option::as_mut)
            .filter(|leg| leg.is_alive())
        else {
            return Ok(());
        };
        play(leg, now_ns, scratch, io)?;
        leg.send_dtmf(now_ns, scratch, io)?;
        leg.repair(now_ns, scratch, io)?;
        leg.send_reports(now_ns, chance, scratch, io)?;
        leg.report(now_ns, scratch, io)
    }

    fn fail(&mut self, slot: Slot, fault: MediaFault, io: &mut impl MediaIo) {
        let Some(leg) = self
            .leg(slot)
            .filter(|leg| leg.is_alive() || matches!(fault, MediaFault::Internal | MediaFault::Plugin))
        else {
            return;
        };
        debug!(leg = leg.key.0, %fault, "media leg failed");
        leg.give_up();
        let leg = leg.key;
        io.event(MediaEvent::Failed { leg, fault });
    }

    fn schedule(&mut self, now_ns: u64, slot: Slot) {
        let Some(leg) = self.slots.get_mut(slot.0).and_then(Option::as_mut) else {
            return;
        };
        let mut due = leg.deadline();
        if due <= now_ns {
            due = now_ns + MIN_RESCHEDULE_NS;
        }
        if due < leg.scheduled_ns {
            leg.scheduled_ns = due;
            self.timers.push(Reverse((due, slot)));
        }
    }

    fn set_codec(&mut self, now_ns: u64, slot: Slot, codec: LegCodec) -> Result<(), MediaFault> {
        let Some(table) = self.registry.codec_at(&codec.name, codec.clock).cloned() else {
            return Err(MediaFault::Codec);
        };
        let rate = prompt_rate(table.rates());
        let also = codec
            .also
            .iter()
            .filter_map(|other| {
                Some((
                    self.registry
                        .codec_at(&other.receive.name, other.receive.clock)?
                        .clone(),
                    other.clone(),
                ))
            })
            .collect();
        let Some(leg) = self
            .slots
            .get_mut(slot.0)
            .and_then(Option::as_mut)
            .filter(|leg| leg.is_alive())
        else {
            return Ok(());
        };
        let audio = leg.audio_mut();
        let before = audio.outgoing.take();
        match Outgoing::new(&table, &codec, rate, before, &mut *self.rng) {
            Ok(outgoing) => audio.agree(now_ns, Agreed::new(table, codec, also), outgoing),
            Err(error) => {
                warn!(codec = codec.name, %error, "no encoder for a leg");
                return Err(MediaFault::Codec);
            }
        }
        self.join(slot)
    }
}

/// Gives the leg's announcement what is due of it.
fn play(leg: &mut MediaLeg, now_ns: u64, scratch: &mut Scratch, io: &mut impl MediaIo) -> Result<(), MediaFault> {
    let Some(mut play) = leg.play.take() else { return Ok(()) };
    let Some(outgoing) = leg.audio().outgoing.as_ref().filter(|_| leg.connected) else {
        leg.play = Some(play);
        return Ok(());
    };
    let (rate, frame, frame_ns) = (outgoing.rate(), outgoing.frame(), u64::from(outgoing.frame_us()) * 1000);
    let mut fresh = play.due().is_none();
    play.start(now_ns);
    let mut pcm = std::mem::take(&mut scratch.pcm);
    let mut result = Ok(());
    let mut over = false;
    while play.due().is_some_and(|due| due <= now_ns) && result.is_ok() && !over {
        let frame = &mut pcm[..frame.min(MAX_FRAME)];
        over = !play.fill(rate, frame);
        if !over {
            result = leg.send_frame(now_ns, frame, std::mem::take(&mut fresh), scratch, io);
            play.advance(now_ns, frame_ns);
        }
    }
    scratch.pcm = pcm;
    leg.audio_mut().interrupted = true;
    if over {
        io.event(MediaEvent::Played {
            leg: leg.key,
            play: play.key(),
        });
    } else {
        leg.play = Some(play);
    }
    result
}

/// The rate of an encoder that only speaks announcements yet.
fn prompt_rate(rates: &[u32]) -> u32 {
    let above = rates.iter().copied().filter(|rate| *rate >= PROMPT_RATE).min();
    above.or_else(|| rates.iter().copied().max()).unwrap_or(8_000)
}
