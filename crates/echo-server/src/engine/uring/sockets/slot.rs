//! What is in flight for one connection.

use std::os::fd::RawFd;

use crate::engine::uring::token::Token;

/// What is in flight for a connection. There may be ten thousand of them, so it is kept small.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// -1 when the connection has left.
    pub(super) descriptor: RawFd,
    pub(super) generation: u32,
    /// The turn in which an entry with the descriptor was last pushed, modulo 2¹⁶.
    pub(super) pushed_in: u16,
    pub(super) armed: Way,
    /// If it is the other one, that which is armed has been cancelled.
    pub(super) wanted: Way,
    /// The next report of a poll is to be taken for something to read.
    pub(super) look: bool,
    /// A piece is on its way back. Nothing else happens to the connection until that is over.
    pub(super) sending: bool,
    /// Turns or buffers one behind the other that speak for the other way.
    pub(super) streak: u8,
}

/// How what a connection's peer sends is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Poll,
    Receive,
}

impl Slot {
    pub(super) const VACANT: Self = Self {
        descriptor: -1,
        generation: 0,
        pushed_in: 0,
        armed: Way::Poll,
        wanted: Way::Poll,
        look: false,
        sending: false,
        streak: 0,
    };

    /// What the operation that receives is submitted with.
    pub(super) fn armed_token(&self, slot: usize) -> Token {
        let generation = self.generation;
        match self.armed {
            Way::Poll => Token::Poll { generation, slot },
            Way::Receive => Token::Receive { generation, slot },
        }
    }
}
