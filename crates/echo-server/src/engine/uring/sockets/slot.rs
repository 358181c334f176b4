//! What is in flight for one connection.

use std::os::fd::RawFd;

use echo_ring::UserData;

use crate::engine::uring::operation::Operation;

/// What is in flight for a connection. There may be ten thousand of them, so it is kept small.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// -1 when the connection has left.
    pub(super) descriptor: RawFd,
    pub(super) generation: u32,
    /// The turn in which an entry with the descriptor was last pushed, modulo 2¹⁶.
    pub(super) pushed_in: u16,
    /// What is in flight, until its last completion.
    pub(super) armed: Option<Way>,
    /// What is to be in flight. If something else is armed, that has been cancelled.
    pub(super) wanted: Option<Way>,
    /// A piece is on its way back. Nothing else happens to the connection until that is over.
    pub(super) sending: bool,
    /// Turns or buffers one behind the other that speak for the other way to receive.
    pub(super) streak: u8,
    pub(super) unread: Unread,
}

/// Whether something was received for a connection that it had no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    None,
    /// It waits until the connection wants to read. What is received meanwhile waits behind it.
    Waiting,
    /// The first was reported again; others may wait.
    Redelivered,
}

/// How the ring is told to watch a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Report, once, that there is something to read.
    Look,
    /// Report when there is room to write.
    Room,
    /// Receive what comes.
    Receive,
}

impl Slot {
    pub(super) const VACANT: Self = Self {
        descriptor: -1,
        generation: 0,
        pushed_in: 0,
        armed: None,
        wanted: None,
        sending: false,
        streak: 0,
        unread: Unread::None,
    };

    /// What the operation of a connection is submitted with.
    pub(super) fn user_data(&self, way: Way, slot: usize) -> UserData {
        let operation = match way {
            Way::Look => Operation::PollIn,
            Way::Room => Operation::PollOut,
            Way::Receive => Operation::RecvMultishot,
        };
        operation.of(self.generation, slot)
    }
}
