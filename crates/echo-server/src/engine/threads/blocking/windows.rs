//! The blocking calls of Windows: non-blocking ones, and a wait for the socket.
//!
//! After a blocking call that has timed out, the state of the socket is indeterminate, and some of the data may have been
//! sent ([SO_SNDTIMEO]): sending the rest again would send bytes twice.
//!
//! [SO_SNDTIMEO]: https://learn.microsoft.com/windows/win32/winsock/sol-socket-socket-options

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::engine::threads::TICK;

/// Leaves the socket as it is, non-blocking.
pub(in crate::engine::threads) fn prepare(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// `recv`. Fails with `WouldBlock` at the socket's timeout.
pub(super) fn recv(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            wait(stream, PollFlags::IN, stream.read_timeout()?)?;
            stream.read(buffer)
        }
        result => result,
    }
}

/// `send`. Fails with `WouldBlock` at the socket's timeout if nothing was sent.
pub(super) fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            wait(stream, PollFlags::OUT, stream.write_timeout()?)?;
            stream.write(bytes)
        }
        result => result,
    }
}

/// Waits until the socket is ready. For a tick at most: that a wait is over when the socket is shut down is not
/// documented.
fn wait(stream: &TcpStream, event: PollFlags, timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map_or(TICK, |timeout| timeout.min(TICK));
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(stream, event)], Some(&timeout))? {
        0 => Err(ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}
