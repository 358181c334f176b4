//! The blocking calls of Unix.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Prepares a non-blocking socket for the calls below.
pub(in crate::engine::threads) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)
}

/// `recv`. Fails with `WouldBlock` at the socket's timeout.
pub(super) fn recv(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    stream.read(buffer)
}

/// `send`. Fails with `WouldBlock` at the socket's timeout if nothing was sent.
pub(super) fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.write(bytes)
}
