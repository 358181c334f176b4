//! Bytes that are owed to a peer and could not be sent yet.

use std::io;

/// Bytes for which the socket has no room yet, or that an injected fault holds back.
#[derive(Default)]
pub(super) struct SendBuffer {
    bytes: Vec<u8>,
    /// How many of them have been sent.
    sent: usize,
}

impl SendBuffer {
    /// Sends `bytes` behind what is already owed, and keeps what there is no room for.
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

    /// Appends `bytes`. Returns them as they are stored.
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
