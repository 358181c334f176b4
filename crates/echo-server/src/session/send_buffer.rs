//! The bytes owed to a peer.

use std::io;

/// Bytes that the socket has not accepted yet, or that an injected fault holds back.
#[derive(Default)]
pub(super) struct SendBuffer {
    /// The number of bytes in the connection's pipe. They come before `bytes`.
    piped: usize,
    bytes: Vec<u8>,
    /// How many of them have been sent.
    sent: usize,
}

impl SendBuffer {
    /// Sends `bytes` if nothing is owed before them, and keeps what could not be sent.
    pub(super) fn send_or_keep(
        owed: &mut Option<Box<Self>>,
        bytes: &[u8],
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if let Some(owed) = owed {
            owed.push(bytes);
            return Ok(0);
        }
        let sent = send(bytes)?;
        if sent < bytes.len() {
            *owed = Some(Box::new(Self { bytes: bytes[sent..].to_vec(), ..Self::default() }));
        }
        Ok(sent)
    }

    /// Appends `bytes`. Returns the stored copy.
    pub(super) fn push(&mut self, bytes: &[u8]) -> &mut [u8] {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        &mut self.bytes[before..]
    }

    /// Records `count` bytes in the connection's pipe.
    pub(super) fn push_piped(&mut self, count: usize) {
        self.piped += count;
    }

    /// The number of bytes in the connection's pipe.
    pub(super) fn piped(&self) -> usize {
        self.piped
    }

    /// Records that `count` bytes of the pipe were sent.
    pub(super) fn piped_sent(&mut self, count: usize) {
        self.piped -= count;
    }

    /// The number of bytes that have not been sent.
    pub(super) fn len(&self) -> usize {
        self.piped + self.rest().len()
    }

    /// The bytes that have not been sent, except those in the pipe.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Records that `count` more bytes were sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count;
    }
}
