//! Received buffers of connections that have no room for them.
//!
//! A multishot receive continues until it is cancelled, even if the peer has stopped reading. Bytes beyond what the
//! connection may owe stay in the worker's provided buffers, in order, until the connection wants to read again.
//! Peers that do not read, however many, therefore hold no more than these buffers; while none is free, other
//! connections read from their sockets.

use std::collections::VecDeque;

use crate::platform::RecvBuf;

/// Buffers and the keys of their connections, in the order received.
#[derive(Default)]
pub(super) struct UnreadQueue {
    buffers: VecDeque<(usize, RecvBuf)>,
}

impl UnreadQueue {
    pub(super) fn len(&self) -> usize {
        self.buffers.len()
    }

    pub(super) fn push_back(&mut self, key: usize, buf: RecvBuf) {
        self.buffers.push_back((key, buf));
    }

    pub(super) fn push_front(&mut self, key: usize, buf: RecvBuf) {
        self.buffers.push_front((key, buf));
    }

    /// Removes and returns the first buffer of the connection at `key`.
    pub(super) fn pop(&mut self, key: usize) -> Option<RecvBuf> {
        let first = self.buffers.iter().position(|(receiver, _)| *receiver == key)?;
        self.buffers.remove(first).map(|(_, buf)| buf)
    }
}
