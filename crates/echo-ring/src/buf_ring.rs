//! A ring of provided buffers for the kernel to receive into (`io_uring_register_buf_ring(3)`).
//!
//! The life cycle of a buffer:
//!
//! 1. It is published: its entry is written after the others, and the tail of the ring is moved past it.
//! 2. When bytes arrive, the kernel takes it, receives into it, and completes the receive with its number.
//! 3. The completion becomes a [`RecvBuf`], which is read and then recycled: see 1.
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

/// Received bytes, in a provided buffer of their ring.
///
/// The kernel does not reuse the buffer before it is [recycled](crate::Ring::recycle). A `RecvBuf` that is
/// dropped instead leaks its buffer until the ring is dropped.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the ring has one buffer less until it is recycled"]
pub struct RecvBuf {
    ring: NonZeroU32,
    len: u32,
    id: u16,
}

impl RecvBuf {
    /// The number of bytes received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no bytes were received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Buffers of one size, and the ring in which they are passed to the kernel.
pub(crate) struct BufRing {
    /// The entries of the ring, padded to a page, followed by the buffers. Freed only by
    /// [`unregister`](Self::unregister).
    memory: ManuallyDrop<Memory>,
    /// The offset of the first buffer.
    offset: usize,
    count: u16,
    size: usize,
    /// The number of buffers published so far, modulo 2¹⁶.
    tail: u16,
    /// Unique among all rings of this process.
    number: NonZeroU32,
}

impl BufRing {
    /// The buffer group of receives; a ring has only one.
    pub(crate) const GROUP: u16 = 0;

    /// Registers `count` buffers of `size` bytes each. `count` is a power of two; neither is 0.
    pub(crate) fn register(submitter: &Submitter<'_>, count: u16, size: usize) -> io::Result<Self> {
        let number = next_number().ok_or(io::ErrorKind::QuotaExceeded)?;
        // The kernel requires the ring to be page-aligned.
        let page = rustix::param::page_size();
        let offset = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(page);
        let memory = size
            .checked_mul(count.into())
            .and_then(|buffers| buffers.checked_add(offset))
            .and_then(|total| Memory::zeroed(total, page))
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let address = memory.start.as_ptr() as u64;
        // SAFETY: by 4: the memory has `count` entries, and is freed only if this fails or is undone.
        unsafe { submitter.register_buf_ring_with_flags(address, count, Self::GROUP, 0)? };
        let memory = ManuallyDrop::new(memory);
        let mut ring = Self { memory, offset, count, size, tail: 0, number };
        (0..count).for_each(|id| ring.publish(id));
        Ok(ring)
    }

    /// Unregisters the buffers and frees them; receives in flight find no buffer from then on. If the kernel
    /// does not unregister them, they are leaked. Called once, before the drop.
    pub(crate) fn unregister(&mut self, submitter: &Submitter<'_>) {
        if submitter.unregister_buf_ring(Self::GROUP).is_ok() {
            // SAFETY: by 4: the kernel no longer refers to the memory. It is not used again: unregistering the
            // group a second time fails, and only `Ring`'s drop calls this.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }

    /// The number of buffers.
    pub(crate) fn count(&self) -> usize {
        self.count.into()
    }

    /// Returns the buffer that was filled with `len` bytes.
    ///
    /// # Safety
    ///
    /// A completion of this ring has named the buffer, and this is called only once per completion.
    pub(crate) unsafe fn received(&self, id: u16, len: u32) -> RecvBuf {
        RecvBuf { ring: self.number, len: len.min(self.size as u32), id }
    }

    /// The bytes in a buffer.
    pub(crate) fn bytes<'a>(&'a self, buf: &'a RecvBuf) -> &'a [u8] {
        self.assert_own(buf);
        // SAFETY: by 3: the kernel does not write to the buffer while this `RecvBuf` exists. `len` is at most
        // `size`, and all of the memory is initialised.
        unsafe { std::slice::from_raw_parts(self.buffer(buf.id).as_ptr(), buf.len()) }
    }

    /// Returns a buffer to the kernel.
    pub(crate) fn recycle(&mut self, buf: RecvBuf) {
        self.assert_own(&buf);
        self.publish(buf.id);
    }

    fn assert_own(&self, buf: &RecvBuf) {
        assert!(buf.ring == self.number, "the buffer belongs to another ring");
    }

    /// Writes the entry of a buffer after the others, and moves the tail past it. The buffer must not be the
    /// kernel's.
    fn publish(&mut self, id: u16) {
        let buffer = self.buffer(id);
        let entries = self.memory.start.cast::<BufRingEntry>().as_ptr();
        let index = usize::from(self.tail & (self.count - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `index` is less than the number of entries. By 3 at most `count` buffers are published, so
        // the kernel has read the previous entry at this index, and does not read the new one before the
        // tail is stored. The tail is in a field of the first entry that the setters do not write to; it
        // is aligned to its two bytes, and atomic because the kernel loads it.
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
        // SAFETY: the memory has `count` buffers of `size` bytes from `offset` on, and `id` is less than `count`.
        unsafe { self.memory.start.add(self.offset + usize::from(id) * self.size) }
    }
}

/// A zero-initialised allocation.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// Allocates `size` bytes, which is not 0. `None` if memory is exhausted.
    fn zeroed(size: usize, align: usize) -> Option<Self> {
        let layout = Layout::from_size_align(size, align).ok()?;
        // SAFETY: the size is not 0, because there is at least one buffer.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout. By 4 the kernel does not refer to it.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// Returns a number that no ring has had, or `None` when they are exhausted.
fn next_number() -> Option<NonZeroU32> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let order = Ordering::Relaxed;
    let last = LAST.fetch_update(order, order, |last| last.checked_add(1)).ok()?;
    NonZeroU32::new(last + 1)
}
