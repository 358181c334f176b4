//! What tells completions apart: a number that an operation is submitted with and completes with.
//!
//! ```text
//!  63       56 55                     24 23               0
//! ┌───────────┬─────────────────────────┬──────────────────┐
//! │ operation │       generation        │       slot       │
//! └───────────┴─────────────────────────┴──────────────────┘
//! ```
//!
//! The slot is a connection's place in the worker's table. It is given to another connection at once, so
//! the generation, which no two connections share before 2³² others have come, tells whose completion it is.

const SLOT_BITS: u32 = 24;
const OPERATION_SHIFT: u32 = 56;

/// Connections that a ring can tell apart.
pub(super) const SLOTS: usize = 1 << SLOT_BITS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Reports each knock.
    Bell,
    /// Reports that there is somebody to accept.
    Listener { index: usize },
    /// Reports that there is something to read on a connection.
    Look { generation: u32, slot: usize },
    /// Reports that there is room for what a connection owes.
    Room { generation: u32, slot: usize },
    /// Receives for a connection.
    Receive { generation: u32, slot: usize },
    /// Sends back what was received for a connection. Reports only that there was not enough room.
    Send { generation: u32, slot: usize },
    /// Ends one of these. Reports only that there is none any more.
    Cancel,
}

impl Token {
    pub(super) fn pack(self) -> u64 {
        let (operation, generation, slot) = match self {
            Self::Bell => (0, 0, 0),
            Self::Look { generation, slot } => (1, generation, slot),
            Self::Room { generation, slot } => (2, generation, slot),
            Self::Receive { generation, slot } => (3, generation, slot),
            Self::Send { generation, slot } => (4, generation, slot),
            Self::Cancel => (5, 0, 0),
            Self::Listener { index } => (6, 0, index),
        };
        debug_assert!(slot < SLOTS);
        operation << OPERATION_SHIFT | u64::from(generation) << SLOT_BITS | slot as u64
    }

    pub(super) fn unpack(number: u64) -> Self {
        let generation = (number >> SLOT_BITS) as u32;
        let slot = number as usize % SLOTS;
        match number >> OPERATION_SHIFT {
            0 => Self::Bell,
            1 => Self::Look { generation, slot },
            2 => Self::Room { generation, slot },
            3 => Self::Receive { generation, slot },
            4 => Self::Send { generation, slot },
            6 => Self::Listener { index: slot },
            _ => Self::Cancel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let tokens = [
            Token::Bell,
            Token::Cancel,
            Token::Listener { index: 3 },
            Token::Look { generation: 0, slot: 0 },
            Token::Look { generation: u32::MAX, slot: 7 },
            Token::Room { generation: 1 << 31, slot: 0 },
            Token::Receive { generation: 7, slot: SLOTS - 1 },
            Token::Send { generation: 1, slot: 1 },
        ];
        for token in tokens {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
