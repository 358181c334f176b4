//! Moving bytes from a socket to a socket without copying them to user space: splice(2) through a pipe (Linux).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// The number of page-sized slots, in bytes. A slot holds a piece of one packet, which may be smaller than a page, so
/// the default of 16 slots would often be full before [`Pipe::fill`] has moved what it may.
const SLOTS_SIZE: usize = 64 * 4096;

/// A pipe. The bytes in it are references to the pages in which the kernel has received them.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// # Errors
    ///
    /// Returns the error of pipe2(2), such as `EMFILE`.
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Fails if the user has too many large pipes (`pipe-user-pages-soft`, pipe(7)); the pipe works with fewer slots.
        let _ = fcntl_setpipe_size(&write, SLOTS_SIZE);
        Ok(Self { read, write })
    }

    /// Moves up to `max` bytes from the receive queue of `socket` into the pipe, which must be empty. Returns 0 at the
    /// end of the stream, and also after the peer's FIN if urgent data is next.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing can be moved: the receive queue is empty, or urgent data is next, which only recv(2) can
    /// receive. Other errors are those of the socket.
    pub(crate) fn fill(&self, socket: &impl AsFd, max: usize) -> io::Result<usize> {
        Ok(splice(socket, None, &self.write, None, max, flags())?)
    }

    /// Moves up to `max` bytes from the pipe, which must not be empty, into the send queue of `socket`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the send queue is full. Other errors are those of the socket.
    pub(crate) fn drain(&self, socket: &impl AsFd, max: usize) -> io::Result<usize> {
        Ok(splice(&self.read, None, socket, None, max, flags())?)
    }
}

/// Not `MORE`: the last piece must be sent at once.
fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}
