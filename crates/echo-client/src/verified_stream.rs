//! A connection that carries a test stream and checks its echo.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use echo_proto::{ReplyError, TestStream};

use crate::Error;
use crate::platform::TcpStream;

/// A non-blocking connection on which every byte is checked. It keeps two counters and no data:
/// what was sent can be generated again.
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

    /// Bytes that came back so far, all unchanged.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Sends until `end` bytes have been sent in all, or the socket buffer is full. `buffer` is
    /// scratch space.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`].
    pub(crate) fn send(&mut self, end: u64, buffer: &mut [u8]) -> Result<(), Error> {
        while self.sent < end {
            let length = (end - self.sent).min(buffer.len() as u64) as usize;
            let chunk = &mut buffer[..length];
            self.messages.fill(self.sent, chunk);
            match self.socket.write(chunk) {
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(())
    }

    /// Receives once, up to the size of `buffer`, and checks the bytes. Returns their number, or
    /// `None` if nothing has arrived.
    ///
    /// # Errors
    ///
    /// [`Error::Reply`] if they are not what was sent or the stream ended too early,
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

    /// Writes the bytes to be sent next and counts them as sent.
    pub(crate) fn fill(&mut self, chunk: &mut [u8]) {
        self.messages.fill(self.sent, chunk);
        self.sent += chunk.len() as u64;
    }

    /// Uncounts the last `count` bytes, which were not sent after all.
    pub(crate) fn rewind(&mut self, count: u64) {
        // Only a peer that guesses the stream can have echoed bytes that were not sent. They are
        // not sent again.
        self.sent = self.sent.saturating_sub(count).max(self.received);
    }

    /// Checks received bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Reply`] if they are not what was sent.
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
        // The bytes before it were correct.
        self.received = match fault {
            ReplyError::Differs(mismatch) => mismatch.offset,
            _ => self.sent,
        };
        Err(Error::reply(fault, first.then_some(bytes)))
    }

    /// The error for the end of the stream.
    pub(crate) fn eof_error(&self) -> Error {
        let (received, sent) = (self.received, self.sent);
        if received == sent {
            return Error::Closed { bytes: sent };
        }
        Error::reply(ReplyError::Short { received, sent }, None)
    }

    /// The error for a server that did not answer within `timeout`.
    pub(crate) fn timeout(&self, timeout: Duration) -> Error {
        Error::Timeout { after: timeout, received: self.received, sent: self.sent }
    }

    /// The error for a broken connection.
    pub(crate) fn lost(&self, source: io::Error) -> Error {
        Error::Lost { received: self.received, sent: self.sent, source }
    }
}
