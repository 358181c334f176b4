//! What was received for connections that have no room for it.
//!
//! The kernel receives for a connection until that is cancelled, also when its peer has stopped reading. What the
//! connection may not owe stays in the buffers of the pool, in order, until the connection wants to read again. So
//! peers that do not read hold no more than the pool, however many they are, and the pool belongs to the worker;
//! while it has no free buffers, other connections receive by themselves.

use std::collections::VecDeque;

use echo_ring::RecvBuf;

/// Buffers and the keys of their connections, in the order in which they were received.
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

    /// Takes the first buffer of the connection at `key`.
    pub(super) fn pop(&mut self, key: usize) -> Option<RecvBuf> {
        let first = self.buffers.iter().position(|(receiver, _)| *receiver == key)?;
        self.buffers.remove(first).map(|(_, buf)| buf)
    }
}
