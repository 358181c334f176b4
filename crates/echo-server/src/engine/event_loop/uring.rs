//! Event loops on io_uring (Linux): one ring per worker, and one system call per iteration, which submits
//! operations and collects what has completed.
//!
//! Small messages are received and sent by the kernel, many per call. For large ones, whose cost is the
//! copying, the ring only reports that they are there. [`poller`] has both, and when a connection changes from one
//! to the other; [`echo_ring`] has the ring itself. All the rest of this engine is in [`event_loop`](super).
//!
//! With `--busy-poll`, asking for events takes no system call either: there is a flag in the shared memory.

mod operation;
mod poller;
mod slot;
#[cfg(test)]
mod tests;
mod unread;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use echo_ring::RingSetup;
use rustix::event::{EventfdFlags, eventfd};

use self::poller::UringPoller;
use super::{Waker, serve};
use crate::listen::accept::Acceptor;
use crate::service::Service;
use crate::shutdown::ShutdownListener;

/// The sizes of a worker's ring.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Entries of the two queues.
    submissions: u32,
    completions: u32,
    /// Buffers to receive into; a power of two.
    buffers: u16,
    /// With fewer connections than this, the kernel receives for none: there is too little to do per call.
    multishot_threshold: usize,
}

/// With [`BUF_SIZE`], 2.2 MiB for each worker.
const SIZES: Sizes =
    Sizes { submissions: 512, completions: 4096, buffers: 512, multishot_threshold: 4 };
/// Bytes of a buffer; messages that are larger are cheaper to receive with a call. A cache line more than
/// 4 KiB, so that a message of 4 KiB leaves room, by which it is known to be whole.
const BUF_SIZE: usize = 4096 + 64;

impl Sizes {
    fn setup(self) -> RingSetup {
        RingSetup {
            entries: self.submissions,
            cq_entries: self.completions,
            buffers: self.buffers,
            buffer_size: BUF_SIZE,
            arena_size: 0,
            no_sqarray: true,
        }
    }
}

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once). Returns when
/// every connection has ended.
pub(crate) fn run(
    acceptor: Acceptor,
    shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    run_with(SIZES, acceptor, shutdown, service)
}

fn run_with(
    sizes: Sizes,
    acceptor: Acceptor,
    shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    let mut loops = Vec::new();
    for _ in 0..service.config.threads.max(1) {
        let wake_fd = Arc::new(wake_fd()?);
        let waker_fd = Arc::clone(&wake_fd);
        let wake: Waker = Box::new(move || wake(&*waker_fd));
        loops.push(((sizes.setup().build()?, wake_fd), wake));
    }
    serve(acceptor, shutdown, service, loops, |(mut ring, wake_fd), context| match ring.enable() {
        Ok(()) => context.work(UringPoller::new(ring, wake_fd, sizes.multishot_threshold)),
        Err(error) => context.fail(error),
    })
}

/// Tries what the engine will do: nothing else tells whether the system allows it.
///
/// # Errors
///
/// The system has no io_uring with these features, or does not let this process use it.
pub(crate) fn probe() -> io::Result<()> {
    SIZES.setup().probe()
}

/// What a worker is woken with: a counter that is never read, because the poll reports each increment.
fn wake_fd() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

fn wake(wake_fd: &impl AsFd) {
    // It fails when the counter is full, after 2⁶⁴ wake-ups.
    let _ = rustix::io::write(wake_fd, &1_u64.to_ne_bytes());
}
