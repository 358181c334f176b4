//! A ring a worker: what is to be done, and what was done, stand in queues that the kernel shares (io_uring,
//! Linux), and one system call a turn moves both on.
//!
//! Small messages are received and sent that way, many with a call; for large ones, whose cost is the
//! copying, the ring only says that they are there. [`sockets`] has both, and when a connection changes
//! from one to the other; [`ring`] is what the kernel understands, in safe words. All the rest of this
//! engine is in [`event_loop`].
//!
//! With `--busy-poll` a look for news is no system call either: there is a flag in the shared memory.

mod ring;
mod sockets;
#[cfg(test)]
mod tests;
mod token;

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use self::ring::{Completion, Parts, Ring, SIZES, Sizes};
use self::sockets::Sockets;
use super::event_loop;
use crate::accept::Acceptor;
use crate::service::Service;
use crate::shutdown::ShutdownListener;

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
        loops.push(((Parts::set_up(sizes)?, wake_fd), wake));
    }
    event_loop::serve(acceptor, shutdown, service, loops, |(mut parts, wake_fd), context| {
        match Ring::start(&mut parts) {
            Ok(ring) => context.work(Sockets::new(ring, wake_fd, sizes.crowd)),
            Err(error) => context.fail(error),
        }
    })
}

/// Does once what the engine will do all the time: it alone tells whether the system allows it.
///
/// # Errors
///
/// It does not.
pub(crate) fn probe() -> io::Result<()> {
    // A large pool that is freed would make glibc keep twice as much at the end of each heap from then on
    // (mallopt(3), M_MMAP_THRESHOLD).
    let mut parts = Parts::set_up(Sizes { buffers: 16, ..SIZES })?;
    let mut ring = Ring::start(&mut parts)?;
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"?")?;
    ring.poll_on(ours.as_raw_fd(), libc::POLLIN as u32, 0);
    ring.receive(ours.as_raw_fd(), 0);
    for _ in 0..2 {
        ring.wait(Some(Duration::from_secs(1)))?;
        match ring.next() {
            Some(Completion { more: true, .. }) => {}
            Some(Completion { result: code @ ..0, .. }) => {
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
    }
    Ok(())
}

/// What a worker is woken with: a counter that nobody reads, because every count is reported.
fn wake_fd() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

fn wake(wake_fd: &impl AsFd) {
    // It fails when the counter is full, 2⁶⁴ knocks from now.
    let _ = rustix::io::write(wake_fd, &1_u64.to_ne_bytes());
}
