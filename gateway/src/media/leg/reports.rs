//! What a leg says to its peer of the streams both ways: RTCP sender and receiver reports, and goodbye.

use quartet_proto::rtp::rtcp::{self, MAX_REPORT};

use super::{AUDIO, MediaIo, MediaLeg, Scratch};
use crate::media::{command::MediaFault, command::Nack, stream::Stream};
use crate::plugins::{About, PacketKind};

/// The first report, if there is nothing to report of sooner, and the usual distance of the others: RFC 3550 §6.2 with its minimum
/// of 5 s.
const FIRST_NS: u64 = 1_000_000_000;
const USUAL_NS: u64 = 5_000_000_000;
/// The same to a peer that follows what we say (RFC 4585): the sooner it knows of loss, the sooner it protects what it sends.
const SOON_NS: u64 = 1_000_000_000;

/// When reports are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Schedule {
    /// `None` before there is a connection.
    pub(super) due_ns: Option<u64>,
    /// Something that was received has been reported.
    has_begun: bool,
}

impl Schedule {
    pub(super) fn connected(&mut self, now_ns: u64) {
        self.due_ns = Some(now_ns + FIRST_NS);
    }

    /// The first media is reported at once.
    pub(super) fn received(&mut self, now_ns: u64) {
        if self.due_ns.is_some() && !std::mem::replace(&mut self.has_begun, true) {
            self.due_ns = Some(now_ns);
        }
    }

    /// Whether it is time; half to one and a half of the interval later it is again, so that reports of many legs do not march in
    /// step.
    fn is_due(&mut self, now_ns: u64, interval_ns: u64, chance: u32) -> bool {
        let is_due = self.due_ns.is_some_and(|due_ns| due_ns <= now_ns);
        if is_due {
            self.due_ns = Some(now_ns + interval_ns / 2 + interval_ns * u64::from(chance % 1024) / 1024);
        }
        is_due
    }
}

impl MediaLeg {
    /// Reports to the peer if it is time; `chance` spreads that.
    pub(crate) fn send_reports(
        &mut self,
        now_ns: u64,
        chance: u32,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let audio = &self.streams[AUDIO];
        if audio.incoming.has_received() {
            self.reports.received(now_ns);
        }
        let interval_ns = if audio.repairs() { SOON_NS } else { USUAL_NS };
        if !self.reports.is_due(now_ns, interval_ns, chance) {
            return Ok(());
        }
        let Some((outgoing, incoming)) = self.streams[AUDIO].both_ways() else {
            return Ok(());
        };
        let mut bytes = [0; MAX_REPORT];
        match outgoing.write_rtcp(now_ns, &mut incoming.reception, &self.cname, &mut bytes) {
            Ok(length) => self.send(now_ns, PacketKind::Rtcp, &bytes[..length], &mut scratch.packet, io),
            Err(_) => Ok(()),
        }
    }

    /// Says goodbye to the peer: RTCP BYE, then whatever the session has for it.
    pub(crate) fn say_goodbye(
        &mut self,
        now_ns: u64,
        scratch: &mut Scratch,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        if let Some(outgoing) = self.audio().outgoing.as_ref().filter(|_| self.connected) {
            let mut bytes = [0; 64];
            if let Ok(length) = rtcp::write_bye(&mut bytes, outgoing.ssrc()) {
                self.send(now_ns, PacketKind::Rtcp, &bytes[..length], &mut scratch.packet, io)?;
            }
        }
        self.tell_session(now_ns, About::Control, "close\n")?;
        self.drain(now_ns, io)?;
        self.lower.close(now_ns, io);
        Ok(())
    }
}

impl Stream {
    /// Whether the peer sends lost packets again.
    fn repairs(&self) -> bool {
        self.agreed
            .as_ref()
            .is_some_and(|agreed| agreed.codec.nack != Nack::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_media_is_reported_at_once_and_then_at_its_interval() {
        let mut schedule = Schedule::default();
        schedule.received(5);
        assert_eq!(schedule.due_ns, None, "there is no connection");
        schedule.connected(10);
        assert!(!schedule.is_due(10, SOON_NS, 0));
        schedule.received(20);
        schedule.received(30);
        assert!(schedule.is_due(30, SOON_NS, 1023));
        let due_ns = schedule.due_ns.unwrap() - 30;
        assert!((SOON_NS..=SOON_NS * 3 / 2).contains(&due_ns), "{due_ns}");
        assert!(!schedule.is_due(30 + SOON_NS / 2, SOON_NS, 0));
    }
}
