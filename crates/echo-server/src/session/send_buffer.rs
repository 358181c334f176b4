//! The bytes owed to a peer.

use std::io;

/// Bytes that the socket has not accepted yet, or that an injected fault holds back.
#[derive(Default)]
pub(super) struct SendBuffer {
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
            *owed = Some(Box::new(Self { bytes: bytes[sent..].to_vec(), sent: 0 }));
        }
        Ok(sent)
    }

    /// Appends `bytes`. Returns the stored copy.
    pub(super) fn push(&mut self, bytes: &[u8]) -> &mut [u8] {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        &mut self.bytes[before..]
    }

    /// The bytes that have not been sent.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Records that `count` more bytes were sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count;
    }
}
