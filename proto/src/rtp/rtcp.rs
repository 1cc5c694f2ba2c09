//! Sender and receiver reports (over rtcp-types): what we tell the peer about its stream, and what it tells of ours.
//!
//! Building a report allocates a few small vectors inside rtcp-types, some times a minute. RFC 3550 §6, appendix A.3, A.8.

use std::time::Duration;

use rtcp_types::{
    Bye, Compound, Nack, Packet as Rtcp, ReceiverReport, ReportBlock, ReportBlockBuilder, RtcpPacketWriterExt, Sdes,
    SdesBuilder, SdesChunk, SdesItem, SenderReport, TransportFeedback,
};

use super::packet::Packet;
use super::sender::Sender;
use super::stream::MAX_DROPOUT;
use super::{ns_to_ticks, ticks_to_ns};

/// Enough for any report that [`write`] makes: SR with one block, SDES with a name of up to 64 bytes.
pub const MAX_REPORT: usize = 160;

/// Packets that one compound packet of the peer may ask for.
pub const MAX_ASKED: usize = 64;

/// Why a report was not built or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RtcpError {
    /// The peer broke RFC 3550.
    #[error("not an RTCP packet")]
    Malformed,
    /// The buffer is smaller than [`MAX_REPORT`], or the name too long: the caller's bug.
    #[error("no room for the report")]
    NoRoom,
}

/// Our view of one stream that we receive: loss, jitter, and the times needed to measure the round trip.
#[derive(Clone, Debug)]
pub struct Reception {
    clock: u32,
    source: Option<Source>,
    lost_before: u64,
    min_fraction_lost: u8,
}

#[derive(Clone, Debug)]
struct Source {
    ssrc: u32,
    base: u64,
    highest: u64,
    received: u64,
    /// Expected and received at the last report.
    reported: (u64, u64),
    transit: i64,
    /// Jitter in ticks, times 16.
    jitter: u64,
    /// Middle of the NTP time in the last sender report, and when it came.
    report: Option<(u32, u64)>,
}

/// Figures of a stream since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Packets received, duplicates included.
    pub received: u64,
    /// Packets that should have come but did not; zero if duplicates outnumber them.
    pub lost: u64,
    /// Interarrival jitter of RFC 3550.
    pub jitter: Duration,
}

impl Reception {
    /// Nothing received; `clock` is the RTP clock of the stream.
    #[must_use]
    pub fn new(clock: u32) -> Self {
        Reception {
            clock: clock.max(1),
            source: None,
            lost_before: 0,
            min_fraction_lost: 0,
        }
    }

    /// The share of loss that is told at least, in 1/256: a sender protects its packets from a figure of its own on.
    pub fn set_min_fraction_lost(&mut self, fraction: u8) {
        self.min_fraction_lost = fraction;
    }

    /// The next packet begins anew, on this clock.
    pub fn restart(&mut self, clock: u32) {
        self.lost_before = self.lost_in_all();
        (self.clock, self.source) = (clock.max(1), None);
    }

    /// What was lost of all streams so far, of those too that ended when another began.
    #[must_use]
    pub fn lost_in_all(&self) -> u64 {
        self.lost_before + self.quality().lost
    }

    /// Counts a packet that arrived at `arrival_ns`. A new SSRC, or a jump of 3000 packets, begins anew: which packets are
    /// to be believed is for [`super::stream`].
    pub fn received(&mut self, packet: &Packet<'_>, arrival_ns: u64) {
        let arrival = ns_to_ticks(arrival_ns, self.clock);
        let transit = i64::from(arrival.wrapping_sub(packet.timestamp));
        let known = self.source.as_mut().filter(|source| {
            let ahead = packet.sequence.wrapping_sub(source.highest as u16) as i16;
            source.ssrc == packet.ssrc && (-MAX_DROPOUT..MAX_DROPOUT).contains(&i64::from(ahead))
        });
        let Some(source) = known else {
            // Begins one turn up, so that a packet from before the first has a number too.
            let first = 0x1_0000 + u64::from(packet.sequence);
            let report = self
                .source
                .as_ref()
                .filter(|source| source.ssrc == packet.ssrc)
                .and_then(|source| source.report);
            self.lost_before = self.lost_in_all();
            self.source = Some(Source {
                ssrc: packet.ssrc,
                base: first,
                highest: first,
                received: 1,
                reported: (0, 0),
                transit,
                jitter: 0,
                report,
            });
            return;
        };
        let ahead = packet.sequence.wrapping_sub(source.highest as u16) as i16;
        if ahead > 0 {
            source.highest += ahead as u64;
        }
        source.received += 1;
        let change = u64::from((transit.wrapping_sub(source.transit) as i32).unsigned_abs());
        source.transit = transit;
        // More than a second is a clock set anew, not jitter.
        if change < u64::from(self.clock) {
            source.jitter = source.jitter + change - ((source.jitter + 8) >> 4);
        }
    }

    /// The SSRC of the stream, once a packet came.
    #[must_use]
    pub fn ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|source| source.ssrc)
    }

    /// The figures so far.
    #[must_use]
    pub fn quality(&self) -> Quality {
        let Some(source) = &self.source else {
            return Quality::default();
        };
        let jitter_ns = ticks_to_ns((source.jitter >> 4) as i64, self.clock);
        Quality {
            received: source.received,
            lost: source.expected().saturating_sub(source.received),
            jitter: Duration::from_nanos(jitter_ns.unsigned_abs()),
        }
    }

    /// The block about this stream, and the start of the next interval.
    fn block(&mut self, now_ns: u64) -> Option<ReportBlockBuilder> {
        let min_fraction_lost = self.min_fraction_lost;
        let source = self.source.as_mut()?;
        let expected = source.expected();
        let (old_expected, old_received) = source.reported;
        source.reported = (expected, source.received);
        let interval = expected.saturating_sub(old_expected);
        let lost = interval.saturating_sub(source.received - old_received);
        let fraction = (lost * 256).checked_div(interval).unwrap_or(0).min(255) as u8;
        let fraction = fraction.max(min_fraction_lost);
        // A signed 24-bit number that may not wrap. RFC 3550 §6.4.1.
        let cumulative = (expected as i64 - source.received as i64).clamp(-0x80_0000, 0x7F_FFFF);
        let (last, since) = match source.report {
            Some((ntp, at_ns)) => (ntp, ns_to_ticks(now_ns.saturating_sub(at_ns), 65_536)),
            None => (0, 0),
        };
        Some(
            ReportBlock::builder(source.ssrc)
                .fraction_lost(fraction)
                .cumulative_lost(cumulative as u32 & 0xFF_FFFF)
                .extended_sequence_number((source.highest - 0x1_0000) as u32)
                .interarrival_jitter((source.jitter >> 4) as u32)
                .last_sender_report_timestamp(last)
                .delay_since_last_sender_report_timestamp(since),
        )
    }
}

impl Source {
    fn expected(&self) -> u64 {
        self.highest - self.base + 1
    }
}

/// Writes a compound report into `out`: SR if `sender` has sent anything, else RR, with a block about `reception`, then SDES
/// with `name` as CNAME (at most 64 bytes; random, so that it tells nothing). Its length.
///
/// The NTP time in it is `now_ns` itself: time since the caller's origin is enough for the round trip (RFC 3550 §4).
/// `timestamp` is the RTP timestamp that belongs to `now_ns`.
///
/// # Errors
/// [`RtcpError::NoRoom`].
pub fn write(
    out: &mut [u8],
    now_ns: u64,
    sender: &Sender,
    timestamp: u32,
    reception: &mut Reception,
    name: &str,
) -> Result<usize, RtcpError> {
    if out.len() < MAX_REPORT || name.len() > 64 {
        return Err(RtcpError::NoRoom);
    }
    let block = reception.block(now_ns);
    let names = names(sender.ssrc(), name);
    let written = if sender.packets() == 0 {
        let mut report = ReceiverReport::builder(sender.ssrc());
        if let Some(block) = block {
            report = report.add_report_block(block);
        }
        Compound::builder().add_packet(report).add_packet(names).write_into(out)
    } else {
        let mut report = SenderReport::builder(sender.ssrc())
            .ntp_timestamp(ntp(now_ns))
            .rtp_timestamp(timestamp)
            .packet_count(sender.packets())
            .octet_count(sender.octets());
        if let Some(block) = block {
            report = report.add_report_block(block);
        }
        Compound::builder().add_packet(report).add_packet(names).write_into(out)
    };
    written.map_err(|_| RtcpError::NoRoom)
}

fn names(ssrc: u32, name: &str) -> SdesBuilder<'_> {
    Sdes::builder().add_chunk(SdesChunk::builder(ssrc).add_item(SdesItem::builder(SdesItem::CNAME, name)))
}

/// Writes a BYE for our stream, behind an empty RR as RFC 3550 §6.1 wants it. Its length.
///
/// # Errors
/// [`RtcpError::NoRoom`].
pub fn write_bye(out: &mut [u8], ssrc: u32) -> Result<usize, RtcpError> {
    let report = ReceiverReport::builder(ssrc);
    let bye = Bye::builder().add_source(ssrc);
    Compound::builder()
        .add_packet(report)
        .add_packet(bye)
        .write_into(out)
        .map_err(|_| RtcpError::NoRoom)
}

/// Writes a generic NACK: we, `ssrc`, miss these packets of the stream `peer`. It is behind an empty RR and our CNAME (as in
/// [`write`]), as RFC 4585 §3.1 wants it of who has not agreed on less (RFC 5506). Its length.
///
/// # Errors
/// [`RtcpError::NoRoom`]; [`MAX_REPORT`] and 12 bytes, and 4 for each packet, are always enough.
pub fn write_nack(out: &mut [u8], ssrc: u32, name: &str, peer: u32, sequences: &[u16]) -> Result<usize, RtcpError> {
    let add = |nack: rtcp_types::NackBuilder, sequence: &u16| nack.add_rtp_sequence(*sequence);
    let nack = sequences.iter().fold(Nack::builder(), add);
    let feedback = TransportFeedback::builder(&nack).sender_ssrc(ssrc).media_ssrc(peer);
    Compound::builder()
        .add_packet(ReceiverReport::builder(ssrc))
        .add_packet(names(ssrc, name))
        .add_packet(feedback)
        .write_into(out)
        .map_err(|_| RtcpError::NoRoom)
}

/// What a compound packet of the peer says that we use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// What the peer says of our stream.
    pub ours: Option<PeerReport>,
    /// Packets of our stream that the peer asks for, at most [`MAX_ASKED`].
    pub asked: Vec<u16>,
    /// The peer's stream is over.
    pub bye: bool,
    /// The peer has sent a report, so that it is there.
    pub alive: bool,
}

/// What the peer says of our stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// Share lost since its last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the stream began; negative if duplicates came.
    pub lost: i32,
    /// Interarrival jitter, in ticks of our stream's clock.
    pub jitter_ticks: u32,
    /// Round trip, if the peer has had a report of ours.
    pub round_trip: Option<Duration>,
}

/// Reads a compound packet that arrived at `now_ns`; remembers in `reception` the sender report that our next report answers.
///
/// Reports about other SSRCs than `ours` are ignored, and so is what another SSRC says than `peer`, the one of the peer's
/// stream: who forges a report needs to know it. `None` while nothing has been heard: a peer that only listens reports too.
///
/// # Errors
/// [`RtcpError::Malformed`] if the packet is not RTCP; what came before the broken part is used all the same.
pub fn read(
    bytes: &[u8],
    now_ns: u64,
    ours: u32,
    peer: Option<u32>,
    reception: &mut Reception,
) -> Result<Feedback, RtcpError> {
    let mut feedback = Feedback::default();
    let is_peer = |ssrc: u32| peer.is_none_or(|peer| peer == ssrc);
    for packet in Compound::parse(bytes).map_err(|_| RtcpError::Malformed)? {
        match packet.map_err(|_| RtcpError::Malformed)? {
            Rtcp::Sr(report) if is_peer(report.ssrc()) => {
                feedback.alive = true;
                if let Some(source) = reception.source.as_mut().filter(|source| source.ssrc == report.ssrc()) {
                    source.report = Some(((report.ntp_timestamp() >> 16) as u32, now_ns));
                }
                for block in report.report_blocks() {
                    feedback.take(&block, now_ns, ours);
                }
            }
            Rtcp::Rr(report) if is_peer(report.ssrc()) => {
                feedback.alive = true;
                for block in report.report_blocks() {
                    feedback.take(&block, now_ns, ours);
                }
            }
            Rtcp::TransportFeedback(report) if is_peer(report.sender_ssrc()) && report.media_ssrc() == ours => {
                // Other kinds of feedback are none of ours.
                if let Ok(nack) = report.parse_fci::<Nack<'_>>() {
                    let room = MAX_ASKED - feedback.asked.len();
                    feedback.asked.extend(nack.entries().take(room));
                }
            }
            Rtcp::Bye(bye) => feedback.bye |= bye.ssrcs().any(|ssrc| Some(ssrc) == peer),
            Rtcp::Sr(_)
            | Rtcp::Rr(_)
            | Rtcp::App(_)
            | Rtcp::Sdes(_)
            | Rtcp::TransportFeedback(_)
            | Rtcp::PayloadFeedback(_)
            | Rtcp::Xr(_)
            | Rtcp::Unknown(_) => {}
        }
    }
    Ok(feedback)
}

impl Feedback {
    fn take(&mut self, block: &ReportBlock<'_>, now_ns: u64, ours: u32) {
        if block.ssrc() != ours {
            return;
        }
        let sent = block.last_sender_report_timestamp();
        let round_trip = (sent != 0).then(|| {
            let since = block.delay_since_last_sender_report_timestamp();
            ((ntp(now_ns) >> 16) as u32).wrapping_sub(sent).wrapping_sub(since)
        });
        // A value over half the range is negative: clocks that tick unevenly, or a lie.
        let round_trip = round_trip
            .filter(|units| *units < 0x8000_0000)
            .map(|units| Duration::from_nanos(u64::from(units) * 1_000_000_000 / 65_536));
        self.ours = Some(PeerReport {
            fraction_lost: block.fraction_lost(),
            lost: (block.cumulative_lost() << 8) as i32 >> 8,
            jitter_ticks: block.interarrival_jitter(),
            round_trip,
        });
    }
}

/// Seconds and fractions as NTP counts them, from our own origin plus one second, so that it is never the zero of "unknown".
fn ntp(now_ns: u64) -> u64 {
    let seconds = now_ns / 1_000_000_000 + 1;
    let fraction = ((now_ns % 1_000_000_000) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

/// The streams that a packet of RTCP says something about: those of its report blocks, and of its feedback. RFC 3550 §6.4, RFC 4585
/// §6.1.
pub fn named(packet: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let mut rest = packet;
    let parts = std::iter::from_fn(move || {
        let words = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let (part, next) = rest.split_at_checked(4 * (words + 1)).unwrap_or((rest, &[]));
        rest = next;
        Some(part)
    });
    parts.flat_map(|part| {
        let (first, size, count) = match part.get(1) {
            Some(200) => (28, 24, part[0] & 31),
            Some(201) => (8, 24, part[0] & 31),
            Some(205 | 206) => (8, 4, 1),
            _ => (0, 4, 0),
        };
        let at = move |index: u8| first + size * usize::from(index);
        (0..count)
            .filter_map(move |index| Some(u32::from_be_bytes(part.get(at(index)..at(index) + 4)?.try_into().ok()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    const MS: u64 = 1_000_000;

    fn packet(sequence: u16, timestamp: u32) -> Packet<'static> {
        Packet {
            payload_type: 0,
            marker: false,
            sequence,
            timestamp,
            ssrc: 9,
            extension: None,
            payload: &[],
            payload_offset: 12,
        }
    }

    fn sender(ssrc: u32) -> Sender {
        Sender::new(ssrc, &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn two_ends_measure_loss_and_round_trip() {
        let mut a = sender(9);
        let b = sender(8);
        let mut heard_by_a = Reception::new(8000);
        let mut heard_by_b = Reception::new(8000);
        for index in 0..100u64 {
            let mut bytes = [0u8; 12];
            a.next(160, 0, false, &mut bytes).unwrap();
            if index % 4 != 3 {
                heard_by_b.received(&Packet::parse(&bytes).unwrap(), index * 20 * MS + 50 * MS);
            }
        }
        let mut out = [0u8; MAX_REPORT];
        let n = write(&mut out, 2000 * MS, &a, a.timestamp(), &mut heard_by_a, "x").unwrap();
        let told = read(&out[..n], 2050 * MS, 8, Some(9), &mut heard_by_b).unwrap();
        assert_eq!((told.ours, told.bye, told.alive), (None, false, true));
        let n = write(&mut out, 2100 * MS, &b, b.timestamp(), &mut heard_by_b, "y").unwrap();
        let told = read(&out[..n], 2130 * MS, 9, None, &mut heard_by_a)
            .unwrap()
            .ours
            .unwrap();
        assert_eq!(told.lost, 24);
        assert_eq!(told.fraction_lost, (24 * 256 / 99) as u8);
        let round_trip = told.round_trip.unwrap();
        assert!((79..=81).contains(&round_trip.as_millis()), "{round_trip:?}");
        assert!(told.jitter_ticks < 8);
        assert_eq!(heard_by_b.quality().lost, 24);
    }

    #[test]
    fn jitter_is_that_of_the_formula() {
        let mut reception = Reception::new(8000);
        for index in 0..400u32 {
            let late = if index % 2 == 0 { 0 } else { 10 * MS };
            reception.received(&packet(index as u16, index * 160), u64::from(index) * 20 * MS + late);
        }
        let jitter = reception.quality().jitter.as_millis();
        assert!((9..=10).contains(&jitter), "{jitter}");
    }

    #[test]
    fn sequence_wraps_and_restarts_are_no_loss() {
        let mut reception = Reception::new(8000);
        for index in 0..1000u32 {
            reception.received(
                &packet((65_000 + index) as u16, index * 160),
                1 + u64::from(index) * 20 * MS,
            );
        }
        assert_eq!(reception.quality().lost, 0);
        reception.received(&packet(30_000, 5), 21_000 * MS);
        assert_eq!(
            reception.quality(),
            Quality {
                received: 1,
                lost: 0,
                jitter: Duration::ZERO
            }
        );
        reception.received(&packet(29_999, 5), 21_000 * MS);
        assert_eq!(reception.quality().lost, 0, "one from before the first");
    }

    #[test]
    fn bye_is_read_for_the_stream_we_know() {
        let mut reception = Reception::new(8000);
        reception.received(&packet(1, 1), 1);
        let mut out = [0u8; 64];
        let n = write_bye(&mut out, 9).unwrap();
        assert!(read(&out[..n], 2, 1, Some(9), &mut reception).unwrap().bye);
        let n = write_bye(&mut out, 10).unwrap();
        assert!(!read(&out[..n], 2, 1, Some(9), &mut reception).unwrap().bye);
    }

    #[test]
    fn reports_of_another_source_say_nothing() {
        // Who knows both addresses but has seen no packet: reports, sender reports and a BYE under an SSRC of its own.
        let mut forger = sender(66);
        let mut forged_view = Reception::new(8000);
        for sequence in [1, 200] {
            forged_view.received(
                &Packet {
                    ssrc: 1,
                    ..packet(sequence, 0)
                },
                1,
            );
        }
        let mut ours = Reception::new(8000);
        ours.received(&packet(1, 1), 1);
        for sends in [false, true] {
            if sends {
                forger.next(160, 0, false, &mut [0; 12]).unwrap();
            }
            let mut out = [0u8; MAX_REPORT];
            let n = write(&mut out, 5, &forger, 0, &mut forged_view, "x").unwrap();
            let before = format!("{ours:?}");
            assert_eq!(read(&out[..n], 6, 1, Some(9), &mut ours), Ok(Feedback::default()));
            assert_eq!(format!("{ours:?}"), before, "nothing of it is remembered");
            let told = read(&out[..n], 6, 1, None, &mut ours).unwrap();
            assert!(told.alive && told.ours.is_some(), "a peer that only listens");
            assert!(read(&out[..n], 6, 1, Some(66), &mut ours).unwrap().ours.is_some());
        }
        let mut bye = [0u8; 64];
        let n = write_bye(&mut bye, 66).unwrap();
        assert_eq!(read(&bye[..n], 6, 1, Some(9), &mut ours), Ok(Feedback::default()));
        assert!(!read(&bye[..n], 6, 1, None, &mut ours).unwrap().bye);
    }

    #[test]
    fn small_buffers_and_long_names_are_refused() {
        let mut reception = Reception::new(8000);
        let sender = sender(1);
        assert_eq!(
            write(&mut [0; 20], 0, &sender, 0, &mut reception, "x"),
            Err(RtcpError::NoRoom)
        );
        let name = "n".repeat(65);
        assert_eq!(
            write(&mut [0; MAX_REPORT], 0, &sender, 0, &mut reception, &name),
            Err(RtcpError::NoRoom)
        );
        let name = "n".repeat(64);
        let mut busy = sender.clone();
        busy.next(1, 0, false, &mut [0; 12]).unwrap();
        reception.received(&packet(1, 1), 1);
        assert!(write(&mut [0; MAX_REPORT], 0, &busy, 0, &mut reception, &name).is_ok());
        assert_eq!(write_bye(&mut [0; 3], 1), Err(RtcpError::NoRoom));
    }

    #[test]
    fn mutated_reports_never_panic() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut reception = Reception::new(8000);
        reception.received(&packet(1, 1), 1);
        let mut busy = sender(1);
        busy.next(1, 0, false, &mut [0; 12]).unwrap();
        let mut good = [0u8; MAX_REPORT];
        let length = write(&mut good, 5, &busy, 0, &mut reception, "name").unwrap();
        for round in 0..100_000u64 {
            let mut bytes = good;
            if round % 2 == 0 {
                rng.fill_bytes(&mut bytes);
                bytes[0] = bytes[0] & 0x3F | 0x80;
                bytes[1] = 200 + bytes[1] % 8;
            }
            for _ in 0..rng.next_u32() % 4 {
                bytes[rng.next_u32() as usize % length] = rng.next_u32() as u8;
            }
            let cut = rng.next_u32() as usize % (length + 1);
            let _ = read(&bytes[..cut], round, 1, Some(9), &mut reception);
        }
    }

    #[test]
    fn loss_is_counted_over_streams() {
        let mut reception = Reception::new(8000);
        let hear = |reception: &mut Reception, ssrc: u8, sequence: u8| {
            let bytes = [0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, ssrc];
            reception.received(&Packet::parse(&bytes).unwrap(), 0);
        };
        hear(&mut reception, 1, 1);
        hear(&mut reception, 1, 4);
        hear(&mut reception, 2, 9);
        assert_eq!(
            (reception.quality().lost, reception.lost_in_all()),
            (0, 2),
            "another stream"
        );
        hear(&mut reception, 2, 11);
        reception.restart(48_000);
        assert_eq!((reception.quality(), reception.lost_in_all()), (Quality::default(), 3));
        hear(&mut reception, 2, 12);
        assert_eq!(reception.lost_in_all(), 3);
    }

    #[test]
    fn what_a_packet_names_is_found_in_reports_and_feedback() {
        let word = |value: u32| value.to_be_bytes();
        let mut sender_report = [vec![0x82, 200, 0, 18], vec![1; 24]].concat();
        for ssrc in [7, 8] {
            sender_report.extend_from_slice(&word(ssrc));
            sender_report.extend_from_slice(&[0; 20]);
        }
        let nack = [vec![0x81, 205, 0, 3], word(1).to_vec(), word(9).to_vec(), vec![0; 4]].concat();
        let all = [sender_report, vec![0x81, 202, 0, 1, 0, 0, 0, 1], nack].concat();
        assert_eq!(named(&all).collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!(named(&all[..40]).collect::<Vec<_>>(), [7], "as far as it goes");
        for broken in [
            &[][..],
            &[0x9F, 200],
            &[0x9F, 201, 0xFF, 0xFF],
            &[0x80, 201, 0, 1, 0, 0, 0, 9],
        ] {
            assert_eq!(named(broken).count(), 0);
        }
    }
}
