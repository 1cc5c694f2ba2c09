//! What a leg's session and relays have made by themselves: sent, told to each other and to the call.

use std::time::Duration;

use super::{MediaIo, MediaLeg, on_text};
use crate::media::command::MediaFault;
use crate::media::lower::Risen;
use crate::plugins::{About, Output, TransportEvent};

/// A session that makes more by itself in one go is taken for broken.
const MAX_OUTPUTS: usize = 1_000;
/// Times that session and relays may set each other off in one go; a check over a relay takes two.
const MAX_ROUNDS: usize = 16;

impl MediaLeg {
    /// Takes everything that session and relays have made by themselves, from below upwards.
    pub(crate) fn drain(&mut self, now_ns: u64, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        let mut ask_local = false;
        for _ in 0..MAX_ROUNDS {
            self.drain_lower(now_ns, io)?;
            ask_local |= self.drain_session(now_ns, io)?;
            if !self.lower.is_stirred() {
                break;
            }
        }
        if ask_local {
            self.report_local(now_ns, io)
        } else {
            Ok(())
        }
    }

    fn drain_lower(&mut self, now_ns: u64, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        for _ in 0..MAX_OUTPUTS {
            match self.lower.poll(io) {
                None => break,
                Some(Risen::Lines(lines)) => self.tell_session(now_ns, About::Paths, &lines)?,
                Some(Risen::Datagram(mut packet)) => {
                    let risen = self.rise(now_ns, &mut packet, io);
                    self.lower.give_back(packet);
                    risen?;
                }
            }
        }
        Ok(())
    }

    /// True if the session has new lines.
    fn drain_session(&mut self, now_ns: u64, io: &mut impl MediaIo) -> Result<bool, MediaFault> {
        let mut ask_local = false;
        // Taken out while its outputs are borrowed from it.
        let Some(mut session) = self.session.take() else {
            return Ok(false);
        };
        // What remains if it never stops.
        let mut result = Err(MediaFault::Plugin);
        for _ in 0..MAX_OUTPUTS {
            match session.poll() {
                Output::None { deadline_ns } => {
                    self.session_due_ns = deadline_ns;
                    result = Ok(());
                    break;
                }
                Output::Transmit { path, dst, data } => {
                    self.unsent += u64::from(!self.lower.transmit(now_ns, (path, dst), data, io));
                }
                Output::Rtp(bytes) => self.audio_mut().on_rtp(now_ns, bytes),
                Output::Rtcp(bytes) => self.audio_mut().on_rtcp(now_ns, bytes),
                Output::Event {
                    event: TransportEvent::Connected,
                } => self.on_connected(now_ns, io),
                Output::Event {
                    event: TransportEvent::Failed(cause),
                } => {
                    result = Err(MediaFault::from_word(&cause));
                    break;
                }
                Output::Event {
                    event: TransportEvent::Local,
                } => ask_local = true,
                Output::Data { text, data, .. } => on_text(self.key, text, data, &mut self.texts, io),
                Output::Event {
                    event: TransportEvent::Stats(lines),
                } => {
                    if let Some(round_trip) = round_trip(&lines) {
                        self.audio_mut().on_round_trip(now_ns, round_trip);
                    }
                }
                Output::Event {
                    event: TransportEvent::Address(_),
                }
                | Output::Datagram { .. } => {}
            }
        }
        self.session = Some(session);
        result.map(|()| ask_local)
    }
}

/// How long something has taken to the peer and back, as a session's figures say.
fn round_trip(lines: &str) -> Option<Duration> {
    let value = lines.lines().find_map(|line| line.strip_prefix("round-trip-us:"))?;
    value.trim().parse().ok().map(Duration::from_micros)
}
