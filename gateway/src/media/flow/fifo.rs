//! Samples that wait for a whole frame, in one piece.

/// Samples that were decoded and are not yet due.
pub(super) struct Fifo {
    samples: Box<[i16]>,
    length: usize,
}

impl Fifo {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            samples: vec![0; capacity].into(),
            length: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// What does not fit is dropped; the capacity is such that nothing is.
    pub(super) fn push(&mut self, pcm: &[i16]) {
        let count = pcm.len().min(self.samples.len() - self.length);
        self.samples[self.length..self.length + count].copy_from_slice(&pcm[..count]);
        self.length += count;
    }

    /// Takes as many samples as `out` has; there must be as many.
    pub(super) fn pop(&mut self, out: &mut [i16]) {
        let count = out.len().min(self.length);
        out[..count].copy_from_slice(&self.samples[..count]);
        self.samples.copy_within(count..self.length, 0);
        self.length -= count;
    }
}
