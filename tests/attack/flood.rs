//! A flood: something done at a rate, as evenly as the machine allows.

use std::time::{Duration, Instant};

/// Packets sent between two looks at the clock.
const BATCH: u32 = 16;

/// What a flood has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flooded {
    pub(crate) count: u32,
    pub(crate) took: Duration,
}

impl Flooded {
    /// Things a second that were really done.
    pub(crate) fn rate(&self) -> u32 {
        (f64::from(self.count) / self.took.as_secs_f64().max(1e-3)) as u32
    }
}

/// Calls `send` at a rate, with the time since the beginning. Blocks: run it on a thread of its own.
pub(crate) fn flood(rate: u32, duration: Duration, mut send: impl FnMut(Duration)) -> Flooded {
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < duration {
        let due = (begin.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        // What a slow machine could not send in time is not sent later in one heap.
        for _ in 0..due.saturating_sub(count).min(BATCH) {
            send(begin.elapsed());
            count += 1;
        }
        if count >= due {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    Flooded {
        count,
        took: begin.elapsed(),
    }
}
