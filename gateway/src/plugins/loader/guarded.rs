//! Buffers for the checks of foreign code: an unreadable page on both sides and a pattern in what is left.

use std::ptr::NonNull;

/// Enough for 120 ms of stereo at 48 kHz in samples of 16 bits.
const ROOM: usize = 6 * PAGE;
const PAGE: usize = 4096;
const PATTERN: u8 = 0xa5;

/// Memory between two unreadable pages: a read or write outside ends the process (the checks run in a child).
pub(in crate::plugins) struct Guarded {
    base: NonNull<u8>,
}

/// On which side of the buffer the unreadable page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugins) enum Edge {
    Before,
    Behind,
}

impl Guarded {
    /// Reserves the memory; `None` if the system has none.
    pub(in crate::plugins) fn new() -> Option<Self> {
        // SAFETY: a fresh anonymous mapping, nothing of ours is replaced.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                ROOM + 2 * PAGE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let guarded = Self {
            base: NonNull::new(base.cast())?,
        };
        // SAFETY: opens the middle of our own mapping.
        let code = unsafe { libc::mprotect(guarded.room().cast(), ROOM, libc::PROT_READ | libc::PROT_WRITE) };
        (code == 0).then_some(guarded)
    }

    fn room(&self) -> *mut u8 {
        self.base.as_ptr().wrapping_add(PAGE)
    }

    /// Lends `len` bytes beside the page on that side, filled with the pattern as everything around them.
    ///
    /// `len` over the room is cut.
    pub(in crate::plugins) fn bytes(&mut self, len: usize, edge: Edge) -> &mut [u8] {
        let len = len.min(ROOM);
        // SAFETY: the room is ours alone, readable and writable; `&mut self` keeps it so for the loan.
        let room = unsafe {
            std::ptr::write_bytes(self.room(), PATTERN, ROOM);
            std::slice::from_raw_parts_mut(self.room(), ROOM)
        };
        match edge {
            Edge::Before => &mut room[..len],
            Edge::Behind => &mut room[ROOM - len..],
        }
    }

    /// Lends `len` samples beside the page on that side.
    pub(in crate::plugins) fn samples(&mut self, len: usize, edge: Edge) -> &mut [i16] {
        let bytes = self.bytes(len.min(ROOM / 2) * 2, edge);
        // SAFETY: both edges are at even addresses and every bit pattern is a sample.
        let (_, samples, _) = unsafe { bytes.align_to_mut::<i16>() };
        samples
    }

    /// Says whether everything outside the last loan of `len` bytes on that side still has the pattern.
    pub(in crate::plugins) fn untouched(&self, len: usize, edge: Edge) -> bool {
        let len = len.min(ROOM);
        // SAFETY: the room is ours, readable, and nothing is lent out while `&self` can be had.
        let room = unsafe { std::slice::from_raw_parts(self.room(), ROOM) };
        let rest = match edge {
            Edge::Before => &room[len..],
            Edge::Behind => &room[..ROOM - len],
        };
        rest.iter().all(|byte| *byte == PATTERN)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: our own mapping, nothing of it is lent out any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), ROOM + 2 * PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_a_write_beside_the_loan() {
        let mut guarded = Guarded::new().unwrap();
        for edge in [Edge::Before, Edge::Behind] {
            guarded.samples(160, edge).fill(1);
            assert!(guarded.untouched(320, edge));
            assert!(!guarded.untouched(318, edge));
            assert_eq!(guarded.bytes(usize::MAX, edge).len(), ROOM);
        }
        assert_eq!(guarded.samples(0, Edge::Behind).len(), 0);
    }
}
