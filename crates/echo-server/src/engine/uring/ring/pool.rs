//! Buffers that the kernel receives into, of its choice, and their queue in shared memory.
//!
//! A buffer's life:
//! 1. It is published: its entry is written behind the others and the queue's tail moved past it.
//! 2. The kernel takes it when bytes arrive, receives into it and completes the operation with its number.
//! 3. The completion becomes a [`Piece`], which is read and given back: see 1.

use std::alloc::{self, Layout};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering::Release};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The kernel wants the queue at the start of a page; no system's are larger.
const PAGE: usize = 64 * 1024;

/// Buffers of one size, by number, and the queue of those that are free.
pub(super) struct Pool {
    queue: NonNull<BufRingEntry>,
    buffers: NonNull<u8>,
    count: u16,
    size: usize,
    /// The number of buffers published so far, modulo 2¹⁶.
    tail: u16,
}

// SAFETY: by 3: it and the kernel are the only ones that know its memory, and it is used by one thread at a
// time, as anything is that is not Sync.
unsafe impl Send for Pool {}

/// Bytes that were received, in a buffer of the pool.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine::uring) struct Piece {
    buffer: u16,
    length: u16,
}

impl Piece {
    /// # Safety
    ///
    /// A completion has named the buffer, and this is the only piece for that.
    pub(super) unsafe fn new(buffer: u16, length: u16) -> Self {
        Self { buffer, length }
    }

    pub(in crate::engine::uring) fn length(&self) -> usize {
        self.length.into()
    }
}

impl Pool {
    /// What operations call it.
    pub(super) const GROUP: u16 = 0;

    /// `count` is a power of two.
    pub(super) fn new(count: u16, size: usize) -> Self {
        assert!(count.is_power_of_two());
        let (queue, buffers) = (allocate(Self::queue_layout(count)), allocate(layout(count, size)));
        let mut pool = Self { queue: queue.cast(), buffers, count, size, tail: 0 };
        for buffer in 0..count {
            pool.publish(buffer);
        }
        pool
    }

    pub(super) fn len(&self) -> usize {
        self.count.into()
    }

    /// Lets the kernel have it.
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let address = self.queue.as_ptr() as u64;
        // SAFETY: by 2 and 4: the queue has `count` entries and is freed only when this is undone.
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, Self::GROUP, 0) }
    }

    /// Takes it from the kernel.
    pub(super) fn unregister(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        submitter.unregister_buf_ring(Self::GROUP)
    }

    pub(super) fn bytes<'a>(&'a self, piece: &'a Piece) -> &'a [u8] {
        let length = piece.length().min(self.size);
        // SAFETY: by 3: nobody writes to the buffer while there is the piece. The kernel, which numbers
        // buffers as they were published, has written that much to it; all memory is initialised.
        unsafe { std::slice::from_raw_parts(self.buffer(piece.buffer).as_ptr(), length) }
    }

    pub(super) fn give_back(&mut self, piece: Piece) {
        self.publish(piece.buffer);
    }

    fn publish(&mut self, buffer: u16) {
        let (address, length) = (self.buffer(buffer).as_ptr() as u64, self.size as u32);
        let place = usize::from(self.tail & (self.count - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the place is one of the `count` entries. By 3, there are at most so many buffers
        // published, so the kernel has taken what was here before. The tail, which lies in a field of the
        // first entry that nothing else writes to, is 2-aligned, and atomic because the kernel reads it.
        unsafe {
            let entry = &mut *self.queue.as_ptr().add(place);
            entry.set_addr(address);
            entry.set_len(length);
            entry.set_bid(buffer);
            let tail = BufRingEntry::tail(self.queue.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Release);
        }
    }

    fn buffer(&self, number: u16) -> NonNull<u8> {
        assert!(number < self.count);
        // SAFETY: the memory has `count` buffers of this size, and the number is less.
        unsafe { self.buffers.add(usize::from(number) * self.size) }
    }

    fn queue_layout(count: u16) -> Layout {
        layout(count, size_of::<BufRingEntry>())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: both were allocated with these layouts. By 4, the kernel has let go of them.
        unsafe {
            alloc::dealloc(self.queue.as_ptr().cast(), Self::queue_layout(self.count));
            alloc::dealloc(self.buffers.as_ptr(), layout(self.count, self.size));
        }
    }
}

fn layout(count: u16, size: usize) -> Layout {
    Layout::from_size_align(usize::from(count) * size, PAGE).expect("it is some hundred KiB")
}

/// Memory that is zero.
fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout has a size: neither the count nor the size of anything here is 0.
    let memory = unsafe { alloc::alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}
