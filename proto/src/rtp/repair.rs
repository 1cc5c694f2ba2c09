//! Which packets of a stream that we receive are missing, and when to ask for them: generic NACK, RFC 4585 §6.2.1.
//!
//! A gap is asked for at once; where packets stop coming, the next one is asked for a little after it was due, for a gap shows
//! only when a packet has come behind it. Each is asked for again while the answer can still be heard. What comes for having been
//! asked for is told from what comes by itself, since it says nothing about the way of the others.

#[cfg(test)]
mod tests;

use super::packet::Packet;

/// Packets that are missing at a time, and the longest gap that is asked for.
const MAX_MISSING: usize = 64;
/// How often one packet is asked for.
const MAX_ASKS: u8 = 4;
/// Packets that are asked for though nothing has come behind them: those of a burst of loss.
const MAX_AHEAD: i64 = 4;
/// How long after it was due a packet is asked for if nothing has come at all.
const GUARD_NS: u64 = 20_000_000;
const MAX_GUARD_NS: u64 = 1_000_000_000;
/// Beyond the time that an answer takes, before a packet is asked for again.
const AGAIN_NS: u64 = 15_000_000;
/// How long an answer takes, before anything is known of that.
const FIRST_ANSWER_NS: u64 = 120_000_000;
/// How long a packet that nobody waits for any more is known for what it is, should it come.
const REMEMBER_NS: u64 = 2_000_000_000;
/// Of the last packets so many count for the share that was lost, the older the less: the larger of the two shares is told, so that what
/// follows it grows soon and does not sway.
const SHORT_MEMORY: f32 = 50.0;
const LONG_MEMORY: f32 = 200.0;
/// Less is none.
const NO_LOSS: f32 = 0.002;
/// The same of the lost ones for the share that came after all, and what is taken for that at first.
const SUCCESS_MEMORY: f32 = 50.0;
const FIRST_SUCCESS: f32 = 0.8;
/// A packet is asked for at least for so long, however soon it is heard: what is learnt by it may be worth waiting for.
const MIN_WAIT_NS: u64 = 200_000_000;
/// What one ask costs of what each packet that comes gives one of: half as many may be asked for as come, and so many at once.
const ASK_COSTS: u32 = 2;
const MAX_BUDGET: u32 = 40;
/// Packets are this late on average, the newer the more, and waited for so many times as long.
const LATE_MEMORY: u64 = 16;
const LATE_FACTOR: u64 = 2;
/// Of round trips so many count, the newer the more.
const ROUND_TRIPS: u64 = 4;
/// A round trip that is longer than the shortest by half of it and this is one with a queue, which asking makes longer.
const QUEUE_NS: u64 = 50_000_000;
/// Packets that one [`Repair::poll`] names at most.
pub const MAX_NAMED: usize = 16;

/// What a packet is to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It has come by itself.
    Sent,
    /// It has come because it was asked for.
    Resent,
    /// It was asked for too soon, and has come by itself before.
    Again,
}

/// What is known of a stream besides its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Duration of a packet, in nanoseconds.
    pub packet_ns: u64,
    /// How long a packet that comes now waits until it is heard, in nanoseconds.
    pub wait_ns: u64,
    /// Round trip, if it was measured.
    pub round_trip_ns: Option<u64>,
}

/// Figures since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets asked for, each time counted.
    pub asked: u64,
    /// Packets that came because of it.
    pub repaired: u64,
}

/// How long it takes until a packet that was lost is here after all, as [`Repair::times`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From when it was due until it comes for being asked for the first time, in nanoseconds.
    pub first_ns: u64,
    /// From one time to the next, in nanoseconds.
    pub again_ns: u64,
}

/// Follows one stream. `now_ns` must not go backwards.
#[derive(Debug)]
pub struct Repair {
    stream: Option<Stream>,
    missing: Vec<Missing>,
    /// Smoothed time from the question to the answer, as it was seen.
    answer_ns: Option<u64>,
    /// The round trip as it was measured last, and smoothed.
    last_ns: Option<u64>,
    reported_ns: Option<u64>,
    shortest_ns: Option<u64>,
    /// How long we wait for a packet that was due, as what came of it has taught.
    guard_ns: u64,
    /// How much earlier or later than due packets come.
    late_ns: u64,
    lost_of_late: f32,
    lost: f32,
    success: f32,
    budget: u32,
    counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    ssrc: u32,
    highest: i64,
    heard_ns: u64,
    packet_ns: u64,
    wait_ns: u64,
    /// How many behind the highest are being asked for though nothing has come.
    ahead: i64,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: i64,
    /// When it was found missing.
    since_ns: u64,
    /// When it is asked for next; `None`: not any more.
    due_ns: Option<u64>,
    /// When it would be too late.
    until_ns: u64,
    asked_ns: u64,
    asks: u8,
    /// It has come by itself after it was asked for; what was asked for comes as well.
    has_come: bool,
}

impl Default for Repair {
    fn default() -> Self {
        Self::new()
    }
}

impl Repair {
    /// Nothing received.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stream: None,
            missing: Vec::with_capacity(MAX_MISSING),
            answer_ns: None,
            last_ns: None,
            reported_ns: None,
            shortest_ns: None,
            guard_ns: GUARD_NS,
            late_ns: 0,
            lost_of_late: 0.0,
            lost: 0.0,
            success: FIRST_SUCCESS,
            budget: MAX_BUDGET,
            counts: Counts::default(),
        }
    }

    /// The stream begins anew with its next packet.
    pub fn restart(&mut self) {
        self.stream = None;
        self.missing.clear();
    }

    /// The figures.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The share of the packets of late that did not come by themselves, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f32 {
        let loss = self.lost_of_late.max(self.lost);
        if loss < NO_LOSS { 0.0 } else { loss }
    }

    /// The share of the lost packets of late that came for being asked for, 0 to 1.
    #[must_use]
    pub fn success(&self) -> f32 {
        self.success
    }

    /// How long repair takes now.
    #[must_use]
    pub fn times(&self) -> Times {
        let packet_ns = self.stream.map_or(0, |stream| stream.packet_ns);
        Times {
            first_ns: self.guard().min(packet_ns) + self.answer_ns(),
            again_ns: self.answer_ns() + AGAIN_NS,
        }
    }

    /// Takes a packet of the stream.
    pub fn received(&mut self, packet: &Packet<'_>, now_ns: u64, timing: Timing) -> Arrival {
        if let Some(round_trip_ns) = timing.round_trip_ns.filter(|_| timing.round_trip_ns != self.last_ns) {
            self.last_ns = timing.round_trip_ns;
            let before_ns = self.reported_ns.unwrap_or(round_trip_ns);
            self.reported_ns = Some((before_ns * (ROUND_TRIPS - 1) + round_trip_ns) / ROUND_TRIPS);
            self.shortest_ns = Some(self.shortest_ns.unwrap_or(round_trip_ns).min(round_trip_ns));
        }
        self.budget = (self.budget + 1).min(MAX_BUDGET);
        let known = self.stream.filter(|stream| stream.ssrc == packet.ssrc);
        let Some(stream) = known else {
            self.missing.clear();
            self.stream = Some(Stream {
                ssrc: packet.ssrc,
                highest: i64::from(packet.sequence),
                heard_ns: now_ns,
                packet_ns: timing.packet_ns,
                wait_ns: timing.wait_ns,
                ahead: 0,
            });
            return Arrival::Sent;
        };
        let ahead = i64::from(packet.sequence.wrapping_sub(stream.highest as u16) as i16);
        let sequence = stream.highest + ahead;
        let success = &mut self.success;
        self.missing.retain(|missing| {
            let is_awaited = now_ns < missing.since_ns.saturating_add(REMEMBER_NS);
            // One that was asked for before anything came behind it need not be there.
            if !is_awaited && missing.sequence < stream.highest && !missing.has_come {
                *success -= *success / SUCCESS_MEMORY;
            }
            is_awaited
        });
        let place = self.missing.iter().position(|missing| missing.sequence == sequence);
        let found = place.map(|place| self.missing.swap_remove(place));
        let arrival = found.map_or(Arrival::Sent, |found| self.judge(found, now_ns));
        if arrival == Arrival::Again {
            return arrival;
        }
        if ahead > 0 {
            let gap = ahead - 1;
            if gap as usize > MAX_MISSING / 2 {
                self.missing.clear();
            } else {
                for back in (1..=gap).rev() {
                    self.miss(sequence - back, now_ns, back as u64 * timing.packet_ns, timing);
                }
            }
            self.count(gap.min(MAX_MISSING as i64) as u32, arrival);
            if arrival == Arrival::Sent && ahead == 1 {
                let late_ns = now_ns.abs_diff(stream.heard_ns + timing.packet_ns).min(MAX_GUARD_NS);
                self.late_ns = (self.late_ns * (LATE_MEMORY - 1) + late_ns) / LATE_MEMORY;
            }
            // When the next one is due a packet that was asked for does not tell.
            let due_ns = match arrival {
                Arrival::Sent => now_ns,
                Arrival::Resent | Arrival::Again => stream.heard_ns + ahead as u64 * timing.packet_ns,
            };
            self.stream = Some(Stream {
                highest: sequence,
                heard_ns: due_ns,
                packet_ns: timing.packet_ns,
                wait_ns: timing.wait_ns,
                ahead: (stream.ahead - ahead).max(0),
                ..stream
            });
        } else if arrival == Arrival::Sent && found.is_some() {
            // It was only late.
            self.lost_of_late = (self.lost_of_late - 1.0 / SHORT_MEMORY).max(0.0);
            self.lost = (self.lost - 1.0 / LONG_MEMORY).max(0.0);
        }
        arrival
    }

    /// When [`Repair::poll`] is wanted; `None` while nothing is missing and nothing is awaited.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let due = self.missing.iter().filter_map(|missing| missing.due_ns).min();
        due.into_iter().chain(self.ahead_due()).min()
    }

    /// The packets to ask for now, as they are on the wire, and whose: at most [`MAX_NAMED`] of them.
    pub fn poll(&mut self, now_ns: u64, sequences: &mut Vec<u16>) -> Option<u32> {
        sequences.clear();
        while self.ahead_due().is_some_and(|due| due <= now_ns)
            && let Some(stream) = &mut self.stream
        {
            stream.ahead += 1;
            let sequence = stream.highest + stream.ahead;
            let timing = Timing {
                packet_ns: stream.packet_ns,
                wait_ns: stream.wait_ns,
                round_trip_ns: self.reported_ns,
            };
            if self.missing.iter().all(|missing| missing.sequence != sequence) {
                self.miss(sequence, now_ns, self.guard(), timing);
            }
        }
        let answer_ns = self.answer_ns();
        let again_ns = answer_ns + AGAIN_NS;
        let max_asks = if self.is_queueing() { 1 } else { MAX_ASKS };
        for missing in &mut self.missing {
            let Some(due_ns) = missing.due_ns.filter(|due_ns| *due_ns <= now_ns) else {
                continue;
            };
            if sequences.len() == MAX_NAMED || self.budget < ASK_COSTS {
                // In the next packet, or not any more.
                missing.due_ns = (self.budget >= ASK_COSTS).then_some(due_ns);
                continue;
            }
            self.budget -= ASK_COSTS;
            self.counts.asked += 1;
            sequences.push(missing.sequence as u16);
            (missing.asks, missing.asked_ns) = (missing.asks + 1, now_ns);
            let next_ns = now_ns + again_ns;
            let is_in_time = next_ns + answer_ns <= missing.until_ns;
            missing.due_ns = (missing.asks < max_asks && is_in_time).then_some(next_ns);
        }
        self.stream.filter(|_| !sequences.is_empty()).map(|stream| stream.ssrc)
    }

    /// When the next packet is asked for unless it or one behind it has come.
    fn ahead_due(&self) -> Option<u64> {
        // Before the round trip is known one that is late cannot be told from an answer.
        let is_sure = self.reported_ns.is_some() && self.guard_ns < MAX_GUARD_NS && !self.is_queueing();
        let stream = self
            .stream
            .filter(|stream| is_sure && stream.ahead < MAX_AHEAD && stream.packet_ns > 0)?;
        Some(stream.heard_ns + (stream.ahead as u64 + 1) * stream.packet_ns + self.guard())
    }

    /// A packet that was due so long ago is missing.
    fn miss(&mut self, sequence: i64, now_ns: u64, since_due_ns: u64, timing: Timing) {
        if self.missing.len() == MAX_MISSING || self.missing.iter().any(|missing| missing.sequence == sequence) {
            return;
        }
        let until_ns = (now_ns + timing.wait_ns.max(MIN_WAIT_NS)).saturating_sub(since_due_ns);
        self.missing.push(Missing {
            sequence,
            since_ns: now_ns,
            due_ns: Some(now_ns),
            until_ns,
            asked_ns: 0,
            asks: 0,
            has_come: false,
        });
    }

    /// Whether a packet that was missing has come by itself: sooner than an answer can have come.
    fn judge(&mut self, found: Missing, now_ns: u64) -> Arrival {
        if found.has_come {
            return Arrival::Again;
        }
        let took_ns = now_ns.saturating_sub(found.asked_ns);
        let soonest_ns = self.soonest_ns();
        let is_ahead = self.stream.is_some_and(|stream| found.sequence > stream.highest);
        if found.asks == 0 || found.asks == 1 && took_ns < soonest_ns {
            if is_ahead {
                self.guard_ns = (self.guard_ns / 4 * 5).min(MAX_GUARD_NS);
            }
            if found.asks > 0 {
                self.missing.push(Missing {
                    due_ns: None,
                    has_come: true,
                    ..found
                });
            }
            return Arrival::Sent;
        }
        self.counts.repaired += 1;
        self.success += (1.0 - self.success) / SUCCESS_MEMORY;
        if is_ahead {
            self.guard_ns = (self.guard_ns / 8 * 7).max(GUARD_NS);
        }
        if found.asks == 1 {
            let before_ns = self.answer_ns.unwrap_or(took_ns);
            self.answer_ns = Some((3 * before_ns + took_ns) / 4);
        }
        Arrival::Resent
    }

    /// How long after it was due a packet is asked for.
    fn guard(&self) -> u64 {
        self.guard_ns.max(LATE_FACTOR * self.late_ns)
    }

    /// Whether packets wait somewhere on the way.
    fn is_queueing(&self) -> bool {
        let both = self.reported_ns.zip(self.shortest_ns);
        both.is_some_and(|(now_ns, shortest_ns)| now_ns > shortest_ns / 2 * 3 + QUEUE_NS)
    }

    /// No answer comes sooner.
    fn soonest_ns(&self) -> u64 {
        self.shortest_ns.map_or(0, |round_trip_ns| round_trip_ns / 10 * 9)
    }

    fn answer_ns(&self) -> u64 {
        let seen_ns = self.answer_ns.or(self.reported_ns).unwrap_or(FIRST_ANSWER_NS);
        // Before the round trip was known, one that was only late may have been taken for an answer.
        seen_ns.max(self.soonest_ns())
    }

    /// A packet has come behind this gap.
    fn count(&mut self, gap: u32, arrival: Arrival) {
        for lost in (0..gap).map(|_| true).chain([arrival == Arrival::Resent]) {
            let lost = f32::from(u8::from(lost));
            self.lost_of_late += (lost - self.lost_of_late) / SHORT_MEMORY;
            self.lost += (lost - self.lost) / LONG_MEMORY;
        }
    }
}
