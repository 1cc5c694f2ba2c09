//! What is kept of a call when it has ended.

use std::time::SystemTime;

use super::{Call, CallKey, Cause, Leg, Parties, Verdict};
use crate::cdr::{self, Side};

impl Call {
    /// What each side's media was like, the phone first.
    fn sides(&self) -> Vec<cdr::Leg> {
        let mut sides: Vec<_> = self
            .legs
            .iter()
            .map(|leg| {
                let (side, codec) = match leg {
                    Leg::Sip(leg) => (Side::Phone, leg.codec()),
                    Leg::E2ee(leg) => (Side::Network, leg.codec()),
                };
                let report = self
                    .reports
                    .iter()
                    .find(|(key, _)| *key == leg.key())
                    .map(|(_, report)| *report);
                let report = report.unwrap_or_default();
                cdr::Leg {
                    side,
                    codec: codec.map(str::to_owned),
                    received: report.received,
                    lost: report.lost,
                    jitter_ms: report.jitter_ms as u32,
                }
            })
            .collect();
        sides.sort_by_key(|leg| leg.side == Side::Network);
        sides
    }

    /// The record of a call that was refused before it began.
    pub fn refused(key: CallKey, wall: SystemTime, parties: &Parties, cause: Cause) -> cdr::Record {
        cdr::Record {
            call: key.0.to_string(),
            start: wall,
            answer: None,
            end: wall,
            from: parties.from.clone(),
            to: parties.to.clone(),
            direction: parties.direction,
            network: parties.network.map(str::to_owned),
            route: parties.route.clone(),
            cause: cause.word(),
            count: 1,
            verdict: Verdict::Off,
            legs: Vec::new(),
        }
    }

    pub(super) fn record(&self, wall: SystemTime, cause: Cause) -> cdr::Record {
        cdr::Record {
            start: self.times.start,
            answer: self.times.answer,
            verdict: self.verify.verdict(),
            legs: self.sides(),
            ..Self::refused(self.key, wall, &self.parties, cause)
        }
    }
}
