//! Counters of a run.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Connections accepted.
    pub connections: u64,
    /// Bytes received and sent back.
    pub bytes: u64,
    /// Whole messages received and sent back; none without framing.
    pub messages: u64,
    /// Connections that were closed while bytes were owed to them, because the server was told to
    /// stop and the drain timeout ran out or [`Handle::cut`](crate::Handle::cut) was called.
    pub cut: u64,
}

/// The same, while it is being counted. Each number stands alone, so the ordering is relaxed.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    connections: AtomicU64,
    bytes: AtomicU64,
    messages: AtomicU64,
    cut: AtomicU64,
}

impl Stats {
    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    /// Counts a connection that ended, once: the bytes are not counted one echo at a time.
    pub(crate) fn ended(&self, bytes: u64, messages: u64, cut: bool) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.messages.fetch_add(messages, Relaxed);
        self.cut.fetch_add(cut.into(), Relaxed);
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            connections: self.connections.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            messages: self.messages.load(Relaxed),
            cut: self.cut.load(Relaxed),
        }
    }
}
