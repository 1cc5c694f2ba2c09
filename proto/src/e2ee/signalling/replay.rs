//! Which counters were seen: a packet that comes twice is opened once.

/// The largest counter and the 63 before it.
#[derive(Default)]
pub(super) struct Window {
    largest: u32,
    /// Bit n: `largest - n` was seen.
    bits: u64,
}

impl Window {
    /// Tells whether a counter is new, and remembers it. What is 64 or more behind the largest counts as seen.
    pub(super) fn accept(&mut self, counter: u32) -> bool {
        if counter > self.largest {
            self.bits = self.bits.checked_shl(counter - self.largest).unwrap_or(0) | 1;
            self.largest = counter;
            return true;
        }
        let Some(bit) = 1u64.checked_shl(self.largest - counter) else {
            return false;
        };
        let new = self.bits & bit == 0;
        self.bits |= bit;
        new
    }
}
