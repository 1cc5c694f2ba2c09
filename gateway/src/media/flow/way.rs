//! On arrival or paced: which way a flow towards a sink with a good buffer of its own goes.

use super::{Flow, Path};

/// A sink with a good buffer gets packets as they come, until more than one in so many is later than a packet of 20 ms ...
const LATE_NS: u64 = 20_000_000;
const JITTERS: f32 = 0.05;
/// ... and again from here down.
const CALM: f32 = 0.01;
/// The same of packets that are lost, where they are sent again; and less than that for so long.
const LOSES: f32 = 0.05;
const KEEPS: f32 = 0.005;
const CALM_NS: u64 = 30_000_000_000;

impl Flow {
    /// On arrival or paced: towards a sink with a good buffer that depends on the source's jitter, and on whether what is lost comes again,
    /// which takes a buffer of ours.
    pub(super) fn choose_way(&mut self, now_ns: u64, path: Path) {
        let late = self.rule.late(LATE_NS);
        let lost = path.repair.map_or(0.0, |repair| path.loss * repair.success);
        if lost >= KEEPS {
            self.lossy_until_ns = now_ns + CALM_NS;
        }
        if !self.paced && (late > JITTERS || lost > LOSES) {
            self.paced = true;
            if !self.resting {
                self.begin(now_ns);
                self.fresh = false;
            }
        } else if self.paced && late < CALM && now_ns >= self.lossy_until_ns {
            self.paced = false;
            self.depth_ns = 0;
        }
    }
}
