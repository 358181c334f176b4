//! Bytes on their way to the kernel: they are written here, and are free again as soon as the kernel
//! has taken the sends that name them.

/// A send that was not handed to the kernel yet.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) start: usize,
    pub(super) length: usize,
}

/// The memory of the sends of a turn, filled from its beginning.
pub(super) struct Outbox {
    pub(super) memory: Box<[u8]>,
    used: usize,
    pieces: Vec<Piece>,
    /// How many of the pieces are with the kernel, or in the queue to it.
    queued: usize,
}

impl Outbox {
    pub(super) fn new(length: usize) -> Self {
        Self { memory: vec![0; length].into(), used: 0, pieces: Vec::new(), queued: 0 }
    }

    /// Whether there is room for so many bytes more.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.memory.len() - self.used >= length
    }

    /// Adds a piece of so many bytes, written by `fill`.
    pub(super) fn add(
        &mut self,
        slot: u32,
        generation: u32,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let start = self.used;
        self.used += length;
        fill(&mut self.memory[start..self.used]);
        self.pieces.push(Piece { slot, generation, start, length });
    }

    /// The next piece that is not queued.
    pub(super) fn next(&self) -> Option<Piece> {
        self.pieces.get(self.queued).copied()
    }

    /// The next piece is queued.
    pub(super) fn advance(&mut self) {
        self.queued += 1;
    }

    /// The kernel has taken all that was queued. The memory is free again, unless there are more pieces.
    pub(super) fn taken(&mut self) {
        if self.queued == self.pieces.len() {
            self.used = 0;
            self.queued = 0;
            self.pieces.clear();
        }
    }
}
