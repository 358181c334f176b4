//! Calls on non-blocking sockets.

use std::io::{self, ErrorKind};

use crate::platform::TcpStream;

/// Calls `recv` once. Returns the number of bytes, 0 at the end of the stream, or `None` if none are available.
pub(super) fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    unless_blocked(|| calls::recv(stream, buffer))
}

/// Calls `send` once. Returns the number of bytes that the socket accepted.
pub(super) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    unless_blocked(|| calls::send(stream, bytes)).map(Option::unwrap_or_default)
}

/// Calls `call` until it is not interrupted. Returns `None` if it would block.
pub(super) fn unless_blocked(
    mut call: impl FnMut() -> io::Result<usize>,
) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// System calls by rustix: those of glibc are cancellation points, which take two more atomic operations in a process
/// with several threads.
#[cfg(all(target_os = "linux", not(simulation)))]
mod calls {
    use std::io;

    use rustix::net::{RecvFlags, SendFlags};

    use crate::platform::TcpStream;

    pub(super) fn recv(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(stream, buffer, RecvFlags::empty())?.0)
    }

    pub(super) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(stream, bytes, SendFlags::NOSIGNAL)?)
    }
}

#[cfg(not(all(target_os = "linux", not(simulation))))]
mod calls {
    use std::io::{self, Read, Write};

    use crate::platform::TcpStream;

    pub(super) fn recv(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        stream.read(buffer)
    }

    pub(super) fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        stream.write(bytes)
    }
}
