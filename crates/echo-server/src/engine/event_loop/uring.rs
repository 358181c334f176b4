//! Event loops on io_uring (Linux): one io_uring per worker, and usually one system call per iteration for it,
//! which submits operations and waits for completions.
//!
//! Small messages are received and sent by the kernel, many per system call. Large ones, whose cost is copying, are
//! only polled for. [`poller`] implements both, and decides when a connection changes from one to the other;
//! [`echo_ring`] wraps the ring itself. The rest of this engine is shared: see [`event_loop`](super).
//!
//! With `--busy-poll`, checking for completions takes no system call: a flag in shared memory says whether there
//! are any.

mod operation;
mod poller;
mod slot;
#[cfg(test)]
mod tests;
mod unread;

use std::io;
use std::sync::Arc;

use self::poller::UringPoller;
use super::pool::{Waker, WorkerContext, serve};
use crate::listen::accept::Acceptor;
use crate::platform::{EventfdFlags, OwnedFd, Ring, RingSetup, eventfd, write};
use crate::service::Service;
use crate::shutdown::ShutdownListener;

/// The sizes of a worker's ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Entries of the two queues.
    pub(super) submissions: u32,
    pub(super) completions: u32,
    /// Buffers to receive into; a power of two.
    pub(super) buffers: u16,
    /// With fewer connections than this, none uses multishot receives: too few complete per system call, and because
    /// their echoes are sent together, worker and peers would wait for each other in turns.
    pub(super) multishot_threshold: usize,
}

/// With [`BUF_SIZE`], 2.2 MiB per worker.
const SIZES: Sizes =
    Sizes { submissions: 512, completions: 4096, buffers: 512, multishot_threshold: 8 };
/// Bytes per buffer; larger messages are cheaper to receive with `recv`. One cache line more than 4 KiB, so that a
/// message of 4 KiB does not fill it: a full buffer means that more may follow.
pub(super) const BUF_SIZE: usize = if cfg!(simulation) { 12 } else { 4096 + 64 };

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
    acceptors: Vec<Acceptor>,
    shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    run_with(SIZES, acceptors, shutdown, service)
}

fn run_with(
    sizes: Sizes,
    acceptors: Vec<Acceptor>,
    shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    let mut loops = Vec::new();
    for _ in 0..service.config.threads.max(1) {
        loops.push(new_loop(sizes)?);
    }
    serve(acceptors, shutdown, service, loops, |parts, context| work(sizes, parts, context))
}

/// Creates what a worker's poller is made from, and its waker.
pub(super) fn new_loop(sizes: Sizes) -> io::Result<((Ring, Arc<OwnedFd>), Waker)> {
    let wake_fd = Arc::new(wake_fd()?);
    let waker_fd = Arc::clone(&wake_fd);
    let wake: Waker = Box::new(move || wake(&waker_fd));
    Ok(((sizes.setup().build()?, wake_fd), wake))
}

/// Runs a worker.
pub(super) fn work(
    sizes: Sizes,
    (mut ring, wake_fd): (Ring, Arc<OwnedFd>),
    context: WorkerContext<'_>,
) {
    match ring.enable() {
        Ok(()) => context.work(UringPoller::new(ring, wake_fd, sizes.multishot_threshold)),
        Err(error) => context.fail(error),
    }
}

/// Tries the operations that the engine uses: nothing else tells whether the system allows them.
///
/// # Errors
///
/// The system has no io_uring with these features, or does not allow this process to use it.
pub(crate) fn probe() -> io::Result<()> {
    SIZES.setup().probe()
}

/// Creates the eventfd that wakes a worker. It is never read, because a multishot poll reports each increment.
fn wake_fd() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

fn wake(wake_fd: &OwnedFd) {
    // Fails only if the counter is full, after 2⁶⁴ wake-ups.
    let _ = write(wake_fd, &1_u64.to_ne_bytes());
}
