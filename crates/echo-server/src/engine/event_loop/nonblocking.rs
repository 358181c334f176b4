//! Calls on non-blocking sockets.

use std::io::{self, ErrorKind, Read, Write};

use crate::platform::TcpStream;

/// Calls `recv` once. Returns the number of bytes, 0 at the end of the stream, or `None` if none are available.
pub(super) fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    unless_blocked(|| stream.read(buffer))
}

/// Calls `send` once. Returns the number of bytes that the socket accepted.
pub(super) fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    unless_blocked(|| stream.write(bytes)).map(Option::unwrap_or_default)
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
