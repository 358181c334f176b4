//! The state of a connection's slot.

use std::os::fd::RawFd;

/// A slot.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) fd: RawFd,
    pub(super) generation: u32,
    /// The socket has no room; [`Completion::Writable`](super::Completion::Writable) will be reported.
    pub(super) is_full: bool,
    /// A send of the arena is not queued yet.
    pub(super) is_waiting: bool,
    /// Length of the last send that was queued.
    pub(super) sending: usize,
}

impl Slot {
    /// A slot without a connection.
    pub(super) fn empty(generation: u32) -> Self {
        Self { fd: -1, generation, is_full: false, is_waiting: false, sending: 0 }
    }
}
