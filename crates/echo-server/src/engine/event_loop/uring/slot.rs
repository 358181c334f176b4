//! The operations in flight of one connection.

use std::os::fd::RawFd;

use echo_ring::UserData;

use super::operation::Operation;

/// A connection's operations in flight. Kept small, because there may be ten thousand of them.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// -1 when the slot is vacant.
    pub(super) descriptor: RawFd,
    pub(super) generation: u32,
    /// The submission in which an entry with the descriptor was last pushed, modulo 2¹⁶.
    pub(super) pushed_in: u16,
    /// The poll or receive in flight, until its last completion.
    pub(super) armed: Option<Op>,
    /// The operation that should be in flight. If another one is armed, that has been cancelled.
    pub(super) wanted: Option<Op>,
    /// A send is in flight. Completions of the connection are deferred until it has completed.
    pub(super) sending: bool,
    /// Consecutive runs or buffers that favour changing between PollIn and RecvMultishot.
    pub(super) votes: u8,
    pub(super) unread: Unread,
}

/// The operation with which the ring waits for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Polls once for input.
    PollIn,
    /// Polls for room to write.
    PollOut,
    /// Receives into provided buffers.
    RecvMultishot,
}

/// Buffers that were received for a connection and that it had no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    None,
    /// They are queued until the connection wants to read. Buffers received meanwhile are queued behind them.
    Waiting,
    /// An event that reports the first buffer again is pending; others may be queued.
    Reported,
    /// The first buffer was passed to the connection; others may be queued.
    Taken,
}

impl Slot {
    pub(super) const VACANT: Self = Self {
        descriptor: -1,
        generation: 0,
        pushed_in: 0,
        armed: None,
        wanted: None,
        sending: false,
        votes: 0,
        unread: Unread::None,
    };

    /// The `user_data` of an operation of this connection.
    pub(super) fn user_data(&self, op: Op, key: usize) -> UserData {
        let operation = match op {
            Op::PollIn => Operation::PollIn,
            Op::PollOut => Operation::PollOut,
            Op::RecvMultishot => Operation::RecvMultishot,
        };
        operation.user_data(self.generation, key)
    }
}
