//! What is in flight for one connection.

use std::os::fd::RawFd;

use echo_ring::UserData;

use super::operation::Operation;

/// What is in flight for a connection. There may be ten thousand of them, so it is kept small.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// -1 when the slot is vacant.
    pub(super) descriptor: RawFd,
    pub(super) generation: u32,
    /// The submission in which an entry with the descriptor was last pushed, modulo 2¹⁶.
    pub(super) pushed_in: u16,
    /// What is in flight, until its last completion.
    pub(super) armed: Option<Op>,
    /// What is to be in flight. If something else is armed, that has been cancelled.
    pub(super) wanted: Option<Op>,
    /// A buffer is on its way back. Nothing else happens to the connection until that is over.
    pub(super) sending: bool,
    /// Runs, or buffers, in a row that speak for the other way to receive.
    pub(super) votes: u8,
    pub(super) unread: Unread,
}

/// How the ring waits for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Reports, once, that there is something to read.
    PollIn,
    /// Reports when there is room to write.
    PollOut,
    /// Receives what arrives.
    RecvMultishot,
}

/// Whether something was received for a connection that it had no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    None,
    /// It waits until the connection wants to read. What is received meanwhile waits behind it.
    Waiting,
    /// The first buffer is reported again by an event that is still queued; others may wait.
    Reported,
    /// The connection was given the first buffer; others may wait.
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

    /// What an operation of the connection is submitted with.
    pub(super) fn user_data(&self, op: Op, key: usize) -> UserData {
        let operation = match op {
            Op::PollIn => Operation::PollIn,
            Op::PollOut => Operation::PollOut,
            Op::RecvMultishot => Operation::RecvMultishot,
        };
        operation.of(self.generation, key)
    }
}
