//! When a poller reports a socket again, per system.
//!
//! epoll and kqueue report edges: a connection that stops reading or writing before its socket is known to be empty
//! or full is not reported again, and must requeue itself. On Windows, mio reports each registered event once, until
//! the socket is registered again.

use std::io;

use super::Interest;
use crate::platform::{Poll, TcpStream, Token};

/// Whether a `recv` of up to `room` bytes that returned `count` has emptied the socket, so that further bytes are
/// reported.
///
/// A short read has (epoll(7), question 9). End of stream, errors and urgent data are exceptions: see
/// `Connection::ended`. On Windows, [`rearm`] reports what is left.
#[cfg(any(target_os = "linux", windows))]
pub(super) fn recv_emptied_socket(count: usize, room: usize) -> bool {
    count < room
}

/// A `recv` stops before urgent data, even if that is received in-line (`soreceive` of XNU and FreeBSD), and
/// kqueue(2) does not report where. Only `EAGAIN` means that the socket is empty.
#[cfg(not(any(target_os = "linux", windows)))]
pub(super) fn recv_emptied_socket(_: usize, _: usize) -> bool {
    false
}

/// Edges stay registered, for both directions.
#[cfg(not(windows))]
#[inline(always)]
pub(super) fn rearm(_: &Poll, _: &mut TcpStream, _: Token, _: Interest) -> io::Result<()> {
    Ok(())
}

/// Registers what the connection waits for, and nothing else. mio removes each reported event from the registration
/// and restores all of them when a call returns `WouldBlock` (`IoSourceState::do_io`): a connection that waits for
/// room would be reported as readable after each attempt to send. What is already pending is reported at once.
#[cfg(windows)]
pub(super) fn rearm(
    poll: &Poll,
    stream: &mut TcpStream,
    token: Token,
    interest: Interest,
) -> io::Result<()> {
    let interest = match interest {
        Interest::Receive | Interest::Readable => crate::platform::Interest::READABLE,
        Interest::Writable => crate::platform::Interest::WRITABLE,
        // An error is still reported.
        Interest::Timer | Interest::Unchanged => return Ok(()),
    };
    poll.registry().reregister(stream, token, interest)
}

/// Whether a socket that is not reported as writable may have room. Linux reports it when a third of its send buffer is
/// free (`sk_stream_min_wspace`). Windows reports any room; a thousand attempts a second would be in vain.
pub(super) const MAY_HAVE_UNREPORTED_ROOM: bool = !cfg!(windows);
