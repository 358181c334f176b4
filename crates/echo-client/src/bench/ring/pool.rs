//! The buffers that the kernel receives into: a ring of provided buffers (`io_uring_register_buf_ring(3)`).
//!
//! A buffer's life:
//!
//! 1. [`Pool::give`] puts it into the ring; from then on it is the kernel's.
//! 2. A receive takes it, fills it and names it in a completion; from then on it is ours.
//! 3. [`Pool::bytes`] shows what is in it, and with 1 it goes back.
//!
//! What the `unsafe` here rests on:
//!
//! - **I1**: `memory` is one zeroed allocation of `layout`, owned by the pool alone: `count` entries of the
//!   ring, padded to a page, and behind them `count` buffers of `length` bytes.
//! - **I2**: the kernel writes to a buffer only between 1 and 2, and never to the entries.
//! - **I3**: the memory is freed only when nothing is in flight that could take a buffer; else it is leaked.

#![allow(unsafe_code, reason = "memory that the kernel writes to has no safe interface")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io::{self, ErrorKind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The kernel maps the entries by pages.
const PAGE: usize = 4096;
/// The number of the ring of buffers, of which there is one.
pub(super) const GROUP: u16 = 0;

/// Buffers of equal length.
pub(super) struct Pool {
    memory: NonNull<u8>,
    layout: Layout,
    count: u16,
    length: usize,
    /// How many buffers were given so far, as the kernel counts them.
    tail: u16,
    /// Whether the kernel may still write to it.
    is_lost: bool,
}

// SAFETY: by I1 nothing else points to the memory but the kernel, which does not care for threads.
unsafe impl Send for Pool {}

impl Pool {
    /// Registers `count` buffers, a power of two, of `length` bytes each.
    pub(super) fn register(
        submitter: &Submitter<'_>,
        count: u16,
        length: usize,
    ) -> io::Result<Self> {
        debug_assert!(count.is_power_of_two() && length <= u32::MAX as usize);
        let size = entries_size(count) + usize::from(count) * length;
        let layout = Layout::from_size_align(size, PAGE)
            .map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        // SAFETY: the size is not zero, since `count` is not.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) })
            .ok_or_else(|| io::Error::from(ErrorKind::OutOfMemory))?;
        let mut pool = Self { memory, layout, count, length, tail: 0, is_lost: false };
        // SAFETY: by I1 the entries are there and on a page of their own; by I3 they stay until the ring
        // is closed, or for ever.
        unsafe {
            let address = memory.as_ptr() as u64;
            submitter.register_buf_ring_with_flags(address, count, GROUP, 0)?;
        }
        (0..count).for_each(|id| pool.give(id));
        Ok(pool)
    }

    /// Gives a buffer to the kernel, which may fill it from now on.
    pub(super) fn give(&mut self, id: u16) {
        let buffer = self.buffer(id);
        let index = usize::from(self.tail & (self.count - 1));
        let entries = self.memory.as_ptr().cast::<BufRingEntry>();
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: by I1 `index` is one of the entries, which are valid as zeros. By I2 the kernel only reads
        // them, and this one not before the new tail says that it is there. The tail lies in the first
        // entry, is aligned to its two bytes, and is accessed by nobody else but the kernel's atomic load.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(buffer as u64);
            entry.set_len(self.length as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// The first bytes of a buffer that a completion has named and that was not given since.
    ///
    /// # Safety
    ///
    /// It is one.
    pub(super) unsafe fn bytes(&self, id: u16, count: usize) -> &[u8] {
        // SAFETY: by I1 they are inside of the allocation and initialised; by I2 and the caller's word the
        // kernel does not write to them, and `give` takes the pool by a unique reference.
        unsafe { std::slice::from_raw_parts(self.buffer(id), count.min(self.length)) }
    }

    /// Never frees the memory.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
    }

    fn buffer(&self, id: u16) -> *mut u8 {
        assert!(id < self.count, "there is no such buffer");
        let offset = entries_size(self.count) + usize::from(id) * self.length;
        // SAFETY: by I1 and the assertion it is inside of the allocation.
        unsafe { self.memory.as_ptr().add(offset) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.is_lost {
            // SAFETY: by I1 it was allocated so and is ours; by I3 nobody writes to it any more.
            unsafe { dealloc(self.memory.as_ptr(), self.layout) }
        }
    }
}

fn entries_size(count: u16) -> usize {
    (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(PAGE)
}
