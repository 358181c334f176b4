//! A ring a worker: what is to be done, and what was done, stand in queues that the kernel shares (io_uring,
//! Linux), and one system call a turn moves both on.
//!
//! Small messages are received and sent that way, many with a call; for large ones, whose cost is the
//! copying, the ring only says that they are there. [`sockets`] has both, and when a connection changes
//! from one to the other; [`echo_ring`] is what the kernel understands, in safe words. All the rest of this
//! engine is in [`event_loop`].
//!
//! With `--busy-poll` a look for news is no system call either: there is a flag in the shared memory.

mod operation;
mod sockets;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use echo_ring::RingSetup;
use rustix::event::{EventfdFlags, eventfd};

use self::sockets::Sockets;
use super::event_loop;
use crate::accept::Acceptor;
use crate::service::Service;
use crate::shutdown::ShutdownListener;

/// How large the parts of a ring are.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Entries of the two queues.
    submissions: u32,
    completions: u32,
    /// Buffers to receive into; a power of two.
    buffers: u16,
    /// With fewer connections than this, none is received for: there is too little to do with a call.
    crowd: usize,
}

/// With [`PIECE`], 2.2 MiB for each worker.
const SIZES: Sizes = Sizes { submissions: 512, completions: 4096, buffers: 512, crowd: 4 };
/// Bytes of a buffer; messages that are larger are cheaper to receive with a call. A cache line more than
/// 4 KiB, so that a message of 4 KiB leaves room, by which it is known to be whole.
const PIECE: usize = 4096 + 64;

impl Sizes {
    fn setup(self) -> RingSetup {
        RingSetup {
            entries: self.submissions,
            cq_entries: self.completions,
            buffers: self.buffers,
            buffer_size: PIECE,
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
        let wake: event_loop::Waker = Box::new(move || wake(&*waker_fd));
        loops.push(((sizes.setup().build()?, wake_fd), wake));
    }
    event_loop::serve(acceptor, shutdown, service, loops, |(mut ring, wake_fd), context| match ring
        .enable()
    {
        Ok(()) => context.work(Sockets::new(ring, wake_fd, sizes.crowd)),
        Err(error) => context.fail(error),
    })
}

/// Does once what the engine will do all the time: it alone tells whether the system allows it.
///
/// # Errors
///
/// It does not.
pub(crate) fn probe() -> io::Result<()> {
    SIZES.setup().probe()
}

/// What a worker is woken with: a counter that nobody reads, because every count is reported.
fn wake_fd() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

fn wake(wake_fd: &impl AsFd) {
    // It fails when the counter is full, 2⁶⁴ knocks from now.
    let _ = rustix::io::write(wake_fd, &1_u64.to_ne_bytes());
}
