//! What a completion belongs to, as its `user_data` says.

/// An operation on a slot.
///
/// | bits | 63–56 | 55–32 | 31–0 |
/// |---|---|---|---|
/// | | operation | generation | slot |
///
/// The generation counts the connections that the slot has had. A completion of an earlier one is stale:
/// its slot, and its descriptor's number, are somebody else's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) operation: Operation,
    pub(super) generation: u32,
    pub(super) slot: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Receives until there is an end, an error or no buffer.
    Receive,
    /// Sends at once or not at all.
    Send,
    /// Waits until there is room to send.
    Room,
    /// Waits until the notifier has something.
    Notice,
    /// Ends all of them.
    Cancel,
}

/// Generations, after which they begin anew.
const GENERATIONS: u32 = 1 << 24;

impl Tag {
    pub(super) fn pack(self) -> u64 {
        let (operation, generation) = (self.operation as u64, u64::from(self.generation));
        operation << 56 | generation << 32 | u64::from(self.slot)
    }

    pub(super) fn unpack(user_data: u64) -> Self {
        let operation = match user_data >> 56 {
            0 => Operation::Receive,
            1 => Operation::Send,
            2 => Operation::Room,
            3 => Operation::Notice,
            _ => Operation::Cancel,
        };
        let generation = (user_data >> 32) as u32 % GENERATIONS;
        Self { operation, generation, slot: user_data as u32 }
    }
}

/// The generation behind this one.
pub(super) fn next(generation: u32) -> u32 {
    (generation + 1) % GENERATIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_comes_back_as_it_was_packed() {
        use Operation::*;
        for operation in [Receive, Send, Room, Notice, Cancel] {
            for (generation, slot) in [(0, 0), (GENERATIONS - 1, u32::MAX), (7, 9)] {
                let tag = Tag { operation, generation, slot };
                assert_eq!(Tag::unpack(tag.pack()), tag);
            }
        }
        assert_eq!(next(GENERATIONS - 1), 0);
    }
}
