//! What is known of a connection.

use std::os::fd::RawFd;

/// A connection's place.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) fd: RawFd,
    pub(super) generation: u32,
    /// Whether a completion is to come that says that there is room.
    pub(super) is_full: bool,
    /// Whether a piece of it in the outbox is not queued yet.
    pub(super) is_waiting: bool,
    /// How long the last one was that is.
    pub(super) sending: usize,
}

impl Slot {
    /// A place without a connection.
    pub(super) fn empty(generation: u32) -> Self {
        Self { fd: -1, generation, is_full: false, is_waiting: false, sending: 0 }
    }
}
