//! How a ring is set up.

use std::io;

use io_uring::{IoUring, squeue};

use crate::Ring;
use crate::buf_ring::BufRing;

/// The sizes of a ring's queues and memories, and what the kernel must be able to do.
#[derive(Clone, Copy, Debug)]
pub struct RingSetup {
    /// Entries of the submission queue, rounded up to a power of two. A full queue costs a system call and
    /// loses nothing.
    pub entries: u32,
    /// Entries of the completion queue, rounded up to a power of two; the kernel's maximum takes the place
    /// of more. A full queue costs a system call and loses nothing, but ends multishot operations.
    pub cq_entries: u32,
    /// Buffers to receive into: a power of two, at most 2¹⁵.
    pub buffers: u16,
    /// Bytes of each of them, at least 1.
    pub buffer_size: usize,
    /// Bytes of the memory to send from, may be 0.
    pub arena_size: usize,
    /// Omit the index array of the submission queue (`IORING_SETUP_NO_SQARRAY`): one indirection less for
    /// each entry. It takes Linux 6.6; all else that is used here is in Linux 6.1.
    pub no_sqarray: bool,
}

impl RingSetup {
    /// Sets up a ring that is disabled: any thread may build it, and the one that is to use it
    /// [enables](Ring::enable) it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if a size is not what its field says. Otherwise the
    /// error of `io_uring_setup(2)` or `io_uring_register(2)`: `ENOSYS`, `EPERM` and `EACCES` where
    /// io_uring is absent or not allowed, `EINVAL` where the kernel lacks a feature, `ENOMEM` where
    /// memory or the limit of locked memory is exhausted.
    pub fn build(&self) -> io::Result<Ring> {
        let is_valid = self.buffers.is_power_of_two()
            && (1..=u32::MAX as usize).contains(&self.buffer_size)
            && self.arena_size <= u32::MAX as usize;
        if !is_valid {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut builder = IoUring::<squeue::Entry>::builder();
        builder
            // The thread that enables the ring is the only one to submit.
            .setup_r_disabled()
            .setup_single_issuer()
            // The kernel completes operations while this thread waits for them, and at no other time.
            .setup_defer_taskrun()
            // It says in shared memory whether there is something to complete, so that checking takes no
            // system call.
            .setup_taskrun_flag()
            // An entry that fails does not keep those behind it from being submitted.
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
