//! Setting up a ring.

use std::io;

use io_uring::{IoUring, squeue};

use crate::Ring;
use crate::buf_ring::BufRing;

/// The sizes of a ring's queues, buffers and arena, and its optional features.
#[derive(Clone, Copy, Debug)]
pub struct RingSetup {
    /// Entries of the submission queue, rounded up to a power of two. A full queue costs a system call but loses
    /// nothing.
    pub entries: u32,
    /// Entries of the completion queue, rounded up to a power of two and limited to the kernel's maximum. A full
    /// queue costs a system call and ends multishot operations, but loses nothing.
    pub cq_entries: u32,
    /// Number of buffers to receive into: a power of two, at most 2¹⁵.
    pub buffers: u16,
    /// Size of each buffer in bytes, at least 1.
    pub buffer_size: usize,
    /// Size in bytes of the memory to send from; may be 0.
    pub arena_size: usize,
    /// Omit the index array of the submission queue (`IORING_SETUP_NO_SQARRAY`), which saves an indirection per
    /// entry. Requires Linux 6.6; everything else requires Linux 6.1.
    pub no_sqarray: bool,
}

impl RingSetup {
    /// Builds a disabled ring. Any thread may build it; the thread that will use it [enables](Ring::enable) it.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidInput`](io::ErrorKind::InvalidInput) if a size is out of range, otherwise the error of
    /// `io_uring_setup(2)` or `io_uring_register(2)`: `ENOSYS`, `EPERM` or `EACCES` if io_uring is absent or
    /// forbidden, `EINVAL` if the kernel lacks a feature, `ENOMEM` if memory or the limit on locked memory is
    /// exhausted.
    pub fn build(&self) -> io::Result<Ring> {
        let is_valid = self.buffers.is_power_of_two()
            && (1..=u32::MAX as usize).contains(&self.buffer_size)
            && self.arena_size <= u32::MAX as usize;
        if !is_valid {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut builder = IoUring::<squeue::Entry>::builder();
        builder
            // Only the thread that enables the ring submits.
            .setup_r_disabled()
            .setup_single_issuer()
            // The kernel completes operations only while this thread waits for them.
            .setup_defer_taskrun()
            // A flag in shared memory says whether there is something to complete, so that checking takes no
            // system call.
            .setup_taskrun_flag()
            // A failing entry does not prevent those after it from being submitted.
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(self.cq_entries);
        if self.no_sqarray {
            builder.setup_no_sqarray();
        }
        let io = builder.build(self.entries)?;
        let buffers = BufRing::register(&io.submitter(), self.buffers, self.buffer_size)?;
        Ok(Ring::new(io, buffers, vec![0; self.arena_size].into()))
    }
}
