//! The parts of the ring's arena that hold bytes to be sent. They are free again as soon as the sends have been
//! submitted: these do not wait for room.

use std::ops::Range;

/// A send that has not been submitted.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub(super) slot: usize,
    pub(super) generation: u32,
    start: usize,
    length: usize,
}

/// The sends of one submission. The arena is filled from its beginning.
pub(super) struct SendArena {
    size: usize,
    used: usize,
    sends: Vec<Pending>,
    /// How many of `sends` are queued in the ring.
    queued: usize,
}

impl Pending {
    /// The part of the arena that holds its bytes.
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.start + self.length
    }
}

impl SendArena {
    /// An empty arena of `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        Self { size, used: 0, sends: Vec::new(), queued: 0 }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Whether `length` more bytes fit.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.size - self.used >= length
    }

    /// Adds a send of `length` bytes. Returns the part of the arena to write them to.
    pub(super) fn add(&mut self, slot: usize, generation: u32, length: usize) -> Range<usize> {
        let send = Pending { slot, generation, start: self.used, length };
        self.used += length;
        self.sends.push(send);
        send.range()
    }

    /// Returns the next send that is not queued, and counts it as queued.
    pub(super) fn next(&mut self) -> Option<Pending> {
        let send = *self.sends.get(self.queued)?;
        self.queued += 1;
        Some(send)
    }

    /// Everything queued has been submitted. Empties the arena, unless there are more sends.
    pub(super) fn submitted(&mut self) {
        if self.queued == self.sends.len() {
            self.used = 0;
            self.queued = 0;
            self.sends.clear();
        }
    }
}
