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

    /// Adds a piece for a slot, written by `fill`. `earlier` is the number of its piece that waits already,
    /// if there is one: what goes to a slot in a turn is one send. Returns the piece's number.
    pub(super) fn add(
        &mut self,
        earlier: Option<usize>,
        mut piece: Piece,
        fill: impl FnOnce(&mut [u8]),
    ) -> usize {
        piece.start = self.used;
        let number = earlier.unwrap_or(self.pieces.len());
        match self.pieces.get_mut(number) {
            None => self.pieces.push(piece),
            Some(earlier) => {
                let end = earlier.start + earlier.length;
                if end != self.used {
                    // Others came in between: it moves behind them, to be in one piece.
                    self.memory.copy_within(earlier.start..end, self.used);
                    earlier.start = self.used;
                    self.used += earlier.length;
                }
                earlier.length += piece.length;
            }
        }
        let end = self.used + piece.length;
        fill(&mut self.memory[self.used..end]);
        self.used = end;
        number
    }

    /// How long a piece is that was added and not queued.
    pub(super) fn length(&self, number: usize) -> usize {
        self.pieces[number].length
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
