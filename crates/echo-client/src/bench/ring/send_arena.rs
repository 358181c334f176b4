//! The parts of the ring's arena that are on their way to the kernel. They are free again as soon as the
//! kernel has taken the sends that name them.

use std::ops::Range;

/// A send that was not submitted yet.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub(super) slot: usize,
    pub(super) generation: u32,
    start: usize,
    length: usize,
}

/// The sends of a turn, for which the arena is filled from its beginning.
pub(super) struct SendArena {
    size: usize,
    used: usize,
    sends: Vec<Pending>,
    /// How many of them are queued, or with the kernel.
    queued: usize,
}

impl Pending {
    /// Where its bytes are.
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.start + self.length
    }
}

impl SendArena {
    /// For so many bytes.
    pub(super) fn new(size: usize) -> Self {
        Self { size, used: 0, sends: Vec::new(), queued: 0 }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Whether there is room for so many bytes more.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.size - self.used >= length
    }

    /// Adds a send of so many bytes, which are to be written to where it says.
    pub(super) fn add(&mut self, slot: usize, generation: u32, length: usize) -> Range<usize> {
        let send = Pending { slot, generation, start: self.used, length };
        self.used += length;
        self.sends.push(send);
        send.range()
    }

    /// The next send that is not queued. It counts as queued from now on.
    pub(super) fn next(&mut self) -> Option<Pending> {
        let send = *self.sends.get(self.queued)?;
        self.queued += 1;
        Some(send)
    }

    /// The kernel has taken all that was queued. The arena is free again, unless there are more sends.
    pub(super) fn taken(&mut self) {
        if self.queued == self.sends.len() {
            self.used = 0;
            self.queued = 0;
            self.sends.clear();
        }
    }
}
