//! The replay window of one stream. RFC 3711 §3.3.2.
//!
//! Our own, because the crate's begins where the first packet is that it sees, before that is authenticated: one forged
//! packet would make it refuse the genuine ones for minutes, of SRTCP for ever.

/// Width in packets: 20 s of sound, so that no network's reordering is taken for an attack.
const WIDTH: u32 = 1024;
const WORDS: usize = WIDTH as usize / 64;

/// Remembers which of the newest numbers came. Numbers count modulo 2^`bits`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    bits: u32,
    newest: Option<u32>,
    /// Bit n: the number `newest - n` came.
    seen: [u64; WORDS],
}

impl Window {
    pub(super) fn new(bits: u32) -> Self {
        Window {
            bits,
            newest: None,
            seen: [0; WORDS],
        }
    }

    /// True if the number is neither known nor too old. Changes nothing: the packet is not authenticated yet.
    pub(super) fn is_new(&self, number: u32) -> bool {
        match self.behind(number) {
            None => true,
            Some(behind) if behind < 0 => true,
            Some(behind) => behind < i64::from(WIDTH) && self.seen[behind as usize / 64] >> (behind % 64) & 1 == 0,
        }
    }

    /// Remembers the number of an authentic packet for which [`Window::is_new`] was true.
    pub(super) fn accept(&mut self, number: u32) {
        let behind = self.behind(number).unwrap_or(-i64::from(WIDTH));
        if behind < 0 {
            self.advance(behind.unsigned_abs());
            self.newest = Some(number);
            self.seen[0] |= 1;
        } else if let Some(word) = self.seen.get_mut(behind as usize / 64) {
            *word |= 1 << (behind % 64);
        }
    }

    /// How far the number is behind the newest; negative if ahead of it.
    fn behind(&self, number: u32) -> Option<i64> {
        let turn = 1i64 << self.bits;
        let behind = (i64::from(self.newest?) - i64::from(number)).rem_euclid(turn);
        Some(if behind >= turn / 2 { behind - turn } else { behind })
    }

    fn advance(&mut self, by: u64) {
        let (words, bits) = ((by / 64) as usize, by % 64);
        let old = self.seen;
        for (index, word) in self.seen.iter_mut().enumerate() {
            let from = |back: usize| index.checked_sub(back).and_then(|at| old.get(at)).copied().unwrap_or(0);
            let low = if bits == 0 {
                0
            } else {
                from(words.saturating_add(1)) >> (64 - bits)
            };
            *word = from(words) << bits | low;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    #[test]
    fn agrees_with_a_list_of_all_numbers() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for bits in [16, 31] {
            let turn = 1i64 << bits;
            let mut window = Window::new(bits);
            let mut newest = turn - 3000;
            let mut seen = std::collections::BTreeSet::new();
            for round in 0..20_000 {
                let spread = if round % 100 == 0 { 5000 } else { 60 };
                let number = newest - i64::from(rng.next_u32() % 1200) % spread + i64::from(rng.next_u32() % 6);
                let fresh = !seen.contains(&number) && (seen.is_empty() || newest - number < i64::from(WIDTH));
                let wire = number.rem_euclid(turn) as u32;
                assert_eq!(window.is_new(wire), fresh, "{bits} {round}: {number} at {newest}");
                if fresh && round % 3 != 0 {
                    window.accept(wire);
                    seen.insert(number);
                    newest = newest.max(number);
                }
                if round == 0 {
                    window.accept(wire);
                    seen.insert(number);
                    newest = number;
                }
                if round % 1000 == 999 {
                    let jump = newest + 1 + i64::from(rng.next_u32() % 3000);
                    window.accept(jump.rem_euclid(turn) as u32);
                    seen.insert(jump);
                    newest = jump;
                }
            }
        }
    }
}
