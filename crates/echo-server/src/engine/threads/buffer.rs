//! The receive buffer of a connection's thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::system::release_memory;

/// The most bytes received by one `recv`.
const LARGE: usize = 64 * 1024;
/// The most bytes received by one `recv` until a message has filled the small buffer.
const SMALL: usize = 4 * 1024;

/// A small buffer on the thread's stack, and a large one on the heap while large messages arrive. An idle
/// connection owns no heap memory.
pub(super) struct Buffer {
    small: [u8; SMALL],
    large: Vec<u8>,
    /// Bytes that the last `recv` returned.
    pub(super) received: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { small: [0; SMALL], large: Vec::new(), received: 0 }
    }

    /// The buffer to receive into.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.large.is_empty() { &mut self.small } else { &mut self.large }
    }

    /// Allocates the large buffer if the last `recv` filled the small one.
    pub(super) fn grow(&mut self) {
        if self.received == SMALL && self.large.is_empty() {
            self.large = vec![0; LARGE];
        }
    }

    /// Frees the large buffer, because the connection is idle.
    pub(super) fn shrink(&mut self, heap: &Heap) {
        self.received = 0;
        if !self.large.is_empty() {
            self.large = Vec::new();
            heap.freed.store(true, Relaxed);
        }
    }
}

/// The heap that the threads share. The allocator keeps freed memory until it is told to return it to the kernel,
/// which is slow, so this happens at most once per second.
pub(super) struct Heap {
    freed: AtomicBool,
    trimmed: Mutex<Instant>,
}

impl Heap {
    const PERIOD: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self { freed: AtomicBool::new(false), trimmed: Mutex::new(Instant::now()) }
    }

    /// Returns freed memory to the kernel if there is any and the last time is long enough ago. Every idle thread
    /// calls it, so that memory freed within the period is returned later.
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
