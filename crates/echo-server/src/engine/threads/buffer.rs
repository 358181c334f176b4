//! What a connection's thread receives into.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::system::release_memory;

/// What a `recv` takes at most.
const LARGE: usize = 64 * 1024;
/// What it takes at most after one that brought less.
const SMALL: usize = 4 * 1024;

/// A little memory on the thread's stack, and more on the heap while large messages come. A connection that is
/// idle owns no memory on the heap.
pub(super) struct Buffer {
    small: [u8; SMALL],
    large: Vec<u8>,
    /// Bytes that the last `recv` brought.
    pub(super) received: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { small: [0; SMALL], large: Vec::new(), received: 0 }
    }

    /// Where to receive.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.large.is_empty() { &mut self.small } else { &mut self.large }
    }

    /// Takes memory if the last `recv` has filled what there is.
    pub(super) fn grow(&mut self) {
        if self.received == SMALL && self.large.is_empty() {
            self.large = vec![0; LARGE];
        }
    }

    /// Gives memory back, because nothing has come for a while.
    pub(super) fn shrink(&mut self, heap: &Heap) {
        self.received = 0;
        if !self.large.is_empty() {
            self.large = Vec::new();
            heap.freed.store(true, Relaxed);
        }
    }
}

/// The heap that the threads share. The allocator keeps what is freed; it is made to return it to the system, but
/// no more than once a second, because that takes a while.
pub(super) struct Heap {
    freed: AtomicBool,
    trimmed: Mutex<Instant>,
}

impl Heap {
    const PERIOD: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self { freed: AtomicBool::new(false), trimmed: Mutex::new(Instant::now()) }
    }

    /// Returns freed memory to the system if there is some and it is time to. Called by each idle thread now and
    /// then, so that what was freed last is not forgotten.
    pub(super) fn trim(&self) {
        if self.freed.load(Relaxed)
            && let Ok(mut trimmed) = self.trimmed.try_lock()
            && trimmed.elapsed() >= Self::PERIOD
        {
            *trimmed = Instant::now();
            self.freed.store(false, Relaxed);
            release_memory();
        }
    }
}
