//! The buffers that the kernel receives into: a ring of provided buffers (`io_uring_register_buf_ring(3)`).
//!
//! A buffer's life:
//!
//! 1. It is published: its entry is written behind the others, and the tail of the ring moves past it.
//! 2. The kernel takes it when bytes arrive, receives into it, and completes the receive with its number.
//! 3. The completion becomes a [`RecvBuf`], which is read and recycled: see 1.
#![allow(
    unsafe_code,
    reason = "the kernel writes to this memory; see the crate's invariants 2 to 4"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Bytes that were received, in a buffer of the ring that received them.
///
/// The buffer is not received into again before it is [recycled](crate::Ring::recycle). One that is dropped
/// instead is lost to its ring, and freed with it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the ring has one buffer less until it is recycled"]
pub struct RecvBuf {
    ring: NonZeroU32,
    len: u32,
    id: u16,
}

impl RecvBuf {
    /// How many bytes were received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether that is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Buffers of one size, and the ring of those that are the kernel's.
pub(crate) struct BufRing {
    /// Entries of the ring, padded to a page, and behind them the buffers. It is freed by
    /// [`unregister`](Self::unregister) alone.
    memory: ManuallyDrop<Memory>,
    /// Where the buffers begin.
    offset: usize,
    count: u16,
    size: usize,
    /// How many buffers were published so far, modulo 2¹⁶.
    tail: u16,
    /// No other ring of this process has this number.
    number: NonZeroU32,
}

impl BufRing {
    /// What receives call it. A ring has one.
    pub(crate) const GROUP: u16 = 0;

    /// Registers `count` buffers, a power of two, of `size` bytes each, neither of them 0.
    pub(crate) fn register(submitter: &Submitter<'_>, count: u16, size: usize) -> io::Result<Self> {
        let number = next_number().ok_or(io::ErrorKind::QuotaExceeded)?;
        // The kernel wants the ring at the start of a page.
        let page = rustix::param::page_size();
        let offset = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(page);
        let memory = size
            .checked_mul(count.into())
            .and_then(|buffers| buffers.checked_add(offset))
            .and_then(|total| Memory::zeroed(total, page))
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let address = memory.start.as_ptr() as u64;
        // SAFETY: by 4: the memory has `count` entries, and is freed only when this is undone or has failed.
        unsafe { submitter.register_buf_ring_with_flags(address, count, Self::GROUP, 0)? };
        let memory = ManuallyDrop::new(memory);
        let mut ring = Self { memory, offset, count, size, tail: 0, number };
        (0..count).for_each(|id| ring.publish(id));
        Ok(ring)
    }

    /// Takes the buffers from the kernel and frees them. Whatever is in flight finds no buffer from then on.
    /// If the kernel does not let go of them, they are leaked. To be called once, before the drop.
    pub(crate) fn unregister(&mut self, submitter: &Submitter<'_>) {
        if submitter.unregister_buf_ring(Self::GROUP).is_ok() {
            // SAFETY: by 4: the kernel knows the memory no more. It is not used again: a group that was
            // unregistered cannot be so a second time, and `Ring`'s drop is what calls this.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }

    /// How many buffers there are.
    pub(crate) fn count(&self) -> usize {
        self.count.into()
    }

    /// A buffer with `len` bytes in it.
    ///
    /// # Safety
    ///
    /// A completion of this ring has named the buffer, and this is the only call for that.
    pub(crate) unsafe fn received(&self, id: u16, len: u32) -> RecvBuf {
        RecvBuf { ring: self.number, len: len.min(self.size as u32), id }
    }

    /// The bytes in a buffer.
    pub(crate) fn bytes<'a>(&'a self, buf: &'a RecvBuf) -> &'a [u8] {
        self.assert_own(buf);
        // SAFETY: by 3: the kernel does not write to the buffer while there is this `RecvBuf`. They are `len`
        // bytes of its `size`, and all of the memory is initialised.
        unsafe { std::slice::from_raw_parts(self.buffer(buf.id).as_ptr(), buf.len()) }
    }

    /// Gives a buffer to the kernel again.
    pub(crate) fn recycle(&mut self, buf: RecvBuf) {
        self.assert_own(&buf);
        self.publish(buf.id);
    }

    fn assert_own(&self, buf: &RecvBuf) {
        assert!(buf.ring == self.number, "the buffer is another ring's");
    }

    /// Writes the entry of a buffer that is ours behind the others, and moves the tail past it.
    fn publish(&mut self, id: u16) {
        let buffer = self.buffer(id);
        let entries = self.memory.start.cast::<BufRingEntry>().as_ptr();
        let index = usize::from(self.tail & (self.count - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `index` is less than the number of entries. By 3 at most `count` buffers are published, so
        // the kernel has read what stood here before, and does not read it again before the tail says
        // so. The tail lies in a field of the first entry that the setters do not write to; it is
        // aligned to its two bytes, and atomic because the kernel loads it.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(buffer.as_ptr() as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn buffer(&self, id: u16) -> NonNull<u8> {
        assert!(id < self.count, "the kernel named a buffer that does not exist");
        // SAFETY: the memory has `count` buffers of `size` bytes from `offset` on, and `id` is less.
        unsafe { self.memory.start.add(self.offset + usize::from(id) * self.size) }
    }
}

/// An allocation that is zero at first.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// None if there is not so much. `size` is not 0.
    fn zeroed(size: usize, align: usize) -> Option<Self> {
        let layout = Layout::from_size_align(size, align).ok()?;
        // SAFETY: the size is not 0: there is at least one buffer.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout. By 4 the kernel does not know it.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// A number that no ring has had. None when there are no more.
fn next_number() -> Option<NonZeroU32> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let order = Ordering::Relaxed;
    let last = LAST.fetch_update(order, order, |last| last.checked_add(1)).ok()?;
    NonZeroU32::new(last + 1)
}
