//! A connection whose bytes, both ways, are those of a test stream.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use echo_proto::{ReplyError, TestStream};
use mio::net::TcpStream;

use crate::Error;

/// How much of a wrong answer is kept to be shown.
const EXCERPT_LEN: usize = 64;

/// A non-blocking connection on which every byte is checked. It keeps two counts and no bytes: what was
/// sent can be made again.
#[derive(Debug)]
pub(crate) struct VerifiedStream {
    pub(crate) socket: TcpStream,
    messages: TestStream,
    sent: u64,
    received: u64,
}

impl VerifiedStream {
    pub(crate) fn new(socket: TcpStream, messages: TestStream) -> Self {
        Self { socket, messages, sent: 0, received: 0 }
    }

    /// Bytes sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that came back so far, all of them right.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Sends until `end` bytes were sent in all, or there is no more room. `buffer` is working space.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`].
    pub(crate) fn send(&mut self, end: u64, buffer: &mut [u8]) -> Result<(), Error> {
        while self.sent < end {
            let length = (end - self.sent).min(buffer.len() as u64) as usize;
            let piece = &mut buffer[..length];
            self.messages.fill(self.sent, piece);
            match self.socket.write(piece) {
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(())
    }

    /// Receives once, as much as `buffer` holds, and checks it. Returns the number of bytes, or `None` if
    /// there are none now.
    ///
    /// # Errors
    ///
    /// [`Error::Reply`] if they are not those that were sent or the stream ended too early,
    /// [`Error::Closed`] if it ended between messages, [`Error::Lost`].
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        loop {
            return match self.socket.read(buffer) {
                Ok(0) => Err(self.eof_error()),
                Ok(count) => self.check(&buffer[..count]).map(|()| Some(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(self.lost(error)),
            };
        }
    }

    /// Writes what is to be sent next; with that it counts as sent.
    pub(crate) fn fill(&mut self, piece: &mut [u8]) {
        self.messages.fill(self.sent, piece);
        self.sent += piece.len() as u64;
    }

    /// The last so many bytes were not sent after all.
    pub(crate) fn rewind(&mut self, count: u64) {
        // Only who guesses what is to come sends back more than was sent; it is not sent again then, and
        // the guess has no echo.
        self.sent = self.sent.saturating_sub(count).max(self.received);
    }

    /// Checks what was received.
    ///
    /// # Errors
    ///
    /// [`Error::Reply`] if it is not what was sent.
    pub(crate) fn check(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let owed = (self.sent - self.received).min(bytes.len() as u64) as usize;
        let fault = match self.messages.check(self.received, &bytes[..owed]) {
            Err(mismatch) => ReplyError::Differs(mismatch),
            Ok(()) if owed < bytes.len() => {
                ReplyError::Surplus { sent: self.sent, found: bytes[owed] }
            }
            Ok(()) => {
                self.received += owed as u64;
                return Ok(());
            }
        };
        let first = self.received == 0;
        // Those before it were right.
        self.received = match fault {
            ReplyError::Differs(mismatch) => mismatch.offset,
            _ => self.sent,
        };
        let excerpt = first.then(|| bytes[..bytes.len().min(EXCERPT_LEN)].to_owned());
        Err(Error::Reply { fault, excerpt })
    }

    /// The server has ended the connection.
    pub(crate) fn eof_error(&self) -> Error {
        let (received, sent) = (self.received, self.sent);
        if received == sent {
            return Error::Closed { bytes: sent };
        }
        Error::Reply { fault: ReplyError::Short { received, sent }, excerpt: None }
    }

    /// The connection broke.
    pub(crate) fn lost(&self, source: io::Error) -> Error {
        Error::Lost { received: self.received, sent: self.sent, source }
    }
}

/// Whether a connection that was just made leads to itself. Where nobody listens on a port that is also
/// free for outgoing connections, TCP can do that (RFC 9293, 3.5: simultaneous open), and it would
/// be a perfect echo.
pub(crate) fn is_self_connect(local: io::Result<SocketAddr>, peer: SocketAddr) -> bool {
    local.is_ok_and(|local| local == peer)
}
